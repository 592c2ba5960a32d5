//! Ports of a rule, as its specification reads.

use chainkit_cluster::model::{ClusterPort, Workload};
use k8s_openapi::api::networking::v1::NetworkPolicyPort;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::flow::Transport;

/// The ports at which a rule applies. With them the destination whose ports have names, where the rule met one.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ports<'a> {
    /// All, and what has no ports.
    All,
    /// Those of a network policy's rule; none is all.
    Network(&'a [NetworkPolicyPort], Option<&'a Workload>),
    /// Those of a cluster-wide policy's rule; none is none.
    Cluster(&'a [ClusterPort], Option<&'a Workload>),
}

impl Ports<'_> {
    pub(super) fn contain(&self, transport: Transport, asked: u16) -> bool {
        match self {
            Self::All => true,
            Self::Network(ports, named) => {
                ports.is_empty() || ports.iter().any(|port| is_network_port(port, *named, transport, asked))
            }
            Self::Cluster(ports, named) => ports.iter().any(|port| match port {
                ClusterPort::Range { protocol, first, last } => {
                    transport == Transport::from(*protocol) && (*first..=*last).contains(&asked)
                }
                ClusterPort::Named(name) => is_named(name, *named, transport, asked),
                ClusterPort::Unknown => false,
            }),
        }
    }
}

fn is_network_port(port: &NetworkPolicyPort, named: Option<&Workload>, transport: Transport, asked: u16) -> bool {
    let of = match port.protocol.as_deref() {
        None | Some("TCP") => Transport::Tcp,
        Some("UDP") => Transport::Udp,
        Some("SCTP") => Transport::Sctp,
        Some(_) => return false,
    };
    if transport != of {
        return false;
    }
    let number = i64::from(asked);
    match (&port.port, port.end_port) {
        (None, end) => end.is_none(),
        (Some(IntOrString::Int(only)), None) => (1..=65535).contains(only) && number == i64::from(*only),
        (Some(IntOrString::Int(first)), Some(last)) => {
            let valid = (1..=65535).contains(first) && last <= 65535 && *first <= last;
            valid && (i64::from(*first)..=i64::from(last)).contains(&number)
        }
        (Some(IntOrString::String(name)), end) => end.is_none() && is_named(name, named, transport, asked),
    }
}

/// Whether the destination calls the port by this name.
fn is_named(name: &str, destination: Option<&Workload>, transport: Transport, asked: u16) -> bool {
    destination.is_some_and(|pod| {
        pod.ports
            .iter()
            .any(|port| port.name == name && port.number == asked && Transport::from(port.protocol) == transport)
    })
}
