//! What observers are told.

/// Where a packet was met; values of [`Event::hook`].
pub mod hook {
    /// Ingress of the host-side interface: the pod sent it.
    pub const FROM_POD: u8 = 0;
    /// Egress of the host-side interface: it goes to the pod.
    pub const TO_POD: u8 = 1;
    /// Not a packet: a table was swept.
    pub const SWEEP: u8 = 2;
}

/// Why an event is told; values of [`Event::kind`].
pub mod kind {
    /// First packet of a connection.
    pub const FIRST: u8 = 1;
    /// First packet of the other way.
    pub const REPLY: u8 = 2;
    /// A TCP flag that this side had not sent before.
    pub const FLAGS: u8 = 3;
    /// The verdict changed.
    pub const VERDICT: u8 = 4;
    /// A packet was denied, first or again after a while; [`Event::count`](super::Event::count) says how many it stands for.
    pub const DENIED: u8 = 5;
    /// The connection has ended, with its final counters; [`Event::reason`](super::Event::reason) is one of [`close`](super::close).
    pub const CLOSE: u8 = 6;
    /// The connection is active; told every five seconds.
    pub const ACTIVE: u8 = 7;
    /// Any other packet; told to observers that ask for each packet.
    pub const PACKET: u8 = 8;
    /// A packet that could not be parsed; [`Event::reason`](super::Event::reason) is one of [`reason`](super::reason).
    pub const MALFORMED: u8 = 9;
    /// An ICMP error that belongs to a connection.
    pub const RELATED: u8 = 10;
    /// No event, but a [`Piece`](crate::Piece) of payload; among the records of observers that ask for it.
    pub const PAYLOAD: u8 = 11;
}

/// What was decided; values of [`Event::verdict`] and of [`Conn::verdict`](crate::Conn).
pub mod verdict {
    /// Let pass.
    pub const FORWARDED: u8 = 1;
    /// Dropped.
    pub const DROPPED: u8 = 2;
    /// Would have been dropped, in audit mode.
    pub const AUDIT: u8 = 3;
}

/// Why a packet was denied or could not be parsed; values of [`Event::reason`] where the kind is no `CLOSE`.
///
/// From 16 on the numbers are those of [`Counter`](crate::Counter).
pub mod reason {
    /// None.
    pub const NONE: u8 = 0;
    /// Policy denies it.
    pub const POLICY: u8 = 1;
    /// It does not bear an address of the endpoint that sends it.
    pub const INVALID_SOURCE: u8 = 2;
    /// Policy denies some of the backends that the service may lead to.
    pub const SPLIT_SERVICE: u8 = 3;
}

/// How a connection ended; values of [`Event::reason`] where the kind is `CLOSE`.
pub mod close {
    /// FIN both ways.
    pub const FIN: u8 = 1;
    /// RST.
    pub const RST: u8 = 2;
    /// Idle past its timeout.
    pub const EXPIRED: u8 = 3;
    /// Alive, but its table was full.
    pub const EVICTED: u8 = 4;
    /// Its endpoint was removed.
    pub const REMOVED: u8 = 5;
    /// A new connection of the same addresses and ports took its place.
    pub const REOPENED: u8 = 6;
}

/// Whether a packet goes against the direction its connection was opened in; values of [`Event::reply`].
pub mod reply {
    /// It goes the way the connection was opened.
    pub const NO: u8 = 0;
    /// It is a reply.
    pub const YES: u8 = 1;
    /// Not known: the connection was met in mid-stream, or there is none.
    pub const UNKNOWN: u8 = 2;
}

/// TCP flags as they stand in the last byte and a half before the window (RFC 9293, section 3.1; NS: RFC 3540).
pub mod tcp {
    /// No more data from the sender.
    pub const FIN: u16 = 0x001;
    /// Synchronise sequence numbers.
    pub const SYN: u16 = 0x002;
    /// Reset.
    pub const RST: u16 = 0x004;
    /// Push.
    pub const PSH: u16 = 0x008;
    /// Acknowledgement is significant.
    pub const ACK: u16 = 0x010;
    /// Urgent pointer is significant.
    pub const URG: u16 = 0x020;
    /// ECN echo.
    pub const ECE: u16 = 0x040;
    /// Congestion window reduced.
    pub const CWR: u16 = 0x080;
    /// ECN nonce.
    pub const NS: u16 = 0x100;
}

/// One record of an observer's ring buffer.
///
/// Integers are in host byte order. `source` and `destination` are those of the packet, not of the connection. For a
/// `CLOSE` told by a sweep there is no packet: source is the side that opened (the pod where that is not known), and
/// `packets`, `bytes`, `tcp_flags` and the MAC addresses are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// One of [`kind`].
    pub kind: u8,
    /// One of [`hook`].
    pub hook: u8,
    /// 4 or 6; 0 where no IP header could be read.
    pub family: u8,
    /// IP protocol number.
    pub protocol: u8,
    /// One of [`verdict`].
    pub verdict: u8,
    /// One of [`reason`], or of [`close`] where the kind is `CLOSE`.
    pub reason: u8,
    /// Who opened the connection, one of [`opened`](crate::opened).
    pub opened: u8,
    /// One of [`reply`].
    pub reply: u8,
    /// Source address; IPv4 in the first four bytes.
    pub source: [u8; 16],
    /// Destination address; IPv4 in the first four bytes.
    pub destination: [u8; 16],
    /// Source port of TCP, UDP or SCTP, else 0.
    pub source_port: u16,
    /// Destination port of TCP, UDP or SCTP, else 0.
    pub destination_port: u16,
    /// TCP flags of this packet.
    pub tcp_flags: u16,
    /// VLAN tag of this packet: 0 without one, else 0x1000 + VLAN id.
    pub vlan: u16,
    /// Type of ICMP or ICMPv6, else 0.
    pub icmp_type: u8,
    /// Code of ICMP or ICMPv6, else 0.
    pub icmp_code: u8,
    /// 1: a fragment other than the first (its ports are those of the first).
    pub fragment: u8,
    /// The connection's state after this packet, one of [`state`](crate::state).
    pub state: u8,
    /// The host-side interface.
    pub ifindex: u32,
    /// Packets on the wire that this one stands for: 1, or the segments of a GSO super-packet.
    pub packets: u32,
    /// Bytes of their Ethernet frames.
    pub bytes: u32,
    /// Of a `DENIED`: how many packets since the last such event, this one included; else 0.
    pub count: u32,
    /// Generation of the policy that judged.
    pub generation: u32,
    /// The rule that decided.
    pub rule: u32,
    /// The endpoint's slot.
    pub slot: u32,
    /// Destination MAC address of this packet.
    pub destination_mac: [u8; 6],
    /// Source MAC address of this packet; behind the destination, as in the frame.
    pub source_mac: [u8; 6],
    /// TCP flags that the pod has sent on this connection so far.
    pub tx_flags: u16,
    /// TCP flags that the pod has received on this connection so far.
    pub rx_flags: u16,
    /// EtherType past VLAN tags.
    pub ethertype: u16,
    /// What the shadow generation would have decided, one of [`verdict`]; 0: there is none, or it was not asked.
    pub shadow_verdict: u8,
    /// Always 0.
    pub pad: u8,
    /// The rule by which it would have.
    pub shadow_rule: u32,
    /// Packets the pod has sent on this connection, this packet included.
    pub tx_packets: u64,
    /// Bytes the pod has sent on it.
    pub tx_bytes: u64,
    /// Packets the pod has received on it, this packet included.
    pub rx_packets: u64,
    /// Bytes the pod has received on it.
    pub rx_bytes: u64,
    /// First packet of the connection, nanoseconds of `CLOCK_MONOTONIC`; 0 without a connection.
    pub first_seen: u64,
    /// See [`Conn::rtt`](crate::Conn).
    pub rtt: u64,
}
