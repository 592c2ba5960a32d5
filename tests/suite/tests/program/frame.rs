//! Builds packets, from the inside out. Checksums are 0: the datapath leaves them to the pod.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMPV6: u8 = 58;
pub(crate) const SCTP: u8 = 132;

pub(crate) const HOP_BY_HOP: u8 = 0;
pub(crate) const ROUTING: u8 = 43;
pub(crate) const FRAGMENT: u8 = 44;
pub(crate) const AUTHENTICATION: u8 = 51;
pub(crate) const DESTINATION: u8 = 60;

pub(crate) const IPV4: u16 = 0x0800;
pub(crate) const IPV6: u16 = 0x86dd;
pub(crate) const VLAN: u16 = 0x8100;
pub(crate) const SERVICE_VLAN: u16 = 0x88a8;

/// Where the IP header of an untagged frame begins.
pub(crate) const ETHERNET: usize = 14;

/// An Ethernet frame; the pod's side and the node's have made-up addresses, the same both ways.
pub(crate) fn ethernet(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x02, 0, 0, 0, 0, 0x0a, 0x02, 0, 0, 0, 0, 0x0b];
    frame.extend(kind.to_be_bytes());
    frame.extend(payload);
    frame
}

/// What stands behind a VLAN's EtherType: tag, EtherType, payload.
pub(crate) fn tagged(id: u16, kind: u16, payload: &[u8]) -> Vec<u8> {
    // Priority 5, so that a reader which does not mask it is found out.
    [&(id | 0xa000).to_be_bytes(), &kind.to_be_bytes(), payload].concat()
}

/// An IPv4 header less what is always the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ipv4<'a> {
    pub(crate) from: Ipv4Addr,
    pub(crate) to: Ipv4Addr,
    pub(crate) protocol: u8,
    pub(crate) id: u16,
    /// Offset of a fragment in units of eight bytes, and whether more follow.
    pub(crate) fragment: (u16, bool),
    /// A multiple of four bytes.
    pub(crate) options: &'a [u8],
}

impl Ipv4<'_> {
    pub(crate) fn with(self, payload: &[u8]) -> Vec<u8> {
        let header = 20 + self.options.len();
        let total = (header + payload.len()) as u16;
        let mut packet = vec![0x40 | (header / 4) as u8, 0];
        packet.extend(total.to_be_bytes());
        packet.extend(self.id.to_be_bytes());
        let (offset, more) = self.fragment;
        packet.extend((offset | u16::from(more) << 13).to_be_bytes());
        packet.extend([64, self.protocol, 0, 0]);
        packet.extend(self.from.octets());
        packet.extend(self.to.octets());
        packet.extend(self.options);
        packet.extend(payload);
        packet
    }
}

/// An IPv6 header less what is always the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ipv6 {
    pub(crate) from: Ipv6Addr,
    pub(crate) to: Ipv6Addr,
    pub(crate) next: u8,
    pub(crate) hop_limit: u8,
}

impl Ipv6 {
    pub(crate) fn with(self, payload: &[u8]) -> Vec<u8> {
        // A traffic class and a flow label, so that a reader which takes them for the version is found out.
        let mut packet = vec![0x6f, 0xf1, 0x23, 0x45];
        packet.extend((payload.len() as u16).to_be_bytes());
        packet.extend([self.next, self.hop_limit]);
        packet.extend(self.from.octets());
        packet.extend(self.to.octets());
        packet.extend(payload);
        packet
    }
}

/// A plain IP packet of the addresses' family.
pub(crate) fn ip(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            Ipv4 { from, to, protocol, id: 0, fragment: (0, false), options: &[] }.with(payload)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => Ipv6 { from, to, next: protocol, hop_limit: 64 }.with(payload),
        _ => panic!("{from} and {to} are of different families"),
    }
}

/// The frame of an IP packet, whose first byte tells the family.
pub(crate) fn framed(packet: &[u8]) -> Vec<u8> {
    ethernet(if packet[0] >> 4 == 4 { IPV4 } else { IPV6 }, packet)
}

/// A TCP segment of 20 bytes of header and `payload` bytes of zeroes.
pub(crate) fn tcp(from: u16, to: u16, flags: u16, payload: usize) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(from.to_be_bytes());
    segment.extend(to.to_be_bytes());
    segment.extend([0; 8]);
    segment.extend((5 << 12 | flags).to_be_bytes());
    segment.extend([0; 6]);
    segment.resize(20 + payload, 0);
    segment
}

/// A UDP datagram with `payload` bytes of zeroes.
pub(crate) fn udp(from: u16, to: u16, payload: usize) -> Vec<u8> {
    let mut datagram = Vec::new();
    datagram.extend(from.to_be_bytes());
    datagram.extend(to.to_be_bytes());
    datagram.extend((8 + payload as u16).to_be_bytes());
    datagram.resize(8 + payload, 0);
    datagram
}

/// An SCTP packet: common header, and `payload` bytes of zeroes for chunks.
pub(crate) fn sctp(from: u16, to: u16, payload: usize) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.extend(from.to_be_bytes());
    packet.extend(to.to_be_bytes());
    packet.resize(12 + payload, 0);
    packet
}

/// An ICMP or ICMPv6 message whose header's second word is `rest`.
pub(crate) fn icmp(kind: u8, code: u8, rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
    [&[kind, code, 0, 0], &rest[..], payload].concat()
}

/// An echo request or reply.
pub(crate) fn echo(kind: u8, id: u16, payload: usize) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    icmp(kind, 0, [high, low, 0, 1], &vec![0; payload])
}

/// An IPv6 extension header of `words` times eight bytes and what it announces; not for fragments and authentication.
pub(crate) fn extension(next: u8, words: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![next, words - 1];
    header.resize(usize::from(words) * 8, 0);
    header.extend(payload);
    header
}

/// An IPv6 authentication header with `words` times four bytes of check value (RFC 4302, section 2.2).
pub(crate) fn authentication(next: u8, words: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![next, words + 1];
    header.resize(12 + usize::from(words) * 4, 0);
    header.extend(payload);
    header
}

/// An IPv6 fragment header: offset in units of eight bytes, whether more follow, identification.
pub(crate) fn fragment(next: u8, offset: u16, more: bool, id: u32, payload: &[u8]) -> Vec<u8> {
    let place = offset << 3 | u16::from(more);
    [&[next, 0], &place.to_be_bytes()[..], &id.to_be_bytes(), payload].concat()
}

/// The frame with these bytes written over it at an offset.
pub(crate) fn patched(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}
