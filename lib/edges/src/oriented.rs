//! Which way a flow goes: who asks whom, and which of the two looked on.

use std::fmt;
use std::net::IpAddr;

use chainkit_abi::tcp;
use chainkit_flow::{Extra, Flow, L7FlowType, Layer4, ObservationPoint, TcpFlags, TrafficDirection};
use serde::{Serialize, Serializer};

use crate::node::plain;

/// Where ephemeral ports begin (RFC 6335, section 6, and Linux' default of `ip_local_port_range`).
const EPHEMERAL: u16 = 32_768;

/// What an edge runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
    Sctp,
    Icmp4,
    Icmp6,
    /// Another, by its number (IANA, "Assigned Internet Protocol Numbers").
    Number(u8),
    Unknown,
}

impl fmt::Display for Protocol {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => out.write_str("TCP"),
            Self::Udp => out.write_str("UDP"),
            Self::Sctp => out.write_str("SCTP"),
            Self::Icmp4 => out.write_str("ICMPv4"),
            Self::Icmp6 => out.write_str("ICMPv6"),
            Self::Number(number) => number.fmt(out),
            Self::Unknown => out.write_str("unknown"),
        }
    }
}

impl Serialize for Protocol {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        json.collect_str(self)
    }
}

/// The side that looked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// Addresses and ports of a connection, turned so that the client opens it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Tuple {
    pub(crate) client: IpAddr,
    pub(crate) server: IpAddr,
    pub(crate) client_port: u16,
    pub(crate) server_port: u16,
    pub(crate) protocol: Protocol,
}

/// A flow, turned round if it is a reply.
#[derive(Clone, Debug)]
pub(crate) struct Oriented {
    /// Whether its source is the client.
    pub(crate) forward: bool,
    /// The side whose pod was observed.
    pub(crate) observer: Side,
    pub(crate) protocol: Protocol,
    /// The server's port, where there are ports.
    pub(crate) port: Option<u16>,
    /// None without addresses.
    pub(crate) tuple: Option<Tuple>,
}

impl Oriented {
    pub(crate) fn new(flow: &Flow, extra: Option<&Extra>) -> Self {
        let protocol = protocol(flow, extra);
        let ports = flow.l4.and_then(|l4| l4.ports());
        let (from, to) = ports.map_or((0, 0), |ports| (port(ports.source_port), port(ports.destination_port)));
        let source_is_observed = source_is_observed(flow);
        let forward = match flow.is_reply {
            Some(reply) => !reply,
            None => guess(flow, extra, source_is_observed, from, to),
        };
        let observer = match (source_is_observed, flow.traffic_direction) {
            (Some(source), _) => {
                if source == forward {
                    Side::Client
                } else {
                    Side::Server
                }
            }
            (None, TrafficDirection::Ingress) => Side::Server,
            (None, _) => Side::Client,
        };
        let (client_port, server_port) = if forward { (from, to) } else { (to, from) };
        let tuple = flow.ip.as_ref().and_then(|ip| {
            let (source, destination) = (plain(ip.source.as_ref())?, plain(ip.destination.as_ref())?);
            let (client, server) = if forward { (source, destination) } else { (destination, source) };
            Some(Tuple { client, server, client_port, server_port, protocol })
        });
        Self { forward, observer, protocol, port: ports.map(|_| server_port), tuple }
    }
}

fn port(number: u32) -> u16 {
    u16::try_from(number).unwrap_or_default()
}

fn protocol(flow: &Flow, extra: Option<&Extra>) -> Protocol {
    match flow.l4 {
        Some(Layer4::Tcp(_)) => Protocol::Tcp,
        Some(Layer4::Udp(_)) => Protocol::Udp,
        Some(Layer4::Sctp(_)) => Protocol::Sctp,
        Some(Layer4::Icmp4(_)) => Protocol::Icmp4,
        Some(Layer4::Icmp6(_)) => Protocol::Icmp6,
        Some(Layer4::Other) | None => match extra.map(|extra| extra.protocol) {
            Some(number) if number != 0 => Protocol::Number(number),
            _ => Protocol::Unknown,
        },
    }
}

/// Whether the source is the pod that was observed; none where it is not told.
///
/// Drops bear no observation point, but a direction: what a pod sends on a connection it opened, or in reply on one that
/// was opened to it, comes from it.
fn source_is_observed(flow: &Flow) -> Option<bool> {
    match flow.trace_observation_point {
        ObservationPoint::FromEndpoint => return Some(true),
        ObservationPoint::ToEndpoint => return Some(false),
        _ => {}
    }
    let reply = flow.is_reply.unwrap_or(false);
    match flow.traffic_direction {
        TrafficDirection::Egress => Some(!reply),
        TrafficDirection::Ingress => Some(reply),
        _ => None,
    }
}

/// Whether the source is the client, where it is not told whether this is a reply. It depends on nothing but this flow,
/// and says the same of both ways of a connection.
fn guess(flow: &Flow, extra: Option<&Extra>, source_is_observed: Option<bool>, from: u16, to: u16) -> bool {
    let opened = extra.and_then(|extra| extra.connection.as_ref()).map(|connection| connection.opened.as_ref());
    match (opened, source_is_observed) {
        (Some("pod"), Some(source)) => return source,
        (Some("remote"), Some(source)) => return !source,
        _ => {}
    }
    match flow.l7.as_ref().map(|l7| l7.kind) {
        Some(L7FlowType::Request) => return true,
        Some(L7FlowType::Response) => return false,
        _ => {}
    }
    if let Some(Layer4::Tcp(segment)) = flow.l4
        && let Some(flags) = segment.flags
        && flags.contains(TcpFlags(tcp::SYN))
    {
        return !flags.contains(TcpFlags(tcp::ACK));
    }
    // Clients have ephemeral ports. Of two such, or none, the lower one serves.
    match (from >= EPHEMERAL, to >= EPHEMERAL) {
        (true, false) => true,
        (false, true) => false,
        _ => from >= to,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chainkit_flow::parse;

    fn oriented(fields: &str) -> Oriented {
        let line = format!(r#"{{"flow":{{"IP":{{"source":"10.0.0.1","destination":"10.0.0.2"}},{fields}}}}}"#);
        let flow = parse(line.as_bytes()).unwrap().unwrap().flow.unwrap();
        let extra = flow.extensions.as_ref().and_then(|extensions| extensions.extra().map(|extra| extra.into_owned()));
        Oriented::new(&flow, extra.as_ref())
    }

    const TCP: &str = r#""l4":{"TCP":{"source_port":40000,"destination_port":80}}"#;
    const BACK: &str = r#""l4":{"TCP":{"source_port":80,"destination_port":40000}}"#;

    #[test]
    fn a_packet_and_its_reply_are_one_connection() {
        let there = oriented(&format!(r#"{TCP},"is_reply":false"#));
        let back = format!(
            r#"{{"flow":{{"IP":{{"source":"10.0.0.2","destination":"::ffff:10.0.0.1"}},{BACK},"is_reply":true}}}}"#
        );
        let back = parse(back.as_bytes()).unwrap().unwrap().flow.unwrap();
        let back = Oriented::new(&back, None);
        assert_eq!(there.tuple, back.tuple);
        assert_eq!((there.port, back.port, there.forward, back.forward), (Some(80), Some(80), true, false));
    }

    #[test]
    fn it_is_told_who_looked_on() {
        for (fields, observer) in [
            (r#""is_reply":false,"trace_observation_point":"FROM_ENDPOINT""#, Side::Client),
            (r#""is_reply":false,"trace_observation_point":"TO_ENDPOINT""#, Side::Server),
            (r#""is_reply":true,"trace_observation_point":"FROM_ENDPOINT""#, Side::Server),
            (r#""is_reply":true,"trace_observation_point":"TO_ENDPOINT""#, Side::Client),
            (r#""is_reply":false,"traffic_direction":"EGRESS""#, Side::Client),
            (r#""is_reply":false,"traffic_direction":"INGRESS""#, Side::Server),
            (r#""is_reply":true,"traffic_direction":"INGRESS""#, Side::Server),
        ] {
            assert_eq!(oriented(&format!("{TCP},{fields}")).observer, observer, "{fields}");
        }
    }

    #[test]
    fn where_it_is_not_told_who_opened_it_both_ways_are_taken_alike() {
        assert!(oriented(TCP).forward);
        assert!(!oriented(BACK).forward);
        let syn_ack = r#""l4":{"TCP":{"source_port":50000,"destination_port":80,"flags":{"SYN":true,"ACK":true}}}"#;
        assert!(!oriented(syn_ack).forward);
        let response = format!(r#"{TCP},"l7":{{"type":"RESPONSE"}}"#);
        assert!(!oriented(&response).forward);
        let opened = r#""trace_observation_point":"FROM_ENDPOINT","extensions":{"@type":"type.googleapis.com/google.protobuf.Struct","value":{"event":"active","connection":{"opened":"remote"}}}"#;
        assert!(!oriented(&format!("{TCP},{opened}")).forward);
    }
}
