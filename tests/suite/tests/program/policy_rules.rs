//! What is judged by rules though no connection is entered: who the own node is, answers, streams under way, and forged sources.

use std::net::IpAddr;

use chainkit_abi::{
    Counter, mode, rule,
    tcp::{ACK, SYN},
};
use chainkit_bpf::NodeLock;
use serde_json::json;

use crate::common::{ip, pod};
use crate::frame::{self, TCP, UDP, framed, tcp, udp};
use crate::node::{Ends, FROM_POD, IFINDEX, NEXT, Node, SHOT, TO_POD, observing};
use crate::policy::{Policy, cluster};

const POD: &str = "10.0.0.1";
const FRIEND: &str = "10.0.0.2";
const STRANGER: &str = "192.0.2.7";

fn ends(peer: &str) -> Ends {
    Ends { pod: ip(POD), peer: ip(peer) }
}

/// The pod `a/w`, and another, with one policy about the first.
fn policy(spec: &serde_json::Value) -> Policy {
    let pods = [pod("a/w", &[("app", "web")], POD), pod("a/friend", &[("app", "friend")], FRIEND)];
    Policy::new(&cluster(&pods, std::slice::from_ref(spec)))
}

/// Friends may open port 80 to it; it may open nothing.
fn friends_may_ask() -> Policy {
    policy(&json!({
        "podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "friend"}}}], "ports": [{"port": 80}]}],
    }))
}

/// It may open port 443 to friends; nobody may open anything to it.
fn may_ask_friends() -> Policy {
    policy(&json!({
        "podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress", "Egress"],
        "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "friend"}}}], "ports": [{"port": 443}]}],
    }))
}

#[test]
fn what_the_own_node_makes_is_let_in_and_what_it_forwards_under_its_address_is_not() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    may_ask_friends().put(&node, 1, 0, mode::ENFORCE);
    // Whatever address it bears.
    for (port, source) in (1000..).zip(["10.9.0.1", "10.9.0.2", STRANGER, FRIEND]) {
        let probe = |port| ends(source).incoming(TCP, &tcp(port, 8080, SYN, 0));
        assert_eq!(node.run(TO_POD, &probe(port)), SHOT, "forwarded, from {source}");
        assert_eq!(node.run_as_node(&probe(port + 100)), NEXT, "of the node, from {source}");
        let conn = node.connection(ends(source), TCP, 8080, port + 100).unwrap();
        assert_eq!(conn.rule, rule::OWN_NODE);
        assert_eq!(node.run(FROM_POD, &ends(source).outgoing(TCP, &tcp(8080, port + 100, SYN | ACK, 0))), NEXT);
    }
}

#[test]
fn an_answer_to_a_syn_without_entry_is_judged_as_what_the_other_side_opened() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    friends_may_ask().put(&node, 1, 0, mode::ENFORCE);
    let answer = |peer, from, to| ends(peer).outgoing(TCP, &tcp(from, to, SYN | ACK, 0));
    assert_eq!(node.run(FROM_POD, &answer(FRIEND, 80, 2001)), NEXT);
    assert_eq!(node.run(FROM_POD, &answer(FRIEND, 81, 2002)), SHOT);
    assert_eq!(node.run(FROM_POD, &answer(STRANGER, 80, 2003)), SHOT);
    // Not what it opens itself.
    assert_eq!(node.run(FROM_POD, &ends(FRIEND).outgoing(TCP, &tcp(80, 2004, SYN, 0))), SHOT);

    may_ask_friends().put(&node, 2, 0, mode::ENFORCE);
    let answer = |peer, from, to| ends(peer).incoming(TCP, &tcp(from, to, SYN | ACK, 0));
    assert_eq!(node.run(TO_POD, &answer(FRIEND, 443, 3001)), NEXT);
    assert_eq!(node.run(TO_POD, &answer(FRIEND, 444, 3002)), SHOT);
    assert_eq!(node.run(TO_POD, &answer(STRANGER, 443, 3003)), SHOT);
    assert_eq!(node.run(TO_POD, &ends(FRIEND).incoming(TCP, &tcp(443, 3004, SYN, 0))), SHOT);
}

#[test]
fn a_stream_under_way_passes_if_either_direction_allows_it() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let run = |peer, own_port, peer_port| {
        let sent = node.run(FROM_POD, &ends(peer).outgoing(TCP, &tcp(own_port, peer_port, ACK, 0)));
        // From the other side, as the first that is met of another stream.
        let got = node.run(TO_POD, &ends(peer).incoming(TCP, &tcp(peer_port + 1000, own_port, ACK, 0)));
        (sent, got)
    };
    friends_may_ask().put(&node, 1, 0, mode::ENFORCE);
    assert_eq!(run(FRIEND, 80, 4001), (NEXT, NEXT));
    assert_eq!(run(FRIEND, 81, 4002), (SHOT, SHOT));
    assert_eq!(run(STRANGER, 80, 4003), (SHOT, SHOT));
    may_ask_friends().put(&node, 2, 0, mode::ENFORCE);
    assert_eq!(node.run(FROM_POD, &ends(FRIEND).outgoing(TCP, &tcp(5001, 443, ACK, 0))), NEXT);
    assert_eq!(node.run(TO_POD, &ends(FRIEND).incoming(TCP, &tcp(443, 5002, ACK, 0))), NEXT);
    assert_eq!(node.run(TO_POD, &ends(FRIEND).incoming(TCP, &tcp(444, 5003, ACK, 0))), SHOT);
}

#[test]
fn what_bears_no_address_of_the_pods_is_dropped_where_that_is_enforced() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let mut node = Node::new(observing());
    let own: [IpAddr; 2] = [ip(POD), ip("fd00::1")];
    node.datapath.set_sources(&NodeLock::take(node.root()).unwrap(), IFINDEX, &own).unwrap();
    // Nothing is said about the pod but that.
    let policy = Policy::new(&cluster(&[pod("a/w", &[], POD)], &[]));
    let mut source_port = 1000;
    let mut send = |node: &Node, from: &str, to: &str, to_port: u16| {
        source_port += 1;
        let from_port = if to_port == 67 { 68 } else { source_port };
        node.run(FROM_POD, &framed(&frame::ip(ip(from), ip(to), UDP, &udp(from_port, to_port, 0))))
    };
    for (generation, mode) in (1..).zip([mode::ENFORCE, mode::AUDIT, mode::OBSERVE, mode::ENFORCE]) {
        policy.put(&node, generation, 0, mode);
        node.counted();
        let forged = if mode == mode::ENFORCE { SHOT } else { NEXT };
        assert_eq!(send(&node, POD, STRANGER, 53), NEXT);
        assert_eq!(send(&node, "fd00::1", "2001:db8::7", 53), NEXT);
        assert_eq!(send(&node, "10.0.0.3", STRANGER, 53), forged, "mode {mode}");
        assert_eq!(send(&node, "fd00::3", "2001:db8::7", 53), forged, "mode {mode}");
        assert_eq!(send(&node, "0.0.0.0", STRANGER, 53), forged, "mode {mode}");
        let counted = node.counted().into_iter().find(|(counter, _)| *counter == Counter::InvalidSource);
        assert_eq!(counted.map(|(_, count)| count), (mode == mode::ENFORCE).then_some(3), "mode {mode}");
        // Who has no address yet asks for one, and each interface has one of the link.
        assert_eq!(send(&node, "0.0.0.0", "255.255.255.255", 67), NEXT);
        assert_eq!(send(&node, "fe80::1234", "fe80::1", 53), NEXT);
        assert_eq!(send(&node, "fe80::1234", "ff02::2", 53), NEXT);
    }
    // Nobody knows its addresses any more.
    node.datapath.set_sources(&NodeLock::take(node.root()).unwrap(), IFINDEX, &[]).unwrap();
    assert_eq!(send(&node, "10.0.0.3", STRANGER, 53), NEXT);
}

#[test]
fn tightened_egress_ends_a_stream_for_good_though_others_may_open_what_they_like() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let egress = |to: &str| {
        policy(&json!({
            "podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Egress"],
            "egress": [{"to": [{"ipBlock": {"cidr": to}}]}],
        }))
    };
    egress("0.0.0.0/0").put(&node, 1, 0, mode::ENFORCE);
    node.datapath.set_rules_since(1);
    assert_eq!(node.run(FROM_POD, &ends(STRANGER).outgoing(TCP, &tcp(6001, 443, SYN, 0))), NEXT);
    assert_eq!(node.run(TO_POD, &ends(STRANGER).incoming(TCP, &tcp(443, 6001, SYN | ACK, 0))), NEXT);
    assert_eq!(node.run(FROM_POD, &ends(STRANGER).outgoing(TCP, &tcp(6001, 443, ACK, 0))), NEXT);
    egress("198.51.100.0/24").put(&node, 2, 0, mode::ENFORCE);
    node.datapath.set_rules_since(2);
    for _ in 0..3 {
        assert_eq!(node.run(FROM_POD, &ends(STRANGER).outgoing(TCP, &tcp(6001, 443, ACK, 10))), SHOT);
        assert_eq!(node.run(TO_POD, &ends(STRANGER).incoming(TCP, &tcp(443, 6001, ACK, 10))), SHOT);
    }
}

#[test]
fn tightened_ingress_ends_a_stream_for_good_though_the_pod_may_open_what_it_likes() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let ingress = |to: &str| {
        policy(&json!({
            "podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"ipBlock": {"cidr": to}}]}],
        }))
    };
    ingress("0.0.0.0/0").put(&node, 1, 0, mode::ENFORCE);
    node.datapath.set_rules_since(1);
    assert_eq!(node.run(TO_POD, &ends(STRANGER).incoming(TCP, &tcp(6001, 443, SYN, 0))), NEXT);
    assert_eq!(node.run(FROM_POD, &ends(STRANGER).outgoing(TCP, &tcp(443, 6001, SYN | ACK, 0))), NEXT);
    assert_eq!(node.run(TO_POD, &ends(STRANGER).incoming(TCP, &tcp(6001, 443, ACK, 0))), NEXT);
    ingress("198.51.100.0/24").put(&node, 2, 0, mode::ENFORCE);
    node.datapath.set_rules_since(2);
    for _ in 0..3 {
        assert_eq!(node.run(TO_POD, &ends(STRANGER).incoming(TCP, &tcp(6001, 443, ACK, 10))), SHOT);
        assert_eq!(node.run(FROM_POD, &ends(STRANGER).outgoing(TCP, &tcp(443, 6001, ACK, 10))), SHOT);
    }
}
