//! Where the documents of a stream begin and end, told as its bytes come.
//!
//! A document is a JSON value that begins with a brace or bracket at the beginning of a line, or right behind another
//! one, and ends where that is closed. A line that begins with a brace begins a document even if the one before has not
//! ended: that one is torn, its writer gone. Lines between documents are no JSON; before the first one, and behind a line
//! of `---`, they are YAML.

use super::text::{self, Sink, Start};
use super::yaml::Fault;

/// The longest document of a stream that goes on: 64 MiB, some forty of the longest object that a server stores.
pub const MAX_DOCUMENT_BYTES: usize = 64 << 20;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A piece of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unit {
    /// The line of the stream at which it begins, from 1.
    pub(super) line: usize,
    pub(super) is: Is,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Is {
    /// A JSON value, as far as its braces tell.
    Json(Vec<u8>),
    /// Lines that may be documents in YAML.
    Loose(Vec<u8>),
    /// Lines that are none.
    Foreign(Vec<u8>),
    /// A document that another one begins in, or that the stream ends in.
    Torn,
    /// A document past the limit.
    TooLong,
}

/// Cuts a stream into its documents.
#[derive(Debug)]
pub(super) struct Splitter {
    limit: usize,
    /// What has come of the piece that is being read.
    piece: Vec<u8>,
    /// The line it began at.
    began: usize,
    state: State,
    line: usize,
    at_line_start: bool,
    /// Whether a JSON document has come.
    json: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Between documents; `behind` one on its last line, where another may begin.
    Between { behind: bool },
    /// In a document.
    Inside { depth: usize, string: bool, escaped: bool, list: bool },
    /// In what is passed over, up to the next line that begins a document.
    Skipping,
}

impl Splitter {
    /// Documents may be `limit` bytes long.
    pub(super) const fn new(limit: usize) -> Self {
        let state = State::Between { behind: false };
        Self { limit, piece: Vec::new(), began: 1, state, line: 1, at_line_start: true, json: false }
    }

    /// Takes in what has come, and hands on what is complete.
    pub(super) fn feed(&mut self, bytes: &[u8], each: &mut dyn FnMut(Unit)) {
        for byte in bytes {
            self.byte(*byte, each);
        }
    }

    /// The stream has ended.
    pub(super) fn end(&mut self, each: &mut dyn FnMut(Unit)) {
        match self.state {
            State::Between { .. } => self.loose(each),
            State::Inside { .. } => self.give(Is::Torn, each),
            State::Skipping => {}
        }
        *self = Self::new(self.limit);
    }

    fn byte(&mut self, byte: u8, each: &mut dyn FnMut(Unit)) {
        let at_line_start = self.at_line_start || (self.line == 1 && self.piece == BYTE_ORDER_MARK);
        match self.state {
            State::Between { behind } => {
                if (at_line_start || behind) && matches!(byte, b'{' | b'[') {
                    self.loose(each);
                    self.begin(byte);
                } else if behind && byte.is_ascii_whitespace() {
                    self.state = State::Between { behind: byte != b'\n' };
                } else {
                    self.between(byte, each);
                }
            }
            State::Inside { list, .. } if at_line_start && byte == b'{' && !list => {
                self.give(Is::Torn, each);
                self.begin(byte);
            }
            State::Inside { depth, string, escaped, list } => self.inside(byte, depth, (string, escaped), list, each),
            State::Skipping if at_line_start && byte == b'{' => self.begin(byte),
            State::Skipping => {}
        }
        self.at_line_start = byte == b'\n';
        self.line += usize::from(byte == b'\n');
    }

    fn between(&mut self, byte: u8, each: &mut dyn FnMut(Unit)) {
        // A separator ends the document in YAML before it; which one it is shows with its third dash.
        if byte == b'-' && self.piece.ends_with(b"\n--") {
            self.piece.truncate(self.piece.len() - 2);
            self.loose(each);
            self.piece.extend_from_slice(b"--");
            self.began = self.line;
        }
        if self.piece.is_empty() {
            self.began = self.line;
        }
        self.state = State::Between { behind: false };
        self.piece.push(byte);
        if self.piece.len() > self.limit {
            self.give(Is::TooLong, each);
            self.state = State::Skipping;
        }
    }

    fn begin(&mut self, byte: u8) {
        self.began = self.line;
        self.piece.clear();
        self.piece.push(byte);
        self.state = State::Inside { depth: 1, string: false, escaped: false, list: byte == b'[' };
    }

    fn inside(
        &mut self,
        byte: u8,
        depth: usize,
        (string, escaped): (bool, bool),
        list: bool,
        each: &mut dyn FnMut(Unit),
    ) {
        self.piece.push(byte);
        let inside = |depth, string, escaped| State::Inside { depth, string, escaped, list };
        self.state = match byte {
            // No string goes over the end of a line.
            b'\n' if string => {
                self.give(Is::Torn, each);
                self.state = State::Skipping;
                return;
            }
            _ if escaped => inside(depth, true, false),
            b'\\' if string => inside(depth, true, true),
            b'"' => inside(depth, !string, false),
            _ if string => inside(depth, true, false),
            b'{' | b'[' => inside(depth + 1, false, false),
            b'}' | b']' if depth == 1 => {
                self.json = true;
                let document = std::mem::take(&mut self.piece);
                each(Unit { line: self.began, is: Is::Json(document) });
                self.state = State::Between { behind: true };
                return;
            }
            b'}' | b']' => inside(depth - 1, false, false),
            _ => inside(depth, false, false),
        };
        if self.piece.len() > self.limit {
            self.give(Is::TooLong, each);
            self.state = State::Skipping;
        }
    }

    /// Hands on what stands between documents, if it says anything.
    fn loose(&mut self, each: &mut dyn FnMut(Unit)) {
        let piece = std::mem::take(&mut self.piece);
        if is_blank(&piece) {
            return;
        }
        let is = if self.json && !piece.starts_with(b"---") { Is::Foreign(piece) } else { Is::Loose(piece) };
        each(Unit { line: self.began, is });
    }

    fn give(&mut self, is: Is, each: &mut dyn FnMut(Unit)) {
        self.piece = Vec::new();
        each(Unit { line: self.began, is });
    }
}

/// How much of what is passed over is shown.
const SHOWN_BYTES: usize = 80;

fn is_blank(piece: &[u8]) -> bool {
    piece.strip_prefix(BYTE_ORDER_MARK).unwrap_or(piece).iter().all(u8::is_ascii_whitespace)
}

impl Unit {
    /// Hands the objects of this piece to `sink`, and tells how many documents have come by its end.
    pub(super) fn read(self, documents: usize, limit: usize, sink: &mut dyn Sink) -> usize {
        let line = self.line;
        let mut fault = |reason: String| {
            sink.fault(documents + 1, Fault { line, field: String::new(), reason });
            documents + 1
        };
        match self.is {
            Is::Json(bytes) | Is::Loose(bytes) => match String::from_utf8(bytes) {
                Ok(text) => text::read(&text, Start { line, documents, mend: false }, sink),
                Err(_) => fault("not UTF-8: passed over".to_owned()),
            },
            Is::Foreign(bytes) => {
                let shown = String::from_utf8_lossy(&bytes);
                let shown = shown.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
                let shown: String = shown.chars().take(SHOWN_BYTES / 2).collect();
                fault(format!("{shown:?} begins no document: passed over up to the next line that begins with {{"))
            }
            Is::Torn => {
                fault("a document that does not end: passed over up to the next line that begins with {".to_owned())
            }
            Is::TooLong => {
                fault(format!("longer than {} MiB: passed over up to the next line that begins with {{", limit >> 20))
            }
        }
    }
}

/// Hands the objects of a text that is not whole to `sink`, as if it were a stream.
pub(super) fn read(text: &str, start: Start, sink: &mut dyn Sink) -> usize {
    let mut documents = start.documents;
    let mut splitter = Splitter { line: start.line, json: true, ..Splitter::new(usize::MAX) };
    let mut each = |unit: Unit| documents = unit.read(documents, usize::MAX, sink);
    splitter.feed(text.as_bytes(), &mut each);
    splitter.end(&mut each);
    documents
}
