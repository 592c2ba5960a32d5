//! Connections that were there before the datapath, entered as others know them.

use std::net::IpAddr;

use chainkit_abi::{
    Active, ObserverFilter, UNJUDGED, close,
    flag::{ISOLATED_EGRESS, ISOLATED_INGRESS},
    kind, mode, opened,
    state::{CLOSED, CLOSING, ESTABLISHED, REPLIED, SYN_RECEIVED, SYN_SENT, UNREPLIED},
    tcp::{ACK, FIN, PSH, RST, SYN},
};
use chainkit_bpf::{Entered, Known, NodeLock, Settings, Stage};

use crate::{
    frame::{SCTP, TCP, UDP, echo, tcp, udp},
    node::{Ends, FROM_POD, NEXT, Node, SHOT, TO_POD, drain, judging, observing},
};

/// An established TCP connection of the pod's port 40000 with port 443.
fn stream(ends: Ends, opened: u8) -> Known {
    Known {
        local: ends.pod,
        remote: ends.peer,
        local_port: 40000,
        remote_port: 443,
        protocol: TCP,
        opened,
        replied: true,
        stage: Stage::Established,
    }
}

fn query(ends: Ends, opened: u8) -> Known {
    Known { protocol: UDP, remote_port: 53, ..stream(ends, opened) }
}

fn enter(node: &Node, known: &Known) -> Entered {
    let lock = NodeLock::take(node.root()).unwrap();
    node.datapath.enter(&lock, node.slot, known).unwrap()
}

#[test]
fn what_is_entered_is_there_as_if_it_had_been_seen_and_nobody_is_told() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let mut node = Node::new(observing());
    for family in [4, 6] {
        let ends = node.ends(family);
        let mut observer = node.observe(ObserverFilter::default());
        let handshake = Known { stage: Stage::Handshake, ..stream(ends, opened::BY_POD) };
        let cases = [
            (stream(ends, opened::BY_POD), ESTABLISHED, opened::BY_POD),
            (
                Known { local_port: 1, stage: Stage::Closing, ..stream(ends, opened::BY_REMOTE) },
                CLOSING,
                opened::BY_REMOTE,
            ),
            (Known { local_port: 2, replied: false, ..handshake }, SYN_SENT, opened::BY_POD),
            (Known { local_port: 3, ..handshake }, SYN_RECEIVED, opened::BY_POD),
            (query(ends, opened::BY_REMOTE), REPLIED, opened::BY_REMOTE),
            (Known { local_port: 4, replied: false, ..query(ends, opened::BY_POD) }, UNREPLIED, opened::BY_POD),
            (
                Known { protocol: ends.icmp(), local_port: 77, remote_port: 0, ..stream(ends, opened::BY_POD) },
                REPLIED,
                opened::BY_POD,
            ),
            (Known { protocol: SCTP, ..stream(ends, opened::BY_POD) }, REPLIED, opened::BY_POD),
            (
                Known { protocol: 47, local_port: 0, remote_port: 0, ..stream(ends, opened::BY_POD) },
                REPLIED,
                opened::BY_POD,
            ),
        ];
        for (known, state, opened) in cases {
            assert_eq!(enter(&node, &known), Entered::New, "{known:?}");
            let conn = node.connection(ends, known.protocol, known.local_port, known.remote_port).unwrap();
            assert_eq!((conn.state, conn.opened, conn.generation), (state, opened, UNJUDGED), "{known:?}");
            assert_eq!((conn.tx_packets, conn.rx_packets, conn.closed), (0, 0, 0), "{known:?}");
            // A second time nothing happens, whatever is said.
            assert_eq!(enter(&node, &known), Entered::Present, "{known:?}");
            assert_eq!(node.connection(ends, known.protocol, known.local_port, known.remote_port), Some(conn));
        }
        assert_eq!(node.counted(), []);
        assert_eq!(drain(&mut observer), []);
    }
    assert_eq!(node.datapath.totals(node.slot).unwrap().connections, 18);
}

#[test]
fn packets_of_an_entered_connection_are_counted_and_open_nothing() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let mut node = Node::new(observing());
    for family in [4, 6] {
        let ends = node.ends(family);
        enter(&node, &stream(ends, opened::BY_REMOTE));
        enter(&node, &query(ends, opened::BY_POD));
        enter(&node, &Known { protocol: ends.icmp(), local_port: 77, remote_port: 0, ..stream(ends, opened::BY_POD) });
        let mut observer = node.observe(ObserverFilter::default());
        let (request, answer) = if family == 4 { (8, 0) } else { (128, 129) };
        for _ in 0..3 {
            assert_eq!(node.run(FROM_POD, &ends.outgoing(TCP, &tcp(40000, 443, ACK | PSH, 100))), NEXT);
            assert_eq!(node.run(TO_POD, &ends.incoming(TCP, &tcp(443, 40000, ACK, 0))), NEXT);
            assert_eq!(node.run(TO_POD, &ends.incoming(UDP, &udp(53, 40000, 7))), NEXT);
            assert_eq!(node.run(FROM_POD, &ends.outgoing(ends.icmp(), &echo(request, 77, 0))), NEXT);
            assert_eq!(node.run(TO_POD, &ends.incoming(ends.icmp(), &echo(answer, 77, 0))), NEXT);
        }
        assert_eq!(node.counted(), []);
        let told: Vec<_> = drain(&mut observer).into_iter().map(|event| (event.kind, event.protocol)).collect();
        assert!(told.iter().all(|(told, _)| *told != kind::FIRST), "{told:?}");
        let conn = node.connection(ends, TCP, 40000, 443).unwrap();
        assert_eq!((conn.tx_packets, conn.rx_packets, conn.state, conn.opened), (3, 3, ESTABLISHED, opened::BY_REMOTE));
        assert_eq!(conn.tx_bytes, 3 * (ends.headers() + 20 + 100));
        assert_eq!(node.connection(ends, UDP, 40000, 53).unwrap().rx_packets, 3);
        assert_eq!(node.connections().iter().filter(|found| found.local == ends.pod).count(), 3);
        // It ends as any other does.
        node.run(FROM_POD, &ends.outgoing(TCP, &tcp(40000, 443, RST, 0)));
        let last = *drain(&mut observer).last().unwrap();
        assert_eq!((last.kind, last.reason, last.tx_packets), (kind::CLOSE, close::RST, 4));
    }
}

#[test]
fn a_connection_entered_half_closed_does_not_come_to_life_again() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let ends = node.ends(4);
    enter(&node, &Known { stage: Stage::Closing, ..stream(ends, opened::BY_POD) });
    node.run(TO_POD, &ends.incoming(TCP, &tcp(443, 40000, ACK | PSH, 100)));
    assert_eq!(node.connection(ends, TCP, 40000, 443).unwrap().state, CLOSING);
    node.run(TO_POD, &ends.incoming(TCP, &tcp(443, 40000, ACK | FIN, 0)));
    assert_eq!(node.connection(ends, TCP, 40000, 443).unwrap().state, CLOSING);
    node.run(FROM_POD, &ends.outgoing(TCP, &tcp(40000, 443, ACK | FIN, 0)));
    assert_eq!(node.connection(ends, TCP, 40000, 443).unwrap().state, CLOSED);
}

#[test]
fn one_met_in_mid_stream_is_corrected_and_keeps_its_counters() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    for family in [4, 6] {
        let ends = node.ends(family);
        node.run(TO_POD, &ends.incoming(TCP, &tcp(443, 40000, ACK, 10)));
        // A datagram that is a reply, as is known elsewhere, looks as if it opened a connection.
        node.run(TO_POD, &ends.incoming(UDP, &udp(53, 40000, 10)));
        let before = node.connection(ends, TCP, 40000, 443).unwrap();
        assert_eq!((before.opened, before.state), (opened::UNKNOWN, ESTABLISHED));
        assert_eq!(node.connection(ends, UDP, 40000, 53).unwrap().opened, opened::BY_REMOTE);
        assert_eq!(enter(&node, &stream(ends, opened::UNKNOWN)), Entered::Present);
        for known in [stream(ends, opened::BY_POD), query(ends, opened::BY_POD)] {
            assert_eq!(enter(&node, &known), Entered::Corrected);
            let after = node.connection(ends, known.protocol, known.local_port, known.remote_port).unwrap();
            assert_eq!((after.opened, after.rx_packets, after.generation), (opened::BY_POD, 1, UNJUDGED));
            assert_eq!(enter(&node, &known), Entered::Present);
        }
        let after = node.connection(ends, TCP, 40000, 443).unwrap();
        assert_eq!((after.rx_bytes, after.first_seen, after.place), (before.rx_bytes, before.first_seen, before.place));
        assert_eq!(node.connection(ends, UDP, 40000, 53).unwrap().state, REPLIED);
        // One whose SYN was seen is known better here.
        node.run(FROM_POD, &ends.outgoing(TCP, &tcp(5, 443, SYN, 0)));
        assert_eq!(enter(&node, &Known { local_port: 5, ..stream(ends, opened::BY_REMOTE) }), Entered::Present);
        assert_eq!(node.connection(ends, TCP, 5, 443).unwrap().opened, opened::BY_POD);
    }
}

#[test]
fn a_later_policy_judges_it_in_the_direction_it_was_opened_in() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    // Of those that the pod opened and those that others did, which isolation ends which.
    for (isolated, by_pod, by_remote) in [
        (ISOLATED_INGRESS, NEXT, SHOT),
        (ISOLATED_EGRESS, SHOT, NEXT),
        (ISOLATED_INGRESS | ISOLATED_EGRESS, SHOT, SHOT),
    ] {
        for family in [4, 6] {
            for (opened, answer) in [(opened::BY_POD, by_pod), (opened::BY_REMOTE, by_remote)] {
                let node = Node::new(observing());
                let ends = node.ends(family);
                enter(&node, &stream(ends, opened));
                enter(&node, &query(ends, opened));
                // Traffic while it only observes, of one of the two.
                assert_eq!(node.run(FROM_POD, &ends.outgoing(TCP, &tcp(40000, 443, ACK, 0))), NEXT);
                node.set(judging(mode::ENFORCE, isolated));
                node.datapath.set_active(Active { generation: 1, ..Active::default() }, 0);
                let case = format!("isolated {isolated}, opened {opened}, IPv{family}");
                for (program, segment, datagram) in [
                    (FROM_POD, ends.outgoing(TCP, &tcp(40000, 443, ACK, 9)), ends.outgoing(UDP, &udp(40000, 53, 9))),
                    (TO_POD, ends.incoming(TCP, &tcp(443, 40000, ACK, 9)), ends.incoming(UDP, &udp(53, 40000, 9))),
                ] {
                    // One that was ended is not taken for one that is new and allowed.
                    if answer == NEXT || program == FROM_POD {
                        assert_eq!(node.run(program, &datagram), answer, "{case}: a datagram");
                        assert_eq!(node.run(program, &segment), answer, "{case}: a segment");
                    }
                }
            }
        }
    }
}

#[test]
fn an_enforced_policy_judges_what_is_entered_under_it() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(judging(mode::ENFORCE, ISOLATED_INGRESS));
    let ends = node.ends(6);
    assert_eq!(enter(&node, &query(ends, opened::BY_POD)), Entered::New);
    assert_eq!(node.run(TO_POD, &ends.incoming(UDP, &udp(53, 40000, 9))), NEXT);
    assert_eq!(enter(&node, &Known { local_port: 9, ..query(ends, opened::BY_REMOTE) }), Entered::New);
    assert_eq!(node.run(TO_POD, &ends.incoming(UDP, &udp(53, 9, 9))), SHOT);
}

#[test]
fn a_full_table_makes_room_as_for_any_other() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(Settings { connections: 4, ..Settings::default() });
    let ends = node.ends(4);
    for port in 1..=4 {
        node.run(FROM_POD, &ends.outgoing(UDP, &udp(port, 53, 0)));
    }
    assert_eq!(enter(&node, &stream(ends, opened::BY_POD)), Entered::New);
    assert_eq!(node.connections().len(), 4);
    assert_eq!(node.datapath.totals(node.slot).unwrap().evicted, 1);
    assert_eq!(node.datapath.totals(node.slot).unwrap().from_pod.packets, 4);
    // Its place is its own: the table goes round, and finds it there.
    for port in 10..30 {
        node.run(FROM_POD, &ends.outgoing(UDP, &udp(port, 53, 0)));
        assert_eq!(node.connections().len(), 4);
    }
    assert!(node.connection(ends, TCP, 40000, 443).is_some(), "what was answered is worth more than what was not");
    // What has expired counts as absent.
    node.datapath.backdate(node.slot, 9000).unwrap();
    assert_eq!(enter(&node, &stream(ends, opened::BY_REMOTE)), Entered::New);
    assert_eq!(node.connection(ends, TCP, 40000, 443).unwrap().opened, opened::BY_REMOTE);
}

#[test]
fn what_cannot_be_entered_is_said() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let ends = node.ends(4);
    let lock = NodeLock::take(node.root()).unwrap();
    let mixed = Known { remote: IpAddr::from([0; 16]), ..stream(ends, opened::BY_POD) };
    let error = node.datapath.enter(&lock, node.slot, &mixed).unwrap_err().to_string();
    assert!(error.contains("famil"), "{error}");
    let error = node.datapath.enter(&lock, 4000, &stream(ends, opened::BY_POD)).unwrap_err().to_string();
    assert!(error.contains("slot 4000") && error.contains("192.0.2.7"), "{error}");
}
