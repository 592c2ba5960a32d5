//! HTTP/1: requests and the responses that answer them, in their order (RFC 9112).
//!
//! Which response answers which request is known by counting alone. So once bytes are missing, on either side, nothing is
//! joined until a request comes of which it is certain that nothing is owed before it: the server has spoken
//! last and is between messages, and this client does not send requests ahead.

mod body;
pub(crate) mod head;

use std::collections::VecDeque;
use std::mem::take;

use crate::decoder::{Context, Next};
use crate::detect::{Spoken, Verdict};
use crate::http2::Http2;
use crate::message::{Content, Http, Kind, Message, Protocol};
use crate::piece::{Side, Sides};
use body::Receiving;
use head::{Becomes, Body, Head, MAX_HEAD};

/// Requests of one connection that may wait for their responses.
const MAX_WAITING: usize = 128;

/// The decoder of a connection.
#[derive(Debug)]
pub(crate) struct Http1 {
    sides: Sides<Receiver>,
    /// Which side asks, once that is known.
    client: Option<Side>,
    /// Requests whose response has not begun.
    waiting: VecDeque<Exchange>,
    /// The request that is being answered.
    answered: Option<Exchange>,
    /// The response that is being received, if it was not told yet.
    response: Option<Message>,
    /// Which response answers which request is known.
    is_joined: bool,
    /// Requests were sent ahead of responses.
    is_pipelined: bool,
    /// Messages were seen.
    is_certain: bool,
    serial: u64,
    pub(crate) next: Option<Next>,
}

/// One direction.
#[derive(Debug, Default)]
struct Receiver {
    state: State,
    /// What comes next is the first of a piece that came after the other side had sent something.
    at_turn: bool,
    /// Bytes of an unfinished head that were looked at.
    scanned: usize,
}

#[derive(Debug, Default)]
enum State {
    /// Between messages, or in a head.
    #[default]
    Head,
    /// In a body; of a request with its number.
    Body(Receiving, u64),
    /// Where a message may begin is not known.
    Lost,
    /// The client has asked for another protocol, and what follows depends on the answer.
    Asked,
}

/// A request, for its response.
#[derive(Debug)]
struct Exchange {
    serial: u64,
    method: String,
    url: String,
    time_ns: u64,
    becomes: Becomes,
    /// The request, if it was not told yet.
    untold: Option<Message>,
}

impl Http1 {
    pub(crate) fn new(joined: Sides<bool>) -> Self {
        let mut http1 = Self {
            sides: Sides::default(),
            client: None,
            waiting: VecDeque::new(),
            answered: None,
            response: None,
            is_joined: true,
            is_pipelined: false,
            is_certain: false,
            serial: 0,
            next: None,
        };
        for side in Side::BOTH {
            if *joined.of(side) {
                // What is ready was taken for a beginning.
                http1.sides.of_mut(side).at_turn = true;
                http1.is_joined = false;
            }
        }
        http1
    }

    pub(crate) fn join(&mut self, side: Side) {
        self.sides.of_mut(side).state = State::Lost;
        // Responses may have gone by before the first that is seen.
        self.is_joined = false;
    }

    pub(crate) fn piece_begins(&mut self, side: Side, turn: bool) {
        let receiver = self.sides.of_mut(side);
        receiver.at_turn = turn && !matches!(receiver.state, State::Body(..));
        receiver.scanned = 0;
        if turn && matches!(receiver.state, State::Lost) {
            receiver.state = State::Head;
        }
    }

    pub(crate) fn unwanted(&self, side: Side) -> u64 {
        match &self.sides.of(side).state {
            State::Body(body, _) => body.unwanted(),
            State::Head | State::Lost | State::Asked => 0,
        }
    }

    pub(crate) fn skip(&mut self, side: Side, bytes: u64, cx: &mut Context<'_>) {
        if let State::Body(body, serial) = &mut self.sides.of_mut(side).state
            && body.skip(bytes)
        {
            let (bytes, serial) = (body.bytes, *serial);
            self.body_ends(side, Some(bytes), serial, cx);
        }
    }

    pub(crate) fn data(&mut self, side: Side, bytes: &[u8], cx: &mut Context<'_>) -> usize {
        let mut used = 0usize;
        while self.next.is_none() {
            let rest = bytes.get(used..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            let step = match &mut self.sides.of_mut(side).state {
                State::Lost => rest.len(),
                State::Asked => 0,
                State::Body(body, serial) => match body.read(rest) {
                    body::Read::More(step) => step,
                    body::Read::Whole(step) => {
                        let (bytes, serial) = (body.bytes, *serial);
                        self.body_ends(side, Some(bytes), serial, cx);
                        step
                    }
                    body::Read::Bad => self.bad(side, cx),
                },
                State::Head => self.head(side, rest, cx),
            };
            used = used.saturating_add(step);
            if step == 0 && !matches!(self.sides.of(side).state, State::Lost) {
                break;
            }
        }
        used
    }

    /// Reads a head; 0: it is not whole, or has to wait.
    fn head(&mut self, side: Side, bytes: &[u8], cx: &mut Context<'_>) -> usize {
        // Line ends before a head are allowed (RFC 9112, section 2.2).
        let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        if blank > 0 {
            return blank;
        }
        let is_response = match head::begins(bytes) {
            Verdict::Maybe => return 0,
            Verdict::Is(Spoken::Http1) => bytes.starts_with(b"HTTP/"),
            _ => return self.bad(side, cx),
        };
        let from = if is_response { side.other() } else { side };
        if *self.client.get_or_insert(from) != from {
            return self.bad(side, cx);
        }
        // It answers what is yet to be seen.
        if is_response && self.is_joined && self.waiting.is_empty() {
            return 0;
        }
        let receiver = self.sides.of_mut(side);
        if receiver.scanned > 0 && !head::end_of_head(bytes, &mut receiver.scanned) {
            return if bytes.len() > MAX_HEAD { self.bad(side, cx) } else { 0 };
        }
        let read = if is_response { head::response(bytes, cx) } else { head::request(bytes, cx) };
        match read {
            head::Read::Whole(head) => {
                let length = head.length;
                self.sides.of_mut(side).scanned = 0;
                self.is_certain = true;
                if is_response {
                    self.response(side, *head, cx);
                } else {
                    self.request(side, *head, cx);
                }
                self.sides.of_mut(side).at_turn = false;
                length
            }
            head::Read::More if bytes.len() <= MAX_HEAD => {
                let receiver = self.sides.of_mut(side);
                receiver.scanned = receiver.scanned.max(bytes.len().saturating_sub(3)).max(1);
                0
            }
            head::Read::More | head::Read::Bad => self.bad(side, cx),
        }
    }

    fn request(&mut self, side: Side, head: Head, cx: &mut Context<'_>) {
        let server_rests =
            self.answered.is_none() && matches!(self.sides.of(side.other()).state, State::Head | State::Lost);
        if self.is_joined && !matches!(self.sides.of(side.other()).state, State::Lost) {
            self.is_pipelined |= !server_rests;
        } else if self.sides.of(side).at_turn && server_rests && !self.is_pipelined {
            self.forget(cx);
            self.is_joined = true;
        } else {
            self.is_joined = false;
        }
        self.serial = self.serial.wrapping_add(1);
        let serial = self.serial;
        let mut message = Message {
            time_ns: cx.now,
            from: side,
            kind: Kind::Request,
            protocol: Protocol::Http1,
            latency_ns: None,
            partial: cx.partial,
            stream: None,
            body_bytes: None,
            content: Content::Http(Http::default()),
        };
        let has_body = head.body != Body::Length(0);
        let mut exchange = Exchange {
            serial,
            method: head.method.clone(),
            url: head.url.clone(),
            time_ns: cx.now,
            becomes: head.becomes,
            untold: None,
        };
        message.content = Content::Http(Http {
            code: 0,
            method: head.method,
            url: head.url,
            version: head.version,
            headers: head.headers,
            grpc: None,
        });
        if has_body {
            exchange.untold = Some(message);
        } else {
            message.body_bytes = Some(0);
            cx.tell(message);
        }
        let becomes = head.becomes;
        self.sides.of_mut(side).state = match (has_body, becomes) {
            (true, _) => State::Body(Receiving::new(head.body), serial),
            (false, Becomes::Same) => State::Head,
            (false, _) if self.is_joined => State::Asked,
            (false, _) => State::Lost,
        };
        if self.waiting.len() >= MAX_WAITING {
            self.forget(cx);
            self.is_joined = false;
        }
        if self.is_joined {
            self.waiting.push_back(exchange);
        } else if let Some(mut message) = exchange.untold {
            message.partial = true;
            // Its body is counted for nobody.
            cx.tell(message);
        }
    }

    fn response(&mut self, side: Side, head: Head, cx: &mut Context<'_>) {
        let is_interim = matches!(head.code, 100..=199) && head.code != 101;
        if is_interim {
            return;
        }
        let mut exchange = if self.is_joined { self.waiting.pop_front() } else { None };
        self.is_pipelined |= exchange.is_some() && !self.waiting.is_empty();
        let is_head = exchange.as_ref().is_some_and(|exchange| exchange.method == "HEAD");
        let upgrade = exchange.as_ref().filter(|exchange| head.code == 101 && exchange.becomes == Becomes::H2c);
        let upgrade =
            upgrade.map(|one| Http2::upgraded(side.other(), one.method.clone(), one.url.clone(), one.time_ns));
        // It has no more need of them.
        let (method, url) =
            exchange.as_mut().map(|one| (take(&mut one.method), take(&mut one.url))).unwrap_or_default();
        let message = Message {
            time_ns: cx.now,
            from: side,
            kind: Kind::Response,
            protocol: Protocol::Http1,
            latency_ns: exchange.as_ref().map(|exchange| cx.now.saturating_sub(exchange.time_ns)),
            partial: cx.partial || exchange.is_none(),
            stream: None,
            body_bytes: None,
            content: Content::Http(Http {
                code: head.code,
                method,
                url,
                version: head.version,
                headers: head.headers,
                grpc: None,
            }),
        };
        let Some(exchange) = exchange else {
            // To HEAD or not: whether a body follows is not known.
            cx.tell(message);
            self.sides.of_mut(side).state = State::Lost;
            if head.code == 101 {
                self.next = Some(Next::Done);
            }
            return;
        };
        let becomes = exchange.becomes;
        let body = if is_head { Body::Length(0) } else { head.body };
        let is_tunnel = becomes == Becomes::Tunnel && matches!(head.code, 200..=299);
        self.answered = Some(exchange);
        self.response = Some(message);
        if is_tunnel || head.code == 101 || body == Body::Length(0) {
            self.body_ends(side, Some(0), 0, cx);
        } else {
            self.sides.of_mut(side).state = State::Body(Receiving::new(body), 0);
        }
        if is_tunnel {
            self.next = Some(Next::Detect);
        } else if let Some(http2) = upgrade {
            self.next = Some(Next::Upgraded(Box::new(http2)));
        } else if head.code == 101 {
            self.next = Some(Next::Done);
        } else if becomes != Becomes::Same
            && let client = self.sides.of_mut(side.other())
            && matches!(client.state, State::Asked)
        {
            client.state = State::Head;
        }
    }

    /// A body is over; `bytes`: how long it was, if it came to its end.
    fn body_ends(&mut self, side: Side, bytes: Option<u64>, serial: u64, cx: &mut Context<'_>) {
        self.sides.of_mut(side).state = State::Head;
        if self.client == Some(side) {
            let exchange = self.waiting.iter_mut().chain(&mut self.answered).find(|one| one.serial == serial);
            let Some(exchange) = exchange else { return };
            if let Some(mut request) = exchange.untold.take() {
                request.body_bytes = bytes;
                cx.tell(request);
            }
            if exchange.becomes != Becomes::Same && self.answered.as_ref().is_none_or(|one| one.serial != serial) {
                self.sides.of_mut(side).state = State::Asked;
            }
        } else {
            // Answered before the end of its body was seen.
            if let Some(mut request) = self.answered.take().and_then(|exchange| exchange.untold) {
                request.partial = true;
                cx.tell(request);
            }
            if let Some(mut response) = self.response.take() {
                response.body_bytes = bytes;
                cx.tell(response);
            }
        }
    }

    /// What came is not what was expected.
    fn bad(&mut self, side: Side, cx: &mut Context<'_>) -> usize {
        if self.is_certain || cx.partial {
            self.lose(side, cx);
        } else {
            self.next = Some(Next::Done);
        }
        0
    }

    fn lose(&mut self, side: Side, cx: &mut Context<'_>) {
        cx.partial = true;
        self.is_joined = false;
        self.forget(cx);
        if self.client != Some(side) {
            self.tell_response(cx);
        }
        let receiver = self.sides.of_mut(side);
        receiver.state = State::Lost;
        receiver.scanned = 0;
        let other = self.sides.of_mut(side.other());
        if matches!(other.state, State::Asked) {
            other.state = State::Lost;
        }
    }

    /// Tells the response that is being received as far as it is known.
    fn tell_response(&mut self, cx: &mut Context<'_>) {
        let request = self.answered.take().and_then(|exchange| exchange.untold);
        for mut message in request.into_iter().chain(self.response.take()) {
            message.partial = true;
            cx.tell(message);
        }
    }

    /// Nothing that waits will be answered.
    fn forget(&mut self, cx: &mut Context<'_>) {
        for mut request in self.waiting.drain(..).filter_map(|exchange| exchange.untold) {
            request.partial = true;
            cx.tell(request);
        }
    }

    /// Tells what goes on since before `since_ns` by its head.
    pub(crate) fn tell_heads(&mut self, since_ns: u64, cx: &mut Context<'_>) {
        let response = self.response.take_if(|response| response.time_ns < since_ns);
        // A request is told before its response.
        let answered = self
            .answered
            .as_mut()
            .and_then(|exchange| exchange.untold.take_if(|request| response.is_some() || request.time_ns < since_ns));
        let waiting = self.waiting.iter_mut();
        let waiting = waiting.filter_map(|one| one.untold.take_if(|request| request.time_ns < since_ns));
        for message in answered.into_iter().chain(response).chain(waiting) {
            cx.tell(message);
        }
    }

    pub(crate) fn gap(&mut self, side: Side, cx: &mut Context<'_>) {
        self.lose(side, cx);
    }

    pub(crate) fn unjoin(&mut self) {
        self.is_joined = false;
    }

    pub(crate) fn unjoin_held(&mut self) {
        if self.waiting.is_empty() && self.answered.is_none() {
            self.is_joined = false;
        }
    }

    /// No byte follows on `side`.
    pub(crate) fn end(&mut self, side: Side, cx: &mut Context<'_>) {
        let is_client = self.client == Some(side);
        let until_close = match &self.sides.of(side).state {
            State::Body(body, _) if body.is_until_close() => Some(body.bytes),
            _ => None,
        };
        if until_close.is_some() {
            self.body_ends(side, until_close, 0, cx);
        } else if !is_client {
            self.tell_response(cx);
        }
        if is_client {
            // The rest of its body will not come; its response may.
            for exchange in self.waiting.iter_mut().chain(&mut self.answered) {
                if let Some(mut request) = exchange.untold.take() {
                    request.partial = true;
                    cx.tell(request);
                }
            }
        } else {
            self.forget(cx);
        }
    }

    /// Bytes of memory beyond its own, reckoned.
    pub(crate) fn memory(&self) -> usize {
        let of_exchange = |one: &Exchange| {
            size_of::<Exchange>()
                .saturating_add(one.method.len())
                .saturating_add(one.url.len())
                .saturating_add(one.untold.as_ref().map_or(0, Message::memory))
        };
        let exchanges: usize = self.waiting.iter().chain(&self.answered).map(of_exchange).sum();
        exchanges.saturating_add(self.response.as_ref().map_or(0, Message::memory))
    }
}
