//! Policy in force while things go wrong: programs that are killed, disks that are full, too much of everything, many at one time. What
//! is in force is always one whole policy, and nothing is left over.
//!
//! They need root, and say so where it is lacking. Start at `ground.rs`.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failure of the test's own means is a failure of the test"
)]

mod churn;
mod confirmed;
mod crowd;
mod ground;
mod killed;
mod late;
mod refused;
mod wrong_node;
