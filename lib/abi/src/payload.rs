//! Payload that is copied to observers: what lies in their rings besides events, and what they have decided about connections.

use core::mem::offset_of;

use crate::Event;

/// Most bytes that one piece carries.
pub const PIECE_BYTES: u32 = 4096;

/// Most pieces of one packet for one observer: 64 KiB, which is what a super-packet holds. Of a larger one (BIG TCP) no more is copied.
pub const PIECES: u32 = 16;

/// As long as a connection has carried less payload than this in a direction, and nothing is decided about it, it is copied whole.
pub const PAYLOAD_BUDGET: u32 = 64 << 10;

/// Past [`PAYLOAD_BUDGET`] a side that begins to speak has so much more copied whole: a request or a response begins there, and its head is not to
/// be torn since what came before it was long.
pub const PAYLOAD_TURN: u32 = 8 << 10;

/// Past that so many bytes of each packet are copied, by which what it carries may still be recognised.
pub const PROBE_BYTES: u32 = 64;

/// How far ahead of the stream [`PayloadState::until`] may lie. Sequence numbers are compared as RFC 9293, section 3.4 has it, so that one
/// that is 2 GiB ahead is taken for one that is past.
pub const SKIP_MOST: u32 = 1 << 30;

/// Bits of [`Piece::flags`].
pub mod piece_flag {
    /// Past the budget: no more than the first [`PROBE_BYTES`](super::PROBE_BYTES) of the packet's payload were copied.
    pub const PROBE: u8 = 1;
    /// The first fragment of a fragmented packet, of which, as of those that follow, nothing is copied.
    pub const FRAGMENT: u8 = 2;
}

/// What a piece of payload begins with in an observer's ring buffer; `length` bytes follow.
///
/// What an [`Event`] has, too, lies where it does there, but for `slot`: the byte `kind` tells which of the two a record is. Integers are in host byte order. Source and destination are those of the packet.
///
/// A TCP segment with SYN, FIN or RST of which nothing else is copied is told by a piece of no bytes at `offset` 0. The stream begins at
/// the `sequence` of a SYN, and ends at `sequence - offset + packet_length` of a FIN. What a RST carries is no part of the stream and is
/// not copied. Of a packet of more than [`PIECES`] pieces, or past the budget, the end is missing: where `offset + length` is less than
/// `packet_length`, and the next piece does not go on there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Piece {
    /// Nanoseconds of `CLOCK_MONOTONIC`; the same for all pieces of a packet.
    pub time: u64,
    /// [`kind::PAYLOAD`](crate::kind::PAYLOAD).
    pub kind: u8,
    /// One of [`hook`](crate::hook): from the pod, or to it.
    pub hook: u8,
    /// 4 or 6.
    pub family: u8,
    /// IP protocol number: TCP or UDP.
    pub protocol: u8,
    /// Bits of [`piece_flag`].
    pub flags: u8,
    /// Always 0.
    pub pad: u8,
    /// Who opened the connection, one of [`opened`](crate::opened).
    pub opened: u8,
    /// One of [`reply`](crate::reply).
    pub reply: u8,
    /// Source address; IPv4 in the first four bytes.
    pub source: [u8; 16],
    /// Destination address; IPv4 in the first four bytes.
    pub destination: [u8; 16],
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// TCP flags of the packet; 0 for UDP.
    pub tcp_flags: u16,
    /// VLAN tag of the packet: 0 without one, else 0x1000 + VLAN id.
    pub vlan: u16,
    /// The endpoint's slot.
    pub slot: u32,
    /// The host-side interface.
    pub ifindex: u32,
    /// Of TCP: sequence number of what lies at `offset`, whether or not it was copied; a SYN before it is counted. Of UDP 0.
    pub sequence: u32,
    /// Bytes that follow.
    pub length: u32,
    /// Where in the packet's payload they begin.
    pub offset: u32,
    /// Bytes of payload in the whole packet.
    pub packet_length: u32,
    /// Payload of each segment of a GSO super-packet, in which the last may be shorter: datagrams begin at its multiples. 0: it is none.
    pub segment: u32,
    /// Always 0.
    pub pad2: u32,
    /// First packet of the connection, nanoseconds of `CLOCK_MONOTONIC`: tells it from another of the same addresses and ports.
    pub first_seen: u64,
}

macro_rules! at_the_same_place {
    ($($field:ident)*) => {
        $(const _: () = assert!(offset_of!(Piece, $field) == offset_of!(Event, $field), stringify!($field));)*
    };
}

at_the_same_place! { time kind hook family protocol opened reply source destination source_port destination_port tcp_flags vlan ifindex }

/// Key of the inner maps of `DECISIONS` and of `HEALTH`: a connection as one endpoint meets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct PayloadKey {
    /// A [`Key6`](crate::Key6), or a [`Key4`](crate::Key4) in the first two words; the rest is 0.
    pub words: [u64; 5],
    /// The endpoint's slot.
    pub slot: u32,
    /// Always 0.
    pub pad: u32,
}

/// What of a connection's payload is copied; values of [`PayloadState::copy`].
pub mod copy {
    /// Nothing, nor is it told that it begins and ends: nobody can read it.
    pub const NOTHING: u8 = 1;
    /// All of it, but what lies before [`until`](super::PayloadState::until).
    pub const ALL: u8 = 2;
}

/// What an observer has decided about a connection, in its map of `DECISIONS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PayloadState {
    /// [`Piece::first_seen`] of the connection that is meant: of a later one of the same addresses and ports nothing is decided.
    pub first_seen: u64,
    /// By [`hook`](crate::hook): TCP payload before this sequence number is not copied. At most [`SKIP_MOST`] ahead of the stream.
    pub until: [u32; 2],
    /// By hook, 1: [`until`](Self::until) is to be heeded. The kernel clears it as the stream gets there: sequence numbers come again.
    pub skips: [u8; 2],
    /// One of [`copy`]; anything else: as if nothing were decided.
    pub copy: u8,
    /// Always 0.
    pub pad: [u8; 5],
}
