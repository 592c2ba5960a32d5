//! Connections, as each endpoint's own tables remember them.
//!
//! A key is oriented by the hook and not sorted: *local* is the pod's side, so a packet and its reply meet one entry with
//! one look-up.

/// Values of the `fragment` byte of a key: what kind of entry it is.
pub mod fragment {
    /// An ordinary connection.
    pub const NONE: u8 = 0;
    /// Remembers the ports of a fragmented packet that the pod sends; the identification stands where ports do.
    pub const FROM_POD: u8 = 1;
    /// The same for a fragmented packet that comes to the pod.
    pub const TO_POD: u8 = 2;
}

/// Who opened a connection; values of [`Conn::opened`].
pub mod opened {
    /// Met in mid-stream: not known.
    pub const UNKNOWN: u8 = 0;
    /// The pod did.
    pub const BY_POD: u8 = 1;
    /// The other side did.
    pub const BY_REMOTE: u8 = 2;
}

/// Where a connection stands; values of [`Conn::state`].
pub mod state {
    /// Not TCP, and nothing came back yet.
    pub const UNREPLIED: u8 = 0;
    /// Not TCP, seen both ways.
    pub const REPLIED: u8 = 1;
    /// TCP: a SYN was seen, nothing else.
    pub const SYN_SENT: u8 = 2;
    /// TCP: a SYN and its SYN-ACK were seen.
    pub const SYN_RECEIVED: u8 = 3;
    /// TCP: the handshake is over, or the connection was met in mid-stream.
    pub const ESTABLISHED: u8 = 4;
    /// TCP: one side has sent its FIN.
    pub const CLOSING: u8 = 5;
    /// TCP: both sides have sent a FIN, or one a RST. The entry stays a while for stragglers.
    pub const CLOSED: u8 = 6;
    /// The entry of a fragmented packet (see [`fragment`](super::fragment)).
    pub const FRAGMENT: u8 = 7;
}

/// Key of an IPv4 connection. All of it lies as in the packet: network byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Key4 {
    /// The pod's address.
    pub local: u32,
    /// The other side's address.
    pub remote: u32,
    /// The pod's port; for ICMP echo the identifier, for other ICMP type (high byte) and code; 0 where there is none.
    pub local_port: u16,
    /// The other side's port; 0 where there is none.
    pub remote_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// One of [`fragment`].
    pub fragment: u8,
    /// Always 0.
    pub pad: u16,
}

/// Key of an IPv6 connection; fields as in [`Key4`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Key6 {
    /// The pod's address.
    pub local: [u64; 2],
    /// The other side's address.
    pub remote: [u64; 2],
    /// The pod's port, or as in [`Key4`].
    pub local_port: u16,
    /// The other side's port.
    pub remote_port: u16,
    /// IP protocol number, past the extension headers.
    pub protocol: u8,
    /// One of [`fragment`].
    pub fragment: u8,
    /// Always 0.
    pub pad: u16,
}

/// What is remembered of a connection.
///
/// Packets are those on the wire (a GSO super-packet counts as its segments), bytes those of their Ethernet frames
/// without the check sequence, as interface counters and `tcpdump` count them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Conn {
    /// Last packet, in jiffies.
    pub last_seen: u64,
    /// Packets the pod sent.
    pub tx_packets: u64,
    /// Bytes the pod sent.
    pub tx_bytes: u64,
    /// Packets the pod received.
    pub rx_packets: u64,
    /// Bytes the pod received.
    pub rx_bytes: u64,
    /// Idle time after which the entry counts as absent, in jiffies.
    pub timeout: u32,
    /// Generation of the policy that judged it last.
    pub generation: u32,
    /// TCP flags the pod has sent so far ([`tcp`](crate::tcp)).
    pub tx_flags: u16,
    /// TCP flags the pod has received so far.
    pub rx_flags: u16,
    /// One of [`state`].
    pub state: u8,
    /// One of [`opened`].
    pub opened: u8,
    /// One of [`verdict`](crate::verdict).
    pub verdict: u8,
    /// 1 once its end was reported.
    pub closed: u8,
    /// When observers were last told of it, in jiffies.
    pub reported: u64,
    /// First packet, nanoseconds of `CLOCK_MONOTONIC`.
    pub first_seen: u64,
    /// When the packet was seen whose answer the handshake time waits for, nanoseconds of `CLOCK_MONOTONIC`; 0: none.
    pub handshake: u64,
    /// Round-trip time to the other side, from the TCP handshake, nanoseconds; 0: not known.
    ///
    /// SYN to SYN-ACK where the pod opened, SYN-ACK to ACK where the other side did; not taken from retransmissions.
    pub rtt: u64,
    /// The rule that decided.
    pub rule: u32,
    /// Its place in the endpoint's ring of keys; of a fragment entry also, so that it is evicted as others are.
    pub place: u32,
    /// Of a fragment entry: source port (low half) and destination port of the packet, network byte order.
    pub ports: u32,
    /// While payload is copied: whose turn it is to speak. The highest bit is the [`hook`](crate::hook) of the last packet with payload, the
    /// others are those of the payload that its side had sent when it began to speak.
    pub turn: u32,
}

/// State of one endpoint's two tables, in the array `TABLES` at its slot.
///
/// User space writes it while no endpoint has the slot, the kernel afterwards. What is added up of entries that were taken out
/// is complete when `ended` is what `ending` was: the first is counted behind the sums, the second before the entry goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TableState {
    /// Places handed out so far in the IPv4 table; the next one is this modulo its size.
    pub cursor4: u64,
    /// The same for IPv6.
    pub cursor6: u64,
    /// Entries that were still alive and had to make room.
    pub evicted: u64,
    /// Packets whose connection could not be remembered: no memory.
    pub failed: u64,
    /// Packets dropped: denied, or not to be read.
    pub dropped: u64,
    /// Packets that passed without belonging to a connection: ARP, neighbour discovery, MLD, ICMP errors about a connection,
    /// what could not be read, and those of `failed`.
    pub others: u64,
    /// Entries that were about to be taken out.
    pub ending: u64,
    /// Entries that were taken out, and whose counters are in the sums below.
    pub ended: u64,
    /// Packets that the pod sent on connections that were taken out.
    pub tx_packets: u64,
    /// Bytes that it sent on them.
    pub tx_bytes: u64,
    /// Packets that it received on them.
    pub rx_packets: u64,
    /// Bytes that it received on them.
    pub rx_bytes: u64,
    /// Places in each of the two tables; 0: there are no tables here.
    pub places: u32,
    /// The interface whose tables they are; 0: nobody's.
    pub ifindex: u32,
}
