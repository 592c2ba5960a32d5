//! Files that others have written: read up to a limit, and no links followed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// All of a regular file that is at most `limit` bytes long.
pub(crate) fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    // A pipe is opened without waiting for its other end, and then refused.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file: File = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("it is longer than {limit} bytes")));
    }
    Ok(bytes)
}

/// The paths in a folder, at most `most`, in the order of their names, and whether there are more; none where it is not there.
pub(crate) fn list(folder: &Path, most: usize) -> io::Result<(Vec<PathBuf>, bool)> {
    let mut entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), false)),
        other => other?,
    };
    let mut paths = Vec::new();
    for entry in entries.by_ref().take(most) {
        paths.push(entry?.path());
    }
    paths.sort();
    Ok((paths, entries.next().is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_within_the_limit_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("a"), "12345").unwrap();
        assert_eq!(read(&path("a"), 5).unwrap(), b"12345");
        assert_eq!(read(&path("a"), 4).unwrap_err().to_string(), "it is longer than 4 bytes");
        std::os::unix::fs::symlink(path("a"), path("b")).unwrap();
        assert_eq!(read(&path("b"), 5).unwrap_err().raw_os_error(), Some(libc::ELOOP));
        assert_eq!(read(folder.path(), 5).unwrap_err().to_string(), "it is no regular file");
        let pipe = path("c");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(read(&pipe, 5).unwrap_err().to_string(), "it is no regular file");
    }

    #[test]
    fn a_folder_is_listed_up_to_a_number() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b", "a"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let both = (vec![folder.path().join("a"), folder.path().join("b")], false);
        assert_eq!(list(folder.path(), 2).unwrap(), both);
        let (some, more) = list(folder.path(), 1).unwrap();
        assert_eq!((some.len(), more), (1, true));
        assert_eq!(list(&folder.path().join("none"), 2).unwrap(), (vec![], false));
    }
}
