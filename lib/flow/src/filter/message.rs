//! Hubble's `FlowFilter` (cilium, `api/v1/flow/flow.proto`), as `--allowlist` takes and `--print-raw-filters` prints it.
//!
//! All criteria of a message must hold, and of each any of its values. It is read as protojson, snake_case or camelCase,
//! but strictly: a field or a name that is not known would mean a filter that shows something else than was asked.
//! What Hubble has no field for is in a message `chainkit`.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::drop_reason::DropReason;
use crate::enums::{IpVersion, TrafficDirection, Verdict};
use crate::layer4::TcpFlags;
use crate::wire::{self, is_zero, nullable};

/// Declares the message: each field is a list that is left out when it is empty, under both of its names.
macro_rules! message {
    ($($(#[$meta:meta])* $field:ident / $camel:literal: $type:ty, $read:literal;)*) => {
        /// The message.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields, expecting = "an object: a FlowFilter")]
        pub(super) struct FlowFilter {
            $(
                #[serde(alias = $camel, deserialize_with = $read, skip_serializing_if = "Vec::is_empty")]
                pub(super) $field: Vec<$type>,
            )*
            #[serde(deserialize_with = "nullable", skip_serializing_if = "is_zero")]
            pub(super) experimental: Experimental,
            #[serde(deserialize_with = "nullable", skip_serializing_if = "is_zero")]
            pub(super) chainkit: Beyond,
        }
    };
}

message! {
    uuid / "uuid": String, "nullable";
    source_ip / "sourceIp": String, "nullable";
    source_ip_xlated / "sourceIpXlated": String, "nullable";
    source_pod / "sourcePod": String, "nullable";
    source_fqdn / "sourceFqdn": String, "nullable";
    source_label / "sourceLabel": String, "nullable";
    source_service / "sourceService": String, "nullable";
    source_workload / "sourceWorkload": Workload, "nullable";
    source_cluster_name / "sourceClusterName": String, "nullable";
    destination_ip / "destinationIp": String, "nullable";
    destination_pod / "destinationPod": String, "nullable";
    destination_fqdn / "destinationFqdn": String, "nullable";
    destination_label / "destinationLabel": String, "nullable";
    destination_service / "destinationService": String, "nullable";
    destination_workload / "destinationWorkload": Workload, "nullable";
    destination_cluster_name / "destinationClusterName": String, "nullable";
    traffic_direction / "trafficDirection": TrafficDirection, "enums";
    verdict / "verdict": Verdict, "enums";
    drop_reason_desc / "dropReasonDesc": DropReason, "enums";
    interface / "interface": Interface, "nullable";
    event_type / "eventType": EventType, "nullable";
    http_status_code / "httpStatusCode": String, "nullable";
    protocol / "protocol": String, "nullable";
    source_port / "sourcePort": String, "nullable";
    destination_port / "destinationPort": String, "nullable";
    reply / "reply": bool, "nullable";
    dns_query / "dnsQuery": String, "nullable";
    source_identity / "sourceIdentity": u32, "integers";
    destination_identity / "destinationIdentity": u32, "integers";
    http_method / "httpMethod": String, "nullable";
    http_path / "httpPath": String, "nullable";
    http_url / "httpUrl": String, "nullable";
    http_header / "httpHeader": Header, "nullable";
    tcp_flags / "tcpFlags": TcpFlags, "tcp_flags";
    node_name / "nodeName": String, "nullable";
    node_labels / "nodeLabels": String, "nullable";
    ip_version / "ipVersion": IpVersion, "enums";
    trace_id / "traceId": String, "nullable";
    ip_trace_id / "ipTraceId": u64, "integers";
    encrypted / "encrypted": bool, "nullable";
}

/// `Workload`; an empty field is any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Workload {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) kind: String,
}

/// `NetworkInterface`; a zero is any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Interface {
    #[serde(deserialize_with = "wire::integer", skip_serializing_if = "is_zero")]
    pub(super) index: u32,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) name: String,
}

/// `EventTypeFilter`; type 0 is any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct EventType {
    #[serde(rename = "type", deserialize_with = "wire::integer", skip_serializing_if = "is_zero")]
    pub(super) kind: i32,
    #[serde(alias = "matchSubType", skip_serializing_if = "is_zero")]
    pub(super) match_sub_type: bool,
    #[serde(alias = "subType", deserialize_with = "wire::integer", skip_serializing_if = "is_zero")]
    pub(super) sub_type: i32,
}

/// `HTTPHeader`; an empty field is any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Header {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) key: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) value: String,
}

/// `FlowFilter.Experimental`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Experimental {
    #[serde(alias = "celExpression", deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub(super) cel_expression: Vec<String>,
}

/// What Hubble has no field for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Beyond {
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub(super) policy: Vec<String>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub(super) sni: Vec<String>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub(super) latency: Vec<String>,
    #[serde(alias = "minBytes", deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub(super) min_bytes: Vec<String>,
}

impl FlowFilter {
    /// The messages of a text: one, or several one after the other.
    pub(super) fn list(text: &str) -> Result<Vec<Self>, String> {
        serde_json::Deserializer::from_str(text)
            .into_iter()
            .collect::<Result<Vec<Self>, _>>()
            .map_err(|error| error.to_string())
    }
}

/// Both lists as YAML of the form that Hubble prints and takes in its configuration.
pub(super) fn yaml(allow: &[FlowFilter], deny: &[FlowFilter]) -> Result<String, serde_json::Error> {
    let mut text = String::new();
    for (name, list) in [("allowlist", allow), ("denylist", deny)] {
        if list.is_empty() {
            continue;
        }
        text.push_str(name);
        text.push_str(":\n");
        for message in list {
            text.push_str("    - '");
            for c in serde_json::to_string(message)?.chars() {
                match c {
                    // In a single-quoted scalar a quote is written twice, and nothing else is special.
                    '\'' => text.push_str("''"),
                    // What a terminal could take for something else is written as JSON may have it.
                    c if c.is_ascii() && !c.is_ascii_control() => text.push(c),
                    c => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}"))),
                }
            }
            text.push_str("'\n");
        }
    }
    if text.is_empty() {
        text.push_str("{}\n");
    }
    Ok(text)
}

/// An enum that is known by name and by number.
trait Named: Sized {
    fn by_name(name: &str) -> Option<Self>;
    fn by_number(number: i32) -> Self;
}

macro_rules! named {
    ($($type:ident by $number:expr),*) => {
        $(impl Named for $type {
            fn by_name(name: &str) -> Option<Self> {
                Self::from_name(name)
            }

            fn by_number(number: i32) -> Self {
                $number(number)
            }
        })*
    };
}

named!(
    TrafficDirection by Self::from_number,
    Verdict by Self::from_number,
    IpVersion by Self::from_number,
    DropReason by Self
);

/// A list, or null for an empty one, each element read by `read` from what `take` takes.
struct List<T, R>(PhantomData<(T, R)>);

/// Reads one element from its JSON form.
trait Read<T> {
    fn read<E: Error>(value: serde_json::Value) -> Result<T, E>;
}

impl<'de, T, R: Read<T>> Visitor<'de> for List<T, R> {
    type Value = Vec<T>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list")
    }

    fn visit_unit<E: Error>(self) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut elements = Vec::new();
        while let Some(value) = list.next_element()? {
            elements.push(R::read(value)?);
        }
        Ok(elements)
    }
}

struct EnumForm;

impl<T: Named> Read<T> for EnumForm {
    fn read<E: Error>(value: serde_json::Value) -> Result<T, E> {
        let number = || value.as_i64().and_then(|number| i32::try_from(number).ok());
        match value.as_str() {
            Some(name) => T::by_name(name).ok_or_else(|| E::custom(format_args!("unknown name {name:?}"))),
            None => number().map(T::by_number).ok_or_else(|| E::custom(format_args!("{value} is no name or number"))),
        }
    }
}

struct IntegerForm;

impl<T: TryFrom<i128> + Default> Read<T> for IntegerForm {
    fn read<E: Error>(value: serde_json::Value) -> Result<T, E> {
        wire::integer(value).map_err(E::custom)
    }
}

fn enums<'de, D: Deserializer<'de>, T: Named>(json: D) -> Result<Vec<T>, D::Error> {
    json.deserialize_any(List::<T, EnumForm>(PhantomData))
}

fn integers<'de, D: Deserializer<'de>, T: TryFrom<i128> + Default>(json: D) -> Result<Vec<T>, D::Error> {
    json.deserialize_any(List::<T, IntegerForm>(PhantomData))
}

/// `TCPFlags` messages, of which no flag may be unknown.
fn tcp_flags<'de, D: Deserializer<'de>>(json: D) -> Result<Vec<TcpFlags>, D::Error> {
    struct Strict(TcpFlags);

    struct Flags;

    impl<'de> Visitor<'de> for Flags {
        type Value = Strict;

        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("an object of TCP flags")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Strict, A::Error> {
            let mut flags = TcpFlags::default();
            while let Some(name) = object.next_key::<String>()? {
                let Some(flag) = TcpFlags::from_name(&name) else {
                    object.next_value::<IgnoredAny>()?;
                    return Err(A::Error::custom(format_args!(
                        "unknown field `{name}`, expected a TCP flag such as SYN"
                    )));
                };
                if object.next_value::<Option<bool>>()? == Some(true) {
                    flags.0 |= flag.0;
                }
            }
            Ok(Strict(flags))
        }
    }

    impl<'de> Deserialize<'de> for Strict {
        fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
            json.deserialize_map(Flags)
        }
    }

    let list: Vec<Strict> = nullable(json)?;
    Ok(list.into_iter().map(|flags| flags.0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_message_is_read_in_both_spellings_and_written_in_one() {
        let snake = r#"{"uuid":["u"],"source_ip":["10.0.0.1"],"source_ip_xlated":["10.0.0.9"],"source_pod":["shop/web"],"source_fqdn":["a.b"],"source_label":["k=v"],"source_service":["x/y"],"source_workload":[{"name":"web","kind":"Deployment"}],"source_cluster_name":["c*"],"destination_ip":["::1"],"destination_pod":["db"],"destination_fqdn":["*.b"],"destination_label":["!k"],"destination_service":["y"],"destination_workload":[{"kind":"Job"}],"destination_cluster_name":["d"],"traffic_direction":["EGRESS"],"verdict":["DROPPED","AUDIT"],"drop_reason_desc":["POLICY_DENIED"],"interface":[{"index":7,"name":"eni1"}],"event_type":[{"type":4,"match_sub_type":true,"sub_type":5}],"http_status_code":["5+"],"protocol":["http"],"source_port":["80"],"destination_port":["53"],"reply":[true],"dns_query":["x"],"source_identity":[2],"destination_identity":[1],"http_method":["GET"],"http_path":["/a"],"http_url":["h"],"http_header":[{"key":"k","value":"v"}],"tcp_flags":[{"SYN":true,"ACK":true}],"node_name":["n*"],"node_labels":["z=1"],"ip_version":["IPv6"],"trace_id":["t"],"ip_trace_id":[9],"encrypted":[false],"experimental":{"cel_expression":["true"]},"chainkit":{"policy":["a/b"],"sni":["*.x"],"latency":[">1ms"],"min_bytes":["1k"]}}"#;
        let read = FlowFilter::list(snake).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), format!("[{snake}]"));
        // The same in camelCase: of each name within quotes and before a colon.
        let camel: String = snake
            .split('"')
            .enumerate()
            .map(|(place, part)| {
                let camel: String = part
                    .split('_')
                    .enumerate()
                    .map(|(word, text)| if word == 0 { text.to_owned() } else { text[..1].to_uppercase() + &text[1..] })
                    .collect();
                let name = place % 2 == 1 && part.contains('_') && part.to_lowercase() == part;
                (if place == 0 { "" } else { "\"" }).to_owned() + if name { &camel } else { part }
            })
            .collect();
        assert!(camel.contains("matchSubType") && camel.contains("sourceIpXlated") && camel.contains("celExpression"));
        assert_eq!(FlowFilter::list(&camel).unwrap(), read);
    }

    #[test]
    fn null_numbers_and_several_messages_are_taken_as_protojson_has_them() {
        let read = FlowFilter::list(r#"{"verdict":[2],"source_identity":["7"],"uuid":null,"reply":null} {}"#).unwrap();
        assert_eq!(read[0].verdict, [Verdict::Dropped]);
        assert_eq!(read[0].source_identity, [7]);
        assert_eq!(read[1], FlowFilter::default());
    }

    #[test]
    fn what_is_not_known_is_refused_by_its_name() {
        for (json, name) in [
            (r#"{"source_pods":["x"]}"#, "unknown field `source_pods`"),
            (r#"{"verdict":["PONDERED"]}"#, "unknown name \"PONDERED\""),
            (r#"{"drop_reason_desc":["policy denied"]}"#, "unknown name \"policy denied\""),
            (r#"{"verdict":[true]}"#, "true is no name or number"),
            (r#"{"tcp_flags":[{"syn":true}]}"#, "unknown field `syn`"),
            (r#"{"source_workload":[{"names":"x"}]}"#, "unknown field `names`"),
            (r#"{"event_type":[{"subtype":1}]}"#, "unknown field `subtype`"),
            (r#"{"experimental":{"cel":["x"]}}"#, "unknown field `cel`"),
            (r#"{"chainkit":{"x":1}}"#, "unknown field `x`"),
            (r#"{"source_ip":"10.0.0.1"}"#, "invalid type: string"),
            (r#"{"source_pod":["x"],"sourcePod":["y"]}"#, "duplicate field"),
            (r#"["x"]"#, "invalid type: "),
            ("nonsense", "expected ident"),
        ] {
            let error = FlowFilter::list(json).unwrap_err();
            assert!(error.starts_with(name), "{json}: {error}");
        }
    }

    #[test]
    fn lists_are_printed_as_yaml_that_hubble_takes() {
        let one = FlowFilter { source_pod: vec!["it's/é".into()], ..FlowFilter::default() };
        let two = FlowFilter { verdict: vec![Verdict::Dropped], ..FlowFilter::default() };
        assert_eq!(
            yaml(&[one, FlowFilter::default()], &[two]).unwrap(),
            "allowlist:\n    - '{\"source_pod\":[\"it''s/\\u00e9\"]}'\n    - '{}'\ndenylist:\n    - '{\"verdict\":[\"DROPPED\"]}'\n"
        );
        assert_eq!(yaml(&[], &[]).unwrap(), "{}\n");
    }
}
