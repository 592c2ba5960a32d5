//! Edges as they are shown: the record, and all of them at a time.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chainkit_flow::Time;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::node::{Kind, Node};
use crate::oriented::Protocol;

/// A line of the map: who talks to whom, over what. As JSON it has `"kind":"Edge"`; what is not known is null.
#[derive(Clone, Debug, Serialize)]
pub struct Edge {
    /// `Edge`.
    pub kind: &'static str,
    /// When the map was like this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
    /// Who asks.
    pub src: String,
    /// Who is asked.
    pub dst: String,
    /// The port of `dst`; none where there are no ports, or they were too many.
    pub port: Option<u16>,
    /// `TCP`, `UDP`, `SCTP`, `ICMPv4`, `ICMPv6`, or another's number.
    pub protocol: String,
    /// What the application speaks: `http`, `grpc`, `dns`, `kafka`, `quic` or `tls`.
    pub l7: Option<&'static str>,
    /// Flows, which are lines: several for each connection, and from each of its ends that was observed.
    pub flows: u64,
    /// Bytes to `dst`, of Ethernet frames.
    pub bytes_to: Option<u64>,
    /// Bytes from `dst`, of Ethernet frames.
    pub bytes_from: Option<u64>,
    /// Packets that were dropped.
    pub denied: u64,
    /// Requests that failed on the side of `dst`: HTTP from 500 on, gRPC other than OK, DNS other than 0 and 3, Kafka other
    /// than 0; and packets that the kernel dropped.
    pub errors: u64,
    /// Half of the latencies are below, milliseconds.
    pub p50_ms: Option<f64>,
    /// 99 of 100 latencies are below, milliseconds.
    pub p99_ms: Option<f64>,
    /// What the latency is of: what `l7` can be, or `rtt`, the round-trip time of TCP handshakes.
    pub latency_of: Option<&'static str>,
    /// Where it was measured: `client` or `server`.
    pub latency_at: Option<&'static str>,
    /// How many latencies there were.
    pub latencies: u64,
    /// What `src` is.
    pub src_kind: Kind,
    /// The namespace of `src`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub src_namespace: String,
    /// What `dst` is.
    pub dst_kind: Kind,
    /// The namespace of `dst`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub dst_namespace: String,
    /// Connections, told apart by when they began.
    pub connections: Option<u64>,
    /// Requests of applications.
    pub requests: u64,
    /// Of `errors`, packets that the kernel dropped, which was nobody's policy.
    pub kernel_drops: u64,
    /// TCP connections that were reset.
    pub resets: u64,
    /// TCP connections that ended without an answer.
    pub unanswered: Option<u64>,
    /// How TCP fares on it, where that was measured or a handshake failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<EdgeTcp>,
    /// Packets that would be dropped were policy enforced.
    pub would_deny: u64,
    /// Flows by verdict.
    pub verdicts: Verdicts,
    /// Policies that denied, or would.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub denied_by: Vec<String>,
    /// DNS names of `dst`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Flows a second: over the time of all flows, or since the map was shown last.
    pub rate: f64,
    /// The first flow.
    pub first: Option<Time>,
    /// The last flow.
    pub last: Option<Time>,
    /// It stands for edges that there was no room for.
    #[serde(skip_serializing_if = "is_false")]
    pub overflow: bool,
    /// Bytes and connections may be more: some may have been counted before, and are not counted again.
    #[serde(skip_serializing_if = "is_false")]
    pub partial: bool,
    /// The last flows, for the page.
    #[serde(skip)]
    pub recent: Vec<Box<RawValue>>,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Flows by verdict; those of no other count in `other`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdicts {
    /// `FORWARDED`.
    pub forwarded: u64,
    /// `DROPPED`.
    pub dropped: u64,
    /// `AUDIT`.
    pub audit: u64,
    /// Hubble's others.
    pub other: u64,
}

/// How TCP fares on an edge, since it was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct EdgeTcp {
    /// Connections that were measured; of others only resets and failed handshakes are known.
    pub measured: u64,
    /// Segments with payload or a FIN to `dst`, those sent again included.
    pub segments_to: u64,
    /// The same from `dst`.
    pub segments_from: u64,
    /// Segments sent again to `dst`.
    pub retransmits_to: u64,
    /// The same from `dst`.
    pub retransmits_from: u64,
    /// Segments to `dst` that others had overtaken.
    pub out_of_order_to: u64,
    /// The same from `dst`.
    pub out_of_order_from: u64,
    /// How often `src` closed its window.
    pub zero_windows_by_src: u64,
    /// How often `dst` did.
    pub zero_windows_by_dst: u64,
    /// Connections that `src` reset.
    pub resets_by_src: u64,
    /// Connections that `dst` reset, but for those refused.
    pub resets_by_dst: u64,
    /// Handshakes that were refused by a reset.
    pub refused: u64,
    /// Handshakes that are not answered: given up, or sent again and waiting.
    pub timeouts: u64,
    /// Half of the connections' smoothed round-trip times are below, milliseconds.
    pub rtt_p50_ms: Option<f64>,
    /// 99 of 100 are below, milliseconds.
    pub rtt_p99_ms: Option<f64>,
    /// Half of the connections' jitters are below, milliseconds.
    pub jitter_p50_ms: Option<f64>,
}

impl Edge {
    /// Bytes both ways.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        Some(self.bytes_to?.saturating_add(self.bytes_from?))
    }

    /// Whether something failed or was dropped on it.
    #[must_use]
    pub const fn is_bad(&self) -> bool {
        self.denied > 0 || self.errors > 0
    }

    /// Protocol, port and what is spoken, as `TCP 8080 http`.
    #[must_use]
    pub fn over(&self) -> String {
        let mut text = self.protocol.clone();
        if let Some(port) = self.port {
            text.push_str(&format!(" {port}"));
        }
        if let Some(l7) = self.l7 {
            text.push_str(&format!(" {l7}"));
        }
        text
    }
}

/// The map at one time.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Edges: those with the most bytes first, then with the most flows.
    pub edges: Vec<Edge>,
    /// Flows in all.
    pub flows: u64,
    /// Events that were lost before anyone saw them.
    pub lost: u64,
    /// When the first flow was.
    pub first: Option<Time>,
    /// When the last flow was.
    pub last: Option<Time>,
}

/// What tells an edge from others.
type Name<'a> = (&'a str, Kind, &'a str, Kind, &'a str, Option<u16>);

impl Snapshot {
    /// The nodes, in the order of their names.
    #[must_use]
    pub fn nodes(&self) -> BTreeSet<(Kind, &str)> {
        let ends =
            self.edges.iter().flat_map(|edge| [(edge.src_kind, edge.src.as_str()), (edge.dst_kind, edge.dst.as_str())]);
        ends.collect()
    }

    /// Says when each line was so.
    pub fn at(&mut self, time: Time) {
        for edge in &mut self.edges {
            edge.time = Some(time);
        }
    }

    /// Makes rates those since `before`, which was `seconds` ago.
    pub fn rates_since(&mut self, before: &Self, seconds: f64) {
        fn name(edge: &Edge) -> Name<'_> {
            (&edge.src, edge.src_kind, &edge.dst, edge.dst_kind, &edge.protocol, edge.port)
        }
        let flows: HashMap<Name<'_>, u64> = before.edges.iter().map(|edge| (name(edge), edge.flows)).collect();
        for edge in &mut self.edges {
            let new = edge.flows.saturating_sub(flows.get(&name(edge)).copied().unwrap_or(0));
            edge.rate = per_second(new, seconds);
        }
    }

    /// Nodes with a number each, and edges by the numbers of their ends: what a drawing needs.
    pub(crate) fn numbered(&self) -> Numbered<'_> {
        let mut numbers: BTreeMap<(&str, Kind, &str), usize> = BTreeMap::new();
        for edge in &self.edges {
            numbers.insert((edge.src_namespace.as_str(), edge.src_kind, edge.src.as_str()), 0);
            numbers.insert((edge.dst_namespace.as_str(), edge.dst_kind, edge.dst.as_str()), 0);
        }
        let mut nodes = Vec::with_capacity(numbers.len());
        for (place, ((namespace, kind, name), number)) in numbers.iter_mut().enumerate() {
            *number = place;
            nodes.push((*kind, *namespace, *name));
        }
        let number = |namespace: &str, kind: Kind, name: &str| {
            numbers.get(&(namespace, kind, name)).copied().unwrap_or_default()
        };
        let edges = self.edges.iter().map(|edge| {
            let source = number(&edge.src_namespace, edge.src_kind, &edge.src);
            (source, number(&edge.dst_namespace, edge.dst_kind, &edge.dst), edge)
        });
        let edges = edges.collect();
        (nodes, edges)
    }
}

/// Nodes as kind, namespace and name, and edges with the numbers of their ends.
pub(crate) type Numbered<'a> = (Vec<(Kind, &'a str, &'a str)>, Vec<(usize, usize, &'a Edge)>);

/// How many in a second, to three digits behind the point.
pub(crate) fn per_second(count: u64, seconds: f64) -> f64 {
    (count as f64 / seconds.max(0.001) * 1000.0).round() / 1000.0
}

/// Milliseconds of nanoseconds, to the nanosecond's thousandth digit of them.
pub(crate) fn milliseconds(nanoseconds: u64) -> f64 {
    (nanoseconds as f64 / 1000.0).round() / 1000.0
}

/// An edge that has counted nothing.
pub(crate) fn empty(source: &Node, destination: &Node, port: Option<u16>, protocol: Protocol) -> Edge {
    Edge {
        kind: "Edge",
        time: None,
        src: source.to_string(),
        dst: destination.to_string(),
        port,
        protocol: protocol.to_string(),
        l7: None,
        flows: 0,
        bytes_to: None,
        bytes_from: None,
        denied: 0,
        errors: 0,
        p50_ms: None,
        p99_ms: None,
        latency_of: None,
        latency_at: None,
        latencies: 0,
        src_kind: source.kind,
        src_namespace: namespace(source),
        dst_kind: destination.kind,
        dst_namespace: namespace(destination),
        connections: None,
        requests: 0,
        kernel_drops: 0,
        resets: 0,
        unanswered: None,
        tcp: None,
        would_deny: 0,
        verdicts: Verdicts::default(),
        denied_by: Vec::new(),
        names: Vec::new(),
        rate: 0.0,
        first: None,
        last: None,
        overflow: source.kind == Kind::Others || destination.kind == Kind::Others,
        partial: false,
        recent: Vec::new(),
    }
}

fn namespace(node: &Node) -> String {
    let named = if node.kind == Kind::Namespace { &node.name } else { &node.namespace };
    named.to_string()
}
