//! What makes real traffic: small servers and clients of the protocols that pods speak.
//!
//! A server runs on threads of this process and belongs to the network namespace in which it was started, so start it by
//! [`Netns::run`](crate::Netns::run); the binary `chainkit-lab` offers each of them as a subcommand, too.

pub mod dns;
pub mod grpc;
pub mod http;
pub mod tcp;
pub mod udp;

use std::io::{self, PipeReader, PipeWriter};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::Error;

/// How long a client waits for an answer, and a server for a connection's next bytes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// A server on a thread of this process; it stops when this is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    served: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
    /// Closing it is the sign to stop, which every thread of the server polls for.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Where it listens, with the port it was given when it asked for port 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has accepted, or datagrams received.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Acquire)
    }

    /// How many bytes of payload it has received.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// Accepts connections and hands each to `serve`, on a thread of its own.
    fn of_streams(
        address: SocketAddr,
        serve: impl Fn(TcpStream, &Progress) + Clone + Send + 'static,
    ) -> Result<Self, Error> {
        let listener = TcpListener::bind(address).map_err(Error::io(format!("listen on TCP {address}")))?;
        listener.set_nonblocking(true).map_err(Error::io("set a socket non-blocking"))?;
        let address = listener.local_addr().map_err(Error::io("ask a socket for its address"))?;
        Self::start(address, move |progress| {
            while progress.wait_for(listener.as_fd()) {
                let Ok((stream, _)) = listener.accept() else {
                    continue;
                };
                progress.served.fetch_add(1, Ordering::AcqRel);
                let (serve, progress) = (serve.clone(), progress.clone());
                thread::spawn(move || serve(stream, &progress));
            }
        })
    }

    /// Receives datagrams and answers each with what `answer` makes of it.
    fn of_datagrams(
        address: SocketAddr,
        answer: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + 'static,
    ) -> Result<Self, Error> {
        let socket = UdpSocket::bind(address).map_err(Error::io(format!("listen on UDP {address}")))?;
        socket.set_nonblocking(true).map_err(Error::io("set a socket non-blocking"))?;
        let address = socket.local_addr().map_err(Error::io("ask a socket for its address"))?;
        Self::start(address, move |progress| {
            let mut buffer = vec![0; 64 * 1024];
            while progress.wait_for(socket.as_fd()) {
                while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                    progress.count(length);
                    progress.served.fetch_add(1, Ordering::AcqRel);
                    if let Some(reply) = buffer.get(..length).and_then(&answer) {
                        // An answer that cannot be sent is a lost datagram, which UDP allows.
                        drop(socket.send_to(&reply, from));
                    }
                }
            }
        })
    }

    fn start(address: SocketAddr, work: impl FnOnce(&Progress) + Send + 'static) -> Result<Self, Error> {
        let (stopped, stop) = io::pipe().map_err(Error::io("make a pipe"))?;
        let progress = Progress { stopped: Arc::new(stopped), served: Arc::default(), bytes: Arc::default() };
        let (served, bytes) = (Arc::clone(&progress.served), Arc::clone(&progress.bytes));
        let thread = thread::spawn(move || work(&progress));
        Ok(Self { address, served, bytes, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A server that panicked has said so on stderr.
            drop(thread.join());
        }
    }
}

/// What a server's threads share.
#[derive(Clone, Debug)]
struct Progress {
    stopped: Arc<PipeReader>,
    served: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
}

impl Progress {
    /// Waits until `file` can be read; false when it is time to stop.
    fn wait_for(&self, file: BorrowedFd<'_>) -> bool {
        let mut files = [PollFd::new(file, PollFlags::POLLIN), PollFd::new(self.stopped.as_fd(), PollFlags::POLLIN)];
        // Fails only when a signal interrupts it: the caller's read then says that there is nothing yet.
        let _ = poll(&mut files, PollTimeout::NONE);
        let [_, stop] = files;
        !stop.any().unwrap_or(false)
    }

    /// Adds to the bytes received.
    fn count(&self, length: usize) {
        self.bytes.fetch_add(u64::try_from(length).unwrap_or(u64::MAX), Ordering::AcqRel);
    }
}

/// Connects with all the patience there is.
fn connect(to: SocketAddr) -> Result<TcpStream, Error> {
    let stream = TcpStream::connect_timeout(&to, PATIENCE).map_err(Error::io(format!("connect to TCP {to}")))?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(Error::io("set a time limit on a socket"))?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(Error::io("set a time limit on a socket"))?;
    Ok(stream)
}
