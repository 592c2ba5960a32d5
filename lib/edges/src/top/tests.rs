use chainkit_flow::parse;

use super::*;

const SHOP: [(&str, &str); 2] = [("web-1", "10.0.0.1"), ("db-0", "10.0.0.2")];

/// A line of the connection from web-1 to db-0, as one of them sees it, with what was sent and received by then.
fn line(by_client: bool, event: &str, (sent, received): (u64, u64), more: &str) -> Record {
    let [(client, a), (server, b)] = SHOP;
    let (point, direction) = if by_client { ("FROM", "EGRESS") } else { ("TO", "INGRESS") };
    let (tx, rx) = if by_client { (sent, received) } else { (received, sent) };
    let end = |name: &str| format!(r#"{{"namespace":"shop","pod_name":"{name}"}}"#);
    let line = format!(
        r#"{{"flow":{{"time":"2026-11-23T00:00:05Z","verdict":"FORWARDED","IP":{{"source":"{a}","destination":"{b}"}},"l4":{{"TCP":{{"source_port":40000,"destination_port":5432}}}},"source":{},"destination":{},"is_reply":false,"traffic_direction":"{direction}","trace_observation_point":"{point}_ENDPOINT",{more}"extensions":{{"@type":"type.googleapis.com/google.protobuf.Struct","value":{{"event":"{event}","connection":{{"opened":"pod","state":"established","tx_packets":{},"tx_bytes":{tx},"rx_packets":{},"rx_bytes":{rx},"first_seen":"2026-11-23T00:00:01Z"}}}}}}}}}}"#,
        end(client),
        end(server),
        tx / 100,
        rx / 100
    );
    parse(line.as_bytes()).unwrap().unwrap()
}

fn shown(top: &mut Top, seconds: f64, limit: usize) -> TopSnapshot {
    top.snapshot(None, seconds, Sort::Bytes, limit)
}

#[test]
fn a_pod_has_what_its_own_interface_saw() {
    let mut top = Top::new(Rank::Pod, None);
    for by_client in [true, false] {
        top.take(&line(by_client, "active", (1000, 9000), ""));
    }
    let snapshot = shown(&mut top, 2.0, 10);
    let rows: Vec<_> = snapshot.rows.iter().map(|row| (row.who.name.as_str(), row.line.total.bytes_sent)).collect();
    assert_eq!(rows, [("shop/db-0", Some(9000)), ("shop/web-1", Some(1000))]);
    assert_eq!(snapshot.rows[1].line.rate.bytes_received, Some(4500.0));
    assert!(snapshot.others.is_none());
    // What is told again is no news; what is more is.
    top.take(&line(true, "active", (1000, 9000), ""));
    top.counters(&line(true, "connection", (1500, 9000), ""));
    let next = shown(&mut top, 1.0, 10);
    let web = next.rows.iter().find(|row| row.who.name == "shop/web-1").unwrap();
    assert_eq!((web.line.rate.bytes_sent, web.line.rate.flows), (Some(500.0), 1.0));
    assert_eq!((web.line.total.bytes_sent, web.line.total.flows, web.line.total.connections), (Some(1500), 2, Some(1)));
    assert_eq!(next.rows.iter().find(|row| row.who.name == "shop/db-0").unwrap().line.rate.bytes_sent, Some(0.0));
}

#[test]
fn a_port_and_an_edge_count_once_what_both_ends_see() {
    for (rank, name) in [(Rank::Port, "TCP 5432"), (Rank::Edge, "shop/web-1 -> shop/db-0 TCP 5432")] {
        let mut top = Top::new(rank, None);
        top.take(&line(false, "active", (900, 8000), ""));
        top.take(&line(true, "close", (1000, 9000), ""));
        top.take(&line(false, "close", (1000, 9000), ""));
        let snapshot = shown(&mut top, 1.0, 10);
        let [row] = snapshot.rows.as_slice() else { panic!("{snapshot:?}") };
        let total = row.line.total;
        assert_eq!(row.who.name, name);
        assert_eq!(
            (total.bytes_sent, total.bytes_received, total.packets_received),
            (Some(1000), Some(9000), Some(90))
        );
        assert_eq!((total.connections, total.flows), (Some(1), 3));
    }
}

#[test]
fn what_was_sent_before_counting_began_is_not_counted() {
    let since = Time("2026-11-23T00:00:02Z".parse().unwrap());
    let mut top = Top::new(Rank::Port, Some(since));
    top.counters(&line(true, "connection", (1_000_000, 0), ""));
    top.counters(&line(true, "connection", (1_000_400, 0), ""));
    let snapshot = shown(&mut top, 1.0, 10);
    assert_eq!(snapshot.rows[0].line.total.bytes_sent, Some(400));
}

#[test]
fn policies_are_counted_by_direction() {
    let mut top = Top::new(Rank::Policy, None);
    let allowed = r#""egress_allowed_by":[{"name":"out","namespace":"shop","kind":"NetworkPolicy"}],"#;
    top.take(&line(true, "first", (100, 0), allowed));
    let denied = r#"{"flow":{"verdict":"DROPPED","IP":{"source":"10.0.0.1","destination":"10.0.0.2"},"l4":{"TCP":{"source_port":40001,"destination_port":22}},"is_reply":false,"traffic_direction":"INGRESS","ingress_denied_by":[{"name":"db","namespace":"shop","kind":"NetworkPolicy"}],"extensions":{"@type":"type.googleapis.com/google.protobuf.Struct","value":{"event":"denied","count":7}}}}"#;
    top.take(&parse(denied.as_bytes()).unwrap().unwrap());
    let snapshot = top.snapshot(None, 1.0, Sort::Denied, 10);
    let rows: Vec<_> = snapshot
        .rows
        .iter()
        .map(|row| (row.who.name.as_str(), row.who.direction, row.line.total.connections, row.line.total.denied))
        .collect();
    assert_eq!(rows, [("shop/db", Some("ingress"), None, 7), ("shop/out", Some("egress"), Some(1), 0)]);
}

#[test]
fn what_is_beyond_the_limit_and_the_budget_is_summed_and_said() {
    let mut top = Top { max_rows: 8, ..Top::new(Rank::Port, None) };
    for port in 1..=20 {
        let line = format!(
            r#"{{"flow":{{"verdict":"DROPPED","IP":{{"source":"10.0.0.1","destination":"10.0.0.2"}},"l4":{{"TCP":{{"source_port":40000,"destination_port":{port}}}}},"is_reply":false}}}}"#
        );
        top.take(&parse(line.as_bytes()).unwrap().unwrap());
    }
    assert!(top.rows.len() <= 8);
    let kept = top.rows.len();
    let snapshot = top.snapshot(None, 1.0, Sort::Denied, 3);
    let others = snapshot.others.as_ref().unwrap();
    assert_eq!((snapshot.rows.len(), others.rows, others.overflow), (3, kept as u64 - 3, true));
    let denied: u64 = snapshot.rows.iter().map(|row| row.line.total.denied).sum();
    assert_eq!(denied + others.line.total.denied, 20, "nothing is lost");
    assert_eq!(others.line.total.bytes_sent, None, "what no line told is not zero");
}

#[test]
fn latency_is_of_the_while_and_comes_first_where_it_is_asked_for() {
    let mut top = Top::new(Rank::Workload, None);
    for (address, latency) in [("10.0.0.8", 5_000_000), ("10.0.0.9", 900_000_000)] {
        let line = format!(
            r#"{{"flow":{{"IP":{{"source":"{address}","destination":"10.0.0.1"}},"l4":{{"TCP":{{"source_port":80,"destination_port":40000}}}},"is_reply":true,"traffic_direction":"INGRESS","trace_observation_point":"FROM_ENDPOINT","l7":{{"type":"RESPONSE","latency_ns":"{latency}","http":{{"code":500}}}}}}}}"#
        );
        top.take(&parse(line.as_bytes()).unwrap().unwrap());
    }
    let snapshot = top.snapshot(None, 1.0, Sort::Latency, 10);
    assert_eq!(snapshot.rows[0].who.name, "10.0.0.9");
    assert!((snapshot.rows[0].line.latency.p99_ms.unwrap() - 900.0).abs() < 30.0);
    assert_eq!((snapshot.rows[0].line.latency.latency_at, snapshot.rows[0].line.total.errors), (Some("server"), 1));
    assert_eq!(top.snapshot(None, 1.0, Sort::Latency, 10).rows[0].line.latency.p99_ms, None);
}
