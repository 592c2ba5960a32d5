//! chainkit's own metrics: bytes, handshakes, latency of applications, and policy by rule.

use std::collections::HashMap;
use std::net::IpAddr;

use chainkit_flow::{Extra, Flow, L7FlowType, Layer4, Policy, Ports, Time, Verdict};

use crate::context::{Contexts, direction};
use crate::hubble::{reporter, seconds};
use crate::store::{Amount, Kind, Label, Metric, Store};

const BYTES: Metric = Metric {
    name: "chainkit_bytes",
    help: "Bytes of Ethernet frames at the interfaces of pods; what goes from pod to pod of a node is seen at both, by reporter",
    kind: Kind::Counter,
};
const PACKETS: Metric =
    Metric { name: "chainkit_packets", help: "Packets at the interfaces of pods", kind: Kind::Counter };
const HANDSHAKE: Metric =
    Metric { name: "chainkit_tcp_handshake_seconds", help: "Round trips of TCP handshakes", kind: Kind::Histogram };
const LATENCY: Metric = Metric {
    name: "chainkit_l7_latency_seconds",
    help: "Time from a request to its response, by the protocol of the application",
    kind: Kind::Histogram,
};
const DECISIONS: Metric = Metric {
    name: "chainkit_policy_decisions",
    help: "Connections allowed, and packets denied or audited, by the rule that decided",
    kind: Kind::Counter,
};

/// Connections that are kept in mind. Of further ones no bytes are counted before their end.
const MOST: usize = 1 << 18;

/// A connection, as one pod's interface sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    interface: u32,
    local: Option<IpAddr>,
    remote: Option<IpAddr>,
    ports: (u32, u32),
    protocol: u8,
    since: Option<Time>,
}

/// What was counted of it already.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    tx_packets: u64,
    tx_bytes: u64,
    rx_packets: u64,
    rx_bytes: u64,
    handshake: bool,
}

/// Connections as far as they were counted.
#[derive(Debug, Default)]
pub(crate) struct Connections(HashMap<Key, Counted>);

impl Connections {
    /// How many are kept in mind.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Counts a flow.
    pub(crate) fn count(&mut self, contexts: &Contexts, flow: &Flow, store: &mut Store) {
        latency(contexts, flow, store);
        let Some(extra) = flow.extensions.as_ref().and_then(|extensions| extensions.extra()) else { return };
        decision(contexts, flow, &extra, store);
        self.bytes(contexts, flow, &extra, store);
    }

    fn bytes(&mut self, contexts: &Contexts, flow: &Flow, extra: &Extra, store: &mut Store) {
        let Some(connection) = &extra.connection else { return };
        // Entries of a connection table are told of what may be told again as it goes on: the latter has the same counters.
        let is_over = extra.event == "close";
        let key = key(flow, extra);
        let known = self.0.get(&key).copied();
        if known.is_none() && !is_over && self.0.len() >= MOST {
            return;
        }
        let before = known.unwrap_or_default();
        let (mut labels, pods) = contexts.values(flow, flow.is_reply == Some(true));
        labels.push(("reporter", reporter(flow).to_owned()));
        if connection.rtt_ns > 0 && !before.handshake {
            store.count(HANDSHAKE, labels.clone(), &pods, seconds(connection.rtt_ns), None);
        }
        labels.push(("direction", String::new()));
        for (way, packets, bytes) in [
            (
                "sent",
                connection.tx_packets.saturating_sub(before.tx_packets),
                connection.tx_bytes.saturating_sub(before.tx_bytes),
            ),
            (
                "received",
                connection.rx_packets.saturating_sub(before.rx_packets),
                connection.rx_bytes.saturating_sub(before.rx_bytes),
            ),
        ] {
            if let Some((_, value)) = labels.last_mut() {
                way.clone_into(value);
            }
            if packets > 0 {
                store.count(PACKETS, labels.clone(), &pods, Amount::Add(packets), None);
            }
            if bytes > 0 {
                store.count(BYTES, labels.clone(), &pods, Amount::Add(bytes), None);
            }
        }
        if is_over {
            self.0.remove(&key);
            return;
        }
        // Counters that came late are behind those that were counted.
        let now = Counted {
            tx_packets: before.tx_packets.max(connection.tx_packets),
            tx_bytes: before.tx_bytes.max(connection.tx_bytes),
            rx_packets: before.rx_packets.max(connection.rx_packets),
            rx_bytes: before.rx_bytes.max(connection.rx_bytes),
            handshake: before.handshake || connection.rtt_ns > 0,
        };
        self.0.insert(key, now);
    }
}

/// The same for both directions of a connection at one interface.
fn key(flow: &Flow, extra: &Extra) -> Key {
    let address = |source: bool| {
        let ip = flow.ip.as_ref()?;
        let address = if source { ip.source.as_ref() } else { ip.destination.as_ref() };
        address?.known().copied()
    };
    let Ports { source_port, destination_port } = flow.l4.as_ref().and_then(Layer4::ports).unwrap_or_default();
    let mut ends = [(address(true), source_port), (address(false), destination_port)];
    ends.sort_unstable();
    let [(local, first), (remote, second)] = ends;
    Key {
        interface: flow.interface.as_ref().map_or(0, |interface| interface.index),
        local,
        remote,
        ports: (first, second),
        protocol: match &flow.l4 {
            Some(Layer4::Tcp(_)) => 6,
            Some(Layer4::Udp(_)) => 17,
            Some(Layer4::Sctp(_)) => 132,
            Some(Layer4::Icmp4(_)) => 1,
            Some(Layer4::Icmp6(_)) => 58,
            _ => extra.protocol,
        },
        since: extra.connection.as_ref().and_then(|connection| connection.first_seen),
    }
}

fn latency(contexts: &Contexts, flow: &Flow, store: &mut Store) {
    let Some(l7) = flow.l7.as_ref().filter(|l7| l7.kind == L7FlowType::Response && l7.latency_ns > 0) else { return };
    let told = flow.extensions.as_ref().and_then(|extensions| extensions.extra());
    let told = told.as_ref().and_then(|extra| extra.l7.as_ref()).map(|l7| l7.protocol.clone().into_owned());
    let protocol = told.filter(|protocol| !protocol.is_empty()).unwrap_or_else(|| {
        match (&l7.dns, &l7.http, &l7.kafka) {
            (Some(_), _, _) => "dns",
            (_, Some(http), _) if http.protocol.starts_with("HTTP/2") => "http2",
            (_, Some(_), _) => "http1",
            (_, _, Some(_)) => "kafka",
            _ => "",
        }
        .to_owned()
    });
    let (mut labels, pods) = contexts.values(flow, true);
    labels.extend([("protocol", protocol), ("reporter", reporter(flow).to_owned())]);
    store.count(LATENCY, labels, &pods, seconds(l7.latency_ns), None);
}

/// Each policy that decided is counted: of an isolation all that isolate.
fn decision(contexts: &Contexts, flow: &Flow, extra: &Extra, store: &mut Store) {
    let packets = match &*extra.event {
        "first" | "verdict" => 1,
        "denied" => u64::from(extra.count.max(1)),
        _ => return,
    };
    let Some(decided) = &extra.decided_by else { return };
    let denied = matches!(flow.verdict, Verdict::Dropped | Verdict::Audit);
    let policies: &[Policy] = match (&*decided.direction, denied) {
        ("egress", false) => &flow.egress_allowed_by,
        ("egress", true) => &flow.egress_denied_by,
        (_, false) => &flow.ingress_allowed_by,
        (_, true) => &flow.ingress_denied_by,
    };
    let verdict = flow.verdict.to_string().to_ascii_lowercase();
    for policy in policies {
        let (mut labels, pods) = contexts.values(flow, false);
        let rule = decided.rule.map(|rule| rule.to_string()).unwrap_or_default();
        let more: [Label; 8] = [
            ("policy_kind", policy.kind.clone()),
            ("policy_namespace", policy.namespace.clone()),
            ("policy", policy.name.clone()),
            ("rule", rule),
            ("tier", decided.tier.to_string()),
            ("direction", direction(flow)),
            ("action", decided.action.to_string()),
            ("verdict", verdict.clone()),
        ];
        labels.extend(more);
        store.count(DECISIONS, labels, &pods, Amount::Add(packets), None);
    }
}
