//! What the kernel of this node knows of its network: interfaces, routes, network namespaces, and connections that exist.
//!
//! It reads and never writes: no interface, route, rule or connection is made or changed, and the calling thread never leaves its
//! network namespace. Nothing here knows of BPF or of Kubernetes.
//!
//! Start at [`Netns`], a pod's network namespace; [`survey`] finds the host ends of its interfaces, [`existing`] the connections
//! it already has, as packets on those interfaces show them.

#![forbid(unsafe_code)]

mod connections;
mod conntrack;
mod error;
mod find;
mod links;
mod netlink;
mod netns;
mod sockets;

pub use connections::{Existing, Opened, Source, existing, existing_beside, merge, tracked};
pub use conntrack::{Entry, MAX_ENTRIES, TcpState, Tuple, conntrack, parse as parse_conntrack};
pub use error::{Error, Result};
pub use find::netns_of_interface;
pub use links::{HostEnd, PodAddress, Survey, host_ends, pod_addresses, survey};
pub use netlink::{Interface, addresses, ask, interfaces, route, uplinks};
pub use netns::Netns;
pub use sockets::{Socket, SocketState, sockets};
