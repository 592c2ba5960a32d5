//! What the kernel can decide before it copies an event to an observer.
//!
//! Each criterion is a superset test: user space applies the whole filter again. A criterion that does not fit is left
//! out, which passes more and loses nothing.

use crate::SLOTS;

/// Prefixes a kernel filter holds.
pub const FILTER_PREFIXES: usize = 8;
/// Ports a kernel filter holds.
pub const FILTER_PORTS: usize = 12;

/// Bits of [`ObserverFilter::flags`].
pub mod filter_bit {
    /// Tell every packet, not only the sparse events.
    pub const PER_PACKET: u32 = 1;
    /// Only endpoints whose bit is set in `endpoints`.
    pub const ENDPOINTS: u32 = 2;
    /// Only verdicts whose bit (1 << verdict) is set in `verdicts`.
    pub const VERDICTS: u32 = 4;
    /// Only protocols whose bit is set in `protocols`.
    pub const PROTOCOLS: u32 = 8;
    /// Only packets of which one of `prefixes` matches.
    pub const PREFIXES: u32 = 16;
    /// Only packets of which one of `ports` matches.
    pub const PORTS: u32 = 32;
}

/// Bits of [`ObserverFilter::protocols`].
pub mod protocol_bit {
    /// IPv4.
    pub const IPV4: u32 = 1;
    /// IPv6.
    pub const IPV6: u32 = 2;
    /// TCP.
    pub const TCP: u32 = 4;
    /// UDP.
    pub const UDP: u32 = 8;
    /// SCTP.
    pub const SCTP: u32 = 16;
    /// ICMP.
    pub const ICMP: u32 = 32;
    /// ICMPv6.
    pub const ICMPV6: u32 = 64;
    /// Any other protocol.
    pub const OTHER: u32 = 128;
}

/// Which end of a packet a criterion looks at; bits.
pub mod side {
    /// The source.
    pub const SOURCE: u8 = 1;
    /// The destination.
    pub const DESTINATION: u8 = 2;
    /// Either.
    pub const ANY: u8 = 3;
}

/// An address or prefix to look for; made by [`PrefixMatch::new`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PrefixMatch {
    /// The prefix; IPv4 in the first four bytes; bits past the prefix length are 0.
    pub address: [u8; 16],
    /// The bits that the prefix length covers.
    pub mask: [u8; 16],
    /// 4 or 6; 0: unused.
    pub family: u8,
    /// One of [`side`].
    pub side: u8,
    /// Always 0.
    pub pad: [u8; 6],
}

impl PrefixMatch {
    /// The prefix of `length` bits that `address` lies in. `family` is 4 or 6, `side` bits of [`side`].
    ///
    /// A length past the family's is taken for the whole address.
    #[must_use]
    pub fn new(address: [u8; 16], family: u8, length: u8, side: u8) -> Self {
        let mut mask = [0; 16];
        let bits = usize::from(if family == 4 { length.min(32) } else { length.min(128) });
        for (index, byte) in mask.iter_mut().enumerate() {
            *byte = match bits.saturating_sub(index * 8) {
                0 => 0,
                rest @ 1..=7 => 0xff << (8 - rest),
                _ => 0xff,
            };
        }
        let mut address = address;
        for (byte, covered) in address.iter_mut().zip(mask) {
            *byte &= covered;
        }
        Self { address, mask, family, side, pad: [0; 6] }
    }
}

/// A port to look for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PortMatch {
    /// The port, host byte order.
    pub port: u16,
    /// One of [`side`]; 0: unused.
    pub side: u8,
    /// Always 0.
    pub pad: u8,
}

/// An observer's filter, in the array `FILTERS` at its slot.
///
/// Different criteria must all hold; within one any value will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ObserverFilter {
    /// Bits of [`filter_bit`].
    pub flags: u32,
    /// Bits 1 << [`verdict`](crate::verdict).
    pub verdicts: u32,
    /// Bits of [`protocol_bit`]; the IP versions and the transports are two criteria in one word.
    pub protocols: u32,
    /// Always 0.
    pub pad: u32,
    /// A bit for each endpoint slot.
    pub endpoints: [u64; SLOTS as usize / 64],
    /// Addresses and prefixes.
    pub prefixes: [PrefixMatch; FILTER_PREFIXES],
    /// Ports.
    pub ports: [PortMatch; FILTER_PORTS],
}

impl Default for ObserverFilter {
    /// The filter that passes every sparse event.
    fn default() -> Self {
        Self {
            flags: 0,
            verdicts: 0,
            protocols: 0,
            pad: 0,
            endpoints: [0; SLOTS as usize / 64],
            prefixes: [PrefixMatch::default(); FILTER_PREFIXES],
            ports: [PortMatch::default(); FILTER_PORTS],
        }
    }
}
