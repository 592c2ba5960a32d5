//! What two ends have open with each other: a download, a TCP connection at rest, and an exchange over UDP.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use chainkit_lab::{Netns, Pod};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::stage::{SOON, TARGET, at, eventually};

/// One end: where its sockets are, and their address.
#[derive(Clone, Copy)]
pub(crate) struct End<'a> {
    pub(crate) netns: &'a Netns,
    pub(crate) address: IpAddr,
}

impl<'a> End<'a> {
    pub(crate) fn new(netns: &'a Netns, address: impl Into<IpAddr>) -> Self {
        Self { netns, address: address.into() }
    }

    pub(crate) fn v4(pod: &'a Pod) -> Self {
        Self::new(pod.netns(), pod.ip4)
    }

    pub(crate) fn v6(pod: &'a Pod) -> Self {
        Self::new(pod.netns(), pod.ip6.unwrap())
    }
}

/// Connects from the end's own address, which the way to the other one may not be that of.
pub(crate) fn connect_from(end: End<'_>, to: SocketAddr, patience: Duration) -> std::io::Result<TcpStream> {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    end.netns
        .run(|| {
            let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
            bind(socket.as_raw_fd(), &SockaddrStorage::from(at(end.address, 0)))?;
            let timeout = TimeVal::milliseconds(i64::try_from(patience.as_millis()).unwrap());
            setsockopt(&socket, sockopt::SendTimeout, &timeout)?;
            connect(socket.as_raw_fd(), &SockaddrStorage::from(to))?;
            setsockopt(&socket, sockopt::SendTimeout, &TimeVal::seconds(0))?;
            Ok(TcpStream::from(socket))
        })
        .unwrap()
}

/// The server's port.
pub(crate) const PORT: u16 = 8080;

/// The three, open.
pub(crate) struct Talk {
    name: &'static str,
    download: Download,
    quiet: [TcpStream; 2],
    datagrams: [UdpSocket; 2],
    /// Bytes that were written to each end of the quiet one and are still to be read by the other.
    owed: usize,
    number: u64,
    _listener: TcpListener,
}

impl Talk {
    /// Opens them from `client` to `server`.
    pub(crate) fn open(name: &'static str, client: End<'_>, server: End<'_>) -> Self {
        Self::open_at(name, client, server, at(server.address, PORT))
    }

    /// The same, with the address that the client is to connect to: a service's. The exchange over UDP goes to the server itself.
    pub(crate) fn open_at(name: &'static str, client: End<'_>, server: End<'_>, front: SocketAddr) -> Self {
        let listener = server.netns.run(|| TcpListener::bind(at(server.address, PORT))).unwrap().unwrap();
        let connect = || {
            let stream = connect_from(client, front, SOON).unwrap_or_else(|error| panic!("{name}: {error}"));
            let (accepted, _) = listener.accept().unwrap();
            [stream, accepted]
        };
        let download = Download::start(connect());
        let quiet = connect();
        quiet.iter().for_each(|stream| stream.set_nodelay(true).unwrap());
        let asked = server.netns.run(|| UdpSocket::bind(at(server.address, PORT))).unwrap().unwrap();
        let asking = client.netns.run(|| UdpSocket::bind(at(client.address, 0))).unwrap().unwrap();
        let datagrams = [asking, asked];
        let mut talk = Self { name, download, quiet, datagrams, owed: 0, number: 0, _listener: listener };
        talk.goes_on();
        talk
    }

    /// All three go on; what was sent while they could not arrives now, with not a byte lost.
    #[track_caller]
    pub(crate) fn goes_on(&mut self) {
        self.download.goes_on(self.name);
        self.say();
        self.hear();
        self.ask();
    }

    /// A word each way on the quiet one.
    fn say(&mut self) {
        for stream in &mut self.quiet {
            stream.write_all(b"still here").unwrap();
        }
        self.owed += 10;
    }

    #[track_caller]
    fn hear(&mut self) {
        for stream in &mut self.quiet {
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            let mut heard = vec![0; self.owed];
            stream.read_exact(&mut heard).unwrap_or_else(|error| panic!("{}: nothing comes: {error}", self.name));
            assert_eq!(heard, b"still here".repeat(self.owed / 10));
        }
        self.owed = 0;
    }

    /// A question and its answer, each sent once more where nothing comes: datagrams may be lost, and connections judged in between.
    #[track_caller]
    fn ask(&mut self) {
        let [asking, asked] = &self.datagrams;
        for socket in [asking, asked] {
            socket.set_nonblocking(false).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        }
        let to = asked.local_addr().unwrap();
        for _ in 0..40 {
            self.number += 1;
            let question = self.number.to_be_bytes();
            asking.send_to(&question, to).unwrap();
            if heard(asked, question) {
                asked.send_to(&question, asking.local_addr().unwrap()).unwrap();
                if heard(asking, question) {
                    return;
                }
            }
        }
        panic!("{}: no answer over UDP", self.name);
    }

    /// All three have ended: nothing that is sent from now on arrives, for a second.
    #[track_caller]
    pub(crate) fn has_ended(&mut self) {
        self.say();
        let [asking, asked] = &self.datagrams;
        self.number += 1;
        let number = self.number.to_be_bytes();
        asking.send_to(&number, asked.local_addr().unwrap()).unwrap();
        let before = self.download.at_rest();
        thread::sleep(TARGET);
        assert_eq!(self.download.count(), before, "{}: the download goes on", self.name);
        for stream in &mut self.quiet {
            stream.set_nonblocking(true).unwrap();
            let read = stream.read(&mut [0; 16]);
            assert!(matches!(&read, Err(error) if error.kind() == ErrorKind::WouldBlock), "{}: {read:?}", self.name);
        }
        asked.set_nonblocking(true).unwrap();
        let mut datagram = [0; 16];
        while let Ok((length, _)) = asked.recv_from(&mut datagram) {
            assert_ne!(datagram[..length], number, "{}: over UDP", self.name);
        }
    }

    /// Whether the download has had nothing for a moment.
    pub(crate) fn is_quiet(&self) -> bool {
        let before = self.download.count();
        thread::sleep(Duration::from_millis(200));
        self.download.count() == before
    }

    /// Ends it; each byte that was sent has arrived.
    #[track_caller]
    pub(crate) fn finish(mut self) {
        self.goes_on();
        self.download.finish(self.name);
    }
}

/// Whether this datagram comes; others are older, and let go.
fn heard(socket: &UdpSocket, wanted: [u8; 8]) -> bool {
    let mut datagram = [0; 16];
    while let Ok((length, _)) = socket.recv_from(&mut datagram) {
        if datagram[..length] == wanted {
            return true;
        }
    }
    false
}

/// A server that sends a pattern until it is stopped, and a client that checks each byte.
struct Download {
    stop: Arc<AtomicBool>,
    read: Arc<AtomicU64>,
    streams: [TcpStream; 2],
    /// What each has sent or read.
    threads: Vec<JoinHandle<u64>>,
}

const CHUNK: u16 = 16 * 1024;

impl Download {
    fn start([client, server]: [TcpStream; 2]) -> Self {
        let (stop, read) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let streams = [client.try_clone().unwrap(), server.try_clone().unwrap()];
        let threads = vec![
            {
                let stop = Arc::clone(&stop);
                thread::spawn(move || send(server, &stop))
            },
            {
                let (stop, read) = (Arc::clone(&stop), Arc::clone(&read));
                thread::spawn(move || receive(client, &stop, &read))
            },
        ];
        Self { stop, read, streams, threads }
    }

    fn count(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    #[track_caller]
    fn goes_on(&self, name: &str) {
        let before = self.count();
        eventually(&format!("{name}: the download does not go on"), || self.count() > before + 64 * u64::from(CHUNK));
    }

    /// What was read once what had arrived is.
    fn at_rest(&self) -> u64 {
        let mut before = self.count();
        for _ in 0..20 {
            thread::sleep(Duration::from_millis(50));
            let now = self.count();
            if now == before {
                break;
            }
            before = now;
        }
        before
    }

    #[track_caller]
    fn finish(&mut self, name: &str) {
        self.stop.store(true, Ordering::Relaxed);
        let counted: Vec<u64> = self.threads.drain(..).map(|end| end.join().unwrap()).collect();
        assert_eq!(counted[0], counted[1], "{name}: sent and read");
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for stream in &self.streams {
            // Gone already where it has ended well.
            drop(stream.shutdown(Shutdown::Both));
        }
        for end in self.threads.drain(..) {
            drop(end.join());
        }
    }
}

fn send(mut stream: TcpStream, stop: &AtomicBool) -> u64 {
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        let chunk: Vec<u8> = (sent..sent + u64::from(CHUNK)).map(|byte| (byte % 251) as u8).collect();
        match stream.write_all(&chunk) {
            Ok(()) => sent += u64::from(CHUNK),
            Err(error) => assert!(stop.load(Ordering::Relaxed), "cannot send: {error}"),
        }
        thread::sleep(Duration::from_millis(2));
    }
    drop(stream.shutdown(Shutdown::Write));
    sent
}

fn receive(mut stream: TcpStream, stop: &AtomicBool, count: &AtomicU64) -> u64 {
    let (mut read, mut chunk) = (0, vec![0; usize::from(CHUNK)]);
    loop {
        let length = match stream.read(&mut chunk) {
            Ok(0) => return read,
            Ok(length) => length,
            Err(error) => {
                assert!(stop.load(Ordering::Relaxed), "cannot read: {error}");
                return read;
            }
        };
        for byte in &chunk[..length] {
            assert_eq!(u64::from(*byte), read % 251, "not what was sent");
            read += 1;
        }
        count.store(read, Ordering::Relaxed);
    }
}
