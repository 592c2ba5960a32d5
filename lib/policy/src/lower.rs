//! Objects to rules, one policy at a time.

mod cluster_policy;
mod network_policy;

use chainkit_cluster::model::{About, ClusterPolicy, Located, Problem, Tier as ClusterTier};
use chainkit_cluster::selector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::prefix::Prefix;
use crate::rules::{Block, PeerSet, Peers, Policy, Ruleset, Tier, TierDefault};
use crate::selections::{SelectionId, Within};
use crate::world::{Group, GroupId, World};

/// Place of the tier of cluster-wide policies that come before network policies in [`Ruleset::tiers`].
pub(crate) const ADMIN_TIER: u32 = 0;
/// Place of the tier of network policies.
pub(crate) const NETWORK_POLICY_TIER: u32 = 1;
/// Place of the tier of cluster-wide policies that come after them.
pub(crate) const BASELINE_TIER: u32 = 2;

/// Problems kept of one policy at most; what is wrong with one rule is often wrong with a thousand.
const MAX_PROBLEMS: usize = 1_000;

/// A selector that asks for nothing.
static EVERYTHING: LabelSelector = LabelSelector { match_labels: None, match_expressions: None };

/// The tiers, without policies.
pub(crate) fn tiers() -> Vec<Tier> {
    let tier = |name, default| Tier { name, default, policies: Vec::new() };
    vec![
        tier("Admin", TierDefault::Pass),
        tier("NetworkPolicy", TierDefault::DenyIsolated),
        tier("Baseline", TierDefault::Pass),
    ]
}

/// The tier of a cluster-wide policy.
pub(crate) const fn tier_of(policy: &ClusterPolicy) -> u32 {
    match policy.tier {
        ClusterTier::Admin => ADMIN_TIER,
        ClusterTier::Baseline => BASELINE_TIER,
    }
}

/// Lowers the network policy at a place of the cluster. Without subjects in the scope its rules are not looked at,
/// unless `all` is set.
pub(crate) fn network_policy(world: &World<'_>, ruleset: &mut Ruleset, source: usize, all: bool) -> Policy {
    let Some(located) = world.cluster.network_policies.get(source) else {
        return Policy::default();
    };
    let mut lowering = Lowering::new(world, ruleset, all);
    let policy = lowering.network_policy(located);
    lowering.finish(policy, source)
}

/// Lowers the cluster-wide policy at a place of the cluster, likewise.
pub(crate) fn cluster_policy(world: &World<'_>, ruleset: &mut Ruleset, source: usize, all: bool) -> Policy {
    let Some(located) = world.cluster.cluster_policies.get(source) else {
        return Policy::default();
    };
    let mut lowering = Lowering::new(world, ruleset, all);
    let policy = lowering.cluster_policy(located);
    lowering.finish(policy, source)
}

/// Whether a policy of a tier, at a place of the cluster, selects the pods of a group.
pub(crate) fn selects(world: &World<'_>, tier: u32, source: usize, group: &Group) -> bool {
    let Some(namespace) = world.namespaces.get(group.namespace as usize) else {
        return false;
    };
    if tier == NETWORK_POLICY_TIER {
        let policy = world.cluster.network_policies.get(source).map(|located| &located.value);
        return policy.is_some_and(|policy| {
            policy.metadata.namespace.as_deref() == Some(&*namespace.name)
                && network_policy::pods(policy).is_some_and(|pods| selector::matches(pods, world.labels(group)))
        });
    }
    let policy = world.cluster.cluster_policies.get(source);
    policy.and_then(|located| cluster_policy::subject(&located.value)).is_some_and(|(namespaces, pods)| {
        selector::matches(namespaces, &namespace.labels) && selector::matches(pods, world.labels(group))
    })
}

/// One policy being lowered.
struct Lowering<'w, 'a> {
    world: &'w World<'a>,
    ruleset: &'w mut Ruleset,
    all: bool,
    /// What was met in the policy, held until its rules hold what they need of it.
    selections: Vec<SelectionId>,
    sets: Vec<u32>,
    names: Vec<u32>,
    problems: Vec<Problem>,
}

impl<'w, 'a> Lowering<'w, 'a> {
    fn new(world: &'w World<'a>, ruleset: &'w mut Ruleset, all: bool) -> Self {
        let (selections, sets, names, problems) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { world, ruleset, all, selections, sets, names, problems }
    }

    /// Lets the rules hold what they name, and lets go of the rest.
    fn finish(self, mut policy: Policy, source: usize) -> Policy {
        for rule in &policy.rules {
            if let Peers::Set(set) = rule.peers
                && let Some(value) = self.ruleset.peer_sets.get(set).cloned()
            {
                self.ruleset.hold_set(value);
            }
            for name in rule.ports.names() {
                if let Some(text) = self.ruleset.port_names.get(name).cloned() {
                    self.ruleset.port_names.hold(text);
                }
            }
        }
        self.sets.into_iter().for_each(|set| self.ruleset.release_set(set));
        self.names.into_iter().for_each(|name| drop(self.ruleset.port_names.release(name)));
        self.selections.into_iter().for_each(|id| self.ruleset.selections.release(id));
        policy.source = source;
        policy.problems = self.problems;
        policy
    }

    /// The peer set, one number for equal ones.
    fn peer_set(&mut self, mut set: PeerSet) -> Peers {
        set.pods.sort_unstable();
        set.pods.dedup();
        set.nodes.sort_unstable();
        set.nodes.dedup();
        let id = self.ruleset.hold_set(set);
        self.sets.push(id);
        Peers::Set(id)
    }

    fn port_name(&mut self, name: &str) -> u32 {
        let (id, _) = self.ruleset.port_names.hold(name.to_owned());
        self.names.push(id);
        id
    }

    /// Groups with a subject that `pods` selects in a namespace, in order.
    fn subjects(&self, namespace: u32, pods: &LabelSelector) -> Vec<GroupId> {
        let there = self.world.groups_with_subjects(namespace);
        let selects = |id: &GroupId| {
            let group = self.world.group(*id);
            group.is_some_and(|group| selector::matches(pods, self.world.labels(group)))
        };
        let Some(mut selected) = self.world.pod_labels.few_candidates(pods, there.len()) else {
            return there.iter().copied().filter(selects).collect();
        };
        selected.retain(|id| there.contains(id) && selects(id));
        selected.sort_unstable();
        selected.dedup();
        selected
    }

    fn select(&mut self, set: &mut PeerSet, within: Within, pods: &LabelSelector) {
        let id = self.ruleset.selections.hold(self.world, within, pods);
        self.selections.push(id);
        set.pods.push(id);
    }

    fn problem<T>(&mut self, at: &Located<T>, object: &str, field: &str, reason: String) {
        if self.problems.len() >= MAX_PROBLEMS {
            return;
        }
        self.problems.push(Problem {
            file: at.origin.file.clone(),
            document: at.origin.document,
            line: at.line(field),
            object: object.to_owned(),
            field: field.to_owned(),
            reason,
            about: About::Policy,
        });
    }
}

/// A prefix without exceptions.
fn whole(prefix: Prefix) -> Block {
    Block { prefix, except: Vec::new() }
}
