//! Saved lines a second on one core: filter, to text and to JSON.
//!
//! A second is one of CPU time, of the process and of the kernel for it, its start included: what else the machine does weighs
//! less on it than on the clock. Each round takes all ways in turn, and each is compared with the same round's floors: to find
//! the ends of lines, and to find in each the end of its JSON.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use nix::sys::{
    resource::{Usage, UsageWho, getrusage},
    time::TimeValLike,
};
use serde::de::IgnoredAny;
use serde_json::json;

use super::{
    lines::{self, Lines},
    on_one_cpu,
};
use crate::{
    report::Report,
    stats::{median, median_ratio, rounded},
};

const LINES: u64 = 100_000;

/// What is done with the lines.
struct Way {
    name: &'static str,
    arguments: &'static [&'static str],
    /// Lines a second to be reached.
    target: Option<f64>,
    /// How many lines come out of so many.
    shown: u64,
}

const WAYS: [Way; 5] = [
    Way {
        name: "filter (a tenth is shown) to compact",
        arguments: &["--verdict", "DROPPED", "-o", "compact"],
        target: Some(700_000.0),
        shown: LINES / lines::DROPPED,
    },
    Way {
        name: "filter (all are shown) to compact",
        arguments: &["--namespace", "shop", "-o", "compact"],
        target: Some(700_000.0),
        shown: LINES,
    },
    Way {
        name: "filter (a tenth is shown) to JSON",
        arguments: &["--verdict", "DROPPED", "-o", "jsonl"],
        target: Some(400_000.0),
        shown: LINES / lines::DROPPED,
    },
    Way {
        name: "filter (all are shown) to JSON",
        arguments: &["--namespace", "shop", "-o", "jsonl"],
        target: Some(400_000.0),
        shown: LINES,
    },
    Way { name: "no filter, to dict", arguments: &["-o", "dict"], target: None, shown: 0 },
];

pub(super) fn measure(report: &Report, flowdump: &Path, rounds: usize) -> Result<()> {
    let folder = tempfile::tempdir().context("cannot make a folder")?;
    let path = folder.path().join("flows.jsonl");
    let mut file = std::io::BufWriter::new(File::create(&path).context("cannot make a file")?);
    let bytes = Lines::steady().write(LINES, &mut file)?;
    std::io::Write::flush(&mut file).context("cannot write saved lines")?;
    let all = fs::read(&path).context("cannot read what was written")?;
    for way in WAYS.iter().filter(|way| way.shown > 0) {
        // A program that shows nothing would be fast.
        let output = command(flowdump, &path, way).output().context("cannot run flowdump")?;
        let shown = memchr::memchr_iter(b'\n', &output.stdout).count();
        ensure!(output.status.success(), "flowdump ended with {}", output.status);
        ensure!(u64::try_from(shown)? == way.shown, "{}: {shown} lines came out and not {}", way.name, way.shown);
    }
    let mut floors: [Vec<f64>; 2] = Default::default();
    let mut by_way: [Vec<f64>; WAYS.len()] = Default::default();
    on_one_cpu(|| {
        for _ in 0..rounds {
            let [ends, json] = &mut floors;
            ends.push(rate(UsageWho::RUSAGE_THREAD, || find_ends(&all))?);
            json.push(rate(UsageWho::RUSAGE_THREAD, || find_json(&all))?);
            for (way, results) in WAYS.iter().zip(&mut by_way) {
                let mut command = command(flowdump, &path, way);
                command.stdout(Stdio::null());
                results.push(rate(UsageWho::RUSAGE_CHILDREN, || {
                    let status = command.status().context("cannot run flowdump")?;
                    ensure!(status.success(), "flowdump ended with {status}");
                    Ok(())
                })?);
            }
        }
        Ok(())
    })?;
    report.heading(&format!(
        "saved lines a second of CPU time on one core, {LINES} lines of {} bytes; in brackets the ratio to the floor of the \
         same round, which is serde_json finding the end of each line's JSON",
        bytes / LINES
    ))?;
    let [ends, json] = &floors;
    tell(report, "floor: the ends of lines, by memchr", ends, json, None)?;
    tell(report, "floor: the ends of JSON, by serde_json", json, json, None)?;
    for (way, results) in WAYS.iter().zip(&by_way) {
        tell(report, way.name, results, json, way.target)?;
    }
    Ok(())
}

fn tell(report: &Report, what: &str, results: &[f64], floor: &[f64], target: Option<f64>) -> Result<()> {
    let (lines, ratio) = (median(results), median_ratio(results, floor));
    report.result(
        &json!({
            "kind": "saved", "what": what, "lines_per_s": rounded(lines, 0), "floor_ratio": rounded(ratio, 3),
            "target": target, "rounds": results.len(),
        }),
        &format!(
            "{what:40} {lines:9.0}/s [{ratio:6.3}]{}",
            target.map_or(String::new(), |target| format!("   (to reach: {target})"))
        ),
    )
}

fn command(flowdump: &Path, path: &Path, way: &Way) -> Command {
    let mut command = Command::new(flowdump);
    command.arg("-r").arg(path).args(way.arguments).stdin(Stdio::null());
    command
}

/// Lines a second of CPU time, of work on all of them.
fn rate(who: UsageWho, work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let used = |usage: Usage| (usage.user_time() + usage.system_time()).num_microseconds();
    let before = used(getrusage(who).context("cannot ask for CPU time")?);
    work()?;
    let after = used(getrusage(who).context("cannot ask for CPU time")?);
    #[allow(clippy::cast_precision_loss, reason = "microseconds of minutes")]
    let microseconds = (after - before).max(1) as f64;
    #[allow(clippy::cast_precision_loss, reason = "thousands")]
    let lines = LINES as f64;
    Ok(lines / microseconds * 1e6)
}

fn find_ends(all: &[u8]) -> Result<()> {
    let found = memchr::memchr_iter(b'\n', std::hint::black_box(all)).count();
    ensure!(u64::try_from(found)? == LINES, "{found} lines are there and not {LINES}");
    Ok(())
}

fn find_json(all: &[u8]) -> Result<()> {
    let mut rest = all;
    let mut found = 0;
    while let Some(at) = memchr::memchr(b'\n', rest) {
        let (line, after) = rest.split_at(at);
        serde_json::from_slice::<IgnoredAny>(line).context("a line is no JSON")?;
        rest = after.get(1..).unwrap_or_default();
        found += 1;
    }
    ensure!(found == LINES, "{found} lines are there and not {LINES}");
    Ok(())
}
