//! HTTP/1.1, as much as a probe or a small client needs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;

use super::{PATIENCE, Progress, Server, connect};
use crate::Error;

/// The longest head (request or status line and headers) that is read, in bytes.
const LONGEST_HEAD: u64 = 16 * 1024;
/// The longest body that the client reads, in bytes.
const LONGEST_BODY: u64 = 64 * 1024 * 1024;
/// The most headers that are read.
const MOST_HEADERS: usize = 64;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// Serves every path with `body`, keeping connections open as HTTP/1.1 does; `/status/NNN` answers with the status NNN.
///
/// # Errors
/// When `address` cannot be listened on.
pub fn serve(address: SocketAddr, body: &str) -> Result<Server, Error> {
    let body = body.to_owned();
    Server::of_streams(address, move |stream, progress| {
        // A client that hangs up or sends nonsense is done with; it sees the connection closed.
        drop(serve_connection(stream, &body, progress));
    })
}

/// Gets `path` over a connection of its own.
///
/// # Errors
/// When it cannot connect, the connection breaks, or what comes back is not HTTP/1.
pub fn get(to: SocketAddr, host: &str, path: &str) -> Result<Answer, Error> {
    let wrong = |problem: String| Error::Answer { peer: to.to_string(), protocol: "HTTP", problem };
    let mut stream = connect(to)?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: chainkit-lab\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(Error::io(format!("send to TCP {to}")))?;
    let mut reader = BufReader::new(stream);
    let head = read_head(&mut reader).map_err(Error::io(format!("receive from TCP {to}")))?;
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let complete = response.parse(&head).map_err(|error| wrong(error.to_string()))?.is_complete();
    let Some(status) = response.code.filter(|_| complete) else {
        return Err(wrong("its head breaks off".to_owned()));
    };
    let mut body = Vec::new();
    reader.take(LONGEST_BODY).read_to_end(&mut body).map_err(Error::io(format!("receive from TCP {to}")))?;
    let announced = (response.headers.iter())
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse::<usize>().ok());
    match announced {
        Some(length) if length != body.len() => {
            Err(wrong(format!("its body has {} bytes where {length} were announced", body.len())))
        }
        _ => Ok(Answer { status, body }),
    }
}

fn serve_connection(stream: TcpStream, body: &str, progress: &Progress) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    // Between two requests is where a server that stops leaves off.
    while !reader.buffer().is_empty() || progress.wait_for(writer.as_fd()) {
        let head = read_head(&mut reader)?;
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let parsed = request.parse(&head);
        let (status, body, close) = match (parsed, request.path) {
            (Ok(httparse::Status::Complete(_)), Some(path)) => {
                let closes = request.headers.iter().any(|header| {
                    header.name.eq_ignore_ascii_case("connection") && header.value.eq_ignore_ascii_case(b"close")
                });
                let asked = path.strip_prefix("/status/").and_then(|status| status.parse().ok());
                (asked.filter(|status| (200..600).contains(status)).unwrap_or(200_u16), body, closes)
            }
            // It closed between two requests.
            (Ok(_), _) if head.is_empty() => return Ok(()),
            _ => (400, "bad request\n", true),
        };
        let connection = if close { "close" } else { "keep-alive" };
        let answer = format!(
            "HTTP/1.1 {status} {}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n{body}",
            reason(status),
            body.len()
        );
        writer.write_all(answer.as_bytes())?;
        if close {
            break;
        }
    }
    Ok(())
}

/// Reads up to and with the empty line; what there is when it ends or gets too long before that.
fn read_head(reader: &mut impl BufRead) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut reader = reader.take(LONGEST_HEAD);
    while !head.ends_with(b"\r\n\r\n") {
        if reader.read_until(b'\n', &mut head)? == 0 {
            break;
        }
    }
    Ok(head)
}

/// The phrase beside a status code (RFC 9110, section 15), which no client may rely on.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        301 => "Moved Permanently",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Status",
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpStream};

    use super::{Answer, get, serve};

    #[test]
    fn a_client_gets_the_body_and_the_status_it_asks_for() {
        let server = serve((Ipv4Addr::LOCALHOST, 0).into(), "apples\n").unwrap();
        assert_eq!(get(server.address(), "cart", "/").unwrap(), Answer { status: 200, body: b"apples\n".to_vec() });
        assert_eq!(get(server.address(), "cart", "/status/503").unwrap().status, 503);
        assert_eq!(server.served(), 2);
    }

    #[test]
    fn two_requests_share_a_connection() {
        let server = serve((Ipv4Addr::LOCALHOST, 0).into(), "x").unwrap();
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream
            .write_all(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).unwrap();
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2);
        assert_eq!(server.served(), 1);
    }

    #[test]
    fn nonsense_is_refused_and_an_endless_head_is_not_read_on() {
        let server = serve((Ipv4Addr::LOCALHOST, 0).into(), "x").unwrap();
        for request in [b"\x16\x03\x01 hello\r\n\r\n".to_vec(), vec![b'a'; 17 * 1024]] {
            let mut stream = TcpStream::connect(server.address()).unwrap();
            stream.write_all(&request).unwrap();
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"HTTP/1.1 400");
        }
    }
}
