//! One connection: its two streams, and the decoder that reads them.

use crate::decoder::{Context, Decoder};
use crate::message::Message;
use crate::piece::{Advice, Piece, Side, Sides, Transport};
use crate::stream::Stream;
use crate::table::Options;

/// What may be ready and unused before the decoder is told that it will not get more: beyond any message that it waits
/// for whole (a DNS message over TCP, 2 + 65,535 bytes), and beyond a GSO packet.
const MAX_READY: usize = 132 * 1024;

/// A skip of less than this is not worth telling.
const MIN_SKIP: u64 = 4096;

/// As far ahead as a sequence number is still surely ahead.
const MAX_SKIP: u64 = 1 << 30;

#[derive(Debug)]
pub(crate) struct Connection {
    streams: Sides<Stream>,
    decoder: Decoder,
    /// Something was not seen.
    partial: bool,
    /// Who sent the last bytes.
    spoke: Option<Side>,
    pub(crate) last_ns: u64,
}

impl Connection {
    pub(crate) fn new(transport: Transport) -> Self {
        Self { streams: Sides::default(), decoder: Decoder::new(transport), partial: false, spoke: None, last_ns: 0 }
    }

    /// Whether nothing is decoded any more.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.decoder, Decoder::Done)
    }

    pub(crate) fn memory(&self) -> usize {
        size_of::<Self>()
            .saturating_add(self.streams.local.memory())
            .saturating_add(self.streams.remote.memory())
            .saturating_add(self.decoder.memory())
    }

    pub(crate) fn piece(&mut self, piece: &Piece<'_>, options: &Options, out: &mut Vec<Message>) -> Advice {
        self.last_ns = self.last_ns.max(piece.time_ns);
        match piece.transport {
            Transport::Udp => {
                let mut cx = Context::new(piece.time_ns, options, out);
                self.decoder.datagram(piece.from, piece.bytes, &mut cx);
            }
            Transport::Tcp => self.segment(piece, options, out),
        }
        self.advice()
    }

    /// Nothing more will come.
    pub(crate) fn finish(&mut self, now: u64, options: &Options, out: &mut Vec<Message>) {
        for side in Side::BOTH {
            self.advance(side, now, true, options, out);
        }
        self.decoder.unjoin();
        self.settle(now, options, out);
        for side in Side::BOTH {
            let mut cx = self.context(now, options, out);
            self.decoder.end(side, &mut cx);
        }
        self.stop();
    }

    /// Gives up what has been missing for too long, and tells what has been going on for too long.
    pub(crate) fn tick(&mut self, now: u64, options: &Options, out: &mut Vec<Message>) {
        for side in Side::BOTH {
            self.advance(side, now, false, options, out);
        }
        if self.last_ns.saturating_add(options.reorder_ns) < now {
            self.decoder.unjoin_held();
            self.settle(now, options, out);
        }
        let since = now.saturating_sub(options.hold_ns);
        self.decoder.tell_heads(since, &mut self.context(now, options, out));
    }

    fn context<'a>(&self, now: u64, options: &Options, out: &'a mut Vec<Message>) -> Context<'a> {
        let mut cx = Context::new(now, options, out);
        cx.partial = self.partial;
        cx
    }

    fn segment(&mut self, piece: &Piece<'_>, options: &Options, out: &mut Vec<Message>) {
        let (side, now) = (piece.from, piece.time_ns);
        let mut seq = piece.seq;
        if piece.syn {
            seq = seq.wrapping_add(1);
            let stream = self.streams.of(side);
            if stream.is_begun() && !stream.begins_at(seq) {
                // The same addresses and ports, once more.
                self.finish(now, options, out);
                *self = Self { last_ns: self.last_ns, ..Self::new(Transport::Tcp) };
            }
            if !self.streams.of(side).is_begun() {
                self.streams.of_mut(side).begin(seq);
            }
        }
        if self.is_done() {
            return;
        }
        if !piece.bytes.is_empty() && !self.streams.of(side).is_begun() {
            self.streams.of_mut(side).begin(seq);
            self.partial = true;
            self.decoder.join(side);
        }
        if !piece.bytes.is_empty() {
            let turn = self.spoke != Some(side);
            self.spoke = Some(side);
            if let Some(new) = self.streams.of_mut(side).take(seq, piece.bytes, turn, now) {
                // Trimmed: it does not start where a packet did.
                let turn = turn && new.len() == piece.bytes.len();
                self.deliver(side, new, turn, now, options, out);
            }
        }
        if piece.fin && self.streams.of(side).is_begun() {
            let end = seq.wrapping_add(u32::try_from(piece.bytes.len()).unwrap_or(u32::MAX));
            self.streams.of_mut(side).end_at(end);
        }
        self.advance(side, now, false, options, out);
        if piece.rst {
            self.finish(now, options, out);
        }
    }

    /// Delivers what waited as far as it can be; what is missing is stepped over where the decoder does not want it, or where
    /// it is given up.
    fn advance(&mut self, side: Side, now: u64, all: bool, options: &Options, out: &mut Vec<Message>) {
        while !self.is_done() {
            if let Some(piece) = self.streams.of_mut(side).pop() {
                self.deliver(side, &piece.bytes, piece.turn, now, options, out);
                continue;
            }
            let Some(missing) = self.streams.of(side).hole() else { break };
            let unwanted = self.decoder.unwanted(side).min(u64::from(missing));
            if unwanted > 0 {
                self.decoder.skip(side, unwanted, &mut self.context(now, options, out));
                self.streams.of_mut(side).skip(u32::try_from(unwanted).unwrap_or(missing));
                self.settle(now, options, out);
                continue;
            }
            let since = now.saturating_sub(options.reorder_ns);
            if !all && !self.streams.of(side).is_given_up(since, options.connection_memory) {
                break;
            }
            self.miss(side, now, options, out);
            self.streams.of_mut(side).skip(missing);
        }
        if self.streams.of(side).is_at_end() && !self.is_done() {
            let mut cx = self.context(now, options, out);
            self.decoder.end(side, &mut cx);
            self.settle(now, options, out);
            if self.streams.of(side.other()).is_at_end() {
                self.decoder.unjoin();
                self.settle(now, options, out);
                self.stop();
            }
        }
    }

    /// Bytes of `side` will never be seen.
    fn miss(&mut self, side: Side, now: u64, options: &Options, out: &mut Vec<Message>) {
        self.partial = true;
        self.decoder.unjoin();
        self.settle(now, options, out);
        self.streams.of_mut(side).drop_ready();
        let mut cx = self.context(now, options, out);
        self.decoder.gap(side, &mut cx);
        self.settle(now, options, out);
    }

    fn deliver(&mut self, side: Side, bytes: &[u8], turn: bool, now: u64, options: &Options, out: &mut Vec<Message>) {
        let mut cx = self.context(now, options, out);
        let stream = self.streams.of_mut(side);
        if stream.ready().is_empty() {
            self.decoder.piece_begins(side, turn);
            let used = self.decoder.data(side, bytes, &mut cx);
            self.partial |= cx.partial;
            stream.keep(bytes.get(used..).unwrap_or_default());
        } else {
            stream.keep(bytes);
        }
        self.settle(now, options, out);
        if self.streams.of(side).ready().len() > MAX_READY {
            self.miss(side, now, options, out);
        }
    }

    /// Lets the decoder go on with what is ready until it wants no more.
    fn settle(&mut self, now: u64, options: &Options, out: &mut Vec<Message>) {
        loop {
            let mut moved = self.decoder.hand_over();
            for side in Side::BOTH {
                if self.streams.of(side).ready().is_empty() {
                    continue;
                }
                let mut cx = self.context(now, options, out);
                let used = self.decoder.data(side, self.streams.of(side).ready(), &mut cx);
                self.partial |= cx.partial;
                self.streams.of_mut(side).consume(used);
                moved |= used > 0;
            }
            moved |= self.decoder.hand_over();
            if self.is_done() {
                self.stop();
                return;
            }
            if !moved {
                return;
            }
        }
    }

    fn stop(&mut self) {
        self.decoder = Decoder::Done;
        self.streams.local.release();
        self.streams.remote.release();
    }

    fn advice(&self) -> Advice {
        let recognised = !matches!(self.decoder, Decoder::Detecting(_) | Decoder::Done);
        let mut advice = Advice { not_l7: self.is_done(), recognised, ..Advice::default() };
        if !advice.not_l7 {
            for side in Side::BOTH {
                // All but the last byte: by that it is seen that a body was sent to its end, and when.
                let unwanted = self.decoder.unwanted(side).saturating_sub(1).min(MAX_SKIP);
                if unwanted >= MIN_SKIP {
                    let far = u32::try_from(unwanted).unwrap_or_default();
                    *advice.skip_until.of_mut(side) = self.streams.of(side).next().map(|next| next.wrapping_add(far));
                }
            }
        }
        advice
    }
}
