//! What was met lately of a slot, in its few cells of `DENIALS`: denials that were told, and what its pod opens to services.

use chainkit_abi::{DENIALS_PER_SLOT, Denial, seen};

use crate::{family::Family, maps::DENIALS, time};

/// Odd, with its bits well spread (2^64 divided by the golden ratio; Knuth, TAOCP 6.4).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Folds a key into a number that differs where keys do, nearly always.
#[inline(always)]
pub fn fold<F: Family>(key: &F::Key) -> u64 {
    let [a, b] = F::local(key);
    let [c, d] = F::remote(key);
    let mut sum = SPREAD ^ F::ports(key) as u64 ^ (F::protocol(key) as u64) << 32;
    for word in [a, b, c, d] {
        sum = (sum ^ word).wrapping_mul(SPREAD).rotate_left(29);
    }
    sum | 1
}

/// What the two directions of one fold differ in: it is part of the place where a denial is remembered, so that neither
/// makes the other one forgotten.
#[inline(always)]
pub const fn hook_bit<const HOOK: u8>() -> u64 {
    (HOOK as u64) << 32
}

/// Whether something denied is to be told (first, or again after a while), and how often it was seen since it was.
#[inline(always)]
pub fn repeated(slot: u32, fold: u64, now: u64) -> (bool, u32) {
    let Some(cell) = cell(slot, fold) else { return (true, 1) };
    let again = cell.fold == fold && cell.what == seen::DENIED;
    if again && now.wrapping_sub(cell.reported) < time::ticks(time::REPORT_SECONDS) as u64 {
        cell.count = cell.count.wrapping_add(1);
        return (false, 1);
    }
    let count = if again { cell.count.wrapping_add(1) } else { 1 };
    *cell = Denial { fold, reported: now, count: 0, what: seen::DENIED };
    (true, count as u32)
}

/// Where what has this fold is remembered.
#[inline(always)]
fn cell(slot: u32, fold: u64) -> Option<&'static mut Denial> {
    let index = slot * DENIALS_PER_SLOT + (fold >> 32) as u32 % DENIALS_PER_SLOT;
    // SAFETY: an array element; an update that another CPU makes lost counts less, or makes something forgotten.
    DENIALS.get_ptr_mut(index).map(|cell| unsafe { &mut *cell })
}

/// How long a packet that leaves a pod may take until it comes back to it, in seconds.
const ROUND: u32 = 1;

/// Remembers that a pod opens a connection to a service with a segment of this sequence number and hash.
///
/// Where the node chooses the pod itself as the backend, it comes back with the node's address and another port, and is the same packet to
/// the kernel: neither its sequence number nor its hash is changed. Another backend that gets it instead knows the sequence number, and
/// may send it; the hash is drawn at random by the kernel for each socket, and nobody can choose it. What has none is not remembered.
#[inline(always)]
pub fn opens_to_service(slot: u32, sequence: u32, hash: u32, now: u64) {
    if hash == 0 {
        return;
    }
    let fold = of_sequence(sequence);
    if let Some(cell) = cell(slot, fold) {
        *cell = Denial { fold, reported: now, count: hash as u64, what: seen::TO_SERVICE };
    }
}

/// Whether the pod has just sent what now comes to it; true once.
#[inline(always)]
pub fn comes_back(slot: u32, sequence: u32, hash: u32, now: u64) -> bool {
    let fold = of_sequence(sequence);
    let Some(cell) = cell(slot, fold) else { return false };
    let is_it = cell.fold == fold && cell.what == seen::TO_SERVICE && cell.count == hash as u64;
    if !is_it || now.wrapping_sub(cell.reported) > time::ticks(ROUND) as u64 {
        return false;
    }
    cell.fold = 0;
    true
}

#[inline(always)]
const fn of_sequence(sequence: u32) -> u64 {
    (SPREAD ^ sequence as u64).wrapping_mul(SPREAD) | 1
}
