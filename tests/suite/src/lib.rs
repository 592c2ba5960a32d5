//! Tests of chainkit as a whole; the crate itself is empty.
//!
//! `tests/program` sends packets through the eBPF programs by `BPF_PROG_TEST_RUN` and says what each must give: start at its
//! `step.rs`. `tests/lab` has real traffic between the pods of a node made of network namespaces: start at its `stage.rs`.
//! `tests/proof` has nine pods ask each other everything after each change of policy: start at its `world.rs`.
//! `tests/policy` has policy in force change under open connections, services, probes and pods that start, and `tests/faults` under what goes wrong:
//! start at the `stage.rs` of the one and the `ground.rs` of the other.
//! `tests/runtime` has the chained plugin under real container runtimes and under what kills it: start at its `node.rs`.
//! All need root; without it each test says that it is skipped, and why.

#![forbid(unsafe_code)]
