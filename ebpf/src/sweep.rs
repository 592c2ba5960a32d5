//! Takes out what has expired while no packet came; user space calls it as long as somebody watches.

use chainkit_abi::{SLOTS, SWEEP_CHUNK, close};

use crate::{
    family::{Family, V4, V6},
    maps::TABLES,
    observe::cell,
    table, time,
};

/// Looks at [`SWEEP_CHUNK`] places from `start`; returns how many entries were taken out.
#[inline(always)]
pub fn chunk(slot: u32, family: u32, start: u32, all: bool) -> i32 {
    match family {
        4 => of_family::<V4>(slot, start, all),
        6 => of_family::<V6>(slot, start, all),
        _ => 0,
    }
}

#[inline(always)]
fn of_family<F: Family>(slot: u32, start: u32, all: bool) -> i32 {
    let slot = slot & (SLOTS - 1);
    let Some(tables) = TABLES.get_ptr(slot) else { return 0 };
    // SAFETY: array elements stay.
    let places = unsafe { (*tables).places };
    let mut taken = 0;
    for step in 0..SWEEP_CHUNK {
        let place = start.wrapping_add(step);
        if place >= places {
            break;
        }
        taken += match F::NUMBER {
            4 => chainkit_sweep4(slot, place, all as u32),
            _ => chainkit_sweep6(slot, place, all as u32),
        };
    }
    taken as i32
}

/// Sweeps one place of an IPv4 table; 1: an entry was taken out. A global function with numbers for arguments, which the
/// verifier reads once and not for each place.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chainkit_sweep4(slot: u32, place: u32, all: u32) -> u32 {
    one::<V4>(slot, place, all != 0) as u32
}

/// The same for IPv6.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn chainkit_sweep6(slot: u32, place: u32, all: u32) -> u32 {
    one::<V6>(slot, place, all != 0) as u32
}

#[inline(always)]
fn one<F: Family>(slot: u32, place: u32, all: bool) -> bool {
    let slot = slot & (SLOTS - 1);
    let Some(at) = F::place(slot, place) else { return false };
    // SAFETY: an array element.
    let key = unsafe { &*at };
    if F::unused(key) {
        return false;
    }
    let mut taken = false;
    if let Some(found) = F::find(slot, key) {
        // SAFETY: an element that was just found.
        let (seen, timeout) = unsafe { ((*found).last_seen, (*found).timeout) };
        let has_expired = time::jiffies().wrapping_sub(seen) > timeout as u64;
        if !has_expired && !all {
            return false;
        }
        let why = if has_expired { close::EXPIRED } else { close::REMOVED };
        taken = table::take_out::<F>(cell::SWEEP, slot, place, why);
        if !taken {
            return false;
        }
    }
    // Of an endpoint that goes nothing is to be left.
    if all {
        F::forget(at);
    }
    taken
}
