//! `_flow.extensions.value`: what we tell of a flow beyond Hubble, by the names it has in JSON.

use std::borrow::Cow;

use super::fields::Field;
use crate::decided::DecidedBy;
use crate::extra::{ConnectionExtra, Extra};
use crate::layer7::{Grpc, L7Extra, Tls};
use crate::model::Flow;

fn text(text: &str) -> Field<'static> {
    Field::Text(Cow::Owned(text.to_owned()))
}

fn uint(number: impl Into<u64>) -> Field<'static> {
    Field::Uint(number.into())
}

fn extra(flow: &Flow) -> Option<Cow<'_, Extra>> {
    flow.extensions.as_ref()?.extra()
}

/// Whether a message is there; none where the path below `extensions` is of no message.
pub(super) fn message(flow: &Flow, path: &str) -> Option<bool> {
    let is_there = |has: fn(&Extra) -> bool| Some(extra(flow).is_some_and(|extra| has(&extra)));
    match path {
        "" => Some(flow.extensions.is_some()),
        "value" => is_there(|_| true),
        "value.connection" => is_there(|extra| extra.connection.is_some()),
        "value.decided_by" => is_there(|extra| extra.decided_by.is_some()),
        "value.l7" => is_there(|extra| extra.l7.is_some()),
        "value.l7.grpc" => is_there(|extra| extra.l7.as_ref().is_some_and(|l7| l7.grpc.is_some())),
        "value.l7.tls" => is_there(|extra| extra.l7.as_ref().is_some_and(|l7| l7.tls.is_some())),
        _ => None,
    }
}

/// The value of a field below `extensions`; none where there is no such field.
pub(super) fn field(flow: &Flow, path: &str) -> Option<Field<'static>> {
    let path = path.strip_prefix("value.")?;
    let extra = extra(flow).unwrap_or_default();
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    Some(match (first, rest) {
        ("event", "") => text(&extra.event),
        ("packets", "") => uint(extra.packets),
        ("bytes", "") => uint(extra.bytes),
        ("count", "") => uint(extra.count),
        ("reason", "") => text(extra.reason.as_deref().unwrap_or_default()),
        ("source_container_id", "") => text(extra.source_container_id.as_deref().unwrap_or_default()),
        ("destination_container_id", "") => text(extra.destination_container_id.as_deref().unwrap_or_default()),
        ("vlan", "") => uint(extra.vlan.unwrap_or(0)),
        ("ethertype", "") => uint(extra.ethertype),
        ("protocol", "") => uint(extra.protocol),
        ("fragment", "") => Field::Bool(extra.fragment),
        ("generation", "") => uint(extra.generation),
        ("rule", "") => uint(extra.rule),
        ("connection", rest) => return connection(extra.connection.as_ref(), rest),
        ("decided_by", rest) => return decided_by(extra.decided_by.as_deref(), rest),
        ("l7", rest) => return layer7(extra.l7.as_ref(), rest),
        _ => return None,
    })
}

fn connection(connection: Option<&ConnectionExtra>, path: &str) -> Option<Field<'static>> {
    let number = |of: fn(&ConnectionExtra) -> u64| uint(connection.map_or(0, of));
    Some(match path {
        "opened" => text(connection.map_or("", |connection| &connection.opened)),
        "state" => text(connection.map_or("", |connection| &connection.state)),
        "tx_packets" => number(|connection| connection.tx_packets),
        "tx_bytes" => number(|connection| connection.tx_bytes),
        "rx_packets" => number(|connection| connection.rx_packets),
        "rx_bytes" => number(|connection| connection.rx_bytes),
        "rtt_ns" => number(|connection| connection.rtt_ns),
        _ => return None,
    })
}

fn decided_by(decided: Option<&DecidedBy>, path: &str) -> Option<Field<'static>> {
    Some(match path {
        "direction" => text(decided.map_or("", |decided| &decided.direction)),
        "action" => text(decided.map_or("", |decided| &decided.action)),
        "tier" => text(decided.map_or("", |decided| &decided.tier)),
        "rule" => uint(decided.and_then(|decided| decided.rule).unwrap_or(0)),
        "policies_left_out" => uint(decided.map_or(0, |decided| decided.policies_left_out)),
        "because" => text(decided.map_or("", |decided| &decided.because)),
        _ => return None,
    })
}

fn layer7(l7: Option<&L7Extra>, path: &str) -> Option<Field<'static>> {
    let grpc: Option<&Grpc> = l7.and_then(|l7| l7.grpc.as_ref());
    let tls: Option<&Tls> = l7.and_then(|l7| l7.tls.as_ref());
    Some(match path {
        "protocol" => text(l7.map_or("", |l7| &l7.protocol)),
        "partial" => Field::Bool(l7.is_some_and(|l7| l7.partial)),
        "stream" => uint(l7.and_then(|l7| l7.stream).unwrap_or(0)),
        "body_bytes" => uint(l7.and_then(|l7| l7.body_bytes).unwrap_or(0)),
        "headers_left_out" => uint(l7.map_or(0, |l7| l7.headers_left_out)),
        "grpc.service" => text(grpc.map_or("", |grpc| &grpc.service)),
        "grpc.method" => text(grpc.map_or("", |grpc| &grpc.method)),
        "grpc.status" => uint(grpc.and_then(|grpc| grpc.status).unwrap_or(0)),
        "grpc.message" => text(grpc.map_or("", |grpc| &grpc.message)),
        "tls.sni" => text(tls.map_or("", |tls| &tls.sni)),
        "tls.version" => text(tls.map_or("", |tls| &tls.version)),
        "tls.ech" => Field::Bool(tls.is_some_and(|tls| tls.ech)),
        _ => return None,
    })
}
