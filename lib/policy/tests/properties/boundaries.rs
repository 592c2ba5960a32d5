//! The addresses and ports at which a cluster's policies may change their answer, and the flows between them.

#![allow(dead_code, reason = "each test takes what it needs of these")]

use std::collections::BTreeSet;
use std::net::IpAddr;

use chainkit_cluster::model::{Cluster, ClusterPort};
use chainkit_policy::Party;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::common;

/// The addresses just inside and outside of a CIDR.
fn edges(cidr: &str, into: &mut BTreeSet<IpAddr>) {
    let Ok(net) = cidr.parse::<ipnet::IpNet>() else { return };
    into.extend([net.network(), net.broadcast()]);
    match (net.network(), net.broadcast()) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            into.extend(u32::from(first).checked_sub(1).map(|n| IpAddr::V4(n.into())));
            into.extend(u32::from(last).checked_add(1).map(|n| IpAddr::V4(n.into())));
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            into.extend(u128::from(first).checked_sub(1).map(|n| IpAddr::V6(n.into())));
            into.extend(u128::from(last).checked_add(1).map(|n| IpAddr::V6(n.into())));
        }
        _ => {}
    }
}

/// Every boundary that a policy or object of the cluster sets.
pub(crate) fn boundaries(cluster: &Cluster) -> (BTreeSet<IpAddr>, BTreeSet<u16>) {
    let mut addresses = BTreeSet::from([common::ip("203.0.113.7"), common::ip("2001:db8:ffff::7")]);
    let mut ports = BTreeSet::from([0, 1, u16::MAX]);
    let mut around = |port: i64| {
        ports.extend((port - 1..=port + 1).filter_map(|port| u16::try_from(port).ok()));
    };
    for policy in cluster.network_policies.iter().filter_map(|located| located.value.spec.as_ref()) {
        let ingress = policy.ingress.iter().flatten().map(|rule| (&rule.from, &rule.ports));
        let egress = policy.egress.iter().flatten().map(|rule| (&rule.to, &rule.ports));
        for (peers, rule_ports) in ingress.chain(egress) {
            for block in peers.iter().flatten().filter_map(|peer| peer.ip_block.as_ref()) {
                edges(&block.cidr, &mut addresses);
                block.except.iter().flatten().for_each(|except| edges(except, &mut addresses));
            }
            for port in rule_ports.iter().flatten() {
                if let Some(IntOrString::Int(number)) = port.port {
                    around(number.into());
                }
                port.end_port.into_iter().for_each(|last| around(last.into()));
            }
        }
    }
    for policy in &cluster.cluster_policies {
        for rule in policy.value.ingress.iter().chain(&policy.value.egress) {
            for cidr in rule.peers.iter().filter_map(|peer| peer.networks.as_ref()).flatten() {
                edges(cidr, &mut addresses);
            }
            for port in rule.ports.iter().flatten() {
                if let ClusterPort::Range { first, last, .. } = port {
                    around((*first).into());
                    around((*last).into());
                }
            }
        }
    }
    for workload in &cluster.workloads {
        addresses.extend(&workload.addresses);
        workload.ports.iter().for_each(|port| around(port.number.into()));
    }
    cluster.nodes.iter().for_each(|node| addresses.extend(&node.addresses));
    for service in &cluster.services {
        addresses.extend(service.cluster_ips.iter().chain(&service.external_ips).chain(&service.load_balancer_ips));
        for port in &service.ports {
            around(port.port.into());
            port.node_port.into_iter().for_each(|port| around(port.into()));
        }
    }
    (addresses, ports)
}

/// Everybody that a workload can meet: each address, each workload as such and under its addresses, the own node, services.
pub(crate) fn peers(cluster: &Cluster, addresses: &BTreeSet<IpAddr>) -> Vec<Party> {
    let mut peers: Vec<Party> = addresses.iter().copied().map(Party::Address).collect();
    for (index, other) in cluster.workloads.iter().enumerate() {
        peers.push(Party::workload(index));
        peers.extend(other.addresses.iter().map(|address| Party::pod(index, *address)));
    }
    peers.push(Party::OwnNode);
    peers.extend((0..cluster.services.len()).map(Party::Service));
    peers
}

/// A workload under each of its addresses, and as such.
pub(crate) fn ends(cluster: &Cluster, index: usize) -> Vec<Party> {
    let addresses = cluster.workloads[index].addresses.iter();
    addresses.map(|address| Party::pod(index, *address)).chain([Party::workload(index)]).collect()
}
