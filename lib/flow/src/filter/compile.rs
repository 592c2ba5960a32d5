//! From a message to what flows are held against.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;

use super::cel::Expression;
use super::layer7::{Application, Layer7Asked, Wrong, each};
use super::message::FlowFilter;
use super::pattern::{Glob, NodePattern, PolicyPattern};
use super::pod::PodPattern;
use super::{Alternative, Beyond, End, Protocol};
use crate::enums::event_type;

/// Compiles a message.
pub(super) fn alternative(message: &FlowFilter) -> Result<Alternative, Wrong> {
    let layer7 = Layer7Asked::compile(message)?;
    let types = &message.event_type;
    let http = [&message.http_status_code, &message.http_method, &message.http_path, &message.http_url];
    let asks_http = http.iter().any(|values| !values.is_empty()) || !message.http_header.is_empty();
    if asks_http && !types.is_empty() && !types.iter().any(|wanted| matches!(wanted.kind, 0 | event_type::L7)) {
        let reason = "what is asked of HTTP only flows of type l7 can have: add that type, or leave types out";
        return Err(("event_type", types.iter().map(|wanted| wanted.kind.to_string()).collect(), reason.to_owned()));
    }
    Ok(Alternative {
        source: End {
            pods: each("source_pod", &message.source_pod, pod)?,
            services: each("source_service", &message.source_service, pod)?,
            labels: each("source_label", &message.source_label, str::parse)?,
            addresses: each("source_ip", &message.source_ip, address)?,
            ports: each("source_port", &message.source_port, ports)?,
            names: each("source_fqdn", &message.source_fqdn, Glob::parse)?,
            identities: message.source_identity.clone(),
            workloads: message.source_workload.clone(),
            clusters: each("source_cluster_name", &message.source_cluster_name, Glob::parse)?,
        },
        destination: End {
            pods: each("destination_pod", &message.destination_pod, pod)?,
            services: each("destination_service", &message.destination_service, pod)?,
            labels: each("destination_label", &message.destination_label, str::parse)?,
            addresses: each("destination_ip", &message.destination_ip, address)?,
            ports: each("destination_port", &message.destination_port, ports)?,
            names: each("destination_fqdn", &message.destination_fqdn, Glob::parse)?,
            identities: message.destination_identity.clone(),
            workloads: message.destination_workload.clone(),
            clusters: each("destination_cluster_name", &message.destination_cluster_name, Glob::parse)?,
        },
        protocols: each("protocol", &message.protocol, protocol)?,
        verdicts: message.verdict.clone(),
        drop_reasons: message.drop_reason_desc.clone(),
        directions: message.traffic_direction.clone(),
        tcp_flags: message.tcp_flags.clone(),
        ip_versions: message.ip_version.clone(),
        event_types: types.clone(),
        replies: message.reply.clone(),
        interfaces: message.interface.clone(),
        uuids: message.uuid.clone(),
        trace_ids: message.trace_id.clone(),
        ip_trace_ids: message.ip_trace_id.clone(),
        node_names: each("node_name", &message.node_name, NodePattern::parse)?,
        node_labels: each("node_labels", &message.node_labels, str::parse)?,
        translated: each("source_ip_xlated", &message.source_ip_xlated, address)?,
        encrypted: message.encrypted.clone(),
        layer7,
        beyond: beyond(message)?,
        expressions: each("cel_expression", &message.experimental.cel_expression, |text| {
            Expression::parse(text).map(Arc::new)
        })?,
    })
}

fn beyond(message: &FlowFilter) -> Result<Option<Box<Beyond>>, Wrong> {
    let beyond = Beyond {
        policies: each("policy", &message.chainkit.policy, PolicyPattern::parse)?,
        server_names: each("sni", &message.chainkit.sni, Glob::parse)?,
        min_bytes: each("min_bytes", &message.chainkit.min_bytes, bytes)?,
    };
    let asks = !(beyond.policies.is_empty() && beyond.server_names.is_empty() && beyond.min_bytes.is_empty());
    Ok(asks.then(|| Box::new(beyond)))
}

fn pod(value: &str) -> Result<PodPattern, String> {
    if value == "/" {
        return Ok(PodPattern::any());
    }
    PodPattern::parse(value).ok_or_else(|| "expected [NAMESPACE/]NAME, or NAMESPACE/ for all of a namespace".to_owned())
}

fn address(value: &str) -> Result<IpNet, String> {
    let network: Option<IpNet> =
        if value.contains('/') { value.parse().ok() } else { value.parse::<IpAddr>().ok().map(IpNet::from) };
    network.map(|network| network.trunc()).ok_or_else(|| "expected an IP address or CIDR".to_owned())
}

fn ports(value: &str) -> Result<RangeInclusive<u16>, String> {
    let wrong = || "expected a port from 0 to 65535, or a range such as 8000-8100".to_owned();
    let (low, high) = value.split_once('-').unwrap_or((value, value));
    let port = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u16>().ok()).flatten().ok_or_else(wrong)
    };
    let range = port(low)?..=port(high)?;
    if range.is_empty() { Err("the range ends before it begins".to_owned()) } else { Ok(range) }
}

fn protocol(value: &str) -> Result<Protocol, String> {
    Ok(match value.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        "icmp" => Protocol::Icmp,
        "icmpv4" => Protocol::Icmp4,
        "icmpv6" => Protocol::Icmp6,
        "dns" => Protocol::Application(Application::Dns),
        "http" => Protocol::Application(Application::Http),
        "kafka" => Protocol::Application(Application::Kafka),
        "grpc" => Protocol::Application(Application::Grpc),
        "tls" => Protocol::Application(Application::Tls),
        "quic" => Protocol::Application(Application::Quic),
        _ => {
            return Err("expected tcp, udp, sctp, icmp, icmpv4, icmpv6, dns, http, grpc, tls, quic or kafka".to_owned());
        }
    })
}

/// A number of bytes such as `1500` or `10MiB`.
fn bytes(value: &str) -> Result<u64, String> {
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (number, unit) = value.split_at_checked(digits).unwrap_or((value, ""));
    let unit: u64 = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        unit => return Err(format!("unknown unit {unit:?}: use kB, MB, GB, KiB, MiB or GiB")),
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    bytes.ok_or_else(|| "expected a number of bytes, such as 1500 or 10MiB".to_owned())
}
