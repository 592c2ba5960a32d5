//! Fragments: the first has the ports, the others are found by the identification.

use std::net::IpAddr;

use chainkit_abi::{Counter, kind, reason, state, tcp, verdict};

use crate::{
    frame::{FRAGMENT, Ipv4, TCP, UDP, fragment, framed, tcp as segment, udp},
    node::{Ends, FROM_POD, Node, TO_POD, drain, observing, per_packet},
    step::{Step, converse},
};

/// A fragment of a packet of `protocol` that the pod sends, as a frame.
fn piece_from_pod(ends: Ends, protocol: u8, place: (u16, bool), id: u16, payload: &[u8]) -> Vec<u8> {
    piece(ends.pod, ends.peer, protocol, place, id, payload)
}

/// A fragment of a packet that the pod gets.
fn piece_to_pod(ends: Ends, protocol: u8, place: (u16, bool), id: u16, payload: &[u8]) -> Vec<u8> {
    piece(ends.peer, ends.pod, protocol, place, id, payload)
}

fn piece(from: IpAddr, to: IpAddr, protocol: u8, (offset, more): (u16, bool), id: u16, payload: &[u8]) -> Vec<u8> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            framed(&Ipv4 { from, to, protocol, id, fragment: (offset, more), options: &[] }.with(payload))
        }
        _ => framed(&crate::frame::ip(
            from,
            to,
            FRAGMENT,
            &fragment(protocol, offset, more, u32::from(id) | 0xabcd_0000, payload),
        )),
    }
}

/// Bytes in front of a fragment's payload.
fn headers(ends: Ends) -> u64 {
    if ends.family() == 4 { 34 } else { 54 + 8 }
}

#[test]
fn later_fragments_count_for_the_connection_of_the_first() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let h = headers(ends);
        let conn = ends.entry(UDP, 40000, 2049).by_pod();
        // A datagram of 8 + 48 bytes in three pieces.
        let datagram = udp(40000, 2049, 48);
        let first = piece_from_pod(ends, UDP, (0, true), 100, &datagram[..24]);
        let second = piece_from_pod(ends, UDP, (3, true), 100, &datagram[24..48]);
        let last = piece_from_pod(ends, UDP, (6, false), 100, &datagram[48..]);
        // The answer, also in pieces, under the same identification by chance.
        let answer = udp(2049, 40000, 16);
        let answer_first = piece_to_pod(ends, UDP, (0, true), 100, &answer[..16]);
        let answer_last = piece_to_pod(ends, UDP, (2, false), 100, &answer[16..]);
        let sent = conn.tx(3, 3 * h + 56);
        vec![
            Step::new(FROM_POD, first).opens(conn.tx(1, h + 24)),
            Step::new(FROM_POD, second).goes_on(conn.tx(2, 2 * h + 48)).later_fragment(),
            Step::new(FROM_POD, last).goes_on(sent).later_fragment(),
            Step::new(TO_POD, answer_first).replies(sent.state(state::REPLIED).rx(1, h + 16)),
            Step::new(TO_POD, answer_last).goes_on(sent.state(state::REPLIED).rx(2, 2 * h + 24)).later_fragment(),
        ]
    });
}

#[test]
fn a_later_fragment_without_its_first_is_an_orphan() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let h = headers(ends);
        let datagram = udp(40000, 53, 8);
        let opens = ends.entry(UDP, 40000, 53).by_pod().tx(1, h + 8);
        let first = Step::new(FROM_POD, piece_from_pod(ends, UDP, (0, true), 5, &datagram[..8])).opens(opens);
        let orphan = |program, frame: Vec<u8>| {
            let (from, to) = if program == FROM_POD { (ends.pod, ends.peer) } else { (ends.peer, ends.pod) };
            let step = Step::new(program, frame).malformed(Counter::OrphanFragment);
            step.names(UDP, from, to).later_fragment()
        };
        let later = piece_from_pod(ends, UDP, (1, false), 5, &datagram[8..]);
        vec![
            // Too early; told once.
            orphan(FROM_POD, later.clone()),
            orphan(FROM_POD, later.clone()).again(),
            first,
            // Of the other direction, of another packet, of another protocol.
            orphan(TO_POD, piece_to_pod(ends, UDP, (1, false), 5, &datagram[8..])),
            orphan(FROM_POD, piece_from_pod(ends, UDP, (1, false), 6, &datagram[8..])).again(),
            orphan(FROM_POD, piece_from_pod(ends, TCP, (1, false), 5, &datagram[8..])).names(TCP, ends.pod, ends.peer),
            // And at last the one that fits.
            Step::new(FROM_POD, later).goes_on(opens.tx(2, 2 * h + 16)).later_fragment(),
        ]
    });
}

#[test]
fn an_identification_used_again_means_the_newer_packet() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let h = headers(ends);
        let (one, other) = (ends.entry(UDP, 1111, 53).by_pod(), ends.entry(UDP, 2222, 53).by_pod());
        let first = |port| Step::new(FROM_POD, piece_from_pod(ends, UDP, (0, true), 9, &udp(port, 53, 0)));
        let later = Step::new(FROM_POD, piece_from_pod(ends, UDP, (1, false), 9, &[0; 4])).later_fragment();
        vec![
            first(1111).opens(one.tx(1, h + 8)),
            later.clone().goes_on(one.tx(2, 2 * h + 12)),
            first(2222).opens(other.tx(1, h + 8)),
            later.goes_on(other.tx(2, 2 * h + 12)),
        ]
    });
}

#[test]
fn fragments_of_tcp_and_of_protocols_without_ports_are_followed() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let h = headers(ends);
        let stream = ends.entry(TCP, 40000, 80).state(state::ESTABLISHED);
        let tunnel = ends.entry(50, 0, 0).by_peer();
        vec![
            Step::new(FROM_POD, piece_from_pod(ends, TCP, (0, true), 1, &segment(40000, 80, tcp::ACK, 4)))
                .opens(stream.tx(1, h + 24)),
            Step::new(FROM_POD, piece_from_pod(ends, TCP, (3, false), 1, &[0; 5]))
                .goes_on(stream.tx(2, 2 * h + 29))
                .later_fragment(),
            Step::new(TO_POD, piece_to_pod(ends, 50, (0, true), 1, &[0xee; 8])).opens(tunnel.rx(1, h + 8)),
            Step::new(TO_POD, piece_to_pod(ends, 50, (1, false), 1, &[0xee; 3]))
                .goes_on(tunnel.rx(2, 2 * h + 11))
                .later_fragment(),
        ]
    });
}

#[test]
fn a_first_fragment_too_short_for_its_transport_is_malformed() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        // The trick of RFC 1858: flags in the second fragment.
        let short = piece_to_pod(ends, TCP, (0, true), 1, &segment(1, 2, tcp::SYN, 0)[..8]);
        vec![Step::new(TO_POD, short).malformed(Counter::TruncatedTransport)]
    });
}

#[test]
fn a_fragment_whose_first_is_long_gone_is_an_orphan() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let mut node = Node::new(observing());
    let mut observer = node.observe(per_packet());
    for ends in [node.ends(4), node.ends(6)] {
        let later = piece_from_pod(ends, UDP, (1, false), 3, &[0; 8]);
        node.run(FROM_POD, &piece_from_pod(ends, UDP, (0, true), 3, &udp(1111, 53, 0)));
        // Each that comes keeps it for another minute.
        for _ in 0..2 {
            node.datapath.backdate(node.slot, 56).unwrap();
            node.counted();
            node.run(FROM_POD, &later);
            assert!(!node.counted().iter().any(|(counter, _)| *counter == Counter::OrphanFragment));
        }
        node.datapath.backdate(node.slot, 61).unwrap();
        drain(&mut observer);
        node.run(FROM_POD, &later);
        assert_eq!(node.counted(), [(Counter::OrphanFragment, 1)]);
        let events = drain(&mut observer);
        let told: Vec<_> = events.iter().map(|event| (event.kind, event.reason, event.verdict)).collect();
        assert_eq!(told, [(kind::MALFORMED, Counter::OrphanFragment as u8, verdict::FORWARDED)]);
        assert_ne!(events[0].reason, reason::NONE);
    }
}
