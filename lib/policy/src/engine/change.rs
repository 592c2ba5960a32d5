//! How an engine comes to know its cluster, and follows it: object by object, and then settled at once.

use std::collections::{HashMap, HashSet};

use chainkit_cluster::model::{
    Change, ClusterPolicy, ClusterPolicyKind, ClusterSubject, EndpointSlice, Labels, Lines, Located,
    NAMESPACE_NAME_LABEL, NamedPort, Namespace, Node, Object, ObjectName, Origin, Service, Tier, Workload,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::{Engine, PolicyId};
use crate::classes::{NamedNumber, Settled};
use crate::compile::SubjectRules;
use crate::flow::{Direction, Transport};
use crate::lower::{self, ADMIN_TIER, BASELINE_TIER, NETWORK_POLICY_TIER};
use crate::rules::{Peers, Policy, Rule, Ruleset};
use crate::services::Virtual;
use crate::world::{GroupId, place, put_in_order, take_out};

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

    fn set(&mut self, object: Object) {
        match object {
            Object::Namespace(namespace) => self.set_namespace(namespace),
            Object::Node(node) => self.set_node(node),
            Object::Workload(workload) => self.set_workload(workload),
            Object::Service(service) => self.set_service(service),
            Object::EndpointSlice(slice) => self.set_slice(slice),
            Object::NetworkPolicy(policy) => self.set_network_policy(policy),
            Object::ClusterPolicy(policy) => self.set_cluster_policy(policy),
        }
    }

    fn remove(&mut self, name: &ObjectName) {
        match name {
            ObjectName::Namespace(name) => self.remove_namespace(name),
            ObjectName::Node(name) => {
                if let Some(at) = self.world.node(name).map(|at| at as usize) {
                    self.put_node(at, gone_node());
                    self.free.nodes.push(at);
                }
            }
            ObjectName::Workload { namespace, kind, name } => {
                if let Some(at) = self.workload_named(namespace, kind, name) {
                    self.leave(at);
                    put(&mut self.world.cluster.to_mut().workloads, at, gone_workload());
                    self.free.workloads.push(at);
                }
            }
            ObjectName::Service { namespace, name } => {
                if let Some(at) = self.services.named(&self.world, namespace, name) {
                    self.services.leave(&self.world, at);
                    put(&mut self.world.cluster.to_mut().services, at, gone_service());
                    self.free.services.push(at);
                }
            }
            ObjectName::EndpointSlice { namespace, name } => {
                if let Some(at) = self.services.slice_named(namespace, name) {
                    self.services.leave_slice(&self.world, at);
                    put(&mut self.world.cluster.to_mut().endpoint_slices, at, gone_slice());
                    self.free.slices.push(at);
                }
            }
            ObjectName::NetworkPolicy { namespace, name } => {
                if let Some(at) = self.network_policy_named(namespace, name) {
                    self.remove_policy(NETWORK_POLICY_TIER, at);
                }
            }
            ObjectName::ClusterPolicy { kind, name } => {
                if let Some((tier, at)) = self.cluster_policy_named(*kind, name) {
                    self.remove_policy(tier, at);
                }
            }
        }
    }

    fn set_namespace(&mut self, mut namespace: Namespace) {
        namespace.labels.insert(NAMESPACE_NAME_LABEL.to_owned(), namespace.name.clone());
        let (name, labels) = (namespace.name.clone(), namespace.labels.clone());
        let namespaces = &mut self.world.cluster.to_mut().namespaces;
        match namespaces.iter_mut().find(|has| has.name == name) {
            Some(has) => *has = namespace,
            None => namespaces.push(namespace),
        }
        self.relabel(&name, &labels);
    }

    fn remove_namespace(&mut self, name: &str) {
        self.world.cluster.to_mut().namespaces.retain(|has| has.name != name);
        if self.world.namespace(name).is_some() {
            self.relabel(name, &Labels::new());
        }
    }

    fn relabel(&mut self, name: &str, labels: &Labels) {
        let id = self.world.namespace_id(name);
        if !self.world.set_namespace_labels(id, labels) {
            return;
        }
        let groups: Vec<GroupId> = self.world.groups_in(id).collect();
        for group in groups {
            if self.ruleset.selections.regroup(&self.world, group) {
                self.classes.touch_group(group);
            }
            if self.policies_of_group.contains_key(&group) {
                self.lose(group);
                self.gain(group);
            }
        }
    }

    fn set_node(&mut self, node: Node) {
        let at = match self.world.node(&node.name) {
            Some(at) => at as usize,
            None => self.free.nodes.pop().unwrap_or(self.world.cluster.nodes.len()),
        };
        self.put_node(at, node);
    }

    fn put_node(&mut self, at: usize, node: Node) {
        let old = self.world.cluster.nodes.get(at);
        let is_same = |old: &Node| (&old.name, &old.addresses) == (&node.name, &node.addresses);
        let (same, same_labels) = old.map_or((false, false), |old| (is_same(old), old.labels == node.labels));
        let same_name = old.is_some_and(|old| old.name == node.name);
        put(&mut self.world.cluster.to_mut().nodes, at, node);
        if !same {
            self.world.index_nodes();
            self.classes.touch_nodes();
        }
        if !same_labels || !same_name {
            // Which nodes a rule speaks of is known from when it was lowered.
            let sources = 0..self.world.cluster.cluster_policies.len();
            let speaking: Vec<usize> = sources.filter(|at| self.speaks_of_nodes(*at)).collect();
            for (tier, places) in [ADMIN_TIER, BASELINE_TIER].map(|tier| (tier, self.places(tier))) {
                for (at, source) in places {
                    if speaking.contains(&source) {
                        let lowered = self.lowered(tier, source);
                        self.put_policy(tier, at, lowered);
                    }
                }
            }
        }
    }

    fn speaks_of_nodes(&self, source: usize) -> bool {
        let policy = self.world.cluster.cluster_policies.get(source).map(|located| &located.value);
        let rules = policy.into_iter().flat_map(|policy| policy.ingress.iter().chain(&policy.egress));
        rules.flat_map(|rule| &rule.peers).any(|peer| peer.nodes.is_some())
    }

    /// Policies of a tier that are there: each place with where its object stands in the cluster.
    fn places(&self, tier: u32) -> Vec<(u32, usize)> {
        let policies = self.ruleset.tiers.get(tier as usize).into_iter().flat_map(|tier| &tier.policies);
        let places = policies.enumerate().filter(|(_, policy)| !policy.kind.is_empty());
        places.map(|(at, policy)| (place(at), policy.source)).collect()
    }

    fn workload_named(&self, namespace: &str, kind: &str, name: &str) -> Option<usize> {
        if kind == "Pod" {
            return self.world.pod_named(namespace, name).map(|at| at as usize);
        }
        let named = |at: &&u32| {
            let workload = self.world.cluster.workloads.get(**at as usize);
            workload.is_some_and(|workload| workload.kind == kind && workload.name == name)
        };
        self.world.workloads_in(namespace).iter().find(named).map(|at| *at as usize)
    }

    fn set_workload(&mut self, workload: Workload) {
        match self.workload_named(&workload.namespace, &workload.kind, &workload.name) {
            Some(at) => {
                if self.world.cluster.workloads.get(at).is_some_and(|old| is_alike(old, &workload)) {
                    put(&mut self.world.cluster.to_mut().workloads, at, workload);
                    return;
                }
                self.leave(at);
                put(&mut self.world.cluster.to_mut().workloads, at, workload);
                self.enter(at);
            }
            None => {
                let at = self.free.workloads.pop().unwrap_or(self.world.cluster.workloads.len());
                put(&mut self.world.cluster.to_mut().workloads, at, workload);
                self.enter(at);
            }
        }
    }

    /// The workload at a place of the cluster comes in.
    fn enter(&mut self, at: usize) {
        let joined = self.world.join(at);
        self.classes.join(&self.world, at);
        self.services.touch_workload(&self.world, at);
        let Some((group, new)) = joined else { return };
        if new && self.ruleset.selections.regroup(&self.world, group) {
            self.classes.touch_group(group);
        }
        if self.world.is_subject(at) {
            if self.world.group(group).is_some_and(|group| group.subjects.len() == 1) {
                self.gain(group);
            }
            self.pending.groups.insert(group);
        }
    }

    /// The workload at a place of the cluster, still what it was, goes.
    fn leave(&mut self, at: usize) {
        self.services.touch_workload(&self.world, at);
        self.classes.leave(&self.world, at);
        let was_subject = self.world.is_subject(at);
        let Some((group, empty)) = self.world.leave(at) else { return };
        if was_subject {
            if let Some(id) = self.policy_of_workload.get_mut(at).and_then(Option::take)
                && self.policies.release(id).is_some()
            {
                self.pending.unused.push(id);
            }
            self.pending.gone.push(at);
            if self.world.group(group).is_some_and(|group| group.subjects.is_empty()) {
                self.lose(group);
            }
        }
        if empty {
            self.ruleset.selections.forget_group(group);
            self.world.forget_group(group);
        }
    }

    /// A group has subjects now: policies may select them.
    fn gain(&mut self, id: GroupId) {
        self.policies_of_group.entry(id).or_default();
        self.pending.groups.insert(id);
        let Some(group) = self.world.group(id) else { return };
        let namespace = self.world.namespaces.get(group.namespace as usize).map(|namespace| &*namespace.name);
        let of_namespace = namespace.and_then(|name| self.network_policies.get(name)).into_iter().flatten();
        let mut selecting: Vec<(u32, u32)> = of_namespace.map(|at| (NETWORK_POLICY_TIER, *at)).collect();
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
                    self.policies_of_group.entry(id).or_default().push((tier, at));
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
    fn lose(&mut self, id: GroupId) {
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

    fn lowered(&mut self, tier: u32, source: usize) -> Policy {
        let all = self.lowers_all();
        if tier == NETWORK_POLICY_TIER {
            lower::network_policy(&self.world, &mut self.ruleset, source, all)
        } else {
            lower::cluster_policy(&self.world, &mut self.ruleset, source, all)
        }
    }

    /// A free place in a tier.
    fn new_place(&mut self, tier: u32) -> u32 {
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
    fn put_policy(&mut self, tier: u32, at: u32, policy: Policy) {
        // What both name is held throughout.
        if !policy.subjects.is_empty() {
            self.use_rules(&policy.rules);
        }
        if let Some(namespace) = policy.namespace.as_ref() {
            put_in_order(self.network_policies.entry(namespace.clone()).or_default(), at);
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
                policies.retain(|other| *other != (tier, at));
            }
        }
        for group in &subjects {
            self.policies_of_group.entry(*group).or_default().push((tier, at));
        }
        self.pending.groups.extend(old.subjects.iter().chain(&subjects));
        self.pending.policies.insert((tier, at));
        if !is_there {
            if let Some(namespace) = &old.namespace
                && let Some(places) = self.network_policies.get_mut(namespace)
            {
                take_out(places, at);
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

    fn network_policy_named(&self, namespace: &str, name: &str) -> Option<u32> {
        let places = self.network_policies.get(namespace)?.iter().copied();
        let named = |at: u32| self.ruleset.policy(NETWORK_POLICY_TIER, at).is_some_and(|policy| policy.name == name);
        places.into_iter().find(|at| named(*at))
    }

    fn set_network_policy(&mut self, policy: Located<NetworkPolicy>) {
        let metadata = &policy.value.metadata;
        let (namespace, name) =
            (metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default());
        self.world.namespace_id(namespace);
        let known = self.network_policy_named(namespace, name);
        let source = known.and_then(|at| self.ruleset.policy(NETWORK_POLICY_TIER, at)).map(|policy| policy.source);
        let source = source.or_else(|| self.free.network_policies.pop());
        let source = source.unwrap_or(self.world.cluster.network_policies.len());
        put(&mut self.world.cluster.to_mut().network_policies, source, policy);
        let lowered = self.lowered(NETWORK_POLICY_TIER, source);
        let at = known.unwrap_or_else(|| self.new_place(NETWORK_POLICY_TIER));
        self.put_policy(NETWORK_POLICY_TIER, at, lowered);
    }

    fn cluster_policy_named(&self, kind: ClusterPolicyKind, name: &str) -> Option<(u32, u32)> {
        [ADMIN_TIER, BASELINE_TIER].into_iter().find_map(|tier| {
            let policies = &self.ruleset.tiers.get(tier as usize)?.policies;
            let at = policies.iter().position(|policy| policy.kind == kind.name() && policy.name == name)?;
            Some((tier, place(at)))
        })
    }

    fn set_cluster_policy(&mut self, policy: Located<ClusterPolicy>) {
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

    fn remove_policy(&mut self, tier: u32, at: u32) {
        let Some(source) = self.ruleset.policy(tier, at).map(|policy| policy.source) else {
            return;
        };
        self.put_policy(tier, at, Policy::default());
        if tier == NETWORK_POLICY_TIER {
            put(&mut self.world.cluster.to_mut().network_policies, source, gone_network_policy());
            self.free.network_policies.push(source);
        } else {
            put(&mut self.world.cluster.to_mut().cluster_policies, source, gone_cluster_policy());
            self.free.cluster_policies.push(source);
        }
    }

    fn set_service(&mut self, service: Service) {
        let known = self.services.named(&self.world, &service.namespace, &service.name);
        if let Some(at) = known {
            self.services.leave(&self.world, at);
        }
        let at = known.or_else(|| self.free.services.pop()).unwrap_or(self.world.cluster.services.len());
        put(&mut self.world.cluster.to_mut().services, at, service);
        self.services.join(&self.world, at);
    }

    fn set_slice(&mut self, slice: EndpointSlice) {
        let known = self.services.slice_named(&slice.namespace, &slice.name);
        if let Some(at) = known {
            self.services.leave_slice(&self.world, at);
        }
        let at = known.or_else(|| self.free.slices.pop()).unwrap_or(self.world.cluster.endpoint_slices.len());
        put(&mut self.world.cluster.to_mut().endpoint_slices, at, slice);
        self.services.join_slice(&self.world, at);
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
        for id in pending.groups {
            self.assign(id, &mut changed);
        }
        if let Ok(asked) = self.asked.get_mut() {
            asked.clear();
        }
        changed
    }

    /// Gives the subjects of a group their rules.
    fn assign(&mut self, id: GroupId, changed: &mut Changed) {
        let Some(group) = self.world.group(id) else { return };
        let mut policies = self.policies_of_group.get(&id).cloned().unwrap_or_default();
        let rank = |(tier, at): &(u32, u32)| (*tier, self.ruleset.policy(*tier, *at).map(Policy::rank));
        policies.sort_by(|a, b| rank(a).cmp(&rank(b)));
        let asked = asked_names(&self.ruleset, &policies);
        for at in &group.subjects {
            let Some(workload) = self.world.cluster.workloads.get(*at as usize) else { continue };
            let rules = SubjectRules { policies: policies.clone(), names: numbers(&asked, &workload.ports) };
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

/// Names of ports that the ingress rules of these policies ask for, with their numbers.
fn asked_names<'r>(ruleset: &'r Ruleset, policies: &[(u32, u32)]) -> HashMap<&'r str, u32> {
    let policies = policies.iter().filter_map(|(tier, at)| ruleset.policy(*tier, *at));
    let rules = policies.flat_map(|policy| &policy.rules).filter(|rule| rule.direction == Direction::Ingress);
    let names = rules.flat_map(|rule| rule.ports.names());
    names.filter_map(|name| Some((ruleset.port_name(name)?, name))).collect()
}

/// Those ports of a pod whose name is asked for, in order.
fn numbers(asked: &HashMap<&str, u32>, ports: &[NamedPort]) -> Vec<NamedNumber> {
    let number =
        |port: &NamedPort| Some((*asked.get(port.name.as_str())?, Transport::from(port.protocol), port.number));
    let mut numbers: Vec<NamedNumber> = ports.iter().filter_map(number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// Puts an object at its place, which is one of them or the next.
fn put<T>(all: &mut Vec<T>, at: usize, object: T) {
    match all.get_mut(at) {
        Some(place) => *place = object,
        None => all.push(object),
    }
}

/// Whether two states of a workload are alike to rules.
fn is_alike(old: &Workload, new: &Workload) -> bool {
    let told = |workload: &Workload| (workload.host_network, workload.node.clone(), workload.created);
    told(old) == told(new) && old.labels == new.labels && old.addresses == new.addresses && old.ports == new.ports
}

fn gone_workload() -> Workload {
    Workload {
        namespace: String::new(),
        name: String::new(),
        kind: String::new(),
        owner: None,
        labels: Labels::new(),
        addresses: Vec::new(),
        ports: Vec::new(),
        host_network: false,
        node: None,
        service_account: String::new(),
        created: 0,
        origin: Origin::none(),
    }
}

fn gone_node() -> Node {
    let (labels, origin) = (Labels::new(), Origin::none());
    Node { name: String::new(), labels, addresses: Vec::new(), pod_cidrs: Vec::new(), origin }
}

fn gone_service() -> Service {
    Service {
        namespace: String::new(),
        name: String::new(),
        cluster_ips: Vec::new(),
        external_ips: Vec::new(),
        load_balancer_ips: Vec::new(),
        selector: Labels::new(),
        type_: String::new(),
        ports: Vec::new(),
        origin: Origin::none(),
    }
}

fn gone_slice() -> EndpointSlice {
    EndpointSlice {
        namespace: String::new(),
        name: String::new(),
        service: None,
        endpoints: Vec::new(),
        ports: Vec::new(),
        origin: Origin::none(),
    }
}

fn gone_network_policy() -> Located<NetworkPolicy> {
    Located { value: NetworkPolicy::default(), origin: Origin::none(), lines: Lines::default() }
}

fn gone_cluster_policy() -> Located<ClusterPolicy> {
    let value = ClusterPolicy {
        kind: ClusterPolicyKind::Cluster,
        name: String::new(),
        tier: Tier::Admin,
        priority: 0,
        subject: ClusterSubject { namespaces: None, pods: None },
        ingress: Vec::new(),
        egress: Vec::new(),
    };
    Located { value, origin: Origin::none(), lines: Lines::default() }
}
