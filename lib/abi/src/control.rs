//! The one word that every packet reads, and what stands beside it.

use crate::{OBSERVERS, SPARES, TABLE_SETS};

/// The only element of the array `CONTROL`, which user space maps into its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Control {
    /// [`MAGIC`](crate::MAGIC).
    pub magic: u32,
    /// [`ABI_VERSION`](crate::ABI_VERSION).
    pub abi: u32,
    /// A bit for each observer that looks. The kernel clears that of one whose heartbeat has stopped.
    pub observers: u64,
    /// A bit for each observer that wants every packet; that of one that does not look means nothing.
    pub each_packet: u64,
    /// A bit for each observer that wants payload copied. The kernel clears that of one whose heartbeat has stopped.
    pub payload: u64,
    /// A bit for each observer that wants to know how TCP connections fare. The kernel clears that of one whose heartbeat has stopped.
    pub health: u64,
    /// Which generation of policy is in force: an [`Active`], packed.
    pub active: u64,
    /// The generation that applies once the deadline in `active` is past; it is written before `active` gets one.
    pub fallback: u64,
    /// A generation whose tables decide nothing, and are asked too, so that observers are told what they would have done; 0: none.
    pub shadow: u64,
    /// The generation in which rules changed last: in those after it only addresses and services did.
    pub rules_since: u32,
    /// The highest generation there has been: numbers are not used again, since connections remember them. User space alone reads and
    /// writes it, and what follows.
    pub last_generation: u32,
    /// For each place of a set of tables what tells which policy it is, as user space numbers them; 0: none.
    pub tags: [u32; TABLE_SETS as usize],
    /// Inode number of the network namespace whose interface indexes the endpoints mean.
    pub netns: u64,
    /// Timer ticks a second of this kernel.
    pub hz: u32,
    /// Always 0.
    pub pad: u32,
    /// Last sign of life of each observer, nanoseconds of `CLOCK_MONOTONIC`.
    pub heartbeats: [u64; OBSERVERS as usize],
    /// Slots with empty tables that no endpoint has, each plus 1; 0: none. User space alone reads and writes it.
    pub spares: [u32; SPARES as usize],
}

/// Which generation of policy is in force, packed into one word so that one read gives a consistent answer.
///
/// A generation names the tables that judge ([`set_of`](crate::set_of)), and is another whenever any of them changed, so that connections are
/// judged once more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Active {
    /// The generation in force; 0: none is loaded, everything passes.
    pub generation: u32,
    /// Seconds of `CLOCK_MONOTONIC` after which [`Control::fallback`] applies; 0: the generation is confirmed.
    pub deadline: u32,
}

impl Active {
    /// Policy was taken off on purpose, and is not to be put back but by who says so.
    pub const CLEARED: Self = Self { generation: 0, deadline: u32::MAX };

    /// Packs it into the word that [`Control::active`] holds.
    #[must_use]
    pub const fn pack(self) -> u64 {
        self.generation as u64 | (self.deadline as u64) << 32
    }

    /// The reverse of [`pack`](Self::pack).
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "each field is cut out of its own bits")]
    pub const fn unpack(word: u64) -> Self {
        Self { generation: word as u32, deadline: (word >> 32) as u32 }
    }
}

/// The kernel's two clocks at one instant, as the `clock` program reads them: what turns jiffies into time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Clock {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub monotonic: u64,
    /// Jiffies.
    pub jiffies: u64,
}
