//! What two pods get out of their network: TCP throughput and connections a second.
//!
//! Each round takes every setting in turn, beginning with another one each time, and each is compared with the bare wire of
//! the same round: neighbours on the machine and its clock weigh on all of them alike.

use std::{
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use chainkit_bpf::{Attachment, Datapath, Direction, Kit, NodeLock, Settings};
use chainkit_lab::{
    Lab, Pod, Running,
    peer::{Server, tcp},
};
use serde_json::{Value, json};

use crate::{
    datapath::{Readers, Wants},
    report::Report,
    stats::{median, median_ratio, rounded},
};

/// How long connections are opened, and how many at most: fewer than there are ports.
const CONNECTING: Duration = Duration::from_secs(1);
const CONNECTIONS: u32 = 20_000;
/// Seconds that iperf3 sends.
const SECONDS: &str = "2";
/// Bytes that the lab's own source sends where there is no iperf3.
const BYTES: u64 = 3 << 30;
/// As `flowdump` has it.
const RING: u32 = 8 << 20;
pub(crate) const IPERF_PORT: u16 = 5201;

/// What each round gave with one setting: throughput, connections between two threads, and on one.
struct Results {
    setting: Setting,
    by_measure: [Vec<f64>; 3],
}

/// What hangs on the pods' interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setting {
    Bare,
    Attached,
    Sparse,
    Packets,
    Tcpdump,
}

impl Setting {
    const ALL: [Self; 5] = [Self::Bare, Self::Attached, Self::Sparse, Self::Packets, Self::Tcpdump];

    const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Attached => "attached, no reader",
            Self::Sparse => "one reader",
            Self::Packets => "one reader of every packet",
            Self::Tcpdump => "tcpdump",
        }
    }

    /// What the ratio of throughput and that of connections are to be at least.
    const fn targets(self) -> Option<(f64, f64)> {
        match self {
            Self::Sparse => Some((0.97, 0.95)),
            _ => None,
        }
    }
}

/// What is in place during a measurement; gone when dropped.
enum InPlace {
    Nothing,
    // Readers before the attachments and those before the datapath: dropped in this order.
    Observed { _readers: Option<Readers>, _attachments: Vec<Attachment>, _datapath: Datapath },
    Tcpdump { _running: Running },
}

/// Throughput by iperf3, or by the lab's own source and sink.
pub(crate) enum Source {
    Iperf { _server: Running },
    Lab { server: Server },
}

/// All of it.
pub(crate) fn measure(report: &Report, rounds: usize) -> Result<()> {
    let lab = Lab::new()?;
    let (server, client) = (lab.pod("bench", "server")?, lab.pod("bench", "client")?);
    let at = |port| SocketAddr::new(IpAddr::V4(server.ip4), port);
    let source = Source::start(&server, at(0))?;
    let listen = || server.run(|| TcpListener::bind(at(0)))?.context("cannot listen in a pod");
    let (listener, accepting) = (listen()?, listen()?);
    let accepts = accepting.local_addr().context("cannot ask a socket for its address")?;
    // One thread for all, unlike the lab's servers: to start one costs more than a connection. It ends with the process.
    thread::spawn(move || accepting.incoming().for_each(drop));
    let has_tcpdump = is_there("tcpdump", "--version");
    let settings = Setting::ALL.into_iter().filter(|setting| has_tcpdump || *setting != Setting::Tcpdump);
    let settings: Vec<Setting> = settings.collect();
    if !has_tcpdump {
        report.skipped("tcpdump", "it is not installed: run tests/run packages as root")?;
    }
    let mut results: Vec<Results> =
        settings.iter().map(|setting| Results { setting: *setting, by_measure: Default::default() }).collect();
    for round in 0..rounds {
        let count = results.len();
        results.rotate_left(round.min(1) % count.max(1));
        for Results { setting, by_measure: [throughput, connects, packets_of_connects] } in &mut results {
            let in_place = put_in_place(&lab, *setting, [&server, &client])?;
            throughput.push(source.gigabits(&client, at(IPERF_PORT))?);
            connects.push(connections(&client, accepts)?);
            packets_of_connects.push(connections_on_one_thread(&client, &listener)?);
            drop(in_place);
        }
    }
    results.sort_by_key(|results| Setting::ALL.iter().position(|other| *other == results.setting));
    tell(report, &results, rounds, source.name())
}

fn tell(report: &Report, results: &[Results], rounds: usize, by: &str) -> Result<()> {
    let bare = results.iter().find(|results| results.setting == Setting::Bare).context("nothing was measured bare")?;
    report.heading(&format!(
        "between two pods of a node, and in brackets the ratio to the bare wire of the same round: throughput by {by}; \
         connections between two threads; connections whose ends are one thread's, which are all packets and no waiting"
    ))?;
    for Results { setting, by_measure } in results {
        let medians = by_measure.each_ref().map(|values| median(values));
        let [gigabits, connects, on_one] = medians;
        let mut ratios = [1.0; 3];
        for (ratio, (values, to)) in ratios.iter_mut().zip(by_measure.iter().zip(&bare.by_measure)) {
            *ratio = median_ratio(values, to);
        }
        let [gigabits_ratio, connects_ratio, on_one_ratio] = ratios;
        let targets = setting.targets();
        report.result(
            &json!({
                "kind": "traffic", "setting": setting.name(), "by": by, "rounds": rounds,
                "gbit_per_s": rounded(gigabits, 2), "throughput_ratio": rounded(gigabits_ratio, 3),
                "throughput_target": targets.map(|(target, _)| target),
                "connections_per_s": rounded(connects, 0), "connections_ratio": rounded(connects_ratio, 3),
                "connections_target": targets.map(|(_, target)| target),
                "one_thread_connections_per_s": rounded(on_one, 0), "one_thread_connections_ratio": rounded(on_one_ratio, 3),
            }),
            &format!(
                "{:27} {gigabits:6.2} Gbit/s [{gigabits_ratio:5.3}]   {connects:6.0}/s [{connects_ratio:5.3}]   \
                 {on_one:6.0}/s [{on_one_ratio:5.3}]{}",
                setting.name(),
                targets.map_or(String::new(), |(first, second)| format!("   (to reach: {first} and {second})")),
            ),
        )?;
    }
    Ok(())
}

/// Hangs on the interfaces of both pods what a setting says.
fn put_in_place(lab: &Lab, setting: Setting, pods: [&Pod; 2]) -> Result<InPlace> {
    match setting {
        Setting::Bare => Ok(InPlace::Nothing),
        Setting::Tcpdump => {
            let [server, _] = pods;
            let arguments = ["-n", "-w", "/dev/null", "-i", &server.host_ifname];
            let mut running = lab.node().spawn("tcpdump", arguments)?;
            running.wait_for_stderr("listening on", Duration::from_secs(10))?;
            Ok(InPlace::Tcpdump { _running: running })
        }
        Setting::Attached | Setting::Sparse | Setting::Packets => lab.node().run(|| {
            let datapath = Datapath::load()?;
            let lock = NodeLock::take(lab.root())?;
            let mut attachments = Vec::new();
            for pod in pods {
                datapath.add_endpoint(&lock, pod.host_ifindex, Settings::default())?;
                for direction in Direction::BOTH {
                    attachments.push(chainkit_bpf::attach(&datapath, pod.host_ifindex, direction, Kit::best())?);
                }
            }
            // A reader that starts takes it, too.
            drop(lock);
            let wants = match setting {
                Setting::Sparse => Some(Wants::Sparse),
                Setting::Packets => Some(Wants::Packets),
                _ => None,
            };
            let readers = wants.map(|wants| Readers::start(&datapath, lab.root(), 1, wants, RING)).transpose()?;
            Ok(InPlace::Observed { _readers: readers, _attachments: attachments, _datapath: datapath })
        })?,
    }
}

fn is_there(program: &str, argument: &str) -> bool {
    let run =
        Command::new(program).arg(argument).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    run.is_ok()
}

impl Source {
    pub(crate) fn start(server: &Pod, any: SocketAddr) -> Result<Self> {
        if !is_there("iperf3", "--version") {
            return Ok(Self::Lab { server: server.run(|| tcp::sink(any))?? });
        }
        let mut running = server.spawn("iperf3", ["--server", "--forceflush"])?;
        running.wait_for_stdout("Server listening", Duration::from_secs(10))?;
        Ok(Self::Iperf { _server: running })
    }

    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Iperf { .. } => "iperf3",
            Self::Lab { .. } => "the lab's source",
        }
    }

    /// Gigabits of payload a second that arrive.
    pub(crate) fn gigabits(&self, client: &Pod, iperf: SocketAddr) -> Result<f64> {
        match self {
            Self::Iperf { .. } => {
                let arguments = ["--client", &iperf.ip().to_string(), "--time", SECONDS, "--json"];
                let output = client.command("iperf3").args(arguments).output().context("cannot run iperf3")?;
                let said: Value = serde_json::from_slice(&output.stdout).context("iperf3 did not print JSON")?;
                let bits = said.pointer("/end/sum_received/bits_per_second").and_then(Value::as_f64);
                bits.map(|bits| bits / 1e9)
                    .with_context(|| format!("iperf3 failed: {}", said.get("error").unwrap_or(&said)))
            }
            Self::Lab { server } => {
                let started = Instant::now();
                client.run(|| tcp::source(server.address(), BYTES))??;
                #[allow(clippy::cast_precision_loss, reason = "a multiple of a gigabyte")]
                let bits = (BYTES * 8) as f64;
                Ok(bits / started.elapsed().as_secs_f64() / 1e9)
            }
        }
    }
}

/// Connections a second to a server on another thread, one after another.
fn connections(client: &Pod, to: SocketAddr) -> Result<f64> {
    repeatedly(client, || tcp::connects(to, 1).context("cannot connect from pod to pod"))
}

/// The same with both ends on one thread, in whose system calls all their packets are handled: what is measured is what the
/// packets cost, and not how soon a server is woken.
fn connections_on_one_thread(client: &Pod, listener: &TcpListener) -> Result<f64> {
    let to = listener.local_addr().context("cannot ask a socket for its address")?;
    repeatedly(client, || {
        let ours = TcpStream::connect(to).context("cannot connect from pod to pod")?;
        // The side that closes first is left with TIME_WAIT: then the client's ports are free again.
        drop(listener.accept().context("cannot accept what came")?);
        drop(ours);
        Ok(())
    })
}

/// How often a second something can be done in a pod.
fn repeatedly(pod: &Pod, mut once: impl FnMut() -> Result<()> + Send) -> Result<f64> {
    let (count, elapsed) = pod.run(|| {
        let started = Instant::now();
        let mut count = 0u32;
        while started.elapsed() < CONNECTING && count < CONNECTIONS {
            once()?;
            count += 1;
        }
        Ok::<_, anyhow::Error>((count, started.elapsed()))
    })??;
    Ok(f64::from(count) / elapsed.as_secs_f64())
}
