//! Memory under a steady load: 50,000 flows a second between pods that come and go, on a pipe.

use std::{
    fs,
    io::{PipeWriter, Write},
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use chainkit_lab::{Lab, Running};
use serde_json::json;

use super::lines::Lines;
use crate::{report::Report, stats::rounded};

/// Flows a second.
const RATE: u64 = 50_000;
const TICK: Duration = Duration::from_millis(10);
const TICKS_A_SECOND: u64 = 100;
/// What memory may grow by in the second half.
const TARGET: f64 = 0.05;

/// Ways to take flows for long.
const WAYS: [(&str, &[&str]); 3] = [
    ("flowdump -j", &["-r", "-", "-j"]),
    ("flowdump map --watch", &["map", "-r", "-", "--watch", "-o", "jsonl"]),
    ("flowdump metrics", &["metrics", "-r", "-"]),
];

pub(super) fn measure(report: &Report, flowdump: &Path, seconds: u64) -> Result<()> {
    // Of its own, so that a port is free in it.
    let lab = Lab::new()?;
    let mut running = Vec::new();
    let mut pipes: Vec<PipeWriter> = Vec::new();
    for (_, arguments) in WAYS {
        let (ours, theirs) = std::io::pipe().context("cannot make a pipe")?;
        let mut command = lab.node().command(flowdump);
        command.args(arguments).stdin(ours).stdout(Stdio::null()).stderr(Stdio::piped());
        running.push(Running::start_as_is(command)?);
        pipes.push(theirs);
    }
    let mut resident: Vec<Vec<u64>> = WAYS.iter().map(|_| Vec::new()).collect();
    let mut lines = Lines::churning();
    let mut out = Vec::new();
    let started = Instant::now();
    let mut number = 0;
    for tick in 0..seconds * TICKS_A_SECOND {
        out.clear();
        for _ in 0..RATE / TICKS_A_SECOND {
            lines.push(number, &mut out)?;
            number += 1;
        }
        for (pipe, running) in pipes.iter_mut().zip(&running) {
            pipe.write_all(&out).with_context(|| format!("flowdump takes no more: {}", running.stderr()))?;
        }
        if tick % TICKS_A_SECOND == TICKS_A_SECOND - 1 {
            for (samples, running) in resident.iter_mut().zip(&running) {
                samples.push(resident_bytes(running.pid())?);
            }
        }
        let due = TICK * u32::try_from(tick + 1)?;
        thread::sleep(due.saturating_sub(started.elapsed()));
    }
    let elapsed = started.elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss, reason = "millions")]
    let rate = number as f64 / elapsed;
    drop(pipes);
    report.heading(&format!(
        "memory with {RATE} flows a second for {seconds} s between pods that come and go, ten a second, to three programs at \
         once; in brackets by how much the second half's highest lies over the first half's"
    ))?;
    for (((name, _), samples), running) in WAYS.iter().zip(&resident).zip(&running) {
        let (first, second) = samples.split_at(samples.len() / 2);
        let highest = |of: &[u64]| of.iter().copied().max().unwrap_or_default();
        let (first, second) = (highest(first), highest(second));
        ensure!(first > 0, "{name}: nothing was seen of its memory: {}", running.stderr());
        #[allow(clippy::cast_precision_loss, reason = "bytes of memory")]
        let growth = second as f64 / first as f64 - 1.0;
        let mib = second >> 20;
        report.result(
            &json!({
                "kind": "steady", "what": name, "seconds": seconds, "flows_per_s": rounded(rate, 0), "offered_per_s": RATE,
                "first_half_bytes": first, "second_half_bytes": second, "growth": rounded(growth, 4), "target": TARGET,
            }),
            &format!("{name:40} {rate:6.0}/s   {mib:4} MiB [{growth:+7.4}]   (to reach: {TARGET} at most)"),
        )?;
    }
    Ok(())
}

/// Memory of a process that is there now.
fn resident_bytes(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("flowdump is gone")?;
    kibibytes(&status, "VmRSS").map(|kib| kib * 1024).context("the kernel does not tell the memory of a process")
}

fn kibibytes(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_its_unit() {
        assert_eq!(kibibytes("VmRSSx:\t1 kB\nVmRSS:\t    5300 kB\n", "VmRSS"), Some(5300));
        assert_eq!(kibibytes("Name:\tx\n", "VmRSS"), None);
        assert!(resident_bytes(std::process::id()).unwrap() > 1 << 20);
    }
}
