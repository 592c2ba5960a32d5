//! Policy on a lab node with real programs and real sockets: what is open while policy changes, who the own node is, services, ICMP, pods that
//! start, and modes.
//!
//! Each test has a node of its own, so that they run side by side. They need root, and say so where it is lacking; nothing outside of
//! their own network namespaces is touched. Where something must not pass, what is sent for it is sent after `polload` has returned.
//!
//! Start at `stage.rs`, which every test begins with, then `live.rs`.

#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failure of the test's own means is a failure of the test"
)]

mod boot;
mod hits;
mod icmp;
mod live;
mod mode;
mod own_node;
mod probe;
mod proxy;
mod service;
mod stage;
mod start;
mod talk;
mod wire;
