//! What Hubble has no field for: `extensions`, a `google.protobuf.Any` of which Hubble takes a `google.protobuf.Struct`.

use std::borrow::Cow;
use std::sync::Arc;

use serde::de::Deserializer;
use serde::ser::{SerializeStruct, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::decided::DecidedBy;
use crate::layer4::TcpFlags;
use crate::layer7::L7Extra;
use crate::tcp_health::TcpExtra;
use crate::time::Time;
use crate::wire::is_zero;

/// The only type that Hubble lets pass in `extensions`.
const STRUCT: &str = "type.googleapis.com/google.protobuf.Struct";

/// The field `extensions` of a flow.
#[derive(Clone, Debug)]
pub enum Extensions {
    /// Of a flow that we made.
    Ours(Box<Extra>),
    /// Of a line that was read, as it was.
    Read(Box<RawValue>),
}

impl Extensions {
    /// What we put there; `None` where a line was written by something else.
    #[must_use]
    pub fn extra(&self) -> Option<Cow<'_, Extra>> {
        #[derive(Deserialize)]
        struct Any {
            #[serde(rename = "@type")]
            kind: String,
            value: Extra,
        }
        match self {
            Self::Ours(extra) => Some(Cow::Borrowed(extra)),
            Self::Read(raw) => {
                let any: Any = serde_json::from_str(raw.get()).ok()?;
                (any.kind == STRUCT).then_some(Cow::Owned(any.value))
            }
        }
    }
}

impl PartialEq for Extensions {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Read(a), Self::Read(b)) => a.get() == b.get(),
            _ => self.extra() == other.extra(),
        }
    }
}

impl Serialize for Extensions {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Read(raw) => raw.serialize(json),
            Self::Ours(extra) => {
                let mut any = json.serialize_struct("Any", 2)?;
                any.serialize_field("@type", STRUCT)?;
                any.serialize_field("value", extra)?;
                any.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Extensions {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(json).map(Self::Read)
    }
}

/// What the datapath knows of a packet and its connection beyond Hubble's fields. Numbers are JSON numbers, as a
/// `Struct` holds them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Extra {
    /// Why it is told: `first`, `reply`, `flags`, `verdict`, `denied`, `close`, `active`, `packet`, `malformed`,
    /// `related`; `connection` for an entry of a connection table, `l7` for a message of an application, `kernel_drop` for a packet
    /// that the kernel dropped.
    #[serde(default)]
    pub event: Cow<'static, str>,
    /// Packets on the wire that this one stands for: the segments of a GSO super-packet, else 1.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub packets: u32,
    /// Bytes of their Ethernet frames.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bytes: u32,
    /// Of `denied` and `kernel_drop`: packets since it was last told, this one included.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub count: u32,
    /// Why it was denied, could not be read, or ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'static, str>>,
    /// ID of the sandbox container of the source, where this node knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_container_id: Option<Arc<str>>,
    /// The same for the destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_container_id: Option<Arc<str>>,
    /// Its connection, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionExtra>,
    /// VLAN id, where it is tagged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// EtherType, where it is not IP.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ethertype: u16,
    /// IP protocol number, where Hubble has no name for it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub protocol: u8,
    /// A fragment other than the first.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub fragment: bool,
    /// Generation of the policy that judged.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub generation: u32,
    /// Number of the rule that decided.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rule: u32,
    /// What is known of it; the policies that it stands for are in fields of Hubble's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<Arc<DecidedBy>>,
    /// Of a request or response, what Hubble has no field for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l7: Option<L7Extra>,
    /// Of a packet that the kernel dropped, why and where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop: Option<DropExtra>,
}

/// Why and where the kernel dropped a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropExtra {
    /// The kernel's name for the reason, as `NETFILTER_DROP` (`enum skb_drop_reason` without its prefix); `unknown:N` for a number
    /// that has none, and `unknown` from a kernel that tells none.
    #[serde(default)]
    pub reason: Arc<str>,
    /// Whose reason it is, where that is not the network core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subsystem: Option<Arc<str>>,
    /// The kernel's function that dropped it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<Arc<str>>,
    /// Inode number of the network namespace that it was in.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub netns: u32,
    /// Bytes of the IP packet.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub length: u32,
}

/// A connection, from the pod's side.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConnectionExtra {
    /// Who opened it: `pod`, `remote` or `unknown`.
    #[serde(default)]
    pub opened: Cow<'static, str>,
    /// `unreplied`, `replied`, `syn_sent`, `syn_received`, `established`, `closing` or `closed`.
    #[serde(default)]
    pub state: Cow<'static, str>,
    /// Packets that the pod sent.
    #[serde(default)]
    pub tx_packets: u64,
    /// Bytes that the pod sent.
    #[serde(default)]
    pub tx_bytes: u64,
    /// Packets that the pod received.
    #[serde(default)]
    pub rx_packets: u64,
    /// Bytes that the pod received.
    #[serde(default)]
    pub rx_bytes: u64,
    /// First packet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_seen: Option<Time>,
    /// Round-trip time of the TCP handshake, nanoseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rtt_ns: u64,
    /// TCP flags that the pod has sent.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tx_flags: FlagNames,
    /// TCP flags that the pod has received.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rx_flags: FlagNames,
    /// How it fares, where that was asked for and it is of TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<Box<TcpExtra>>,
}

/// TCP flags as a list of their names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlagNames(pub TcpFlags);

impl Serialize for FlagNames {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        json.collect_seq(self.0.names())
    }
}

impl<'de> Deserialize<'de> for FlagNames {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let names = Vec::<Cow<'_, str>>::deserialize(json)?;
        let bits = names.iter().filter_map(|name| TcpFlags::from_name(name)).fold(0, |bits, flag| bits | flag.0);
        Ok(Self(TcpFlags(bits)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chainkit_abi::tcp;

    #[test]
    fn what_we_put_there_is_read_back() {
        let extra = Extra {
            event: "close".into(),
            reason: Some("fin".into()),
            connection: Some(ConnectionExtra {
                opened: "pod".into(),
                state: "closed".into(),
                tx_packets: 5,
                tx_bytes: 400,
                tx_flags: FlagNames(TcpFlags(tcp::SYN | tcp::FIN | tcp::ACK)),
                ..ConnectionExtra::default()
            }),
            ..Extra::default()
        };
        let ours = Extensions::Ours(Box::new(extra.clone()));
        let json = serde_json::to_string(&ours).unwrap();
        assert_eq!(
            json,
            r#"{"@type":"type.googleapis.com/google.protobuf.Struct","value":{"event":"close","reason":"fin","connection":{"opened":"pod","state":"closed","tx_packets":5,"tx_bytes":400,"rx_packets":0,"rx_bytes":0,"tx_flags":["SYN","ACK","FIN"]}}}"#
        );
        let read: Extensions = serde_json::from_str(&json).unwrap();
        assert_eq!(read.extra().as_deref(), Some(&extra));
        assert_eq!(serde_json::to_string(&read).unwrap(), json);
    }

    #[test]
    fn what_others_put_there_is_kept_and_not_taken_for_ours() {
        for json in [r#"{"@type":"type.googleapis.com/other","value":{"event":"x"}}"#, r#"{"value":7}"#] {
            let read: Extensions = serde_json::from_str(json).unwrap();
            assert_eq!(read.extra(), None, "{json}");
            assert_eq!(serde_json::to_string(&read).unwrap(), json);
        }
    }
}
