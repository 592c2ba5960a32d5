//! Frames of HTTP/2 (RFC 9113, sections 4 and 6).

/// What a client begins with (RFC 9113, section 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length of a frame's header.
pub(crate) const HEADER: usize = 9;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
pub(crate) const PADDED: u8 = 0x8;
pub(crate) const PRIORITY: u8 = 0x20;

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) length: usize,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

impl Header {
    /// That which bytes begin with.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, s, t, u, v] = *bytes.first_chunk::<HEADER>()?;
        Some(Self {
            length: usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX),
            kind,
            flags,
            stream: u32::from_be_bytes([s, t, u, v]),
        })
    }

    /// Whether a peer that does as it ought would send that.
    pub(crate) fn is_sound(self) -> bool {
        // Reserved (RFC 9113, section 4.1); senders leave it unset.
        let of_stream = self.stream != 0 && self.stream >> 31 == 0;
        let of_connection = self.stream == 0;
        let only = |flags: u8| self.flags & !flags == 0;
        match self.kind {
            DATA => of_stream && only(END_STREAM | PADDED),
            HEADERS => of_stream && only(END_STREAM | END_HEADERS | PADDED | PRIORITY) && self.length > 0,
            2 => of_stream && only(0) && self.length == 5,
            RST_STREAM => of_stream && only(0) && self.length == 4,
            SETTINGS => of_connection && only(1) && self.length.is_multiple_of(6) && self.length < 600,
            PUSH_PROMISE => of_stream && only(END_HEADERS | PADDED) && self.length > 4,
            6 => of_connection && only(1) && self.length == 8,
            GOAWAY => of_connection && only(0) && self.length >= 8,
            8 => self.stream >> 31 == 0 && only(0) && self.length == 4,
            CONTINUATION => of_stream && only(END_HEADERS),
            _ => false,
        }
    }
}

/// Whether a piece consists of frames, as one does that begins where a frame begins: to its end, or three of them at least.
pub(crate) fn is_chain(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    let mut frames = 0u32;
    while let Some(header) = Header::read(rest) {
        if !header.is_sound() || (frames == 0 && header.kind == CONTINUATION) {
            return false;
        }
        frames = frames.saturating_add(1);
        match rest.get(HEADER.saturating_add(header.length)..) {
            Some(after) => rest = after,
            None => return frames >= 3,
        }
    }
    frames > 0 && (rest.is_empty() || frames >= 3)
}

/// A frame's payload without padding and priority (RFC 9113, sections 6.2 and 6.6).
pub(crate) fn block(header: Header, payload: &[u8]) -> Option<&[u8]> {
    let mut rest = payload;
    let mut padding = 0;
    if header.flags & PADDED != 0 {
        let (first, after) = rest.split_first()?;
        (padding, rest) = (usize::from(*first), after);
    }
    if header.kind == HEADERS && header.flags & PRIORITY != 0 {
        rest = rest.get(5..)?;
    }
    if header.kind == PUSH_PROMISE {
        rest = rest.get(4..)?;
    }
    rest.get(..rest.len().checked_sub(padding)?)
}
