//! A small HTTP server beside the flows, for scrapers and browsers.
//!
//! It has a thread of its own, so that no client makes flows wait. A connection carries one request; how many there are at
//! once, how long one may take and how long its header may be is bounded. When there are too many, the oldest goes.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use chainkit_cli::{Exit, Failure};
use http_body_util::Full;
use hyper::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use signal_hook::consts::{SIGINT, SIGTERM};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout, timeout_at};

use crate::cli::Options;

/// Connections at once.
const MOST_CONNECTIONS: usize = 64;
/// How long the header of a request may be in coming.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// How long a connection may take from begin to end.
const CONNECTION_TIME: Duration = Duration::from_secs(30);
/// The longest header of a request: more than a browser sends, with all cookies that programs of one host have set.
const HEADER_BYTES: usize = 16 * 1024;
/// How long connections have to end when the server does.
const PARTING_TIME: Duration = Duration::from_secs(1);
/// How long it is waited where no connection can be had, such as for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// How often one who stays looks whether to end.
const TICK: Duration = Duration::from_millis(100);

/// What is served.
pub(crate) trait Content: Send + Sync + 'static {
    /// What is under a path, in a form that the client takes by its header `Accept`; `None` where there is nothing.
    fn get(&self, path: &str, accept: &str) -> Option<Page>;

    /// The path that is for people, which errors name.
    fn path(&self) -> &'static str;

    /// Whether only who asks for this host by a name that is its own for sure is answered: a page of somebody else's, whose
    /// name leads here, is not to read this one (DNS rebinding).
    fn is_for_this_host_alone(&self) -> bool;
}

/// Something that is served.
pub(crate) struct Page {
    pub(crate) media_type: &'static str,
    pub(crate) body: Bytes,
}

/// A server that runs until this is dropped.
pub(crate) struct Server {
    thread: Option<JoinHandle<()>>,
    end: Option<oneshot::Sender<()>>,
    address: SocketAddr,
    signalled: Arc<AtomicBool>,
    deadline: Option<Instant>,
    stays: bool,
}

impl Server {
    /// Listens, and says where on stderr.
    ///
    /// # Errors
    /// When it cannot listen there.
    pub(crate) fn start(listen: SocketAddr, content: Arc<dyn Content>, options: &Options) -> anyhow::Result<Self> {
        let signalled = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&signalled)).context("cannot handle signals")?;
        }
        let listener = TcpListener::bind(listen).map_err(|error| cannot_listen(listen, &error))?;
        listener.set_nonblocking(true).context("cannot listen without waiting")?;
        let address = listener.local_addr().context("cannot tell the address that is listened on")?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .context("cannot make what the server runs in")?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener).context("cannot wait for connections")?
        };
        let path = content.path();
        let (end, ended) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("http".to_owned())
            .spawn(move || runtime.block_on(serve(listener, address.port(), content, ended)))
            .context("cannot start the thread of the server")?;
        options.log.info(format!("http://{address}{path}"));
        Ok(Self {
            thread: Some(thread),
            end: Some(end),
            address,
            signalled,
            deadline: options.duration.and_then(|duration| Instant::now().checked_add(duration)),
            stays: options.read.is_some(),
        })
    }

    /// Of saved lines: goes on serving what they gave until a signal, or until the time is up. Flows that are live end then
    /// anyway.
    pub(crate) fn stay(&self, mut tick: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<()> {
        while self.stays
            && !self.signalled.load(Ordering::Relaxed)
            && self.deadline.is_none_or(|deadline| Instant::now() < deadline)
        {
            tick()?;
            thread::sleep(TICK);
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            // It said why when it fell; what was asked of this program is done.
            debug_assert!(false, "the server on {} fell", self.address);
        }
    }
}

fn cannot_listen(listen: SocketAddr, error: &io::Error) -> Failure {
    let port = listen.port();
    let (exit, remedy) = match error.kind() {
        io::ErrorKind::AddrInUse => (
            Exit::Failed,
            format!("give --listen another port, or end who has this one: ss -Hltnp 'sport = :{port}' tells"),
        ),
        io::ErrorKind::AddrNotAvailable => {
            (Exit::Failed, "give --listen an address of this host: ip address shows them".to_owned())
        }
        io::ErrorKind::PermissionDenied => {
            (Exit::Unsupported, "give --listen a port from 1024 on, or take CAP_NET_BIND_SERVICE".to_owned())
        }
        _ => (Exit::Failed, "give --listen another address".to_owned()),
    };
    Failure::new(exit, format!("cannot listen on {listen}: {error}")).remedy(remedy)
}

/// Serves until `ended`.
async fn serve(
    listener: tokio::net::TcpListener,
    port: u16,
    content: Arc<dyn Content>,
    mut ended: oneshot::Receiver<()>,
) {
    let mut connections: VecDeque<tokio::task::JoinHandle<()>> = VecDeque::new();
    loop {
        let next = poll_fn(|context| match Pin::new(&mut ended).poll(context) {
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending => listener.poll_accept(context).map(Some),
        });
        match next.await {
            None => break,
            Some(Err(_)) => sleep(PAUSE).await,
            Some(Ok((stream, _))) => {
                connections.retain(|connection| !connection.is_finished());
                if connections.len() >= MOST_CONNECTIONS
                    && let Some(oldest) = connections.pop_front()
                {
                    oldest.abort();
                }
                connections.push_back(tokio::spawn(connection(stream, port, Arc::clone(&content))));
            }
        }
    }
    drop(listener);
    let parted = tokio::time::Instant::now() + PARTING_TIME;
    for connection in connections {
        if timeout_at(parted, connection).await.is_err() {
            break;
        }
    }
}

async fn connection(stream: tokio::net::TcpStream, port: u16, content: Arc<dyn Content>) {
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let response = answer(&request, port, &*content);
        async { Ok::<_, Infallible>(response) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME).max_buf_size(HEADER_BYTES).keep_alive(false);
    // Whatever went wrong went wrong on the client's side, or on the way to it.
    let _ = timeout(CONNECTION_TIME, http.serve_connection(TokioIo::new(stream), service)).await;
}

fn answer<B>(request: &Request<B>, port: u16, content: &dyn Content) -> Response<Full<Bytes>> {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    if content.is_for_this_host_alone() {
        let hosts = request.headers().get_all(HOST).iter().map(|value| value.to_str().unwrap_or_default());
        let mut named = hosts.chain(request.uri().authority().map(|authority| authority.as_str())).peekable();
        if named.peek().is_none() || !named.all(|host| is_this_host(host, port)) {
            let text = format!("This is for who asks for localhost:{port} or 127.0.0.1:{port} alone.\n");
            return plain(StatusCode::FORBIDDEN, text);
        }
    }
    let path = request.uri().path();
    let Some(page) = content.get(path, header(ACCEPT).unwrap_or_default()) else {
        return plain(StatusCode::NOT_FOUND, format!("There is nothing here: look at {}\n", content.path()));
    };
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut response =
            plain(StatusCode::METHOD_NOT_ALLOWED, "There is nothing to do here but GET and HEAD.\n".to_owned());
        response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    response(StatusCode::OK, page.media_type, page.body)
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", text.into())
}

fn response(status: StatusCode, media_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let value = hyper::header::HeaderValue::from_static;
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, value(media_type));
    headers.insert(CACHE_CONTROL, value("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, value("nosniff"));
    // What a page cannot say of itself; the rest of its policy it does.
    headers.insert(CONTENT_SECURITY_POLICY, value("frame-ancestors 'none'"));
    headers.insert("cross-origin-resource-policy", value("same-origin"));
    response
}

/// Whether a host with its port, as in a header `Host`, is this one by no name that others give out.
fn is_this_host(host: &str, port: u16) -> bool {
    let name = match host.strip_suffix(&format!(":{port}")) {
        Some(name) => name,
        // That of HTTP is left out.
        None if port == 80 => host,
        None => return false,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    match address {
        Some(address) => address.parse().is_ok_and(|address: std::net::Ipv6Addr| address.is_loopback()),
        None => {
            name.eq_ignore_ascii_case("localhost")
                || name.parse().is_ok_and(|address: IpAddr| address.is_ipv4() && address.is_loopback())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_is_known_by_addresses_that_cannot_be_others() {
        for host in ["localhost:8080", "LocalHost:8080", "127.0.0.1:8080", "127.9.9.9:8080", "[::1]:8080"] {
            assert!(is_this_host(host, 8080), "{host}");
        }
        for host in [
            "",
            "localhost",
            "localhost:80",
            "localhost:80808080",
            "127.0.0.1",
            "127.0.0.1:8081",
            "127.0.0.1.example.org:8080",
            "example.org:8080",
            "localhost.:8080",
            "::1:8080",
            "[::ffff:127.0.0.1]:8080",
            "[127.0.0.1]:8080",
            "10.0.0.1:8080",
            "x@localhost:8080",
            "localhost:8080:8080",
        ] {
            assert!(!is_this_host(host, 8080), "{host}");
        }
        assert!(is_this_host("localhost", 80) && is_this_host("localhost:80", 80) && !is_this_host("localhost:", 80));
    }

    #[test]
    fn who_cannot_listen_is_told_what_to_do() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = holder.local_addr().unwrap();
        let failure = cannot_listen(taken, &TcpListener::bind(taken).unwrap_err());
        assert_eq!(failure.exit(), Exit::Failed);
        assert!(failure.remedy_text().unwrap().contains(&format!("sport = :{}", taken.port())));
        let failure = cannot_listen(taken, &io::ErrorKind::PermissionDenied.into());
        assert_eq!(failure.exit(), Exit::Unsupported);
    }
}
