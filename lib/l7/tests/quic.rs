//! QUIC, as a user meets it: what the ClientHello in a client's first packets says.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

mod common;

use chainkit_l7::{Connections, Content, Kind, Message, Options, Piece, Protocol, Side, Tls, Transport};
use common::Segment;
use common::hello::{alpn, client_hello, extension, modern, server_name};
use common::initial::{ID, Packet, V1, V2, crypto, hex};
use proptest::prelude::*;

const CLIENT: Side = Side::Local;
const SERVER: Side = Side::Remote;
/// What is told of datagrams, and whether nothing more is wanted.
fn told(datagrams: &[(Side, Vec<u8>)]) -> (Vec<Message>, bool) {
    let mut connections = Connections::new(Options::default());
    let (mut out, mut is_over) = (Vec::new(), false);
    for (from, bytes) in datagrams {
        let segment = Segment { from: *from, seq: 0, bytes: bytes.clone() };
        let piece = Piece { transport: Transport::Udp, ..common::piece(&segment, 9) };
        is_over = connections.piece(1, &piece, &mut out).not_l7;
        assert!(connections.memory() < 128 << 10, "{} bytes of memory", connections.memory());
    }
    (out, is_over)
}

fn tls(message: &Message) -> &Tls {
    let Content::Tls(tls) = &message.content else { panic!("not TLS: {message:?}") };
    tls
}

fn of_cart() -> Tls {
    Tls { sni: "cart.example".into(), alpn: vec!["h2".into(), "http/1.1".into()], version: "1.3", ech: true }
}

/// The ClientHello of RFC 9001, appendix A.2, in its frame and with what fills the packet.
fn of_the_rfc() -> Vec<u8> {
    let mut frames = hex("060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06a2b69484c\
         00000413011302010000c000000010000e00000b6578616d706c652e636f6dff01000100000a00080006001d\
         0017001800100007000504616c706e000500050100000000003300260024001d00209370b2c9caa47fbabaf4\
         559fedba753de171fa71f50f1ce15d43e994ec74d748002b0003020304000d0010000e040305030603020308\
         0408050806002d00020101001c00024001003900320408ffffffffffffffff05048000ffff07048000ffff08\
         01100104800075300901100f088394c8f03e51570806048000ffff");
    frames.resize(1162, 0);
    frames
}

#[test]
fn the_examples_of_the_standards_are_read() {
    // RFC 9001, appendix A.2, and RFC 9369, appendix A.2: what the packet begins and ends with; its end is a tag of all of it.
    for (version, begins, ends) in [
        (
            V1,
            "c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11d242b123dc9b",
            "e221af44860018ab0856972e194cd934",
        ),
        (
            V2,
            "d76b3343cf088394c8f03e5157080000449ea0c95e82ffe67b6abcdb4298b485dd04de806071",
            "a18b2faa745b6fe189cf772a9f84cbfc",
        ),
    ] {
        let datagram = Packet { number: 2, ..Packet::new(version, &of_the_rfc()) }.protected();
        assert_eq!((datagram.len(), &datagram[..38], &datagram[1184..]), (1200, &hex(begins)[..], &hex(ends)[..]));
        let (told, is_over) = told(&[(CLIENT, datagram)]);
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].kind, told[0].protocol, told[0].from), (Kind::Request, Protocol::Quic, CLIENT));
        assert_eq!((told[0].partial, told[0].time_ns, told[0].protocol.name()), (false, 9, "quic"));
        let wanted = Tls { sni: "example.com".into(), alpn: vec!["alpn".into()], version: "1.3", ech: false };
        assert_eq!((tls(&told[0]), is_over), (&wanted, true));
    }
}

#[test]
fn packets_that_share_a_datagram_with_others_are_read() {
    let hello = modern();
    let first = Packet::new(V1, &crypto(0, &hello[..700])).protected();
    let second = Packet { number: 1, ..Packet::new(V1, &crypto(700, &hello[700..])) }.protected();
    // A packet of 0-RTT between them, and zeroes after them.
    let early = [&[0xd0, 0, 0, 0, 1, 8], &ID[..], &[0, 0x40, 30], &[7; 30]].concat();
    let (told, is_over) = told(&[(CLIENT, [first, early, second, vec![0; 40]].concat())]);
    assert_eq!((told.iter().map(tls).collect::<Vec<_>>(), is_over), (vec![&of_cart()], true));
}

#[test]
fn the_client_keeps_its_keys_when_the_server_has_chosen_an_identifier() {
    let hello = modern();
    let first = Packet::new(V2, &crypto(0, &hello[..700])).protected();
    let answer = Packet { sender: "server in", destination: Vec::new(), ..Packet::new(V2, &[2, 0, 0, 0, 0]) };
    let ack = [&[2, 0, 0, 0, 0], &crypto(700, &hello[700..])[..]].concat();
    let second = Packet { number: 1, destination: vec![5; 4], ..Packet::new(V2, &ack) }.protected();
    let (told, is_over) = told(&[(CLIENT, first), (SERVER, answer.protected()), (CLIENT, second)]);
    assert_eq!((told.iter().map(tls).collect::<Vec<_>>(), is_over), (vec![&of_cart()], true));
}

#[test]
fn after_a_retry_the_keys_come_from_the_new_identifier() {
    let hello = modern();
    let parts = [crypto(0, &hello[..700]), crypto(700, &hello[700..])];
    let first = Packet::new(V1, &parts[0]).protected();
    let retry = [&[0xf0, 0, 0, 0, 1, 0, 3, 1, 2, 3], &b"token"[..], &[9; 16]].concat();
    let again = |n: usize| {
        let packet = Packet::new(V1, &parts[n]);
        let (origin, destination) = (vec![1, 2, 3], vec![1, 2, 3]);
        (CLIENT, Packet { number: n as u32, token: b"token".to_vec(), origin, destination, ..packet }.protected())
    };
    let (told, is_over) = told(&[(CLIENT, first), (SERVER, retry), again(1), again(0)]);
    assert_eq!((told.iter().map(tls).collect::<Vec<_>>(), is_over), (vec![&of_cart()], true));
}

#[test]
fn what_is_no_beginning_of_a_known_version_is_left_alone() {
    let good = Packet::new(V1, &of_the_rfc()).protected();
    let of_version = |number: u32| [&good[..1], &number.to_be_bytes(), &good[5..]].concat();
    let mut too_long_an_id = good.clone();
    too_long_an_id[5] = 21;
    let handshake = [&[0xe0][..], &good[1..]].concat();
    let short = [&[0x40][..], &good[1..]].concat();
    for bad in [
        // Version negotiation, GREASE, a draft.
        of_version(0),
        of_version(0x1a2a_3a4a),
        of_version(0xff00_001d),
        too_long_an_id,
        handshake,
        short,
        good[..600].to_vec(),
        vec![0xc0],
    ] {
        assert_eq!(told(&[(CLIENT, bad.clone())]), (vec![], true), "{bad:02x?}");
    }
}

#[test]
fn what_contradicts_itself_or_is_no_client_hello_is_not_told() {
    let server_hello = crypto(0, &[&[2, 0, 0, 20], &[3; 20][..]].concat());
    let torn = crypto(0, &client_hello(&[0, 0, 0, 9]));
    let contradicts = [crypto(0, &modern()[..500]), crypto(499, &[0xff; 20])].concat();
    let too_far = crypto(1 << 20, &[1]);
    let stream = [crypto(0, &modern()), vec![8, 0, 0]].concat();
    for frames in [server_hello, torn, contradicts, too_far, stream] {
        assert_eq!(told(&[(CLIENT, Packet::new(V1, &frames).protected())]), (vec![], true), "{frames:02x?}");
    }
}

#[test]
fn a_client_hello_that_never_becomes_whole_is_given_up() {
    let first = (CLIENT, Packet::new(V1, &crypto(0, &modern()[..700])).protected());
    let mut seen = vec![first];
    seen.extend((0..62).map(|_| (SERVER, vec![0x40; 50])));
    assert_eq!(told(&seen), (vec![], false));
    seen.push((CLIENT, vec![0x40; 50]));
    assert_eq!(told(&seen), (vec![], true));
}

/// A ClientHello in packets, each with frames in any order, some of them twice.
fn datagrams_of(version: u32, cuts: &[usize], shuffle: &[prop::sample::Index], share: usize) -> Vec<(Side, Vec<u8>)> {
    let hello = modern();
    let (mut frames, mut at) = (Vec::new(), 0);
    for cut in cuts.iter().cycle() {
        let end = (at + cut).min(hello.len());
        frames.push(crypto(at, &hello[at..end]));
        // What comes twice begins a little before.
        if cut % 7 == 0 {
            frames.push(crypto(at.saturating_sub(3), &hello[at.saturating_sub(3)..end]));
        }
        at = end;
        if at == hello.len() {
            break;
        }
    }
    for (n, other) in shuffle.iter().enumerate().take(frames.len()) {
        let other = other.index(frames.len());
        frames.swap(n, other);
    }
    let packets = frames.chunks(share).enumerate().map(|(n, frames)| {
        let frames = [frames.concat(), vec![0; 40]].concat();
        Packet { number: n as u32, ..Packet::new(version, &frames) }.protected()
    });
    packets.map(|packet| (CLIENT, packet)).collect()
}

fn any_datagrams() -> impl Strategy<Value = Vec<(Side, Vec<u8>)>> {
    let shuffle = prop::collection::vec(any::<prop::sample::Index>(), 0..40);
    let cuts = prop::collection::vec(prop_oneof![30usize..200, 200usize..1500], 1..8);
    (prop::sample::select(vec![V1, V2]), cuts, shuffle, 1usize..6)
        .prop_map(|(version, cuts, shuffle, share)| datagrams_of(version, &cuts, &shuffle, share))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_client_hello_is_told_once_in_whatever_order_its_parts_come(datagrams in any_datagrams(), share: bool) {
        let datagrams = if share {
            datagrams.chunks(2).map(|two| (CLIENT, two.iter().flat_map(|(_, bytes)| bytes.clone()).collect())).collect()
        } else {
            datagrams
        };
        let (told, is_over) = told(&datagrams);
        prop_assert_eq!((told.iter().map(tls).cloned().collect::<Vec<_>>(), is_over), (vec![of_cart()], true));
    }

    #[test]
    fn a_flipped_bit_or_a_lost_datagram_makes_no_name_wrong(datagrams in any_datagrams(), which: prop::sample::Index, place: prop::sample::Index, bit in 0u8..8, is_lost: bool) {
        let mut seen = datagrams;
        let which = which.index(seen.len());
        if is_lost {
            seen.remove(which);
        } else {
            let bytes = &mut seen[which].1;
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
        }
        for message in told(&seen).0 {
            prop_assert_eq!(tls(&message), &of_cart());
        }
    }

    #[test]
    fn frames_of_any_kind_are_read_or_left(frames in prop::collection::vec(any::<u8>(), 0..300), rest in prop::collection::vec(any::<u8>(), 0..60)) {
        let frames = [frames, vec![0; 4]].concat();
        let packet = Packet::new(V1, &frames).protected();
        told(&[(CLIENT, [&packet[..], &rest].concat()), (SERVER, [&packet[..20], &rest].concat()), (CLIENT, rest)]);
    }
}

#[test]
fn a_name_that_could_move_a_terminal_is_escaped() {
    let hello = client_hello(&[server_name("a\x1bb"), alpn(&[b"h3"]), extension(43, &[2, 3, 4])].concat());
    let (told, _) = told(&[(CLIENT, Packet::new(V1, &crypto(0, &hello)).protected())]);
    assert_eq!(tls(&told[0]), &Tls { sni: "a\\x1bb".into(), alpn: vec!["h3".into()], version: "1.3", ech: false });
}
