//! Cluster-wide policies, as their specification reads.

use chainkit_cluster::model::{
    Action, ClusterPeer, ClusterPolicy, ClusterPolicyKind, ClusterPort, ClusterRule, PodSelector, Tier, Workload,
};
use chainkit_cluster::selector;

use super::network::contains;
use super::ports::Ports;
use super::{Clause, Question, Said};
use crate::flow::{Direction, Verdict};

impl<'a> Question<'_, 'a> {
    pub(super) fn cluster_tier(&self, tier: Tier, pod: &Workload) -> Vec<Clause<'a>> {
        let all = self.cluster.cluster_policies.iter().map(|located| &located.value);
        let mut policies: Vec<&'a ClusterPolicy> =
            all.filter(|policy| policy.tier == tier && self.is_subject(policy, pod)).collect();
        policies.sort_by_key(|policy| {
            (policy.kind == ClusterPolicyKind::BaselineAdmin, policy.priority, policy.kind.name(), &policy.name)
        });
        let mut clauses = Vec::new();
        for policy in policies {
            let rules = match self.direction {
                Direction::Ingress => &policy.ingress,
                Direction::Egress => &policy.egress,
            };
            for rule in rules {
                if self.is_understood(rule) {
                    let said = match rule.action {
                        Action::Accept => Said::Decided(Verdict::Allowed),
                        Action::Deny => Said::Decided(Verdict::Denied),
                        Action::Pass => Said::Nothing,
                    };
                    clauses.extend(self.matches(rule).map(|ports| Clause { ports, said }));
                } else if rule.action != Action::Accept {
                    // It fails closed.
                    clauses.push(Clause { ports: Ports::All, said: Said::Decided(Verdict::Denied) });
                }
            }
        }
        clauses
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

    /// The ports of a rule, once for each of its peers that is the one asked for.
    fn matches(&self, rule: &'a ClusterRule) -> impl Iterator<Item = Ports<'a>> {
        rule.peers.iter().filter(|peer| self.is_cluster_peer(peer)).map(|peer| {
            let as_pod = peer.namespaces.is_some() || peer.pods.is_some();
            rule.ports.as_ref().map_or(Ports::All, |ports| Ports::Cluster(ports, self.named(as_pod)))
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
