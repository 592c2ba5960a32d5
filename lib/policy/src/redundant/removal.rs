//! The rules as they would be if some of them were taken out.

use std::collections::{HashMap, HashSet};

use chainkit_cluster::model::Cluster;
use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::{Part, PolicyAt};
use crate::compile::SubjectRules;
use crate::explain::PolicyName;
use crate::flow::Direction;
use crate::rules::{Ports, Ruleset};
use crate::world::place;

/// How many rules a policy has, ingress first.
pub(super) fn rules_of(policy: &NetworkPolicy) -> [usize; 2] {
    policy
        .spec
        .as_ref()
        .map_or([0, 0], |spec| [spec.ingress.as_ref().map_or(0, Vec::len), spec.egress.as_ref().map_or(0, Vec::len)])
}

/// What has to be known of the objects themselves: egress rules of policies that isolate for egress because they have any.
#[derive(Debug)]
pub(super) struct Objects {
    egress_rules: HashMap<PolicyName, usize>,
}

impl Objects {
    pub(super) fn new(cluster: &Cluster) -> Self {
        let mut egress_rules = HashMap::new();
        for policy in cluster.network_policies.iter().map(|located| &located.value) {
            let types = policy.spec.as_ref().and_then(|spec| spec.policy_types.as_deref()).unwrap_or_default();
            let [_, egress] = rules_of(policy);
            if types.is_empty() && egress > 0 {
                let name = PolicyName {
                    kind: "NetworkPolicy",
                    namespace: Some(policy.metadata.namespace.clone().unwrap_or_default()),
                    name: policy.metadata.name.clone().unwrap_or_default(),
                };
                egress_rules.insert(name, egress);
            }
        }
        Self { egress_rules }
    }
}

/// Rules without some of them. What is taken out stays in its place and matches nothing, so that places stay what they are.
#[derive(Debug)]
pub(super) struct Removal<'r> {
    whole: &'r Ruleset,
    rest: Ruleset,
    gone: HashSet<PolicyAt>,
    /// Rules by their direction and index, for each policy.
    rules_at: HashMap<(PolicyAt, Direction, usize), Vec<usize>>,
    /// How many egress rules are left of those that make their policy isolate.
    egress_left: HashMap<PolicyAt, usize>,
}

impl<'r> Removal<'r> {
    pub(super) fn new(whole: &'r Ruleset, objects: &Objects) -> Self {
        let mut rules_at: HashMap<_, Vec<usize>> = HashMap::new();
        let mut egress_left = HashMap::new();
        for (tier, found) in whole.tiers.iter().enumerate() {
            for (at, policy) in found.policies.iter().enumerate() {
                let at = (place(tier), place(at));
                for (place, rule) in policy.rules.iter().enumerate() {
                    rules_at.entry((at, rule.direction, rule.index)).or_default().push(place);
                }
                if let Some(rules) = objects.egress_rules.get(&PolicyName::from(policy)) {
                    egress_left.insert(at, *rules);
                }
            }
        }
        Self { whole, rest: whole.clone(), gone: HashSet::new(), rules_at, egress_left }
    }

    /// What is left.
    pub(super) fn ruleset(&self) -> &Ruleset {
        &self.rest
    }

    /// Whether a policy has been taken out as a whole.
    pub(super) fn is_gone(&self, at: PolicyAt) -> bool {
        self.gone.contains(&at)
    }

    /// Whether a policy still isolates.
    pub(super) fn isolates(&self, at: PolicyAt, direction: Direction) -> bool {
        let policy = self.rest.policy(at.0, at.1);
        policy.is_some_and(|policy| policy.isolates.get(direction.index()) == Some(&true))
    }

    /// What is left of a subject's rules.
    pub(super) fn of_subject(&self, rules: &SubjectRules) -> SubjectRules {
        let policies = rules.policies.iter().filter(|at| !self.gone.contains(at)).copied().collect();
        SubjectRules { policies, names: rules.names.clone() }
    }

    pub(super) fn take(&mut self, at: PolicyAt, part: Part) {
        match part {
            Part::Whole => {
                self.gone.insert(at);
            }
            Part::Rule(direction, index) => self.change(at, direction, index, false),
        }
    }

    pub(super) fn put_back(&mut self, at: PolicyAt, part: Part) {
        match part {
            Part::Whole => {
                self.gone.remove(&at);
            }
            Part::Rule(direction, index) => self.change(at, direction, index, true),
        }
    }

    fn change(&mut self, at: PolicyAt, direction: Direction, index: usize, back: bool) {
        let as_it_was = self.whole.policy(at.0, at.1);
        let policy = self.rest.tiers.get_mut(at.0 as usize).and_then(|tier| tier.policies.get_mut(at.1 as usize));
        let (Some(as_it_was), Some(policy)) = (as_it_was, policy) else { return };
        for place in self.rules_at.get(&(at, direction, index)).into_iter().flatten() {
            if let (Some(was), Some(rule)) = (as_it_was.rules.get(*place), policy.rules.get_mut(*place)) {
                rule.ports = if back { was.ports.clone() } else { Ports::List(Vec::new()) };
            }
        }
        if direction == Direction::Egress
            && let Some(left) = self.egress_left.get_mut(&at)
        {
            *left = if back { *left + 1 } else { left.saturating_sub(1) };
            let [_, isolates] = &mut policy.isolates;
            *isolates = *left > 0;
        }
    }
}
