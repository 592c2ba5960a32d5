//! The control map in this process's memory: a bit, a heartbeat or a generation is one atomic store, and no system call.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicU64},
};

use chainkit_abi::{Control, OBSERVERS, SPARES, TABLE_SETS};

/// The control map, mapped into this process.
///
/// Words are read and written as atomics: the kernel and other processes write to them too.
#[derive(Debug)]
pub(crate) struct ControlWord {
    at: NonNull<Control>,
}

// SAFETY: the mapping belongs to no thread, and is reached through atomics alone.
unsafe impl Send for ControlWord {}
// SAFETY: as above.
unsafe impl Sync for ControlWord {}

impl ControlWord {
    /// Maps the only element of the `CONTROL` map.
    pub(crate) fn map(control: BorrowedFd<'_>) -> io::Result<Self> {
        // SAFETY: a fresh shared mapping of a map that is at least a page; the kernel checks that it may be mapped.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<Control>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                control.as_raw_fd(),
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(at.cast()).map(|at| Self { at }).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))
    }

    fn word(&self, at: *mut u64) -> &AtomicU64 {
        // SAFETY: an aligned word inside the mapping, which lives as long as `self`.
        unsafe { AtomicU64::from_ptr(at) }
    }

    /// What the map begins with in every version: whose it is, and of which version.
    pub(crate) fn magic_and_abi(&self) -> (u32, u32) {
        // SAFETY: addresses inside the mapping, which is a page at least.
        unsafe {
            let at = self.at.as_ptr();
            (std::ptr::read_volatile(&raw const (*at).magic), std::ptr::read_volatile(&raw const (*at).abi))
        }
    }

    /// A bit for each observer that looks.
    pub(crate) fn observers(&self) -> &AtomicU64 {
        // SAFETY: an address inside the mapping.
        self.word(unsafe { &raw mut (*self.at.as_ptr()).observers })
    }

    /// A bit for each observer that wants every packet.
    pub(crate) fn each_packet(&self) -> &AtomicU64 {
        // SAFETY: an address inside the mapping.
        self.word(unsafe { &raw mut (*self.at.as_ptr()).each_packet })
    }

    /// A bit for each observer that wants payload.
    pub(crate) fn payload(&self) -> &AtomicU64 {
        // SAFETY: an address inside the mapping.
        self.word(unsafe { &raw mut (*self.at.as_ptr()).payload })
    }

    /// A bit for each observer that wants to know how TCP connections fare.
    pub(crate) fn health(&self) -> &AtomicU64 {
        // SAFETY: an address inside the mapping.
        self.word(unsafe { &raw mut (*self.at.as_ptr()).health })
    }

    /// A slot with empty tables that no endpoint has, plus 1; 0: none.
    pub(crate) fn spare(&self, index: u32) -> &AtomicU32 {
        let index = usize::try_from(index % SPARES).unwrap_or(0);
        // SAFETY: an aligned word inside the mapping, which lives as long as `self`: the index is below the array's length.
        unsafe { AtomicU32::from_ptr((&raw mut (*self.at.as_ptr()).spares).cast::<u32>().add(index)) }
    }

    /// The generation that applies once the deadline is past.
    pub(crate) fn fallback(&self) -> &AtomicU64 {
        // SAFETY: an address inside the mapping.
        self.word(unsafe { &raw mut (*self.at.as_ptr()).fallback })
    }

    /// The generation that shadows.
    pub(crate) fn shadow(&self) -> &AtomicU64 {
        // SAFETY: an address inside the mapping.
        self.word(unsafe { &raw mut (*self.at.as_ptr()).shadow })
    }

    /// The generation in which rules changed last.
    pub(crate) fn rules_since(&self) -> &AtomicU32 {
        // SAFETY: an aligned word inside the mapping, which lives as long as `self`.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.at.as_ptr()).rules_since) }
    }

    /// The highest generation there has been.
    pub(crate) fn last_generation(&self) -> &AtomicU32 {
        // SAFETY: an aligned word inside the mapping, which lives as long as `self`.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.at.as_ptr()).last_generation) }
    }

    /// What tells which policy the tables at a place are.
    pub(crate) fn tag(&self, set: u32) -> &AtomicU32 {
        let set = usize::try_from(set % TABLE_SETS).unwrap_or(0);
        // SAFETY: an aligned word inside the mapping, which lives as long as `self`: the index is below the array's length.
        unsafe { AtomicU32::from_ptr((&raw mut (*self.at.as_ptr()).tags).cast::<u32>().add(set)) }
    }

    /// The generation in force, packed.
    pub(crate) fn active(&self) -> &AtomicU64 {
        // SAFETY: an address inside the mapping.
        self.word(unsafe { &raw mut (*self.at.as_ptr()).active })
    }

    /// An observer's last sign of life, nanoseconds of `CLOCK_MONOTONIC`.
    pub(crate) fn heartbeat(&self, observer: u32) -> &AtomicU64 {
        let index = usize::try_from(observer % OBSERVERS).unwrap_or(0);
        // SAFETY: an address inside the mapping: the index is below the array's length.
        self.word(unsafe { (&raw mut (*self.at.as_ptr()).heartbeats).cast::<u64>().add(index) })
    }
}

impl Drop for ControlWord {
    fn drop(&mut self) {
        // SAFETY: the mapping this value made, of the length it was made with.
        unsafe { libc::munmap(self.at.as_ptr().cast(), size_of::<Control>()) };
    }
}
