use chainkit_abi::tcp;
use chainkit_cluster::{EndpointInterface, EndpointRecord, Names, Objects};

use super::*;
use crate::decided::RuleAction;
use crate::enums::L7FlowType;
use crate::layer7::{Grpc, Http, HttpHeader, L7Extra, Layer7};
use crate::model::Policy;

const CLUSTER: &str = r#"
    {"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"shop","name":"web","labels":{"app":"web"}},
     "spec":{"containers":[]},"status":{"podIPs":[{"ip":"10.0.0.1"},{"ip":"fd00::1"}]}}
    {"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"shop","name":"db"},
     "spec":{"containers":[]},"status":{"podIP":"10.0.0.2"}}
    {"apiVersion":"v1","kind":"Service","metadata":{"namespace":"shop","name":"db"},
     "spec":{"clusterIP":"172.20.0.10","ports":[{"port":5432}]}}"#;

fn decoder() -> Decoder {
    let mut objects = Objects::default();
    assert_eq!(objects.text("test", CLUSTER), []);
    let record = EndpointRecord {
        namespace: "shop".into(),
        pod_name: "web".into(),
        addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
        interfaces: vec![EndpointInterface { host_ifindex: 12, ..Default::default() }],
        ..Default::default()
    };
    let resolver = Resolver::new(Arc::new(Names::new(&objects, &[record])), "n1", &[]);
    // Ten seconds after boot it was 2026-11-23T00:15:57Z.
    let clock = WallClock::new(10_000_000_000, "2026-11-23T00:15:57Z".parse().unwrap());
    let mut decoder = Decoder::new("n1", clock, resolver);
    decoder.set_interface(12, Some("eni1"));
    decoder
}

/// web opens a connection to db: its SYN, as it leaves the pod.
fn syn() -> Event {
    Event {
        time: 10_123_456_789,
        kind: kind::FIRST,
        hook: hook::FROM_POD,
        family: 4,
        protocol: 6,
        verdict: verdict::FORWARDED,
        opened: opened::BY_POD,
        reply: reply::NO,
        source: ipv4(10, 0, 0, 1),
        destination: ipv4(10, 0, 0, 2),
        source_port: 40000,
        destination_port: 5432,
        tcp_flags: tcp::SYN,
        state: state::SYN_SENT,
        ifindex: 12,
        packets: 1,
        bytes: 74,
        ethertype: 0x0800,
        source_mac: [10, 0, 0, 0, 0, 1],
        destination_mac: [10, 0, 0, 0, 0, 2],
        tx_flags: tcp::SYN,
        tx_packets: 1,
        tx_bytes: 74,
        first_seen: 10_123_456_789,
        ..Event::default()
    }
}

fn ipv4(a: u8, b: u8, c: u8, d: u8) -> [u8; 16] {
    [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

fn flow(event: &Event) -> Flow {
    decoder().event(event).flow.unwrap()
}

fn extra(flow: &Flow) -> Extra {
    flow.extensions.as_ref().unwrap().extra().unwrap().into_owned()
}

#[test]
fn a_first_packet_is_a_line_as_hubble_writes_it() {
    let mut record = decoder().event(&syn());
    record.flow.as_mut().unwrap().uuid = crate::uuid::FlowId::Number(0x4000_8000_0000_0000_0000);
    assert_eq!(
        serde_json::to_string(&record).unwrap(),
        concat!(
            r#"{"flow":{"time":"2026-11-23T00:15:57.123456789Z","uuid":"00000000-0000-4000-8000-000000000000","#,
            r#""verdict":"FORWARDED","ethernet":{"source":"0a:00:00:00:00:01","destination":"0a:00:00:00:00:02"},"#,
            r#""IP":{"source":"10.0.0.1","destination":"10.0.0.2","ipVersion":"IPv4"},"#,
            r#""l4":{"TCP":{"source_port":40000,"destination_port":5432,"flags":{"SYN":true}}},"#,
            r#""source":{"namespace":"shop","labels":["k8s:app=web","k8s:io.kubernetes.pod.namespace=shop"],"pod_name":"web"},"#,
            r#""destination":{"namespace":"shop","labels":["k8s:io.kubernetes.pod.namespace=shop"],"pod_name":"db"},"#,
            r#""Type":"L3_L4","node_name":"n1","event_type":{"type":4,"sub_type":5},"traffic_direction":"EGRESS","#,
            r#""trace_observation_point":"FROM_ENDPOINT","is_reply":false,"interface":{"index":12,"name":"eni1"},"#,
            r#""extensions":{"@type":"type.googleapis.com/google.protobuf.Struct","value":{"event":"first","packets":1,"#,
            r#""bytes":74,"connection":{"opened":"pod","state":"syn_sent","tx_packets":1,"tx_bytes":74,"rx_packets":0,"#,
            r#""rx_bytes":0,"first_seen":"2026-11-23T00:15:57.123456789Z","tx_flags":["SYN"]}}},"#,
            r#""Summary":"TCP Flags: SYN"},"node_name":"n1","time":"2026-11-23T00:15:57.123456789Z"}"#
        )
    );
}

#[test]
fn what_is_written_is_read_back_the_same() {
    let record = decoder().event(&syn());
    let line = serde_json::to_vec(&record).unwrap();
    let read = crate::read::parse(&line).unwrap().unwrap();
    assert_eq!(serde_json::to_vec(&read).unwrap(), line);
    assert_eq!(extra(read.flow.as_ref().unwrap()), extra(record.flow.as_ref().unwrap()));
}

#[test]
fn directions_are_those_of_the_connection_seen_from_the_pod() {
    use TrafficDirection::{Egress, Ingress};
    for (hook, reply, direction, is_reply, point) in [
        (hook::FROM_POD, reply::NO, Egress, Some(false), ObservationPoint::FromEndpoint),
        (hook::TO_POD, reply::YES, Egress, Some(true), ObservationPoint::ToEndpoint),
        (hook::TO_POD, reply::NO, Ingress, Some(false), ObservationPoint::ToEndpoint),
        (hook::FROM_POD, reply::YES, Ingress, Some(true), ObservationPoint::FromEndpoint),
        (hook::FROM_POD, reply::UNKNOWN, Egress, None, ObservationPoint::FromEndpoint),
        (hook::TO_POD, reply::UNKNOWN, Ingress, None, ObservationPoint::ToEndpoint),
    ] {
        let flow = flow(&Event { hook, reply, ..syn() });
        let seen = (flow.traffic_direction, flow.is_reply, flow.trace_observation_point);
        assert_eq!(seen, (direction, is_reply, point), "hook {hook}, reply {reply}");
    }
}

#[test]
fn a_denied_packet_is_a_drop_with_its_reason_told_three_times() {
    let denied = Event {
        kind: kind::DENIED,
        verdict: verdict::DROPPED,
        reason: reason::POLICY,
        count: 7,
        rule: 33,
        generation: 2,
        first_seen: 0,
        ..syn()
    };
    let flow = flow(&denied);
    assert_eq!(flow.verdict, Verdict::Dropped);
    assert_eq!(flow.drop_reason, 133);
    assert_eq!(flow.drop_reason_desc, DropReason::POLICY_DENIED);
    assert_eq!(flow.event_type, Some(EventType { kind: 1, sub_type: 133 }));
    assert_eq!(flow.trace_observation_point, ObservationPoint::Unknown);
    let extra = extra(&flow);
    assert_eq!((extra.event.as_ref(), extra.reason.as_deref(), extra.count), ("denied", Some("policy"), 7));
    assert_eq!((extra.rule, extra.generation, extra.connection), (33, 2, None));
}

#[test]
fn in_audit_mode_a_denied_packet_passes() {
    let flow = flow(&Event { kind: kind::DENIED, verdict: verdict::AUDIT, reason: reason::POLICY, ..syn() });
    assert_eq!((flow.verdict, flow.drop_reason), (Verdict::Audit, 0));
    assert_eq!(flow.event_type.unwrap().kind, event_type::TRACE);
    assert_eq!(extra(&flow).reason.as_deref(), Some("policy"));
}

#[test]
fn a_malformed_packet_is_forwarded_or_dropped_and_names_its_pod() {
    let malformed = Event {
        kind: kind::MALFORMED,
        hook: hook::FROM_POD,
        verdict: verdict::FORWARDED,
        reason: Counter::TruncatedIpv4 as u8,
        reply: reply::UNKNOWN,
        ifindex: 12,
        ethertype: 0x0800,
        ..Event::default()
    };
    let passed = flow(&malformed);
    assert_eq!((passed.verdict, passed.drop_reason), (Verdict::Forwarded, 0));
    assert_eq!((&passed.ip, &passed.l4, passed.is_reply), (&None, &None, None));
    assert_eq!(passed.source.as_ref().unwrap().pod_name, "web");
    assert_eq!(passed.destination, None);
    assert_eq!(passed.summary, "Ethernet");
    assert_eq!(extra(&passed).reason.as_deref(), Some("truncated_ipv4"));

    for (reason, number) in [
        (Counter::TruncatedIpv4, 134u32),
        (Counter::BadIpv6, 134),
        (Counter::BadVlan, 134),
        (Counter::TruncatedTransport, 135),
        (Counter::BadTransport, 135),
        (Counter::BadIcmpError, 135),
        (Counter::UnknownEthertype, 139),
        (Counter::BadIpv6Extension, 156),
        (Counter::OrphanFragment, 175),
    ] {
        let dropped = flow(&Event { verdict: verdict::DROPPED, reason: reason as u8, ..malformed });
        assert_eq!((dropped.drop_reason, dropped.event_type.unwrap().sub_type), (number, number.cast_signed()));
    }
    assert_eq!(extra(&flow(&Event { ethertype: 0x88cc, ..malformed })).ethertype, 0x88cc);
}

#[test]
fn a_swept_connection_is_told_from_the_side_that_opened_it() {
    let close = Event {
        kind: kind::CLOSE,
        hook: hook::SWEEP,
        reason: close::EXPIRED,
        packets: 0,
        bytes: 0,
        tcp_flags: 0,
        source_mac: [0; 6],
        destination_mac: [0; 6],
        rtt: 250_000,
        ..syn()
    };
    let by_pod = flow(&close);
    assert_eq!(by_pod.traffic_direction, TrafficDirection::Egress);
    assert_eq!(by_pod.source.as_ref().unwrap().pod_name, "web");
    assert_eq!((by_pod.ethernet.as_ref(), by_pod.summary.as_ref()), (None, "TCP"));
    let told = extra(&by_pod);
    assert_eq!((told.event.as_ref(), told.reason.as_deref(), told.packets), ("close", Some("expired"), 0));
    assert_eq!(told.connection.unwrap().rtt_ns, 250_000);

    let by_remote =
        flow(&Event { opened: opened::BY_REMOTE, source: ipv4(10, 0, 0, 2), destination: ipv4(10, 0, 0, 1), ..close });
    assert_eq!(by_remote.traffic_direction, TrafficDirection::Ingress);
    assert_eq!(by_remote.destination.as_ref().unwrap().pod_name, "web");
    assert_eq!(by_remote.trace_observation_point, ObservationPoint::ToEndpoint);
}

#[test]
fn what_leaves_a_pods_interface_is_that_pods_whatever_address_it_claims() {
    let flow = flow(&Event { source: ipv4(10, 0, 0, 2), ..syn() });
    assert_eq!(flow.source.unwrap().pod_name, "web");
}

#[test]
fn services_and_the_world_are_named() {
    let to_service = flow(&Event { destination: ipv4(172, 20, 0, 10), ..syn() });
    assert_eq!(to_service.destination, None);
    assert_eq!(to_service.destination_service.unwrap().0.name, "db");
    let to_world = flow(&Event { destination: ipv4(192, 0, 2, 1), ..syn() });
    assert_eq!(to_world.destination.unwrap().labels, ["reserved:world"]);
}

#[test]
fn other_protocols_fragments_and_tags_are_told() {
    let icmp6 = flow(&Event { family: 6, protocol: 58, icmp_type: 128, source_port: 0, destination_port: 0, ..syn() });
    assert_eq!(icmp6.l4, Some(Layer4::Icmp6(Icmp { kind: 128, code: 0 })));
    assert_eq!(icmp6.summary, "ICMPv6 EchoRequest");
    let gre = flow(&Event { protocol: 47, ..syn() });
    assert_eq!((gre.l4, gre.summary.as_ref(), extra(&gre).protocol), (None, "IPv4", 47));
    let fragment = flow(&Event { fragment: 1, vlan: 0x1000 + 7, ..syn() });
    assert!(matches!(fragment.l4, Some(Layer4::Tcp(Tcp { flags: None, .. }))));
    assert_eq!((extra(&fragment).fragment, extra(&fragment).vlan), (true, Some(7)));
}

#[test]
fn no_event_makes_it_panic() {
    let mut decoder = decoder();
    for byte in 0..=255u8 {
        let event = Event {
            time: u64::MAX,
            first_seen: u64::MAX,
            kind: byte,
            hook: byte,
            family: byte % 8,
            protocol: byte,
            verdict: byte,
            reason: byte,
            opened: byte,
            reply: byte,
            state: byte,
            tcp_flags: u16::MAX,
            icmp_type: byte,
            icmp_code: byte,
            vlan: u16::MAX,
            ..Event::default()
        };
        let record = decoder.event(&event);
        assert!(serde_json::to_vec(&record).is_ok());
    }
}

#[test]
fn a_table_entry_is_a_flow_from_the_side_that_opened_it() {
    let key = Key4 {
        local: u32::from_ne_bytes([10, 0, 0, 1]),
        remote: u32::from_ne_bytes([10, 0, 0, 2]),
        local_port: 40000u16.to_be(),
        remote_port: 5432u16.to_be(),
        protocol: 6,
        ..Key4::default()
    };
    let conn = Conn {
        opened: opened::BY_POD,
        state: state::ESTABLISHED,
        verdict: verdict::FORWARDED,
        tx_packets: 3,
        rx_bytes: 1000,
        first_seen: 9_000_000_000,
        rtt: 99,
        ..Conn::default()
    };
    let last_seen: Timestamp = "2026-11-23T00:15:57Z".parse().unwrap();
    let told = |key: ConnectionKey<'_>, conn: &Conn| {
        decoder().connection(&Connection { key, conn, ifindex: 12, last_seen }).map(|record| record.flow.unwrap())
    };
    let flow = told(ConnectionKey::V4(&key), &conn).unwrap();
    assert_eq!(flow.source.as_ref().unwrap().pod_name, "web");
    assert_eq!(flow.l4.unwrap().ports(), Some(Ports { source_port: 40000, destination_port: 5432 }));
    assert_eq!((flow.is_reply, flow.traffic_direction), (Some(false), TrafficDirection::Egress));
    assert_eq!(flow.time, Some(Time(last_seen)));
    let connection = extra(&flow).connection.unwrap();
    assert_eq!(extra(&flow).event, "connection");
    assert_eq!((connection.tx_packets, connection.rx_bytes, connection.rtt_ns), (3, 1000, 99));
    assert_eq!(connection.first_seen.unwrap().to_string(), "2026-11-23T00:15:56Z");

    let by_remote = told(ConnectionKey::V4(&key), &Conn { opened: opened::BY_REMOTE, ..conn }).unwrap();
    assert_eq!(by_remote.destination.as_ref().unwrap().pod_name, "web");
    assert_eq!(by_remote.l4.unwrap().ports(), Some(Ports { source_port: 5432, destination_port: 40000 }));
    let unknown = told(ConnectionKey::V4(&key), &Conn { opened: opened::UNKNOWN, ..conn }).unwrap();
    assert_eq!((unknown.is_reply, unknown.traffic_direction), (None, TrafficDirection::Egress));

    let fragment = Key4 { fragment: fragment::FROM_POD, ..key };
    assert!(told(ConnectionKey::V4(&fragment), &conn).is_none(), "ports of a fragmented packet are no connection");

    let mut local = [0; 16];
    (local[0], local[1], local[15]) = (0xfd, 0, 1);
    let [high, low] = [0, 8].map(|at| u64::from_ne_bytes(local[at..at + 8].try_into().unwrap()));
    let key6 = Key6 { local: [high, low], protocol: 58, local_port: 77, ..Key6::default() };
    let flow = told(ConnectionKey::V6(&key6), &conn).unwrap();
    assert_eq!(flow.ip.as_ref().unwrap().source.as_ref().unwrap().to_string(), "fd00::1");
    assert_eq!(flow.l4, Some(Layer4::Icmp6(Icmp { kind: 128, code: 0 })));
}

#[test]
fn losses_are_a_record_of_their_own() {
    let lost = decoder().lost(42, 10_000_000_000);
    assert_eq!(
        serde_json::to_string(&lost).unwrap(),
        r#"{"lost_events":{"source":"PERF_EVENT_RING_BUFFER","num_events_lost":"42"},"node_name":"n1","time":"2026-11-23T00:15:57Z"}"#
    );
}

#[test]
fn the_longest_line_stays_under_64_kib() {
    let labels: Vec<String> = (0..5000).map(|n| format!("\"l{n}\":\"{}\"", "x".repeat(63))).collect();
    let pod = format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"namespace":"{0}","name":"{1}","labels":{{{2}}}}},
            "spec":{{"containers":[]}},"status":{{"podIPs":[{{"ip":"10.0.0.1"}},{{"ip":"10.0.0.2"}}]}}}}"#,
        "n".repeat(63),
        "n".repeat(253),
        labels.join(",")
    );
    let mut objects = Objects::default();
    assert_eq!(objects.text("test", &pod), []);
    let resolver = Resolver::new(Arc::new(Names::new(&objects, &[])), "n1", &[]);
    let mut decoder = Decoder::new("n1", WallClock::new(0, Timestamp::UNIX_EPOCH), resolver);
    let policy =
        Policy { kind: "k".repeat(253), namespace: "n".repeat(63), name: "n".repeat(253), ..Policy::default() };
    let many = vec![policy; 1000];
    decoder.set_rule(16, Some(Rule::new(true, RuleAction::Allow, "NetworkPolicy", None, &many)));
    let line = serde_json::to_string(&decoder.event(&Event { rule: 16, ..syn() })).unwrap();
    assert!(line.contains("policies_left_out"));
    assert!((20_000..64 * 1024).contains(&line.len()), "{}", line.len());
    assert!(line.contains("chainkit:labels-left-out="));

    let header = HttpHeader { key: "\u{1}".repeat(9000), value: "\"".repeat(60_000) };
    let http =
        Http { url: "\u{1}".repeat(60_000), method: "M".repeat(60_000), headers: vec![header; 500], ..Http::default() };
    let grpc =
        Grpc { service: "\"".repeat(9000), method: "\\".repeat(9000), message: "\"".repeat(9000), status: Some(2) };
    for grpc in [None, Some(grpc)] {
        let exchange = Exchange {
            time: 1,
            family: 4,
            protocol: 6,
            source: ipv4(10, 0, 0, 1),
            destination: ipv4(10, 0, 0, 2),
            source_port: 1,
            destination_port: 2,
            from_pod: true,
            ifindex: 7,
            layer7: Layer7 { kind: L7FlowType::Response, http: Some(http.clone()), ..Layer7::default() },
            extra: L7Extra { grpc, ..L7Extra::default() },
        };
        let line = serde_json::to_string(&decoder.exchange(exchange)).unwrap();
        assert!((20_000..64 * 1024).contains(&line.len()), "{}", line.len());
        assert!(line.contains("headers_left_out"));
    }
}

#[test]
fn a_container_without_a_pod_stands_in_extensions_and_in_no_name() {
    let record = EndpointRecord {
        container_id: "default-web".into(),
        addresses: vec!["10.0.0.1".parse().unwrap()],
        interfaces: vec![EndpointInterface { host_ifindex: 12, ..Default::default() }],
        ..Default::default()
    };
    let resolver = Resolver::new(Arc::new(Names::new(&Objects::default(), &[record])), "n1", &[]);
    let clock = WallClock::new(10_000_000_000, "2026-11-23T00:15:57Z".parse().unwrap());
    let record = Decoder::new("n1", clock, resolver).event(&syn());
    let line = serde_json::to_string(&record).unwrap();
    assert!(line.contains(r#""source_container_id":"default-web""#), "{line}");
    assert!(!line.contains("pod_name") && !line.contains("destination_container_id"), "{line}");
    let read: Flow = serde_json::from_str::<Record>(&line).unwrap().flow.unwrap();
    assert_eq!(extra(&read).source_container_id.as_deref(), Some("default-web"));
}

/// A decoder that knows of an isolation for what pods receive (17), and of a rule that denies (18) and one that allows (19)
/// what they send.
fn decoder_with_rules() -> Decoder {
    let policy = |kind: &str, name: &str| Policy {
        kind: kind.into(),
        namespace: if kind == "NetworkPolicy" { "shop".into() } else { String::new() },
        name: name.into(),
        ..Policy::default()
    };
    let isolating = [policy("NetworkPolicy", "default-deny"), policy("NetworkPolicy", "web")];
    let admin = [policy("ClusterNetworkPolicy", "no-metadata")];
    let mut decoder = decoder();
    for (number, rule) in [
        (17, Rule::new(false, RuleAction::Isolated, "NetworkPolicy", None, &isolating)),
        (18, Rule::new(true, RuleAction::Deny, "Admin", Some(0), &admin)),
        (19, Rule::new(true, RuleAction::Allow, "NetworkPolicy", Some(1), &isolating[1..])),
    ] {
        decoder.set_rule(number, Some(rule));
    }
    decoder
}

fn json(record: &Record) -> serde_json::Value {
    serde_json::to_value(record).unwrap()["flow"].take()
}

#[test]
fn a_denied_flow_names_the_policies_that_isolate() {
    let denied = Event {
        kind: kind::DENIED,
        hook: hook::TO_POD,
        verdict: verdict::DROPPED,
        reason: reason::POLICY,
        rule: 17,
        generation: 5,
        first_seen: 0,
        ..syn()
    };
    let record = decoder_with_rules().event(&denied);
    let flow = json(&record);
    assert_eq!(
        flow["ingress_denied_by"],
        serde_json::json!([
            {"name": "default-deny", "namespace": "shop", "kind": "NetworkPolicy"},
            {"name": "web", "namespace": "shop", "kind": "NetworkPolicy"}
        ])
    );
    assert_eq!(
        flow["extensions"]["value"]["decided_by"],
        serde_json::json!({"direction": "ingress", "action": "isolated", "tier": "NetworkPolicy"})
    );
    assert_eq!((&flow["drop_reason"], &flow["drop_reason_desc"]), (&133.into(), &"POLICY_DENIED".into()));
    for other in ["egress_denied_by", "ingress_allowed_by", "egress_allowed_by"] {
        assert_eq!(flow[other], serde_json::Value::Null, "{other}");
    }
    // Read back it is the same, and written again, too.
    let line = serde_json::to_vec(&record).unwrap();
    let read = crate::read::parse(&line).unwrap().unwrap();
    assert_eq!(read.flow.as_ref().unwrap().ingress_denied_by, record.flow.as_ref().unwrap().ingress_denied_by);
    assert_eq!(serde_json::to_vec(&read).unwrap(), line);

    // In audit mode the same, but that it was no drop.
    let audited = Event { kind: kind::FIRST, verdict: verdict::AUDIT, reason: reason::NONE, ..denied };
    let audited = json(&decoder_with_rules().event(&audited));
    assert_eq!((&audited["verdict"], &audited["drop_reason"]), (&"AUDIT".into(), &serde_json::Value::Null));
    assert_eq!(audited["ingress_denied_by"], flow["ingress_denied_by"]);
    assert_eq!(audited["extensions"]["value"]["decided_by"], flow["extensions"]["value"]["decided_by"]);
}

#[test]
fn a_rule_that_denies_is_named_with_its_place_and_its_own_drop_reason() {
    for why in [reason::POLICY, reason::SPLIT_SERVICE] {
        let denied = Event { kind: kind::DENIED, verdict: verdict::DROPPED, reason: why, rule: 18, ..syn() };
        let flow = json(&decoder_with_rules().event(&denied));
        assert_eq!(
            flow["egress_denied_by"],
            serde_json::json!([{"name": "no-metadata", "kind": "ClusterNetworkPolicy"}])
        );
        assert_eq!(
            flow["extensions"]["value"]["decided_by"],
            serde_json::json!({"direction": "egress", "action": "deny", "tier": "Admin", "rule": 0})
        );
        assert_eq!((&flow["drop_reason"], &flow["drop_reason_desc"]), (&181.into(), &"POLICY_DENY".into()));
        assert_eq!(flow["event_type"], serde_json::json!({"type": 1, "sub_type": 181}));
        let told = if why == reason::POLICY { "policy" } else { "split_service" };
        assert_eq!(flow["extensions"]["value"]["reason"], told);
    }
}

#[test]
fn allowed_flows_and_table_entries_name_what_allowed_them() {
    let mut decoder = decoder_with_rules();
    let allowed = serde_json::json!([{"name": "web", "namespace": "shop", "kind": "NetworkPolicy"}]);
    let decided = serde_json::json!({"direction": "egress", "action": "allow", "tier": "NetworkPolicy", "rule": 1});
    for event in [
        Event { rule: 19, ..syn() },
        Event { rule: 19, kind: kind::CLOSE, hook: hook::SWEEP, reason: close::RST, ..syn() },
        Event { rule: 19, kind: kind::CLOSE, reason: close::EXPIRED, ..syn() },
    ] {
        let flow = json(&decoder.event(&event));
        assert_eq!((&flow["egress_allowed_by"], &flow["extensions"]["value"]["decided_by"]), (&allowed, &decided));
    }
    let conn = Conn { opened: opened::BY_POD, verdict: verdict::FORWARDED, rule: 19, ..Conn::default() };
    let last_seen = Timestamp::UNIX_EPOCH;
    let key = Key4 { protocol: 6, ..Key4::default() };
    let mut told = |conn: &Conn| {
        let entry = Connection { key: ConnectionKey::V4(&key), conn, ifindex: 12, last_seen };
        json(&decoder.connection(&entry).unwrap())
    };
    let flow = told(&conn);
    assert_eq!((&flow["egress_allowed_by"], &flow["extensions"]["value"]["decided_by"]), (&allowed, &decided));
    let audited = told(&Conn { verdict: verdict::AUDIT, opened: opened::BY_REMOTE, rule: 17, ..conn });
    assert_eq!(audited["ingress_denied_by"][0]["name"], "default-deny");
}

#[test]
fn what_no_connection_tells_the_direction_of_has_that_of_its_rule() {
    // The answer to a SYN that was never seen: judged as what the other side opened.
    let answer = Event {
        kind: kind::DENIED,
        verdict: verdict::DROPPED,
        reason: reason::POLICY,
        reply: reply::UNKNOWN,
        rule: 17,
        ..syn()
    };
    let flow = json(&decoder_with_rules().event(&answer));
    assert_eq!((&flow["traffic_direction"], &flow["is_reply"]), (&"INGRESS".into(), &serde_json::Value::Null));
    assert!(flow["ingress_denied_by"].is_array() && flow["source"]["pod_name"] == "web");
    let unknown = json(&decoder_with_rules().event(&Event { rule: 99, ..answer }));
    assert_eq!(unknown["traffic_direction"], "EGRESS", "the way of the packet");
}

#[test]
fn a_number_that_is_not_known_is_told_as_a_number() {
    let denied = Event { kind: kind::DENIED, verdict: verdict::DROPPED, reason: reason::POLICY, rule: 99, ..syn() };
    let flow = json(&decoder_with_rules().event(&denied));
    assert_eq!((&flow["extensions"]["value"]["rule"], &flow["drop_reason"]), (&99.into(), &133.into()));
    assert_eq!(flow["egress_denied_by"], serde_json::Value::Null);
    assert_eq!(flow["extensions"]["value"]["decided_by"], serde_json::Value::Null);
}

#[test]
fn what_policy_never_judged_is_decided_by_nobody() {
    let spoofed =
        Event { kind: kind::DENIED, verdict: verdict::DROPPED, reason: reason::INVALID_SOURCE, rule: 0, ..syn() };
    let flow = json(&decoder_with_rules().event(&spoofed));
    assert_eq!((&flow["drop_reason"], &flow["drop_reason_desc"]), (&132.into(), &"INVALID_SOURCE_IP".into()));
    assert_eq!(flow["event_type"], serde_json::json!({"type": 1, "sub_type": 132}));
    assert_eq!(flow["extensions"]["value"]["reason"], "invalid_source");
    assert_eq!(flow["extensions"]["value"]["decided_by"], serde_json::Value::Null);
    let malformed = Event {
        kind: kind::MALFORMED,
        verdict: verdict::DROPPED,
        reason: Counter::BadIpv4 as u8,
        rule: 0,
        ..Event::default()
    };
    assert_eq!(
        json(&decoder_with_rules().event(&malformed))["extensions"]["value"]["decided_by"],
        serde_json::Value::Null
    );
    let own_node = json(&decoder_with_rules().event(&Event { rule: chainkit_abi::rule::OWN_NODE, ..syn() }));
    let because = own_node["extensions"]["value"]["decided_by"]["because"].as_str().unwrap();
    assert!(because.contains("own node"), "{because}");
}
