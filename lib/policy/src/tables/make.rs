//! Making tables, and making them follow: what changed of an engine becomes what is to be written.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use crate::classes::{Class, ClassId, NamedNumber};
use crate::compile::Index;
use crate::engine::{Changed, Engine, PolicyId};
use crate::flow::Direction;
use crate::prefix::Prefix;
use crate::tables::{Rows, Tables, Update};

/// Rules of one policy id in one direction.
type Side = (PolicyId, Direction);

/// Rows that are to be written.
type Written = BTreeMap<(PolicyId, Direction, Option<ClassId>), Option<u32>>;

/// What makes rows, and knows which rows a change concerns.
#[derive(Clone, Debug, Default)]
pub(crate) struct Maker {
    /// The classes that there are, those in a set, those with a name among their ports, those of pods, and those of the own node.
    all: BTreeSet<ClassId>,
    in_set: HashMap<u32, BTreeSet<ClassId>>,
    with_name: HashMap<u32, BTreeSet<ClassId>>,
    pods: BTreeSet<ClassId>,
    own_nodes: BTreeSet<ClassId>,
    /// Whose rules ask for a set, for a name.
    asking_set: HashMap<u32, BTreeSet<Side>>,
    asking_name: HashMap<u32, BTreeSet<Side>>,
    asking_everywhere: BTreeSet<Side>,
    /// Where classes that no rule names have rows, and the most that rules name have none.
    turned: BTreeSet<Side>,
    sides: HashMap<Side, Asks>,
    /// By address the endpoints that have it.
    endpoints_at: HashMap<IpAddr, Vec<u32>>,
    addresses_of: HashMap<u32, Vec<IpAddr>>,
    /// How many virtual addresses and ports lead to endpoints.
    led_to: HashMap<u32, usize>,
    /// Endpoints of templates, or of addresses that no pod has: their classes are looked at each time.
    elsewhere: BTreeSet<u32>,
}

/// What rules ask of a class.
#[derive(Clone, Debug)]
struct Asks {
    rules: Index,
    names: HashSet<u32>,
    /// Port tables by what the rules can tell of a class; each is held.
    known: HashMap<Seen, u32>,
    /// With how many of them it looks again which are of use.
    enough: usize,
}

/// What rules can tell of a class: the sets they name, the ports they ask for, whether it is of pods, or the own node.
type Seen = (Vec<u32>, Vec<NamedNumber>, bool, bool);

/// How many answers a side keeps before it looks which of them no row has any more.
const MANY_KNOWN: usize = 1024;

impl Maker {
    /// Makes `tables` follow what changed of `engine`.
    pub(crate) fn follow(&mut self, engine: &Engine<'_>, changed: &Changed, tables: &mut Tables) -> Update {
        let mut update = Update::default();
        let mut rows = Written::new();
        for (id, was) in &changed.settled.classes {
            let is = self.current(engine, *id);
            self.index(*id, was.as_ref(), is);
        }
        for id in &changed.policies {
            for direction in Direction::BOTH {
                self.forget((*id, direction), tables, &mut rows);
                if engine.is_in_use(*id) {
                    self.make(engine, (*id, direction), tables, &mut rows);
                }
            }
        }
        for (id, was) in &changed.settled.classes {
            let is = self.current(engine, *id);
            for side in self.concerned(was.as_ref(), is) {
                if !changed.policies.contains(&side.0) {
                    self.row(engine, side, *id, tables, &mut rows);
                }
            }
        }
        update.rows =
            rows.into_iter().map(|((policy, direction, class), table)| (policy, direction, class, table)).collect();
        self.follow_services(engine, changed, tables, &mut update);
        if changed.settled.prefixes {
            let is = engine.classes().prefixes();
            update.prefixes = differences(tables.prefixes.iter(), is.iter());
            tables.prefixes = is.clone();
        }
        let addresses: BTreeSet<IpAddr> = changed.settled.addresses.iter().copied().collect();
        for address in addresses {
            let is = engine.classes().shown(address);
            let was = match is {
                Some(class) => tables.addresses.insert(address, class),
                None => tables.addresses.remove(&address),
            };
            if was != is {
                update.addresses.push((address, is));
            }
            if engine.world().node_at(address).is_some() {
                tables.nodes.insert(address);
            } else {
                tables.nodes.remove(&address);
            }
        }
        let subjects: BTreeSet<usize> = changed.subjects.iter().copied().collect();
        update.subjects = subjects.into_iter().map(|at| (at, engine.policy_of(at))).collect();
        update
    }

    fn current<'e>(&self, engine: &'e Engine<'_>, id: ClassId) -> Option<&'e Class> {
        engine.classes().get(id).filter(|_| engine.classes().is_held(id))
    }

    /// A class that was one thing is another.
    fn index(&mut self, id: ClassId, was: Option<&Class>, is: Option<&Class>) {
        only_in(peers(was), peers(is)).for_each(|set| take_from(&mut self.in_set, set, id));
        for set in only_in(peers(is), peers(was)) {
            self.in_set.entry(set).or_default().insert(id);
        }
        for (name, ..) in was.iter().flat_map(|class| class.names.iter()) {
            take_from(&mut self.with_name, *name, id);
        }
        for (name, ..) in is.iter().flat_map(|class| class.names.iter()) {
            self.with_name.entry(*name).or_default().insert(id);
        }
        let marks = |class: Option<&Class>| class.map_or([false; 3], |class| [true, class.pod, class.own_node]);
        let kinds = [&mut self.all, &mut self.pods, &mut self.own_nodes];
        for ((is, was), classes) in marks(is).into_iter().zip(marks(was)).zip(kinds) {
            if is {
                classes.insert(id);
            } else if was {
                classes.remove(&id);
            }
        }
    }

    /// Whose rules may answer a class otherwise that was one thing and is another.
    fn concerned(&self, was: Option<&Class>, is: Option<&Class>) -> BTreeSet<Side> {
        let mut sides = BTreeSet::new();
        for set in only_in(peers(was), peers(is)).chain(only_in(peers(is), peers(was))) {
            sides.extend(self.asking_set.get(&set).into_iter().flatten());
        }
        let names = |class: Option<&Class>| class.map(|class| class.names.clone()).unwrap_or_default();
        let (before, after) = (names(was), names(is));
        if before != after {
            for (name, ..) in before.iter().chain(after.iter()) {
                sides.extend(self.asking_name.get(name).into_iter().flatten());
            }
        }
        if was.is_some_and(|class| class.pod) != is.is_some_and(|class| class.pod) {
            sides.extend(&self.asking_everywhere);
        }
        if was.is_some_and(|class| class.own_node) != is.is_some_and(|class| class.own_node) {
            sides.extend(self.sides.keys().filter(|(_, direction)| *direction == Direction::Egress));
        }
        if was.is_some() != is.is_some() {
            sides.extend(&self.turned);
        }
        sides
    }

    /// Makes all rows of a side.
    fn make(&mut self, engine: &Engine<'_>, side: Side, tables: &mut Tables, rows: &mut Written) {
        let (id, direction) = side;
        let ruleset = engine.rules();
        let Some(rules) = engine.policies().get(id as usize) else { return };
        let index = Index::new(ruleset, rules, direction);
        let names = match direction {
            Direction::Ingress => HashSet::new(),
            Direction::Egress => rules.rules(ruleset, direction).flat_map(|(_, rule)| rule.ports.names()).collect(),
        };
        let nobody = Class::default();
        let (of_nobody, _) = tables.port_tables.hold(index.evaluate(ruleset, &nobody));
        let known = HashMap::from([(Seen::default(), of_nobody)]);
        let mut candidates: BTreeSet<ClassId> = BTreeSet::new();
        for set in index.sets() {
            candidates.extend(self.in_set.get(&set).into_iter().flatten());
            self.asking_set.entry(set).or_default().insert(side);
        }
        for name in &names {
            candidates.extend(self.with_name.get(name).into_iter().flatten());
            self.asking_name.entry(*name).or_default().insert(side);
        }
        if index.names_every_pod() {
            candidates.extend(&self.pods);
            self.asking_everywhere.insert(side);
        }
        if direction == Direction::Egress {
            candidates.extend(&self.own_nodes);
        }
        let asks = Asks { rules: index, names, known, enough: 0 };
        self.sides.insert(side, asks);
        if tables.policies.len() <= id as usize {
            tables.policies.resize(id as usize + 1, Default::default());
        }
        let answers = candidates.iter().map(|class| (*class, self.answer(engine, side, *class, tables)));
        let answers: Vec<(ClassId, Option<u32>)> = answers.collect();
        let default = self.most_common(of_nobody, answers.iter().filter_map(|(_, table)| *table));
        if let Some(of_side) = rows_of(tables, side) {
            of_side.default = Some(default);
        }
        rows.insert((id, direction, None), Some(default));
        if default != of_nobody {
            self.turned.insert(side);
            for class in self.all.difference(&candidates) {
                set_row(side, *class, Some(of_nobody), tables, rows);
            }
        }
        for (class, table) in answers {
            set_row(side, class, table, tables, rows);
        }
    }

    /// The port table that most classes have, where that halves the rows: the fewer there are, the sooner one is found. `named` are those
    /// of the classes that rules name; all others have `of_nobody`.
    fn most_common(&self, of_nobody: u32, named: impl Iterator<Item = u32>) -> u32 {
        let mut counts: HashMap<u32, usize> = HashMap::new();
        let mut others = self.all.len();
        for table in named {
            *counts.entry(table).or_default() += 1;
            others -= 1;
        }
        let rows_else = self.all.len() - counts.get(&of_nobody).unwrap_or(&0) - others;
        let most = counts.into_iter().max_by_key(|(table, count)| (*count, Reverse(*table)));
        most.filter(|(_, count)| (self.all.len() - count) * 2 < rows_else).map_or(of_nobody, |(table, _)| table)
    }

    /// Makes the row of one class.
    fn row(&mut self, engine: &Engine<'_>, side: Side, id: ClassId, tables: &mut Tables, rows: &mut Written) {
        if self.sides.get(&side).is_some_and(|asks| asks.known.len() > asks.enough.max(MANY_KNOWN))
            && let Some(asks) = self.sides.get_mut(&side)
        {
            asks.tidy(side, tables);
        }
        let table = self.answer(engine, side, id, tables);
        set_row(side, id, table, tables, rows);
    }

    /// The port table of one class; none where there is no such class.
    fn answer(&mut self, engine: &Engine<'_>, side: Side, id: ClassId, tables: &mut Tables) -> Option<u32> {
        let class = self.current(engine, id)?;
        let asks = self.sides.get_mut(&side)?;
        let seen: Seen = (
            class.peers.iter().filter(|set| asks.rules.names_set(**set)).copied().collect(),
            class.names.iter().filter(|(name, ..)| asks.names.contains(name)).copied().collect(),
            class.pod && asks.rules.names_every_pod(),
            class.own_node && side.1 == Direction::Egress,
        );
        let (port_tables, rules) = (&mut tables.port_tables, &asks.rules);
        let evaluated = || port_tables.hold(rules.evaluate(engine.rules(), class)).0;
        Some(*asks.known.entry(seen).or_insert_with(evaluated))
    }

    /// Takes out all rows of a side.
    fn forget(&mut self, side: Side, tables: &mut Tables, rows: &mut Written) {
        let Some(asks) = self.sides.remove(&side) else { return };
        let asked = asks.rules.sets().map(|set| (false, set)).chain(asks.names.iter().map(|name| (true, *name)));
        for (is_name, one) in asked {
            let lists = if is_name { &mut self.asking_name } else { &mut self.asking_set };
            if let Some(sides) = lists.get_mut(&one) {
                sides.remove(&side);
                if sides.is_empty() {
                    lists.remove(&one);
                }
            }
        }
        self.asking_everywhere.remove(&side);
        self.turned.remove(&side);
        for table in asks.known.into_values() {
            tables.port_tables.release(table);
        }
        if let Some(of_side) = rows_of(tables, side).map(std::mem::take) {
            let (policy, direction) = side;
            rows.insert((policy, direction, None), None);
            rows.extend(of_side.classes.into_keys().map(|class| ((policy, direction, Some(class)), None)));
        }
    }

    fn follow_services(&mut self, engine: &Engine<'_>, changed: &Changed, tables: &mut Tables, update: &mut Update) {
        let services = engine.services();
        let mut stale: BTreeSet<u32> = BTreeSet::new();
        for target in changed.virtuals.iter().collect::<BTreeSet<_>>() {
            let is = services.endpoints_of(target).map(|(id, _)| id);
            let was = match is {
                Some(id) => tables.virtuals.insert(*target, id),
                None => tables.virtuals.remove(target),
            };
            if was != is {
                update.virtuals.push((*target, is));
                is.into_iter().for_each(|id| *self.led_to.entry(id).or_default() += 1);
                if let Some(id) = was
                    && let Some(count) = self.led_to.get_mut(&id)
                {
                    *count -= 1;
                    if *count == 0 {
                        self.led_to.remove(&id);
                    }
                }
            }
            stale.extend(was.into_iter().chain(is));
        }
        for id in &stale {
            self.elsewhere.remove(id);
            for address in self.addresses_of.remove(id).unwrap_or_default() {
                if let Some(ids) = self.endpoints_at.get_mut(&address) {
                    ids.retain(|other| other != id);
                    if ids.is_empty() {
                        self.endpoints_at.remove(&address);
                    }
                }
            }
            if self.led_to.contains_key(id) {
                let endpoints = services.endpoints(*id);
                let addresses: BTreeSet<IpAddr> = endpoints.iter().filter_map(|endpoint| endpoint.address).collect();
                if endpoints.iter().any(|endpoint| {
                    endpoint.address.is_none_or(|address| engine.world().pod_at(address).is_none())
                        || endpoint.workload
                            != endpoint.address.and_then(|at| engine.world().pod_at(at)).map(crate::world::place)
                }) {
                    self.elsewhere.insert(*id);
                }
                for address in &addresses {
                    self.endpoints_at.entry(*address).or_default().push(*id);
                }
                self.addresses_of.insert(*id, addresses.into_iter().collect());
            }
        }
        stale.extend(&self.elsewhere);
        for address in &changed.settled.addresses {
            stale.extend(self.endpoints_at.get(address).into_iter().flatten());
        }
        for id in stale {
            let is = self.led_to.contains_key(&id).then(|| {
                let endpoints = services.endpoints(id).iter().map(|endpoint| endpoint.backend(engine.world()));
                let mut is: Vec<_> = endpoints.map(|backend| (engine.backend_class(&backend), backend.port)).collect();
                is.sort_unstable();
                is.dedup();
                is
            });
            let was = match &is {
                Some(is) => tables.backends.insert(id, is.clone()),
                None => tables.backends.remove(&id),
            };
            if was != is {
                update.backends.push((id, is));
            }
        }
    }
}

impl Asks {
    /// Lets go of answers that no row has.
    fn tidy(&mut self, side: Side, tables: &mut Tables) {
        let Some(rows) = rows_of(tables, side) else { return };
        let of_use: HashSet<u32> = rows.classes.values().copied().collect();
        // Of all that are answered as most are, one is enough to hold the port table.
        let mut default = rows.default;
        let port_tables = &mut tables.port_tables;
        self.known.retain(|_, table| {
            let stays = of_use.contains(table) || default.take_if(|default| default == table).is_some();
            if !stays {
                port_tables.release(*table);
            }
            stays
        });
        self.enough = self.known.len() * 2;
    }
}

/// Has the row of a class lead to a port table, where that is not what all have that have no row.
fn set_row(side: Side, class: ClassId, table: Option<u32>, tables: &mut Tables, rows: &mut Written) {
    let Some(of_side) = rows_of(tables, side) else { return };
    let table = table.filter(|table| of_side.default != Some(*table));
    let was = match table {
        Some(table) => of_side.classes.insert(class, table),
        None => of_side.classes.remove(&class),
    };
    if was != table {
        rows.insert((side.0, side.1, Some(class)), table);
    }
}

/// The sets that a class is in, in order.
fn peers(class: Option<&Class>) -> &[u32] {
    class.map_or(&[], |class| &class.peers)
}

/// What is in one list and not in the other; both are in order.
fn only_in<'l>(one: &'l [u32], other: &'l [u32]) -> impl Iterator<Item = u32> + 'l {
    let mut rest = other.iter().copied().peekable();
    one.iter().copied().filter(move |number| {
        while rest.next_if(|other| other < number).is_some() {}
        rest.peek() != Some(number)
    })
}

fn take_from(lists: &mut HashMap<u32, BTreeSet<ClassId>>, key: u32, id: ClassId) {
    if let Some(classes) = lists.get_mut(&key) {
        classes.remove(&id);
        if classes.is_empty() {
            lists.remove(&key);
        }
    }
}

fn rows_of(tables: &mut Tables, (policy, direction): Side) -> Option<&mut Rows> {
    tables.policies.get_mut(policy as usize)?.get_mut(direction.index())
}

/// What is to be written so that one list of prefixes, in order, becomes another.
fn differences(
    was: impl Iterator<Item = (Prefix, ClassId)>,
    is: impl Iterator<Item = (Prefix, ClassId)>,
) -> Vec<(Prefix, Option<ClassId>)> {
    let mut differences = Vec::new();
    let (mut was, mut is) = (was.peekable(), is.peekable());
    loop {
        match (was.peek().copied(), is.peek().copied()) {
            (None, None) => return differences,
            (Some((old, before)), Some((new, after))) if old == new => {
                if before != after {
                    differences.push((new, Some(after)));
                }
                was.next();
                is.next();
            }
            (Some((old, _)), Some((new, _))) if old < new => {
                differences.push((old, None));
                was.next();
            }
            (Some((old, _)), None) => {
                differences.push((old, None));
                was.next();
            }
            (_, Some((new, after))) => {
                differences.push((new, Some(after)));
                is.next();
            }
        }
    }
}
