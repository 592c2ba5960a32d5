//! TCP, from the handshake to what comes after the close.

use chainkit_abi::{
    Counter, close, kind, reply,
    state::{CLOSED, CLOSING, ESTABLISHED, SYN_RECEIVED, SYN_SENT},
    tcp::{ACK, CWR, ECE, FIN, NS, PSH, RST, SYN, URG},
};

use crate::{
    frame::{TCP, tcp},
    node::{Ends, FROM_POD, Node, TO_POD, drain, observing, per_packet, source},
    step::converse,
};

#[test]
fn a_connection_that_the_pod_opens_and_closes() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let conn = ends.entry(TCP, 40000, 80).by_pod();
        // A segment without payload; options make no difference to what is tested here.
        let s = ends.headers() + 20;
        vec![
            ends.sends(TCP, &tcp(40000, 80, SYN, 0)).opens(conn.state(SYN_SENT).tx(1, s)),
            ends.gets(TCP, &tcp(80, 40000, SYN | ACK, 0)).replies(conn.state(SYN_RECEIVED).tx(1, s).rx(1, s)),
            ends.sends(TCP, &tcp(40000, 80, ACK, 0)).flags(conn.state(ESTABLISHED).tx(2, 2 * s).rx(1, s)),
            ends.sends(TCP, &tcp(40000, 80, PSH | ACK, 100)).flags(conn.state(ESTABLISHED).tx(3, 3 * s + 100).rx(1, s)),
            ends.gets(TCP, &tcp(80, 40000, PSH | ACK, 1000))
                .flags(conn.state(ESTABLISHED).tx(3, 3 * s + 100).rx(2, 2 * s + 1000)),
            ends.sends(TCP, &tcp(40000, 80, ACK, 0))
                .goes_on(conn.state(ESTABLISHED).tx(4, 4 * s + 100).rx(2, 2 * s + 1000)),
            ends.gets(TCP, &tcp(80, 40000, ACK, 500))
                .goes_on(conn.state(ESTABLISHED).tx(4, 4 * s + 100).rx(3, 3 * s + 1500)),
            ends.sends(TCP, &tcp(40000, 80, FIN | ACK, 0))
                .flags(conn.state(CLOSING).tx(5, 5 * s + 100).rx(3, 3 * s + 1500)),
            ends.gets(TCP, &tcp(80, 40000, FIN | ACK, 0))
                .flags(conn.state(CLOSED).tx(5, 5 * s + 100).rx(4, 4 * s + 1500)),
            ends.sends(TCP, &tcp(40000, 80, ACK, 0))
                .closes(close::FIN, conn.state(CLOSED).tx(6, 6 * s + 100).rx(4, 4 * s + 1500)),
            // A straggler is counted, and the end is not told twice.
            ends.gets(TCP, &tcp(80, 40000, FIN | ACK, 0))
                .goes_on(conn.state(CLOSED).tx(6, 6 * s + 100).rx(5, 5 * s + 1500)),
        ]
    });
}

#[test]
fn a_connection_that_the_peer_opens_and_closes_halfway_first() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let conn = ends.entry(TCP, 80, 50000).by_peer();
        let s = ends.headers() + 20;
        vec![
            ends.gets(TCP, &tcp(50000, 80, SYN, 0)).opens(conn.state(SYN_SENT).rx(1, s)),
            ends.sends(TCP, &tcp(80, 50000, SYN | ACK, 0)).replies(conn.state(SYN_RECEIVED).tx(1, s).rx(1, s)),
            ends.gets(TCP, &tcp(50000, 80, ACK, 0)).flags(conn.state(ESTABLISHED).tx(1, s).rx(2, 2 * s)),
            ends.gets(TCP, &tcp(50000, 80, FIN | ACK, 10)).flags(conn.state(CLOSING).tx(1, s).rx(3, 3 * s + 10)),
            // The pod goes on sending.
            ends.sends(TCP, &tcp(80, 50000, ACK, 700))
                .goes_on(conn.state(CLOSING).tx(2, 2 * s + 700).rx(3, 3 * s + 10)),
            ends.gets(TCP, &tcp(50000, 80, ACK, 0)).goes_on(conn.state(CLOSING).tx(2, 2 * s + 700).rx(4, 4 * s + 10)),
            ends.sends(TCP, &tcp(80, 50000, FIN | ACK, 0))
                .flags(conn.state(CLOSED).tx(3, 3 * s + 700).rx(4, 4 * s + 10)),
            ends.gets(TCP, &tcp(50000, 80, ACK, 0))
                .closes(close::FIN, conn.state(CLOSED).tx(3, 3 * s + 700).rx(5, 5 * s + 10)),
        ]
    });
}

#[test]
fn a_refused_connection_is_over_with_the_reset() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let conn = ends.entry(TCP, 40001, 81).by_pod();
        let s = ends.headers() + 20;
        vec![
            ends.sends(TCP, &tcp(40001, 81, SYN, 0)).opens(conn.state(SYN_SENT).tx(1, s)),
            ends.gets(TCP, &tcp(81, 40001, RST | ACK, 0)).closes(close::RST, conn.state(CLOSED).tx(1, s).rx(1, s)),
            // Nothing but a SYN brings it back to life.
            ends.sends(TCP, &tcp(40001, 81, ACK, 0)).flags(conn.state(CLOSED).tx(2, 2 * s).rx(1, s)),
        ]
    });
}

#[test]
fn a_reset_ends_an_established_connection() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let conn = ends.entry(TCP, 80, 50001).by_peer();
        let s = ends.headers() + 20;
        vec![
            ends.gets(TCP, &tcp(50001, 80, SYN, 0)).opens(conn.state(SYN_SENT).rx(1, s)),
            ends.sends(TCP, &tcp(80, 50001, SYN | ACK, 0)).replies(conn.state(SYN_RECEIVED).tx(1, s).rx(1, s)),
            ends.gets(TCP, &tcp(50001, 80, ACK, 0)).flags(conn.state(ESTABLISHED).tx(1, s).rx(2, 2 * s)),
            ends.sends(TCP, &tcp(80, 50001, RST, 0)).closes(close::RST, conn.state(CLOSED).tx(2, 2 * s).rx(2, 2 * s)),
        ]
    });
}

#[test]
fn repeated_syns_are_counted_and_change_nothing() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let conn = ends.entry(TCP, 40002, 80).by_pod();
        let s = ends.headers() + 20;
        vec![
            ends.sends(TCP, &tcp(40002, 80, SYN, 0)).opens(conn.state(SYN_SENT).tx(1, s)),
            ends.sends(TCP, &tcp(40002, 80, SYN, 0)).goes_on(conn.state(SYN_SENT).tx(2, 2 * s)),
            ends.gets(TCP, &tcp(80, 40002, SYN | ACK, 0)).replies(conn.state(SYN_RECEIVED).tx(2, 2 * s).rx(1, s)),
            ends.gets(TCP, &tcp(80, 40002, SYN | ACK, 0)).goes_on(conn.state(SYN_RECEIVED).tx(2, 2 * s).rx(2, 2 * s)),
            ends.sends(TCP, &tcp(40002, 80, ACK, 0)).flags(conn.state(ESTABLISHED).tx(3, 3 * s).rx(2, 2 * s)),
        ]
    });
}

#[test]
fn ports_used_again_after_a_close_make_a_new_connection() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let conn = ends.entry(TCP, 40003, 80).by_pod();
        let again = ends.entry(TCP, 40003, 80).by_peer();
        let s = ends.headers() + 20;
        vec![
            ends.sends(TCP, &tcp(40003, 80, SYN, 0)).opens(conn.state(SYN_SENT).tx(1, s)),
            ends.gets(TCP, &tcp(80, 40003, RST | ACK, 0)).closes(close::RST, conn.state(CLOSED).tx(1, s).rx(1, s)),
            // The old counters are gone, and so is who opened it.
            ends.gets(TCP, &tcp(80, 40003, SYN, 0)).opens(again.state(SYN_SENT).rx(1, s)).in_place(),
            ends.sends(TCP, &tcp(40003, 80, SYN | ACK, 0)).replies(again.state(SYN_RECEIVED).tx(1, s).rx(1, s)),
        ]
    });
}

#[test]
fn ports_used_again_before_the_last_acknowledgement_tell_the_end_first() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let mut observer = node.observe(per_packet());
    for ends in [node.ends(4), node.ends(6)] {
        let s = ends.headers() + 20;
        for (program, flags) in
            [(FROM_POD, SYN), (TO_POD, SYN | ACK), (FROM_POD, ACK), (FROM_POD, FIN | ACK), (TO_POD, FIN | ACK)]
        {
            node.run(program, &segment(ends, program, flags));
        }
        drain(&mut observer);
        node.run(FROM_POD, &segment(ends, FROM_POD, SYN));
        let events = drain(&mut observer);
        let told: Vec<_> = events.iter().map(|event| (event.kind, event.reason)).collect();
        assert_eq!(told, [(kind::CLOSE, close::REOPENED), (kind::FIRST, 0)]);
        assert_eq!((events[0].tx_packets, events[0].tx_bytes, events[0].rx_packets), (3, 3 * s, 2));
        assert_eq!((events[0].reply, source(&events[0])), (reply::NO, ends.pod));
        let conn = node.connection(ends, TCP, 40004, 80).unwrap();
        assert_eq!((conn.state, conn.tx_packets, conn.rx_packets), (SYN_SENT, 1, 0));
    }
}

fn segment(ends: Ends, program: chainkit_bpf::Program, flags: u16) -> Vec<u8> {
    if program == FROM_POD {
        ends.outgoing(TCP, &tcp(40004, 80, flags, 0))
    } else {
        ends.incoming(TCP, &tcp(80, 40004, flags, 0))
    }
}

#[test]
fn a_connection_met_in_mid_stream_is_established_and_nobody_opened_it() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let conn = ends.entry(TCP, 40005, 5432);
        let s = ends.headers() + 20;
        vec![
            ends.gets(TCP, &tcp(5432, 40005, ACK, 30)).opens(conn.state(ESTABLISHED).rx(1, s + 30)),
            ends.sends(TCP, &tcp(40005, 5432, ACK, 0)).replies(conn.state(ESTABLISHED).tx(1, s).rx(1, s + 30)),
            ends.sends(TCP, &tcp(40005, 5432, ACK, 0)).goes_on(conn.state(ESTABLISHED).tx(2, 2 * s).rx(1, s + 30)),
        ]
    });
}

#[test]
fn a_syn_ack_whose_syn_was_not_seen_tells_who_opened() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let theirs = ends.entry(TCP, 443, 50002).by_peer();
        let ours = ends.entry(TCP, 40006, 443).by_pod();
        let s = ends.headers() + 20;
        vec![
            ends.sends(TCP, &tcp(443, 50002, SYN | ACK, 0)).opens(theirs.state(SYN_RECEIVED).tx(1, s)),
            ends.gets(TCP, &tcp(50002, 443, ACK, 0)).replies(theirs.state(ESTABLISHED).tx(1, s).rx(1, s)),
            ends.gets(TCP, &tcp(443, 40006, SYN | ACK, 0)).opens(ours.state(SYN_RECEIVED).rx(1, s)),
            ends.sends(TCP, &tcp(40006, 443, ACK, 0)).replies(ours.state(ESTABLISHED).tx(1, s).rx(1, s)),
        ]
    });
}

#[test]
fn a_reset_of_no_connection_leaves_a_closed_one() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let conn = ends.entry(TCP, 40007, 80).state(CLOSED);
        let s = ends.headers() + 20;
        let opens = ends.gets(TCP, &tcp(80, 40007, RST, 0)).closes(close::RST, conn.rx(1, s));
        vec![opens.counts(Counter::NewConnections, 1)]
    });
}

#[test]
fn both_sides_may_open_at_once() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let conn = ends.entry(TCP, 179, 179).by_pod();
        let s = ends.headers() + 20;
        vec![
            ends.sends(TCP, &tcp(179, 179, SYN, 0)).opens(conn.state(SYN_SENT).tx(1, s)),
            ends.gets(TCP, &tcp(179, 179, SYN, 0)).replies(conn.state(SYN_RECEIVED).tx(1, s).rx(1, s)),
            ends.sends(TCP, &tcp(179, 179, SYN | ACK, 0)).flags(conn.state(SYN_RECEIVED).tx(2, 2 * s).rx(1, s)),
            ends.gets(TCP, &tcp(179, 179, SYN | ACK, 0)).flags(conn.state(SYN_RECEIVED).tx(2, 2 * s).rx(2, 2 * s)),
            ends.sends(TCP, &tcp(179, 179, ACK, 0)).goes_on(conn.state(ESTABLISHED).tx(3, 3 * s).rx(2, 2 * s)),
        ]
    });
}

#[test]
fn each_flag_is_told_once_a_side() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node_flags = [ACK, PSH, URG, ECE, CWR, NS];
    let node = Node::new(observing());
    let mut observer = node.observe(per_packet());
    for ends in [node.ends(4), node.ends(6)] {
        // Of the first segment of each side something else is told.
        node.run(FROM_POD, &segment(ends, FROM_POD, 0));
        node.run(TO_POD, &segment(ends, TO_POD, 0));
        for program in [FROM_POD, TO_POD] {
            for flag in node_flags {
                drain(&mut observer);
                node.run(program, &segment(ends, program, flag));
                node.run(program, &segment(ends, program, flag));
                let told: Vec<_> = drain(&mut observer).iter().map(|event| (event.kind, event.tcp_flags)).collect();
                assert_eq!(told, [(kind::FLAGS, flag), (kind::PACKET, flag)], "{flag:#x}");
            }
        }
        let conn = node.connection(ends, TCP, 40004, 80).unwrap();
        assert_eq!((conn.tx_flags, conn.rx_flags), (0x1f8, 0x1f8));
    }
}

#[test]
fn the_handshake_gives_the_time_to_the_peer() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let wait = std::time::Duration::from_millis(20);
    let node = Node::new(observing());
    for family in [4, 6] {
        // The pod opens: its SYN to the peer's SYN-ACK.
        let ends = node.ends(family);
        node.run(FROM_POD, &segment(ends, FROM_POD, SYN));
        std::thread::sleep(wait);
        node.run(TO_POD, &segment(ends, TO_POD, SYN | ACK));
        let rtt = node.connection(ends, TCP, 40004, 80).unwrap().rtt;
        assert!((20_000_000..2_000_000_000).contains(&rtt), "{rtt} ns");
        std::thread::sleep(wait);
        node.run(FROM_POD, &segment(ends, FROM_POD, ACK));
        assert_eq!(node.connection(ends, TCP, 40004, 80).unwrap().rtt, rtt, "measured once");

        // The peer opens: the pod's SYN-ACK to the peer's ACK, not the pod's own delay before it.
        let ends = node.ends(family);
        node.run(TO_POD, &segment(ends, TO_POD, SYN));
        std::thread::sleep(wait);
        node.run(FROM_POD, &segment(ends, FROM_POD, SYN | ACK));
        assert_eq!(node.connection(ends, TCP, 40004, 80).unwrap().rtt, 0);
        std::thread::sleep(wait);
        node.run(TO_POD, &segment(ends, TO_POD, ACK));
        let rtt = node.connection(ends, TCP, 40004, 80).unwrap().rtt;
        assert!((20_000_000..2_000_000_000).contains(&rtt), "{rtt} ns");
    }
}

#[test]
fn a_handshake_with_repeated_segments_gives_no_time() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    for family in [4, 6] {
        let ends = node.ends(family);
        for (program, flags) in [(FROM_POD, SYN), (FROM_POD, SYN), (TO_POD, SYN | ACK), (FROM_POD, ACK)] {
            node.run(program, &segment(ends, program, flags));
        }
        let conn = node.connection(ends, TCP, 40004, 80).unwrap();
        assert_eq!((conn.state, conn.rtt), (ESTABLISHED, 0), "the SYN was sent twice");

        let ends = node.ends(family);
        for (program, flags) in [(TO_POD, SYN), (FROM_POD, SYN | ACK), (FROM_POD, SYN | ACK), (TO_POD, ACK)] {
            node.run(program, &segment(ends, program, flags));
        }
        let conn = node.connection(ends, TCP, 40004, 80).unwrap();
        assert_eq!((conn.state, conn.rtt), (ESTABLISHED, 0), "the SYN-ACK was sent twice");
    }
}
