//! What can go wrong with files of policy.

use std::io;
use std::path::{Path, PathBuf};

/// Why files of policy could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// No room is left.
    #[error(
        "cannot {action} {}: {source}: what was written before is whole and stays: make room on this file system, then do it again",
        path.display()
    )]
    Full {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// Nothing is there.
    #[error("there is no {}: no policy has been applied, or it was taken away: apply again", path.display())]
    Missing {
        /// What was looked for.
        path: PathBuf,
    },
    /// A link, or something that is no file or folder.
    #[error("{} is a link or not a {wanted}, and links are not followed here: look who put it there, and remove it", path.display())]
    Strange {
        /// What was met.
        path: PathBuf,
        /// What it should be.
        wanted: &'static str,
    },
    /// What is in a file is not what was written.
    #[error("{} cannot be used, at byte {at}: {why}: apply again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// From where on.
        at: u64,
        /// What is wrong.
        why: String,
    },
    /// More than is written or read.
    #[error("{}: {what} is {bytes} bytes, and at most {most} are kept: {remedy}", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// What of it.
        what: &'static str,
        /// How long it is.
        bytes: u64,
        /// The bound.
        most: u64,
        /// What to do.
        remedy: &'static str,
    },
    /// Something that has no form in a file.
    #[error("cannot write to {}: {why}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A name that no folder of policy has.
    #[error("`{name}` names no folder of policy: letters, digits, `-` and `_` do, at most 64 of them")]
    Name {
        /// The name.
        name: String,
    },
}

impl StoreError {
    /// A file that has grown too long.
    pub(super) fn long_file(path: &Path, bytes: u64, most: u64) -> Self {
        let remedy = "apply again, which begins a new one";
        Self::TooLong { path: path.to_owned(), what: "the file", bytes, most, remedy }
    }

    /// Something too long to be written at once.
    pub(super) fn long_part(path: &Path, what: &'static str, bytes: u64, most: u64) -> Self {
        let remedy = "give less: split the policy or object it is of";
        Self::TooLong { path: path.to_owned(), what, bytes, most, remedy }
    }

    /// Whether nothing is there.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }

    /// What the file system said when `action` was tried on a `wanted` at `path`.
    pub(super) fn new(action: &'static str, path: &Path, wanted: &'static str, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.raw_os_error() {
            Some(libc::ENOENT) => Self::Missing { path },
            Some(libc::ENOSPC | libc::EDQUOT) => Self::Full { action, path, source },
            // A link where none is to be followed, a file for a folder, a socket, a folder for a file.
            Some(libc::ELOOP | libc::ENOTDIR | libc::ENXIO | libc::EISDIR) => Self::Strange { path, wanted },
            _ => Self::Io { action, path, source },
        }
    }
}
