//! Names of ICMP types and codes, as Hubble's summaries spell them.

use std::borrow::Cow;

/// Number of a type, its name, and the names of its codes from 0 on.
type Kind = (u8, &'static str, &'static [&'static str]);

/// IANA, "Internet Control Message Protocol (ICMP) Parameters".
const ICMP4: &[Kind] = &[
    (0, "EchoReply", &[]),
    (
        3,
        "DestinationUnreachable",
        &[
            "Net",
            "Host",
            "Protocol",
            "Port",
            "FragmentationNeeded",
            "SourceRoutingFailed",
            "NetUnknown",
            "HostUnknown",
            "SourceIsolated",
            "NetAdminProhibited",
            "HostAdminProhibited",
            "NetTOS",
            "HostTOS",
            "CommAdminProhibited",
            "HostPrecedence",
            "PrecedenceCutoff",
        ],
    ),
    (4, "SourceQuench", &[]),
    (5, "Redirect", &["Net", "Host", "TOS+Net", "TOS+Host"]),
    (8, "EchoRequest", &[]),
    (9, "RouterAdvertisement", &[]),
    (10, "RouterSolicitation", &[]),
    (11, "TimeExceeded", &["TTLExceeded", "FragmentReassemblyTimeExceeded"]),
    (12, "ParameterProblem", &["PointerIndicatesError", "MissingOption", "BadLength"]),
    (13, "TimestampRequest", &[]),
    (14, "TimestampReply", &[]),
    (15, "InfoRequest", &[]),
    (16, "InfoReply", &[]),
    (17, "AddressMaskRequest", &[]),
    (18, "AddressMaskReply", &[]),
];

/// RFC 4443, section 2.1; RFC 4861, section 4.
const ICMP6: &[Kind] = &[
    (
        1,
        "DestinationUnreachable",
        &[
            "NoRouteToDst",
            "AdminProhibited",
            "BeyondScopeOfSrc",
            "AddressUnreachable",
            "PortUnreachable",
            "SrcAddressFailedPolicy",
            "RejectRouteToDst",
        ],
    ),
    (2, "PacketTooBig", &[]),
    (3, "TimeExceeded", &["HopLimitExceeded", "FragmentReassemblyTimeExceeded"]),
    (4, "ParameterProblem", &["ErroneousHeaderField", "UnrecognizedNextHeader", "UnrecognizedIPv6Option"]),
    (128, "EchoRequest", &[]),
    (129, "EchoReply", &[]),
    (133, "RouterSolicitation", &[]),
    (134, "RouterAdvertisement", &[]),
    (135, "NeighborSolicitation", &[]),
    (136, "NeighborAdvertisement", &[]),
    (137, "Redirect", &[]),
];

/// `EchoRequest`, `DestinationUnreachable(Port)`, `Redirect(Code: 9)`, or `42(0)` for a type without a name.
#[must_use]
pub fn name(ipv6: bool, kind: u8, code: u8) -> Cow<'static, str> {
    let kinds = if ipv6 { ICMP6 } else { ICMP4 };
    match kinds.iter().find(|known| known.0 == kind) {
        None => Cow::Owned(format!("{kind}({code})")),
        Some((_, name, [])) if code == 0 => Cow::Borrowed(name),
        Some((_, name, codes)) => Cow::Owned(match codes.get(usize::from(code)) {
            Some(code) => format!("{name}({code})"),
            None => format!("{name}(Code: {code})"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_codes_are_named() {
        assert_eq!(name(false, 8, 0), "EchoRequest");
        assert_eq!(name(false, 3, 3), "DestinationUnreachable(Port)");
        assert_eq!(name(false, 3, 99), "DestinationUnreachable(Code: 99)");
        assert_eq!(name(false, 8, 1), "EchoRequest(Code: 1)");
        assert_eq!(name(false, 42, 0), "42(0)");
        assert_eq!(name(true, 128, 0), "EchoRequest");
        assert_eq!(name(true, 1, 4), "DestinationUnreachable(PortUnreachable)");
    }
}
