//! What a pod opens to a service is judged as its backends are, and what is open already is left alone as long as it can be.

use chainkit_abi::{MOST_BACKENDS, Subject, mode, rule, set_of};
use chainkit_cluster::model::{Cluster, EndpointSlice, TargetPort};
use serde_json::json;

use crate::common::{ip, pod, service, slice};
use crate::frame::{TCP, UDP, tcp, udp};
use crate::node::{Ends, FROM_POD, IFINDEX, NEXT, Node, SHOT, TO_POD, observing};
use crate::policy::{Policy, cluster};

const POD: &str = "10.0.0.1";
const GREEN: [&str; 2] = ["10.0.0.2", "10.0.0.3"];
const RED: [&str; 2] = ["10.0.0.4", "10.0.0.5"];
const SERVICE: &str = "10.96.0.1";
const SYN: u16 = 2;
const ACK: u16 = 16;

/// The pod may open port 8080 to what is green; the service leads from port 80 to these.
fn leading_to(backends: &[&str]) -> Cluster {
    let mut pods = vec![pod("a/w", &[("app", "web")], POD)];
    for (color, addresses) in [("green", GREEN), ("red", RED)] {
        pods.extend(
            addresses.iter().zip(1..).map(|(at, number)| pod(&format!("a/{color}{number}"), &[("color", color)], at)),
        );
    }
    let mut cluster = cluster(&pods, &[may_open("green")]);
    cluster.services.push(service("a/s", &[], SERVICE, 80, TargetPort::Number(8080)));
    cluster.endpoint_slices.push(slice("a/s", backends, 8080));
    cluster
}

fn may_open(color: &str) -> serde_json::Value {
    json!({
        "podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress", "Egress"],
        "egress": [{"to": [{"podSelector": {"matchLabels": {"color": color}}}], "ports": [{"port": 8080}]}],
    })
}

fn to_service() -> Ends {
    Ends { pod: ip(POD), peer: ip(SERVICE) }
}

fn open(node: &Node, from_port: u16) -> i32 {
    node.run(FROM_POD, &to_service().outgoing(TCP, &tcp(from_port, 80, SYN, 0)))
}

fn go_on(node: &Node, from_port: u16) -> (i32, i32) {
    let back = node.run(TO_POD, &to_service().incoming(TCP, &tcp(80, from_port, ACK, 0)));
    (node.run(FROM_POD, &to_service().outgoing(TCP, &tcp(from_port, 80, ACK, 0))), back)
}

#[test]
fn it_is_allowed_if_all_backends_are_and_passes_without_any() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let cases: [(&[&str], i32); 5] = [
        (&GREEN, NEXT),
        (&RED, SHOT),
        (&[GREEN[0], RED[0]], SHOT),
        (&[RED[1], GREEN[1]], SHOT),
        // The node itself rejects it.
        (&[], NEXT),
    ];
    for ((generation, from_port), (backends, expected)) in (1..).zip(1000..).zip(cases) {
        Policy::new(&leading_to(backends)).put(&node, generation, 0, mode::ENFORCE);
        assert_eq!(open(&node, from_port), expected, "{backends:?}");
        // It is the service at its port and protocol alone.
        assert_eq!(node.run(FROM_POD, &to_service().outgoing(UDP, &udp(from_port, 80, 0))), SHOT);
        assert_eq!(node.run(FROM_POD, &to_service().outgoing(TCP, &tcp(from_port, 8080, SYN, 0))), SHOT);
        if backends.is_empty() {
            assert_eq!(node.connection(to_service(), TCP, from_port, 80).unwrap().rule, rule::NO_BACKEND);
        }
    }
}

#[test]
fn one_with_more_kinds_of_backends_than_are_asked_about_is_denied_where_anything_is() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    // Each with a port of its own, all of them allowed.
    let with = |count: u32| {
        let mut cluster = leading_to(&[]);
        cluster.endpoint_slices = (0..count)
            .map(|number| EndpointSlice {
                name: format!("s-{number}"),
                ..slice("a/s", &["198.51.100.7"], 10_000 + u16::try_from(number).unwrap())
            })
            .collect();
        cluster.network_policies.clear();
        let spec = json!({
            "podSelector": {}, "policyTypes": ["Egress"],
            "egress": [{"to": [{"ipBlock": {"cidr": "198.51.100.0/24"}}]}],
        });
        crate::common::add_policy(&mut cluster, "a/wide", &spec);
        Policy::new(&cluster)
    };
    let node = Node::new(observing());
    with(MOST_BACKENDS).put(&node, 1, 0, mode::ENFORCE);
    assert_eq!(open(&node, 1001), NEXT);
    let more = with(MOST_BACKENDS + 1);
    more.put(&node, 2, 0, mode::ENFORCE);
    node.datapath.set_rules_since(2);
    assert_eq!(open(&node, 1002), SHOT);
    // What is open goes to one of them, and nobody knows which.
    assert_eq!(go_on(&node, 1001), (NEXT, NEXT));
    // Nothing is denied to whom no policy selects.
    let tables = node.datapath.tables_at(set_of(2)).unwrap().unwrap();
    let free = Subject { ifindex: IFINDEX, policy: 0, mode: mode::ENFORCE, ..Subject::default() };
    tables.set_subject(node.slot, free).unwrap();
    assert_eq!(open(&node, 1003), NEXT);
}

#[test]
fn where_only_services_changed_what_is_open_stays_and_what_is_new_is_judged() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    Policy::new(&leading_to(&GREEN)).put(&node, 1, 0, mode::ENFORCE);
    node.datapath.set_rules_since(1);
    assert_eq!(open(&node, 1001), NEXT);
    assert_eq!(go_on(&node, 1001), (NEXT, NEXT));
    for (generation, backends) in (2..).zip([&RED[..], &[GREEN[0], RED[0]], &[]]) {
        Policy::new(&leading_to(backends)).put(&node, generation, 0, mode::ENFORCE);
        assert_eq!(go_on(&node, 1001), (NEXT, NEXT), "{backends:?}");
        assert_eq!(node.connection(to_service(), TCP, 1001, 80).unwrap().generation, generation);
        let new = if backends.is_empty() { NEXT } else { SHOT };
        assert_eq!(open(&node, 1001 + u16::try_from(generation).unwrap()), new, "{backends:?}");
    }
}

#[test]
fn where_rules_changed_what_is_open_stays_if_any_backend_is_allowed() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let both = [GREEN[0], RED[0]];
    let of = |policies: &[&str]| {
        let mut cluster = leading_to(&both);
        cluster.network_policies.clear();
        for color in policies {
            crate::common::add_policy(&mut cluster, &format!("a/{color}"), &may_open(color));
        }
        Policy::new(&cluster)
    };
    let put = |generation, policy: Policy| {
        policy.put(&node, generation, 0, mode::ENFORCE);
        node.datapath.set_rules_since(generation);
    };
    put(1, of(&["green", "red"]));
    assert_eq!(open(&node, 1001), NEXT);
    // It may have gone to the red one; nobody knows.
    put(2, of(&["green"]));
    assert_eq!(go_on(&node, 1001), (NEXT, NEXT));
    assert_eq!(open(&node, 1002), SHOT);
    put(3, of(&["blue"]));
    // For good: it is remembered by who opened it, or a segment of it would pass as one of what others may open.
    for _ in 0..3 {
        assert_eq!(go_on(&node, 1001), (SHOT, SHOT));
    }
}
