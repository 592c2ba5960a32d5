//! Requests a second that are decoded from memory on one core, pieces given as the datapath gives them.

use std::hint::black_box;

use anyhow::{Context, Result, ensure};
use chainkit_l7::{Connections, Kind, Message, Options, Piece, Protocol, Side, Transport};
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
};
use serde_json::json;

use super::on_one_cpu;
use crate::{
    report::Report,
    stats::{median, median_ratio, rounded},
};

/// Requests of a round, each with its response.
const REQUESTS: u32 = 50_000;
/// As much as a packet of 1500 bytes carries, with timestamps.
const PIECE: usize = 1448;
/// Requests that are sent before the first response comes, where they are pipelined.
const PIPELINED: usize = 16;
const BODY: usize = 600;

/// What one side sends before the other does.
type Turn = (Side, Vec<u8>);

/// A connection to decode.
struct Conversation {
    name: &'static str,
    protocol: Protocol,
    turns: Vec<Turn>,
    target: Option<f64>,
}

pub(super) fn measure(report: &Report, rounds: usize) -> Result<()> {
    let conversations = all(REQUESTS);
    let mut results: Vec<(Vec<f64>, Vec<f64>)> = conversations.iter().map(|_| Default::default()).collect();
    on_one_cpu(|| {
        for _ in 0..rounds {
            for (conversation, (decoded, floor)) in conversations.iter().zip(&mut results) {
                decoded.push(rate(|| check(conversation, REQUESTS))?);
                floor.push(match conversation.protocol {
                    Protocol::Http1 => rate(|| parse_heads(conversation))?,
                    _ => rate(|| read_all(conversation))?,
                });
            }
        }
        Ok(())
    })?;
    report.heading(
        "requests a second, each with its response, decoded from memory on one core (of CPU time), in pieces of 1448 bytes at \
         most; in brackets the ratio to the floor of the same round: of HTTP/1 httparse on the heads alone, of others every byte \
         looked at once",
    )?;
    for (Conversation { name, target, .. }, (decoded, floor)) in conversations.iter().zip(&results) {
        let (requests, ratio) = (median(decoded), median_ratio(decoded, floor));
        report.result(
            &json!({
                "kind": "decode", "what": name, "requests_per_s": rounded(requests, 0), "floor_ratio": rounded(ratio, 3),
                "target": target, "rounds": rounds,
            }),
            &format!(
                "{name:40} {requests:9.0}/s [{ratio:6.3}]{}",
                target.map_or(String::new(), |target| format!("   (to reach: {target})"))
            ),
        )?;
    }
    Ok(())
}

fn all(requests: u32) -> [Conversation; 3] {
    [
        Conversation {
            name: "HTTP/1.1, a request at a time",
            protocol: Protocol::Http1,
            turns: http1(requests, 1),
            target: Some(300_000.0),
        },
        Conversation {
            name: "HTTP/1.1, pipelined, cut anywhere",
            protocol: Protocol::Http1,
            turns: http1(requests, PIPELINED),
            target: Some(300_000.0),
        },
        Conversation { name: "HTTP/2", protocol: Protocol::Http2, turns: http2(requests), target: None },
    ]
}

fn request1(number: u32) -> Vec<u8> {
    format!(
        "GET /api/v1/products/{number}?currency=EUR HTTP/1.1\r\nHost: catalogue.shop.svc.cluster.local\r\n\
         User-Agent: client/1.4\r\nAccept: application/json\r\nX-Request-Id: {number:032x}\r\nAuthorization: Bearer {number:x}\r\n\r\n"
    )
    .into_bytes()
}

fn response1(number: u32) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {BODY}\r\nDate: Mon, 23 Nov 2026 00:15:57 GMT\r\n\
         Server: server/2.0\r\nX-Request-Id: {number:032x}\r\n\r\n"
    );
    [head.as_bytes(), &[b'x'; BODY]].concat()
}

fn http1(requests: u32, at_once: usize) -> Vec<Turn> {
    let numbers: Vec<u32> = (0..requests).collect();
    let turns = |some: &[u32]| {
        let all = |of: fn(u32) -> Vec<u8>| some.iter().flat_map(|number| of(*number)).collect();
        [(Side::Local, all(request1)), (Side::Remote, all(response1))]
    };
    numbers.chunks(at_once).flat_map(turns).collect()
}

/// A header block of literals that are not remembered, and of the static table (RFC 7541, sections 6.1 and 6.2.2, appendix A).
fn http2(requests: u32) -> Vec<Turn> {
    let literal = |index: u8, value: &str| {
        let length = u8::try_from(value.len()).unwrap_or_default();
        // Indices past 14 take a second byte.
        let name: &[u8] = if index < 15 { &[index] } else { &[0x0f, index - 15] };
        [name, &[length], value.as_bytes()].concat()
    };
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let [_, length @ ..] = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
        [length.as_slice(), &[kind, flags], stream.to_be_bytes().as_slice(), payload].concat()
    };
    let settings = frame(4, 0, 0, &[]);
    let mut turns = vec![
        (Side::Local, [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &settings].concat()),
        (Side::Remote, settings),
    ];
    for number in 0..requests {
        let stream = 2 * number + 1;
        // GET, http.
        let mut block = vec![0x82, 0x86];
        block.extend(literal(1, "catalogue.shop.svc.cluster.local"));
        block.extend(literal(4, &format!("/api/v1/products/{number}?currency=EUR")));
        block.extend(literal(58, "client/1.4"));
        block.extend(literal(19, "application/json"));
        turns.push((Side::Local, frame(1, 5, stream, &block)));
        // 200.
        let mut block = vec![0x88];
        block.extend(literal(31, "application/json"));
        block.extend(literal(28, &BODY.to_string()));
        let body = frame(0, 1, stream, &[b'x'; BODY]);
        turns.push((Side::Remote, [frame(1, 4, stream, &block), body].concat()));
    }
    turns
}

/// Decodes it as the pieces of one connection that is seen from its beginning; each message goes to `take`.
fn decode(conversation: &Conversation, take: &mut dyn FnMut(&Message)) {
    let mut connections = Connections::new(Options::default());
    let mut messages = Vec::new();
    let mut next = [1000u32, 2000];
    let plain = Piece {
        from: Side::Local,
        transport: Transport::Tcp,
        seq: 0,
        time_ns: 0,
        syn: false,
        fin: false,
        rst: false,
        bytes: &[],
    };
    for (from, seq) in [Side::Local, Side::Remote].into_iter().zip(next) {
        connections.piece(7u32, &Piece { from, seq: seq.wrapping_sub(1), syn: true, ..plain }, &mut messages);
    }
    let mut time_ns = 0;
    for (from, bytes) in &conversation.turns {
        let [local, remote] = &mut next;
        let seq = if *from == Side::Local { local } else { remote };
        for bytes in bytes.chunks(PIECE) {
            time_ns += 1000;
            connections.piece(7, &Piece { from: *from, seq: *seq, time_ns, bytes, ..plain }, &mut messages);
            *seq = seq.wrapping_add(u32::try_from(bytes.len()).unwrap_or_default());
            messages.drain(..).for_each(|message| take(&message));
        }
    }
    connections.close(7, time_ns, &mut messages);
    messages.iter().for_each(take);
}

/// Decodes it, and makes sure that all of it was understood.
fn check(conversation: &Conversation, requests: u32) -> Result<()> {
    let (mut asked, mut answered, mut bad) = (0, 0, 0u32);
    decode(conversation, &mut |message| {
        match message.kind {
            Kind::Request => asked += 1,
            Kind::Response => answered += 1,
        }
        let is_whole = message.protocol == conversation.protocol && !message.partial;
        let is_joined = message.kind == Kind::Request || message.latency_ns.is_some();
        bad += u32::from(!is_whole || !is_joined);
        black_box(message);
    });
    ensure!(
        (asked, answered, bad) == (requests, requests, 0),
        "{}: {asked} requests and {answered} responses came of {requests}, {bad} of them not whole",
        conversation.name
    );
    Ok(())
}

/// The floor of HTTP/1: each head is parsed, and nothing kept.
fn parse_heads(conversation: &Conversation) -> Result<()> {
    for (side, bytes) in &conversation.turns {
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let mut headers = [httparse::EMPTY_HEADER; 16];
            let (status, body) = if *side == Side::Local {
                (httparse::Request::new(&mut headers).parse(rest), 0)
            } else {
                (httparse::Response::new(&mut headers).parse(rest), BODY)
            };
            let httparse::Status::Complete(length) = status.context("no head")? else {
                anyhow::bail!("a head breaks off");
            };
            rest = rest.get(length + body..).context("a body breaks off")?;
        }
    }
    Ok(())
}

/// The floor of all others: every byte is looked at.
fn read_all(conversation: &Conversation) -> Result<()> {
    let ends = |bytes: &[u8]| memchr::memchr_iter(b'\n', bytes).count();
    black_box(conversation.turns.iter().map(|(_, bytes)| ends(black_box(bytes))).sum::<usize>());
    Ok(())
}

/// Requests a second of CPU time, of work on all of them.
fn rate(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let used = || -> Result<i64> {
        let usage = getrusage(UsageWho::RUSAGE_THREAD).context("cannot ask for CPU time")?;
        Ok((usage.user_time() + usage.system_time()).num_microseconds())
    };
    let before = used()?;
    work()?;
    #[allow(clippy::cast_precision_loss, reason = "microseconds of seconds")]
    let microseconds = (used()? - before).max(1) as f64;
    Ok(f64::from(REQUESTS) / microseconds * 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_timed_is_understood_to_its_end() {
        for conversation in all(1000) {
            check(&conversation, 1000).unwrap();
        }
    }

    #[test]
    fn the_floor_passes_over_the_same_messages() {
        for conversation in all(100).iter().filter(|one| one.protocol == Protocol::Http1) {
            parse_heads(conversation).unwrap();
        }
    }
}
