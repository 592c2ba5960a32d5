//! The datapath: two classifiers on the host side of each interface of a pod, and three programs that user space runs.
//!
//! The way of a packet: [`chainkit_ebpf::hook`] finds the endpoint, [`chainkit_ebpf::parse`] reads the headers,
//! [`chainkit_ebpf::track`] meets the connection with one look-up, [`chainkit_ebpf::verdict`] decides what is new,
//! [`chainkit_ebpf::observe`] tells whoever looks, [`chainkit_ebpf::payload`] copies to who wants that.
#![no_std]
#![no_main]

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::{bpf_ktime_get_ns, generated::bpf_jiffies64},
    macros::classifier,
    programs::TcContext,
};
use chainkit_abi::{ABI_VERSION, Clock, hook as hooks};
use chainkit_ebpf::{enter, hook, maps, sweep};

/// Ingress of the host-side interface: what the pod sends.
#[classifier]
pub fn from_pod(ctx: TcContext) -> i32 {
    hook::run::<{ hooks::FROM_POD }>(ctx.skb.skb)
}

/// Egress of the host-side interface: what goes to the pod.
#[classifier]
pub fn to_pod(ctx: TcContext) -> i32 {
    hook::run::<{ hooks::TO_POD }>(ctx.skb.skb)
}

/// Takes expired entries out of a stretch of one endpoint's table; run by user space, never attached.
///
/// `cb[0]` is the slot, `cb[1]` the family (4 or 6), `cb[2]` the first place, `cb[3]` non-zero to take out live entries
/// too (the endpoint goes). Returns how many entries it took out.
#[classifier]
pub fn sweep(ctx: TcContext) -> i32 {
    let skb: *mut __sk_buff = ctx.skb.skb;
    // SAFETY: the kernel passes a valid context.
    let (slot, family, start, all) = unsafe { ((*skb).cb[0], (*skb).cb[1], (*skb).cb[2], (*skb).cb[3]) };
    sweep::chunk(slot, family, start, all != 0)
}

/// Enters a connection that was there before; run by user space, never attached. The frame is an Ethernet header and an
/// [`Entering`](chainkit_abi::Entering); answers one of [`entered`](chainkit_abi::entered).
#[classifier]
pub fn enter(ctx: TcContext) -> i32 {
    enter::connection(ctx.skb.skb)
}

/// Writes both clocks into `CLOCK`; run by user space, never attached.
#[classifier]
pub fn clock(_ctx: TcContext) -> i32 {
    // Reading the control word is what tells user space which datapath this program belongs to.
    if maps::CONTROL.get(0).is_none_or(|control| control.abi != ABI_VERSION) {
        return 1;
    }
    // SAFETY: helpers without preconditions.
    let clock = unsafe { Clock { monotonic: bpf_ktime_get_ns(), jiffies: bpf_jiffies64() } };
    match maps::CLOCK.set(0, clock, 0) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: nothing here panics; the verifier would refuse a program in which this is reachable.
    unsafe { core::hint::unreachable_unchecked() }
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
