//! `flowdump metrics --once` of saved lines, and the dashboard that goes with it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a failure shows its line, and a skip is told"
)]

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

/// A line for each thing that is counted: a denial, an end of a connection, HTTP, DNS, lost events.
fn lines() -> String {
    let end = |name: &str| json!({"namespace": "shop", "pod_name": format!("{name}-1"), "workloads": [{"name": name, "kind": "Deployment"}]});
    let flow = |more: Value| {
        let mut flow = json!({
            "time": "2026-11-23T00:00:05Z", "verdict": "FORWARDED", "is_reply": false, "traffic_direction": "INGRESS",
            "event_type": {"type": 4}, "IP": {"source": "10.0.0.1", "destination": "10.0.0.2", "ipVersion": "IPv4"},
            "l4": {"TCP": {"source_port": 40000, "destination_port": 5432, "flags": {"SYN": true}}},
            "source": end("web"), "destination": end("db")
        });
        for (name, value) in more.as_object().unwrap() {
            flow[name] = value.clone();
        }
        format!("{}\n", json!({"flow": flow}))
    };
    let extra = |value: Value| json!({"@type": "type.googleapis.com/google.protobuf.Struct", "value": value});
    let denied = flow(json!({
        "verdict": "DROPPED", "drop_reason_desc": "POLICY_DENIED", "event_type": {"type": 1, "sub_type": 133},
        "ingress_denied_by": [{"name": "default-deny", "namespace": "shop", "kind": "NetworkPolicy"}],
        "extensions": extra(json!({"event": "denied", "count": 2, "decided_by": {"direction": "ingress", "action": "isolated", "tier": "NetworkPolicy"}}))
    }));
    let closed = flow(json!({"extensions": extra(json!({"event": "close", "connection": {
        "opened": "remote", "state": "closed", "tx_packets": 5, "tx_bytes": 9000, "rx_packets": 4, "rx_bytes": 1000,
        "first_seen": "2026-11-23T00:00:01Z", "rtt_ns": 700_000
    }}))}));
    let answer = json!({"verdict": "FORWARDED", "is_reply": true, "event_type": {"type": 129}});
    let answered = |l7: Value| {
        let mut more = answer.clone();
        more["l7"] = l7;
        flow(more)
    };
    let http = answered(
        json!({"type": "RESPONSE", "latency_ns": "3000000", "http": {"code": 503, "method": "GET", "protocol": "HTTP/1.1"}}),
    );
    let dns = |kind: &str| json!({"type": kind, "dns": {"query": "db.", "qtypes": ["A"], "rcode": 3}});
    let asked = flow(json!({"event_type": {"type": 129}, "l7": dns("REQUEST")}));
    let lost = format!("{}\n", json!({"lost_events": {"source": "PERF_EVENT_RING_BUFFER", "num_events_lost": "7"}}));
    [denied, closed, http, asked, answered(dns("RESPONSE")), lost].concat()
}

fn fed(program: &str, arguments: &[&str], input: &str) -> Option<Output> {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => panic!("{program}: {error}"),
    };
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Some(output)
}

fn metrics(arguments: &[&str], input: &str) -> Output {
    let arguments = [&["metrics", "--once"], arguments].concat();
    fed(env!("CARGO_BIN_EXE_flowdump"), &arguments, input).unwrap()
}

fn counted(arguments: &[&str]) -> String {
    let output = metrics(&[&["-r", "-"], arguments].concat(), &lines());
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), told.as_str()), (Some(0), "flowdump: warning: 7 events lost\n"));
    String::from_utf8(output.stdout).unwrap()
}

/// All metrics with names, and the overflow of one that has too little room.
fn all() -> String {
    let ends = "sourceContext=workload;destinationContext=workload";
    counted(&[
        "--metrics=dns:query",
        "--metrics=drop",
        "--metrics=tcp",
        "--metrics=flow",
        "--metrics=policy",
        &format!("--metrics=httpV2:{ends}"),
        &format!("--metrics=chainkit:{ends}"),
    ]) + &counted(&["--max-samples", "3"])
}

#[test]
fn saved_lines_are_counted_by_name_and_label() {
    let text = counted(&[]);
    for sample in [
        r#"hubble_drop_total{reason="POLICY_DENIED",protocol="TCP"} 1"#,
        r#"hubble_dns_queries_total{rcode="",qtypes="A",ips_returned="0"} 1"#,
        r#"hubble_dns_responses_total{rcode="Non-Existent Domain",qtypes="A",ips_returned="0"} 1"#,
        r#"hubble_http_requests_total{method="GET",protocol="HTTP/1.1",status="503",reporter="server"} 1"#,
        r#"hubble_lost_events_total{source="PERF_EVENT_RING_BUFFER"} 7"#,
        r#"chainkit_bytes_total{reporter="server",direction="sent"} 9000"#,
        r#"chainkit_bytes_total{reporter="server",direction="received"} 1000"#,
        r#"chainkit_policy_decisions_total{policy_kind="NetworkPolicy",policy_namespace="shop",policy="default-deny",rule="",tier="NetworkPolicy",direction="ingress",action="isolated",verdict="dropped"} 2"#,
    ] {
        assert!(text.lines().any(|line| line == sample), "{sample}: {text}");
    }
    let of_pods = counted(&["--metrics", "drop:sourceContext=pod;destinationContext=workload", "--verdict", "DROPPED"]);
    let sample =
        r#"hubble_drop_total{source="shop/web-1",destination="shop/db",reason="POLICY_DENIED",protocol="TCP"} 1"#;
    assert!(of_pods.contains(sample), "{of_pods}");
    assert!(
        !of_pods.contains("hubble_dns") && !of_pods.contains("chainkit_bytes"),
        "no more than was asked for: {of_pods}"
    );
}

#[test]
fn what_finds_no_room_is_told_as_overflow() {
    let text = counted(&["--max-samples", "2"]);
    assert!(
        text.contains("chainkit_metrics_samples 2\n") && text.contains("chainkit_metrics_samples_limit 2\n"),
        "{text}"
    );
    assert!(text.contains(r#"hubble_flows_processed_total{protocol="__overflow__","#), "{text}");
    assert!(text.contains(r#"chainkit_metrics_overflowed_total{metric="hubble_flows_processed"} "#), "{text}");
}

#[test]
fn what_cannot_be_counted_says_what_there_is() {
    for (arguments, says) in [
        (&["--metrics", "drops"][..], "there are dns, drop, tcp"),
        (&["--metrics", "drop:query"], "no option"),
        (&["--metrics", "drop:sourceContext=host"], "pod-name"),
        (&["--metrics", "http", "--metrics", "httpV2"], "ask for one of them"),
        (&["--max-samples", "0"], "max-samples"),
        (&["--listen", "127.0.0.1:0"], "--once"),
    ] {
        let output = metrics(&[&["-r", "-"], arguments].concat(), "");
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(2), &b""[..]), "{arguments:?}");
        assert!(told.contains(says), "{arguments:?}: {told}");
    }
    let gone = metrics(&["-r", "/no/such/file"], "");
    assert_eq!((gone.status.code(), gone.stdout.as_slice()), (Some(2), &b""[..]));
    let bad = metrics(&["-r", "-"], "{\n");
    assert_eq!(bad.status.code(), Some(5), "what could be read was counted");
}

/// What promtool says of a text, and its exit code; `None` where there is none.
fn promtool(arguments: &[&str], input: &str) -> Option<(String, Option<i32>)> {
    let Some(output) = fed("promtool", arguments, input) else {
        eprintln!("skipped: promtool is not installed: it is in Debian's package prometheus");
        return None;
    };
    Some((String::from_utf8([output.stdout, output.stderr].concat()).unwrap(), output.status.code()))
}

#[test]
fn promtool_has_nothing_to_say_of_the_text() {
    let text = counted(&[]);
    if let Some(said) = promtool(&["check", "metrics"], &text) {
        assert_eq!(said, (String::new(), Some(0)));
    }
    let all = counted(&["--metrics=httpV2:exemplars=true", "--metrics=chainkit:sourceContext=pod", "--max-samples=20"]);
    if let Some(said) = promtool(&["check", "metrics"], &all) {
        assert_eq!(said, (String::new(), Some(0)));
    }
}

const DASHBOARD: &str = include_str!("../grafana/chainkit.json");

/// The queries of all panels, and of the variables.
fn queries(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn each_metric_of_the_dashboard_and_each_of_its_labels_is_one_that_is_counted() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let text = all();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let mut known = BTreeSet::new();
    for sample in samples {
        let (name, labels) = sample.split_once(['{', ' ']).unwrap();
        known.insert(name);
        // Neither a comma nor a quote is in a value of these lines.
        known.extend(labels.split(['{', ',']).filter_map(|label| label.split_once("=\"")).map(|(label, _)| label));
    }
    // What the scraper adds, and what the language itself says.
    known.extend(["instance", "sum", "by", "or", "rate", "topk", "histogram_quantile"]);
    for query in queries(&dashboard) {
        let bare: String = query.split('"').step_by(2).collect::<Vec<_>>().join(" ").replace("[$__rate_interval]", " ");
        let words = bare.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let words: Vec<&str> = words.filter(|word| word.starts_with(|c: char| c.is_ascii_alphabetic())).collect();
        assert!(words.iter().any(|word| word.starts_with("hubble_") || word.starts_with("chainkit_")), "{query}");
        for word in words {
            assert!(known.contains(word), "{word} in {query}");
        }
    }
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let asked = variables.iter().filter_map(|variable| variable["query"]["query"].as_str());
    assert_eq!(asked.collect::<Vec<_>>(), ["label_values(chainkit_metrics_samples, instance)"]);
    assert!(known.contains("chainkit_metrics_samples"));
}

#[test]
fn the_dashboard_is_one_and_its_panels_lie_beside_each_other() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    for field in ["title", "uid"] {
        assert!(dashboard[field].as_str().is_some_and(|text| !text.is_empty()), "{field}");
    }
    assert!(dashboard["schemaVersion"].as_u64().is_some());
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{}", panel["title"]);
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        assert!(!panel["description"].as_str().unwrap().is_empty(), "{}", panel["title"]);
        let place = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{}", panel["title"]);
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(taken.insert((x, y)), "{} covers another", panel["title"]);
            }
        }
    }
}

#[test]
fn promtool_understands_the_queries_of_the_dashboard() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let rules = queries(&dashboard).into_iter().enumerate().map(|(number, query)| {
        let expr = query.replace("$__rate_interval", "5m").replace("$instance", ".*").replace("$reporter", "server");
        json!({"record": format!("panel:query{number}"), "expr": expr})
    });
    // YAML is what promtool reads, and JSON is YAML.
    let rules = json!({"groups": [{"name": "dashboard", "rules": rules.collect::<Vec<_>>()}]});
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), rules.to_string()).unwrap();
    if let Some((said, code)) = promtool(&["check", "rules", file.path().to_str().unwrap()], "") {
        assert_eq!(code, Some(0), "{said}");
    }
}
