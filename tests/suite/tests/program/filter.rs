//! What the kernel leaves out for an observer, compared with what the filter says.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use chainkit_abi::{
    Event, FILTER_PORTS, FILTER_PREFIXES, ObserverFilter, PortMatch, PrefixMatch, SLOTS,
    filter_bit::{ENDPOINTS, PER_PACKET, PORTS, PREFIXES, PROTOCOLS, VERDICTS},
    flag, kind, mode, protocol_bit,
    side::{ANY, DESTINATION, SOURCE},
    tcp::SYN,
    verdict,
};
use chainkit_bpf::{Observer, Program};
use proptest::{collection::vec, option, prelude::*, sample::select, test_runner::TestRunner};

use crate::{
    frame::{SCTP, TCP, UDP, echo, ethernet, framed, ip, sctp, tcp, udp},
    node::{FROM_POD, Node, TO_POD, destination, drain, judging, per_packet, source},
    random,
};

const POD4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3));
const PEER4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 130, 4));
const FAR4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
const POD6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 3));
const PEER6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0x8000, 4));
// Its first four bytes are those of an IPv4 address above.
const FAR6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x0a01, 0x0203, 0, 0, 0, 0, 0, 1));

/// Packets of both families, of every transport, both ways; those to the pod are denied unless they reply.
fn corpus() -> Vec<(Program, Vec<u8>)> {
    let mut packets = Vec::new();
    for (pod, peer, icmp, request) in
        [(POD4, PEER4, 1, 8), (POD4, FAR4, 1, 8), (POD6, PEER6, 58, 128), (POD6, FAR6, 58, 128)]
    {
        let mut there = |protocol, payload: &[u8]| packets.push((FROM_POD, framed(&ip(pod, peer, protocol, payload))));
        there(TCP, &tcp(40000, 80, SYN, 0));
        there(UDP, &udp(40000, 53, 0));
        there(SCTP, &sctp(80, 53, 0));
        there(icmp, &echo(request, 80, 0));
        there(47, &[0, 0, 0, 80]);
        let mut back = |protocol, payload: &[u8]| packets.push((TO_POD, framed(&ip(peer, pod, protocol, payload))));
        back(UDP, &udp(53, 40000, 0));
        back(UDP, &udp(53, 80, 0));
        back(TCP, &tcp(50000, 80, SYN, 0));
        back(icmp, &echo(request, 53, 0));
        back(50, &[0; 8]);
    }
    packets.push((FROM_POD, ethernet(0x88cc, &[])));
    packets.push((TO_POD, ethernet(0x88cc, &[])));
    packets
}

/// What the filter says of an event, in the words of `chainkit_abi`.
fn wants(filter: &ObserverFilter, event: &Event) -> bool {
    let asks = |bit| filter.flags & bit != 0;
    if asks(ENDPOINTS) && filter.endpoints[event.slot as usize / 64] & 1 << (event.slot % 64) == 0 {
        return false;
    }
    if asks(VERDICTS) && filter.verdicts & 1 << event.verdict == 0 {
        return false;
    }
    if event.family == 0 {
        // Of what could not be read nothing more is known, and the reader decides.
        return true;
    }
    if asks(PROTOCOLS) {
        let version = if event.family == 4 { protocol_bit::IPV4 } else { protocol_bit::IPV6 };
        let transport = match event.protocol {
            TCP => protocol_bit::TCP,
            UDP => protocol_bit::UDP,
            SCTP => protocol_bit::SCTP,
            1 => protocol_bit::ICMP,
            58 => protocol_bit::ICMPV6,
            _ => protocol_bit::OTHER,
        };
        let versions = filter.protocols & (protocol_bit::IPV4 | protocol_bit::IPV6);
        let transports = filter.protocols & !versions;
        if versions != 0 && versions & version == 0 || transports != 0 && transports & transport == 0 {
            return false;
        }
    }
    let ends = [(SOURCE, source(event), event.source_port), (DESTINATION, destination(event), event.destination_port)];
    if asks(PREFIXES) {
        let hit = |prefix: &PrefixMatch| {
            let looks = |(side, address, _): &(u8, IpAddr, u16)| {
                prefix.side & side != 0 && prefix.family == event.family && contains(prefix, *address)
            };
            ends.iter().any(looks)
        };
        if !filter.prefixes.iter().any(hit) {
            return false;
        }
    }
    let hit = |wanted: &PortMatch| ends.iter().any(|(side, _, port)| wanted.side & side != 0 && wanted.port == *port);
    !asks(PORTS) || filter.ports.iter().any(hit)
}

fn contains(prefix: &PrefixMatch, address: IpAddr) -> bool {
    let bytes: Vec<u8> = match address {
        IpAddr::V4(address) => address.octets().into(),
        IpAddr::V6(address) => address.octets().into(),
    };
    bytes.iter().enumerate().all(|(index, byte)| byte & prefix.mask[index] == prefix.address[index])
}

fn prefix(address: IpAddr, length: u8, side: u8) -> PrefixMatch {
    match address {
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            PrefixMatch::new(bytes, 4, length, side)
        }
        IpAddr::V6(address) => PrefixMatch::new(address.octets(), 6, length, side),
    }
}

/// A node on which what comes to the pod is denied, with two observers: one of all, one to be filtered.
struct Stage {
    all: Observer,
    some: Observer,
    // Last, since it outlives its observers.
    node: Node,
}

impl Stage {
    fn new() -> Self {
        let node = Node::new(judging(mode::ENFORCE, flag::ISOLATED_INGRESS));
        let (all, some) = (node.observe(per_packet()), node.observe(per_packet()));
        Self { all, some, node }
    }

    /// Runs the corpus; how many of its events the filter let through, after it was seen to be right about all.
    fn try_filter(&mut self, mut filter: ObserverFilter) -> usize {
        filter.flags |= PER_PACKET;
        self.some.set_filter(&filter).unwrap();
        let packets = corpus();
        for (program, frame) in &packets {
            self.node.run(*program, frame);
        }
        let every = drain(&mut self.all);
        assert_eq!(every.len(), packets.len(), "one event a packet");
        let expected: Vec<_> = every.into_iter().filter(|event| wants(&filter, event)).collect();
        let found = drain(&mut self.some);
        assert_eq!(found, expected, "{filter:?}");
        found.len()
    }
}

fn ports(wanted: &[(u16, u8)]) -> ObserverFilter {
    let mut filter = ObserverFilter { flags: PORTS, ..ObserverFilter::default() };
    for (to, (port, side)) in filter.ports.iter_mut().zip(wanted) {
        *to = PortMatch { port: *port, side: *side, pad: 0 };
    }
    filter
}

fn prefixes(wanted: &[PrefixMatch]) -> ObserverFilter {
    let mut filter = ObserverFilter { flags: PREFIXES, ..ObserverFilter::default() };
    filter.prefixes[..wanted.len()].copy_from_slice(wanted);
    filter
}

fn endpoints(slots: &[u32]) -> ObserverFilter {
    let mut filter = ObserverFilter { flags: ENDPOINTS, ..ObserverFilter::default() };
    for slot in slots {
        filter.endpoints[*slot as usize / 64] |= 1 << (slot % 64);
    }
    filter
}

#[test]
fn each_criterion_alone_lets_through_what_it_says() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let mut stage = Stage::new();
    let verdicts = |bits| ObserverFilter { flags: VERDICTS, verdicts: bits, ..ObserverFilter::default() };
    let protocols = |bits| ObserverFilter { flags: PROTOCOLS, protocols: bits, ..ObserverFilter::default() };
    // For each of four peers: five packets of the pod, one reply, four that are denied; two frames that are not IP.
    assert_eq!(stage.try_filter(ObserverFilter::default()), 42);
    let slot = stage.node.slot;
    let others = [slot + 1, slot + 64, slot + 65, SLOTS - 1 - slot];
    assert_eq!(stage.try_filter(endpoints(&[slot])), 42);
    assert_eq!(stage.try_filter(endpoints(&others)), 0);
    assert_eq!(stage.try_filter(verdicts(1 << verdict::FORWARDED)), 4 * 6 + 1);
    assert_eq!(stage.try_filter(verdicts(1 << verdict::DROPPED)), 4 * 4 + 1);
    assert_eq!(stage.try_filter(verdicts(1 << verdict::AUDIT)), 0);
    assert_eq!(stage.try_filter(verdicts(1 << verdict::DROPPED | 1 << verdict::FORWARDED)), 42);
    // What is not IP passes what follows: its reader decides.
    assert_eq!(stage.try_filter(protocols(protocol_bit::IPV4)), 20 + 2);
    assert_eq!(stage.try_filter(protocols(protocol_bit::IPV6 | protocol_bit::UDP)), 2 * 3 + 2);
    assert_eq!(stage.try_filter(protocols(protocol_bit::TCP | protocol_bit::UDP)), 4 * 5 + 2);
    assert_eq!(stage.try_filter(protocols(protocol_bit::SCTP)), 4 + 2);
    assert_eq!(stage.try_filter(protocols(protocol_bit::ICMP)), 2 * 2 + 2);
    assert_eq!(stage.try_filter(protocols(protocol_bit::ICMPV6)), 2 * 2 + 2);
    assert_eq!(stage.try_filter(protocols(protocol_bit::OTHER)), 4 * 2 + 2);
    assert_eq!(stage.try_filter(protocols(protocol_bit::ICMPV6 | protocol_bit::IPV4)), 2, "no such packet");
    assert_eq!(stage.try_filter(prefixes(&[prefix(POD4, 32, SOURCE)])), 10 + 2);
    assert_eq!(stage.try_filter(prefixes(&[prefix(POD4, 32, DESTINATION)])), 10 + 2);
    assert_eq!(stage.try_filter(prefixes(&[prefix(PEER4, 17, ANY)])), 10 + 2, "10.1.128.0/17");
    assert_eq!(stage.try_filter(prefixes(&[prefix(PEER4, 16, ANY)])), 20 + 2, "10.1.0.0/16 has the pod");
    assert_eq!(stage.try_filter(prefixes(&[prefix(FAR4, 0, ANY)])), 20 + 2, "all of IPv4, none of IPv6");
    assert_eq!(stage.try_filter(prefixes(&[prefix(FAR4, 31, ANY), prefix(PEER6, 113, SOURCE)])), 10 + 5 + 2);
    assert_eq!(stage.try_filter(prefixes(&[prefix(POD6, 128, ANY)])), 20 + 2);
    assert_eq!(stage.try_filter(prefixes(&[])), 2, "none of no prefixes");
    assert_eq!(stage.try_filter(ports(&[(53, ANY)])), 4 * 4 + 2);
    assert_eq!(stage.try_filter(ports(&[(53, SOURCE)])), 4 * 2 + 2);
    assert_eq!(stage.try_filter(ports(&[(80, DESTINATION), (80, SOURCE)])), 4 * 4 + 2);
    assert_eq!(stage.try_filter(ports(&[(1, ANY), (50000, SOURCE)])), 4 + 2);
    assert_eq!(stage.try_filter(ports(&[(0, ANY)])), 4 * 4 + 2, "what has no ports has port 0");
}

#[test]
fn criteria_together_must_all_hold() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let mut stage = Stage::new();
    let all = ObserverFilter {
        flags: ENDPOINTS | VERDICTS | PROTOCOLS | PREFIXES | PORTS,
        verdicts: 1 << verdict::DROPPED,
        protocols: protocol_bit::IPV4 | protocol_bit::UDP | protocol_bit::TCP,
        endpoints: endpoints(&[stage.node.slot]).endpoints,
        prefixes: prefixes(&[prefix(PEER4, 32, SOURCE)]).prefixes,
        ports: ports(&[(53, SOURCE)]).ports,
        ..ObserverFilter::default()
    };
    // The one datagram from port 53 that was no reply, and the frame to the pod that is not IP.
    assert_eq!(stage.try_filter(all), 2);
    let other = endpoints(&[stage.node.slot + 1]).endpoints;
    assert_eq!(stage.try_filter(ObserverFilter { endpoints: other, ..all }), 0);
    assert_eq!(stage.try_filter(ObserverFilter { verdicts: 1 << verdict::FORWARDED, ..all }), 1 + 1, "the reply");
    assert_eq!(stage.try_filter(ObserverFilter { protocols: protocol_bit::IPV6, ..all }), 1);
    assert_eq!(stage.try_filter(ObserverFilter { protocols: protocol_bit::TCP, ..all }), 1);
    assert_eq!(
        stage.try_filter(ObserverFilter { prefixes: prefixes(&[prefix(PEER4, 32, DESTINATION)]).prefixes, ..all }),
        1
    );
    assert_eq!(stage.try_filter(ObserverFilter { ports: ports(&[(54, ANY)]).ports, ..all }), 1);
    assert_eq!(stage.try_filter(ObserverFilter { ports: ports(&[(54, ANY), (50000, ANY)]).ports, ..all }), 2);
}

#[test]
fn sparse_observers_are_filtered_as_well() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let node = Node::new(judging(mode::ENFORCE, flag::ISOLATED_INGRESS));
    let mut observer = node.observe(ports(&[(53, ANY)]));
    for (program, frame) in corpus() {
        node.run(program, &frame);
        node.run(program, &frame);
    }
    let mut kinds: Vec<_> =
        drain(&mut observer).iter().filter(|event| event.family != 0).map(|event| event.kind).collect();
    kinds.sort_unstable();
    // For each peer a query, its reply, an SCTP packet, and one denied that is told once; each again is nothing new.
    let expected = [[kind::FIRST; 8].as_slice(), &[kind::REPLY; 4], &[kind::DENIED; 4]].concat();
    assert_eq!(kinds, expected);
}

fn any_filter() -> impl Strategy<Value = ObserverFilter> {
    let addresses = select(vec![POD4, PEER4, FAR4, POD6, PEER6, FAR6]);
    let sides = select(vec![SOURCE, DESTINATION, ANY]);
    let prefix_of =
        (addresses, 0..=128_u8, sides.clone()).prop_map(|(address, length, side)| prefix(address, length, side));
    let port_of = (select(vec![53_u16, 80, 40000, 50000, 0, 1]), sides);
    (
        option::of(vec(0..130_u32, 0..80)),
        option::of(0..16_u32),
        option::of(0..256_u32),
        option::of(vec(prefix_of, 0..=FILTER_PREFIXES)),
        option::of(vec(port_of, 0..=FILTER_PORTS)),
    )
        .prop_map(|(slots, verdicts, protocols, addresses, wanted)| {
            let bit = |set: bool, bit| if set { bit } else { 0 };
            ObserverFilter {
                flags: bit(slots.is_some(), ENDPOINTS)
                    | bit(verdicts.is_some(), VERDICTS)
                    | bit(protocols.is_some(), PROTOCOLS)
                    | bit(addresses.is_some(), PREFIXES)
                    | bit(wanted.is_some(), PORTS),
                verdicts: verdicts.unwrap_or(0),
                protocols: protocols.unwrap_or(0),
                pad: 0,
                endpoints: endpoints(&slots.unwrap_or_default()).endpoints,
                prefixes: prefixes(&addresses.unwrap_or_default()).prefixes,
                ports: ports(&wanted.unwrap_or_default()).ports,
            }
        })
}

#[test]
fn any_filter_lets_through_what_it_says() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let stage = std::cell::RefCell::new(Stage::new());
    let mut runner = TestRunner::new(random::config(300));
    let outcome = runner.run(&any_filter(), |filter| {
        stage.borrow_mut().try_filter(filter);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
