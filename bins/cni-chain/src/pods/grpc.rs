//! Unary gRPC calls over a Unix socket: as much of the protocol as asking a container runtime takes.
//!
//! A call is an HTTP/2 POST whose body is one message behind five bytes (a flag for compression, and its length), and whose
//! outcome stands in the trailers (gRPC over HTTP2, `doc/PROTOCOL-HTTP2.md` of grpc/grpc).

use std::fmt;
use std::path::Path;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::{Builder, ResponseFuture, SendRequest};
use http::{HeaderMap, Request, header};
use prost::Message;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// No answer may take longer.
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// No answer may be longer, in bytes; containerd's own limit is the same.
const MESSAGE_LIMIT: usize = 16 << 20;
/// No answer's headers may be longer, in bytes.
const HEADER_LIMIT: u32 = 64 << 10;
/// What may be on its way at once, in bytes.
const WINDOW: u32 = 1 << 20;
/// In front of each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// gRPC's number for a method that a server does not have.
pub(super) const UNIMPLEMENTED: u32 = 12;
/// gRPC's number for a thing that is not there.
pub(super) const NOT_FOUND: u32 = 5;

/// A call that gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// gRPC's number, where the server answered with one.
    pub(super) code: Option<u32>,
    what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.what)
    }
}

impl std::error::Error for Failure {}

fn broken(error: impl fmt::Display) -> Failure {
    Failure { code: None, what: error.to_string() }
}

fn overdue(_: tokio::time::error::Elapsed) -> Failure {
    broken(format_args!("no answer within {} s", CALL_LIMIT.as_secs()))
}

/// A connection to a server.
pub(super) struct Channel {
    requests: SendRequest<Bytes>,
}

impl Channel {
    /// Connects; to be called in a runtime, which drives the connection from then on.
    pub(super) async fn open(socket: &Path) -> Result<Self, Failure> {
        let opening = async {
            let stream = UnixStream::connect(socket).await.map_err(broken)?;
            let mut builder = Builder::new();
            builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW);
            builder.max_header_list_size(HEADER_LIMIT).enable_push(false);
            builder.handshake(stream).await.map_err(broken)
        };
        let (requests, connection) = timeout(CALL_LIMIT, opening).await.map_err(overdue)??;
        // Its errors come out of the calls too.
        tokio::spawn(async { drop(connection.await) });
        Ok(Self { requests })
    }

    /// Calls a method, as in `runtime.v1.RuntimeService/ListPodSandbox`.
    pub(super) async fn call<A: Message + Default>(
        &mut self,
        method: &str,
        request: &impl Message,
    ) -> Result<A, Failure> {
        timeout(CALL_LIMIT, self.call_without_limit(method, request)).await.map_err(overdue)?
    }

    async fn call_without_limit<A: Message + Default>(
        &mut self,
        method: &str,
        request: &impl Message,
    ) -> Result<A, Failure> {
        // Servers refuse a socket's path as authority, and know this one from all other clients.
        let head = Request::post(format!("http://localhost/{method}"))
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .body(())
            .map_err(broken)?;
        let mut requests = self.requests.clone().ready().await.map_err(broken)?;
        let (answer, mut body) = requests.send_request(head, false).map_err(broken)?;
        body.send_data(framed(request)?, true).map_err(broken)?;
        let message = receive(answer).await?;
        A::decode(message).map_err(|error| broken(format_args!("the answer to {method} cannot be read: {error}")))
    }
}

fn framed(request: &impl Message) -> Result<Bytes, Failure> {
    let length = request.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).map_err(broken)?);
    request.encode(&mut bytes).map_err(broken)?;
    Ok(bytes.freeze())
}

/// The message of an answer whose outcome is good.
async fn receive(answer: ResponseFuture) -> Result<Bytes, Failure> {
    let (head, mut body) = answer.await.map_err(broken)?.into_parts();
    if !head.status.is_success() {
        return Err(broken(format_args!("the server answers HTTP {}: it speaks no gRPC", head.status)));
    }
    if head.headers.contains_key("grpc-status") {
        outcome(&head.headers)?;
    }
    let mut bytes = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.map_err(broken)?;
        // A server that sends no end is not read to its end.
        if bytes.len().saturating_add(chunk.len()) > PREFIX + MESSAGE_LIMIT {
            return Err(broken(format_args!("the answer is longer than {MESSAGE_LIMIT} bytes")));
        }
        bytes.extend_from_slice(&chunk);
        body.flow_control().release_capacity(chunk.len()).map_err(broken)?;
    }
    outcome(&body.trailers().await.map_err(broken)?.unwrap_or(head.headers))?;
    unframed(bytes.freeze()).ok_or_else(|| broken("the answer is no gRPC message"))
}

fn unframed(mut bytes: Bytes) -> Option<Bytes> {
    let prefix: [u8; PREFIX] = bytes.get(..PREFIX)?.try_into().ok()?;
    let [compressed, length @ ..] = prefix;
    let message = bytes.split_off(PREFIX);
    let whole = u32::from_be_bytes(length) as usize == message.len();
    (compressed == 0 && whole).then_some(message)
}

/// The outcome that headers or trailers tell of.
fn outcome(fields: &HeaderMap) -> Result<(), Failure> {
    let text = |name: &str| fields.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status").and_then(|code| code.parse::<u32>().ok()) {
        Some(0) => Ok(()),
        Some(code) => {
            let said = text("grpc-message").unwrap_or("no reason given");
            Err(Failure { code: Some(code), what: format!("{said} (gRPC status {code})") })
        }
        None => Err(broken("the answer has no outcome: it was cut off")),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashMap;
    use std::thread::JoinHandle;

    use tokio::net::UnixListener;

    use super::*;

    /// What a server says to a method: a message, or a status.
    pub(crate) type Say = Result<Vec<u8>, u32>;

    /// A gRPC server that answers the first connection, on a thread of its own, until that is closed.
    ///
    /// It gives its answers by method, and in the end all requests as they came: method and message.
    pub(crate) fn serve(
        socket: &Path,
        answers: impl Fn(&str, &[u8]) -> Say + Send + 'static,
    ) -> JoinHandle<Vec<(String, Vec<u8>)>> {
        let listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        std::thread::spawn(move || block_on(answer_one(listener, answers)))
    }

    async fn answer_one(
        listener: std::os::unix::net::UnixListener,
        answers: impl Fn(&str, &[u8]) -> Say,
    ) -> Vec<(String, Vec<u8>)> {
        let (stream, _) = UnixListener::from_std(listener).unwrap().accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let mut seen = Vec::new();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let method = request.uri().path().trim_start_matches('/').to_owned();
            assert_eq!(request.headers()["content-type"], "application/grpc");
            assert_eq!(request.uri().authority().unwrap(), "localhost");
            // The connection has to be driven while a body is waited for; requests here fit in one frame.
            let mut body = request.into_body();
            let bytes = tokio::select! {
                bytes = body.data() => bytes.unwrap().unwrap(),
                _ = connection.accept() => panic!("a second request before the first has a body"),
            };
            seen.push((method.clone(), bytes[PREFIX..].to_vec()));
            let said = answers(&method, &bytes[PREFIX..]);
            let response = http::Response::new(());
            let mut trailers = HeaderMap::new();
            match said {
                Ok(message) => {
                    let mut stream = respond.send_response(response, false).unwrap();
                    let mut framed = vec![0];
                    framed.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
                    framed.extend_from_slice(&message);
                    stream.send_data(Bytes::from(framed), false).unwrap();
                    trailers.insert("grpc-status", "0".parse().unwrap());
                    stream.send_trailers(trailers).unwrap();
                }
                Err(code) => {
                    let mut response = response;
                    response.headers_mut().insert("grpc-status", code.into());
                    response.headers_mut().insert("grpc-message", "no such thing".parse().unwrap());
                    respond.send_response(response, true).unwrap();
                }
            }
        }
        seen
    }

    pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    #[derive(Clone, PartialEq, Message)]
    struct Text {
        #[prost(string, tag = "1")]
        text: String,
    }

    fn call(socket: &Path, text: &str) -> Result<Text, Failure> {
        block_on(async {
            let mut channel = Channel::open(socket).await?;
            channel.call("test.Service/Say", &Text { text: text.to_owned() }).await
        })
    }

    #[test]
    fn a_message_goes_there_and_back() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let server = serve(&socket, |_, request| Ok(request.to_vec()));
        // Longer than the window, so that it has to be opened again.
        let long = "x".repeat(WINDOW as usize * 3 / 2);
        assert_eq!(call(&socket, "hello").unwrap().text, "hello");
        let seen = server.join().unwrap();
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].0, "test.Service/Say");
        let socket = folder.path().join("another");
        let answer = Text { text: long.clone() }.encode_to_vec();
        let server = serve(&socket, move |_, _| Ok(answer.clone()));
        assert_eq!(call(&socket, "more").unwrap().text, long);
        drop(server.join().unwrap());
    }

    #[test]
    fn a_refusal_is_told_with_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let server = serve(&socket, |_, _| Err(UNIMPLEMENTED));
        let refused = call(&socket, "hello").unwrap_err();
        assert_eq!(refused.code, Some(UNIMPLEMENTED));
        assert_eq!(refused.to_string(), "no such thing (gRPC status 12)");
        drop(server.join().unwrap());
    }

    #[test]
    fn an_answer_too_long_is_not_read_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let server = serve(&socket, |_, _| Ok(vec![0; MESSAGE_LIMIT + 1]));
        let refused = call(&socket, "hello").unwrap_err();
        assert_eq!(refused.to_string(), format!("the answer is longer than {MESSAGE_LIMIT} bytes"));
        drop(server.join().unwrap());
    }

    #[test]
    fn a_server_of_another_kind_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        assert_eq!(call(&socket, "hello").unwrap_err().code, None);
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let server = std::thread::spawn(move || {
            use std::io::Write;
            drop(listener.accept().unwrap().0.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
        });
        assert_eq!(call(&socket, "hello").unwrap_err().code, None);
        server.join().unwrap();
    }

    #[test]
    fn torn_messages_and_outcomes_are_refused() {
        let frame = |bytes: &[u8]| unframed(Bytes::copy_from_slice(bytes));
        assert_eq!(frame(&[0, 0, 0, 0, 2, 7, 8]), Some(Bytes::from_static(&[7, 8])));
        assert_eq!(frame(&[0, 0, 0, 0, 0]), Some(Bytes::new()));
        for torn in [&[0, 0, 0, 0][..], &[0, 0, 0, 0, 3, 7, 8], &[1, 0, 0, 0, 2, 7, 8], &[0, 0, 0, 0, 1, 7, 8]] {
            assert_eq!(frame(torn), None, "{torn:?}");
        }
        let mut fields = HeaderMap::new();
        assert!(outcome(&fields).is_err());
        for (status, good) in [("0", true), ("5", false), ("good", false)] {
            fields = HashMap::from([(http::HeaderName::from_static("grpc-status"), status.parse().unwrap())])
                .into_iter()
                .collect();
            assert_eq!(outcome(&fields).is_ok(), good, "{status}");
        }
    }
}
