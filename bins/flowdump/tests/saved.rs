//! `flowdump -r`: saved lines through the real program.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failure shows its line")]

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// A flow as Hubble writes it, `second` seconds past midnight, from `source` to 10.0.0.2:80.
fn hubble(second: u32, source: &str, protocol: &str) -> String {
    format!(
        r#"{{"flow":{{"time":"2026-11-23T00:00:{second:02}.5Z","uuid":"u{second}","verdict":"FORWARDED","ethernet":{{"source":"0a:00:00:00:00:01","destination":"0a:00:00:00:00:02"}},"IP":{{"source":"{source}","destination":"10.0.0.2","ipVersion":"IPv4"}},"l4":{{"{protocol}":{{"source_port":40000,"destination_port":80}}}},"source":{{"identity":4711,"namespace":"shop","labels":["k8s:app=web"],"pod_name":"web-1"}},"destination":{{"identity":4712,"namespace":"shop","labels":["k8s:app=db"],"pod_name":"db-0"}},"Type":"L3_L4","node_name":"n1","event_type":{{"type":4,"sub_type":5}},"traffic_direction":"EGRESS","trace_observation_point":"FROM_ENDPOINT","is_reply":false,"Summary":"{protocol}"}},"node_name":"n1","time":"2026-11-23T00:00:{second:02}.5Z"}}"#
    )
}

const LOST: &str = r#"{"lost_events":{"source":"PERF_EVENT_RING_BUFFER","num_events_lost":"7"},"node_name":"n1"}"#;

fn flowdump(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_flowdump"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // Its own thread, so that neither side waits for the other. It may end before it has read all.
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What is printed, with exit code 0 and a silent stderr.
fn shown(arguments: &[&str], input: &str) -> String {
    let output = flowdump(arguments, input);
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{arguments:?}");
    text(&output.stdout)
}

fn uuids(output: &str) -> Vec<String> {
    let uuid = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["flow"]["uuid"].as_str().unwrap_or("-").to_owned()
    };
    output.lines().map(uuid).collect()
}

fn three() -> String {
    let lines = [hubble(1, "10.0.0.1", "TCP"), hubble(2, "10.0.0.1", "UDP"), hubble(3, "10.0.0.3", "UDP")];
    lines.map(|line| line + "\n").concat()
}

#[test]
fn lines_pass_through_as_they_are() {
    assert_eq!(shown(&["-r", "-", "-j"], &three()), three());
    assert_eq!(shown(&["-r", "-", "-o", "json"], &three()), three());
    let odd = "{ \"flow\" : {\"verdict\":1, \"unheard_of\":{\"a\":[1,2]}, \"socketCookie\":\"9\"} }\n";
    assert_eq!(shown(&["-r", "-", "-j", "--verdict", "FORWARDED"], odd), odd);
}

#[test]
fn what_it_writes_it_reads() {
    let udp = shown(&["-r", "-", "-j", "--protocol", "udp"], &three());
    assert_eq!(uuids(&udp), ["u2", "u3"]);
    assert_eq!(uuids(&shown(&["-r", "-", "-j", "--ip", "10.0.0.3"], &udp)), ["u3"]);
}

#[test]
fn the_forms_are_those_of_hubble() {
    let line = hubble(1, "10.0.0.1", "TCP");
    assert_eq!(
        shown(&["-r", "-"], &line),
        "Nov 23 00:00:01.500: shop/web-1:40000 (ID:4711) -> shop/db-0:80 (ID:4712) from-endpoint FORWARDED (TCP)\n"
    );
    assert_eq!(
        shown(&["-r", "-", "--print-node-name"], &line),
        "Nov 23 00:00:01.500 [n1]: shop/web-1:40000 (ID:4711) -> shop/db-0:80 (ID:4712) from-endpoint FORWARDED (TCP)\n"
    );
    assert_eq!(
        shown(&["-r", "-", "-o", "table"], &line),
        "TIMESTAMP             SOURCE             DESTINATION    TYPE            VERDICT     SUMMARY\n\
         Nov 23 00:00:01.500   shop/web-1:40000   shop/db-0:80   from-endpoint   FORWARDED   TCP\n"
    );
    assert_eq!(
        shown(&["-r", "-", "-o", "dict"], &line),
        "  TIMESTAMP: Nov 23 00:00:01.500\n     SOURCE: shop/web-1:40000\nDESTINATION: shop/db-0:80\n       TYPE: from-endpoint\n    VERDICT: FORWARDED\n    SUMMARY: TCP\n"
    );
}

#[test]
fn camel_case_and_enum_numbers_are_understood() {
    let line = r#"{"flow":{"time":"2026-11-23T00:00:01Z","verdict":2,"dropReasonDesc":133,"IP":{"source":"10.0.0.1","destination":"10.0.0.2","ipVersion":1},"l4":{"TCP":{"sourcePort":40000,"destinationPort":"80","flags":{"SYN":true}}},"eventType":{"type":1,"subType":133},"trafficDirection":1,"isReply":true,"Summary":"TCP Flags: SYN"},"nodeName":"n1"}"#;
    let filters =
        ["--verdict", "DROPPED", "-4", "--to-port", "80", "--tcp-flags", "syn", "--traffic-direction", "ingress"];
    let arguments = [&["-r", "-"][..], &filters].concat();
    assert_eq!(
        shown(&arguments, line),
        "Nov 23 00:00:01.000: 10.0.0.2:80 <- 10.0.0.1:40000 Policy denied DROPPED (TCP Flags: SYN)\n"
    );
}

#[test]
fn not_turns_the_filter_that_follows() {
    assert_eq!(uuids(&shown(&["-r", "-", "-j", "--not", "--protocol", "tcp", "--ip", "10.0.0.1"], &three())), ["u2"]);
    assert_eq!(uuids(&shown(&["-r", "-", "-j", "--ip", "10.0.0.1", "--not", "--protocol", "tcp"], &three())), ["u2"]);
    assert_eq!(uuids(&shown(&["-r", "-", "-j", "--protocol", "tcp", "--not", "--ip", "10.0.0.3"], &three())), ["u1"]);
}

#[test]
fn first_last_since_and_until_choose() {
    assert_eq!(uuids(&shown(&["-r", "-", "-j", "--first", "2"], &three())), ["u1", "u2"]);
    assert_eq!(uuids(&shown(&["-r", "-", "-j", "--last", "2"], &three())), ["u2", "u3"]);
    assert_eq!(uuids(&shown(&["-r", "-", "-j", "--last", "1", "--protocol", "tcp"], &three())), ["u1"]);
    let since = ["-r", "-", "-j", "--since", "2026-11-23T00:00:02.5Z"];
    assert_eq!(uuids(&shown(&since, &three())), ["u2", "u3"]);
    let until = ["-r", "-", "-j", "--until", "2026-11-23T01:00:02.5+01:00"];
    assert_eq!(uuids(&shown(&until, &three())), ["u1", "u2"]);
    assert_eq!(shown(&["-r", "-", "-j", "--since", "1s", "--until", "0s"], &three()), "");
}

#[test]
fn first_ends_before_the_input_does() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_flowdump"))
        .args(["-r", "-", "-j", "--first", "1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(three().as_bytes()).unwrap();
    let mut output = String::new();
    child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert_eq!(uuids(&output), ["u1"]);
    assert_eq!(child.wait().unwrap().code(), Some(0), "with stdin still open");
    drop(stdin);
}

#[test]
fn bad_lines_are_told_with_their_number_and_skipped() {
    let input = format!(
        "{}\nnonsense\n\n{{\"flow\":{{\"l4\":7}}}}\n{{\"verdict\":\"DROPPED\"}}\n{{}}\n{}",
        hubble(1, "10.0.0.1", "TCP"),
        hubble(2, "10.0.0.1", "UDP")
    );
    let output = flowdump(&["-r", "-", "-j"], &input);
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(uuids(&text(&output.stdout)), ["u1", "u2"]);
    let errors = text(&output.stderr);
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!(lines.len(), 5, "{errors}");
    assert!(lines[0].starts_with("flowdump: warning: stdin: line 2: expected ident"), "{errors}");
    assert!(lines[1].starts_with("flowdump: warning: stdin: line 4: invalid type: integer `7`"), "{errors}");
    assert!(lines[2].starts_with("flowdump: warning: stdin: line 5: a flow without the envelope"), "{errors}");
    assert_eq!(lines[3], "flowdump: warning: stdin: line 6: neither a flow nor lost_events nor node_status: skipped");
    assert_eq!(lines[4], "flowdump: warning: 4 bad lines in stdin skipped");
}

#[test]
fn strict_ends_at_the_first_bad_line() {
    let input = format!("{}\nnonsense\n{}\n", hubble(1, "10.0.0.1", "TCP"), hubble(2, "10.0.0.1", "UDP"));
    let output = flowdump(&["-r", "-", "-j", "--strict"], &input);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(uuids(&text(&output.stdout)), ["u1"], "what came before is shown");
    assert!(text(&output.stderr).starts_with("flowdump: stdin: line 2: expected ident"), "{}", text(&output.stderr));
}

#[test]
fn long_lines_are_taken_up_to_a_limit() {
    let long = hubble(1, "10.0.0.1", "TCP").replace("k8s:app=web", &format!("k8s:x={}", "x".repeat(100 * 1024)));
    assert_eq!(shown(&["-r", "-", "-j"], &format!("{long}\n")), format!("{long}\n"));
    let too_long = hubble(2, "10.0.0.1", "TCP").replace("k8s:app=web", &"x".repeat(1 << 20));
    let output = flowdump(&["-r", "-", "-j"], &format!("{too_long}\n{}\n", hubble(3, "10.0.0.1", "TCP")));
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(uuids(&text(&output.stdout)), ["u3"]);
    assert!(text(&output.stderr).contains("line 1: longer than 1048576 bytes"), "{}", text(&output.stderr));
}

#[test]
fn losses_pass_all_filters_and_can_fail_the_run() {
    let input = format!("{}{LOST}\n", three());
    let output = flowdump(&["-r", "-", "-j", "--protocol", "icmp"], &input);
    assert_eq!(text(&output.stdout), format!("{LOST}\n"));
    assert_eq!(text(&output.stderr), "flowdump: warning: 7 events lost\n");
    assert_eq!(output.status.code(), Some(0));
    let output = flowdump(&["-r", "-", "--fail-on-loss", "--verdict", "DROPPED"], &input);
    assert_eq!(text(&output.stdout), "EVENTS LOST: PERF_EVENT_RING_BUFFER CPU(0) 7\n");
    assert_eq!(output.status.code(), Some(1));
    let output = flowdump(&["-r", "-", "-j", "--last", "1"], &input);
    assert_eq!(uuids(&text(&output.stdout)), ["u3", "-"], "a loss among the last flows is told");
    assert_eq!(flowdump(&["-r", "-", "--fail-on-loss"], &three()).status.code(), Some(0));
}

#[test]
fn names_are_put_to_flows_that_have_none() {
    let folder = tempfile::tempdir().unwrap();
    let pods = folder.path().join("pods.json");
    let json = r#"{"apiVersion":"v1","kind":"List","items":[
        {"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"shop","name":"web"},
         "spec":{"containers":[]},"status":{"podIP":"10.0.0.1"}},
        {"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"shop","name":"bad"},"spec":{"containers":7}}]}"#;
    fs::write(&pods, json).unwrap();
    let line = r#"{"flow":{"time":"2026-11-23T00:00:01Z","verdict":"FORWARDED","IP":{"source":"10.0.0.1","destination":"192.0.2.1"},"event_type":{"type":4},"is_reply":false,"cgroup_id":"7"}}"#;
    let output = flowdump(&["-r", "-", "--pods", pods.to_str().unwrap(), "--pod", "shop/web"], line);
    assert_eq!(text(&output.stdout), "Nov 23 00:00:01.000: shop/web -> 192.0.2.1 (world) to-endpoint FORWARDED ()\n");
    assert!(
        text(&output.stderr).contains("pods.json:4: document 1: Pod/shop/bad: spec.containers: invalid type"),
        "{}",
        text(&output.stderr)
    );
    let yaml = folder.path().join("yaml");
    fs::create_dir(&yaml).unwrap();
    fs::write(yaml.join("web.yaml"), "kind: Pod\nmetadata: {namespace: shop, name: web}\nstatus: {podIP: 10.0.0.1}\n")
        .unwrap();
    let output = flowdump(&["-r", "-", "--pods", yaml.to_str().unwrap(), "--pod", "shop/web", "--strict"], line);
    assert_eq!((text(&output.stdout).lines().count(), text(&output.stderr)), (1, String::new()), "a folder of YAML");
    fs::write(yaml.join("bad.yaml"), "{").unwrap();
    fs::remove_file(yaml.join("web.yaml")).unwrap();
    let output = flowdump(&["-r", "-", "--pods", yaml.to_str().unwrap()], line);
    assert_eq!(output.status.code(), Some(2), "nothing but what is no use: {}", text(&output.stderr));
    let output = flowdump(&["-r", "-", "--pods", pods.to_str().unwrap(), "-j"], line);
    let named: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(named["flow"]["source"]["pod_name"], "web");
    assert_eq!(named["flow"]["cgroup_id"], "7");
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_flowdump"))
        .args(["-r", "-", "-j"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    drop(child.stdout.take());
    let line = hubble(1, "10.0.0.1", "TCP") + "\n";
    // It ends while this writes: an error here is the end that is waited for.
    while stdin.write_all(line.as_bytes()).is_ok() {}
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
}

/// A running `flowdump` whose lines can be waited for.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(arguments: &[&str], stdin: Stdio) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_flowdump"))
            .args(arguments)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = lines_of(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(Duration::from_secs(20)).unwrap()
    }

    fn uuid(&self) -> String {
        uuids(&self.line()).remove(0)
    }

    /// Sends SIGINT and waits for the end.
    fn interrupt(mut self) -> (Option<i32>, String) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let mut errors = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        (self.child.wait().unwrap().code(), errors)
    }
}

fn lines_of(output: ChildStdout) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

fn append(path: &Path, text: &str) {
    OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn lines_of_a_pipe_are_not_held_back() {
    for format in ["jsonl", "compact"] {
        let mut running = Running::start(&["-r", "-", "-o", format], Stdio::piped());
        let mut stdin = running.child.stdin.take().unwrap();
        for second in 1..4 {
            stdin.write_all((hubble(second, "10.0.0.1", "TCP") + "\n").as_bytes()).unwrap();
            assert!(running.line().contains(&format!("00:00:0{second}.5")), "{format}");
        }
        drop(stdin);
        assert_eq!(running.child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn an_interrupt_ends_a_silent_pipe() {
    let mut running = Running::start(&["-r", "-", "-j"], Stdio::piped());
    let mut stdin = running.child.stdin.take().unwrap();
    stdin.write_all((hubble(1, "10.0.0.1", "TCP") + "\n").as_bytes()).unwrap();
    assert_eq!(running.uuid(), "u1");
    assert_eq!(running.interrupt(), (Some(0), String::new()));
    drop(stdin);
}

#[test]
fn a_growing_file_is_followed_through_truncation_and_rotation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flows.jsonl");
    append(&path, &three());
    let running = Running::start(&["-r", path.to_str().unwrap(), "-f", "-j", "--last", "1"], Stdio::null());
    assert_eq!(running.uuid(), "u3", "the last of what is there");

    let line = hubble(4, "10.0.0.1", "TCP");
    let (half, rest) = line.split_at(100);
    append(&path, half);
    std::thread::sleep(Duration::from_millis(300));
    append(&path, &format!("{rest}\n"));
    assert_eq!(running.uuid(), "u4", "a line that comes in two pieces");

    File::create(&path).unwrap();
    std::thread::sleep(Duration::from_millis(400));
    append(&path, &(hubble(5, "10.0.0.1", "TCP") + "\n"));
    assert_eq!(running.uuid(), "u5", "after it was truncated");

    fs::rename(&path, folder.path().join("flows.jsonl.1")).unwrap();
    append(&folder.path().join("flows.jsonl.1"), &(hubble(6, "10.0.0.1", "TCP") + "\n"));
    assert_eq!(running.uuid(), "u6", "what is added to the file that was moved away");
    append(&path, &(hubble(7, "10.0.0.1", "TCP") + "\n"));
    assert_eq!(running.uuid(), "u7", "the new file of the name");

    assert_eq!(running.interrupt(), (Some(0), String::new()));
}

#[test]
fn a_table_of_a_growing_file_comes_as_it_grows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flows.jsonl");
    append(&path, &(hubble(1, "10.0.0.1", "TCP") + "\n"));
    let running = Running::start(&["-r", path.to_str().unwrap(), "-f", "-o", "table"], Stdio::null());
    assert!(running.line().starts_with("TIMESTAMP "));
    assert!(running.line().starts_with("Nov 23 00:00:01.500 "));
    append(&path, &(hubble(2, "10.0.0.1", "TCP") + "\n"));
    assert!(running.line().starts_with("Nov 23 00:00:02.500 "));
    assert_eq!(running.interrupt().0, Some(0));
}

#[test]
fn a_duration_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flows.jsonl");
    append(&path, &three());
    let output = flowdump(&["-r", path.to_str().unwrap(), "-f", "-j", "--duration", "300ms"], "");
    assert_eq!((output.status.code(), uuids(&text(&output.stdout)).len()), (Some(0), 3));
}

#[test]
fn names_cannot_steer_the_terminal() {
    let line = hubble(1, "10.0.0.1", "TCP").replace("web-1", "\\u001b]0;x\\u0007").replace("db-0", "d\\nb");
    let output = shown(&["-r", "-"], &line);
    assert!(output.chars().all(|c| c == '\n' || !c.is_control()), "{output:?}");
    assert_eq!(output.lines().count(), 1);
}

/// A response of HTTP, as Hubble writes it.
fn http(second: u32, code: u16) -> String {
    let flow = hubble(second, "10.0.0.1", "TCP");
    let l7 = format!(
        r#""l7":{{"type":"RESPONSE","latency_ns":"{second}000000","http":{{"code":{code},"method":"GET","url":"http://cart/items","protocol":"HTTP/1.1"}}}},"event_type":{{"type":129}}"#
    );
    flow.replace(r#""event_type":{"type":4,"sub_type":5}"#, &l7).replace(r#","Summary":"TCP""#, "")
}

#[test]
fn requests_and_responses_are_filtered_and_printed() {
    let input = format!("{}\n{}\n{}\n", http(1, 200), http(2, 503), hubble(3, "10.0.0.1", "TCP"));
    for (filters, found) in [
        (&["--http-status", "5+"][..], &["u2"][..]),
        (&["--latency", ">1ms"], &["u2"]),
        (&["--latency", "<2ms"], &["u1"]),
        (&["--protocol", "http"], &["u1", "u2"]),
        (&["-t", "l7", "--http-path", "^/items$"], &["u1", "u2"]),
        (&["--not", "--type", "l7"], &["u3"]),
        (&["--cel-expression", "_flow.l7.http.code >= 500u"], &["u2"]),
        (&["--allowlist", r#"{"http_status_code":["200"]} {"uuid":["u3"]}"#], &["u1", "u3"]),
        (&["--port", "80", "--denylist", r#"{"httpMethod":["get"]}"#], &["u3"]),
        (&["--reply=false", "--uuid", "u1"], &["u1"]),
        (&["--reply"], &[]),
    ] {
        let arguments = [&["-r", "-", "-o", "jsonpb"][..], filters].concat();
        assert_eq!(uuids(&shown(&arguments, &input)), found, "{filters:?}");
    }
    let line = shown(&["-r", "-", "--http-status", "503"], &input);
    assert!(line.ends_with(" http-response FORWARDED (HTTP/1.1 503 2ms (GET http://cart/items))\n"), "{line}");
}

#[test]
fn the_form_of_times_hosts_and_colours_is_as_asked_for() {
    let line = hubble(1, "10.0.0.1", "TCP");
    let [host, port, identity, green, plain] = [36, 33, 35, 32, 0].map(|colour| format!("\u{1b}[{colour}m"));
    assert_eq!(
        shown(&["-r", "-", "--time-format", "rfc3339milli", "--numeric", "--color", "always"], &line),
        format!(
            "2026-11-23T00:00:01.5Z: {host}10.0.0.1{plain}:{port}40000{plain} {identity}(ID:4711){plain} -> \
             {host}10.0.0.2{plain}:{port}80{plain} {identity}(ID:4712){plain} from-endpoint {green}FORWARDED{plain} (TCP)\n"
        )
    );
    for never in [&["--color", "never"][..], &["--color", "auto"], &["--color", "always", "-o", "table"]] {
        assert!(!shown(&[&["-r", "-"][..], never].concat(), &line).contains('\u{1b}'), "{never:?}");
    }
    let allowed =
        line.replace(r#""Type""#, r#""egress_allowed_by":[{"name":"web","namespace":"shop","kind":"K"}],"Type""#);
    let printed = shown(&["-r", "-", "--print-policy-names", "--policy", "shop/web"], &allowed);
    assert!(printed.ends_with(" FORWARDED BY K shop/web (egress) (TCP)\n"), "{printed}");
}

#[test]
fn raw_filters_are_printed_in_place_of_flows_and_taken_as_lists() {
    let printed = shown(&["--print-raw-filters", "--from-pod", "shop/web", "--not", "--protocol", "udp"], "");
    assert_eq!(
        printed,
        "allowlist:\n    - '{\"source_pod\":[\"shop/web\"]}'\ndenylist:\n    - '{\"protocol\":[\"udp\"]}'\n"
    );
    let lists =
        ["-r", "-", "-j", "--allowlist", r#"{"source_pod":["shop/web"]}"#, "--denylist", r#"{"protocol":["udp"]}"#];
    assert_eq!(uuids(&shown(&lists, &three())), ["u1"]);
    assert_eq!(shown(&["--print-raw-filters"], ""), "{}\n");
    let refused = flowdump(&["-r", "-", "--allowlist", r#"{"sourcepod":["x"]}"#], "");
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("invalid value for --allowlist: unknown field `sourcepod`"));
}
