//! What is added up.

use chainkit_flow::{Extra, Flow, Layer7, Time, Verdict};

/// The response codes of DNS that are no error: there is such a name, or there is none (RFC 1035, section 4.1.1).
const DNS_ANSWERS: [u32; 2] = [0, 3];

/// What can be added up flow by flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) flows: u64,
    pub(crate) forwarded: u64,
    pub(crate) dropped: u64,
    pub(crate) audit: u64,
    pub(crate) other: u64,
    /// Packets.
    pub(crate) denied: u64,
    /// Packets.
    pub(crate) would_deny: u64,
    pub(crate) first: Option<Time>,
    pub(crate) last: Option<Time>,
}

impl Tally {
    pub(crate) fn of(flow: &Flow, extra: Option<&Extra>) -> Self {
        let mut tally = Self { flows: 1, first: flow.time, last: flow.time, ..Self::default() };
        // A denial stands for those since it was told last.
        let packets = extra.map_or(1, |extra| u64::from(extra.count.max(1)));
        match flow.verdict {
            Verdict::Forwarded => tally.forwarded = 1,
            // Nobody's policy: an error of its connection.
            Verdict::Dropped if extra.is_some_and(|extra| extra.drop.is_some()) => tally.dropped = 1,
            Verdict::Dropped => (tally.dropped, tally.denied) = (1, packets),
            Verdict::Audit => (tally.audit, tally.would_deny) = (1, packets),
            _ => tally.other = 1,
        }
        tally
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.flows, other.flows),
            (&mut self.forwarded, other.forwarded),
            (&mut self.dropped, other.dropped),
            (&mut self.audit, other.audit),
            (&mut self.other, other.other),
            (&mut self.denied, other.denied),
            (&mut self.would_deny, other.would_deny),
        ] {
            *sum = sum.saturating_add(more);
        }
        self.first = self.first.into_iter().chain(other.first).min();
        self.last = self.last.max(other.last);
    }
}

/// What is told twice where both ends were observed, and so is taken of one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) bytes_to: u64,
    pub(crate) bytes_from: u64,
    pub(crate) packets_to: u64,
    pub(crate) packets_from: u64,
    pub(crate) connections: u64,
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) kernel_drops: u64,
    pub(crate) resets: u64,
    pub(crate) unanswered: u64,
    pub(crate) measured: u64,
    pub(crate) segments_to: u64,
    pub(crate) segments_from: u64,
    pub(crate) retransmits_to: u64,
    pub(crate) retransmits_from: u64,
    pub(crate) out_of_order_to: u64,
    pub(crate) out_of_order_from: u64,
    pub(crate) zero_windows_by_src: u64,
    pub(crate) zero_windows_by_dst: u64,
    pub(crate) resets_by_src: u64,
    pub(crate) resets_by_dst: u64,
    pub(crate) refused: u64,
    pub(crate) timeouts: u64,
}

impl Sums {
    fn each(&mut self, other: Self, with: impl Fn(u64, u64) -> u64) {
        for (mine, theirs) in [
            (&mut self.bytes_to, other.bytes_to),
            (&mut self.bytes_from, other.bytes_from),
            (&mut self.packets_to, other.packets_to),
            (&mut self.packets_from, other.packets_from),
            (&mut self.connections, other.connections),
            (&mut self.requests, other.requests),
            (&mut self.errors, other.errors),
            (&mut self.kernel_drops, other.kernel_drops),
            (&mut self.resets, other.resets),
            (&mut self.unanswered, other.unanswered),
            (&mut self.measured, other.measured),
            (&mut self.segments_to, other.segments_to),
            (&mut self.segments_from, other.segments_from),
            (&mut self.retransmits_to, other.retransmits_to),
            (&mut self.retransmits_from, other.retransmits_from),
            (&mut self.out_of_order_to, other.out_of_order_to),
            (&mut self.out_of_order_from, other.out_of_order_from),
            (&mut self.zero_windows_by_src, other.zero_windows_by_src),
            (&mut self.zero_windows_by_dst, other.zero_windows_by_dst),
            (&mut self.resets_by_src, other.resets_by_src),
            (&mut self.resets_by_dst, other.resets_by_dst),
            (&mut self.refused, other.refused),
            (&mut self.timeouts, other.timeouts),
        ] {
            *mine = with(*mine, theirs);
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.each(other, u64::saturating_add);
    }

    /// What it has more than `before`.
    pub(crate) fn since(mut self, before: Self) -> Self {
        self.each(before, u64::saturating_sub);
        self
    }

    /// Of each the larger: of two ends that saw the same, what one may have missed the other may not.
    pub(crate) fn most(mut self, other: Self) -> Self {
        self.each(other, u64::max);
        self
    }
}

/// What applications speak on an edge, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spoken(u8);

/// From what says most to what says least.
const SPOKEN: [&str; 6] = ["grpc", "http", "dns", "kafka", "quic", "tls"];

impl Spoken {
    pub(crate) fn of(flow: &Flow, extra: Option<&Extra>) -> Self {
        let told = extra.and_then(|extra| extra.l7.as_ref()).map(|l7| l7.protocol.as_ref());
        let hubble = flow.l7.as_ref().and_then(|l7| match l7.as_ref() {
            Layer7 { dns: Some(_), .. } => Some("dns"),
            Layer7 { http: Some(_), .. } => Some("http"),
            Layer7 { kafka: Some(_), .. } => Some("kafka"),
            _ => None,
        });
        let name = match told {
            Some("http1" | "http2") => Some("http"),
            Some(name) => Some(name),
            None => hubble,
        };
        Self(SPOKEN.iter().position(|known| Some(*known) == name).map_or(0, |place| 1 << place))
    }

    pub(crate) const fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// The one that says most.
    pub(crate) fn name(self) -> Option<&'static str> {
        SPOKEN.iter().enumerate().find(|(place, _)| self.0 & (1 << place) != 0).map(|(_, name)| *name)
    }
}

/// Whether a message tells that something has failed on the server's side.
pub(crate) fn is_error(l7: &Layer7, extra: Option<&Extra>) -> bool {
    let http = l7.http.as_ref().is_some_and(|http| http.code >= 500);
    let dns = l7.dns.as_ref().is_some_and(|dns| !DNS_ANSWERS.contains(&dns.rcode));
    let kafka = l7.kafka.as_ref().is_some_and(|kafka| kafka.error_code != 0);
    let grpc = extra.and_then(|extra| extra.l7.as_ref()?.grpc.as_ref()?.status).is_some_and(|status| status != 0);
    http || dns || kafka || grpc
}
