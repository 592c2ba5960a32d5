//! Filters, with Hubble's flags and meaning.
//!
//! Each flag is a criterion; a repeated one takes any of its values, different ones must all hold. A bare flag such as
//! `--pod` asks for one end of the flow, whichever, and each bare flag for itself: `--pod shop/web --port 53` finds what the
//! pod asks of port 53, too. (Hubble takes bare flags given together for the same end, so that it finds only the pod's own
//! port 53.) That is why a filter is some alternatives: each bare flag about the source, or about the destination. `--not`
//! puts the flag that follows into a second such filter, of what is left out.
//!
//! Flags become messages of Hubble's (`build`, `message`), beside which those of `--allowlist` and `--denylist` stand, and
//! each message is compiled to what flows are held against (`compile`).

mod build;
mod cel;
mod compile;
mod flag;
mod kernel;
mod label;
mod layer7;
mod message;
mod pattern;
mod pod;

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;

pub use build::{FilterBuilder, FilterError};
pub use flag::FilterFlag;
pub use kernel::SlotSet;
pub use pod::PodPattern;

use crate::drop_reason::DropReason;
use crate::enums::{IpVersion, TrafficDirection, Verdict};
use crate::layer4::{Layer4, Ports, TcpFlags};
use crate::model::{Endpoint, Flow};
use crate::resolve::Service;
use crate::text::Lenient;
use crate::uuid::FlowId;
use cel::Expression;
use label::Selector;
use layer7::{Application, Layer7Asked, sni_matches, told};
use message::FlowFilter;
use pattern::{Glob, NodePattern, PolicyPattern};

/// Which flows to show.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// A flow must be one of these; none: any.
    allow: Vec<Alternative>,
    /// A flow must be none of these.
    deny: Vec<Alternative>,
    /// What both were compiled from.
    messages: Arc<Messages>,
}

/// Two lists of messages.
#[derive(Debug, Default, PartialEq, Eq)]
struct Messages {
    allow: Vec<FlowFilter>,
    deny: Vec<FlowFilter>,
}

impl PartialEq for Filter {
    /// Filters of the same messages show the same.
    fn eq(&self, other: &Self) -> bool {
        self.messages == other.messages
    }
}

impl Eq for Filter {}

impl Filter {
    /// Whether a flow is to be shown.
    #[must_use]
    pub fn matches(&self, flow: &Flow) -> bool {
        let allowed = self.allow.is_empty() || self.allow.iter().any(|alternative| alternative.matches(flow));
        allowed && !self.deny.iter().any(|alternative| alternative.matches(flow))
    }

    /// Whether it shows every flow.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }

    /// Its allow and deny list as Hubble prints them: YAML, with a `FlowFilter` in JSON for each alternative.
    ///
    /// # Errors
    /// Never in practice: the types of this crate can all be written as JSON.
    pub fn raw(&self) -> std::io::Result<String> {
        Ok(message::yaml(&self.messages.allow, &self.messages.deny)?)
    }
}

/// What is asked of one end of a flow. An empty list asks nothing.
#[derive(Clone, Debug, Default)]
struct End {
    pods: Vec<PodPattern>,
    services: Vec<PodPattern>,
    labels: Vec<Selector>,
    addresses: Vec<IpNet>,
    ports: Vec<RangeInclusive<u16>>,
    names: Vec<Glob>,
    identities: Vec<u32>,
    workloads: Vec<message::Workload>,
    clusters: Vec<Glob>,
}

/// What is asked of a flow: all of it must hold. An empty list asks nothing.
#[derive(Clone, Debug, Default)]
struct Alternative {
    source: End,
    destination: End,
    protocols: Vec<Protocol>,
    verdicts: Vec<Verdict>,
    drop_reasons: Vec<DropReason>,
    directions: Vec<TrafficDirection>,
    tcp_flags: Vec<TcpFlags>,
    ip_versions: Vec<IpVersion>,
    event_types: Vec<message::EventType>,
    replies: Vec<bool>,
    interfaces: Vec<message::Interface>,
    uuids: Vec<String>,
    trace_ids: Vec<String>,
    ip_trace_ids: Vec<u64>,
    node_names: Vec<NodePattern>,
    node_labels: Vec<Selector>,
    translated: Vec<IpNet>,
    encrypted: Vec<bool>,
    layer7: Option<Box<Layer7Asked>>,
    beyond: Option<Box<Beyond>>,
    expressions: Vec<Arc<Expression>>,
}

/// What is asked beyond Hubble.
#[derive(Clone, Debug, Default)]
struct Beyond {
    policies: Vec<PolicyPattern>,
    server_names: Vec<Glob>,
    min_bytes: Vec<u64>,
}

/// A protocol of `--protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Tcp,
    Udp,
    Sctp,
    /// Of either IP version.
    Icmp,
    Icmp4,
    Icmp6,
    Application(Application),
}

impl Protocol {
    fn is(self, flow: &Flow) -> bool {
        if let Self::Application(application) = self {
            return application.is(flow);
        }
        matches!(
            (self, flow.l4),
            (Self::Tcp, Some(Layer4::Tcp(_)))
                | (Self::Udp, Some(Layer4::Udp(_)))
                | (Self::Sctp, Some(Layer4::Sctp(_)))
                | (Self::Icmp | Self::Icmp4, Some(Layer4::Icmp4(_)))
                | (Self::Icmp | Self::Icmp6, Some(Layer4::Icmp6(_)))
        )
    }
}

/// Whether one of the values holds, or none is asked for.
fn any<T>(values: &[T], holds: impl FnMut(&T) -> bool) -> bool {
    values.is_empty() || values.iter().any(holds)
}

impl Alternative {
    /// What costs most is asked last.
    fn matches(&self, flow: &Flow) -> bool {
        any(&self.verdicts, |verdict| *verdict == flow.verdict)
            && any(&self.protocols, |protocol| protocol.is(flow))
            && any(&self.ip_versions, |version| {
                flow.ip.as_ref().map_or(IpVersion::NotUsed, |ip| ip.version) == *version
            })
            && any(&self.directions, |direction| *direction == flow.traffic_direction)
            && any(&self.tcp_flags, |wanted| flags(flow).is_some_and(|flags| flags.contains(*wanted)))
            && any(&self.event_types, |wanted| wanted.matches(flow))
            && any(&self.drop_reasons, |reason| *reason == flow.drop_reason_desc)
            && any(&self.replies, |wanted| is_reply(flow) == Some(*wanted))
            && self.ends_match(flow)
            && self.place_matches(flow)
            && self.layer7.as_ref().is_none_or(|asked| asked.matches(flow))
            && self.beyond.as_ref().is_none_or(|asked| asked.matches(flow))
            && any(&self.expressions, |expression| expression.holds(flow))
    }

    fn ends_match(&self, flow: &Flow) -> bool {
        let ports = flow.l4.and_then(|l4| l4.ports());
        let Ports { source_port, destination_port } = ports.unwrap_or_default();
        let (source, destination) =
            flow.ip.as_ref().map_or((None, None), |ip| (known(ip.source.as_ref()), known(ip.destination.as_ref())));
        self.source.matches(&OneEnd {
            endpoint: flow.source.as_deref(),
            service: flow.source_service.as_ref(),
            names: &flow.source_names,
            address: source,
            port: ports.map(|_| source_port),
        }) && self.destination.matches(&OneEnd {
            endpoint: flow.destination.as_deref(),
            service: flow.destination_service.as_ref(),
            names: &flow.destination_names,
            address: destination,
            port: ports.map(|_| destination_port),
        })
    }

    /// Where it was seen, and which flow it is.
    fn place_matches(&self, flow: &Flow) -> bool {
        any(&self.interfaces, |wanted| wanted.matches(flow))
            && any(&self.node_names, |pattern| pattern.matches(&flow.node_name))
            && any(&self.node_labels, |selector| selector.matches(&flow.node_labels))
            && any(&self.uuids, |uuid| is_uuid(&flow.uuid, uuid))
            && any(&self.trace_ids, |id| trace_id(flow) == Some(id.as_str()))
            && any(&self.ip_trace_ids, |id| flow.ip_trace_id.is_some_and(|trace| trace.trace_id == *id))
            && any(&self.encrypted, |wanted| flow.ip.as_ref().is_some_and(|ip| ip.encrypted == *wanted))
            && any(&self.translated, |network| {
                let address = flow.ip.as_ref().and_then(|ip| known(ip.source_xlated.as_ref()));
                address.is_some_and(|address| network.contains(&address))
            })
    }
}

fn known(address: Option<&Lenient<IpAddr>>) -> Option<IpAddr> {
    address.and_then(Lenient::known).copied()
}

fn flags(flow: &Flow) -> Option<TcpFlags> {
    match flow.l4 {
        Some(Layer4::Tcp(tcp)) => tcp.flags,
        _ => None,
    }
}

/// Whether it is a reply, where that is known; one that was dropped without that being known is none, as in Hubble.
fn is_reply(flow: &Flow) -> Option<bool> {
    flow.is_reply.or((flow.verdict == Verdict::Dropped).then_some(false))
}

fn is_uuid(uuid: &FlowId, wanted: &str) -> bool {
    match uuid {
        FlowId::Text(text) => **text == *wanted,
        FlowId::Number(_) => uuid.to_string() == wanted,
        FlowId::None => false,
    }
}

fn trace_id(flow: &Flow) -> Option<&str> {
    flow.trace_context.as_ref()?.parent.as_ref().map(|parent| parent.trace_id.as_str())
}

impl message::EventType {
    fn matches(&self, flow: &Flow) -> bool {
        flow.event_type.is_some_and(|event| {
            (self.kind == 0 || self.kind == event.kind) && (!self.match_sub_type || self.sub_type == event.sub_type)
        })
    }
}

impl message::Interface {
    fn matches(&self, flow: &Flow) -> bool {
        flow.interface.as_ref().is_some_and(|interface| {
            (self.index == 0 || self.index == interface.index)
                && (self.name.is_empty() || *self.name == *interface.name)
        })
    }
}

impl Beyond {
    fn matches(&self, flow: &Flow) -> bool {
        let by = [&flow.egress_allowed_by, &flow.ingress_allowed_by, &flow.egress_denied_by, &flow.ingress_denied_by];
        any(&self.policies, |pattern| by.iter().any(|policies| policies.iter().any(|policy| pattern.matches(policy))))
            && ((self.server_names.is_empty() && self.min_bytes.is_empty())
                || told(flow, |extra| {
                    let bytes = match &extra.connection {
                        Some(connection) => connection.tx_bytes.saturating_add(connection.rx_bytes),
                        None => extra.bytes.into(),
                    };
                    any(&self.min_bytes, |least| bytes >= *least)
                        && (self.server_names.is_empty() || sni_matches(&self.server_names, extra))
                }))
    }
}

/// One end of a flow.
struct OneEnd<'a> {
    endpoint: Option<&'a Endpoint>,
    service: Option<&'a Service>,
    names: &'a [String],
    address: Option<IpAddr>,
    port: Option<u32>,
}

impl End {
    fn matches(&self, end: &OneEnd<'_>) -> bool {
        let port = end.port.and_then(|port| u16::try_from(port).ok());
        let endpoint = |holds: &dyn Fn(&Endpoint) -> bool| end.endpoint.is_some_and(holds);
        any(&self.ports, |range| port.is_some_and(|port| range.contains(&port)))
            && any(&self.addresses, |network| end.address.is_some_and(|address| network.contains(&address)))
            && any(&self.pods, |pattern| endpoint(&|end| pattern.matches(&end.namespace, &end.pod_name)))
            && any(&self.services, |pattern| {
                end.service.is_some_and(|service| pattern.matches(&service.0.namespace, &service.0.name))
            })
            && any(&self.names, |glob| end.names.iter().any(|name| glob.matches(name)))
            && any(&self.identities, |identity| endpoint(&|end| end.identity == *identity))
            && any(&self.workloads, |wanted| endpoint(&|end| wanted.is_of(end)))
            && any(&self.clusters, |glob| {
                endpoint(&|end| !end.cluster_name.is_empty() && glob.matches(&end.cluster_name))
            })
            && any(&self.labels, |selector| selector.matches(end.endpoint.map_or(&[], |end| &end.labels)))
    }
}

impl message::Workload {
    fn is_of(&self, end: &Endpoint) -> bool {
        end.workloads.iter().any(|workload| {
            (self.name.is_empty() || self.name == workload.name) && (self.kind.is_empty() || self.kind == workload.kind)
        })
    }
}

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod events;
#[cfg(test)]
mod tests;
