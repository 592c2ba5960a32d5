//! Reads what nearly all packets are: TCP or UDP right behind IPv4 without options or IPv6 without extension headers, no
//! fragment, no tag in the frame.
//!
//! All offsets are known beforehand, so that it takes half the instructions that [`parse`](crate::parse) does. It must never
//! find anything else: whatever it does not know to be right is `None`, and is read again there.

use chainkit_abi::hook;

use crate::parse::{ETH_P_IP, ETH_P_IPV6, ETHERNET, Frame, Ipv4, Ipv6, TCP, UDP, orient};

/// Where the transport header is.
const BEHIND_IPV4: usize = ETHERNET + size_of::<Ipv4>();
const BEHIND_IPV6: usize = ETHERNET + size_of::<Ipv6>();
/// What of a transport header must be there to tell TCP from UDP: all of UDP's.
const UDP_HEADER: usize = 8;
/// TCP's, without options.
const TCP_HEADER: usize = 20;

/// What a plain packet says besides its key.
pub struct Plain {
    /// TCP flags; 0 for UDP.
    pub tcp_flags: u16,
    /// Bytes of headers, Ethernet to transport.
    pub headers: u32,
}

/// Reads a plain IPv4 packet; `addresses` and `rest` become the two words of a [`Key4`](chainkit_abi::Key4).
#[inline(always)]
pub fn ipv4<const HOOK: u8>(frame: &Frame, addresses: &mut u64, rest: &mut u64) -> Option<Plain> {
    if !frame.has(BEHIND_IPV4 + UDP_HEADER) {
        return None;
    }
    // SAFETY: within the bytes just found to be there. Both addresses are one word, the source first.
    let (ethertype, ip, both): (&u16, &Ipv4, &u64) =
        unsafe { (frame.at(12), frame.at(ETHERNET), frame.at(ETHERNET + 12)) };
    if *ethertype != ETH_P_IP.to_be() || !ip.is_plain() {
        return None;
    }
    let length = frame.within(ip.total_length(), ETHERNET)?.wrapping_sub(size_of::<Ipv4>() as u32);
    let (ports, plain) = transport::<HOOK, BEHIND_IPV4>(frame, length, ip.protocol)?;
    *addresses = if HOOK == hook::FROM_POD { *both } else { both.rotate_left(32) };
    *rest = tail(ports, ip.protocol);
    Some(plain)
}

/// Reads a plain IPv6 packet; `key` becomes the words of a [`Key6`](chainkit_abi::Key6).
#[inline(always)]
pub fn ipv6<const HOOK: u8>(frame: &Frame, key: &mut [u64; 5]) -> Option<Plain> {
    if !frame.has(BEHIND_IPV6 + UDP_HEADER) {
        return None;
    }
    // SAFETY: within the bytes just found to be there.
    let (ethertype, ip): (&u16, &Ipv6) = unsafe { (frame.at(12), frame.at(ETHERNET)) };
    if *ethertype != ETH_P_IPV6.to_be() || !ip.is_version_6() {
        return None;
    }
    let length = frame.within(ip.payload_length(), BEHIND_IPV6)?;
    let (ports, plain) = transport::<HOOK, BEHIND_IPV6>(frame, length, ip.next_header)?;
    let ([a, b], [c, d]) = orient::<_, HOOK>(ip.source, ip.destination);
    *key = [a, b, c, d, tail(ports, ip.next_header)];
    Some(plain)
}

impl Frame {
    /// Whether the linear part has `length` bytes.
    #[inline(always)]
    fn has(&self, length: usize) -> bool {
        self.data + length <= self.end
    }

    /// What lies at an offset.
    ///
    /// # Safety
    /// [`has`](Self::has) has found it to be there.
    #[inline(always)]
    unsafe fn at<T: Copy>(&self, offset: usize) -> &'static T {
        // SAFETY: the caller's promise; for alignment see [`header`](Self::header).
        unsafe { &*((self.data + offset) as *const T) }
    }

    /// The length that a header claims for what starts at `start`, if the packet has it.
    #[inline(always)]
    fn within(&self, said: u16, start: usize) -> Option<u32> {
        let room = self.length.wrapping_sub(start as u32);
        // The field of a super-packet is 16 bits of what may be more.
        let length = if self.super_packet { room } else { said as u32 };
        (length <= room).then_some(length)
    }
}

/// Ports of TCP or UDP at `AT`, oriented, and what else counts; UDP's header is known to be there.
#[inline(always)]
fn transport<const HOOK: u8, const AT: usize>(frame: &Frame, length: u32, protocol: u8) -> Option<(u32, Plain)> {
    // A total length shorter than the header itself came out as a huge one.
    let length = length as i32;
    // SAFETY: the caller knows that these bytes are there.
    let word: u32 = unsafe { *frame.at(AT) };
    // The local port in the low half, which lies first.
    let ports = if HOOK == hook::FROM_POD { word } else { word.rotate_left(16) };
    if protocol == TCP {
        if !frame.has(AT + TCP_HEADER) {
            return None;
        }
        // SAFETY: just found to be there.
        let word = u16::from_be(unsafe { *frame.at(AT + 12) });
        let data_offset = (word >> 12 << 2) as i32;
        if data_offset < TCP_HEADER as i32 || data_offset > length {
            return None;
        }
        return Some((ports, Plain { tcp_flags: word & 0x01ff, headers: AT as u32 + data_offset as u32 }));
    }
    if protocol != UDP || length < UDP_HEADER as i32 {
        return None;
    }
    // SAFETY: the caller knows that these bytes are there.
    let said = u16::from_be(unsafe { *frame.at(AT + 4) }) as i32;
    if !frame.super_packet && (said < UDP_HEADER as i32 || said > length) {
        return None;
    }
    Some((ports, Plain { tcp_flags: 0, headers: (AT + UDP_HEADER) as u32 }))
}

/// The last word of a key of either family: ports, protocol, no fragment.
///
/// Written whole, as the kernel hashes words: a processor cannot forward a word that was stored in pieces.
#[inline(always)]
fn tail(ports: u32, protocol: u8) -> u64 {
    ports as u64 | (protocol as u64) << 32
}
