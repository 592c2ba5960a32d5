//! A folder of policy while it is being made.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::fcntl::Flock;
use serde::Serialize;

use super::error::StoreError;
use super::folder::Folder;
use super::records::{Pods, RuleChange, RuleEntry};
use super::saved::Saved;
use super::{NEW, check_name};
use crate::delta::Delta;

/// How many names are tried: others may be at work, or have been killed.
const TRIES: u32 = 1000;

/// A folder that is made aside. Dropped without [`finish`](Self::finish) it is removed.
#[derive(Debug)]
pub struct Draft {
    above: Folder,
    /// Its name for now; empty once it is finished.
    name: String,
    saved: Option<Saved>,
    /// While it is held nobody sweeps the folder away. A process that dies lets go of it.
    _lock: Flock<OwnedFd>,
}

impl Draft {
    pub(super) fn begin(above: Folder) -> Result<Self, StoreError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        for _ in 0..TRIES {
            let name = format!("{NEW}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let Some(folder) = above.make_folder(&name, true)? else { continue };
            let Some(lock) = folder.lock()? else { continue };
            // Swept away before it was locked.
            if !above.is_at(&name, &folder) {
                continue;
            }
            let saved = Saved::new(folder);
            let draft = Self { above, name, saved: Some(saved), _lock: lock };
            draft.saved()?.make_files()?;
            return Ok(draft);
        }
        let path = above.path_of(NEW);
        Err(StoreError::Unwritable { path, why: format!("{TRIES} names are taken: remove what begins so there") })
    }

    /// Adds entries of tables.
    ///
    /// # Errors
    /// Where the file system refuses, or they are more than a file keeps.
    pub fn tables(&mut self, delta: &Delta) -> Result<(), StoreError> {
        self.saved_mut()?.append_tables(delta)
    }

    /// Adds rules.
    ///
    /// # Errors
    /// As of [`tables`](Self::tables).
    pub fn rules(&mut self, rules: impl IntoIterator<Item = RuleEntry>) -> Result<(), StoreError> {
        self.saved_mut()?.append_rules(rules.into_iter().map(RuleChange::Set))
    }

    /// Says which pods there are.
    ///
    /// # Errors
    /// As of [`tables`](Self::tables).
    pub fn pods(&mut self, pods: &Pods) -> Result<(), StoreError> {
        self.saved_mut()?.put_pods(pods)
    }

    /// Adds objects, each of which becomes a line. One is held in memory at a time.
    ///
    /// # Errors
    /// As of [`tables`](Self::tables), and where one has no JSON.
    pub fn objects<T: Serialize>(&mut self, objects: impl IntoIterator<Item = T>) -> Result<(), StoreError> {
        self.saved_mut()?.append_objects(objects)
    }

    /// Brings all of it to the disk and gives it its name.
    ///
    /// # Errors
    /// Where the name is none or taken, or the file system refuses. The folder is removed then; only where the rename itself
    /// could not be brought to the disk it stays, for [`keep_only`](super::Store::keep_only) to remove.
    pub fn finish(mut self, name: &str) -> Result<Saved, StoreError> {
        check_name(name)?;
        if self.above.has(name) {
            let path = self.above.path_of(name);
            return Err(StoreError::Unwritable { path, why: "it is there already: choose another name".to_owned() });
        }
        self.saved()?.note_lengths()?;
        self.saved()?.sync()?;
        self.above.rename(&self.name, name)?;
        self.name.clear();
        self.above.sync()?;
        let saved = self.saved.take().ok_or_else(|| self.used_up())?;
        Ok(saved.named(self.above.path_of(name)))
    }

    fn saved(&self) -> Result<&Saved, StoreError> {
        self.saved.as_ref().ok_or_else(|| self.used_up())
    }

    fn saved_mut(&mut self) -> Result<&mut Saved, StoreError> {
        let error = self.used_up();
        self.saved.as_mut().ok_or(error)
    }

    /// Never met: only [`finish`](Self::finish) takes it away.
    fn used_up(&self) -> StoreError {
        StoreError::Unwritable { path: self.above.path().to_owned(), why: "the folder is finished".to_owned() }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            let _ = self.above.remove_folder(&self.name);
        }
    }
}
