//! gRPC over HTTP/2 without TLS: unary calls with messages of bytes.

use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use h2::{client, server};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::runtime::{Builder, Runtime};

use super::{PATIENCE, Server, connect};
use crate::Error;

/// The longest message that is read, in bytes.
const LONGEST: usize = 1024 * 1024;
/// A call's status where its method is not there (gRPC status codes).
const UNIMPLEMENTED: u32 = 12;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status: 0 is OK.
    pub status: u32,
    /// The message, without what frames it; empty where there was none.
    pub message: Vec<u8>,
}

/// Answers each call of `methods` (`/package.Service/Method`) with `message` and that method's status, and others with 12, unimplemented.
///
/// # Errors
/// When `address` cannot be listened on.
pub fn serve(address: SocketAddr, methods: &[(String, u32)], message: &str) -> Result<Server, Error> {
    let (methods, message) = (methods.to_vec(), message.to_owned());
    Server::of_streams(address, move |stream, progress| {
        let Ok(runtime) = runtime() else { return };
        let served = async {
            stream.set_nonblocking(true).ok()?;
            let stream = tokio::net::TcpStream::from_std(stream).ok()?;
            let mut connection = server::handshake(stream).await.ok()?;
            // What a client still sends would be refused once its call is dropped, answered or not.
            let mut calls = Vec::new();
            // As long as the client keeps it open, or the server stays.
            while let Some(call) = connection.accept().await {
                let (request, mut respond) = call.ok()?;
                progress.served.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
                let method = methods.iter().find(|(path, _)| path == request.uri().path());
                let status = method.map_or(UNIMPLEMENTED, |(_, status)| *status);
                answer(&mut respond, status, &message).ok()?;
                calls.push(request);
            }
            Some(())
        };
        // A client that hangs up or sends nonsense is done with.
        drop(runtime.block_on(async { tokio::time::timeout(PATIENCE, served).await }));
    })
}

/// Calls `method` (`/package.Service/Method`) over a connection of its own.
///
/// # Errors
/// When it cannot connect, the connection breaks, or what comes back is not gRPC.
pub fn call(to: SocketAddr, method: &str, message: &[u8]) -> Result<Answer, Error> {
    let wrong = |problem: String| Error::Answer { peer: to.to_string(), protocol: "gRPC", problem };
    let stream = connect(to)?;
    stream.set_nonblocking(true).map_err(Error::io("set a socket non-blocking"))?;
    let called = async {
        let stream = tokio::net::TcpStream::from_std(stream).map_err(|error| wrong(error.to_string()))?;
        let (sender, connection) = client::handshake(stream).await.map_err(|error| wrong(error.to_string()))?;
        tokio::select! {
            answer = ask(sender, to, method, message) => answer.map_err(wrong),
            ended = connection => Err(wrong(format!("it closed the connection: {ended:?}"))),
        }
    };
    let runtime = runtime().map_err(Error::io("make a runtime"))?;
    runtime
        .block_on(async { tokio::time::timeout(PATIENCE, called).await })
        .unwrap_or_else(|_| Err(wrong("it did not answer in time".to_owned())))
}

async fn ask(
    sender: client::SendRequest<Bytes>,
    to: SocketAddr,
    method: &str,
    message: &[u8],
) -> Result<Answer, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let request = Request::post(format!("http://{to}{method}")).header("content-type", "application/grpc");
    let request = request.header("te", "trailers").body(()).map_err(|error| text(&error))?;
    let mut sender = sender.ready().await.map_err(|error| text(&error))?;
    let (response, mut stream) = sender.send_request(request, false).map_err(|error| text(&error))?;
    stream.send_data(framed(message), true).map_err(|error| text(&error))?;
    let response = response.await.map_err(|error| text(&error))?;
    // Where there is no message, the status is in the head.
    let in_head = status(response.headers());
    let mut body = response.into_body();
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(|error| text(&error))?;
        if all.len() + data.len() > LONGEST {
            return Err("its message is too long".to_owned());
        }
        body.flow_control().release_capacity(data.len()).map_err(|error| text(&error))?;
        all.extend_from_slice(&data);
    }
    let trailers = body.trailers().await.map_err(|error| text(&error))?;
    let status = in_head.or_else(|| status(&trailers?)).ok_or("it gave no grpc-status")?;
    // A byte for compression and four for the length stand before a message.
    Ok(Answer { status, message: all.get(5..).unwrap_or_default().to_vec() })
}

fn status(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

fn answer(respond: &mut server::SendResponse<Bytes>, status: u32, message: &str) -> Result<(), h2::Error> {
    let is_ok = status == 0;
    let mut head = Response::new(());
    head.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    if !is_ok {
        head.headers_mut().insert("grpc-status", HeaderValue::from(status));
    }
    let mut stream = respond.send_response(head, !is_ok)?;
    if is_ok {
        stream.send_data(framed(message.as_bytes()), false)?;
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from(status));
        stream.send_trailers(trailers)?;
    }
    Ok(())
}

/// A message as it is sent: not compressed, with its length.
fn framed(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    framed.freeze()
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_io().enable_time().build()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::{Answer, call, serve};

    #[test]
    fn a_call_gets_its_message_and_the_status_of_its_method() {
        let methods = [("/shop.Items/Get".to_owned(), 0), ("/shop.Items/Sold".to_owned(), 5)];
        let server = serve((Ipv4Addr::LOCALHOST, 0).into(), &methods, "pears").unwrap();
        let called = |method| call(server.address(), method, b"7").unwrap();
        assert_eq!(called("/shop.Items/Get"), Answer { status: 0, message: b"pears".to_vec() });
        assert_eq!(called("/shop.Items/Sold"), Answer { status: 5, message: Vec::new() });
        assert_eq!(called("/shop.Items/None").status, 12);
    }
}
