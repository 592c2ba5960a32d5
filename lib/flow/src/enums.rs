//! The enums of Hubble's flow model (cilium, `api/v1/flow/flow.proto`).

use std::fmt;

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

use crate::wire;

/// An enum that is written by name, read by name or number, and keeps a number it does not know.
macro_rules! wire_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $number:literal $wire:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
            /// A number that this version has no name for.
            Other(i32),
        }

        impl $name {
            /// Its number.
            #[must_use]
            pub const fn number(self) -> i32 {
                match self { $(Self::$variant => $number,)* Self::Other(number) => number }
            }

            /// The value of a number.
            #[must_use]
            pub const fn from_number(number: i32) -> Self {
                match number { $($number => Self::$variant,)* other => Self::Other(other) }
            }

            /// Its name, where it has one.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self { $(Self::$variant => Some($wire),)* Self::Other(_) => None }
            }

            /// The value of a name, as it stands in JSON.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($wire => Some(Self::$variant),)* _ => None }
            }

            /// The names of all values.
            pub const NAMES: &'static [&'static str] = &[$($wire),*];
        }

        impl Default for $name {
            fn default() -> Self {
                Self::from_number(0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.name() {
                    Some(name) => out.write_str(name),
                    None => self.number().fmt(out),
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
                match self.name() {
                    Some(name) => json.serialize_str(name),
                    None => json.serialize_i32(self.number()),
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
                wire::enumeration(json, Self::from_name, Self::from_number)
            }
        }
    };
}

wire_enum! {
    /// What became of a packet.
    Verdict {
        /// None was reached.
        Unknown = 0 "VERDICT_UNKNOWN",
        /// It was let pass.
        Forwarded = 1 "FORWARDED",
        /// It was dropped.
        Dropped = 2 "DROPPED",
        /// Something went wrong while it was handled.
        Error = 3 "ERROR",
        /// It was let pass, and would be dropped were policy enforced.
        Audit = 4 "AUDIT",
        /// It was sent to a proxy.
        Redirected = 5 "REDIRECTED",
        /// It was seen, and nothing decided.
        Traced = 6 "TRACED",
        /// Its addresses were translated.
        Translated = 7 "TRANSLATED",
    }
}

wire_enum! {
    /// Whether a message of an application asks or answers.
    L7FlowType {
        /// Not known.
        Unknown = 0 "UNKNOWN_L7_TYPE",
        /// It asks.
        Request = 1 "REQUEST",
        /// It answers.
        Response = 2 "RESPONSE",
        /// One of many like it.
        Sample = 3 "SAMPLE",
    }
}

wire_enum! {
    /// Which way a connection goes, seen from the pod at which it was observed.
    TrafficDirection {
        /// Not known.
        Unknown = 0 "TRAFFIC_DIRECTION_UNKNOWN",
        /// It was opened to the pod.
        Ingress = 1 "INGRESS",
        /// It was opened by the pod.
        Egress = 2 "EGRESS",
    }
}

wire_enum! {
    /// What a flow tells of.
    FlowType {
        /// Not known.
        Unknown = 0 "UNKNOWN_TYPE",
        /// Packets.
        L3L4 = 1 "L3_L4",
        /// Requests and responses.
        L7 = 2 "L7",
        /// Sockets.
        Sock = 3 "SOCK",
    }
}

wire_enum! {
    /// The version of IP.
    IpVersion {
        /// Not IP.
        NotUsed = 0 "IP_NOT_USED",
        /// IPv4.
        V4 = 1 "IPv4",
        /// IPv6.
        V6 = 2 "IPv6",
    }
}

wire_enum! {
    /// Where a packet was seen. Note that 0 is `UNKNOWN_POINT` here and `to-endpoint` in an event's sub-type.
    ObservationPoint {
        /// Not known.
        Unknown = 0 "UNKNOWN_POINT",
        /// On its way to a proxy.
        ToProxy = 1 "TO_PROXY",
        /// On its way to the host.
        ToHost = 2 "TO_HOST",
        /// On its way to the host's network stack.
        ToStack = 3 "TO_STACK",
        /// On its way to a tunnel.
        ToOverlay = 4 "TO_OVERLAY",
        /// On its way to a pod.
        ToEndpoint = 101 "TO_ENDPOINT",
        /// Coming from a pod.
        FromEndpoint = 5 "FROM_ENDPOINT",
        /// Coming from a proxy.
        FromProxy = 6 "FROM_PROXY",
        /// Coming from the host.
        FromHost = 7 "FROM_HOST",
        /// Coming from the host's network stack.
        FromStack = 8 "FROM_STACK",
        /// Coming from a tunnel.
        FromOverlay = 9 "FROM_OVERLAY",
        /// Coming from a device.
        FromNetwork = 10 "FROM_NETWORK",
        /// On its way to a device.
        ToNetwork = 11 "TO_NETWORK",
        /// Coming from decryption.
        FromCrypto = 12 "FROM_CRYPTO",
        /// On its way to encryption.
        ToCrypto = 13 "TO_CRYPTO",
    }
}

wire_enum! {
    /// Where events were lost.
    LostEventSource {
        /// Not known.
        Unknown = 0 "UNKNOWN_LOST_EVENT_SOURCE",
        /// Between kernel and user space: the buffer was full.
        PerfEventRingBuffer = 1 "PERF_EVENT_RING_BUFFER",
        /// In an observer's queue.
        ObserverEventsQueue = 2 "OBSERVER_EVENTS_QUEUE",
        /// In Hubble's ring buffer.
        HubbleRingBuffer = 3 "HUBBLE_RING_BUFFER",
    }
}

wire_enum! {
    /// State of a node that flows come from (cilium, `api/v1/relay/relay.proto`).
    NodeState {
        /// Not known.
        Unknown = 0 "UNKNOWN_NODE_STATE",
        /// It sends flows.
        Connected = 1 "NODE_CONNECTED",
        /// It cannot be reached.
        Unavailable = 2 "NODE_UNAVAILABLE",
        /// It has left.
        Gone = 3 "NODE_GONE",
        /// It reported an error.
        Error = 4 "NODE_ERROR",
    }
}

/// Values of an event's type, and of its sub-type where that is a trace (cilium, `pkg/monitor/api/types.go`).
pub mod event_type {
    /// A packet was dropped; the sub-type is the drop reason.
    pub const DROP: i32 = 1;
    /// A packet was seen; the sub-type is the place.
    pub const TRACE: i32 = 4;
    /// A policy decided.
    pub const POLICY_VERDICT: i32 = 5;
    /// A request or response.
    pub const L7: i32 = 129;
    /// Sub-type of a trace: on its way to a pod.
    pub const TO_ENDPOINT: i32 = 0;
    /// Sub-type of a trace: coming from a pod.
    pub const FROM_ENDPOINT: i32 = 5;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enums_are_read_by_name_and_number_and_written_by_name() {
        for json in ["\"AUDIT\"", "4"] {
            assert_eq!(serde_json::from_str::<Verdict>(json).unwrap(), Verdict::Audit);
        }
        assert_eq!(serde_json::to_string(&Verdict::Audit).unwrap(), "\"AUDIT\"");
        assert_eq!(serde_json::from_str::<ObservationPoint>("101").unwrap(), ObservationPoint::ToEndpoint);
    }

    #[test]
    fn values_of_a_newer_writer_are_no_error() {
        assert_eq!(serde_json::from_str::<Verdict>("\"PONDERED\"").unwrap(), Verdict::Unknown);
        assert_eq!(serde_json::from_str::<Verdict>("99").unwrap(), Verdict::Other(99));
        assert_eq!(serde_json::to_string(&Verdict::Other(99)).unwrap(), "99");
        assert!(serde_json::from_str::<Verdict>("true").is_err());
        assert!(serde_json::from_str::<Verdict>("99999999999").is_err());
    }
}
