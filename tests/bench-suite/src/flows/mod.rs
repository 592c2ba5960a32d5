//! How fast flows are read, decoded and shown; what that takes of memory, and of the pods' throughput.

mod decode;
mod lines;
mod pods;
mod saved;
mod steady;

use std::{path::Path, thread};

use anyhow::{Context, Result};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use crate::report::Report;

/// All of it.
pub(crate) fn measure(report: &Report, flowdump: Option<&Path>, quick: bool) -> Result<()> {
    let rounds = if quick { 3 } else { 9 };
    decode::measure(report, rounds)?;
    let Some(flowdump) = flowdump else {
        return report.skipped("flowdump", "give its path by --flowdump or $CHAINKIT_FLOWDUMP");
    };
    saved::measure(report, flowdump, rounds)?;
    steady::measure(report, flowdump, if quick { 10 } else { 150 })?;
    pods::measure(report, flowdump, rounds)
}

/// Does something on a thread that stays on one CPU, as do the programs that it starts.
fn on_one_cpu<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut last = CpuSet::new();
            let count = thread::available_parallelism().map_or(1, usize::from);
            last.set(count - 1).context("there is no such CPU")?;
            sched_setaffinity(Pid::from_raw(0), &last).context("cannot stay on one CPU")?;
            work()
        });
        thread.join().map_err(|_| anyhow::anyhow!("a measurement ended in a panic"))?
    })
}
