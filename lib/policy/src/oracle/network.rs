//! NetworkPolicy, as its specification reads.

use std::net::IpAddr;

use chainkit_cluster::model::{Labels, NAMESPACE_NAME_LABEL, Workload};
use chainkit_cluster::selector;
use ipnet::{IpNet, Ipv4Net};
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::ports::Ports;
use super::{Clause, Question, Said};
use crate::flow::{Direction, Verdict};

/// Whether a CIDR contains an address; `None` where it is no CIDR.
pub(super) fn contains(cidr: &str, address: IpAddr) -> Option<bool> {
    let net = match cidr.parse::<IpNet>().ok()? {
        // An IPv4 prefix written in IPv6 (RFC 4291, section 2.5.5.2).
        IpNet::V6(v6) if v6.prefix_len() >= 96 && v6.network().to_ipv4_mapped().is_some() => {
            Ipv4Net::new(v6.network().to_ipv4_mapped()?, v6.prefix_len() - 96).ok()?.into()
        }
        net => net,
    };
    Some(net.contains(&address.to_canonical()))
}

impl<'a> Question<'_, 'a> {
    pub(super) fn network_policies(&self, pod: &Workload) -> Vec<Clause<'a>> {
        let mut clauses = Vec::new();
        let mut isolated = false;
        for policy in &self.cluster.network_policies {
            let Some(spec) = applies(&policy.value, pod, self.direction) else {
                continue;
            };
            isolated = true;
            match self.direction {
                Direction::Ingress => {
                    for rule in spec.ingress.iter().flatten() {
                        self.rule(&pod.namespace, rule.from.as_deref(), rule.ports.as_deref(), &mut clauses);
                    }
                }
                Direction::Egress => {
                    for rule in spec.egress.iter().flatten() {
                        self.rule(&pod.namespace, rule.to.as_deref(), rule.ports.as_deref(), &mut clauses);
                    }
                }
            }
        }
        if isolated {
            let to_own_node = self.direction == Direction::Egress && self.peer.is_node_of(pod);
            let verdict = if to_own_node { Verdict::Allowed } else { Verdict::Denied };
            clauses.push(Clause { ports: Ports::All, said: Said::Decided(verdict) });
        }
        clauses
    }

    /// What a rule allows, once for each of its peers that is the one asked for; no peers are any.
    fn rule(
        &self,
        namespace: &str,
        peers: Option<&[NetworkPolicyPeer]>,
        ports: Option<&'a [NetworkPolicyPort]>,
        clauses: &mut Vec<Clause<'a>>,
    ) {
        let peers = peers.unwrap_or_default();
        let mut allow = |as_pod| {
            let ports = Ports::Network(ports.unwrap_or_default(), self.named(as_pod));
            clauses.push(Clause { ports, said: Said::Decided(Verdict::Allowed) });
        };
        if peers.is_empty() {
            allow(true);
        }
        for peer in peers.iter().filter(|peer| self.is_peer(namespace, peer)) {
            allow(peer.ip_block.is_none());
        }
    }

    fn is_peer(&self, namespace: &str, peer: &NetworkPolicyPeer) -> bool {
        if let Some(block) = &peer.ip_block {
            if peer.pod_selector.is_some() || peer.namespace_selector.is_some() {
                return false;
            }
            let Some(address) = self.address_for_cidrs() else {
                return false;
            };
            let within = contains(&block.cidr, address) == Some(true);
            let excepts = block.except.iter().flatten();
            return within && excepts.into_iter().all(|except| contains(except, address) == Some(false));
        }
        let Some(pod) = self.peer.selectable() else {
            return false;
        };
        match (&peer.namespace_selector, &peer.pod_selector) {
            (None, None) => false,
            (None, Some(pods)) => pod.namespace == namespace && selector::matches(pods, &pod.labels),
            (Some(namespaces), pods) => {
                self.namespace_matches(namespaces, pod)
                    && pods.as_ref().is_none_or(|pods| selector::matches(pods, &pod.labels))
            }
        }
    }

    /// The address that CIDRs are held against: of a pod only where that is asked for.
    pub(super) fn address_for_cidrs(&self) -> Option<IpAddr> {
        self.peer.address.filter(|_| self.options.cidrs_match_pods || self.peer.selectable().is_none())
    }

    pub(super) fn namespace_matches(&self, selector: &LabelSelector, pod: &Workload) -> bool {
        let found = self.cluster.namespaces.iter().find(|namespace| namespace.name == pod.namespace);
        let mut labels = found.map_or_else(Labels::new, |namespace| namespace.labels.clone());
        labels.entry(NAMESPACE_NAME_LABEL.to_owned()).or_insert_with(|| pod.namespace.clone());
        selector::matches(selector, &labels)
    }

    /// The destination pod, whose ports have names. `as_pod`: the peer was matched as a pod and not by its address.
    pub(super) fn named(&self, as_pod: bool) -> Option<&'a Workload> {
        match self.direction {
            Direction::Ingress => self.subject.pod,
            Direction::Egress if as_pod => self.peer.selectable(),
            Direction::Egress => None,
        }
    }
}

/// The spec of a policy that isolates the pod in the direction.
fn applies<'p>(policy: &'p NetworkPolicy, pod: &Workload, direction: Direction) -> Option<&'p NetworkPolicySpec> {
    let spec = policy.spec.as_ref()?;
    if policy.metadata.namespace.as_ref() != Some(&pod.namespace) {
        return None;
    }
    if spec.pod_selector.as_ref().is_some_and(|selector| !selector::matches(selector, &pod.labels)) {
        return None;
    }
    let types = spec.policy_types.as_deref().unwrap_or_default();
    let has_egress = spec.egress.as_ref().is_some_and(|rules| !rules.is_empty());
    let affects = match direction {
        Direction::Ingress if types.is_empty() => true,
        Direction::Egress if types.is_empty() => has_egress,
        Direction::Ingress => types.iter().any(|name| name == "Ingress"),
        Direction::Egress => types.iter().any(|name| name == "Egress"),
    };
    affects.then_some(spec)
}
