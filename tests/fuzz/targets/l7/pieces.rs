//! What all targets of application protocols share: input becomes pieces of a connection.
#![allow(dead_code, reason = "not each target speaks over each transport")]

use chainkit_l7::{Connections, Content, Message, Options, Piece, Side, Transport};

const MEMORY: usize = 256 << 10;
/// What a piece begins with: who sends it, what is done to it, and its length in two bytes.
pub const HEADER: usize = 4;

/// As pieces of a stream.
pub fn tcp(input: &[u8]) {
    pieces(input, Transport::Tcp);
}

/// As pieces of a stream, and as datagrams.
pub fn both(input: &[u8]) {
    tcp(input);
    udp(input);
}

/// As datagrams.
pub fn udp(input: &[u8]) {
    pieces(input, Transport::Udp);
}

fn pieces(input: &[u8], transport: Transport) {
    let options = Options { memory: MEMORY, connection_memory: 16 << 10, ..Options::default() };
    let mut connections = Connections::new(options);
    let mut out = Vec::new();
    let mut next = [1u32, 1];
    for (syn, from) in [(true, Side::Local), (true, Side::Remote)] {
        let piece =
            Piece { from, transport: Transport::Tcp, seq: 0, time_ns: 0, syn, fin: false, rst: false, bytes: &[] };
        if transport == Transport::Tcp {
            connections.piece(1u8, &piece, &mut out);
        }
    }
    let mut rest = input;
    let mut time_ns = 0;
    while let Some((&[who, what, high, low], after)) = rest.split_first_chunk::<HEADER>() {
        let length = usize::from(u16::from_be_bytes([high, low])).min(after.len());
        let (bytes, after) = after.split_at(length);
        rest = after;
        time_ns += 1_000_000;
        let from = if who & 1 == 0 { Side::Local } else { Side::Remote };
        let next = &mut next[usize::from(who & 1)];
        // Most are in order; some come early, some again, and some are lost.
        let seq = match what & 0x0f {
            1 => next.wrapping_add(u32::from(what >> 4)),
            2 => next.wrapping_sub(u32::from(what >> 4)),
            _ => *next,
        };
        if what & 0x0f != 1 {
            *next = next.wrapping_add(length as u32 + if what & 0x0f == 3 { u32::from(what >> 4) } else { 0 });
        }
        let key = u8::from(who & 0xfe == 0x80);
        let piece =
            Piece { from, transport, seq, time_ns, syn: false, fin: what & 0x0f == 4, rst: what & 0x0f == 5, bytes };
        let advice = connections.piece(key, &piece, &mut out);
        assert!(!advice.not_l7 || advice.skip_until == Default::default());
        assert!(connections.memory() <= MEMORY, "{} bytes of memory", connections.memory());
        if what & 0x0f == 6 {
            // Long enough for what goes on to be told by its head, and for what is missing to be given up.
            time_ns += 4_000_000_000;
            let mut told = Vec::new();
            connections.tick(time_ns, &mut told);
            out.extend(told.into_iter().map(|(_, message)| message));
        }
        check(&mut out);
    }
    let mut told = Vec::new();
    connections.tick(time_ns + 10_000_000_000, &mut told);
    connections.tick(u64::MAX, &mut told);
    assert_eq!((connections.len(), connections.memory()), (0, 0));
    out.extend(told.into_iter().map(|(_, message)| message));
    check(&mut out);
}

/// What is told is of use: a message has something to say, and a secret is not said.
fn check(out: &mut Vec<Message>) {
    for message in out.drain(..) {
        match message.content {
            Content::Http(http) => {
                let is_secret =
                    |name: &str| name.eq_ignore_ascii_case("authorization") || name.eq_ignore_ascii_case("cookie");
                assert!(
                    http.headers.iter().all(|(name, value)| !is_secret(name) || value.is_empty() || value == "*****")
                );
            }
            Content::Dns(dns) => assert!(dns.query.ends_with('.') && dns.query.is_ascii() && !dns.query.contains(' ')),
            Content::Tls(tls) => assert!(!tls.sni.contains(|letter: char| letter.is_control())),
        }
    }
}
