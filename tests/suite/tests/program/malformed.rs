//! Packets cut off at every byte, and headers that cannot be: each is counted by its kind and passes, as nothing judges here.

use chainkit_abi::{Counter, ObserverFilter, kind, state::ESTABLISHED, verdict};
use chainkit_bpf::{Connection, Program};

use crate::{
    frame::{
        AUTHENTICATION, DESTINATION, ETHERNET, FRAGMENT, IPV4, IPV6, SCTP, SERVICE_VLAN, TCP, UDP, VLAN,
        authentication, echo, ethernet, extension, fragment, ip, patched, sctp, tagged, tcp, udp,
    },
    node::{Ends, FROM_POD, NEXT, Node, TO_POD, drain, observing, per_packet},
    step::{Step, converse, converse_over},
};

/// Runs the frame cut to each length from a bare Ethernet header to one byte less than whole, over both hooks, while nobody
/// looks and while somebody does; `wrong` says what must be counted for a length. `honest`: the IP header's own length field is
/// cut with the packet.
///
/// The whole frame comes first, both ways, so that there is a connection for what is cut to be mistaken for.
///
/// A test run itself refuses an untagged frame that ends within its IP header (Linux 6.18): those lengths are for frames
/// with tags.
fn cut_everywhere(node: &mut Node, frame: &[u8], l3: usize, honest: bool, wrong: impl Fn(usize) -> Counter) {
    let shortest = match (l3, frame[l3] >> 4) {
        (ETHERNET, 4) => ETHERNET + 20,
        (ETHERNET, _) => ETHERNET + 40,
        _ => ETHERNET,
    };
    for program in [FROM_POD, TO_POD] {
        node.run(program, frame);
    }
    let connections = node.connections();
    assert!(!connections.is_empty());
    for is_observed in [false, true] {
        let mut observer = is_observed.then(|| node.observe(per_packet()));
        for length in shortest..frame.len() {
            let mut cut = frame[..length].to_vec();
            if honest {
                shorten(&mut cut, l3);
            }
            for program in [FROM_POD, TO_POD] {
                node.counted();
                assert_eq!(node.run(program, &cut), NEXT, "answer to {length} bytes of {frame:02x?}");
                let expected = wrong(length);
                assert_eq!(node.counted(), [(expected, 1)], "counters after {length} bytes of {frame:02x?}");
                let Some(observer) = &mut observer else { continue };
                let events = drain(observer);
                let told: Vec<_> = events.iter().map(|event| (event.kind, event.reason, event.verdict)).collect();
                assert_eq!(told, [(kind::MALFORMED, expected as u8, verdict::FORWARDED)], "{length} bytes");
                assert_eq!((events[0].family, events[0].bytes as usize), (0, length));
            }
        }
    }
    assert_eq!(sorted(node.connections()), sorted(connections));
}

fn sorted(mut connections: Vec<Connection>) -> Vec<Connection> {
    connections.sort_by_key(|found| (found.local, found.remote, found.local_port, found.remote_port));
    connections
}

/// Makes the IP header say how long the packet is in truth, where that much of it is there.
fn shorten(frame: &mut [u8], l3: usize) {
    let Some(version) = frame.get(l3).map(|byte| byte >> 4) else { return };
    let (field, length) =
        if version == 4 { (l3 + 2, frame.len() - l3) } else { (l3 + 4, (frame.len() - l3).max(40) - 40) };
    if frame.len() >= field + 2 {
        frame[field..field + 2].copy_from_slice(&(length as u16).to_be_bytes());
    }
}

/// What is wrong with a packet of which only `length` bytes are there, though its IP header says that there are more.
fn ip_cut(family: u8) -> Counter {
    if family == 4 { Counter::TruncatedIpv4 } else { Counter::TruncatedIpv6 }
}

/// A packet of each transport, and where its header ends.
fn transports(ends: Ends) -> Vec<(Vec<u8>, usize)> {
    let l4 = ends.headers() as usize;
    let request = if ends.family() == 4 { 8 } else { 128 };
    vec![
        (ends.outgoing(TCP, &tcp(1, 2, 0x10, 0)), l4 + 20),
        (ends.outgoing(UDP, &udp(1, 2, 0)), l4 + 8),
        (ends.outgoing(SCTP, &sctp(1, 2, 0)), l4 + 12),
        (ends.outgoing(ends.icmp(), &echo(request, 1, 0)), l4 + 8),
    ]
}

#[test]
fn packets_shorter_than_they_say() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let mut node = Node::new(observing());
    for family in [4, 6] {
        let ends = node.ends(family);
        for (frame, _) in transports(ends) {
            cut_everywhere(&mut node, &frame, ETHERNET, false, |_| ip_cut(family));
        }
    }
}

#[test]
fn packets_too_short_for_their_transport() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let mut node = Node::new(observing());
    for family in [4, 6] {
        let ends = node.ends(family);
        let l4 = ends.headers() as usize;
        for (frame, end) in transports(ends) {
            assert_eq!(frame.len(), end, "no payload");
            cut_everywhere(&mut node, &frame, ETHERNET, true, |length| {
                if length < l4 { ip_cut(family) } else { Counter::TruncatedTransport }
            });
        }
    }
}

#[test]
fn tcp_options_that_are_cut_off() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let mut node = Node::new(observing());
    for family in [4, 6] {
        let ends = node.ends(family);
        let l4 = ends.headers() as usize;
        // Fifteen words of header, of which forty bytes are options.
        let segment = patched(tcp(1, 2, 0, 40), 12, &[0xf0]);
        cut_everywhere(&mut node, &ends.outgoing(TCP, &segment), ETHERNET, true, |length| match length {
            _ if length < l4 => ip_cut(family),
            _ if length < l4 + 20 => Counter::TruncatedTransport,
            _ => Counter::BadTransport,
        });
    }
}

#[test]
fn ipv4_options_that_are_cut_off() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let mut node = Node::new(observing());
    let ends = node.ends(4);
    // Fifteen words of header; what would be payload are options.
    let frame = patched(ends.outgoing(89, &[1; 40]), ETHERNET, &[0x4f]);
    cut_everywhere(&mut node, &frame, ETHERNET, false, |_| Counter::TruncatedIpv4);
    cut_everywhere(&mut node, &frame, ETHERNET, true, |length| {
        if length < ETHERNET + 20 { Counter::TruncatedIpv4 } else { Counter::BadIpv4 }
    });
}

#[test]
fn vlan_tags_that_are_cut_off() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let mut node = Node::new(observing());
    for family in [4, 6] {
        let ends = node.ends(family);
        let kind = if family == 4 { IPV4 } else { IPV6 };
        let packet = ip(ends.pod, ends.peer, UDP, &udp(1, 2, 0));
        let one = ethernet(VLAN, &tagged(1, kind, &packet));
        cut_everywhere(&mut node, &one, ETHERNET + 4, true, |length| match length {
            _ if length < ETHERNET + 4 => Counter::BadVlan,
            _ if length < ends.headers() as usize + 4 => ip_cut(family),
            _ => Counter::TruncatedTransport,
        });
        let two = ethernet(SERVICE_VLAN, &tagged(1, VLAN, &tagged(2, kind, &packet)));
        cut_everywhere(&mut node, &two, ETHERNET + 8, true, |length| match length {
            _ if length < ETHERNET + 8 => Counter::BadVlan,
            _ if length < ends.headers() as usize + 8 => ip_cut(family),
            _ => Counter::TruncatedTransport,
        });
    }
}

#[test]
fn ipv6_extension_headers_that_are_cut_off() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let mut node = Node::new(observing());
    let ends = node.ends(6);
    let inner = udp(1, 2, 0);
    let headers = [
        (DESTINATION, extension(UDP, 2, &inner)),
        (AUTHENTICATION, authentication(UDP, 3, &inner)),
        (FRAGMENT, fragment(UDP, 0, true, 7, &inner)),
        (DESTINATION, extension(AUTHENTICATION, 1, &authentication(FRAGMENT, 1, &fragment(UDP, 0, false, 7, &inner)))),
    ];
    for (next, payload) in headers {
        let l4 = ends.headers() as usize + payload.len() - inner.len();
        let frame = ends.outgoing(next, &payload);
        cut_everywhere(&mut node, &frame, ETHERNET, false, |_| Counter::TruncatedIpv6);
        cut_everywhere(&mut node, &frame, ETHERNET, true, |length| match length {
            _ if length < ends.headers() as usize => Counter::TruncatedIpv6,
            _ if length < l4 => Counter::BadIpv6Extension,
            _ => Counter::TruncatedTransport,
        });
    }
}

/// The frames in turn, each malformed in the same way.
fn all_wrong(counter: Counter, frames: Vec<(Program, Vec<u8>)>) -> Vec<Step> {
    let mut steps = Vec::new();
    for (number, (program, frame)) in frames.into_iter().enumerate() {
        let step = Step::new(program, frame).malformed(counter);
        steps.push(if number == 0 { step } else { step.again() });
    }
    steps
}

/// The same behind a good packet of the same connection, for which a faster reader might take them.
fn all_wrong_after(good: Step, counter: Counter, frames: Vec<(Program, Vec<u8>)>) -> Vec<Step> {
    [vec![good], all_wrong(counter, frames)].concat()
}

#[test]
fn ipv4_headers_that_cannot_be() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse_over(&[4], observing(), |ends| {
        let good = ends.outgoing(UDP, &udp(1, 2, 0));
        let mut frames = Vec::new();
        for version in (0..16).filter(|version| *version != 4) {
            frames.push(patched(good.clone(), ETHERNET, &[version << 4 | 5]));
        }
        for words in 0..5 {
            frames.push(patched(good.clone(), ETHERNET, &[0x40 | words]));
        }
        for total in 0..20_u16 {
            frames.push(patched(good.clone(), ETHERNET + 2, &total.to_be_bytes()));
        }
        let opens = Step::new(FROM_POD, good).opens(ends.entry(UDP, 1, 2).by_pod().tx(1, ends.headers() + 8));
        all_wrong_after(opens, Counter::BadIpv4, frames.into_iter().map(|frame| (FROM_POD, frame)).collect())
    });
}

#[test]
fn ipv4_packets_longer_than_their_frame() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse_over(&[4], observing(), |ends| {
        let good = ends.incoming(UDP, &udp(1, 2, 0));
        let frames =
            [29_u16, 1500, 65535].map(|total| (TO_POD, patched(good.clone(), ETHERNET + 2, &total.to_be_bytes())));
        let opens = Step::new(TO_POD, good).opens(ends.entry(UDP, 2, 1).by_peer().rx(1, ends.headers() + 8));
        all_wrong_after(opens, Counter::TruncatedIpv4, frames.into())
    });
}

#[test]
fn ipv6_headers_that_cannot_be() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse_over(&[6], observing(), |ends| {
        let good = ends.outgoing(UDP, &udp(1, 2, 0));
        let versions = (0..16).filter(|version| *version != 6);
        let mut steps = all_wrong_after(
            Step::new(FROM_POD, good.clone()).opens(ends.entry(UDP, 1, 2).by_pod().tx(1, ends.headers() + 8)),
            Counter::BadIpv6,
            versions.map(|version| (FROM_POD, patched(good.clone(), ETHERNET, &[version << 4]))).collect(),
        );
        let lengths = [9_u16, 1500, 65535];
        steps.extend(all_wrong(
            Counter::TruncatedIpv6,
            lengths.map(|length| (FROM_POD, patched(good.clone(), ETHERNET + 4, &length.to_be_bytes()))).into(),
        ));
        steps
    });
}

#[test]
fn tcp_data_offsets_that_cannot_be() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let field = ends.headers() as usize + 12;
        // Four bytes of payload: a header of five or six words can be.
        let good = ends.outgoing(TCP, &tcp(1, 2, 0x10, 4));
        let offsets = (0..16).filter(|words| ![5, 6].contains(words));
        let frames = offsets.map(|words| (FROM_POD, patched(good.clone(), field, &[words << 4]))).collect();
        let conn = ends.entry(TCP, 1, 2).state(ESTABLISHED);
        let opens = Step::new(FROM_POD, good).opens(conn.tx(1, ends.headers() + 24));
        all_wrong_after(opens, Counter::BadTransport, frames)
    });
}

#[test]
fn udp_lengths_that_cannot_be() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse(observing(), |ends| {
        let field = ends.headers() as usize + 4;
        let good = ends.outgoing(UDP, &udp(1, 2, 4));
        let lengths = [0_u16, 1, 7, 13, 512, 65535];
        let frames = lengths.map(|length| (FROM_POD, patched(good.clone(), field, &length.to_be_bytes()))).into();
        let conn = ends.entry(UDP, 1, 2).by_pod();
        let h = ends.headers() + 12;
        let opens = Step::new(FROM_POD, good.clone()).opens(conn.tx(1, h));
        let mut steps = all_wrong_after(opens, Counter::BadTransport, frames);
        // Shorter than the IP packet is allowed: what follows is padding (RFC 768 says nothing against it).
        let shorter = patched(good, field, &8_u16.to_be_bytes());
        steps.push(Step::new(FROM_POD, shorter).goes_on(conn.tx(2, 2 * h)));
        steps
    });
}

#[test]
fn a_repeated_fault_is_told_to_sparse_observers_once_and_then_counted() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(observing());
    let ends = node.ends(4);
    let mut sparse = node.observe(ObserverFilter::default());
    let frame = ethernet(0x88cc, &[]);
    for _ in 0..10 {
        node.run(FROM_POD, &frame);
    }
    node.datapath.backdate(node.slot, 6).unwrap();
    node.run(FROM_POD, &frame);
    let counts: Vec<_> = drain(&mut sparse).iter().map(|event| (event.reason, event.count)).collect();
    let reason = Counter::UnknownEthertype as u8;
    assert_eq!(counts, [(reason, 1), (reason, 10)], "one at once, and nine more with the next that was told");
    // Of the other hook it is another fault.
    node.run(TO_POD, &frame);
    node.run(TO_POD, &patched(ends.incoming(UDP, &udp(1, 2, 0)), ETHERNET, &[0x41]));
    let counts: Vec<_> = drain(&mut sparse).iter().map(|event| (event.reason, event.count)).collect();
    assert_eq!(counts, [(reason, 1), (Counter::BadIpv4 as u8, 1)]);
}
