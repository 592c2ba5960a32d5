//! A Kubernetes node out of network namespaces, wired as the AWS VPC CNI wires one, for tests, benches and the demo.
//!
//! [`Lab::new`] makes a node, the network around it, and a tree to be handed to the programs as `--root`; [`Lab::pod`] adds pods;
//! [`Netns::command`] and [`Netns::run`] work inside any of them; [`peer`] holds what makes real traffic. [`cni`] calls chains of plugins as
//! libcni does, and has plugins of its own; [`runtime`] has real container runtimes on the node.
//!
//! What this crate must never do: leave anything behind, or touch the network namespace it is started in. So namespaces have
//! no names (an open file in this process holds each of them, and they vanish with it, however it ends), long-running children die
//! with this process, and the one thing that the kernel does not take back by itself, a mounted bpffs, is swept away by the next
//! lab. Labs run side by side in any number, in one process or in many.
//!
//! What is not there: the VPC CNI's source NAT (the network around the node knows the way to pods), security groups for pods,
//! and kube-proxy (a Service is an object in [`Lab::objects`], nothing more).
//!
//! Start reading at `lab.rs`, which wires the node, then `pod.rs`.

#![forbid(unsafe_code)]

pub mod cni;
mod error;
mod lab;
mod netns;
mod object;
mod objects;
pub mod peer;
mod plugins;
mod pod;
mod process;
mod root;
pub mod runtime;
mod skip;
mod wire;

pub use error::Error;
pub use lab::{INTERNET, INTERNET6, Lab, NODE, NODE_NAME, NODE6, OTHER_NODE, OTHER_NODE_NAME};
pub use netns::Netns;
pub use object::another_version;
pub use objects::ServiceSpec;
pub use plugins::program;
pub use pod::{Pod, PodSpec};
pub use process::Running;
pub use skip::{skip, skip_unless_root};
pub use wire::host_veth_name;
