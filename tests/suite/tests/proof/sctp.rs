//! SCTP by packets made by hand, so that the kernel need not know it: an INIT, which is answered by an INIT ACK (RFC 9260, section 5.1).

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, SockaddrStorage, recvfrom, sendto};
use socket2::{Domain, Protocol, Socket, Type};

/// Protocol number (IANA).
const SCTP: i32 = 132;
/// Chunk types (RFC 9260, section 3.2).
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
/// Bytes of the common header (section 3.1).
const COMMON_HEADER: usize = 12;

/// A packet as it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) from: IpAddr,
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    pub(crate) is_init: bool,
    /// What an INIT wants its answers to bear, and what an INIT ACK bears.
    pub(crate) tag: u32,
}

/// A socket that sends SCTP, and takes in all that comes to its network namespace over its address family.
pub(crate) struct Wire {
    socket: Socket,
}

impl Wire {
    /// To be called in the network namespace.
    pub(crate) fn open(address: IpAddr) -> Self {
        let domain = if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(SCTP))).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket }
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Asks for an association.
    pub(crate) fn init(&self, to: IpAddr, source_port: u16, destination_port: u16, tag: u32) {
        self.send(to, &packet(source_port, destination_port, 0, INIT, tag, &[]));
    }

    /// Answers an INIT.
    pub(crate) fn accept(&self, init: &Packet) {
        /// Parameter 7, the state cookie (section 3.3.3.1), which an INIT ACK has to have.
        const COOKIE: [u8; 8] = [0, 7, 0, 8, 1, 2, 3, 4];
        let ack = packet(init.destination_port, init.source_port, init.tag, INIT_ACK, 1, &COOKIE);
        self.send(init.from, &ack);
    }

    fn send(&self, to: IpAddr, packet: &[u8]) {
        let place = SockaddrStorage::from(SocketAddr::new(to, 0));
        match sendto(self.socket.as_raw_fd(), packet, &place, MsgFlags::empty()) {
            // A queue on the way is full, on a slow machine: it is lost like any packet, and asked for again.
            Ok(_) | Err(Errno::ENOBUFS) => {}
            Err(error) => panic!("cannot send SCTP to {to}: {error}"),
        }
    }

    /// The next INIT or INIT ACK, if one is there.
    pub(crate) fn receive(&self) -> Option<Packet> {
        let mut bytes = [0; 2048];
        loop {
            let (length, from) = match recvfrom::<SockaddrStorage>(self.socket.as_raw_fd(), &mut bytes) {
                Ok(received) => received,
                Err(Errno::EAGAIN) => return None,
                Err(error) => panic!("cannot receive SCTP: {error}"),
            };
            let from = from.unwrap();
            let from4 = from.as_sockaddr_in().map(|from| IpAddr::from(from.ip()));
            let from = from4.unwrap_or_else(|| from.as_sockaddr_in6().unwrap().ip().into());
            // Raw sockets of IPv4 are given the header too (raw(7)), those of IPv6 are not.
            let header = if from.is_ipv4() { usize::from(bytes[0] & 0xf) * 4 } else { 0 };
            if let Some(packet) = read(from, &bytes[header..length]) {
                return Some(packet);
            }
        }
    }
}

fn packet(
    source_port: u16,
    destination_port: u16,
    verification_tag: u32,
    chunk_type: u8,
    initiate_tag: u32,
    parameters: &[u8],
) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.extend(source_port.to_be_bytes());
    packet.extend(destination_port.to_be_bytes());
    packet.extend(verification_tag.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend([chunk_type, 0]);
    packet.extend((20 + u16::try_from(parameters.len()).unwrap()).to_be_bytes());
    packet.extend(initiate_tag.to_be_bytes());
    // Window, streams out and in, first number.
    packet.extend([0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
    packet.extend(parameters);
    let checksum = crc32c(&packet);
    packet[8..12].copy_from_slice(&checksum.to_le_bytes());
    packet
}

fn read(from: IpAddr, packet: &[u8]) -> Option<Packet> {
    let word = |at: usize| packet.get(at..at + 4).map(|bytes| u32::from_be_bytes(bytes.try_into().unwrap()));
    let ports = word(0)?;
    let (verification_tag, initiate_tag) = (word(4)?, word(COMMON_HEADER + 4)?);
    let is_init = match packet[COMMON_HEADER] {
        INIT => true,
        INIT_ACK => false,
        _ => return None,
    };
    let [source_high, source_low, destination_high, destination_low] = ports.to_be_bytes();
    Some(Packet {
        from,
        source_port: u16::from_be_bytes([source_high, source_low]),
        destination_port: u16::from_be_bytes([destination_high, destination_low]),
        is_init,
        tag: if is_init { initiate_tag } else { verification_tag },
    })
}

/// The checksum of RFC 9260, appendix A (Castagnoli's polynomial, reflected).
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 })
    })
}

#[test]
fn the_checksum_is_castagnolis() {
    // RFC 3720, appendix B.4.
    assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
}
