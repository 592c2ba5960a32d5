//! A stream of HTTP/2: one request and its response (RFC 9113, section 8.1), or a gRPC call.

use super::hpack::{Field, Fields};
use crate::decoder::Context;
use crate::message::{Content, Grpc, Http, Kind, Message, Protocol};
use crate::piece::Side;

/// What a header block is, by its pseudo-header fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Request,
    Response,
    Trailers,
    /// What tells is not known.
    Unknown,
}

impl Role {
    pub(super) fn of(fields: &Fields) -> Self {
        // Pseudo-header fields come first (RFC 9113, section 8.3).
        match fields.fields.first().map(|field| field.name.as_deref()) {
            Some(Some(":status")) => Self::Response,
            Some(Some(":method" | ":path" | ":scheme" | ":authority" | ":protocol")) => Self::Request,
            Some(Some(name)) if !name.starts_with(':') => Self::Trailers,
            Some(_) => Self::Unknown,
            None if fields.is_partial => Self::Unknown,
            None => Self::Trailers,
        }
    }
}

/// What is known of a stream.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// If it was not told yet.
    request: Option<Message>,
    /// If it was not told yet.
    response: Option<Message>,
    /// The head of the response was seen.
    is_answered: bool,
    client: Option<Side>,
    /// Of its request, once that was seen.
    asked_ns: Option<u64>,
    method: String,
    url: String,
    grpc: Option<Grpc>,
    request_bytes: u64,
    response_bytes: u64,
    /// Parts of it were missed.
    request_torn: bool,
    response_torn: bool,
}

fn first<'a>(fields: &'a [Field], name: &str) -> Option<&'a str> {
    fields.iter().find(|field| field.name.as_deref() == Some(name)).and_then(|field| field.value.as_deref())
}

fn is_grpc(fields: &[Field]) -> bool {
    first(fields, "content-type").is_some_and(|kind| kind.starts_with("application/grpc"))
}

/// Fields that are known and are no pseudo-header fields.
fn shown(fields: Vec<Field>, cx: &Context<'_>) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    for field in fields {
        if let (Some(name), Some(value)) = (field.name, field.value)
            && cx.headers
            && !name.starts_with(':')
        {
            let value = cx.masker.header(&name, &value);
            headers.push((name, value));
        }
    }
    headers
}

/// `grpc-message` as it was meant (the gRPC protocol over HTTP/2, "Responses").
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Stream {
    /// The request that asked for HTTP/2, which was told.
    pub(super) fn upgraded(client: Side, method: String, url: String, time_ns: u64) -> Self {
        Self { client: Some(client), method, url, asked_ns: Some(time_ns), ..Self::default() }
    }

    pub(super) fn is_answered(&self) -> bool {
        self.is_answered
    }

    pub(super) fn body(&mut self, side: Side, bytes: u64) {
        let is_request = self.client.map_or(!self.is_answered, |client| client == side);
        let count = if is_request { &mut self.request_bytes } else { &mut self.response_bytes };
        *count = count.saturating_add(bytes);
    }

    /// Bytes of `side` were missed.
    pub(super) fn tear(&mut self, side: Side) {
        if self.client.is_none_or(|client| client == side) {
            self.request_torn = true;
        }
        if self.client != Some(side) {
            self.response_torn = true;
        }
    }

    fn message(&self, from: Side, id: u32, kind: Kind, is_partial: bool, cx: &Context<'_>) -> Message {
        Message {
            time_ns: cx.now,
            from,
            kind,
            protocol: if self.grpc.is_some() { Protocol::Grpc } else { Protocol::Http2 },
            latency_ns: None,
            partial: cx.partial || is_partial,
            stream: Some(id),
            body_bytes: None,
            content: Content::Http(Http::default()),
        }
    }

    pub(super) fn request(&mut self, side: Side, id: u32, role: Role, block: Fields, cx: &mut Context<'_>) {
        // Trailers, or what may be trailers.
        if self.asked_ns.is_some() || role != Role::Request {
            return;
        }
        let fields = block.fields;
        let get = |name: &str| first(&fields, name).unwrap_or_default();
        self.client = Some(side);
        self.asked_ns = Some(cx.now);
        self.method = get(":method").to_owned();
        let path = get(":path");
        // CONNECT has an authority alone (RFC 9113, section 8.5).
        let authority = if get(":authority").is_empty() { get("host") } else { get(":authority") };
        let url = match (get(":scheme"), authority) {
            ("", _) | (_, "") if path.is_empty() => authority.to_owned(),
            (_, "") => path.to_owned(),
            ("", authority) => [authority, path].concat(),
            (scheme, authority) => [scheme, "://", authority, path].concat(),
        };
        self.url = cx.masker.url(&url);
        if is_grpc(&fields) {
            let (service, method) = path.strip_prefix('/').unwrap_or(path).rsplit_once('/').unwrap_or_default();
            self.grpc = Some(Grpc {
                service: service.to_owned(),
                method: method.to_owned(),
                status: None,
                message: String::new(),
            });
        }
        let mut message = self.message(side, id, Kind::Request, block.is_partial, cx);
        message.content = Content::Http(Http {
            code: 0,
            method: self.method.clone(),
            url: self.url.clone(),
            version: "HTTP/2",
            headers: shown(fields, cx),
            grpc: self.grpc.clone(),
        });
        self.request = Some(message);
    }

    pub(super) fn response(&mut self, side: Side, id: u32, role: Role, block: Fields, cx: &mut Context<'_>) {
        let status = first(&block.fields, ":status").and_then(|code| code.parse::<u16>().ok());
        if status.is_some_and(|code| matches!(code, 100..=199)) && !self.is_answered {
            return;
        }
        let is_partial = block.is_partial || self.asked_ns.is_none();
        if self.is_answered && role != Role::Response {
            self.trailers(&block.fields);
            if let Some(response) = &mut self.response {
                response.partial |= is_partial;
            }
            return;
        }
        // No stream has two; and the first was told.
        if self.is_answered && self.response.is_none() {
            return;
        }
        // Trailers whose head was missed tell of a call all the same.
        let is_late = role != Role::Response;
        self.client.get_or_insert(side.other());
        if is_grpc(&block.fields) || first(&block.fields, "grpc-status").is_some() {
            self.grpc.get_or_insert_default();
        }
        self.trailers(&block.fields);
        let mut message = self.message(side, id, Kind::Response, is_partial || is_late, cx);
        // What is seen of a response whose beginning was missed is not when it came.
        message.latency_ns = self.asked_ns.filter(|_| !is_late).map(|asked| cx.now.saturating_sub(asked));
        message.content = Content::Http(Http {
            code: status.unwrap_or(0),
            method: self.method.clone(),
            url: self.url.clone(),
            version: "HTTP/2",
            headers: if is_late { Vec::new() } else { shown(block.fields, cx) },
            grpc: None,
        });
        self.response_torn |= is_late;
        self.response = Some(message);
        self.is_answered = true;
    }

    fn trailers(&mut self, fields: &[Field]) {
        let Some(grpc) = &mut self.grpc else { return };
        if let Some(status) = first(fields, "grpc-status").and_then(|status| status.parse().ok()) {
            grpc.status = Some(status);
        }
        if let Some(message) = first(fields, "grpc-message") {
            grpc.message = percent_decoded(message);
        }
    }

    pub(super) fn request_ends(&mut self, cx: &mut Context<'_>) {
        if let Some(mut request) = self.request.take() {
            request.body_bytes = (!self.request_torn).then_some(self.request_bytes);
            request.partial |= self.request_torn;
            cx.tell(request);
        }
    }

    pub(super) fn response_ends(&mut self, cx: &mut Context<'_>) {
        self.finish(self.response_torn, cx);
    }

    /// Tells what goes on since before `since_ns` by its head; what trailers say comes too late then.
    pub(super) fn tell_heads(&mut self, since_ns: u64, cx: &mut Context<'_>) {
        let response = self.response.take_if(|response| response.time_ns < since_ns);
        // A request is told before its response.
        if let Some(mut request) = self.request.take_if(|request| response.is_some() || request.time_ns < since_ns) {
            request.partial |= self.request_torn;
            cx.tell(request);
        }
        if let Some(mut response) = response {
            response.partial |= self.response_torn;
            self.name(&mut response);
            cx.tell(response);
        }
    }

    /// Says of a response what is known of the call by now.
    fn name(&self, response: &mut Message) {
        response.protocol = if self.grpc.is_some() { Protocol::Grpc } else { Protocol::Http2 };
        if let Content::Http(http) = &mut response.content {
            http.grpc.clone_from(&self.grpc);
        }
    }

    /// It is given up before its end.
    pub(super) fn breaks(&mut self, cx: &mut Context<'_>) {
        self.finish(true, cx);
    }

    fn finish(&mut self, is_torn: bool, cx: &mut Context<'_>) {
        // Answered before its end was seen.
        if let Some(mut request) = self.request.take() {
            request.partial = true;
            cx.tell(request);
        }
        if let Some(mut response) = self.response.take() {
            response.body_bytes = (!is_torn).then_some(self.response_bytes);
            response.partial |= is_torn || cx.partial;
            self.name(&mut response);
            cx.tell(response);
        }
    }

    /// Bytes of memory, reckoned.
    pub(super) fn memory(&self) -> usize {
        let messages = self.request.iter().chain(&self.response).map(Message::memory).sum::<usize>();
        size_of::<Self>().saturating_add(self.method.len()).saturating_add(self.url.len()).saturating_add(messages)
    }
}
