//! Cluster-wide policies, as their specification reads.

use chainkit_cluster::model::{
    Action, ClusterPeer, ClusterPolicy, ClusterPolicyKind, ClusterPort, ClusterRule, PodSelector, Tier, Workload,
};
use chainkit_cluster::selector;

use super::network::contains;
use super::{Question, Said};
use crate::flow::{Direction, Transport, Verdict};

impl Question<'_, '_> {
    pub(super) fn cluster_tier(&self, tier: Tier) -> Said {
        let Some(pod) = self.subject.pod else {
            return Said::Nothing;
        };
        let all = self.cluster.cluster_policies.iter().map(|located| &located.value);
        let mut policies: Vec<&ClusterPolicy> =
            all.filter(|policy| policy.tier == tier && self.is_subject(policy, pod)).collect();
        policies.sort_by_key(|policy| {
            (policy.kind == ClusterPolicyKind::BaselineAdmin, policy.priority, policy.kind.name(), &policy.name)
        });
        for policy in policies {
            let rules = match self.direction {
                Direction::Ingress => &policy.ingress,
                Direction::Egress => &policy.egress,
            };
            for rule in rules {
                let said = if self.is_understood(rule) {
                    self.matches(rule).then_some(rule.action)
                } else {
                    // It fails closed.
                    (rule.action != Action::Accept).then_some(Action::Deny)
                };
                match said {
                    Some(Action::Accept) => return Said::Decided(Verdict::Allowed),
                    Some(Action::Deny) => return Said::Decided(Verdict::Denied),
                    Some(Action::Pass) => return Said::Nothing,
                    None => {}
                }
            }
        }
        Said::Nothing
    }

    fn is_subject(&self, policy: &ClusterPolicy, pod: &Workload) -> bool {
        match (&policy.subject.namespaces, &policy.subject.pods) {
            (Some(namespaces), None) => self.namespace_matches(namespaces, pod),
            (None, Some(pods)) => self.pod_matches(pods, pod),
            _ => false,
        }
    }

    fn pod_matches(&self, pods: &PodSelector, pod: &Workload) -> bool {
        self.namespace_matches(&pods.namespace_selector, pod) && selector::matches(&pods.pod_selector, &pod.labels)
    }

    /// Whether everything in the rule is understood; in one that accepts, domain names and bad CIDRs are merely no peers.
    fn is_understood(&self, rule: &ClusterRule) -> bool {
        let peers = rule.peers.iter().all(|peer| {
            let outside = peer.nodes.is_some() || peer.networks.is_some() || peer.domain_names.is_some();
            let supported = rule.action == Action::Accept
                || (peer.domain_names.is_none()
                    && peer.networks.iter().flatten().all(|cidr| cidr.parse::<ipnet::IpNet>().is_ok()));
            peer.is_known() && supported && !(outside && self.direction == Direction::Ingress)
        });
        let ports = rule.ports.iter().flatten().all(|port| match port {
            ClusterPort::Unknown => false,
            ClusterPort::Range { first, last, .. } => first <= last,
            ClusterPort::Named(_) => true,
        });
        peers && ports && !rule.peers.is_empty()
    }

    fn matches(&self, rule: &ClusterRule) -> bool {
        rule.peers.iter().any(|peer| {
            let as_pod = peer.namespaces.is_some() || peer.pods.is_some();
            self.is_cluster_peer(peer)
                && rule.ports.as_ref().is_none_or(|ports| {
                    ports.iter().any(|port| match port {
                        ClusterPort::Range { protocol, first, last } => {
                            self.flow.transport == Transport::from(*protocol)
                                && (first..=last).contains(&&self.flow.port)
                        }
                        ClusterPort::Named(name) => self.named(name, as_pod),
                        ClusterPort::Unknown => false,
                    })
                })
        })
    }

    fn is_cluster_peer(&self, peer: &ClusterPeer) -> bool {
        let pod = self.peer.selectable();
        if let Some(namespaces) = &peer.namespaces {
            return pod.is_some_and(|pod| self.namespace_matches(namespaces, pod));
        }
        if let Some(pods) = &peer.pods {
            return pod.is_some_and(|pod| self.pod_matches(pods, pod));
        }
        if let Some(nodes) = &peer.nodes {
            return pod.is_none() && self.peer.node.is_some_and(|node| selector::matches(nodes, &node.labels));
        }
        let address = self.address_for_cidrs();
        let mut networks = peer.networks.iter().flatten();
        address.is_some_and(|address| networks.any(|cidr| contains(cidr, address) == Some(true)))
    }
}
