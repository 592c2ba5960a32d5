//! `flowdump metrics` and `flowdump map --watch -o html` as servers, asked over bare sockets.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failure shows its line")]

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStderr, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Long enough for the slowest machine: what comes later does not come.
const PATIENCE: Duration = Duration::from_secs(120);

fn line(to: &str) -> String {
    format!(
        r#"{{"flow":{{"verdict":"DROPPED","drop_reason_desc":"POLICY_DENIED","event_type":{{"type":1,"sub_type":133}},"l4":{{"TCP":{{"source_port":40000,"destination_port":80}}}},"source":{{"namespace":"shop","pod_name":"web-1"}},"destination":{{"namespace":"shop","pod_name":"{to}"}},"is_reply":false}}}}
"#
    )
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flowdump"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn ended(arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command(arguments).stdin(Stdio::null()).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

/// A flowdump that serves, and ends with this.
struct Served {
    process: Child,
    stdin: Option<ChildStdin>,
    _stderr: BufReader<ChildStderr>,
    address: SocketAddr,
    path: String,
}

impl Served {
    fn start(arguments: &[&str]) -> Self {
        let mut process = command(arguments).spawn().unwrap();
        // Its stdout is read by nobody, which is nothing to a server.
        drop(process.stdout.take());
        let mut stderr = BufReader::new(process.stderr.take().unwrap());
        let mut told = String::new();
        stderr.read_line(&mut told).unwrap();
        assert!(told.starts_with("flowdump: http://"), "{told}");
        let url = told.trim_end().strip_prefix("flowdump: http://").unwrap();
        let (address, path) = url.split_at(url.find('/').unwrap());
        Self {
            stdin: process.stdin.take(),
            process,
            _stderr: stderr,
            address: address.parse().unwrap(),
            path: path.to_owned(),
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends a request as it stands, and reads until the other side closes: head and body of the answer.
    fn send(&self, request: &str) -> (String, String) {
        let mut stream = self.connect();
        // It may answer, and close, before all is sent.
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        (head.to_ascii_lowercase(), body.to_owned())
    }

    fn ask(&self, method: &str, path: &str, headers: &str) -> (String, String) {
        self.send(&format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", self.address))
    }

    /// Asks until the body has this in it: lines are read while it is asked.
    fn until(&self, path: &str, headers: &str, wanted: &str) -> (String, String) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (head, body) = self.ask("GET", path, headers);
            assert!(head.starts_with("http/1.1 200 "), "{head}");
            if body.contains(wanted) {
                return (head, body);
            }
            assert!(Instant::now() < deadline, "{body}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn end(mut self, signal: Signal) -> ExitStatus {
        kill(Pid::from_raw(i32::try_from(self.process.id()).unwrap()), signal).unwrap();
        self.process.wait().unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const DROPS: &str = "hubble_drop_total{reason=\"POLICY_DENIED\",protocol=\"TCP\"} ";
const OPEN_METRICS: &str = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";

/// Metrics of a pipe that goes on, in which there was one line so far.
fn metrics() -> Served {
    let mut served = Served::start(&["metrics", "--listen", "127.0.0.1:0", "-r", "-"]);
    assert_eq!(served.path, "/metrics");
    served.stdin.as_mut().unwrap().write_all(line("db-1").as_bytes()).unwrap();
    served.until("/metrics", "", &format!("{DROPS}1\n"));
    served
}

#[test]
fn scrapers_get_the_form_that_they_ask_for_and_what_has_come_since() {
    let mut served = metrics();
    let (head, body) = served.until("/metrics", "", DROPS);
    assert!(head.contains("content-type: text/plain; version=0.0.4") && !body.contains("# EOF"), "{head}{body}");
    served.stdin.as_mut().unwrap().write_all(line("db-2").as_bytes()).unwrap();
    let (head, body) = served.until("/metrics", OPEN_METRICS, &format!("{DROPS}2\n"));
    assert!(head.contains("content-type: application/openmetrics-text") && body.ends_with("# EOF\n"), "{head}{body}");
    assert!(head.contains("cache-control: no-store"), "{head}");
}

#[test]
fn what_was_read_to_its_end_is_served_until_a_signal() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut served = metrics();
        drop(served.stdin.take());
        served.until("/metrics?collect[]=x", "", &format!("{DROPS}1\n"));
        assert_eq!(served.end(signal).code(), Some(0), "{signal}");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), line("db-1")).unwrap();
    let path = file.path().to_str().unwrap();
    let (code, _) = ended(&["metrics", "--listen", "127.0.0.1:0", "-r", path, "--duration", "1ms"]);
    assert_eq!(code, Some(0), "a time that is up ends it, too");
}

#[test]
fn head_gives_no_body_and_what_is_not_there_has_a_word() {
    let served = metrics();
    let (head, body) = served.ask("HEAD", "/metrics", "");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    assert!(head.starts_with("http/1.1 200 ") && length.parse::<u64>().unwrap() > 0 && body.is_empty(), "{head}");
    let (head, body) = served.ask("GET", "/", "");
    assert!(head.starts_with("http/1.1 404 ") && body.contains("/metrics"), "{head}{body}");
    let (head, body) = served.ask("POST", "/metrics", "Content-Length: 0\r\n");
    assert!(head.starts_with("http/1.1 405 ") && head.contains("allow: get, head") && !body.is_empty(), "{head}");
    // A scraper may well know it by another name.
    let (head, _) = served.send("GET /metrics HTTP/1.1\r\nHost: node-1.example.org\r\n\r\n");
    assert!(head.starts_with("http/1.1 200 "), "{head}");
}

#[test]
fn who_sends_slowly_or_much_or_nonsense_is_in_nobodys_way() {
    let served = metrics();
    let slow: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = served.connect();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: ").unwrap();
            stream
        })
        .collect();
    served.until("/metrics", "", DROPS);
    // The oldest had to go, since there are so many; the others go when their time is up.
    let turned_out = (&slow[0]).read_to_end(&mut Vec::new());
    let waited_in_vain = turned_out.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
    assert!(!waited_in_vain, "it is let go of");
    let long = "x".repeat(1 << 20);
    let (head, body) = served.ask("GET", "/metrics", &format!("X: {long}\r\n"));
    assert!(!head.starts_with("http/1.1 200 ") && !body.contains("hubble"), "{head}");
    let many: String = (0..5000).map(|number| format!("X{number}: y\r\n")).collect();
    let (head, _) = served.ask("GET", "/metrics", &many);
    assert!(!head.starts_with("http/1.1 200 "), "{head}");
    for nonsense in
        ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET /metrics HTTP/9.9\r\n\r\n"]
    {
        assert!(!served.send(nonsense).1.contains("hubble"), "{nonsense:?}");
    }
    served.until("/metrics", "", DROPS);
    assert_eq!(served.end(Signal::SIGTERM).code(), Some(0), "though some have not sent their requests");
}

#[test]
fn a_port_that_is_taken_is_told_with_a_remedy() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    for arguments in [&["metrics", "-r", "-"][..], &["map", "-r", "-", "--watch", "-o", "html"]] {
        let (code, told) = ended(&[arguments, &["--listen", &taken]].concat());
        assert_eq!(code, Some(4), "{told}");
        assert!(told.contains(&format!("cannot listen on {taken}")) && told.contains("--listen another"), "{told}");
    }
}

#[test]
fn a_bad_line_with_strict_ends_what_serves() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "{\n").unwrap();
    let path = file.path().to_str().unwrap();
    let (code, told) = ended(&["metrics", "--listen", "127.0.0.1:0", "--strict", "-r", path]);
    assert_eq!(code, Some(2), "{told}");
}

#[test]
fn a_map_that_is_watched_in_a_browser_follows_the_flows() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), line("db-1")).unwrap();
    let served = Served::start(&["map", "--watch", "-o", "html", "--by", "pod", "-r", file.path().to_str().unwrap()]);
    assert!(served.address.ip().is_loopback() && served.path == "/");
    let (head, body) = served.until("/data.json", "", "shop/db-1");
    assert!(head.contains("content-type: application/json") && head.contains("cache-control: no-store"), "{head}");
    let data: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&data["live"], &data["flows"]), (&true.into(), &1.into()));
    let (head, page) = served.until("/", "", "shop/db-1");
    assert!(
        head.contains("content-type: text/html; charset=utf-8") && head.contains("frame-ancestors 'none'"),
        "{head}"
    );
    assert!(page.starts_with("<!doctype html>") && page.contains("connect-src 'self'"));
    let mut more = OpenOptions::new().append(true).open(file.path()).unwrap();
    more.write_all(line("db-2").as_bytes()).unwrap();
    served.until("/data.json", "", "shop/db-2");
    assert_eq!(served.end(Signal::SIGINT).code(), Some(0));
}

#[test]
fn a_map_is_for_this_host_alone_whatever_names_lead_to_it() {
    let served = Served::start(&["map", "--watch", "-o", "html", "-r", "-"]);
    let port = served.address.port();
    for host in [format!("localhost:{port}"), format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        let (head, _) = served.send(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert!(head.starts_with("http/1.1 200 "), "{host}: {head}");
    }
    for hosts in [
        format!("Host: evil.example.org:{port}\r\n"),
        "Host: localhost\r\n".to_owned(),
        "Host: 127.0.0.1:1\r\n".to_owned(),
        format!("Host: localhost:{port}\r\nHost: evil.example.org:{port}\r\n"),
        String::new(),
    ] {
        for path in ["/", "/data.json", &format!("http://evil.example.org:{port}/data.json")] {
            let (head, body) = served.send(&format!("GET {path} HTTP/1.1\r\n{hosts}\r\n"));
            assert!(!head.starts_with("http/1.1 200 ") && !body.contains("nodes"), "{path} {hosts}: {head}");
        }
    }
    let elsewhere = format!("GET http://evil.example.org:{port}/data.json HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n");
    assert!(served.send(&elsewhere).0.starts_with("http/1.1 403 "));
    for (listen, says) in [("0.0.0.0:0", "loopback"), ("10.0.0.1:80", "loopback"), ("localhost", "127.0.0.1:9965")] {
        let (code, told) = ended(&["map", "-r", "-", "--watch", "-o", "html", "--listen", listen]);
        assert!(code == Some(2) && told.contains(says), "{listen}: {told}");
    }
    for arguments in [&["--listen", "127.0.0.1:0"][..], &["--listen", "127.0.0.1:0", "--watch"]] {
        assert_eq!(ended(&[&["map", "-r", "-"], arguments].concat()).0, Some(2), "nothing else is served");
    }
}
