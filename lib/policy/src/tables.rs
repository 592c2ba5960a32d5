//! The tables: addresses to classes, and (policy, direction, class, protocol, port) to verdict and rule.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use crate::classes::{ClassId, NamedNumber, names_in};
use crate::compile::{Decision, PortTable, PortTables, SubjectRules};
use crate::engine::{Engine, PolicyId};
use crate::flow::{Direction, Transport, Verdict};
use crate::prefix::PrefixTable;
use crate::rules::{Peers, Ruleset};
use crate::world::place;

/// What is looked up for a packet; they know nothing of objects.
///
/// They are of one node ([`Scope::Node`](crate::Scope)), whose addresses are of classes of their own. Tables of all workloads do not know
/// whose own node an address is: there [`Engine::judge`] has to be asked.
#[derive(Clone, Debug)]
pub struct Tables {
    /// Exact entries: pods and nodes whose class is not that of their region.
    pub addresses: HashMap<IpAddr, ClassId>,
    /// Regions, longest prefix first.
    pub prefixes: PrefixTable<ClassId>,
    /// How many classes there are; the first is that of whom no rule names.
    pub classes: usize,
    /// Virtual addresses, by transport and port: the place in [`Self::backends`]. They are looked up first, and for
    /// egress alone: at the other end packets bear the backend's address.
    pub virtuals: HashMap<(IpAddr, Transport, u16), u32>,
    /// The backends of virtual addresses, as class and port; none of them is one without backends.
    pub backends: Vec<Vec<(ClassId, u16)>>,
    /// The rows of each policy id, by [`Direction::index`].
    pub policies: Vec<[Rows; 2]>,
    port_tables: Vec<PortTable>,
}

/// Rows of one policy id and direction.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// The port table of every class that has none of its own.
    pub default: u32,
    /// The port tables of classes that are answered otherwise.
    pub classes: HashMap<ClassId, u32>,
}

/// A row as a lookup sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The rules' id.
    pub policy: PolicyId,
    /// The direction.
    pub direction: Direction,
    /// The class of the peer; `None` is every class without rows of its own.
    pub class: Option<ClassId>,
    /// The transport.
    pub transport: Transport,
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
    /// The answer.
    pub decision: Decision,
}

impl Tables {
    /// Makes the rows of every policy id.
    pub(crate) fn new(engine: &Engine<'_>) -> Self {
        let classes = engine.classes();
        let mut by_set: HashMap<u32, Vec<ClassId>> = HashMap::new();
        let mut with_names = Vec::new();
        let mut own_nodes = Vec::new();
        for (at, class) in classes.all.iter().enumerate() {
            for set in class.peers.iter() {
                by_set.entry(*set).or_default().push(place(at));
            }
            if !class.names.is_empty() {
                with_names.push(place(at));
            }
            if class.own_node {
                own_nodes.push(place(at));
            }
        }
        let mut port_tables = PortTables::default();
        let builder = Builder { engine, by_set, with_names, own_nodes };
        let policies = engine
            .policies()
            .iter()
            .map(|rules| Direction::BOTH.map(|direction| builder.rows(rules, direction, &mut port_tables)));
        let services = engine.services();
        let backends = services.backends.iter().map(|backends| {
            let all = backends.iter().map(|backend| (engine.backend_class(backend), backend.port));
            let mut all: Vec<_> = all.collect();
            all.sort_unstable();
            all.dedup();
            all
        });
        Self {
            virtuals: services.virtuals.clone(),
            backends: backends.collect(),
            policies: policies.collect(),
            addresses: classes.addresses.clone(),
            prefixes: classes.prefixes.clone(),
            classes: classes.all.len(),
            port_tables: port_tables.all,
        }
    }

    /// The class of an address: the exact entry first, then the longest prefix.
    #[must_use]
    pub fn class(&self, address: IpAddr) -> ClassId {
        let address = address.to_canonical();
        self.addresses.get(&address).copied().or_else(|| self.prefixes.get(address)).unwrap_or(0)
    }

    /// The port table of a policy id for a class.
    #[must_use]
    pub fn ports(&self, policy: PolicyId, direction: Direction, class: ClassId) -> Option<&PortTable> {
        self.port_tables.get(self.port_table_id(policy, direction, class)? as usize)
    }

    /// The answer to a packet of a subject with this policy id. `None` where there is no such id.
    #[must_use]
    pub fn lookup(
        &self,
        policy: PolicyId,
        direction: Direction,
        class: ClassId,
        transport: Transport,
        port: u16,
    ) -> Option<Decision> {
        Some(self.ports(policy, direction, class)?.get(transport, port))
    }

    /// The answer to a packet that a subject exchanges with an address: a virtual one is allowed if all its backends are, and
    /// if it has none, since the node rejects it then. `None` where there is no such policy id.
    #[must_use]
    pub fn judge(
        &self,
        policy: PolicyId,
        direction: Direction,
        address: IpAddr,
        transport: Transport,
        port: u16,
    ) -> Option<Verdict> {
        let verdict = |class, port| Some(self.lookup(policy, direction, class, transport, port)?.verdict);
        let place = self.virtuals.get(&(address.to_canonical(), transport, port));
        match place.and_then(|place| self.backends.get(*place as usize)) {
            Some(backends) if direction == Direction::Egress => {
                backends.iter().try_fold(Verdict::Allowed, |all, (class, port)| Some(all.and(verdict(*class, *port)?)))
            }
            _ => verdict(self.class(address), port),
        }
    }

    /// The number of a port table; equal numbers are equal tables.
    pub(crate) fn port_table_id(&self, policy: PolicyId, direction: Direction, class: ClassId) -> Option<u32> {
        let rows = self.policies.get(policy as usize)?.get(direction.index())?;
        Some(rows.classes.get(&class).copied().unwrap_or(rows.default))
    }

    /// A port table by its number.
    pub(crate) fn port_table(&self, id: u32) -> Option<&PortTable> {
        self.port_tables.get(id as usize)
    }

    /// Every row, in no order.
    pub fn rows(&self) -> impl Iterator<Item = Row> + '_ {
        self.policies.iter().enumerate().flat_map(move |(policy, rows)| {
            Direction::BOTH.into_iter().zip(rows).flat_map(move |(direction, rows)| {
                let own = rows.classes.iter().map(|(class, table)| (Some(*class), *table));
                let all = std::iter::once((None, rows.default)).chain(own);
                all.flat_map(move |(class, table)| {
                    let table = self.port_tables.get(table as usize);
                    table.into_iter().flat_map(move |table| {
                        Transport::ALL.into_iter().flat_map(move |transport| {
                            table.rows(transport).map(move |(first, last, decision)| Row {
                                policy: place(policy),
                                direction,
                                class,
                                transport,
                                first,
                                last,
                                decision,
                            })
                        })
                    })
                })
            })
        })
    }
}

/// What is known of the classes while rows are made.
struct Builder<'e, 'a> {
    engine: &'e Engine<'a>,
    /// The classes that are in a peer set.
    by_set: HashMap<u32, Vec<ClassId>>,
    with_names: Vec<ClassId>,
    own_nodes: Vec<ClassId>,
}

/// What a policy's rules can tell of a class: the sets they name, the ports they ask for, whether it is the own node.
type Seen = (Vec<u32>, Vec<NamedNumber>, bool);

impl Builder<'_, '_> {
    fn rows(&self, rules: &SubjectRules, direction: Direction, port_tables: &mut PortTables) -> Rows {
        let ruleset: &Ruleset = self.engine.rules();
        let classes = self.engine.classes();
        let nobody = crate::classes::Class::default();
        let default = port_tables.intern(rules.evaluate(ruleset, direction, &nobody));
        let sets: HashSet<u32> = rules
            .rules(ruleset, direction)
            .filter_map(|(_, rule)| match rule.peers {
                Peers::Set(set) => Some(set),
                Peers::Any => None,
            })
            .collect();
        let ports = rules.rules(ruleset, direction).map(|(_, rule)| &rule.ports);
        let names: HashSet<u32> = match direction {
            Direction::Ingress => HashSet::new(),
            Direction::Egress => names_in(ruleset, ports).into_values().collect(),
        };
        let mut candidates: Vec<ClassId> =
            sets.iter().filter_map(|set| self.by_set.get(set)).flatten().copied().collect();
        if !names.is_empty() {
            candidates.extend(&self.with_names);
        }
        if direction == Direction::Egress {
            candidates.extend(&self.own_nodes);
        }
        candidates.sort_unstable();
        candidates.dedup();
        let mut known: HashMap<Seen, u32> = HashMap::new();
        let mut rows = Rows { default, classes: HashMap::new() };
        for id in candidates {
            let Some(class) = classes.get(id) else { continue };
            let seen: Seen = (
                class.peers.iter().filter(|set| sets.contains(set)).copied().collect(),
                class.names.iter().filter(|(name, ..)| names.contains(name)).copied().collect(),
                class.own_node && direction == Direction::Egress,
            );
            let table =
                *known.entry(seen).or_insert_with(|| port_tables.intern(rules.evaluate(ruleset, direction, class)));
            if table != default {
                rows.classes.insert(id, table);
            }
        }
        rows
    }
}
