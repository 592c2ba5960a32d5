//! What `flowdump --l7` tells of programs that other people have written, held against what those say themselves; and the same traffic
//! once more out of a pcap file, cut, doubled and out of order.
//!
//! Start at `nginx.rs`. `capture.rs` reads the pcap files.

mod capture;
mod dns;
mod grpc;
mod nghttp2;
mod nginx;
mod openssl;

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use chainkit_bpf::Kit;
use chainkit_lab::{Lab, Pod, Running, skip};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::dump::extra;
use crate::layer7::{messages, start};
use crate::stage::{SOON, Watch, eventually, on_node};

/// A node with a client's pod and a server's, and a folder for what they need.
pub(crate) struct Stage<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) cart: Pod,
    pub(crate) web: Pod,
    pub(crate) folder: tempfile::TempDir,
    _watch: Watch<'a>,
}

/// Runs a test with two pods, if these programs are installed.
pub(crate) fn on_stage(programs: &[&str], test: impl FnOnce(&Stage<'_>) + Send) {
    if let Some(missing) = programs.iter().find(|program| !is_installed(program)) {
        return skip(&format!("{missing} is not installed"));
    }
    on_node(|lab| {
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let watch = Watch::start(lab, &[&cart, &web], Kit::best());
        let folder = tempfile::tempdir().unwrap();
        test(&Stage { lab, cart, web, folder, _watch: watch });
    });
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    // Programs of administrators are not in every user's path.
    path.split(':').chain(["/usr/sbin", "/sbin"]).any(|folder| Path::new(folder).join(program).is_file())
}

impl Stage<'_> {
    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Has pods talk, and tells what `flowdump --l7` with these arguments tells of it at the client's interface; also what a
    /// capture there gives.
    pub(crate) fn told(&self, arguments: &[&str], talk: impl FnOnce()) -> (Vec<Value>, capture::Capture) {
        let file = self.lab.pods_file().unwrap();
        let dump = start(self.lab, &[&["-j", "--pods", file.to_str().unwrap()], arguments].concat());
        let captured = self.path("captured.pcap");
        let options = ["--immediate-mode", "-Z", "root", "-i", "eth0", "-s", "0", "-B", "65536", "-U", "-w", &captured];
        let mut tcpdump = self.cart.spawn("tcpdump", options).unwrap();
        tcpdump.wait_for_stderr("listening on", SOON).unwrap();
        talk();
        // What it has been given and not written yet is lost when it ends.
        let mut length = None;
        eventually("tcpdump goes on writing", || {
            thread::sleep(Duration::from_millis(200));
            let now = std::fs::metadata(&captured).ok().map(|file| file.len());
            std::mem::replace(&mut length, now) == now
        });
        tcpdump.signal(Signal::SIGINT).unwrap();
        tcpdump.wait(SOON).unwrap();
        let ended = tcpdump.stderr();
        assert!(ended.contains("\n0 packets dropped by kernel"), "the capture is not whole: {ended}");
        let told = messages(&dump.interrupt().stdout);
        let at_cart = |flow: &Value| flow["interface"]["index"] == self.cart.host_ifindex;
        let told = told.into_iter().filter(at_cart).collect();
        (told, capture::Capture::read(&captured, self.cart.ip4.into()))
    }
}

/// Runs a program in a pod to its end, which has to be a good one; what it printed.
pub(crate) fn run(pod: &Pod, program: &str, arguments: &[&str]) -> String {
    let mut running = pod.spawn(program, arguments).unwrap();
    let status = running.wait(SOON).unwrap();
    assert!(status.success(), "{program} {arguments:?}: {status}: {}{}", running.stdout(), running.stderr());
    running.stdout()
}

/// Starts a server and waits until one can connect to it.
pub(crate) fn serve(pod: &Pod, command: Command, port: u16) -> Running {
    let server = Running::start(command).unwrap();
    eventually("the server does not listen", || {
        pod.run(|| std::net::TcpStream::connect((pod.ip4, port)).is_ok()).unwrap()
    });
    server
}

/// A message in a line, as [`capture`] words it: what cannot be known from the wire alone left out.
pub(crate) fn line(flow: &Value) -> String {
    let arrow = if flow["l7"]["type"] == "REQUEST" { '>' } else { '<' };
    let l7 = &extra(flow)["l7"];
    let partial = if l7["partial"] == true { "~" } else { "" };
    let protocol = l7["protocol"].as_str().unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| {
        let all: Vec<String> = value.as_array().into_iter().flatten().map(&text).collect();
        all.join(",")
    };
    let rest = match (&flow["l7"]["http"], &flow["l7"]["dns"]) {
        (http, _) if http.is_object() => {
            let (code, method, url) = (http["code"].as_u64().unwrap_or(0), text(&http["method"]), text(&http["url"]));
            let status = l7["grpc"]["status"].as_u64().map_or(String::new(), |status| format!(" status {status}"));
            let body = l7["body_bytes"].as_u64().map_or("?".to_owned(), |bytes| bytes.to_string());
            format!("{code} {method} {url} {body}{status}")
        }
        (_, dns) if dns.is_object() => {
            let rcode = dns["rcode"].as_u64().unwrap_or(0);
            format!(
                "{rcode} {} {} {} {}",
                text(&dns["query"]),
                list(&dns["qtypes"]),
                list(&dns["rrtypes"]),
                list(&dns["ips"])
            )
        }
        _ => format!("{} {} {}", text(&l7["tls"]["sni"]), list(&l7["tls"]["alpn"]), text(&l7["tls"]["version"])),
    };
    format!("{arrow}{partial} {protocol} {rest}")
}

pub(crate) fn lines(told: &[Value]) -> Vec<String> {
    told.iter().map(line).collect()
}

/// Asserts that lines are the same, in any order, since connections of one client go side by side; says which are not.
pub(crate) fn are_the_same(got: &[String], wanted: &[String], what: &str) {
    let mut surplus = got.to_vec();
    let mut missing = Vec::new();
    for line in wanted {
        match surplus.iter().position(|found| found == line) {
            Some(at) => drop(surplus.swap_remove(at)),
            None => missing.push(line),
        }
    }
    let shown = |lines: usize| lines.min(20);
    assert!(
        surplus.is_empty() && missing.is_empty(),
        "{what}: {} too many: {:#?}, {} missing: {:#?}",
        surplus.len(),
        &surplus[..shown(surplus.len())],
        missing.len(),
        &missing[..shown(missing.len())],
    );
}
