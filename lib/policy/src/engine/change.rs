//! How an engine comes to know its cluster, and follows it: what happened since the last time is settled at once.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use chainkit_cluster::model::{Change, NamedPort};

use super::{Engine, Known, PolicyId};
use crate::classes::{NamedNumber, Settled};
use crate::compile::SubjectRules;
use crate::flow::{Direction, Transport};
use crate::lower::{self, NETWORK_POLICY_TIER};
use crate::rules::{Policy, Ruleset};
use crate::services::Virtual;
use crate::world::GroupId;

/// What changes came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changed {
    /// Classes and addresses.
    pub(crate) settled: Settled,
    /// What connections to services are opened to that may end elsewhere, or is no more.
    pub(crate) virtuals: Vec<Virtual>,
    /// Rules that are new, say something else, or that no subject has any more.
    pub(crate) policies: HashSet<PolicyId>,
    /// Workloads that may have other rules, or none.
    pub(crate) subjects: Vec<usize>,
}

impl Engine<'_> {
    /// Takes in everything that the cluster has.
    pub(super) fn load(&mut self) {
        for at in 0..self.world.cluster.workloads.len() {
            if self.world.cluster.workloads.get(at).is_some_and(|workload| !workload.kind.is_empty()) {
                self.enter(at);
            }
        }
        let all = self.lowers_all();
        let mut lowered: Vec<(u32, Policy)> = Vec::new();
        for at in 0..self.world.cluster.network_policies.len() {
            let policy = lower::network_policy(&self.world, &mut self.ruleset, at, all);
            lowered.push((NETWORK_POLICY_TIER, policy));
        }
        for at in 0..self.world.cluster.cluster_policies.len() {
            let policy = lower::cluster_policy(&self.world, &mut self.ruleset, at, all);
            let tier = self.world.cluster.cluster_policies.get(at).map(|located| lower::tier_of(&located.value));
            lowered.extend(tier.map(|tier| (tier, policy)));
        }
        // An empty place is no policy.
        lowered.retain(|(_, policy)| !policy.name.is_empty());
        lowered.sort_by(|(tier, a), (other, b)| (tier, a.rank()).cmp(&(other, b.rank())));
        for (tier, policy) in lowered {
            let at = self.new_place(tier);
            self.put_policy(tier, at, policy);
        }
        for at in 0..self.world.cluster.endpoint_slices.len() {
            self.services.join_slice(&self.world, at);
        }
        for at in 0..self.world.cluster.services.len() {
            self.services.join(&self.world, at);
        }
        self.settle();
    }

    /// Follows changes of the cluster. All of them count at once.
    pub(crate) fn apply(&mut self, changes: Vec<Change>) -> Changed {
        for change in changes {
            match change {
                Change::Set(object) => self.set(*object),
                Change::Remove(name) => self.remove(&name),
            }
        }
        self.settle()
    }

    /// What it would have come to had all of it changed.
    pub(crate) fn everything(&self) -> Changed {
        let settled = Settled {
            classes: self.classes.iter().map(|(id, _)| (id, None)).collect(),
            addresses: self.classes.addresses().collect(),
            prefixes: true,
        };
        Changed {
            settled,
            virtuals: self.services.virtuals().map(|(target, _)| *target).collect(),
            policies: self.policies.iter().map(|(id, _)| id).collect(),
            subjects: (0..self.policy_of_workload.len()).filter(|at| self.policy_of(*at).is_some()).collect(),
        }
    }

    /// Works out what all that happened since the last time comes to.
    fn settle(&mut self) -> Changed {
        let settled = self.classes.settle(&self.world, &self.ruleset);
        let virtuals = self.services.settle(&self.world);
        let pending = std::mem::take(&mut self.pending);
        let mut changed =
            Changed { settled, virtuals, policies: pending.unused.into_iter().collect(), subjects: pending.gone };
        if !pending.policies.is_empty() {
            let says = |rules: &SubjectRules| rules.policies.iter().any(|at| pending.policies.contains(at));
            changed.policies.extend(self.policies.iter().filter(|(_, rules)| says(rules)).map(|(id, _)| id));
        }
        self.policy_of_workload.resize(self.world.cluster.workloads.len(), None);
        let mut ordered = Lists::new();
        for id in pending.groups {
            self.assign(id, &mut ordered, &mut changed);
        }
        if let Ok(known) = self.asked.get_mut() {
            *known = Known::default();
        }
        changed
    }

    /// Gives the subjects of a group their rules. Groups that the same policies select share what those come to.
    fn assign(&mut self, id: GroupId, ordered: &mut Lists, changed: &mut Changed) {
        let Some(group) = self.world.group(id) else { return };
        let selecting = self.policies_of_group.get(&id).map_or(&[][..], Vec::as_slice);
        let Ordered { policies, asked } = &*shared(ordered, &self.ruleset, selecting);
        for at in &group.subjects {
            let Some(workload) = self.world.cluster.workloads.get(*at as usize) else { continue };
            let rules = SubjectRules { policies: Arc::clone(policies), names: numbers(asked, &workload.ports) };
            let (new, is_new) = self.policies.hold(rules);
            if is_new {
                changed.policies.insert(new);
            }
            let Some(has) = self.policy_of_workload.get_mut(*at as usize) else { continue };
            let old = has.replace(new);
            if let Some(old) = old
                && self.policies.release(old).is_some()
            {
                changed.policies.insert(old);
            }
            if old != Some(new) {
                changed.subjects.push(*at as usize);
            }
        }
    }
}

/// Lists of policies by a hash of them: a copy of each as a key would take as much again.
type Lists = HashMap<u64, Vec<Arc<Ordered>>>;

/// The list of these policies, which groups that the same select share.
fn shared(lists: &mut Lists, ruleset: &Ruleset, selecting: &[(u32, u32)]) -> Arc<Ordered> {
    let mut hasher = DefaultHasher::new();
    selecting.hash(&mut hasher);
    let alike = lists.entry(hasher.finish()).or_default();
    let of_these = |list: &&Arc<Ordered>| {
        let policies = &list.policies;
        policies.len() == selecting.len() && policies.iter().all(|policy| selecting.binary_search(policy).is_ok())
    };
    if let Some(known) = alike.iter().find(of_these) {
        return Arc::clone(known);
    }
    let new = Arc::new(Ordered::new(ruleset, selecting));
    alike.push(Arc::clone(&new));
    new
}

/// The policies that select a group.
#[derive(Debug)]
struct Ordered {
    /// In the order in which they are tried.
    policies: Arc<[(u32, u32)]>,
    /// Names of ports that their ingress rules ask for, with their numbers.
    asked: HashMap<String, u32>,
}

impl Ordered {
    fn new(ruleset: &Ruleset, selecting: &[(u32, u32)]) -> Self {
        let mut policies = selecting.to_vec();
        let rank = |(tier, at): &(u32, u32)| (*tier, ruleset.policy(*tier, *at).map(Policy::rank));
        policies.sort_by(|a, b| rank(a).cmp(&rank(b)));
        let found = policies.iter().filter_map(|(tier, at)| ruleset.policy(*tier, *at));
        let rules = found.flat_map(|policy| &policy.rules).filter(|rule| rule.direction == Direction::Ingress);
        let names = rules.flat_map(|rule| rule.ports.names());
        let asked = names.filter_map(|name| Some((ruleset.port_name(name)?.to_owned(), name))).collect();
        Self { policies: policies.into(), asked }
    }
}

/// Those ports of a pod whose name is asked for, in order.
fn numbers(asked: &HashMap<String, u32>, ports: &[NamedPort]) -> Vec<NamedNumber> {
    let number =
        |port: &NamedPort| Some((*asked.get(port.name.as_str())?, Transport::from(port.protocol), port.number));
    let mut numbers: Vec<NamedNumber> = ports.iter().filter_map(number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}
