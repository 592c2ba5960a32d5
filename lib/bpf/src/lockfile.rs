//! Files whose bytes are locked, to tell other processes who is alive.
//!
//! Open file description locks go with their process, however it ends. Such a file is opened, and removed once nobody uses
//! it any more, under the [`NodeLock`]; who uses it holds one byte far behind all others.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use nix::fcntl::{FcntlArg, fcntl};

use crate::{
    endpoint::{self, NodeLock},
    error::{Context, Result},
};

/// The byte that everyone who uses a file holds, shared.
const PRESENCE: u64 = 1 << 40;

/// How a byte is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    /// Together with others.
    Shared,
    /// By one alone.
    Exclusive,
    /// Not at all.
    None,
}

impl Lock {
    fn flock(self, at: u64, length: i64) -> libc::flock {
        let kind = match self {
            Self::Shared => libc::F_RDLCK,
            Self::Exclusive => libc::F_WRLCK,
            Self::None => libc::F_UNLCK,
        };
        libc::flock {
            l_type: i16::try_from(kind).unwrap_or(0),
            l_whence: i16::try_from(libc::SEEK_SET).unwrap_or(0),
            l_start: i64::try_from(at).unwrap_or(0),
            l_len: length,
            l_pid: 0,
        }
    }
}

/// One process's use of such a file.
#[derive(Debug)]
pub(crate) struct LockFile {
    file: File,
    path: PathBuf,
    root: PathBuf,
}

impl LockFile {
    /// Opens the file `name` in the run directory of the node whose root is `root`.
    pub(crate) fn open(_lock: &NodeLock, root: &Path, name: &str) -> Result<Self> {
        let file = endpoint::run_file(root, name)?;
        let opened = Self { file, path: endpoint::run_directory(root).join(name), root: root.to_owned() };
        opened.set(PRESENCE, Lock::Shared).during(|| format!("lock {}", opened.path.display()))?;
        Ok(opened)
    }

    /// Locks one byte, or gives it back; fails with `EAGAIN` where others' locks are in the way.
    pub(crate) fn set(&self, at: u64, lock: Lock) -> io::Result<()> {
        fcntl(&self.file, FcntlArg::F_OFD_SETLK(&lock.flock(at, 1))).map(drop).map_err(io::Error::from)
    }

    /// Whether other processes hold a byte.
    pub(crate) fn held_by_others(&self, at: u64) -> Result<bool> {
        self.others(at, 1).during(|| format!("ask who has locked {}", self.path.display()))
    }

    fn others(&self, at: u64, length: i64) -> io::Result<bool> {
        let mut lock = Lock::Exclusive.flock(at, length);
        fcntl(&self.file, FcntlArg::F_OFD_GETLK(&mut lock)).map_err(io::Error::from)?;
        Ok(i32::from(lock.l_type) != libc::F_UNLCK)
    }
}

/// Whether any process holds a byte of the file `name`, which is not made for it.
pub(crate) fn is_held(root: &Path, name: &str, at: u64) -> Result<bool> {
    let path = endpoint::run_directory(root).join(name);
    let action = || format!("ask who has locked {}", path.display());
    let mut options = fs::OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC);
    let file = match options.open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other.during(action)?,
    };
    let mut lock = Lock::Exclusive.flock(at, 1);
    fcntl(&file, FcntlArg::F_OFD_GETLK(&mut lock)).map_err(io::Error::from).during(action)?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // At once, and not with the last descriptor: a child that this process has forked has one until it calls exec.
        let _ = fcntl(&self.file, FcntlArg::F_OFD_SETLK(&Lock::None.flock(0, 0)));
        // Not forever: whoever drops this may hold the lock, and an empty file left behind does no harm.
        let lock = (0..50).find_map(|attempt| {
            NodeLock::try_take(&self.root).ok().or_else(|| {
                thread::sleep(Duration::from_millis(attempt.min(10)));
                None
            })
        });
        let Some(_lock) = lock else { return };
        // To the end of the file: nobody else is there. And only the file that we have open, whatever lies there now.
        let is_ours = || {
            let (ours, there) = (self.file.metadata().ok()?, fs::symlink_metadata(&self.path).ok()?);
            Some(ours.ino() == there.ino() && ours.dev() == there.dev())
        };
        if self.others(0, 0).is_ok_and(|others| !others) && is_ours() == Some(true) {
            let _ = fs::remove_file(&self.path);
        }
    }
}
