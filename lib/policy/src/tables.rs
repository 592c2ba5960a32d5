//! The tables: addresses to classes, and (policy, direction, class, protocol, port) to verdict and rule.

mod make;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use crate::classes::ClassId;
use crate::compile::{Decision, PortTable};
use crate::engine::PolicyId;
use crate::flow::{Direction, Transport, Verdict};
use crate::interned::Interned;
use crate::prefix::{Family, Prefix, PrefixTable};
use crate::services::Virtual;
use crate::world::place;

pub(crate) use make::Maker;

/// What is looked up for a packet; they know nothing of objects.
///
/// They are of one node ([`Scope::Node`](crate::Scope)), whose addresses are of classes of their own. Tables of all workloads do not know
/// whose own node an address is, nor to which backends of a service each node keeps what it sends, so that they have all: there
/// [`Engine::judge`](crate::Engine::judge) has to be asked.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// Exact entries: pods and nodes whose class is not that of their region.
    pub addresses: HashMap<IpAddr, ClassId>,
    /// Regions, longest prefix first.
    pub prefixes: PrefixTable<ClassId>,
    /// Virtual addresses and ports, each with the number of its endpoints in [`Self::backends`]. They are looked up first, and
    /// for egress alone: at the other end packets bear the backend's address. A service's own address and port come
    /// before the port of a node.
    pub virtuals: HashMap<Virtual, u32>,
    /// The endpoints of virtual addresses, as class and port; none of them is one without backends.
    pub backends: HashMap<u32, Endpoints>,
    /// Addresses of nodes, at which [`Virtual::NodePort`] is met.
    pub nodes: HashSet<IpAddr>,
    /// The rows of each policy id, by [`Direction::index`]; a free id has none.
    pub policies: Vec<[Rows; 2]>,
    port_tables: Interned<PortTable>,
}

/// Endpoints of a service as tables know them: class and port, in order.
pub type Endpoints = Vec<(ClassId, u16)>;

/// Rows of one policy id and direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// The port table of every class that has none of its own. `None` where there is no such policy id.
    pub default: Option<u32>,
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

/// What became of tables: everything that is to be written, so that others' copies of them follow.
///
/// In this order nothing is ever looked up that is not there yet: rows, then backends and virtual addresses, then prefixes and
/// addresses, subjects last. What is `None` is to be taken out, in the other order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Update {
    /// The port table of a policy id, direction and class; no class is every class without rows of its own.
    pub rows: Vec<(PolicyId, Direction, Option<ClassId>, Option<u32>)>,
    /// Endpoints by number.
    pub backends: Vec<(u32, Option<Endpoints>)>,
    /// Virtual addresses and ports, with the number of their endpoints.
    pub virtuals: Vec<(Virtual, Option<u32>)>,
    /// Prefixes and their classes.
    pub prefixes: Vec<(Prefix, Option<ClassId>)>,
    /// Exact entries and their classes.
    pub addresses: Vec<(IpAddr, Option<ClassId>)>,
    /// Workloads, by their places in the cluster, and the ids of their rules.
    pub subjects: Vec<(usize, Option<PolicyId>)>,
}

impl Update {
    /// Whether nothing is to be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Tables {
    /// The class of an address: the exact entry first, then the longest prefix.
    #[must_use]
    pub fn class(&self, address: IpAddr) -> ClassId {
        let address = address.to_canonical();
        self.addresses.get(&address).copied().or_else(|| self.prefixes.get(address)).unwrap_or(0)
    }

    /// The port table of a policy id for a class.
    #[must_use]
    pub fn ports(&self, policy: PolicyId, direction: Direction, class: ClassId) -> Option<&PortTable> {
        self.port_table(self.port_table_id(policy, direction, class)?)
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
        match self.backends_at(address, transport, port) {
            Some(backends) if direction == Direction::Egress => {
                backends.iter().try_fold(Verdict::Allowed, |all, (class, port)| Some(all.and(verdict(*class, *port)?)))
            }
            _ => verdict(self.class(address), port),
        }
    }

    fn backends_at(&self, address: IpAddr, transport: Transport, port: u16) -> Option<&Endpoints> {
        let address = address.to_canonical();
        let own = self.virtuals.get(&Virtual::Address(address, transport, port));
        let on_node = || {
            let target = Virtual::NodePort(Family::of(address), transport, port);
            self.nodes.contains(&address).then(|| self.virtuals.get(&target))?
        };
        self.backends.get(own.or_else(on_node)?)
    }

    /// The number of a port table; equal numbers are equal tables.
    pub(crate) fn port_table_id(&self, policy: PolicyId, direction: Direction, class: ClassId) -> Option<u32> {
        let rows = self.policies.get(policy as usize)?.get(direction.index())?;
        rows.classes.get(&class).copied().or(rows.default)
    }

    /// A port table by its number.
    #[must_use]
    pub fn port_table(&self, id: u32) -> Option<&PortTable> {
        self.port_tables.get(id)
    }

    /// Every row, in no order.
    pub fn rows(&self) -> impl Iterator<Item = Row> + '_ {
        self.policies.iter().enumerate().flat_map(move |(policy, rows)| {
            Direction::BOTH.into_iter().zip(rows).flat_map(move |(direction, rows)| {
                let own = rows.classes.iter().map(|(class, table)| (Some(*class), *table));
                let all = rows.default.map(|table| (None, table)).into_iter().chain(own);
                all.flat_map(move |(class, table)| {
                    let table = self.port_table(table);
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
