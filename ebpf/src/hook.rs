//! Where a packet comes in: finds the endpoint, has the headers read, hands over.

use aya_ebpf::{
    bindings::{__sk_buff, TC_ACT_SHOT, TC_ACT_UNSPEC},
    helpers::bpf_skb_pull_data,
};
use chainkit_abi::{Control, Counter, DROPPED_BY_US, Key4, Key6, SLOTS, mode};

use crate::{
    count,
    family::{Family, V4, V6},
    health, malformed,
    maps::{CONTROL, ENDPOINTS, OVERFLOW},
    packet::Packet,
    parse::{self, Frame, MORE, Outcome, PASS},
    payload, track, verdict,
};

/// The packet passes, and the programs of others on the interface still run.
///
/// `TCX_NEXT` and `TC_ACT_UNSPEC` are one number; `TC_ACT_OK` would end the chain.
pub const NEXT: i32 = TC_ACT_UNSPEC;
/// The packet is dropped.
pub const DROP: i32 = TC_ACT_SHOT;
/// Not an answer to the kernel: more of the packet must be made linear.
const AGAIN: i32 = 1000;

/// As much of a packet as headers take, extension headers included; pulled once, only where they are not linear.
pub const PULL: u32 = 512;

/// What a packet met on its way in.
pub struct Meeting {
    /// The program's context.
    pub skb: *mut __sk_buff,
    /// The control word.
    pub control: *const Control,
    /// Where it is in `ENDPOINTS`.
    pub at: u32,
    /// Its slot.
    pub slot: u32,
    /// Generation of policy that judges this packet; read once.
    pub generation: u32,
}

/// Judges and counts one packet.
#[inline(always)]
pub fn run<const HOOK: u8>(skb: *mut __sk_buff) -> i32 {
    // SAFETY: the kernel passes a valid context.
    let ifindex = unsafe { (*skb).ifindex };
    let mut at = ifindex & (SLOTS - 1);
    let Some(mut endpoint) = ENDPOINTS.get_ptr(at) else { return NEXT };
    // SAFETY: array elements stay.
    if unsafe { (*endpoint).ifindex } != ifindex {
        let Some(found) = overflow(ifindex) else {
            count::add(Counter::NoEndpoint, 1);
            return NEXT;
        };
        at = found & (SLOTS - 1);
        let Some(second) = ENDPOINTS.get_ptr(at) else { return NEXT };
        endpoint = second;
    }
    // SAFETY: array elements stay.
    let (mode, slot) = unsafe { ((*endpoint).mode, (*endpoint).slot & (SLOTS - 1)) };
    if mode == mode::NONE {
        return NEXT;
    }
    let Some(control) = CONTROL.get_ptr(0) else { return NEXT };
    // Asked once, so that the whole run judges by one generation.
    let generation = verdict::generation(control);
    let meeting = Meeting { skb, control, at, slot, generation };
    // One place for the key of either family, whichever way it is read: the stack is short.
    let mut words = [0u64; 5];
    let place: *mut [u64; 5] = &mut words;
    // SAFETY: valid, and of nobody else by now.
    let plain = track::plain::<HOOK>(&meeting, unsafe { &mut *place });
    let answer = if plain { NEXT } else { judge::<HOOK>(&meeting, place) };
    // The answer is looked at over there, so that the verifier has no cause to read the ways that lead here apart for it.
    if health::anyone(control) | payload::anyone(control) {
        health::chainkit_beside(skb, HOOK as u32, slot, answer as u32);
    }
    answer
}

/// Judges a packet that is not plain, or of which there is something to say.
#[inline(always)]
fn judge<const HOOK: u8>(meeting: &Meeting, place: *mut [u64; 5]) -> i32 {
    let skb = meeting.skb;
    // A loop, though it runs once nearly always: both attempts share one stack frame.
    for _ in 0..2 {
        let answer = attempt::<HOOK>(meeting, place);
        if answer != AGAIN {
            return marked(skb, answer);
        }
        // SAFETY: the context is valid; every pointer into the packet is taken anew afterwards.
        unsafe {
            let length = (*skb).len;
            bpf_skb_pull_data(skb, if length < PULL { length } else { PULL });
        }
    }
    let answer = malformed::packet::<HOOK>(skb, meeting.at, Counter::TruncatedTransport as u32, 0, meeting.generation);
    marked(skb, answer)
}

/// Marks a packet that ends here, so that who is told what the kernel drops knows that this was told already.
#[inline(always)]
fn marked(skb: *mut __sk_buff, answer: i32) -> i32 {
    if answer == DROP {
        // SAFETY: the context is valid; nothing but the packet's end comes after this program.
        unsafe {
            (*skb).cb[0] = DROPPED_BY_US[0];
            (*skb).cb[1] = DROPPED_BY_US[1];
        }
    }
    answer
}

/// The place of an endpoint whose first choice was another's, if it is still its own.
#[inline(always)]
fn overflow(ifindex: u32) -> Option<u32> {
    let place = OVERFLOW.get_ptr(ifindex)?;
    // SAFETY: an element that was just found; its memory outlives the run.
    let place = unsafe { *place };
    let endpoint = ENDPOINTS.get_ptr(place & (SLOTS - 1))?;
    // SAFETY: array elements stay.
    (unsafe { (*endpoint).ifindex } == ifindex).then_some(place)
}

#[inline(always)]
fn attempt<const HOOK: u8>(meeting: &Meeting, place: *mut [u64; 5]) -> i32 {
    let mut packet = Packet::new();
    // SAFETY: the context is valid.
    let frame = unsafe { Frame::new(meeting.skb) };
    // SAFETY: as above.
    let at = match unsafe { parse::link(meeting.skb, &frame, &mut packet) } {
        Ok(at) => at,
        Err(outcome) => return unread::<HOOK>(meeting, outcome, &packet),
    };
    if parse::is_ipv4(&packet) {
        // SAFETY: a key is plain data no larger and no more aligned than the place.
        let key: &mut Key4 = unsafe { &mut *place.cast() };
        match parse::ipv4::<HOOK>(&frame, at, &mut packet, key) {
            Ok(()) => known::<V4, HOOK>(meeting, key, &mut packet),
            Err(outcome) => unread::<HOOK>(meeting, outcome, &packet),
        }
    } else {
        // SAFETY: as above.
        let key: &mut Key6 = unsafe { &mut *place.cast() };
        match parse::ipv6::<HOOK>(meeting.skb, &frame, at, &mut packet, key) {
            Ok(()) => known::<V6, HOOK>(meeting, key, &mut packet),
            Err(outcome) => unread::<HOOK>(meeting, outcome, &packet),
        }
    }
}

#[inline(always)]
fn known<F: Family, const HOOK: u8>(meeting: &Meeting, key: &F::Key, packet: &mut Packet) -> i32 {
    // SAFETY: the context is valid.
    unsafe { packet.measure(meeting.skb) };
    track::packet::<F, HOOK>(meeting, key, packet)
}

#[inline(always)]
fn unread<const HOOK: u8>(meeting: &Meeting, outcome: Outcome, packet: &Packet) -> i32 {
    match outcome {
        MORE => AGAIN,
        PASS => {
            count::add(Counter::Arp, 1);
            count::other(meeting.slot, 1);
            NEXT
        }
        number => {
            let ethertype_vlan = packet.ethertype as u32 | (packet.vlan as u32) << 16;
            malformed::packet::<HOOK>(meeting.skb, meeting.at, number, ethertype_vlan, meeting.generation)
        }
    }
}
