//! Probes: each pod asks each other one whether it may talk to it, all at the same time, and what is answered is allowed.
//!
//! An answer comes at once, and silence is known by waiting. So a probe that is to stay silent is given [`WINDOW`], or twice what the slowest answer
//! took where that is more (an emulated machine), and is sent twice within it; a probe that is to be answered is given
//! [`PATIENCE`], and sent again and again.

use std::fmt;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chainkit_lab::Pod;
use chainkit_policy::Transport;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Socket, Type};

use crate::answer::{PORTS, addresses, there};
use crate::sctp::Wire;

/// How long a probe has to stay silent to count as denied.
const WINDOW: Duration = Duration::from_millis(300);
/// After this a probe is sent again, and then after twice as long each time.
const AGAIN: Duration = Duration::from_millis(100);
/// How long a probe that is to be answered is waited for, before all are asked anew.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many bits of a tag say which of a pod's 108 probes it is of, and which attempt.
const PLACE_BITS: u32 = 7;
const ATTEMPT_BITS: u32 = 5;

/// Whether one pod may talk to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    /// `NAMESPACE/NAME` of who asks.
    pub(crate) from: &'static str,
    /// `NAMESPACE/NAME` of who is asked.
    pub(crate) to: &'static str,
    pub(crate) transport: Transport,
    pub(crate) source: IpAddr,
    pub(crate) destination: SocketAddr,
}

impl Probe {
    pub(crate) fn port(&self) -> u16 {
        self.destination.port()
    }

    pub(crate) fn ipv4(&self) -> bool {
        self.source.is_ipv4()
    }

    pub(crate) fn tcp(&self) -> bool {
        self.transport == Transport::Tcp
    }

    pub(crate) fn udp(&self) -> bool {
        self.transport == Transport::Udp
    }

    pub(crate) fn sctp(&self) -> bool {
        self.transport == Transport::Sctp
    }

    /// Whether who asks is in one of these namespaces (`y`) or one of these pods (`y/a`).
    pub(crate) fn is_from(&self, any: &[&str]) -> bool {
        is_any(self.from, any)
    }

    /// The same of who is asked.
    pub(crate) fn is_to(&self, any: &[&str]) -> bool {
        is_any(self.to, any)
    }
}

fn is_any(pod: &str, any: &[&str]) -> bool {
    any.iter().any(|of| pod == *of || pod.split_once('/').is_some_and(|(namespace, _)| namespace == *of))
}

impl fmt::Display for Probe {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} -> {} {} {} over {}", self.from, self.to, self.transport, self.port(), self.version())
    }
}

impl Probe {
    fn version(&self) -> &'static str {
        if self.ipv4() { "IPv4" } else { "IPv6" }
    }
}

/// All probes of all pairs of these pods, by who asks.
pub(crate) fn probes(names: &[&'static str], pods: &[Pod]) -> Vec<Vec<Probe>> {
    let pairs = |from: usize| (0..pods.len()).map(move |to| (from, to));
    let of = |(from, to): (usize, usize)| {
        let ends = addresses(&pods[from]).into_iter().zip(addresses(&pods[to]));
        ends.flat_map(move |(source, address)| {
            [Transport::Tcp, Transport::Udp, Transport::Sctp].into_iter().flat_map(move |transport| {
                PORTS.map(|port| Probe {
                    from: names[from],
                    to: names[to],
                    transport,
                    source,
                    destination: SocketAddr::new(address, port),
                })
            })
        })
    };
    (0..pods.len()).map(|from| pairs(from).flat_map(of).collect()).collect()
}

/// What was answered: when the probe was sent that got it, which is when it was let through, however long the way back took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) sent: Instant,
    /// That was not the first time.
    pub(crate) again: bool,
}

/// Sends all probes at the same time; what each was answered, if it was.
///
/// `pods`, `probes` and `expected` are by who asks; `expected` says which are to be answered.
pub(crate) fn ask(pods: &[Pod], probes: &[Vec<Probe>], expected: &[Vec<bool>]) -> Vec<Vec<Option<Answer>>> {
    static ROUND: AtomicU32 = AtomicU32::new(1);
    let round = ROUND.fetch_add(1, Ordering::Relaxed);
    thread::scope(|scope| {
        let askers: Vec<_> = pods
            .iter()
            .zip(probes.iter().zip(expected))
            .map(|(pod, (probes, expected))| {
                scope.spawn(move || pod.run(|| Asker::new(round, addresses(pod), probes).run(expected)).unwrap())
            })
            .collect();
        askers.into_iter().map(|asker| asker.join().unwrap()).collect()
    })
}

/// What one pod asks with.
struct Asker<'a> {
    /// Tells these probes from all others.
    round: u32,
    probes: &'a [Probe],
    /// When each was sent, the first time and again.
    sent: Vec<Vec<Instant>>,
    answered: Vec<Option<Answer>>,
    slowest: Duration,
    /// Connections that are being opened, each with the place of its probe and the number of the attempt.
    tcp: Vec<(usize, usize, Socket)>,
    /// For IPv4, then for IPv6.
    udp: [UdpSocket; 2],
    sctp: [Wire; 2],
}

impl<'a> Asker<'a> {
    fn new(round: u32, addresses: [IpAddr; 2], probes: &'a [Probe]) -> Self {
        let udp = addresses.map(|address| UdpSocket::bind((address, 0)).unwrap());
        udp.iter().for_each(|socket| socket.set_nonblocking(true).unwrap());
        let sctp = addresses.map(Wire::open);
        Self {
            round,
            probes,
            sent: vec![Vec::new(); probes.len()],
            answered: vec![None; probes.len()],
            slowest: Duration::ZERO,
            tcp: Vec::new(),
            udp,
            sctp,
        }
    }

    fn run(mut self, expected: &[bool]) -> Vec<Option<Answer>> {
        let begun = Instant::now();
        let (mut next, mut pause) = (begun, AGAIN);
        loop {
            let now = Instant::now();
            if now >= next {
                self.send();
                next = now + pause;
                pause *= 2;
            }
            self.hear();
            let window = WINDOW.max(2 * self.slowest);
            let complete =
                self.answered.iter().zip(expected).all(|(answered, expected)| answered.is_some() || !expected);
            if begun.elapsed() >= if complete { window } else { PATIENCE } {
                return self.answered;
            }
        }
    }

    /// Sends each probe that has no answer yet.
    fn send(&mut self) {
        for (place, probe) in self.probes.iter().enumerate() {
            if self.answered[place].is_some() {
                continue;
            }
            let attempt = self.sent[place].len();
            self.sent[place].push(Instant::now());
            let of_family = usize::from(!probe.ipv4());
            match probe.transport {
                Transport::Tcp => self.tcp.push((place, attempt, connecting(probe))),
                Transport::Udp => {
                    let tag = self.tag(place, attempt).to_be_bytes();
                    match self.udp[of_family].send_to(&tag, probe.destination) {
                        Ok(_) => {}
                        // Lost to a full queue, and sent again.
                        Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => {}
                        Err(error) => panic!("{probe}: {error}"),
                    }
                }
                Transport::Sctp => {
                    let source_port = 32_768 + u16::try_from(self.round % 32_768).unwrap();
                    let tag = self.tag(place, attempt);
                    self.sctp[of_family].init(probe.destination.ip(), source_port, probe.port(), tag);
                }
                Transport::Other => unreachable!("it has no ports"),
            }
        }
    }

    /// What a probe bears, and its answer too; never 0, which no INIT may bear.
    fn tag(&self, place: usize, attempt: usize) -> u32 {
        let number = place << ATTEMPT_BITS | attempt;
        assert!(place < 1 << PLACE_BITS && attempt < 1 << ATTEMPT_BITS);
        self.round << (PLACE_BITS + ATTEMPT_BITS) | u32::try_from(number).unwrap()
    }

    /// Place and attempt of the probe that bore this, if it was of this round.
    fn untag(&self, tag: u32) -> Option<(usize, usize)> {
        let number = usize::try_from(tag).unwrap();
        let (place, attempt) = (number >> ATTEMPT_BITS & ((1 << PLACE_BITS) - 1), number & ((1 << ATTEMPT_BITS) - 1));
        (tag >> (PLACE_BITS + ATTEMPT_BITS) == self.round).then_some((place, attempt))
    }

    /// The first answer to a probe counts.
    fn answer(&mut self, place: usize, attempt: usize) {
        let sent = self.sent[place][attempt];
        if self.answered[place].is_none() {
            self.answered[place] = Some(Answer { sent, again: attempt > 0 });
            self.slowest = self.slowest.max(sent.elapsed());
        }
    }

    /// Takes in the answers that come within a moment.
    fn hear(&mut self) {
        const MILLISECONDS: u8 = 10;
        let tcp = self.tcp.iter().map(|(.., socket)| PollFd::new(socket.as_fd(), PollFlags::POLLOUT));
        let udp = self.udp.iter().map(AsFd::as_fd);
        let others = udp.chain(self.sctp.iter().map(|wire| wire.socket().as_fd()));
        let mut all: Vec<PollFd<'_>> = tcp.chain(others.map(|socket| PollFd::new(socket, PollFlags::POLLIN))).collect();
        poll(&mut all, PollTimeout::from(MILLISECONDS)).unwrap();
        let is_ready: Vec<bool> = all.iter().map(|socket| socket.any().unwrap()).collect();
        let mut got = Vec::new();
        for ((place, attempt, socket), _) in self.tcp.iter().zip(is_ready).filter(|(_, is_ready)| *is_ready) {
            let error = socket.take_error().unwrap();
            assert!(error.is_none(), "{}: {error:?}: neither an answer nor silence", self.probes[*place]);
            got.push((*place, *attempt));
        }
        let mut bytes = [0; 64];
        for socket in &self.udp {
            while let Some((length, from)) = there(socket.recv_from(&mut bytes)) {
                let tag = u32::from_be_bytes(bytes[..length].try_into().unwrap());
                // A port may have been another socket's in the round before.
                let Some((place, attempt)) = self.untag(tag) else { continue };
                assert_eq!(from, self.probes[place].destination);
                got.push((place, attempt));
            }
        }
        for wire in &self.sctp {
            while let Some(packet) = wire.receive() {
                // It also meets the INITs of others, and what is left of earlier rounds.
                let Some((place, attempt)) = self.untag(packet.tag).filter(|_| !packet.is_init) else { continue };
                let probe = &self.probes[place];
                assert_eq!(SocketAddr::new(packet.from, packet.source_port), probe.destination, "{probe}");
                got.push((place, attempt));
            }
        }
        for (place, attempt) in got {
            self.answer(place, attempt);
        }
        let answered = &self.answered;
        self.tcp.retain(|(place, ..)| answered[*place].is_none());
    }
}

/// A connection of which the first segment is on its way; closing it leaves nothing behind.
fn connecting(probe: &Probe) -> Socket {
    let domain = if probe.ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), None).unwrap();
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    socket.bind(&SocketAddr::new(probe.source, 0).into()).unwrap();
    match socket.connect(&probe.destination.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(Errno::EINPROGRESS as i32) => {}
        Err(error) => panic!("{probe}: {error}"),
    }
    socket
}
