//! HTTP/2 and gRPC over it: streams of a connection, told by their identifiers (RFC 9113).

mod frame;
mod hpack;
mod stream;

use std::collections::BTreeMap;

use crate::decoder::{Context, Next};
use crate::detect::{Spoken, Verdict, begins_with};
use crate::piece::{Side, Sides};
use frame::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADER, HEADERS, Header, PADDED, PREFACE, PUSH_PROMISE,
};
use frame::{RST_STREAM, SETTINGS};
use hpack::{Fields, Table};
use stream::{Role, Stream};

/// A frame that has to be whole to be read is no longer; HEADERS of most peers are at most 16 KiB (RFC 9113, section 4.2).
const MAX_FRAME: usize = 64 * 1024;
/// A header block is no longer, with all that continues it.
const MAX_BLOCK: usize = 64 * 1024;
/// Streams of a connection that are followed at once.
const MAX_STREAMS: usize = 512;

/// Whether bytes begin like a connection of HTTP/2; `joined`: like a piece of one.
pub(crate) fn begins(bytes: &[u8], joined: bool) -> Verdict {
    let is = Verdict::Is(Spoken::Http2);
    // The server begins with its settings, on no stream.
    let settings = |header: Header| header.kind == SETTINGS && header.flags == 0 && header.is_sound();
    match begins_with(bytes, PREFACE, is) {
        Verdict::IsNot if joined => {
            let has_headers = Header::read(bytes).is_some_and(|header| matches!(header.kind, HEADERS | SETTINGS));
            if has_headers && frame::is_chain(bytes) { is } else { Verdict::IsNot }
        }
        Verdict::IsNot => match Header::read(bytes) {
            Some(header) if settings(header) => is,
            Some(_) => Verdict::IsNot,
            None if bytes.first() == Some(&0) => Verdict::Maybe,
            None => Verdict::IsNot,
        },
        verdict => verdict,
    }
}

/// The decoder of a connection.
#[derive(Debug, Default)]
pub(crate) struct Http2 {
    sides: Sides<Receiver>,
    streams: BTreeMap<u32, Stream>,
    /// Which side asks, once that is known.
    client: Option<Side>,
    /// The highest stream that the client has opened.
    opened: u32,
    /// Bytes were missed.
    is_torn: bool,
    /// What answers an unknown stream does not wait for it.
    is_impatient: bool,
    pub(crate) next: Option<Next>,
}

/// One direction.
#[derive(Debug, Default)]
struct Receiver {
    state: State,
    table: Table,
    /// A header block that goes on: its stream, whether the stream ends with it, whether it is a promise.
    block: Option<(u32, bool, bool)>,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// At the beginning of the connection.
    #[default]
    Begin,
    /// Where a frame begins.
    Frame,
    /// In what is not looked at: bytes left, and the stream that ends with them.
    Skip(u64, Option<u32>),
    /// Where a frame begins is not known.
    Lost,
    /// A frame may begin here.
    Candidate,
}

impl Http2 {
    pub(crate) fn new(joined: Sides<bool>) -> Self {
        let mut http2 = Self::default();
        for side in Side::BOTH {
            if *joined.of(side) {
                http2.join(side);
                http2.sides.of_mut(side).state = State::Candidate;
            }
        }
        http2
    }

    /// After an upgrade from HTTP/1: the request was the first stream (RFC 7540, section 3.2).
    pub(crate) fn upgraded(client: Side, method: String, url: String, time_ns: u64) -> Self {
        let mut http2 = Self { client: Some(client), opened: 1, ..Self::default() };
        http2.streams.insert(1, Stream::upgraded(client, method, url, time_ns));
        http2
    }

    pub(crate) fn join(&mut self, side: Side) {
        let receiver = self.sides.of_mut(side);
        receiver.state = State::Lost;
        receiver.table.forget();
        self.is_torn = true;
    }

    pub(crate) fn piece_begins(&mut self, side: Side) {
        let receiver = self.sides.of_mut(side);
        if matches!(receiver.state, State::Lost) {
            receiver.state = State::Candidate;
        }
    }

    pub(crate) fn unwanted(&self, side: Side) -> u64 {
        match self.sides.of(side).state {
            State::Skip(left, _) => left,
            State::Begin | State::Frame | State::Lost | State::Candidate => 0,
        }
    }

    pub(crate) fn skip(&mut self, side: Side, bytes: u64, cx: &mut Context<'_>) {
        if let State::Skip(left, ends) = self.sides.of(side).state {
            let left = left.saturating_sub(bytes);
            self.sides.of_mut(side).state = if left == 0 { State::Frame } else { State::Skip(left, ends) };
            if left == 0
                && let Some(id) = ends
            {
                self.ends(side, id, cx);
            }
        }
    }

    pub(crate) fn data(&mut self, side: Side, bytes: &[u8], cx: &mut Context<'_>) -> usize {
        let mut used = 0usize;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            if rest.is_empty() || self.next.is_some() {
                return used;
            }
            match self.sides.of(side).state {
                State::Begin => {
                    self.sides.of_mut(side).state = State::Frame;
                    match begins_with(rest, PREFACE, Verdict::Maybe) {
                        Verdict::Maybe if rest.len() >= PREFACE.len() => {
                            used = used.saturating_add(PREFACE.len());
                            self.client = Some(side);
                        }
                        Verdict::Maybe => {
                            self.sides.of_mut(side).state = State::Begin;
                            return used;
                        }
                        _ => {}
                    }
                }
                State::Lost => return bytes.len(),
                State::Candidate => {
                    let is_frame = frame::is_chain(rest);
                    self.sides.of_mut(side).state = if is_frame { State::Frame } else { State::Lost };
                }
                State::Skip(left, _) => {
                    let step = left.min(u64::try_from(rest.len()).unwrap_or(u64::MAX));
                    self.skip(side, step, cx);
                    used = used.saturating_add(usize::try_from(step).unwrap_or(rest.len()));
                }
                State::Frame => match self.frame(side, rest, cx) {
                    Some(0) => return used,
                    Some(step) => used = used.saturating_add(step),
                    None => self.gap(side, cx),
                },
            }
        }
    }

    /// Reads a frame, or as much of it as matters; 0: more bytes are needed, `None`: it is none.
    fn frame(&mut self, side: Side, bytes: &[u8], cx: &mut Context<'_>) -> Option<usize> {
        let Some(header) = Header::read(bytes) else { return Some(0) };
        let is_extension = header.kind > CONTINUATION;
        if !header.is_sound() && !is_extension {
            return None;
        }
        let receiver = self.sides.of_mut(side);
        // Nothing comes between the parts of a block (RFC 9113, section 6.10).
        if receiver.block.is_some_and(|(id, ..)| header.kind != CONTINUATION || header.stream != id)
            || (receiver.block.is_none() && header.kind == CONTINUATION)
        {
            return None;
        }
        let after = bytes.get(HEADER..).unwrap_or_default();
        match header.kind {
            DATA => self.data_frame(side, header, after, cx),
            HEADERS | PUSH_PROMISE | CONTINUATION | RST_STREAM | GOAWAY if header.length <= MAX_FRAME => {
                let Some(payload) = after.get(..header.length) else { return Some(0) };
                if self.must_wait(side, header) {
                    return Some(0);
                }
                match header.kind {
                    RST_STREAM => self.reset(side, header.stream, cx),
                    GOAWAY => self.go_away(side, payload),
                    _ => self.block(side, header, payload, cx)?,
                }
                Some(HEADER.saturating_add(header.length))
            }
            HEADERS | PUSH_PROMISE | CONTINUATION => None,
            _ => {
                let left = u64::try_from(header.length).unwrap_or(u64::MAX);
                self.sides.of_mut(side).state = State::Skip(left, None);
                self.skip(side, 0, cx);
                Some(HEADER)
            }
        }
    }

    /// Whether a frame of the server is about a stream that the client's bytes are yet to tell of.
    fn must_wait(&self, side: Side, header: Header) -> bool {
        header.kind == HEADERS
            && !self.is_torn
            && !self.is_impatient
            && self.client != Some(side)
            && header.stream > self.opened
            && (!header.stream.is_multiple_of(2) && !self.streams.contains_key(&header.stream))
            && (self.client.is_some() || matches!(self.sides.of(side.other()).state, State::Begin))
    }

    fn data_frame(&mut self, side: Side, header: Header, after: &[u8], cx: &mut Context<'_>) -> Option<usize> {
        let mut own = header.length;
        if header.flags & PADDED != 0 {
            let Some(padding) = after.first() else { return Some(0) };
            own = own.checked_sub(usize::from(*padding).saturating_add(1))?;
        }
        if let Some(stream) = self.streams.get_mut(&header.stream) {
            stream.body(side, u64::try_from(own).unwrap_or(u64::MAX));
        }
        let ends = (header.flags & END_STREAM != 0).then_some(header.stream);
        let left = u64::try_from(header.length).unwrap_or(u64::MAX);
        self.sides.of_mut(side).state = State::Skip(left, ends);
        self.skip(side, 0, cx);
        Some(HEADER)
    }

    fn block(&mut self, side: Side, header: Header, payload: &[u8], cx: &mut Context<'_>) -> Option<()> {
        let block = if header.kind == CONTINUATION { payload } else { frame::block(header, payload)? };
        let receiver = self.sides.of_mut(side);
        let mut open = receiver.block.take();
        if header.kind != CONTINUATION {
            receiver.bytes.clear();
            open = Some((header.stream, header.flags & END_STREAM != 0, header.kind == PUSH_PROMISE));
        }
        if receiver.bytes.len().saturating_add(block.len()) > MAX_BLOCK {
            return None;
        }
        receiver.bytes.extend_from_slice(block);
        if header.flags & END_HEADERS == 0 {
            receiver.block = open;
            return Some(());
        }
        let fields = receiver.table.read(&receiver.bytes).ok()?;
        receiver.bytes = Vec::new();
        let (id, ends, is_promise) = open?;
        if !is_promise {
            self.headers(side, id, fields, cx);
            if ends {
                self.ends(side, id, cx);
            }
        }
        Some(())
    }

    fn headers(&mut self, side: Side, id: u32, fields: Fields, cx: &mut Context<'_>) {
        let role = Role::of(&fields);
        let from = match role {
            Role::Request => Some(side),
            Role::Response => Some(side.other()),
            Role::Trailers | Role::Unknown => None,
        };
        if let Some(client) = from
            && *self.client.get_or_insert(client) != client
        {
            return;
        }
        // Neither who asks nor what it is can be told.
        let Some(client) = self.client else { return };
        let is_client = client == side;
        let is_known = self.streams.contains_key(&id);
        if is_client && id <= self.opened && !is_known && !self.is_torn {
            return;
        }
        if is_client {
            self.opened = self.opened.max(id);
        }
        // Of a stream that is over, or that was promised.
        if !is_client && !is_known && (id.is_multiple_of(2) || (!self.is_torn && !self.is_impatient)) {
            return;
        }
        if !is_known {
            if self.streams.len() >= MAX_STREAMS {
                self.streams.pop_first();
            }
            self.streams.insert(id, Stream::default());
        }
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if is_client {
            stream.request(side, id, role, fields, cx);
        } else {
            stream.response(side, id, role, fields, cx);
        }
    }

    /// `side` says no more on a stream.
    fn ends(&mut self, side: Side, id: u32, cx: &mut Context<'_>) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if self.client == Some(side) {
            stream.request_ends(cx);
        } else if self.client.is_some()
            && let Some(mut stream) = self.streams.remove(&id)
        {
            stream.response_ends(cx);
        }
    }

    fn reset(&mut self, _side: Side, id: u32, cx: &mut Context<'_>) {
        if let Some(mut stream) = self.streams.remove(&id) {
            stream.breaks(cx);
        }
    }

    /// Streams above the last one will not be answered (RFC 9113, section 6.8).
    fn go_away(&mut self, side: Side, payload: &[u8]) {
        if self.client != Some(side)
            && let Some(last) = payload.first_chunk::<4>()
        {
            let last = u32::from_be_bytes(*last) & (u32::MAX >> 1);
            self.streams.retain(|id, stream| *id <= last || stream.is_answered());
        }
    }

    pub(crate) fn gap(&mut self, side: Side, cx: &mut Context<'_>) {
        cx.partial = true;
        self.join(side);
        let receiver = self.sides.of_mut(side);
        receiver.block = None;
        receiver.bytes = Vec::new();
        for stream in self.streams.values_mut() {
            stream.tear(side);
        }
    }

    /// Tells what goes on since before `since_ns` by its head.
    pub(crate) fn tell_heads(&mut self, since_ns: u64, cx: &mut Context<'_>) {
        for stream in self.streams.values_mut() {
            stream.tell_heads(since_ns, cx);
        }
    }

    pub(crate) fn unjoin(&mut self) {
        self.is_impatient = true;
    }

    /// No byte follows on `side`.
    pub(crate) fn end(&mut self, side: Side, cx: &mut Context<'_>) {
        if self.client != Some(side) {
            for stream in self.streams.values_mut() {
                stream.breaks(cx);
            }
            self.streams.clear();
        }
    }

    /// Bytes of memory beyond its own, reckoned.
    pub(crate) fn memory(&self) -> usize {
        let of_side = |side: &Receiver| side.table.memory().saturating_add(side.bytes.capacity());
        let streams: usize = self.streams.values().map(Stream::memory).sum();
        of_side(&self.sides.local).saturating_add(of_side(&self.sides.remote)).saturating_add(streams)
    }
}
