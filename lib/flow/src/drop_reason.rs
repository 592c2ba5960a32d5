//! Why a packet was dropped, in Hubble's numbers.

use std::borrow::Cow;

use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, Serializer};

use crate::wire;

/// Number, name in JSON and words for people (cilium, `api/v1/flow/flow.proto` and `pkg/monitor/api/drop.go`).
const REASONS: &[(u8, &str, &str)] = &[
    (0, "DROP_REASON_UNKNOWN", "Success"),
    (130, "INVALID_SOURCE_MAC", "Invalid source mac"),
    (131, "INVALID_DESTINATION_MAC", "Invalid destination mac"),
    (132, "INVALID_SOURCE_IP", "Invalid source ip"),
    (133, "POLICY_DENIED", "Policy denied"),
    (134, "INVALID_PACKET_DROPPED", "Invalid packet"),
    (135, "CT_TRUNCATED_OR_INVALID_HEADER", "CT: Truncated or invalid header"),
    (136, "CT_MISSING_TCP_ACK_FLAG", "Fragmentation needed"),
    (137, "CT_UNKNOWN_L4_PROTOCOL", "CT: Unknown L4 protocol"),
    (138, "CT_CANNOT_CREATE_ENTRY_FROM_PACKET", "CT: Can't create entry from packet"),
    (139, "UNSUPPORTED_L3_PROTOCOL", "Unsupported L3 protocol"),
    (140, "MISSED_TAIL_CALL", "Missed tail call"),
    (141, "ERROR_WRITING_TO_PACKET", "Error writing to packet"),
    (142, "UNKNOWN_L4_PROTOCOL", "Unknown L4 protocol"),
    (143, "UNKNOWN_ICMPV4_CODE", "Unknown ICMPv4 code"),
    (144, "UNKNOWN_ICMPV4_TYPE", "Unknown ICMPv4 type"),
    (145, "UNKNOWN_ICMPV6_CODE", "Unknown ICMPv6 code"),
    (146, "UNKNOWN_ICMPV6_TYPE", "Unknown ICMPv6 type"),
    (147, "ERROR_RETRIEVING_TUNNEL_KEY", "Error retrieving tunnel key"),
    (148, "ERROR_RETRIEVING_TUNNEL_OPTIONS", "Error retrieving tunnel options"),
    (149, "INVALID_GENEVE_OPTION", "Invalid Geneve option"),
    (150, "UNKNOWN_L3_TARGET_ADDRESS", "Unknown L3 target address"),
    (151, "STALE_OR_UNROUTABLE_IP", "Stale or unroutable IP"),
    (152, "NO_MATCHING_LOCAL_CONTAINER_FOUND", "No matching local container found"),
    (153, "ERROR_WHILE_CORRECTING_L3_CHECKSUM", "Error while correcting L3 checksum"),
    (154, "ERROR_WHILE_CORRECTING_L4_CHECKSUM", "Error while correcting L4 checksum"),
    (155, "CT_MAP_INSERTION_FAILED", "CT: Map insertion failed"),
    (156, "INVALID_IPV6_EXTENSION_HEADER", "Invalid IPv6 extension header"),
    (157, "IP_FRAGMENTATION_NOT_SUPPORTED", "IP fragmentation not supported"),
    (158, "SERVICE_BACKEND_NOT_FOUND", "Service backend not found"),
    (160, "NO_TUNNEL_OR_ENCAPSULATION_ENDPOINT", "No tunnel/encapsulation endpoint (datapath BUG!)"),
    (161, "FAILED_TO_INSERT_INTO_PROXYMAP", "NAT 46/64 not enabled"),
    (162, "REACHED_EDT_RATE_LIMITING_DROP_HORIZON", "Reached EDT rate-limiting drop horizon"),
    (163, "UNKNOWN_CONNECTION_TRACKING_STATE", "Unknown connection tracking state"),
    (164, "LOCAL_HOST_IS_UNREACHABLE", "Local host is unreachable"),
    (
        165,
        "NO_CONFIGURATION_AVAILABLE_TO_PERFORM_POLICY_DECISION",
        "No configuration available to perform policy decision",
    ),
    (166, "UNSUPPORTED_L2_PROTOCOL", "Unsupported L2 protocol"),
    (167, "NO_MAPPING_FOR_NAT_MASQUERADE", "No mapping for NAT masquerade"),
    (168, "UNSUPPORTED_PROTOCOL_FOR_NAT_MASQUERADE", "Unsupported protocol for NAT masquerade"),
    (169, "FIB_LOOKUP_FAILED", "FIB lookup failed"),
    (170, "ENCAPSULATION_TRAFFIC_IS_PROHIBITED", "Encapsulation traffic is prohibited"),
    (171, "INVALID_IDENTITY", "Invalid identity"),
    (172, "UNKNOWN_SENDER", "Unknown sender"),
    (173, "NAT_NOT_NEEDED", "NAT not needed"),
    (174, "IS_A_CLUSTERIP", "Is a ClusterIP"),
    (175, "FIRST_LOGICAL_DATAGRAM_FRAGMENT_NOT_FOUND", "First logical datagram fragment not found"),
    (176, "FORBIDDEN_ICMPV6_MESSAGE", "Forbidden ICMPv6 message"),
    (177, "DENIED_BY_LB_SRC_RANGE_CHECK", "Denied by LB src range check"),
    (178, "SOCKET_LOOKUP_FAILED", "Socket lookup failed"),
    (179, "SOCKET_ASSIGN_FAILED", "Socket assign failed"),
    (180, "PROXY_REDIRECTION_NOT_SUPPORTED_FOR_PROTOCOL", "Proxy redirection not supported for protocol"),
    (181, "POLICY_DENY", "Policy denied by denylist"),
    (182, "VLAN_FILTERED", "VLAN traffic disallowed by VLAN filter"),
    (183, "INVALID_VNI", "Incorrect VNI from VTEP"),
    (184, "INVALID_TC_BUFFER", "Failed to update or lookup TC buffer"),
    (185, "NO_SID", "No SID was found for the IP address"),
    (186, "MISSING_SRV6_STATE", "SRv6 state was removed during tail call"),
    (187, "NAT46", "L3 translation from IPv4 to IPv6 failed (NAT46)"),
    (188, "NAT64", "L3 translation from IPv6 to IPv4 failed (NAT64)"),
    (189, "AUTH_REQUIRED", "Authentication required"),
    (190, "CT_NO_MAP_FOUND", "No conntrack map found"),
    (191, "SNAT_NO_MAP_FOUND", "No nat map found"),
    (192, "INVALID_CLUSTER_ID", "Invalid ClusterID"),
    (193, "UNSUPPORTED_PROTOCOL_FOR_DSR_ENCAP", "Unsupported packet protocol for DSR encapsulation"),
    (194, "NO_EGRESS_GATEWAY", "No egress gateway found"),
    (195, "UNENCRYPTED_TRAFFIC", "Traffic is unencrypted"),
    (196, "TTL_EXCEEDED", "TTL exceeded"),
    (197, "NO_NODE_ID", "No node ID found"),
    (198, "DROP_RATE_LIMITED", "Rate limited"),
    (199, "IGMP_HANDLED", "IGMP handled"),
    (200, "IGMP_SUBSCRIBED", "IGMP subscribed"),
    (201, "MULTICAST_HANDLED", "Multicast handled"),
    (202, "DROP_HOST_NOT_READY", "Host datapath not ready"),
    (203, "DROP_EP_NOT_READY", "Endpoint policy program not available"),
    (204, "DROP_NO_EGRESS_IP", "No Egress IP configured"),
    (205, "DROP_PUNT_PROXY", "Punt to proxy"),
];

/// Why a packet was dropped: a number that Hubble knows, or one that it may know some day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DropReason(pub i32);

impl DropReason {
    /// The source address is not one of the sender's.
    pub const INVALID_SOURCE_IP: Self = Self(132);
    /// No rule allows it.
    pub const POLICY_DENIED: Self = Self(133);
    /// A header makes no sense.
    pub const INVALID_PACKET_DROPPED: Self = Self(134);
    /// A transport header is cut off or makes no sense.
    pub const CT_TRUNCATED_OR_INVALID_HEADER: Self = Self(135);
    /// Neither IP nor ARP.
    pub const UNSUPPORTED_L3_PROTOCOL: Self = Self(139);
    /// A rule denies it.
    pub const POLICY_DENY: Self = Self(181);
    /// The connection could not be remembered.
    pub const CT_MAP_INSERTION_FAILED: Self = Self(155);
    /// An IPv6 extension header is cut off, or there are too many.
    pub const INVALID_IPV6_EXTENSION_HEADER: Self = Self(156);
    /// A fragment whose first was not seen.
    pub const FIRST_LOGICAL_DATAGRAM_FRAGMENT_NOT_FOUND: Self = Self(175);

    /// The reason that is nearest to one of the kernel's (`enum skb_drop_reason`, without its prefix); unknown, where none is.
    ///
    /// Whoever has had the kernel drop a packet for reasons of its own (netfilter, another's program) is not told here: Hubble has no
    /// words for that.
    #[must_use]
    pub fn of_kernel(name: &str) -> Self {
        match name {
            "PKT_TOO_SMALL" | "HDR_TRUNC" | "TCP_CSUM" | "UDP_CSUM" | "ICMP_CSUM" | "IP_CSUM" | "SKB_CSUM"
            | "IP_INHDR" | "TCP_FLAGS" | "TCP_INVALID_SYN" | "IP_INVALID_DEST" | "IP_INADDRERRORS" => {
                Self::INVALID_PACKET_DROPPED
            }
            "IP_RPFILTER" | "IP_INVALID_SOURCE" | "IP_LOCAL_SOURCE" | "IP_LOCALNET" => Self::INVALID_SOURCE_IP,
            "MAC_INVALID_SOURCE" => Self(130),
            "IP_OUTNOROUTES" | "IP_INNOROUTES" => Self(169),
            "IP_NOPROTO" => Self(142),
            "UNHANDLED_PROTO" => Self::UNSUPPORTED_L3_PROTOCOL,
            "IPV6_BAD_EXTHDR" => Self::INVALID_IPV6_EXTENSION_HEADER,
            "FQ_HORIZON_LIMIT" => Self(162),
            _ => Self::default(),
        }
    }

    fn known(self) -> Option<&'static (u8, &'static str, &'static str)> {
        let number = u8::try_from(self.0).ok()?;
        REASONS.binary_search_by_key(&number, |reason| reason.0).ok().and_then(|place| REASONS.get(place))
    }

    /// Its name in JSON, where it has one.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        self.known().map(|reason| reason.1)
    }

    /// The words for it, as `hubble observe` prints them; the number where there are none.
    #[must_use]
    pub fn label(self) -> Cow<'static, str> {
        self.known().map_or_else(|| Cow::Owned(self.0.to_string()), |reason| Cow::Borrowed(reason.2))
    }

    /// The reason of a name in JSON.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        REASONS.iter().find(|reason| reason.1 == name).map(|reason| Self(reason.0.into()))
    }
}

impl Serialize for DropReason {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        match self.name() {
            Some(name) => json.serialize_str(name),
            None => json.serialize_i32(self.0),
        }
    }
}

impl<'de> Deserialize<'de> for DropReason {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        wire::enumeration(json, Self::from_name, Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_each_reason_is_found() {
        for (number, name, label) in REASONS {
            let reason = DropReason((*number).into());
            assert_eq!((reason.name(), reason.label().as_ref()), (Some(*name), *label));
            assert_eq!(DropReason::from_name(name), Some(reason));
        }
        for (kernel, name) in [
            ("IP_RPFILTER", "INVALID_SOURCE_IP"),
            ("IP_INNOROUTES", "FIB_LOOKUP_FAILED"),
            ("UDP_CSUM", "INVALID_PACKET_DROPPED"),
            ("IP_NOPROTO", "UNKNOWN_L4_PROTOCOL"),
            ("MAC_INVALID_SOURCE", "INVALID_SOURCE_MAC"),
            ("FQ_HORIZON_LIMIT", "REACHED_EDT_RATE_LIMITING_DROP_HORIZON"),
            ("NETFILTER_DROP", "DROP_REASON_UNKNOWN"),
        ] {
            assert_eq!(DropReason::of_kernel(kernel).name(), Some(name), "{kernel}");
        }
        assert_eq!(DropReason(159).label(), "159");
        assert_eq!(DropReason(-1).label(), "-1");
    }
}
