//! Atomic operations, which `core::sync::atomic` does not offer on this target. They need `--cpu v3` (Linux 5.12).

use core::arch::asm;

/// Adds `value` and returns what was there before.
///
/// # Safety
/// `word` points to eight aligned bytes of a map value.
#[inline(always)]
pub unsafe fn fetch_add(word: *mut u64, value: u64) -> u64 {
    let mut old = value;
    // SAFETY: the caller's promise; the verifier checks the access.
    unsafe { asm!("{v} = atomic_fetch_add((u64 *)({p} + 0), {v})", p = in(reg) word, v = inout(reg) old) };
    old
}

/// Clears the bits that are not set in `mask`.
///
/// # Safety
/// As for [`fetch_add`].
#[inline(always)]
pub unsafe fn and(word: *mut u64, mask: u64) {
    // SAFETY: the caller's promise; the verifier checks the access.
    unsafe { asm!("lock *(u64 *)({p} + 0) &= {v}", p = in(reg) word, v = in(reg) mask) };
}

/// Adds `value`.
///
/// # Safety
/// As for [`fetch_add`].
#[inline(always)]
pub unsafe fn add(word: *mut u64, value: u64) {
    // SAFETY: the caller's promise; the verifier checks the access.
    unsafe { asm!("lock *(u64 *)({p} + 0) += {v}", p = in(reg) word, v = in(reg) value) };
}

/// Puts `value` in place of what was there, which it returns.
///
/// # Safety
/// As for [`fetch_add`].
#[inline(always)]
pub unsafe fn swap(word: *mut u64, value: u64) -> u64 {
    let mut old = value;
    // SAFETY: the caller's promise; the verifier checks the access.
    unsafe { asm!("{v} = xchg_64({p} + 0, {v})", p = in(reg) word, v = inout(reg) old) };
    old
}
