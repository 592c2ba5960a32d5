//! The fields by which flows can be folded.

use std::fmt;
use std::str::FromStr;

use chainkit_flow::{Endpoint, Extra, Flow, Policy, Record, Service, Verdict};
use serde::{Serialize, Serializer};

use crate::gather::policy_name;
use crate::oriented::Oriented;
use crate::tally::Spoken;

/// The longest text of a value, in bytes; a longer one is cut.
const MAX_TEXT: usize = 512;

/// An end of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Source,
    Destination,
    /// Who opened the connection, whichever way the flow goes.
    Client,
    Server,
}

const ENDS: [(&str, End); 4] =
    [("source_", End::Source), ("destination_", End::Destination), ("client_", End::Client), ("server_", End::Server)];

/// What of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Pod,
    Namespace,
    Workload,
    Service,
    Name,
    Ip,
    Port,
    Identity,
}

const PARTS: [(&str, Part); 8] = [
    ("pod", Part::Pod),
    ("namespace", Part::Namespace),
    ("workload", Part::Workload),
    ("service", Part::Service),
    ("name", Part::Name),
    ("ip", Part::Ip),
    ("port", Part::Port),
    ("identity", Part::Identity),
];

/// What of the flow as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whole {
    Protocol,
    Verdict,
    DropReason,
    Direction,
    IsReply,
    Node,
    Policy,
    Event,
    L7,
    L7Type,
    HttpMethod,
    HttpCode,
    DnsQuery,
    DnsRcode,
}

const WHOLES: [(&str, Whole); 14] = [
    ("protocol", Whole::Protocol),
    ("verdict", Whole::Verdict),
    ("drop_reason", Whole::DropReason),
    ("direction", Whole::Direction),
    ("is_reply", Whole::IsReply),
    ("node", Whole::Node),
    ("policy", Whole::Policy),
    ("event", Whole::Event),
    ("l7", Whole::L7),
    ("l7_type", Whole::L7Type),
    ("http_method", Whole::HttpMethod),
    ("http_code", Whole::HttpCode),
    ("dns_query", Whole::DnsQuery),
    ("dns_rcode", Whole::DnsRcode),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Of(End, Part),
    Whole(Whole),
}

/// A field by which flows are folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct By {
    name: &'static str,
    field: Field,
}

/// All fields with their names.
const NAMES: [&str; 46] = [
    "source_pod",
    "source_namespace",
    "source_workload",
    "source_service",
    "source_name",
    "source_ip",
    "source_port",
    "source_identity",
    "destination_pod",
    "destination_namespace",
    "destination_workload",
    "destination_service",
    "destination_name",
    "destination_ip",
    "destination_port",
    "destination_identity",
    "client_pod",
    "client_namespace",
    "client_workload",
    "client_service",
    "client_name",
    "client_ip",
    "client_port",
    "client_identity",
    "server_pod",
    "server_namespace",
    "server_workload",
    "server_service",
    "server_name",
    "server_ip",
    "server_port",
    "server_identity",
    "protocol",
    "verdict",
    "drop_reason",
    "direction",
    "is_reply",
    "node",
    "policy",
    "event",
    "l7",
    "l7_type",
    "http_method",
    "http_code",
    "dns_query",
    "dns_rcode",
];

/// The names of all fields.
#[must_use]
pub const fn field_names() -> &'static [&'static str] {
    &NAMES
}

impl FromStr for By {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("there is no field {text:?}: there are {}", NAMES.join(", "));
        let name = NAMES.iter().copied().find(|name| *name == text).ok_or_else(unknown)?;
        let whole = WHOLES.iter().find(|(known, _)| *known == name).map(|(_, whole)| Field::Whole(*whole));
        let of_an_end = || {
            ENDS.iter().find_map(|(prefix, end)| {
                let rest = name.strip_prefix(prefix)?;
                PARTS.iter().find(|(part, _)| *part == rest).map(|(_, part)| Field::Of(*end, *part))
            })
        };
        Ok(Self { name, field: whole.or_else(of_an_end).ok_or_else(unknown)? })
    }
}

/// The value of a field; of what a flow does not tell, none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// It is not told.
    None,
    /// Yes or no.
    Bool(bool),
    /// A number.
    Number(u64),
    /// A text.
    Text(Box<str>),
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => out.write_str("-"),
            Self::Bool(value) => value.fmt(out),
            Self::Number(number) => number.fmt(out),
            Self::Text(text) => out.write_str(text),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => json.serialize_none(),
            Self::Bool(value) => json.serialize_bool(*value),
            Self::Number(number) => json.serialize_u64(*number),
            Self::Text(text) => json.serialize_str(text),
        }
    }
}

/// A text, none of an empty one.
fn text(text: &str) -> Value {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).filter(|text| !text.is_empty()).map_or(Value::None, |text| Value::Text(text.into()))
}

fn in_namespace(namespace: &str, name: &str) -> Value {
    match (namespace, name) {
        (_, "") => Value::None,
        ("", name) => text(name),
        (namespace, name) => text(&format!("{namespace}/{name}")),
    }
}

impl By {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.name
    }

    pub(super) fn of(self, record: &Record, flow: &Flow, extra: Option<&Extra>, oriented: &Oriented) -> Value {
        match self.field {
            Field::Of(end, part) => {
                let is_source = match end {
                    End::Source => true,
                    End::Destination => false,
                    End::Client => oriented.forward,
                    End::Server => !oriented.forward,
                };
                of_end(flow, is_source, part)
            }
            Field::Whole(whole) => of_whole(whole, record, flow, extra, oriented),
        }
    }
}

fn of_end(flow: &Flow, is_source: bool, part: Part) -> Value {
    let end: Option<&Endpoint> = if is_source { flow.source.as_deref() } else { flow.destination.as_deref() };
    let service: Option<&Service> =
        if is_source { flow.source_service.as_ref() } else { flow.destination_service.as_ref() };
    let names = if is_source { &flow.source_names } else { &flow.destination_names };
    match part {
        Part::Pod => end.map_or(Value::None, |end| in_namespace(&end.namespace, &end.pod_name)),
        Part::Namespace => end.map_or(Value::None, |end| text(&end.namespace)),
        Part::Workload => end
            .and_then(|end| Some((end, end.workloads.first()?)))
            .map_or(Value::None, |(end, workload)| in_namespace(&end.namespace, &workload.name)),
        Part::Service => service.map_or(Value::None, |service| in_namespace(&service.0.namespace, &service.0.name)),
        Part::Name => names.iter().min().map_or(Value::None, |name| text(name.trim_end_matches('.'))),
        Part::Ip => {
            let ip = flow.ip.as_ref();
            let address = ip.and_then(|ip| if is_source { ip.source.as_ref() } else { ip.destination.as_ref() });
            address.map_or(Value::None, |address| text(&address.to_string()))
        }
        Part::Port => flow.l4.and_then(|l4| l4.ports()).map_or(Value::None, |ports| {
            Value::Number(if is_source { ports.source_port } else { ports.destination_port }.into())
        }),
        Part::Identity => end.map_or(Value::None, |end| match end.identity {
            0 => Value::None,
            identity => Value::Number(identity.into()),
        }),
    }
}

fn of_whole(whole: Whole, record: &Record, flow: &Flow, extra: Option<&Extra>, oriented: &Oriented) -> Value {
    let l7 = flow.l7.as_deref();
    let http = l7.and_then(|l7| l7.http.as_ref());
    let dns = l7.and_then(|l7| l7.dns.as_ref());
    let number = |number: u32| Value::Number(number.into());
    match whole {
        Whole::Protocol => text(&oriented.protocol.to_string()),
        Whole::Verdict => text(&flow.verdict.to_string()),
        Whole::DropReason if flow.drop_reason_desc.0 == 0 => Value::None,
        Whole::DropReason => {
            let reason = flow.drop_reason_desc;
            reason.name().map_or_else(|| text(&reason.0.to_string()), text)
        }
        Whole::Direction => text(&flow.traffic_direction.to_string()),
        Whole::IsReply => flow.is_reply.map_or(Value::None, Value::Bool),
        Whole::Node if flow.node_name.is_empty() => text(&record.node_name),
        Whole::Node => text(&flow.node_name),
        Whole::Policy => policies(flow),
        Whole::Event => extra.map_or(Value::None, |extra| text(&extra.event)),
        Whole::L7 => Spoken::of(flow, extra).name().map_or(Value::None, text),
        Whole::L7Type => l7.map_or(Value::None, |l7| text(&l7.kind.to_string())),
        Whole::HttpMethod => http.map_or(Value::None, |http| text(&http.method)),
        Whole::HttpCode => http.filter(|http| http.code > 0).map_or(Value::None, |http| number(http.code)),
        Whole::DnsQuery => dns.map_or(Value::None, |dns| text(dns.query.trim_end_matches('.'))),
        Whole::DnsRcode => dns.map_or(Value::None, |dns| number(dns.rcode)),
    }
}

/// The policies that denied, else those that allowed.
fn policies(flow: &Flow) -> Value {
    let denied = matches!(flow.verdict, Verdict::Dropped | Verdict::Audit);
    let (egress, ingress): (&[Policy], &[Policy]) = if denied {
        (&flow.egress_denied_by, &flow.ingress_denied_by)
    } else {
        (&flow.egress_allowed_by, &flow.ingress_allowed_by)
    };
    let mut names: Vec<String> = egress.iter().chain(ingress).map(policy_name).collect();
    names.sort_unstable();
    names.dedup();
    text(&names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_of_a_field_and_every_field_has_a_name() {
        let mut fields = Vec::new();
        for name in NAMES {
            let by: By = name.parse().unwrap();
            assert_eq!(by.name(), name);
            assert!(!fields.contains(&by.field), "{name}");
            fields.push(by.field);
        }
        assert_eq!(fields.len(), ENDS.len() * PARTS.len() + WHOLES.len());
        let error = "source".parse::<By>().unwrap_err();
        assert!(error.contains("\"source\"") && error.contains("server_workload, ") && error.contains("dns_rcode"));
    }
}
