//! The transport layer of a flow.

use std::borrow::Cow;
use std::fmt;

use chainkit_abi::tcp;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

use crate::wire::{self, is_zero};

/// The transport header, or ICMP in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Fields")]
pub enum Layer4 {
    /// TCP.
    #[serde(rename = "TCP")]
    Tcp(Tcp),
    /// UDP.
    #[serde(rename = "UDP")]
    Udp(Ports),
    /// ICMP.
    #[serde(rename = "ICMPv4")]
    Icmp4(Icmp),
    /// ICMPv6.
    #[serde(rename = "ICMPv6")]
    Icmp6(Icmp),
    /// SCTP.
    #[serde(rename = "SCTP")]
    Sctp(Ports),
    /// One that this version does not know; never written.
    #[serde(skip)]
    Other,
}

/// The forms of the `oneof`, of which at most one is set.
#[derive(Deserialize)]
struct Fields {
    #[serde(rename = "TCP")]
    tcp: Option<Tcp>,
    #[serde(rename = "UDP")]
    udp: Option<Ports>,
    #[serde(rename = "ICMPv4")]
    icmp4: Option<Icmp>,
    #[serde(rename = "ICMPv6")]
    icmp6: Option<Icmp>,
    #[serde(rename = "SCTP")]
    sctp: Option<Ports>,
}

impl From<Fields> for Layer4 {
    fn from(fields: Fields) -> Self {
        let tcp = fields.tcp.map(Self::Tcp);
        let udp = fields.udp.map(Self::Udp);
        let icmp4 = fields.icmp4.map(Self::Icmp4);
        let icmp6 = fields.icmp6.map(Self::Icmp6);
        let sctp = fields.sctp.map(Self::Sctp);
        tcp.or(udp).or(icmp4).or(icmp6).or(sctp).unwrap_or(Self::Other)
    }
}

impl Layer4 {
    /// Source and destination port, where there are ports.
    #[must_use]
    pub const fn ports(&self) -> Option<Ports> {
        match self {
            Self::Tcp(tcp) => Some(Ports { source_port: tcp.source_port, destination_port: tcp.destination_port }),
            Self::Udp(ports) | Self::Sctp(ports) => Some(*ports),
            Self::Icmp4(_) | Self::Icmp6(_) | Self::Other => None,
        }
    }
}

/// A TCP header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tcp {
    /// Source port.
    #[serde(default, alias = "sourcePort", deserialize_with = "wire::integer", skip_serializing_if = "is_zero")]
    pub source_port: u32,
    /// Destination port.
    #[serde(default, alias = "destinationPort", deserialize_with = "wire::integer", skip_serializing_if = "is_zero")]
    pub destination_port: u32,
    /// Its flags; none where the header was not seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flags: Option<TcpFlags>,
}

/// The ports of UDP and SCTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// Source port.
    #[serde(default, alias = "sourcePort", deserialize_with = "wire::integer", skip_serializing_if = "is_zero")]
    pub source_port: u32,
    /// Destination port.
    #[serde(default, alias = "destinationPort", deserialize_with = "wire::integer", skip_serializing_if = "is_zero")]
    pub destination_port: u32,
}

/// Type and code of ICMP or ICMPv6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Icmp {
    /// Type.
    #[serde(default, rename = "type", deserialize_with = "wire::integer", skip_serializing_if = "is_zero")]
    pub kind: u32,
    /// Code.
    #[serde(default, deserialize_with = "wire::integer", skip_serializing_if = "is_zero")]
    pub code: u32,
}

/// TCP flags, as bits of [`chainkit_abi::tcp`]; in JSON an object of those that are set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags(pub u16);

impl TcpFlags {
    /// Names and bits, in the order of the JSON object.
    const WIRE: [(&'static str, u16); 9] = [
        ("FIN", tcp::FIN),
        ("SYN", tcp::SYN),
        ("RST", tcp::RST),
        ("PSH", tcp::PSH),
        ("ACK", tcp::ACK),
        ("URG", tcp::URG),
        ("ECE", tcp::ECE),
        ("CWR", tcp::CWR),
        ("NS", tcp::NS),
    ];

    /// The order in which a summary names them.
    const SUMMARY: [(&'static str, u16); 9] = [
        ("SYN", tcp::SYN),
        ("ACK", tcp::ACK),
        ("RST", tcp::RST),
        ("FIN", tcp::FIN),
        ("PSH", tcp::PSH),
        ("URG", tcp::URG),
        ("ECE", tcp::ECE),
        ("CWR", tcp::CWR),
        ("NS", tcp::NS),
    ];

    /// The flag of a name, in capitals.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::WIRE.iter().find(|(known, _)| *known == name).map(|(_, bit)| Self(*bit))
    }

    /// Whether all of `flags` are set.
    #[must_use]
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// The names of the flags that are set, in the order of a summary.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::SUMMARY.iter().filter(move |(_, bit)| self.0 & bit != 0).map(|(name, _)| *name)
    }
}

impl Serialize for TcpFlags {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        let mut object = json.serialize_map(None)?;
        for (name, bit) in Self::WIRE {
            if self.0 & bit != 0 {
                object.serialize_entry(name, &true)?;
            }
        }
        object.end()
    }
}

impl<'de> Deserialize<'de> for TcpFlags {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Flags;
        impl<'de> Visitor<'de> for Flags {
            type Value = TcpFlags;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object of TCP flags")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<TcpFlags, A::Error> {
                let mut flags = TcpFlags::default();
                while let Some(name) = object.next_key::<Cow<'de, str>>()? {
                    match TcpFlags::from_name(&name) {
                        Some(flag) => {
                            if object.next_value::<Option<bool>>()? == Some(true) {
                                flags.0 |= flag.0;
                            }
                        }
                        None => {
                            object.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(flags)
            }
        }
        json.deserialize_map(Flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_an_object_of_those_that_are_set() {
        let flags = TcpFlags(tcp::SYN | tcp::ACK);
        let json = serde_json::to_string(&flags).unwrap();
        assert_eq!(json, r#"{"SYN":true,"ACK":true}"#);
        let read = r#"{"SYN":true,"ACK":true,"FIN":false,"PSH":null,"AE":true}"#;
        assert_eq!(serde_json::from_str::<TcpFlags>(read).unwrap(), flags);
        assert_eq!(flags.names().collect::<Vec<_>>(), ["SYN", "ACK"]);
    }

    #[test]
    fn each_form_is_read_and_written() {
        for json in [
            r#"{"TCP":{"source_port":40000,"destination_port":80,"flags":{"SYN":true}}}"#,
            r#"{"UDP":{"source_port":40000,"destination_port":53}}"#,
            r#"{"SCTP":{"destination_port":80}}"#,
            r#"{"ICMPv4":{"type":8}}"#,
            r#"{"ICMPv6":{"type":1,"code":4}}"#,
        ] {
            let layer4: Layer4 = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&layer4).unwrap(), json);
        }
    }

    #[test]
    fn camel_case_null_and_unknown_forms_are_accepted() {
        let camel: Layer4 =
            serde_json::from_str(r#"{"UDP":{"sourcePort":"7","destinationPort":9},"TCP":null}"#).unwrap();
        assert_eq!(camel.ports(), Some(Ports { source_port: 7, destination_port: 9 }));
        assert_eq!(serde_json::from_str::<Layer4>(r#"{"DCCP":{}}"#).unwrap(), Layer4::Other);
        assert_eq!(serde_json::from_str::<Layer4>("{}").unwrap(), Layer4::Other);
    }
}
