//! Tells of packets of this node's pods that the kernel drops, wherever it does, with its reason and place.
//!
//! One program on the tracepoint `skb:kfree_skb`, loaded by each reader for its own lifetime, with maps of its own. It sees each drop
//! of the whole machine, so what is none of ours leaves early: by reason, then by network namespace, then by address. Where members of
//! the kernel's structs lie is written into [`LAYOUT`] before loading, since Rust programs have no relocations for that.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_NOEXIST, BPF_RB_NO_WAKEUP},
    btf_maps::{Array, HashMap, PerCpuArray, RingBuf},
    helpers::{bpf_ktime_get_ns, bpf_probe_read_kernel},
    macros::{btf_map, btf_tracepoint},
    programs::BtfTracePointContext,
};
use chainkit_abi::{
    DROP_AGAIN_NS, DROPPED_BY_US, Drop, DropAddress, DropEndpoint, DropFacts, DropKey, DropLayout, DropSeen,
    drop_counter, quiet, tcp,
};

// Taken in by path and not from the library, whose maps would come along.
#[path = "../atomic.rs"]
#[allow(dead_code, reason = "this takes less of it than the datapath does")]
mod atomic;

/// Where things are; user space writes what holds for the running kernel before it loads the object.
#[unsafe(no_mangle)]
static LAYOUT: DropLayout = DropLayout {
    arguments: 0,
    skb_head: 0,
    skb_tail: 0,
    skb_len: 0,
    skb_protocol: 0,
    skb_network_header: 0,
    skb_iif: 0,
    skb_dev: 0,
    skb_sk: 0,
    skb_dst: 0,
    skb_cb: 0,
    dev_ifindex: 0,
    dev_name: 0,
    dev_net: 0,
    dst_dev: 0,
    sock_net: 0,
    net_inum: 0,
    all: 0,
};

/// A member's offset: volatile, since the loader replaces the value that the compiler sees.
macro_rules! layout {
    ($member:ident) => {
        // SAFETY: a static of this object.
        unsafe { core::ptr::read_volatile(&raw const LAYOUT.$member) }
    };
}

/// IP protocol number.
const TCP: u8 = 6;

/// Reasons whose number has a cell.
const REASON_CELLS: usize = 512;

/// Namespaces and addresses that are looked for.
#[btf_map]
static WATCHED: HashMap<DropAddress, DropEndpoint, 16384> = HashMap::new();
/// By reason, one of [`quiet`], or 0.
#[btf_map]
static QUIET: Array<u32, REASON_CELLS> = Array::new();
/// What was told of late. Entries are taken out by user space; where there is no room each packet is told by itself.
#[btf_map]
static SEEN: HashMap<DropKey, DropSeen, 16384> = HashMap::new();
/// Where records go; user space makes it as large as it is to be.
#[btf_map]
static DROPS: RingBuf<Drop, { 1 << 12 }> = RingBuf::new();
/// Cells of [`drop_counter`].
#[btf_map]
static DROP_COUNTERS: PerCpuArray<u64, { drop_counter::CELLS as usize }> = PerCpuArray::new();

/// The kernel frees a packet that has not arrived.
#[btf_tracepoint(function = "kfree_skb")]
pub fn drops(ctx: BtfTracePointContext) -> i32 {
    let _ = dropped(&ctx);
    0
}

#[inline(always)]
fn dropped(ctx: &BtfTracePointContext) -> Option<()> {
    let skb = address(ctx, 0)?;
    let location: u64 = ctx.arg(1);
    let arguments = layout!(arguments);
    // The verifier knows the number, and leaves out what a kernel with fewer would not let pass.
    let reason: u32 = if arguments >= 3 { ctx.arg(2) } else { 0 };
    let receiver: u64 = if arguments >= 4 { address(ctx, 3)? } else { 0 };
    let quiet = match QUIET.get(reason) {
        _ if layout!(all) != 0 => 0,
        _ if arguments < 3 => quiet::VAGUE,
        Some(quiet) => *quiet,
        None => 0,
    };
    if quiet == quiet::NO_FAULT {
        return None;
    }
    let device = read::<u64>(skb, layout!(skb_dev))?;
    let netns = namespace(skb, device, receiver);
    let place = if netns == 0 {
        None
    } else {
        // Most drops of a machine that are none of ours end here.
        Some(watched(&DropAddress { address: [0; 16], netns })?)
    };
    if read::<[u32; 2]>(skb, layout!(skb_cb))? == DROPPED_BY_US {
        return None;
    }
    let mut key = DropKey { location, reason, netns, ..DropKey::default() };
    let mut facts = DropFacts::default();
    if !packet(skb, &mut key, &mut facts)? {
        // Where it was is not known, and neither whose it is.
        if place.is_some() {
            count(drop_counter::UNREAD, 1);
        }
        return None;
    }
    if quiet == quiet::VAGUE && is_spent(&key, &facts) {
        return None;
    }
    ends(skb, place, &mut key)?;
    if netns != 0 && device != 0 {
        facts.ifindex = read(device, layout!(dev_ifindex)).unwrap_or(0);
        facts.device = read(device, layout!(dev_name)).unwrap_or([0; 16]);
    }
    // SAFETY: a helper without preconditions.
    facts.time = unsafe { bpf_ktime_get_ns() };
    tell(&key, &facts);
    Some(())
}

/// Whether it is a TCP segment that carries nothing and opens nothing; or ICMPv6, each message of which Linux 6.1 throws away without a reason
/// once it has taken it in.
#[inline(always)]
fn is_spent(key: &DropKey, facts: &DropFacts) -> bool {
    const ICMPV6: u8 = 58;
    key.protocol == ICMPV6
        || key.protocol == TCP && facts.transport != 0 && facts.payload == 0 && facts.tcp_flags & tcp::SYN == 0
}

/// An argument that is an address, as a number: with one that may be null the verifier lets nobody reckon.
#[inline(always)]
fn address(ctx: &BtfTracePointContext, number: u32) -> Option<u64> {
    read(ctx.as_ptr() as u64, number * 8)
}

/// A value at an offset of what an address leads to, if it can be read.
#[inline(always)]
fn read<T: Copy>(base: u64, offset: u32) -> Option<T> {
    // SAFETY: the helper takes any address, and refuses what is not the kernel's or not there.
    unsafe { bpf_probe_read_kernel((base + offset as u64) as *const T) }.ok()
}

/// Inode number of the network namespace that a packet is in; 0 where it does not tell.
///
/// A packet in a socket's queue has no device, and other things lie in its place: what is read there must look like a namespace's
/// number. Then its route tells, then its socket.
#[inline(always)]
fn namespace(skb: u64, device: u64, receiver: u64) -> u32 {
    let inum = inum_at(device, layout!(dev_net));
    if inum != 0 {
        return inum;
    }
    /// A reference that is not counted has this bit (`SKB_DST_NOREF`).
    const FLAGS: u64 = 1;
    let route = read::<u64>(skb, layout!(skb_dst)).unwrap_or(0) & !FLAGS;
    let route_device = if route == 0 { 0 } else { read::<u64>(route, layout!(dst_dev)).unwrap_or(0) };
    let inum = inum_at(route_device, layout!(dev_net));
    if inum != 0 {
        return inum;
    }
    let inum = inum_at(receiver, layout!(sock_net));
    if inum != 0 {
        return inum;
    }
    inum_at(read::<u64>(skb, layout!(skb_sk)).unwrap_or(0), layout!(sock_net))
}

/// The number of the namespace that a member of `base` leads to.
#[inline(always)]
fn inum_at(base: u64, offset: u32) -> u32 {
    /// The first number that namespaces get (`PROC_DYNAMIC_FIRST`; those made at boot have the ones just below).
    const FIRST: u32 = 0xeff0_0000;
    // Addresses of the kernel are in the upper half.
    if base >> 63 == 0 {
        return 0;
    }
    let net = read::<u64>(base, offset).unwrap_or(0);
    if net >> 63 == 0 {
        return 0;
    }
    let inum = read::<u32>(net, layout!(net_inum)).unwrap_or(0);
    if inum >= FIRST { inum } else { 0 }
}

#[inline(always)]
fn watched(address: &DropAddress) -> Option<DropEndpoint> {
    let found = WATCHED.get_ptr(address)?;
    // SAFETY: an element that was just found.
    Some(unsafe { *found })
}

/// Reads the headers. None: it is no IP packet. False: it is one that cannot be read.
#[inline(always)]
fn packet(skb: u64, key: &mut DropKey, facts: &mut DropFacts) -> Option<bool> {
    const IPV4: u16 = 0x0800;
    const IPV6: u16 = 0x86dd;
    const NOT_SET: u16 = 0xffff;
    let protocol = u16::from_be(read(skb, layout!(skb_protocol))?);
    // Where a packet has not come far enough to have it said, its own first bits say.
    if protocol != IPV4 && protocol != IPV6 && protocol != 0 {
        return None;
    }
    let head = read::<u64>(skb, layout!(skb_head))?;
    let network = read::<u16>(skb, layout!(skb_network_header))?;
    let tail = read::<u32>(skb, layout!(skb_tail))?;
    let length = read::<u32>(skb, layout!(skb_len))?;
    if network == NOT_SET || head == 0 {
        return Some(false);
    }
    let start = head + network as u64;
    let linear = tail.saturating_sub(network as u32);
    let Some(first) = (if linear >= 20 { read::<[u8; 20]>(start, 0) } else { None }) else { return Some(false) };
    let past = match first[0] >> 4 {
        4 if protocol != IPV6 => ipv4(&first, key, facts),
        6 if protocol != IPV4 && linear >= 40 => ipv6(start, linear, key, facts),
        _ => 0,
    };
    if past == 0 {
        return Some(false);
    }
    // A super-packet beyond 64 KiB says 0 of itself.
    if facts.length == 0 {
        facts.length = length;
    }
    if facts.fragment == 0 {
        let behind = facts.length.saturating_sub(past);
        transport(start + past as u64, linear.saturating_sub(past), behind, key, facts);
    }
    Some(true)
}

/// Reads the header of IPv4 (RFC 791, section 3.1); where what comes after it begins, 0 if it is none.
#[inline(always)]
fn ipv4(header: &[u8; 20], key: &mut DropKey, facts: &mut DropFacts) -> u32 {
    const OFFSET: u16 = 0x1fff;
    let words = (header[0] & 15) as u32;
    if words < 5 {
        return 0;
    }
    key.family = 4;
    key.protocol = header[9];
    facts.length = u16::from_be_bytes([header[2], header[3]]) as u32;
    facts.fragment = (u16::from_be_bytes([header[6], header[7]]) & OFFSET != 0) as u8;
    let mut place = 0;
    while place < 4 {
        key.source[place] = header[12 + place];
        key.destination[place] = header[16 + place];
        place += 1;
    }
    words * 4
}

/// Reads the header of IPv6 and those that extend it (RFC 8200, sections 3 and 4).
#[inline(always)]
fn ipv6(start: u64, linear: u32, key: &mut DropKey, facts: &mut DropFacts) -> u32 {
    const FIXED: u32 = 40;
    const MOST: u32 = 6;
    let (Some(fixed), Some(source), Some(destination)) =
        (read::<[u8; 8]>(start, 0), read::<[u8; 16]>(start, 8), read::<[u8; 16]>(start, 24))
    else {
        return 0;
    };
    key.family = 6;
    key.source = source;
    key.destination = destination;
    let payload = u16::from_be_bytes([fixed[4], fixed[5]]) as u32;
    facts.length = if payload == 0 { 0 } else { payload + FIXED };
    let mut next = fixed[6];
    let mut at = FIXED;
    for _ in 0..MOST {
        // Hop-by-hop, routing, destination, fragment, authentication.
        if !matches!(next, 0 | 43 | 60 | 44 | 51) || at + 8 > linear {
            break;
        }
        let Some(header) = read::<[u8; 8]>(start + at as u64, 0) else { break };
        at += match next {
            44 => {
                facts.fragment = (u16::from_be_bytes([header[2], header[3]]) >> 3 != 0) as u8;
                8
            }
            51 => (header[1] as u32 + 2) * 4,
            _ => (header[1] as u32 + 1) * 8,
        };
        next = header[0];
        if facts.fragment != 0 {
            break;
        }
    }
    key.protocol = next;
    at
}

/// Reads what of the transport header is needed, if it is there.
#[inline(always)]
fn transport(start: u64, linear: u32, length: u32, key: &mut DropKey, facts: &mut DropFacts) {
    const ICMP: u8 = 1;
    const UDP: u8 = 17;
    const ICMPV6: u8 = 58;
    const SCTP: u8 = 132;
    if linear < 4 {
        return;
    }
    let Some(first) = read::<[u8; 4]>(start, 0) else { return };
    match key.protocol {
        TCP | UDP | SCTP => {
            key.source_port = u16::from_be_bytes([first[0], first[1]]);
            key.destination_port = u16::from_be_bytes([first[2], first[3]]);
        }
        ICMP | ICMPV6 => {
            key.icmp_type = first[0];
            key.icmp_code = first[1];
        }
        _ => return,
    }
    facts.transport = 1;
    if key.protocol == TCP
        && linear >= 14
        && let Some(flags) = read::<[u8; 2]>(start, 12)
    {
        facts.tcp_flags = u16::from_be_bytes(flags) & 0x1ff;
        facts.payload = length.saturating_sub((flags[0] >> 4) as u32 * 4);
    }
}

/// Whose the packet is; none: nobody's here.
#[inline(always)]
fn ends(skb: u64, place: Option<DropEndpoint>, key: &mut DropKey) -> Option<()> {
    let from = watched(&DropAddress { address: mapped(key.family, &key.source), netns: 0 }).unwrap_or_default();
    let to = watched(&DropAddress { address: mapped(key.family, &key.destination), netns: 0 }).unwrap_or_default();
    key.from = from.ifindex;
    key.to = to.ifindex;
    let came_in = read::<u32>(skb, layout!(skb_iif)).unwrap_or(0);
    let Some(place) = place else {
        // Nothing but the interface it came in by tells that it is in a pod, and not elsewhere under the same address.
        return (to.ifindex != 0 && came_in == to.pod_ifindex).then_some(());
    };
    if place.ifindex == 0 {
        return (key.from != 0 || key.to != 0).then_some(());
    }
    if key.from != place.ifindex && key.to != place.ifindex {
        // In a pod, under an address that is not known for its own.
        if came_in == place.pod_ifindex { key.to = place.ifindex } else { key.from = place.ifindex }
    }
    Some(())
}

/// An address as [`DropAddress`] has it.
#[inline(always)]
fn mapped(family: u8, address: &[u8; 16]) -> [u8; 16] {
    if family == 6 {
        return *address;
    }
    let mut mapped = [0; 16];
    mapped[10] = 0xff;
    mapped[11] = 0xff;
    mapped[12] = address[0];
    mapped[13] = address[1];
    mapped[14] = address[2];
    mapped[15] = address[3];
    mapped
}

/// Tells it, or counts it with the last that was told.
#[inline(always)]
fn tell(key: &DropKey, facts: &DropFacts) {
    let Some(seen) = SEEN.get_ptr_mut(key) else {
        let fresh = DropSeen { told: facts.time, pending: 0, facts: *facts };
        // Where another CPU was faster this one is told as well; where there is no room, too.
        let _ = SEEN.insert(key, fresh, BPF_NOEXIST as u64);
        send(key, facts, 1);
        return;
    };
    // SAFETY: an element that was just found. A torn write of facts by two CPUs is of two packets that are told as one.
    unsafe {
        (*seen).facts = *facts;
        atomic::fetch_add(&raw mut (*seen).pending, 1);
        if facts.time.wrapping_sub((*seen).told) < DROP_AGAIN_NS {
            return;
        }
        (*seen).told = facts.time;
        let count = atomic::swap(&raw mut (*seen).pending, 0);
        if count != 0 {
            send(key, facts, count);
        }
    }
}

#[inline(always)]
fn send(key: &DropKey, facts: &DropFacts, packets: u64) {
    let drop = Drop { key: *key, facts: *facts, count: packets };
    if DROPS.output(drop, BPF_RB_NO_WAKEUP as u64).is_ok() {
        count(drop_counter::SENT, 1);
    } else {
        count(drop_counter::LOST, packets);
    }
}

/// Adds to a counter of this CPU; atomic, since a drop in an interrupt may come in between.
#[inline(always)]
fn count(cell: u32, by: u64) {
    if let Some(counter) = DROP_COUNTERS.get_ptr_mut(cell) {
        // SAFETY: elements of arrays stay.
        unsafe { atomic::add(counter, by) };
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
