//! A pcap file that a test has made, as pieces of payload: in the order of the wire, and in ways that a network may have brought them.

use std::collections::HashMap;
use std::fs::File;
use std::net::{IpAddr, SocketAddr};

use chainkit_l7::{Connections, Content, Kind, Message, Options, Piece, Side, Transport};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use pcap_file::pcap::PcapReader;

/// A packet with payload, or with something to say of its connection.
#[derive(Clone, Debug)]
struct Packet {
    connection: (u8, SocketAddr, SocketAddr),
    from: Side,
    seq: u32,
    syn: bool,
    fin: bool,
    rst: bool,
    bytes: Vec<u8>,
}

pub(crate) struct Capture {
    packets: Vec<Packet>,
}

impl Capture {
    /// Reads what was captured at the interface of the pod with this address.
    pub(crate) fn read(path: &str, local: IpAddr) -> Self {
        let mut reader = PcapReader::new(File::open(path).unwrap()).unwrap();
        let mut packets = Vec::new();
        while let Some(packet) = reader.next_packet() {
            packets.extend(Packet::read(&packet.unwrap().data, local));
        }
        assert!(!packets.is_empty(), "nothing was captured");
        Self { packets }
    }

    /// What the decoders tell of it.
    pub(crate) fn lines(&self) -> Vec<String> {
        decode(self.packets.iter())
    }

    /// What they tell where each segment comes in pieces of `length` bytes, neighbours of one direction change places, and every third one
    /// comes twice.
    pub(crate) fn lines_disturbed(&self, length: usize) -> Vec<String> {
        let mut all: Vec<Packet> = Vec::new();
        for packet in &self.packets {
            if packet.connection.0 == UDP || packet.bytes.is_empty() {
                all.push(packet.clone());
                continue;
            }
            let mut cut: Vec<Packet> = Vec::new();
            for (number, bytes) in packet.bytes.chunks(length).enumerate() {
                let before = u32::try_from(number * length).unwrap();
                let is_last = before as usize + bytes.len() == packet.bytes.len();
                cut.push(Packet {
                    seq: packet.seq.wrapping_add(before),
                    fin: packet.fin && is_last,
                    bytes: bytes.to_vec(),
                    ..packet.clone()
                });
            }
            for pair in cut.chunks_exact_mut(2) {
                pair.swap(0, 1);
            }
            for (number, piece) in cut.iter().enumerate() {
                all.push(piece.clone());
                if number % 3 == 0 {
                    all.push(cut[number / 2].clone());
                }
            }
        }
        decode(all.iter())
    }

    /// What they tell without the first `count` packets that bear bytes of TCP: the connection is joined on its way.
    pub(crate) fn lines_joined_after(&self, count: usize) -> Vec<String> {
        let mut left = count;
        decode(self.packets.iter().filter(|packet| {
            let counts = packet.connection.0 == TCP;
            let is_gone = counts && left > 0;
            left -= usize::from(is_gone && !packet.bytes.is_empty());
            !is_gone
        }))
    }
}

const TCP: u8 = 6;
const UDP: u8 = 17;

impl Packet {
    fn read(frame: &[u8], local: IpAddr) -> Option<Self> {
        let sliced = SlicedPacket::from_ethernet(frame).unwrap();
        let (source, destination): (IpAddr, IpAddr) = match sliced.net? {
            NetSlice::Ipv4(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            NetSlice::Ipv6(ip) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
            NetSlice::Arp(_) => return None,
        };
        let from = if source == local { Side::Local } else { Side::Remote };
        let ends = |source_port, destination_port| {
            let (source, destination) =
                (SocketAddr::new(source, source_port), SocketAddr::new(destination, destination_port));
            if from == Side::Local { (source, destination) } else { (destination, source) }
        };
        match sliced.transport? {
            TransportSlice::Tcp(tcp) => {
                let (local, remote) = ends(tcp.source_port(), tcp.destination_port());
                let (syn, fin, rst) = (tcp.syn(), tcp.fin(), tcp.rst());
                let bytes = tcp.payload().to_vec();
                let says = syn || fin || rst || !bytes.is_empty();
                let connection = (TCP, local, remote);
                says.then_some(Self { connection, from, seq: tcp.sequence_number(), syn, fin, rst, bytes })
            }
            TransportSlice::Udp(udp) => {
                let (local, remote) = ends(udp.source_port(), udp.destination_port());
                let bytes = udp.payload().to_vec();
                Some(Self { connection: (UDP, local, remote), from, seq: 0, syn: false, fin: false, rst: false, bytes })
            }
            _ => None,
        }
    }
}

/// What the decoders tell of these packets, in their order.
fn decode<'a>(packets: impl Iterator<Item = &'a Packet>) -> Vec<String> {
    let mut connections = Connections::new(Options::default());
    let mut messages = Vec::new();
    // What is of one connection after another of the same ends is told apart by what begins it.
    let mut births: HashMap<_, u32> = HashMap::new();
    let mut time_ns = 1_000_000;
    for packet in packets {
        time_ns += 1_000;
        let birth = births.entry(packet.connection).or_default();
        let key = (packet.connection, *birth);
        let transport = if packet.connection.0 == TCP { Transport::Tcp } else { Transport::Udp };
        let Packet { from, seq, syn, fin, rst, ref bytes, .. } = *packet;
        connections.piece(key, &Piece { from, transport, seq, time_ns, syn, fin, rst, bytes }, &mut messages);
    }
    let mut rest = Vec::new();
    connections.finish(time_ns, &mut rest);
    messages.extend(rest.into_iter().map(|(_, message)| message));
    messages.iter().map(line).collect()
}

/// A message in a line, as [`super::line`] has it of a flow.
fn line(message: &Message) -> String {
    let arrow = if message.kind == Kind::Request { '>' } else { '<' };
    let partial = if message.partial { "~" } else { "" };
    let rest = match &message.content {
        Content::Http(http) => {
            let grpc = http.grpc.as_ref().and_then(|grpc| grpc.status);
            let status = grpc.map_or(String::new(), |status| format!(" status {status}"));
            let body = message.body_bytes.map_or("?".to_owned(), |bytes| bytes.to_string());
            format!("{} {} {} {body}{status}", http.code, http.method, http.url)
        }
        Content::Dns(dns) => {
            let ips: Vec<String> = dns.ips.iter().map(ToString::to_string).collect();
            let (qtypes, rrtypes) = (dns.qtypes.join(","), dns.rrtypes.join(","));
            format!("{} {} {qtypes} {rrtypes} {}", dns.rcode, dns.query, ips.join(","))
        }
        Content::Tls(tls) => format!("{} {} {}", tls.sni, tls.alpn.join(","), tls.version),
    };
    format!("{arrow}{partial} {} {rest}", message.protocol.name())
}
