//! Policy on disk: the folder `/var/lib/chainkit/policy`.
//!
//! | name | what it holds |
//! | --- | --- |
//! | `active.json` | a [`Marker`]: which folder is in force, and until when |
//! | `refused.json` | [`Refused`]: what a `polload watch` was told last and cannot have in force; not there where that is nothing |
//! | `g<generation>-<8 hex>/tables` | a log of batches of table entries, each with its checksums |
//! | `…/rules` | JSON Lines: [`RuleEntry`], or `{"number":17,"gone":true}`; the last of a number holds |
//! | `…/pods` | [`Pods`], JSON |
//! | `…/objects` | JSON Lines: the objects it was made from, and changes to them |
//!
//! A folder is made aside as a [`Draft`] and renamed when it is whole. After that it only grows, but for `pods`, which is
//! written beside and renamed. All is the owner's alone, and no link is followed from `chainkit` on. Writers hold the
//! node's lock, readers need none: they see what was there when they opened a file.

mod draft;
mod error;
mod folder;
mod frames;
mod in_force;
mod lines;
mod records;
mod saved;
#[cfg(test)]
mod tests;

use std::fs::DirBuilder;
use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::path::{Path, PathBuf};

pub use draft::Draft;
pub use error::StoreError;
use folder::{Folder, beside};
pub use frames::MAX_TABLES_BYTES;
pub use in_force::RulesInForce;
pub use lines::{MAX_LINE_BYTES, MAX_LINES_BYTES, ObjectLines};
pub use records::{
    Marker, NamespaceEntry, PodEntry, Pods, PolicyRef, Refusal, Refused, RuleAction, RuleChange, RuleDirection,
    RuleEntry,
};
pub use saved::{MAX_PODS_BYTES, Saved};

/// Where policy lies on a host.
pub const POLICY_FOLDER: &str = "/var/lib/chainkit/policy";

/// The part of [`POLICY_FOLDER`] that is the system's, and may be met through links.
const SYSTEM_FOLDER: &str = "var/lib";
const OUR_FOLDERS: [&str; 2] = ["chainkit", "policy"];
const MARKER: &str = "active.json";
const REFUSED: &str = "refused.json";
/// The longest marker that is written or read, in bytes.
const MAX_MARKER_BYTES: usize = 64 << 10;
/// The longest list of what was refused that is written or read, in bytes.
const MAX_REFUSED_BYTES: usize = 1 << 20;
/// A folder that is being made.
const NEW: &str = ".new-";
/// A folder that is being removed.
const GONE: &str = ".gone-";
const MAX_NAME: usize = 64;

/// The policy of a node, on its disk.
#[derive(Clone, Debug)]
pub struct Store {
    system: PathBuf,
}

impl Store {
    /// That of the node whose root is `root` (`/` but for tests). Nothing is looked at yet.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        Self { system: root.join(SYSTEM_FOLDER) }
    }

    /// Begins a folder, aside.
    ///
    /// # Errors
    /// Where the file system refuses, or a link is in the way.
    pub fn begin(&self) -> Result<Draft, StoreError> {
        Draft::begin(self.make_folder()?)
    }

    /// A folder that was finished.
    ///
    /// # Errors
    /// Where it is not there, is a link, or its name is none.
    pub fn open(&self, folder: &str) -> Result<Saved, StoreError> {
        check_name(folder)?;
        Ok(Saved::new(self.folder()?.folder(folder)?))
    }

    /// A name for the folder of a generation, which no other has.
    #[must_use]
    pub fn new_name(&self, generation: u32) -> String {
        // Keys of its own at random, which the standard library takes from the kernel.
        let random = RandomState::new().hash_one(std::process::id()) & u64::from(u32::MAX);
        format!("g{generation}-{random:08x}")
    }

    /// Which folder is in force; `None` where none is.
    ///
    /// # Errors
    /// Where the marker cannot be read, or names no folder.
    pub fn marker(&self) -> Result<Option<Marker>, StoreError> {
        let read = self.folder().and_then(|folder| read_marker(&folder));
        match read {
            Ok((marker, _)) => Ok(Some(marker)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Says which folder is in force. It is on the disk when this returns.
    ///
    /// # Errors
    /// Where the file system refuses (the marker before stays), or the marker is too long or names no folder.
    pub fn set_marker(&self, marker: &Marker) -> Result<(), StoreError> {
        let folder = self.make_folder()?;
        check_name(&marker.folder)?;
        marker.previous.as_deref().map_or(Ok(()), check_name)?;
        let path = folder.path_of(MARKER);
        let text = serde_json::to_vec(marker);
        let mut text = text.map_err(|error| StoreError::Unwritable { path: path.clone(), why: error.to_string() })?;
        text.push(b'\n');
        if text.len() > MAX_MARKER_BYTES {
            return Err(StoreError::long_part(&path, "the marker", text.len() as u64, MAX_MARKER_BYTES as u64));
        }
        folder.put(MARKER, &text)
    }

    /// What was asked for last and is not in force, since it cannot be.
    ///
    /// # Errors
    /// Where the file cannot be read, or is something else.
    pub fn refused(&self) -> Result<Refused, StoreError> {
        let read = self.folder().and_then(|folder| {
            let path = folder.path_of(REFUSED);
            read_json(&read_whole(&folder.read(REFUSED)?, &path, MAX_REFUSED_BYTES)?, &path)
        });
        match read {
            Err(error) if error.is_missing() => Ok(Refused::default()),
            other => other,
        }
    }

    /// Notes what was asked for last and cannot be in force. It is on the disk when this returns; nothing is noted by no file.
    ///
    /// # Errors
    /// Where the file system refuses (what was noted before stays), or there is too much of it.
    pub fn set_refused(&self, refused: &Refused) -> Result<(), StoreError> {
        if refused.objects.is_empty() {
            return match self.folder() {
                Ok(folder) if folder.has(REFUSED) => folder.remove_file(REFUSED).and_then(|()| folder.sync()),
                Err(error) if !error.is_missing() => Err(error),
                _ => Ok(()),
            };
        }
        let folder = self.make_folder()?;
        let path = folder.path_of(REFUSED);
        let text = serde_json::to_vec(refused);
        let mut text = text.map_err(|error| StoreError::Unwritable { path: path.clone(), why: error.to_string() })?;
        text.push(b'\n');
        if text.len() > MAX_REFUSED_BYTES {
            return Err(StoreError::long_part(&path, "the list", text.len() as u64, MAX_REFUSED_BYTES as u64));
        }
        folder.put(REFUSED, &text)
    }

    /// Says that nothing is in force, nor to be; nothing to be removed is no error.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn remove_marker(&self) -> Result<(), StoreError> {
        match self.folder() {
            Ok(folder) => {
                folder.remove_file(MARKER).and_then(|()| folder.remove_file(REFUSED)).and_then(|()| folder.sync())
            }
            Err(error) if error.is_missing() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The folders that are finished, by name; not which of them is in force.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn folders(&self) -> Result<Vec<String>, StoreError> {
        let folder = match self.folder() {
            Ok(folder) => folder,
            Err(error) if error.is_missing() => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = folder.names()?;
        names.retain(|name| check_name(name).is_ok() && folder.folder(name).is_ok());
        Ok(names)
    }

    /// Removes every other folder, and what those have left behind that were killed while they made or removed one. A draft
    /// that is being made stays.
    ///
    /// # Errors
    /// The first of what could not be removed; the rest is, all the same.
    pub fn keep_only(&self, names: &[&str]) -> Result<(), StoreError> {
        let folder = match self.folder() {
            Ok(folder) => folder,
            Err(error) if error.is_missing() => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut result = folder.remove_file(&beside(MARKER)).and_then(|()| folder.remove_file(&beside(REFUSED)));
        for name in folder.names()? {
            let removed = if name.starts_with(GONE) {
                folder.remove_folder(&name)
            } else if name.starts_with(NEW) {
                remove_draft(&folder, &name)
            } else if check_name(&name).is_ok() && !names.contains(&name.as_str()) && folder.folder(&name).is_ok() {
                // Under another name first, so that nobody takes a part for the whole.
                let gone = format!("{GONE}{name}");
                let removed = folder.remove_folder(&gone).and_then(|()| folder.rename(&name, &gone));
                removed.and_then(|()| folder.remove_folder(&gone))
            } else {
                Ok(())
            };
            result = result.and(removed);
        }
        result.and_then(|()| folder.sync())
    }

    /// What explains the rules in force, for one who asks again and again.
    #[must_use]
    pub fn rules_in_force(&self) -> RulesInForce {
        RulesInForce::new(self.clone())
    }

    fn folder(&self) -> Result<Folder, StoreError> {
        let mut folder = Folder::of_system(&self.system)?;
        for name in OUR_FOLDERS {
            folder = folder.folder(name)?;
        }
        Ok(folder)
    }

    fn make_folder(&self) -> Result<Folder, StoreError> {
        if let Err(error) = DirBuilder::new().recursive(true).create(&self.system) {
            return Err(StoreError::new("make", &self.system, "folder", error));
        }
        let mut folder = Folder::of_system(&self.system)?;
        for name in OUR_FOLDERS {
            folder = match folder.make_folder(name, false)? {
                Some(made) => made,
                None => folder.folder(name)?,
            };
        }
        Ok(folder)
    }
}

fn remove_draft(folder: &Folder, name: &str) -> Result<(), StoreError> {
    let draft = match folder.folder(name) {
        Ok(draft) => draft,
        Err(error) if error.is_missing() => return Ok(()),
        Err(error) => return Err(error),
    };
    match draft.lock()? {
        Some(_lock) => folder.remove_folder(name),
        None => Ok(()),
    }
}

/// The marker, and the file it was read from.
fn read_marker(folder: &Folder) -> Result<(Marker, std::fs::File), StoreError> {
    let file = folder.read(MARKER)?;
    let path = folder.path_of(MARKER);
    let text = read_whole(&file, &path, MAX_MARKER_BYTES)?;
    let marker: Marker = read_json(&text, &path)?;
    if marker.kind != "PolicyMarker" {
        return Err(frames::damaged(&path, 0, "its kind is not PolicyMarker"));
    }
    check_name(&marker.folder)?;
    marker.previous.as_deref().map_or(Ok(()), check_name)?;
    Ok((marker, file))
}

fn read_whole(file: &std::fs::File, path: &Path, most: usize) -> Result<Vec<u8>, StoreError> {
    let mut text = Vec::new();
    let got = file.take(most as u64 + 1).read_to_end(&mut text);
    got.map_err(|error| StoreError::new("read", path, "file", error))?;
    if text.len() > most {
        return Err(StoreError::long_file(path, text.len() as u64, most as u64));
    }
    Ok(text)
}

fn read_json<T: serde::de::DeserializeOwned>(text: &[u8], path: &Path) -> Result<T, StoreError> {
    serde_json::from_slice(text).map_err(|error| frames::damaged(path, 0, &error.to_string()))
}

/// Whether a folder of ours may be called so: it names nothing outside, and nothing of another use.
fn check_name(name: &str) -> Result<(), StoreError> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(good) {
        return Ok(());
    }
    Err(StoreError::Name { name: name.chars().take(MAX_NAME * 2).collect() })
}
