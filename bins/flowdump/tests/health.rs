//! `flowdump health` over saved lines.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use serde_json::{Value, json};

/// A line of a connection from `shop/web` to a port of `shop/db`, as the client's side told it last.
fn line(port: u16, first_seen: &str, event: &str, reason: Option<&str>, connection: &Value) -> String {
    let mut connection = connection.clone();
    connection["first_seen"] = first_seen.into();
    let mut extra = json!({"event": event, "connection": connection});
    if let Some(reason) = reason {
        extra["reason"] = reason.into();
    }
    let pod = |name: &str| json!({"namespace": "shop", "pod_name": name});
    let flow = json!({
        "time": first_seen, "verdict": "FORWARDED", "Type": "L3_L4", "is_reply": false, "traffic_direction": "EGRESS",
        "trace_observation_point": "FROM_ENDPOINT",
        "IP": {"source": "10.0.0.1", "destination": "10.0.0.2", "ipVersion": "IPv4"},
        "l4": {"TCP": {"source_port": 40000, "destination_port": port, "flags": {"SYN": true}}},
        "source": pod("web"), "destination": pod("db"),
        "extensions": {"@type": "type.googleapis.com/google.protobuf.Struct", "value": extra},
    });
    json!({"flow": flow, "time": first_seen}).to_string()
}

fn health(lines: &[String], arguments: &[&str]) -> String {
    common::shown(&[&["health", "-r", "-", "--by", "pod"], arguments].concat(), &(lines.join("\n") + "\n"))
}

fn lines() -> Vec<String> {
    let refused = json!({"opened": "pod", "state": "closed", "tx_flags": ["SYN"], "rx_flags": ["RST", "ACK"]});
    let waiting = json!({"opened": "pod", "state": "syn_sent", "tx_flags": ["SYN"]});
    let lossy = json!({
        "opened": "pod", "state": "established", "tx_flags": ["SYN", "ACK"], "rx_flags": ["SYN", "ACK"],
        "tcp": {"tx": {"segments": 200, "retransmits": 30, "srtt_ns": 4_000_000, "rtt_samples": 9}, "rx": {"segments": 100}},
    });
    let fine = json!({"opened": "pod", "state": "established", "tx_flags": ["SYN", "ACK"], "rx_flags": ["SYN", "ACK"],
        "tcp": {"tx": {"segments": 200}, "rx": {"segments": 100}}});
    vec![
        line(1, "2026-01-01T00:00:01Z", "close", Some("rst"), &refused),
        line(2, "2026-01-01T00:00:02Z", "close", Some("expired"), &waiting),
        line(3, "2026-01-01T00:00:03Z", "active", None, &lossy),
        // Told twice, it is counted once.
        line(3, "2026-01-01T00:00:03Z", "active", None, &lossy),
        line(4, "2026-01-01T00:00:04Z", "active", None, &fine),
    ]
}

#[test]
fn the_worst_edges_are_told_with_their_reasons() {
    let told: Value = serde_json::from_str(&health(&lines(), &["-j"])).unwrap();
    let edges: Vec<(u64, &str, &str)> = told["edges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|edge| {
            let finding = &edge["findings"][0];
            (edge["port"].as_u64().unwrap(), finding["id"].as_str().unwrap(), edge["severity"].as_str().unwrap())
        })
        .collect();
    assert_eq!(edges, [(1, "refused", "error"), (2, "timeouts", "error"), (3, "retransmits", "error")], "{told:#}");
    assert_eq!((&told["kind"], &told["healthy"], &told["more"]), (&"Health".into(), &1.into(), &0.into()));
    let lossy = &told["edges"][2];
    assert_eq!((&lossy["findings"][0]["count"], &lossy["findings"][0]["of"]), (&30.into(), &200.into()));
    // From a sketch, which is right to a few per cent.
    let rtt = lossy["tcp"]["rtt_p50_ms"].as_f64().unwrap();
    assert!((3.8..4.2).contains(&rtt), "{lossy:#}");
}

#[test]
fn no_more_edges_are_shown_than_asked_for_and_the_rest_is_counted() {
    let told: Value = serde_json::from_str(&health(&lines(), &["-j", "--top", "1"])).unwrap();
    assert_eq!((told["edges"].as_array().unwrap().len(), &told["more"]), (1, &2.into()));
}

#[test]
fn what_is_for_flows_as_they_come_is_refused_for_saved_ones() {
    for flag in ["--interval", "--window"] {
        let output = common::flowdump(&["health", "-r", "-", flag, "5s"], "");
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(flag) && told.contains("-f"), "{told}");
    }
}

#[test]
fn people_get_a_line_for_each_reason() {
    let table = health(&lines(), &["-o", "table"]);
    assert!(
        table.contains("shop/web sent 30 of 200 segments to shop/db again (15.0 %): they are lost on the way"),
        "{table}"
    );
    assert!(table.ends_with("edges without a finding: 1\n"), "{table}");
}
