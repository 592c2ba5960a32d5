//! Expected results that others have written down, and whether `polload` comes to the same.
//!
//! The corpora are no part of this repository: the environment says where they are, and without them the tests say that
//! they are skipped. Start at [`Connectivity`], which both sides are brought to; `tests/np_guard.rs` runs the cases.

#![forbid(unsafe_code)]

mod connectivity;

pub use connectivity::{Connectivity, MalformedError, Ports};
