//! Reads headers, by direct access to the linear part of a packet.
//!
//! `data_end` ends the linear part, not the packet: what lies past it is [`MORE`], and the caller pulls and tries again.
//! Only what lies past the packet's own length is truncated.

use aya_ebpf::{bindings::__sk_buff, helpers::bpf_skb_load_bytes};
use chainkit_abi::{Counter, Key4, Key6, fragment, hook};

use crate::packet::{Packet, piece};

/// What reading ended with: [`OK`], [`MORE`], [`PASS`], or the number of the [`Counter`] that says what is wrong.
pub type Outcome = u32;
/// All that matters was read.
pub const OK: Outcome = 0;
/// More of the packet must be made linear first.
pub const MORE: Outcome = 1;
/// Always passes and is not tracked; already counted.
pub const PASS: Outcome = 2;

pub(crate) const ETHERNET: usize = 14;
pub(crate) const ETH_P_IP: u16 = 0x0800;
const ETH_P_ARP: u16 = 0x0806;
const ETH_P_8021Q: u16 = 0x8100;
pub(crate) const ETH_P_IPV6: u16 = 0x86dd;
const ETH_P_8021AD: u16 = 0x88a8;

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
const SCTP: u8 = 132;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// The linear part of a packet and the length of the whole.
#[derive(Clone, Copy)]
pub struct Frame {
    pub(crate) data: usize,
    pub(crate) end: usize,
    pub(crate) length: u32,
    pub(crate) super_packet: bool,
}

impl Frame {
    /// The packet as it lies now; a helper that changes it makes this invalid.
    ///
    /// # Safety
    /// `skb` is the context of the running program.
    #[inline(always)]
    pub unsafe fn new(skb: *const __sk_buff) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            Self {
                data: (*skb).data as usize,
                end: (*skb).data_end as usize,
                length: (*skb).len,
                super_packet: (*skb).gso_size != 0,
            }
        }
    }

    /// The header at an offset; `wrong` is what it means if the packet ends before it does.
    #[inline(always)]
    pub fn header<T: Copy>(&self, offset: usize, wrong: Counter) -> Result<&'static T, Outcome> {
        if self.data + offset + size_of::<T>() <= self.end {
            // SAFETY: within the linear part, as just checked; any bytes are a valid `T`. This machine has no alignment for
            // packets; to say that it has is what makes the compiler load words, and not byte by byte.
            Ok(unsafe { &*((self.data + offset) as *const T) })
        } else if offset + size_of::<T>() <= self.length as usize {
            Err(MORE)
        } else {
            Err(wrong as u32)
        }
    }
}

/// Reads Ethernet and VLAN tags: what the packet carries, and where.
///
/// # Safety
/// `skb` is the context of the running program.
#[inline(always)]
pub unsafe fn link(skb: *const __sk_buff, frame: &Frame, packet: &mut Packet) -> Result<usize, Outcome> {
    // SAFETY: the caller's promise.
    unsafe {
        // The outer tag is taken out of the frame before programs run.
        if (*skb).vlan_present != 0 {
            packet.vlan = 0x1000 | ((*skb).vlan_tci as u16 & 0x0fff);
        }
    }
    let mut offset = ETHERNET;
    let mut kind = u16::from_be(*frame.header::<u16>(12, Counter::TruncatedEthernet)?);
    if kind == ETH_P_8021Q || kind == ETH_P_8021AD {
        for _ in 0..2 {
            if kind != ETH_P_8021Q && kind != ETH_P_8021AD {
                break;
            }
            let tag: &[u16; 2] = frame.header(offset, Counter::BadVlan)?;
            packet.vlan = 0x1000 | (u16::from_be(tag[0]) & 0x0fff);
            kind = u16::from_be(tag[1]);
            offset += 4;
        }
    }
    packet.ethertype = kind;
    match kind {
        ETH_P_IP | ETH_P_IPV6 => Ok(offset),
        ETH_P_ARP => Err(PASS),
        ETH_P_8021Q | ETH_P_8021AD => Err(Counter::BadVlan as u32),
        _ => Err(Counter::UnknownEthertype as u32),
    }
}

/// Whether [`link`] found IPv4 (else IPv6).
#[inline(always)]
pub fn is_ipv4(packet: &Packet) -> bool {
    packet.ethertype == ETH_P_IP
}

/// An IPv4 header without options (RFC 791, section 3.1), as it lies in the packet.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Ipv4 {
    version_ihl: u8,
    _tos: u8,
    total_length: u16,
    identification: u16,
    fragment: u16,
    _ttl: u8,
    pub(crate) protocol: u8,
    _checksum: u16,
    pub(crate) source: u32,
    pub(crate) destination: u32,
}

impl Ipv4 {
    /// Length of the header with its options.
    #[inline(always)]
    pub fn header_length(&self) -> usize {
        ((self.version_ihl & 0x0f) as usize) << 2
    }

    /// Whether it is of version 4, without options, and no fragment.
    #[inline(always)]
    pub fn is_plain(&self) -> bool {
        self.version_ihl == 0x45 && self.fragment & 0x3fff_u16.to_be() == 0
    }

    /// Length of the packet, as it says.
    #[inline(always)]
    pub fn total_length(&self) -> u16 {
        u16::from_be(self.total_length)
    }

    /// Whether it is of version 4.
    #[inline(always)]
    pub fn is_version_4(&self) -> bool {
        self.version_ihl >> 4 == 4
    }

    /// Whether this is a fragment other than the first.
    #[inline(always)]
    pub fn is_later_fragment(&self) -> bool {
        u16::from_be(self.fragment) & 0x1fff != 0
    }
}

/// An IPv6 header (RFC 8200, section 3), as it lies in the packet.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Ipv6 {
    version_class_flow: u32,
    payload_length: u16,
    pub(crate) next_header: u8,
    hop_limit: u8,
    pub(crate) source: [u64; 2],
    pub(crate) destination: [u64; 2],
}

impl Ipv6 {
    /// Whether it is of version 6.
    #[inline(always)]
    pub fn is_version_6(&self) -> bool {
        u32::from_be(self.version_class_flow) >> 28 == 6
    }

    /// Length of what follows, as it says.
    #[inline(always)]
    pub fn payload_length(&self) -> u16 {
        u16::from_be(self.payload_length)
    }
}

/// Local and remote of a pair, as the hook sees it: the sender is the pod at `from_pod`.
#[inline(always)]
pub fn orient<T, const HOOK: u8>(source: T, destination: T) -> (T, T) {
    if HOOK == hook::FROM_POD { (source, destination) } else { (destination, source) }
}

/// Reads IPv4 and the transport header behind it.
#[inline(always)]
pub fn ipv4<const HOOK: u8>(frame: &Frame, at: usize, packet: &mut Packet, key: &mut Key4) -> Result<(), Outcome> {
    let ip: &Ipv4 = frame.header(at, Counter::TruncatedIpv4)?;
    let header = ip.header_length();
    let mut total = ip.total_length() as usize;
    if !ip.is_version_4() || header < size_of::<Ipv4>() {
        return Err(Counter::BadIpv4 as u32);
    }
    if frame.super_packet {
        // The length field of a super-packet is 16 bits of what may be more; its segments get their own.
        total = (frame.length as usize).wrapping_sub(at);
    }
    if total < header {
        return Err(Counter::BadIpv4 as u32);
    }
    if at + total > frame.length as usize {
        return Err(Counter::TruncatedIpv4 as u32);
    }
    let flags = u16::from_be(ip.fragment);
    if flags & 0x3fff != 0 {
        packet.fragment_id = ip.identification as u32;
        packet.piece = if flags & 0x1fff == 0 { piece::FIRST } else { piece::LATER };
    }
    (key.local, key.remote) = orient::<_, HOOK>(ip.source, ip.destination);
    key.protocol = ip.protocol;
    key.fragment = fragment::NONE;
    key.pad = 0;
    (key.local_port, key.remote_port) = transport::<HOOK, 4>(frame, at + header, total - header, key.protocol, packet)?;
    Ok(())
}

/// Reads IPv6, its extension headers and the transport header behind them.
#[inline(always)]
pub fn ipv6<const HOOK: u8>(
    skb: *mut __sk_buff,
    frame: &Frame,
    at: usize,
    packet: &mut Packet,
    key: &mut Key6,
) -> Result<(), Outcome> {
    let ip: &Ipv6 = frame.header(at, Counter::TruncatedIpv6)?;
    if !ip.is_version_6() {
        return Err(Counter::BadIpv6 as u32);
    }
    let mut payload = ip.payload_length() as usize;
    if frame.super_packet {
        payload = (frame.length as usize).wrapping_sub(at + size_of::<Ipv6>());
    }
    if at + size_of::<Ipv6>() + payload > frame.length as usize {
        return Err(Counter::TruncatedIpv6 as u32);
    }
    let end = at + size_of::<Ipv6>() + payload;
    let mut offset = at + size_of::<Ipv6>();
    let mut next = ip.next_header;
    if is_extension(next) {
        let walked = Walked::unpack(chainkit_extensions(skb, offset as u32, end as u32, next as u32));
        if walked.piece == WRONG {
            return Err(walked.next as u32);
        }
        packet.piece = walked.piece;
        packet.fragment_id = walked.id;
        next = walked.next;
        offset = (walked.offset as u32 & FARTHEST) as usize;
    }
    (key.local, key.remote) = orient::<_, HOOK>(ip.source, ip.destination);
    key.protocol = next;
    key.fragment = fragment::NONE;
    key.pad = 0;
    if offset > end {
        return Err(Counter::BadIpv6Extension as u32);
    }
    (key.local_port, key.remote_port) = transport::<HOOK, 6>(frame, offset, end - offset, next, packet)?;
    if next == ICMPV6 {
        // RFC 4861, section 7.1: neighbour discovery is valid with a hop limit of 255 only. MLD: RFC 3810, section 5.
        packet.always = match packet.icmp_type {
            133..=137 if ip.hop_limit == 255 => 1,
            130..=132 | 143 => 1,
            _ => 0,
        };
    }
    Ok(())
}

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;
const MOBILITY: u8 = 135;
const HIP: u8 = 139;
const SHIM6: u8 = 140;

/// Whether a next-header value names an extension header (IANA, "IPv6 Extension Header Types", less ESP, which hides
/// what follows).
#[inline(always)]
fn is_extension(next: u8) -> bool {
    matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION | MOBILITY | HIP | SHIM6)
}

/// What walking the extension headers found, in one number: the only thing that a global function can answer.
struct Walked {
    /// Offset of what is behind them.
    offset: u16,
    /// What that is; where `piece` is [`WRONG`], the counter that says what is wrong.
    next: u8,
    /// One of [`piece`], or [`WRONG`].
    piece: u8,
    /// Identification of a fragmented packet.
    id: u32,
}

/// A value of [`Walked::piece`]: there is no way through.
const WRONG: u8 = 0xff;

impl Walked {
    #[inline(always)]
    const fn pack(self) -> u64 {
        self.offset as u64 | (self.next as u64) << 16 | (self.piece as u64) << 24 | (self.id as u64) << 32
    }

    #[inline(always)]
    const fn unpack(word: u64) -> Self {
        Self { offset: word as u16, next: (word >> 16) as u8, piece: (word >> 24) as u8, id: (word >> 32) as u32 }
    }

    #[inline(always)]
    const fn wrong(counter: Counter) -> u64 {
        Self { offset: 0, next: counter as u8, piece: WRONG, id: 0 }.pack()
    }
}

/// Walks at most eight extension headers of the IPv6 packet that starts at `at`; answers a packed [`Walked`].
///
/// A function of its own, which the verifier reads once and not again for each state that a packet may be in by then. It
/// reads by a helper, which reaches what is not linear.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chainkit_extensions(skb: *mut __sk_buff, at: u32, end: u32, first: u32) -> u64 {
    let mut offset = at;
    let mut next = first as u8;
    let mut found = piece::WHOLE;
    let mut id = 0;
    for _ in 0..8 {
        if !is_extension(next) || found == piece::LATER {
            return Walked { offset: offset as u16, next, piece: found, id }.pack();
        }
        if offset + 8 > end || offset > FARTHEST {
            return Walked::wrong(Counter::BadIpv6Extension);
        }
        let mut header = [0u8; 8];
        // SAFETY: the context is valid, the buffer as long as said.
        if unsafe { bpf_skb_load_bytes(skb.cast(), offset, header.as_mut_ptr().cast(), 8) } != 0 {
            return Walked::wrong(Counter::BadIpv6Extension);
        }
        offset += match next {
            FRAGMENT => {
                let place = u16::from_be_bytes([header[2], header[3]]);
                id = u32::from_ne_bytes([header[4], header[5], header[6], header[7]]);
                // RFC 6946: offset 0 and no more fragments is a whole packet.
                if place & 0xfff8 != 0 {
                    found = piece::LATER;
                } else if place & 1 != 0 {
                    found = piece::FIRST;
                }
                8
            }
            // RFC 4302, section 2.2: in words of four bytes, less two.
            AUTHENTICATION => (header[1] as u32 + 2) << 2,
            _ => (header[1] as u32 + 1) << 3,
        };
        next = header[0];
    }
    if is_extension(next) && found != piece::LATER {
        return Walked::wrong(Counter::BadIpv6Extension);
    }
    Walked { offset: offset as u16, next, piece: found, id }.pack()
}

/// No chain of headers is longer; also what the verifier must know of an offset.
pub const FARTHEST: u32 = 0x7fff;

/// Reads ports, flags, types: what of the transport header is in the key, oriented, as it lies in the packet.
#[inline(always)]
fn transport<const HOOK: u8, const VERSION: u8>(
    frame: &Frame,
    at: usize,
    length: usize,
    protocol: u8,
    packet: &mut Packet,
) -> Result<(u16, u16), Outcome> {
    if packet.piece == piece::LATER {
        packet.headers = at as u32;
        return Ok((0, 0));
    }
    match protocol {
        TCP => {
            if length < 20 {
                return Err(Counter::TruncatedTransport as u32);
            }
            let header: &[u32; 4] = frame.header(at, Counter::TruncatedTransport)?;
            // Data offset (four bits), three bits reserved, nine flags.
            let word = u32::from_be(header[3]) >> 16;
            let data_offset = (word >> 12 << 2) as usize;
            if data_offset < 20 || data_offset > length {
                return Err(Counter::BadTransport as u32);
            }
            packet.tcp_flags = (word & 0x01ff) as u16;
            packet.sequence = header[1];
            packet.tcp_header = data_offset as u8;
            packet.headers = (at + data_offset) as u32;
            Ok(ports::<HOOK>(header[0]))
        }
        UDP => {
            if length < 8 {
                return Err(Counter::TruncatedTransport as u32);
            }
            let header: &[u32; 2] = frame.header(at, Counter::TruncatedTransport)?;
            let said = (u32::from_be(header[1]) >> 16) as usize;
            if packet.piece == piece::WHOLE && !frame.super_packet && (said < 8 || said > length) {
                return Err(Counter::BadTransport as u32);
            }
            packet.headers = (at + 8) as u32;
            Ok(ports::<HOOK>(header[0]))
        }
        SCTP => {
            if length < 12 {
                return Err(Counter::TruncatedTransport as u32);
            }
            packet.headers = (at + 12) as u32;
            Ok(ports::<HOOK>(*frame.header::<u32>(at, Counter::TruncatedTransport)?))
        }
        // Each behind its own version of IP; behind the other it is a protocol like any.
        ICMP | ICMPV6 if (protocol == ICMP) == (VERSION == 4) => {
            if length < 8 {
                return Err(Counter::TruncatedTransport as u32);
            }
            let header: &[u8; 8] = frame.header(at, Counter::TruncatedTransport)?;
            packet.icmp_type = header[0];
            packet.icmp_code = header[1];
            packet.headers = at as u32 + 8;
            let echo;
            if VERSION == 4 {
                echo = matches!(header[0], 0 | 8);
                packet.related = matches!(header[0], 3 | 4 | 5 | 11 | 12) as u8;
            } else {
                echo = matches!(header[0], 128 | 129);
                packet.related = matches!(header[0], 1..=4) as u8;
            }
            if echo {
                Ok((u16::from_ne_bytes([header[4], header[5]]), 0))
            } else {
                Ok((u16::from_ne_bytes([header[0], header[1]]), 0))
            }
        }
        _ => {
            packet.headers = at as u32;
            Ok((0, 0))
        }
    }
}

/// Both ports out of the word they lie in, oriented.
#[inline(always)]
pub fn ports<const HOOK: u8>(word: u32) -> (u16, u16) {
    // Little-endian: the word's low half lies first.
    orient::<_, HOOK>(word as u16, (word >> 16) as u16)
}
