//! Folders that are ours, met by descriptor: what is in one is named below it, and no link is followed.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, open, openat, renameat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::error::StoreError;

/// The most names that are looked at in a folder: more than it ever holds.
const MAX_NAMES: usize = 4096;

/// An open folder.
#[derive(Debug)]
pub(super) struct Folder {
    fd: OwnedFd,
    path: PathBuf,
}

impl Folder {
    /// A folder of the system's, which may be met through links: `/var/lib` may well be one.
    pub(super) fn of_system(path: &Path) -> Result<Self, StoreError> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let fd = open(path, flags, Mode::empty()).map_err(|error| failed("open", path, "folder", error))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Where it is, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where something in it is, for messages.
    pub(super) fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(super) fn folder(&self, name: &str) -> Result<Self, StoreError> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let path = self.path_of(name);
        let fd =
            openat(&self.fd, name, flags, Mode::empty()).map_err(|error| failed("open", &path, "folder", error))?;
        Ok(Self { fd, path })
    }

    /// A folder in it, made if it is not there; `None` where `new` asks for one that is made now.
    pub(super) fn make_folder(&self, name: &str, new: bool) -> Result<Option<Self>, StoreError> {
        match mkdirat(&self.fd, name, Mode::S_IRWXU) {
            Err(Errno::EEXIST) if new => return Ok(None),
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(failed("make", &self.path_of(name), "folder", error)),
        }
        self.folder(name).map(Some)
    }

    /// A file in it, to be read.
    pub(super) fn read(&self, name: &str) -> Result<File, StoreError> {
        self.file("open", name, OFlag::O_RDONLY)
    }

    /// A file in it, to be written on and read.
    pub(super) fn update(&self, name: &str) -> Result<File, StoreError> {
        self.file("open", name, OFlag::O_RDWR)
    }

    /// A new file in it.
    pub(super) fn create(&self, name: &str) -> Result<File, StoreError> {
        self.file("make", name, OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL)
    }

    fn file(&self, action: &'static str, name: &str, flags: OFlag) -> Result<File, StoreError> {
        let path = self.path_of(name);
        // Without waiting: a pipe may lie there.
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let fd = openat(&self.fd, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(|error| failed(action, &path, "file", error))?;
        let file = File::from(fd);
        let facts = file.metadata().map_err(|error| StoreError::new("look at", &path, "file", error))?;
        if !facts.is_file() {
            return Err(StoreError::Strange { path, wanted: "file" });
        }
        Ok(file)
    }

    /// Writes a file beside its place, syncs and moves it there, so that nobody meets half of it. Of two writers at once one
    /// may fail: they are to hold the node's lock.
    pub(super) fn put(&self, name: &str, text: &[u8]) -> Result<(), StoreError> {
        let beside = beside(name);
        // What a writer that was killed has left.
        self.remove_file(&beside)?;
        let path = self.path_of(name);
        let written = self.create(&beside).and_then(|mut file| {
            let written = file.write_all(text).and_then(|()| file.sync_all());
            written.map_err(|error| StoreError::new("write", &path, "file", error))?;
            self.rename(&beside, name)
        });
        if written.is_err() {
            let _ = self.remove_file(&beside);
        }
        written?;
        self.sync()
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), StoreError> {
        renameat(&self.fd, from, &self.fd, to).map_err(|error| failed("rename to", &self.path_of(to), "file", error))
    }

    /// Removes a file or a link; one that is not there is no error.
    pub(super) fn remove_file(&self, name: &str) -> Result<(), StoreError> {
        match unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(failed("remove", &self.path_of(name), "file", error)),
        }
    }

    /// Removes a folder in it and the files in that; one that is not there is no error.
    pub(super) fn remove_folder(&self, name: &str) -> Result<(), StoreError> {
        match self.folder(name) {
            Ok(folder) => {
                for file in folder.names()? {
                    folder.remove_file(&file)?;
                }
            }
            Err(error) if error.is_missing() => return Ok(()),
            Err(error) => return Err(error),
        }
        match unlinkat(&self.fd, name, UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(failed("remove", &self.path_of(name), "folder", error)),
        }
    }

    /// The names in it, as far as they are text.
    pub(super) fn names(&self) -> Result<Vec<String>, StoreError> {
        let failed = |error| failed("list", &self.path, "folder", error);
        // Of its own, since a descriptor that is shared has one place to read on from.
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let mut listing = nix::dir::Dir::openat(&self.fd, ".", flags, Mode::empty()).map_err(failed)?;
        let mut names = Vec::new();
        for entry in listing.iter().take(MAX_NAMES) {
            let entry = entry.map_err(failed)?;
            match entry.file_name().to_str() {
                Ok("." | "..") | Err(_) => {}
                Ok(name) => names.push(name.to_owned()),
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Whether a name is there, whatever it is.
    pub(super) fn has(&self, name: &str) -> bool {
        nix::sys::stat::fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
    }

    /// Whether `name` in it is `folder`.
    pub(super) fn is_at(&self, name: &str, folder: &Self) -> bool {
        let there = nix::sys::stat::fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW);
        let ours = nix::sys::stat::fstat(&folder.fd);
        matches!((there, ours), (Ok(there), Ok(ours)) if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino))
    }

    /// Makes what was made and renamed in it last.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        nix::unistd::fsync(&self.fd).map_err(|error| failed("sync", &self.path, "folder", error))
    }

    /// Says that a process is at work in it; `None` where another is. It ends with the process, however that ends.
    pub(super) fn lock(&self) -> Result<Option<Flock<OwnedFd>>, StoreError> {
        let failed = |error: io::Error| StoreError::new("lock", &self.path, "folder", error);
        // A second descriptor of the same opening would lock nothing for itself; this one is all that holds it.
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let own = openat(&self.fd, ".", flags, Mode::empty()).map_err(|error| failed(error.into()))?;
        match Flock::lock(own, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(lock)),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, error)) => Err(failed(error.into())),
        }
    }

    /// The same folder once it has another name.
    pub(super) fn named(self, path: PathBuf) -> Self {
        Self { path, ..self }
    }
}

/// Where a file is written before it is moved to its place.
pub(super) fn beside(name: &str) -> String {
    format!(".{name}.new")
}

fn failed(action: &'static str, path: &Path, wanted: &'static str, error: Errno) -> StoreError {
    StoreError::new(action, path, wanted, error.into())
}
