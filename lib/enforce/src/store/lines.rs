//! Files of lines, each a JSON value: a line is there once its end is.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::StoreError;

/// The longest line that is written or read, in bytes.
pub const MAX_LINE_BYTES: usize = 128 << 20;

/// The longest file of lines that is written or read, in bytes.
pub const MAX_LINES_BYTES: u64 = 8 << 30;

/// Writes values as lines after `before` bytes of such.
pub(super) fn write_lines<T: Serialize>(
    out: impl Write,
    path: &Path,
    before: u64,
    values: impl IntoIterator<Item = T>,
) -> Result<(), StoreError> {
    let failed = |error| StoreError::new("write", path, "file", error);
    let mut out = BufWriter::with_capacity(1 << 18, out);
    let (mut line, mut bytes) = (Vec::new(), 0);
    for value in values {
        line.clear();
        serde_json::to_writer(&mut line, &value)
            .map_err(|error| StoreError::Unwritable { path: path.to_owned(), why: error.to_string() })?;
        if line.contains(&b'\n') {
            let why = "a value has a line break in it".to_owned();
            return Err(StoreError::Unwritable { path: path.to_owned(), why });
        }
        line.push(b'\n');
        if line.len() > MAX_LINE_BYTES {
            return Err(StoreError::long_part(path, "a line", line.len() as u64, MAX_LINE_BYTES as u64));
        }
        bytes += line.len() as u64;
        if before + bytes > MAX_LINES_BYTES {
            return Err(StoreError::long_file(path, before + bytes, MAX_LINES_BYTES));
        }
        out.write_all(&line).map_err(failed)?;
    }
    out.flush().map_err(failed)
}

/// Where the last whole line ends.
pub(super) fn end(mut file: &File, path: &Path) -> Result<u64, StoreError> {
    let failed = |error| StoreError::new("read", path, "file", error);
    let mut end = file.metadata().map_err(failed)?.len();
    let mut piece = [0_u8; 4096];
    while end > 0 {
        let start = end.saturating_sub(piece.len() as u64);
        file.seek(SeekFrom::Start(start)).map_err(failed)?;
        let Some(piece) = usize::try_from(end - start).ok().and_then(|length| piece.get_mut(..length)) else { break };
        file.read_exact(piece).map_err(failed)?;
        if let Some(last) = piece.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// The lines of a file, as far as it was written when it was opened; a torn last line is passed over.
#[derive(Debug)]
pub struct ObjectLines {
    path: PathBuf,
    /// `None` after the end, and after an error.
    reader: Option<BufReader<io::Take<File>>>,
    at: u64,
}

impl ObjectLines {
    /// The lines from byte `at` on.
    pub(super) fn new(mut file: File, path: PathBuf, at: u64) -> Result<Self, StoreError> {
        let failed = |error| StoreError::new("read", &path, "file", error);
        let bytes = file.metadata().map_err(failed)?.len();
        if bytes > MAX_LINES_BYTES {
            return Err(StoreError::long_file(&path, bytes, MAX_LINES_BYTES));
        }
        file.seek(SeekFrom::Start(at)).map_err(failed)?;
        let rest = file.take(bytes.saturating_sub(at));
        Ok(Self { path, reader: Some(BufReader::with_capacity(1 << 18, rest)), at })
    }

    /// Where the next line begins.
    pub(super) const fn at(&self) -> u64 {
        self.at
    }

    pub(super) fn damaged(&self, at: u64, why: &str) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), at, why: why.to_owned() }
    }

    fn line(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(reader) = &mut self.reader else { return Ok(None) };
        let mut line = Vec::new();
        let got = reader.take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', &mut line);
        got.map_err(|error| StoreError::new("read", &self.path, "file", error))?;
        if line.len() > MAX_LINE_BYTES {
            return Err(StoreError::long_part(&self.path, "a line", line.len() as u64, MAX_LINE_BYTES as u64));
        }
        if line.pop() != Some(b'\n') {
            return Ok(None);
        }
        self.at += line.len() as u64 + 1;
        Ok(Some(line))
    }
}

impl Iterator for ObjectLines {
    type Item = Result<Vec<u8>, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.line().transpose();
        if !matches!(line, Some(Ok(_))) {
            self.reader = None;
        }
        line
    }
}
