//! The CNI specification (0.3.0 to 1.1.0) as a chained plugin sees it: the environment and the request on stdin, the result
//! of the plugins before, versions, and errors.
//!
//! A result is never understood in full: what this crate does not need it does not touch. The VPC CNI puts what are no
//! MACs into `mac` and reads its own entries by index, so no entry is ever inserted, reordered or "corrected". Nothing
//! here reads a file, writes one, or asks the kernel.
//!
//! Start at [`Environment`] and [`Request`]; [`echo`] is what ADD answers, [`PluginError`] what any verb may.

#![forbid(unsafe_code)]

mod environment;
mod error;
mod raw;
mod request;
mod result;
mod version;

pub use environment::{Command, Environment, PodArgs};
pub use error::{PluginError, code};
pub use raw::{Fields, Raw};
pub use request::{Attachment, MAX_REQUEST_BYTES, Request};
pub use result::{ResultInterface, ResultView, echo};
pub use version::Version;
