//! What the chain costs: ADD and DEL beside another plugin, many at once, pods that run already, and a swap under load.

use std::{
    io::{self, Write},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use chainkit_bpf::{Datapath, Kit, NodeLock, Pins, Settings, attach_endpoint};
use chainkit_lab::{
    Lab, Pod, another_version,
    cni::{Attachment, Call, Chain, Verb},
    peer::tcp,
};
use serde_json::json;

use crate::{
    report::Report,
    stats::{median, median_ratio, rounded},
};

/// What ADD and DEL are to cost at most, beside `tuning`.
const TARGET: f64 = 1.0;
/// What each plugin is called for in a round.
const VERBS: [Verb; 2] = [Verb::Add, Verb::Del];
/// Pods that are started at once.
const CROWD: usize = 100;
/// Pods that are adopted in one go.
const ADOPTED: usize = 200;
/// How long a download goes on for each measure of the swap.
const BYTES: u64 = 4 << 30;

pub(crate) fn measure(report: &Report, rounds: usize) -> Result<()> {
    beside_tuning(report, rounds)?;
    crowd(report)?;
    adopt(report)?;
    swap(report, (rounds / 10).max(3))
}

/// A plugin of a chain of its own, with what it is called for.
struct Plugin {
    name: &'static str,
    chain: Chain,
}

impl Plugin {
    fn new(lab: &Lab, name: &'static str, config: &serde_json::Value) -> Result<Self> {
        Ok(Self { name, chain: Chain::new(lab, "bench", "1.0.0")?.plugin(config.clone()) })
    }

    /// Debian's tuning plugin, which writes one sysctl of the pod.
    fn tuning(lab: &Lab) -> Result<Self> {
        let data = lab.root().join("tmp/tuning");
        let sysctl = json!({"net.ipv4.conf.eth0.log_martians": "0"});
        Self::new(lab, "tuning", &json!({"type": "tuning", "sysctl": sysctl, "dataDir": data}))
    }

    /// How long a call takes, from before the process is started until after it has ended, in milliseconds.
    fn time(&self, verb: Verb, attachment: &Attachment) -> Result<f64> {
        let previous = previous(attachment);
        let call = self.chain.call(0, verb, attachment, Some(&previous))?;
        let started = Instant::now();
        run(&call)?;
        Ok(started.elapsed().as_secs_f64() * 1e3)
    }
}

/// The result that a primary would have handed on.
fn previous(attachment: &Attachment) -> String {
    json!({
        "cniVersion": "1.0.0",
        "interfaces": [{"name": attachment.ifname, "sandbox": attachment.netns}],
        "ips": [],
    })
    .to_string()
}

/// Runs a plugin as a runtime does, waiting for its end and for nothing else; in the network namespace of this thread.
fn run(call: &Call) -> Result<()> {
    let mut command: Command = call.command();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", call.program().display()))?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(call.request()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
            _ => {}
        }
    }
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "{} ended with {}: {}{}",
        call.program().display(),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn has_tuning(lab: &Lab) -> Result<bool> {
    Ok(lab.plugin_folder()?.join("tuning").exists())
}

fn beside_tuning(report: &Report, rounds: usize) -> Result<()> {
    let lab = Lab::new()?;
    report.heading("a whole call of a plugin, beside Debian's tuning plugin, which writes one sysctl of the pod")?;
    if !has_tuning(&lab)? {
        return report.skipped("chain", "the plugin tuning is not installed: run tests/run packages as root");
    }
    let pod = lab.pod("bench", "pod")?;
    let attachment = pod.attachment();
    let tuning = Plugin::tuning(&lab)?;
    for (name, kit) in [("cni-chain, tcx", Kit::Tcx), ("cni-chain, clsact", Kit::Clsact)] {
        if kit == Kit::Tcx && Kit::best() != Kit::Tcx {
            report.skipped(name, "this kernel has no tcx")?;
            continue;
        }
        // Each kind in rounds of its own: the kernel takes a tcx link off after DEL has returned, and whoever comes next waits.
        let ours = Plugin::new(&lab, name, &json!({"type": "cni-chain", "attach": kit.name(), "logLevel": "error"}))?;
        let plugins = [&tuning, &ours];
        let mut times = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
        lab.node().run(|| -> Result<()> {
            // The first ADD on a node loads the datapath.
            for round in 0..=rounds {
                for (plugin, times) in plugins.iter().zip(&mut times) {
                    for (verb, times) in VERBS.into_iter().zip(times) {
                        let time = plugin.time(verb, &attachment)?;
                        if round > 0 {
                            times.push(time);
                        }
                    }
                }
            }
            Ok(())
        })??;
        let [beside, of_ours] = &times;
        for ((verb, times), beside) in VERBS.into_iter().zip(of_ours).zip(beside) {
            let (milliseconds, other, ratio) = (median(times), median(beside), median_ratio(times, beside));
            report.result(
                &json!({
                    "kind": "plugin", "plugin": name, "verb": verb.to_string(), "ms": rounded(milliseconds, 2),
                    "tuning_ms": rounded(other, 2), "ratio": rounded(ratio, 2), "target": TARGET, "rounds": rounds,
                }),
                &format!(
                    "{name:18} {verb}  {milliseconds:6.2} ms   tuning {other:6.2} ms   ratio {ratio:5.2}   (to reach: {TARGET})"
                ),
            )?;
        }
    }
    Ok(())
}

/// Many ADDs at once, then as many DELs.
fn crowd(report: &Report) -> Result<()> {
    let lab = Lab::new()?;
    report.heading(&format!("{CROWD} calls at once"))?;
    let pods = (0..CROWD).map(|number| Ok(lab.pod("bench", &format!("pod{number}"))?)).collect::<Result<Vec<Pod>>>()?;
    let attachments: Vec<Attachment> = pods.iter().map(Pod::attachment).collect();
    let mut plugins = vec![Plugin::new(&lab, "cni-chain", &json!({"type": "cni-chain", "logLevel": "error"}))?];
    if has_tuning(&lab)? {
        plugins.insert(0, Plugin::tuning(&lab)?);
    }
    for plugin in &plugins {
        for verb in VERBS {
            let started = Instant::now();
            thread::scope(|scope| {
                let all: Vec<_> = attachments
                    .iter()
                    .map(|attachment| {
                        let lab = &lab;
                        let call = move || run(&plugin.chain.call(0, verb, attachment, Some(&previous(attachment)))?);
                        scope.spawn(move || lab.node().run(call)?)
                    })
                    .collect();
                all.into_iter().try_for_each(|one| one.join().map_err(|_| anyhow::anyhow!("a call panicked"))?)
            })?;
            let seconds = started.elapsed().as_secs_f64();
            report.result(
                &json!({"kind": "crowd", "plugin": plugin.name, "verb": verb.to_string(), "calls": CROWD, "seconds": rounded(seconds, 3)}),
                &format!("{:18} {verb}  {seconds:6.2} s in all", plugin.name),
            )?;
        }
    }
    Ok(())
}

/// `cni-chain adopt` of many pods that run, and `release` of all.
fn adopt(report: &Report) -> Result<()> {
    let lab = Lab::new()?;
    report.heading(&format!("pods that run already, {ADOPTED} of them"))?;
    let pods =
        (0..ADOPTED).map(|number| Ok(lab.pod("bench", &format!("pod{number}"))?)).collect::<Result<Vec<Pod>>>()?;
    let program = chainkit_lab::program("cni-chain")?;
    let named: Vec<String> =
        pods.iter().flat_map(|pod| ["--netns".to_owned(), pod.netns_path().display().to_string()]).collect();
    for (verb, arguments) in [("adopt", named), ("release", vec!["--all".to_owned(), "--purge".to_owned()])] {
        let mut command = lab.node().command(&program);
        command.arg(verb).arg("--root").arg(lab.root()).args(arguments).args(["-j"]).stdin(Stdio::null());
        let started = Instant::now();
        let output = command.output().context("cannot run cni-chain")?;
        let seconds = started.elapsed().as_secs_f64();
        ensure!(output.status.success(), "cni-chain {verb} failed: {}", String::from_utf8_lossy(&output.stderr));
        let done = output.stdout.iter().filter(|byte| **byte == b'\n').count();
        ensure!(done == ADOPTED, "cni-chain {verb} told of {done} pods instead of {ADOPTED}");
        #[allow(clippy::cast_precision_loss, reason = "hundreds")]
        let each = seconds * 1e3 / ADOPTED as f64;
        report.result(
            &json!({"kind": "adopt", "verb": verb, "pods": ADOPTED, "seconds": rounded(seconds, 3), "ms_each": rounded(each, 2)}),
            &format!("{verb:18} {seconds:6.2} s in all, {each:5.1} ms each"),
        )?;
    }
    Ok(())
}

/// A download with and without swaps of the programs all the while.
fn swap(report: &Report, rounds: usize) -> Result<()> {
    let lab = Lab::new()?;
    report.heading("a download while the programs are swapped over and over")?;
    let (server, client) = (lab.pod("bench", "server")?, lab.pod("bench", "client")?);
    let other = another_version(chainkit_object::DATAPATH).context("the object has no timeout to change")?;
    let pins = Pins::below(lab.root());
    lab.node().run(|| -> Result<()> {
        let lock = NodeLock::take(lab.root())?;
        let datapath = Datapath::install(&pins, &lock)?;
        for pod in [&server, &client] {
            attach_endpoint(&datapath, &pins, &lock, pod.host_ifindex, Settings::default(), Kit::best())?;
        }
        Ok(())
    })??;
    let download = || -> Result<f64> {
        let sink = server.run(|| tcp::sink(std::net::SocketAddr::new(server.ip4.into(), 0)))??;
        let started = Instant::now();
        client.run(|| tcp::source(sink.address(), BYTES))??;
        #[allow(clippy::cast_precision_loss, reason = "gigabytes")]
        let gigabits = (BYTES * 8) as f64 / started.elapsed().as_secs_f64() / 1e9;
        Ok(gigabits)
    };
    let (mut calm, mut swapped, mut swaps, mut took) = (Vec::new(), Vec::new(), 0u32, Vec::new());
    for _ in 0..rounds {
        calm.push(download()?);
        thread::scope(|scope| -> Result<()> {
            let under_way = scope.spawn(download);
            while !under_way.is_finished() {
                let object = if swaps % 2 == 0 { other.as_slice() } else { chainkit_object::DATAPATH };
                let time = lab.node().run(|| -> Result<Duration> {
                    let lock = NodeLock::take(lab.root())?;
                    let started = Instant::now();
                    let done = Datapath::upgrade_to(object, &pins, &lock, false)?;
                    ensure!(done.links == 4, "{} programs were swapped instead of 4", done.links);
                    Ok(started.elapsed())
                })??;
                took.push(time.as_secs_f64() * 1e3);
                swaps += 1;
            }
            swapped.push(under_way.join().map_err(|_| anyhow::anyhow!("the download panicked"))??);
            Ok(())
        })?;
    }
    let (gigabits, ratio, each) = (median(&swapped), median_ratio(&swapped, &calm), median(&took));
    report.result(
        &json!({
            "kind": "swap", "swaps": swaps, "ms_each": rounded(each, 1), "gbit_per_s": rounded(gigabits, 2),
            "throughput_ratio": rounded(ratio, 3), "rounds": rounds,
        }),
        &format!("{swaps} swaps of 4 programs, {each:.1} ms each (verifier included); {gigabits:.2} Gbit/s, ratio {ratio:.3} to none"),
    )
}
