//! Two sets of policies held against each other: whether they allow the same, and if not, what differs.
//!
//! It is exact: every ordered pair of pods and templates as they stand, every address outside of both families, every port of
//! TCP, UDP and SCTP, and protocols without ports. It works on *kinds*, ends of connections that no rule of either side can
//! tell apart, and on numbers of tables.
//!
//! What is held against what:
//!
//! * Workloads are the same if namespace, kind and name are, whatever else differs. A pod is met under each of its addresses;
//!   where the two sides know other addresses for it, the first of a family on one side is the first on the other. One that has
//!   no address on a side is taken there as such, which no CIDR contains.
//! * Whoever is not there on a side may open nothing there, and nothing may be opened to it.
//! * Addresses of nodes and services are judged one by one, as nodes and backends: nodes are the same by name, services by
//!   namespace and name. An address that only one side knows so is to the other what it is there, which is mostly outside.
//! * A service that keeps its traffic on the node has, at its cluster addresses, the backends of the source's node.
//! * All other addresses are outside, in the ranges into which the rules of both sides cut them. A range in which each address
//!   belongs to a pod, a node or a service is left out.
//! * A pod with itself, and a node with its own pods, are what no policy can keep apart. Neither is left out where it differs,
//!   save that a pod is not held against itself.

mod ends;
mod pool;
mod side;

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

use chainkit_cluster::model::Cluster;

use crate::classes::ClassId;
use crate::engine::Engine;
use crate::flow::Direction;
use crate::ports::Traffic;
use crate::prefix::{AddressRange, Family};
use ends::{Form, Kind, Matched, Special, Subject, Workloads};
pub(crate) use pool::usable_traffic;
use pool::{Change, EVERYTHING, NOTHING, Pool, TrafficId};
use side::{NodeNames, Seen, Side};

/// What is asked of two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Whether they allow the same.
    Equivalent,
    /// Whether the first allows everything that the second allows.
    Contains,
}

/// One end of a connection that the two sides judge otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A workload, by its places in the two clusters; none where it is not there.
    Workload([Option<usize>; 2]),
    /// Addresses: outside, or the one of a node or service.
    Addresses(AddressRange),
}

/// A pair of ends that the two sides judge otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Who opens connections.
    pub source: End,
    /// To whom.
    pub destination: End,
    /// What the first side allows and the second denies.
    pub only_first: Traffic,
    /// What the second side allows and the first denies.
    pub only_second: Traffic,
}

/// How many pairs differ, by what their ends are.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    workloads: usize,
    to_special: usize,
    to_outside: usize,
    from_special: usize,
    from_outside: usize,
    outside_to_special: usize,
}

/// Two sides, ready to be asked.
#[derive(Debug)]
pub struct Comparison<'e> {
    sides: [Side<'e>; 2],
    pool: RefCell<Pool>,
    question: Question,
    workloads: Workloads,
    specials: Vec<Special>,
    /// Addresses outside in order, with their class on either side.
    outside: Vec<(AddressRange, [ClassId; 2])>,
    totals: Totals,
    /// Kinds that differ as a source, by their places in `base` and `placed`.
    differing: [Vec<bool>; 2],
}

impl<'e> Comparison<'e> {
    /// Holds two sides against each other. Both have to be of all workloads ([`Scope::All`](crate::Scope)).
    #[must_use]
    pub fn new<'a: 'e, 'b: 'e>(first: &'e Engine<'a>, second: &'e Engine<'b>, question: Question) -> Self {
        let engines: [&'e Engine<'e>; 2] = [first, second];
        let mut nodes = NodeNames::new();
        for engine in engines {
            let cluster: &'e Cluster = &engine.world().cluster;
            let named = cluster.nodes.iter().map(|node| node.name.as_str());
            for name in named.chain(cluster.workloads.iter().filter_map(|workload| workload.node.as_deref())) {
                let next = crate::world::place(nodes.len());
                nodes.entry(name).or_insert(next);
            }
        }
        let sides = engines.map(|engine| Side::new(engine, &nodes));
        let specials = ends::specials(&sides, &nodes);
        let mut comparison = Self {
            pool: RefCell::new(Pool::new()),
            question,
            workloads: ends::workloads(&sides, &nodes),
            outside: ends::outside(&sides, &specials),
            specials,
            totals: Totals::default(),
            differing: [Vec::new(), Vec::new()],
            sides,
        };
        comparison.count();
        comparison
    }

    /// How many ordered pairs of ends the two sides judge otherwise. Neighbouring addresses outside that differ alike are one
    /// end.
    #[must_use]
    pub fn total(&self) -> usize {
        let totals = self.totals;
        [
            totals.workloads,
            totals.to_special,
            totals.to_outside,
            totals.from_special,
            totals.from_outside,
            totals.outside_to_special,
        ]
        .into_iter()
        .fold(0, usize::saturating_add)
    }

    /// How many workloads were held against each other, and how many of them are there on the first and second side alone.
    #[must_use]
    pub fn workloads(&self) -> (usize, [usize; 2]) {
        let alone = |at: [bool; 2]| {
            let same = |matched: &&Matched| matched.places.map(|place| place.is_some()) == at;
            self.workloads.all.iter().filter(same).count()
        };
        (self.workloads.all.len(), [alone([true, false]), alone([false, true])])
    }

    /// Calls `visit` with each pair that differs until it answers no: sources in the order of their namespace, kind and name,
    /// each with its destinations in that order, then addresses; addresses as sources come last.
    pub fn each(&self, visit: &mut dyn FnMut(Difference) -> bool) {
        let _ = self.walk(visit);
    }

    /// `None` as soon as `visit` has had enough.
    fn walk(&self, visit: &mut dyn FnMut(Difference) -> bool) -> Option<()> {
        let mut tell = |source, destination, change: Option<Rc<Change>>| -> Option<()> {
            let Some(change) = change else { return Some(()) };
            let [only_first, only_second] = change.only.clone();
            visit(Difference { source, destination, only_first, only_second }).then_some(())
        };
        for source in &self.workloads.all {
            let end = End::Workload(source.places);
            if self.differs_as_source(source) {
                for destination in &self.workloads.all {
                    tell(end, End::Workload(destination.places), self.between(source, destination))?;
                }
            }
            if self.totals.to_special > 0 {
                for special in &self.specials {
                    tell(end, special.end(), self.to_special(self.kind_towards(source, special), special))?;
                }
            }
            if self.totals.to_outside > 0 {
                for (range, change) in self.outside_of(source.subject, Direction::Egress) {
                    tell(end, End::Addresses(range), Some(change))?;
                }
            }
        }
        if self.totals.from_special > 0 {
            for special in &self.specials {
                for destination in &self.workloads.all {
                    let kind = self.kind_towards(destination, special);
                    tell(special.end(), End::Workload(destination.places), self.special_to(special, kind))?;
                }
            }
        }
        if self.totals.from_outside > 0 {
            // By destination: ranges are as long as the change stays the same.
            for destination in &self.workloads.all {
                for (range, change) in self.outside_of(destination.subject, Direction::Ingress) {
                    tell(End::Addresses(range), End::Workload(destination.places), Some(change))?;
                }
            }
        }
        if self.totals.outside_to_special > 0 {
            for special in self.specials.iter().filter(|special| self.has_virtuals(special)) {
                for (range, change) in self.outside_to_special(special) {
                    tell(End::Addresses(range), special.end(), Some(change))?;
                }
            }
        }
        Some(())
    }

    /// Counts what differs, by kinds.
    fn count(&mut self) {
        let mut totals = Totals::default();
        let mut differing = [vec![false; self.workloads.base.all.len()], vec![false; self.workloads.placed.all.len()]];
        let [base_differs, placed_differs] = &mut differing;
        let pairs = |at: usize, other: usize, workloads: usize, others: usize, pods: usize| {
            // A pod is not held against itself.
            workloads.saturating_mul(others).saturating_sub(if at == other { pods } else { 0 })
        };
        for ((from, (source, sources, pods)), differs) in self.workloads.base.all.iter().enumerate().zip(base_differs) {
            for (to, (destination, destinations, _)) in self.workloads.base.all.iter().enumerate() {
                let all = pairs(from, to, *sources, *destinations, *pods);
                if all > 0 && self.between_kinds(source, destination).is_some() {
                    totals.workloads = totals.workloads.saturating_add(all);
                    *differs = true;
                }
            }
        }
        let of_a_node = |kind: &Kind| kind.iter().flat_map(|form| form.sides.iter().flatten()).any(Seen::is_of_a_node);
        let on_nodes: Vec<bool> = self.workloads.placed.all.iter().map(|(kind, ..)| of_a_node(kind)).collect();
        let hosts: Vec<usize> = on_nodes.iter().enumerate().filter(|(_, is)| **is).map(|(at, _)| at).collect();
        let everybody: Vec<usize> = (0..on_nodes.len()).collect();
        let placed = self.workloads.placed.all.iter().enumerate().zip(on_nodes.iter().zip(placed_differs));
        for ((from, (source, sources, pods)), (on_node, differs)) in placed {
            for to in if *on_node { &everybody } else { &hosts } {
                let Some((destination, destinations, _)) = self.workloads.placed.all.get(*to) else { continue };
                let all = pairs(from, *to, *sources, *destinations, *pods);
                if all > 0 && self.between_kinds(source, destination).is_some() {
                    totals.workloads = totals.workloads.saturating_add(all);
                    *differs = true;
                }
            }
        }
        // Addresses that are seen alike are alike as a source.
        let mut known: HashMap<([Seen; 2], Family), usize> = HashMap::new();
        for special in &self.specials {
            let on_node = |at: usize| special.needs_node || on_nodes.get(at) == Some(&true);
            let placed = self.workloads.placed.all.iter().enumerate().filter(|(at, _)| on_node(*at));
            let base = if special.needs_node { &[][..] } else { self.workloads.base.all.as_slice() };
            let kinds: Vec<_> = placed.map(|(_, kind)| kind).chain(base).collect();
            let count = |differs: &dyn Fn(&[Form]) -> bool| -> usize {
                kinds.iter().filter(|(kind, ..)| differs(kind)).map(|(_, workloads, _)| *workloads).sum()
            };
            let to = count(&|kind| self.to_special(kind, special).is_some());
            let from = known.entry((special.seen, special.family()));
            let from = *from.or_insert_with(|| count(&|kind| self.special_to(special, kind).is_some()));
            totals.to_special = totals.to_special.saturating_add(to);
            totals.from_special = totals.from_special.saturating_add(from);
            if self.has_virtuals(special) {
                let ranges = self.outside_to_special(special).len();
                totals.outside_to_special = totals.outside_to_special.saturating_add(ranges);
            }
        }
        let mut subjects: HashMap<Subject, usize> = HashMap::new();
        for workload in &self.workloads.all {
            *subjects.entry(workload.subject).or_default() += 1;
        }
        for (subject, workloads) in subjects {
            let ranges = |direction| self.outside_of(subject, direction).len().saturating_mul(workloads);
            totals.to_outside = totals.to_outside.saturating_add(ranges(Direction::Egress));
            totals.from_outside = totals.from_outside.saturating_add(ranges(Direction::Ingress));
        }
        self.totals = totals;
        self.differing = differing;
    }

    fn differs_as_source(&self, source: &Matched) -> bool {
        let [base, placed] = &self.differing;
        source.base.is_some_and(|kind| base.get(kind) == Some(&true)) || placed.get(source.placed) == Some(&true)
    }

    /// What differs between two workloads.
    fn between(&self, source: &Matched, destination: &Matched) -> Option<Rc<Change>> {
        if source.is_pod && source.places == destination.places {
            return None;
        }
        match (source.base, destination.base) {
            (Some(from), Some(to)) => self.between_kinds(self.workloads.base.get(from), self.workloads.base.get(to)),
            _ => self
                .between_kinds(self.workloads.placed.get(source.placed), self.workloads.placed.get(destination.placed)),
        }
    }

    fn between_kinds(&self, source: &[Form], destination: &[Form]) -> Option<Rc<Change>> {
        let mut all = None;
        for from in source {
            for to in destination.iter().filter(|to| from.meets(to)) {
                let change = self.change_of(|pool, at| {
                    let (from, to) = (from.sides.get(at)?.as_ref()?, to.sides.get(at)?.as_ref()?);
                    Some(self.sides.get(at)?.between(pool, from, to))
                });
                all = either(all, change);
            }
        }
        self.wanted(all)
    }

    /// The kind of a workload that an address is held against.
    fn kind_towards(&self, workload: &Matched, special: &Special) -> &[Form] {
        match workload.base {
            Some(base) if !special.needs_node => self.workloads.base.get(base),
            _ => self.workloads.placed.get(workload.placed),
        }
    }

    fn to_special(&self, source: &[Form], special: &Special) -> Option<Rc<Change>> {
        let mut all = None;
        for from in special.met_by(source) {
            let change = self.change_of(|pool, at| {
                let (side, from) = (self.sides.get(at)?, from.sides.get(at)?.as_ref()?);
                Some(side.to_address(pool, from, *special.at.get(at)?, special.seen.get(at)?))
            });
            all = either(all, change);
        }
        self.wanted(all)
    }

    fn special_to(&self, special: &Special, destination: &[Form]) -> Option<Rc<Change>> {
        let mut all = None;
        for to in special.met_by(destination) {
            let change = self.change_of(|pool, at| {
                Some(self.sides.get(at)?.between(pool, special.seen.get(at)?, to.sides.get(at)?.as_ref()?))
            });
            all = either(all, change);
        }
        self.wanted(all)
    }

    fn has_virtuals(&self, special: &Special) -> bool {
        self.sides.iter().zip(special.at).any(|(side, at)| side.has_virtuals(at))
    }

    /// What differs of what outside may open to the backends behind an address.
    fn outside_to_special(&self, special: &Special) -> Vec<(AddressRange, Rc<Change>)> {
        let family = special.family();
        let ranges = self.outside.iter().filter(|(range, _)| Family::of(range.first) == family);
        self.merged(ranges, |pool, at, class| {
            let side = self.sides.get(at)?;
            let outside = Seen { policy: None, class, node: None, address_of: None, host: false };
            Some(side.to_address(pool, &outside, *special.at.get(at)?, special.seen.get(at)?))
        })
    }

    /// What differs between a workload and outside.
    fn outside_of(&self, subject: Subject, direction: Direction) -> Vec<(AddressRange, Rc<Change>)> {
        let [first, second] = subject;
        if first == Some(None) && second == Some(None) {
            return Vec::new();
        }
        self.merged(self.outside.iter(), |pool, at, class| {
            let policy = (*subject.get(at)?)?;
            let side = self.sides.get(at)?;
            Some(policy.map_or(EVERYTHING, |policy| side.says(pool, policy, direction, class)))
        })
    }

    /// Neighbours with equal changes as one range.
    fn merged<'r>(
        &self,
        ranges: impl Iterator<Item = &'r (AddressRange, [ClassId; 2])>,
        traffic: impl Fn(&mut Pool, usize, ClassId) -> Option<TrafficId>,
    ) -> Vec<(AddressRange, Rc<Change>)> {
        let mut known: HashMap<[ClassId; 2], Option<Rc<Change>>> = HashMap::new();
        let mut all: Vec<(AddressRange, Rc<Change>)> = Vec::new();
        for (range, classes) in ranges {
            let change = known.entry(*classes).or_insert_with(|| {
                let change = self.change_of(|pool, at| traffic(pool, at, *classes.get(at)?));
                self.wanted(change)
            });
            let Some(change) = change else { continue };
            match all.last_mut() {
                Some((before, same)) if same == change && before.is_next_to(range) => before.last = range.last,
                _ => all.push((*range, Rc::clone(change))),
            }
        }
        all
    }

    /// What differs of what either side says; a side without an answer allows nothing.
    fn change_of(&self, traffic: impl Fn(&mut Pool, usize) -> Option<TrafficId>) -> Option<Rc<Change>> {
        let mut pool = self.pool.borrow_mut();
        let first = traffic(&mut pool, 0).unwrap_or(NOTHING);
        let second = traffic(&mut pool, 1).unwrap_or(NOTHING);
        pool.change(first, second)
    }

    /// A change, if the question is about anything in it.
    fn wanted(&self, change: Option<Rc<Change>>) -> Option<Rc<Change>> {
        change.filter(|change| self.question == Question::Equivalent || !change.only[1].is_empty())
    }
}

fn either(one: Option<Rc<Change>>, other: Option<Rc<Change>>) -> Option<Rc<Change>> {
    match (one, other) {
        (Some(one), Some(other)) if one == other => Some(one),
        (Some(one), Some(other)) => Some(Rc::new(one.union(&other))),
        (one, other) => one.or(other),
    }
}

impl AddressRange {
    /// Whether nothing lies between it and one that comes after.
    fn is_next_to(&self, after: &Self) -> bool {
        match (self.last, after.first) {
            (IpAddr::V4(last), IpAddr::V4(first)) => u32::from(last).checked_add(1) == Some(u32::from(first)),
            (IpAddr::V6(last), IpAddr::V6(first)) => u128::from(last).checked_add(1) == Some(u128::from(first)),
            _ => false,
        }
    }
}
