//! Cluster-wide policies to rules: the two kinds of v1alpha1, and v1alpha2's ClusterNetworkPolicy.

use chainkit_cluster::model::{Action as Said, ClusterPolicy, ClusterPort, ClusterRule, Located};
use chainkit_cluster::selector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::network_policy::shortened;
use super::{EVERYTHING, Lowering, whole};
use crate::flow::{Direction, Transport};
use crate::prefix::Prefix;
use crate::rules::{Action, PeerSet, Peers, Policy, PortMatch, Ports, Rule};
use crate::selections::Within;
use crate::world::place;

/// The other side of a rule as far as it is understood.
enum Understood {
    All,
    /// What is told is left out: an Accept is narrower for it, anything else denies all.
    InPart,
    /// The rule as a whole fails closed.
    Not,
}

/// The namespaces and pods that a policy is about; none where it says neither or both.
pub(super) fn subject(policy: &ClusterPolicy) -> Option<(&LabelSelector, &LabelSelector)> {
    match (&policy.subject.namespaces, &policy.subject.pods) {
        (Some(namespaces), None) => Some((namespaces, &EVERYTHING)),
        (None, Some(pods)) => Some((&pods.namespace_selector, &pods.pod_selector)),
        _ => None,
    }
}

impl Lowering<'_, '_> {
    pub(super) fn cluster_policy(&mut self, located: &Located<ClusterPolicy>) -> Policy {
        let policy = &located.value;
        let object = format!("{}/{}", policy.kind.name(), policy.name);
        let mut lowered = Policy {
            kind: policy.kind.name(),
            namespace: None,
            name: policy.name.clone(),
            origin: located.origin.clone(),
            priority: policy.priority,
            ..Policy::default()
        };
        if let Some((namespaces, pods)) = subject(policy) {
            for (selector, field) in [(namespaces, "spec.subject.namespaces"), (pods, "spec.subject.pods")] {
                self.check_cluster(located, &object, field, selector);
            }
            for (at, namespace) in self.world.namespaces.iter().enumerate() {
                if selector::matches(namespaces, &namespace.labels) {
                    lowered.subjects.extend(self.subjects(place(at), pods));
                }
            }
            lowered.subjects.sort_unstable();
        }
        if !self.all && lowered.subjects.is_empty() {
            return lowered;
        }
        for (direction, rules) in [(Direction::Ingress, &policy.ingress), (Direction::Egress, &policy.egress)] {
            for (index, rule) in rules.iter().enumerate() {
                self.cluster_rule(located, &object, (direction, index), rule, &mut lowered.rules);
            }
        }
        lowered
    }

    fn cluster_rule(
        &mut self,
        located: &Located<ClusterPolicy>,
        object: &str,
        (direction, index): (Direction, usize),
        rule: &ClusterRule,
        rules: &mut Vec<Rule>,
    ) {
        let path = format!("spec.{}[{index}]", direction.name());
        let line = located.line(&path);
        let mut push = |peers, ports, action| rules.push(Rule { direction, index, peers, ports, action, line });
        let mut set = PeerSet::default();
        let peers = self.cluster_peers(located, object, direction, &path, rule, &mut set);
        let ports = self.cluster_ports(located, object, &path, rule.ports.as_deref());
        let action = match rule.action {
            Said::Accept => Action::Allow,
            Said::Deny => Action::Deny,
            Said::Pass => Action::Pass,
        };
        let ports = match (peers, ports, action) {
            (Understood::All, Some(ports), _) | (Understood::InPart, Some(ports), Action::Allow) => ports,
            (_, _, Action::Allow) => return,
            _ => {
                push(Peers::Any, Ports::Any, Action::Deny);
                return;
            }
        };
        if direction == Direction::Egress && ports.has_names() && !(set.blocks.is_empty() && set.nodes.is_empty()) {
            let outside = PeerSet {
                blocks: std::mem::take(&mut set.blocks),
                nodes: std::mem::take(&mut set.nodes),
                pods: Vec::new(),
            };
            push(self.peer_set(outside), ports.without_names(), action);
            if set.pods.is_empty() {
                return;
            }
        }
        push(self.peer_set(set), ports, action);
    }

    fn cluster_peers(
        &mut self,
        located: &Located<ClusterPolicy>,
        object: &str,
        direction: Direction,
        path: &str,
        rule: &ClusterRule,
        set: &mut PeerSet,
    ) -> Understood {
        let field = if direction == Direction::Ingress { "from" } else { "to" };
        let closed = match rule.action {
            Said::Accept => "the rule accepts nothing",
            Said::Deny | Said::Pass => "the rule denies all",
        };
        if rule.peers.is_empty() {
            self.problem(located, object, &format!("{path}.{field}"), format!("no peer in it: {closed}"));
            return Understood::Not;
        }
        let mut understood = Understood::All;
        for (at, peer) in rule.peers.iter().enumerate() {
            let path = format!("{path}.{field}[{at}]");
            let outside = peer.nodes.is_some() || peer.networks.is_some() || peer.domain_names.is_some();
            if !peer.is_known() || (outside && direction == Direction::Ingress) {
                let reason = format!("not a peer that this version knows here: {closed}");
                self.problem(located, object, &path, reason);
                return Understood::Not;
            }
            if let Some(namespaces) = &peer.namespaces {
                self.check_cluster(located, object, &format!("{path}.namespaces"), namespaces);
                self.select(set, Within::Namespaces(namespaces.clone()), &LabelSelector::default());
            }
            if let Some(pods) = &peer.pods {
                self.check_cluster(
                    located,
                    object,
                    &format!("{path}.pods.namespaceSelector"),
                    &pods.namespace_selector,
                );
                self.check_cluster(located, object, &format!("{path}.pods.podSelector"), &pods.pod_selector);
                self.select(set, Within::Namespaces(pods.namespace_selector.clone()), &pods.pod_selector);
            }
            if let Some(nodes) = &peer.nodes {
                self.check_cluster(located, object, &format!("{path}.nodes"), nodes);
                let selected = self.world.cluster.nodes.iter().enumerate();
                let selected =
                    selected.filter(|(_, node)| !node.name.is_empty() && selector::matches(nodes, &node.labels));
                set.nodes.extend(selected.map(|(at, _)| place(at)));
            }
            for (at, text) in peer.networks.iter().flatten().enumerate() {
                match Prefix::parse(text) {
                    Some(prefix) => set.blocks.push(whole(prefix)),
                    None => {
                        let field = format!("{path}.networks[{at}]");
                        let refused = if rule.action == Said::Accept { "it matches nothing" } else { closed };
                        let reason = format!("{:?} is no CIDR such as 10.0.0.0/8: {refused}", shortened(text));
                        self.problem(located, object, &field, reason);
                        understood = Understood::InPart;
                    }
                }
            }
            if peer.domain_names.is_some() {
                let refused = if rule.action == Said::Accept { "they match nothing" } else { closed };
                let reason = format!("domain names are not supported: {refused}; name the addresses under networks");
                self.problem(located, object, &format!("{path}.domainNames"), reason);
                understood = Understood::InPart;
            }
        }
        understood
    }

    /// `None` where something in it is not understood.
    fn cluster_ports(
        &mut self,
        located: &Located<ClusterPolicy>,
        object: &str,
        path: &str,
        ports: Option<&[ClusterPort]>,
    ) -> Option<Ports> {
        let Some(ports) = ports else {
            return Some(Ports::Any);
        };
        let mut list = Vec::with_capacity(ports.len());
        for (at, port) in ports.iter().enumerate() {
            let reason = match port {
                ClusterPort::Range { protocol, first, last } if first <= last => {
                    list.push(PortMatch::Range { transport: Transport::from(*protocol), first: *first, last: *last });
                    continue;
                }
                ClusterPort::Named(name) => {
                    list.push(PortMatch::Named { name: self.port_name(name), transport: None });
                    continue;
                }
                ClusterPort::Range { first, last, .. } => format!("{first} to {last} is no range of ports"),
                ClusterPort::Unknown => "not a port that this version knows".to_owned(),
            };
            let field = if located.lines.contains(&format!("{path}.protocols")) { "protocols" } else { "ports" };
            let reason = format!("{reason}: the rule fails closed, an Accept matches nothing, another denies all");
            self.problem(located, object, &format!("{path}.{field}[{at}]"), reason);
            return None;
        }
        Some(Ports::List(list))
    }

    fn check_cluster(&mut self, located: &Located<ClusterPolicy>, object: &str, path: &str, selector: &LabelSelector) {
        if let Err((field, reason)) = selector::check(selector) {
            self.problem(located, object, &format!("{path}.{field}"), reason);
        }
    }
}
