//! Real traffic between pods of a lab node, and what the datapath, its readers and the programs make of it.
//!
//! Each test has a node of its own, so that they run side by side. They need root, and say so where it is lacking; nothing
//! outside of their own network namespaces is touched. The tests of `first_light` also run on Linux 6.1.
//!
//! Start at `stage.rs`, which every test begins with, then `first_light.rs`.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failure of the test's own means is a failure of the test"
)]

mod adopt;
mod adopt_cri;
mod attach;
mod denied_by;
mod drops;
mod dump;
mod dump_counts;
mod dump_ends;
mod dump_filters;
mod exact;
mod existing;
mod expiry;
mod first_light;
mod flood;
mod gso;
mod health;
mod host_ends;
mod ipv6;
mod lasting;
mod layer7;
mod manual;
mod observers;
mod operate;
mod overtaken;
mod payload;
mod peers;
mod pins;
mod plan;
mod policed;
mod refused;
mod rival;
mod stage;
mod status;
mod top;
mod upgrade;
mod verify;
mod verify_sets;
