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
//! * All other addresses are outside, in the ranges into which the rules of both sides cut them. A range in which each address
//!   belongs to a pod, a node or a service is left out.
//! * A pod with itself, and a node with its own pods, are what no policy can keep apart. Neither is left out where it differs,
//!   save that a pod is not held against itself.

mod pool;
mod side;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::rc::Rc;

use crate::classes::ClassId;
use crate::engine::{Engine, PolicyId};
use crate::flow::Direction;
use crate::ports::Traffic;
use crate::prefix::{AddressRange, Family};
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

/// A workload as both sides see it, under one of its addresses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Form {
    /// The family of the address; none for one without address.
    family: Option<Family>,
    sides: [Option<Seen>; 2],
}

impl Form {
    /// Whether packets can go from one to the other.
    fn meets(&self, other: &Self) -> bool {
        self.family.is_none() || other.family.is_none() || self.family == other.family
    }
}

/// Ends that no rule of either side can tell apart.
type Kind = Vec<Form>;

/// Kinds, each with how many workloads are of it, and how many of those are pods.
#[derive(Debug, Default)]
struct Kinds {
    all: Vec<(Kind, usize, usize)>,
    ids: HashMap<Kind, usize>,
}

impl Kinds {
    fn add(&mut self, kind: Kind, is_pod: bool) -> usize {
        let id = *self.ids.entry(kind).or_insert_with_key(|kind| {
            self.all.push((kind.clone(), 0, 0));
            self.all.len() - 1
        });
        if let Some((_, workloads, pods)) = self.all.get_mut(id) {
            *workloads += 1;
            *pods += usize::from(is_pod);
        }
        id
    }

    fn get(&self, id: usize) -> &[Form] {
        self.all.get(id).map_or(&[], |(kind, ..)| kind.as_slice())
    }
}

/// A workload of either side.
#[derive(Debug)]
struct Matched {
    places: [Option<usize>; 2],
    /// Its kind without regard to nodes; none where its node matters to others.
    base: Option<usize>,
    /// Its kind with its node.
    placed: usize,
    is_pod: bool,
    /// Its rules on either side, as outside sees them.
    subject: Subject,
}

/// Rules on either side of one that is there; none in it is one without rules.
type Subject = [Option<Option<PolicyId>>; 2];

/// An address of a node or service.
#[derive(Debug)]
struct Special {
    /// Which address it is on either side.
    at: [IpAddr; 2],
    seen: [Seen; 2],
    /// Whether it matters on which node a source is.
    needs_node: bool,
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
    workloads: Vec<Matched>,
    base: Kinds,
    placed: Kinds,
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
            let cluster = engine.world().cluster;
            let named = cluster.nodes.iter().map(|node| node.name.as_str());
            for name in named.chain(cluster.workloads.iter().filter_map(|workload| workload.node.as_deref())) {
                let next = crate::world::place(nodes.len());
                nodes.entry(name).or_insert(next);
            }
        }
        let sides = engines.map(|engine| Side::new(engine, &nodes));
        let mut comparison = Self {
            pool: RefCell::new(Pool::new()),
            question,
            workloads: Vec::new(),
            base: Kinds::default(),
            placed: Kinds::default(),
            specials: specials(&sides, &nodes),
            outside: Vec::new(),
            totals: Totals::default(),
            differing: [Vec::new(), Vec::new()],
            sides,
        };
        comparison.outside = comparison.cut_outside();
        comparison.match_workloads(&nodes);
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
            self.workloads.iter().filter(same).count()
        };
        (self.workloads.len(), [alone([true, false]), alone([false, true])])
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
        for source in &self.workloads {
            let end = End::Workload(source.places);
            if self.differs_as_source(source) {
                for destination in &self.workloads {
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
                for destination in &self.workloads {
                    let kind = self.kind_towards(destination, special);
                    tell(special.end(), End::Workload(destination.places), self.special_to(special, kind))?;
                }
            }
        }
        if self.totals.from_outside > 0 {
            // By destination: ranges are as long as the change stays the same.
            for destination in &self.workloads {
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

    fn match_workloads(&mut self, nodes: &NodeNames<'_>) {
        let mut met: BTreeMap<(&str, &str, &str), [Option<usize>; 2]> = BTreeMap::new();
        for (side, at) in self.sides.iter().zip([0usize, 1]) {
            for (index, workload) in side.engine.world().cluster.workloads.iter().enumerate() {
                let places = met.entry((&workload.namespace, &workload.kind, &workload.name)).or_default();
                if let Some(place) = places.get_mut(at) {
                    place.get_or_insert(index);
                }
            }
        }
        for ((_, kind, _), places) in met {
            let is_pod = kind == "Pod";
            let placed = self.forms(places, nodes);
            let seen = || placed.iter().flat_map(|form| form.sides.iter().flatten());
            let is_base = !seen().any(Seen::is_of_a_node);
            let base = is_base.then(|| {
                let mut base = placed.clone();
                for seen in base.iter_mut().flat_map(|form| form.sides.iter_mut().flatten()) {
                    seen.node = None;
                }
                base.sort_unstable();
                base.dedup();
                self.base.add(base, is_pod)
            });
            let [first, second] = &self.sides;
            let [in_first, in_second] = places;
            let subject = [
                in_first.map(|index| first.engine.policy_of(index)),
                in_second.map(|index| second.engine.policy_of(index)),
            ];
            let placed = self.placed.add(placed, is_pod);
            self.workloads.push(Matched { places, base, placed, is_pod, subject });
        }
    }

    /// How a workload is met.
    fn forms(&self, places: [Option<usize>; 2], nodes: &NodeNames<'_>) -> Kind {
        let [first, second] = &self.sides;
        let [in_first, in_second] = places;
        let known = [(first, in_first), (second, in_second)].map(|(side, index)| {
            let workload = index.and_then(|index| side.engine.world().cluster.workloads.get(index));
            let addresses = workload.map_or(&[][..], |workload| workload.addresses.as_slice());
            let mut addresses: Vec<IpAddr> = addresses.iter().map(IpAddr::to_canonical).collect();
            addresses.sort_by_key(|address| Family::of(*address));
            (side, index, addresses)
        });
        let mut forms = Vec::new();
        if known.iter().all(|(.., addresses)| addresses.is_empty()) {
            let sides = known.each_ref().map(|(side, index, _)| index.map(|index| side.workload(index, None, nodes)));
            forms.push(Form { family: None, sides });
        }
        for family in Family::BOTH {
            let of_family = known.each_ref().map(|(_, _, addresses)| -> Vec<IpAddr> {
                addresses.iter().copied().filter(|address| Family::of(*address) == family).collect()
            });
            let [of_first, of_second] = &of_family;
            for nth in 0..of_first.len().max(of_second.len()) {
                let seen = |(side, index, all): &(&Side<'e>, Option<usize>, Vec<IpAddr>), own: &[IpAddr]| {
                    let index = (*index)?;
                    match own.get(nth) {
                        Some(address) => Some(side.workload(index, Some(*address), nodes)),
                        None if all.is_empty() => Some(side.workload(index, None, nodes)),
                        None => None,
                    }
                };
                let [in_first, in_second] = &known;
                let sides = [seen(in_first, of_first), seen(in_second, of_second)];
                forms.push(Form { family: Some(family), sides });
            }
        }
        forms.sort_unstable();
        forms.dedup();
        forms
    }

    /// The ranges into which both sides cut addresses, without those in which everybody is known.
    fn cut_outside(&self) -> Vec<(AddressRange, [ClassId; 2])> {
        let mut known: BTreeSet<IpAddr> = self.specials.iter().flat_map(|special| special.at).collect();
        for side in &self.sides {
            let world = side.engine.world();
            known.extend(world.pod_addresses().map(|(address, _)| address));
            known.extend(world.node_addresses().map(|(address, _)| address));
        }
        let known: Vec<IpAddr> = known.into_iter().collect();
        let [first, second] = self.sides.each_ref().map(|side| side.engine.classes().prefixes.ranges());
        let (mut left, mut right) = (first.iter().peekable(), second.iter().peekable());
        let mut cut = Vec::with_capacity(first.len().max(second.len()));
        // Addresses sort by family first, so that ranges of two families have nothing in common.
        while let (Some((a, of_a)), Some((b, of_b))) = (left.peek(), right.peek()) {
            let common = AddressRange { first: a.first.max(b.first), last: a.last.min(b.last) };
            if common.first <= common.last && !all_known(&common, &known) {
                cut.push((common, [*of_a, *of_b]));
            }
            let (done_left, done_right) = (a.last <= b.last, b.last <= a.last);
            left.next_if(|_| done_left);
            right.next_if(|_| done_right);
        }
        cut
    }

    /// Counts what differs, by kinds.
    fn count(&mut self) {
        let mut totals = Totals::default();
        let mut differing = [vec![false; self.base.all.len()], vec![false; self.placed.all.len()]];
        let [base_differs, placed_differs] = &mut differing;
        let pairs = |at: usize, other: usize, workloads: usize, others: usize, pods: usize| {
            // A pod is not held against itself.
            workloads.saturating_mul(others).saturating_sub(if at == other { pods } else { 0 })
        };
        for ((from, (source, sources, pods)), differs) in self.base.all.iter().enumerate().zip(base_differs) {
            for (to, (destination, destinations, _)) in self.base.all.iter().enumerate() {
                let all = pairs(from, to, *sources, *destinations, *pods);
                if all > 0 && self.between_kinds(source, destination).is_some() {
                    totals.workloads = totals.workloads.saturating_add(all);
                    *differs = true;
                }
            }
        }
        let of_a_node = |kind: &Kind| kind.iter().flat_map(|form| form.sides.iter().flatten()).any(Seen::is_of_a_node);
        let on_nodes: Vec<bool> = self.placed.all.iter().map(|(kind, ..)| of_a_node(kind)).collect();
        let hosts: Vec<usize> = on_nodes.iter().enumerate().filter(|(_, is)| **is).map(|(at, _)| at).collect();
        let everybody: Vec<usize> = (0..on_nodes.len()).collect();
        let placed = self.placed.all.iter().enumerate().zip(on_nodes.iter().zip(placed_differs));
        for ((from, (source, sources, pods)), (on_node, differs)) in placed {
            for to in if *on_node { &everybody } else { &hosts } {
                let Some((destination, destinations, _)) = self.placed.all.get(*to) else { continue };
                let all = pairs(from, *to, *sources, *destinations, *pods);
                if all > 0 && self.between_kinds(source, destination).is_some() {
                    totals.workloads = totals.workloads.saturating_add(all);
                    *differs = true;
                }
            }
        }
        for special in &self.specials {
            let kinds = |kinds: &'_ Kinds, wanted: &dyn Fn(usize) -> bool| {
                let (mut to, mut from) = (0usize, 0usize);
                for (_, (kind, workloads, _)) in kinds.all.iter().enumerate().filter(|(at, _)| wanted(*at)) {
                    to += if self.to_special(kind, special).is_some() { *workloads } else { 0 };
                    from += if self.special_to(special, kind).is_some() { *workloads } else { 0 };
                }
                (to, from)
            };
            let on_node = |at: usize| on_nodes.get(at).copied().unwrap_or(false);
            let (to, from) = kinds(&self.placed, &|at| special.needs_node || on_node(at));
            let (more_to, more_from) = if special.needs_node { (0, 0) } else { kinds(&self.base, &|_| true) };
            totals.to_special = totals.to_special.saturating_add(to + more_to);
            totals.from_special = totals.from_special.saturating_add(from + more_from);
            if self.has_virtuals(special) {
                let ranges = self.outside_to_special(special).len();
                totals.outside_to_special = totals.outside_to_special.saturating_add(ranges);
            }
        }
        let mut subjects: HashMap<Subject, usize> = HashMap::new();
        for workload in &self.workloads {
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
            (Some(from), Some(to)) => self.between_kinds(self.base.get(from), self.base.get(to)),
            _ => self.between_kinds(self.placed.get(source.placed), self.placed.get(destination.placed)),
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
            Some(base) if !special.needs_node => self.base.get(base),
            _ => self.placed.get(workload.placed),
        }
    }

    fn to_special(&self, source: &[Form], special: &Special) -> Option<Rc<Change>> {
        let mut all = None;
        for from in special.met_by(source) {
            let change = self.change_of(|pool, at| {
                let (side, from) = (self.sides.get(at)?, from.sides.get(at)?.as_ref()?);
                Some(side.to_address(pool, from, special.seen.get(at)?, side.virtuals_at(*special.at.get(at)?)))
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
        self.sides.iter().zip(special.at).any(|(side, at)| !side.virtuals_at(at).is_empty())
    }

    /// What differs of what outside may open to the backends behind an address.
    fn outside_to_special(&self, special: &Special) -> Vec<(AddressRange, Rc<Change>)> {
        let [at, _] = special.at;
        let family = Family::of(at);
        let ranges = self.outside.iter().filter(|(range, _)| Family::of(range.first) == family);
        self.merged(ranges, |pool, at, class| {
            let side = self.sides.get(at)?;
            let outside = Seen { policy: None, class, node: None, address_of: None, host: false };
            Some(side.to_address(pool, &outside, special.seen.get(at)?, side.virtuals_at(*special.at.get(at)?)))
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

impl Special {
    fn end(&self) -> End {
        let [address, _] = self.at;
        End::Addresses(AddressRange { first: address, last: address })
    }

    /// The forms that can meet it: those of its family, or all where there is none.
    fn met_by<'f>(&self, forms: &'f [Form]) -> impl Iterator<Item = &'f Form> {
        let [address, _] = self.at;
        let family = Family::of(address);
        let fits = move |form: &Form| form.family.is_none_or(|of| of == family);
        let any_fits = forms.iter().any(fits);
        forms.iter().filter(move |form| !any_fits || fits(form))
    }
}

/// The addresses of nodes and services, each with what it is on the other side.
fn specials(sides: &[Side<'_>; 2], nodes: &NodeNames<'_>) -> Vec<Special> {
    /// Whose address it is: a node or service, which of its lists, the family.
    type Owner<'a> = (&'a str, &'a str, u8, Family);
    let mut met: BTreeMap<Owner<'_>, [Vec<IpAddr>; 2]> = BTreeMap::new();
    let mut add = |at: usize, namespace, name, list, addresses: &[IpAddr]| {
        for address in addresses.iter().map(IpAddr::to_canonical) {
            let both = met.entry((namespace, name, list, Family::of(address))).or_default();
            if let Some(own) = both.get_mut(at) {
                own.push(address);
            }
        }
    };
    for (side, at) in sides.iter().zip([0, 1]) {
        let cluster = side.engine.world().cluster;
        for node in &cluster.nodes {
            add(at, "", node.name.as_str(), 0, &node.addresses);
        }
        for service in &cluster.services {
            let lists = [(1, &service.cluster_ips), (2, &service.external_ips), (3, &service.load_balancer_ips)];
            for (list, addresses) in lists {
                add(at, service.namespace.as_str(), service.name.as_str(), list, addresses);
            }
        }
    }
    let mut pairs: BTreeSet<[IpAddr; 2]> = BTreeSet::new();
    for [first, second] in met.into_values() {
        for nth in 0..first.len().max(second.len()) {
            match (first.get(nth), second.get(nth)) {
                (Some(a), Some(b)) => pairs.insert([*a, *b]),
                (Some(only), None) | (None, Some(only)) => pairs.insert([*only, *only]),
                (None, None) => false,
            };
        }
    }
    let special = |at: [IpAddr; 2]| {
        let [first, second] = sides;
        let seen = [first.address(at[0], nodes), second.address(at[1], nodes)];
        let backends = sides.iter().zip(at).flat_map(|(side, at)| side.virtuals_at(at));
        let mut backends = backends.flat_map(|found| found.backends.iter());
        let needs_node = seen.iter().any(Seen::is_of_a_node) || backends.any(|(backend, _)| backend.is_of_a_node());
        Special { at, seen, needs_node }
    };
    pairs.into_iter().map(special).collect()
}

/// Whether each address of a range is among some known ones, which are in order.
fn all_known(range: &AddressRange, known: &[IpAddr]) -> bool {
    let from = known.partition_point(|address| *address < range.first);
    let to = known.partition_point(|address| *address <= range.last);
    let more = match (range.first, range.last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => u128::from(u32::from(last).saturating_sub(u32::from(first))),
        (IpAddr::V6(first), IpAddr::V6(last)) => u128::from(last).saturating_sub(u128::from(first)),
        _ => u128::MAX,
    };
    // Compared so that the whole of IPv6, which has one address more than fits, is none too large.
    u128::try_from(to.saturating_sub(from)).is_ok_and(|count| count > more)
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
