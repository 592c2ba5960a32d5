//! Packets that could not be read.

use aya_ebpf::bindings::__sk_buff;
use chainkit_abi::{SLOTS, hook, kind, rule, verdict};

use crate::{
    count,
    hook::{DROP, NEXT},
    lately,
    maps::ENDPOINTS,
    observe::{self, Telling},
    time, verdict as judge,
};

/// A packet that could not be read, of the endpoint at a place of `ENDPOINTS`; `outcome` is the number of the counter that says why.
#[inline(always)]
pub fn packet<const HOOK: u8>(
    skb: *mut __sk_buff,
    place: u32,
    outcome: u32,
    ethertype_vlan: u32,
    generation: u32,
) -> i32 {
    match HOOK {
        hook::FROM_POD => chainkit_malformed_from_pod(skb, place, outcome, ethertype_vlan, generation),
        _ => chainkit_malformed_to_pod(skb, place, outcome, ethertype_vlan, generation),
    }
}

/// [`packet`] that the pod sent.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chainkit_malformed_from_pod(
    skb: *mut __sk_buff,
    place: u32,
    outcome: u32,
    ethertype_vlan: u32,
    generation: u32,
) -> i32 {
    malformed_of::<{ hook::FROM_POD }>(skb, place, outcome, ethertype_vlan, generation)
}

/// [`packet`] that goes to the pod.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chainkit_malformed_to_pod(
    skb: *mut __sk_buff,
    place: u32,
    outcome: u32,
    ethertype_vlan: u32,
    generation: u32,
) -> i32 {
    malformed_of::<{ hook::TO_POD }>(skb, place, outcome, ethertype_vlan, generation)
}

#[inline(always)]
fn malformed_of<const HOOK: u8>(
    skb: *mut __sk_buff,
    place: u32,
    outcome: u32,
    ethertype_vlan: u32,
    generation: u32,
) -> i32 {
    count::add_number(outcome, 1);
    let Some(endpoint) = ENDPOINTS.get(place & (SLOTS - 1)) else { return NEXT };
    let slot = endpoint.slot & (SLOTS - 1);
    let refused = judge::refuses_unread::<HOOK>(place, generation);
    if refused {
        count::dropped(slot, 1);
    } else {
        count::other(slot, 1);
    }
    if observe::anyone() {
        let (due, seen) =
            lately::repeated(slot, (outcome as u64) << 33 | lately::hook_bit::<HOOK>() | 1, time::jiffies());
        let verdict = if refused { verdict::DROPPED } else { verdict::FORWARDED };
        let telling =
            Telling { kind: kind::MALFORMED, verdict, reason: outcome as u8, rule: rule::NONE, due, count: seen };
        observe::unread::<HOOK>(skb, slot, ethertype_vlan, telling);
    }
    if refused { DROP } else { NEXT }
}
