//! `flowdump top` and `flowdump --aggregate-by`: saved lines through the real program, and a terminal.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failure shows its line")]

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use common::{flowdump, shown};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// What web has told of its connection to db at a second past midnight: bytes that it has sent and received by then.
fn told(second: u32, event: &str, sent: u64, received: u64) -> String {
    let end = |name: &str| {
        format!(r#"{{"namespace":"shop","pod_name":"{name}-1","workloads":[{{"name":"{name}","kind":"Deployment"}}]}}"#)
    };
    format!(
        r#"{{"flow":{{"time":"2026-11-23T00:00:{second:02}Z","verdict":"FORWARDED","IP":{{"source":"10.0.0.1","destination":"10.0.0.2"}},"l4":{{"TCP":{{"source_port":40000,"destination_port":5432}}}},"source":{},"destination":{},"is_reply":false,"traffic_direction":"EGRESS","trace_observation_point":"FROM_ENDPOINT","egress_allowed_by":[{{"name":"web","namespace":"shop","kind":"NetworkPolicy"}}],"extensions":{{"@type":"type.googleapis.com/google.protobuf.Struct","value":{{"event":"{event}","connection":{{"opened":"pod","state":"established","tx_packets":{},"tx_bytes":{sent},"rx_packets":{},"rx_bytes":{received},"first_seen":"2026-11-23T00:00:01Z"}}}}}}}}}}
"#,
        end("web"),
        end("db"),
        sent / 100,
        received / 100,
    )
}

/// A denial that stands for so many packets.
fn denied(second: u32, count: u32) -> String {
    format!(
        r#"{{"flow":{{"time":"2026-11-23T00:00:{second:02}Z","verdict":"DROPPED","drop_reason_desc":"POLICY_DENIED","IP":{{"source":"10.0.0.9","destination":"10.0.0.2"}},"l4":{{"TCP":{{"source_port":1,"destination_port":22}}}},"destination":{{"namespace":"shop","pod_name":"db-1"}},"is_reply":false,"traffic_direction":"INGRESS","trace_observation_point":"TO_ENDPOINT","ingress_denied_by":[{{"name":"db","namespace":"shop","kind":"NetworkPolicy"}}],"extensions":{{"@type":"type.googleapis.com/google.protobuf.Struct","value":{{"event":"denied","count":{count}}}}}}}}}
"#
    )
}

fn lines() -> String {
    told(1, "first", 100, 0) + &told(6, "active", 2100, 5000) + &denied(7, 9) + &told(11, "close", 3100, 9000)
}

fn objects(arguments: &[&str], input: &str) -> Vec<Value> {
    shown(arguments, input).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn saved_lines_are_one_top_over_their_time() {
    let tops = objects(&["top", "-r", "-"], &lines());
    let [top] = tops.as_slice() else { panic!("{tops:?}") };
    assert_eq!(
        (&top["kind"], &top["by"], &top["time"]),
        (&"Top".into(), &"pod".into(), &"2026-11-23T00:00:11Z".into())
    );
    assert_eq!((&top["seconds"], &top["others"], &top["lost"]), (&10.0.into(), &Value::Null, &0.into()));
    let web = &top["rows"][0];
    assert_eq!((&web["name"], &web["what"], &web["namespace"]), (&"shop/web-1".into(), &"pod".into(), &"shop".into()));
    assert_eq!((&web["total"]["bytes_sent"], &web["total"]["bytes_received"]), (&3100.into(), &9000.into()));
    assert_eq!((&web["total"]["packets_sent"], &web["total"]["connections"]), (&31.into(), &1.into()));
    assert_eq!((&web["rate"]["bytes_sent"], &web["rate"]["flows"]), (&310.0.into(), &0.3.into()));
    let db = &top["rows"][1];
    assert_eq!(
        (&db["name"], &db["total"]["denied"], &db["rate"]["denied"]),
        (&"shop/db-1".into(), &9.into(), &0.9.into())
    );
    assert_eq!(db["total"]["bytes_sent"], Value::Null, "no line told");
}

#[test]
fn with_an_interval_it_is_one_for_each_while_that_has_flows() {
    let later = lines() + &told(41, "active", 3200, 9000);
    let tops = objects(&["top", "-r", "-", "--interval", "5s", "--by", "workload"], &later);
    let sent: Vec<(&str, f64, u64)> = tops
        .iter()
        .map(|top| {
            let web = top["rows"].as_array().unwrap().iter().find(|row| row["name"] == "shop/web").unwrap();
            let (rate, total) = (&web["rate"]["bytes_sent"], &web["total"]["bytes_sent"]);
            (top["time"].as_str().unwrap(), rate.as_f64().unwrap(), total.as_u64().unwrap())
        })
        .collect();
    let at = |second: u32| format!("2026-11-23T00:00:{second:02}Z");
    let (a, b, c, d) = (at(6), at(11), at(16), at(46));
    let expected = [(a.as_str(), 20.0, 100), (&b, 400.0, 2100), (&c, 200.0, 3100), (&d, 20.0, 3200)];
    assert_eq!(sent, expected);
}

#[test]
fn what_is_beyond_the_limit_is_summed() {
    let tops = objects(&["top", "-r", "-", "--by", "port", "--limit", "1"], &lines());
    assert_eq!((&tops[0]["rows"][0]["name"], &tops[0]["rows"][0]["port"]), (&"TCP 5432".into(), &5432.into()));
    let others = &tops[0]["others"];
    assert_eq!(
        (&others["rows"], &others["overflow"], &others["total"]["denied"]),
        (&1.into(), &false.into(), &9.into())
    );
    let sorted = objects(&["top", "-r", "-", "--by", "port", "--sort", "denied"], &lines());
    assert_eq!(sorted[0]["rows"][0]["port"], 22);
}

#[test]
fn a_table_says_who_and_filters_choose() {
    let table = shown(&["top", "-r", "-", "-o", "table", "--by", "policy"], &lines());
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows[0], "2026-11-23T00:00:11Z over 10s by policy");
    assert!(rows[1].starts_with("NAME ") && rows[2].starts_with("NetworkPolicy shop/web egress "), "{table}");
    assert!(rows[2].contains("310 B") && rows[3].starts_with("NetworkPolicy shop/db ingress "), "{table}");
    let edge = objects(&["top", "-r", "-", "--by", "edge", "--verdict", "DROPPED"], &lines());
    assert_eq!(edge[0]["rows"][0]["name"], "10.0.0.9 -> shop/db-1 TCP 22");
    assert_eq!(edge[0]["rows"].as_array().unwrap().len(), 1);
}

#[test]
fn without_flows_there_is_an_empty_top() {
    let tops = objects(&["top", "-r", "-"], "");
    assert_eq!((tops.len(), &tops[0]["rows"]), (1, &Value::Array(Vec::new())));
}

#[test]
fn flows_are_folded_by_fields() {
    let groups = objects(&["-r", "-", "-j", "--aggregate-by", "server_workload,server_port,verdict"], &lines());
    assert_eq!(groups.len(), 2);
    let by = serde_json::json!({"server_workload": "shop/db", "server_port": 5432, "verdict": "FORWARDED"});
    assert_eq!((&groups[0]["kind"], &groups[0]["by"]), (&"Aggregate".into(), &by));
    assert_eq!(
        (&groups[0]["flows"], &groups[0]["bytes"], &groups[0]["packets"]),
        (&3.into(), &12100.into(), &121.into())
    );
    assert_eq!(groups[0]["first"], "2026-11-23T00:00:01Z");
    assert_eq!((&groups[1]["denied"], &groups[1]["bytes"]), (&9.into(), &Value::Null));
    assert_eq!(groups[1]["by"]["server_workload"], Value::Null);
}

#[test]
fn folded_flows_are_bounded_cut_into_whiles_and_shown_in_columns() {
    let arguments = ["-r", "-", "-j", "--aggregate-by", "verdict", "--interval", "5s"];
    let groups = objects(&arguments, &lines());
    let told: Vec<(&str, &str, u64)> = groups
        .iter()
        .map(|group| {
            let verdict = group["by"]["verdict"].as_str().unwrap();
            (group["time"].as_str().unwrap(), verdict, group["flows"].as_u64().unwrap())
        })
        .collect();
    let (a, b, c) = ("2026-11-23T00:00:06Z", "2026-11-23T00:00:11Z", "2026-11-23T00:00:16Z");
    assert_eq!(told, [(a, "FORWARDED", 1), (b, "DROPPED", 1), (b, "FORWARDED", 1), (c, "FORWARDED", 1)]);
    let bounded = objects(&["-r", "-", "-j", "--aggregate-by", "verdict", "--max-groups", "1"], &lines());
    assert_eq!((bounded.len(), &bounded[1]["others"], &bounded[1]["flows"]), (2, &true.into(), &1.into()));
    let table = shown(&["-r", "-", "--aggregate-by", "destination_port,drop_reason"], &lines());
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..4], ["DESTINATION_PORT", "DROP_REASON", "FLOWS", "BYTES"]);
    assert_eq!(rows[1][..5], ["5432", "-", "3", "12", "KiB"]);
    assert_eq!(rows[2][..3], ["22", "POLICY_DENIED", "1"]);
}

#[test]
fn a_field_that_there_is_not_is_answered_with_those_that_there_are() {
    let output = flowdump(&["-r", "-", "--aggregate-by", "source_podd"], "");
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(error.contains("source_podd") && error.contains("source_pod, ") && error.contains("dns_query"), "{error}");
}

/// `flowdump` on a terminal of its own, 12 rows of 120 columns.
struct Terminal {
    child: Child,
    screen: File,
    seen: String,
    input: Option<OwnedFd>,
}

impl Terminal {
    fn start(arguments: &[&str]) -> Self {
        let size = Winsize { ws_row: 12, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(Some(&size), None).unwrap();
        let (theirs, ours) = nix::unistd::pipe().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_flowdump"));
        command.args(arguments).stdin(theirs).stdout(pair.slave.try_clone().unwrap()).stderr(pair.slave);
        let child = command.spawn().unwrap();
        Self { child, screen: File::from(pair.master), seen: String::new(), input: Some(ours) }
    }

    fn send(&mut self, text: &str) {
        let mut input = File::from(self.input.as_ref().unwrap().try_clone().unwrap());
        input.write_all(text.as_bytes()).unwrap();
    }

    /// Reads what it draws until that is there.
    fn until(&mut self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.seen.contains(text) {
            assert!(Instant::now() < deadline, "no {text:?} in {:?}", self.seen);
            self.read(Duration::from_millis(100));
        }
    }

    fn read(&mut self, wait: Duration) -> bool {
        let mut fds = [PollFd::new(self.screen.as_fd(), PollFlags::POLLIN)];
        let wait = PollTimeout::try_from(wait).unwrap();
        if poll(&mut fds, wait).unwrap() == 0 {
            return true;
        }
        let mut bytes = [0; 4096];
        match self.screen.read(&mut bytes) {
            Ok(count) if count > 0 => {
                self.seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
                true
            }
            _ => false,
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Waits for its end; its exit code, and all that it drew.
    fn end(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.read(Duration::from_millis(100)) {
            assert!(Instant::now() < deadline, "it does not end: {:?}", self.seen);
            if self.child.try_wait().unwrap().is_some() {
                while self.read(Duration::ZERO) && Instant::now() < deadline {
                    let mut fds = [PollFd::new(self.screen.as_fd(), PollFlags::POLLIN)];
                    if poll(&mut fds, PollTimeout::ZERO).unwrap() == 0 {
                        break;
                    }
                }
                break;
            }
        }
        (self.child.wait().unwrap().code(), self.seen)
    }
}

const BEGIN: &str = "\u{1b}[?1049h";
const LEAVE: &str = "\u{1b}[?1049l";

#[test]
fn a_signal_that_is_not_waited_for_gives_the_terminal_back_too() {
    let mut terminal = Terminal::start(&["map", "-r", "-", "-w"]);
    terminal.until(BEGIN);
    terminal.signal(Signal::SIGQUIT);
    let (code, seen) = terminal.end();
    assert_eq!((code, seen.matches(LEAVE).count()), (Some(130), 1), "{seen:?}");
}

#[test]
fn on_a_terminal_it_is_drawn_anew_and_the_terminal_is_given_back() {
    for command in [&["top", "-r", "-", "-f"][..], &["map", "-r", "-", "-w", "--by", "pod"]] {
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let mut terminal = Terminal::start(command);
            terminal.until(BEGIN);
            terminal.send(&told(1, "first", 100, 0));
            terminal.until("shop/web-1");
            terminal.signal(signal);
            let (code, seen) = terminal.end();
            assert_eq!(code, Some(0), "{command:?} {signal}: {seen:?}");
            assert_eq!((seen.matches(BEGIN).count(), seen.matches(LEAVE).count()), (1, 1), "{seen:?}");
            // What was shown last stays behind.
            let (drawn, after) = seen.split_once(LEAVE).unwrap();
            assert!(drawn.matches("\u{1b}[H").count() >= 2, "{drawn:?}");
            assert!(after.contains("shop/web-1") && !after.contains('\u{1b}'), "{after:?}");
        }
    }
}
