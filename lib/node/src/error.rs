//! What can go wrong.

use std::{io, path::PathBuf};

/// An error of this crate; each says what was tried, on what, and what the kernel said.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is nothing at the path of a network namespace: whoever held it has removed it.
    #[error("there is no network namespace at {0}: the pod it belonged to is gone, or the path is wrong")]
    Missing(PathBuf),
    /// Something is there, and it is no network namespace.
    #[error("{path} is no network namespace: {what}")]
    NotNetns {
        /// What was opened.
        path: PathBuf,
        /// What it is instead.
        what: String,
    },
    /// The kernel refused for lack of a capability.
    #[error("cannot {action}: not permitted; run as root")]
    Privilege {
        /// What was tried, and on what.
        action: String,
    },
    /// A system call failed.
    #[error("cannot {action}: {error}")]
    System {
        /// What was tried, and on what.
        action: String,
        /// The kernel's answer; part of the message, so it is no source, which would be told twice.
        error: io::Error,
    },
}

/// Shorthand of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Says what was being done when the kernel said no.
pub(crate) trait During<T> {
    fn during(self, action: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> During<T> for std::result::Result<T, E> {
    fn during(self, action: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| {
            let error = error.into();
            match error.raw_os_error() {
                Some(libc::EPERM | libc::EACCES) => Error::Privilege { action: action() },
                _ => Error::System { action: action(), error },
            }
        })
    }
}
