//! A packet handed from the fast path to the slow one.
//!
//! The slow path is a handful of global functions, which the verifier reads once each, whoever calls them; for that their
//! arguments are the context and numbers. What they need to know of the packet lies here, in a cell of this CPU: no other
//! packet is met on it before this one is done.

use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};
use chainkit_abi::{Conn, RowKey, SourceKey, VirtualKey};

use crate::{observe::cell, packet::Packet};

/// The packet that this CPU is at.
#[repr(C)]
pub struct Pending {
    /// The connection's key; an IPv4 key takes the first sixteen bytes.
    pub key: [u64; 5],
    /// An entry about to be made.
    pub conn: Conn,
    /// What the headers said besides.
    pub packet: Packet,
    /// The endpoint's slot.
    pub slot: u32,
    /// Generation of policy that judges this packet.
    pub generation: u32,
    /// Where the endpoint is in `ENDPOINTS`.
    pub endpoint: u32,
    /// Which of this CPU's cells this is: kept here, since the stack is short.
    pub cell: u32,
    /// Now, in jiffies.
    pub now: u64,
    /// The key of the packet itself, while [`key`](Self::key) is that of what it is about.
    pub outer: [u64; 5],
    /// Number of the rules of whoever asks; 0: none.
    pub policy: u32,
    /// The generation that is asked.
    pub judged_by: u32,
    /// How verdicts are used, one of [`mode`](chainkit_abi::mode).
    pub mode: u8,
    /// Bits of [`flag`](chainkit_abi::flag): where whoever asks is isolated though no rule is known.
    pub isolated: u8,
    /// 1: this node has made the packet.
    pub own_node: u8,
    /// 1: it goes to a service.
    pub to_service: u8,
    /// What the shadow generation would have decided, one of [`verdict`](chainkit_abi::verdict); 0: not asked.
    pub shadow_verdict: u8,
    /// The rule by which it would have.
    pub shadow_rule: u32,
    /// Of a service's backends an answer that allows, and one that denies; 0: there is none.
    pub yes: u64,
    /// See [`yes`](Self::yes).
    pub no: u64,
    /// A service that is looked for; here, as all keys of tables are, since the stack is short.
    pub service: VirtualKey,
    /// An address whose prefix is looked for: length, then the address.
    pub prefix: [u32; 5],
    /// A row that is looked for.
    pub row: RowKey,
    /// An address that an endpoint may send from.
    pub source: SourceKey,
}

#[btf_map]
static PENDING: PerCpuArray<Pending, 2> = PerCpuArray::new();

/// This CPU's packet.
#[inline(always)]
pub fn pending() -> Option<&'static mut Pending> {
    pending_in(cell::PACKET)
}

/// What lies in a [`cell`] of this CPU: a packet may come while a connection is being entered that is no packet's.
#[inline(always)]
pub fn pending_in(cell: u32) -> Option<&'static mut Pending> {
    let cell = PENDING.get_ptr_mut(cell)?;
    // SAFETY: a cell of this CPU, and programs of one kind do not interrupt each other on it.
    Some(unsafe { &mut *cell })
}

impl Pending {
    /// The key, as one of a family.
    ///
    /// # Safety
    /// `K` is `Key4` or `Key6`.
    #[inline(always)]
    pub unsafe fn key<K>(&mut self) -> &mut K {
        // SAFETY: both are plain data no larger and no more aligned than the cell.
        unsafe { &mut *(&raw mut self.key).cast() }
    }
}
