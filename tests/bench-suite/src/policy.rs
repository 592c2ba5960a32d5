//! What it takes to understand policy at the size of the largest users. No kernel is asked.

use std::{fs, hint::black_box, time::Instant};

use anyhow::{Context, Result};
use chainkit_policy::{Engine, Options, Scope};
use serde_json::json;

use crate::{
    report::Report,
    stats::{median, rounded},
};

// The clusters are those of the engine's own tests in another size.
#[allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "it is test code, taken in as it stands"
)]
#[path = "../../../lib/policy/tests/common/mod.rs"]
mod common;

use common::large::{PODS_OF_EACH, blocklist, busy, crossing};

const NAMESPACES: usize = 5_000;
const PREFIXES: u32 = 100_000;
/// Of four workloads and two policies each.
const CROSSING: usize = 500;

/// What is to be reached, in seconds.
const COLD: f64 = 3.0;
const EXPLAIN: f64 = 0.05;
const MATRIX: f64 = 5.0;
/// And in bytes.
const MEMORY: u64 = 1 << 30;

pub(crate) fn measure(report: &Report, rounds: usize) -> Result<()> {
    report.heading(&format!(
        "policy: {} pods in {NAMESPACES} namespaces, 200 of them here, {} policies, 20000 label sets, {} services",
        NAMESPACES * PODS_OF_EACH,
        NAMESPACES * 2,
        NAMESPACES * 2
    ))?;
    let cluster = busy(NAMESPACES);
    let options = Options { scope: Scope::Node("n0".to_owned()), ..Options::default() };
    let before = resident()?;
    let mut cold = Vec::new();
    for _ in 0..rounds {
        let started = Instant::now();
        let engine = Engine::new(&cluster, &options);
        black_box(engine.tables());
        cold.push(started.elapsed().as_secs_f64());
    }
    let engine = Engine::new(&cluster, &options);
    let tables = engine.tables();
    let memory = resident()?.saturating_sub(before);
    tell(report, "cold compile", median(&cold), COLD)?;
    report.result(
        &json!({"kind": "policy", "what": "memory", "bytes": memory, "target": MEMORY, "rows": tables.rows().count()}),
        &format!("{:28} {:9} KiB   (to reach: {})", "memory of it", memory >> 10, MEMORY >> 10),
    )?;
    let flow = common::tcp(common::party(&cluster, "ns1/p1"), common::party(&cluster, "ns0/p0"), 8080);
    let mut explain = Vec::new();
    for _ in 0..rounds {
        let started = Instant::now();
        black_box(engine.explain(&flow));
        explain.push(started.elapsed().as_secs_f64());
    }
    tell(report, "explain, once loaded", median(&explain), EXPLAIN)?;
    drop((tables, engine));
    drop(cluster);

    let cluster = blocklist(PREFIXES);
    let started = Instant::now();
    let engine = Engine::new(&cluster, &Options::default());
    black_box(engine.tables());
    tell(report, "a blocklist of 100000 CIDRs", started.elapsed().as_secs_f64(), COLD)?;

    let cluster = crossing(CROSSING);
    let started = Instant::now();
    let engine = Engine::new(&cluster, &Options::default());
    let reach = engine.reach();
    let mut open = 0usize;
    for source in 0..cluster.workloads.len() {
        for destination in 0..cluster.workloads.len() {
            open += usize::from(!reach.between(source, destination).is_empty());
        }
        open += reach.to_external(source).len();
    }
    black_box(open);
    tell(report, "2000 workloads, all pairs", started.elapsed().as_secs_f64(), MATRIX)
}

fn tell(report: &Report, what: &str, seconds: f64, target: f64) -> Result<()> {
    report.result(
        &json!({"kind": "policy", "what": what, "seconds": rounded(seconds, 6), "target": target}),
        &format!("{what:28} {:9.3} ms   (to reach: {:.0})", seconds * 1e3, target * 1e3),
    )
}

/// Bytes of this process that are in memory.
fn resident() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("there is no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().context("VmRSS is no number")?;
    Ok(kib << 10)
}
