//! Files and folders.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{MAX_INPUT_BYTES, Reader};
use crate::model::{Cluster, Problem};

/// How many folders may lie within one another.
pub const MAX_FOLDER_DEPTH: usize = 64;

/// An input that was named and cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read Kubernetes objects from {place}: {error}")]
pub struct InputError {
    place: String,
    error: io::Error,
}

impl Cluster {
    /// Reads objects from inputs: files, folders (every `.yaml`, `.yml` and `.json` in them, at any depth, in the order of
    /// their names), and `-` for standard input.
    ///
    /// Within a folder, names that begin with a dot are passed over, and links are followed to files of the same folder
    /// alone. What cannot be used is in [`Cluster::problems`].
    ///
    /// # Errors
    /// When an input does not exist or cannot be opened.
    pub fn read<T: AsRef<str>>(inputs: &[T]) -> Result<Self, InputError> {
        let mut reader = Reader::default();
        for input in inputs {
            reader.input(input.as_ref())?;
        }
        Ok(reader.finish())
    }
}

impl Reader {
    /// Reads a file, a folder, or `-`, as [`Cluster::read`] does.
    ///
    /// # Errors
    /// When it does not exist or cannot be opened.
    pub fn input(&mut self, input: &str) -> Result<(), InputError> {
        let wrong = |error| InputError { place: input.to_owned(), error };
        if input == "-" {
            return self.stream(input, io::stdin().lock()).map_err(wrong);
        }
        let path = Path::new(input);
        if !fs::metadata(path).map_err(wrong)?.is_dir() {
            let file = fs::File::open(path).map_err(wrong)?;
            return self.stream(input, file).map_err(wrong);
        }
        let root = fs::canonicalize(path).map_err(wrong)?;
        let mut files = Vec::new();
        self.list(path, &root, 0, &mut files).map_err(wrong)?;
        for file in files {
            let name = file.to_string_lossy().into_owned();
            let read = fs::File::open(&file).and_then(|open| self.stream(&name, open));
            if let Err(error) = read {
                self.whole(&name, format!("cannot be read: {error}"));
            }
        }
        Ok(())
    }

    /// Reads a stream to its end.
    fn stream(&mut self, name: &str, input: impl Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        input.take(MAX_INPUT_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_INPUT_BYTES {
            self.whole(name, format!("longer than {} MiB: give it in parts", MAX_INPUT_BYTES >> 20));
            return Ok(());
        }
        match String::from_utf8(bytes) {
            Ok(text) => self.text(name, &text),
            Err(error) => {
                let sound = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
                let line = sound.iter().filter(|byte| **byte == b'\n').count() + 1;
                self.problem(Problem { line, ..whole(name, "not UTF-8".to_owned()) });
            }
        }
        Ok(())
    }

    /// Lists the files of a folder that hold objects.
    fn list(&mut self, folder: &Path, root: &Path, depth: usize, files: &mut Vec<PathBuf>) -> io::Result<()> {
        let mut entries: Vec<fs::DirEntry> = fs::read_dir(folder)?.collect::<io::Result<_>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let name = path.to_string_lossy().into_owned();
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            let kind = entry.file_type()?;
            if kind.is_dir() {
                if depth + 1 >= MAX_FOLDER_DEPTH {
                    self.whole(&name, format!("passed over: more than {MAX_FOLDER_DEPTH} folders deep"));
                } else if let Err(error) = self.list(&path, root, depth + 1, files) {
                    self.whole(&name, format!("cannot be listed: {error}"));
                }
            } else if holds_objects(&path) {
                if kind.is_file() || (kind.is_symlink() && self.leads_within(&path, root)) {
                    files.push(path);
                } else if !kind.is_symlink() {
                    self.whole(&name, "passed over: no regular file".to_owned());
                }
            }
        }
        Ok(())
    }

    /// Whether a link leads to a regular file of the folder that was named.
    fn leads_within(&mut self, link: &Path, root: &Path) -> bool {
        let name = link.to_string_lossy().into_owned();
        match fs::canonicalize(link) {
            Ok(target) if !target.starts_with(root) => {
                self.whole(&name, "passed over: a link that leads out of the folder".to_owned());
                false
            }
            Ok(target) => target.is_file(),
            Err(error) => {
                self.whole(&name, format!("cannot be followed: {error}"));
                false
            }
        }
    }

    fn whole(&mut self, name: &str, reason: String) {
        self.problem(whole(name, reason));
    }
}

/// A problem of a file as a whole.
fn whole(name: &str, reason: String) -> Problem {
    Problem { file: name.into(), document: 0, line: 0, object: String::new(), field: String::new(), reason }
}

fn holds_objects(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    ["yaml", "yml", "json"].iter().any(|known| extension.eq_ignore_ascii_case(known))
}
