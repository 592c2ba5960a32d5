//! Pins: what makes a datapath outlive every process.
//!
//! Under `<root>/sys/fs/bpf/chainkit/<ABI version>/` lie `maps/`, `programs/` and `links/`. A directory of pins is made whole beside
//! its place, as `<ABI version>-<process id>`, and then moved there: nobody meets half of it. No link of the filesystem is
//! followed, and a name that is not ours is left alone.

use std::{
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::DirBuilderExt,
    },
    path::{Path, PathBuf},
};

use chainkit_abi::ABI_VERSION;

use crate::{
    datapath::Datapath,
    error::{Context, Error, Result},
    program::Program,
    sys::{self, Direction},
};

/// Where a datapath is pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins {
    bpffs: PathBuf,
    abi: u32,
}

/// A pinned tcx link, as its name has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PinnedLink {
    /// The interface that it was made for.
    pub ifindex: u32,
    /// Which end of it.
    pub direction: Direction,
    /// The pin.
    pub path: PathBuf,
}

impl Pins {
    /// The pins of the node whose root is `root` (`/` but for tests): `<root>/sys/fs/bpf/chainkit/<ABI version>`.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        Self::of_abi(root, ABI_VERSION)
    }

    /// The pins of another ABI version.
    #[must_use]
    pub fn of_abi(root: &Path, abi: u32) -> Self {
        Self { bpffs: root.join("sys/fs/bpf"), abi }
    }

    /// The ABI versions pinned below `root` that are not this program's, in order.
    ///
    /// # Errors
    /// Where the directory cannot be read; one that is not there holds none.
    pub fn other_abis(root: &Path) -> Result<Vec<u32>> {
        let base = Self::below(root).base();
        let mut found: Vec<u32> = names(&base)?.into_iter().filter_map(|(name, _)| number(&name)).collect();
        // A folder without a map is what is left of one, and no datapath.
        found.retain(|abi| *abi != ABI_VERSION && Self::of_abi(root, *abi).directory().join("maps/CONTROL").exists());
        found.sort_unstable();
        Ok(found)
    }

    fn base(&self) -> PathBuf {
        self.bpffs.join("chainkit")
    }

    /// The directory of this ABI version.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.base().join(self.abi.to_string())
    }

    fn links_directory(&self) -> PathBuf {
        self.directory().join("links")
    }

    /// Whether a BPF filesystem is mounted there.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.check_filesystem().is_ok()
    }

    pub(crate) fn check_filesystem(&self) -> Result<()> {
        match nix::sys::statfs::statfs(&self.bpffs) {
            Ok(facts) if facts.filesystem_type() == nix::sys::statfs::BPF_FS_MAGIC => Ok(()),
            _ => Err(Error::NoBpffs(self.bpffs.clone())),
        }
    }

    /// Whether something lies at a path of ours; every folder on the way must be a folder, and no link.
    pub(crate) fn has(&self, path: &Path) -> Result<bool> {
        let mut way: Vec<&Path> = path.ancestors().skip(1).take_while(|folder| *folder != self.bpffs).collect();
        way.reverse();
        for folder in way {
            match fs::symlink_metadata(folder) {
                Ok(facts) if facts.is_dir() => {}
                Ok(_) => return Err(no_folder(folder)),
                Err(error) if is_absent(&error) => return Ok(false),
                Err(error) => return Err(error).during(|| format!("look at {}", folder.display())),
            }
        }
        match fs::symlink_metadata(path) {
            Ok(_) => Ok(true),
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => Err(error).during(|| format!("look at {}", path.display())),
        }
    }

    /// The pinned links, in order; names that are not ours are left out.
    ///
    /// # Errors
    /// Where the directory cannot be read; one that is not there holds none.
    pub fn links(&self) -> Result<Vec<PinnedLink>> {
        let directory = self.links_directory();
        if !self.has(&directory)? {
            return Ok(Vec::new());
        }
        let mut found: Vec<PinnedLink> = names(&directory)?
            .into_iter()
            .filter_map(|(name, path)| {
                let (ifindex, direction) = name.split_once('-')?;
                let direction = Direction::BOTH.into_iter().find(|known| known.name() == direction)?;
                Some(PinnedLink { ifindex: number(ifindex)?, direction, path })
            })
            .collect();
        found.sort();
        Ok(found)
    }

    fn link(&self, ifindex: u32, direction: Direction) -> PathBuf {
        self.links_directory().join(format!("{ifindex}-{}", direction.name()))
    }

    /// Where a link of this interface and direction is pinned, if one is.
    pub(crate) fn has_link(&self, ifindex: u32, direction: Direction) -> Result<Option<PathBuf>> {
        let path = self.link(ifindex, direction);
        Ok(self.has(&path)?.then_some(path))
    }

    /// Pins a link; one of the same interface and direction is replaced.
    pub(crate) fn pin_link(&self, ifindex: u32, direction: Direction, link: BorrowedFd<'_>) -> Result<()> {
        let (directory, path) = (self.links_directory(), self.link(ifindex, direction));
        let action = || format!("pin the link at {}", path.display());
        let is_there = self.has(&path)?;
        make_folder(&directory).during(action)?;
        if is_there {
            let id = |link: BorrowedFd<'_>| sys::link_facts(link).ok().flatten().map(|facts| facts.id);
            if let Ok(pinned) = open(&path)
                && id(pinned.as_fd()).is_some_and(|pinned| id(link) == Some(pinned))
            {
                return Ok(());
            }
            remove(&path).during(action)?;
        }
        sys::pin(link, &path).during(action)
    }

    /// Takes the pin of a link away: the program is off the interface unless someone else holds the link. A pin that is not
    /// there is no error.
    ///
    /// The kernel takes the program off a moment later.
    ///
    /// # Errors
    /// Where the pin cannot be removed.
    pub fn unpin_link(&self, ifindex: u32, direction: Direction) -> Result<()> {
        let path = self.link(ifindex, direction);
        if !self.has(&path)? {
            return Ok(());
        }
        remove(&path).during(|| format!("remove the pin {}", path.display()))
    }

    /// Takes all pins of this ABI version away; what still hangs on interfaces by clsact goes on.
    ///
    /// # Errors
    /// Where they cannot be removed.
    pub fn remove(&self) -> Result<()> {
        let directory = self.directory();
        if self.has(&directory)? {
            remove_tree(&directory)?;
        }
        // Others' versions may be there.
        let _ = fs::remove_dir(self.base());
        Ok(())
    }

    /// Takes away what killed processes have left half made.
    pub(crate) fn remove_leftovers(&self) -> Result<()> {
        let base = self.base();
        if !self.has(&base)? {
            return Ok(());
        }
        for (name, path) in names(&base)? {
            let parts = name.split_once('-').and_then(|(abi, process)| Some((number(abi)?, number(process)?)));
            if parts.is_some_and(|(abi, _)| abi == self.abi) {
                remove_tree(&path)?;
            }
        }
        let programs = self.directory().join("programs");
        if self.has(&programs)? {
            for (name, path) in names(&programs)? {
                let parts = name.split_once('-').and_then(|(program, process)| Some((program, number(process)?)));
                if parts.is_some_and(|(program, _)| Program::ALL.iter().any(|known| known.name() == program)) {
                    remove(&path).during(|| format!("remove the pin {}", path.display()))?;
                }
            }
        }
        Ok(())
    }

    /// Has a program's name pin another program, at one instant.
    pub(crate) fn replace_program(&self, program: Program, with: BorrowedFd<'_>) -> Result<()> {
        let directory = self.directory().join("programs");
        let path = directory.join(program.name());
        let beside = directory.join(format!("{}-{}", program.name(), std::process::id()));
        let action = || format!("replace the pin {}", path.display());
        self.has(&path)?;
        remove(&beside).during(action)?;
        sys::pin(with, &beside).during(action)?;
        let replaced = fs::rename(&beside, &path);
        if replaced.is_err() {
            let _ = remove(&beside);
        }
        replaced.during(action)
    }

    /// Takes away the directory of this ABI version if it holds no pin; false: it does.
    pub(crate) fn remove_if_empty(&self) -> Result<bool> {
        let directory = self.directory();
        if !self.has(&directory)? {
            return Ok(true);
        }
        for folder in ["maps", "programs", "links"] {
            let _ = fs::remove_dir(directory.join(folder));
        }
        match fs::remove_dir(&directory) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOTEMPTY) => Ok(false),
            Err(error) => Err(error).during(|| format!("remove {}", directory.display())),
        }
    }
}

impl Datapath {
    /// Pins maps and programs, so that they outlive every process.
    ///
    /// # Errors
    /// Where something is pinned there already, or the place is no BPF filesystem.
    pub fn pin(&self, pins: &Pins) -> Result<()> {
        let directory = pins.directory();
        let beside = pins.base().join(format!("{}-{}", pins.abi, std::process::id()));
        let action = || format!("pin the datapath at {}", directory.display());
        pins.check_filesystem()?;
        pins.has(&beside)?;
        let pinned = self.pin_into(&beside).and_then(|()| fs::rename(&beside, &directory));
        if pinned.is_err() {
            let _ = fs::remove_dir_all(&beside);
        }
        pinned.during(action)
    }

    fn pin_into(&self, directory: &Path) -> io::Result<()> {
        self.pin_missing(directory).map(drop)
    }

    /// Pins what of maps and programs is not pinned in a directory; whether anything was.
    pub(crate) fn pin_missing(&self, directory: &Path) -> io::Result<bool> {
        let mut pinned = false;
        let maps = self.maps.iter().map(|(name, fd)| ("maps", *name, fd));
        let programs = self.programs.iter().map(|(program, fd)| ("programs", program.name(), fd));
        for folder in ["maps", "programs"] {
            make_folder(&directory.join(folder))?;
        }
        for (folder, name, fd) in maps.chain(programs) {
            match sys::pin(fd.as_fd(), &directory.join(folder).join(name)) {
                Ok(()) => pinned = true,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Ok(pinned)
    }
}

/// Opens a pin, which must be one: no link of the filesystem is followed.
pub(crate) fn open(path: &Path) -> io::Result<OwnedFd> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no pin, and links are not followed"));
    }
    sys::by_pin(path)
}

fn no_folder(path: &Path) -> Error {
    let what = "it is a link or no folder, and links are not followed: remove it".to_owned();
    Error::Foreign { place: path.display().to_string(), what }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// A decimal number as we write it: no sign, no leading zero.
fn number(text: &str) -> Option<u32> {
    let value: u32 = text.parse().ok()?;
    (value.to_string() == text).then_some(value)
}

/// What a folder holds, by name; one that is not there holds nothing.
fn names(directory: &Path) -> Result<Vec<(String, PathBuf)>> {
    let action = || format!("read the folder {}", directory.display());
    let entries = match fs::read_dir(directory) {
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        other => other.during(action)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.during(action)?;
        if let Ok(name) = entry.file_name().into_string() {
            found.push((name, entry.path()));
        }
    }
    Ok(found)
}

fn make_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.mode(0o700).recursive(true);
    builder.create(path)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if is_absent(&error) => Ok(()),
        other => other,
    }
}

fn remove_tree(path: &Path) -> Result<()> {
    // Which follows no link.
    match fs::remove_dir_all(path) {
        Err(error) if is_absent(&error) => Ok(()),
        other => other.during(|| format!("remove the pins at {}", path.display())),
    }
}
