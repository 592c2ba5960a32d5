//! Requests and responses as flows.

use std::net::IpAddr;

use chainkit_abi::verdict;

use super::bounds::bound;
use super::{Decoder, Seen, container, transport};
use crate::enums::{FlowType, L7FlowType, ObservationPoint, event_type};
use crate::extra::{Extensions, Extra};
use crate::layer4::Ports;
use crate::layer7::{L7Extra, Layer7};
use crate::model::{EventType, Record};
use crate::summary7::summary_of_layer7;

/// A request or response of a connection, as it was seen at an endpoint's interface.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// When, nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// 4 or 6.
    pub family: u8,
    /// IP protocol number.
    pub protocol: u8,
    /// Address of who sent it; IPv4 in the first four bytes.
    pub source: [u8; 16],
    /// Address of whom it was sent to.
    pub destination: [u8; 16],
    /// Port of who sent it.
    pub source_port: u16,
    /// Port of whom it was sent to.
    pub destination_port: u16,
    /// Whether the pod sent it.
    pub from_pod: bool,
    /// The host-side interface of the pod.
    pub ifindex: u32,
    /// What it says.
    pub layer7: Layer7,
    /// What of it Hubble has no field for.
    pub extra: L7Extra,
}

impl Decoder {
    /// The flow of a request or response. From the answers of DNS, flows to and from what they name bear the name from then on.
    pub fn exchange(&mut self, exchange: Exchange) -> Record {
        let ports =
            Ports { source_port: exchange.source_port.into(), destination_port: exchange.destination_port.into() };
        let seen = Seen {
            family: exchange.family,
            protocol: exchange.protocol,
            source: exchange.source,
            destination: exchange.destination,
            source_port: exchange.source_port,
            destination_port: exchange.destination_port,
            from_pod: exchange.from_pod,
            ifindex: exchange.ifindex,
            layer4: transport(exchange.protocol, ports, None),
            time: exchange.time,
        };
        let Exchange { mut layer7, mut extra, .. } = exchange;
        let is_reply = layer7.kind == L7FlowType::Response;
        if let Some(dns) = layer7.dns.as_ref().filter(|_| is_reply && !exchange.from_pod) {
            let addresses: Vec<IpAddr> = dns.ips.iter().filter_map(|ip| ip.parse().ok()).collect();
            self.dns_names.learn(exchange.ifindex, &dns.query, &addresses, dns.ttl, exchange.time);
        }
        bound(&mut layer7, &mut extra);
        let mut flow = self.flow(&seen, Some(is_reply), verdict::FORWARDED);
        flow.time = self.clock.time(exchange.time);
        flow.flow_type = FlowType::L7;
        flow.event_type = Some(EventType { kind: event_type::L7, sub_type: 0 });
        flow.trace_observation_point = ObservationPoint::Unknown;
        flow.summary = summary_of_layer7(&layer7, Some(&extra)).into();
        flow.extensions = Some(Extensions::Ours(Box::new(Extra {
            event: "l7".into(),
            source_container_id: container(flow.source.as_ref()),
            destination_container_id: container(flow.destination.as_ref()),
            l7: Some(extra),
            ..Extra::default()
        })));
        flow.l7 = Some(Box::new(layer7));
        self.record(flow)
    }
}
