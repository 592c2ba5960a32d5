//! Plain UDP: echo, sink, and datagrams by number.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use super::{PATIENCE, Server};
use crate::Error;

/// Sends each datagram back.
///
/// # Errors
/// When `address` cannot be listened on.
pub fn echo(address: SocketAddr) -> Result<Server, Error> {
    Server::of_datagrams(address, |datagram| Some(datagram.to_vec()))
}

/// Receives and counts ([`Server::served`], [`Server::bytes`]), and answers nothing.
///
/// # Errors
/// When `address` cannot be listened on.
pub fn sink(address: SocketAddr) -> Result<Server, Error> {
    Server::of_datagrams(address, |_| None)
}

/// Sends exactly `count` datagrams of `length` bytes of payload from one port, one every `interval` (zero: as fast as it goes).
///
/// They begin with their number, from 0, in 8 bytes, most significant first, as far as `length` reaches. The socket is not
/// connected, so that an ICMP error about one of them does not keep back the next.
///
/// # Errors
/// At the first that the kernel does not take.
pub fn send(to: SocketAddr, count: u64, length: u16, interval: Duration) -> Result<(), Error> {
    let socket = unbound(to)?;
    let started = Instant::now();
    let mut payload = vec![0; usize::from(length)];
    let mut due = Duration::ZERO;
    for number in 0..count {
        for (byte, of_number) in payload.iter_mut().zip(number.to_be_bytes()) {
            *byte = of_number;
        }
        thread::sleep(due.saturating_sub(started.elapsed()));
        socket.send_to(&payload, to).map_err(Error::io(format!("send datagram {number} to UDP {to}")))?;
        due = due.saturating_add(interval);
    }
    Ok(())
}

/// Sends one datagram and returns the first that comes back, from whomever.
///
/// # Errors
/// When it cannot be sent, or nothing comes back within 5 s.
pub fn ask(to: SocketAddr, question: &[u8]) -> Result<Vec<u8>, Error> {
    let socket = unbound(to)?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(Error::io("set a time limit on a socket"))?;
    socket.send_to(question, to).map_err(Error::io(format!("send to UDP {to}")))?;
    let mut answer = vec![0; 64 * 1024];
    let (length, _) = socket.recv_from(&mut answer).map_err(Error::io(format!("get an answer from UDP {to}")))?;
    answer.truncate(length);
    Ok(answer)
}

/// A socket of the family of `to`, on a port of the kernel's choice.
fn unbound(to: SocketAddr) -> Result<UdpSocket, Error> {
    let any = match to {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    UdpSocket::bind(any).map_err(Error::io("open a UDP socket"))
}
