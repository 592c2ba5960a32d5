//! The programs answer as the objects say: clusters at random are compiled and put in force, and the oracle is asked what becomes of packets
//! at their boundaries, to and from a pod.

use std::cell::RefCell;

use chainkit_abi::mode;
use chainkit_bpf::Settings;
use chainkit_policy::{Direction, Party, Transport, Verdict, oracle};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::boundaries::boundaries;
use crate::frame::{SCTP, TCP, UDP, framed, ip, sctp, tcp, udp};
use crate::generate::{Case, case};
use crate::node::{FROM_POD, NEXT, Node, SHOT, TO_POD};
use crate::policy::Policy;
use crate::random::config;

/// Packets of one case: each that is allowed takes an entry of the pod's table.
const PACKETS: usize = 1500;

/// The first packet of a connection; of what has no ports another protocol each way, or one would be the other's reply.
fn opening(transport: Transport, direction: Direction, from_port: u16, port: u16) -> (u8, Vec<u8>) {
    const SYN: u16 = 2;
    match (transport, direction) {
        (Transport::Tcp, _) => (TCP, tcp(from_port, port, SYN, 0)),
        (Transport::Udp, _) => (UDP, udp(from_port, port, 0)),
        (Transport::Sctp, _) => (SCTP, sctp(from_port, port, 0)),
        (Transport::Other, Direction::Egress) => (253, vec![0; 8]),
        (Transport::Other, Direction::Ingress) => (254, vec![0; 8]),
    }
}

/// Packets, by what became of them.
#[derive(Default)]
struct Met {
    allowed: usize,
    denied: usize,
}

fn check(case: &Case, met: &RefCell<Met>) -> Result<(), TestCaseError> {
    let policy = Policy::new(&case.cluster);
    let (cluster, options) = (&policy.cluster, &policy.options);
    let is_subject = |index: &usize| {
        let pod = &cluster.workloads[*index];
        pod.kind == "Pod" && !pod.host_network && pod.node.as_deref() == Some("n1") && !pod.addresses.is_empty()
    };
    let subjects: Vec<usize> = (0..cluster.workloads.len()).filter(is_subject).collect();
    // One that rules are about, if there is one.
    let judged: Vec<usize> = subjects.iter().copied().filter(|index| policy.number(*index) != 0).collect();
    let of = if judged.is_empty() { &subjects } else { &judged };
    if of.is_empty() {
        return Ok(());
    }
    let subject = of[case.subject.index(of.len())];
    let node = Node::new(Settings { mode: mode::OBSERVE, flags: 0, connections: 8192 });
    policy.put(&node, 1, subject, mode::ENFORCE);
    node.datapath.set_rules_since(1);

    let (addresses, ports) = boundaries(cluster);
    let mut asked = Vec::new();
    for own in &cluster.workloads[subject].addresses {
        // An IPv4 address in the form of IPv6 is on no wire (RFC 4291, section 2.5.5.2).
        for peer in addresses.iter().filter(|peer| peer.to_canonical() == **peer && peer.is_ipv4() == own.is_ipv4()) {
            if cluster.workloads[subject].addresses.contains(peer) {
                continue;
            }
            for direction in Direction::BOTH {
                asked.push((*own, *peer, direction));
            }
        }
    }
    let each: Vec<(Transport, u16)> = Transport::ALL
        .into_iter()
        .flat_map(|transport| ports.iter().map(move |port| (transport, *port)))
        .filter(|(transport, port)| *port <= transport.last_port())
        .collect();
    let step = (asked.len() * each.len() / PACKETS).max(1);
    let first = case.subject.index(step);
    let mut number = 0;
    let mut source_port = 40_000;
    for (own, peer, direction) in asked {
        let (own_party, peer_party) = (Party::pod(subject, own), Party::Address(peer));
        let (from, to, source, destination) = match direction {
            Direction::Egress => (own, peer, own_party, peer_party),
            Direction::Ingress => (peer, own, peer_party, own_party),
        };
        let between = oracle::between(cluster, options, source, destination);
        for (transport, port) in &each {
            number += 1;
            if number % step != first {
                continue;
            }
            source_port += 1;
            let said = between.judge(*transport, *port);
            let expected = if direction == Direction::Egress { said.egress } else { said.ingress };
            let (protocol, payload) = opening(*transport, direction, source_port, *port);
            let hook = if direction == Direction::Egress { FROM_POD } else { TO_POD };
            let answer = node.run(hook, &framed(&ip(from, to, protocol, &payload)));
            let right = if expected == Verdict::Allowed { NEXT } else { SHOT };
            prop_assert_eq!(answer, right, "{} -> {} {} port {}: {:?}", from, to, transport, port, said);
            let mut met = met.borrow_mut();
            if expected == Verdict::Allowed { met.allowed += 1 } else { met.denied += 1 }
        }
    }
    Ok(())
}

#[test]
fn packets_of_random_clusters_are_answered_as_the_objects_say() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let met = RefCell::new(Met::default());
    let config = config(48);
    let cases = config.cases as usize;
    let result = TestRunner::new(config).run(&case(), |case| check(&case, &met));
    if let Err(error) = result {
        panic!("{error}");
    }
    let Met { allowed, denied } = met.into_inner();
    println!("{allowed} packets allowed, {denied} denied");
    // A generator that reaches only one of the two proves nothing.
    assert!(cases < 20 || allowed > cases * 100 && denied > cases * 50, "{allowed} allowed, {denied} denied");
}
