//! NetworkPolicy, as its specification reads.

use std::net::IpAddr;

use chainkit_cluster::model::{Labels, NAMESPACE_NAME_LABEL, Workload};
use chainkit_cluster::selector;
use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Question, Said};
use crate::flow::{Direction, Transport, Verdict};

/// Whether a CIDR contains an address; `None` where it is no CIDR.
pub(super) fn contains(cidr: &str, address: IpAddr) -> Option<bool> {
    let net: IpNet = cidr.parse().ok()?;
    Some(net.contains(&address.to_canonical()))
}

impl Question<'_, '_> {
    pub(super) fn network_policies(&self) -> Said {
        let Some(pod) = self.subject.pod else {
            return Said::Nothing;
        };
        let mut isolated = false;
        for policy in &self.cluster.network_policies {
            let Some(spec) = applies(&policy.value, pod, self.direction) else {
                continue;
            };
            isolated = true;
            if self.any_rule(spec, &pod.namespace) {
                return Said::Decided(Verdict::Allowed);
            }
        }
        if !isolated {
            return Said::Nothing;
        }
        let to_own_node = self.direction == Direction::Egress && self.peer.is_node_of(pod);
        Said::Decided(if to_own_node { Verdict::Allowed } else { Verdict::Denied })
    }

    fn any_rule(&self, spec: &NetworkPolicySpec, namespace: &str) -> bool {
        match self.direction {
            Direction::Ingress => spec.ingress.iter().flatten().any(|rule| {
                self.rule(
                    namespace,
                    rule.from.as_deref().unwrap_or_default(),
                    rule.ports.as_deref().unwrap_or_default(),
                )
            }),
            Direction::Egress => spec.egress.iter().flatten().any(|rule| {
                self.rule(namespace, rule.to.as_deref().unwrap_or_default(), rule.ports.as_deref().unwrap_or_default())
            }),
        }
    }

    fn rule(&self, namespace: &str, peers: &[NetworkPolicyPeer], ports: &[NetworkPolicyPort]) -> bool {
        if peers.is_empty() {
            return self.ports(ports, true);
        }
        peers.iter().any(|peer| {
            let as_pod = peer.ip_block.is_none();
            self.is_peer(namespace, peer) && self.ports(ports, as_pod)
        })
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

    /// Whether one of the ports is that of the flow. `as_pod`: the peer was matched as a pod, so that its ports have names.
    fn ports(&self, ports: &[NetworkPolicyPort], as_pod: bool) -> bool {
        ports.is_empty() || ports.iter().any(|port| self.port(port, as_pod))
    }

    fn port(&self, port: &NetworkPolicyPort, as_pod: bool) -> bool {
        let transport = match port.protocol.as_deref() {
            None | Some("TCP") => Transport::Tcp,
            Some("UDP") => Transport::Udp,
            Some("SCTP") => Transport::Sctp,
            Some(_) => return false,
        };
        if self.flow.transport != transport {
            return false;
        }
        let asked = i64::from(self.flow.port);
        match (&port.port, port.end_port) {
            (None, end) => end.is_none(),
            (Some(IntOrString::Int(number)), None) => (1..=65535).contains(number) && asked == i64::from(*number),
            (Some(IntOrString::Int(first)), Some(last)) => {
                let valid = (1..=65535).contains(first) && last <= 65535 && *first <= last;
                valid && (i64::from(*first)..=i64::from(last)).contains(&asked)
            }
            (Some(IntOrString::String(name)), end) => end.is_none() && self.named(name, as_pod),
        }
    }

    /// Whether the destination pod calls the port of the flow by this name.
    pub(super) fn named(&self, name: &str, as_pod: bool) -> bool {
        let destination = match self.direction {
            Direction::Ingress => self.subject.pod,
            Direction::Egress if as_pod => self.peer.selectable(),
            Direction::Egress => None,
        };
        destination.is_some_and(|pod| {
            pod.ports.iter().any(|port| {
                port.name == name
                    && port.number == self.flow.port
                    && Transport::from(port.protocol) == self.flow.transport
            })
        })
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
