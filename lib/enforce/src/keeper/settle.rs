//! What stays, goes or comes back: a policy is confirmed, taken off, put back after a boot; and what others left half done is finished.
//!
//! A policy is confirmed on the disk first and in the kernel then, so that an interruption between the two is seen for what it is: somebody
//! has confirmed it, and whoever comes next has the kernel know. It is taken off in the kernel first, since that is what is wanted at once.

use std::collections::HashSet;

use chainkit_abi::Active;
use chainkit_bpf::NodeLock;

use super::{InForce, KeepError, Keeper, Result, boot_id, tag_of};
use crate::kernel;
use crate::store::Marker;

/// What is left where only the folders and tables of what was before could not be taken away.
pub(super) const UNTIDIED: &str = "what was before could not be tidied up";
pub(super) const TIDY_AGAIN: &str = "see to the disk; whoever changes policy next tries again";

/// A policy that stays from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// The generation that judges.
    pub generation: u32,
    /// It was confirmed in the kernel before, and has only been written down now.
    pub was_confirmed: bool,
}

/// What somebody has left half done who confirmed a policy, or took note of one that was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsettled {
    /// It is confirmed on the disk, and the kernel is yet to go back.
    ConfirmedOnDisk,
    /// It is confirmed in the kernel, and the file has it wait; after a boot the one before would be put back.
    ConfirmedInKernel,
    /// The kernel went back for good, and the file does not say so.
    WentBack,
}

impl InForce {
    /// In what the kernel and the file do not agree about a confirmation; `None`: they do.
    #[must_use]
    pub fn unsettled(&self, marker: &Marker) -> Option<Unsettled> {
        let folder = self.folder.as_ref().filter(|_| !self.went_back)?;
        match (self.fallback.is_some(), marker.deadline.is_some()) {
            (true, false) if *folder == marker.folder => Some(Unsettled::ConfirmedOnDisk),
            (false, true) if *folder == marker.folder => Some(Unsettled::ConfirmedInKernel),
            (false, true) if marker.previous.as_ref() == Some(folder) => Some(Unsettled::WentBack),
            _ => None,
        }
    }
}

impl Keeper<'_> {
    /// Does what is due since somebody was here: an unconfirmed policy whose time is up is taken away, what was confirmed in part is so
    /// wholly, and what was in force before the boot is put back. True where it put something back.
    ///
    /// # Errors
    /// Where the kernel or the disk refuses; what is in force stays. [`KeepError::Partly`] where it was put back, and that could not be
    /// written down.
    pub fn settle(&self, lock: &NodeLock) -> Result<bool> {
        // Who had tables shadow and was killed.
        if self.datapath.shadow() != 0 && Self::shadow_lock(&self.root).is_ok() {
            self.datapath.set_shadow(0);
        }
        let now = self.in_force()?;
        if now.went_back {
            self.settle_back(lock, &now)?;
            return Ok(false);
        }
        if now.generation == 0 && !now.cleared {
            return self.restore(lock);
        }
        self.finish_confirming(lock, &now)?;
        Ok(false)
    }

    /// Finishes what somebody left half done who confirmed; what that was. A file that cannot be read is no reason not to go on.
    fn finish_confirming(&self, lock: &NodeLock, now: &InForce) -> Result<Option<Unsettled>> {
        let marker = self.store.marker().ok().flatten();
        let unsettled = marker.and_then(|marker| now.unsettled(&marker));
        match unsettled {
            None => return Ok(None),
            Some(Unsettled::ConfirmedOnDisk) => self.stays(now.generation),
            Some(Unsettled::ConfirmedInKernel) => self.write_down(now).map_err(|error| {
                error.partly(
                    format!("the policy is confirmed in the kernel (generation {})", now.generation),
                    "that could not be written down, so that after the next start of the node the one before would be put back",
                    "see to the disk, and run polload confirm once more",
                )
            })?,
            Some(Unsettled::WentBack) => self.write_down(now).map_err(|error| unwritten_return(error, now))?,
        }
        let done = || format!("generation {} stays in force", now.generation);
        self.tidy(lock).map_err(|error| error.partly(done(), UNTIDIED, TIDY_AGAIN))?;
        Ok(unsettled)
    }

    /// The kernel does not go back from a generation any more.
    fn stays(&self, generation: u32) {
        self.datapath.set_active(if generation == 0 { Active::CLEARED } else { Active { generation, deadline: 0 } }, 0);
    }

    /// Writes down that what judges does so for good. It is on the disk when this returns.
    fn write_down(&self, now: &InForce) -> Result<()> {
        let Some(folder) = &now.folder else {
            return if now.generation == 0 { Ok(self.store.remove_marker()?) } else { Ok(()) };
        };
        // One that cannot be read is written anew.
        let mut marker = self.store.marker().ok().flatten().unwrap_or_default();
        "PolicyMarker".clone_into(&mut marker.kind);
        marker.generation = now.generation;
        folder.clone_into(&mut marker.folder);
        marker.previous = None;
        marker.deadline = None;
        Ok(self.store.set_marker(&marker)?)
    }

    /// The kernel went back by itself: has it do so for good, also where that cannot be written down, since it judges so already.
    pub(super) fn settle_back(&self, lock: &NodeLock, now: &InForce) -> Result<()> {
        let written = self.write_down(now);
        self.stays(now.generation);
        written.map_err(|error| unwritten_return(error, now))?;
        self.tidy(lock)
    }

    /// Puts back what `active.json` says was in force, if nothing is. One that was to be confirmed and was not is not put back: the
    /// one before it is.
    ///
    /// # Errors
    /// Where the files are damaged, or the kernel refuses. [`KeepError::Partly`] where only what comes after that fails.
    pub fn restore(&self, lock: &NodeLock) -> Result<bool> {
        let Some(mut marker) = self.store.marker()? else { return Ok(false) };
        if marker.deadline.take().is_some() {
            match marker.previous.take() {
                Some(previous) => marker.folder = previous,
                None => {
                    self.store.remove_marker()?;
                    return Ok(false);
                }
            }
        }
        let saved = self.store.open(&marker.folder)?;
        let image = saved.tables()?;
        let pods = saved.pods()?;
        let tables = kernel::make(&image)?;
        let generation = self.next_generation()?;
        self.put(lock, generation, &tables, &pods, tag_of(&marker.folder))?;
        self.count_anew(&HashSet::new())?;
        self.datapath.set_rules_since(generation);
        self.datapath.set_active(Active { generation, deadline: 0 }, 0);
        marker.generation = generation;
        marker.boot_id = boot_id();
        let done = || format!("policy was put back (generation {generation})");
        let written = self.store.set_marker(&marker).map_err(KeepError::from);
        written.map_err(|error| {
            error.partly(done(), "that could not be written down", "see to the disk: it comes back all the same")
        })?;
        self.tidy(lock).map_err(|error| error.partly(done(), UNTIDIED, TIDY_AGAIN))?;
        Ok(true)
    }

    /// Has a policy that waits for it stay.
    ///
    /// # Errors
    /// [`KeepError::NothingToConfirm`], or [`KeepError::TooLate`]; where the disk refuses, and then it waits as before.
    pub fn confirm(&self, lock: &NodeLock) -> Result<Confirmed> {
        let now = self.in_force()?;
        if now.went_back {
            return Err(self.too_late(lock, &now));
        }
        if now.fallback.is_none() {
            return match self.finish_confirming(lock, &now)? {
                Some(Unsettled::WentBack) => Err(KeepError::TooLate),
                Some(_) => Ok(Confirmed { generation: now.generation, was_confirmed: true }),
                None => Err(KeepError::NothingToConfirm),
            };
        }
        self.write_down(&now)?;
        // The disk may have taken its time.
        let then = self.in_force()?;
        if then.went_back {
            return Err(self.too_late(lock, &then));
        }
        self.stays(now.generation);
        let done = || format!("the policy is confirmed (generation {})", now.generation);
        self.tidy(lock).map_err(|error| error.partly(done(), UNTIDIED, TIDY_AGAIN))?;
        Ok(Confirmed { generation: now.generation, was_confirmed: false })
    }

    fn too_late(&self, lock: &NodeLock, now: &InForce) -> KeepError {
        self.settle_back(lock, now).err().unwrap_or(KeepError::TooLate)
    }

    /// Takes all policy off, for good: it is not put back after a boot.
    ///
    /// # Errors
    /// [`KeepError::Partly`] where the disk or the kernel refuses what comes after: nothing is in force all the same.
    pub fn clear(&self, lock: &NodeLock) -> Result<()> {
        self.datapath.clear();
        self.forget_marker()?;
        self.tidy(lock).map_err(|error| {
            error.partly(OFF.to_owned(), "its tables and files could not be tidied up", "run polload clear once more")
        })
    }

    /// Has nothing come back after a boot, now that policy is off.
    ///
    /// # Errors
    /// [`KeepError::Partly`] where the disk refuses.
    pub fn forget_marker(&self) -> Result<()> {
        let removed = self.store.remove_marker().map_err(KeepError::from);
        removed.map_err(|error| {
            error.partly(
                OFF.to_owned(),
                "it would come back with the next start of the node, since active.json could not be removed",
                "see to the disk, and run polload clear once more",
            )
        })
    }
}

const OFF: &str = "all policy is off";

fn unwritten_return(error: KeepError, now: &InForce) -> KeepError {
    let again = match now.generation {
        0 => "no policy is in force again".to_owned(),
        generation => format!("generation {generation} is in force again"),
    };
    error.partly(
        format!("nobody confirmed the policy in time, and {again}"),
        "that could not be written down",
        "see to the disk, and run polload restore",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_force(folder: &str, waits: bool) -> InForce {
        let fallback = waits.then(|| (6, Some("g6-00000006".to_owned())));
        let seconds_left = waits.then_some(60);
        InForce {
            generation: 7,
            folder: Some(folder.to_owned()),
            fallback,
            seconds_left,
            went_back: false,
            cleared: false,
        }
    }

    fn marker(deadline: Option<u64>) -> Marker {
        let previous = deadline.map(|_| "g6-00000006".to_owned());
        Marker { generation: 7, folder: "g7-00000007".to_owned(), previous, deadline, ..Marker::default() }
    }

    #[test]
    fn what_was_confirmed_in_part_is_seen_from_either_side() {
        let (waits, stays) = (in_force("g7-00000007", true), in_force("g7-00000007", false));
        assert_eq!(waits.unsettled(&marker(Some(9))), None);
        assert_eq!(waits.unsettled(&marker(None)), Some(Unsettled::ConfirmedOnDisk));
        assert_eq!(stays.unsettled(&marker(Some(9))), Some(Unsettled::ConfirmedInKernel));
        assert_eq!(stays.unsettled(&marker(None)), None);
        assert_eq!(in_force("g6-00000006", false).unsettled(&marker(Some(9))), Some(Unsettled::WentBack));
    }

    #[test]
    fn a_file_that_is_about_another_policy_confirms_nothing() {
        // An apply that was killed before it wrote the file: what the file says is of the policy before.
        assert_eq!(in_force("g8-00000008", true).unsettled(&marker(None)), None);
        assert_eq!(in_force("g8-00000008", false).unsettled(&marker(Some(9))), None);
        let went_back = InForce { went_back: true, ..in_force("g7-00000007", true) };
        assert_eq!(went_back.unsettled(&marker(None)), None);
    }
}
