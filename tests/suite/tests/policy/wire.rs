//! TCP segments made by hand, over IPv4.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, SockaddrStorage, recvfrom, sendto};
use socket2::{Domain, Protocol, Socket, Type};

/// What has not come by then does not come.
pub(crate) const QUIET: Duration = Duration::from_secs(1);

const SYN: u8 = 2;
const ACK: u8 = 16;

/// A segment as it came in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) from_port: u16,
    pub(crate) to_port: u16,
    pub(crate) sequence: u32,
    flags: u8,
}

impl Segment {
    /// Whether it opens a connection.
    pub(crate) const fn is_syn(self) -> bool {
        self.flags & (SYN | ACK) == SYN
    }
}

/// A socket that sends segments, and is given all that come to its network namespace.
pub(crate) struct Wire {
    socket: Socket,
}

impl Wire {
    /// To be called in the network namespace.
    pub(crate) fn open() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP)).unwrap();
        socket.set_read_timeout(Some(QUIET)).unwrap();
        Self { socket }
    }

    /// The next segment that is asked for, if it comes in time.
    pub(crate) fn next(&self, wanted: impl Fn(Segment) -> bool) -> Option<Segment> {
        let started = Instant::now();
        let mut bytes = [0; 2048];
        while started.elapsed() < QUIET {
            let Ok((length, _)) = recvfrom::<SockaddrStorage>(self.socket.as_raw_fd(), &mut bytes) else { return None };
            // Raw sockets of IPv4 are given the header too (raw(7)).
            let tcp = &bytes[usize::from(bytes[0] & 0xf) * 4..length];
            let word = |at: usize| u32::from_be_bytes(tcp[at..at + 4].try_into().unwrap());
            let [from_high, from_low, to_high, to_low] = word(0).to_be_bytes();
            let segment = Segment {
                from_port: u16::from_be_bytes([from_high, from_low]),
                to_port: u16::from_be_bytes([to_high, to_low]),
                sequence: word(4),
                flags: tcp[13],
            };
            if wanted(segment) {
                return Some(segment);
            }
        }
        None
    }

    /// Sends a SYN with this sequence number.
    pub(crate) fn open_with(&self, from: Ipv4Addr, to: (Ipv4Addr, u16), from_port: u16, sequence: u32) {
        let mut segment = Vec::new();
        segment.extend(from_port.to_be_bytes());
        segment.extend(to.1.to_be_bytes());
        segment.extend(sequence.to_be_bytes());
        segment.extend([0; 4]);
        // Five words of header, and a window (RFC 9293, section 3.1).
        segment.extend([0x50, SYN, 0xff, 0xff, 0, 0, 0, 0]);
        let mut sum = u32::from(u16::from_be_bytes([0, 6])) + 20;
        let halves = from.octets().into_iter().chain(to.0.octets()).chain(segment.iter().copied()).collect::<Vec<u8>>();
        sum += halves.chunks(2).map(|half| u32::from(u16::from_be_bytes([half[0], half[1]]))).sum::<u32>();
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        let checksum = !u16::try_from(sum).unwrap();
        segment[16..18].copy_from_slice(&checksum.to_be_bytes());
        let place = SockaddrStorage::from(SocketAddr::new(to.0.into(), 0));
        sendto(self.socket.as_raw_fd(), &segment, &place, MsgFlags::empty()).unwrap();
    }
}
