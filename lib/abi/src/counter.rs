//! Node-wide counters, a cell of the per-CPU array `COUNTERS` each.

/// Cells of the array `COUNTERS`.
pub const COUNTERS: u32 = 64;

macro_rules! counters {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal;)*) => {
        /// What is counted; packets unless it says otherwise.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Counter { $($(#[$doc])* $variant = $number,)* }

        impl Counter {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its name in JSON and metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

counters! {
    /// New connections that were allowed or only observed.
    NewConnections = 0, "new_connections";
    /// Denied and dropped.
    Dropped = 1, "dropped";
    /// Denied and let pass, in audit mode.
    Audited = 2, "audited";
    /// ARP, which always passes.
    Arp = 3, "arp";
    /// Neighbour discovery and MLD, which always pass.
    NeighbourDiscovery = 4, "neighbour_discovery";
    /// ICMP errors that belong to a connection.
    IcmpRelated = 5, "icmp_related";
    /// Interfaces' packets that met no endpoint (the slot was being set up or taken down).
    NoEndpoint = 6, "no_endpoint";
    /// Live connections that made room for others.
    Evicted = 7, "evicted";
    /// Connections that could not be remembered: no memory.
    InsertFailed = 8, "insert_failed";
    /// Connections found expired.
    Expired = 9, "expired";
    /// Denied since they did not bear an address of the endpoint that sent them; among those dropped.
    InvalidSource = 10, "invalid_source";
    /// Shorter than an Ethernet header.
    TruncatedEthernet = 16, "truncated_ethernet";
    /// An IPv4 header is cut off.
    TruncatedIpv4 = 17, "truncated_ipv4";
    /// IPv4 version, header length or total length cannot be.
    BadIpv4 = 18, "bad_ipv4";
    /// An IPv6 header is cut off.
    TruncatedIpv6 = 19, "truncated_ipv6";
    /// IPv6 version cannot be.
    BadIpv6 = 20, "bad_ipv6";
    /// An IPv6 extension header is cut off, or there are more than eight.
    BadIpv6Extension = 21, "bad_ipv6_extension";
    /// A transport header is cut off.
    TruncatedTransport = 22, "truncated_transport";
    /// TCP's data offset or UDP's length cannot be.
    BadTransport = 23, "bad_transport";
    /// A later fragment whose first was not seen.
    OrphanFragment = 24, "orphan_fragment";
    /// Neither IP nor ARP.
    UnknownEthertype = 25, "unknown_ethertype";
    /// More than two VLAN tags, or one cut off.
    BadVlan = 26, "bad_vlan";
    /// The inner header of an ICMP error is cut off or makes no sense.
    BadIcmpError = 27, "bad_icmp_error";
}
