//! Gathering flows into edges.
//!
//! What can be told twice is kept by connection ([`Tracked`]) and put into edges when they are asked for; what cannot is
//! added up. So the order of flows makes no difference, as long as nothing is beyond the [`Budget`].

mod idle;
mod join;
mod show;

use std::collections::{BTreeSet, HashMap, VecDeque};

use chainkit_flow::{Extra, Flow, LostEvents, Policy, Record, Time, Verdict};
use serde_json::value::RawValue;

use crate::connection::{Tracked, quietest};
use crate::node::{By, Kind, Node, ends, says_more};
use crate::oriented::{Oriented, Protocol, Side, Tuple};
use crate::sketch::Sketch;
use crate::tally::{Spoken, Sums, Tally};

/// Names of policies, and DNS names, that an edge keeps: the first in their order.
const MAX_NAMES: usize = 8;

/// The longest of them in bytes.
const MAX_NAME: usize = 512;

/// Bytes of JSON that a flow kept for the page has at most; a longer one is kept without its labels, or not.
const MAX_RECENT: usize = 1200;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Edges; what is beyond is in one edge from `(others)` to `(others)`.
    pub edges: usize,
    /// External peers by name or address; those beyond are one node.
    pub externals: usize,
    /// Ports between the same two nodes; those beyond are one edge without port.
    pub ports: usize,
    /// Connections that are remembered, so that their bytes are not counted twice.
    pub connections: usize,
    /// The last flows that each edge keeps.
    pub recent: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { edges: 5000, externals: 500, ports: 64, connections: 131_072, recent: 0 }
    }
}

/// What tells edges apart, nodes by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    source: usize,
    destination: usize,
    protocol: Protocol,
    port: Option<u16>,
}

/// What belongs to an edge and to no connection that is remembered.
#[derive(Clone, Debug)]
struct Gathered {
    key: Key,
    tally: Tally,
    sums: Sums,
    knows_connections: bool,
    spoken: Spoken,
    /// Of requests, by the side that measured.
    latency: BySide,
    /// Of handshakes.
    rtt: BySide,
    denied_by: BTreeSet<String>,
    names: BTreeSet<String>,
    recent: VecDeque<Box<RawValue>>,
    partial: bool,
    /// Where its connections have gone, since more became known of an end.
    moved: Option<usize>,
}

/// Gathers flows into edges.
#[derive(Debug)]
pub struct Edges {
    by: By,
    budget: Budget,
    nodes: Vec<Node>,
    numbers: HashMap<Node, usize>,
    externals: usize,
    edges: Vec<Gathered>,
    places: HashMap<Key, usize>,
    /// How many ports there are between two nodes.
    ports: HashMap<(usize, usize), usize>,
    tracked: HashMap<Tuple, Tracked>,
    /// The latest beginning of connections that were let go of.
    forgotten: Option<i128>,
    flows: u64,
    lost: u64,
    /// The time of the latest flow.
    latest: Option<Time>,
}

impl Edges {
    /// Edges between nodes of this kind.
    #[must_use]
    pub fn new(by: By, budget: Budget) -> Self {
        Self {
            by,
            budget,
            nodes: Vec::new(),
            numbers: HashMap::new(),
            externals: 0,
            edges: Vec::new(),
            places: HashMap::new(),
            ports: HashMap::new(),
            tracked: HashMap::new(),
            forgotten: None,
            flows: 0,
            lost: 0,
            latest: None,
        }
    }

    /// The time of the latest flow.
    #[must_use]
    pub const fn latest(&self) -> Option<Time> {
        self.latest
    }

    /// Takes a record: a flow, or word of losses.
    pub fn take(&mut self, record: &Record) {
        if let Some(LostEvents { num_events_lost, .. }) = &record.lost_events {
            self.lost = self.lost.saturating_add(*num_events_lost);
        }
        if let Some(flow) = &record.flow {
            self.take_flow(flow, record.time());
        }
    }

    fn take_flow(&mut self, flow: &Flow, time: Option<Time>) {
        self.flows += 1;
        self.latest = self.latest.max(time);
        let extra = flow.extensions.as_ref().and_then(|extensions| extensions.extra());
        let extra = extra.as_deref();
        let oriented = Oriented::new(flow, extra);
        let (source, destination) = ends(flow, self.by);
        let (client, server) = if oriented.forward { (source, destination) } else { (destination, source) };
        let mut tally = Tally::of(flow, extra);
        (tally.first, tally.last) = (time, time);
        let place = match oriented.tuple {
            Some(tuple) => self.track(tuple, (client, server), &oriented, flow, extra, &tally),
            None => {
                let place = self.place(&client, &server, &oriented);
                if let Some(edge) = self.edges.get_mut(place) {
                    edge.tally.add(&tally);
                }
                place
            }
        };
        if let Some(edge) = self.edges.get_mut(place) {
            edge.describe(flow, extra, &oriented, self.budget.recent);
        }
    }

    /// Remembers what a flow says of its connection; where its edge is.
    fn track(
        &mut self,
        tuple: Tuple,
        (client, server): (Node, Node),
        oriented: &Oriented,
        flow: &Flow,
        extra: Option<&Extra>,
        tally: &Tally,
    ) -> usize {
        let known = self.tracked.get(&tuple).map(|tracked| tracked.edge);
        let place = match known {
            Some(place) => self.best(place, client, server, oriented),
            None => {
                if self.tracked.len() >= self.budget.connections.max(1) {
                    self.forget();
                }
                self.place(&client, &server, oriented)
            }
        };
        let now = self.flows;
        let forgotten = self.forgotten;
        let tracked = self.tracked.entry(tuple).or_insert_with(|| Tracked::new(place));
        let before = std::mem::replace(&mut tracked.edge, place);
        tracked.touched = now;
        tracked.tally.add(tally);
        let news = tracked.view(oriented.observer).take(flow, extra, oriented.observer, forgotten);
        if before != place
            && let Some(edge) = self.edges.get_mut(before)
        {
            edge.moved = Some(place);
        }
        if let Some(edge) = self.edges.get_mut(place) {
            edge.partial |= news.left_out;
            if let Some(rtt) = news.rtt {
                edge.rtt.at(oriented.observer).add(rtt);
            }
        }
        place
    }

    /// The edge of a connection that was on the one at `place`, if its ends are these: of each the one that says more.
    fn best(&mut self, place: usize, client: Node, server: Node, oriented: &Oriented) -> usize {
        let Some(key) = self.edges.get(place).map(|edge| edge.key) else { return place };
        let better = |number: usize, node: Node| match self.nodes.get(number) {
            Some(known) if known.kind == Kind::Others || !says_more(self.by, &node, known) => known.clone(),
            _ => node,
        };
        let (client, server) = (better(key.source, client), better(key.destination, server));
        let same = |number: usize, node: &Node| self.nodes.get(number) == Some(node);
        if same(key.source, &client) && same(key.destination, &server) {
            return place;
        }
        self.place(&client, &server, oriented)
    }

    /// Where the edge of these ends is, made if there is room for it.
    fn place(&mut self, source: &Node, destination: &Node, oriented: &Oriented) -> usize {
        let key = |source, destination, port| Key { source, destination, protocol: oriented.protocol, port };
        let known = |edges: &Self, node: &Node| edges.numbers.get(node).copied();
        if let (Some(source), Some(destination)) = (known(self, source), known(self, destination))
            && let Some(place) = self.places.get(&key(source, destination, oriented.port))
        {
            return *place;
        }
        // One place is kept for what is beyond.
        if self.edges.len() + 1 >= self.budget.edges {
            let others = self.number(&Node::others());
            let key = Key { source: others, destination: others, protocol: Protocol::Unknown, port: None };
            return self.make(key);
        }
        let (source, destination) = (self.number_of(source), self.number_of(destination));
        let port = oriented.port.filter(|port| {
            let ports = self.ports.get(&(source, destination)).copied().unwrap_or(0);
            self.places.contains_key(&key(source, destination, Some(*port))) || ports < self.budget.ports
        });
        self.make(key(source, destination, port))
    }

    fn make(&mut self, key: Key) -> usize {
        if let Some(place) = self.places.get(&key) {
            return *place;
        }
        *self.ports.entry((key.source, key.destination)).or_default() += 1;
        let place = self.edges.len();
        self.edges.push(Gathered::new(key));
        self.places.insert(key, place);
        place
    }

    /// The number of a node; of the one for others, where it is one external peer too many.
    fn number_of(&mut self, node: &Node) -> usize {
        if !node.is_external() {
            return self.number(node);
        }
        if let Some(number) = self.numbers.get(node) {
            return *number;
        }
        if self.externals >= self.budget.externals {
            return self.number(&Node::others());
        }
        self.externals += 1;
        self.number(node)
    }

    fn number(&mut self, node: &Node) -> usize {
        if let Some(number) = self.numbers.get(node) {
            return *number;
        }
        let number = self.nodes.len();
        self.nodes.push(node.clone());
        self.numbers.insert(node.clone(), number);
        number
    }

    /// Lets go of a quarter of the connections: those that are over, then those that were quiet longest. What they have
    /// counted stays with their edges.
    fn forget(&mut self) {
        self.settle(quietest(&self.tracked));
    }
}

/// What each side has measured.
#[derive(Clone, Debug, Default)]
struct BySide {
    client: Sketch,
    server: Sketch,
}

impl BySide {
    const fn at(&mut self, side: Side) -> &mut Sketch {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    fn merge(&mut self, other: &Self) {
        self.client.merge(&other.client);
        self.server.merge(&other.server);
    }
}

impl Gathered {
    fn new(key: Key) -> Self {
        Self {
            key,
            tally: Tally::default(),
            sums: Sums::default(),
            knows_connections: false,
            spoken: Spoken::default(),
            latency: BySide::default(),
            rtt: BySide::default(),
            denied_by: BTreeSet::new(),
            names: BTreeSet::new(),
            recent: VecDeque::new(),
            partial: false,
            moved: None,
        }
    }

    /// Takes what a flow says of its edge, and of no connection.
    fn describe(&mut self, flow: &Flow, extra: Option<&Extra>, oriented: &Oriented, recent: usize) {
        self.spoken.add(Spoken::of(flow, extra));
        if let Some(l7) = flow.l7.as_ref().filter(|l7| l7.latency_ns > 0) {
            self.latency.at(oriented.observer).add(l7.latency_ns);
        }
        if matches!(flow.verdict, Verdict::Dropped | Verdict::Audit) {
            for policy in flow.egress_denied_by.iter().chain(flow.ingress_denied_by.iter()) {
                keep(&mut self.denied_by, &policy_name(policy));
            }
        }
        let names = if oriented.forward { &flow.destination_names } else { &flow.source_names };
        for name in names {
            keep(&mut self.names, name.trim_end_matches('.'));
        }
        if recent > 0 {
            if self.recent.len() >= recent {
                self.recent.pop_front();
            }
            self.recent.extend(in_short(flow));
        }
    }
}

pub(crate) fn policy_name(policy: &Policy) -> String {
    let slash = if policy.namespace.is_empty() { "" } else { "/" };
    format!("{} {}{slash}{}", policy.kind, policy.namespace, policy.name).trim_start().to_owned()
}

/// Keeps the first few names, whatever order they come in.
fn keep(names: &mut BTreeSet<String>, name: &str) {
    if name.is_empty() || name.len() > MAX_NAME || names.contains(name) {
        return;
    }
    names.insert(name.to_owned());
    if names.len() > MAX_NAMES {
        names.pop_last();
    }
}

/// A flow as JSON, without labels where it would be long.
fn in_short(flow: &Flow) -> Option<Box<RawValue>> {
    let json = serde_json::value::to_raw_value(flow).ok()?;
    if json.get().len() <= MAX_RECENT {
        return Some(json);
    }
    let mut value: serde_json::Value = serde_json::from_str(json.get()).ok()?;
    for end in ["source", "destination"] {
        if let Some(labels) = value.pointer_mut(&format!("/{end}")).and_then(serde_json::Value::as_object_mut) {
            labels.remove("labels");
        }
    }
    if let Some(fields) = value.as_object_mut() {
        for long in ["ethernet", "event_type", "interface"] {
            fields.remove(long);
        }
    }
    let json = serde_json::value::to_raw_value(&value).ok()?;
    (json.get().len() <= MAX_RECENT).then_some(json)
}

#[cfg(test)]
mod tests;
