//! How TCP connections fare, and the arithmetic by which packets tell it.
//!
//! The kernel calls [`Health::take`] for each TCP packet that passes, and tests call the same code. Nothing here divides or loops: the
//! verifier reads it.

use crate::tcp;

/// What tells reordering from loss: a segment that was overtaken comes within this time of the one that overtook it, or within half
/// the round-trip time where that is known and shorter. Nanoseconds; what Wireshark takes where it knows no round-trip time.
pub const REORDERED_NS: u64 = 3_000_000;

/// One direction of a TCP connection: what its sender sent.
///
/// Counters only grow. Segments are those on the wire: a GSO super-packet counts as its segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Way {
    /// Segments with payload or a FIN, those sent again included.
    pub segments: u64,
    /// Of these, those that were sent again.
    pub retransmits: u64,
    /// Round-trip time from this place to the other end of this direction and back, from a segment to its acknowledgement, smoothed as
    /// in RFC 6298, section 2; nanoseconds; 0: not known. What the receiver delays its acknowledgements by is in it.
    pub srtt: u64,
    /// Its variation, by the same rules: the jitter.
    pub rttvar: u64,
    /// The shortest; 0: not known.
    pub rtt_min: u64,
    /// The longest.
    pub rtt_max: u64,
    /// When the segment passed whose acknowledgement is waited for, nanoseconds of `CLOCK_MONOTONIC`; 0: none.
    pub timed_at: u64,
    /// When something was overtaken last.
    pub gap_at: u64,
    /// The sequence number after that segment.
    pub timed_end: u32,
    /// The highest sequence number after a segment so far.
    pub next: u32,
    /// The highest acknowledgement so far.
    pub acked: u32,
    /// Where what was not seen yet begins; where `gap_to` is the same: nothing.
    pub gap_from: u32,
    /// And where it ends.
    pub gap_to: u32,
    /// Of `retransmits`, those that had not come by before: what they repeat was lost on its way here.
    pub lost_before: u32,
    /// Segments that came after ones they should have come before.
    pub out_of_order: u32,
    /// Acknowledgements that say again what the one before said, while data is under way (RFC 5681, section 2).
    pub duplicate_acks: u32,
    /// How often the sender has closed its window: it takes no more, since its application does not read.
    pub zero_windows: u32,
    /// Packets with SYN (SYN-ACK, of who is asked); what is more than 1 was sent again.
    pub syns: u32,
    /// Packets with RST.
    pub resets: u32,
    /// Of these, those that answer a SYN: refused.
    pub refused: u32,
    /// Measurements in `srtt`.
    pub rtt_samples: u32,
    /// The window of the last packet, not scaled.
    pub window: u16,
    /// Bits of [`way`].
    pub seen: u8,
    /// Always 0.
    pub pad: u8,
}

/// Bits of [`Way::seen`].
pub mod way {
    /// `next` means something.
    pub const NEXT: u8 = 1;
    /// `acked` means something.
    pub const ACKED: u8 = 2;
    /// Its window is closed.
    pub const CLOSED: u8 = 4;
}

/// How a TCP connection fares, in an observer's map of `HEALTH`; keys are those of payload decisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Health {
    /// First packet of the connection that is meant: a later one of the same addresses and ports begins anew.
    pub first_seen: u64,
    /// Last packet, nanoseconds of `CLOCK_MONOTONIC`.
    pub updated: u64,
    /// By [`hook`](crate::hook): what the pod sends, and what it receives.
    pub ways: [Way; 2],
}

/// What of a TCP packet matters here; numbers in host byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Segment {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledged: u32,
    /// Bytes of payload.
    pub length: u32,
    /// Segments on the wire.
    pub segments: u32,
    /// TCP flags.
    pub flags: u16,
    /// Window, not scaled.
    pub window: u16,
    /// Always 0.
    pub pad: u32,
}

/// How far `a` is past `b`, of numbers that come round (RFC 9293, section 3.4).
#[inline(always)]
const fn past(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b) as i32
}

impl Health {
    /// Takes the next packet, of the pod's or to it, in the order in which they pass.
    ///
    /// The rules. A segment that ends no further than what was sent already:
    /// - of at most one byte, right before what comes next, with nothing unacknowledged or against a closed window: a keepalive or a
    ///   probe of the window, which is counted as neither;
    /// - in a gap, within [`REORDERED_NS`] (or half the round-trip time, if shorter) of what overtook it: out of order;
    /// - in a gap, later: sent again, and lost before it came here;
    /// - else: sent again.
    ///
    /// One that begins in what was sent already and ends past it is sent again, too. The round-trip time is taken of one segment at a
    /// time, and of none while something is sent again (Karn's rule).
    #[inline(always)]
    pub fn take(&mut self, from_pod: bool, segment: &Segment) {
        self.updated = segment.time;
        let [sent, got] = &mut self.ways;
        let (mine, theirs) = if from_pod { (sent, got) } else { (got, sent) };
        let flags = segment.flags;
        if flags & tcp::RST != 0 {
            mine.resets = mine.resets.wrapping_add(1);
            // The other side has asked, and this one has said nothing but that.
            if theirs.syns != 0 && mine.syns == 0 && mine.segments == 0 && theirs.segments == 0 {
                mine.refused = mine.refused.wrapping_add(1);
            }
            return;
        }
        let syn = flags & tcp::SYN != 0;
        let carried = segment.length.wrapping_add((flags & tcp::FIN != 0) as u32);
        if flags & tcp::ACK != 0 {
            mine.acknowledge(theirs, segment, carried == 0 && !syn);
        }
        if syn {
            mine.synchronise(segment);
        } else {
            mine.advance(theirs, segment, carried);
            mine.open(segment.window);
        }
        mine.window = segment.window;
    }
}

impl Way {
    /// A SYN or SYN-ACK.
    #[inline(always)]
    fn synchronise(&mut self, segment: &Segment) {
        let end = segment.sequence.wrapping_add(1).wrapping_add(segment.length);
        self.syns = self.syns.wrapping_add(1);
        if self.syns == 1 {
            self.time(segment.time, end);
        } else {
            self.timed_at = 0;
        }
        // One that comes late changes nothing.
        if self.segments == 0 {
            self.next = end;
        }
        self.seen |= way::NEXT;
    }

    /// What it says of its window, where it is no SYN or RST.
    #[inline(always)]
    fn open(&mut self, window: u16) {
        if window != 0 {
            self.seen &= !way::CLOSED;
        } else if self.seen & way::CLOSED == 0 {
            self.seen |= way::CLOSED;
            self.zero_windows = self.zero_windows.wrapping_add(1);
        }
    }

    /// What it says of what the other side sent; `bare`: and nothing else.
    #[inline(always)]
    fn acknowledge(&mut self, theirs: &mut Self, segment: &Segment, bare: bool) {
        let number = segment.acknowledged;
        if self.seen & way::ACKED == 0 {
            self.seen |= way::ACKED;
            self.acked = number;
        } else {
            let ahead = past(number, self.acked);
            if ahead > 0 {
                self.acked = number;
            } else if ahead == 0
                && bare
                && segment.window == self.window
                && theirs.seen & way::NEXT != 0
                && past(theirs.next, number) > 0
            {
                self.duplicate_acks = self.duplicate_acks.wrapping_add(1);
            }
        }
        if theirs.timed_at != 0 && past(number, theirs.timed_end) >= 0 {
            let took = segment.time.wrapping_sub(theirs.timed_at);
            theirs.timed_at = 0;
            if took as i64 > 0 {
                theirs.measured(took);
            }
        }
    }

    /// A measurement of the round-trip time: RFC 6298, section 2, with its factors of 1/8 and 1/4.
    #[inline(always)]
    fn measured(&mut self, took: u64) {
        if self.rtt_samples == 0 {
            self.srtt = took;
            self.rttvar = took >> 1;
        } else {
            let off = took.abs_diff(self.srtt);
            self.rttvar = self.rttvar - (self.rttvar >> 2) + (off >> 2);
            self.srtt = self.srtt - (self.srtt >> 3) + (took >> 3);
        }
        self.rtt_samples = self.rtt_samples.saturating_add(1);
        if self.rtt_min == 0 || took < self.rtt_min {
            self.rtt_min = took;
        }
        if took > self.rtt_max {
            self.rtt_max = took;
        }
    }

    /// Waits for the acknowledgement of what ends at `end`, unless one is waited for.
    #[inline(always)]
    fn time(&mut self, now: u64, end: u32) {
        if self.timed_at == 0 {
            self.timed_at = now;
            self.timed_end = end;
        }
    }

    /// What it carries: `carried` numbers of the sequence, maybe none.
    #[inline(always)]
    fn advance(&mut self, theirs: &Self, segment: &Segment, carried: u32) {
        let begin = segment.sequence;
        let end = begin.wrapping_add(carried);
        if self.seen & way::NEXT == 0 {
            // Joined on its way: what was before is not known.
            self.seen |= way::NEXT;
            self.next = end;
            self.segments = self.segments.wrapping_add(if carried == 0 { 0 } else { segment.segments as u64 });
            return;
        }
        if carried == 0 {
            return;
        }
        if past(self.next, begin) > 0 {
            self.again(theirs, segment, end);
            return;
        }
        self.segments = self.segments.wrapping_add(segment.segments as u64);
        if begin != self.next {
            let open = self.gap_from != self.gap_to;
            let fresh = segment.time.wrapping_sub(self.gap_at) <= REORDERED_NS;
            // One gap is remembered: of those that come close after one another, all of it.
            if !(open && fresh) {
                self.gap_from = self.next;
            }
            self.gap_to = begin;
            self.gap_at = segment.time;
        }
        self.next = end;
        self.time(segment.time, end);
    }

    /// What begins in what was sent already.
    #[inline(always)]
    fn again(&mut self, theirs: &Self, segment: &Segment, end: u32) {
        let begin = segment.sequence;
        let all_acked = theirs.seen & way::ACKED != 0 && past(theirs.acked, self.next) >= 0;
        let probes = segment.length <= 1
            && segment.flags & tcp::FIN == 0
            && begin == self.next.wrapping_sub(1)
            && (all_acked || theirs.seen & way::CLOSED != 0);
        if probes {
            return;
        }
        self.segments = self.segments.wrapping_add(segment.segments as u64);
        let gap = self.gap_from != self.gap_to;
        let in_gap = gap && past(begin, self.gap_from) >= 0 && past(self.gap_to, end) >= 0;
        if in_gap {
            let near = if self.srtt != 0 && self.srtt >> 1 < REORDERED_NS { self.srtt >> 1 } else { REORDERED_NS };
            let reordered = segment.time.wrapping_sub(self.gap_at) <= near;
            if begin == self.gap_from {
                self.gap_from = end;
            } else if end == self.gap_to {
                self.gap_to = begin;
            }
            if reordered {
                self.out_of_order = self.out_of_order.wrapping_add(segment.segments);
                return;
            }
            self.lost_before = self.lost_before.wrapping_add(segment.segments);
        }
        self.retransmits = self.retransmits.wrapping_add(segment.segments as u64);
        self.timed_at = 0;
        if past(end, self.next) > 0 {
            self.next = end;
        }
    }
}
