//! Kubernetes objects and the endpoints of this node: where chainkit reads them from, and what an address is called.
//!
//! Input is not trusted: a bad object or file is named and left out, and never stops the others. It never talks to an
//! API server, and writes nothing but endpoint records.
//!
//! Two views of the same objects are kept apart. [`model::Cluster`] is a cluster as policy sees it, with the place of each
//! object and field: start at [`model::Cluster::read`], or at [`Reader`] for texts at hand. [`Names`] is what addresses
//! are called: start at [`Objects::read`] for what `kubectl get -o json` prints, at [`read_endpoints`] for what the CNI
//! plugin leaves on the node, and at [`EndpointStore`] for how it does. [`selector`] is what a label selector means, for
//! everybody.

#![forbid(unsafe_code)]

#[cfg(feature = "api")]
pub mod api;
mod endpoint;
mod item;
pub mod live;
pub mod model;
mod names;
mod objects;
mod pod;
mod read;
pub mod selector;
mod state;
mod store;
mod warning;

pub use endpoint::{ENDPOINTS_FOLDER, EndpointInterface, EndpointRecord, MAX_RECORD_BYTES, read_endpoints};
pub use names::{Names, ServiceName};
pub use objects::{Objects, ReadError};
pub use pod::{Pod, Workload};
pub use read::{InputError, MAX_DOCUMENT_BYTES, MAX_FOLDER_DEPTH, MAX_INPUT_BYTES, MAX_PROBLEMS, Reader, Said, Stream};
pub use state::ClusterState;
pub use store::EndpointStore;
pub use warning::Warning;
