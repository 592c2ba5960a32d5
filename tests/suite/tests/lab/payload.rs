//! Payload that is copied of real connections: streams are put together again byte by byte, with super-packets and without.

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use chainkit_abi::{ObserverFilter, PIECE_BYTES, Piece, filter_bit, hook, protocol_bit, tcp as flags};
use chainkit_bpf::{Decision, Kit, Observer, ObserverSettings, Record, Skip, Stream};
use chainkit_lab::{Lab, Netns, Pod, PodSpec};

use crate::stage::{TCP, Watch, at, eventually, on_node};

/// What a reader has seen of one direction of a connection at one endpoint.
#[derive(Default)]
struct Side {
    /// Where the stream begins.
    begin: Option<u32>,
    /// Where it ends, from its begin.
    end: Option<u32>,
    /// What was copied, by place from the begin.
    bytes: BTreeMap<u32, Vec<u8>>,
    largest: u32,
}

impl Side {
    fn take(&mut self, piece: &Piece, bytes: &[u8]) {
        if piece.tcp_flags & flags::SYN != 0 {
            self.begin = Some(piece.sequence);
        }
        let begin = self.begin.unwrap();
        let place = piece.sequence.wrapping_sub(begin);
        if piece.tcp_flags & flags::FIN != 0 {
            self.end = Some((place - piece.offset) + piece.packet_length);
        }
        assert_eq!(piece.flags, 0, "at {place}");
        self.largest = self.largest.max(piece.packet_length);
        let there = self.bytes.entry(place).or_default();
        if there.len() < bytes.len() {
            *there = bytes.to_vec();
        }
    }

    /// The stream so far, up to the first gap: what was sent more than once is in it once.
    fn stream(&self) -> Vec<u8> {
        let mut whole = Vec::new();
        for (place, bytes) in &self.bytes {
            let place = *place as usize;
            if place > whole.len() {
                break;
            }
            let known = (whole.len() - place).min(bytes.len());
            whole.extend(&bytes[known..]);
        }
        whole
    }

    fn is_whole(&self) -> bool {
        self.end.is_some_and(|end| self.bytes.values().map(Vec::len).sum::<usize>() >= end as usize)
            && self.stream().len() == self.end.unwrap() as usize
    }
}

/// An observer of payload with what it has been told.
struct Copied {
    observer: Observer,
    sides: HashMap<(Stream, u8), Side>,
    records: u64,
}

impl Copied {
    fn start(watch: &Watch<'_>, ring_bytes: u32) -> Self {
        let filter =
            ObserverFilter { flags: filter_bit::PROTOCOLS, protocols: protocol_bit::TCP, ..ObserverFilter::default() };
        let mut observer =
            Observer::start(&watch.datapath, watch.lab.root(), ObserverSettings { ring_bytes, filter }).unwrap();
        observer.want_payload(&watch.datapath, 1024).unwrap();
        Self { observer, sides: HashMap::new(), records: 0 }
    }

    /// Reads what is there; of each connection that is new all is wanted from then on.
    fn read(&mut self) {
        let Self { observer, sides, records } = self;
        let mut new = Vec::new();
        *records += observer.read(usize::MAX, |record| {
            if let Record::Piece(piece, bytes) = record {
                let stream = Stream::of(piece);
                let side = sides.entry((stream, piece.hook)).or_insert_with(|| {
                    new.push(stream);
                    Side::default()
                });
                side.take(piece, bytes);
            }
        }) as u64;
        for stream in new {
            observer.decide(&stream, Decision::All(Skip::default())).unwrap();
        }
    }
}

/// Bytes that tell their place, from a generator of numbers (Marsaglia's xorshift).
fn noise(mut seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        bytes.extend(seed.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn offloads(netns: &Netns, interface: &str, to: &str) {
    let output = netns.command("ethtool").args(["-K", interface, "tso", to, "gso", to, "gro", to]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A connection from one pod to another: both ends.
fn connected(from: &Pod, to: &Pod, address: SocketAddr) -> (TcpStream, TcpStream) {
    let listener = to.run(|| TcpListener::bind(address).unwrap()).unwrap();
    let peer = listener.local_addr().unwrap();
    let client = from.run(|| TcpStream::connect(peer).unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// Sends all of a stream while the other end's is received, and both ends close; what was received.
fn exchange(mut stream: TcpStream, sends: &[u8]) -> Vec<u8> {
    let mut reader = stream.try_clone().unwrap();
    thread::scope(|scope| {
        let received = scope.spawn(move || {
            let mut received = Vec::new();
            reader.read_to_end(&mut received).unwrap();
            received
        });
        stream.write_all(sends).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        received.join().unwrap()
    })
}

fn streams_are_rebuilt(lab: &Lab, offloading: &str, v6: bool) {
    const LENGTH: usize = 4 << 20;
    let [cart, web] = ["cart", "web"].map(|name| {
        let pod = PodSpec::new("shop", name);
        lab.pod_of(&if v6 { pod.ipv6() } else { pod }).unwrap()
    });
    for pod in [&cart, &web] {
        offloads(pod.netns(), "eth0", offloading);
        offloads(lab.node(), &pod.host_ifname, offloading);
    }
    let watch = Watch::start(lab, &[&cart, &web], Kit::best());
    let mut copied = Copied::start(&watch, 128 << 20);
    let address = web.ip6.map_or_else(|| at(web.ip4, 0), |address| at(address, 0));
    let (client, server) = connected(&cart, &web, address);
    let (question, answer) = (noise(1, LENGTH), noise(2, LENGTH + 12345));
    // Decided before either direction is past its budget.
    eventually("the begin of the connection is not told", || {
        copied.read();
        copied.sides.len() == 4
    });
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let served = scope.spawn(|| exchange(server, &answer));
        let asked = scope.spawn(|| {
            let heard = exchange(client, &question);
            done.store(true, Ordering::Release);
            heard
        });
        while !done.load(Ordering::Acquire) {
            copied.read();
            thread::yield_now();
        }
        assert!(asked.join().unwrap() == answer && served.join().unwrap() == question, "the transfer itself failed");
    });
    eventually("a stream is not whole", || {
        copied.read();
        copied.sides.values().all(Side::is_whole)
    });
    let losses = copied.observer.losses().unwrap();
    assert_eq!((losses.sent, losses.lost, losses.pauses), (copied.records, 0, 0));
    // Two endpoints met it, each both ways.
    assert_eq!(copied.sides.len(), 4);
    let mut largest = 0;
    for pod in [&cart, &web] {
        let conn = watch.connections(pod).into_iter().find(|conn| conn.protocol == TCP).unwrap();
        for side in [hook::FROM_POD, hook::TO_POD] {
            let is_this = |(stream, met): &&(Stream, u8)| *met == side && *stream == Stream::of_connection(&conn);
            let key = copied.sides.keys().find(is_this).unwrap();
            let told = &copied.sides[key];
            let sent =
                if (pod.host_ifindex == cart.host_ifindex) == (side == hook::FROM_POD) { &question } else { &answer };
            assert!(told.stream() == *sent, "hook {side} of {} has another stream", pod.host_ifname);
            largest = largest.max(told.largest);
        }
    }
    match offloading {
        "on" => assert!(largest > 2 * PIECE_BYTES, "no super-packet was met: the test shows nothing"),
        _ => assert!(largest < 9001, "a super-packet was met in spite of all"),
    }
}

#[test]
fn streams_of_super_packets_are_rebuilt_byte_by_byte() {
    on_node(|lab| streams_are_rebuilt(lab, "on", false));
}

#[test]
fn streams_over_ipv6_are_rebuilt_byte_by_byte() {
    on_node(|lab| streams_are_rebuilt(lab, "on", true));
}

#[test]
fn streams_without_offloads_are_rebuilt_byte_by_byte() {
    on_node(|lab| streams_are_rebuilt(lab, "off", false));
}

#[test]
fn a_body_that_is_skipped_costs_nothing_and_what_follows_is_whole() {
    on_node(|lab| {
        const BODY: u32 = 2 << 20;
        let (cart, web) = (lab.pod("shop", "cart").unwrap(), lab.pod("shop", "web").unwrap());
        let watch = Watch::start(lab, &[&cart, &web], Kit::best());
        let mut copied = Copied::start(&watch, 16 << 20);
        let (mut client, mut server) = connected(&cart, &web, at(web.ip4, 0));
        server.write_all(b"head").unwrap();
        let heads = |copied: &Copied| copied.sides.values().filter(|side| side.stream() == b"head").count();
        eventually("the head is not copied", || {
            copied.read();
            heads(&copied) == 2
        });
        for ((stream, met), side) in &copied.sides {
            let until = Some(side.begin.unwrap().wrapping_add(4 + BODY));
            let skip = match *met {
                hook::FROM_POD => Skip { from_pod: until, to_pod: None },
                _ => Skip { from_pod: None, to_pod: until },
            };
            if side.stream() == b"head" {
                copied.observer.decide(stream, Decision::All(skip)).unwrap();
            }
        }
        let before = copied.observer.losses().unwrap().sent;
        let sending = thread::spawn(move || {
            server.write_all(&noise(3, BODY as usize)).unwrap();
            server.write_all(b"tail").unwrap();
            server
        });
        let mut received = vec![0; 4 + BODY as usize + 4];
        client.read_exact(&mut received).unwrap();
        let server = sending.join().unwrap();
        let tail = |side: &Side| {
            let (place, bytes) = side.bytes.iter().next_back().unwrap();
            *place as usize + bytes.len() == 4 + BODY as usize + 4 && bytes.ends_with(b"tail")
        };
        eventually("what follows is not copied", || {
            copied.read();
            copied.sides.values().filter(|side| !side.bytes.is_empty() && tail(side)).count() == 2
        });
        for side in copied.sides.values().filter(|side| tail(side)) {
            let kept: usize = side.bytes.values().map(Vec::len).sum();
            assert!(kept <= 64, "{kept} bytes of head and tail");
        }
        let sent = copied.observer.losses().unwrap().sent - before;
        assert!(sent < 50, "{sent} records for what is skipped");
        drop((client, server));
    });
}
