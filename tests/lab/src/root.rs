//! The tree that stands in for a node's `/` when the programs are given `--root`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::Error;

/// What the names of all such trees begin with, in the folder for temporary files.
const PREFIX: &str = "chainkit-lab.";
/// What the name of the lock beside each tree ends with.
const LOCK: &str = ".lock";

/// A tree with a bpffs of its own at `sys/fs/bpf`; unmounted and removed when dropped.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    lock_path: PathBuf,
    /// Held as long as the tree is in use; the kernel lets go of it when the process ends, however it ends.
    _lock: Flock<File>,
}

impl Root {
    /// Makes one, after having removed those that killed processes left behind.
    pub(crate) fn new() -> Result<Self, Error> {
        let parent = std::env::temp_dir();
        sweep(&parent);
        let (path, lock_path, lock) = claim(&parent)?;
        let root = Self { path, lock_path, _lock: lock };
        root.fill()?;
        Ok(root)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn fill(&self) -> Result<(), Error> {
        let folders = ["", "etc/cni/net.d", "opt/cni/bin", "run", "sys/fs/bpf", "tmp", "var/lib", "var/log"];
        for folder in folders {
            let folder = self.path.join(folder);
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)
                .map_err(Error::io(format!("make the folder {}", folder.display())))?;
        }
        // As on every distribution.
        symlink("../run", self.path.join("var/run")).map_err(Error::io("link var/run to run"))?;
        // What the kernel shows is the same for every node of the machine.
        for (link, target) in [("proc", "/proc"), ("sys/class", "/sys/class"), ("sys/kernel", "/sys/kernel")] {
            let link = self.path.join(link);
            symlink(target, &link).map_err(Error::io(format!("link {} to {target}", link.display())))?;
        }
        self.mount_bpffs()
    }

    /// Another bpffs, and an empty `run`, as after a boot.
    pub(crate) fn boot(&self) -> Result<(), Error> {
        let bpffs = self.path.join("sys/fs/bpf");
        umount2(&bpffs, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
            .map_err(Error::io(format!("unmount {}", bpffs.display())))?;
        let run = self.path.join("run");
        fs::remove_dir_all(&run)
            .and_then(|()| DirBuilder::new().mode(0o700).create(&run))
            .map_err(Error::io(format!("empty {}", run.display())))?;
        self.mount_bpffs()
    }

    fn mount_bpffs(&self) -> Result<(), Error> {
        let bpffs = self.path.join("sys/fs/bpf");
        mount(Some("bpffs"), &bpffs, Some("bpf"), MsFlags::empty(), Some("mode=0700"))
            .map_err(Error::io(format!("mount a bpffs at {} (this needs root)", bpffs.display())))
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        if remove(&self.path) {
            drop(fs::remove_file(&self.lock_path));
        }
    }
}

/// Finds a free name and takes its lock, which comes first: nobody sweeps a tree whose lock is held.
fn claim(parent: &Path) -> Result<(PathBuf, PathBuf, Flock<File>), Error> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("{PREFIX}{}.{number}", std::process::id()));
        let mut lock_path = path.clone().into_os_string();
        lock_path.push(LOCK);
        let lock_path = PathBuf::from(lock_path);
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&lock_path);
        let file = match made {
            Ok(file) => file,
            // A process of the same number left it behind, and its tree could not be swept.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(Error::io(format!("make {}", lock_path.display()))(error)),
        };
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            // Between the making and the locking it looks abandoned, and may have been swept.
            Ok(lock) if lock.metadata().is_ok_and(|found| found.nlink() > 0) => {
                return Ok((path, lock_path, lock));
            }
            Ok(_) | Err((_, Errno::EWOULDBLOCK)) => {}
            Err((_, errno)) => {
                return Err(Error::io(format!("lock {}", lock_path.display()))(errno));
            }
        }
    }
}

/// Removes the trees whose process is gone. What cannot be removed now is left to the next lab.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(tree) = name.to_str().and_then(|name| name.strip_suffix(LOCK)) else {
            continue;
        };
        let ours =
            entry.metadata().is_ok_and(|found| found.is_file() && found.uid() == nix::unistd::geteuid().as_raw());
        if !tree.starts_with(PREFIX) || !ours {
            continue;
        }
        let Ok(file) = File::open(entry.path()) else {
            continue;
        };
        let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else {
            continue;
        };
        if remove(&parent.join(tree)) {
            drop(fs::remove_file(entry.path()));
        }
        drop(lock);
    }
}

/// Unmounts and removes a tree; whether it is gone.
fn remove(tree: &Path) -> bool {
    // EINVAL: nothing is mounted there (any more).
    let _ = umount2(&tree.join("sys/fs/bpf"), MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
    match fs::remove_dir_all(tree) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}
