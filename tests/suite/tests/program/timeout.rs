//! Idle connections: past its timeout an entry counts as absent, whether or not anybody sweeps.

use chainkit_abi::{
    Counter, ObserverFilter, close, hook, kind, mode, opened, reply,
    state::{CLOSED, CLOSING, ESTABLISHED, REPLIED, SYN_RECEIVED, SYN_SENT, UNREPLIED},
    tcp::{ACK, FIN, RST, SYN},
};
use chainkit_bpf::Program;

use crate::{
    frame::{SCTP, TCP, UDP, echo, icmp, ip, sctp, tcp, udp},
    node::{Ends, FROM_POD, NEXT, Node, SHOT, TO_POD, drain, judging, observing, source},
};

/// Packets that bring a connection into some state, and what then holds for it.
struct Case {
    name: &'static str,
    protocol: u8,
    ports: (u16, u16),
    packets: Vec<(Program, Vec<u8>)>,
    state: u8,
    /// Seconds of silence that it outlives.
    timeout: u32,
}

fn segments(ends: Ends, flags: &[(Program, u16)]) -> Vec<(Program, Vec<u8>)> {
    let frame = |(program, flags): &(Program, u16)| match *program {
        FROM_POD => (FROM_POD, ends.outgoing(TCP, &tcp(40000, 80, *flags, 0))),
        other => (other, ends.incoming(TCP, &tcp(80, 40000, *flags, 0))),
    };
    flags.iter().map(frame).collect()
}

fn cases(ends: Ends) -> Vec<Case> {
    let tcp = |name, flags: &[(Program, u16)], state, timeout| Case {
        name,
        protocol: TCP,
        ports: (40000, 80),
        packets: segments(ends, flags),
        state,
        timeout,
    };
    let other = |name, protocol, ports, packets: [Option<(Program, Vec<u8>)>; 2], state, timeout| Case {
        name,
        protocol,
        ports,
        packets: packets.into_iter().flatten().collect(),
        state,
        timeout,
    };
    let there = |protocol, payload: Vec<u8>| Some((FROM_POD, ends.outgoing(protocol, &payload)));
    let back = |protocol, payload: Vec<u8>| Some((TO_POD, ends.incoming(protocol, &payload)));
    let (request, answer) = if ends.family() == 4 { (8, 0) } else { (128, 129) };
    let handshake = [(FROM_POD, SYN), (TO_POD, SYN | ACK), (FROM_POD, ACK)];
    let half_closed = [&handshake[..], &[(FROM_POD, FIN | ACK)]].concat();
    let closed = [&half_closed[..], &[(TO_POD, FIN | ACK)]].concat();
    let ping = ends.icmp();
    vec![
        tcp("a SYN", &handshake[..1], SYN_SENT, 60),
        tcp("SYN and SYN-ACK", &handshake[..2], SYN_RECEIVED, 60),
        tcp("a handshake", &handshake, ESTABLISHED, 8000),
        tcp("one FIN", &half_closed, CLOSING, 120),
        tcp("both FINs", &closed, CLOSED, 10),
        tcp("a reset", &[(FROM_POD, SYN), (TO_POD, RST | ACK)], CLOSED, 10),
        other("a UDP request", UDP, (40000, 53), [there(UDP, udp(40000, 53, 0)), None], UNREPLIED, 30),
        other(
            "a UDP request and its reply",
            UDP,
            (40000, 53),
            [there(UDP, udp(40000, 53, 0)), back(UDP, udp(53, 40000, 0))],
            REPLIED,
            120,
        ),
        other("an SCTP packet", SCTP, (1, 2), [there(SCTP, sctp(1, 2, 0)), None], UNREPLIED, 30),
        other("SCTP both ways", SCTP, (1, 2), [there(SCTP, sctp(1, 2, 0)), back(SCTP, sctp(2, 1, 0))], REPLIED, 8000),
        other("a ping", ping, (5, 0), [there(ping, echo(request, 5, 0)), None], UNREPLIED, 30),
        other(
            "a ping and its reply",
            ping,
            (5, 0),
            [there(ping, echo(request, 5, 0)), back(ping, echo(answer, 5, 0))],
            REPLIED,
            30,
        ),
        other("GRE both ways", 47, (0, 0), [there(47, vec![0; 4]), back(47, vec![0; 4])], REPLIED, 30),
    ]
}

#[test]
fn each_state_has_its_time() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let mut node = Node::new(observing());
    for family in [4, 6] {
        for number in 0..cases(node.ends(family)).len() {
            let ends = node.ends(family);
            let case = cases(ends).swap_remove(number);
            let place = format!("{} over IPv{family}", case.name);
            let conn = |node: &Node| node.connection(ends, case.protocol, case.ports.0, case.ports.1).unwrap();
            for (program, frame) in &case.packets {
                node.run(*program, frame);
            }
            assert_eq!(conn(&node).state, case.state, "state after {place}");
            let total = |node: &Node| conn(node).tx_packets + conn(node).rx_packets;
            // The last packet again, which opens nothing where it meets the entry and changes no state.
            let (program, frame) = case.packets.last().unwrap();
            node.counted();
            node.datapath.backdate(node.slot, case.timeout - 4).unwrap();
            node.run(*program, frame);
            assert_eq!(node.counted(), [], "{place}, {} s ago", case.timeout - 4);
            assert_eq!(total(&node), case.packets.len() as u64 + 1, "{place}");
            node.datapath.backdate(node.slot, case.timeout + 1).unwrap();
            node.run(*program, frame);
            let counted = node.counted();
            assert_eq!(counted, [(Counter::NewConnections, 1), (Counter::Expired, 1)], "{place}");
            assert_eq!(total(&node), 1, "{place}, {} s ago", case.timeout + 1);
        }
    }
}

#[test]
fn a_packet_that_meets_an_expired_entry_tells_its_end_and_opens_another() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let mut observer = node.observe(ObserverFilter::default());
    for family in [4, 6] {
        let ends = node.ends(family);
        let bytes = ends.headers() + 8;
        node.run(TO_POD, &ends.incoming(UDP, &udp(50000, 53, 0)));
        node.run(TO_POD, &ends.incoming(UDP, &udp(50000, 53, 5)));
        drain(&mut observer);
        node.datapath.backdate(node.slot, 31).unwrap();
        // The other side opens this time.
        node.run(FROM_POD, &ends.outgoing(UDP, &udp(53, 50000, 0)));
        let events = drain(&mut observer);
        let told: Vec<_> = events.iter().map(|event| (event.kind, event.reason, event.hook)).collect();
        assert_eq!(told, [(kind::CLOSE, close::EXPIRED, hook::SWEEP), (kind::FIRST, 0, hook::FROM_POD)]);
        assert_eq!((events[0].rx_packets, events[0].rx_bytes, events[0].tx_packets), (2, 2 * bytes + 5, 0));
        assert_eq!((source(&events[0]), events[0].reply), (ends.peer, reply::NO), "its source is who opened it");
        assert_eq!((events[1].tx_packets, events[1].tx_bytes, events[1].rx_packets), (1, bytes, 0));
        assert_eq!(events[1].opened, opened::BY_POD);
    }
}

#[test]
fn an_expired_entry_lets_no_reply_through() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let mut node = Node::new(judging(mode::ENFORCE, chainkit_abi::flag::ISOLATED_INGRESS));
    for family in [4, 6] {
        let ends = node.ends(family);
        let (there, back) = (ends.outgoing(UDP, &udp(40000, 53, 0)), ends.incoming(UDP, &udp(53, 40000, 0)));
        let unreachable = if family == 4 { 3 } else { 1 };
        let about = ip(ends.pod, ends.peer, UDP, &udp(40000, 53, 0));
        let error = ends.incoming(ends.icmp(), &icmp(unreachable, 3, [0; 4], &about));
        assert_eq!(node.run(FROM_POD, &there), NEXT);
        assert_eq!((node.run(TO_POD, &back), node.run(TO_POD, &error)), (NEXT, NEXT));
        node.datapath.backdate(node.slot, 121).unwrap();
        node.counted();
        assert_eq!(node.run(TO_POD, &error), SHOT, "an error about a connection that is over");
        assert_eq!(node.run(TO_POD, &back), SHOT, "a reply of a connection that is over");
        assert_eq!(node.counted(), [(Counter::Dropped, 2), (Counter::Expired, 1)]);
    }
}

#[test]
fn a_sweep_takes_out_what_has_expired_and_nothing_else() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let mut node = Node::new(observing());
    let mut observer = node.observe(ObserverFilter::default());
    let old: Vec<_> = [4, 6, 4, 6].map(|family| node.ends(family)).into();
    for ends in &old {
        node.run(FROM_POD, &ends.outgoing(UDP, &udp(1, 2, 0)));
    }
    node.datapath.backdate(node.slot, 31).unwrap();
    let fresh = [node.ends(4), node.ends(6)];
    for ends in fresh {
        node.run(FROM_POD, &ends.outgoing(UDP, &udp(1, 2, 0)));
    }
    drain(&mut observer);
    node.counted();
    assert_eq!(node.sweep(), 4);
    assert_eq!(node.counted(), [(Counter::Expired, 4)]);
    let mut left: Vec<_> = node.connections().iter().map(|found| found.local).collect();
    left.sort_unstable();
    assert_eq!(left, fresh.map(|ends| ends.pod));
    let events = drain(&mut observer);
    let mut gone: Vec<_> = events.iter().map(source).collect();
    gone.sort_unstable();
    let mut expected: Vec<_> = old.iter().map(|ends| ends.pod).collect();
    expected.sort_unstable();
    assert_eq!(gone, expected);
    assert!(events.iter().all(|event| (event.kind, event.reason) == (kind::CLOSE, close::EXPIRED)), "{events:?}");
    assert_eq!(node.sweep(), 0);
}

#[test]
fn a_closed_connection_that_nobody_told_of_is_told_as_closed_when_it_is_swept() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let mut observer = node.observe(ObserverFilter::default());
    for family in [4, 6] {
        let ends = node.ends(family);
        let flags = [(FROM_POD, SYN), (TO_POD, SYN | ACK), (FROM_POD, ACK), (TO_POD, FIN | ACK), (FROM_POD, FIN | ACK)];
        for (program, frame) in segments(ends, &flags) {
            node.run(program, &frame);
        }
        drain(&mut observer);
        node.datapath.backdate(node.slot, 11).unwrap();
        assert_eq!(node.sweep(), 1);
        let told: Vec<_> = drain(&mut observer).iter().map(|event| (event.kind, event.reason, event.state)).collect();
        assert_eq!(told, [(kind::CLOSE, close::FIN, CLOSED)]);
        // One that was told of at its end is not told of again.
        let reset = node.ends(family);
        for (program, frame) in segments(reset, &[(FROM_POD, SYN), (TO_POD, RST)]) {
            node.run(program, &frame);
        }
        drain(&mut observer);
        node.datapath.backdate(node.slot, 11).unwrap();
        assert_eq!(node.sweep(), 1);
        assert_eq!(drain(&mut observer), []);
    }
}

#[test]
fn an_active_connection_is_told_of_every_five_seconds() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let mut observer = node.observe(ObserverFilter::default());
    for family in [4, 6] {
        let ends = node.ends(family);
        let frame = ends.outgoing(UDP, &udp(1, 2, 0));
        node.run(FROM_POD, &frame);
        drain(&mut observer);
        node.run(FROM_POD, &frame);
        node.datapath.backdate(node.slot, 3).unwrap();
        node.run(FROM_POD, &frame);
        assert_eq!(drain(&mut observer), [], "three seconds");
        node.datapath.backdate(node.slot, 3).unwrap();
        node.run(FROM_POD, &frame);
        node.run(FROM_POD, &frame);
        let told: Vec<_> = drain(&mut observer).iter().map(|event| (event.kind, event.tx_packets)).collect();
        assert_eq!(told, [(kind::ACTIVE, 4)], "six seconds");
    }
}
