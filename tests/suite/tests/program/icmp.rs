//! ICMP and ICMPv6: echo, other queries, errors, neighbour discovery.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use chainkit_abi::{
    Counter,
    state::{ESTABLISHED, REPLIED, SYN_SENT, UNREPLIED},
    tcp::{ACK, SYN},
};

use crate::{
    frame::{ICMP, ICMPV6, Ipv4, Ipv6, SCTP, TCP, UDP, echo, framed, icmp, ip, sctp, tcp, udp},
    node::{Ends, FROM_POD, TO_POD, observing},
    step::{Step, converse, converse_over},
};

/// Echo request and reply of each family (RFC 792; RFC 4443, section 4).
fn echo_types(ends: Ends) -> (u8, u8) {
    if ends.family() == 4 { (8, 0) } else { (128, 129) }
}

/// Types of errors (RFC 792; RFC 4443, section 3), with a code of each.
fn error_types(ends: Ends) -> &'static [(u8, u8)] {
    if ends.family() == 4 {
        &[(3, 0), (3, 1), (3, 3), (3, 4), (3, 13), (4, 0), (5, 1), (11, 0), (11, 1), (12, 0)]
    } else {
        &[(1, 0), (1, 3), (1, 4), (2, 0), (3, 0), (3, 1), (4, 0), (4, 1)]
    }
}

/// A router on the way, which is no end of any connection.
fn router(ends: Ends) -> IpAddr {
    if ends.family() == 4 {
        Ipv4Addr::new(198, 51, 100, 1).into()
    } else {
        Ipv6Addr::new(0x2001, 0xdb8, 0xeeee, 0, 0, 0, 0, 1).into()
    }
}

/// An error to the pod from a router, about the start of a packet that the pod sent.
fn error_to_pod(ends: Ends, (kind, code): (u8, u8), about: &[u8]) -> Step {
    let message = icmp(kind, code, [0; 4], about);
    Step::new(TO_POD, framed(&ip(router(ends), ends.pod, ends.icmp(), &message)))
}

/// An error from the pod itself, about a packet that it got.
fn error_from_pod(ends: Ends, (kind, code): (u8, u8), about: &[u8]) -> Step {
    Step::new(FROM_POD, ends.outgoing(ends.icmp(), &icmp(kind, code, [0; 4], about)))
}

#[test]
fn echo_of_the_pod_and_the_reply() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let (request, answer) = echo_types(ends);
        let conn = ends.entry(ends.icmp(), 0x1234, 0).by_pod();
        let h = ends.headers() + 8;
        vec![
            ends.sends(ends.icmp(), &echo(request, 0x1234, 56)).opens(conn.state(UNREPLIED).tx(1, h + 56)),
            ends.gets(ends.icmp(), &echo(answer, 0x1234, 56)).replies(conn.state(REPLIED).tx(1, h + 56).rx(1, h + 56)),
            ends.sends(ends.icmp(), &echo(request, 0x1234, 0))
                .goes_on(conn.state(REPLIED).tx(2, 2 * h + 56).rx(1, h + 56)),
            // Another ping at the same time.
            ends.sends(ends.icmp(), &echo(request, 0x1235, 0))
                .opens(ends.entry(ends.icmp(), 0x1235, 0).by_pod().tx(1, h)),
        ]
    });
}

#[test]
fn echo_to_the_pod_and_the_reply() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let (request, answer) = echo_types(ends);
        let conn = ends.entry(ends.icmp(), 7, 0).by_peer();
        let h = ends.headers() + 8;
        vec![
            ends.gets(ends.icmp(), &echo(request, 7, 0)).opens(conn.state(UNREPLIED).rx(1, h)),
            ends.sends(ends.icmp(), &echo(answer, 7, 0)).replies(conn.state(REPLIED).tx(1, h).rx(1, h)),
        ]
    });
}

#[test]
fn an_echo_reply_without_its_request_was_opened_by_nobody_known() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let (_, answer) = echo_types(ends);
        let conn = ends.entry(ends.icmp(), 8, 0).state(REPLIED);
        vec![ends.gets(ends.icmp(), &echo(answer, 8, 0)).opens(conn.rx(1, ends.headers() + 8))]
    });
}

#[test]
fn other_queries_are_known_by_type_and_code() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        // Timestamp request; node information query, for an IPv4 address (RFC 4620).
        let (kind, code) = if ends.family() == 4 { (13, 0) } else { (139, 2) };
        let conn = ends.entry(ends.icmp(), u16::from(kind) << 8 | u16::from(code), 0).by_pod();
        let message = icmp(kind, code, [1, 2, 3, 4], &[0; 12]);
        vec![ends.sends(ends.icmp(), &message).opens(conn.tx(1, ends.headers() + 20))]
    });
}

#[test]
fn errors_about_what_the_pod_sent_belong_to_its_connection() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let h = ends.headers();
        let router = router(ends);
        let (request, _) = echo_types(ends);
        // Of each protocol a packet, and as much of it as an error must bring back: eight bytes past the IP header.
        let sent = [
            (TCP, tcp(40000, 80, SYN, 0), ends.entry(TCP, 40000, 80).by_pod().state(SYN_SENT).tx(1, h + 20)),
            (UDP, udp(40000, 53, 4), ends.entry(UDP, 40000, 53).by_pod().tx(1, h + 12)),
            (SCTP, sctp(40000, 9, 0), ends.entry(SCTP, 40000, 9).by_pod().tx(1, h + 12)),
            (ends.icmp(), echo(request, 99, 0), ends.entry(ends.icmp(), 99, 0).by_pod().tx(1, h + 8)),
        ];
        let mut steps = Vec::new();
        for (protocol, payload, entry) in sent {
            steps.push(ends.sends(protocol, &payload).opens(entry));
            let mut about = ip(ends.pod, ends.peer, protocol, &payload);
            about.truncate(h as usize - 14 + 8);
            for error in error_types(ends) {
                steps.push(error_to_pod(ends, *error, &about).concerns(router, ends.pod, entry));
            }
        }
        steps
    });
}

#[test]
fn errors_of_the_pod_about_what_it_got_belong_to_that_connection() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let h = ends.headers();
        let entry = ends.entry(UDP, 9999, 50000).by_peer().rx(1, h + 8);
        let about = ip(ends.peer, ends.pod, UDP, &udp(50000, 9999, 0));
        let port_unreachable = if ends.family() == 4 { (3, 3) } else { (1, 4) };
        vec![
            ends.gets(UDP, &udp(50000, 9999, 0)).opens(entry),
            error_from_pod(ends, port_unreachable, &about).concerns(ends.pod, ends.peer, entry),
        ]
    });
}

#[test]
fn errors_find_a_connection_by_a_header_with_options() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse_over(&[4], observing(), |ends| {
        let (IpAddr::V4(from), IpAddr::V4(to)) = (ends.pod, ends.peer) else { panic!("{ends:?} are not of IPv4") };
        let entry = ends.entry(UDP, 40000, 53).by_pod().tx(1, ends.headers() + 8);
        let about = Ipv4 { from, to, protocol: UDP, id: 0, fragment: (0, false), options: &[1; 40] };
        vec![
            ends.sends(UDP, &udp(40000, 53, 0)).opens(entry),
            error_to_pod(ends, (11, 0), &about.with(&udp(40000, 53, 0))).concerns(router(ends), ends.pod, entry),
        ]
    });
}

#[test]
fn errors_about_no_known_connection_are_packets_like_others() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let h = ends.headers();
        let mut steps = Vec::new();
        let about = ip(ends.pod, ends.peer, UDP, &udp(40000, 53, 0));
        for (kind, code) in error_types(ends) {
            let from_router = Ends { pod: ends.pod, peer: router(ends) };
            let entry = from_router.entry(ends.icmp(), u16::from(*kind) << 8 | u16::from(*code), 0).by_peer();
            steps.push(error_to_pod(ends, (*kind, *code), &about).opens(entry.rx(1, 2 * h + 2)));
        }
        steps
    });
}

#[test]
fn errors_about_the_other_direction_belong_to_nothing() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let h = ends.headers();
        let (kind, code) = error_types(ends)[0];
        let from_router = Ends { pod: ends.pod, peer: router(ends) };
        let unrelated = from_router.entry(ends.icmp(), u16::from(kind) << 8 | u16::from(code), 0).by_peer();
        // It claims that the *peer's* packet was in the way, and yet it comes to the pod.
        let about = ip(ends.peer, ends.pod, TCP, &tcp(80, 40000, ACK, 0));
        vec![
            ends.sends(TCP, &tcp(40000, 80, ACK, 0)).opens(ends.entry(TCP, 40000, 80).state(ESTABLISHED).tx(1, h + 20)),
            error_to_pod(ends, (kind, code), &about).opens(unrelated.rx(1, h + 8 + h - 14 + 20)),
        ]
    });
}

#[test]
fn errors_whose_inside_is_cut_off_are_counted_and_judged_as_packets() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let h = ends.headers();
        let (kind, code) = error_types(ends)[0];
        let from_router = Ends { pod: ends.pod, peer: router(ends) };
        let entry = from_router.entry(ends.icmp(), u16::from(kind) << 8 | u16::from(code), 0).by_peer();
        let about = ip(ends.pod, ends.peer, UDP, &udp(40000, 53, 0));
        let mut steps =
            vec![ends.sends(UDP, &udp(40000, 53, 0)).opens(ends.entry(UDP, 40000, 53).by_pod().tx(1, h + 8))];
        let mut bytes = 0;
        for length in 0..about.len() {
            let step = error_to_pod(ends, (kind, code), &about[..length]).counts(Counter::BadIcmpError, 1);
            bytes += h + 8 + length as u64;
            let entry = entry.rx(length as u64 + 1, bytes);
            steps.push(if length == 0 { step.opens(entry) } else { step.goes_on(entry) });
        }
        steps
    });
}

#[test]
fn neighbour_discovery_is_counted_and_makes_no_entry() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse_over(&[6], observing(), |ends| {
        let (IpAddr::V6(from), IpAddr::V6(to)) = (ends.pod, ends.peer) else { panic!("{ends:?} are not of IPv6") };
        // Router solicitation and advertisement, neighbour solicitation and advertisement, redirect (RFC 4861, section 4).
        let mut steps = Vec::new();
        for kind in 133..=137 {
            let message = icmp(kind, 0, [0; 4], &[0; 16]);
            let packet = Ipv6 { from, to, next: ICMPV6, hop_limit: 255 }.with(&message);
            steps.push(passes_always(Step::new(FROM_POD, framed(&packet)), ends));
        }
        steps
    });
}

#[test]
fn neighbour_discovery_that_was_forwarded_is_a_packet_like_others() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse_over(&[6], observing(), |ends| {
        let (IpAddr::V6(from), IpAddr::V6(to)) = (ends.peer, ends.pod) else { panic!("{ends:?} are not of IPv6") };
        let mut steps = Vec::new();
        for kind in 133..=137_u8 {
            let message = icmp(kind, 0, [0; 4], &[0; 16]);
            let packet = Ipv6 { from, to, next: ICMPV6, hop_limit: 254 }.with(&message);
            let entry = ends.entry(ICMPV6, u16::from(kind) << 8, 0).by_peer();
            steps.push(Step::new(TO_POD, framed(&packet)).opens(entry.rx(1, ends.headers() + 24)));
        }
        steps
    });
}

#[test]
fn multicast_listeners_are_counted_and_make_no_entry() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse_over(&[6], observing(), |ends| {
        // Query, report, done (RFC 2710), version 2 report (RFC 3810).
        let message = |kind| icmp(kind, 0, [0; 4], &[0; 16]);
        let mut steps: Vec<_> =
            [130, 131, 132, 143].map(|kind| passes_always(ends.sends(ICMPV6, &message(kind)), ends)).into();
        // As they are sent in truth: behind a hop-by-hop header with the router alert option.
        let alert = [&[ICMPV6, 0, 5, 2, 0, 0, 1, 0][..], &message(143)].concat();
        steps.push(passes_always(ends.sends(0, &alert), ends));
        steps
    });
}

fn passes_always(step: Step, ends: Ends) -> Step {
    step.only_counts(Counter::NeighbourDiscovery).seen().names(ICMPV6, ends.pod, ends.peer)
}

#[test]
fn icmp_of_the_other_family_is_a_protocol_without_ports() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let other = if ends.family() == 4 { ICMPV6 } else { ICMP };
        let entry = ends.entry(other, 0, 0).by_pod();
        let h = ends.headers();
        let about = ip(ends.peer, ends.pod, UDP, &udp(53, 40000, 0));
        let known = ends.entry(UDP, 40000, 53).by_peer();
        vec![
            ends.gets(UDP, &udp(53, 40000, 0)).opens(known.rx(1, h + 8)),
            // A neighbour solicitation, an echo request, and an error about that connection, none of which it is.
            ends.sends(other, &icmp(135, 0, [0; 4], &[])).opens(entry.tx(1, h + 8)),
            ends.sends(other, &echo(8, 7, 0)).goes_on(entry.tx(2, 2 * h + 16)),
            ends.sends(other, &icmp(3, 0, [0; 4], &about)).goes_on(entry.tx(3, 4 * h + 18)),
            ends.sends(other, &[]).goes_on(entry.tx(4, 5 * h + 18)),
        ]
    });
}
