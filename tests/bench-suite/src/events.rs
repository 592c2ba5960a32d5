//! Events a second from the kernel to a reader, with none lost.
//!
//! Packets come at a steady rate, as many every millisecond, from `BPF_PROG_TEST_RUN` on an interface of a lab's node; every
//! one is an event. The rate is raised until some are lost, and then halved towards the largest at which none are. The feeder
//! takes CPU time too, which in life the packets would.

use std::{
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use chainkit_bpf::{Attachment, Datapath, Direction, Kit, NodeLock, Program, Settings, TestContext};
use chainkit_lab::{Lab, Pod, Running};
use serde_json::json;

use crate::{
    datapath::{Readers, Wants},
    frames::Case,
    report::Report,
};

/// Events a second that must be read without loss.
const TARGET: u32 = 200_000;
/// How long a rate is held.
const HOLD: Duration = Duration::from_secs(3);
/// How often packets come.
const TICK: Duration = Duration::from_millis(1);
const FIRST_RATE: u32 = 50_000;
const LAST_RATE: u32 = 3_200_000;
/// Steps between the last rate that was held and the first that was not.
const STEPS: u32 = 4;
/// As `flowdump` has it.
const RING: u32 = 8 << 20;

/// Who reads.
#[derive(Clone, Copy)]
enum Reader<'a> {
    /// Counts, and does nothing else.
    Count,
    /// Prints JSON to `/dev/null`.
    Flowdump(&'a Path),
}

impl Reader<'_> {
    const fn name(self) -> &'static str {
        match self {
            Self::Count => "a reader that counts",
            Self::Flowdump(_) => "flowdump --per-packet -j > /dev/null",
        }
    }
}

/// All of it.
pub(crate) fn measure(report: &Report, flowdump: Option<&Path>) -> Result<()> {
    let lab = Lab::new()?;
    let pod = lab.pod("bench", "pod")?;
    let node = lab.node().run(|| Node::new(&lab, &pod))??;
    report.heading("events a second without loss, to one reader of every packet")?;
    measure_one(report, &lab, &node, Reader::Count)?;
    match flowdump {
        Some(path) => measure_one(report, &lab, &node, Reader::Flowdump(path)),
        None => report.skipped("flowdump", "give its path by --flowdump or $CHAINKIT_FLOWDUMP"),
    }
}

fn measure_one(report: &Report, lab: &Lab, node: &Node, reader: Reader<'_>) -> Result<()> {
    let mut trials = Vec::new();
    let mut held = |rate: u32| -> Result<bool> {
        let (came, lost) = node.trial(lab, reader, rate)?;
        trials.push(json!({ "offered_per_s": rate, "came_per_s": came, "lost": lost }));
        // A feeder that does not keep up says nothing about the reader.
        Ok(!lost && came >= rate / 20 * 19)
    };
    let (mut best, mut too_much) = (0, FIRST_RATE);
    while too_much <= LAST_RATE && held(too_much)? {
        best = too_much;
        too_much *= 2;
    }
    for _ in 0..STEPS {
        let between = best + (too_much - best) / 2;
        if held(between)? {
            best = between;
        } else {
            too_much = between;
        }
    }
    report.result(
        &json!({ "kind": "events", "reader": reader.name(), "events_per_s": best, "target": TARGET, "trials": trials }),
        &format!("{:38} {best:9}   (to reach: {TARGET})", reader.name()),
    )
}

/// A datapath on a pod's interface.
struct Node {
    datapath: Datapath,
    ifindex: u32,
    _attachments: Vec<Attachment>,
}

impl Node {
    /// Called in the node's network namespace.
    fn new(lab: &Lab, pod: &Pod) -> Result<Self> {
        let datapath = Datapath::load()?;
        datapath.add_endpoint(&NodeLock::take(lab.root())?, pod.host_ifindex, Settings::default())?;
        let attach = |direction| chainkit_bpf::attach(&datapath, pod.host_ifindex, direction, Kit::best());
        let attachments = Direction::BOTH.map(attach).into_iter().collect::<Result<_, _>>()?;
        Ok(Self { datapath, ifindex: pod.host_ifindex, _attachments: attachments })
    }

    /// Holds a rate; answers the rate that came out, and whether the reader lost any.
    fn trial(&self, lab: &Lab, reader: Reader<'_>, rate: u32) -> Result<(u32, bool)> {
        match reader {
            Reader::Count => {
                let readers = Readers::start(&self.datapath, lab.root(), 1, Wants::Packets, RING)?;
                let (sent, came) = lab.node().run(|| self.feed(rate))??;
                let (read, lost) = readers.settle()?;
                // The interface has packets of its own now and then, of IPv6 neighbour discovery.
                ensure!(read + lost >= u64::from(sent), "of {sent} packets {read} were read and {lost} lost");
                Ok((came, lost > 0))
            }
            Reader::Flowdump(path) => {
                let mut command = lab.node().command(path);
                command.args(["--per-packet", "-j", "--fail-on-loss", "--root"]).arg(lab.root());
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
                let mut running = Running::start_as_is(command)?;
                self.wait_for_reader(&running)?;
                let (_, came) = lab.node().run(|| self.feed(rate))??;
                // What is in the ring is read before it ends.
                interrupt(&running)?;
                let status = running.wait(Duration::from_secs(30))?;
                match status.code() {
                    Some(0) => Ok((came, false)),
                    Some(1) => Ok((came, true)),
                    _ => bail!("flowdump ended with {status} (signal {:?}): {}", status.signal(), running.stderr()),
                }
            }
        }
    }

    fn wait_for_reader(&self, running: &Running) -> Result<()> {
        let started = Instant::now();
        while self.datapath.control_value()?.observers == 0 {
            ensure!(started.elapsed() < Duration::from_secs(10), "flowdump does not observe: {}", running.stderr());
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Runs the program at a rate, in the node's network namespace; answers how many packets it was, and the rate that
    /// was reached.
    fn feed(&self, rate: u32) -> Result<(u32, u32)> {
        let context = TestContext { ifindex: self.ifindex, ..TestContext::default() };
        let frames: Vec<Vec<u8>> = (1000..1008).map(|port| Case::Udp4.established(port)).collect();
        let started = Instant::now();
        let mut sent = 0u32;
        for (tick, frame) in (1u32..).zip(frames.iter().cycle()) {
            let elapsed = started.elapsed();
            if elapsed >= HOLD {
                break;
            }
            let due = elapsed.as_secs_f64() * f64::from(rate);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds times millions")]
            let due = due as u32;
            if due > sent {
                self.datapath.test_run(Program::FromPod, frame, context, due - sent)?;
                sent = due;
            }
            thread::sleep((TICK * tick).saturating_sub(started.elapsed()));
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds times millions")]
        let came = (f64::from(sent) / started.elapsed().as_secs_f64()) as u32;
        Ok((sent, came))
    }
}

/// Ctrl-C.
fn interrupt(running: &Running) -> Result<()> {
    let status = Command::new("kill").args(["-INT", &running.pid().to_string()]).status().context("cannot run kill")?;
    ensure!(status.success(), "kill ended with {status}");
    Ok(())
}
