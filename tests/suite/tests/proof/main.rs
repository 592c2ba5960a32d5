//! Policy, proved in packets: three namespaces of three pods each, every one of which asks every other over TCP, UDP and SCTP, on two
//! ports, over IPv4 and IPv6, after each change of policy; what is answered has to be what the oracle says of the objects.
//!
//! The shapes are those of Kubernetes' own end-to-end tests of NetworkPolicy (`test/e2e/network/netpol`). Each test has nodes of
//! its own, one for each way to hang programs on interfaces, and goes through steps on them. They need root, and say so where it is
//! lacking. All of them run on Linux 6.1 too (`tests/kernel-6.1`).
//!
//! Start at `world.rs`, which says what a step is; then `isolation.rs`. `ask.rs` and `answer.rs` make the packets, and `prober.rs` holds
//! them against what nftables drops.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a failure of the test's own means is a failure of the test"
)]

mod answer;
mod ask;
mod blocks;
mod change;
mod egress;
mod expected;
mod isolation;
mod peers;
mod ports;
mod prober;
mod sctp;
mod tiers;
mod world;
