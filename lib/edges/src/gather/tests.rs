//! What flows become.

use super::*;
use crate::edge::{Edge, Snapshot};
use chainkit_flow::parse;
use proptest::prelude::*;
use serde_json::{Value, json};

/// A connection as one of its ends tells of it.
#[derive(Clone, Debug)]
struct Told {
    client: (&'static str, u16),
    server: (&'static str, u16),
    second: u32,
    by_client: bool,
    event: &'static str,
    to: u64,
    from: u64,
    reply: bool,
}

fn end(address: &str) -> Value {
    match address {
        "10.0.0.1" => json!({"namespace":"shop","pod_name":"web-1","workloads":[{"name":"web","kind":"Deployment"}]}),
        "10.0.0.2" => json!({"namespace":"shop","pod_name":"db-0","workloads":[{"name":"db","kind":"StatefulSet"}]}),
        _ => Value::Null,
    }
}

impl Told {
    fn web_to_db(by_client: bool, event: &'static str, to: u64, from: u64) -> Self {
        let (client, server) = (("10.0.0.1", 40000), ("10.0.0.2", 5432));
        Self { client, server, second: 1, by_client, event, to, from, reply: false }
    }

    fn value(&self) -> Value {
        let (source, destination) = if self.reply { (self.server, self.client) } else { (self.client, self.server) };
        let from_pod = self.by_client != self.reply;
        let (tx, rx) = if self.by_client { (self.to, self.from) } else { (self.from, self.to) };
        // The other end sees the first packet a little later.
        let nanos = if self.by_client { "000000000" } else { "000120000" };
        let mut flow = json!({
            "time": format!("2026-11-23T00:01:{:02}Z", self.second),
            "verdict": "FORWARDED",
            "IP": {"source": source.0, "destination": destination.0},
            "l4": {"TCP": {"source_port": source.1, "destination_port": destination.1}},
            "source": end(source.0),
            "destination": end(destination.0),
            "is_reply": self.reply,
            "trace_observation_point": if from_pod { "FROM_ENDPOINT" } else { "TO_ENDPOINT" },
            "traffic_direction": if self.by_client { "EGRESS" } else { "INGRESS" },
            "extensions": {"@type": "type.googleapis.com/google.protobuf.Struct", "value": {
                "event": self.event,
                "connection": {
                    "opened": if self.by_client { "pod" } else { "remote" }, "state": "established",
                    "tx_packets": tx.min(1), "tx_bytes": tx, "rx_packets": rx.min(1), "rx_bytes": rx,
                    "first_seen": format!("2026-11-23T00:00:{:02}.{nanos}Z", self.second),
                    "rtt_ns": if self.from > 0 { 2_000_000 } else { 0 },
                },
            }},
        });
        if source.0 == SERVICE {
            flow["source_service"] = json!({"namespace":"shop","name":"pg"});
        }
        if destination.0 == SERVICE {
            flow["destination_service"] = json!({"namespace":"shop","name":"pg"});
        }
        json!({ "flow": flow })
    }
}

/// The address of a service.
const SERVICE: &str = "172.20.0.10";

fn gathered(lines: &[Value], by: By, budget: Budget) -> Snapshot {
    let mut edges = Edges::new(by, budget);
    for line in lines {
        edges.take(&parse(line.to_string().as_bytes()).unwrap().unwrap());
    }
    edges.snapshot()
}

fn map(told: &[Told]) -> Vec<Edge> {
    let lines: Vec<Value> = told.iter().map(Told::value).collect();
    gathered(&lines, By::Workload, Budget::default()).edges
}

fn only(edges: Vec<Edge>) -> Edge {
    assert_eq!(edges.len(), 1, "{edges:#?}");
    edges.into_iter().next().unwrap()
}

#[test]
fn a_connection_told_by_both_ends_and_many_times_counts_once() {
    let edge = only(map(&[
        Told::web_to_db(true, "first", 74, 0),
        Told::web_to_db(false, "first", 74, 0),
        Told { reply: true, ..Told::web_to_db(false, "reply", 74, 74) },
        Told { reply: true, ..Told::web_to_db(true, "reply", 74, 74) },
        Told::web_to_db(true, "active", 900, 5000),
        Told::web_to_db(false, "close", 1000, 9000),
        Told::web_to_db(true, "close", 1000, 9000),
    ]));
    assert_eq!((edge.src.as_str(), edge.dst.as_str(), edge.port), ("shop/web", "shop/db", Some(5432)));
    assert_eq!((edge.flows, edge.connections), (7, Some(1)));
    assert_eq!((edge.bytes_to, edge.bytes_from), (Some(1000), Some(9000)));
    assert_eq!((edge.latency_of, edge.latency_at, edge.latencies), (Some("rtt"), Some("client"), 1));
    assert!((edge.p50_ms.unwrap() - 2.0).abs() <= 2.0 / 32.0, "{edge:?}");
    assert_eq!((edge.unanswered, edge.resets, edge.partial), (Some(0), 0, false));
}

#[test]
fn the_end_that_was_cut_takes_nothing_away() {
    let edge = only(map(&[Told::web_to_db(true, "first", 74, 0), Told::web_to_db(false, "close", 1000, 9000)]));
    assert_eq!((edge.bytes_to, edge.bytes_from, edge.connections), (Some(1000), Some(9000), Some(1)));
}

#[test]
fn the_same_ports_again_are_another_connection() {
    let second = |second| Told { second, ..Told::web_to_db(true, "close", 100, 200) };
    let many: Vec<Told> = (1..=30).map(second).collect();
    let edge = only(map(&many));
    assert_eq!((edge.bytes_to, edge.bytes_from, edge.connections), (Some(3000), Some(6000), Some(30)));
}

#[test]
fn lines_without_bytes_have_none() {
    let mut line = Told::web_to_db(true, "first", 1, 1).value();
    line["flow"].as_object_mut().unwrap().remove("extensions");
    let edge = only(gathered(&[line.clone(), line], By::Workload, Budget::default()).edges);
    assert_eq!((edge.flows, edge.bytes_to, edge.bytes_from, edge.connections), (2, None, None, None));
    assert_eq!((edge.p50_ms, edge.latency_of, edge.unanswered), (None, None, None));
    let json = serde_json::to_value(&edge).unwrap();
    assert_eq!((&json["kind"], &json["bytes_to"], &json["p99_ms"]), (&json!("Edge"), &Value::Null, &Value::Null));
}

#[test]
fn a_connection_through_a_service_is_one_edge_where_its_backend_is_seen() {
    let front = Told { server: (SERVICE, 80), ..Told::web_to_db(true, "close", 1000, 9000) };
    let back = Told::web_to_db(false, "close", 1000, 9000);
    let edge = only(map(&[front.clone(), back.clone()]));
    assert_eq!((edge.dst.as_str(), edge.port, edge.connections), ("shop/db", Some(5432), Some(1)));
    assert_eq!((edge.flows, edge.bytes_to, edge.bytes_from), (2, Some(1000), Some(9000)));
    assert_eq!(edge.latency_at, Some("client"), "what the service's address was told goes along");
    let lines = [front.value(), back.value()];
    let edge = only(gathered(&lines, By::Service, Budget::default()).edges);
    assert_eq!((edge.dst.as_str(), edge.port, edge.bytes_to), ("svc:shop/pg", Some(80), Some(1000)));
    let edge = only(map(std::slice::from_ref(&front)));
    assert_eq!(edge.dst, "svc:shop/pg", "the backend was not seen");
    let another = Told { second: 9, ..back };
    assert_eq!(map(&[front, another]).len(), 2, "it began at another time");
}

#[test]
fn an_address_that_is_named_later_has_its_name_from_the_start() {
    let mut line = Told { server: ("93.184.216.34", 443), ..Told::web_to_db(true, "first", 74, 0) }.value();
    let before = line.clone();
    line["flow"]["destination_names"] = json!(["example.com."]);
    line["flow"]["l7"] = json!({"type":"RESPONSE","latency_ns":"5000000","http":{"code":500}});
    for lines in [[before.clone(), line.clone()], [line, before]] {
        let edge = only(gathered(&lines, By::Workload, Budget::default()).edges);
        assert_eq!((edge.dst.as_str(), edge.dst_kind, edge.flows), ("example.com", Kind::Name, 2));
        assert_eq!((edge.l7, edge.errors, edge.latency_of), (Some("http"), 1, Some("http")));
    }
}

#[test]
fn what_fails_is_an_error_and_what_is_not_there_is_none() {
    let with = |l7: Value| {
        let mut line = Told::web_to_db(true, "l7", 1, 1).value();
        line["flow"]["l7"] = l7;
        only(gathered(&[line], By::Workload, Budget::default()).edges).errors
    };
    assert_eq!(with(json!({"type":"RESPONSE","http":{"code":404}})), 0);
    assert_eq!(with(json!({"type":"RESPONSE","http":{"code":503}})), 1);
    assert_eq!(with(json!({"type":"RESPONSE","dns":{"rcode":3}})), 0);
    assert_eq!(with(json!({"type":"RESPONSE","dns":{"rcode":2}})), 1);
    let mut grpc = Told::web_to_db(true, "l7", 1, 1).value();
    grpc["flow"]["l7"] = json!({"type":"RESPONSE","http":{"code":200}});
    grpc["flow"]["extensions"]["value"]["l7"] = json!({"protocol":"grpc","grpc":{"service":"a.B","status":14}});
    let edge = only(gathered(&[grpc], By::Workload, Budget::default()).edges);
    assert_eq!((edge.errors, edge.l7), (1, Some("grpc")));
}

#[test]
fn requests_seen_at_both_ends_count_once() {
    let request = |by_client| {
        let mut line = Told::web_to_db(by_client, "l7", 1, 1).value();
        line["flow"]["l7"] = json!({"type":"REQUEST","http":{"method":"GET"}});
        line
    };
    let edge = only(gathered(&[request(true), request(false), request(true)], By::Workload, Budget::default()).edges);
    assert_eq!((edge.flows, edge.requests), (3, 2));
}

#[test]
fn denials_are_packets_and_name_their_policies() {
    let mut line = Told::web_to_db(true, "denied", 0, 0).value();
    line["flow"]["verdict"] = json!("DROPPED");
    line["flow"]["ingress_denied_by"] = json!([{"name":"default-deny","namespace":"shop","kind":"NetworkPolicy"}]);
    line["flow"]["extensions"]["value"] = json!({"event":"denied","count":12});
    let edge = only(gathered(&[line], By::Workload, Budget::default()).edges);
    assert_eq!((edge.denied, edge.verdicts.dropped, edge.bytes_to), (12, 1, None));
    assert_eq!(edge.denied_by, ["NetworkPolicy shop/default-deny"]);
}

#[test]
fn a_syn_that_nobody_answers_is_told_by_the_client() {
    let edge = only(map(&[Told::web_to_db(true, "close", 222, 0)]));
    assert_eq!((edge.unanswered, edge.resets, edge.errors), (Some(1), 0, 0));
}

#[test]
fn what_is_beyond_the_budget_is_said_and_not_lost() {
    let told = |port| Told { server: ("10.0.0.2", port), ..Told::web_to_db(true, "close", 10, 20) }.value();
    let lines: Vec<Value> = (1..=100).map(told).collect();
    let scan = gathered(&lines, By::Workload, Budget { ports: 5, ..Budget::default() });
    assert_eq!(scan.edges.len(), 6);
    let rest = scan.edges.iter().find(|edge| edge.port.is_none()).unwrap();
    assert_eq!((rest.overflow, rest.flows, rest.bytes_to), (true, 95, Some(950)));
    let few = gathered(&lines, By::Workload, Budget { edges: 4, ..Budget::default() });
    assert_eq!(few.edges.len(), 4);
    let rest = few.edges.iter().find(|edge| edge.dst == "(others)").unwrap();
    assert_eq!((rest.overflow, rest.flows, rest.bytes_to), (true, 97, Some(970)));
}

#[test]
fn connections_that_were_let_go_of_are_never_counted_again() {
    let told = |port: u16, event| {
        let told = Told::web_to_db(true, event, 10, 20);
        Told { client: ("10.0.0.1", port), second: port.into(), ..told }.value()
    };
    let mut lines: Vec<Value> = (1..=40).map(|port| told(port, "close")).collect();
    lines.extend((1..=40).map(|port| told(port, "active")));
    let edge = only(gathered(&lines, By::Workload, Budget { connections: 8, ..Budget::default() }).edges);
    assert!(edge.bytes_to.unwrap() <= 400 && edge.partial, "{edge:?}");
    let edge = only(gathered(&lines[..40], By::Workload, Budget { connections: 8, ..Budget::default() }).edges);
    assert_eq!(edge.bytes_to, Some(400), "each of them was new");
}

fn arbitrary_told() -> impl Strategy<Value = Told> {
    let ends = prop_oneof![Just("10.0.0.1"), Just("10.0.0.2"), Just("10.9.9.9")];
    let client = (ends.clone(), 40000u16..40003);
    let server = (ends, prop_oneof![Just(80u16), Just(5432)]);
    let event = prop_oneof![Just("first"), Just("active"), Just("close")];
    (client, server, 0u32..4, any::<bool>(), event, 0u64..5000, 0u64..5000, any::<bool>()).prop_map(
        |(client, server, second, by_client, event, to, from, reply)| Told {
            client,
            server,
            second,
            by_client,
            event,
            to,
            from,
            reply,
        },
    )
}

fn text(snapshot: &Snapshot) -> Vec<String> {
    snapshot.edges.iter().map(|edge| serde_json::to_string(edge).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_order_of_flows_makes_no_difference(
        (told, shuffled) in proptest::collection::vec(arbitrary_told(), 0..40)
            .prop_flat_map(|told| (Just(told.clone()), Just(told).prop_shuffle())),
    ) {
        let lines = |told: &[Told]| told.iter().map(Told::value).collect::<Vec<_>>();
        for by in [By::Workload, By::Pod, By::Namespace, By::Service] {
            let one = gathered(&lines(&told), by, Budget::default());
            let other = gathered(&lines(&shuffled), by, Budget::default());
            prop_assert_eq!(text(&one), text(&other));
        }
    }

    #[test]
    fn totals_are_those_of_a_plain_sum(told in proptest::collection::vec(arbitrary_told(), 0..60), room in 2usize..8) {
        // For each connection the most that either end tells of its beginnings together.
        let mut most: HashMap<_, u64> = HashMap::new();
        for one in &told {
            let seen = most.entry((one.client, one.server, one.by_client, one.second)).or_default();
            *seen = (*seen).max(one.to);
        }
        let mut views: HashMap<_, u64> = HashMap::new();
        for ((client, server, by_client, _), to) in most {
            *views.entry((client, server, by_client)).or_default() += to;
        }
        let mut expected: HashMap<_, u64> = HashMap::new();
        for ((client, server, _), to) in views {
            let seen = expected.entry((client, server)).or_default();
            *seen = (*seen).max(to);
        }
        let expected: u64 = expected.values().sum();
        let lines: Vec<Value> = told.iter().map(Told::value).collect();
        for budget in [Budget::default(), Budget { edges: room, externals: 0, ..Budget::default() }] {
            let map = gathered(&lines, By::Pod, budget);
            prop_assert!(map.edges.len() <= budget.edges);
            prop_assert_eq!(map.edges.iter().map(|edge| edge.flows).sum::<u64>(), told.len() as u64);
            prop_assert_eq!(map.edges.iter().filter_map(|edge| edge.bytes_to).sum::<u64>(), expected);
        }
    }

    #[test]
    fn what_was_cut_off_never_adds_bytes(told in proptest::collection::vec(arbitrary_told(), 0..40), cut in 0usize..40) {
        let bytes = |told: &[Told]| map(told).iter().filter_map(Edge::bytes).sum::<u64>();
        prop_assert!(bytes(&told[..cut.min(told.len())]) <= bytes(&told));
    }
}

#[test]
fn what_was_idle_for_long_is_let_go_of_and_what_is_left_counts_on() {
    let outside = |second| Told { server: ("1.1.1.1", 443), second, ..Told::web_to_db(true, "active", 100, 900) };
    let inside = |to| Told { second: 30, ..Told::web_to_db(true, "active", to, 0) };
    let take = |edges: &mut Edges, told: &Told| {
        edges.take(&parse(told.value().to_string().as_bytes()).unwrap().unwrap());
    };
    let mut edges = Edges::new(By::Workload, Budget { externals: 1, ..Budget::default() });
    take(&mut edges, &outside(1));
    take(&mut edges, &inside(500));
    assert_eq!(edges.snapshot().edges.len(), 2);
    let since = |text: &str| Time(text.parse().unwrap());
    edges.let_go_of_idle(since("2026-11-23T00:01:01Z"));
    assert_eq!(edges.snapshot().edges.len(), 2, "the last flow was at that time");
    edges.let_go_of_idle(since("2026-11-23T00:01:10Z"));
    assert_eq!((edges.nodes.len(), edges.tracked.len(), edges.externals, edges.ports.len()), (2, 1, 0, 1));
    take(&mut edges, &inside(700));
    let edge = only(edges.snapshot().edges);
    assert_eq!((edge.dst.as_str(), edge.bytes_to, edge.flows, edge.partial), ("shop/db", Some(700), 2, false));
    // Another external peer finds room, and one that speaks again counts from there.
    take(&mut edges, &Told { to: 150, ..outside(1) });
    let again = edges.snapshot().edges.into_iter().find(|edge| edge.dst == "1.1.1.1").unwrap();
    assert_eq!((again.bytes_to, again.flows, again.partial), (Some(0), 1, true));
    edges.let_go_of_idle(since("2026-11-23T00:02:00Z"));
    assert!(edges.snapshot().edges.is_empty() && edges.nodes.is_empty() && edges.places.is_empty());
}
