//! Reachability: who may open what to whom, all at once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

use crate::classes::{Class, ClassId};
use crate::engine::{Engine, PolicyId};
use crate::flow::Direction;
use crate::ports::Traffic;
use crate::prefix::{AddressRange, Family};
use crate::tables::Tables;
use crate::world::place;

/// What a kind of workload is, to rules: what its own rules are, and of which class it is as a peer; where its addresses
/// count, under each of them.
type Kind = (Option<PolicyId>, Vec<(Option<Family>, ClassId)>);

/// Answers by the numbers of the egress and the ingress table; none is a side without rules.
type Known = HashMap<(Option<u32>, Option<u32>), Rc<Traffic>>;

/// Who may reach whom. Workloads that no rule can tell apart are of one *kind*, and share the answer.
///
/// Where prefixes do not match pods ([`Options::cidrs_match_pods`](crate::Options)) workloads are taken as such. Where they do, a pod
/// is met under each of its addresses, and reaches what one of them reaches in its family; a template has none, and is taken
/// as such.
#[derive(Debug)]
pub struct Reach<'e> {
    tables: Tables,
    kinds: Vec<Kind>,
    kind_of_workload: Vec<u32>,
    regions: Vec<(AddressRange, ClassId)>,
    externals: Vec<AddressRange>,
    known: RefCell<Known>,
    engine: &'e Engine<'e>,
}

impl<'e> Reach<'e> {
    pub(crate) fn new<'a>(engine: &'e Engine<'a>) -> Self
    where
        'a: 'e,
    {
        let classes = engine.classes();
        let mut ids: HashMap<Kind, u32> = HashMap::new();
        let mut kinds = Vec::new();
        let workloads = 0..engine.world().cluster.workloads.len();
        let kind_of_workload = workloads.map(|at| {
            let kind = (engine.policy_of(at), engine.peer_classes(at));
            *ids.entry(kind).or_insert_with_key(|kind| {
                kinds.push(kind.clone());
                place(kinds.len() - 1)
            })
        });
        let kind_of_workload = kind_of_workload.collect();
        let regions = classes.prefixes().ranges();
        let externals = regions.iter().map(|(range, _)| *range).collect();
        Self { tables: engine.tables(), kinds, kind_of_workload, regions, externals, known: RefCell::default(), engine }
    }

    /// The tables that the answers are of.
    #[must_use]
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The kind of a workload: equal for workloads that no rule can tell apart.
    #[must_use]
    pub fn kind(&self, workload: usize) -> usize {
        self.kind_of_workload.get(workload).copied().unwrap_or(u32::MAX) as usize
    }

    /// How many kinds there are; they are numbered from 0.
    #[must_use]
    pub fn kinds(&self) -> usize {
        self.kinds.len()
    }

    /// What one workload may open to another: what the egress rules of the one and the ingress rules of the other allow.
    /// Between pods of one template, what those may open to each other.
    #[must_use]
    pub fn between(&self, source: usize, destination: usize) -> Rc<Traffic> {
        let workloads = &self.engine.world().cluster.workloads;
        let ends = (workloads.get(source), workloads.get(destination));
        if let (Some(from), Some(to)) = ends {
            let own_node = from.host_network != to.host_network && from.node.is_some() && from.node == to.node;
            if source == destination && from.kind == "Pod" {
                return Rc::new(Traffic::all());
            }
            // Pods on a node's network are the node to the pods of that node.
            if own_node {
                return Rc::new(self.with_own_node(source, destination, from.host_network));
            }
        }
        self.between_kinds(self.kind(source), self.kind(destination))
    }

    fn with_own_node(&self, source: usize, destination: usize, from_node: bool) -> Traffic {
        if from_node {
            return Traffic::all();
        }
        let rules = self.engine.policy_of(source).and_then(|id| self.engine.policies().get(id as usize));
        let Some(rules) = rules else {
            return Traffic::all();
        };
        let classes = self.engine.peer_classes(destination).into_iter();
        let each = classes.filter_map(|(_, class)| self.engine.classes().get(class)).map(|class| {
            let class = Class { own_node: true, ..class.clone() };
            rules.evaluate(self.engine.rules(), Direction::Egress, &class).allowed()
        });
        each.reduce(|a, b| a.union(&b)).unwrap_or_default()
    }

    /// [`Self::between`] by kinds, for pairs of which none is on the network of the other's node.
    #[must_use]
    pub fn between_kinds(&self, source: usize, destination: usize) -> Rc<Traffic> {
        let (Some(source), Some(destination)) = (self.kinds.get(source), self.kinds.get(destination)) else {
            return Rc::new(Traffic::none());
        };
        let met = source.1.iter().flat_map(|from| destination.1.iter().map(move |to| (from, to)));
        let met = met.filter(|((from, _), (to, _))| from.is_none() || to.is_none() || from == to);
        let each =
            met.map(|((_, from), (_, to))| self.both(self.egress(source, *to), self.ingress(destination, *from)));
        each.reduce(|a, b| if a == b { a } else { Rc::new(a.union(&b)) }).unwrap_or_default()
    }

    fn egress(&self, source: &Kind, class: ClassId) -> Option<u32> {
        self.tables.port_table_id(source.0?, Direction::Egress, class)
    }

    fn ingress(&self, destination: &Kind, class: ClassId) -> Option<u32> {
        self.tables.port_table_id(destination.0?, Direction::Ingress, class)
    }

    /// What both tables allow; who has no rules allows all.
    fn both(&self, egress: Option<u32>, ingress: Option<u32>) -> Rc<Traffic> {
        if let Some(known) = self.known.borrow().get(&(egress, ingress)) {
            return Rc::clone(known);
        }
        let allowed = |table: Option<u32>| {
            let table = table.and_then(|id| self.tables.port_table(id));
            table.map_or_else(Traffic::all, crate::compile::PortTable::allowed)
        };
        let traffic = Rc::new(allowed(egress).intersection(&allowed(ingress)));
        self.known.borrow_mut().insert((egress, ingress), Rc::clone(&traffic));
        traffic
    }

    /// All addresses of both families in order, cut wherever a prefix of a rule begins or ends. Addresses of pods are
    /// not cut out: a range stands for who is outside.
    #[must_use]
    pub fn externals(&self) -> &[AddressRange] {
        &self.externals
    }

    /// What a workload may open to outside; neighbours with equal answers are one range, also where the answer is nothing.
    #[must_use]
    pub fn to_external(&self, workload: usize) -> Vec<(AddressRange, Rc<Traffic>)> {
        let kind = self.kinds.get(self.kind(workload));
        merged(
            self.regions
                .iter()
                .map(|(range, class)| (*range, self.both(kind.and_then(|kind| self.egress(kind, *class)), None))),
        )
    }

    /// What outside may open to a workload, likewise.
    #[must_use]
    pub fn from_external(&self, workload: usize) -> Vec<(AddressRange, Rc<Traffic>)> {
        let kind = self.kinds.get(self.kind(workload));
        merged(
            self.regions
                .iter()
                .map(|(range, class)| (*range, self.both(None, kind.and_then(|kind| self.ingress(kind, *class))))),
        )
    }
}

/// Neighbours with equal answers as one range.
fn merged(ranges: impl Iterator<Item = (AddressRange, Rc<Traffic>)>) -> Vec<(AddressRange, Rc<Traffic>)> {
    let mut all: Vec<(AddressRange, Rc<Traffic>)> = Vec::new();
    for (range, traffic) in ranges {
        match all.last_mut() {
            Some((before, same)) if *same == traffic && follows(before.last, range.first) => before.last = range.last,
            _ => all.push((range, traffic)),
        }
    }
    all
}

/// Whether an address is the next one after another.
fn follows(last: IpAddr, first: IpAddr) -> bool {
    if Family::of(last) != Family::of(first) {
        return false;
    }
    match (last, first) {
        (IpAddr::V4(last), IpAddr::V4(first)) => u32::from(last).checked_add(1) == Some(u32::from(first)),
        (IpAddr::V6(last), IpAddr::V6(first)) => u128::from(last).checked_add(1) == Some(u128::from(first)),
        _ => false,
    }
}
