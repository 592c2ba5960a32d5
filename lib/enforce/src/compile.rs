//! From the tables of `chainkit-policy` to what the kernel's tables hold, kept up as they change.
//!
//! Each step says what became of its input as entries of a [`Delta`]; the [`Image`] is what they add up to. Numbers of rules stay what
//! they are for as long as the rule is there, also over a new compilation that is given the numbers of the one before.

mod keys;
mod numbers;
mod places;
mod rows;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use chainkit_abi::{BackendOf, BackendsOf, RULES, RowKey, address, side_of};
use chainkit_policy::{ClassId, Direction, Engine, Live, PolicyId, PortTable, Tables, Update, Virtual};

use crate::delta::Delta;
use crate::image::{Image, ImageError};
use crate::store::{RuleChange, RuleEntry};
use keys::prefix_key;
pub use keys::{virtual_key, words};
use numbers::Numbers;
use places::Places;

/// Why policy does not fit into tables.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// More rules than there are numbers.
    #[error(
        "{policy} brings the rules of this node to more than the {most} that can be told apart: give it fewer rules, or \
         policies that select fewer of this node's pods"
    )]
    Rules {
        /// The policy whose rule found no number.
        policy: String,
        /// How many there may be.
        most: u32,
    },
    /// More classes than a value of the tables can name.
    #[error("addresses are of more than {most} kinds by what rules say of them: use fewer different peers")]
    Classes {
        /// How many there may be.
        most: u32,
    },
    /// An array would be longer than it may be.
    #[error(transparent)]
    Table(#[from] ImageError),
}

/// What one step has come to.
#[derive(Clone, Debug, Default)]
pub struct Compiled {
    /// What is to be written.
    pub delta: Delta,
    /// Rules that have come, changed or gone.
    pub rules: Vec<RuleChange>,
    /// Whether the delta may be written into tables that are in force, entry by entry: nothing that is looked up today is answered
    /// otherwise, but for the addresses and services that it is about.
    pub in_place: bool,
    /// Whether anything that rules say has changed, and not only who has which address.
    pub rules_changed: bool,
}

/// Makes the kernel's tables of policy's, and makes them follow.
#[derive(Clone, Debug)]
pub struct Compiler {
    image: Image,
    numbers: Numbers,
    ports: HashMap<u32, Ports>,
    runs: Places,
    backends: Places,
    /// By the number of endpoints where they are said to be, where they are, and how many.
    lists: HashMap<u32, (u32, u32, u32)>,
    list_numbers: Places,
    /// By the number of endpoints what leads to them, and the reverse.
    led_to: HashMap<u32, BTreeSet<Virtual>>,
    leads_to: HashMap<Virtual, u32>,
    /// How many addresses, prefixes and backends are of each class.
    users: HashMap<ClassId, u32>,
    /// Classes that nobody is of any more, and which a packet under way may have found.
    left_classes: HashSet<ClassId>,
    /// What packets under way may still be led to, since nothing has waited for them.
    cooling: Freed,
    addresses: HashMap<IpAddr, Marks>,
    nodes: HashSet<IpAddr>,
    /// By side the port table of all classes without a row, and the rule that isolation is told by.
    sides: HashMap<u32, (u32, Option<u32>)>,
    /// Rows whose classes nobody is of any more: they are taken out with the next change that is not made in place.
    left_over: HashSet<RowKey>,
}

/// A port table in the kernel.
#[derive(Clone, Debug)]
struct Ports {
    table: PortTable,
    first: u32,
    count: u32,
    /// Rows and sides that lead to it.
    held: u32,
    rules: Vec<u32>,
}

/// What is known of an address.
#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    class: Option<ClassId>,
    /// How many ports of services are met there.
    services: u32,
}

impl Marks {
    fn value(self, is_node: bool) -> Option<u32> {
        if self.class.is_none() && self.services == 0 && !is_node {
            return None;
        }
        let services = if self.services > 0 { address::VIRTUAL } else { 0 };
        let node = if is_node { address::NODE } else { 0 };
        Some(self.class.unwrap_or(address::AS_PREFIX) | services | node)
    }
}

/// The number by which the kernel knows rules of this id.
#[must_use]
pub const fn policy_number(policy: PolicyId) -> u32 {
    policy + 1
}

/// The place in `SIDES` of rules in a direction.
#[must_use]
pub const fn side_number(policy: PolicyId, direction: Direction) -> u32 {
    let egress = match direction {
        Direction::Ingress => 0,
        Direction::Egress => 1,
    };
    side_of(policy_number(policy), egress)
}

impl Compiler {
    /// Compiles all of `live`; rules that are among `numbered` keep their numbers.
    ///
    /// # Errors
    /// Where it does not fit.
    pub fn new(live: &Live, numbered: &BTreeMap<u32, RuleEntry>) -> Result<(Self, Compiled), CompileError> {
        let mut compiler = Self {
            image: Image::default(),
            numbers: Numbers::keeping(numbered),
            ports: HashMap::new(),
            runs: Places::default(),
            backends: Places::default(),
            lists: HashMap::new(),
            list_numbers: Places::default(),
            led_to: HashMap::new(),
            leads_to: HashMap::new(),
            users: HashMap::new(),
            left_classes: HashSet::new(),
            cooling: Freed::default(),
            addresses: HashMap::new(),
            nodes: HashSet::new(),
            sides: HashMap::new(),
            left_over: HashSet::new(),
        };
        let compiled = compiler.follow(live.engine(), live.tables(), &everything(live.tables()))?;
        Ok((compiler, compiled))
    }

    /// Follows what became of the tables of `live`.
    ///
    /// # Errors
    /// Where it does not fit; then this is of no use any more, and all is to be compiled anew.
    pub fn update(&mut self, live: &Live, update: &Update) -> Result<Compiled, CompileError> {
        self.follow(live.engine(), live.tables(), update)
    }

    /// What the tables hold.
    #[must_use]
    pub const fn image(&self) -> &Image {
        &self.image
    }

    /// The rules by their numbers.
    #[must_use]
    pub fn rules(&self) -> Vec<RuleEntry> {
        self.numbers.all()
    }

    /// The last step was not written in place, whatever was thought of it: from here on no packet is under way in what was in force
    /// before that, and what was given up until then is free.
    pub fn not_in_place(&mut self) {
        self.left_classes.clear();
        self.runs.free(&mut self.cooling.runs);
        self.backends.free(&mut self.cooling.backends);
        self.list_numbers.free(&mut self.cooling.lists);
    }

    fn follow(&mut self, engine: &Engine<'_>, tables: &Tables, update: &Update) -> Result<Compiled, CompileError> {
        let mut delta = Delta::default();
        let mut step = Step::default();
        self.rows(engine, tables, update, &mut delta, &mut step)?;
        self.services(update, &mut delta, &mut step);
        self.prefixes(update, &mut delta);
        self.classes(tables, update, &mut delta, &mut step)?;
        let rows_changed = step.replaces
            || delta.rows.iter().any(|(key, value)| value.is_some() && self.image.rows.contains_key(key))
            || !delta.prefixes4.is_empty()
            || !delta.prefixes6.is_empty();
        let reuses = self.left_over.iter().any(|key| step.classes.contains(&key.class));
        let in_place = !rows_changed && !reuses;
        if in_place {
            // A packet under way may have found the class and not yet its row.
            delta.rows.retain(|(key, value)| value.is_some() || !self.left_over.insert(*key));
        } else {
            let written: HashSet<RowKey> = delta.rows.iter().map(|(key, _)| *key).collect();
            let rest = self.left_over.drain().filter(|key| !written.contains(key));
            delta.rows.extend(rest.map(|key| (key, None)));
        }
        self.image.apply(&delta)?;
        self.cooling.add(&mut step.freed);
        if !in_place {
            self.not_in_place();
        }
        let prefixes = !delta.prefixes4.is_empty() || !delta.prefixes6.is_empty();
        let rules = self.numbers.changes();
        let rules_changed = step.rules || prefixes || !rules.is_empty();
        Ok(Compiled { delta, rules, in_place, rules_changed })
    }

    /// Somebody is of another class.
    fn count(&mut self, was: Option<ClassId>, is: Option<ClassId>) {
        if let Some(is) = is {
            *self.users.entry(is).or_default() += 1;
        }
        if let Some(was) = was
            && let Some(users) = self.users.get_mut(&was)
        {
            *users -= 1;
            if *users == 0 {
                self.users.remove(&was);
                self.left_classes.insert(was);
            }
        }
    }

    /// Backends, and the addresses and ports that lead to them. A list that changes is another one: whoever is led to it meets the old
    /// one, or the new one, and no mixture.
    fn services(&mut self, update: &Update, delta: &mut Delta, step: &mut Step) {
        let mut moved: HashSet<u32> = HashSet::new();
        for (id, endpoints) in &update.backends {
            if let Some((number, first, count)) = self.lists.remove(id) {
                for at in first..first + count {
                    let was = self.image.backends.get(at as usize).map(|backend| backend.class);
                    self.count(was, None);
                }
                step.freed.lists.push((number, 1));
                step.freed.backends.push((first, count));
                if endpoints.is_some() {
                    moved.insert(*id);
                }
            }
            let Some(endpoints) = endpoints else { continue };
            let count = number(endpoints.len());
            let (at, first) = (self.list_numbers.take(1), self.backends.take(count));
            self.lists.insert(*id, (at, first, count));
            endpoints.iter().for_each(|(class, _)| self.count(None, Some(*class)));
            let entries = endpoints.iter().map(|(class, port)| BackendOf { class: *class, port: *port, pad: 0 });
            delta.backends.extend((first..).zip(entries));
            delta.backends_of.push((at, BackendsOf { first, count }));
        }
        // Those that lead to a list that is elsewhere now, and are not told themselves.
        let told: HashSet<&Virtual> = update.virtuals.iter().map(|(target, _)| target).collect();
        for id in moved {
            for target in self.led_to.get(&id).into_iter().flatten().filter(|target| !told.contains(target)) {
                let at = self.lists.get(&id).map(|(at, ..)| *at);
                delta.virtuals.push((virtual_key(target), at));
            }
        }
        for (target, id) in &update.virtuals {
            let key = virtual_key(target);
            let was = self.image.virtuals.contains_key(&key);
            if let Virtual::Address(address, ..) = target {
                let marks = self.addresses.entry(*address).or_default();
                match (was, id.is_some()) {
                    (false, true) => marks.services += 1,
                    (true, false) => marks.services = marks.services.saturating_sub(1),
                    _ => {}
                }
                step.addresses.insert(*address);
            }
            if let Some(old) = self.leads_to.remove(target)
                && let Some(targets) = self.led_to.get_mut(&old)
            {
                targets.remove(target);
                if targets.is_empty() {
                    self.led_to.remove(&old);
                }
            }
            if let Some(id) = id {
                self.leads_to.insert(*target, *id);
                self.led_to.entry(*id).or_default().insert(*target);
            }
            let at = id.and_then(|id| self.lists.get(&id)).map(|(at, ..)| *at);
            delta.virtuals.push((key, at));
        }
    }

    fn prefixes(&mut self, update: &Update, delta: &mut Delta) {
        for (prefix, class) in &update.prefixes {
            let was = match prefix_key(prefix) {
                Ok(key) => {
                    delta.prefixes4.push((key, *class));
                    self.image.prefixes4.get(&key).copied()
                }
                Err(key) => {
                    delta.prefixes6.push((key, *class));
                    self.image.prefixes6.get(&key).copied()
                }
            };
            self.count(was, *class);
        }
    }

    /// What is known of each address, by the address itself.
    fn classes(
        &mut self,
        tables: &Tables,
        update: &Update,
        delta: &mut Delta,
        step: &mut Step,
    ) -> Result<(), CompileError> {
        for (address, class) in &update.addresses {
            class.map_or(Ok(()), |class| self.check_class(class))?;
            let was = std::mem::replace(&mut self.addresses.entry(*address).or_default().class, *class);
            self.count(was, *class);
            step.addresses.insert(*address);
            step.classes.extend(*class);
        }
        if tables.nodes != self.nodes {
            step.addresses.extend(tables.nodes.symmetric_difference(&self.nodes));
            self.nodes.clone_from(&tables.nodes);
        }
        for address in &step.addresses {
            let marks = self.addresses.get(address).copied().unwrap_or_default();
            let value = marks.value(self.nodes.contains(address));
            if marks.class.is_none() && marks.services == 0 {
                self.addresses.remove(address);
            }
            match address {
                IpAddr::V4(address) => delta.classes4.push((address.octets(), value)),
                IpAddr::V6(address) => delta.classes6.push((address.octets(), value)),
            }
        }
        Ok(())
    }
}

/// Stretches of arrays that nothing leads to any more.
#[derive(Clone, Debug, Default)]
struct Freed {
    runs: Vec<(u32, u32)>,
    backends: Vec<(u32, u32)>,
    lists: Vec<(u32, u32)>,
}

impl Freed {
    fn add(&mut self, more: &mut Self) {
        self.runs.append(&mut more.runs);
        self.backends.append(&mut more.backends);
        self.lists.append(&mut more.lists);
    }
}

/// What a step keeps until its end.
#[derive(Debug, Default)]
struct Step {
    /// Something that is looked up today is answered otherwise.
    replaces: bool,
    /// And by rules.
    rules: bool,
    freed: Freed,
    /// Port tables that are known to be what the kernel is told.
    checked: HashSet<u32>,
    addresses: BTreeSet<IpAddr>,
    classes: HashSet<ClassId>,
}

/// All of some tables, as if there had been none.
fn everything(tables: &Tables) -> Update {
    let mut update = Update::default();
    for (policy, rows) in (0..).zip(&tables.policies) {
        for (direction, rows) in Direction::BOTH.into_iter().zip(rows) {
            let Some(default) = rows.default else { continue };
            update.rows.push((policy, direction, None, Some(default)));
            update
                .rows
                .extend(rows.classes.iter().map(|(class, table)| (policy, direction, Some(*class), Some(*table))));
        }
    }
    update.backends = tables.backends.iter().map(|(id, endpoints)| (*id, Some(endpoints.clone()))).collect();
    update.virtuals = tables.virtuals.iter().map(|(target, id)| (*target, Some(*id))).collect();
    update.prefixes = tables.prefixes.iter().map(|(prefix, class)| (prefix, Some(class))).collect();
    update.addresses = tables.addresses.iter().map(|(address, class)| (*address, Some(*class))).collect();
    update
}

fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// How many rules can have numbers.
const MOST_RULES: u32 = RULES - chainkit_abi::rule::FIRST;
