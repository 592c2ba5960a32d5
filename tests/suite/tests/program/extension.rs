//! IPv4 options and IPv6 extension headers: what is behind them counts.

use std::net::IpAddr;

use chainkit_abi::{Counter, state::REPLIED};

use crate::{
    frame::{
        AUTHENTICATION, DESTINATION, ETHERNET, FRAGMENT, HOP_BY_HOP, Ipv4, ROUTING, TCP, UDP, authentication,
        extension, fragment, framed, patched, tcp, udp,
    },
    node::{FROM_POD, TO_POD, observing},
    step::{Step, converse_over},
};

#[test]
fn ports_are_found_behind_ipv4_options_of_every_length() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse_over(&[4], observing(), |ends| {
        let (IpAddr::V4(pod), IpAddr::V4(peer)) = (ends.pod, ends.peer) else { panic!("{ends:?} are not of IPv4") };
        let mut steps = Vec::new();
        for words in 1..=10_u16 {
            // Options of one byte without meaning (NOP, RFC 791, section 3.1).
            let options = vec![1; usize::from(words) * 4];
            let ip = Ipv4 { from: pod, to: peer, protocol: UDP, id: 0, fragment: (0, false), options: &options };
            let back = Ipv4 { from: peer, to: pod, ..ip };
            let bytes = 14 + 20 + u64::from(words) * 4 + 8;
            let entry = ends.entry(UDP, 40000 + words, 53).by_pod().tx(1, bytes);
            let replied = entry.state(REPLIED).rx(1, bytes);
            steps.push(Step::new(FROM_POD, framed(&ip.with(&udp(40000 + words, 53, 0)))).opens(entry));
            steps.push(Step::new(TO_POD, framed(&back.with(&udp(53, 40000 + words, 0)))).replies(replied));
        }
        steps
    });
}

/// A packet's next header and what stands at its place.
type Chain = (u8, Vec<u8>);

/// Puts an extension header of some kind in front of what is there.
fn behind(kind: u8, (next, payload): Chain) -> Chain {
    let header = match kind {
        FRAGMENT => fragment(next, 0, false, 77, &payload),
        AUTHENTICATION => authentication(next, 3, &payload),
        _ => extension(next, 1, &payload),
    };
    (kind, header)
}

/// A UDP datagram behind extension headers of these kinds.
fn chain(kinds: &[u8], from: u16, to: u16) -> Chain {
    kinds.iter().rev().fold((UDP, udp(from, to, 0)), |chain, kind| behind(*kind, chain))
}

/// Mobility, host identity, shim6: extension headers as well (IANA, "IPv6 Extension Header Types").
const RARE: [u8; 3] = [135, 139, 140];

#[test]
fn ports_are_found_behind_each_kind_of_ipv6_extension_header() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse_over(&[6], observing(), |ends| {
        let [mobility, identity, shim] = RARE;
        let chains: [&[u8]; 11] = [
            &[HOP_BY_HOP],
            &[ROUTING],
            &[DESTINATION],
            &[AUTHENTICATION],
            // An atomic fragment is a whole packet (RFC 6946).
            &[FRAGMENT],
            &[mobility],
            &[identity],
            &[shim],
            &[HOP_BY_HOP, DESTINATION, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION],
            &[AUTHENTICATION, AUTHENTICATION],
            &[HOP_BY_HOP, ROUTING, DESTINATION, DESTINATION, DESTINATION, DESTINATION, DESTINATION, DESTINATION],
        ];
        let mut steps = Vec::new();
        for (port, kinds) in (50000..).zip(chains) {
            let (next, request) = chain(kinds, port, 53);
            let bytes = ends.headers() + request.len() as u64;
            let entry = ends.entry(UDP, port, 53).by_pod().tx(1, bytes);
            steps.push(ends.sends(next, &request).opens(entry));
            let (next, reply) = chain(kinds, 53, port);
            steps.push(ends.gets(next, &reply).replies(entry.state(REPLIED).rx(1, bytes)));
        }
        steps
    });
}

#[test]
fn ports_are_found_behind_long_extension_headers() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse_over(&[6], observing(), |ends| {
        let mut steps = Vec::new();
        for (port, words) in (50000..).zip([2, 3, 16, 64, 128, 255]) {
            let header = extension(TCP, words, &tcp(port, 80, 0x10, 3));
            let entry = ends.entry(TCP, port, 80).state(chainkit_abi::state::ESTABLISHED);
            let bytes = ends.headers() + u64::from(words) * 8 + 23;
            steps.push(ends.sends(DESTINATION, &header).opens(entry.tx(1, bytes)));
        }
        steps
    });
}

#[test]
fn more_than_eight_extension_headers_are_too_many() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse_over(&[6], observing(), |ends| {
        [9, 10, 40]
            .map(|count| {
                let (next, payload) = chain(&vec![DESTINATION; count], 1, 2);
                ends.sends(next, &payload).malformed(Counter::BadIpv6Extension)
            })
            .into_iter()
            .enumerate()
            .map(|(number, step)| if number == 0 { step } else { step.again() })
            .collect()
    });
}

#[test]
fn an_extension_header_longer_than_its_packet_is_malformed() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    converse_over(&[6], observing(), |ends| {
        let whole = ends.outgoing(DESTINATION, &extension(UDP, 1, &udp(1, 2, 0)));
        let length = ETHERNET + 40 + 1;
        let mut steps = Vec::new();
        // One more word than there is behind it, and as many as it can say.
        for words in [2, 100, 255] {
            steps.push(Step::new(FROM_POD, patched(whole.clone(), length, &[words])));
        }
        // So for the authentication header, which counts in words of four bytes.
        let whole = ends.outgoing(AUTHENTICATION, &authentication(UDP, 1, &udp(1, 2, 0)));
        for words in [5, 255] {
            steps.push(Step::new(FROM_POD, patched(whole.clone(), length, &[words])));
        }
        let mut steps: Vec<_> =
            steps.into_iter().map(|step| step.malformed(Counter::BadIpv6Extension).again()).collect();
        steps[0] = steps[0].clone().first();
        steps
    });
}
