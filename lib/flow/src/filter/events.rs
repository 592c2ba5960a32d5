//! The filter, and the kernel's part of it, against a second reading of its flags, as plain as can be, on events of the
//! datapath.

use std::sync::Arc;

use chainkit_abi::{Event, ObserverFilter, filter_bit, hook, kind, opened, protocol_bit, reply, side};
use chainkit_cluster::{EndpointInterface, EndpointRecord, Names, Objects};
use jiff::Timestamp;
use proptest::prelude::{Just, ProptestConfig, Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;
use crate::decode::{Decoder, WallClock};
use crate::resolve::Resolver;

const PODS: [(&str, &str, &str); 4] = [
    ("shop", "web-1", "10.0.0.1"),
    ("shop", "db-0", "10.0.0.2"),
    ("default", "web-2", "10.0.0.3"),
    ("ops", "x", "fd00::1"),
];

/// Flags with values that often match.
fn flag() -> impl Strategy<Value = (bool, FilterFlag, &'static str)> {
    let values: Vec<(FilterFlag, &'static [&'static str])> = vec![
        (FilterFlag::Pod, &["shop/web", "web", "shop/", "/web", "/x"]),
        (FilterFlag::FromPod, &["shop/web", "web", "ops/"]),
        (FilterFlag::ToPod, &["shop/db", "/web"]),
        (FilterFlag::Namespace, &["shop", "default"]),
        (FilterFlag::FromNamespace, &["shop", "ops"]),
        (FilterFlag::ToNamespace, &["shop", "default"]),
        (FilterFlag::Label, &["app=shop", "app!=shop", "!app"]),
        (FilterFlag::FromLabel, &["app in (shop, ops)"]),
        (FilterFlag::ToLabel, &["app"]),
        (FilterFlag::Ip, &["10.0.0.1", "10.0.0.0/30", "fd00::/16", "0.0.0.0/0", "192.0.2.7"]),
        (FilterFlag::FromIp, &["10.0.0.2/31", "10.0.0.3"]),
        (FilterFlag::ToIp, &["10.0.0.2", "fd00::1"]),
        (FilterFlag::Port, &["80", "53", "50-60", "1-1000"]),
        (FilterFlag::FromPort, &["80", "40000"]),
        (FilterFlag::ToPort, &["53", "70-90"]),
        (FilterFlag::Protocol, &["tcp", "udp", "sctp", "icmp", "icmpv4", "icmpv6", "dns"]),
        (FilterFlag::Reply, &["true", "false"]),
        (FilterFlag::Type, &["trace", "drop", "trace:to-endpoint"]),
        (FilterFlag::CelExpression, &["_flow.verdict == Verdict.DROPPED", "!has(_flow.IP)"]),
        (FilterFlag::Verdict, &["FORWARDED", "DROPPED", "AUDIT", "ERROR"]),
        (FilterFlag::TrafficDirection, &["ingress", "egress"]),
        (FilterFlag::TcpFlags, &["syn", "syn,ack", "rst"]),
        (FilterFlag::IpVersion, &["4", "6", "none"]),
    ];
    (proptest::bool::ANY, proptest::sample::select(values))
        .prop_flat_map(|(negated, (flag, values))| (Just(negated), Just(flag), proptest::sample::select(values)))
}

/// Messages beside the flags.
fn list() -> impl Strategy<Value = (bool, &'static str)> {
    let messages = vec![
        "{}",
        r#"{"verdict":["DROPPED"]}"#,
        r#"{"source_ip":["10.0.0.1"],"destination_port":["80"]}"#,
        r#"{"protocol":["udp","dns"]}"#,
        r#"{"ip_version":["IPv4","IP_NOT_USED"]}"#,
        r#"{"source_pod":["shop/"],"destination_pod":["/"]}"#,
        r#"{"experimental":{"cel_expression":["_flow.verdict == Verdict.DROPPED"]}}"#,
    ];
    (proptest::bool::ANY, proptest::sample::select(messages))
}

fn event() -> impl Strategy<Value = Event> {
    let address = prop_oneof![Just(0u8), Just(1), Just(2), Just(3), Just(4)];
    let port = prop_oneof![Just(80u16), Just(53), Just(40000), Just(0), Just(71)];
    let protocol = prop_oneof![Just(6u8), Just(17), Just(132), Just(1), Just(58), Just(47)];
    let family = prop_oneof![4 => Just(4u8), 2 => Just(6), 1 => Just(0)];
    let kinds = prop_oneof![Just(kind::FIRST), Just(kind::RELATED), Just(kind::MALFORMED), Just(kind::CLOSE)];
    let numbers = (family, protocol, 0u8..=4, 0u8..=2, 0u8..=2, 0u8..=2, kinds);
    (numbers, address.clone(), address, port.clone(), port, 0u16..512, 0u32..6).prop_map(
        |(
            (family, protocol, verdict, hook, opened, reply, kind),
            a,
            b,
            source_port,
            destination_port,
            tcp_flags,
            slot,
        )| {
            let bytes = |address: u8| {
                let mut bytes = [0; 16];
                match family {
                    4 => bytes[..4].copy_from_slice(&[10, 0, 0, address]),
                    6 => (bytes[0], bytes[15]) = (0xfd, address),
                    _ => (),
                }
                bytes
            };
            let ports = family != 0 && matches!(protocol, 6 | 17 | 132) && kind != kind::RELATED;
            Event {
                family,
                protocol: if family == 0 { 0 } else { protocol },
                verdict,
                hook,
                opened,
                reply,
                kind,
                source: bytes(a),
                destination: bytes(b),
                source_port: if ports { source_port } else { 0 },
                destination_port: if ports { destination_port } else { 0 },
                tcp_flags,
                slot,
                // Slots 1 to 4 are of the four pods, 5 is of one without a record.
                ifindex: slot + 10,
                ..Event::default()
            }
        },
    )
}

fn decoder() -> Decoder {
    let mut objects = Objects::default();
    for (namespace, name, address) in PODS {
        let pod = format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"namespace":"{namespace}","name":"{name}",
            "labels":{{"app":"{namespace}"}}}},"spec":{{"containers":[]}},"status":{{"podIP":"{address}"}}}}"#
        );
        assert_eq!(objects.text("test", &pod), []);
    }
    let records: Vec<EndpointRecord> = (11..)
        .zip(PODS)
        .map(|(host_ifindex, (namespace, name, address))| EndpointRecord {
            namespace: namespace.into(),
            pod_name: name.into(),
            addresses: vec![address.parse().unwrap()],
            interfaces: vec![EndpointInterface { host_ifindex, ..Default::default() }],
            ..Default::default()
        })
        .collect();
    let names = Names::new(&objects, &records);
    Decoder::new("n1", WallClock::new(0, Timestamp::UNIX_EPOCH), Resolver::new(Arc::new(names), "n1", &[]))
}

fn built(flags: &[(bool, FilterFlag, &str)]) -> Option<Filter> {
    let mut builder = FilterBuilder::default();
    for (negated, flag, value) in flags {
        builder.add(*negated, *flag, value).ok()?;
    }
    builder.build().ok()
}

mod oracle {
    use super::*;

    /// Whether one value of a flag holds for a flow, a bare flag asking for the source (or else the destination).
    fn holds(flow: &Flow, flag: FilterFlag, value: &str, bare_is_source: bool, namespaces: &[&str]) -> bool {
        let name = flag.name();
        let is_source = if name.starts_with("from-") {
            true
        } else if name.starts_with("to-") {
            false
        } else {
            bare_is_source
        };
        let end = if is_source { &flow.source } else { &flow.destination };
        let (namespace, pod) = end.as_ref().map_or(("", ""), |end| (end.namespace.as_str(), end.pod_name.as_str()));
        let ip = flow.ip.as_ref();
        let address = ip.and_then(|ip| if is_source { ip.source.as_ref() } else { ip.destination.as_ref() });
        let ports = flow.l4.and_then(|l4| l4.ports());
        let port = ports.map(|ports| if is_source { ports.source_port } else { ports.destination_port });
        match name.trim_start_matches("from-").trim_start_matches("to-") {
            "pod" if pod.is_empty() && namespace.is_empty() => false,
            "pod" => match value.split_once('/') {
                Some((wanted, prefix)) => (wanted.is_empty() || wanted == namespace) && pod.starts_with(prefix),
                None if namespaces.is_empty() => namespace == "default" && pod.starts_with(value),
                None => namespaces.contains(&namespace) && pod.starts_with(value),
            },
            "namespace" => namespace == value,
            "label" => {
                let app = end.as_ref().and_then(|end| end.labels.iter().find_map(|l| l.strip_prefix("k8s:app=")));
                match value {
                    "app" => app.is_some(),
                    "!app" => app.is_none(),
                    "app=shop" => app == Some("shop"),
                    "app!=shop" => app != Some("shop"),
                    "app in (shop, ops)" => matches!(app, Some("shop" | "ops")),
                    _ => panic!("{value}"),
                }
            }
            "ip" => address.is_some_and(|address| {
                let (network, length) = value.split_once('/').unwrap_or((value, "128"));
                let bits = |text: &str| match text.parse().unwrap() {
                    IpAddr::V4(address) => (4, u128::from(address.to_bits()) << 96),
                    IpAddr::V6(address) => (6, address.to_bits()),
                };
                let length =
                    if network.contains('.') && !value.contains('/') { 32 } else { length.parse::<u32>().unwrap() };
                let ((family, wanted), (own_family, own)) = (bits(network), bits(&address.to_string()));
                family == own_family && (wanted ^ own).leading_zeros() >= length.min(if family == 4 { 32 } else { 128 })
            }),
            "port" => port.is_some_and(|port| {
                let (low, high) = value.split_once('-').unwrap_or((value, value));
                (low.parse().unwrap()..=high.parse().unwrap()).contains(&port)
            }),
            "protocol" => {
                let own = match flow.l4 {
                    Some(Layer4::Tcp(_)) => "tcp",
                    Some(Layer4::Udp(_)) => "udp",
                    Some(Layer4::Sctp(_)) => "sctp",
                    Some(Layer4::Icmp4(_)) => "icmpv4",
                    Some(Layer4::Icmp6(_)) => "icmpv6",
                    _ => "",
                };
                own == value || value == "icmp" && own.starts_with("icmp")
            }
            "verdict" => flow.verdict.to_string() == value,
            "traffic-direction" => flow.traffic_direction.to_string().to_lowercase() == value,
            "tcp-flags" => match flow.l4 {
                Some(Layer4::Tcp(tcp)) => tcp.flags.is_some_and(|flags| {
                    let set: Vec<&str> = flags.names().collect();
                    value.split(',').all(|wanted| set.contains(&wanted.to_uppercase().as_str()))
                }),
                _ => false,
            },
            "reply" => {
                let dropped = flow.verdict == Verdict::Dropped;
                (flow.is_reply.is_some() || dropped) && (flow.is_reply == Some(true)) == (value == "true")
            }
            "type" => {
                let event = flow.event_type.unwrap();
                match value {
                    "drop" => event.kind == 1,
                    "trace" => event.kind == 4,
                    _ => (event.kind, event.sub_type) == (4, 0),
                }
            }
            "cel-expression" if value.contains("IP") => ip.is_none(),
            "cel-expression" => flow.verdict == Verdict::Dropped,
            "ip-version" if value == "none" => ip.is_none(),
            "ip-version" => ip.is_some_and(|ip| ip.version.to_string() == format!("IPv{value}")),
            other => panic!("{other}"),
        }
    }

    fn all_hold(flow: &Flow, flags: &[(FilterFlag, &str)]) -> bool {
        (0..16).any(|choice| {
            flags.iter().all(|(flag, _)| {
                // Each bare flag is about one end by itself, but a pod and its namespace go together.
                let bit = match flag {
                    FilterFlag::Label => 1,
                    FilterFlag::Ip => 2,
                    FilterFlag::Port => 4,
                    _ => 8,
                };
                let bare_is_source = choice & bit != 0;
                let of_end = |flag: FilterFlag| match (flag, bare_is_source) {
                    (FilterFlag::Namespace, _) => Some("bare"),
                    (FilterFlag::FromNamespace, _) => Some("from"),
                    (FilterFlag::ToNamespace, _) => Some("to"),
                    _ => None,
                };
                // A pod flag takes the namespaces that are asked for at its end.
                let pod_end = match (flag, bare_is_source) {
                    (FilterFlag::Pod, true) => &["bare", "from"],
                    (FilterFlag::Pod, false) => &["bare", "to"],
                    (FilterFlag::FromPod, _) => &["from", "from"],
                    _ => &["to", "to"],
                };
                let namespaces: Vec<&str> = flags
                    .iter()
                    .filter(|(flag, _)| of_end(*flag).is_some_and(|end| pod_end.contains(&end)))
                    .map(|(_, value)| *value)
                    .collect();
                // A pod that bears its own namespace is checked against the others when the filter is built.
                let same = flags.iter().filter(|(other, _)| other == flag);
                same.into_iter().any(|(flag, value)| holds(flow, *flag, value, bare_is_source, &namespaces))
                    || matches!(flag, FilterFlag::Namespace | FilterFlag::FromNamespace | FilterFlag::ToNamespace)
                        && covered_by_pod(flow, flags, *flag, bare_is_source)
            })
        })
    }

    /// `--pod /NAME` means any namespace, also beside `--namespace`.
    fn covered_by_pod(flow: &Flow, flags: &[(FilterFlag, &str)], namespace: FilterFlag, bare_is_source: bool) -> bool {
        let is_source = match namespace {
            FilterFlag::FromNamespace => true,
            FilterFlag::ToNamespace => false,
            _ => bare_is_source,
        };
        flags.iter().any(|(flag, value)| {
            let same_end = match flag {
                FilterFlag::Pod => bare_is_source == is_source,
                FilterFlag::FromPod => is_source,
                FilterFlag::ToPod => !is_source,
                _ => false,
            };
            same_end && value.starts_with('/') && holds(flow, *flag, value, bare_is_source, &[])
        })
    }

    pub(super) fn matches(flow: &Flow, flags: &[(bool, FilterFlag, &str)]) -> bool {
        let of = |negated: bool| -> Vec<(FilterFlag, &str)> {
            flags.iter().filter(|flag| flag.0 == negated).map(|(_, flag, value)| (*flag, *value)).collect()
        };
        let (allow, deny) = (of(false), of(true));
        (allow.is_empty() || all_hold(flow, &allow)) && (deny.is_empty() || !all_hold(flow, &deny))
    }

    /// What the kernel does with a filter: see `ebpf/src/observe.rs`.
    pub(super) fn kernel_passes(filter: &ObserverFilter, event: &Event) -> bool {
        let asks = |bit| filter.flags & bit != 0;
        if asks(filter_bit::ENDPOINTS) && filter.endpoints[event.slot as usize / 64] >> (event.slot % 64) & 1 == 0 {
            return false;
        }
        if asks(filter_bit::VERDICTS) && filter.verdicts >> event.verdict & 1 == 0 {
            return false;
        }
        if event.family == 0 {
            return true;
        }
        let versions = protocol_bit::IPV4 | protocol_bit::IPV6;
        let version = if event.family == 4 { protocol_bit::IPV4 } else { protocol_bit::IPV6 };
        let transport = match event.protocol {
            6 => protocol_bit::TCP,
            17 => protocol_bit::UDP,
            132 => protocol_bit::SCTP,
            1 => protocol_bit::ICMP,
            58 => protocol_bit::ICMPV6,
            _ => protocol_bit::OTHER,
        };
        let protocols = filter.protocols;
        let protocol = (protocols & versions == 0 || protocols & version != 0)
            && (protocols & !versions == 0 || protocols & transport != 0);
        let prefix = filter.prefixes.iter().any(|prefix| {
            let within = |address: &[u8; 16]| {
                let bits = u128::from_be_bytes(prefix.address) ^ u128::from_be_bytes(*address);
                bits & u128::from_be_bytes(prefix.mask) == 0
            };
            prefix.family == event.family
                && (prefix.side & side::SOURCE != 0 && within(&event.source)
                    || prefix.side & side::DESTINATION != 0 && within(&event.destination))
        });
        let port = filter.ports.iter().any(|port| {
            port.side & side::SOURCE != 0 && port.port == event.source_port
                || port.side & side::DESTINATION != 0 && port.port == event.destination_port
        });
        (!asks(filter_bit::PROTOCOLS) || protocol)
            && (!asks(filter_bit::PREFIXES) || prefix)
            && (!asks(filter_bit::PORTS) || port)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn the_filter_agrees_with_a_plain_reading_of_its_flags(
        flags in proptest::collection::vec(flag(), 0..5),
        event in event(),
    ) {
        let Some(filter) = built(&flags) else { return Ok(()) };
        let record = decoder().event(&event);
        let flow = record.flow.as_ref().unwrap();
        prop_assert_eq!(filter.matches(flow), oracle::matches(flow, &flags), "{:?}\n{:?}", flags, flow);
    }

    #[test]
    fn what_the_filter_shows_the_kernel_passes(
        flags in proptest::collection::vec(flag(), 0..5),
        list in proptest::option::of(list()),
        event in event(),
    ) {
        let mut builder = FilterBuilder::default();
        for (negated, flag, value) in &flags {
            if builder.add(*negated, *flag, value).is_err() {
                return Ok(());
            }
        }
        if let Some((deny, json)) = list {
            builder.add_list(deny, json).unwrap();
        }
        let Ok(filter) = builder.build() else { return Ok(()) };
        let kernel = filter.kernel_filter(false, |pattern| {
            let mut set = [0; 64];
            for (slot, (namespace, name, _)) in (1..).zip(PODS) {
                set[0] |= u64::from(pattern.matches(namespace, name)) << slot;
            }
            // Whose the others are is not known.
            set[0] |= !0b11110;
            Some(set)
        });
        let record = decoder().event(&event);
        if filter.matches(record.flow.as_ref().unwrap()) {
            prop_assert!(oracle::kernel_passes(&kernel, &event), "{:?}\n{:?}", flags, kernel);
        }
    }
}

#[test]
fn hooks_and_openers_of_the_tests_are_those_of_the_datapath() {
    // The strategy above counts from 0 to 2 for each.
    assert_eq!([hook::FROM_POD, hook::TO_POD, hook::SWEEP], [0, 1, 2]);
    assert_eq!([opened::UNKNOWN, opened::BY_POD, opened::BY_REMOTE], [0, 1, 2]);
    assert_eq!([reply::NO, reply::YES, reply::UNKNOWN], [0, 1, 2]);
}
