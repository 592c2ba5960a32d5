//! Filters, with Hubble's flags and meaning.
//!
//! Each flag is a criterion; a repeated one takes any of its values, different ones must all hold. A bare flag such as
//! `--pod` asks for one end of the flow, whichever, and each bare flag for itself: `--pod shop/web --port 53` finds what the
//! pod asks of port 53, too. (Hubble takes bare flags given together for the same end, so that it finds only the pod's own
//! port 53.) That is why a filter is some alternatives: each bare flag about the source, or about the destination. `--not`
//! puts the flag that follows into a second such filter, of what is left out.

mod build;
mod kernel;
mod label;
mod pod;

use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;

pub use build::{FilterBuilder, FilterError, FilterFlag};
pub use kernel::SlotSet;
pub use pod::PodPattern;

use crate::enums::{IpVersion, TrafficDirection, Verdict};
use crate::layer4::{Layer4, Ports, TcpFlags};
use crate::model::{Endpoint, Flow};
use crate::text::Lenient;
use label::Selector;

/// Which flows to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// A flow must be one of these; none: any.
    allow: Vec<Alternative>,
    /// A flow must be none of these.
    deny: Vec<Alternative>,
}

impl Filter {
    /// Whether a flow is to be shown.
    #[must_use]
    pub fn matches(&self, flow: &Flow) -> bool {
        let allowed = self.allow.is_empty() || self.allow.iter().any(|alternative| alternative.matches(flow));
        allowed && !self.deny.iter().any(|alternative| alternative.matches(flow))
    }

    /// Whether it shows every flow.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }
}

/// What is asked of one end of a flow. An empty list asks nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct End {
    pods: Vec<PodPattern>,
    labels: Vec<Selector>,
    addresses: Vec<IpNet>,
    ports: Vec<RangeInclusive<u16>>,
}

/// What is asked of a flow: all of it must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Alternative {
    source: End,
    destination: End,
    protocols: Vec<Protocol>,
    verdicts: Vec<Verdict>,
    directions: Vec<TrafficDirection>,
    tcp_flags: Vec<TcpFlags>,
    ip_versions: Vec<IpVersion>,
}

/// A protocol of `--protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Tcp,
    Udp,
    Sctp,
    /// Of either IP version.
    Icmp,
    Icmp4,
    Icmp6,
}

impl Protocol {
    const fn is(self, layer4: &Layer4) -> bool {
        matches!(
            (self, layer4),
            (Self::Tcp, Layer4::Tcp(_))
                | (Self::Udp, Layer4::Udp(_))
                | (Self::Sctp, Layer4::Sctp(_))
                | (Self::Icmp | Self::Icmp4, Layer4::Icmp4(_))
                | (Self::Icmp | Self::Icmp6, Layer4::Icmp6(_))
        )
    }
}

/// Whether one of the values holds, or none is asked for.
fn any<T>(values: &[T], holds: impl FnMut(&T) -> bool) -> bool {
    values.is_empty() || values.iter().any(holds)
}

impl Alternative {
    fn matches(&self, flow: &Flow) -> bool {
        any(&self.verdicts, |verdict| *verdict == flow.verdict)
            && any(&self.protocols, |protocol| flow.l4.as_ref().is_some_and(|l4| protocol.is(l4)))
            && any(&self.ip_versions, |version| flow.ip.as_ref().is_some_and(|ip| ip.version == *version))
            && any(&self.directions, |direction| *direction == flow.traffic_direction)
            && any(&self.tcp_flags, |wanted| flags(flow).is_some_and(|flags| flags.contains(*wanted)))
            && self.ends_match(flow)
    }

    fn ends_match(&self, flow: &Flow) -> bool {
        let Ports { source_port, destination_port } = flow.l4.and_then(|l4| l4.ports()).unwrap_or_default();
        let has_ports = flow.l4.is_some_and(|l4| l4.ports().is_some());
        let address = |address: Option<&Lenient<IpAddr>>| address.and_then(Lenient::known).copied();
        let (source, destination) =
            flow.ip.as_ref().map_or((None, None), |ip| (address(ip.source.as_ref()), address(ip.destination.as_ref())));
        self.source.matches(flow.source.as_deref(), source, has_ports.then_some(source_port))
            && self.destination.matches(flow.destination.as_deref(), destination, has_ports.then_some(destination_port))
    }
}

fn flags(flow: &Flow) -> Option<TcpFlags> {
    match flow.l4 {
        Some(Layer4::Tcp(tcp)) => tcp.flags,
        _ => None,
    }
}

impl End {
    fn matches(&self, end: Option<&Endpoint>, address: Option<IpAddr>, port: Option<u32>) -> bool {
        let port = port.and_then(|port| u16::try_from(port).ok());
        any(&self.ports, |range| port.is_some_and(|port| range.contains(&port)))
            && any(&self.addresses, |network| address.is_some_and(|address| network.contains(&address)))
            && any(&self.pods, |pattern| end.is_some_and(|end| pattern.matches(&end.namespace, &end.pod_name)))
            && any(&self.labels, |selector| selector.matches(end.map_or(&[], |end| &end.labels)))
    }
}

#[cfg(test)]
mod tests;
