//! The floors that benches measure against: parse by direct access, one LRU look-up, two plain counters; and for the first packet of a
//! connection that policy judges one miss and insert, one hash hit and one hit of a trie.
//!
//! No datapath that remembers connections can do less. Packets are read by the datapath's own code, so that the ratio to
//! this is what all the rest costs. It is loaded by `tests/bench` alone.
#![no_std]
#![no_main]

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_F_NO_PREALLOC, TC_ACT_SHOT, TC_ACT_UNSPEC},
    btf_maps::{HashMap, LpmTrie, LruHashMap, lpm_trie},
    macros::{btf_map, classifier},
    programs::TcContext,
};
use chainkit_abi::{Key4, Key6, hook};

// Taken in by path and not from the library, whose maps would come along.
#[path = "../packet.rs"]
#[allow(dead_code, reason = "the floor takes less of it than the datapath does")]
mod packet;
#[path = "../parse.rs"]
#[allow(dead_code, reason = "the floor takes less of it than the datapath does")]
mod parse;
#[path = "../plain.rs"]
#[allow(dead_code, reason = "the floor takes less of it than the datapath does")]
mod plain;

use parse::Frame;

#[btf_map]
static FLOWS4: LruHashMap<Key4, [u64; 2], 65536> = LruHashMap::new();
#[btf_map]
static FLOWS6: LruHashMap<Key6, [u64; 2], 65536> = LruHashMap::new();

/// Counts packets and bytes of TCP and UDP by connection, and nothing else.
#[classifier]
pub fn floor(ctx: TcContext) -> i32 {
    count(&ctx);
    TC_ACT_UNSPEC
}

/// As many bytes as the datapath remembers of a connection.
type Remembered = [u64; 13];

#[btf_map]
static OPENED: HashMap<Key4, Remembered, 65536, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();
#[btf_map]
static HOSTS: HashMap<u32, u32, 524_288> = HashMap::new();
#[btf_map]
static BLOCKS: LpmTrie<[u8; 4], u32, 131_072> = LpmTrie::new();

/// What no datapath that judges by address can do without: misses a connection and enters it, finds an address in a hash, and one in a
/// trie. The latter is the destination's, the former the first word of the context's `cb`.
#[classifier]
pub fn first(ctx: TcContext) -> i32 {
    if open(&ctx).is_none() { TC_ACT_SHOT } else { TC_ACT_UNSPEC }
}

#[inline(always)]
fn open(ctx: &TcContext) -> Option<()> {
    // SAFETY: the kernel passes a valid context.
    let frame = unsafe { Frame::new(ctx.skb.skb) };
    let mut words = [0u64; 5];
    let [first, second, ..] = &mut words;
    plain::ipv4::<{ hook::FROM_POD }>(&frame, first, second)?;
    // SAFETY: these are the words of such a key.
    let key: &Key4 = unsafe { &*(&raw const words).cast() };
    if OPENED.get_ptr(key).is_some() {
        return None;
    }
    // SAFETY: a field of the context.
    let host = unsafe { (*ctx.skb.skb).cb[0] };
    // SAFETY: an element that was just found.
    let class = unsafe { *HOSTS.get_ptr(host)? };
    let block = BLOCKS.get(&lpm_trie::Key::new(32, key.remote.to_ne_bytes()))?;
    let remembered: Remembered = [class as u64 + *block as u64; 13];
    OPENED.insert(key, remembered, BPF_ANY as u64).ok()
}

/// Does nothing: what running any program costs.
#[classifier]
pub fn empty(_ctx: TcContext) -> i32 {
    TC_ACT_UNSPEC
}

#[inline(always)]
fn count(ctx: &TcContext) {
    // SAFETY: the kernel passes a valid context.
    let frame = unsafe { Frame::new(ctx.skb.skb) };
    let mut words = [0u64; 5];
    let [first, second, ..] = &mut words;
    if plain::ipv4::<{ hook::FROM_POD }>(&frame, first, second).is_some() {
        // SAFETY: these are the words of such a key.
        let key: &Key4 = unsafe { &*(&raw const words).cast() };
        return match FLOWS4.get_ptr_mut(key) {
            Some(counters) => add(counters, frame.length),
            None => drop(FLOWS4.insert(key, [1, frame.length as u64], BPF_ANY as u64)),
        };
    }
    if plain::ipv6::<{ hook::FROM_POD }>(&frame, &mut words).is_some() {
        // SAFETY: as above.
        let key: &Key6 = unsafe { &*(&raw const words).cast() };
        match FLOWS6.get_ptr_mut(key) {
            Some(counters) => add(counters, frame.length),
            None => drop(FLOWS6.insert(key, [1, frame.length as u64], BPF_ANY as u64)),
        }
    }
}

#[inline(always)]
fn add(counters: *mut [u64; 2], length: u32) {
    // SAFETY: an element that was just found.
    unsafe {
        (*counters)[0] += 1;
        (*counters)[1] += length as u64;
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
