//! Counters of an endpoint: each packet is in just one of them, whatever has become of its connection.

use chainkit_abi::{
    Active, Counter,
    flag::{ISOLATED_EGRESS, ISOLATED_INGRESS},
    mode,
    tcp::{ACK, RST, SYN},
};
use chainkit_bpf::{NodeLock, Program, Settings, TestContext, Totals, Traffic};

use crate::{
    frame::{TCP, UDP, ethernet, tcp, udp},
    node::{Ends, FROM_POD, IFINDEX, NEXT, Node, SHOT, TO_POD, judging, observing},
};

const PLACES: u32 = 16;

fn totals(node: &Node) -> Totals {
    node.datapath.totals(node.slot).unwrap()
}

/// What was sent so far, added up by the test.
#[derive(Default)]
struct Sent {
    from_pod: Traffic,
    to_pod: Traffic,
}

impl Sent {
    fn run(&mut self, node: &Node, program: Program, frame: &[u8]) {
        assert_eq!(node.run(program, frame), NEXT);
        let sum = if program == FROM_POD { &mut self.from_pod } else { &mut self.to_pod };
        sum.packets += 1;
        sum.bytes += frame.len() as u64;
    }

    fn assert_is(&self, totals: Totals) {
        assert_eq!((totals.from_pod, totals.to_pod), (self.from_pod, self.to_pod));
    }
}

#[test]
fn what_ended_connections_counted_stays_in_the_totals() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    assert_eq!(totals(&node), Totals::default());
    let mut sent = Sent::default();
    for family in [4, 6] {
        let ends = node.ends(family);
        for port in 0..20 {
            sent.run(&node, FROM_POD, &ends.outgoing(UDP, &udp(port, 53, 100)));
            sent.run(&node, TO_POD, &ends.incoming(UDP, &udp(53, port, 1000)));
        }
        sent.run(&node, FROM_POD, &ends.outgoing(TCP, &tcp(1, 80, SYN, 0)));
        sent.run(&node, TO_POD, &ends.incoming(TCP, &tcp(80, 1, RST | ACK, 0)));
    }
    sent.assert_is(totals(&node));
    assert_eq!(totals(&node).connections, 42);
    // Expired, and not swept yet; then swept.
    node.datapath.backdate(node.slot, 1000).unwrap();
    sent.assert_is(totals(&node));
    assert_eq!(totals(&node).connections, 0);
    assert_eq!(node.sweep(), 42);
    assert_eq!(node.connections(), []);
    sent.assert_is(totals(&node));
    // One that expires as a packet meets it, and one that is opened anew.
    let ends = node.ends(4);
    sent.run(&node, FROM_POD, &ends.outgoing(UDP, &udp(1, 53, 0)));
    node.datapath.backdate(node.slot, 1000).unwrap();
    sent.run(&node, FROM_POD, &ends.outgoing(UDP, &udp(1, 53, 0)));
    for flags in [SYN, RST, SYN] {
        sent.run(&node, FROM_POD, &ends.outgoing(TCP, &tcp(9, 80, flags, 0)));
    }
    sent.assert_is(totals(&node));
    assert_eq!(totals(&node).connections, 2);
}

#[test]
fn evicted_connections_are_counted_and_lose_no_packet() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(Settings { connections: PLACES, ..Settings::default() });
    let mut sent = Sent::default();
    for family in [4, 6] {
        let ends = node.ends(family);
        for port in 0..500 {
            sent.run(&node, FROM_POD, &ends.outgoing(UDP, &udp(port, 53, 10)));
        }
    }
    let totals = totals(&node);
    sent.assert_is(totals);
    assert_eq!(totals.connections, 2 * u64::from(PLACES));
    assert_eq!(totals.evicted, 2 * (500 - u64::from(PLACES)));
    assert_eq!((totals.dropped, totals.others, totals.failed), (0, 0, 0));
}

#[test]
fn what_makes_no_entry_is_in_a_counter_of_its_own() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let mut node = Node::new(judging(mode::ENFORCE, ISOLATED_INGRESS));
    let ends = node.ends(4);
    // ARP, and what is neither IP nor ARP.
    assert_eq!(node.run(FROM_POD, &ethernet(0x0806, &[0; 28])), NEXT);
    assert_eq!(node.run(FROM_POD, &ethernet(0x88b5, &[0; 28])), NEXT);
    assert_eq!((totals(&node).others, totals(&node).dropped), (2, 0));
    // To the isolated pod: denied, unreadable, and a super-packet that is denied.
    assert_eq!(node.run(TO_POD, &ends.incoming(UDP, &udp(1, 2, 0))), SHOT);
    assert_eq!(node.run(TO_POD, &ethernet(0x88b5, &[0; 28])), SHOT);
    let context = TestContext { gso_segs: 5, gso_size: 100, ..TestContext::default() };
    assert_eq!(node.run_in(TO_POD, &ends.incoming(TCP, &tcp(1, 2, SYN, 500)), context), SHOT);
    assert_eq!((totals(&node).others, totals(&node).dropped), (2, 7));
    assert_eq!((totals(&node).from_pod, totals(&node).to_pod), (Traffic::default(), Traffic::default()));
    assert_eq!(node.counted().iter().find(|(counter, _)| *counter == Counter::Dropped).unwrap().1, 7);
    // A connection that a tightened policy ends: what it had counted stays.
    assert_eq!(node.run(FROM_POD, &ends.outgoing(UDP, &udp(7, 8, 0))), NEXT);
    node.set(judging(mode::ENFORCE, ISOLATED_INGRESS | ISOLATED_EGRESS));
    node.datapath.set_active(Active { generation: 1, ..Active::default() }, 0);
    assert_eq!(node.run(FROM_POD, &ends.outgoing(UDP, &udp(7, 8, 0))), SHOT);
    let totals = totals(&node);
    assert_eq!((totals.connections, totals.from_pod.packets, totals.dropped), (0, 1, 8));
}

#[test]
fn the_next_endpoint_finds_tables_without_a_trace_of_the_one_before() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let mut node = Node::new(Settings { connections: PLACES, ..Settings::default() });
    let slot = node.slot;
    for family in [4, 6] {
        let ends = node.ends(family);
        for port in 0..100 {
            node.run(FROM_POD, &ends.outgoing(UDP, &udp(port, 53, 10)));
        }
    }
    let lock = NodeLock::take(node.root()).unwrap();
    node.datapath.remove_endpoint(&lock, IFINDEX).unwrap();
    assert_eq!(node.connections(), []);
    assert!(node.datapath.remembered(slot).unwrap().is_empty(), "keys of the pod that is gone");
    node.slot =
        node.datapath.add_endpoint(&lock, IFINDEX, Settings { connections: PLACES, ..Settings::default() }).unwrap();
    assert_eq!(node.slot, slot, "its tables are kept for the next");
    assert_eq!(totals(&node), Totals::default());
    drop(lock);
    // And they are as good as new: full again, and no further.
    let ends: Ends = node.ends(4);
    for port in 0..100 {
        node.run(FROM_POD, &ends.outgoing(UDP, &udp(port, 53, 10)));
    }
    assert_eq!((totals(&node).connections, totals(&node).from_pod.packets), (u64::from(PLACES), 100));
}

#[test]
fn a_reader_misses_and_doubles_nothing_while_connections_end() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(Settings { connections: PLACES, ..Settings::default() });
    let ends = node.ends(4);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            for port in 0..3000_u16 {
                node.run(FROM_POD, &ends.outgoing(UDP, &udp(port, 53, 10)));
                if port % 50 == 0 {
                    // Readings need a pause to be exact.
                    std::thread::sleep(std::time::Duration::from_millis(2));
                }
            }
        });
        let mut last = 0;
        while !sender.is_finished() {
            let now = totals(&node).from_pod.packets;
            assert!(now <= 3000, "{now} of 3000 packets");
            last = last.max(now);
        }
        assert!(last > 0);
    });
    assert_eq!(totals(&node).from_pod.packets, 3000);
}
