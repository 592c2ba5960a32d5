//! The log of batches of table entries.
//!
//! [`HEAD`], then frames: length of the payload, CRC-32 of the payload, CRC-32 of the eight bytes before (each `u32`, little
//! endian), payload. A batch is one frame, and there as a whole or not at all: a writer that is killed, or meets a full disk,
//! leaves a frame whose end is missing, which readers pass over and the next writer cuts off. The length has a check of its
//! own, so that a damaged one is not taken for the end of the log.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::error::StoreError;

/// The first bytes of the file; the last of them is the version.
pub(super) const HEAD: [u8; 8] = *b"ckittab\x01";

/// The longest file of tables that is written or read, in bytes.
pub const MAX_TABLES_BYTES: u64 = 2 << 30;

const FRAME_HEAD: u64 = 12;

/// A payload with what stands before it. An empty payload is no frame: it would be all zeroes, as is a torn file.
pub(super) fn frame(payload: &[u8], path: &Path) -> Result<Vec<u8>, StoreError> {
    let bytes = payload.len() as u64 + FRAME_HEAD + HEAD.len() as u64;
    let length = u32::try_from(payload.len()).ok().filter(|_| bytes <= MAX_TABLES_BYTES);
    let Some(length) = length else {
        return Err(StoreError::long_part(path, "a batch", bytes, MAX_TABLES_BYTES));
    };
    let mut out = Vec::with_capacity(payload.len() + 12);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
    out.extend_from_slice(payload);
    Ok(out)
}

/// Goes through the frames of a file that is whole up to its torn end; tells where that begins.
///
/// Only what was there at the beginning is read, while another may append.
pub(super) fn each_frame(
    file: &File,
    path: &Path,
    mut take: impl FnMut(u64, Vec<u8>) -> Result<(), StoreError>,
) -> Result<u64, StoreError> {
    walk(file, path, |reader, at, length, crc| {
        let mut payload = Vec::new();
        let got = reader.take(length).read_to_end(&mut payload);
        let got = got.map_err(|error| StoreError::new("read", path, "file", error))?;
        if got as u64 != length || crc32fast::hash(&payload) != crc {
            return Err(damaged(path, at, "its checksum is wrong"));
        }
        take(at, payload)
    })
}

/// Where the torn end of a file begins, by the heads of its frames.
pub(super) fn end(file: &File, path: &Path) -> Result<u64, StoreError> {
    walk(file, path, |reader, _, length, _| {
        let forward = i64::try_from(length).map_err(|_| damaged(path, length, "no such length"))?;
        reader.seek_relative(forward).map_err(|error| StoreError::new("read", path, "file", error))
    })
}

fn walk(
    file: &File,
    path: &Path,
    mut take: impl FnMut(&mut BufReader<&File>, u64, u64, u32) -> Result<(), StoreError>,
) -> Result<u64, StoreError> {
    let failed = |error| StoreError::new("read", path, "file", error);
    let total = file.metadata().map_err(failed)?.len();
    if total > MAX_TABLES_BYTES {
        return Err(StoreError::long_file(path, total, MAX_TABLES_BYTES));
    }
    let mut reader = BufReader::with_capacity(1 << 16, file);
    reader.seek(SeekFrom::Start(0)).map_err(failed)?;
    let mut head = [0; HEAD.len()];
    match reader.read_exact(&mut head) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(damaged(path, 0, "it ends before its first batch"));
        }
        other => other.map_err(failed)?,
    }
    match (head, HEAD) {
        ([a @ .., found], [b @ .., known]) if a == b && found != known => {
            return Err(damaged(path, 7, &format!("it has version {found}, and this program knows {known}")));
        }
        (head, known) if head != known => return Err(damaged(path, 0, "it is no file of tables")),
        _ => {}
    }
    let mut at = HEAD.len() as u64;
    while total - at >= FRAME_HEAD {
        let mut words = [[0; 4]; 3];
        for word in &mut words {
            reader.read_exact(word).map_err(failed)?;
        }
        let [length, crc, head_crc] = words.map(u32::from_le_bytes);
        let mut check = crc32fast::Hasher::new();
        let [length_bytes, crc_bytes, _] = words;
        check.update(&length_bytes);
        check.update(&crc_bytes);
        if check.finalize() != head_crc || length == 0 {
            // A file system that lost its power may have grown the file and not filled it.
            if words == [[0; 4]; 3] && rest_is_zero(reader.take(total - at - FRAME_HEAD)).map_err(failed)? {
                return Ok(at);
            }
            return Err(damaged(path, at, "no batch begins here"));
        }
        let length = u64::from(length);
        if total - at - FRAME_HEAD < length {
            return Ok(at);
        }
        take(&mut reader, at, length, crc)?;
        at += FRAME_HEAD + length;
    }
    Ok(at)
}

fn rest_is_zero(mut rest: impl Read) -> io::Result<bool> {
    let mut piece = [0_u8; 4096];
    loop {
        match rest.read(&mut piece)? {
            0 => return Ok(true),
            got if piece.iter().take(got).any(|byte| *byte != 0) => return Ok(false),
            _ => {}
        }
    }
}

pub(super) fn damaged(path: &Path, at: u64, why: &str) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), at, why: why.to_owned() }
}
