//! Policies that come, change and go, and that come to have subjects or lose them.

use chainkit_cluster::model::{ClusterPolicy, ClusterPolicyKind, Located};
use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::objects::put;
use super::{Engine, gone};
use crate::flow::Direction;
use crate::lower::{self, ADMIN_TIER, BASELINE_TIER, NETWORK_POLICY_TIER};
use crate::rules::{Peers, Policy, Rule};
use crate::world::{GroupId, place, put_in_order, take_out};

impl Engine<'_> {
    /// Policies of a tier that are there: each place with where its object stands in the cluster.
    pub(super) fn places(&self, tier: u32) -> Vec<(u32, usize)> {
        let policies = self.ruleset.tiers.get(tier as usize).into_iter().flat_map(|tier| &tier.policies);
        let places = policies.enumerate().filter(|(_, policy)| !policy.kind.is_empty());
        places.map(|(at, policy)| (place(at), policy.source)).collect()
    }

    /// A group has subjects now: policies may select them.
    pub(super) fn gain(&mut self, id: GroupId) {
        self.policies_of_group.entry(id).or_default();
        self.pending.groups.insert(id);
        let Some(group) = self.world.group(id) else { return };
        let namespace = self.world.namespaces.get(group.namespace as usize).map(|namespace| &*namespace.name);
        let of_namespace = namespace.and_then(|name| self.network_policies.get(name)).into_iter().flatten();
        let mut selecting: Vec<(u32, u32)> = of_namespace.map(|(_, at)| (NETWORK_POLICY_TIER, *at)).collect();
        for tier in [ADMIN_TIER, BASELINE_TIER] {
            selecting.extend(self.places(tier).into_iter().map(|(at, _)| (tier, at)));
        }
        selecting.retain(|(tier, at)| {
            let policy = self.ruleset.policy(*tier, *at);
            policy.is_some_and(|policy| lower::selects(&self.world, *tier, policy.source, group))
        });
        for (tier, at) in selecting {
            let Some(policy) = self.ruleset.policy_mut(tier, at) else { continue };
            if !policy.subjects.is_empty() {
                if put_in_order(&mut policy.subjects, id) {
                    put_in_order(self.policies_of_group.entry(id).or_default(), (tier, at));
                }
                continue;
            }
            // Its first subject: only now its rules count.
            let source = policy.source;
            let lowered = self.lowered(tier, source);
            self.put_policy(tier, at, lowered);
        }
    }

    /// A group has no subjects any more, or is to be asked anew who selects them.
    pub(super) fn lose(&mut self, id: GroupId) {
        let all = self.lowers_all();
        for (tier, at) in self.policies_of_group.remove(&id).unwrap_or_default() {
            let Some(policy) = self.ruleset.policy_mut(tier, at) else { continue };
            take_out(&mut policy.subjects, id);
            if !policy.subjects.is_empty() {
                continue;
            }
            let (source, rules) = (policy.source, std::mem::take(&mut policy.rules));
            self.drop_rules(&rules);
            if let Some(policy) = self.ruleset.policy_mut(tier, at) {
                policy.rules = rules;
            }
            if !all {
                let lowered = self.lowered(tier, source);
                self.put_policy(tier, at, lowered);
            }
        }
    }

    pub(super) fn lowered(&mut self, tier: u32, source: usize) -> Policy {
        let all = self.lowers_all();
        if tier == NETWORK_POLICY_TIER {
            lower::network_policy(&self.world, &mut self.ruleset, source, all)
        } else {
            lower::cluster_policy(&self.world, &mut self.ruleset, source, all)
        }
    }

    /// A free place in a tier.
    pub(super) fn new_place(&mut self, tier: u32) -> u32 {
        let free = self.free.places.get_mut(tier as usize).and_then(Vec::pop);
        free.unwrap_or_else(|| {
            let policies = self.ruleset.tiers.get_mut(tier as usize).map(|tier| &mut tier.policies);
            policies.map_or(u32::MAX, |policies| {
                policies.push(Policy::default());
                place(policies.len() - 1)
            })
        })
    }

    /// Puts a policy at its place, instead of the one that is there.
    pub(super) fn put_policy(&mut self, tier: u32, at: u32, policy: Policy) {
        // What both name is held throughout.
        if !policy.subjects.is_empty() {
            self.use_rules(&policy.rules);
        }
        if let Some(namespace) = policy.namespace.as_ref() {
            let of_namespace = self.network_policies.entry(namespace.clone()).or_default();
            of_namespace.insert(policy.name.clone(), at);
        }
        let subjects = policy.subjects.clone();
        let is_there = !policy.kind.is_empty();
        let Some(old) = self.ruleset.policy_mut(tier, at).map(|old| std::mem::replace(old, policy)) else {
            return;
        };
        if !old.subjects.is_empty() {
            self.drop_rules(&old.rules);
        }
        self.ruleset.release(&old.rules);
        for group in &old.subjects {
            if let Some(policies) = self.policies_of_group.get_mut(group) {
                take_out(policies, (tier, at));
            }
        }
        for group in &subjects {
            put_in_order(self.policies_of_group.entry(*group).or_default(), (tier, at));
        }
        self.pending.groups.extend(old.subjects.iter().chain(&subjects));
        self.pending.policies.insert((tier, at));
        if !is_there {
            if let Some(namespace) = &old.namespace
                && let Some(places) = self.network_policies.get_mut(namespace)
            {
                places.remove(&old.name);
                if places.is_empty() {
                    self.network_policies.remove(namespace);
                }
            }
            if let Some(free) = self.free.places.get_mut(tier as usize) {
                free.push(at);
            }
        }
    }

    fn use_rules(&mut self, rules: &[Rule]) {
        for rule in rules {
            if let Peers::Set(set) = rule.peers {
                self.classes.use_set(&self.ruleset, set);
            }
            if rule.direction == Direction::Egress {
                self.classes.use_names(&rule.ports);
            }
        }
    }

    fn drop_rules(&mut self, rules: &[Rule]) {
        for rule in rules {
            if let Peers::Set(set) = rule.peers {
                self.classes.drop_set(&self.ruleset, set);
            }
            if rule.direction == Direction::Egress {
                self.classes.drop_names(&rule.ports);
            }
        }
    }

    pub(super) fn network_policy_named(&self, namespace: &str, name: &str) -> Option<u32> {
        self.network_policies.get(namespace)?.get(name).copied()
    }

    pub(super) fn set_network_policy(&mut self, policy: Located<NetworkPolicy>) {
        let metadata = &policy.value.metadata;
        let (namespace, name) =
            (metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default());
        let known = self.network_policy_named(namespace, name);
        let source = known.and_then(|at| self.ruleset.policy(NETWORK_POLICY_TIER, at)).map(|policy| policy.source);
        let source = source.or_else(|| self.free.network_policies.pop());
        let source = source.unwrap_or(self.world.cluster.network_policies.len());
        put(&mut self.world.cluster.to_mut().network_policies, source, policy);
        let lowered = self.lowered(NETWORK_POLICY_TIER, source);
        let at = known.unwrap_or_else(|| self.new_place(NETWORK_POLICY_TIER));
        self.put_policy(NETWORK_POLICY_TIER, at, lowered);
    }

    pub(super) fn cluster_policy_named(&self, kind: ClusterPolicyKind, name: &str) -> Option<(u32, u32)> {
        [ADMIN_TIER, BASELINE_TIER].into_iter().find_map(|tier| {
            let policies = &self.ruleset.tiers.get(tier as usize)?.policies;
            let at = policies.iter().position(|policy| policy.kind == kind.name() && policy.name == name)?;
            Some((tier, place(at)))
        })
    }

    pub(super) fn set_cluster_policy(&mut self, policy: Located<ClusterPolicy>) {
        let tier = lower::tier_of(&policy.value);
        let known = self.cluster_policy_named(policy.value.kind, &policy.value.name);
        let stays = known.filter(|(has, _)| *has == tier);
        if let Some((other, at)) = known.filter(|_| stays.is_none()) {
            self.remove_policy(other, at);
        }
        let source = stays.and_then(|(tier, at)| self.ruleset.policy(tier, at)).map(|policy| policy.source);
        let source = source.or_else(|| self.free.cluster_policies.pop());
        let source = source.unwrap_or(self.world.cluster.cluster_policies.len());
        put(&mut self.world.cluster.to_mut().cluster_policies, source, policy);
        let lowered = self.lowered(tier, source);
        let at = stays.map_or_else(|| self.new_place(tier), |(_, at)| at);
        self.put_policy(tier, at, lowered);
    }

    pub(super) fn remove_policy(&mut self, tier: u32, at: u32) {
        let Some(source) = self.ruleset.policy(tier, at).map(|policy| policy.source) else {
            return;
        };
        self.put_policy(tier, at, Policy::default());
        if tier == NETWORK_POLICY_TIER {
            put(&mut self.world.cluster.to_mut().network_policies, source, gone::network_policy());
            self.free.network_policies.push(source);
        } else {
            put(&mut self.world.cluster.to_mut().cluster_policies, source, gone::cluster_policy());
            self.free.cluster_policies.push(source);
        }
    }
}
