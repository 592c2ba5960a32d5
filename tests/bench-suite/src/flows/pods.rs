//! What flowdump costs two pods that talk: bulk TCP, and requests over one connection of HTTP/1.1.
//!
//! Each round takes every setting in turn, beginning with another one each time, and each is compared with the bare wire of the
//! same round. All share the machine's CPUs: what flowdump takes of them the pods lack.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use chainkit_bpf::find;
use chainkit_lab::{Lab, Pod, Running, peer::http};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::{
    report::Report,
    stats::{median, median_ratio, rounded},
    traffic::Source,
};

/// How long requests are sent.
const REQUESTING: Duration = Duration::from_secs(2);
/// Bytes of an answer's body.
const BODY: usize = 1000;

struct Setting {
    name: &'static str,
    /// Of flowdump; none: nothing is there.
    arguments: Option<&'static [&'static str]>,
    target: Option<f64>,
}

const SETTINGS: [Setting; 3] = [
    Setting { name: "bare", arguments: None, target: None },
    Setting { name: "flowdump -j > /dev/null", arguments: Some(&["--attach", "all", "-j"]), target: Some(0.97) },
    Setting {
        name: "flowdump --l7 -j > /dev/null",
        arguments: Some(&["--attach", "all", "--l7", "-j"]),
        target: Some(0.90),
    },
];

pub(super) fn measure(report: &Report, flowdump: &Path, rounds: usize) -> Result<()> {
    let lab = Lab::new()?;
    let (server, client) = (lab.pod("bench", "server")?, lab.pod("bench", "client")?);
    let at = |port| SocketAddr::new(IpAddr::V4(server.ip4), port);
    let source = Source::start(&server, at(0))?;
    let web = server.run(|| http::serve(at(0), &"x".repeat(BODY)))??;
    let mut results: [[Vec<f64>; 2]; SETTINGS.len()] = Default::default();
    for round in 0..rounds {
        for place in 0..SETTINGS.len() {
            let turn = (place + round) % SETTINGS.len();
            let (Some(setting), Some([throughput, requests])) = (SETTINGS.get(turn), results.get_mut(turn)) else {
                continue;
            };
            let running = setting.arguments.map(|arguments| watch(&lab, flowdump, arguments)).transpose()?;
            throughput.push(source.gigabits(&client, at(crate::traffic::IPERF_PORT))?);
            requests.push(ask(&client, web.address())?);
            if let Some(running) = running {
                end(running)?;
            }
        }
    }
    let by = source.name();
    report.heading(&format!(
        "between two pods of a node, and in brackets the ratio to the bare wire of the same round: throughput by {by}; requests \
         a second over one connection of HTTP/1.1"
    ))?;
    let [bare, ..] = &results;
    for (Setting { name, target, .. }, measures) in SETTINGS.iter().zip(&results) {
        let [gigabits, requests] = measures.each_ref().map(|values| median(values));
        let mut ratios = [1.0; 2];
        for (ratio, (values, to)) in ratios.iter_mut().zip(measures.iter().zip(bare)) {
            *ratio = median_ratio(values, to);
        }
        let [gigabits_ratio, requests_ratio] = ratios;
        report.result(
            &json!({
                "kind": "pods", "setting": name, "by": by, "rounds": rounds, "target": target,
                "gbit_per_s": rounded(gigabits, 2), "throughput_ratio": rounded(gigabits_ratio, 3),
                "requests_per_s": rounded(requests, 0), "requests_ratio": rounded(requests_ratio, 3),
            }),
            &format!(
                "{name:40} {gigabits:6.2} Gbit/s [{gigabits_ratio:5.3}]   {requests:6.0}/s [{requests_ratio:5.3}]{}",
                target.map_or(String::new(), |target| format!("   (to reach: {target} of throughput)")),
            ),
        )?;
    }
    Ok(())
}

/// Starts flowdump on the node, and waits until it looks.
fn watch(lab: &Lab, flowdump: &Path, arguments: &[&str]) -> Result<Running> {
    let mut command = lab.node().command(flowdump);
    command.args(arguments).arg("--root").arg(lab.root());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let running = Running::start_as_is(command)?;
    let started = Instant::now();
    let looks =
        || lab.node().run(|| Ok::<_, anyhow::Error>(find(lab.root())?.map(|it| it.control_value()).transpose()?));
    while looks()??.is_none_or(|control| control.observers == 0) {
        ensure!(started.elapsed() < Duration::from_secs(10), "flowdump does not observe: {}", running.stderr());
        thread::sleep(Duration::from_millis(20));
    }
    Ok(running)
}

fn end(mut running: Running) -> Result<()> {
    running.signal(Signal::SIGINT)?;
    let status = running.wait(Duration::from_secs(30))?;
    ensure!(status.success(), "flowdump ended with {status}: {}", running.stderr());
    Ok(())
}

/// Requests a second, one after another over one connection.
fn ask(client: &Pod, server: SocketAddr) -> Result<f64> {
    const REQUEST: &[u8] =
        b"GET /api/v1/products/4711 HTTP/1.1\r\nHost: server.bench\r\nUser-Agent: chainkit-bench\r\nAccept: */*\r\n\r\n";
    client.run(|| {
        let mut stream = TcpStream::connect(server).context("cannot connect from pod to pod")?;
        stream.set_nodelay(true).context("cannot set up a connection")?;
        let mut answer = vec![0; 4 * BODY];
        let started = Instant::now();
        let mut count = 0u32;
        while started.elapsed() < REQUESTING {
            stream.write_all(REQUEST).context("cannot send a request")?;
            let mut came = 0;
            // The body is x alone, and the head ends with a line end.
            while !is_whole(answer.get(..came).unwrap_or_default()) {
                let read = stream.read(answer.get_mut(came..).unwrap_or_default()).context("no answer")?;
                ensure!(read > 0, "the server has hung up after {count} requests");
                came += read;
            }
            count += 1;
        }
        Ok(f64::from(count) / started.elapsed().as_secs_f64())
    })?
}

/// Whether an answer has come to its end.
fn is_whole(answer: &[u8]) -> bool {
    let head = memchr::memmem::find(answer, b"\r\n\r\n");
    head.is_some_and(|head| answer.len() == head + 4 + BODY)
}
