//! Plain TCP: echo, sink, source, and connections by number.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;

use super::{Progress, Server, connect};
use crate::Error;

const CHUNK: usize = 64 * 1024;

/// Sends back what it receives, until the client closes.
///
/// # Errors
/// When `address` cannot be listened on.
pub fn echo(address: SocketAddr) -> Result<Server, Error> {
    Server::of_streams(address, |mut stream, progress| {
        let mut writer = stream.try_clone().ok();
        receive(&mut stream, progress, |bytes| writer.as_mut().is_some_and(|writer| writer.write_all(bytes).is_ok()));
    })
}

/// Receives and counts ([`Server::bytes`]), until the client closes.
///
/// # Errors
/// When `address` cannot be listened on.
pub fn sink(address: SocketAddr) -> Result<Server, Error> {
    Server::of_streams(address, |mut stream, progress| receive(&mut stream, progress, |_| true))
}

/// Accepts, counts ([`Server::served`]) and closes at once, so that it and not the client is left with TIME_WAIT and the
/// client's ports are free again; for [`connects`].
///
/// # Errors
/// When `address` cannot be listened on.
pub fn acceptor(address: SocketAddr) -> Result<Server, Error> {
    Server::of_streams(address, |stream, _| drop(stream))
}

/// Sends exactly `length` bytes over one connection, and waits until the receiver has closed its side in turn, so that all has
/// arrived.
///
/// # Errors
/// When it cannot connect, or the connection breaks.
pub fn source(to: SocketAddr, length: u64) -> Result<(), Error> {
    let mut stream = connect(to)?;
    let chunk = [0x5a; CHUNK];
    let mut left = length;
    while left > 0 {
        let next = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let bytes = chunk.get(..next).unwrap_or(&chunk);
        stream.write_all(bytes).map_err(Error::io(format!("send to TCP {to}")))?;
        left -= u64::try_from(bytes.len()).unwrap_or(left);
    }
    close_after_peer(&mut stream, to)
}

/// Sends `message` over a connection of its own and returns the echo of it.
///
/// # Errors
/// When it cannot connect, or the echo breaks off.
pub fn say(to: SocketAddr, message: &[u8]) -> Result<Vec<u8>, Error> {
    let mut stream = connect(to)?;
    stream.write_all(message).map_err(Error::io(format!("send to TCP {to}")))?;
    stream.shutdown(Shutdown::Write).map_err(Error::io(format!("close the connection to TCP {to}")))?;
    let mut echo = Vec::new();
    let most = u64::try_from(message.len()).unwrap_or(u64::MAX);
    stream.take(most).read_to_end(&mut echo).map_err(Error::io(format!("receive from TCP {to}")))?;
    Ok(echo)
}

/// Opens and closes exactly `count` connections, one after another, each complete with a handshake and FINs both ways.
///
/// # Errors
/// At the first that cannot be opened or is reset.
pub fn connects(to: SocketAddr, count: u64) -> Result<(), Error> {
    for _ in 0..count {
        close_after_peer(&mut connect(to)?, to)?;
    }
    Ok(())
}

/// Says that nothing more comes, and waits for the peer to say so, too.
fn close_after_peer(stream: &mut TcpStream, to: SocketAddr) -> Result<(), Error> {
    match stream.shutdown(Shutdown::Write) {
        // The peer has closed first, and completely.
        Err(error) if error.kind() == std::io::ErrorKind::NotConnected => return Ok(()),
        closed => closed.map_err(Error::io(format!("close the connection to TCP {to}")))?,
    }
    let mut rest = [0; 1024];
    loop {
        match stream.read(&mut rest) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(Error::io(format!("receive from TCP {to}"))(error)),
        }
    }
}

/// Reads until the end, a failure or the server's stop, counting; `each` says whether to go on.
fn receive(stream: &mut TcpStream, progress: &Progress, mut each: impl FnMut(&[u8]) -> bool) {
    let mut buffer = vec![0; CHUNK];
    loop {
        if !progress.wait_for(stream.as_fd()) {
            return;
        }
        let Ok(length @ 1..) = stream.read(&mut buffer) else {
            return;
        };
        progress.count(length);
        if !buffer.get(..length).is_some_and(&mut each) {
            return;
        }
    }
}
