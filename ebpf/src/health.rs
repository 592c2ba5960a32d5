//! Follows how TCP connections fare, for observers that want to know, by packets that pass.
//!
//! As [`payload`](crate::payload), which it stands beside, it is called from the entrance once a packet has been judged, and reads it
//! again. What a packet means is in `chainkit_abi::Health`; here is where it is kept.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_ANY},
    btf_maps::{LruHashMap, PerCpuArray},
    helpers::bpf_skb_load_bytes,
    macros::btf_map,
};
use chainkit_abi::{Control, Counter, Health, OBSERVERS as OBSERVER_SLOTS, PayloadKey, SLOTS, Segment, hook};

use crate::{
    atomic,
    family::{Family, V4, V6},
    hook::NEXT,
    maps::{CONTROL, FILTERS, HEALTH},
    observe::{self, Subject},
    packet::{Packet, piece},
    parse::{self, Frame, Ipv4, Ipv6, TCP},
    payload, time,
};

/// A packet that is being looked at.
#[repr(C)]
pub struct Looking {
    key: PayloadKey,
    segment: Segment,
    source: [u8; 16],
    destination: [u8; 16],
    /// [`Conn::first_seen`](chainkit_abi::Conn) of its connection.
    first_seen: u64,
    source_port: u16,
    destination_port: u16,
    family: u8,
    hook: u8,
    pad: u16,
    /// What a connection begins with; zeroes but for its `first_seen`.
    fresh: Health,
}

#[btf_map]
static LOOKING: PerCpuArray<Looking, 1> = PerCpuArray::new();

#[inline(always)]
fn looking() -> Option<&'static mut Looking> {
    let cell = LOOKING.get_ptr_mut(0)?;
    // SAFETY: this CPU's element, and programs of one kind do not interrupt each other on it.
    Some(unsafe { &mut *cell })
}

/// Whether anyone wants to know how connections fare.
#[inline(always)]
pub fn anyone(control: *const Control) -> bool {
    // SAFETY: array elements stay.
    unsafe { core::ptr::read_volatile(&raw const (*control).health) != 0 }
}

/// What is done beside judging and counting, of a packet of an endpoint's to which the answer is `answer`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chainkit_beside(skb: *mut __sk_buff, packet_hook: u32, slot: u32, answer: u32) -> u32 {
    if answer as i32 != NEXT {
        return 0;
    }
    let Some(control) = CONTROL.get_ptr(0) else { return 0 };
    if payload::anyone(control) {
        payload::chainkit_payload(skb, packet_hook, slot);
    }
    if anyone(control) {
        chainkit_health(skb, packet_hook, slot);
    }
    0
}

/// Follows the connection of a packet that passes, for each observer that wants it; how many do.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chainkit_health(skb: *mut __sk_buff, packet_hook: u32, slot: u32) -> u32 {
    let Some(looking) = looking() else { return 0 };
    let mut packet = Packet::new();
    // SAFETY: the context is valid.
    let frame = unsafe { Frame::new(skb) };
    // SAFETY: as above.
    let Ok(at) = (unsafe { parse::link(skb, &frame, &mut packet) }) else { return 0 };
    for index in 0..looking.key.words.len() {
        // SAFETY: within the array; volatile, or the compiler calls a loop over bytes.
        unsafe { core::ptr::write_volatile((&raw mut looking.key.words).cast::<u64>().add(index), 0) };
    }
    let words = &raw mut looking.key.words;
    let known = if parse::is_ipv4(&packet) {
        let Ok(ip) = frame.header::<Ipv4>(at, Counter::TruncatedIpv4) else { return 0 };
        if ip.protocol != TCP {
            return 0;
        }
        let end = at as u32 + ip.total_length() as u32;
        // SAFETY: plain data no larger and no more aligned than the words.
        let key = unsafe { &mut *words.cast() };
        // Read as if the pod had sent it, and turned afterwards.
        if parse::ipv4::<{ hook::FROM_POD }>(&frame, at, &mut packet, key).is_err() {
            return 0;
        }
        of_connection::<V4>(skb, looking, &packet, end, packet_hook as u8, slot)
    } else {
        // SAFETY: as above.
        let key = unsafe { &mut *words.cast() };
        if parse::ipv6::<{ hook::FROM_POD }>(skb, &frame, at, &mut packet, key).is_err() {
            return 0;
        }
        let Ok(ip) = frame.header::<Ipv6>(at, Counter::TruncatedIpv6) else { return 0 };
        let end = (at + size_of::<Ipv6>()) as u32 + ip.payload_length() as u32;
        of_connection::<V6>(skb, looking, &packet, end, packet_hook as u8, slot)
    };
    if known.is_none() {
        return 0;
    }
    let Some(control) = CONTROL.get_ptr(0) else { return 0 };
    // SAFETY: array elements stay.
    let mut word = unsafe { core::ptr::read_volatile(&raw const (*control).health) };
    let mut told = 0;
    for observer in 0..OBSERVER_SLOTS {
        if word == 0 {
            break;
        }
        if word & 1 != 0 {
            told += chainkit_health_to(observer);
        }
        word >>= 1;
    }
    told
}

/// Puts down what is the same for all observers; `end` is where the packet ends, as its IP header says. `None`: it is no TCP packet of a
/// connection, or but a piece of one.
#[inline(always)]
fn of_connection<F: Family>(
    skb: *mut __sk_buff,
    looking: &mut Looking,
    packet: &Packet,
    end: u32,
    packet_hook: u8,
    slot: u32,
) -> Option<()> {
    let from_pod = packet_hook == hook::FROM_POD;
    // SAFETY: a family's key, and nobody else's reference.
    let key: &mut F::Key = unsafe { &mut *(&raw mut looking.key.words).cast() };
    if F::protocol(key) != TCP || packet.piece != piece::WHOLE {
        return None;
    }
    // Acknowledgement, data offset and flags, window: from the ninth byte of the header on (RFC 9293, section 3.1).
    let mut fields = [0u32; 2];
    let place = packet.headers.wrapping_sub(packet.tcp_header as u32).wrapping_add(8);
    // SAFETY: the context is valid, the place as long as said.
    if unsafe { bpf_skb_load_bytes(skb.cast(), place, fields.as_mut_ptr().cast(), 8) } != 0 {
        return None;
    }
    if !from_pod {
        F::turn(key);
    }
    // SAFETY: an element that was just found.
    let first_seen = unsafe { (*F::find(slot & (SLOTS - 1), key)?).first_seen };
    let mut measured = Packet::new();
    measured.headers = packet.headers;
    // SAFETY: the context is valid.
    unsafe { measured.measure(skb) };
    looking.key.slot = slot;
    looking.key.pad = 0;
    looking.segment.time = time::nanoseconds();
    looking.segment.sequence = u32::from_be(packet.sequence);
    looking.segment.acknowledged = u32::from_be(fields[0]);
    looking.segment.length = payload::payload_length(skb, packet, end, false);
    looking.segment.segments = measured.packets;
    looking.segment.flags = packet.tcp_flags;
    looking.segment.window = u32::from_be(fields[1]) as u16;
    looking.segment.pad = 0;
    looking.first_seen = first_seen;
    looking.family = F::NUMBER;
    looking.hook = packet_hook;
    (looking.source_port, looking.destination_port) =
        observe::ends::<F>(key, from_pod, &raw mut looking.source, &raw mut looking.destination);
    Some(())
}

/// Lets the packet in this CPU's cell count for one observer, if its filter lets it through; 1: it does.
///
/// An observer whose heartbeat has stopped is switched off here, as it is where events are told.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chainkit_health_to(observer: u32) -> u32 {
    let observer = observer & (OBSERVER_SLOTS - 1);
    let Some(control) = CONTROL.get_ptr_mut(0) else { return 0 };
    let Some(looking) = looking() else { return 0 };
    if observe::is_dead(control, observer, looking.segment.time) {
        // SAFETY: words of an array element.
        unsafe {
            atomic::and(&raw mut (*control).observers, !(1u64 << observer));
            atomic::and(&raw mut (*control).health, !(1u64 << observer));
        }
        return 0;
    }
    if chainkit_health_concerns(observer) == 0 {
        return 0;
    }
    chainkit_health_take(observer)
}

/// Whether an observer's filter lets the packet in this CPU's cell through, whatever its verdict; 1: it does.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chainkit_health_concerns(observer: u32) -> u32 {
    let Some(looking) = looking() else { return 0 };
    let Some(filter) = FILTERS.get(observer & (OBSERVER_SLOTS - 1)) else { return 0 };
    observe::concerns(filter, looking) as u32
}

/// Lets the packet in this CPU's cell count in an observer's map; 1: it has.
///
/// Both ways of a connection may be at work on two CPUs at once. Each writes counters of its own way; of what is written by both, an
/// update may get lost, and a measurement of the round-trip time with it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chainkit_health_take(observer: u32) -> u32 {
    let Some(looking) = looking() else { return 0 };
    let Some(map) = HEALTH.get(observer & (OBSERVER_SLOTS - 1)) else { return 0 };
    let mut found = LruHashMap::get_ptr_mut(map, &looking.key);
    let is_of_it = match found {
        // SAFETY: an element that was just found.
        Some(health) => unsafe { (*health).first_seen == looking.first_seen },
        None => false,
    };
    if !is_of_it {
        looking.fresh.first_seen = looking.first_seen;
        if LruHashMap::insert(map, &looking.key, &looking.fresh, BPF_ANY as u64).is_err() {
            return 0;
        }
        found = LruHashMap::get_ptr_mut(map, &looking.key);
    }
    let Some(health) = found else { return 0 };
    // SAFETY: an element that was just found. Should it be given to another connection meanwhile, that one counts a packet too many.
    unsafe { (*health).take(looking.hook == hook::FROM_POD, &looking.segment) };
    1
}

impl Subject for Looking {
    #[inline(always)]
    fn slot(&self) -> u32 {
        self.key.slot
    }

    #[inline(always)]
    fn family(&self) -> u8 {
        self.family
    }

    #[inline(always)]
    fn protocol(&self) -> u8 {
        TCP
    }

    #[inline(always)]
    fn addresses(&self) -> (&[u8; 16], &[u8; 16]) {
        (&self.source, &self.destination)
    }

    #[inline(always)]
    fn ports(&self) -> (u16, u16) {
        (self.source_port, self.destination_port)
    }
}
