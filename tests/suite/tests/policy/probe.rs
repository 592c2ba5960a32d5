//! Single questions: whether what is new gets through.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use chainkit_lab::Netns;
use chainkit_lab::peer::{Server, tcp, udp};
use nix::errno::Errno;

use crate::stage::{SOON, at};
use crate::talk::{End, connect_from};

/// How long what must not be answered is waited for; a SYN is sent again within it.
const SILENCE: Duration = Duration::from_millis(1500);

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It got through, and the answer too.
    Answered,
    /// Nothing came.
    Silent,
    /// It was told to go away.
    Refused,
}

/// A server that sends back what it is sent, over TCP and UDP on one port, and on each address of an end.
pub(crate) fn echo(end: End<'_>, port: u16) -> [Server; 2] {
    end.netns.run(|| [tcp::echo(at(end.address, port)).unwrap(), udp::echo(at(end.address, port)).unwrap()]).unwrap()
}

/// Whether a TCP server that sends back what it gets does so.
pub(crate) fn tcp(from: End<'_>, to: SocketAddr, patience: Duration) -> Answer {
    match connect_from(from, to, patience) {
        Ok(mut stream) => {
            stream.set_read_timeout(Some(SOON)).unwrap();
            stream.write_all(b"hello").unwrap();
            let mut heard = [0; 5];
            stream.read_exact(&mut heard).unwrap_or_else(|error| panic!("{to}: accepted, and then {error}"));
            assert_eq!(&heard, b"hello");
            Answer::Answered
        }
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Answer::Refused,
        Err(error) => {
            let timed_out = [Errno::EINPROGRESS, Errno::EAGAIN, Errno::ETIMEDOUT];
            let errno = error.raw_os_error().map(Errno::from_raw);
            assert!(errno.is_some_and(|errno| timed_out.contains(&errno)), "{to}: {error}");
            Answer::Silent
        }
    }
}

/// Whether a UDP server that sends back what it gets does so; asked again and again.
pub(crate) fn udp(from: End<'_>, to: SocketAddr, length: usize, patience: Duration) -> Answer {
    let socket = from.netns.run(|| UdpSocket::bind(at(from.address, 0))).unwrap().unwrap();
    // Connected, so that it is told of ICMP errors.
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let question: Vec<u8> = (0..length).map(|byte| u8::try_from(byte % 251).unwrap()).collect();
    let mut heard = vec![0; length + 1];
    let begun = Instant::now();
    while begun.elapsed() < patience {
        // What an ICMP error said of the one before is told here.
        if let Err(error) = socket.send(&question) {
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{to}: {error}");
            return Answer::Refused;
        }
        match socket.recv(&mut heard) {
            Ok(got) => {
                assert_eq!(heard[..got], question);
                return Answer::Answered;
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Answer::Refused,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{to}: {error}"),
        }
    }
    Answer::Silent
}

/// TCP and UDP get through.
#[track_caller]
pub(crate) fn reaches(from: End<'_>, to: SocketAddr) {
    assert_eq!((tcp(from, to, SOON), udp(from, to, 8, SOON)), (Answer::Answered, Answer::Answered), "{to}");
}

/// Neither gets through.
#[track_caller]
pub(crate) fn does_not_reach(from: End<'_>, to: SocketAddr) {
    assert_eq!((tcp(from, to, SILENCE), udp(from, to, 8, SILENCE)), (Answer::Silent, Answer::Silent), "{to}");
}

/// TCP gets through.
#[track_caller]
pub(crate) fn connects(from: End<'_>, to: SocketAddr) {
    assert_eq!(tcp(from, to, SOON), Answer::Answered, "{to}");
}

/// TCP gets no answer.
#[track_caller]
pub(crate) fn is_silent(from: End<'_>, to: SocketAddr) {
    assert_eq!(tcp(from, to, SILENCE), Answer::Silent, "{to}");
}

/// Large datagrams, which go in fragments, get through or not.
#[track_caller]
pub(crate) fn large(from: End<'_>, to: SocketAddr, expected: Answer) {
    const LENGTH: usize = 30_000;
    let patience = if expected == Answer::Answered { SOON } else { SILENCE };
    assert_eq!(udp(from, to, LENGTH, patience), expected, "{to}");
}

/// Whether an echo request is answered.
pub(crate) fn pings(from: &Netns, to: std::net::IpAddr) -> bool {
    let output = from.command("ping").args(["-n", "-c", "1", "-W", "1", &to.to_string()]).output().unwrap();
    assert_ne!(output.status.code(), Some(127), "ping is missing");
    output.status.success()
}
