//! Packets that the kernel dropped as flows.

use std::sync::Arc;

use chainkit_abi::{Drop, verdict};

use super::{Decoder, Seen, container, dropped, protocol, transport, unnamed};
use crate::drop_reason::DropReason;
use crate::extra::{DropExtra, Extensions, Extra};
use crate::layer4::{Icmp, Layer4, Ports, TcpFlags};
use crate::model::{Interface, Record};

/// A packet that the kernel dropped, or several of a kind.
#[derive(Clone, Debug)]
pub struct KernelDrop<'a> {
    /// What is known of it.
    pub drop: &'a Drop,
    /// The kernel's name for the reason.
    pub reason: Arc<str>,
    /// Whose reason it is, where that is not the network core.
    pub subsystem: Option<Arc<str>>,
    /// The function that dropped it.
    pub location: Option<Arc<str>>,
    /// Host-side interface of the pod in whose namespace it was; 0: it was in the node's, or that is not known.
    pub within: u32,
}

impl Decoder {
    /// The flow of a packet that the kernel dropped.
    ///
    /// Its direction is that of the packet at the pod next to which it was dropped. Whether it was a reply nobody has kept.
    pub fn kernel_drop(&mut self, dropping: KernelDrop<'_>) -> Record {
        let Drop { key, facts, count } = dropping.drop;
        // Between two pods of this node it has left the one, unless it has come to the other.
        let arrived = key.to != 0 && (dropping.within == key.to || dropping.within == 0 && facts.ifindex == key.to);
        let from_pod = key.from != 0 && !arrived;
        let has_header = facts.transport != 0;
        let icmp = Icmp { kind: key.icmp_type.into(), code: key.icmp_code.into() };
        let ports = Ports { source_port: key.source_port.into(), destination_port: key.destination_port.into() };
        let layer4 = match key.protocol {
            protocol::ICMP if has_header => Some(Layer4::Icmp4(icmp)),
            protocol::ICMPV6 if has_header => Some(Layer4::Icmp6(icmp)),
            other => transport(other, ports, has_header.then_some(TcpFlags(facts.tcp_flags))),
        };
        let seen = Seen {
            family: key.family,
            protocol: key.protocol,
            source: key.source,
            destination: key.destination,
            source_port: key.source_port,
            destination_port: key.destination_port,
            from_pod,
            ifindex: if from_pod { key.from } else { key.to },
            layer4,
            time: facts.time,
        };
        let mut flow = self.flow(&seen, None, verdict::DROPPED);
        flow.time = self.clock.time(facts.time);
        let (other, end) = if from_pod { (key.to, &mut flow.destination) } else { (key.from, &mut flow.source) };
        if let Some(behind) = self.resolver.behind(other).filter(|_| other != 0) {
            *end = Some(Arc::clone(behind));
        }
        // The interface is where it was dropped, which need not be the pod's.
        let named = facts.device.split(|byte| *byte == 0).next().unwrap_or_default();
        flow.interface = (facts.ifindex != 0)
            .then(|| Interface { index: facts.ifindex, name: String::from_utf8_lossy(named).into_owned().into() });
        dropped(&mut flow, DropReason::of_kernel(&dropping.reason));
        flow.extensions = Some(Extensions::Ours(Box::new(Extra {
            event: EVENT.into(),
            count: u32::try_from(*count).unwrap_or(u32::MAX),
            source_container_id: container(flow.source.as_ref()),
            destination_container_id: container(flow.destination.as_ref()),
            protocol: unnamed(key.protocol),
            fragment: facts.fragment != 0,
            drop: Some(DropExtra {
                reason: dropping.reason,
                subsystem: dropping.subsystem,
                location: dropping.location,
                netns: key.netns,
                length: facts.length,
            }),
            ..Extra::default()
        })));
        self.record(flow)
    }
}

/// What [`Extra::event`] says of it.
const EVENT: &str = "kernel_drop";

#[cfg(test)]
mod tests {
    use chainkit_abi::{DropFacts, DropKey, tcp};
    use jiff::Timestamp;

    use super::*;
    use crate::decode::WallClock;
    use crate::enums::{TrafficDirection, Verdict, event_type};
    use crate::resolve::Resolver;

    fn drop_of(from: u32, to: u32, device: u32) -> Drop {
        let mut name = [0; 16];
        name[..4].copy_from_slice(b"eth0");
        let bytes = |last| [10, 0, 0, last, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        Drop {
            key: DropKey {
                source: bytes(1),
                destination: bytes(2),
                netns: 77,
                from,
                to,
                source_port: 40000,
                destination_port: 80,
                family: 4,
                protocol: 6,
                ..DropKey::default()
            },
            facts: DropFacts {
                time: 5,
                length: 60,
                ifindex: device,
                device: name,
                tcp_flags: tcp::SYN,
                transport: 1,
                ..DropFacts::default()
            },
            count: 3,
        }
    }

    fn flow(drop: &Drop, reason: &str, within: u32) -> crate::Flow {
        let mut decoder = Decoder::new("n1", WallClock::new(0, Timestamp::UNIX_EPOCH), Resolver::default());
        let location = Some("nf_hook_slow".into());
        decoder.kernel_drop(KernelDrop { drop, reason: reason.into(), subsystem: None, location, within }).flow.unwrap()
    }

    #[test]
    fn a_drop_says_why_where_and_how_often() {
        let flow = flow(&drop_of(5, 0, 7), "NETFILTER_DROP", 0);
        assert_eq!((flow.verdict, flow.traffic_direction), (Verdict::Dropped, TrafficDirection::Egress));
        let event = flow.event_type.unwrap();
        assert_eq!((event.kind, event.sub_type, flow.drop_reason), (event_type::DROP, 0, 0));
        assert_eq!(flow.summary, "TCP Flags: SYN");
        assert_eq!(flow.is_reply, None);
        let json = serde_json::to_value(&flow).unwrap();
        assert_eq!(json["interface"], serde_json::json!({"index": 7, "name": "eth0"}));
        assert_eq!(
            json["extensions"]["value"],
            serde_json::json!({"event": "kernel_drop", "count": 3, "drop": {
                "reason": "NETFILTER_DROP", "location": "nf_hook_slow", "netns": 77, "length": 60}})
        );
    }

    #[test]
    fn between_two_pods_the_direction_is_that_at_the_nearer_one() {
        let direction = |device, within| flow(&drop_of(5, 6, device), "NO_SOCKET", within).traffic_direction;
        assert_eq!(direction(5, 0), TrafficDirection::Egress);
        assert_eq!(direction(6, 0), TrafficDirection::Ingress);
        assert_eq!(direction(2, 6), TrafficDirection::Ingress);
        // The pod's own eth0 bears the number that the other's host side has.
        assert_eq!(direction(6, 5), TrafficDirection::Egress);
        assert_eq!(flow(&drop_of(0, 6, 9), "NO_SOCKET", 0).traffic_direction, TrafficDirection::Ingress);
    }

    #[test]
    fn hubble_is_told_its_own_reason_where_there_is_one() {
        let flow = flow(&drop_of(5, 0, 7), "IP_RPFILTER", 0);
        assert_eq!(flow.drop_reason_desc, DropReason::INVALID_SOURCE_IP);
        assert_eq!(flow.event_type.unwrap().sub_type, 132);
    }
}
