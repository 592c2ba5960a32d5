//! HTTP/1, as a user meets it: requests and responses of connections that are seen in any way.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

mod common;

use chainkit_l7::{Connections, Content, Http, Kind, Masker, Message, Options, Piece, Side};
use common::{Segment, Turn, Way, is_same_but_for_ends, isn, piece, segments, told, told_in_time, told_with};
use proptest::prelude::*;

const CLIENT: Side = Side::Local;
const SERVER: Side = Side::Remote;

fn turn(from: Side, text: &str) -> Turn {
    (from, text.as_bytes().to_vec())
}

fn http(message: &Message) -> &Http {
    let Content::Http(http) = &message.content else { panic!("not HTTP: {message:?}") };
    http
}

/// A message in a line: `>`: request, `<`: response; `~`: partial; bytes of the body in the end.
fn line(message: &Message) -> String {
    let http = http(message);
    let arrow = if message.kind == Kind::Request { ">" } else { "<" };
    let partial = if message.partial { "~" } else { "" };
    let code = if http.code == 0 { String::new() } else { format!("{} ", http.code) };
    let body = message.body_bytes.map_or("?".to_owned(), |bytes| bytes.to_string());
    format!("{arrow}{partial} {code}{} {} {body}", http.method, http.url)
}

fn lines(turns: &[Turn]) -> Vec<String> {
    told(&segments(turns, &Way::plain())).iter().map(line).collect()
}

#[test]
fn a_connection_that_is_kept_alive_gives_each_request_and_its_response() {
    let turns = [
        turn(CLIENT, "GET /a HTTP/1.1\r\nHost: cart\r\nAccept: */*\r\n\r\n"),
        turn(SERVER, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: x\r\n\r\nhello"),
        turn(CLIENT, "POST /b?id=7 HTTP/1.1\r\nHost: cart\r\nContent-Length: 3\r\n\r\nabc"),
        turn(SERVER, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
    ];
    assert_eq!(
        lines(&turns),
        [
            "> GET http://cart/a 0",
            "< 200 GET http://cart/a 5",
            "> POST http://cart/b?id=***** 3",
            "< 404 POST http://cart/b?id=***** 0"
        ]
    );
    let told = told(&segments(&turns, &Way::plain()));
    assert_eq!(
        http(&told[0]).headers,
        [("Host".to_owned(), "cart".to_owned()), ("Accept".to_owned(), "*/*".to_owned())]
    );
    assert_eq!((http(&told[1]).version, told[1].from, told[1].latency_ns), ("HTTP/1.1", SERVER, Some(0)));
}

#[test]
fn bodies_end_as_the_head_and_the_request_say() {
    for (request, response, wanted) in [
        ("HEAD / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", "< 200 HEAD / 0"),
        ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 304 No\r\nContent-Length: 500\r\n\r\n", "< 304 GET / 0"),
        ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 204 No\r\n\r\n", "< 204 GET / 0"),
        (
            "GET / HTTP/1.1\r\n\r\n",
            "HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
            "< 200 GET / 1",
        ),
        (
            "GET / HTTP/1.1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3;a=b\r\nabc\r\nA\r\n0123456789\r\n0\r\nX: y\r\n\r\n",
            "< 200 GET / 13",
        ),
    ] {
        let turns = [
            turn(CLIENT, request),
            turn(SERVER, response),
            turn(CLIENT, "GET /next HTTP/1.1\r\n\r\n"),
            turn(SERVER, "HTTP/1.1 201 OK\r\nContent-Length: 0\r\n\r\n"),
        ];
        let lines = lines(&turns);
        assert_eq!(lines[1..], [wanted, "> GET /next 0", "< 201 GET /next 0"], "{response:?}");
    }
    let close =
        [turn(CLIENT, "GET / HTTP/1.0\r\n\r\n"), turn(SERVER, "HTTP/1.0 200 OK\r\n\r\nHTTP/1.1 500 no head\r\n\r\n")];
    assert_eq!(lines(&close), ["> GET / 0", "< 200 GET / 24"]);
}

#[test]
fn requests_sent_ahead_are_answered_in_their_order() {
    let turns = [
        turn(CLIENT, "GET /1 HTTP/1.1\r\n\r\nHEAD /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\n\r\n"),
        turn(
            SERVER,
            "HTTP/1.1 200 A\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 B\r\nContent-Length: 9\r\n\r\nHTTP/1.1 500 C\r\nContent-Length: 0\r\n\r\n",
        ),
    ];
    assert_eq!(lines(&turns)[3..], ["< 200 GET /1 2", "< 200 HEAD /2 0", "< 500 GET /3 0"]);
}

#[test]
fn a_tunnel_leads_to_what_is_spoken_in_it() {
    let turns = [
        turn(CLIENT, "CONNECT db:80 HTTP/1.1\r\nHost: db:80\r\n\r\n"),
        turn(SERVER, "HTTP/1.1 200 Fine\r\n\r\n"),
        turn(CLIENT, "GET /inner HTTP/1.1\r\n\r\n"),
        turn(SERVER, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ];
    assert_eq!(lines(&turns), ["> CONNECT db:80 0", "< 200 CONNECT db:80 0", "> GET /inner 0", "< 200 GET /inner 0"]);
    let turns = [
        turn(CLIENT, "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"),
        turn(SERVER, "HTTP/1.1 101 Fine\r\nUpgrade: websocket\r\n\r\n"),
        turn(CLIENT, "GET /inner HTTP/1.1\r\n\r\n"),
    ];
    assert_eq!(lines(&turns), ["> GET /ws 0", "< 101 GET /ws 0"]);
    let turns = [
        turn(CLIENT, "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"),
        turn(SERVER, "HTTP/1.1 426 No\r\nContent-Length: 0\r\n\r\n"),
        turn(CLIENT, "GET /next HTTP/1.1\r\n\r\n"),
    ];
    assert_eq!(lines(&turns), ["> GET /ws 0", "< 426 GET /ws 0", "> GET /next 0"]);
}

#[test]
fn other_protocols_are_left_alone_from_their_first_bytes_on() {
    for first in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "*1\r\n$4\r\nPING\r\n",
        "GETX / HTTP/1.1\r\n\r\n",
        "220 mail ESMTP\r\n",
        "GET key\r\n",
    ] {
        let mut connections = Connections::new(Options::default());
        let mut out = Vec::new();
        let syn = Segment { from: CLIENT, seq: isn(CLIENT), bytes: Vec::new() };
        connections.piece(1, &Piece { syn: true, ..piece(&syn, 0) }, &mut out);
        let data = Segment { from: CLIENT, seq: isn(CLIENT) + 1, bytes: first.into() };
        assert!(connections.piece(1, &piece(&data, 1), &mut out).not_l7, "{first:?}");
        assert_eq!(out, []);
    }
}

#[test]
fn a_long_body_need_not_be_copied_and_is_counted_all_the_same() {
    let mut connections = Connections::new(Options::default());
    let mut out = Vec::new();
    for side in [CLIENT, SERVER] {
        let syn = Segment { from: side, seq: isn(side), bytes: Vec::new() };
        connections.piece(1, &Piece { syn: true, ..piece(&syn, 0) }, &mut out);
    }
    let get = Segment { from: CLIENT, seq: isn(CLIENT) + 1, bytes: b"GET / HTTP/1.1\r\n\r\n".to_vec() };
    assert_eq!(connections.piece(1, &piece(&get, 1_000), &mut out).skip_until.local, None);
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
    let response = Segment { from: SERVER, seq: isn(SERVER).wrapping_add(1), bytes: head.to_vec() };
    let advice = connections.piece(1, &piece(&response, 4_000), &mut out);
    let end = isn(SERVER).wrapping_add(1 + head.len() as u32 + 1_000_000);
    assert_eq!(advice.skip_until.remote, Some(end.wrapping_sub(1)));
    let told = out.len();
    let last = Segment { from: SERVER, seq: end.wrapping_sub(1), bytes: b"x".to_vec() };
    connections.piece(1, &piece(&last, 5_000), &mut out);
    assert_eq!(out.len(), told + 1, "told once its last byte is there, and no later");
    let get = Segment { from: CLIENT, seq: isn(CLIENT) + 19, bytes: b"GET /2 HTTP/1.1\r\n\r\n".to_vec() };
    let next = Segment { from: SERVER, seq: end, bytes: b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_vec() };
    connections.piece(1, &piece(&next, 9_000), &mut out);
    assert_eq!(line(&out[1]), "< 200 GET / 1000000");
    assert_eq!(out[1].latency_ns, Some(3_000));
    connections.piece(1, &piece(&get, 9_000), &mut out);
    assert_eq!(line(&out[3]), "< 500 GET /2 0");
}

#[test]
fn a_request_with_a_long_body_that_was_not_copied_is_whole_if_it_was_sent_to_its_end_and_only_then() {
    for (is_sent, expected) in [(true, "> POST / 1000000"), (false, ">~ POST / ?")] {
        let mut connections = Connections::new(Options::default());
        let mut out = Vec::new();
        for side in [CLIENT, SERVER] {
            let syn = Segment { from: side, seq: isn(side), bytes: Vec::new() };
            connections.piece(1, &Piece { syn: true, ..piece(&syn, 0) }, &mut out);
        }
        let head = b"POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n";
        let post = Segment { from: CLIENT, seq: isn(CLIENT) + 1, bytes: head.to_vec() };
        let until = connections.piece(1, &piece(&post, 1_000), &mut out).skip_until.local.unwrap();
        if is_sent {
            let last = Segment { from: CLIENT, seq: until, bytes: b"x".to_vec() };
            connections.piece(1, &piece(&last, 2_000), &mut out);
        }
        let answer = b"HTTP/1.1 413 Too Much\r\nContent-Length: 0\r\n\r\n";
        let answer = Segment { from: SERVER, seq: isn(SERVER).wrapping_add(1), bytes: answer.to_vec() };
        connections.piece(1, &piece(&answer, 9_000), &mut out);
        assert_eq!(out.iter().map(line).collect::<Vec<_>>(), [expected, "< 413 POST / 0"]);
    }
}

#[test]
fn what_goes_on_for_long_is_told_by_its_head_and_not_again() {
    const SECOND: u64 = 1_000;
    let turns = [
        turn(CLIENT, "POST /watch HTTP/1.1\r\nContent-Length: 3\r\n\r\na"),
        turn(CLIENT, "b"),
        turn(SERVER, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"),
        turn(SERVER, "1\r\ny\r\n"),
        turn(SERVER, "1\r\nz\r\n"),
    ];
    let mut seen = segments(&turns, &Way::plain());
    let watched = told_in_time(&seen[..4], &[SECOND], &[true]);
    assert_eq!(line(&watched[0]), "> POST /watch ?");
    let watched = told_in_time(&seen, &[3 * SECOND], &[true]);
    assert_eq!(watched.iter().map(line).collect::<Vec<_>>(), ["> POST /watch ?", "< 200 POST /watch ?"]);
    assert_eq!((watched[1].time_ns, watched[1].latency_ns), (9_000_000_000, Some(6_000_000_000)));
    assert!(http(&watched[1]).headers.len() == 1 && !watched[1].partial);
    // The rest of both bodies, and what follows them.
    let rest = [
        turn(CLIENT, "c"),
        turn(SERVER, "0\r\n\r\n"),
        turn(CLIENT, "GET /next HTTP/1.1\r\n\r\n"),
        turn(SERVER, "HTTP/1.1 204 No\r\n\r\n"),
    ];
    seen = segments(&[&turns[..], &rest].concat(), &Way::plain());
    let all = told_in_time(&seen, &[3 * SECOND], &[true]);
    assert_eq!(
        all.iter().map(line).collect::<Vec<_>>(),
        ["> POST /watch ?", "< 200 POST /watch ?", "> GET /next 0", "< 204 GET /next 0"]
    );
}

#[test]
fn a_connection_joined_on_its_way_is_told_from_the_next_request_on() {
    let turns = [
        turn(SERVER, "the rest of a body, then nothing"),
        turn(CLIENT, "GET /a HTTP/1.1\r\n\r\n"),
        turn(SERVER, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ];
    let told = told_with(Options::default(), &segments(&turns, &Way::plain()), false);
    assert_eq!(told.iter().map(line).collect::<Vec<_>>(), [">~ GET /a 0", "<~ 200 GET /a 2"]);
}

#[test]
fn joining_is_taken_up_again_after_a_gap() {
    let exchange = |n: u32| {
        [
            turn(CLIENT, &format!("GET /{n} HTTP/1.1\r\n\r\n")),
            turn(SERVER, &format!("HTTP/1.1 20{n} OK\r\nContent-Length: 2\r\n\r\nok")),
        ]
    };
    let turns: Vec<_> = (0..4).flat_map(exchange).collect();
    let mut seen = segments(&turns, &Way::plain());
    // The second response.
    seen.remove(3);
    let told = told_with(Options { connection_memory: 0, ..Options::default() }, &seen, true);
    assert_eq!(
        told.iter().map(line).collect::<Vec<_>>(),
        ["> GET /0 0", "< 200 GET /0 2", "> GET /1 0", "> GET /2 0", "<~ 202   ?", ">~ GET /3 0", "<~ 203 GET /3 2"]
    );
}

#[test]
fn secrets_are_masked_unless_they_are_asked_for() {
    let turns = [turn(CLIENT, "GET /?key=abc HTTP/1.1\r\nHost: a\r\nCookie: s=1\r\nAuthorization: Bearer x\r\n\r\n")];
    let pieces = segments(&turns, &Way::plain());
    assert!(!format!("{:?}", told(&pieces)).contains("Bearer"));
    let open = Options { masker: Masker { show_secrets: true }, ..Options::default() };
    let shown = format!("{:?}", told_with(open, &pieces, true));
    assert!(shown.contains("Bearer x") && shown.contains("key=abc") && shown.contains("s=1"), "{shown}");
}

#[test]
fn idle_connections_go_when_memory_is_short_and_are_partial_when_they_go_on() {
    let mut connections = Connections::new(Options { memory: 64 << 10, ..Options::default() });
    let mut out = Vec::new();
    let head = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(5000));
    for key in 0..100u32 {
        for segment in [
            Segment { from: CLIENT, seq: 0, bytes: Vec::new() },
            Segment { from: CLIENT, seq: 1, bytes: head.clone().into() },
        ] {
            let syn = segment.bytes.is_empty();
            connections.piece(key, &Piece { syn, ..piece(&segment, key.into()) }, &mut out);
            assert!(connections.memory() <= 64 << 10, "{}", connections.memory());
        }
    }
    assert!(connections.forgotten() >= 85 && connections.len() < 15, "{} left", connections.len());
    let rest = Segment { from: CLIENT, seq: 1 + head.len() as u32, bytes: b"\r\n\r\n".to_vec() };
    connections.piece(99, &piece(&rest, 200), &mut out);
    connections.piece(0, &piece(&rest, 201), &mut out);
    let get = Segment { from: SERVER, seq: 5, bytes: b"GET /back HTTP/1.1\r\n\r\n".to_vec() };
    connections.piece(0, &piece(&get, 202), &mut out);
    assert_eq!(out.iter().map(line).collect::<Vec<_>>(), ["> GET / 0", ">~ GET /back 0"]);
    let mut ticked = Vec::new();
    connections.tick(u64::MAX, &mut ticked);
    assert_eq!((connections.len(), connections.memory()), (0, 0));
}

/// An exchange of a number of its own, so that what is told of it can be told from all others.
fn exchange(n: usize, method: u8, framing: u8, body: usize, misleading: bool) -> (String, String) {
    let method = ["GET", "HEAD", "POST"][usize::from(method % 3)];
    let upload = if method == "POST" { body } else { 0 };
    let length = if method == "POST" { format!("Content-Length: {upload}\r\n") } else { String::new() };
    let request = format!("{method} /{n} HTTP/1.1\r\nHost: h\r\n{length}\r\n{}", "u".repeat(upload));
    let text = if misleading {
        "GET /wrong HTTP/1.1\r\n\r\nHTTP/1.1 299 Wrong\r\n\r\n"
    } else {
        "nothing but what is in a body\r\n"
    };
    let content = text.repeat(1 + body / 20);
    let content = &content[..body];
    let code = 210 + n;
    let mut response = match framing % 3 {
        0 => format!("HTTP/1.1 {code} OK\r\nContent-Length: {body}\r\n\r\n{content}"),
        1 => {
            let (a, b) = content.split_at(body / 2);
            let chunk =
                |part: &str| if part.is_empty() { String::new() } else { format!("{:x}\r\n{part}\r\n", part.len()) };
            format!("HTTP/1.1 {code} OK\r\nTransfer-Encoding: chunked\r\n\r\n{}{}0\r\nT: x\r\n\r\n", chunk(a), chunk(b))
        }
        _ => format!("HTTP/1.1 100 Wait\r\n\r\nHTTP/1.1 {code} OK\r\nContent-Length: {body}\r\n\r\n{content}"),
    };
    if method == "HEAD" {
        response = format!("HTTP/1.1 {code} OK\r\nContent-Length: {body}\r\n\r\n");
    }
    (request, response)
}

fn exchanges() -> impl Strategy<Value = Vec<(u8, u8, usize)>> {
    prop::collection::vec((any::<u8>(), any::<u8>(), prop_oneof![0usize..50, 0usize..6000]), 1..8)
}

fn turns_of(exchanges: &[(u8, u8, usize)], misleading: bool) -> Vec<Turn> {
    let spoken = exchanges
        .iter()
        .enumerate()
        .map(|(n, (method, framing, body))| exchange(n, *method, *framing, *body, misleading));
    spoken.flat_map(|(request, response)| [turn(CLIENT, &request), turn(SERVER, &response)]).collect()
}

/// Whether what is told agrees with what is so: it is the same, or partial, and says nothing else.
fn agrees(told: &Message, so: &Message) -> bool {
    let (a, b) = (http(told), http(so));
    told == so
        || told.partial
            && told.kind == so.kind
            && told.from == so.from
            && a.code == b.code
            && (a.method.is_empty() || a.method == b.method)
            && (a.url.is_empty() || a.url == b.url)
            && a.headers == b.headers
            && told.body_bytes.is_none_or(|bytes| Some(bytes) == so.body_bytes)
}

proptest! {
    #[test]
    fn messages_do_not_depend_on_how_the_stream_was_cut_reordered_or_repeated(exchanges in exchanges(), ahead: bool, way in Way::any()) {
        let mut turns = turns_of(&exchanges, true);
        if ahead {
            turns.sort_by_key(|(from, _)| *from == SERVER);
            let mut both = [(CLIENT, Vec::new()), (SERVER, Vec::new())];
            for (from, bytes) in turns {
                both[usize::from(from == SERVER)].1.extend(bytes);
            }
            turns = both.to_vec();
        }
        let plain = told(&segments(&turns, &Way::plain()));
        prop_assert_eq!(plain.len(), exchanges.len() * 2);
        prop_assert_eq!(told(&segments(&turns, &way)), plain);
    }

    #[test]
    fn a_message_is_told_once_whenever_time_is_let_pass(exchanges in exchanges(), way in Way::any(), after in prop::collection::vec(0u64..4000, 1..20), ticks in prop::collection::vec(any::<bool>(), 1..20)) {
        let seen = segments(&turns_of(&exchanges, true), &way);
        let plain = told_in_time(&seen, &after, &[false]);
        prop_assert_eq!(plain.len(), exchanges.len() * 2);
        let ticked = told_in_time(&seen, &after, &ticks);
        prop_assert!(is_same_but_for_ends(&ticked, &plain), "{:?}", ticked);
    }

    #[test]
    fn a_gap_anywhere_makes_no_message_wrong(exchanges in exchanges(), way in Way::any(), lost in prop::collection::vec(any::<prop::sample::Index>(), 1..4), opened: bool, patient: bool) {
        let turns = turns_of(&exchanges, false);
        let so = told(&segments(&turns, &Way::plain()));
        let way = Way { swaps: vec![false], repeats: vec![false], ..way };
        let mut seen = segments(&turns, &way);
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

    #[test]
    fn bytes_of_any_kind_are_read_or_left(pieces in prop::collection::vec((any::<bool>(), any::<u16>(), prop::collection::vec(any::<u8>(), 0..50)), 0..50)) {
        let seen: Vec<_> = pieces.into_iter().map(|(local, seq, bytes)| Segment { from: if local { CLIENT } else { SERVER }, seq: seq.into(), bytes }).collect();
        told_with(Options::default(), &seen, false);
    }
}
