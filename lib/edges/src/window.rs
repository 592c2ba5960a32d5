//! What edges have counted of late: counters that only grow, less what they were some time ago.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use crate::edge::{Edge, EdgeTcp, Snapshot};

/// So often within its length it is noted where counters stand, at most: it holds no more, however often it is looked at.
const NOTES: u32 = 20;

/// Counters by edge. An edge is a hash of what tells it from others, drawn anew for each process: nobody can choose two that are alike, and
/// should two be, they have counted less.
type Note = HashMap<u64, Counts>;

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    flows: u64,
    connections: u64,
    requests: u64,
    errors: u64,
    kernel_drops: u64,
    denied: u64,
    tcp: EdgeTcp,
}

/// The last so and so long.
#[derive(Debug)]
pub struct Window {
    length: Duration,
    hasher: RandomState,
    notes: VecDeque<(Instant, Note)>,
}

impl Window {
    /// One of this length; what was counted before its first [`note`](Self::note) is in none.
    #[must_use]
    pub fn new(length: Duration) -> Self {
        Self { length, hasher: RandomState::new(), notes: VecDeque::new() }
    }

    /// Notes where counters stand.
    pub fn note(&mut self, now: Instant, snapshot: &Snapshot) {
        let is_soon = |(at, _): &(Instant, Note)| now.duration_since(*at) < self.length / NOTES;
        if self.notes.back().is_some_and(is_soon) {
            return;
        }
        let note = snapshot.edges.iter().map(|edge| (self.name(edge), counts(edge))).collect();
        self.notes.push_back((now, note));
    }

    /// Makes counters of edges those of the window, leaves out edges of which nothing was told in it, and says how long it is: longer than
    /// asked for by what was between two notes at most, or shorter, where none is so old. What is no counter stays: round trips are of now.
    pub fn cut(&mut self, now: Instant, snapshot: &mut Snapshot) -> Duration {
        let is_past = |at: Instant| now.duration_since(at) >= self.length;
        while self.notes.get(1).is_some_and(|(at, _)| is_past(*at)) {
            self.notes.pop_front();
        }
        let Some((at, before)) = self.notes.front() else { return Duration::ZERO };
        let hasher = &self.hasher;
        snapshot.edges.retain_mut(|edge| {
            let before = before.get(&name(hasher, edge)).copied().unwrap_or_default();
            let counted = edge.flows > before.flows;
            if counted {
                subtract(edge, &before);
            }
            counted
        });
        now.duration_since(*at)
    }

    fn name(&self, edge: &Edge) -> u64 {
        name(&self.hasher, edge)
    }
}

fn name(hasher: &RandomState, edge: &Edge) -> u64 {
    hasher.hash_one((&edge.src, edge.src_kind, &edge.dst, edge.dst_kind, &edge.protocol, edge.port))
}

fn counts(edge: &Edge) -> Counts {
    let Edge { flows, requests, errors, kernel_drops, denied, .. } = *edge;
    let connections = edge.connections.unwrap_or(0);
    Counts { flows, connections, requests, errors, kernel_drops, denied, tcp: edge.tcp.unwrap_or_default() }
}

fn subtract(edge: &mut Edge, before: &Counts) {
    for (counter, before) in [
        (&mut edge.flows, before.flows),
        (&mut edge.requests, before.requests),
        (&mut edge.errors, before.errors),
        (&mut edge.kernel_drops, before.kernel_drops),
        (&mut edge.denied, before.denied),
    ] {
        *counter = counter.saturating_sub(before);
    }
    if let Some(connections) = &mut edge.connections {
        *connections = connections.saturating_sub(before.connections);
    }
    if let Some(tcp) = &mut edge.tcp {
        let was = &before.tcp;
        for (counter, before) in [
            (&mut tcp.measured, was.measured),
            (&mut tcp.segments_to, was.segments_to),
            (&mut tcp.segments_from, was.segments_from),
            (&mut tcp.retransmits_to, was.retransmits_to),
            (&mut tcp.retransmits_from, was.retransmits_from),
            (&mut tcp.out_of_order_to, was.out_of_order_to),
            (&mut tcp.out_of_order_from, was.out_of_order_from),
            (&mut tcp.zero_windows_by_src, was.zero_windows_by_src),
            (&mut tcp.zero_windows_by_dst, was.zero_windows_by_dst),
            (&mut tcp.resets_by_src, was.resets_by_src),
            (&mut tcp.resets_by_dst, was.resets_by_dst),
            (&mut tcp.refused, was.refused),
            (&mut tcp.timeouts, was.timeouts),
        ] {
            *counter = counter.saturating_sub(before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::empty;
    use crate::node::{Kind, Node};
    use crate::oriented::Protocol;

    fn snapshot(edges: &[(&str, u64, u64)]) -> Snapshot {
        let node =
            |name: &str| Node { kind: Kind::Pod, namespace: "shop".into(), name: name.into(), workload: "".into() };
        let edge = |(dst, connections, refused): &(&str, u64, u64)| {
            let mut edge = empty(&node("web"), &node(dst), Some(80), Protocol::Tcp);
            (edge.flows, edge.connections) = (*connections * 2, Some(*connections));
            edge.tcp = Some(EdgeTcp { refused: *refused, rtt_p50_ms: Some(4.0), ..EdgeTcp::default() });
            edge
        };
        let edges = edges.iter().map(edge).collect();
        Snapshot { edges, flows: 0, lost: 0, first: None, last: None }
    }

    fn seen(window: &mut Window, now: Instant, edges: &[(&str, u64, u64)]) -> Vec<(String, u64, u64)> {
        let snapshot = snapshot(edges);
        let mut cut = snapshot.clone();
        window.cut(now, &mut cut);
        window.note(now, &snapshot);
        let of = |edge: &Edge| (edge.dst.clone(), edge.connections.unwrap_or(0), edge.tcp.map_or(0, |tcp| tcp.refused));
        cut.edges.iter().map(of).collect()
    }

    #[test]
    fn what_was_before_and_what_is_long_over_is_not_told() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut window = Window::new(Duration::from_secs(60));
        window.note(start, &snapshot(&[("db", 90, 90)]));
        let db = |connections, refused| vec![("shop/db".to_owned(), connections, refused)];
        assert_eq!(seen(&mut window, at(5), &[("db", 90, 90)]), [], "nothing since it began");
        assert_eq!(seen(&mut window, at(10), &[("db", 94, 93)]), db(4, 3));
        assert_eq!(seen(&mut window, at(60), &[("db", 96, 93)]), db(6, 3));
        assert_eq!(seen(&mut window, at(75), &[("db", 99, 93)]), db(5, 0), "the refusals are over");
        assert_eq!(seen(&mut window, at(200), &[("db", 99, 93)]), [], "it is idle");
        assert_eq!(seen(&mut window, at(205), &[("db", 99, 93), ("new", 1, 1)]), [("shop/new".to_owned(), 1, 1)]);
        assert!(window.notes.len() <= 3, "{}", window.notes.len());
    }

    #[test]
    fn however_often_it_is_noted_it_holds_a_bounded_number() {
        let start = Instant::now();
        let mut window = Window::new(Duration::from_secs(60));
        for tenths in 0..6000 {
            seen(&mut window, start + Duration::from_millis(tenths * 100), &[("db", tenths, 0)]);
        }
        assert!(window.notes.len() <= 22, "{}", window.notes.len());
    }
}
