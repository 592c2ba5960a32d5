//! The folder of endpoint records, as the programs that write it see it.
//!
//! A record is written beside its place, synced and renamed, so that nobody meets half of one. Its file is named after its
//! container and a digest of what tells attachments apart: network, container and interface.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha1::{Digest, Sha1};

use crate::endpoint::{ENDPOINTS_FOLDER, EndpointRecord, read_endpoints, read_record};
use crate::warning::Warning;

/// How much of a container's identifier a file name bears.
const SHOWN_ID: usize = 100;
/// What a killed writer left is swept away when it is this old.
const LEFTOVER_AGE: Duration = Duration::from_secs(60);

/// The records of a node.
#[derive(Clone, Debug)]
pub struct EndpointStore {
    folder: PathBuf,
}

impl EndpointStore {
    /// The records of the node whose root is `root` (`/` but for tests).
    #[must_use]
    pub fn below(root: &Path) -> Self {
        Self { folder: root.join(ENDPOINTS_FOLDER.trim_start_matches('/')) }
    }

    /// All records, and what could not be read.
    #[must_use]
    pub fn all(&self) -> (Vec<EndpointRecord>, Vec<Warning>) {
        read_endpoints(&self.folder)
    }

    /// The records of a container. One that cannot be read counts as missing.
    #[must_use]
    pub fn of_container(&self, container_id: &str) -> Vec<EndpointRecord> {
        let prefix = prefix(container_id);
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        let names = entries.filter_map(|entry| entry.ok().map(|entry| entry.file_name()));
        names
            .filter(|name| name.to_str().is_some_and(|name| name.starts_with(&prefix) && name.ends_with(".json")))
            .filter_map(|name| read_record(&self.folder.join(name)).ok().flatten())
            .filter(|record| record.container_id == container_id)
            .collect()
    }

    /// Writes a record in place of the one of the same attachment. Of two writers at once one may fail: they are to hold the
    /// node's lock.
    ///
    /// # Errors
    /// Where the folder is a link, or the file system refuses.
    pub fn put(&self, record: &EndpointRecord) -> io::Result<()> {
        self.make_folder()?;
        let (path, beside) = (self.path(record), self.beside(record));
        let written = write_new(&beside, record).and_then(|()| fs::rename(&beside, &path));
        if written.is_err() {
            let _ = fs::remove_file(&beside);
        }
        written
    }

    /// Removes the record of an attachment; one that is not there is no error.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn remove(&self, record: &EndpointRecord) -> io::Result<()> {
        // What a writer that was killed has left goes with it.
        for path in [self.beside(record), self.path(record)] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Where a record is written before it is moved to its place.
    fn beside(&self, record: &EndpointRecord) -> PathBuf {
        let path = self.path(record);
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(".new");
        self.folder.join(name)
    }

    /// Whether a record could be written now: one that is none is, and taken away again.
    ///
    /// # Errors
    /// Why not, as [`put`](Self::put) would say.
    pub fn probe(&self) -> io::Result<()> {
        self.make_folder()?;
        let path = self.folder.join(format!(".probe.{}", std::process::id()));
        let written = write_new(&path, &EndpointRecord::default());
        let removed = fs::remove_file(&path);
        written.and(removed)
    }

    /// Removes what writers that were killed have left.
    pub fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten() {
            let is_leftover = entry.file_name().to_str().is_some_and(|name| name.starts_with('.'));
            let age = entry
                .metadata()
                .and_then(|facts| facts.modified())
                .map(|since| SystemTime::now().duration_since(since));
            if is_leftover && matches!(age, Ok(Ok(age)) if age > LEFTOVER_AGE) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Removes a folder that holds nothing any more.
    pub fn remove_folder(&self) {
        let _ = fs::remove_dir(&self.folder);
    }

    /// Where the record of an attachment lies.
    #[must_use]
    pub fn path(&self, record: &EndpointRecord) -> PathBuf {
        // Where no container is known, the host side tells attachments apart.
        let host = record.interfaces.first().map_or("", |interface| interface.host_name.as_str());
        let host = if record.container_id.is_empty() { host } else { "" };
        let mut digest = Sha1::new();
        for part in [record.network.as_str(), &record.container_id, &record.ifname, host] {
            // None of them can hold a zero byte, so no two different ones look the same.
            digest.update(part);
            digest.update([0]);
        }
        let digest: String = digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(format!("{}{digest}.json", prefix(&record.container_id)))
    }

    fn make_folder(&self) -> io::Result<()> {
        let parent = self.folder.parent().unwrap_or(&self.folder);
        for (folder, recursive) in [(parent, true), (self.folder.as_path(), false)] {
            if fs::symlink_metadata(folder).is_ok_and(|facts| facts.is_dir()) {
                continue;
            }
            let mut builder = DirBuilder::new();
            builder.mode(0o700).recursive(recursive);
            match builder.create(folder) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => other?,
            }
            if !fs::symlink_metadata(folder)?.is_dir() {
                let why = format!("{} is a link or no folder, and links are not followed", folder.display());
                return Err(io::Error::new(io::ErrorKind::NotADirectory, why));
            }
        }
        Ok(())
    }
}

/// How the names of a container's files begin: what a file name should not hold is left out, and told apart by the digest.
fn prefix(container_id: &str) -> String {
    let good = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let shown: String = container_id.chars().filter(good).take(SHOWN_ID).collect();
    format!("{}@", if shown.is_empty() { "unknown" } else { &shown })
}

fn write_new(path: &Path, record: &EndpointRecord) -> io::Result<()> {
    let open = || -> io::Result<File> {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(path)
    };
    let mut file = match open() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Left by a writer that was killed.
            fs::remove_file(path)?;
            open()?
        }
        other => other?,
    };
    let mut text = serde_json::to_vec(record)?;
    text.push(b'\n');
    file.write_all(&text)?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::EndpointInterface;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn record(container_id: &str, ifname: &str) -> EndpointRecord {
        EndpointRecord {
            kind: "Endpoint".to_owned(),
            container_id: container_id.to_owned(),
            ifname: ifname.to_owned(),
            network: "aws-cni".to_owned(),
            ..EndpointRecord::default()
        }
    }

    #[test]
    fn records_of_a_container_are_found_and_removed_one_by_one() {
        let root = tempfile::tempdir().unwrap();
        let store = EndpointStore::below(root.path());
        for record in [record("c1", "eth0"), record("c1", "net1"), record("c11", "eth0"), record("c1.x", "eth0")] {
            store.put(&record).unwrap();
        }
        assert_eq!(store.all().0.len(), 4);
        assert_eq!(store.of_container("c1").len(), 2);
        store.remove(&record("c1", "eth0")).unwrap();
        store.remove(&record("c1", "eth0")).unwrap();
        assert_eq!(store.of_container("c1"), [record("c1", "net1")]);
        assert_eq!(store.of_container("c1.x").len(), 1);
        let path = store.path(&record("c1", "net1"));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_record_replaces_the_one_of_its_attachment() {
        let root = tempfile::tempdir().unwrap();
        let store = EndpointStore::below(root.path());
        store.put(&record("c1", "eth0")).unwrap();
        store.put(&EndpointRecord { mode: "audit".to_owned(), ..record("c1", "eth0") }).unwrap();
        let (all, warnings) = store.all();
        assert_eq!((all.len(), all[0].mode.as_str(), warnings.len()), (1, "audit", 0));
    }

    #[test]
    fn identifiers_from_elsewhere_name_no_other_folder() {
        let root = tempfile::tempdir().unwrap();
        let store = EndpointStore::below(root.path());
        for id in ["../../../etc/x", "/abs", "a\0b", "", &"x".repeat(5000)] {
            let path = store.path(&record(id, "eth0"));
            assert_eq!(path.parent(), Some(store.folder.as_path()), "{id:.40}");
            assert!(path.file_name().unwrap().len() < 255);
            store.put(&record(id, "eth0")).unwrap();
        }
        let unnamed = |host: &str| EndpointRecord {
            interfaces: vec![EndpointInterface { host_name: host.to_owned(), ..EndpointInterface::default() }],
            ..record("", "eth0")
        };
        assert_ne!(store.path(&unnamed("eni1")), store.path(&unnamed("eni2")));
    }

    #[test]
    fn a_folder_that_is_a_link_is_not_written_through() {
        let root = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("run/chainkit")).unwrap();
        symlink(elsewhere.path(), root.path().join("run/chainkit/endpoints")).unwrap();
        let error = EndpointStore::below(root.path()).put(&record("c1", "eth0")).unwrap_err();
        assert!(error.to_string().contains("links are not followed"), "{error}");
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_writer_left_is_overwritten_or_swept() {
        let root = tempfile::tempdir().unwrap();
        let store = EndpointStore::below(root.path());
        store.put(&record("c1", "eth0")).unwrap();
        let name = store.path(&record("c1", "eth0")).file_name().unwrap().to_str().unwrap().to_owned();
        let leftover = store.folder.join(format!(".{name}.new"));
        fs::write(&leftover, "{").unwrap();
        store.put(&record("c1", "eth0")).unwrap();
        assert!(!leftover.exists());
        fs::write(&leftover, "{").unwrap();
        store.remove(&record("c1", "eth0")).unwrap();
        assert!(!leftover.exists());
        store.put(&record("c1", "eth0")).unwrap();
        let old = store.folder.join(".c9@x.json.1");
        let file = File::create(&old).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
        fs::write(store.folder.join(".new"), "").unwrap();
        store.sweep();
        assert!(!old.exists() && store.folder.join(".new").exists());
        assert_eq!(store.all().0.len(), 1);
    }
}
