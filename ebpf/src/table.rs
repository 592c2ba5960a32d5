//! Makes room in a connection table.
//!
//! Each entry has a place in a ring of keys. A new one takes the next place whose entry is gone or has expired; if the next
//! few are all alive, the one of them that is worth least is evicted. That is constant work for each insertion, no process
//! need sweep, and a table never holds more than it has places.

use chainkit_abi::{Conn, Counter, SLOTS, close, state};

use crate::{
    atomic, count,
    family::{Family, V4, V6},
    maps::TABLES,
    observe,
    pending::pending_in,
    time,
};

/// Places looked at before a live entry is evicted.
const PROBES: u32 = 4;

/// Enters the connection that is pending in a [`cell`]; false where its key is there already or nothing could be entered.
#[inline(always)]
pub fn enter<F: Family>(cell: u32) -> bool {
    let entered = match F::NUMBER {
        4 => chainkit_enter4(cell),
        _ => chainkit_enter6(cell),
    };
    entered != 0
}

/// [`enter`] for IPv4.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chainkit_enter4(cell: u32) -> u32 {
    enter_pending::<V4>(cell) as u32
}

/// [`enter`] for IPv6.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chainkit_enter6(cell: u32) -> u32 {
    enter_pending::<V6>(cell) as u32
}

#[inline(always)]
fn enter_pending<F: Family>(cell: u32) -> bool {
    let Some(pending) = pending_in(cell) else { return false };
    pending.cell = cell;
    let slot = pending.slot & (SLOTS - 1);
    let Some(tables) = TABLES.get_ptr_mut(slot) else { return false };
    // SAFETY: array elements stay.
    let places = unsafe { (*tables).places };
    if places == 0 {
        return false;
    }
    let cursor = F::cursor(tables);
    let now = pending.now;
    let mut worst_place = u32::MAX;
    let mut worst_rank = 0u64;
    let mut place = u32::MAX;
    for _ in 0..PROBES {
        // SAFETY: a word of an array element.
        let next = (unsafe { atomic::fetch_add(cursor, 1) } % places as u64) as u32;
        let Some(at) = F::place(slot, next) else { return false };
        // SAFETY: an array element; a key torn by another CPU is found nowhere, or is another's and then not at this place.
        let old = unsafe { &*at };
        let Some(found) = (if F::unused(old) { None } else { F::find(slot, old) }) else {
            place = next;
            break;
        };
        // SAFETY: an element that was just found.
        let victim = unsafe { &*found };
        if victim.place != next {
            place = next;
            break;
        }
        let idle = now.wrapping_sub(victim.last_seen);
        if idle > victim.timeout as u64 {
            take_out::<F>(pending.cell, slot, next, close::EXPIRED);
            place = next;
            break;
        }
        let rank = rank(victim, idle);
        if worst_place == u32::MAX || rank > worst_rank {
            worst_place = next;
            worst_rank = rank;
        }
        if rank >> 48 == LEAST {
            break;
        }
    }
    if place == u32::MAX {
        place = worst_place;
        if take_out::<F>(pending.cell, slot, place, close::EVICTED) {
            count::add(Counter::Evicted, 1);
            // SAFETY: a word of an array element.
            unsafe { atomic::add(&raw mut (*tables).evicted, 1) };
        }
    }
    pending.conn.place = place;
    let Some(at) = F::place(slot, place) else { return false };
    // SAFETY: an array element, and a family's key.
    let key = unsafe {
        let key = pending.key::<F::Key>();
        *at = *key;
        &*(&raw const *key)
    };
    F::insert(slot, key, &pending.conn)
}

/// How little a live entry is worth: what is over first, then what was never answered, then what is idle longest.
#[inline(always)]
fn rank(conn: &Conn, idle: u64) -> u64 {
    let class = match conn.state {
        state::CLOSED | state::FRAGMENT => LEAST,
        state::SYN_SENT | state::SYN_RECEIVED | state::UNREPLIED => 2,
        state::CLOSING => 1,
        _ => 0,
    };
    (class << 48) | (idle & 0xffff_ffff_ffff)
}

/// The class of what is worth least: to look for an older one of it would cost more than it is worth.
const LEAST: u64 = 3;

/// Takes out the entry whose key lies at a place, and tells observers out of a [`cell`]; true: this call took it.
#[inline(always)]
pub fn take_out<F: Family>(cell: u32, slot: u32, place: u32, why: u8) -> bool {
    let taken = match F::NUMBER {
        4 => chainkit_take_out4(cell, slot, place, why as u32),
        _ => chainkit_take_out6(cell, slot, place, why as u32),
    };
    taken != 0
}

/// [`take_out`] for IPv4.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chainkit_take_out4(cell: u32, slot: u32, place: u32, why: u32) -> u32 {
    take_out_at::<V4>(cell, slot, place, why as u8) as u32
}

/// [`take_out`] for IPv6.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chainkit_take_out6(cell: u32, slot: u32, place: u32, why: u32) -> u32 {
    take_out_at::<V6>(cell, slot, place, why as u8) as u32
}

#[inline(always)]
fn take_out_at<F: Family>(cell: u32, slot: u32, place: u32, why: u8) -> bool {
    let slot = slot & (SLOTS - 1);
    let Some(at) = F::place(slot, place) else { return false };
    // SAFETY: an array element. If another CPU puts a new key there meanwhile, that entry's place is this one too, and what
    // was to be taken out is gone already.
    let key = unsafe { &*at };
    let Some(found) = F::find(slot, key) else { return false };
    // SAFETY: an element that was just found. Its memory stays until this run ends, though another may get it: what is
    // told is then of the newer one, and the loss of one report of an end.
    let conn = unsafe { &*found };
    if conn.place != place {
        return false;
    }
    begin_end(slot);
    let was_closed = conn.state == state::CLOSED;
    let silent = conn.closed != 0 || conn.state == state::FRAGMENT || !observe::anyone();
    if silent {
        observe::keep_counters(cell, conn);
    } else {
        observe::prepare_closed::<F>(cell, slot, key, conn);
    }
    let taken = F::remove(slot, key);
    end(cell, slot, taken);
    if !taken {
        return false;
    }
    if why == close::EXPIRED {
        count::add(Counter::Expired, 1);
    }
    if !silent {
        observe::tell_closed(cell, if why == close::EXPIRED && was_closed { close::FIN } else { why });
    }
    true
}

/// An entry of a slot is about to be taken out.
#[inline(always)]
fn begin_end(slot: u32) {
    if let Some(tables) = TABLES.get_ptr_mut(slot) {
        // SAFETY: a word of an array element.
        unsafe { atomic::add(&raw mut (*tables).ending, 1) };
    }
}

/// It was, or another has done it; what it had counted lies in a [`cell`], since the stack is short.
#[inline(always)]
fn end(cell: u32, slot: u32, taken: bool) {
    let Some(tables) = TABLES.get_ptr_mut(slot) else { return };
    if taken && let Some(counters) = observe::kept_counters(cell) {
        // SAFETY: words of an array element.
        unsafe {
            if counters.tx_packets != 0 {
                atomic::add(&raw mut (*tables).tx_packets, counters.tx_packets);
                atomic::add(&raw mut (*tables).tx_bytes, counters.tx_bytes);
            }
            if counters.rx_packets != 0 {
                atomic::add(&raw mut (*tables).rx_packets, counters.rx_packets);
                atomic::add(&raw mut (*tables).rx_bytes, counters.rx_bytes);
            }
        }
    }
    // SAFETY: a word of an array element.
    unsafe { atomic::add(&raw mut (*tables).ended, 1) };
}

/// A new entry's timeout, in jiffies.
#[inline(always)]
pub fn timeout(protocol: u8, conn_state: u8) -> u32 {
    time::ticks(time::timeout_seconds(protocol, conn_state))
}
