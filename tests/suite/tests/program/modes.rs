//! What isolation does in each mode, while no rule allows anything.

use std::net::IpAddr;

use chainkit_abi::{
    Counter, ObserverFilter,
    flag::{ISOLATED_EGRESS, ISOLATED_INGRESS},
    kind, mode, opened, reason,
    state::{ESTABLISHED, REPLIED, SYN_RECEIVED, SYN_SENT},
    tcp::{ACK, FIN, RST, SYN},
    verdict,
};
use chainkit_bpf::{NodeLock, Settings};

use crate::{
    frame::{ETHERNET, HOP_BY_HOP, ICMPV6, Ipv6, TCP, UDP, echo, ethernet, framed, icmp, ip, patched, tcp, udp},
    node::{Ends, FROM_POD, IFINDEX, NEXT, Node, SHOT, TO_POD, drain, judging, observing, per_packet},
    step::{Step, converse, converse_over},
};

const BOTH: u8 = ISOLATED_INGRESS | ISOLATED_EGRESS;

#[test]
fn enforced_ingress_isolation_drops_what_others_open() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(judging(mode::ENFORCE, ISOLATED_INGRESS), |ends| {
        let (t, u) = (ends.headers() + 20, ends.headers() + 8);
        let request = if ends.family() == 4 { 8 } else { 128 };
        let stream = ends.entry(TCP, 40000, 443).by_pod();
        let query = ends.entry(UDP, 40000, 53).by_pod();
        vec![
            ends.gets(TCP, &tcp(50000, 80, SYN, 0)).denied(),
            ends.gets(TCP, &tcp(50000, 80, SYN, 0)).denied().again(),
            ends.gets(UDP, &udp(50000, 53, 0)).denied(),
            ends.gets(ends.icmp(), &echo(request, 1, 0)).denied(),
            // What the pod opens passes, and so do the replies.
            ends.sends(TCP, &tcp(40000, 443, SYN, 0)).opens(stream.state(SYN_SENT).tx(1, t)),
            ends.gets(TCP, &tcp(443, 40000, SYN | ACK, 0)).replies(stream.state(SYN_RECEIVED).tx(1, t).rx(1, t)),
            ends.sends(UDP, &udp(40000, 53, 0)).opens(query.tx(1, u)),
            ends.gets(UDP, &udp(53, 40000, 9)).replies(query.state(REPLIED).tx(1, u).rx(1, u + 9)),
            // From another port of the same peer it is no reply.
            ends.gets(UDP, &udp(54, 40000, 9)).denied(),
        ]
    });
}

#[test]
fn enforced_egress_isolation_drops_what_the_pod_opens() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(judging(mode::ENFORCE, ISOLATED_EGRESS), |ends| {
        let t = ends.headers() + 20;
        let stream = ends.entry(TCP, 80, 50000).by_peer();
        vec![
            ends.sends(UDP, &udp(40000, 53, 0)).denied(),
            ends.sends(TCP, &tcp(40000, 443, SYN, 0)).denied(),
            ends.gets(TCP, &tcp(50000, 80, SYN, 0)).opens(stream.state(SYN_SENT).rx(1, t)),
            ends.sends(TCP, &tcp(80, 50000, SYN | ACK, 0)).replies(stream.state(SYN_RECEIVED).tx(1, t).rx(1, t)),
            ends.gets(TCP, &tcp(50000, 80, ACK, 0)).flags(stream.state(ESTABLISHED).tx(1, t).rx(2, 2 * t)),
        ]
    });
}

#[test]
fn what_is_in_mid_stream_passes_if_either_direction_allows_it() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    for flags in [ISOLATED_INGRESS, ISOLATED_EGRESS] {
        converse(judging(mode::ENFORCE, flags), |ends| {
            let t = ends.headers() + 20;
            let conn = |port| ends.entry(TCP, port, 80).state(ESTABLISHED);
            vec![
                ends.gets(TCP, &tcp(80, 1001, ACK, 0)).opens(conn(1001).rx(1, t)),
                ends.sends(TCP, &tcp(1002, 80, ACK, 0)).opens(conn(1002).tx(1, t)),
            ]
        });
    }
    converse(judging(mode::ENFORCE, BOTH), |ends| {
        vec![
            ends.gets(TCP, &tcp(80, 1001, ACK, 0)).denied(),
            ends.sends(TCP, &tcp(1002, 80, ACK, 0)).denied(),
            ends.gets(TCP, &tcp(80, 1003, FIN | ACK, 0)).denied(),
            ends.gets(TCP, &tcp(80, 1004, RST, 0)).denied(),
        ]
    });
}

#[test]
fn enforcement_without_isolation_drops_nothing() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(judging(mode::ENFORCE, 0), |ends| {
        let u = ends.headers() + 8;
        let bad = Step::new(TO_POD, ethernet(0x88cc, &[]));
        vec![
            ends.gets(UDP, &udp(50000, 53, 0)).opens(ends.entry(UDP, 53, 50000).by_peer().rx(1, u)),
            ends.sends(UDP, &udp(40000, 53, 0)).opens(ends.entry(UDP, 40000, 53).by_pod().tx(1, u)),
            bad.malformed(Counter::UnknownEthertype),
        ]
    });
}

#[test]
fn audited_isolation_lets_pass_and_remembers_that_it_would_not_have() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(judging(mode::AUDIT, ISOLATED_INGRESS), |ends| {
        let (t, u) = (ends.headers() + 20, ends.headers() + 8);
        let denied = ends.entry(TCP, 80, 50000).by_peer().verdict(verdict::AUDIT);
        let allowed = ends.entry(UDP, 40000, 53).by_pod();
        vec![
            ends.gets(TCP, &tcp(50000, 80, SYN, 0)).opens(denied.state(SYN_SENT).rx(1, t)).counts(Counter::Audited, 1),
            // The rest of the connection bears the same verdict.
            ends.sends(TCP, &tcp(80, 50000, SYN | ACK, 0)).replies(denied.state(SYN_RECEIVED).tx(1, t).rx(1, t)),
            ends.gets(TCP, &tcp(50000, 80, ACK, 0)).flags(denied.state(ESTABLISHED).tx(1, t).rx(2, 2 * t)),
            ends.gets(TCP, &tcp(50000, 80, ACK, 7)).goes_on(denied.state(ESTABLISHED).tx(1, t).rx(3, 3 * t + 7)),
            ends.sends(UDP, &udp(40000, 53, 0)).opens(allowed.tx(1, u)),
        ]
    });
}

#[test]
fn observation_takes_no_notice_of_isolation() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(judging(mode::OBSERVE, BOTH), |ends| {
        let u = ends.headers() + 8;
        vec![
            ends.gets(UDP, &udp(50000, 53, 0)).opens(ends.entry(UDP, 53, 50000).by_peer().rx(1, u)),
            Step::new(TO_POD, ethernet(0x88cc, &[])).malformed(Counter::UnknownEthertype),
        ]
    });
}

#[test]
fn what_cannot_be_read_is_dropped_where_the_endpoint_is_isolated() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(judging(mode::ENFORCE, ISOLATED_INGRESS), |ends| {
        let truncated = if ends.family() == 4 { Counter::TruncatedIpv4 } else { Counter::TruncatedIpv6 };
        let cut = |frame: Vec<u8>| frame[..frame.len() - 1].to_vec();
        let length = ends.headers() as usize + 4;
        let bad_length = patched(ends.incoming(UDP, &udp(1, 2, 0)), length, &[0, 0]);
        vec![
            Step::new(TO_POD, cut(ends.incoming(UDP, &udp(1, 2, 0)))).refused(truncated),
            Step::new(TO_POD, bad_length).refused(Counter::BadTransport),
            Step::new(TO_POD, ethernet(0x88cc, &[])).refused(Counter::UnknownEthertype),
            Step::new(TO_POD, ethernet(0x8100, &[0])).refused(Counter::BadVlan),
            // The other direction is not isolated.
            Step::new(FROM_POD, cut(ends.outgoing(UDP, &udp(1, 2, 0)))).malformed(truncated),
        ]
    });
    converse(judging(mode::AUDIT, BOTH), |ends| {
        let truncated = if ends.family() == 4 { Counter::TruncatedIpv4 } else { Counter::TruncatedIpv6 };
        let whole = ends.incoming(UDP, &udp(1, 2, 0));
        vec![Step::new(TO_POD, whole[..whole.len() - 1].to_vec()).malformed(truncated)]
    });
}

#[test]
fn extension_headers_that_cannot_be_are_dropped_where_the_endpoint_is_isolated() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse_over(&[6], judging(mode::ENFORCE, BOTH), |ends| {
        vec![
            ends.sends(HOP_BY_HOP, &[UDP, 9, 0, 0]).refused(Counter::BadIpv6Extension),
            ends.gets(HOP_BY_HOP, &[UDP, 9, 0, 0]).refused(Counter::BadIpv6Extension),
        ]
    });
}

#[test]
fn arp_neighbour_discovery_and_mld_always_pass() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse_over(&[6], judging(mode::ENFORCE, BOTH), |ends| {
        let (IpAddr::V6(from), IpAddr::V6(to)) = (ends.peer, ends.pod) else { panic!("{ends:?} are not of IPv6") };
        let solicitation = icmp(135, 0, [0; 4], &to.octets());
        let local = Ipv6 { from, to, next: ICMPV6, hop_limit: 255 };
        let always = |step: Step| step.only_counts(Counter::NeighbourDiscovery).seen();
        vec![
            Step::new(TO_POD, ethernet(0x0806, &[0; 28])).only_counts(Counter::Arp),
            Step::new(FROM_POD, ethernet(0x0806, &[0; 28])).only_counts(Counter::Arp),
            always(Step::new(TO_POD, framed(&local.with(&solicitation)))).names(ICMPV6, ends.peer, ends.pod),
            always(ends.sends(ICMPV6, &icmp(143, 0, [0; 4], &[]))).names(ICMPV6, ends.pod, ends.peer),
            // From beyond a router it is no discovery.
            Step::new(TO_POD, framed(&Ipv6 { hop_limit: 254, ..local }.with(&solicitation))).denied(),
        ]
    });
}

#[test]
fn protocols_without_ports_need_a_rule_like_others() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(judging(mode::ENFORCE, ISOLATED_EGRESS), |ends| {
        let gre = ends.entry(47, 0, 0).by_peer();
        vec![
            ends.sends(47, &[0; 4]).denied(),
            ends.sends(50, &[0; 8]).denied(),
            ends.sends(2, &[0; 8]).denied(),
            ends.gets(47, &[0; 4]).opens(gre.rx(1, ends.headers() + 4)),
            ends.sends(47, &[0; 4]).replies(gre.state(REPLIED).tx(1, ends.headers() + 4).rx(1, ends.headers() + 4)),
        ]
    });
}

#[test]
fn errors_about_a_connection_pass_and_others_do_not() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(judging(mode::ENFORCE, ISOLATED_INGRESS), |ends| {
        let u = ends.headers() + 8;
        let conn = ends.entry(UDP, 40000, 53).by_pod().tx(1, u);
        let unreachable = if ends.family() == 4 { 3 } else { 1 };
        let error = |port| icmp(unreachable, 0, [0; 4], &ip(ends.pod, ends.peer, UDP, &udp(port, 53, 0)));
        vec![
            ends.sends(UDP, &udp(40000, 53, 0)).opens(conn),
            ends.gets(ends.icmp(), &error(40000)).concerns(ends.peer, ends.pod, conn),
            ends.gets(ends.icmp(), &error(40001)).denied(),
        ]
    });
}

#[test]
fn fragments_of_what_was_denied_do_not_pass() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse_over(&[4], judging(mode::ENFORCE, ISOLATED_INGRESS), |ends| {
        let datagram = udp(50000, 53, 8);
        // Identification 1; more fragments follow; the second begins at byte 8.
        let first = patched(ends.incoming(UDP, &datagram[..8]), ETHERNET + 4, &[0, 1, 0x20, 0]);
        let later = patched(ends.incoming(UDP, &datagram[8..]), ETHERNET + 4, &[0, 1, 0, 1]);
        vec![
            Step::new(TO_POD, first).denied(),
            Step::new(TO_POD, later).refused(Counter::OrphanFragment).names(UDP, ends.peer, ends.pod).later_fragment(),
        ]
    });
}

#[test]
fn each_segment_of_a_denied_super_packet_is_counted() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(judging(mode::ENFORCE, ISOLATED_INGRESS), |ends| {
        let bytes = 4 * (ends.headers() as u32 + 8) + 2000;
        vec![ends.gets(UDP, &udp(1, 2, 2000)).segments(4, 500, 4, bytes).denied()]
    });
}

#[test]
fn repeated_denials_are_told_once_and_then_by_count() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let mut node = Node::new(judging(mode::ENFORCE, BOTH));
    let mut every = node.observe(per_packet());
    let mut sparse = node.observe(ObserverFilter::default());
    let ends = node.ends(4);
    let syn = ends.incoming(TCP, &tcp(50000, 80, SYN, 0));
    for _ in 0..7 {
        assert_eq!(node.run(TO_POD, &syn), SHOT);
    }
    assert_eq!(node.counted(), [(Counter::Dropped, 7)]);
    node.datapath.backdate(node.slot, 6).unwrap();
    assert_eq!(node.run(TO_POD, &syn), SHOT);
    let all = drain(&mut every);
    assert!(all.iter().all(|event| event.kind == kind::DENIED && event.reason == reason::POLICY), "{all:?}");
    assert_eq!(all.len(), 8);
    let counts: Vec<_> = drain(&mut sparse).iter().map(|event| event.count).collect();
    assert_eq!(counts, [1, 7], "first at once, the six silent ones with the next that was told");
    assert!(node.connections().is_empty(), "what is denied leaves no entry");
}

#[test]
fn what_was_denied_to_another_endpoint_of_the_slot_is_no_repetition() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(judging(mode::ENFORCE, BOTH));
    let mut sparse = node.observe(ObserverFilter::default());
    let syn = node.ends(6).incoming(TCP, &tcp(50000, 80, SYN, 0));
    for _ in 0..2 {
        node.run(TO_POD, &syn);
        node.run(TO_POD, &syn);
        let lock = NodeLock::take(node.root()).unwrap();
        node.datapath.remove_endpoint(&lock, IFINDEX).unwrap();
        node.datapath.add_endpoint(&lock, IFINDEX, judging(mode::ENFORCE, BOTH)).unwrap();
    }
    let counts: Vec<_> = drain(&mut sparse).iter().map(|event| event.count).collect();
    assert_eq!(counts, [1, 1]);
}

#[test]
fn an_endpoint_without_mode_is_not_seen() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let mut node = Node::new(judging(mode::NONE, BOTH));
    let mut observer = node.observe(per_packet());
    let ends = node.ends(4);
    assert_eq!(node.run(FROM_POD, &ends.outgoing(UDP, &udp(1, 2, 0))), NEXT);
    assert_eq!(node.run(TO_POD, &ethernet(0x88cc, &[])), NEXT);
    assert_eq!((node.counted(), drain(&mut observer), node.connections()), (vec![], vec![], vec![]));
}

#[test]
fn an_interface_without_endpoint_is_counted_and_passes() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let mut node = Node::new(judging(mode::ENFORCE, BOTH));
    let ends = node.ends(4);
    let frame = ends.incoming(UDP, &udp(1, 2, 0));
    assert_eq!(node.run(TO_POD, &frame), SHOT);
    let lock = NodeLock::take(node.root()).unwrap();
    node.datapath.remove_endpoint(&lock, IFINDEX).unwrap();
    node.counted();
    assert_eq!(node.run(TO_POD, &frame), NEXT);
    assert_eq!(node.counted(), [(Counter::NoEndpoint, 1)]);
}

#[test]
fn an_endpoint_whose_first_place_was_taken_is_found_by_interface() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let mut node = Node::new(observing());
    let lock = NodeLock::take(node.root()).unwrap();
    // Moves loopback out of place 1, into which an interface of the same remainder goes.
    node.datapath.remove_endpoint(&lock, IFINDEX).unwrap();
    let other = node.datapath.add_endpoint(&lock, chainkit_abi::SLOTS + IFINDEX, Settings::default()).unwrap();
    node.slot = node.datapath.add_endpoint(&lock, IFINDEX, Settings::default()).unwrap();
    assert_ne!(node.slot, other);
    let ends = node.ends(6);
    node.run(FROM_POD, &ends.outgoing(UDP, &udp(1, 2, 0)));
    assert_eq!(node.connection(ends, UDP, 1, 2).map(|conn| (conn.opened, conn.tx_packets)), Some((opened::BY_POD, 1)));
    assert!(node.datapath.connections(other).unwrap().is_empty());
    let all = [IFINDEX, chainkit_abi::SLOTS + IFINDEX].map(|ifindex| node.datapath.endpoint(ifindex).unwrap().unwrap());
    assert_eq!(
        all.map(|(slot, endpoint)| (slot, endpoint.ifindex)),
        [(node.slot, IFINDEX), (other, chainkit_abi::SLOTS + IFINDEX)]
    );
    node.datapath.remove_endpoint(&lock, IFINDEX).unwrap();
    node.counted();
    node.run(FROM_POD, &ends.outgoing(UDP, &udp(1, 2, 0)));
    assert_eq!(node.counted(), [(Counter::NoEndpoint, 1)]);
}

#[test]
fn removing_an_endpoint_tells_the_end_of_its_connections() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let mut observer = node.observe(ObserverFilter::default());
    let mut all: Vec<Ends> = Vec::new();
    for family in [4, 6, 4] {
        let ends = node.ends(family);
        node.run(FROM_POD, &ends.outgoing(UDP, &udp(1, 2, 0)));
        node.run(FROM_POD, &ends.outgoing(UDP, &udp(1, 2, 0)));
        all.push(ends);
    }
    drain(&mut observer);
    let lock = NodeLock::take(node.root()).unwrap();
    node.datapath.remove_endpoint(&lock, IFINDEX).unwrap();
    let events = drain(&mut observer);
    assert_eq!(events.len(), 3, "{events:?}");
    for ends in all {
        let event = events.iter().find(|event| event.family == ends.family() && crate::node::source(event) == ends.pod);
        let event = event.unwrap();
        let found = (event.kind, event.reason, event.hook, event.ifindex, event.tx_packets, event.tx_bytes);
        let bytes = 2 * (ends.headers() + 8);
        assert_eq!(found, (kind::CLOSE, chainkit_abi::close::REMOVED, chainkit_abi::hook::SWEEP, IFINDEX, 2, bytes));
        assert_eq!((event.source_port, event.destination_port, event.packets), (1, 2, 0));
    }
}
