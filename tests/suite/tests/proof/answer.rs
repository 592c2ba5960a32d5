//! What a pod answers: on each of its addresses and [`PORTS`], TCP by accepting, UDP by sending back what came, SCTP by an INIT ACK.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use chainkit_lab::Pod;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::sctp::Wire;

/// The ports of every pod.
pub(crate) const PORTS: [u16; 2] = [80, 81];

/// Threads that answer, one for each pod, until this is dropped.
pub(crate) struct Answerers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Answerers {
    pub(crate) fn start(pods: &[Pod]) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let start = |pod: &Pod| {
            let sockets = pod.run(|| Sockets::open(&addresses(pod))).unwrap();
            let stopped = Arc::clone(&stop);
            thread::spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    sockets.answer();
                }
            })
        };
        let threads = pods.iter().map(start).collect();
        Self { stop, threads }
    }
}

impl Drop for Answerers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // Had it panicked, its pod would have answered nothing more, and the test have failed.
            drop(thread.join());
        }
    }
}

/// A pod's addresses: first IPv4, then IPv6.
pub(crate) fn addresses(pod: &Pod) -> [IpAddr; 2] {
    [pod.ip4.into(), pod.ip6.unwrap().into()]
}

struct Sockets {
    tcp: Vec<TcpListener>,
    udp: Vec<UdpSocket>,
    sctp: Vec<Wire>,
}

impl Sockets {
    fn open(addresses: &[IpAddr]) -> Self {
        let places = || addresses.iter().flat_map(|address| PORTS.map(|port| SocketAddr::new(*address, port)));
        let tcp: Vec<TcpListener> = places().map(|place| TcpListener::bind(place).unwrap()).collect();
        let udp: Vec<UdpSocket> = places().map(|place| UdpSocket::bind(place).unwrap()).collect();
        tcp.iter().for_each(|socket| socket.set_nonblocking(true).unwrap());
        udp.iter().for_each(|socket| socket.set_nonblocking(true).unwrap());
        Self { tcp, udp, sctp: addresses.iter().map(|address| Wire::open(*address)).collect() }
    }

    /// Answers what comes within a moment.
    fn answer(&self) {
        const MILLISECONDS: u8 = 100;
        let tcp = self.tcp.iter().map(AsFd::as_fd);
        let udp = self.udp.iter().map(AsFd::as_fd);
        let sctp = self.sctp.iter().map(|wire| wire.socket().as_fd());
        let mut all: Vec<PollFd<'_>> =
            tcp.chain(udp).chain(sctp).map(|socket| PollFd::new(socket, PollFlags::POLLIN)).collect();
        poll(&mut all, PollTimeout::from(MILLISECONDS)).unwrap();
        let mut bytes = [0; 64];
        for socket in &self.tcp {
            while let Some(connection) = there(socket.accept()) {
                drop(connection);
            }
        }
        for socket in &self.udp {
            while let Some((length, from)) = there(socket.recv_from(&mut bytes)) {
                // Should a queue on the way be full, it will be asked again.
                drop(socket.send_to(&bytes[..length], from));
            }
        }
        for wire in &self.sctp {
            while let Some(packet) = wire.receive() {
                if packet.is_init && PORTS.contains(&packet.destination_port) {
                    wire.accept(&packet);
                }
            }
        }
    }
}

/// What a socket that does not wait has, if anything; what became of a connection before it was taken is nobody's business here.
pub(crate) fn there<T>(result: std::io::Result<T>) -> Option<T> {
    match result {
        Ok(got) => Some(got),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::WouldBlock | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
            ) =>
        {
            None
        }
        Err(error) => panic!("cannot take what came in: {error}"),
    }
}
