//! All connections, and the memory that they may take together.

use std::collections::HashMap;
use std::hash::Hash;

use crate::connection::Connection;
use crate::mask::Masker;
use crate::message::Message;
use crate::piece::{Advice, Piece};

/// What decoding may take, and what it shows.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is masked.
    pub masker: Masker,
    /// Tell headers of HTTP.
    pub headers: bool,
    /// Bytes that all connections may take together; past it those that were idle longest are forgotten.
    pub memory: usize,
    /// Bytes of one direction that may wait for what was to come before them; past it that is given up.
    pub connection_memory: usize,
    /// How long what is missing is waited for, nanoseconds.
    pub reorder_ns: u64,
    /// How long a message waits for the end of its body, nanoseconds; past it [`Connections::tick`] has it told by its head, without
    /// the length of the body and what trailers would say, and it is not told again at its end.
    pub hold_ns: u64,
    /// A connection without a piece for so long is forgotten, nanoseconds.
    pub idle_ns: u64,
}

impl Default for Options {
    /// Masked, with headers, 64 MiB in all and 256 KiB a direction; three seconds for what is missing (longer than two
    /// retransmission timeouts of RFC 6298, section 2.4), two for the end of a body, ten minutes idle.
    fn default() -> Self {
        Self {
            masker: Masker::default(),
            headers: true,
            memory: 64 << 20,
            connection_memory: 256 << 10,
            reorder_ns: 3_000_000_000,
            hold_ns: 2_000_000_000,
            idle_ns: 600_000_000_000,
        }
    }
}

/// The decoders of all connections, by a key of the caller's.
///
/// A key stands for one connection seen at one place: two ends of a connection on one node are two.
#[derive(Debug)]
pub struct Connections<K> {
    options: Options,
    connections: HashMap<K, Entry>,
    memory: usize,
    forgotten: u64,
}

#[derive(Debug)]
struct Entry {
    connection: Box<Connection>,
    memory: usize,
}

/// What a connection costs in the table beside its own.
const OVERHEAD: usize = 64;

impl<K: Copy + Eq + Hash> Connections<K> {
    /// None yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options, connections: HashMap::new(), memory: 0, forgotten: 0 }
    }

    /// Takes a piece, appends the messages that are whole now, and tells what need not be copied any more.
    pub fn piece(&mut self, key: K, piece: &Piece<'_>, out: &mut Vec<Message>) -> Advice {
        let entry = self
            .connections
            .entry(key)
            .or_insert_with(|| Entry { connection: Box::new(Connection::new(piece.transport)), memory: 0 });
        let advice = entry.connection.piece(piece, &self.options, out);
        let memory = entry.connection.memory().saturating_add(OVERHEAD);
        self.memory = self.memory.saturating_sub(entry.memory).saturating_add(memory);
        entry.memory = memory;
        if self.memory > self.options.memory {
            self.forget_idle(key);
        }
        advice
    }

    /// Lets time pass: what is missing for too long is given up, a message whose body goes on for too long is told by its head,
    /// and what is idle for too long forgotten. To be called about once a second with the time of the pieces' clock.
    pub fn tick(&mut self, now_ns: u64, out: &mut Vec<(K, Message)>) {
        let mut messages = Vec::new();
        let idle = now_ns.saturating_sub(self.options.idle_ns);
        self.connections.retain(|key, entry| {
            if entry.connection.last_ns < idle {
                entry.connection.finish(now_ns, &self.options, &mut messages);
            } else if !entry.connection.is_done() {
                entry.connection.tick(now_ns, &self.options, &mut messages);
            }
            out.extend(messages.drain(..).map(|message| (*key, message)));
            let memory = entry.connection.memory().saturating_add(OVERHEAD);
            self.memory = self.memory.saturating_sub(entry.memory).saturating_add(memory);
            entry.memory = memory;
            let stays = entry.connection.last_ns >= idle;
            if !stays {
                self.memory = self.memory.saturating_sub(memory);
            }
            stays
        });
    }

    /// The connection is over, or nobody looks at it any more: what of it can be told is told, and it is forgotten.
    pub fn close(&mut self, key: K, now_ns: u64, out: &mut Vec<Message>) {
        if let Some(mut entry) = self.connections.remove(&key) {
            entry.connection.finish(now_ns, &self.options, out);
            self.memory = self.memory.saturating_sub(entry.memory);
        }
    }

    /// Nothing more will come of any connection: as [`close`](Self::close), of all.
    pub fn finish(&mut self, now_ns: u64, out: &mut Vec<(K, Message)>) {
        let mut messages = Vec::new();
        for (key, mut entry) in self.connections.drain() {
            entry.connection.finish(now_ns, &self.options, &mut messages);
            out.extend(messages.drain(..).map(|message| (key, message)));
        }
        self.memory = 0;
    }

    /// Bytes that the connections take, reckoned.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// How many connections there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// How many were forgotten for want of memory. Each that goes on is met as if joined on its way, so that its messages are
    /// partial.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Forgets those that were idle longest until an eighth of the memory is free: so that what this costs is shared by many pieces.
    /// The one that is being read goes last.
    fn forget_idle(&mut self, current: K) {
        let target = self.options.memory / 8 * 7;
        let mut by_age: Vec<(bool, u64, K)> =
            self.connections.iter().map(|(key, entry)| (*key == current, entry.connection.last_ns, *key)).collect();
        by_age.sort_unstable_by_key(|(current, last_ns, _)| (*current, *last_ns));
        for (_, _, key) in by_age {
            if self.memory <= target {
                break;
            }
            if let Some(entry) = self.connections.remove(&key) {
                self.memory = self.memory.saturating_sub(entry.memory);
                self.forgotten = self.forgotten.saturating_add(1);
            }
        }
    }
}
