//! Two pods of any runtime talk every protocol, both ways; what `flowdump` says of it is asserted.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use chainkit_lab::peer::{tcp, udp};
use chainkit_lab::{Lab, Netns};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, sendto, socket,
};
use serde_json::Value;
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use crate::dump::{Dump, flows};
use crate::stage::{at, eventually};

/// Protocol number of SCTP.
const SCTP: u8 = 132;
/// Ports of the packets made by hand.
const SCTP_PORTS: (u16, u16) = (36412, 38412);

/// One side of the talk.
pub(crate) struct Side<'a> {
    pub(crate) netns: &'a Netns,
    pub(crate) addresses: &'a [IpAddr],
}

/// Has the client speak to the server in TCP, UDP, echo requests and SCTP, in each family that both have; returns the flows that
/// `flowdump`, started without `--attach`, has shown meanwhile.
pub(crate) fn talk(lab: &Lab, client: &Side<'_>, server: &Side<'_>) -> Vec<Value> {
    let dump = Dump::start(lab, &["-j"]);
    let mut wanted = Vec::new();
    for to in server.addresses {
        let Some(from) = client.addresses.iter().find(|address| address.is_ipv4() == to.is_ipv4()) else { continue };
        speak_tcp(client.netns, server.netns, *to);
        speak_udp(client.netns, server.netns, *to);
        ping(client.netns, *to);
        client.netns.run(|| send_sctp(*from, *to)).unwrap();
        let echo = if to.is_ipv4() { "ICMPv4" } else { "ICMPv6" };
        wanted.extend(["TCP", "UDP", "SCTP", echo].map(|protocol| (*from, *to, protocol)));
    }
    assert!(!wanted.is_empty(), "no family in common");
    let mut seen = Vec::new();
    eventually("flowdump does not show what was spoken", || {
        // The last line may not be whole yet.
        let text = dump.running.stdout();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        seen = flows(whole);
        wanted.iter().all(|(from, to, protocol)| {
            ["FROM_ENDPOINT", "TO_ENDPOINT"].iter().all(|point| find(&seen, point, *from, *to, protocol).is_some())
        })
    });
    dump.interrupt();
    seen
}

/// The first flow from one address to another that was seen at this point in this protocol.
pub(crate) fn find<'a>(flows: &'a [Value], point: &str, from: IpAddr, to: IpAddr, protocol: &str) -> Option<&'a Value> {
    flows.iter().find(|flow| {
        flow["trace_observation_point"] == point
            && flow["IP"]["source"] == from.to_string()
            && flow["IP"]["destination"] == to.to_string()
            && flow["l4"][protocol].is_object()
    })
}

fn speak_tcp(client: &Netns, server: &Netns, to: IpAddr) {
    let echo = server.run(|| tcp::echo(at(to, 0))).unwrap().unwrap();
    let mut stream = client.run(|| TcpStream::connect(echo.address())).unwrap().unwrap();
    stream.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
}

fn speak_udp(client: &Netns, server: &Netns, to: IpAddr) {
    let sink = server.run(|| udp::sink(at(to, 0))).unwrap().unwrap();
    let any: SocketAddr = if to.is_ipv4() { at(Ipv4Addr::UNSPECIFIED, 0) } else { at(Ipv6Addr::UNSPECIFIED, 0) };
    let socket = client.run(|| std::net::UdpSocket::bind(any)).unwrap().unwrap();
    socket.send_to(b"hello", sink.address()).unwrap();
    eventually("a datagram does not arrive", || sink.served() == 1);
}

pub(crate) fn ping(from: &Netns, to: IpAddr) {
    let mut command = from.command("ping");
    let output = command.args(["-c", "1", "-W", "30"]).arg(to.to_string()).output().unwrap();
    assert!(output.status.success(), "{to}: {}", String::from_utf8_lossy(&output.stdout));
}

/// Sends an INIT (RFC 9260, section 3.3.2) in a packet made by hand; this kernel need not know SCTP. The checksum is left out, since nobody
/// on the way reads it.
fn send_sctp(from: IpAddr, to: IpAddr) {
    let mut segment = Vec::new();
    segment.extend(SCTP_PORTS.0.to_be_bytes());
    segment.extend(SCTP_PORTS.1.to_be_bytes());
    // Verification tag and checksum; then chunk type 1, no flags, length 20: tag, window, streams out and in, TSN.
    segment.extend([0; 8]);
    segment.extend([1, 0, 0, 20, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
    let length = u16::try_from(segment.len()).unwrap();
    let mut packet = Vec::new();
    // With the protocol RAW the header in front is part of what is sent; the kernel fills in the checksum of IPv4's.
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            packet.extend([0x45, 0]);
            packet.extend((20 + length).to_be_bytes());
            packet.extend([0, 0, 0, 0, 64, SCTP, 0, 0]);
            packet.extend(from.octets());
            packet.extend(to.octets());
            packet.extend(segment);
            let raw = socket(AddressFamily::Inet, SockType::Raw, SockFlag::empty(), Some(SockProtocol::Raw)).unwrap();
            let place = SockaddrIn::from(std::net::SocketAddrV4::new(to, 0));
            sendto(raw.as_raw_fd(), &packet, &place, MsgFlags::empty()).unwrap();
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            packet.extend([0x60, 0, 0, 0]);
            packet.extend(length.to_be_bytes());
            packet.extend([SCTP, 64]);
            packet.extend(from.octets());
            packet.extend(to.octets());
            packet.extend(segment);
            let raw = socket(AddressFamily::Inet6, SockType::Raw, SockFlag::empty(), Some(SockProtocol::Raw)).unwrap();
            let place = SockaddrIn6::from(std::net::SocketAddrV6::new(to, 0, 0, 0));
            sendto(raw.as_raw_fd(), &packet, &place, MsgFlags::empty()).unwrap();
        }
        _ => unreachable!("two families"),
    }
}
