//! Reads packets and keeps connections as the datapath should, by slices and maps and in no hurry.
//!
//! It observes only, knows no time, and has room for everything.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use chainkit_abi::{
    Counter, opened,
    tcp::{ACK, FIN, RST, SYN},
};
use chainkit_bpf::{Program, TestContext};

use crate::{
    frame::{AUTHENTICATION, DESTINATION, FRAGMENT, HOP_BY_HOP, ICMP, ICMPV6, IPV4, IPV6, ROUTING, SCTP, TCP, UDP},
    node::FROM_POD,
};

/// A connection's name: pod, peer, protocol, the pod's port, the peer's.
pub(crate) type Key = (IpAddr, IpAddr, u8, u16, u16);

/// What is counted of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) opened: u8,
    pub(crate) tx: (u64, u64),
    pub(crate) rx: (u64, u64),
    pub(crate) tx_flags: u16,
    pub(crate) rx_flags: u16,
}

/// All that a datapath knows that only observes.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) connections: HashMap<Key, Tally>,
    /// Ports of fragmented packets, by addresses, protocol, identification; the sender comes first.
    fragments: HashMap<(IpAddr, IpAddr, u8, u32), (u16, u16)>,
    pub(crate) counters: BTreeMap<u32, u64>,
}

/// What a frame is.
enum Frame {
    Arp,
    /// Passes always, and has no connection.
    Local,
    Packet(Packet),
}

struct Packet {
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    /// Source and destination port, or what stands for the pod's.
    ports: Ports,
    piece: Piece,
    flags: u16,
    /// Of an echo reply.
    is_answer: bool,
    /// Bytes of all headers.
    headers: usize,
    /// Of an ICMP error: what lies behind its header.
    about: Option<Vec<u8>>,
}

#[derive(Clone, Copy)]
enum Ports {
    Pair(u16, u16),
    /// One number for both directions, which takes the place of the pod's port.
    Local(u16),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    Whole,
    First(u32),
    Later(u32),
}

/// The first `length` bytes and the others.
fn split(bytes: &[u8], length: usize, otherwise: Counter) -> Result<(&[u8], &[u8]), Counter> {
    bytes.split_at_checked(length).ok_or(otherwise)
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

fn port(bytes: &[u8]) -> u16 {
    number(&bytes[..2]) as u16
}

fn address(bytes: &[u8]) -> IpAddr {
    match <[u8; 4]>::try_from(bytes) {
        Ok(four) => Ipv4Addr::from(four).into(),
        Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).unwrap()).into(),
    }
}

fn read(frame: &[u8], is_super: bool) -> Result<Frame, Counter> {
    let (_, mut rest) = split(frame, 12, Counter::TruncatedEthernet)?;
    let mut tags = 0;
    loop {
        let (kind, behind) = split(rest, 2, Counter::TruncatedEthernet)?;
        rest = behind;
        match number(kind) as u16 {
            0x8100 | 0x88a8 if tags == 2 => return Err(Counter::BadVlan),
            0x8100 | 0x88a8 => {
                if rest.len() < 4 {
                    return Err(Counter::BadVlan);
                }
                tags += 1;
                rest = &rest[2..];
            }
            0x0806 => return Ok(Frame::Arp),
            IPV4 => return read_ipv4(rest, is_super),
            IPV6 => return read_ipv6(rest, is_super),
            _ => return Err(Counter::UnknownEthertype),
        }
    }
}

fn read_ipv4(packet: &[u8], is_super: bool) -> Result<Frame, Counter> {
    let (fixed, _) = split(packet, 20, Counter::TruncatedIpv4)?;
    let header = usize::from(fixed[0] & 15) * 4;
    let total = if is_super { packet.len() } else { number(&fixed[2..4]) };
    if fixed[0] >> 4 != 4 || header < 20 || total < header {
        return Err(Counter::BadIpv4);
    }
    let (_, rest) = split(packet, header, Counter::TruncatedIpv4)?;
    let (body, _) = split(rest, total - header, Counter::TruncatedIpv4)?;
    let place = number(&fixed[6..8]);
    let id = number(&fixed[4..6]) as u32;
    let piece = match (place & 0x1fff, place & 0x2000) {
        (0, 0) => Piece::Whole,
        (0, _) => Piece::First(id),
        _ => Piece::Later(id),
    };
    let ends = (address(&fixed[12..16]), address(&fixed[16..20]));
    let behind = Behind { rest, body, ends, piece, protocol: fixed[9], is_super };
    Ok(Frame::Packet(behind.read()?))
}

fn read_ipv6(packet: &[u8], is_super: bool) -> Result<Frame, Counter> {
    let (fixed, behind) = split(packet, 40, Counter::TruncatedIpv6)?;
    if fixed[0] >> 4 != 6 {
        return Err(Counter::BadIpv6);
    }
    let length = if is_super { behind.len() } else { number(&fixed[4..6]) };
    let (mut body, padding) = split(behind, length, Counter::TruncatedIpv6)?;
    let mut next = fixed[6];
    let mut piece = Piece::Whole;
    let mut extensions = 0;
    while [HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION, 135, 139, 140].contains(&next)
        && !matches!(piece, Piece::Later(_))
    {
        extensions += 1;
        if extensions > 8 || body.len() < 8 {
            return Err(Counter::BadIpv6Extension);
        }
        let length = match next {
            FRAGMENT => 8,
            AUTHENTICATION => usize::from(body[1]) * 4 + 8,
            _ => usize::from(body[1]) * 8 + 8,
        };
        if next == FRAGMENT {
            let id = number(&body[4..8]) as u32;
            match (number(&body[2..4]) >> 3, body[3] & 1) {
                (0, 0) => {}
                (0, _) => piece = Piece::First(id),
                _ => piece = Piece::Later(id),
            }
        }
        next = body[0];
        body = split(body, length, Counter::BadIpv6Extension)?.1;
    }
    let ends = (address(&fixed[8..24]), address(&fixed[24..40]));
    let rest = &behind[behind.len() - body.len() - padding.len()..];
    let packet = Behind { rest, body, ends, piece, protocol: next, is_super }.read()?;
    if next == ICMPV6 && !matches!(piece, Piece::Later(_)) {
        let neighbours = (133..=137).contains(&body[0]) && fixed[7] == 255;
        if neighbours || [130, 131, 132, 143].contains(&body[0]) {
            return Ok(Frame::Local);
        }
    }
    Ok(Frame::Packet(packet))
}

/// What is behind IP's headers.
struct Behind<'a> {
    /// All of the frame, padding included.
    rest: &'a [u8],
    /// What of that is the packet's.
    body: &'a [u8],
    ends: (IpAddr, IpAddr),
    piece: Piece,
    protocol: u8,
    is_super: bool,
}

impl Behind<'_> {
    fn read(&self) -> Result<Packet, Counter> {
        let (from, to) = self.ends;
        let body = self.body;
        let mut packet = Packet {
            from,
            to,
            protocol: self.protocol,
            ports: Ports::Pair(0, 0),
            piece: self.piece,
            flags: 0,
            is_answer: false,
            headers: 0,
            about: None,
        };
        if matches!(self.piece, Piece::Later(_)) {
            return Ok(packet);
        }
        let least = match (self.protocol, from) {
            (TCP, _) => 20,
            (UDP, _) | (ICMP, IpAddr::V4(_)) | (ICMPV6, IpAddr::V6(_)) => 8,
            (SCTP, _) => 12,
            _ => return Ok(packet),
        };
        if body.len() < least {
            return Err(Counter::TruncatedTransport);
        }
        packet.headers = least;
        let pair = Ports::Pair(port(body), port(&body[2..]));
        match self.protocol {
            TCP => {
                let header = usize::from(body[12] >> 4) * 4;
                if !(20..=body.len()).contains(&header) {
                    return Err(Counter::BadTransport);
                }
                packet.headers = header;
                packet.flags = number(&body[12..14]) as u16 & 0x1ff;
                packet.ports = pair;
            }
            UDP => {
                let length = number(&body[4..6]);
                let may_be = (8..=body.len()).contains(&length);
                if self.piece == Piece::Whole && !self.is_super && !may_be {
                    return Err(Counter::BadTransport);
                }
                packet.ports = pair;
            }
            SCTP => packet.ports = pair,
            _ => {
                let (errors, request, answer): (&[u8], _, _) =
                    if from.is_ipv4() { (&[3, 4, 5, 11, 12], 8, 0) } else { (&[1, 2, 3, 4], 128, 129) };
                let kind = body[0];
                packet.ports =
                    Ports::Local(if kind == request || kind == answer { port(&body[4..]) } else { port(body) });
                packet.is_answer = kind == answer;
                if errors.contains(&kind) {
                    // It may run into what should be padding, which makes no difference to anybody.
                    packet.about = Some(self.rest[8..].to_vec());
                }
            }
        }
        Ok(packet)
    }
}

/// The connection that an ICMP error is about, as the program sees it that the error went through: `None`, what it carries is
/// cut off or makes no sense.
fn concerned(about: &[u8], error: &Packet, program: Program) -> Option<Key> {
    let (header, ends, protocol) = if error.from.is_ipv4() {
        let fixed = about.get(..20)?;
        let header = usize::from(fixed[0] & 15) * 4;
        if fixed[0] >> 4 != 4 || header < 20 || number(&fixed[6..8]) & 0x1fff != 0 {
            return None;
        }
        (header, (address(&fixed[12..16]), address(&fixed[16..20])), fixed[9])
    } else {
        let fixed = about.get(..40)?;
        if fixed[0] >> 4 != 6 {
            return None;
        }
        (40, (address(&fixed[8..24]), address(&fixed[24..40])), fixed[6])
    };
    let start = about.get(header..header + 8)?;
    let ports = match protocol {
        TCP | UDP | SCTP => Ports::Pair(port(start), port(&start[2..])),
        ICMP | ICMPV6 => Ports::Local(port(&start[4..])),
        _ => Ports::Pair(0, 0),
    };
    // What comes to the pod is about what the pod sent.
    Some(key(ends, protocol, ports, program != FROM_POD))
}

fn key((from, to): (IpAddr, IpAddr), protocol: u8, ports: Ports, by_pod: bool) -> Key {
    match (ports, by_pod) {
        (Ports::Pair(source, destination), true) => (from, to, protocol, source, destination),
        (Ports::Pair(source, destination), false) => (to, from, protocol, destination, source),
        (Ports::Local(number), true) => (from, to, protocol, number, 0),
        (Ports::Local(number), false) => (to, from, protocol, number, 0),
    }
}

impl Model {
    fn count(&mut self, counter: Counter, packets: u64) {
        *self.counters.entry(counter as u32).or_default() += packets;
    }

    /// Takes one frame.
    pub(crate) fn meet(&mut self, program: Program, frame: &[u8], context: TestContext) {
        let packet = match read(frame, context.gso_size != 0) {
            Err(counter) => return self.count(counter, 1),
            Ok(Frame::Arp) => return self.count(Counter::Arp, 1),
            Ok(Frame::Local) => return self.count(Counter::NeighbourDiscovery, 1),
            Ok(Frame::Packet(packet)) => packet,
        };
        if let Some(about) = &packet.about {
            match concerned(about, &packet, program) {
                Some(key) if self.connections.contains_key(&key) => return self.count(Counter::IcmpRelated, 1),
                Some(_) => {}
                None => self.count(Counter::BadIcmpError, 1),
            }
        }
        let (packets, bytes) = measure(frame, &packet, context);
        let sender_first = (packet.from, packet.to, packet.protocol);
        let mut ports = packet.ports;
        match packet.piece {
            Piece::Whole => {}
            Piece::First(id) => {
                let pair = match ports {
                    Ports::Pair(source, destination) => (source, destination),
                    Ports::Local(number) => (number, 0),
                };
                let (from, to, protocol) = sender_first;
                self.fragments.insert((from, to, protocol, id), pair);
            }
            Piece::Later(id) => {
                let (from, to, protocol) = sender_first;
                let Some((first, second)) = self.fragments.get(&(from, to, protocol, id)) else {
                    return self.count(Counter::OrphanFragment, packets);
                };
                let is_icmp = if from.is_ipv4() { protocol == ICMP } else { protocol == ICMPV6 };
                ports = if is_icmp { Ports::Local(*first) } else { Ports::Pair(*first, *second) };
            }
        }
        let key = key((packet.from, packet.to), packet.protocol, ports, program == FROM_POD);
        self.enter(key, program, &packet, packets, bytes);
    }

    fn enter(&mut self, key: Key, program: Program, packet: &Packet, packets: u64, bytes: u64) {
        let from_pod = program == FROM_POD;
        let opens = packet.flags & (SYN | ACK) == SYN;
        let is_over = self.connections.get(&key).is_some_and(|known| {
            (known.tx_flags | known.rx_flags) & RST != 0 || known.tx_flags & known.rx_flags & FIN != 0
        });
        if is_over && opens {
            self.connections.remove(&key);
        }
        if let Entry::Vacant(place) = self.connections.entry(key) {
            let (this, other) =
                if from_pod { (opened::BY_POD, opened::BY_REMOTE) } else { (opened::BY_REMOTE, opened::BY_POD) };
            let opened = match packet.protocol {
                TCP if opens => this,
                TCP if packet.flags & SYN != 0 => other,
                TCP => opened::UNKNOWN,
                _ if packet.is_answer => opened::UNKNOWN,
                _ => this,
            };
            place.insert(Tally { opened, ..Tally::default() });
            self.count(Counter::NewConnections, 1);
        }
        let tally = self.connections.get_mut(&key).unwrap();
        let (counts, flags) =
            if from_pod { (&mut tally.tx, &mut tally.tx_flags) } else { (&mut tally.rx, &mut tally.rx_flags) };
        counts.0 += packets;
        counts.1 += bytes;
        *flags |= packet.flags;
    }
}

/// Packets and bytes on the wire that a frame stands for.
fn measure(frame: &[u8], packet: &Packet, context: TestContext) -> (u64, u64) {
    let length = frame.len() as u64;
    let Some(ports) = start_of_transport(frame) else { return (1, length) };
    let headers = (ports + packet.headers) as u64;
    let segments = match (context.gso_size, context.gso_segs) {
        (0, _) => 1,
        (size, 0) => (length - headers).div_ceil(size.into()).max(1),
        (_, segments) => u64::from(segments),
    };
    (segments, length + (segments - 1) * headers)
}

/// Where the transport header begins in a frame that was found to be whole.
fn start_of_transport(frame: &[u8]) -> Option<usize> {
    let mut at = 12;
    while [0x8100, 0x88a8].contains(&number(frame.get(at..at + 2)?)) {
        at += 4;
    }
    at += 2;
    if frame[at] >> 4 == 4 {
        return Some(at + usize::from(frame[at] & 15) * 4);
    }
    let mut next = frame[at + 6];
    at += 40;
    loop {
        let length = match next {
            FRAGMENT => 8,
            AUTHENTICATION => usize::from(*frame.get(at + 1)?) * 4 + 8,
            HOP_BY_HOP | ROUTING | DESTINATION | 135 | 139 | 140 => usize::from(*frame.get(at + 1)?) * 8 + 8,
            _ => return Some(at),
        };
        let is_later = next == FRAGMENT && number(&frame[at + 2..at + 4]) >> 3 != 0;
        next = frame[at];
        at += length;
        if is_later {
            return Some(at);
        }
    }
}
