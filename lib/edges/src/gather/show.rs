//! From what was gathered to the map as it is now.

use std::collections::HashMap;

use super::{Edges, Gathered};
use crate::connection::{View, together};
use crate::edge::{Edge, EdgeTcp, Snapshot, Verdicts, empty, milliseconds, per_second};
use crate::node::By;
use crate::oriented::{Protocol, Side, Tuple};
use crate::sketch::Sketch;
use crate::tally::{Sums, Tally};

/// As many moves are followed: an address becomes a name, a service's address its backend.
const MAX_MOVES: usize = 8;

#[derive(Clone, Default)]
struct Total {
    tally: Tally,
    sums: Sums,
    knows_connections: bool,
    /// Of the connections that are remembered, by the client's side where it measures.
    rtt: Sketch,
    jitter: Sketch,
}

impl Total {
    fn round_trips(&mut self, client: &View, server: &View) {
        let mut measured = client.round_trips(Side::Client).peekable();
        if measured.peek().is_none() {
            self.add(server.round_trips(Side::Server));
        } else {
            self.add(measured);
        }
    }

    fn add(&mut self, measured: impl Iterator<Item = (u64, u64)>) {
        for (rtt, jitter) in measured {
            self.rtt.add(rtt);
            self.jitter.add(jitter);
        }
    }

    /// How TCP fares; none where nothing is known of it.
    fn tcp(&self) -> Option<EdgeTcp> {
        let sums = &self.sums;
        let known = sums.measured > 0 || sums.refused > 0 || sums.timeouts > 0;
        known.then(|| EdgeTcp {
            measured: sums.measured,
            segments_to: sums.segments_to,
            segments_from: sums.segments_from,
            retransmits_to: sums.retransmits_to,
            retransmits_from: sums.retransmits_from,
            out_of_order_to: sums.out_of_order_to,
            out_of_order_from: sums.out_of_order_from,
            zero_windows_by_src: sums.zero_windows_by_src,
            zero_windows_by_dst: sums.zero_windows_by_dst,
            resets_by_src: sums.resets_by_src,
            resets_by_dst: sums.resets_by_dst,
            refused: sums.refused,
            timeouts: sums.timeouts,
            rtt_p50_ms: self.rtt.quantile(500).map(milliseconds),
            rtt_p99_ms: self.rtt.quantile(990).map(milliseconds),
            jitter_p50_ms: self.jitter.quantile(500).map(milliseconds),
        })
    }
}

impl Edges {
    /// The map as it is now. Rates are over the time from the first flow to the last, one second at least.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let (totals, mut moved) = self.totals();
        for (place, edge) in self.edges.iter().enumerate() {
            if let Some(to) = edge.moved {
                moved.entry(place).or_insert(to);
            }
        }
        // What belongs to an edge whose connections have all gone to another goes with them.
        let mut shown: Vec<(Gathered, Total)> = self.edges.iter().cloned().zip(totals).collect();
        for place in 0..shown.len() {
            let is_left = |shown: &[(Gathered, Total)], place: usize| {
                shown.get(place).is_some_and(|(_, total)| total.tally.flows == 0)
            };
            if !is_left(&shown, place) {
                continue;
            }
            let mut to = place;
            for _ in 0..MAX_MOVES {
                match moved.get(&to) {
                    Some(next) if is_left(&shown, to) => to = *next,
                    _ => break,
                }
            }
            if to == place || is_left(&shown, to) {
                continue;
            }
            let from = shown.get(place).map(|(edge, _)| edge.clone());
            if let (Some(from), Some((edge, _))) = (from, shown.get_mut(to)) {
                edge.join(from, self.budget.recent);
            }
        }
        let mut snapshot = Snapshot { flows: self.flows, lost: self.lost, ..Snapshot::default() };
        for (_, total) in &shown {
            snapshot.first = snapshot.first.into_iter().chain(total.tally.first).min();
            snapshot.last = snapshot.last.max(total.tally.last);
        }
        let seconds = match (snapshot.first, snapshot.last) {
            (Some(first), Some(last)) => last.0.duration_since(first.0).as_secs_f64().max(1.0),
            _ => 1.0,
        };
        let with_flows = shown.iter().filter(|(_, total)| total.tally.flows > 0);
        snapshot.edges = with_flows.filter_map(|(edge, total)| self.edge(edge, total, seconds)).collect();
        snapshot.edges.sort_by(|a, b| {
            let weight = |edge: &Edge| (edge.bytes().unwrap_or(0), edge.flows);
            let name = |edge: &Edge| (edge.src.clone(), edge.dst.clone(), edge.protocol.clone(), edge.port);
            weight(b).cmp(&weight(a)).then_with(|| name(a).cmp(&name(b))).then_with(|| a.src_kind.cmp(&b.src_kind))
        });
        snapshot
    }

    /// What each edge has counted, and where edges have gone.
    fn totals(&self) -> (Vec<Total>, HashMap<usize, usize>) {
        let total = |edge: &Gathered| Total {
            tally: edge.tally.clone(),
            sums: edge.sums,
            knows_connections: edge.knows_connections,
            ..Total::default()
        };
        let mut totals: Vec<Total> = self.edges.iter().map(total).collect();
        let mut moved: HashMap<usize, usize> = HashMap::new();
        let joined = self.joined();
        let fronts: HashMap<Tuple, Tuple> = joined.iter().map(|(front, back)| (*back, *front)).collect();
        for (tuple, tracked) in &self.tracked {
            // The two stand where more is known of the server; the front one counts for both.
            if let Some(front) = fronts.get(tuple).and_then(|front| self.tracked.get(front)) {
                let place = if self.by == By::Service { front.edge } else { tracked.edge };
                let gone = if self.by == By::Service { tracked.edge } else { front.edge };
                if gone != place {
                    let to = moved.entry(gone).or_insert(place);
                    *to = (*to).min(place);
                }
                if let Some(total) = totals.get_mut(place) {
                    total.tally.add(&tracked.tally);
                    total.tally.add(&front.tally);
                    let client = front.client.sums(tuple.protocol);
                    let server = front.server.sums(tuple.protocol).most(tracked.server.sums(tuple.protocol));
                    total.sums.add(together(client, server));
                    total.knows_connections = true;
                    total.round_trips(&front.client, &tracked.server);
                }
                continue;
            }
            if joined.contains_key(tuple) {
                continue;
            }
            if let Some(total) = totals.get_mut(tracked.edge) {
                total.tally.add(&tracked.tally);
                total.sums.add(tracked.sums(tuple.protocol));
                total.knows_connections |= tracked.knows_connections();
                total.round_trips(&tracked.client, &tracked.server);
            }
        }
        (totals, moved)
    }

    fn edge(&self, gathered: &Gathered, total: &Total, seconds: f64) -> Option<Edge> {
        let key = gathered.key;
        let Total { tally, sums, knows_connections, .. } = total;
        let mut edge = empty(self.nodes.get(key.source)?, self.nodes.get(key.destination)?, key.port, key.protocol);
        // Ports that were too many.
        edge.overflow |= key.port.is_none()
            && matches!(key.protocol, Protocol::Tcp | Protocol::Udp | Protocol::Sctp)
            && self.ports.get(&(key.source, key.destination)).is_some_and(|ports| *ports > self.budget.ports);
        edge.l7 = gathered.spoken.name();
        edge.flows = tally.flows;
        if *knows_connections {
            edge.bytes_to = Some(sums.bytes_to);
            edge.bytes_from = Some(sums.bytes_from);
            edge.connections = Some(sums.connections);
            edge.unanswered = Some(sums.unanswered);
        }
        edge.denied = tally.denied;
        edge.would_deny = tally.would_deny;
        edge.errors = sums.errors;
        edge.kernel_drops = sums.kernel_drops;
        edge.requests = sums.requests;
        edge.resets = sums.resets;
        edge.tcp = total.tcp();
        edge.verdicts =
            Verdicts { forwarded: tally.forwarded, dropped: tally.dropped, audit: tally.audit, other: tally.other };
        if let Some((of, at, sketch)) = gathered.latencies() {
            edge.latency_of = Some(of);
            edge.latency_at = Some(at);
            edge.latencies = sketch.count();
            edge.p50_ms = sketch.quantile(500).map(milliseconds);
            edge.p99_ms = sketch.quantile(990).map(milliseconds);
        }
        edge.denied_by = gathered.denied_by.iter().cloned().collect();
        edge.names = gathered.names.iter().cloned().collect();
        edge.rate = per_second(tally.flows, seconds);
        edge.first = tally.first;
        edge.last = tally.last;
        edge.partial = gathered.partial;
        edge.recent = gathered.recent.iter().cloned().collect();
        Some(edge)
    }
}

impl Gathered {
    /// Takes in an edge whose connections have come here.
    fn join(&mut self, other: Self, recent: usize) {
        self.spoken.add(other.spoken);
        self.latency.merge(&other.latency);
        self.rtt.merge(&other.rtt);
        other.denied_by.iter().for_each(|name| super::keep(&mut self.denied_by, name));
        other.names.iter().for_each(|name| super::keep(&mut self.names, name));
        self.partial |= other.partial;
        for flow in other.recent {
            if self.recent.len() < recent {
                self.recent.push_front(flow);
            }
        }
    }

    /// The latencies that say most: of requests, else of handshakes; measured by the client, else by the server. Those of
    /// two sides are not mixed, since they measure different ways.
    fn latencies(&self) -> Option<(&'static str, &'static str, &Sketch)> {
        let of_requests = self.spoken.name().unwrap_or("l7");
        let measured = [
            (of_requests, "client", &self.latency.client),
            (of_requests, "server", &self.latency.server),
            ("rtt", "client", &self.rtt.client),
            ("rtt", "server", &self.rtt.server),
        ];
        measured.into_iter().find(|(.., sketch)| sketch.count() > 0)
    }
}
