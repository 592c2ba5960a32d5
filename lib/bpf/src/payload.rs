//! What an observer decides about the payload of connections, and how the kernel gets to know it.
//!
//! Decisions lie in a map of the observer's own, which goes with it: who has its slot afterwards begins with none.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use chainkit_abi::{Event, PayloadKey, PayloadState, Piece, copy, hook, opened};

use crate::{
    error::{Context, Result},
    forgetful, sys,
    tables::{Connection, Key},
};

/// Fewest decisions that a map holds: the kernel lays 128 entries aside for each CPU that writes (`LOCAL_FREE_TARGET`,
/// kernel/bpf/bpf_lru_list.c), and a small one would forget early.
const FEWEST: u32 = 1024;
/// Most: 136 bytes of the kernel's memory each, taken at once.
const MOST: u32 = 1 << 20;

/// A connection whose payload is copied, as one endpoint meets it, told from others of the same addresses and ports before or after
/// it. Both directions are one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stream {
    key: PayloadKey,
    first_seen: u64,
}

impl Stream {
    /// The connection that a piece of payload belongs to.
    #[must_use]
    pub fn of(piece: &Piece) -> Self {
        let ends = [(piece.source, piece.source_port), (piece.destination, piece.destination_port)]
            .map(|(address, port)| (ip(piece.family, address), port));
        let [(local, local_port), (remote, remote_port)] = match (piece.hook, ends) {
            (hook::TO_POD, [source, destination]) => [destination, source],
            (_, ends) => ends,
        };
        // Of one family, since both were made of the same byte.
        let words = Key::of(local, remote, local_port, remote_port, piece.protocol).map_or([0; 5], words);
        Self { key: PayloadKey { words, slot: piece.slot, pad: 0 }, first_seen: piece.first_seen }
    }

    /// The connection that an event is about; `None`: it is about none.
    #[must_use]
    pub fn of_event(event: &Event) -> Option<Self> {
        if event.first_seen == 0 {
            return None;
        }
        // Of an end that no packet makes the source is who opened, the pod where that is not known.
        let from_pod = match event.hook {
            hook::SWEEP => event.opened != opened::BY_REMOTE,
            met => met == hook::FROM_POD,
        };
        Some(Self::of(&Piece {
            hook: if from_pod { hook::FROM_POD } else { hook::TO_POD },
            family: event.family,
            protocol: event.protocol,
            source: event.source,
            destination: event.destination,
            source_port: event.source_port,
            destination_port: event.destination_port,
            slot: event.slot,
            first_seen: event.first_seen,
            ..Piece::default()
        }))
    }

    pub(crate) const fn key(&self) -> PayloadKey {
        self.key
    }

    pub(crate) const fn first_seen(&self) -> u64 {
        self.first_seen
    }

    /// A connection out of an endpoint's table.
    #[must_use]
    pub fn of_connection(connection: &Connection) -> Self {
        let key = PayloadKey { words: words(connection.key), slot: connection.slot, pad: 0 };
        Self { key, first_seen: connection.conn.first_seen }
    }
}

fn words(key: Key) -> [u64; 5] {
    match key {
        Key::V4(key) => sys::words4(&key),
        Key::V6(key) => sys::words6(&key),
    }
}

fn ip(family: u8, address: [u8; 16]) -> IpAddr {
    let [a, b, c, d, ..] = address;
    match family {
        4 => Ipv4Addr::new(a, b, c, d).into(),
        _ => Ipv6Addr::from(address).into(),
    }
}

/// What of a connection's payload the kernel is to copy to an observer.
///
/// Where nothing is decided, it copies a direction whole until that has carried 64 KiB, and after that the first 64 bytes of each packet,
/// in pieces with [`piece_flag::PROBE`](chainkit_abi::piece_flag::PROBE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing, nor that it ends: it carries what nobody can read.
    Nothing,
    /// All but what is skipped.
    All(Skip),
}

/// TCP sequence numbers, in host byte order, before which nothing is copied; `None`: all is.
///
/// A packet in which the number lies is copied from there on. Then the kernel has done with it, and goes on to copy; what is sent once
/// more from before it is copied, too. A number may lie at most [`SKIP_MOST`](chainkit_abi::SKIP_MOST), 1 GiB, ahead of the stream: of
/// something longer, that much is skipped at a time. Of UDP nothing is skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skip {
    /// Of what the pod sends.
    pub from_pod: Option<u32>,
    /// Of what it receives.
    pub to_pod: Option<u32>,
}

/// An observer's decisions.
#[derive(Debug)]
pub(crate) struct Decisions {
    map: OwnedFd,
}

impl Decisions {
    /// A map for so many decisions; the least used makes room for another.
    pub(crate) fn new(most: u32) -> Result<Self> {
        let map = forgetful::map::<PayloadState>("decisions", most.clamp(FEWEST, MOST), "decisions about the payload")?;
        Ok(Self { map })
    }

    pub(crate) fn map(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }

    /// Decides about a connection.
    pub(crate) fn decide(&self, stream: &Stream, decision: Decision) -> Result<()> {
        let state = state(stream, decision);
        sys::update(self.map(), &stream.key, &state).during(|| "decide about the payload of a connection")
    }

    /// Forgets what was decided.
    pub(crate) fn forget(&self, stream: &Stream) -> Result<()> {
        sys::delete(self.map(), &stream.key).during(|| "forget a decision about the payload of a connection")
    }
}

fn state(stream: &Stream, decision: Decision) -> PayloadState {
    let (copy, skip) = match decision {
        Decision::Nothing => (copy::NOTHING, Skip::default()),
        Decision::All(skip) => (copy::ALL, skip),
    };
    // In the order of `hook`.
    let by_hook = [skip.from_pod, skip.to_pod];
    PayloadState {
        first_seen: stream.first_seen,
        until: by_hook.map(Option::unwrap_or_default),
        skips: by_hook.map(|until| u8::from(until.is_some())),
        copy,
        pad: [0; 5],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(hook: u8, family: u8) -> Piece {
        let (mut source, mut destination) = ([0; 16], [0; 16]);
        let length = if family == 4 { 4 } else { 16 };
        source[..length].fill(1);
        destination[..length].fill(2);
        let (source_port, destination_port) = (40000, 80);
        Piece {
            hook,
            family,
            protocol: 6,
            source,
            destination,
            source_port,
            destination_port,
            slot: 7,
            ..Piece::default()
        }
    }

    #[test]
    fn both_directions_of_a_connection_are_one_stream() {
        for family in [4, 6] {
            let sent = piece(hook::FROM_POD, family);
            let mut got = piece(hook::TO_POD, family);
            assert_ne!(Stream::of(&sent), Stream::of(&got), "the pod is another end of it");
            (got.source, got.destination) = (got.destination, got.source);
            (got.source_port, got.destination_port) = (got.destination_port, got.source_port);
            assert_eq!(Stream::of(&sent), Stream::of(&got));
        }
    }

    #[test]
    fn another_endpoint_or_a_later_connection_is_another_stream() {
        let one = piece(hook::FROM_POD, 4);
        assert_ne!(Stream::of(&one), Stream::of(&Piece { slot: 8, ..one }));
        assert_ne!(Stream::of(&one), Stream::of(&Piece { first_seen: 1, ..one }));
        assert_ne!(Stream::of(&one), Stream::of(&Piece { protocol: 17, ..one }));
        assert_eq!(Stream::of(&one), Stream::of(&Piece { sequence: 1, time: 2, length: 3, ..one }));
    }

    #[test]
    fn a_skip_is_written_for_its_own_direction() {
        let stream = Stream::of(&Piece { first_seen: 5, ..piece(hook::FROM_POD, 4) });
        let skip = Skip { from_pod: None, to_pod: Some(0) };
        let written = state(&stream, Decision::All(skip));
        assert_eq!((written.copy, written.skips, written.until, written.first_seen), (copy::ALL, [0, 1], [0, 0], 5));
        let skip = Skip { from_pod: Some(9), to_pod: None };
        assert_eq!(state(&stream, Decision::All(skip)).until, [9, 0]);
        assert_eq!(state(&stream, Decision::Nothing).copy, copy::NOTHING);
    }
}
