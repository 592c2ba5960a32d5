//! The body of an HTTP/1 message: it is counted, not kept (RFC 9112, sections 6 and 7).

use super::head::Body;

/// A line of a chunked body that is longer is none; also the bound of all trailers.
const MAX_LINE: usize = 16 * 1024;

/// A body that is being received.
#[derive(Debug)]
pub(crate) struct Receiving {
    left: Left,
    /// Bytes so far.
    pub(crate) bytes: u64,
}

#[derive(Debug)]
enum Left {
    /// So many bytes.
    Bytes(u64),
    /// So many bytes of a chunk, then its line end.
    Chunk(u64),
    /// The line end after a chunk.
    ChunkEnd,
    /// The line with a chunk's length.
    Size,
    /// Trailers, of which so many bytes have been.
    Trailers(usize),
    /// All until the connection is closed.
    Close,
}

/// What came of reading a part of a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// It is whole, after so many bytes of what was given.
    Whole(usize),
    /// There is more; so many bytes were used.
    More(usize),
    /// It is no body.
    Bad,
}

impl Receiving {
    pub(crate) fn new(body: Body) -> Self {
        let left = match body {
            Body::Length(bytes) => Left::Bytes(bytes),
            Body::Chunked => Left::Size,
            Body::UntilClose => Left::Close,
        };
        Self { left, bytes: 0 }
    }

    pub(crate) fn is_until_close(&self) -> bool {
        matches!(self.left, Left::Close)
    }

    /// How many bytes from here on are the body's own.
    pub(crate) fn unwanted(&self) -> u64 {
        match self.left {
            Left::Bytes(left) | Left::Chunk(left) => left,
            Left::Close => u64::MAX,
            Left::ChunkEnd | Left::Size | Left::Trailers(_) => 0,
        }
    }

    /// Passes bytes that are the body's own; whether it is whole.
    pub(crate) fn skip(&mut self, bytes: u64) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        match &mut self.left {
            Left::Bytes(left) => {
                *left = left.saturating_sub(bytes);
                *left == 0
            }
            Left::Chunk(left) => {
                *left = left.saturating_sub(bytes);
                if *left == 0 {
                    self.left = Left::ChunkEnd;
                }
                false
            }
            Left::ChunkEnd | Left::Size | Left::Trailers(_) | Left::Close => false,
        }
    }

    pub(crate) fn read(&mut self, bytes: &[u8]) -> Read {
        let mut used = 0usize;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            if self.unwanted() > 0 || matches!(self.left, Left::Bytes(_)) {
                let own = self.unwanted().min(u64::try_from(rest.len()).unwrap_or(u64::MAX));
                used = used.saturating_add(usize::try_from(own).unwrap_or(rest.len()));
                if self.skip(own) {
                    return Read::Whole(used);
                }
                if rest.is_empty() || used == bytes.len() {
                    return Read::More(used);
                }
                continue;
            }
            let Some(end) = memchr::memchr(b'\n', rest) else {
                return if rest.len() > MAX_LINE { Read::Bad } else { Read::More(used) };
            };
            let (line, after) = (rest.get(..end).unwrap_or_default(), used.saturating_add(end).saturating_add(1));
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            match &mut self.left {
                Left::ChunkEnd if line.is_empty() => self.left = Left::Size,
                Left::Size => match chunk_size(line) {
                    Some(0) => self.left = Left::Trailers(0),
                    Some(size) => self.left = Left::Chunk(size),
                    None => return Read::Bad,
                },
                Left::Trailers(_) if line.is_empty() => return Read::Whole(after),
                Left::Trailers(bytes) if *bytes < MAX_LINE => *bytes = bytes.saturating_add(line.len()),
                _ => return Read::Bad,
            }
            used = after;
        }
    }
}

/// A length in hexadecimal digits, which an extension may follow.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?.trim_ascii();
    let digits =
        std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    // Room for sums of such: none is ever sent.
    u64::from_str_radix(digits, 16).ok().filter(|size| *size < 1 << 62)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_counted_without_their_framing_wherever_they_are_cut() {
        let bytes = b"4;x=y\r\nWiki\r\n10\r\n0123456789abcdef\r\n0\r\nExpires: never\r\n\r\nGET /";
        for cut in 0..bytes.len() - 5 {
            let mut body = Receiving::new(Body::Chunked);
            let Read::More(used) = body.read(&bytes[..cut]) else { panic!("whole or bad at {cut}") };
            assert_eq!(body.read(&bytes[used..]), Read::Whole(bytes.len() - 5 - used), "{cut}");
            assert_eq!(body.bytes, 20);
        }
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for bad in [&b"x\r\n"[..], b"-1\r\n", b"\r\n", b"1\r\nab\r\n", b"ffffffffffffffff\r\n", &[b'1'; 20_000]] {
            assert_eq!(Receiving::new(Body::Chunked).read(bad), Read::Bad, "{bad:?}");
        }
    }
}
