//! A finished folder of policy.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;

use super::error::StoreError;
use super::folder::Folder;
use super::lines::ObjectLines;
use super::records::{Pods, RuleChange, RuleEntry};
use super::{frames, lines, read_json, read_whole};
use crate::delta::Delta;
use crate::image::Image;

/// The longest file of pods that is written or read, in bytes.
pub const MAX_PODS_BYTES: usize = 64 << 20;

const TABLES: &str = "tables";
const RULES: &str = "rules";
const PODS: &str = "pods";
const OBJECTS: &str = "objects";
const LENGTHS: &str = "lengths";

/// A folder of policy. It is the same one here after it was renamed; of one that was removed the files are missing.
#[derive(Debug)]
pub struct Saved {
    folder: Folder,
    /// Where tables end, as far as this one has written them.
    tables_end: Option<u64>,
}

impl Saved {
    pub(super) const fn new(folder: Folder) -> Self {
        Self { folder, tables_end: None }
    }

    pub(super) fn named(self, path: PathBuf) -> Self {
        Self { folder: self.folder.named(path), ..self }
    }

    /// Makes the files, with nothing in them.
    pub(super) fn make_files(&self) -> Result<(), StoreError> {
        let written = self.folder.create(TABLES)?.write_all(&frames::HEAD);
        written.map_err(|error| StoreError::new("write", &self.folder.path_of(TABLES), "file", error))?;
        self.folder.create(RULES)?;
        self.folder.create(OBJECTS)?;
        self.put_pods(&Pods::default())
    }

    /// Where the folder is, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What the set of tables holds: all batches, one after another. A batch whose end is missing is passed over.
    ///
    /// # Errors
    /// Where the file is missing, cannot be read, or is damaged anywhere but at its end.
    pub fn tables(&self) -> Result<Image, StoreError> {
        self.check_length(TABLES)?;
        let path = self.folder.path_of(TABLES);
        let mut image = Image::default();
        frames::each_frame(&self.folder.read(TABLES)?, &path, |at, payload| {
            let delta = Delta::decode(&payload).map_err(|error| frames::damaged(&path, at, &error.to_string()))?;
            image.apply(&delta).map_err(|error| frames::damaged(&path, at, &error.to_string()))
        })?;
        Ok(image)
    }

    /// The rules by their numbers.
    ///
    /// # Errors
    /// Where the file is missing, cannot be read, or a line is no rule.
    pub fn rules(&self) -> Result<BTreeMap<u32, RuleEntry>, StoreError> {
        self.check_length(RULES)?;
        let mut rules = BTreeMap::new();
        read_rules(self.rule_lines(self.rules_file()?, 0)?, &mut rules)?;
        Ok(rules)
    }

    pub(super) fn rules_file(&self) -> Result<File, StoreError> {
        self.folder.read(RULES)
    }

    pub(super) fn rule_lines(&self, file: File, at: u64) -> Result<ObjectLines, StoreError> {
        ObjectLines::new(file, self.folder.path_of(RULES), at)
    }

    /// The pods of this node.
    ///
    /// # Errors
    /// Where the file is missing, cannot be read, or is something else.
    pub fn pods(&self) -> Result<Pods, StoreError> {
        let path = self.folder.path_of(PODS);
        read_json(&read_whole(&self.folder.read(PODS)?, &path, MAX_PODS_BYTES)?, &path)
    }

    /// The lines of `objects`, each the JSON of one that was written, without its line break.
    ///
    /// # Errors
    /// Where the file is missing or too long; each line may bear one as well, after which there are none.
    pub fn objects(&self) -> Result<ObjectLines, StoreError> {
        self.check_length(OBJECTS)?;
        ObjectLines::new(self.folder.read(OBJECTS)?, self.folder.path_of(OBJECTS), 0)
    }

    /// Notes how long the files are that from here on only grow: one that is shorter has lost what was in force.
    pub(super) fn note_lengths(&self) -> Result<(), StoreError> {
        let mut lengths = BTreeMap::new();
        for name in [TABLES, RULES, OBJECTS] {
            lengths.insert(name, self.length(name)?);
        }
        let path = self.folder.path_of(LENGTHS);
        let text = serde_json::to_vec(&lengths);
        let text = text.map_err(|error| StoreError::Unwritable { path: path.clone(), why: error.to_string() })?;
        let mut file = self.folder.create(LENGTHS)?;
        let written = file.write_all(&text).and_then(|()| file.sync_all());
        written.map_err(|error| StoreError::new("write", &path, "file", error))
    }

    fn length(&self, name: &str) -> Result<u64, StoreError> {
        let facts = self.folder.read(name)?.metadata();
        Ok(facts.map_err(|error| StoreError::new("look at", &self.folder.path_of(name), "file", error))?.len())
    }

    /// Refuses a file that is shorter than it was once. A folder that is not finished yet has no lengths to compare with.
    fn check_length(&self, name: &str) -> Result<(), StoreError> {
        const MOST: usize = 4096;
        let file = match self.folder.read(LENGTHS) {
            Ok(file) => file,
            Err(error) if error.is_missing() => return Ok(()),
            Err(error) => return Err(error),
        };
        let path = self.folder.path_of(LENGTHS);
        let lengths: BTreeMap<String, u64> = read_json(&read_whole(&file, &path, MOST)?, &path)?;
        let (is, was) = (self.length(name)?, lengths.get(name).copied().unwrap_or(0));
        if is >= was {
            return Ok(());
        }
        let why = format!("it ends there, and was {was} bytes long");
        Err(StoreError::Damaged { path: self.folder.path_of(name), at: is, why })
    }

    /// How many bytes the files are: what only grows is to be written anew one day.
    ///
    /// # Errors
    /// Where one is missing.
    pub fn bytes(&self) -> Result<u64, StoreError> {
        let mut bytes = 0;
        for name in [TABLES, RULES, PODS, OBJECTS] {
            let facts = self.folder.read(name)?.metadata();
            bytes +=
                facts.map_err(|error| StoreError::new("look at", &self.folder.path_of(name), "file", error))?.len();
        }
        Ok(bytes)
    }

    /// When tables and objects were last written to.
    ///
    /// # Errors
    /// Where one is missing.
    pub fn changed_at(&self) -> Result<(SystemTime, SystemTime), StoreError> {
        let at = |name| {
            let changed = self.folder.read(name)?.metadata().and_then(|facts| facts.modified());
            changed.map_err(|error| StoreError::new("look at", &self.folder.path_of(name), "file", error))
        };
        Ok((at(TABLES)?, at(OBJECTS)?))
    }

    /// Adds a batch of entries, which is there as a whole or not at all. It outlives the process when this returns, and a
    /// loss of power after [`sync`](Self::sync).
    ///
    /// # Errors
    /// Where the file system refuses or the file would grow too long; the file stays as it was. Where it is damaged.
    pub fn append_tables(&mut self, delta: &Delta) -> Result<(), StoreError> {
        if delta.is_empty() {
            return Ok(());
        }
        let path = self.folder.path_of(TABLES);
        let payload =
            delta.encode().map_err(|error| StoreError::Unwritable { path: path.clone(), why: error.to_string() })?;
        let frame = frames::frame(&payload, &path)?;
        let mut file = self.folder.update(TABLES)?;
        let length = file.metadata().map_err(|error| StoreError::new("look at", &path, "file", error))?.len();
        let end = match self.tables_end {
            Some(end) if end == length => end,
            _ => frames::end(&file, &path)?,
        };
        let bytes = end + frame.len() as u64;
        if bytes > frames::MAX_TABLES_BYTES {
            return Err(StoreError::long_file(&path, bytes, frames::MAX_TABLES_BYTES));
        }
        append(&mut file, &path, end, |mut file| {
            file.write_all(&frame).map_err(|error| StoreError::new("write", &path, "file", error))
        })?;
        self.tables_end = Some(bytes);
        Ok(())
    }

    /// Adds lines about rules. After a process was killed some of them may be there and the rest not.
    ///
    /// # Errors
    /// Where the file system refuses or the file would grow too long; none of them is there then.
    pub fn append_rules(&mut self, changes: impl IntoIterator<Item = RuleChange>) -> Result<(), StoreError> {
        self.append_lines(RULES, changes)
    }

    /// Adds lines about objects, as [`append_rules`](Self::append_rules).
    ///
    /// # Errors
    /// As of [`append_rules`](Self::append_rules), and where one has no JSON.
    pub fn append_objects<T: Serialize>(&mut self, objects: impl IntoIterator<Item = T>) -> Result<(), StoreError> {
        self.append_lines(OBJECTS, objects)
    }

    fn append_lines<T: Serialize>(&self, name: &str, values: impl IntoIterator<Item = T>) -> Result<(), StoreError> {
        let path = self.folder.path_of(name);
        let mut file = self.folder.update(name)?;
        let end = lines::end(&file, &path)?;
        append(&mut file, &path, end, |file| lines::write_lines(file, &path, end, values))
    }

    /// Says which pods there are, in place of what was said before.
    ///
    /// # Errors
    /// Where the file system refuses, or they are too many; what was said before stays.
    pub fn put_pods(&self, pods: &Pods) -> Result<(), StoreError> {
        let path = self.folder.path_of(PODS);
        let text = serde_json::to_vec(pods);
        let text = text.map_err(|error| StoreError::Unwritable { path: path.clone(), why: error.to_string() })?;
        if text.len() > MAX_PODS_BYTES {
            return Err(StoreError::long_part(&path, "the file", text.len() as u64, MAX_PODS_BYTES as u64));
        }
        self.folder.put(PODS, &text)
    }

    /// Brings all that was written to the disk.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn sync(&self) -> Result<(), StoreError> {
        for name in [TABLES, RULES, PODS, OBJECTS] {
            let synced = self.folder.read(name)?.sync_all();
            synced.map_err(|error| StoreError::new("sync", &self.folder.path_of(name), "file", error))?;
        }
        self.folder.sync()
    }
}

/// Takes in what lines say of rules.
pub(super) fn read_rules(mut from: ObjectLines, into: &mut BTreeMap<u32, RuleEntry>) -> Result<u64, StoreError> {
    loop {
        let at = from.at();
        let Some(line) = from.next() else { return Ok(at) };
        match RuleChange::read(&line?).map_err(|error| from.damaged(at, &error.to_string()))? {
            RuleChange::Set(rule) if rule.number < chainkit_abi::RULES => {
                into.insert(rule.number, rule);
            }
            RuleChange::Set(rule) => {
                let why = format!("rule {}: numbers end at {}", rule.number, chainkit_abi::RULES - 1);
                return Err(from.damaged(at, &why));
            }
            RuleChange::Gone(number) => {
                into.remove(&number);
            }
        }
    }
}

/// Writes at `end`, from which on the file is torn or ends. What could not be written whole is cut off again.
fn append(
    file: &mut File,
    path: &Path,
    end: u64,
    write: impl FnOnce(&File) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let cut = file.set_len(end).and_then(|()| file.seek(SeekFrom::Start(end)));
    cut.map_err(|error| StoreError::new("write", path, "file", error))?;
    let written = write(file);
    if written.is_err() {
        // Should this fail too, a torn end is what is left.
        let _ = file.set_len(end);
    }
    written
}
