//! The head of an HTTP/1 message, and what it says of the body that follows (RFC 9112).

use httparse::{EMPTY_HEADER, Header, Status};

use crate::decoder::Context;
use crate::detect::{Spoken, Verdict, begins_with};

/// A head that is not whole after so many bytes is none.
pub(crate) const MAX_HEAD: usize = 64 * 1024;
/// Headers that most messages do not have more of.
const FEW_HEADERS: usize = 48;
/// Headers that no message may have more of.
const MAX_HEADERS: usize = 512;

/// Methods: RFC 9110, section 9, PATCH (RFC 5789), and those of WebDAV (RFC 4918, 3253, 5323, 4791) and of caches.
const METHODS: [&[u8]; 28] = [
    b"GET",
    b"POST",
    b"HEAD",
    b"PUT",
    b"DELETE",
    b"OPTIONS",
    b"PATCH",
    b"CONNECT",
    b"TRACE",
    b"PROPFIND",
    b"PROPPATCH",
    b"MKCOL",
    b"COPY",
    b"MOVE",
    b"LOCK",
    b"UNLOCK",
    b"REPORT",
    b"SEARCH",
    b"CHECKOUT",
    b"CHECKIN",
    b"MERGE",
    b"MKACTIVITY",
    b"VERSION-CONTROL",
    b"ACL",
    b"MKCALENDAR",
    b"PURGE",
    b"LINK",
    b"UNLINK",
];

/// Whether bytes begin like the head of a request or a response.
pub(crate) fn begins(bytes: &[u8]) -> Verdict {
    let mut answer = begins_with(bytes, b"HTTP/1.", Verdict::Is(Spoken::Http1));
    let first = bytes.first();
    for method in METHODS.iter().filter(|method| first.is_none() || method.first() == first) {
        match begins_with(bytes, method, Verdict::Is(Spoken::Http1)) {
            Verdict::IsNot => {}
            Verdict::Maybe => answer = Verdict::Maybe,
            found => match bytes.get(method.len()..).unwrap_or_default() {
                [] | [b' '] => answer = Verdict::Maybe,
                // A path, an authority, a URL or `*`; not the second word of some other protocol.
                [b' ', b'/' | b'*', ..] => return found,
                [b' ', next, ..] if next.is_ascii_alphanumeric() || *next == b'[' => return found,
                _ => {}
            },
        }
    }
    answer
}

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
    /// All until the connection is closed.
    UntilClose,
}

/// What a request asks the connection to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Becomes {
    /// What it is.
    Same,
    /// A tunnel.
    Tunnel,
    /// HTTP/2 in the clear.
    H2c,
    /// Something else.
    Other,
}

#[derive(Debug)]
pub(crate) struct Head {
    /// Bytes of it.
    pub(crate) length: usize,
    /// Of a response.
    pub(crate) code: u16,
    /// Of a request.
    pub(crate) method: String,
    /// Of a request; masked.
    pub(crate) url: String,
    pub(crate) version: &'static str,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Body,
    pub(crate) becomes: Becomes,
}

/// What came of reading a head.
pub(crate) enum Read {
    Whole(Box<Head>),
    More,
    Bad,
}

/// Where the first head that is whole ends, at the earliest; looks at no byte twice.
pub(crate) fn end_of_head(bytes: &[u8], scanned: &mut usize) -> bool {
    while let Some(at) = memchr::memchr(b'\n', bytes.get(*scanned..).unwrap_or_default()) {
        let line = scanned.saturating_add(at);
        match bytes.get(line.saturating_add(1)..).unwrap_or_default() {
            [b'\n', ..] | [b'\r', b'\n', ..] => {
                *scanned = line.saturating_add(1);
                return true;
            }
            [] | [b'\r'] => {
                *scanned = line;
                return false;
            }
            _ => *scanned = line.saturating_add(1),
        }
    }
    *scanned = bytes.len();
    false
}

/// Reads a request from its first byte on.
pub(crate) fn request(bytes: &[u8], cx: &Context<'_>) -> Read {
    request_with::<FEW_HEADERS>(bytes, cx)
        .unwrap_or_else(|| request_with::<MAX_HEADERS>(bytes, cx).unwrap_or(Read::Bad))
}

/// `None`: more headers than there is room for.
fn request_with<const ROOM: usize>(bytes: &[u8], cx: &Context<'_>) -> Option<Read> {
    let mut room = [EMPTY_HEADER; ROOM];
    let mut request = httparse::Request::new(&mut room);
    let length = match request.parse(bytes) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Some(Read::More),
        Err(httparse::Error::TooManyHeaders) => return None,
        Err(_) => return Some(Read::Bad),
    };
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Some(Read::Bad);
    };
    let facts = Facts::of(request.headers);
    let body = match (facts.chunked, facts.length) {
        _ if facts.is_bad => return Some(Read::Bad),
        (Some(true), _) => Body::Chunked,
        // RFC 9112, section 6.3: a request whose last coding is not chunked cannot be delimited.
        (Some(false), _) => return Some(Read::Bad),
        (None, length) => Body::Length(length.unwrap_or(0)),
    };
    let becomes = match (method, facts.upgrade) {
        ("CONNECT", _) => Becomes::Tunnel,
        (_, Some(true)) => Becomes::H2c,
        (_, Some(false)) => Becomes::Other,
        _ => Becomes::Same,
    };
    let url = if method != "CONNECT" && target.starts_with('/') && !facts.host.is_empty() {
        cx.masker.own_url(["http://", &String::from_utf8_lossy(facts.host), target].concat())
    } else {
        cx.masker.url(target)
    };
    Some(Read::Whole(Box::new(Head {
        length,
        code: 0,
        method: method.to_owned(),
        url,
        version: version(minor),
        headers: shown(request.headers, cx),
        body,
        becomes,
    })))
}

/// Reads a response from its first byte on, as if it were to a GET.
pub(crate) fn response(bytes: &[u8], cx: &Context<'_>) -> Read {
    response_with::<FEW_HEADERS>(bytes, cx)
        .unwrap_or_else(|| response_with::<MAX_HEADERS>(bytes, cx).unwrap_or(Read::Bad))
}

/// `None`: more headers than there is room for.
fn response_with<const ROOM: usize>(bytes: &[u8], cx: &Context<'_>) -> Option<Read> {
    let mut room = [EMPTY_HEADER; ROOM];
    let mut response = httparse::Response::new(&mut room);
    let length = match response.parse(bytes) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Some(Read::More),
        Err(httparse::Error::TooManyHeaders) => return None,
        Err(_) => return Some(Read::Bad),
    };
    let (Some(code), Some(minor)) = (response.code, response.version) else { return Some(Read::Bad) };
    let facts = Facts::of(response.headers);
    let body = match (facts.chunked, facts.length) {
        _ if facts.is_bad => return Some(Read::Bad),
        _ if matches!(code, 100..=199 | 204 | 304) => Body::Length(0),
        (Some(true), _) => Body::Chunked,
        (Some(false), _) | (None, None) => Body::UntilClose,
        (None, Some(length)) => Body::Length(length),
    };
    Some(Read::Whole(Box::new(Head {
        length,
        code,
        method: String::new(),
        url: String::new(),
        version: version(minor),
        headers: shown(response.headers, cx),
        body,
        becomes: Becomes::Same,
    })))
}

fn version(minor: u8) -> &'static str {
    if minor == 0 { "HTTP/1.0" } else { "HTTP/1.1" }
}

fn shown(headers: &[Header<'_>], cx: &Context<'_>) -> Vec<(String, String)> {
    if !cx.headers {
        return Vec::new();
    }
    let show = |header: &Header<'_>| {
        let value = String::from_utf8_lossy(header.value);
        (header.name.to_owned(), cx.masker.header(header.name, &value))
    };
    headers.iter().map(show).collect()
}

/// What the headers say of how the message goes on.
#[derive(Default)]
struct Facts<'a> {
    host: &'a [u8],
    length: Option<u64>,
    /// Of a message with transfer codings: whether the last one is chunked.
    chunked: Option<bool>,
    /// Of a request that asks for another protocol: whether for h2c.
    upgrade: Option<bool>,
    /// They contradict each other.
    is_bad: bool,
}

impl<'a> Facts<'a> {
    fn of(headers: &[Header<'a>]) -> Self {
        let mut facts = Self::default();
        for header in headers {
            if header.name.eq_ignore_ascii_case("host") {
                facts.host = header.value;
            } else if header.name.eq_ignore_ascii_case("content-length") {
                facts.length(header.value);
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                let last = header.value.rsplit(|byte| *byte == b',').next().unwrap_or_default();
                facts.chunked = Some(last.trim_ascii().eq_ignore_ascii_case(b"chunked"));
            } else if header.name.eq_ignore_ascii_case("upgrade") {
                facts.upgrade = Some(header.value.trim_ascii().eq_ignore_ascii_case(b"h2c"));
            }
        }
        facts
    }

    /// RFC 9112, section 6.3: one number, or the same one several times.
    fn length(&mut self, value: &[u8]) {
        for one in value.split(|byte| *byte == b',') {
            let digits = one.trim_ascii();
            let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<u64>().ok());
            let is_number = digits.iter().all(u8::is_ascii_digit) && number.is_some();
            if !is_number || self.length.is_some_and(|length| Some(length) != number) {
                self.is_bad = true;
            }
            self.length = number;
        }
    }
}
