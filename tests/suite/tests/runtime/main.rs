//! The chained plugin under real container runtimes, under a runtime of the lab's that does what libcni does, and under what kills it.
//!
//! Each test has a node of its own, so that they run side by side. They need root, the programs built, and some the runtimes and Debian's
//! plugins; where something is lacking they say so.
//!
//! Start at `node.rs`, which says what is attached and what is left, then `cri.rs`.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failure of the test's own means is a failure of the test"
)]

mod by_hand;
mod byte_faithful;
mod cri;
mod crowd;
#[path = "../lab/dump.rs"]
#[expect(dead_code, reason = "the lab tests use all of it")]
mod dump;
mod killed;
mod node;
mod reboot;
#[path = "../lab/stage.rs"]
#[expect(dead_code, reason = "the lab tests use all of it")]
mod stage;
mod standalone;
mod talk;
mod version_1_1;
