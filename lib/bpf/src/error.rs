//! What can go wrong, and what to do about it.

use std::{io, path::PathBuf, time::Duration};

/// An error of this crate; each says what was tried, on what, and what the kernel said.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused for lack of a capability.
    #[error("{action}: not permitted; run as root, or with {needs}")]
    Privilege {
        /// What was tried.
        action: String,
        /// The capabilities it takes.
        needs: String,
    },
    /// A system call failed.
    #[error("{action}: {error}")]
    System {
        /// What was tried, and on what.
        action: String,
        /// The kernel's answer; part of the message, so it is no source, which would be told twice.
        error: io::Error,
    },
    /// The kernel's verifier or loader refused our object.
    #[error("cannot load the eBPF programs: {0}; the kernel must be 5.15 or newer, with CONFIG_BPF_SYSCALL and BTF")]
    Load(String),
    /// The maps found are not of this version.
    #[error(
        "the datapath {place} has ABI version {found}, this program {ours}; use the program that \
         made it, or move over to this one with cni-chain upgrade --migrate"
    )]
    Abi {
        /// Where it was found.
        place: String,
        /// Its version.
        found: u32,
        /// Ours.
        ours: u32,
    },
    /// Something that should be a map or program of ours is not.
    #[error("{place} is not what it should be: {what}")]
    Foreign {
        /// Where it was found.
        place: String,
        /// What is wrong.
        what: String,
    },
    /// The pin directory is not on a BPF filesystem.
    #[error("{0} is not on a BPF filesystem; mount one: mount -t bpf bpf /sys/fs/bpf")]
    NoBpffs(PathBuf),
    /// Another process holds the node's lock, and goes on holding it.
    #[error(
        "another process has held {lock} for {patience:?}; if it is stopped, end it (fuser {lock} tells which it is)"
    )]
    Busy {
        /// The file that is locked.
        lock: PathBuf,
        /// How long was waited for it.
        patience: Duration,
    },
    /// Another process holds a lock that is held for long.
    #[error("{lock} is held by {}", holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}")))]
    Held {
        /// The file that is locked.
        lock: PathBuf,
        /// The process that holds it, where it has told.
        holder: Option<u32>,
    },
    /// Every slot is taken.
    #[error("all {0} {1} are taken")]
    Full(u32, &'static str),
    /// The kernel lacks what was asked for.
    #[error("{0}")]
    Unsupported(String),
}

/// Shorthand of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// The capabilities that loading and attaching take.
pub(crate) const NEEDS: &str = "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON";

/// Turns a system call's error into ours.
pub(crate) trait Context<T> {
    /// `action` says what was tried, and on what.
    fn during<S: Into<String>>(self, action: impl FnOnce() -> S) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn during<S: Into<String>>(self, action: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| {
            let action = action().into();
            if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES)) {
                Error::Privilege { action, needs: NEEDS.to_owned() }
            } else {
                Error::System { action, error }
            }
        })
    }
}
