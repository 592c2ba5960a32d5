//! From events of the datapath to flows.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use chainkit_abi::{
    Conn, Counter, Event, Key4, Key6, close, fragment, hook, kind, opened, reason, reply, state, verdict,
};
use jiff::Timestamp;

use crate::decided::{Rule, Rules};
use crate::drop_reason::DropReason;
use crate::enums::{FlowType, IpVersion, LostEventSource, ObservationPoint, TrafficDirection, Verdict, event_type};
use crate::extra::{ConnectionExtra, Extensions, Extra, FlagNames};
use crate::layer4::{Icmp, Layer4, Ports, Tcp, TcpFlags};
use crate::model::{Endpoint, Ethernet, EventType, Flow, Interface, Ip, LostEvents, Record};
use crate::named::DnsNames;
use crate::resolve::Resolver;
use crate::summary::summary;
use crate::text::{Lenient, Mac};
use crate::time::Time;
use crate::uuid::FlowIds;

/// IP protocol numbers (IANA, "Assigned Internet Protocol Numbers").
mod protocol {
    pub(super) const ICMP: u8 = 1;
    pub(super) const TCP: u8 = 6;
    pub(super) const UDP: u8 = 17;
    pub(super) const ICMPV6: u8 = 58;
    pub(super) const SCTP: u8 = 132;
}

/// Turns nanoseconds of `CLOCK_MONOTONIC` into instants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallClock {
    offset: i128,
}

impl WallClock {
    /// The clock by which `monotonic` nanoseconds of `CLOCK_MONOTONIC` are the instant `wall`.
    #[must_use]
    pub fn new(monotonic: u64, wall: Timestamp) -> Self {
        Self { offset: wall.as_nanosecond() - i128::from(monotonic) }
    }

    /// The instant; none where it is beyond the calendar.
    #[must_use]
    pub fn time(self, monotonic: u64) -> Option<Time> {
        Timestamp::from_nanosecond(self.offset + i128::from(monotonic)).ok().map(Time)
    }
}

/// Makes flows of events: puts names to addresses and Hubble's terms to ours.
#[derive(Debug)]
pub struct Decoder {
    node_name: Arc<str>,
    clock: WallClock,
    resolver: Resolver,
    interfaces: HashMap<u32, Arc<str>>,
    rules: Rules,
    dns_names: DnsNames,
    ids: FlowIds,
}

impl Decoder {
    /// Flows seen on the node `node_name`.
    #[must_use]
    pub fn new(node_name: &str, clock: WallClock, resolver: Resolver) -> Self {
        Self {
            node_name: node_name.into(),
            clock,
            resolver,
            interfaces: HashMap::new(),
            rules: Rules::default(),
            dns_names: DnsNames::default(),
            ids: FlowIds::new(),
        }
    }

    /// From here on names come from `resolver`.
    pub fn set_resolver(&mut self, resolver: Resolver) {
        self.resolver = resolver;
    }

    /// From here on times come from `clock`, which may have been set in the meantime.
    pub const fn set_clock(&mut self, clock: WallClock) {
        self.clock = clock;
    }

    /// The interface of index `ifindex` is called `name`; one that is gone has no name.
    pub fn set_interface(&mut self, ifindex: u32, name: Option<&str>) {
        match name {
            Some(name) => self.interfaces.insert(ifindex, name.into()),
            None => {
                self.dns_names.forget(ifindex);
                self.interfaces.remove(&ifindex)
            }
        };
    }

    /// Whether the interface of index `ifindex` has a name here.
    #[must_use]
    pub fn knows_interface(&self, ifindex: u32) -> bool {
        self.interfaces.contains_key(&ifindex)
    }

    /// The number that the datapath tells is this rule's, or no known one's.
    pub fn set_rule(&mut self, number: u32, rule: Option<Rule>) {
        self.rules.set(number, rule);
    }

    /// The flow of an event.
    pub fn event(&mut self, event: &Event) -> Record {
        // A swept connection has no packet: the pod is its source, unless the other side opened it.
        let from_pod = match event.hook {
            hook::FROM_POD => true,
            hook::SWEEP => event.opened != opened::BY_REMOTE,
            _ => false,
        };
        let seen = Seen {
            family: event.family,
            protocol: event.protocol,
            source: event.source,
            destination: event.destination,
            source_port: event.source_port,
            destination_port: event.destination_port,
            from_pod,
            ifindex: event.ifindex,
            layer4: layer4(event),
            time: event.time,
        };
        let is_reply = match event.reply {
            reply::NO => Some(false),
            reply::YES => Some(true),
            _ => None,
        };
        let mut flow = self.flow(&seen, is_reply, event.verdict);
        flow.time = self.clock.time(event.time);
        if flow.verdict == Verdict::Dropped {
            let why = if matches!(event.reason, reason::POLICY | reason::SPLIT_SERVICE) {
                self.rules.drop_reason(event.rule)
            } else {
                drop_reason(event.reason)
            };
            dropped(&mut flow, why);
        }
        // What has no valid source was not judged, nor what could not be read.
        let judged =
            event.kind == kind::CLOSE || matches!(event.reason, reason::NONE | reason::POLICY | reason::SPLIT_SERVICE);
        let decided_by = if judged { self.rules.tell(&mut flow, event.rule) } else { None };
        let has_packet = event.hook != hook::SWEEP;
        if has_packet && (event.source_mac != [0; 6] || event.destination_mac != [0; 6]) {
            flow.ethernet = Some(Ethernet {
                source: Some(Lenient::Known(Mac(event.source_mac))),
                destination: Some(Lenient::Known(Mac(event.destination_mac))),
            });
        }
        let extra = Extra {
            source_container_id: container(flow.source.as_ref()),
            destination_container_id: container(flow.destination.as_ref()),
            decided_by,
            ..self.extra(event)
        };
        flow.extensions = Some(Extensions::Ours(Box::new(extra)));
        self.record(flow)
    }

    /// The flow of an entry of a connection table, from the side that opened it (the pod where that is not known); none
    /// for an entry that is no connection.
    ///
    /// Of ICMP the table keeps neither type nor code: what it tracks besides errors is echo, and an echo request is told.
    pub fn connection(&mut self, entry: &Connection<'_>) -> Option<Record> {
        let key = entry.key.plain()?;
        let conn = entry.conn;
        let from_pod = conn.opened != opened::BY_REMOTE;
        let is_reply = (conn.opened != opened::UNKNOWN).then_some(false);
        let (source, destination) = if from_pod { (key.local, key.remote) } else { (key.remote, key.local) };
        let (source_port, destination_port) = match (key.protocol, from_pod) {
            (protocol::TCP | protocol::UDP | protocol::SCTP, true) => (key.local_port, key.remote_port),
            (protocol::TCP | protocol::UDP | protocol::SCTP, false) => (key.remote_port, key.local_port),
            _ => (0, 0),
        };
        let ports = Ports { source_port: source_port.into(), destination_port: destination_port.into() };
        let layer4 = match key.protocol {
            protocol::ICMP => Some(Layer4::Icmp4(Icmp { kind: 8, code: 0 })),
            protocol::ICMPV6 => Some(Layer4::Icmp6(Icmp { kind: 128, code: 0 })),
            protocol => transport(protocol, ports, None),
        };
        let seen = Seen {
            family: key.family,
            protocol: key.protocol,
            source,
            destination,
            source_port,
            destination_port,
            from_pod,
            ifindex: entry.ifindex,
            layer4,
            time: conn.first_seen,
        };
        let mut flow = self.flow(&seen, is_reply, conn.verdict);
        flow.time = Some(Time(entry.last_seen));
        let decided_by = self.rules.tell(&mut flow, conn.rule);
        flow.extensions = Some(Extensions::Ours(Box::new(Extra {
            event: "connection".into(),
            source_container_id: container(flow.source.as_ref()),
            destination_container_id: container(flow.destination.as_ref()),
            connection: Some(ConnectionExtra {
                opened: opened_name(conn.opened).into(),
                state: state_name(conn.state).into(),
                tx_packets: conn.tx_packets,
                tx_bytes: conn.tx_bytes,
                rx_packets: conn.rx_packets,
                rx_bytes: conn.rx_bytes,
                first_seen: self.clock.time(conn.first_seen),
                rtt_ns: conn.rtt,
                tx_flags: FlagNames(TcpFlags(conn.tx_flags)),
                rx_flags: FlagNames(TcpFlags(conn.rx_flags)),
                tcp: None,
            }),
            protocol: unnamed(key.protocol),
            generation: conn.generation,
            rule: conn.rule,
            decided_by,
            ..Extra::default()
        })));
        Some(self.record(flow))
    }

    /// Word of `count` events that were lost between the kernel and here until `monotonic`, nanoseconds of
    /// `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn lost(&self, count: u64, monotonic: u64) -> Record {
        Record {
            lost_events: Some(LostEvents {
                source: LostEventSource::PerfEventRingBuffer,
                num_events_lost: count,
                ..LostEvents::default()
            }),
            node_name: Arc::clone(&self.node_name),
            time: self.clock.time(monotonic),
            ..Record::default()
        }
    }

    fn record(&self, flow: Flow) -> Record {
        Record { node_name: Arc::clone(&self.node_name), time: flow.time, flow: Some(flow), ..Record::default() }
    }

    /// What events and table entries have in common.
    fn flow(&mut self, seen: &Seen, is_reply: Option<bool>, verdict_number: u8) -> Flow {
        let source = address(seen.family, seen.source);
        let destination = address(seen.family, seen.destination);
        let end = |address: Option<IpAddr>, is_pod: bool| {
            // What comes out of a pod's interface is that pod's, whatever address it claims.
            let behind = is_pod.then(|| self.resolver.behind(seen.ifindex)).flatten();
            behind.or_else(|| self.resolver.endpoint(&address?)).cloned()
        };
        // The pod has asked for its peer, and nobody here for the pod.
        let name = |address: Option<IpAddr>, is_pod: bool| {
            let address = address.filter(|_| !is_pod)?;
            self.dns_names.name(seen.ifindex, address, seen.time).map(|name| name.as_ref().to_owned())
        };
        let source_names = name(source, seen.from_pod).into_iter().collect();
        let destination_names = name(destination, !seen.from_pod).into_iter().collect();
        let service = |address: Option<IpAddr>, port| self.resolver.service(&address?, port, seen.protocol);
        let verdict = match verdict_number {
            verdict::FORWARDED => Verdict::Forwarded,
            verdict::DROPPED => Verdict::Dropped,
            verdict::AUDIT => Verdict::Audit,
            _ => Verdict::Unknown,
        };
        let (sub_type, point) = if seen.from_pod {
            (event_type::FROM_ENDPOINT, ObservationPoint::FromEndpoint)
        } else {
            (event_type::TO_ENDPOINT, ObservationPoint::ToEndpoint)
        };
        // The direction of the connection: what a pod sends in reply is ingress.
        let egress = seen.from_pod != is_reply.unwrap_or(false);
        Flow {
            uuid: self.ids.next_id(),
            verdict,
            ip: ip(source, destination),
            source: end(source, seen.from_pod),
            destination: end(destination, !seen.from_pod),
            source_service: service(source, seen.source_port),
            destination_service: service(destination, seen.destination_port),
            source_names,
            destination_names,
            flow_type: FlowType::L3L4,
            node_name: Arc::clone(&self.node_name),
            event_type: Some(EventType { kind: event_type::TRACE, sub_type }),
            trace_observation_point: point,
            traffic_direction: if egress { TrafficDirection::Egress } else { TrafficDirection::Ingress },
            is_reply,
            interface: (seen.ifindex != 0).then(|| Interface {
                index: seen.ifindex,
                name: self.interfaces.get(&seen.ifindex).cloned().unwrap_or_default(),
            }),
            summary: summary(seen.layer4.as_ref(), seen.family),
            l4: seen.layer4,
            ..Flow::default()
        }
    }

    fn extra(&self, event: &Event) -> Extra {
        Extra {
            event: kind_name(event.kind).into(),
            packets: event.packets,
            bytes: event.bytes,
            count: event.count,
            reason: reason_name(event.kind, event.reason),
            connection: (event.first_seen != 0).then(|| ConnectionExtra {
                opened: opened_name(event.opened).into(),
                state: state_name(event.state).into(),
                tx_packets: event.tx_packets,
                tx_bytes: event.tx_bytes,
                rx_packets: event.rx_packets,
                rx_bytes: event.rx_bytes,
                first_seen: self.clock.time(event.first_seen),
                rtt_ns: event.rtt,
                tx_flags: FlagNames(TcpFlags(event.tx_flags)),
                rx_flags: FlagNames(TcpFlags(event.rx_flags)),
                tcp: None,
            }),
            // The tag is 0x1000 and the VLAN id.
            vlan: (event.vlan != 0).then_some(event.vlan & 0xfff),
            ethertype: if matches!(event.ethertype, 0x0800 | 0x86dd) { 0 } else { event.ethertype },
            protocol: if event.family == 0 { 0 } else { unnamed(event.protocol) },
            fragment: event.fragment != 0,
            generation: event.generation,
            rule: event.rule,
            ..Extra::default()
        }
    }
}

mod bounds;
mod exchange;
mod kernel_drop;

pub use exchange::Exchange;
pub use kernel_drop::KernelDrop;

fn container(end: Option<&Arc<Endpoint>>) -> Option<Arc<str>> {
    end.and_then(|end| end.container_id.clone())
}

/// An entry of a connection table.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'a> {
    /// Its key.
    pub key: ConnectionKey<'a>,
    /// What is remembered of it.
    pub conn: &'a Conn,
    /// The host-side interface of its endpoint.
    pub ifindex: u32,
    /// When its last packet was seen.
    pub last_seen: Timestamp,
}

/// The key of a connection.
#[derive(Clone, Copy, Debug)]
pub enum ConnectionKey<'a> {
    /// IPv4.
    V4(&'a Key4),
    /// IPv6.
    V6(&'a Key6),
}

/// A key in host byte order, with addresses as an event has them.
struct PlainKey {
    family: u8,
    protocol: u8,
    local: [u8; 16],
    remote: [u8; 16],
    local_port: u16,
    remote_port: u16,
}

impl ConnectionKey<'_> {
    /// Keys lie in network byte order, so their bytes in memory are those of the packet.
    fn plain(self) -> Option<PlainKey> {
        match self {
            Self::V4(key) => (key.fragment == fragment::NONE).then(|| PlainKey {
                family: 4,
                protocol: key.protocol,
                local: ipv4_bytes(key.local),
                remote: ipv4_bytes(key.remote),
                local_port: u16::from_be(key.local_port),
                remote_port: u16::from_be(key.remote_port),
            }),
            Self::V6(key) => (key.fragment == fragment::NONE).then(|| PlainKey {
                family: 6,
                protocol: key.protocol,
                local: ipv6_bytes(key.local),
                remote: ipv6_bytes(key.remote),
                local_port: u16::from_be(key.local_port),
                remote_port: u16::from_be(key.remote_port),
            }),
        }
    }
}

fn ipv4_bytes(word: u32) -> [u8; 16] {
    let [a, b, c, d] = word.to_ne_bytes();
    [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

fn ipv6_bytes([high, low]: [u64; 2]) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h] = high.to_ne_bytes();
    let [i, j, k, l, m, n, o, p] = low.to_ne_bytes();
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

/// What both an event and a table entry say of a packet.
struct Seen {
    family: u8,
    protocol: u8,
    source: [u8; 16],
    destination: [u8; 16],
    source_port: u16,
    destination_port: u16,
    from_pod: bool,
    ifindex: u32,
    layer4: Option<Layer4>,
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    time: u64,
}

fn address(family: u8, bytes: [u8; 16]) -> Option<IpAddr> {
    match family {
        4 => {
            let [a, b, c, d, ..] = bytes;
            Some(Ipv4Addr::new(a, b, c, d).into())
        }
        6 => Some(Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

fn ip(source: Option<IpAddr>, destination: Option<IpAddr>) -> Option<Ip> {
    let (source, destination) = (source?, destination?);
    Some(Ip {
        source: Some(Lenient::Known(source)),
        destination: Some(Lenient::Known(destination)),
        version: if source.is_ipv4() { IpVersion::V4 } else { IpVersion::V6 },
        ..Ip::default()
    })
}

fn layer4(event: &Event) -> Option<Layer4> {
    if event.family == 0 {
        return None;
    }
    let icmp = Icmp { kind: event.icmp_type.into(), code: event.icmp_code.into() };
    // A later fragment has no header, a swept connection no packet.
    let has_header = event.fragment == 0 && event.hook != hook::SWEEP;
    let ports = Ports { source_port: event.source_port.into(), destination_port: event.destination_port.into() };
    match event.protocol {
        protocol::ICMP => Some(Layer4::Icmp4(if has_header { icmp } else { Icmp { kind: 8, code: 0 } })),
        protocol::ICMPV6 => Some(Layer4::Icmp6(if has_header { icmp } else { Icmp { kind: 128, code: 0 } })),
        other => transport(other, ports, has_header.then_some(TcpFlags(event.tcp_flags))),
    }
}

fn transport(protocol: u8, ports: Ports, flags: Option<TcpFlags>) -> Option<Layer4> {
    let Ports { source_port, destination_port } = ports;
    match protocol {
        protocol::TCP => Some(Layer4::Tcp(Tcp { source_port, destination_port, flags })),
        protocol::UDP => Some(Layer4::Udp(ports)),
        protocol::SCTP => Some(Layer4::Sctp(ports)),
        _ => None,
    }
}

/// The protocol number, where Hubble has no name for it.
const fn unnamed(protocol: u8) -> u8 {
    match protocol {
        protocol::ICMP | protocol::TCP | protocol::UDP | protocol::ICMPV6 | protocol::SCTP => 0,
        other => other,
    }
}

/// A drop is told three times: `hubble observe` takes its words from the sub-type, others take the enum or the number.
fn dropped(flow: &mut Flow, why: DropReason) {
    flow.drop_reason = why.0.unsigned_abs();
    flow.drop_reason_desc = why;
    flow.event_type = Some(EventType { kind: event_type::DROP, sub_type: why.0 });
    flow.trace_observation_point = ObservationPoint::Unknown;
}

fn drop_reason(why: u8) -> DropReason {
    if why == reason::INVALID_SOURCE {
        return DropReason::INVALID_SOURCE_IP;
    }
    match counter(why) {
        Some(Counter::TruncatedTransport | Counter::BadTransport | Counter::BadIcmpError) => {
            DropReason::CT_TRUNCATED_OR_INVALID_HEADER
        }
        Some(Counter::UnknownEthertype) => DropReason::UNSUPPORTED_L3_PROTOCOL,
        Some(Counter::BadIpv6Extension) => DropReason::INVALID_IPV6_EXTENSION_HEADER,
        Some(Counter::OrphanFragment) => DropReason::FIRST_LOGICAL_DATAGRAM_FRAGMENT_NOT_FOUND,
        Some(Counter::InsertFailed) => DropReason::CT_MAP_INSERTION_FAILED,
        Some(_) => DropReason::INVALID_PACKET_DROPPED,
        None => DropReason::default(),
    }
}

fn counter(number: u8) -> Option<Counter> {
    Counter::ALL.iter().copied().find(|counter| *counter as u32 == u32::from(number))
}

fn kind_name(number: u8) -> &'static str {
    match number {
        kind::FIRST => "first",
        kind::REPLY => "reply",
        kind::FLAGS => "flags",
        kind::VERDICT => "verdict",
        kind::DENIED => "denied",
        kind::CLOSE => "close",
        kind::ACTIVE => "active",
        kind::PACKET => "packet",
        kind::MALFORMED => "malformed",
        kind::RELATED => "related",
        _ => "unknown",
    }
}

fn reason_name(event_kind: u8, number: u8) -> Option<Cow<'static, str>> {
    let name = match (event_kind, number) {
        (_, reason::NONE) => return None,
        (kind::CLOSE, close::FIN) => "fin",
        (kind::CLOSE, close::RST) => "rst",
        (kind::CLOSE, close::EXPIRED) => "expired",
        (kind::CLOSE, close::EVICTED) => "evicted",
        (kind::CLOSE, close::REMOVED) => "removed",
        (kind::CLOSE, close::REOPENED) => "reopened",
        (kind::CLOSE, _) => "unknown",
        (_, reason::POLICY) => "policy",
        (_, reason::INVALID_SOURCE) => "invalid_source",
        (_, reason::SPLIT_SERVICE) => "split_service",
        (_, number) => counter(number).map_or("unknown", Counter::name),
    };
    Some(name.into())
}

fn opened_name(number: u8) -> &'static str {
    match number {
        opened::BY_POD => "pod",
        opened::BY_REMOTE => "remote",
        _ => "unknown",
    }
}

fn state_name(number: u8) -> &'static str {
    match number {
        state::UNREPLIED => "unreplied",
        state::REPLIED => "replied",
        state::SYN_SENT => "syn_sent",
        state::SYN_RECEIVED => "syn_received",
        state::ESTABLISHED => "established",
        state::CLOSING => "closing",
        state::CLOSED => "closed",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests;
