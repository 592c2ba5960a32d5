//! Clocks and timeouts.
//!
//! Packets are stamped in jiffies, the cheapest clock a program can read; only what is told to people is read in
//! nanoseconds.

use aya_ebpf::helpers::{
    bpf_ktime_get_ns,
    generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns},
};
use chainkit_abi::state;

/// Timer ticks a second; user space writes the kernel's own value before it loads the object.
#[unsafe(no_mangle)]
static HZ: u32 = 250;

/// Now, in jiffies.
#[inline(always)]
pub fn jiffies() -> u64 {
    // SAFETY: a helper without preconditions.
    unsafe { bpf_jiffies64() }
}

/// Now, in nanoseconds of `CLOCK_MONOTONIC`.
#[inline(always)]
pub fn nanoseconds() -> u64 {
    // SAFETY: a helper without preconditions.
    unsafe { bpf_ktime_get_ns() }
}

/// The same as of the last tick, for a fifth of the cost.
#[inline(always)]
pub fn coarse_nanoseconds() -> u64 {
    // SAFETY: a helper without preconditions (Linux 5.11).
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// `seconds` in jiffies.
#[inline(always)]
pub fn ticks(seconds: u32) -> u32 {
    // SAFETY: a static of this object; volatile, since the loader replaces the value the compiler sees.
    let hz = unsafe { core::ptr::read_volatile(&raw const HZ) };
    seconds.wrapping_mul(hz)
}

/// Observers are told of an active connection this often, in seconds.
pub const REPORT_SECONDS: u32 = 5;

const PROTOCOL_UDP: u8 = 17;
const PROTOCOL_SCTP: u8 = 132;

/// Idle time after which a connection counts as absent, in seconds.
///
/// Established TCP outlives the kernel's keepalive (7200 s, ip-sysctl `tcp_keepalive_time`); UDP and fragments as
/// conntrack has them (nf_conntrack-sysctl: `udp_timeout` 30, `udp_timeout_stream` 120, `frag6_timeout` 60); SCTP as
/// established TCP, since its heartbeats come every 30 s but may be switched off.
#[inline(always)]
pub fn timeout_seconds(protocol: u8, conn_state: u8) -> u32 {
    match conn_state {
        state::ESTABLISHED => 8000,
        state::SYN_SENT | state::SYN_RECEIVED => 60,
        state::CLOSING => 120,
        state::CLOSED => 10,
        state::FRAGMENT => 60,
        state::REPLIED if protocol == PROTOCOL_UDP => 120,
        state::REPLIED if protocol == PROTOCOL_SCTP => 8000,
        _ => 30,
    }
}
