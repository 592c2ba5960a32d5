//! The Container Network Interface, from both sides: a runtime that calls plugins as libcni does, and plugins of the lab's own.
//!
//! Start at [`Chain`].

#![expect(clippy::indexing_slicing, reason = "of JSON values, where what is not there is null")]

mod attachment;
mod aws;
mod cache;
mod call;
mod chain;
mod egress;
mod ipam;
mod mock;
mod plugin;
mod result;

pub use attachment::Attachment;
pub use call::{Answer, Call, Verb};
pub use chain::Chain;
pub use plugin::{NAMES as PLUGIN_NAMES, is_called, run as run_plugin};

use std::path::Path;

/// Where Debian's `containernetworking-plugins` puts its plugins.
pub(crate) const DEBIAN_PLUGINS: &str = "/usr/lib/cni";

/// Whether Debian's plugins are there.
#[must_use]
pub fn has_debian_plugins() -> bool {
    Path::new(DEBIAN_PLUGINS).join("host-local").exists()
}
