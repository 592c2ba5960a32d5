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
    let now = time::jiffies();
    let mut taken = 0;
    for step in 0..SWEEP_CHUNK {
        let place = start.wrapping_add(step);
        if place >= places {
            break;
        }
        let Some(at) = F::place(slot, place) else { break };
        // SAFETY: an array element.
        let key = unsafe { &*at };
        if F::unused(key) {
            continue;
        }
        let Some(found) = F::find(slot, key) else {
            if all {
                F::forget(at);
            }
            continue;
        };
        // SAFETY: an element that was just found.
        let (seen, timeout) = unsafe { ((*found).last_seen, (*found).timeout) };
        let why = if now.wrapping_sub(seen) > timeout as u64 {
            close::EXPIRED
        } else if all {
            close::REMOVED
        } else {
            continue;
        };
        if table::take_out::<F>(cell::SWEEP, slot, place, why) {
            taken += 1;
            if all {
                F::forget(at);
            }
        }
    }
    taken
}
