//! HTTP/2 and gRPC, as a user meets them.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

mod common;

use chainkit_l7::{Content, Grpc, Http, Kind, Message, Options, Protocol, Side};
use common::{Turn, Way, is_same_but_for_ends, segments, told, told_in_time, told_with};
use proptest::prelude::*;

const CLIENT: Side = Side::Local;
const SERVER: Side = Side::Remote;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes()[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// An encoder that puts each field into the dynamic table and refers to it from then on.
#[derive(Default)]
struct Encoder(Vec<(String, String)>);

impl Encoder {
    fn block(&mut self, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in fields {
            let at = self.0.iter().rev().position(|(n, v)| n == name && v == value);
            match at {
                Some(at) if at + 62 < 127 => block.push(0x80 | (at + 62) as u8),
                Some(at) => block.extend([0xff, (at + 62 - 127) as u8]),
                None => {
                    block.extend([0x40, name.len() as u8]);
                    block.extend(name.as_bytes());
                    block.push(value.len() as u8);
                    block.extend(value.as_bytes());
                    self.0.push(((*name).to_owned(), (*value).to_owned()));
                }
            }
        }
        block
    }
}

#[derive(Default)]
struct Peers {
    client: Encoder,
    server: Encoder,
}

impl Peers {
    fn request(&mut self, stream: u32, path: &str, kind: &str, flags: u8) -> Vec<u8> {
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "cart"),
            (":path", path),
            ("content-type", kind),
            ("authorization", "Bearer x"),
        ];
        frame(1, flags, stream, &self.client.block(&fields))
    }

    fn response(&mut self, stream: u32, code: &str, kind: &str, flags: u8) -> Vec<u8> {
        frame(1, flags, stream, &self.server.block(&[(":status", code), ("content-type", kind)]))
    }

    fn trailers(&mut self, stream: u32, status: &str, message: &str) -> Vec<u8> {
        frame(1, 5, stream, &self.server.block(&[("grpc-status", status), ("grpc-message", message)]))
    }
}

fn opening() -> [Turn; 2] {
    [(CLIENT, [PREFACE, &frame(4, 0, 0, &[])].concat()), (SERVER, frame(4, 0, 0, &[0, 3, 0, 0, 0, 100]))]
}

fn http(message: &Message) -> &Http {
    let Content::Http(http) = &message.content else { panic!("not HTTP: {message:?}") };
    http
}

fn line(message: &Message) -> String {
    let http = http(message);
    let arrow = if message.kind == Kind::Request { ">" } else { "<" };
    let partial = if message.partial { "~" } else { "" };
    let code = if http.code == 0 { String::new() } else { format!("{} ", http.code) };
    let body = message.body_bytes.map_or("?".to_owned(), |bytes| bytes.to_string());
    format!("{arrow}{partial} {} {code}{} {} {body}", message.stream.unwrap_or(0), http.method, http.url)
}

fn lines(turns: &[Turn]) -> Vec<String> {
    told(&segments(turns, &Way::plain())).iter().map(line).collect()
}

#[test]
fn a_grpc_call_is_told_with_its_method_status_and_message() {
    let mut peers = Peers::default();
    let mut turns = opening().to_vec();
    let call = [peers.request(1, "/shop.Cart/Add", "application/grpc+proto", 4), frame(0, 1, 1, &[0; 12])].concat();
    turns.push((CLIENT, call));
    let answer = [
        peers.response(1, "200", "application/grpc", 4),
        frame(0, 0, 1, &[0; 30]),
        peers.trailers(1, "5", "no%20such%20cart%3a %zz"),
    ];
    turns.push((SERVER, answer.concat()));
    let told = told(&segments(&turns, &Way::plain()));
    assert_eq!(
        told.iter().map(line).collect::<Vec<_>>(),
        ["> 1 POST http://cart/shop.Cart/Add 12", "< 1 200 POST http://cart/shop.Cart/Add 30"]
    );
    assert_eq!((told[0].protocol, told[1].protocol), (Protocol::Grpc, Protocol::Grpc));
    assert!(http(&told[0]).headers.contains(&("authorization".into(), "*****".into())));
    let wanted = Grpc {
        service: "shop.Cart".into(),
        method: "Add".into(),
        status: Some(5),
        message: "no such cart: %zz".into(),
    };
    assert_eq!(http(&told[1]).grpc, Some(wanted));
    assert_eq!(told[1].latency_ns, Some(0));
}

#[test]
fn streams_that_interleave_with_padding_priority_and_continuation_are_told_apart() {
    let mut peers = Peers::default();
    let mut turns = opening().to_vec();
    let first = peers.request(1, "/a", "text/plain", 5);
    let block = peers.client.block(&[(":method", "GET"), (":scheme", "http"), (":authority", "cart"), (":path", "/b")]);
    let (head, rest) = block.split_at(7);
    let padded = [&[3, 0, 0, 0, 0, 9][..], head, &[0; 3]].concat();
    turns.push((CLIENT, [first, frame(1, 0x29, 3, &padded), frame(9, 0, 3, &[]), frame(9, 4, 3, rest)].concat()));
    let b = peers.response(3, "404", "text/html", 4);
    let a = peers.response(1, "200", "text/html", 4);
    let body = [&[2][..], b"hello", &[0; 2]].concat();
    let answers =
        [b, a, frame(0, 8, 3, &body), frame(0, 0, 1, &[7; 20_000]), frame(0, 1, 3, &[]), frame(0, 1, 1, b"x")];
    turns.push((SERVER, answers.concat()));
    assert_eq!(
        lines(&turns),
        [
            "> 1 POST http://cart/a 0",
            "> 3 GET http://cart/b 0",
            "< 3 404 GET http://cart/b 5",
            "< 1 200 POST http://cart/a 20001"
        ]
    );
}

#[test]
fn a_stream_of_grpc_is_told_by_its_heads_while_it_goes_on_and_not_again() {
    let mut peers = Peers::default();
    let mut turns = opening().to_vec();
    turns.push((CLIENT, peers.request(1, "/shop.Cart/Watch", "application/grpc", 4)));
    turns.push((SERVER, peers.response(1, "200", "application/grpc", 4)));
    for _ in 0..3 {
        turns.push((SERVER, frame(0, 0, 1, &[0; 30])));
        turns.push((CLIENT, frame(0, 0, 1, &[0; 10])));
    }
    let heads = ["> 1 POST http://cart/shop.Cart/Watch ?", "< 1 200 POST http://cart/shop.Cart/Watch ?"];
    let before_the_end = told_in_time(&segments(&turns, &Way::plain()), &[1000], &[true]);
    assert_eq!(before_the_end.iter().map(line).collect::<Vec<_>>(), heads);
    assert_eq!((before_the_end[1].protocol, before_the_end[1].latency_ns), (Protocol::Grpc, Some(1_000_000_000)));
    assert!(before_the_end.iter().all(|one| !one.partial));
    turns.push((SERVER, peers.trailers(1, "0", "")));
    turns.push((CLIENT, peers.request(3, "/shop.Cart/Add", "application/grpc", 5)));
    turns.push((SERVER, peers.trailers(3, "5", "no")));
    let all = told_in_time(&segments(&turns, &Way::plain()), &[1000], &[true]);
    assert_eq!(all[..2], before_the_end);
    assert_eq!(all[2..].iter().map(line).collect::<Vec<_>>()[0], "> 3 POST http://cart/shop.Cart/Add 0");
    assert_eq!(all.len(), 4);
}

#[test]
fn a_stream_that_is_reset_is_partial_and_interim_responses_are_passed_over() {
    let mut peers = Peers::default();
    let mut turns = opening().to_vec();
    turns.push((CLIENT, peers.request(1, "/a", "text/plain", 5)));
    turns.push((
        SERVER,
        [peers.response(1, "103", "x", 4), peers.response(1, "200", "x", 4), frame(3, 0, 1, &[0, 0, 0, 8])].concat(),
    ));
    turns.push((CLIENT, peers.request(3, "/b", "text/plain", 5)));
    turns.push((SERVER, peers.response(3, "204", "x", 5)));
    assert_eq!(
        lines(&turns),
        [
            "> 1 POST http://cart/a 0",
            "<~ 1 200 POST http://cart/a ?",
            "> 3 POST http://cart/b 0",
            "< 3 204 POST http://cart/b 0"
        ]
    );
}

#[test]
fn a_connection_joined_on_its_way_tells_what_is_certain() {
    let mut peers = Peers::default();
    peers.request(1, "/a", "text/plain", 5);
    peers.response(1, "200", "text/html", 5);
    let turns = [
        (CLIENT, peers.request(3, "/b", "text/plain", 5)),
        (SERVER, peers.response(3, "200", "text/html", 5)),
        // Nothing of these refers to what was before.
        (CLIENT, frame(1, 5, 5, &[0x83, 0x86, 0x04, 2, b'/', b'c'])),
        (SERVER, frame(1, 5, 5, &[0x88])),
    ];
    let told = told_with(Options::default(), &segments(&turns, &Way::plain()), false);
    let told: Vec<_> = told.iter().map(line).collect();
    assert_eq!(told[told.len() - 2..], [">~ 5 POST /c 0", "<~ 5 200 POST /c 0"]);
    assert!(told.iter().all(|line| line.contains('~') && !line.contains("/a")), "{told:?}");
}

#[test]
fn an_upgrade_from_http1_goes_on_with_the_first_stream() {
    let mut peers = Peers::default();
    let ask = b"GET /a HTTP/1.1\r\nHost: cart\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n";
    let agree = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n";
    let turns = [
        (CLIENT, ask.to_vec()),
        (SERVER, [&agree[..], &frame(4, 0, 0, &[]), &peers.response(1, "200", "text/html", 5)].concat()),
        (CLIENT, [PREFACE, &frame(4, 0, 0, &[]), &peers.request(3, "/b", "text/plain", 5)].concat()),
        (SERVER, peers.response(3, "201", "text/html", 5)),
    ];
    assert_eq!(
        lines(&turns)[2..],
        ["< 1 200 GET http://cart/a 0", "> 3 POST http://cart/b 0", "< 3 201 POST http://cart/b 0"]
    );
}

fn turns_of(calls: &[(bool, usize, usize)]) -> Vec<Turn> {
    let mut peers = Peers::default();
    let mut turns = opening().to_vec();
    for (n, (is_grpc, sent, answered)) in calls.iter().enumerate() {
        let stream = n as u32 * 2 + 1;
        let kind = if *is_grpc { "application/grpc" } else { "text/plain" };
        let path = format!("/svc.Of/M{n}");
        turns.push((
            CLIENT,
            [peers.request(stream, &path, kind, 4), frame(6, 0, 0, &[0; 8]), frame(0, 1, stream, &vec![1; *sent])]
                .concat(),
        ));
        let code = format!("{}", 200 + n);
        let head = peers.response(stream, &code, kind, 4);
        let last = if *is_grpc {
            [frame(0, 0, stream, &vec![2; *answered]), peers.trailers(stream, &n.to_string(), "m")].concat()
        } else {
            frame(0, 1, stream, &vec![2; *answered])
        };
        turns.push((SERVER, [head, last].concat()));
    }
    turns
}

fn calls() -> impl Strategy<Value = Vec<(bool, usize, usize)>> {
    prop::collection::vec((any::<bool>(), 0usize..40, prop_oneof![0usize..40, 0usize..9000]), 1..8)
}

fn agrees(told: &Message, so: &Message) -> bool {
    let (a, b) = (http(told), http(so));
    let text = |a: &str, b: &str| a.is_empty() || a == b;
    told == so
        || told.partial
            && (told.kind, told.from, told.stream) == (so.kind, so.from, so.stream)
            && (a.code == 0 || a.code == b.code)
            && text(&a.method, &b.method)
            // As much of scheme, host and path as is known.
            && a.url.rsplit("cart").all(|part| b.url.contains(part))
            && a.headers.iter().all(|header| b.headers.contains(header))
            && told.body_bytes.is_none_or(|bytes| Some(bytes) == so.body_bytes)
            && a.grpc.as_ref().is_none_or(|a| {
                b.grpc.as_ref().is_some_and(|b| {
                    text(&a.service, &b.service) && text(&a.method, &b.method) && (a.status.is_none() || a.status == b.status)
                })
            })
}

proptest! {
    #[test]
    fn messages_do_not_depend_on_how_the_stream_was_cut_reordered_or_repeated(calls in calls(), way in Way::any()) {
        let turns = turns_of(&calls);
        let plain = told(&segments(&turns, &Way::plain()));
        prop_assert_eq!(plain.len(), calls.len() * 2);
        prop_assert!(plain.iter().all(|one| !one.partial));
        prop_assert_eq!(told(&segments(&turns, &way)), plain);
    }

    #[test]
    fn a_message_is_told_once_whenever_time_is_let_pass(calls in calls(), way in Way::any(), after in prop::collection::vec(0u64..4000, 1..20), ticks in prop::collection::vec(any::<bool>(), 1..20)) {
        let seen = segments(&turns_of(&calls), &way);
        let plain = told_in_time(&seen, &after, &[false]);
        prop_assert_eq!(plain.len(), calls.len() * 2);
        let ticked = told_in_time(&seen, &after, &ticks);
        prop_assert!(is_same_but_for_ends(&ticked, &plain), "{:?}", ticked);
    }

    #[test]
    fn a_gap_anywhere_makes_no_message_wrong(calls in calls(), way in Way::any(), lost in prop::collection::vec(any::<prop::sample::Index>(), 1..4), opened: bool, patient: bool) {
        let turns = turns_of(&calls);
        let so = told(&segments(&turns, &Way::plain()));
        let mut seen = segments(&turns, &Way { swaps: vec![false], repeats: vec![false], ..way });
        for lost in lost {
            if seen.len() > 1 {
                seen.remove(lost.index(seen.len()));
            }
        }
        let options = Options { connection_memory: if patient { 1 << 20 } else { 0 }, ..Options::default() };
        for message in told_with(options, &seen, opened) {
            prop_assert!(so.iter().any(|so| agrees(&message, so)), "{:?}", message);
        }
    }
}
