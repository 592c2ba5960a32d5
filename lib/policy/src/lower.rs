//! Objects to rules.

mod cluster_policy;
mod network_policy;

use std::collections::HashMap;

use chainkit_cluster::model::{Cluster, Located, Problem, Tier as ClusterTier};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::prefix::Prefix;
use crate::rules::{Block, PeerSet, Peers, Policy, Ruleset, Tier, TierDefault};
use crate::world::{GroupId, Selections, Within, World, place};

/// Place of the tier of network policies in [`Ruleset::tiers`].
pub(crate) const NETWORK_POLICY_TIER: u32 = 1;

/// Problems kept at most; what is wrong with one policy is often wrong with a thousand.
const MAX_PROBLEMS: usize = 10_000;

/// Lowers all policies of a cluster. Policies without a subject in the scope are kept, since they too may be asked for, but
/// their rules are not looked at unless `all` is set.
#[must_use]
pub fn lower(world: &World<'_>, all: bool) -> Ruleset {
    let cluster: &Cluster = world.cluster;
    let mut lowering = Lowering {
        world,
        all,
        selections: Selections::new(world),
        peer_sets: Vec::new(),
        peer_set_ids: HashMap::new(),
        port_names: Vec::new(),
        port_name_ids: HashMap::new(),
        problems: Vec::new(),
    };
    let mut admin = Vec::new();
    let mut baseline = Vec::new();
    for located in &cluster.cluster_policies {
        let policy = lowering.cluster_policy(located);
        match located.value.tier {
            ClusterTier::Admin => admin.push(policy),
            ClusterTier::Baseline => baseline.push(policy),
        }
    }
    let mut network: Vec<Policy> =
        cluster.network_policies.iter().map(|located| lowering.network_policy(located)).collect();
    network.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    // Equal priorities have no order by specification; kind and name make one that is the same each time. The
    // singleton, which has no priority, comes after all that have one.
    let order = |policy: &Policy| {
        (policy.kind == "BaselineAdminNetworkPolicy", policy.priority, policy.kind, policy.name.clone())
    };
    admin.sort_by_cached_key(order);
    baseline.sort_by_cached_key(order);
    let tiers = vec![
        Tier { name: "Admin", default: TierDefault::Pass, policies: admin },
        Tier { name: "NetworkPolicy", default: TierDefault::DenyIsolated, policies: network },
        Tier { name: "Baseline", default: TierDefault::Pass, policies: baseline },
    ];
    Ruleset {
        tiers,
        peer_sets: lowering.peer_sets,
        selections: lowering.selections.into_resolved(),
        port_names: lowering.port_names,
        problems: lowering.problems,
    }
}

struct Lowering<'w, 'a> {
    world: &'w World<'a>,
    all: bool,
    selections: Selections<'w, 'a>,
    peer_sets: Vec<PeerSet>,
    peer_set_ids: HashMap<PeerSet, u32>,
    port_names: Vec<String>,
    port_name_ids: HashMap<String, u32>,
    problems: Vec<Problem>,
}

impl Lowering<'_, '_> {
    /// The peer set, one id for equal ones.
    fn peer_set(&mut self, mut set: PeerSet) -> Peers {
        set.pods.sort_unstable();
        set.pods.dedup();
        set.nodes.sort_unstable();
        set.nodes.dedup();
        if let Some(id) = self.peer_set_ids.get(&set) {
            return Peers::Set(*id);
        }
        let id = place(self.peer_sets.len());
        self.peer_sets.push(set.clone());
        self.peer_set_ids.insert(set, id);
        Peers::Set(id)
    }

    fn port_name(&mut self, name: &str) -> u32 {
        if let Some(id) = self.port_name_ids.get(name) {
            return *id;
        }
        let id = place(self.port_names.len());
        self.port_names.push(name.to_owned());
        self.port_name_ids.insert(name.to_owned(), id);
        id
    }

    /// Groups with a subject that `pods` selects among `groups`.
    fn subjects(&self, groups: impl Iterator<Item = GroupId>, pods: &LabelSelector) -> Vec<GroupId> {
        let selected = groups.filter(|id| {
            let group = self.world.groups.get(*id as usize);
            group.is_some_and(|group| {
                self.world.has_subjects(group) && chainkit_cluster::selector::matches(pods, group.labels)
            })
        });
        selected.collect()
    }

    fn select(&mut self, set: &mut PeerSet, within: Within<'_>, pods: &LabelSelector) {
        set.pods.push(self.selections.select(within, pods));
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
        });
    }
}

/// A prefix without exceptions.
fn whole(prefix: Prefix) -> Block {
    Block { prefix, except: Vec::new() }
}
