//! Packets through the eBPF programs, and what each must give.
//!
//! A packet is built in the open (`frame.rs`), run through `from_pod` or `to_pod` by `BPF_PROG_TEST_RUN`, and what came of it is
//! read back as the programs of chainkit read it: the connection's entry, the node-wide counters, the events of an observer.
//! What is expected stands in the test. Random frames (`random.rs`) are compared with a reader of packets that shares
//! no line with the kernel's (`reference.rs`).
//!
//! Each test has a datapath to itself, so that they run side by side; nothing is attached to any interface. They need root,
//! and say so where it is lacking. All of them also run on Linux 6.1.
//!
//! Start at `step.rs`, which says what is checked of a packet, then `tcp.rs`.

#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "a failure of the test's own means is a failure of the test"
)]

// Clusters at random, as the compiler's own tests make them.
#[path = "../../../../lib/policy/tests/properties/boundaries.rs"]
mod boundaries;
#[path = "../../../../lib/policy/tests/common/mod.rs"]
mod common;
#[path = "../../../../lib/policy/tests/properties/generate.rs"]
#[allow(dead_code, reason = "not all of a case is asked for")]
mod generate;

mod enter;
mod extension;
mod filter;
mod fragment;
mod frame;
mod full;
mod generation;
mod health;
mod icmp;
mod link;
mod malformed;
mod modes;
mod node;
mod observer;
mod payload;
mod policy;
mod policy_random;
mod policy_rules;
mod random;
mod reference;
mod segments;
mod services;
mod step;
mod tcp;
mod timeout;
mod totals;
mod transport;
