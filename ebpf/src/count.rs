//! Node-wide counters.

use chainkit_abi::Counter;

use crate::maps::COUNTERS;

/// Adds `packets` to a counter of this CPU.
#[inline(always)]
pub fn add(counter: Counter, packets: u32) {
    add_number(counter as u32, packets);
}

/// The same by the counter's number; a number that is none does nothing.
#[inline(always)]
pub fn add_number(counter: u32, packets: u32) {
    if let Some(cell) = COUNTERS.get_ptr_mut(counter) {
        // SAFETY: a cell of this CPU, and programs of one CPU do not interrupt each other here.
        unsafe { *cell += u64::from(packets) };
    }
}
