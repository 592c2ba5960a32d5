//! Counters: of the node, and of each endpoint what its connections do not count.

use chainkit_abi::{Counter, SLOTS};

use crate::{
    atomic,
    maps::{COUNTERS, TABLES},
};

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

/// Counts packets of a slot that passed without belonging to a connection.
#[inline(always)]
pub fn other(slot: u32, packets: u32) {
    if let Some(tables) = TABLES.get_ptr_mut(slot & (SLOTS - 1)) {
        // SAFETY: a word of an array element.
        unsafe { atomic::add(&raw mut (*tables).others, packets as u64) };
    }
}

/// Counts packets of a slot that were dropped, for the node, too.
#[inline(always)]
pub fn dropped(slot: u32, packets: u32) {
    add(Counter::Dropped, packets);
    if let Some(tables) = TABLES.get_ptr_mut(slot & (SLOTS - 1)) {
        // SAFETY: a word of an array element.
        unsafe { atomic::add(&raw mut (*tables).dropped, packets as u64) };
    }
}

/// Counts packets of a slot whose connection could not be remembered, for the node, too.
#[inline(always)]
pub fn failed(slot: u32, packets: u32) {
    add(Counter::InsertFailed, 1);
    if let Some(tables) = TABLES.get_ptr_mut(slot & (SLOTS - 1)) {
        // SAFETY: words of an array element.
        unsafe {
            atomic::add(&raw mut (*tables).failed, packets as u64);
            atomic::add(&raw mut (*tables).others, packets as u64);
        }
    }
}
