//! What is counted under a heading: of a pod, a port, a policy, a group.

use chainkit_flow::{Flow, Time};
use serde::Serialize;

use crate::edge::{milliseconds, per_second};
use crate::growth::Increase;
use crate::oriented::Side;
use crate::sketch::Sketch;
use crate::tally::{Sums, Tally};

/// Counts. Bytes are those of Ethernet frames; packets are those on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Flows, which are lines.
    pub flows: u64,
    /// Bytes one way: what `sent` means is for the heading to say.
    pub bytes_sent: u64,
    /// Bytes the other way.
    pub bytes_received: u64,
    /// Packets one way.
    pub packets_sent: u64,
    /// Packets the other way.
    pub packets_received: u64,
    /// Connections, told apart by when they began.
    pub connections: u64,
    /// Packets that were dropped.
    pub denied: u64,
    /// Packets that would be dropped were policy enforced.
    pub would_deny: u64,
    /// Requests of applications.
    pub requests: u64,
    /// Requests that failed on the server's side.
    pub errors: u64,
    /// TCP connections that were reset.
    pub resets: u64,
}

impl Numbers {
    /// What a flow adds; one that only tells counters of what is known anyway is no flow.
    pub(crate) fn of(sums: Sums, tally: Option<&Tally>) -> Self {
        Self {
            flows: tally.map_or(0, |tally| tally.flows),
            bytes_sent: sums.bytes_to,
            bytes_received: sums.bytes_from,
            packets_sent: sums.packets_to,
            packets_received: sums.packets_from,
            connections: sums.connections,
            denied: tally.map_or(0, |tally| tally.denied),
            would_deny: tally.map_or(0, |tally| tally.would_deny),
            requests: sums.requests,
            errors: sums.errors,
            resets: sums.resets,
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.flows, other.flows),
            (&mut self.bytes_sent, other.bytes_sent),
            (&mut self.bytes_received, other.bytes_received),
            (&mut self.packets_sent, other.packets_sent),
            (&mut self.packets_received, other.packets_received),
            (&mut self.connections, other.connections),
            (&mut self.denied, other.denied),
            (&mut self.would_deny, other.would_deny),
            (&mut self.requests, other.requests),
            (&mut self.errors, other.errors),
            (&mut self.resets, other.resets),
        ] {
            *sum = sum.saturating_add(more);
        }
    }

    /// Bytes both ways.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes_sent.saturating_add(self.bytes_received)
    }

    /// Packets both ways.
    #[must_use]
    pub const fn packets(&self) -> u64 {
        self.packets_sent.saturating_add(self.packets_received)
    }
}

/// Counts as JSON; what no line told is null.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Counts {
    /// As in [`Numbers`].
    pub flows: u64,
    /// As in [`Numbers`].
    pub bytes_sent: Option<u64>,
    /// As in [`Numbers`].
    pub bytes_received: Option<u64>,
    /// As in [`Numbers`].
    pub packets_sent: Option<u64>,
    /// As in [`Numbers`].
    pub packets_received: Option<u64>,
    /// As in [`Numbers`].
    pub connections: Option<u64>,
    /// As in [`Numbers`].
    pub denied: u64,
    /// As in [`Numbers`].
    pub would_deny: u64,
    /// As in [`Numbers`].
    pub requests: u64,
    /// As in [`Numbers`].
    pub errors: u64,
    /// As in [`Numbers`].
    pub resets: u64,
}

/// How many of each in a second; what no line told is null.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Rates {
    /// As in [`Numbers`].
    pub flows: f64,
    /// As in [`Numbers`].
    pub bytes_sent: Option<f64>,
    /// As in [`Numbers`].
    pub bytes_received: Option<f64>,
    /// As in [`Numbers`].
    pub packets_sent: Option<f64>,
    /// As in [`Numbers`].
    pub packets_received: Option<f64>,
    /// As in [`Numbers`].
    pub denied: f64,
    /// As in [`Numbers`].
    pub would_deny: f64,
    /// As in [`Numbers`].
    pub requests: f64,
    /// As in [`Numbers`].
    pub errors: f64,
}

impl Rates {
    pub(crate) fn of(numbers: &Numbers, has_counters: bool, seconds: f64) -> Self {
        let rate = |count| per_second(count, seconds);
        let known = |count| has_counters.then(|| rate(count));
        Self {
            flows: rate(numbers.flows),
            bytes_sent: known(numbers.bytes_sent),
            bytes_received: known(numbers.bytes_received),
            packets_sent: known(numbers.packets_sent),
            packets_received: known(numbers.packets_received),
            denied: rate(numbers.denied),
            would_deny: rate(numbers.would_deny),
            requests: rate(numbers.requests),
            errors: rate(numbers.errors),
        }
    }
}

impl Counts {
    pub(crate) fn of(numbers: &Numbers, has_counters: bool) -> Self {
        let known = |count| has_counters.then_some(count);
        Self {
            flows: numbers.flows,
            bytes_sent: known(numbers.bytes_sent),
            bytes_received: known(numbers.bytes_received),
            packets_sent: known(numbers.packets_sent),
            packets_received: known(numbers.packets_received),
            connections: known(numbers.connections),
            denied: numbers.denied,
            would_deny: numbers.would_deny,
            requests: numbers.requests,
            errors: numbers.errors,
            resets: numbers.resets,
        }
    }
}

/// All that is kept under a heading for a while.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    pub(crate) numbers: Numbers,
    /// Whether a line told bytes.
    pub(crate) has_counters: bool,
    pub(crate) first: Option<Time>,
    pub(crate) last: Option<Time>,
    client: Sketch,
    server: Sketch,
}

impl Kept {
    pub(crate) fn take(&mut self, numbers: &Numbers, flow: &Flow, increase: &Increase) {
        self.numbers.add(numbers);
        self.has_counters |= increase.has_counters;
        if numbers.flows > 0 {
            self.first = self.first.into_iter().chain(flow.time).min();
            self.last = self.last.max(flow.time);
        }
        if let Some(l7) = flow.l7.as_ref().filter(|l7| l7.latency_ns > 0) {
            match increase.oriented.observer {
                Side::Client => self.client.add(l7.latency_ns),
                Side::Server => self.server.add(l7.latency_ns),
            }
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.numbers.add(&other.numbers);
        self.has_counters |= other.has_counters;
        self.first = self.first.into_iter().chain(other.first).min();
        self.last = self.last.max(other.last);
        self.client.merge(&other.client);
        self.server.merge(&other.server);
    }

    /// Nanoseconds that 99 of 100 requests took at most; 0 of none.
    pub(crate) fn slowest(&self, first: Side) -> u64 {
        self.measured(first).and_then(|(_, sketch)| sketch.quantile(990)).unwrap_or(0)
    }

    fn measured(&self, first: Side) -> Option<(&'static str, &Sketch)> {
        let (client, server) = (("client", &self.client), ("server", &self.server));
        let order = if first == Side::Client { [client, server] } else { [server, client] };
        order.into_iter().find(|(_, sketch)| sketch.count() > 0)
    }

    /// Latency of requests. What client and server measure are different ways, and are not mixed.
    pub(crate) fn latency(&self, first: Side) -> Latency {
        match self.measured(first) {
            Some((at, sketch)) => Latency {
                p50_ms: sketch.quantile(500).map(milliseconds),
                p99_ms: sketch.quantile(990).map(milliseconds),
                latency_at: Some(at),
            },
            None => Latency { p50_ms: None, p99_ms: None, latency_at: None },
        }
    }
}

/// Latency of requests; none of none.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    /// Half of them are below, milliseconds.
    pub p50_ms: Option<f64>,
    /// 99 of 100 are below, milliseconds.
    pub p99_ms: Option<f64>,
    /// Where it was measured: `client` or `server`.
    pub latency_at: Option<&'static str>,
}
