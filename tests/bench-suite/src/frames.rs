//! The frames that programs are run on: a pod's side of a conversation, as they lie on the wire.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const POD: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 2, 1, 1);
const POD6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 1, 0, 0, 0, 1);
const PEER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 1, 0, 0, 0, 1);

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// A conversation between the pod and its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    Tcp4,
    Udp4,
    Tcp6,
}

impl Case {
    pub(crate) const ALL: [Self; 3] = [Self::Tcp4, Self::Udp4, Self::Tcp6];

    /// Its name in the output.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tcp4 => "tcp4",
            Self::Udp4 => "udp4",
            Self::Tcp6 => "tcp6",
        }
    }

    /// The packets that bring the conversation to where nothing about it is new: (the pod sends it, frame).
    pub(crate) fn opening(self, port: u16) -> Vec<(bool, Vec<u8>)> {
        match self {
            Self::Udp4 => vec![(true, self.frame(true, port, 0)), (false, self.frame(false, port, 0))],
            Self::Tcp4 | Self::Tcp6 => vec![
                (true, self.frame(true, port, SYN)),
                (false, self.frame(false, port, SYN | ACK)),
                (true, self.frame(true, port, ACK)),
                (false, self.frame(false, port, ACK)),
            ],
        }
    }

    /// All packets of a TCP connection that carries nothing: (the pod sends it, frame).
    pub(crate) fn life(self, port: u16) -> Vec<(bool, Vec<u8>)> {
        let flags = [SYN, SYN | ACK, ACK, FIN | ACK, ACK, FIN | ACK, ACK];
        let by_pod = [true, false, true, false, true, true, false];
        by_pod.into_iter().zip(flags).map(|(by_pod, flags)| (by_pod, self.frame(by_pod, port, flags))).collect()
    }

    /// A packet of the established conversation that the pod sends from `port`.
    pub(crate) fn established(self, port: u16) -> Vec<u8> {
        self.frame(true, port, ACK)
    }

    /// The packet with which the pod opens a conversation from `port`.
    pub(crate) fn first(self, port: u16) -> Vec<u8> {
        self.frame(true, port, SYN)
    }

    fn frame(self, from_pod: bool, port: u16, flags: u8) -> Vec<u8> {
        let ports = if from_pod { (port, 80) } else { (80, port) };
        let transport = match self {
            Self::Udp4 => udp(ports),
            Self::Tcp4 | Self::Tcp6 => tcp(ports, flags),
        };
        let (pod, peer): (IpAddr, IpAddr) = match self {
            Self::Tcp6 => (POD6.into(), PEER6.into()),
            Self::Tcp4 | Self::Udp4 => (POD.into(), PEER.into()),
        };
        let protocol = if self == Self::Udp4 { 17 } else { 6 };
        let (source, destination) = if from_pod { (pod, peer) } else { (peer, pod) };
        packet(source, destination, protocol, &transport)
    }
}

/// The packet with which the pod opens a conversation with a peer: HTTPS over TCP, or DNS over UDP.
pub(crate) fn opening(peer: IpAddr, port: u16, https: bool) -> Vec<u8> {
    let (protocol, transport) = if https { (6, tcp((port, 443), SYN)) } else { (17, udp((port, 53))) };
    packet(POD.into(), peer, protocol, &transport)
}

/// Bytes of payload behind each transport header.
const PAYLOAD: [u8; 64] = [0x5a; 64];

fn tcp((source, destination): (u16, u16), flags: u8) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend(source.to_be_bytes());
    header.extend(destination.to_be_bytes());
    header.extend([0; 8]);
    header.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    header.extend(PAYLOAD);
    header
}

fn udp((source, destination): (u16, u16)) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend(source.to_be_bytes());
    header.extend(destination.to_be_bytes());
    header.extend(length(8 + PAYLOAD.len()));
    header.extend([0, 0]);
    header.extend(PAYLOAD);
    header
}

/// A length field. Frames here are far below its bounds.
fn length(bytes: usize) -> [u8; 2] {
    u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes()
}

fn packet(source: IpAddr, destination: IpAddr, protocol: u8, transport: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            frame.extend([0x08, 0x00, 0x45, 0]);
            frame.extend(length(20 + transport.len()));
            frame.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        (source, destination) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(length(transport.len()));
            frame.extend([protocol, 64]);
            for address in [source, destination] {
                let IpAddr::V6(address) = address else { continue };
                frame.extend(address.octets());
            }
        }
    }
    frame.extend(transport);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_those_of_the_headers_and_the_payload() {
        assert_eq!(Case::Tcp4.established(4000).len(), 14 + 20 + 20 + 64);
        assert_eq!(Case::Udp4.established(4000).len(), 14 + 20 + 8 + 64);
        assert_eq!(Case::Tcp6.established(4000).len(), 14 + 40 + 20 + 64);
        let frame = Case::Tcp4.established(4000);
        assert_eq!(u16::from_be_bytes([frame[16], frame[17]]), 20 + 20 + 64);
    }

    #[test]
    fn a_reply_has_ports_and_addresses_the_other_way_round() {
        let opening = Case::Tcp4.opening(4000);
        let (sent, reply) = (&opening[0].1, &opening[1].1);
        assert_eq!(sent[26..30], reply[30..34]);
        assert_eq!(sent[34..36], reply[36..38]);
        assert_eq!(reply[34..36], 80u16.to_be_bytes());
    }
}
