//! What of a filter the kernel can decide before it copies an event.
//!
//! The kernel's filter must pass whatever this one would show: each criterion that goes in is implied by the filter, and
//! what cannot be said soundly is left out. What is negated is left out altogether. Each alternative of a list that was
//! given as messages is one like those of flags; expressions and what payload says are asked in user space alone.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use chainkit_abi::{
    FILTER_PORTS, FILTER_PREFIXES, ObserverFilter, PortMatch, PrefixMatch, SLOTS, filter_bit, protocol_bit, side,
    verdict,
};
use ipnet::IpNet;

use super::pod::PodPattern;
use super::{Alternative, Filter, Protocol};
use crate::enums::{IpVersion, Verdict};

/// A set of endpoint slots, a bit each.
pub type SlotSet = [u64; SLOTS as usize / 64];

impl Filter {
    /// The part of this filter that the kernel applies; `per_packet` asks for every packet.
    ///
    /// `slots` says which endpoint slots are of pods that a pattern means. Slots whose pod is not known must be among
    /// them, and `None` says that it cannot tell.
    #[must_use]
    pub fn kernel_filter(
        &self,
        per_packet: bool,
        mut slots: impl FnMut(&PodPattern) -> Option<SlotSet>,
    ) -> ObserverFilter {
        let mut kernel = ObserverFilter::default();
        if per_packet {
            kernel.flags |= filter_bit::PER_PACKET;
        }
        let alternatives = self.allow.as_slice();
        if alternatives.is_empty() {
            return kernel;
        }
        if let Some(bits) = union(alternatives, verdict_bits) {
            kernel.flags |= filter_bit::VERDICTS;
            kernel.verdicts = bits;
        }
        let versions = union(alternatives, version_bits);
        let transports = union(alternatives, protocol_bits);
        if versions.is_some() || transports.is_some() {
            kernel.flags |= filter_bit::PROTOCOLS;
            kernel.protocols = versions.unwrap_or_default() | transports.unwrap_or_default();
        }
        if let Some(prefixes) = prefixes(alternatives) {
            kernel.flags |= filter_bit::PREFIXES;
            kernel.prefixes.iter_mut().zip(prefixes).for_each(|(slot, prefix)| *slot = prefix);
        }
        if let Some(ports) = ports(alternatives) {
            kernel.flags |= filter_bit::PORTS;
            kernel.ports.iter_mut().zip(ports).for_each(|(slot, port)| *slot = port);
        }
        if let Some(set) = endpoints(alternatives, &mut slots) {
            kernel.flags |= filter_bit::ENDPOINTS;
            kernel.endpoints = set;
        }
        kernel
    }
}

/// The bits of all alternatives, if each of them has some.
fn union(alternatives: &[Alternative], bits: fn(&Alternative) -> Option<u32>) -> Option<u32> {
    alternatives.iter().try_fold(0, |sum, alternative| Some(sum | bits(alternative)?))
}

fn verdict_bits(alternative: &Alternative) -> Option<u32> {
    if alternative.verdicts.is_empty() {
        return None;
    }
    alternative.verdicts.iter().try_fold(0, |bits, wanted| {
        Some(match wanted {
            Verdict::Forwarded => bits | 1 << verdict::FORWARDED,
            Verdict::Dropped => bits | 1 << verdict::DROPPED,
            Verdict::Audit => bits | 1 << verdict::AUDIT,
            // Whatever else an event may say.
            Verdict::Unknown => return None,
            // No event says that.
            _ => bits,
        })
    })
}

fn version_bits(alternative: &Alternative) -> Option<u32> {
    let bits = alternative.ip_versions.iter().try_fold(0, |bits, version| match version {
        IpVersion::V4 => Some(bits | protocol_bit::IPV4),
        IpVersion::V6 => Some(bits | protocol_bit::IPV6),
        // What is not IP always passes.
        IpVersion::NotUsed | IpVersion::Other(_) => None,
    })?;
    (bits != 0).then_some(bits)
}

fn protocol_bits(alternative: &Alternative) -> Option<u32> {
    let bits = alternative.protocols.iter().try_fold(0, |bits, protocol| {
        Some(
            bits | match protocol {
                Protocol::Tcp => protocol_bit::TCP,
                Protocol::Udp => protocol_bit::UDP,
                Protocol::Sctp => protocol_bit::SCTP,
                Protocol::Icmp => protocol_bit::ICMP | protocol_bit::ICMPV6,
                Protocol::Icmp4 => protocol_bit::ICMP,
                Protocol::Icmp6 => protocol_bit::ICMPV6,
                // What is in a packet is known only once it was read.
                Protocol::Application(_) => return None,
            },
        )
    })?;
    (bits != 0).then_some(bits)
}

/// The shorter of two lists that must both hold, with the side it looks at; none where neither asks anything.
fn shorter<T>(source: Vec<T>, destination: Vec<T>) -> Option<(Vec<T>, u8)> {
    match (source.is_empty(), destination.is_empty()) {
        (true, true) => None,
        (false, true) => Some((source, side::SOURCE)),
        (true, false) => Some((destination, side::DESTINATION)),
        (false, false) if source.len() <= destination.len() => Some((source, side::SOURCE)),
        (false, false) => Some((destination, side::DESTINATION)),
    }
}

fn prefixes(alternatives: &[Alternative]) -> Option<Vec<PrefixMatch>> {
    let mut prefixes: Vec<PrefixMatch> = Vec::new();
    for alternative in alternatives {
        let (source, destination) = (&alternative.source.addresses, &alternative.destination.addresses);
        let (networks, side) = shorter(source.clone(), destination.clone())?;
        for network in networks {
            let prefix = prefix(&network, side);
            let same = |other: &&mut PrefixMatch| PrefixMatch { side, ..**other } == prefix;
            match prefixes.iter_mut().find(same) {
                Some(other) => other.side |= side,
                None => prefixes.push(prefix),
            }
        }
    }
    (prefixes.len() <= FILTER_PREFIXES).then_some(prefixes)
}

fn prefix(network: &IpNet, side: u8) -> PrefixMatch {
    let (family, bytes) = match network.network() {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            (4, [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        }
        IpAddr::V6(address) => (6, address.octets()),
    };
    PrefixMatch::new(bytes, family, network.prefix_len(), side)
}

fn ports(alternatives: &[Alternative]) -> Option<Vec<PortMatch>> {
    let mut ports: Vec<PortMatch> = Vec::new();
    for alternative in alternatives {
        let single = |ranges: &[RangeInclusive<u16>]| -> Vec<u16> {
            ranges.iter().cloned().flatten().take(FILTER_PORTS + 1).collect()
        };
        let (wanted, side) = shorter(single(&alternative.source.ports), single(&alternative.destination.ports))?;
        for port in wanted {
            match ports.iter_mut().find(|other| other.port == port) {
                Some(other) => other.side |= side,
                None => ports.push(PortMatch { port, side, pad: 0 }),
            }
        }
    }
    (ports.len() <= FILTER_PORTS).then_some(ports)
}

/// Where a flow can be seen that is between pods asked for on both sides: at one of them. Where one side may be
/// anything, the flow may be seen at the other end, which may be any endpoint.
fn endpoints(alternatives: &[Alternative], slots: &mut impl FnMut(&PodPattern) -> Option<SlotSet>) -> Option<SlotSet> {
    let mut set: SlotSet = [0; SLOTS as usize / 64];
    for alternative in alternatives {
        let (source, destination) = (&alternative.source.pods, &alternative.destination.pods);
        if source.is_empty() || destination.is_empty() {
            return None;
        }
        for pattern in source.iter().chain(destination) {
            let of_pattern = slots(pattern)?;
            set.iter_mut().zip(of_pattern).for_each(|(word, more)| *word |= more);
        }
    }
    Some(set)
}
