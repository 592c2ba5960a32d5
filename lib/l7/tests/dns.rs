//! DNS, as a user meets it, over UDP and TCP.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

mod common;

use chainkit_l7::{Advice, Connections, Content, Dns, Kind, Message, Options, Piece, Side, Transport};
use common::{Segment, Turn, Way, segments, told, told_with};
use proptest::prelude::*;

const CLIENT: Side = Side::Local;
const SERVER: Side = Side::Remote;

fn labels(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// A message with one question; each answer is (type, time to live, data) of the name that was asked for.
fn message(id: u16, flags: u16, name: &str, qtype: u16, answers: &[(u16, u32, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = [id, flags, 1, answers.len() as u16, 0, 0].map(u16::to_be_bytes).concat();
    bytes.extend(labels(name));
    bytes.extend([qtype, 1].map(u16::to_be_bytes).concat());
    for (kind, ttl, data) in answers {
        bytes.extend([0xc0, 12]);
        bytes.extend([*kind, 1].map(u16::to_be_bytes).concat());
        bytes.extend(ttl.to_be_bytes());
        bytes.extend((data.len() as u16).to_be_bytes());
        bytes.extend(data);
    }
    bytes
}

fn query(id: u16, name: &str, qtype: u16) -> Vec<u8> {
    message(id, 0x0100, name, qtype, &[])
}

/// What is told of datagrams, a millisecond apart, and the last advice.
fn datagrams(all: &[(Side, Vec<u8>)]) -> (Vec<Message>, Advice) {
    let mut connections = Connections::new(Options::default());
    let mut out = Vec::new();
    let mut advice = Advice::default();
    for (n, (from, bytes)) in all.iter().enumerate() {
        let segment = Segment { from: *from, seq: 0, bytes: bytes.clone() };
        let piece = Piece { transport: Transport::Udp, ..common::piece(&segment, n as u64 * 1_000_000) };
        advice = connections.piece(1, &piece, &mut out);
    }
    (out, advice)
}

fn dns(message: &Message) -> &Dns {
    let Content::Dns(dns) = &message.content else { panic!("not DNS: {message:?}") };
    dns
}

#[test]
fn a_question_and_its_answer_are_told_with_what_is_in_them() {
    let answers = [
        (5, 300, labels("web.shop")),
        (1, 20, vec![10, 0, 0, 7]),
        (28, 60, [vec![0xfd], vec![0; 14], vec![9]].concat()),
    ];
    let (told, _) =
        datagrams(&[(CLIENT, query(7, "Cart.shop", 1)), (SERVER, message(7, 0x8180, "cart.SHOP", 1, &answers))]);
    assert_eq!((told[0].kind, told[0].from, told[0].stream), (Kind::Request, CLIENT, Some(7)));
    assert_eq!((&dns(&told[0]).query[..], &dns(&told[0]).qtypes[..]), ("Cart.shop.", &["A".to_owned()][..]));
    assert_eq!((told[1].kind, told[1].latency_ns, told[1].partial), (Kind::Response, Some(1_000_000), false));
    let wanted = Dns {
        query: "cart.SHOP.".into(),
        qtypes: vec!["A".into()],
        rcode: 0,
        ttl: 20,
        ips: vec!["10.0.0.7".parse().unwrap(), "fd00::9".parse().unwrap()],
        cnames: vec!["web.shop.".into()],
        rrtypes: vec!["CNAME".into(), "A".into(), "AAAA".into()],
    };
    assert_eq!(dns(&told[1]), &wanted);
}

#[test]
fn answers_meet_their_questions_by_identifier_and_question() {
    let (told, _) = datagrams(&[
        (CLIENT, query(7, "a", 1)),
        (CLIENT, query(7, "a", 28)),
        (CLIENT, query(7, "a", 1)),
        (SERVER, message(7, 0x8183, "a", 28, &[])),
        (SERVER, message(7, 0x8182, "a", 1, &[])),
        (SERVER, message(8, 0x8180, "a", 1, &[])),
    ]);
    let answers: Vec<_> = told[3..].iter().map(|one| (dns(one).rcode, one.latency_ns, one.partial)).collect();
    assert_eq!(answers, [(3, Some(2_000_000), false), (2, Some(4_000_000), false), (0, None, true)]);
}

#[test]
fn record_types_have_the_names_of_zone_files() {
    for (number, name) in [
        (1, "A"),
        (2, "NS"),
        (5, "CNAME"),
        (6, "SOA"),
        (12, "PTR"),
        (15, "MX"),
        (16, "TXT"),
        (28, "AAAA"),
        (33, "SRV"),
        (35, "NAPTR"),
        (52, "TLSA"),
        (64, "SVCB"),
        (65, "HTTPS"),
        (255, "ANY"),
        (257, "CAA"),
        (4711, "TYPE4711"),
    ] {
        let (told, _) = datagrams(&[(CLIENT, query(7, "a", number))]);
        assert_eq!(dns(&told[0]).qtypes, [name]);
    }
}

#[test]
fn names_bear_no_control_characters() {
    let (told, _) = datagrams(&[(CLIENT, query(7, "a\x1b[1m b\\", 1))]);
    assert_eq!(dns(&told[0]).query, "a\\027[1m\\032b\\\\.");
}

#[test]
fn what_is_not_dns_is_left_alone() {
    let multicast = message(0, 0, "printer.local", 12, &[]);
    let unicast_wanted = {
        let mut bytes = query(3, "x", 1);
        let class = bytes.len() - 2;
        bytes[class] = 0x80;
        bytes
    };
    let too_many = {
        let mut bytes = message(7, 0x8180, "a", 1, &[]);
        bytes[6..8].copy_from_slice(&[0x0f, 0xff]);
        bytes
    };
    let question_with_answer = message(7, 0x0100, "a", 1, &[(1, 1, vec![1, 2, 3, 4])]);
    for bytes in
        [multicast, unicast_wanted, too_many, question_with_answer, b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![0; 40]]
    {
        let (told, advice) = datagrams(&[(CLIENT, bytes.clone())]);
        assert_eq!((told, advice.not_l7), (vec![], true), "{bytes:02x?}");
    }
}

fn framed(message: Vec<u8>) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], &message].concat()
}

fn turns_of(exchanges: &[(u16, String, u8)]) -> Vec<Turn> {
    let mut turns = Vec::new();
    for (id, name, answers) in exchanges {
        turns.push((CLIENT, framed(query(*id, name, 1))));
        let answers: Vec<_> = (0..*answers).map(|n| (1, 30, vec![10, 0, 0, n])).collect();
        turns.push((SERVER, framed(message(*id, 0x8180, name, 1, &answers))));
    }
    turns
}

fn exchanges() -> impl Strategy<Value = Vec<(u16, String, u8)>> {
    prop::collection::vec((any::<u16>(), "[a-z]{1,9}\\.[a-z]{2,4}", 0u8..120), 1..6)
}

proptest! {
    #[test]
    fn over_tcp_messages_do_not_depend_on_how_the_stream_was_cut_reordered_or_repeated(exchanges in exchanges(), way in Way::any()) {
        let turns = turns_of(&exchanges);
        let plain = told(&segments(&turns, &Way::plain()));
        prop_assert_eq!(plain.len(), exchanges.len() * 2);
        prop_assert_eq!(told(&segments(&turns, &way)), plain);
    }

    #[test]
    fn over_tcp_a_gap_anywhere_makes_no_message_wrong(exchanges in exchanges(), way in Way::any(), lost: prop::sample::Index, opened: bool) {
        let turns = turns_of(&exchanges);
        let so = told(&segments(&turns, &Way::plain()));
        let mut seen = segments(&turns, &Way { swaps: vec![false], repeats: vec![false], ..way });
        seen.remove(lost.index(seen.len()));
        for message in told_with(Options { connection_memory: 0, ..Options::default() }, &seen, opened) {
            let agrees = |so: &Message| message == *so || message.partial && message.content == so.content && message.kind == so.kind && message.stream == so.stream;
            prop_assert!(so.iter().any(agrees), "{:?}", message);
        }
    }

    #[test]
    fn datagrams_of_any_kind_are_read_or_left(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        datagrams(&[(CLIENT, bytes.clone()), (SERVER, bytes)]);
    }
}
