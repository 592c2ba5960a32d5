//! How TCP connections fare, as the kernel follows them for an observer that asks.
//!
//! It lies in a map of the observer's own, which goes with it: who has its slot afterwards begins with none.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use chainkit_abi::Health;

use crate::{
    error::{Context, Result},
    forgetful,
    payload::Stream,
    sys,
};

/// Fewest connections that a map holds: the kernel lays 128 entries aside for each CPU that writes, and a small one would forget early.
const FEWEST: u32 = 1024;
/// Most: 368 bytes of the kernel's memory each, taken at once.
const MOST: u32 = 1 << 20;

/// The connections that are followed.
#[derive(Debug)]
pub struct Followed {
    map: OwnedFd,
}

impl Followed {
    /// A map for so many connections; the one that was quiet longest makes room for another.
    pub(crate) fn new(most: u32) -> Result<Self> {
        let map = forgetful::map::<Health>("health", most.clamp(FEWEST, MOST), "the health")?;
        Ok(Self { map })
    }

    pub(crate) fn map(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }

    /// How a connection fares; `None` where nothing of it has passed since it was asked for, or it was forgotten for others.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn of(&self, stream: &Stream) -> Result<Option<Health>> {
        let found: Option<Health> =
            sys::look_up(self.map(), &stream.key()).during(|| "look up how a connection fares")?;
        // Of an earlier connection of the same addresses and ports nothing is to be told.
        Ok(found.filter(|health| health.first_seen == stream.first_seen()))
    }
}
