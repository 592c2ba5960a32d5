//! Real container runtimes on the lab's node: containerd through CRI, `ctr`, and podman.
//!
//! Start at [`Machine`], in which they all run.

mod containerd;
mod cri;
mod image;
mod machine;
mod podman;

pub use containerd::Containerd;
pub use cri::{PodSandbox, SandboxSpec, SandboxStatus};
pub use image::IMAGE;
pub use machine::Machine;
pub use podman::Podman;
