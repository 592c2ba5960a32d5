//! Nanoseconds a packet: established and first, with and without readers, beside the floor.
//!
//! `BPF_PROG_TEST_RUN` runs a program on one frame again and again, so everything is in the caches: what is measured is the
//! work itself. The kernel's own timing is taken, which leaves out the time that other processes have the CPU. The floor is
//! run in turn with the datapath.

use anyhow::Result;
use chainkit_bpf::{Datapath, Program as Hook, TestContext};
use serde_json::json;

use crate::{
    datapath::{self, Readers, Wants},
    floor::{Floor, Program},
    frames::Case,
    report::Report,
    stats::{median, middle, rounded},
};

/// Runs of a program in one call; a ring holds the events of them all.
const REPEAT: u32 = 20_000;
const RING: u32 = 16 << 20;
/// What an established packet without a reader is to cost at most, as a ratio to the floor.
const TARGET: f64 = 1.2;
/// Ports are counted up from here.
const FIRST_PORT: u16 = 1024;
/// Connections that fill a table before what is measured.
const BEFORE: usize = 8192;
/// Established packets have a port of their own.
const PORT: u16 = 1000;

/// All of it.
pub(crate) fn measure(report: &Report, rounds: usize) -> Result<()> {
    let root = tempfile::tempdir()?;
    let floor = Floor::load()?;
    report.heading(
        "ns a packet, established; beside the floor (parse, one LRU look-up, two counters) in the same round",
    )?;
    for (readers, wants) in
        [(0, Wants::Sparse), (1, Wants::Sparse), (4, Wants::Sparse), (1, Wants::Packets), (4, Wants::Packets)]
    {
        let datapath = datapath::of_loopback(root.path(), chainkit_abi::CONNECTIONS)?;
        let readers = (readers > 0)
            .then(|| {
                Readers::start(&datapath, root.path(), readers, wants, RING).map(|started| (readers, wants, started))
            })
            .transpose()?;
        // What readers make of it varies little, and takes long.
        let rounds = if readers.is_some() { rounds / 3 + 1 } else { rounds };
        on_one_cpu(|| established(report, &floor, &datapath, readers.as_ref(), rounds))?;
    }
    report.heading("ns a first packet, less what an empty program takes when called the same way (once a call)")?;
    on_one_cpu(|| first(report, &floor, root.path()))?;
    report.heading("ns a TCP connection that carries nothing: its seven packets, measured and lessened likewise")?;
    on_one_cpu(|| life(report, &floor, root.path()))
}

/// Runs `work` on a thread that stays on the first CPU.
pub(crate) fn on_one_cpu(work: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            datapath::stay_on(0)?;
            work()
        });
        inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn established(
    report: &Report,
    floor: &Floor,
    datapath: &Datapath,
    readers: Option<&(usize, Wants, Readers)>,
    rounds: usize,
) -> Result<()> {
    for case in Case::ALL {
        let frame = case.established(PORT);
        datapath::establish(datapath, case, PORT)?;
        let (mut empty, mut least, mut ours) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            empty.push(floor.run(Program::Empty, &frame, REPEAT)?);
            least.push(floor.run(Program::Floor, &frame, REPEAT)?);
            let run = datapath.test_run(Hook::FromPod, &frame, TestContext::default(), REPEAT)?;
            ours.push(f64::from(run.nanoseconds));
            if let Some((_, _, readers)) = readers {
                readers.settle()?;
            }
        }
        let (count, wants, lost) = match readers {
            Some((count, wants, readers)) => (*count, wants.name(), readers.settle()?.1),
            None => (0, "none", 0),
        };
        let (empty, least, ours) = (middle(&empty), middle(&least), middle(&ours));
        let ratio = ours / least;
        report.result(
            &json!({
                "kind": "cost", "packet": "established", "case": case.name(), "readers": count, "events": wants,
                "ns": rounded(ours, 1), "floor_ns": rounded(least, 1), "empty_ns": rounded(empty, 1),
                "ratio": rounded(ratio, 3), "target": (count == 0).then_some(TARGET), "rounds": rounds, "lost": lost,
            }),
            &format!(
                "{:5} {count} readers ({wants:10})  {ours:7.1}   floor {least:6.1}   empty {empty:5.1}   ratio {ratio:6.2}{}{}",
                case.name(),
                if count == 0 { format!("   (to reach: {TARGET})") } else { String::new() },
                if lost == 0 { String::new() } else { format!("   lost {lost}") },
            ),
        )?;
    }
    Ok(())
}

/// Every call opens another connection. A run that is called once is timed with its clock readings, hence the subtraction.
fn first(report: &Report, floor: &Floor, root: &std::path::Path) -> Result<()> {
    for (name, connections, before, ports) in
        [("empty table", 60_000, 0, 20_000), ("full table", chainkit_abi::CONNECTIONS, BEFORE, 20_000)]
    {
        for case in Case::ALL {
            let datapath = datapath::of_loopback(root, connections)?;
            let frames = (FIRST_PORT..).take(before + ports).map(|port| case.first(port));
            let (mut empty, mut least, mut ours) = (Vec::new(), Vec::new(), Vec::new());
            for (number, frame) in frames.enumerate() {
                let run = datapath.test_run(Hook::FromPod, &frame, TestContext::default(), 1)?;
                if number < before {
                    continue;
                }
                ours.push(f64::from(run.nanoseconds));
                empty.push(floor.run(Program::Empty, &frame, 1)?);
                least.push(floor.run(Program::Floor, &frame, 1)?);
            }
            let empty = median(&empty);
            let (least, ours) = (median(&least) - empty, median(&ours) - empty);
            report.result(
                &json!({
                    "kind": "cost", "packet": "first", "case": case.name(), "table": name, "ns": rounded(ours, 0),
                    "floor_ns": rounded(least, 0), "empty_ns": rounded(empty, 0), "ratio": rounded(ours / least, 2),
                    "rounds": ports,
                }),
                &format!(
                    "{:5} {name:11}  {ours:6.0}   floor {least:5.0}   (empty program: {empty:.0})   ratio {:5.2}",
                    case.name(),
                    ours / least
                ),
            )?;
        }
    }
    Ok(())
}

/// Connections one after another, in a table that is full of those before.
fn life(report: &Report, floor: &Floor, root: &std::path::Path) -> Result<()> {
    for (readers, wants) in [(0, Wants::Sparse), (1, Wants::Sparse)] {
        let datapath = datapath::of_loopback(root, chainkit_abi::CONNECTIONS)?;
        let _readers = (readers > 0).then(|| Readers::start(&datapath, root, readers, wants, RING)).transpose()?;
        let mut empty = Vec::new();
        let mut each: [Vec<f64>; 7] = Default::default();
        for port in (FIRST_PORT..).take(BEFORE + 10_000) {
            for (place, (from_pod, frame)) in each.iter_mut().zip(Case::Tcp4.life(port)) {
                let hook = if from_pod { Hook::FromPod } else { Hook::ToPod };
                let run = datapath.test_run(hook, &frame, TestContext::default(), 1)?;
                if usize::from(port - FIRST_PORT) >= BEFORE {
                    place.push(f64::from(run.nanoseconds));
                    empty.push(floor.run(Program::Empty, &frame, 1)?);
                }
            }
        }
        let empty = median(&empty);
        let each = each.map(|times| rounded(median(&times) - empty, 0));
        let sum: f64 = each.iter().sum();
        report.result(
            &json!({ "kind": "cost", "packet": "connection", "case": "tcp4", "readers": readers, "ns": sum, "each": each }),
            &format!("{:5} {readers} readers  {sum:6.0}   {each:.0?}", Case::Tcp4.name()),
        )?;
    }
    Ok(())
}
