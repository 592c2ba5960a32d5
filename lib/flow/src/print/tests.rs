use std::sync::Arc;

use super::*;
use crate::model::Endpoint;

/// The flow that Hubble's own printer is tested with.
const LINE: &str = r#"{"flow":{"time":"1970-01-01T00:20:34.567800Z","verdict":"DROPPED",
    "IP":{"source":"1.1.1.1","destination":"2.2.2.2"},"l4":{"TCP":{"source_port":31793,"destination_port":8080}},
    "source":{"identity":4},"destination":{"identity":12345},"Type":"L3_L4","node_name":"k8s1",
    "event_type":{"type":1,"sub_type":133},"is_reply":false,"Summary":"TCP Flags: SYN"}}"#;

fn record(change: impl FnOnce(&mut Flow)) -> Record {
    let mut record: Record = serde_json::from_str(LINE).unwrap();
    change(record.flow.as_mut().unwrap());
    record
}

fn printed(options: PrinterOptions, records: &[Record]) -> String {
    let mut printer = Printer::new(options);
    let mut out = Vec::new();
    for record in records {
        printer.print(record, None, &mut out).unwrap();
    }
    printer.flush(&mut out);
    String::from_utf8(out).unwrap()
}

fn compact(change: impl FnOnce(&mut Flow)) -> String {
    printed(PrinterOptions::default(), &[record(change)])
}

const NODE: PrinterOptions = PrinterOptions {
    format: Format::Compact,
    time_format: TimeFormat::StampMilli,
    node_name: true,
    policy_names: false,
    numeric: false,
    colour: false,
};

#[test]
fn compact_is_as_hubble_prints_it() {
    assert_eq!(
        compact(|_| ()),
        "Jan  1 00:20:34.567: 1.1.1.1:31793 (health) -> 2.2.2.2:8080 (ID:12345) Policy denied DROPPED (TCP Flags: SYN)\n"
    );
    assert_eq!(
        printed(NODE, &[record(|_| ())]),
        "Jan  1 00:20:34.567 [k8s1]: 1.1.1.1:31793 (health) -> 2.2.2.2:8080 (ID:12345) Policy denied DROPPED \
         (TCP Flags: SYN)\n"
    );
}

#[test]
fn replies_swap_sides_and_unknown_directions_point_both_ways() {
    assert_eq!(
        compact(|flow| flow.is_reply = Some(true)),
        "Jan  1 00:20:34.567: 2.2.2.2:8080 (ID:12345) <- 1.1.1.1:31793 (health) Policy denied DROPPED (TCP Flags: SYN)\n"
    );
    assert_eq!(
        compact(|flow| flow.is_reply = None),
        "Jan  1 00:20:34.567: 1.1.1.1:31793 (health) <> 2.2.2.2:8080 (ID:12345) Policy denied DROPPED (TCP Flags: SYN)\n"
    );
}

#[test]
fn policy_verdicts_have_words_of_their_own() {
    let denied = compact(|flow| {
        flow.event_type = Some(crate::EventType { kind: 5, sub_type: 0 });
        flow.traffic_direction = crate::TrafficDirection::Egress;
    });
    assert!(denied.contains(" policy-verdict:none EGRESS DENIED (TCP"), "{denied}");
    let allowed = compact(|flow| {
        flow.event_type = Some(crate::EventType { kind: 5, sub_type: 0 });
        flow.verdict = Verdict::Forwarded;
        flow.policy_match_type = 1;
        flow.traffic_direction = crate::TrafficDirection::Ingress;
    });
    assert!(allowed.contains(" policy-verdict:L3-Only INGRESS ALLOWED (TCP"), "{allowed}");
}

#[test]
fn pods_services_and_names_stand_for_addresses() {
    let host = |change: fn(&mut Flow)| {
        let line = compact(change);
        line.split(" -> ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().to_owned()
    };
    assert_eq!(
        host(|flow| {
            flow.destination =
                Some(Arc::new(Endpoint { namespace: "ns".into(), pod_name: "pod".into(), ..Endpoint::default() }));
        }),
        "ns/pod:8080"
    );
    assert_eq!(
        host(|flow| flow.destination_service = serde_json::from_str(r#"{"name":"web","namespace":"shop"}"#).unwrap()),
        "shop/web:8080"
    );
    assert_eq!(
        host(|flow| flow.destination_names = vec!["a.example".into(), "b.example".into()]),
        "a.example,b.example:8080"
    );
    assert_eq!(
        host(|flow| flow.ip = serde_json::from_str(r#"{"source":"::1","destination":"fd00::2"}"#).unwrap()),
        "[fd00::2]:8080"
    );
    assert_eq!(host(|flow| flow.l4 = None), "2.2.2.2");
    assert_eq!(
        host(|flow| {
            flow.ip = None;
            flow.ethernet = serde_json::from_str(r#"{"destination":"0a:00:00:00:00:02"}"#).unwrap();
        }),
        "0a:00:00:00:00:02"
    );
}

#[test]
fn a_dict_has_a_line_between_flows() {
    let options = PrinterOptions { format: Format::Dict, ..NODE };
    let one = "  TIMESTAMP: Jan  1 00:20:34.567\n       NODE: k8s1\n     SOURCE: 1.1.1.1:31793\nDESTINATION: 2.2.2.2:8080\n       TYPE: Policy denied\n    VERDICT: DROPPED\n    SUMMARY: TCP Flags: SYN\n";
    assert_eq!(printed(options, &[record(|_| ()), record(|_| ())]), format!("{one}------------\n{one}"));
}

#[test]
fn a_table_is_aligned_under_its_header() {
    let options = PrinterOptions { format: Format::Table, ..PrinterOptions::default() };
    assert_eq!(
        printed(options, &[record(|_| ())]),
        "TIMESTAMP             SOURCE          DESTINATION    TYPE            VERDICT   SUMMARY\n\
         Jan  1 00:20:34.567   1.1.1.1:31793   2.2.2.2:8080   Policy denied   DROPPED   TCP Flags: SYN\n"
    );
    let options = PrinterOptions { node_name: true, ..options };
    assert_eq!(
        printed(options, &[record(|_| ())]),
        "TIMESTAMP             NODE   SOURCE          DESTINATION    TYPE            VERDICT   SUMMARY\n\
         Jan  1 00:20:34.567   k8s1   1.1.1.1:31793   2.2.2.2:8080   Policy denied   DROPPED   TCP Flags: SYN\n"
    );
}

#[test]
fn losses_are_told_in_each_form() {
    let lost: Record =
        serde_json::from_str(r#"{"lost_events":{"source":"HUBBLE_RING_BUFFER","num_events_lost":"7","cpu":2}}"#)
            .unwrap();
    let lost = [lost];
    assert_eq!(printed(PrinterOptions::default(), &lost), "EVENTS LOST: HUBBLE_RING_BUFFER CPU(2) 7\n");
    assert_eq!(
        printed(PrinterOptions { format: Format::Dict, ..PrinterOptions::default() }, &lost),
        "  TIMESTAMP: \n     SOURCE: HUBBLE_RING_BUFFER\n       TYPE: EVENTS LOST\n    VERDICT: \n    SUMMARY: CPU(2) - 7\n"
    );
    let table = printed(PrinterOptions { format: Format::Table, ..PrinterOptions::default() }, &lost);
    let row: Vec<&str> =
        table.lines().nth(1).unwrap().split("  ").filter(|cell| !cell.is_empty()).map(str::trim).collect();
    assert_eq!(row, ["HUBBLE_RING_BUFFER", "EVENTS LOST", "CPU(2) - 7"]);
}

#[test]
fn a_line_that_was_read_is_passed_on_as_it_is() {
    let mut out = Vec::new();
    let mut printer = Printer::new(PrinterOptions { format: Format::Jsonl, ..PrinterOptions::default() });
    printer.print(&record(|_| ()), Some(b"{\"flow\": {} }"), &mut out).unwrap();
    assert_eq!(out, b"{\"flow\": {} }\n");
}

#[test]
fn input_cannot_steer_the_terminal() {
    for format in [Format::Compact, Format::Dict, Format::Table] {
        let text = printed(
            PrinterOptions { format, ..NODE },
            &[record(|flow| {
                flow.summary = "a\u{1b}[2J\rb\nc\td".into();
                flow.node_name = "n\u{9b}1".into();
                flow.destination = Some(Arc::new(Endpoint { pod_name: "p\u{7}\n".into(), ..Endpoint::default() }));
            })],
        );
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        assert!(text.contains("a\\u{1b}[2J\\rb\\nc\\td"), "{text:?}");
    }
}

#[test]
fn no_line_is_longer_than_64_kib() {
    for format in [Format::Compact, Format::Dict, Format::Table] {
        let text =
            printed(PrinterOptions { format, ..NODE }, &[record(|flow| flow.source_names = vec!["é".repeat(100_000)])]);
        let longest = text.lines().map(str::len).max().unwrap();
        assert!((MAX_CELL / 2..MAX_TEXT_LINE).contains(&longest), "{format:?}: {longest}");
        assert!(text.contains('…'));
    }
}

#[test]
fn colours_are_those_of_hubble_and_only_where_they_are_asked_for() {
    assert!(!compact(|_| ()).contains('\u{1b}'));
    let options = PrinterOptions { colour: true, ..PrinterOptions::default() };
    let [host, port, identity, red, plain] = [36, 33, 35, 31, 0].map(|colour| format!("\u{1b}[{colour}m"));
    assert_eq!(
        printed(options, &[record(|_| ())]),
        format!(
            "Jan  1 00:20:34.567: {host}1.1.1.1{plain}:{port}31793{plain} {identity}(health){plain} -> \
             {host}2.2.2.2{plain}:{port}8080{plain} {identity}(ID:12345){plain} Policy denied {red}DROPPED{plain} \
             (TCP Flags: SYN)\n"
        )
    );
    let six =
        |flow: &mut Flow| flow.ip = serde_json::from_str(r#"{"source":"fd00::1","destination":"fd00::2"}"#).unwrap();
    let brackets = printed(options, &[record(six)]);
    assert!(brackets.contains(&format!(" [{host}fd00::1{plain}]:{port}31793{plain} ")), "{brackets:?}");
    let dict = printed(PrinterOptions { format: Format::Dict, ..options }, &[record(|_| ())]);
    assert!(dict.contains(&format!("     SOURCE: {host}1.1.1.1{plain}:{port}31793{plain}\n")), "{dict:?}");
    let options = PrinterOptions { format: Format::Table, ..options };
    assert!(!printed(options, &[record(|_| ())]).contains('\u{1b}'));
}

#[test]
fn a_line_that_is_cut_ends_in_no_colour() {
    let options = PrinterOptions { colour: true, ..PrinterOptions::default() };
    let long = |flow: &mut Flow| flow.source_names = vec!["n".repeat(2 * MAX_TEXT_LINE)];
    let line = printed(options, &[record(long)]);
    assert!(
        line.len() <= MAX_TEXT_LINE && line.ends_with("n…\u{1b}[0m\n"),
        "{} {:?}",
        line.len(),
        &line[line.len() - 20..]
    );
}

/// Denied by the isolation of two policies, at the pod it was sent to.
fn isolated(flow: &mut Flow) {
    flow.ingress_denied_by = serde_json::from_str(
        r#"[{"name":"deny","namespace":"shop","kind":"NetworkPolicy"},
            {"name":"web\u001b[2J","namespace":"shop","kind":"NetworkPolicy"}]"#,
    )
    .unwrap();
    flow.extensions = serde_json::from_str(
        r#"{"@type":"type.googleapis.com/google.protobuf.Struct","value":{"event":"denied","rule":17,
            "decided_by":{"direction":"ingress","action":"isolated","tier":"NetworkPolicy"}}}"#,
    )
    .unwrap();
}

#[test]
fn a_denied_flow_says_by_whom_in_each_form() {
    let by = "NetworkPolicy shop/deny, NetworkPolicy shop/web\\u{1b}[2J (ingress, isolated)";
    let line = compact(isolated);
    assert!(line.ends_with(&format!(" Policy denied DROPPED BY {by} (TCP Flags: SYN)\n")), "{line}");
    let audited = compact(|flow| {
        isolated(flow);
        flow.verdict = Verdict::Audit;
    });
    assert!(audited.contains(&format!(" AUDIT BY {by} (TCP")), "{audited}");
    let of = |format| printed(PrinterOptions { format, ..PrinterOptions::default() }, &[record(isolated)]);
    let dict = of(Format::Dict);
    assert!(dict.contains(&format!("    VERDICT: DROPPED\n  DENIED BY: {by}\n    SUMMARY: ")), "{dict}");
    let table = of(Format::Table);
    assert!(table.contains(&format!("   DROPPED BY {by}   TCP Flags: SYN\n")), "{table}");
    let coloured = printed(PrinterOptions { colour: true, ..PrinterOptions::default() }, &[record(isolated)]);
    assert!(coloured.contains("\u{1b}[31mDROPPED\u{1b}[0m BY "), "{coloured}");
}

#[test]
fn rules_tiers_and_numbers_are_told_as_far_as_they_are_known() {
    let denied = |policies: &str, value: &str| {
        let line = compact(|flow| {
            flow.egress_denied_by = serde_json::from_str(policies).unwrap();
            let any = format!(r#"{{"@type":"type.googleapis.com/google.protobuf.Struct","value":{value}}}"#);
            flow.extensions = serde_json::from_str(&any).unwrap();
        });
        let (_, rest) = line.split_once(" DROPPED").unwrap();
        rest.split_once(" (TCP").unwrap().0.to_owned()
    };
    let admin = r#"[{"name":"no-metadata","kind":"ClusterNetworkPolicy"}]"#;
    assert_eq!(
        denied(admin, r#"{"decided_by":{"direction":"egress","action":"deny","tier":"Admin","rule":2}}"#),
        " BY ClusterNetworkPolicy no-metadata (egress, tier Admin, rule 2)"
    );
    let many = r#"[{"name":"a"},{"name":"b"},{"name":"c"},{"name":"d"},{"name":"e"}]"#;
    assert_eq!(
        denied(many, r#"{"decided_by":{"direction":"egress","action":"isolated","policies_left_out":90}}"#),
        " BY a, b, c and 92 more (egress, isolated)"
    );
    assert_eq!(denied(many, r#"{"decided_by":{"direction":"ingress","rule":1}}"#), " BY a, b, c and 2 more (egress)");
    assert_eq!(denied("[]", r#"{"decided_by":{"because":"it may not"},"rule":4}"#), ": it may not");
    assert_eq!(denied("[]", r#"{"rule":4711}"#), " BY rule 4711");
    assert_eq!(denied("[]", r#"{"decided_by":null}"#), "");
}

#[test]
fn who_allowed_is_told_where_there_is_room() {
    let allow = |flow: &mut Flow| {
        flow.verdict = Verdict::Forwarded;
        flow.egress_allowed_by = serde_json::from_str(r#"[{"name":"a","namespace":"n","kind":"K"}]"#).unwrap();
        flow.ingress_allowed_by = serde_json::from_str(r#"[{"name":"b"}]"#).unwrap();
    };
    let dict = printed(PrinterOptions { format: Format::Dict, ..PrinterOptions::default() }, &[record(allow)]);
    assert!(dict.contains("    VERDICT: FORWARDED\n ALLOWED BY: K n/a (egress); b (ingress)\n"), "{dict}");
    let line = compact(allow);
    assert!(line.contains(" FORWARDED (TCP") && !line.contains("BY"), "{line}");
}

#[test]
fn policies_that_allowed_are_told_where_they_are_asked_for() {
    let allow = |flow: &mut Flow| {
        flow.verdict = Verdict::Forwarded;
        flow.egress_allowed_by = serde_json::from_str(r#"[{"name":"a","namespace":"n","kind":"K"}]"#).unwrap();
    };
    let asked = PrinterOptions { policy_names: true, ..PrinterOptions::default() };
    let line = printed(asked, &[record(allow)]);
    assert!(line.contains(" FORWARDED BY K n/a (egress) (TCP"), "{line}");
    let table = printed(PrinterOptions { format: Format::Table, ..asked }, &[record(allow)]);
    assert!(table.contains("   FORWARDED BY K n/a (egress)   TCP"), "{table}");
}

#[test]
fn numbers_are_printed_in_place_of_names_where_they_are_asked_for() {
    let named = |flow: &mut Flow| {
        flow.source_names = vec!["a.example".into()];
        flow.destination =
            Some(Arc::new(Endpoint { namespace: "ns".into(), pod_name: "pod".into(), ..Endpoint::default() }));
    };
    for format in [Format::Compact, Format::Dict, Format::Table] {
        let options = PrinterOptions { numeric: true, format, ..PrinterOptions::default() };
        let text = printed(options, &[record(named)]);
        assert!(text.contains("1.1.1.1:31793") && text.contains("2.2.2.2:8080"), "{text}");
        assert!(!text.contains("ns/pod") && !text.contains("a.example"), "{text}");
    }
}

#[test]
fn times_are_printed_in_the_format_that_is_asked_for() {
    for format in [Format::Compact, Format::Dict, Format::Table] {
        let options = PrinterOptions { time_format: TimeFormat::Rfc3339Micro, format, ..PrinterOptions::default() };
        assert!(printed(options, &[record(|_| ())]).contains("1970-01-01T00:20:34.5678Z"), "{format:?}");
    }
    let none = compact(|flow| flow.time = None);
    assert!(none.starts_with("N/A: "), "{none}");
}

#[test]
fn requests_and_responses_have_their_types_and_summaries() {
    let line = |l7: &str, extra: &str, summary: &'static str| {
        let line = compact(|flow| {
            flow.verdict = Verdict::Forwarded;
            flow.l7 = serde_json::from_str(l7).unwrap();
            flow.summary = summary.into();
            let any = format!(r#"{{"@type":"type.googleapis.com/google.protobuf.Struct","value":{{"l7":{extra}}}}}"#);
            flow.extensions = serde_json::from_str(&any).unwrap();
        });
        line.split_once(" (ID:12345) ").unwrap().1.trim_end().to_owned()
    };
    let dns = r#"{"type":"RESPONSE","dns":{"query":"a.","qtypes":["A"],"ips":["10.0.0.7"],"ttl":3,"observation_source":"proxy"}}"#;
    assert_eq!(line(dns, "null", ""), "dns-response proxy FORWARDED (DNS Answer \"10.0.0.7\" TTL: 3 (Proxy a. A))");
    let http = r#"{"type":"REQUEST","http":{"method":"GET","url":"/x","protocol":"HTTP/1.1"}}"#;
    assert_eq!(line(http, "null", ""), "http-request FORWARDED (HTTP/1.1 GET /x)");
    assert_eq!(line(http, "null", "as it was said"), "http-request FORWARDED (as it was said)");
    let grpc = r#"{"protocol":"grpc","grpc":{"service":"shop.Cart","method":"Get"}}"#;
    assert_eq!(line(http, grpc, ""), "http-request FORWARDED (gRPC shop.Cart/Get)");
    let tls = r#"{"protocol":"tls","tls":{"sni":"a\u001b[2J","version":"1.3"}}"#;
    assert_eq!(line(r#"{"type":"REQUEST"}"#, tls, ""), "tls-request FORWARDED (TLS 1.3 ClientHello a\\u{1b}[2J)");
    assert_eq!(line(r#"{"type":"SAMPLE"}"#, "null", ""), "l7-sample FORWARDED ()");
}
