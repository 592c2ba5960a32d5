//! One direction of a TCP connection: pieces in any order become bytes in theirs.

use std::collections::VecDeque;

/// Pieces that wait for what comes before them, at most; a bound for what each costs beside its bytes.
const MAX_WAITING: usize = 512;

/// A piece that came before what it follows.
#[derive(Debug)]
pub(crate) struct Waiting {
    seq: u32,
    since_ns: u64,
    /// It was the first after the other side had sent something.
    pub(crate) turn: bool,
    pub(crate) bytes: Vec<u8>,
}

/// What has come of one direction and was not made use of yet.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// Number of the first byte of all; of a stream joined on its way, of the first that was seen.
    first: u32,
    /// Number of the next byte.
    next: Option<u32>,
    /// Number after the last byte.
    end: Option<u32>,
    /// In order of their numbers.
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// In order, and not yet used by the decoder.
    ready: Vec<u8>,
    used: usize,
}

/// How far `seq` lies after `from`; negative: before it (RFC 9293, section 3.4).
fn distance(from: u32, seq: u32) -> i32 {
    seq.wrapping_sub(from).cast_signed()
}

fn wrapping_len(bytes: &[u8]) -> u32 {
    // A piece is a packet or less.
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

impl Stream {
    pub(crate) fn is_begun(&self) -> bool {
        self.next.is_some()
    }

    /// Whether `seq` is where this stream began.
    pub(crate) fn begins_at(&self, seq: u32) -> bool {
        self.next.is_some() && self.first == seq
    }

    pub(crate) fn begin(&mut self, seq: u32) {
        self.first = seq;
        self.next = Some(seq);
    }

    pub(crate) fn end_at(&mut self, seq: u32) {
        self.end.get_or_insert(seq);
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.next.is_some() && self.next == self.end
    }

    /// Number of the next byte.
    pub(crate) fn next(&self) -> Option<u32> {
        self.next
    }

    /// What of a piece is new and comes next; what comes later is kept.
    pub(crate) fn take<'a>(&mut self, seq: u32, bytes: &'a [u8], turn: bool, now: u64) -> Option<&'a [u8]> {
        let next = self.next?;
        let ahead = distance(next, seq);
        if ahead > 0 {
            self.wait(seq, bytes, turn, now);
            return None;
        }
        let old = usize::try_from(ahead.unsigned_abs()).unwrap_or(usize::MAX);
        let new = bytes.get(old..).filter(|new| !new.is_empty())?;
        self.next = Some(next.wrapping_add(wrapping_len(new)));
        Some(new)
    }

    fn wait(&mut self, seq: u32, bytes: &[u8], turn: bool, now: u64) {
        let Some(next) = self.next else { return };
        let ahead = distance(next, seq);
        let at = self.waiting.partition_point(|piece| distance(next, piece.seq) < ahead);
        // Sent again: what is there already is not kept twice.
        let is_known = |piece: &Waiting| piece.seq == seq && piece.bytes.len() >= bytes.len();
        if bytes.is_empty() || self.waiting.iter().skip(at).take_while(|piece| piece.seq == seq).any(is_known) {
            return;
        }
        self.waiting_bytes = self.waiting_bytes.saturating_add(bytes.len());
        self.waiting.insert(at, Waiting { seq, since_ns: now, turn, bytes: bytes.to_vec() });
    }

    /// The next piece that waited, if nothing is missing before it.
    pub(crate) fn pop(&mut self) -> Option<Waiting> {
        let next = self.next?;
        while self.waiting.front().is_some_and(|piece| distance(next, piece.seq) <= 0) {
            let mut piece = self.waiting.pop_front()?;
            self.waiting_bytes = self.waiting_bytes.saturating_sub(piece.bytes.len());
            let old = usize::try_from(distance(next, piece.seq).unsigned_abs()).unwrap_or(usize::MAX);
            if old < piece.bytes.len() {
                piece.bytes.drain(..old);
                piece.turn &= old == 0;
                self.next = Some(next.wrapping_add(wrapping_len(&piece.bytes)));
                return Some(piece);
            }
        }
        None
    }

    /// How many bytes are missing before the first piece that waits, or before the end.
    pub(crate) fn hole(&self) -> Option<u32> {
        let next = self.next?;
        let after = self.waiting.front().map(|piece| piece.seq).or(self.end)?;
        u32::try_from(distance(next, after)).ok().filter(|missing| *missing > 0)
    }

    /// Whether what is missing has been missing since before `since_ns`, or too much waits for it.
    pub(crate) fn is_given_up(&self, since_ns: u64, max_bytes: usize) -> bool {
        self.waiting_bytes > max_bytes
            || self.waiting.len() > MAX_WAITING
            || self.waiting.iter().any(|piece| piece.since_ns < since_ns)
    }

    /// Goes on `bytes` further without them.
    pub(crate) fn skip(&mut self, bytes: u32) {
        self.next = self.next.map(|next| next.wrapping_add(bytes));
    }

    pub(crate) fn ready(&self) -> &[u8] {
        self.ready.get(self.used..).unwrap_or_default()
    }

    pub(crate) fn keep(&mut self, bytes: &[u8]) {
        self.ready.extend_from_slice(bytes);
    }

    /// The decoder has used `bytes` of what is ready.
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.used = self.used.saturating_add(bytes);
        if self.used >= self.ready.len() {
            self.drop_ready();
        } else if self.used > self.ready.len() / 2 {
            self.ready.drain(..self.used);
            self.used = 0;
        }
    }

    pub(crate) fn drop_ready(&mut self) {
        self.used = 0;
        // A buffer that grew for one long message is not kept for all that follow.
        if self.ready.capacity() > 4096 {
            self.ready = Vec::new();
        }
        self.ready.clear();
    }

    /// Keeps nothing but where it is.
    pub(crate) fn release(&mut self) {
        *self = Self { first: self.first, next: self.next, end: self.end, ..Self::default() };
    }

    /// Bytes of memory beyond its own.
    pub(crate) fn memory(&self) -> usize {
        self.ready
            .capacity()
            .saturating_add(self.waiting_bytes)
            .saturating_add(self.waiting.len().saturating_mul(size_of::<Waiting>()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that comes out of pieces, in order.
    fn bytes_of(stream: &mut Stream, pieces: &[(u32, &[u8])]) -> Vec<u8> {
        let mut all = Vec::new();
        for (seq, bytes) in pieces {
            all.extend_from_slice(stream.take(*seq, bytes, false, 0).unwrap_or_default());
            while let Some(piece) = stream.pop() {
                all.extend_from_slice(&piece.bytes);
            }
        }
        all
    }

    #[test]
    fn pieces_out_of_order_repeated_and_overlapping_become_the_stream() {
        let mut stream = Stream::default();
        // The numbers wrap in the middle.
        stream.begin(u32::MAX - 2);
        let pieces: [(u32, &[u8]); 7] = [
            (1, b"ef"),
            (1, b"ef"),
            (u32::MAX - 2, b"ab"),
            (u32::MAX - 2, b"abc"),
            (u32::MAX, b"cdefg"),
            (0, b"d"),
            (4, b"hi"),
        ];
        assert_eq!(bytes_of(&mut stream, &pieces), b"abcdefghi");
        assert_eq!((stream.hole(), stream.next()), (None, Some(6)));
    }

    #[test]
    fn what_is_missing_is_told_by_its_length() {
        let mut stream = Stream::default();
        stream.begin(10);
        assert_eq!(bytes_of(&mut stream, &[(10, b"ab"), (15, b"f")]), b"ab");
        assert_eq!(stream.hole(), Some(3));
        assert!(!stream.is_given_up(0, 1));
        assert!(stream.is_given_up(1, 1), "waiting since 0");
        assert!(stream.is_given_up(0, 0), "more waits than may");
        stream.skip(3);
        assert_eq!(stream.pop().unwrap().bytes, b"f");
        stream.end_at(20);
        assert_eq!(stream.hole(), Some(4));
    }
}
