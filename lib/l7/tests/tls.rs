//! TLS, as a user meets it: what a ClientHello says.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

mod common;

use chainkit_l7::{Connections, Content, Kind, Message, Options, Piece, Protocol, Side, Tls};
use common::hello::{alpn, client_hello, modern, server_name, with_length16};
use common::{Segment, Way, isn, piece, segments, told, told_with};
use proptest::prelude::*;

const CLIENT: Side = Side::Local;
const SERVER: Side = Side::Remote;

/// In records of no more than `length` bytes.
fn records(handshake: &[u8], length: usize) -> Vec<u8> {
    handshake.chunks(length).flat_map(|part| [&[22, 3, 1], &with_length16(part)[..]].concat()).collect()
}

fn tls(message: &Message) -> &Tls {
    let Content::Tls(tls) = &message.content else { panic!("not TLS: {message:?}") };
    tls
}

#[test]
fn a_client_hello_tells_name_protocols_version_and_that_more_is_hidden() {
    let turns = [(CLIENT, records(&modern(), 16_000)), (SERVER, b"\x16\x03\x03\x00\x04\x02\x00\x00\x00".to_vec())];
    let told = told(&segments(&turns, &Way::plain()));
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].kind, told[0].protocol, told[0].from), (Kind::Request, Protocol::Tls, CLIENT));
    let wanted =
        Tls { sni: "cart.example".into(), alpn: vec!["h2".into(), "http/1.1".into()], version: "1.3", ech: true };
    assert_eq!(tls(&told[0]), &wanted);
}

#[test]
fn an_old_client_hello_is_read_too_and_nothing_of_it_reaches_a_terminal_raw() {
    let old = client_hello(&[server_name("a\x1bb"), alpn(&[b"x\n"])].concat());
    let told = told(&segments(&[(CLIENT, records(&old, 16_000))], &Way::plain()));
    assert_eq!(tls(&told[0]), &Tls { sni: "a\\x1bb".into(), alpn: vec!["x\\x0a".into()], version: "1.2", ech: false });
}

#[test]
fn after_the_client_hello_nothing_need_be_copied() {
    let mut connections = Connections::new(Options::default());
    let mut out = Vec::new();
    let syn = Segment { from: CLIENT, seq: isn(CLIENT), bytes: Vec::new() };
    connections.piece(1, &Piece { syn: true, ..piece(&syn, 0) }, &mut out);
    let bytes = records(&modern(), 16_000);
    let (first, second) = bytes.split_at(700);
    let segment = Segment { from: CLIENT, seq: isn(CLIENT) + 1, bytes: first.to_vec() };
    assert!(!connections.piece(1, &piece(&segment, 0), &mut out).not_l7);
    let segment = Segment { from: CLIENT, seq: isn(CLIENT) + 701, bytes: second.to_vec() };
    assert!(connections.piece(1, &piece(&segment, 0), &mut out).not_l7);
    assert_eq!(out.len(), 1);
}

#[test]
fn what_is_torn_or_contradicts_itself_is_not_told() {
    let whole = modern();
    for bad in [&whole[..600], &[1, 0, 0, 2, 3, 3], &[2, 0, 0, 0], &client_hello(&[0, 0, 0, 9])] {
        assert_eq!(told(&segments(&[(CLIENT, records(bad, 16_000))], &Way::plain())), []);
    }
}

proptest! {
    #[test]
    fn a_client_hello_is_told_however_it_is_cut_into_records_and_segments(length in 1usize..2000, way in Way::any()) {
        let answer = (SERVER, b"\x16\x03\x03\x00\x04\x02\x00\x00\x00".to_vec());
        let so = told(&segments(&[(CLIENT, records(&modern(), 16_000))], &Way::plain()));
        let seen = segments(&[(CLIENT, records(&modern(), length)), answer], &way);
        prop_assert_eq!(told(&seen), so);
    }

    #[test]
    fn with_a_gap_it_is_told_as_it_is_or_not_at_all(way in Way::any(), lost: prop::sample::Index, opened: bool) {
        let turns = [(CLIENT, records(&modern(), 500))];
        let so = told(&segments(&turns, &Way::plain()));
        let mut seen = segments(&turns, &Way { swaps: vec![false], repeats: vec![false], ..way });
        seen.remove(lost.index(seen.len()));
        for message in told_with(Options::default(), &seen, opened) {
            prop_assert_eq!(tls(&message), tls(&so[0]));
        }
    }
}
