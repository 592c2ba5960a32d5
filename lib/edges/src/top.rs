//! Who does most: pods, workloads, ports, policies or edges, by what they do in a while.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use chainkit_flow::{Flow, LostEvents, Policy, Record, Time};
use serde::Serialize;

use crate::growth::{Growth, Increase};
use crate::node::{By, Kind, Node, ends};
use crate::numbers::{Counts, Kept, Latency, Numbers, Rates};
use crate::oriented::{Protocol, Side};

/// Rows that are kept; of those beyond, the ones that were quiet longest are counted in `others`.
const MAX_ROWS: usize = 10_000;

/// Connections that are remembered, so that nothing is counted twice.
const MAX_CONNECTIONS: usize = 131_072;

/// What the rows are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rank {
    /// Pods that were observed.
    #[default]
    Pod,
    /// What they belong to.
    Workload,
    /// Ports of servers.
    Port,
    /// Policies that allowed or denied.
    Policy,
    /// Client, server and port.
    Edge,
}

/// What comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sort {
    /// Bytes both ways.
    #[default]
    Bytes,
    /// Packets both ways.
    Packets,
    /// Flows.
    Flows,
    /// Packets that were denied, or would be.
    Denied,
    /// Requests that failed.
    Errors,
    /// Latency that 99 of 100 requests are below.
    Latency,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Key {
    End(Node),
    Port(Protocol, Option<u16>),
    Policy { namespace: Box<str>, name: Box<str>, kind: Box<str>, direction: &'static str },
    Edge(Node, Node, Protocol, Option<u16>),
}

#[derive(Debug, Default)]
struct Row {
    /// Since the last snapshot.
    now: Kept,
    total: Numbers,
    has_counters: bool,
    /// The last snapshot in which it did something.
    touched: u64,
}

impl Row {
    fn take(&mut self, numbers: &Numbers, flow: &Flow, increase: &Increase, snapshot: u64) {
        self.now.take(numbers, flow, increase);
        self.total.add(numbers);
        self.has_counters |= increase.has_counters;
        self.touched = snapshot;
    }

    fn add(&mut self, other: &Self) {
        self.now.add(&other.now);
        self.total.add(&other.total);
        self.has_counters |= other.has_counters;
    }
}

/// Counts what each does, from one snapshot to the next.
#[derive(Debug)]
pub struct Top {
    rank: Rank,
    growth: Growth,
    rows: HashMap<Key, Row>,
    others: Row,
    /// Whether there were rows for which there was no room.
    overflow: bool,
    snapshots: u64,
    lost: u64,
    max_rows: usize,
}

impl Top {
    /// Nothing yet. Of connections that were there before `since` only what they do from then on counts; without it, all
    /// that is told of them.
    #[must_use]
    pub fn new(rank: Rank, since: Option<Time>) -> Self {
        Self {
            rank,
            growth: Growth::new(MAX_CONNECTIONS, since),
            rows: HashMap::new(),
            others: Row::default(),
            overflow: false,
            snapshots: 0,
            lost: 0,
            max_rows: MAX_ROWS,
        }
    }

    /// Takes a record: a flow, or word of losses.
    pub fn take(&mut self, record: &Record) {
        if let Some(LostEvents { num_events_lost, .. }) = &record.lost_events {
            self.lost = self.lost.saturating_add(*num_events_lost);
        }
        if let Some(flow) = &record.flow {
            self.count(flow, true);
        }
    }

    /// Takes the counters of a connection as they are now: bytes and packets, but no flow.
    pub fn counters(&mut self, record: &Record) {
        if let Some(flow) = &record.flow {
            self.count(flow, false);
        }
    }

    fn count(&mut self, flow: &Flow, is_flow: bool) {
        let extra = flow.extensions.as_ref().and_then(|extensions| extensions.extra());
        let increase = self.growth.take(flow, extra.as_deref());
        let tally = is_flow.then_some(&increase.tally);
        let oriented = &increase.oriented;
        let by = if self.rank == Rank::Pod { By::Pod } else { By::Workload };
        match self.rank {
            Rank::Pod | Rank::Workload => {
                let (source, destination) = ends(flow, by);
                let is_source = oriented.forward == (oriented.observer == Side::Client);
                let own = if is_source { source } else { destination };
                let numbers = Numbers::of(increase.at_observer(), tally);
                self.add(Key::End(own), &numbers, flow, &increase);
            }
            Rank::Port => {
                let numbers = Numbers::of(increase.once, tally);
                self.add(Key::Port(oriented.protocol, oriented.port), &numbers, flow, &increase);
            }
            Rank::Edge => {
                let (source, destination) = ends(flow, by);
                let (client, server) = if oriented.forward { (source, destination) } else { (destination, source) };
                let key = Key::Edge(client, server, oriented.protocol, oriented.port);
                self.add(key, &Numbers::of(increase.once, tally), flow, &increase);
            }
            Rank::Policy => {
                let numbers = Numbers::of(increase.at_observer(), tally);
                for (direction, policies) in [
                    ("egress", &flow.egress_allowed_by),
                    ("ingress", &flow.ingress_allowed_by),
                    ("egress", &flow.egress_denied_by),
                    ("ingress", &flow.ingress_denied_by),
                ] {
                    for policy in policies.iter() {
                        self.add(policy_key(policy, direction), &numbers, flow, &increase);
                    }
                }
            }
        }
    }

    fn add(&mut self, key: Key, numbers: &Numbers, flow: &Flow, increase: &Increase) {
        if self.rows.len() >= self.max_rows && !self.rows.contains_key(&key) {
            self.make_room();
        }
        let row = match self.rows.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            // Counters without news make no row: a connection that idles is none of the top.
            Entry::Vacant(_) if *numbers == Numbers::default() => return,
            Entry::Vacant(entry) => entry.insert(Row::default()),
        };
        if *numbers != Numbers::default() {
            row.take(numbers, flow, increase, self.snapshots);
        }
    }

    /// Puts a quarter of the rows, those that were quiet longest, under `others`.
    fn make_room(&mut self) {
        self.overflow = true;
        let mut all: Vec<(u64, u64, Key)> =
            self.rows.iter().map(|(key, row)| (row.touched, row.total.bytes(), key.clone())).collect();
        all.sort_unstable();
        for (.., key) in all.into_iter().take(self.rows.len() / 4 + 1) {
            if let Some(row) = self.rows.remove(&key) {
                self.others.add(&row);
            }
        }
    }

    /// The first `limit` rows and the sum of the others, with rates over `seconds`; counting begins anew from here.
    pub fn snapshot(&mut self, time: Option<Time>, seconds: f64, sort: Sort, limit: usize) -> TopSnapshot {
        let first = if matches!(self.rank, Rank::Pod | Rank::Workload) { Side::Server } else { Side::Client };
        let mut rows: Vec<(Weight, &Key, &Row)> =
            self.rows.iter().map(|(key, row)| (weight(row, sort, first), key, row)).collect();
        // The least of keys first where nothing else tells.
        rows.sort_by(|(a, one, _), (b, other, _)| b.cmp(a).then_with(|| one.cmp(other)));
        let mut others = Row::default();
        others.add(&self.others);
        for (.., row) in rows.iter().skip(limit) {
            others.add(row);
        }
        let left = rows.len().saturating_sub(limit);
        let line = |row: &Row| Line {
            rate: Rates::of(&row.now.numbers, row.has_counters, seconds),
            total: Counts::of(&row.total, row.has_counters),
            latency: row.now.latency(first),
        };
        let snapshot = TopSnapshot {
            kind: "Top",
            time,
            by: self.rank,
            sort,
            seconds: (seconds * 1000.0).round() / 1000.0,
            lost: self.lost,
            rows: rows.iter().take(limit).map(|(_, key, row)| TopRow { who: who(key), line: line(row) }).collect(),
            others: (left > 0 || self.overflow).then(|| Others {
                rows: u64::try_from(left).unwrap_or(u64::MAX),
                overflow: self.overflow,
                line: line(&others),
            }),
        };
        self.snapshots += 1;
        for row in self.rows.values_mut().chain([&mut self.others]) {
            row.now = Kept::default();
        }
        snapshot
    }
}

/// What a row is sorted by: what it did now, what it did in all.
type Weight = (u64, u64, u64, u64);

fn weight(row: &Row, sort: Sort, first: Side) -> Weight {
    let of = |numbers: &Numbers| match sort {
        Sort::Bytes => numbers.bytes(),
        Sort::Packets => numbers.packets(),
        Sort::Flows => numbers.flows,
        Sort::Denied => numbers.denied.saturating_add(numbers.would_deny),
        Sort::Errors => numbers.errors,
        Sort::Latency => 0,
    };
    let now = if sort == Sort::Latency { row.now.slowest(first) } else { of(&row.now.numbers) };
    (now, of(&row.total), row.now.numbers.bytes(), row.total.flows)
}

fn policy_key(policy: &Policy, direction: &'static str) -> Key {
    let [namespace, name, kind] = [&policy.namespace, &policy.name, &policy.kind].map(|text| text.as_str().into());
    Key::Policy { namespace, name, kind, direction }
}

fn who(key: &Key) -> Who {
    let mut who = Who::default();
    match key {
        Key::End(node) => {
            who.name = node.to_string();
            who.what = Some(node.kind);
            who.namespace = node.namespace.to_string();
        }
        Key::Port(protocol, port) => {
            who.name = over(*protocol, *port);
            who.protocol = Some(protocol.to_string());
            who.port = *port;
        }
        Key::Policy { namespace, name, kind, direction } => {
            let slash = if namespace.is_empty() { "" } else { "/" };
            who.name = format!("{namespace}{slash}{name}");
            who.namespace = namespace.to_string();
            who.policy_kind = Some(kind.to_string());
            who.direction = Some(direction);
        }
        Key::Edge(client, server, protocol, port) => {
            who.name = format!("{client} -> {server} {}", over(*protocol, *port));
            who.src = Some(client.to_string());
            who.dst = Some(server.to_string());
            who.protocol = Some(protocol.to_string());
            who.port = *port;
        }
    }
    who
}

fn over(protocol: Protocol, port: Option<u16>) -> String {
    port.map_or_else(|| protocol.to_string(), |port| format!("{protocol} {port}"))
}

/// What a row is of; what it has not is left out.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Who {
    /// Its name in one: `NS/POD`, `TCP 443`, `NS/POLICY`, `NS/A -> NS/B TCP 443`.
    pub name: String,
    /// Of pods and workloads what it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub what: Option<Kind>,
    /// Its namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Of an edge who asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src: Option<String>,
    /// Of an edge who is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dst: Option<String>,
    /// Of ports and edges.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Of ports and edges, the server's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Of a policy its kind, such as `NetworkPolicy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_kind: Option<String>,
    /// Of a policy: `egress` or `ingress`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<&'static str>,
}

/// The numbers of a row.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// A second, since the last snapshot.
    pub rate: Rates,
    /// Since counting began.
    pub total: Counts,
    /// Of requests since the last snapshot.
    #[serde(flatten)]
    pub latency: Latency,
}

/// A row.
#[derive(Clone, Debug, Serialize)]
pub struct TopRow {
    /// Of what.
    #[serde(flatten)]
    pub who: Who,
    /// What it does.
    #[serde(flatten)]
    pub line: Line,
}

/// What is not among the rows.
#[derive(Clone, Debug, Serialize)]
pub struct Others {
    /// How many rows there would be more.
    pub rows: u64,
    /// There were more rows than are kept: those that were quiet longest are in this one, and not in `rows`.
    pub overflow: bool,
    /// What they do together.
    #[serde(flatten)]
    pub line: Line,
}

/// The top at one time. As JSON it has `"kind":"Top"`.
#[derive(Clone, Debug, Serialize)]
pub struct TopSnapshot {
    /// `Top`.
    pub kind: &'static str,
    /// When it was like this.
    pub time: Option<Time>,
    /// What the rows are.
    pub by: Rank,
    /// What comes first.
    pub sort: Sort,
    /// What rates are over.
    pub seconds: f64,
    /// Events that were lost before anyone saw them.
    pub lost: u64,
    /// Those that do most.
    pub rows: Vec<TopRow>,
    /// The others together; none where there are none.
    pub others: Option<Others>,
}

#[cfg(test)]
mod tests;
