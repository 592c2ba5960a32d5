//! TLS: the ClientHello, which is in the clear (RFC 8446, section 4.1.2); nothing of what follows is.

use crate::decoder::{Context, Next};
use crate::detect::{Spoken, Verdict};
use crate::message::{Content, Kind, Message, Protocol, Tls};
use crate::piece::{Side, Sides};

/// Content type of a record that bears a handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;
/// Bytes of a record that are allowed (RFC 8446, section 5.1).
const MAX_RECORD: usize = 1 << 14;
/// A ClientHello that is longer is none; those with post-quantum keys take two to three kilobytes.
const MAX_HELLO: usize = 64 * 1024;
/// Handshake messages (RFC 8446, section 4).
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;

/// Extensions (the TLS ExtensionType registry).
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;

/// Whether bytes begin like a record with a ClientHello or what answers one.
pub(crate) fn begins(bytes: &[u8]) -> Verdict {
    let Some(record) = bytes.get(..bytes.len().min(6)) else { return Verdict::IsNot };
    let fits = |at: usize, fits: fn(u8) -> bool| record.get(at).is_none_or(|byte| fits(*byte));
    let is_handshake = fits(0, |byte| byte == HANDSHAKE)
        && fits(1, |byte| byte == 3)
        && fits(2, |byte| byte <= 4)
        && fits(3, |byte| byte <= 0x40)
        && fits(5, |byte| matches!(byte, CLIENT_HELLO | SERVER_HELLO));
    match (is_handshake, record.len()) {
        (false, _) => Verdict::IsNot,
        (true, 6) => Verdict::Is(Spoken::Tls),
        (true, _) => Verdict::Maybe,
    }
}

/// The decoder of a connection, until the ClientHello.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// The handshake, out of its records.
    handshake: Sides<Vec<u8>>,
    pub(crate) next: Option<Next>,
}

impl Decoder {
    /// What is missing of a handshake is not to be had again.
    pub(crate) fn gap(&mut self, _side: Side) {
        self.next = Some(Next::Done);
    }

    pub(crate) fn data(&mut self, side: Side, bytes: &[u8], cx: &mut Context<'_>) -> usize {
        let mut used = 0usize;
        while let Some((header, rest)) = bytes.get(used..).unwrap_or_default().split_first_chunk::<5>() {
            let [kind, _, _, high, low] = *header;
            let length = usize::from(u16::from_be_bytes([high, low]));
            if kind != HANDSHAKE || length == 0 || length > MAX_RECORD {
                self.next = Some(Next::Done);
                return bytes.len();
            }
            let Some(fragment) = rest.get(..length) else { break };
            let handshake = self.handshake.of_mut(side);
            handshake.extend_from_slice(fragment);
            used = used.saturating_add(length).saturating_add(5);
            match client_hello(handshake) {
                // The other side's: its client is yet to be heard.
                Hello::Other if handshake.first() == Some(&SERVER_HELLO) => {
                    handshake.clear();
                    return bytes.len();
                }
                Hello::Other => self.next = Some(Next::Done),
                Hello::More => continue,
                Hello::Whole(tls) => {
                    cx.tell(message(side, Protocol::Tls, tls, cx));
                    self.next = Some(Next::Done);
                }
            }
            return bytes.len();
        }
        used
    }

    /// Bytes of memory beyond its own.
    pub(crate) fn memory(&self) -> usize {
        self.handshake.local.capacity().saturating_add(self.handshake.remote.capacity())
    }
}

/// The message that a ClientHello is.
pub(crate) fn message(from: Side, protocol: Protocol, tls: Tls, cx: &Context<'_>) -> Message {
    Message {
        time_ns: cx.now,
        from,
        kind: Kind::Request,
        protocol,
        latency_ns: None,
        partial: cx.partial,
        stream: None,
        body_bytes: None,
        content: Content::Tls(tls),
    }
}

/// What a handshake begins with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Hello {
    /// A ClientHello.
    Whole(Tls),
    /// One that is not whole.
    More,
    /// Something else.
    Other,
}

/// Reads the ClientHello that a handshake begins with.
pub(crate) fn client_hello(handshake: &[u8]) -> Hello {
    let Some((header, rest)) = handshake.split_first_chunk::<4>() else {
        return if handshake.first().is_none_or(|kind| *kind == CLIENT_HELLO) { Hello::More } else { Hello::Other };
    };
    let [kind, a, b, c] = *header;
    let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX);
    if kind != CLIENT_HELLO || length > MAX_HELLO {
        return Hello::Other;
    }
    match rest.get(..length) {
        None => Hello::More,
        Some(body) => parse(Reader(body)).map_or(Hello::Other, Hello::Whole),
    }
}

fn parse(mut body: Reader<'_>) -> Option<Tls> {
    let legacy_version = body.u16()?;
    body.take(32)?;
    let _session = body.vector8()?;
    let _cipher_suites = body.vector16()?;
    let _compression = body.vector8()?;
    let mut tls = Tls { version: version_name(legacy_version), ..Tls::default() };
    // Before TLS 1.2 there may be no extensions.
    let mut extensions = if body.0.is_empty() { Reader(&[]) } else { body.vector16()? };
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let mut content = extensions.vector16()?;
        match kind {
            SERVER_NAME => {
                let mut names = content.vector16()?;
                while !names.0.is_empty() {
                    let (kind, name) = (names.u8()?, names.vector16()?);
                    // The only kind there is: a host name (RFC 6066, section 3).
                    if kind == 0 && tls.sni.is_empty() {
                        tls.sni = printable(name.0);
                    }
                }
            }
            ALPN => {
                let mut protocols = content.vector16()?;
                while !protocols.0.is_empty() {
                    let name = protocols.vector8()?.0;
                    if !is_grease(name) {
                        tls.alpn.push(printable(name));
                    }
                }
            }
            SUPPORTED_VERSIONS => {
                let mut versions = content.vector8()?;
                let mut highest = 0;
                while !versions.0.is_empty() {
                    let version = versions.u16()?;
                    if !version_name(version).is_empty() {
                        highest = highest.max(version);
                    }
                }
                tls.version = version_name(highest);
            }
            ENCRYPTED_CLIENT_HELLO => tls.ech = true,
            _ => {}
        }
    }
    Some(tls)
}

/// What is sent so that nobody takes the lists for complete (RFC 8701).
fn is_grease(name: &[u8]) -> bool {
    matches!(name, [a, b] if a == b && a & 0x0f == 0x0a)
}

fn version_name(version: u16) -> &'static str {
    match version {
        0x0300 => "SSL 3.0",
        0x0301 => "1.0",
        0x0302 => "1.1",
        0x0303 => "1.2",
        0x0304 => "1.3",
        _ => "",
    }
}

/// Printable ASCII as it is, all else as `\xNN`.
fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'\\' => text.push_str("\\\\"),
            0x20..=0x7e => text.push(char::from(*byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text
}

/// Bytes that are read from their beginning (RFC 8446, section 3).
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn u16(&mut self) -> Option<u16> {
        let (first, rest) = self.0.split_first_chunk::<2>()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*first))
    }

    fn vector8(&mut self) -> Option<Reader<'a>> {
        let length = self.u8()?;
        self.take(length.into()).map(Reader)
    }

    fn vector16(&mut self) -> Option<Reader<'a>> {
        let length = self.u16()?;
        self.take(length.into()).map(Reader)
    }
}
