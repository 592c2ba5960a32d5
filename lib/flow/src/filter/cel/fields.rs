//! The fields of a flow as expressions see them: by their names in Hubble's protobuf, with zero for what is not set.

use std::borrow::Cow;

use super::extra;
use crate::drop_reason::DropReason;
use crate::enums::{FlowType, IpVersion, L7FlowType, ObservationPoint, TrafficDirection, Verdict};
use crate::layer4::{Icmp, Layer4, Ports, Tcp, TcpFlags};
use crate::model::{Endpoint, Flow, Policy};
use crate::resolve::Service;

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Field<'a> {
    Text(Cow<'a, str>),
    Int(i64),
    Uint(u64),
    Bool(bool),
    /// Of a wrapped value that is not set.
    Null,
    Texts(&'a [String]),
    /// A list of messages.
    Messages(Vec<Vec<(&'static str, Field<'a>)>>),
}

impl Field<'_> {
    /// Whether it is not set, as far as protobuf tells.
    pub(super) fn is_zero(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Int(number) => *number == 0,
            Self::Uint(number) => *number == 0,
            Self::Bool(value) => !*value,
            Self::Null => true,
            Self::Texts(texts) => texts.is_empty(),
            Self::Messages(messages) => messages.is_empty(),
        }
    }
}

/// The enum of a field, where it has one.
pub(super) fn enum_of(path: &str) -> Option<&'static str> {
    Some(match path {
        "verdict" => "Verdict",
        "drop_reason_desc" => "DropReason",
        "IP.ipVersion" => "IPVersion",
        "Type" => "FlowType",
        "l7.type" => "L7FlowType",
        "traffic_direction" => "TrafficDirection",
        "trace_observation_point" => "TraceObservationPoint",
        _ => return None,
    })
}

/// The number of a constant; the outer is none where there is no such enum.
pub(super) fn constant(name: &str, constant: &str) -> Option<Option<i64>> {
    Some(
        match name {
            "Verdict" => Verdict::from_name(constant).map(Verdict::number),
            "DropReason" => DropReason::from_name(constant).map(|reason| reason.0),
            "IPVersion" => IpVersion::from_name(constant).map(IpVersion::number),
            "FlowType" => FlowType::from_name(constant).map(FlowType::number),
            "L7FlowType" => L7FlowType::from_name(constant).map(L7FlowType::number),
            "TrafficDirection" => TrafficDirection::from_name(constant).map(TrafficDirection::number),
            "TraceObservationPoint" => ObservationPoint::from_name(constant).map(ObservationPoint::number),
            _ => return None,
        }
        .map(i64::from),
    )
}

/// Whether a message is set; none where the path is of no message.
pub(super) fn message(flow: &Flow, path: &str) -> Option<bool> {
    Some(match path {
        "ethernet" => flow.ethernet.is_some(),
        "IP" => flow.ip.is_some(),
        "l4" => flow.l4.is_some(),
        "l4.TCP" => matches!(flow.l4, Some(Layer4::Tcp(_))),
        "l4.TCP.flags" => matches!(flow.l4, Some(Layer4::Tcp(Tcp { flags: Some(_), .. }))),
        "l4.UDP" => matches!(flow.l4, Some(Layer4::Udp(_))),
        "l4.SCTP" => matches!(flow.l4, Some(Layer4::Sctp(_))),
        "l4.ICMPv4" => matches!(flow.l4, Some(Layer4::Icmp4(_))),
        "l4.ICMPv6" => matches!(flow.l4, Some(Layer4::Icmp6(_))),
        "source" => flow.source.is_some(),
        "destination" => flow.destination.is_some(),
        "l7" => flow.l7.is_some(),
        "l7.dns" => flow.l7.as_ref().is_some_and(|l7| l7.dns.is_some()),
        "l7.http" => flow.l7.as_ref().is_some_and(|l7| l7.http.is_some()),
        "l7.kafka" => flow.l7.as_ref().is_some_and(|l7| l7.kafka.is_some()),
        "event_type" => flow.event_type.is_some(),
        "source_service" => flow.source_service.is_some(),
        "destination_service" => flow.destination_service.is_some(),
        "interface" => flow.interface.is_some(),
        "trace_context" => flow.trace_context.is_some(),
        "trace_context.parent" => flow.trace_context.as_ref().is_some_and(|context| context.parent.is_some()),
        "ip_trace_id" => flow.ip_trace_id.is_some(),
        _ => {
            let (first, rest) = path.split_once('.').unwrap_or((path, ""));
            return if first == "extensions" { extra::message(flow, rest) } else { None };
        }
    })
}

fn text(text: &str) -> Field<'_> {
    Field::Text(Cow::Borrowed(text))
}

fn written(value: Option<&impl ToString>) -> Field<'static> {
    Field::Text(Cow::Owned(value.map(ToString::to_string).unwrap_or_default()))
}

fn uint(number: u32) -> Field<'static> {
    Field::Uint(number.into())
}

fn int(number: i32) -> Field<'static> {
    Field::Int(number.into())
}

/// The value of a field; none where there is no such field.
pub(super) fn field<'a>(flow: &'a Flow, path: &str) -> Option<Field<'a>> {
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    Some(match (first, rest) {
        ("uuid", "") => written(Some(&flow.uuid)),
        ("verdict", "") => int(flow.verdict.number()),
        ("drop_reason", "") => uint(flow.drop_reason),
        ("drop_reason_desc", "") => int(flow.drop_reason_desc.0),
        ("Type", "") => int(flow.flow_type.number()),
        ("node_name", "") => text(&flow.node_name),
        ("node_labels", "") => Field::Texts(&flow.node_labels),
        ("source_names", "") => Field::Texts(&flow.source_names),
        ("destination_names", "") => Field::Texts(&flow.destination_names),
        ("traffic_direction", "") => int(flow.traffic_direction.number()),
        ("policy_match_type", "") => uint(flow.policy_match_type),
        ("trace_observation_point", "") => int(flow.trace_observation_point.number()),
        ("is_reply", "") => flow.is_reply.map_or(Field::Null, Field::Bool),
        // What is_reply has taken the place of.
        ("reply", "") => Field::Bool(flow.is_reply == Some(true)),
        ("Summary", "") => text(&flow.summary),
        ("egress_allowed_by", "") => policies(&flow.egress_allowed_by),
        ("ingress_allowed_by", "") => policies(&flow.ingress_allowed_by),
        ("egress_denied_by", "") => policies(&flow.egress_denied_by),
        ("ingress_denied_by", "") => policies(&flow.ingress_denied_by),
        ("source", _) => return endpoint(flow.source.as_deref(), rest),
        ("destination", _) => return endpoint(flow.destination.as_deref(), rest),
        ("source_service", _) => return service(flow.source_service.as_ref(), rest),
        ("destination_service", _) => return service(flow.destination_service.as_ref(), rest),
        ("l4", _) => return layer4(flow.l4, rest),
        ("l7", _) => return layer7(flow, rest),
        ("extensions", _) => return extra::field(flow, rest),
        ("ethernet", "source") => written(flow.ethernet.as_ref().and_then(|ethernet| ethernet.source.as_ref())),
        ("ethernet", "destination") => {
            written(flow.ethernet.as_ref().and_then(|ethernet| ethernet.destination.as_ref()))
        }
        ("IP", "source") => written(flow.ip.as_ref().and_then(|ip| ip.source.as_ref())),
        ("IP", "source_xlated") => written(flow.ip.as_ref().and_then(|ip| ip.source_xlated.as_ref())),
        ("IP", "destination") => written(flow.ip.as_ref().and_then(|ip| ip.destination.as_ref())),
        ("IP", "ipVersion") => int(flow.ip.as_ref().map_or(0, |ip| ip.version.number())),
        ("IP", "encrypted") => Field::Bool(flow.ip.as_ref().is_some_and(|ip| ip.encrypted)),
        ("event_type", "type") => int(flow.event_type.unwrap_or_default().kind),
        ("event_type", "sub_type") => int(flow.event_type.unwrap_or_default().sub_type),
        ("interface", "index") => uint(flow.interface.as_ref().map_or(0, |interface| interface.index)),
        ("interface", "name") => text(flow.interface.as_ref().map_or("", |interface| &interface.name)),
        ("trace_context", "parent.trace_id") => text(super::super::trace_id(flow).unwrap_or_default()),
        ("ip_trace_id", "trace_id") => Field::Uint(flow.ip_trace_id.unwrap_or_default().trace_id),
        ("ip_trace_id", "ip_option_type") => uint(flow.ip_trace_id.unwrap_or_default().ip_option_type),
        _ => return None,
    })
}

fn endpoint<'a>(end: Option<&'a Endpoint>, path: &str) -> Option<Field<'a>> {
    let of = |name: fn(&'a Endpoint) -> &'a str| text(end.map(name).unwrap_or_default());
    Some(match path {
        "ID" => uint(end.map_or(0, |end| end.id)),
        "identity" => uint(end.map_or(0, |end| end.identity)),
        "cluster_name" => of(|end| &end.cluster_name),
        "namespace" => of(|end| &end.namespace),
        "pod_name" => of(|end| &end.pod_name),
        "labels" => Field::Texts(end.map_or(&[], |end| &end.labels)),
        "workloads" => Field::Messages(
            end.map_or(&[][..], |end| &end.workloads)
                .iter()
                .map(|workload| vec![("name", text(&workload.name)), ("kind", text(&workload.kind))])
                .collect(),
        ),
        _ => return None,
    })
}

fn service<'a>(service: Option<&'a Service>, path: &str) -> Option<Field<'a>> {
    Some(match path {
        "name" => text(service.map_or("", |service| &service.0.name)),
        "namespace" => text(service.map_or("", |service| &service.0.namespace)),
        _ => return None,
    })
}

fn policies(policies: &[Policy]) -> Field<'_> {
    let fields = policies.iter().map(|policy| {
        vec![
            ("name", text(&policy.name)),
            ("namespace", text(&policy.namespace)),
            ("labels", Field::Texts(&policy.labels)),
            ("revision", Field::Uint(policy.revision)),
            ("kind", text(&policy.kind)),
        ]
    });
    Field::Messages(fields.collect())
}

fn layer4(l4: Option<Layer4>, path: &str) -> Option<Field<'static>> {
    let (form, rest) = path.split_once('.')?;
    let ports = |ports: Option<Ports>| {
        let ports = ports.unwrap_or_default();
        match rest {
            "source_port" => Some(uint(ports.source_port)),
            "destination_port" => Some(uint(ports.destination_port)),
            _ => None,
        }
    };
    let icmp = |icmp: Option<Icmp>| {
        let icmp = icmp.unwrap_or_default();
        match rest {
            "type" => Some(uint(icmp.kind)),
            "code" => Some(uint(icmp.code)),
            _ => None,
        }
    };
    match (form, l4) {
        ("TCP", l4) => {
            let tcp = if let Some(Layer4::Tcp(tcp)) = l4 { tcp } else { Tcp::default() };
            match rest.strip_prefix("flags.") {
                Some(flag) => {
                    let flag = TcpFlags::from_name(flag)?;
                    Some(Field::Bool(tcp.flags.is_some_and(|flags| flags.contains(flag))))
                }
                None => ports(Some(Ports { source_port: tcp.source_port, destination_port: tcp.destination_port })),
            }
        }
        ("UDP", Some(Layer4::Udp(udp))) => ports(Some(udp)),
        ("SCTP", Some(Layer4::Sctp(sctp))) => ports(Some(sctp)),
        ("UDP" | "SCTP", _) => ports(None),
        ("ICMPv4", Some(Layer4::Icmp4(message))) | ("ICMPv6", Some(Layer4::Icmp6(message))) => icmp(Some(message)),
        ("ICMPv4" | "ICMPv6", _) => icmp(None),
        _ => None,
    }
}

fn layer7<'a>(flow: &'a Flow, path: &str) -> Option<Field<'a>> {
    let l7 = flow.l7.as_deref();
    let (form, rest) = path.split_once('.').unwrap_or((path, ""));
    let dns = l7.and_then(|l7| l7.dns.as_ref());
    let http = l7.and_then(|l7| l7.http.as_ref());
    let kafka = l7.and_then(|l7| l7.kafka.as_ref());
    Some(match (form, rest) {
        ("type", "") => int(l7.map_or(0, |l7| l7.kind.number())),
        ("latency_ns", "") => Field::Uint(l7.map_or(0, |l7| l7.latency_ns)),
        ("dns", "query") => text(dns.map_or("", |dns| &dns.query)),
        ("dns", "ips") => Field::Texts(dns.map_or(&[], |dns| &dns.ips)),
        ("dns", "ttl") => uint(dns.map_or(0, |dns| dns.ttl)),
        ("dns", "cnames") => Field::Texts(dns.map_or(&[], |dns| &dns.cnames)),
        ("dns", "observation_source") => text(dns.map_or("", |dns| &dns.observation_source)),
        ("dns", "rcode") => uint(dns.map_or(0, |dns| dns.rcode)),
        ("dns", "qtypes") => Field::Texts(dns.map_or(&[], |dns| &dns.qtypes)),
        ("dns", "rrtypes") => Field::Texts(dns.map_or(&[], |dns| &dns.rrtypes)),
        ("http", "code") => uint(http.map_or(0, |http| http.code)),
        ("http", "method") => text(http.map_or("", |http| &http.method)),
        ("http", "url") => text(http.map_or("", |http| &http.url)),
        ("http", "protocol") => text(http.map_or("", |http| &http.protocol)),
        ("http", "headers") => Field::Messages(
            http.map_or(&[][..], |http| &http.headers)
                .iter()
                .map(|header| vec![("key", text(&header.key)), ("value", text(&header.value))])
                .collect(),
        ),
        ("kafka", "error_code") => int(kafka.map_or(0, |kafka| kafka.error_code)),
        ("kafka", "api_version") => int(kafka.map_or(0, |kafka| kafka.api_version)),
        ("kafka", "api_key") => text(kafka.map_or("", |kafka| &kafka.api_key)),
        ("kafka", "correlation_id") => int(kafka.map_or(0, |kafka| kafka.correlation_id)),
        ("kafka", "topic") => text(kafka.map_or("", |kafka| &kafka.topic)),
        _ => return None,
    })
}
