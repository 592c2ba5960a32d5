//! What comes out: requests and responses.

use crate::piece::Side;

/// Whether a message asks or answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It asks.
    Request,
    /// It answers.
    Response,
}

/// A protocol that is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.0 and HTTP/1.1 (RFC 9112).
    Http1,
    /// HTTP/2 (RFC 9113).
    Http2,
    /// gRPC, over HTTP/2.
    Grpc,
    /// DNS (RFC 1035).
    Dns,
    /// TLS: its ClientHello (RFC 8446, section 4.1.2).
    Tls,
    /// QUIC: the ClientHello in its first packets (RFC 9001, section 4).
    Quic,
}

impl Protocol {
    /// Its name in `extensions.l7.protocol`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::Quic => "quic",
        }
    }
}

/// A message of an application, as it was seen on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// When its head was whole, by the clock of the pieces, nanoseconds.
    pub time_ns: u64,
    /// Who sent it.
    pub from: Side,
    /// Whether it asks or answers.
    pub kind: Kind,
    /// Its protocol.
    pub protocol: Protocol,
    /// Of a response: from the request's `time_ns` to its own, nanoseconds; `None` where the request was not seen.
    pub latency_ns: Option<u64>,
    /// Something of its connection was not seen, so that fields may be missing.
    pub partial: bool,
    /// The stream within its connection: of HTTP/2 its identifier, of DNS that of the message.
    pub stream: Option<u32>,
    /// Bytes of the body as it was sent, without the framing of chunks or frames; `None` where they were not counted to its end,
    /// or where the message was told before it ([`Options::hold_ns`](crate::Options::hold_ns)).
    pub body_bytes: Option<u64>,
    /// What it says.
    pub content: Content,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// HTTP of any version, gRPC too.
    Http(Http),
    /// DNS.
    Dns(Dns),
    /// The ClientHello of TLS, over TCP or QUIC.
    Tls(Tls),
}

/// An HTTP message; of a response, with what its request was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Http {
    /// Status of a response; 0 of a request, or where it is not known.
    pub code: u16,
    /// Method of the request; empty where it is not known.
    pub method: String,
    /// What is asked for: scheme, host and path, as far as they are known; masked.
    pub url: String,
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`.
    pub version: &'static str,
    /// Headers in their order, masked; names as they were sent.
    pub headers: Vec<(String, String)>,
    /// gRPC.
    pub grpc: Option<Grpc>,
}

/// A gRPC call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grpc {
    /// The service, as `package.Service`.
    pub service: String,
    /// Its method.
    pub method: String,
    /// Of a response its `grpc-status` (0: OK); `None` where there was none, or it is not known.
    pub status: Option<u32>,
    /// Its `grpc-message`, decoded.
    pub message: String,
}

/// A DNS message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// The name that is asked for, with its last dot; bytes that are not printable ASCII as `\DDD` (RFC 1035, section 5.1).
    pub query: String,
    /// Record types asked for, such as `A`.
    pub qtypes: Vec<String>,
    /// The response code (RFC 1035, section 4.1.1, and RFC 6891, section 6.1.3); 0 of a request.
    pub rcode: u16,
    /// The least time to live in the answer, seconds; 0 where there is none.
    pub ttl: u32,
    /// Addresses in the answer.
    pub ips: Vec<std::net::IpAddr>,
    /// Names that the name stands for, in their order.
    pub cnames: Vec<String>,
    /// Record types in the answer, one for each record.
    pub rrtypes: Vec<String>,
}

/// What a client says in the clear as it begins TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The server's name; of an encrypted ClientHello the outer one.
    pub sni: String,
    /// Protocols offered, as `h2`; bytes that are not printable ASCII as `\xNN`. Without what GREASE adds (RFC 8701).
    pub alpn: Vec<String>,
    /// The highest version offered, as `1.3`; empty where it has no name.
    pub version: &'static str,
    /// Whether it bears an encrypted ClientHello, so that the name may be another (RFC 9849).
    pub ech: bool,
}

impl Message {
    /// Bytes of memory that an HTTP message takes, reckoned: others do not wait.
    pub(crate) fn memory(&self) -> usize {
        let Content::Http(http) = &self.content else { return size_of::<Self>() };
        let headers: usize = http.headers.iter().map(|(name, value)| 48 + name.len() + value.len()).sum();
        size_of::<Self>() + http.method.len() + http.url.len() + headers
    }
}
