//! Kubernetes objects and the endpoints of this node: where chainkit reads them from, and what an address is called.
//!
//! Input is not trusted: a bad object or file is named and left out, and never stops the others. It talks to an API server
//! with the feature `api` alone, and writes nothing but endpoint records.
//!
//! Objects are read in one way, wherever they come from: [`Reader`] and [`model::Cluster::read`] for what is there once,
//! [`live`] for what goes on, [`Stream`] underneath. Two views of them are kept apart. [`model::Cluster`] is a cluster as
//! policy sees it, with the place of each object and field; [`ClusterState`] keeps one as it changes. [`Names`] is what
//! addresses are called: start at [`Objects`] for what the cluster says, at [`read_endpoints`] for what the CNI plugin
//! leaves on the node, and at [`EndpointStore`] for how it does. [`saved`] keeps objects as lines of JSON. [`selector`] is what a label selector means, for everybody, and
//! [`soundness`] is what an API server would not take of a policy.

#![forbid(unsafe_code)]

#[cfg(feature = "api")]
pub mod api;
mod endpoint;
pub mod live;
pub mod model;
mod names;
mod objects;
mod pod;
mod read;
pub mod saved;
pub mod selector;
pub mod soundness;
mod state;
mod store;
mod warning;

pub use endpoint::{ENDPOINTS_FOLDER, EndpointInterface, EndpointRecord, MAX_RECORD_BYTES, read_endpoints};
pub use names::{Names, ServiceName};
pub use objects::Objects;
pub use pod::{Pod, Workload};
pub use read::{InputError, MAX_DOCUMENT_BYTES, MAX_FOLDER_DEPTH, MAX_INPUT_BYTES, MAX_PROBLEMS, Reader, Said, Stream};
pub use state::ClusterState;
pub use store::EndpointStore;
pub use warning::Warning;
