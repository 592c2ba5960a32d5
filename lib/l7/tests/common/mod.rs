//! Conversations, and the ways in which they may be met.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a part of several suites, not each of which uses all"
)]

pub mod hello;
pub mod initial;

use chainkit_l7::{Connections, Content, Message, Options, Piece, Side, Transport};
use proptest::prelude::*;

/// What one side says before the other does.
pub type Turn = (Side, Vec<u8>);

/// A segment: who sends it, its sequence number, its bytes.
#[derive(Clone, Debug)]
pub struct Segment {
    pub from: Side,
    pub seq: u32,
    pub bytes: Vec<u8>,
}

/// How a conversation is met.
#[derive(Clone, Debug)]
pub struct Way {
    /// Lengths of segments, in turn.
    pub cuts: Vec<usize>,
    /// Of each segment, in turn: whether it changes places with the next of its turn.
    pub swaps: Vec<bool>,
    /// Of each segment, in turn: whether it comes again later, with some bytes of the one before.
    pub repeats: Vec<bool>,
}

impl Way {
    /// In order, whole, once.
    pub fn plain() -> Self {
        Self { cuts: vec![usize::MAX], swaps: vec![false], repeats: vec![false] }
    }

    pub fn any() -> impl Strategy<Value = Self> {
        let cuts = prop::collection::vec(prop_oneof![1usize..4, 1usize..60, 60usize..1500], 1..40);
        let flags = || prop::collection::vec(prop::bool::weighted(0.3), 1..20);
        (cuts, flags(), flags()).prop_map(|(cuts, swaps, repeats)| Self { cuts, swaps, repeats })
    }
}

/// Initial sequence number of a side; that of the peer wraps soon.
pub fn isn(side: Side) -> u32 {
    if side == Side::Local { 1000 } else { u32::MAX - 100 }
}

pub fn segments(turns: &[Turn], way: &Way) -> Vec<Segment> {
    let mut next = [isn(Side::Local).wrapping_add(1), isn(Side::Remote).wrapping_add(1)];
    let mut all = Vec::new();
    let (mut cuts, mut swaps, mut repeats) =
        (way.cuts.iter().cycle(), way.swaps.iter().cycle(), way.repeats.iter().cycle());
    for (from, bytes) in turns {
        let next = &mut next[usize::from(*from == Side::Remote)];
        let mut turn: Vec<Segment> = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (segment, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            turn.push(Segment { from: *from, seq: *next, bytes: segment.to_vec() });
            *next = next.wrapping_add(segment.len() as u32);
            rest = after;
        }
        for pair in turn.chunks_exact_mut(2) {
            if *swaps.next().unwrap() {
                pair.swap(0, 1);
            }
        }
        for (at, segment) in turn.iter().enumerate() {
            all.push(segment.clone());
            if *repeats.next().unwrap() {
                all.push(turn[at / 2].clone());
            }
        }
    }
    all
}

pub fn piece(segment: &Segment, time_ns: u64) -> Piece<'_> {
    Piece {
        from: segment.from,
        transport: Transport::Tcp,
        seq: segment.seq,
        time_ns,
        syn: false,
        fin: false,
        rst: false,
        bytes: &segment.bytes,
    }
}

/// What is told of a TCP connection that is seen from its beginning to its end.
pub fn told(segments: &[Segment]) -> Vec<Message> {
    told_with(Options::default(), segments, true)
}

/// The same; `opened`: its beginning is seen.
pub fn told_with(options: Options, segments: &[Segment], opened: bool) -> Vec<Message> {
    let mut connections = Connections::new(options);
    let mut out = Vec::new();
    let empty = |from, seq| Segment { from, seq, bytes: Vec::new() };
    if opened {
        for side in [Side::Local, Side::Remote] {
            let syn = empty(side, isn(side));
            connections.piece(7, &Piece { syn: true, ..piece(&syn, 0) }, &mut out);
        }
    }
    for segment in segments {
        connections.piece(7, &piece(segment, 5), &mut out);
    }
    for side in [Side::Local, Side::Remote] {
        // What is lost at the end is missed by the number of FIN alone.
        let last = segments
            .iter()
            .filter(|one| one.from == side)
            .map(|one| one.seq.wrapping_sub(isn(side)).wrapping_add(one.bytes.len() as u32));
        let fin = empty(side, isn(side).wrapping_add(last.filter(|last| *last < 1 << 30).max().unwrap_or(1)));
        connections.piece(7, &Piece { fin: true, ..piece(&fin, 5) }, &mut out);
    }
    connections.close(7, 5, &mut out);
    assert_eq!((connections.len(), connections.memory()), (0, 0));
    out
}

/// What is told of a TCP connection whose segments come `after` so many milliseconds each, in turn; with `ticks`, each tells whether
/// time is let pass after a segment, in turn. Nothing is given up, however long it is waited for.
pub fn told_in_time(segments: &[Segment], after: &[u64], ticks: &[bool]) -> Vec<Message> {
    let mut connections = Connections::new(Options { reorder_ns: u64::MAX, ..Options::default() });
    let mut out = Vec::new();
    for side in [Side::Local, Side::Remote] {
        let syn = Segment { from: side, seq: isn(side), bytes: Vec::new() };
        connections.piece(7, &Piece { syn: true, ..piece(&syn, 0) }, &mut out);
    }
    let mut now = 0;
    for ((segment, after), tick) in segments.iter().zip(after.iter().cycle()).zip(ticks.iter().cycle()) {
        now += after * 1_000_000;
        connections.piece(7, &piece(segment, now), &mut out);
        if *tick {
            let mut ticked = Vec::new();
            connections.tick(now, &mut ticked);
            out.extend(ticked.into_iter().map(|(_, message)| message));
        }
    }
    connections.close(7, now, &mut out);
    out
}

/// Whether what is told with ticks is what is told without them, once each, but for what is known at the end of a body alone.
pub fn is_same_but_for_ends(ticked: &[Message], plain: &[Message]) -> bool {
    let mut left = plain.to_vec();
    let mut is_told = |message: &Message| {
        let at = left.iter().position(|so| {
            let mut so = so.clone();
            if message.body_bytes.is_none() {
                so.body_bytes = None;
                if let (Content::Http(so), Content::Http(http)) = (&mut so.content, &message.content)
                    && let (Some(so), Some(grpc)) = (&mut so.grpc, &http.grpc)
                    && grpc.status.is_none()
                {
                    (so.status, so.message) = (None, String::new());
                }
            }
            so == *message
        });
        at.map(|at| left.remove(at)).is_some()
    };
    ticked.iter().all(&mut is_told) && left.is_empty()
}
