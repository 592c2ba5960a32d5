//! UDP, SCTP, and protocols without ports.

use chainkit_abi::state::{REPLIED, UNREPLIED};

use crate::{
    frame::{SCTP, UDP, sctp, udp},
    node::observing,
    step::{converse, converse_over},
};

#[test]
fn a_udp_request_of_the_pod_and_its_reply() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let conn = ends.entry(UDP, 40000, 53).by_pod();
        let h = ends.headers() + 8;
        vec![
            ends.sends(UDP, &udp(40000, 53, 30)).opens(conn.state(UNREPLIED).tx(1, h + 30)),
            ends.sends(UDP, &udp(40000, 53, 30)).goes_on(conn.state(UNREPLIED).tx(2, 2 * h + 60)),
            ends.gets(UDP, &udp(53, 40000, 200)).replies(conn.state(REPLIED).tx(2, 2 * h + 60).rx(1, h + 200)),
            ends.gets(UDP, &udp(53, 40000, 0)).goes_on(conn.state(REPLIED).tx(2, 2 * h + 60).rx(2, 2 * h + 200)),
            ends.sends(UDP, &udp(40000, 53, 1)).goes_on(conn.state(REPLIED).tx(3, 3 * h + 61).rx(2, 2 * h + 200)),
        ]
    });
}

#[test]
fn a_udp_request_to_the_pod_and_its_reply() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let conn = ends.entry(UDP, 53, 41000).by_peer();
        let h = ends.headers() + 8;
        vec![
            ends.gets(UDP, &udp(41000, 53, 12)).opens(conn.state(UNREPLIED).rx(1, h + 12)),
            ends.sends(UDP, &udp(53, 41000, 0)).replies(conn.state(REPLIED).tx(1, h).rx(1, h + 12)),
        ]
    });
}

#[test]
fn one_port_with_many_peers_is_many_connections() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let h = ends.headers() + 8;
        let peer = |port| ends.gets(UDP, &udp(port, 53, 0)).opens(ends.entry(UDP, 53, port).by_peer().rx(1, h));
        vec![peer(1), peer(2), peer(65535), peer(53)]
    });
}

#[test]
fn a_frame_padded_to_the_shortest_length_counts_as_long_as_it_is() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let mut frame = ends.incoming(UDP, &udp(7, 9, 1));
        frame.resize(frame.len() + 17, 0xff);
        let length = frame.len() as u64;
        let conn = ends.entry(UDP, 9, 7).by_peer();
        vec![crate::step::Step::new(crate::node::TO_POD, frame).opens(conn.rx(1, length))]
    });
}

#[test]
fn sctp_has_ports_and_replies() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let conn = ends.entry(SCTP, 36412, 36413).by_pod();
        let h = ends.headers() + 12;
        vec![
            ends.sends(SCTP, &sctp(36412, 36413, 20)).opens(conn.state(UNREPLIED).tx(1, h + 20)),
            ends.gets(SCTP, &sctp(36413, 36412, 24)).replies(conn.state(REPLIED).tx(1, h + 20).rx(1, h + 24)),
            ends.sends(SCTP, &sctp(36412, 36413, 0)).goes_on(conn.state(REPLIED).tx(2, 2 * h + 20).rx(1, h + 24)),
        ]
    });
}

/// Each protocol is a connection of its own between two addresses: IPIP, EGP (nobody's today), GRE, ESP, AH over IPv4,
/// OSPF, UDP-Lite, MPLS-in-IP, one kept for experiments (RFC 3692).
#[test]
fn protocols_without_ports_are_told_apart_by_number() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    for protocol in [4, 8, 47, 50, 89, 136, 137, 253] {
        converse(observing(), |ends| {
            let conn = ends.entry(protocol, 0, 0).by_peer();
            let h = ends.headers();
            vec![
                ends.gets(protocol, &[0xff; 4]).opens(conn.state(UNREPLIED).rx(1, h + 4)),
                ends.sends(protocol, &[]).replies(conn.state(REPLIED).tx(1, h).rx(1, h + 4)),
            ]
        });
    }
}

#[test]
fn igmp_and_authentication_are_protocols_of_ipv4_without_ports() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse_over(&[4], observing(), |ends| {
        let h = ends.headers();
        vec![
            ends.sends(2, &[0x22, 0, 0, 0, 0, 0, 0, 0]).opens(ends.entry(2, 0, 0).by_pod().tx(1, h + 8)),
            ends.sends(51, &[6, 4, 0, 0]).opens(ends.entry(51, 0, 0).by_pod().tx(1, h + 4)),
            // IPv6's extension headers mean nothing behind an IPv4 header.
            ends.sends(0, &[17, 0, 0, 0, 0, 0, 0, 0]).opens(ends.entry(0, 0, 0).by_pod().tx(1, h + 8)),
        ]
    });
}

#[test]
fn no_next_header_is_a_protocol_of_ipv6_without_ports() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse_over(&[6], observing(), |ends| {
        vec![ends.sends(59, &[]).opens(ends.entry(59, 0, 0).by_pod().tx(1, ends.headers()))]
    });
}
