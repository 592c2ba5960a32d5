//! The whole way from objects to a verdict, with its reason.

mod change;
mod gone;
mod objects;
mod policies;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use chainkit_cluster::model::{Cluster, Problem};

use crate::classes::{ClassId, Classes};
use crate::compile::{Decision, Ground, Index, PortTable, SubjectRules};
use crate::explain::Cause;
use crate::flow::{Direction, Flow, Options, Party, Scope, Verdict};
use crate::interned::Interned;
use crate::lower;
use crate::prefix::Family;
use crate::reach::Reach;
use crate::rules::{Policy, Ruleset};
use crate::services::{Backend, Services};
use crate::tables::{Maker, Tables};
use crate::world::{GroupId, World};

pub(crate) use change::Changed;

/// Rules of a set of subjects, by their place in [`Engine::policies`]: replicas share one.
pub type PolicyId = u32;

/// Policies of a cluster, lowered and ready to judge.
#[derive(Debug)]
pub struct Engine<'a> {
    world: World<'a>,
    options: Options,
    ruleset: Ruleset,
    classes: Classes,
    services: Services,
    policies: Interned<SubjectRules>,
    policy_of_workload: Vec<Option<PolicyId>>,
    /// For each group with subjects the policies that select it, by tier and place, in order.
    policies_of_group: HashMap<GroupId, Vec<(u32, u32)>>,
    /// By namespace and name the places of network policies in their tier.
    network_policies: HashMap<String, BTreeMap<String, u32>>,
    free: Free,
    pending: Pending,
    /// What has been asked before.
    asked: Mutex<Known>,
}

/// Answers, and what they were found by.
#[derive(Debug, Default)]
struct Known {
    rules: HashMap<(PolicyId, Direction), Arc<Index>>,
    tables: HashMap<Asked, Arc<PortTable>>,
}

/// Places whose objects are gone.
#[derive(Clone, Debug, Default)]
struct Free {
    workloads: Vec<usize>,
    nodes: Vec<usize>,
    services: Vec<usize>,
    slices: Vec<usize>,
    network_policies: Vec<usize>,
    cluster_policies: Vec<usize>,
    /// Of policies in each tier.
    places: [Vec<u32>; 3],
}

/// What is to be worked out at the next settlement.
#[derive(Clone, Debug, Default)]
struct Pending {
    /// Groups whose subjects may have other rules.
    groups: BTreeSet<GroupId>,
    /// Policies, by tier and place, that say something else.
    policies: HashSet<(u32, u32)>,
    /// Subjects that are gone.
    gone: Vec<usize>,
    /// Rules that no subject has any more.
    unused: Vec<PolicyId>,
}

/// A question on all ports: whose rules, the direction, the class of the peer, and whether that is taken for the own node.
type Asked = (PolicyId, Direction, ClassId, bool);

/// Answers kept at most.
const MAX_ASKED: usize = 65_536;

/// Problems told at most.
const MAX_PROBLEMS: usize = 10_000;

/// What one side comes to, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SideDecision {
    /// The verdict.
    pub verdict: Verdict,
    /// What rules said; `None` where `cause` is not about rules.
    pub decision: Option<Decision>,
    /// Why.
    pub cause: Cause,
    /// The destination port that rules were asked of, in host byte order: behind a service that of the backend.
    pub port: u16,
    /// Whether some backends of a service would be answered otherwise.
    pub split: bool,
    /// The workload whose rules these are.
    pub subject: Option<usize>,
}

impl SideDecision {
    const fn allowed(cause: Cause) -> Self {
        Self { verdict: Verdict::Allowed, decision: None, cause, port: 0, split: false, subject: None }
    }
}

/// What both sides come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Allowed if both sides are.
    pub verdict: Verdict,
    /// The source's side.
    pub egress: SideDecision,
    /// The destination's side.
    pub ingress: SideDecision,
}

impl<'a> Engine<'a> {
    /// Lowers the policies of `cluster` and cuts its addresses into classes.
    #[must_use]
    pub fn new(cluster: &'a Cluster, options: &Options) -> Self {
        Self::of(Cow::Borrowed(cluster), options)
    }

    /// The same of a cluster that is the engine's own.
    #[must_use]
    pub fn owned(cluster: Cluster, options: &Options) -> Engine<'static> {
        Engine::of(Cow::Owned(cluster), options)
    }

    fn of(cluster: Cow<'a, Cluster>, options: &Options) -> Self {
        let mut engine = Self {
            world: World::new(cluster, options.scope.clone()),
            options: options.clone(),
            ruleset: Ruleset { tiers: lower::tiers(), ..Ruleset::default() },
            classes: Classes::new(options.cidrs_match_pods),
            services: Services::default(),
            policies: Interned::default(),
            policy_of_workload: Vec::new(),
            policies_of_group: HashMap::new(),
            network_policies: HashMap::new(),
            free: Free::default(),
            pending: Pending::default(),
            asked: Mutex::default(),
        };
        engine.load();
        engine
    }

    /// Whether rules of policies without subjects are looked at, too.
    fn lowers_all(&self) -> bool {
        self.options.scope == Scope::All
    }

    /// What could not be taken as it stands, and how it was taken; at most 10,000 things.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        let policies = self.ruleset.tiers.iter().flat_map(|tier| &tier.policies);
        policies.flat_map(|policy| &policy.problems).take(MAX_PROBLEMS)
    }

    /// The lowered form.
    #[must_use]
    pub fn rules(&self) -> &Ruleset {
        &self.ruleset
    }

    /// The workloads, interned.
    #[must_use]
    pub fn world(&self) -> &World<'a> {
        &self.world
    }

    /// The options it was made with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The classes of addresses.
    #[must_use]
    pub fn classes(&self) -> &Classes {
        &self.classes
    }

    /// Virtual addresses.
    #[must_use]
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// The rules that subjects have, by their ids; replicas share one set. A free place has no rules.
    #[must_use]
    pub fn policies(&self) -> &[SubjectRules] {
        self.policies.all()
    }

    /// Whether subjects have the rules of this id.
    #[must_use]
    pub fn is_in_use(&self, policy: PolicyId) -> bool {
        self.policies.held(policy) > 0
    }

    /// The rules of a workload; `None` for one that is no subject.
    #[must_use]
    pub fn policy_of(&self, workload: usize) -> Option<PolicyId> {
        self.policy_of_workload.get(workload).copied().flatten()
    }

    /// Workloads that a policy selects and that are subjects here, by their places.
    #[must_use]
    pub fn subjects(&self, policy: &Policy) -> Vec<usize> {
        let groups = policy.subjects.iter().filter_map(|id| self.world.group(*id));
        let mut subjects: Vec<usize> = groups.flat_map(|group| &group.subjects).map(|at| *at as usize).collect();
        subjects.sort_unstable();
        subjects
    }

    /// Compiles the tables: every row of every subject.
    #[must_use]
    pub fn tables(&self) -> Tables {
        let mut tables = Tables::default();
        Maker::default().follow(self, &self.everything(), &mut tables);
        tables
    }

    /// Who may reach whom.
    #[must_use]
    pub fn reach(&self) -> Reach<'_> {
        Reach::new(self)
    }

    /// Judges a flow.
    #[must_use]
    pub fn judge(&self, flow: &Flow) -> Judgement {
        let (egress, ingress) = match self.backends(flow) {
            None => {
                if let (Some(source), Some(destination)) = (self.pod(flow.source), self.pod(flow.destination))
                    && source == destination
                    && self.is_one_pod(source)
                {
                    let side = SideDecision { subject: Some(source), ..SideDecision::allowed(Cause::SelfTraffic) };
                    (side, side)
                } else {
                    let egress = self.side(Direction::Egress, flow.source, flow.destination, flow);
                    (egress, self.side(Direction::Ingress, flow.destination, flow.source, flow))
                }
            }
            Some(backends) if backends.is_empty() => {
                let egress = SideDecision { subject: self.pod(flow.source), ..SideDecision::allowed(Cause::NoBackend) };
                (egress, SideDecision::allowed(Cause::NoBackend))
            }
            Some(backends) => {
                let at = |backend: &Backend| Flow { destination: backend.party, port: backend.port, ..*flow };
                let each = |judge: &dyn Fn(&Backend) -> SideDecision| {
                    let mut sides = backends.iter().map(judge);
                    let first = sides.next().unwrap_or(SideDecision::allowed(Cause::NoBackend));
                    sides.fold(first, combined)
                };
                (
                    each(&|backend| self.side(Direction::Egress, flow.source, backend.party, &at(backend))),
                    each(&|backend| self.side(Direction::Ingress, backend.party, flow.source, &at(backend))),
                )
            }
        };
        Judgement { verdict: egress.verdict.and(ingress.verdict), egress, ingress }
    }

    /// The backends a flow may end at, if its destination is a service or an address and port of one.
    fn backends(&self, flow: &Flow) -> Option<Vec<Backend>> {
        self.backends_from(self.node_of(flow.source), flow)
    }

    /// The same for what is sent by a node; none is one that nobody knows.
    pub(crate) fn backends_from(&self, node: Option<&str>, flow: &Flow) -> Option<Vec<Backend>> {
        match flow.destination {
            Party::Address(address) => self.services.at(&self.world, node, address, flow.transport, flow.port),
            Party::Service(index) => {
                Some(self.services.of(&self.world, node, index, flow.transport, flow.port).unwrap_or_default())
            }
            Party::Workload { .. } | Party::OwnNode => None,
        }
    }

    /// The name of the node that sends what a source opens: the one that a pod runs on, or whose address it is.
    #[must_use]
    pub fn node_of(&self, source: Party) -> Option<&str> {
        if let Party::Address(address) = source
            && let Some(node) = self.world.node_at(address)
        {
            return self.world.cluster.nodes.get(node as usize).map(|node| node.name.as_str());
        }
        self.world.cluster.workloads.get(self.pod(source)?)?.node.as_deref()
    }

    fn side(&self, direction: Direction, subject: Party, peer: Party, flow: &Flow) -> SideDecision {
        let Some(workload) = self.pod(subject) else {
            return SideDecision::allowed(Cause::NotSubject);
        };
        let found = self.policy_of(workload).and_then(|id| Some((id, self.policies.get(id)?)));
        let Some((id, rules)) = found else {
            return SideDecision::allowed(Cause::NotSubject);
        };
        let from_own_node = match peer {
            Party::OwnNode => true,
            Party::Workload { index, .. } => self.is_on_node_of(index, workload),
            Party::Address(_) | Party::Service(_) => false,
        };
        if direction == Direction::Ingress && from_own_node {
            return SideDecision { subject: Some(workload), ..SideDecision::allowed(Cause::OwnNode) };
        }
        // A pod on the node's network is its node, also where nobody knows the node's address.
        let as_own_node = matches!(peer, Party::Workload { index, .. } if self.is_on_node_of(index, workload));
        let key = (id, direction, self.class_of(peer, workload), as_own_node);
        let decision = self.port_table(key, rules).get(flow.transport, flow.port);
        let cause = match decision.ground {
            Ground::Rule(_) => Cause::Rule,
            Ground::Isolated { .. } => Cause::Isolated,
            Ground::OwnNode => Cause::OwnNode,
            Ground::Default => Cause::NotIsolated,
        };
        SideDecision {
            verdict: decision.verdict,
            decision: Some(decision),
            cause,
            port: flow.port,
            split: false,
            subject: Some(workload),
        }
    }

    /// What rules say of a class, worked out once.
    fn port_table(&self, key: Asked, rules: &SubjectRules) -> Arc<PortTable> {
        let (id, direction, class, as_own_node) = key;
        let known = self.asked.lock().ok();
        if let Some(table) = known.as_ref().and_then(|known| known.tables.get(&key).cloned()) {
            return table;
        }
        let index = known.and_then(|known| known.rules.get(&(id, direction)).cloned());
        let index = index.unwrap_or_else(|| Arc::new(Index::new(&self.ruleset, rules, direction)));
        let mut class = self.classes.get(class).cloned().unwrap_or_default();
        class.own_node |= as_own_node;
        let table = Arc::new(index.evaluate(&self.ruleset, &class));
        if let Ok(mut known) = self.asked.lock() {
            if known.tables.len() >= MAX_ASKED {
                known.tables.clear();
            }
            known.tables.insert(key, Arc::clone(&table));
            known.rules.entry((id, direction)).or_insert(index);
        }
        table
    }

    /// The pod that a party is, if it is one; pods on their host's network are.
    fn pod(&self, party: Party) -> Option<usize> {
        match party {
            Party::Workload { index, .. } => Some(index),
            Party::Address(address) if self.world.node_at(address).is_none() => self.world.pod_at(address),
            _ => None,
        }
    }

    /// Whether it is a pod itself, and not a template, whose pods are several.
    fn is_one_pod(&self, workload: usize) -> bool {
        self.world.cluster.workloads.get(workload).is_some_and(|workload| workload.kind == "Pod")
    }

    /// Whether `other` is on the network of the node that `subject` runs on.
    fn is_on_node_of(&self, other: usize, subject: usize) -> bool {
        let workloads = &self.world.cluster.workloads;
        match (workloads.get(other), workloads.get(subject)) {
            (Some(other), Some(subject)) => other.host_network && other.node.is_some() && other.node == subject.node,
            _ => false,
        }
    }

    /// The class of a peer, as the rules of `subject` see it.
    fn class_of(&self, peer: Party, subject: usize) -> ClassId {
        let (class, address) = match peer {
            Party::Workload { index, address } => self.class_of_workload(index, address),
            Party::Address(address) => (self.classes.of_address(address), Some(address)),
            Party::OwnNode | Party::Service(_) => (0, None),
        };
        let node = address.and_then(|address| self.world.node_at(address));
        let own = self.world.cluster.workloads.get(subject).and_then(|workload| workload.node.as_ref());
        match (node, own.and_then(|name| self.world.node(name))) {
            (Some(node), Some(own)) if node == own => self.classes.as_own_node(class),
            _ => class,
        }
    }

    /// The class of a workload, and the address by which that was found.
    fn class_of_workload(&self, index: usize, address: Option<IpAddr>) -> (ClassId, Option<IpAddr>) {
        if self.world.group_of(index).is_some() {
            let met = address.filter(|address| self.world.pod_at(*address) == Some(index));
            return match met {
                Some(address) if self.world.node_at(address).is_none() => (self.classes.of_address(address), None),
                _ => (self.classes.of_workload(index), None),
            };
        }
        // On its node's network: any address of the node stands for it.
        let workload = self.world.cluster.workloads.get(index);
        let own = workload.and_then(|workload| workload.addresses.first()).copied();
        match address.or(own) {
            Some(address) => (self.classes.of_address(address), Some(address)),
            None => (0, None),
        }
    }

    /// The class of a service's backend, as tables hold it.
    pub(crate) fn backend_class(&self, backend: &Backend) -> ClassId {
        match backend.party {
            Party::Workload { index, address } => self.class_of_workload(index, address).0,
            Party::Address(address) => self.classes.of_address(address),
            Party::OwnNode | Party::Service(_) => 0,
        }
    }

    /// The classes of a workload as a peer: under each of its addresses where those count, else the one it has as such. One
    /// on its node's network is met under an address of its node.
    pub(crate) fn peer_classes(&self, index: usize) -> Vec<(Option<Family>, ClassId)> {
        let workload = self.world.cluster.workloads.get(index);
        let addresses = workload.map_or(&[][..], |workload| workload.addresses.as_slice());
        if addresses.is_empty() || !self.options.cidrs_match_pods || self.world.group_of(index).is_none() {
            return vec![(None, self.class_of_workload(index, None).0)];
        }
        let met = addresses.iter();
        let met = met.map(|address| (Some(Family::of(*address)), self.class_of_workload(index, Some(*address)).0));
        let mut met: Vec<_> = met.collect();
        met.sort_unstable();
        met.dedup();
        met
    }
}

/// Of two answers of a service's backends the one that counts: a denial, as soon as there is one.
fn combined(a: SideDecision, b: SideDecision) -> SideDecision {
    let split = a.split || b.split || a.verdict != b.verdict;
    let counts = if a.verdict == Verdict::Allowed && b.verdict == Verdict::Denied { b } else { a };
    SideDecision { split, ..counts }
}
