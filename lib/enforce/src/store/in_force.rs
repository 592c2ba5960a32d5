//! The rules in force, for one who asks again and again.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;

use super::error::StoreError;
use super::records::{Marker, RuleEntry};
use super::saved::{Saved, read_rules};
use super::{MARKER, Store, read_marker};

/// What explains the rules in force. To ask again costs two looks at files; only lines that are new are read.
#[derive(Debug)]
pub struct RulesInForce {
    store: Store,
    known: Option<Known>,
    rules: BTreeMap<u32, RuleEntry>,
}

#[derive(Debug)]
struct Known {
    marker: Marker,
    marker_file: Seen,
    saved: Saved,
    rules_file: Seen,
    /// Up to where lines have been read.
    at: u64,
}

/// Tells whether a file is another, or has been written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Seen {
    fn of(facts: &Metadata) -> Self {
        let changed = (facts.mtime(), facts.mtime_nsec());
        Self { device: facts.dev(), inode: facts.ino(), bytes: facts.len(), changed }
    }
}

impl RulesInForce {
    pub(super) const fn new(store: Store) -> Self {
        Self { store, known: None, rules: BTreeMap::new() }
    }

    /// The rules by their numbers, as they are now; empty where no policy is in force.
    ///
    /// # Errors
    /// Where files are missing, cannot be read or are damaged. To ask again then looks again.
    pub fn get(&mut self) -> Result<&BTreeMap<u32, RuleEntry>, StoreError> {
        let mut done = self.look();
        if done.as_ref().is_err_and(StoreError::is_missing) {
            // The folder was replaced and removed between two looks.
            self.forget();
            done = self.look();
        }
        if let Err(error) = done {
            self.forget();
            return Err(error);
        }
        Ok(&self.rules)
    }

    /// The rules as [`get`](Self::get) found them last; nothing is looked at.
    #[must_use]
    pub const fn known(&self) -> &BTreeMap<u32, RuleEntry> {
        &self.rules
    }

    /// The marker that [`get`](Self::get) went by.
    #[must_use]
    pub fn marker(&self) -> Option<&Marker> {
        self.known.as_ref().map(|known| &known.marker)
    }

    fn forget(&mut self) {
        self.known = None;
        self.rules.clear();
    }

    fn look(&mut self) -> Result<(), StoreError> {
        let folder = match self.store.folder() {
            Ok(folder) => folder,
            Err(error) if error.is_missing() => {
                self.forget();
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let marker_file = match folder.read(MARKER) {
            Ok(file) => seen(&file, &folder.path_of(MARKER))?,
            Err(error) if error.is_missing() => {
                self.forget();
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let known = match self.known.take() {
            Some(known) if known.marker_file == marker_file => known,
            known => {
                let (marker, file) = read_marker(&folder)?;
                let marker_file = seen(&file, &folder.path_of(MARKER))?;
                match known {
                    // Confirmed, say: the rules are the same.
                    Some(known) if known.marker.folder == marker.folder => Known { marker, marker_file, ..known },
                    _ => {
                        self.rules.clear();
                        let saved = Saved::new(folder.folder(&marker.folder)?);
                        let rules_file = Seen { device: 0, inode: 0, bytes: 0, changed: (0, 0) };
                        Known { marker, marker_file, saved, rules_file, at: 0 }
                    }
                }
            }
        };
        self.known = Some(self.read_on(known)?);
        Ok(())
    }

    fn read_on(&mut self, mut known: Known) -> Result<Known, StoreError> {
        let file = known.saved.rules_file()?;
        let now = seen(&file, known.saved.path())?;
        if now == known.rules_file {
            return Ok(known);
        }
        if (now.device, now.inode) != (known.rules_file.device, known.rules_file.inode) || now.bytes < known.at {
            known.at = 0;
            self.rules.clear();
        }
        // What is appended meanwhile is read now or, since the length is another then, next time.
        known.at = read_rules(known.saved.rule_lines(file, known.at)?, &mut self.rules)?;
        known.rules_file = now;
        Ok(known)
    }
}

fn seen(file: &File, path: &std::path::Path) -> Result<Seen, StoreError> {
    let facts = file.metadata().map_err(|error| StoreError::new("look at", path, "file", error))?;
    Ok(Seen::of(&facts))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::store::{PolicyRef, RuleAction, RuleChange, RuleDirection};

    fn rule(number: u32, name: &str) -> RuleEntry {
        let policy = PolicyRef { name: name.to_owned(), ..PolicyRef::default() };
        RuleEntry {
            number,
            direction: RuleDirection::Egress,
            action: RuleAction::Deny,
            tier: "Admin".to_owned(),
            index: None,
            policies: vec![policy],
            more: BTreeMap::new(),
        }
    }

    fn put_in_force(store: &Store, generation: u32, rules: &[RuleEntry]) -> Saved {
        let mut draft = store.begin().unwrap();
        draft.rules(rules.iter().cloned()).unwrap();
        let name = store.new_name(generation);
        let saved = draft.finish(&name).unwrap();
        let marker = Marker { kind: "PolicyMarker".to_owned(), generation, folder: name, ..Marker::default() };
        store.set_marker(&marker).unwrap();
        saved
    }

    fn names(rules: &mut RulesInForce) -> Vec<(u32, String)> {
        let rules = rules.get().unwrap();
        rules.values().map(|rule| (rule.number, rule.policies[0].name.clone())).collect()
    }

    #[test]
    fn what_is_appended_is_known_when_it_is_asked_for_again() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::below(root.path());
        let mut rules = store.rules_in_force();
        assert!(names(&mut rules).is_empty() && rules.marker().is_none());
        let mut saved = put_in_force(&store, 1, &[rule(16, "a")]);
        assert_eq!(names(&mut rules), [(16, "a".to_owned())]);
        assert!(rules.known().contains_key(&16));
        saved.append_rules([RuleChange::Set(rule(17, "b")), RuleChange::Gone(16)]).unwrap();
        assert_eq!(names(&mut rules), [(17, "b".to_owned())]);
        assert_eq!(names(&mut rules), [(17, "b".to_owned())]);
        assert_eq!(rules.marker().unwrap().generation, 1);
    }

    #[test]
    fn another_folder_is_read_anew_and_none_means_none() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::below(root.path());
        let mut rules = store.rules_in_force();
        put_in_force(&store, 1, &[rule(16, "a"), rule(17, "b")]);
        assert_eq!(names(&mut rules).len(), 2);
        put_in_force(&store, 2, &[rule(16, "c")]);
        let marker = store.marker().unwrap().unwrap();
        store.keep_only(&[&marker.folder]).unwrap();
        assert_eq!(names(&mut rules), [(16, "c".to_owned())]);
        store.set_marker(&Marker { deadline: Some(5), ..marker }).unwrap();
        assert_eq!(names(&mut rules), [(16, "c".to_owned())]);
        assert_eq!(rules.marker().unwrap().deadline, Some(5));
        store.remove_marker().unwrap();
        assert!(names(&mut rules).is_empty() && rules.marker().is_none());
    }

    #[test]
    fn only_what_is_new_is_read() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::below(root.path());
        let mut saved = put_in_force(&store, 1, &[rule(16, "a")]);
        let mut rules = store.rules_in_force();
        assert_eq!(names(&mut rules).len(), 1);
        // What has been read is not looked at again, so that it does not show that it was made nonsense of.
        let path = saved.path().join("rules");
        let mut text = fs::read(&path).unwrap();
        text[0] = b'?';
        fs::write(&path, &text).unwrap();
        saved.append_rules([RuleChange::Set(rule(17, "b"))]).unwrap();
        assert_eq!(names(&mut rules).len(), 2);
        assert!(store.rules_in_force().get().is_err());
    }

    #[test]
    fn a_torn_line_is_read_when_it_is_whole() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::below(root.path());
        let saved = put_in_force(&store, 1, &[rule(16, "a"), rule(17, "b")]);
        let path = saved.path().join("rules");
        let text = fs::read(&path).unwrap();
        let mut rules = store.rules_in_force();
        for length in 0..=text.len() {
            fs::write(&path, &text[..length]).unwrap();
            let whole = text[..length].iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(names(&mut rules).len(), whole, "{length}");
        }
    }

    #[test]
    fn a_folder_that_is_missing_is_told_and_looked_for_again() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::below(root.path());
        let mut rules = store.rules_in_force();
        put_in_force(&store, 1, &[rule(16, "a")]);
        assert_eq!(names(&mut rules).len(), 1);
        store.keep_only(&[]).unwrap();
        assert!(rules.get().unwrap_err().is_missing());
        put_in_force(&store, 2, &[rule(16, "b")]);
        assert_eq!(names(&mut rules), [(16, "b".to_owned())]);
    }
}
