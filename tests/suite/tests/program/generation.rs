//! A change of policy: live connections are judged once more, in the direction they were opened in.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use chainkit_abi::{
    Active, Counter, Event, ObserverFilter, close,
    flag::{ISOLATED_EGRESS, ISOLATED_INGRESS},
    kind, mode, verdict,
};
use chainkit_bpf::Observer;

use crate::{
    frame::{UDP, icmp, ip, udp},
    node::{Ends, FROM_POD, NEXT, Node, SHOT, TO_POD, drain, judging, observing},
};

/// What a generation that nobody need confirm looks like.
fn confirmed(generation: u32) -> Active {
    Active { generation, deadline: 0 }
}

fn told(observer: &mut Observer) -> Vec<(u8, u8, u8)> {
    drain(observer).iter().map(|Event { kind, reason, verdict, .. }| (*kind, *reason, *verdict)).collect()
}

/// A packet of the conversation that the pod has with port 53, and one back.
fn there(ends: Ends) -> Vec<u8> {
    ends.outgoing(UDP, &udp(40000, 53, 0))
}

fn back(ends: Ends) -> Vec<u8> {
    ends.incoming(UDP, &udp(53, 40000, 0))
}

#[test]
fn a_tightened_policy_ends_what_it_denies_in_both_directions() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let mut node = Node::new(observing());
    let mut observer = node.observe(ObserverFilter::default());
    for (number, family) in (1..).zip([4, 6]) {
        node.set(observing());
        let (by_pod, by_peer) = (node.ends(family), node.ends(family));
        node.run(FROM_POD, &there(by_pod));
        node.run(TO_POD, &back(by_pod));
        node.run(TO_POD, &back(by_peer));
        node.run(FROM_POD, &there(by_peer));
        node.counted();
        drain(&mut observer);

        node.set(judging(mode::ENFORCE, ISOLATED_EGRESS));
        node.datapath.set_active(confirmed(number), 0);
        // A packet to the pod, yet of a connection that the pod opened: egress decides.
        assert_eq!(node.run(TO_POD, &back(by_pod)), SHOT);
        assert_eq!(node.counted(), [(Counter::Dropped, 1)]);
        assert_eq!(
            told(&mut observer),
            [(kind::CLOSE, close::REMOVED, verdict::FORWARDED), (kind::DENIED, 1, verdict::DROPPED)]
        );
        assert_eq!(node.connection(by_pod, UDP, 40000, 53), None);
        // Another of the pod's is a new one, and denied as such; one to the pod would open one of its own.
        assert_eq!(node.run(FROM_POD, &there(by_pod)), SHOT);
        // A packet from the pod, yet of a connection that the peer opened: ingress decides.
        assert_eq!(node.run(FROM_POD, &there(by_peer)), NEXT);
        let conn = node.connection(by_peer, UDP, 40000, 53).unwrap();
        assert_eq!((conn.generation, conn.tx_packets, conn.rx_packets), (number, 2, 1));
    }
}

#[test]
fn the_mirror_of_it_for_ingress() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    for (number, family) in (1..).zip([4, 6]) {
        node.set(observing());
        let (by_pod, by_peer) = (node.ends(family), node.ends(family));
        node.run(FROM_POD, &there(by_pod));
        node.run(TO_POD, &back(by_peer));
        node.set(judging(mode::ENFORCE, ISOLATED_INGRESS));
        node.datapath.set_active(confirmed(number), 0);
        assert_eq!(node.run(FROM_POD, &there(by_peer)), SHOT);
        assert_eq!(node.connection(by_peer, UDP, 40000, 53), None);
        assert_eq!(node.run(TO_POD, &back(by_pod)), NEXT);
        assert_eq!(node.connection(by_pod, UDP, 40000, 53).unwrap().generation, number);
    }
}

#[test]
fn errors_about_a_connection_that_the_new_policy_denies_do_not_pass() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    for (number, family) in (1..).zip([4, 6]) {
        node.set(observing());
        let (by_pod, by_peer) = (node.ends(family), node.ends(family));
        node.run(FROM_POD, &there(by_pod));
        node.run(TO_POD, &back(by_peer));
        node.set(judging(mode::ENFORCE, ISOLATED_EGRESS | ISOLATED_INGRESS));
        let unreachable = if family == 4 { 3 } else { 1 };
        let error = |ends: Ends| {
            let about = ip(ends.pod, ends.peer, UDP, &udp(40000, 53, 0));
            ends.incoming(ends.icmp(), &icmp(unreachable, 0, [0; 4], &about))
        };
        assert_eq!(node.run(TO_POD, &error(by_pod)), NEXT, "nothing has changed yet");
        node.datapath.set_active(confirmed(number), 0);
        assert_eq!(node.run(TO_POD, &error(by_pod)), SHOT);
        // Allowed again, it passes, although no packet of the connection came in between.
        node.set(judging(mode::ENFORCE, ISOLATED_INGRESS));
        assert_eq!(node.run(TO_POD, &error(by_pod)), NEXT);
        assert_eq!(node.run(TO_POD, &error(by_peer)), SHOT);
    }
}

#[test]
fn without_a_new_generation_live_connections_are_left_alone() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let ends = node.ends(4);
    node.run(FROM_POD, &there(ends));
    node.set(judging(mode::ENFORCE, ISOLATED_EGRESS | ISOLATED_INGRESS));
    assert_eq!(node.run(FROM_POD, &there(ends)), NEXT);
    assert_eq!(node.run(TO_POD, &back(ends)), NEXT);
    let conn = node.connection(ends, UDP, 40000, 53).unwrap();
    assert_eq!((conn.tx_packets, conn.rx_packets, conn.generation), (2, 1, 0));
}

#[test]
fn a_changed_verdict_is_told_and_stays_with_the_connection() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let mut node = Node::new(observing());
    let mut observer = node.observe(ObserverFilter::default());
    for family in [4, 6] {
        let ends = node.ends(family);
        node.set(observing());
        node.datapath.set_active(confirmed(1), 0);
        node.run(FROM_POD, &there(ends));
        node.run(TO_POD, &back(ends));
        drain(&mut observer);
        node.counted();
        // It would be denied now.
        node.set(judging(mode::AUDIT, ISOLATED_EGRESS));
        node.datapath.set_active(confirmed(2), 0);
        assert_eq!(node.run(TO_POD, &back(ends)), NEXT);
        assert_eq!(told(&mut observer), [(kind::VERDICT, 0, verdict::AUDIT)]);
        assert_eq!(node.counted(), [(Counter::Audited, 1)]);
        let conn = node.connection(ends, UDP, 40000, 53).unwrap();
        assert_eq!((conn.verdict, conn.generation, conn.rx_packets), (verdict::AUDIT, 2, 2));
        // Judged once, not for each packet.
        assert_eq!(node.run(TO_POD, &back(ends)), NEXT);
        assert_eq!((told(&mut observer), node.counted()), (vec![], vec![]));
        // The same answer under the next generation is nothing to tell.
        node.datapath.set_active(confirmed(3), 0);
        assert_eq!(node.run(FROM_POD, &there(ends)), NEXT);
        assert_eq!(told(&mut observer), []);
        assert_eq!(node.connection(ends, UDP, 40000, 53).unwrap().generation, 3);
        // A loosened policy needs no flush.
        node.set(judging(mode::AUDIT, 0));
        node.datapath.set_active(confirmed(4), 0);
        assert_eq!(node.run(FROM_POD, &there(ends)), NEXT);
        assert_eq!(told(&mut observer), [(kind::VERDICT, 0, verdict::FORWARDED)]);
        assert_eq!(node.connection(ends, UDP, 40000, 53).unwrap().tx_packets, 3);
    }
}

#[test]
fn new_connections_and_their_events_bear_the_generation_that_judged() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let mut observer = node.observe(ObserverFilter::default());
    node.datapath.set_active(confirmed(65535), 0);
    for family in [4, 6] {
        let ends = node.ends(family);
        node.run(FROM_POD, &there(ends));
        assert_eq!(node.connection(ends, UDP, 40000, 53).unwrap().generation, 65535);
        assert_eq!(drain(&mut observer)[0].generation, 65535);
    }
}

#[test]
fn past_its_deadline_an_unconfirmed_generation_gives_way_to_the_one_before() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let now = u32::try_from(chainkit_bpf::monotonic() / 1_000_000_000).unwrap();
    for family in [4, 6] {
        let ends = node.ends(family);
        let generation = |node: &Node| node.connection(ends, UDP, 40000, 53).unwrap().generation;
        node.datapath.set_active(Active { generation: 8, deadline: now + 600 }, 7);
        node.run(FROM_POD, &there(ends));
        assert_eq!(generation(&node), 8, "there is time yet");
        node.datapath.set_active(Active { generation: 8, deadline: now - 1 }, 7);
        node.run(FROM_POD, &there(ends));
        assert_eq!(generation(&node), 7, "nobody confirmed it in time");
        node.datapath.set_active(confirmed(8), 0);
        node.run(FROM_POD, &there(ends));
        assert_eq!(generation(&node), 8, "confirmed after all");
    }
}

#[test]
fn there_is_no_moment_without_policy_while_one_that_nobody_confirmed_is_tidied_up() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let past = u32::try_from(chainkit_bpf::monotonic() / 1_000_000_000).unwrap() - 1;
    let over = AtomicBool::new(false);
    node.datapath.set_active(Active { generation: 8, deadline: past }, 7);
    thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !over.load(Ordering::Acquire) {
                seen.insert(node.datapath.judging());
            }
            seen
        });
        for _ in 0..200_000 {
            node.datapath.set_active(confirmed(7), 0);
            node.datapath.set_active(Active { generation: 8, deadline: past }, 7);
        }
        over.store(true, Ordering::Release);
        assert_eq!(watching.join().unwrap(), BTreeSet::from([7]));
    });
}
