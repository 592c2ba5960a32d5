//! A full table: it never grows past its size, and makes room by what is worth least.

use std::collections::HashSet;

use chainkit_abi::{
    Counter, ObserverFilter, close, kind,
    state::{ESTABLISHED, SYN_SENT},
    tcp::{ACK, RST, SYN},
};
use chainkit_bpf::Settings;

use crate::{
    frame::{TCP, UDP, tcp, udp},
    node::{Ends, FROM_POD, NEXT, Node, TO_POD, drain, source},
};

const PLACES: u32 = 64;
const FLOOD: u16 = 1000;

fn small() -> Settings {
    Settings { connections: PLACES, ..Settings::default() }
}

fn establish(node: &Node, ends: Ends, port: u16) {
    node.run(FROM_POD, &ends.outgoing(TCP, &tcp(port, 80, SYN, 0)));
    node.run(TO_POD, &ends.incoming(TCP, &tcp(80, port, SYN | ACK, 0)));
    node.run(FROM_POD, &ends.outgoing(TCP, &tcp(port, 80, ACK, 0)));
}

fn half_open(node: &Node, ends: Ends, port: u16) {
    assert_eq!(node.run(TO_POD, &ends.incoming(TCP, &tcp(port, 80, SYN, 0))), NEXT);
}

fn value(counted: &[(Counter, u64)], wanted: Counter) -> u64 {
    counted.iter().find(|(counter, _)| *counter == wanted).map_or(0, |(_, value)| *value)
}

#[test]
fn a_flood_fills_the_table_to_its_size_and_no_further() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let mut node = Node::new(small());
    for family in [4, 6] {
        let ends = node.ends(family);
        let mut observer = node.observe(ObserverFilter::default());
        let evicted_before = node.datapath.table_state(node.slot).unwrap().evicted;
        node.counted();
        for port in 0..FLOOD {
            assert_eq!(node.run(FROM_POD, &ends.outgoing(UDP, &udp(port, 53, 0))), NEXT);
            if port % 50 == 0 {
                // The other family's table is another one.
                let held = node.connections().iter().filter(|found| found.local == ends.pod).count();
                assert_eq!(held as u32, PLACES.min(u32::from(port) + 1), "after {port}");
            }
        }
        let evicted = u64::from(FLOOD) - u64::from(PLACES);
        assert_eq!(
            node.counted(),
            [(Counter::NewConnections, u64::from(FLOOD)), (Counter::Evicted, evicted)],
            "each was remembered, for which others made room"
        );
        assert_eq!(node.datapath.table_state(node.slot).unwrap().evicted - evicted_before, evicted);

        // Each that is gone was told of with its counters.
        let events = drain(&mut observer);
        let left: HashSet<_> = node.connections().iter().map(|found| found.local_port).collect();
        let ended: Vec<_> = events.iter().filter(|event| event.kind == kind::CLOSE).collect();
        assert_eq!(ended.len() as u64, evicted);
        for event in ended {
            assert_eq!((event.reason, event.tx_packets, event.tx_bytes), (close::EVICTED, 1, ends.headers() + 8));
            assert_eq!(source(event), ends.pod);
            assert!(!left.contains(&event.source_port) || family == 6, "{} is still there", event.source_port);
        }
        assert_eq!(events.iter().filter(|event| event.kind == kind::FIRST).count(), usize::from(FLOOD));
    }
    assert_eq!(node.connections().len() as u32, 2 * PLACES);
}

#[test]
fn half_open_connections_make_room_before_established_ones() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let mut node = Node::new(small());
    for family in [4, 6] {
        let (ends, others) = (node.ends(family), node.ends(family));
        // Every second place is an established connection's, the others are half-open.
        for port in 0..PLACES as u16 {
            if port % 2 == 0 {
                establish(&node, ends, port);
            } else {
                half_open(&node, others, port);
            }
        }
        for port in 0..FLOOD {
            half_open(&node, others, 1000 + port);
        }
        let connections = node.connections();
        let kept = connections.iter().filter(|found| found.local == ends.pod);
        assert_eq!(kept.filter(|found| found.conn.state == ESTABLISHED).count() as u32, PLACES / 2);
        let flood = connections.iter().filter(|found| found.local == others.pod);
        assert_eq!(flood.filter(|found| found.conn.state == SYN_SENT).count() as u32, PLACES / 2);
        // They go on as if nothing had been.
        node.counted();
        node.run(TO_POD, &ends.incoming(TCP, &tcp(80, 0, ACK, 9)));
        assert_eq!(node.counted(), []);
        assert_eq!(node.connection(ends, TCP, 0, 80).unwrap().rx_packets, 2);
    }
}

#[test]
fn of_established_connections_the_longest_idle_makes_room() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(Settings { connections: 4, ..Settings::default() });
    for family in [4, 6] {
        let ends = node.ends(family);
        for port in [1, 2, 3, 4] {
            establish(&node, ends, port);
        }
        node.datapath.backdate(node.slot, 100).unwrap();
        // All but one say something.
        for port in [1, 2, 4] {
            node.run(FROM_POD, &ends.outgoing(TCP, &tcp(port, 80, ACK, 0)));
        }
        establish(&node, ends, 5);
        let mut left: Vec<_> =
            node.connections().iter().filter(|found| found.local == ends.pod).map(|found| found.local_port).collect();
        left.sort_unstable();
        assert_eq!(left, [1, 2, 4, 5]);
    }
}

#[test]
fn what_has_expired_makes_room_without_an_eviction() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let mut node = Node::new(small());
    for family in [4, 6] {
        let ends = node.ends(family);
        for port in 0..PLACES as u16 {
            node.run(FROM_POD, &ends.outgoing(UDP, &udp(port, 53, 0)));
        }
        node.datapath.backdate(node.slot, 31).unwrap();
        node.counted();
        for port in 1000..1000 + PLACES as u16 {
            node.run(FROM_POD, &ends.outgoing(UDP, &udp(port, 53, 0)));
        }
        let counted = node.counted();
        assert_eq!(value(&counted, Counter::Evicted), 0);
        assert_eq!(value(&counted, Counter::Expired), u64::from(PLACES));
        let held: HashSet<_> =
            node.connections().iter().filter(|found| found.local == ends.pod).map(|found| found.local_port).collect();
        assert_eq!(held, (1000..1000 + PLACES as u16).collect());
    }
}

#[test]
fn what_is_closed_makes_room_before_what_is_half_open() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(Settings { connections: 4, ..Settings::default() });
    for family in [4, 6] {
        let ends = node.ends(family);
        for port in [1, 2, 3, 4] {
            half_open(&node, ends, port);
        }
        node.run(FROM_POD, &ends.outgoing(TCP, &tcp(80, 3, RST | ACK, 0)));
        half_open(&node, ends, 5);
        let mut left: Vec<_> =
            node.connections().iter().filter(|found| found.local == ends.pod).map(|found| found.remote_port).collect();
        left.sort_unstable();
        assert_eq!(left, [1, 2, 4, 5]);
    }
}

#[test]
fn remembered_fragments_take_places_as_connections_do() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let mut node = Node::new(small());
    let ends = node.ends(4);
    for id in 0..FLOOD {
        let mut first = ends.outgoing(UDP, &udp(7, 9, 0));
        // Identification, and more fragments to come.
        first[18..20].copy_from_slice(&id.to_be_bytes());
        first[20] = 0x20;
        assert_eq!(node.run(FROM_POD, &first), NEXT);
    }
    let counted = node.counted();
    assert_eq!(value(&counted, Counter::InsertFailed), 0);
    // The connection that they belong to is worth more than any of them.
    assert_eq!(value(&counted, Counter::NewConnections), 1);
    assert_eq!(node.connection(ends, UDP, 7, 9).unwrap().tx_packets, u64::from(FLOOD));
    assert!(value(&counted, Counter::Evicted) >= u64::from(FLOOD) - u64::from(PLACES));
}
