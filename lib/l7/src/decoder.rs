//! The decoder of a connection: one that finds out what is spoken, then that of what it is.

use crate::detect::{self, Spoken};
use crate::dns;
use crate::http1::Http1;
use crate::http2::Http2;
use crate::mask::Masker;
use crate::message::Message;
use crate::piece::{Side, Sides, Transport};
use crate::table::Options;
use crate::{quic, tls};

/// Pieces of a connection joined on its way that may say nothing before it is taken for nothing that is decoded.
const MAX_UNKNOWN_PIECES: u32 = 64;

/// What a decoder needs to know beside the bytes, and where it puts what it found.
pub(crate) struct Context<'a> {
    pub(crate) now: u64,
    pub(crate) masker: Masker,
    pub(crate) headers: bool,
    pub(crate) partial: bool,
    out: &'a mut Vec<Message>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(now: u64, options: &Options, out: &'a mut Vec<Message>) -> Self {
        Self { now, masker: options.masker, headers: options.headers, partial: false, out }
    }

    pub(crate) fn tell(&mut self, message: Message) {
        self.out.push(message);
    }
}

#[derive(Debug)]
pub(crate) enum Decoder {
    Detecting(Detecting),
    Http1(Box<Http1>),
    Http2(Box<Http2>),
    Dns(Box<dns::Decoder>),
    Tls(Box<tls::Decoder>),
    Quic(Box<quic::Decoder>),
    /// Nothing is decoded any more.
    Done,
}

/// What a decoder found that is not its own.
#[derive(Debug)]
pub(crate) enum Next {
    /// Another protocol from here on, to be found out.
    Detect,
    /// One that is known.
    Known(Spoken),
    /// HTTP/2, asked for by a request of HTTP/1.
    Upgraded(Box<Http2>),
    /// Nothing that is decoded.
    Done,
}

/// What is known while it is not known what is spoken.
#[derive(Debug, Default)]
pub(crate) struct Detecting {
    joined: Sides<bool>,
    /// What comes does not start where something may start.
    lost: Sides<bool>,
    unknown: u32,
    next: Option<Next>,
}

impl Decoder {
    pub(crate) fn new(transport: Transport) -> Self {
        match transport {
            Transport::Tcp => Self::Detecting(Detecting::default()),
            Transport::Udp => Self::Dns(Box::default()),
        }
    }

    /// The bytes of `side` do not start at its beginning.
    pub(crate) fn join(&mut self, side: Side) {
        match self {
            Self::Detecting(detecting) => {
                *detecting.joined.of_mut(side) = true;
                *detecting.lost.of_mut(side) = true;
            }
            Self::Http1(http1) => http1.join(side),
            Self::Http2(http2) => http2.join(side),
            Self::Dns(dns) => dns.join(side),
            Self::Tls(tls) => tls.gap(side),
            Self::Quic(_) | Self::Done => {}
        }
    }

    /// A piece begins, and nothing before it is unused; `turn`: it is the first after the other side has sent something.
    pub(crate) fn piece_begins(&mut self, side: Side, turn: bool) {
        match self {
            Self::Detecting(detecting) => *detecting.lost.of_mut(side) &= !turn,
            Self::Http1(http1) => http1.piece_begins(side, turn),
            Self::Http2(http2) => http2.piece_begins(side),
            Self::Dns(dns) => dns.piece_begins(side),
            Self::Tls(_) | Self::Quic(_) | Self::Done => {}
        }
    }

    /// Reads, and tells how much was used.
    pub(crate) fn data(&mut self, side: Side, bytes: &[u8], cx: &mut Context<'_>) -> usize {
        match self {
            Self::Detecting(detecting) => detecting.data(side, bytes),
            Self::Http1(http1) => http1.data(side, bytes, cx),
            Self::Http2(http2) => http2.data(side, bytes, cx),
            Self::Dns(dns) => dns.data(side, bytes, cx),
            Self::Tls(tls) => tls.data(side, bytes, cx),
            Self::Quic(_) | Self::Done => bytes.len(),
        }
    }

    /// How many of the next bytes of `side` it would throw away.
    pub(crate) fn unwanted(&self, side: Side) -> u64 {
        match self {
            Self::Http1(http1) => http1.unwanted(side),
            Self::Http2(http2) => http2.unwanted(side),
            Self::Detecting(_) | Self::Dns(_) | Self::Tls(_) | Self::Quic(_) => 0,
            Self::Done => u64::MAX,
        }
    }

    /// So many bytes passed unseen, no more than are unwanted.
    pub(crate) fn skip(&mut self, side: Side, bytes: u64, cx: &mut Context<'_>) {
        match self {
            Self::Http1(http1) => http1.skip(side, bytes, cx),
            Self::Http2(http2) => http2.skip(side, bytes, cx),
            Self::Detecting(_) | Self::Dns(_) | Self::Tls(_) | Self::Quic(_) | Self::Done => {}
        }
    }

    /// Bytes are missing here.
    pub(crate) fn gap(&mut self, side: Side, cx: &mut Context<'_>) {
        match self {
            Self::Detecting(detecting) => {
                *detecting.joined.of_mut(side) = true;
                *detecting.lost.of_mut(side) = true;
            }
            Self::Http1(http1) => http1.gap(side, cx),
            Self::Http2(http2) => http2.gap(side, cx),
            Self::Dns(dns) => dns.gap(side),
            Self::Tls(tls) => tls.gap(side),
            Self::Quic(_) | Self::Done => {}
        }
    }

    /// What answers what is not certain any more.
    pub(crate) fn unjoin(&mut self) {
        match self {
            Self::Http1(http1) => http1.unjoin(),
            Self::Http2(http2) => http2.unjoin(),
            Self::Detecting(_) | Self::Dns(_) | Self::Tls(_) | Self::Quic(_) | Self::Done => {}
        }
    }

    /// What waits for the other side waits no more.
    pub(crate) fn unjoin_held(&mut self) {
        match self {
            Self::Http1(http1) => http1.unjoin_held(),
            Self::Http2(http2) => http2.unjoin(),
            Self::Detecting(_) | Self::Dns(_) | Self::Tls(_) | Self::Quic(_) | Self::Done => {}
        }
    }

    /// Tells messages whose head was whole before `since_ns` without waiting for their end.
    pub(crate) fn tell_heads(&mut self, since_ns: u64, cx: &mut Context<'_>) {
        match self {
            Self::Http1(http1) => http1.tell_heads(since_ns, cx),
            Self::Http2(http2) => http2.tell_heads(since_ns, cx),
            Self::Detecting(_) | Self::Dns(_) | Self::Tls(_) | Self::Quic(_) | Self::Done => {}
        }
    }

    /// Nothing follows on `side`.
    pub(crate) fn end(&mut self, side: Side, cx: &mut Context<'_>) {
        match self {
            Self::Http1(http1) => http1.end(side, cx),
            Self::Http2(http2) => http2.end(side, cx),
            Self::Detecting(_) | Self::Dns(_) | Self::Tls(_) | Self::Quic(_) | Self::Done => {}
        }
    }

    /// A datagram.
    pub(crate) fn datagram(&mut self, side: Side, bytes: &[u8], cx: &mut Context<'_>) {
        // What both begin with differs: version 1 has other counts of questions, and version 2 another opcode.
        if let Self::Dns(dns) = self
            && dns.is_new()
            && quic::begins(bytes)
        {
            *self = Self::Quic(Box::default());
        }
        match self {
            Self::Dns(dns) => dns.datagram(side, bytes, cx),
            Self::Quic(quic) => quic.datagram(side, bytes, cx),
            Self::Detecting(_) | Self::Http1(_) | Self::Http2(_) | Self::Tls(_) | Self::Done => {}
        }
        self.hand_over();
    }

    /// Becomes the decoder of what was found; tells whether it did.
    pub(crate) fn hand_over(&mut self) -> bool {
        let (next, joined) = match self {
            Self::Detecting(detecting) => (detecting.next.take(), detecting.joined),
            Self::Http1(http1) => (http1.next.take(), Sides::default()),
            Self::Http2(http2) => (http2.next.take(), Sides::default()),
            Self::Dns(dns) => (dns.next.take(), Sides::default()),
            Self::Tls(tls) => (tls.next.take(), Sides::default()),
            Self::Quic(quic) => (quic.next.take(), Sides::default()),
            Self::Done => (None, Sides::default()),
        };
        let Some(next) = next else { return false };
        *self = match next {
            Next::Detect => Self::Detecting(Detecting::default()),
            Next::Known(Spoken::Http1) => Self::Http1(Box::new(Http1::new(joined))),
            Next::Known(Spoken::Http2) => Self::Http2(Box::new(Http2::new(joined))),
            Next::Upgraded(http2) => Self::Http2(http2),
            Next::Known(Spoken::Dns) => Self::Dns(Box::default()),
            Next::Known(Spoken::Tls) => Self::Tls(Box::default()),
            Next::Done => Self::Done,
        };
        true
    }

    pub(crate) fn memory(&self) -> usize {
        match self {
            Self::Http1(http1) => size_of::<Http1>().saturating_add(http1.memory()),
            Self::Http2(http2) => size_of::<Http2>().saturating_add(http2.memory()),
            Self::Dns(dns) => size_of::<dns::Decoder>().saturating_add(dns.memory()),
            Self::Tls(tls) => size_of::<tls::Decoder>().saturating_add(tls.memory()),
            Self::Quic(quic) => size_of::<quic::Decoder>().saturating_add(quic.memory()),
            Self::Detecting(_) | Self::Done => 0,
        }
    }
}

impl Detecting {
    fn data(&mut self, side: Side, bytes: &[u8]) -> usize {
        if self.next.is_some() {
            return 0;
        }
        let joined = *self.joined.of(side);
        if *self.lost.of(side) {
            return self.pass(bytes);
        }
        match detect::tcp(bytes, joined) {
            detect::Verdict::Is(spoken) => self.next = Some(Next::Known(spoken)),
            detect::Verdict::Maybe => {}
            detect::Verdict::IsNot if joined => {
                *self.lost.of_mut(side) = true;
                return self.pass(bytes);
            }
            detect::Verdict::IsNot => self.next = Some(Next::Done),
        }
        0
    }

    fn pass(&mut self, bytes: &[u8]) -> usize {
        self.unknown = self.unknown.saturating_add(1);
        if self.unknown > MAX_UNKNOWN_PIECES {
            self.next = Some(Next::Done);
        }
        bytes.len()
    }
}
