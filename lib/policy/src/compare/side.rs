//! One of the two sides: its tables, and how it sees who may be an end of a connection.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::pool::{EVERYTHING, Pool, TrafficId};
use crate::classes::{Class, ClassId};
use crate::engine::{Engine, PolicyId};
use crate::flow::{Direction, Party, Transport};
use crate::ports::{PortSet, Traffic};
use crate::prefix::Family;
use crate::services::{Near, Virtual as Target};
use crate::tables::Tables;

/// A node, by its name's place among those of both sides.
pub(super) type NodeName = u32;

/// The names of nodes on both sides.
pub(super) type NodeNames<'e> = HashMap<&'e str, NodeName>;

/// One end of a connection, as far as a side can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Seen {
    /// Its rules; none for who is no subject.
    pub(super) policy: Option<PolicyId>,
    /// What it is as a peer.
    pub(super) class: ClassId,
    /// The node it runs on.
    pub(super) node: Option<NodeName>,
    /// The node whose address it is met under.
    pub(super) address_of: Option<NodeName>,
    /// Whether it is on its node's network.
    pub(super) host: bool,
}

impl Seen {
    /// Whether it is on the network of the node that `other` runs on.
    fn is_on_node_of(&self, other: &Self) -> bool {
        self.host && self.node.is_some() && self.node == other.node
    }

    /// Whether it matters to others on which node they are.
    pub(super) fn is_of_a_node(&self) -> bool {
        self.host || self.address_of.is_some()
    }
}

/// A port that stands for backends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Virtual {
    transport: Transport,
    port: u16,
    backends: BackendsId,
}

/// The key of backends in [`Side::backends`]; equal keys are equal backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum BackendsId {
    /// The same from everywhere, by the number of the endpoints.
    Same(u32),
    /// Those of the source's node, numbered as they come; where there are none and that is so, all of them.
    Near(u32, bool),
}

/// Who stands behind a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Behind {
    seen: Seen,
    /// The port there.
    port: u16,
    from: From,
}

/// Whose connections are led there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum From {
    Everywhere,
    /// Those that come from this node, or from nobody knows where.
    Node(NodeName),
    /// Those that come from nobody knows where.
    Nowhere,
}

impl Behind {
    fn is_met_from(&self, node: Option<NodeName>) -> bool {
        node.is_none_or(|node| match self.from {
            From::Everywhere => true,
            From::Node(near) => near == node,
            From::Nowhere => false,
        })
    }
}

/// The ports of an address that stand for backends.
#[derive(Debug)]
struct VirtualSet {
    all: Vec<Virtual>,
    ports: Traffic,
    /// How many addresses have it.
    addresses: usize,
}

/// What to look up what a source may open to the ports of an address that stand for backends: the source, and the place of
/// those ports in [`Side::virtual_sets`].
type AskedVirtuals = (Seen, usize);

/// One side.
#[derive(Debug)]
pub(super) struct Side<'e> {
    pub(super) engine: &'e Engine<'e>,
    tables: Tables,
    /// What tables come to as traffic, by their numbers.
    traffic_of_table: RefCell<HashMap<u32, TrafficId>>,
    /// What egress rules say of a class that is taken for the own node.
    traffic_to_own: RefCell<HashMap<(PolicyId, ClassId), TrafficId>>,
    backends: HashMap<BackendsId, Vec<Behind>>,
    /// Ports of an address that stand for backends. All nodes have the same.
    virtual_sets: Vec<VirtualSet>,
    virtual_set_at: HashMap<IpAddr, usize>,
    /// For sets that several addresses have.
    traffic_to_virtuals: RefCell<HashMap<AskedVirtuals, TrafficId>>,
    /// What everything and what is behind the ports of a set come to together.
    traffic_with_virtuals: RefCell<HashMap<(TrafficId, TrafficId, usize), TrafficId>>,
}

impl<'e> Side<'e> {
    pub(super) fn new(engine: &'e Engine<'e>, nodes: &NodeNames<'_>) -> Self {
        let mut side = Self {
            engine,
            tables: engine.tables(),
            traffic_of_table: RefCell::default(),
            traffic_to_own: RefCell::default(),
            backends: HashMap::new(),
            virtual_sets: Vec::new(),
            virtual_set_at: HashMap::new(),
            traffic_to_virtuals: RefCell::default(),
            traffic_with_virtuals: RefCell::default(),
        };
        let (services, world) = (engine.services(), engine.world());
        let mut virtuals: HashMap<IpAddr, Vec<Virtual>> = HashMap::new();
        let mut at_nodes: [Vec<Virtual>; 2] = [Vec::new(), Vec::new()];
        for (target, endpoints) in services.virtuals() {
            let backends = side.backends_of(target, endpoints, nodes);
            let found = |transport, port| Virtual { transport, port, backends };
            match *target {
                Target::Address(address, transport, port) => {
                    virtuals.entry(address).or_default().push(found(transport, port));
                }
                Target::NodePort(family, transport, port) => {
                    let [v4, v6] = &mut at_nodes;
                    let of_family = if family == Family::V4 { v4 } else { v6 };
                    of_family.push(found(transport, port));
                }
            }
        }
        for (address, _) in world.node_addresses() {
            let [v4, v6] = &at_nodes;
            let of_family = if Family::of(address) == Family::V4 { v4 } else { v6 };
            if of_family.is_empty() {
                continue;
            }
            // A service's own address and port come before the port of a node.
            let own = virtuals.entry(address).or_default();
            let taken: HashSet<(Transport, u16)> = own.iter().map(|found| (found.transport, found.port)).collect();
            own.extend(of_family.iter().filter(|found| !taken.contains(&(found.transport, found.port))).cloned());
        }
        let mut ids: HashMap<Vec<Virtual>, usize> = HashMap::new();
        for (address, mut found) in virtuals {
            found.sort_unstable_by_key(|found| (found.transport, found.port));
            let id = *ids.entry(found).or_insert_with_key(|found| {
                let mut ports = Traffic::none();
                for transport in Transport::ALL {
                    let ranges = found.iter().filter(|found| found.transport == transport);
                    ports.add(transport, &ports_of(ranges.map(|found| found.port)));
                }
                side.virtual_sets.push(VirtualSet { all: found.clone(), ports, addresses: 0 });
                side.virtual_sets.len() - 1
            });
            if let Some(set) = side.virtual_sets.get_mut(id) {
                set.addresses += 1;
            }
            side.virtual_set_at.insert(address, id);
        }
        side
    }

    /// The backends of what connections are opened to, which are kept.
    fn backends_of(&mut self, target: &Target, endpoints: u32, nodes: &NodeNames<'_>) -> BackendsId {
        let (services, world) = (self.engine.services(), self.engine.world());
        let (id, all) = match services.near(world, target) {
            Some(near) => {
                let from = |of| match of {
                    Near::Node(name) => nodes.get(name).map_or(From::Nowhere, |name| From::Node(*name)),
                    Near::Any => From::Everywhere,
                    Near::None => From::Nowhere,
                };
                let all = near.endpoints.into_iter().map(|(endpoint, of)| (endpoint, from(of))).collect();
                (BackendsId::Near(crate::world::place(self.backends.len()), near.else_all), all)
            }
            None => {
                let id = BackendsId::Same(endpoints);
                if self.backends.contains_key(&id) {
                    return id;
                }
                let all = services.endpoints(endpoints).iter().map(|endpoint| (*endpoint, From::Everywhere));
                (id, all.collect::<Vec<_>>())
            }
        };
        let backends = all.into_iter().map(|(endpoint, from)| {
            let backend = endpoint.backend(world);
            Behind { seen: self.party(backend.party, nodes), port: backend.port, from }
        });
        let mut backends: Vec<Behind> = backends.collect();
        backends.sort_unstable();
        backends.dedup();
        self.backends.insert(id, backends);
        id
    }

    /// Those backends that a node may send to, if it is known.
    fn backends_from(&self, node: Option<NodeName>, id: BackendsId) -> impl Iterator<Item = &Behind> {
        let all = self.backends.get(&id).map_or(&[][..], Vec::as_slice);
        let is_near = move |behind: &&Behind| behind.is_met_from(node);
        let takes_all = matches!(id, BackendsId::Near(_, true)) && !all.iter().any(|behind| is_near(&behind));
        all.iter().filter(move |behind| takes_all || is_near(behind))
    }

    /// Whether it matters which node connections to an address come from: by who stands behind a port, or by which of them do.
    pub(super) fn depends_on_node(&self, address: IpAddr) -> bool {
        let set = self.virtual_set_at.get(&address).and_then(|set| self.virtual_sets.get(*set));
        let found = set.into_iter().flat_map(|set| &set.all);
        let mut backends = found.filter_map(|found| self.backends.get(&found.backends)).flatten();
        backends.any(|behind| behind.seen.is_of_a_node() || behind.from != From::Everywhere)
    }

    /// Whether any port of an address stands for backends.
    pub(super) fn has_virtuals(&self, address: IpAddr) -> bool {
        self.virtual_set_at.contains_key(&address)
    }

    fn party(&self, party: Party, nodes: &NodeNames<'_>) -> Seen {
        match party {
            Party::Workload { index, address } => self.workload(index, address, nodes),
            Party::Address(address) => self.address(address, nodes),
            Party::OwnNode | Party::Service(_) => {
                Seen { policy: None, class: 0, node: None, address_of: None, host: false }
            }
        }
    }

    /// A workload under an address, or as such.
    pub(super) fn workload(&self, index: usize, address: Option<IpAddr>, nodes: &NodeNames<'_>) -> Seen {
        let (world, classes) = (self.engine.world(), self.engine.classes());
        let found = world.cluster.workloads.get(index);
        let node = found.and_then(|found| nodes.get(found.node.as_deref()?).copied());
        let policy = self.engine.policy_of(index);
        if world.group_of(index).is_some() {
            // An address that another has for itself is not how this one is met.
            let met = address.filter(|at| world.pod_at(*at) == Some(index) && world.node_at(*at).is_none());
            let class = met.map_or_else(|| classes.of_workload(index), |at| classes.of_address(at));
            return Seen { policy, class, node, address_of: None, host: false };
        }
        let address = address.or_else(|| found?.addresses.first().copied());
        let class = address.map_or(0, |at| classes.of_address(at));
        Seen { policy, class, node, address_of: address.and_then(|at| self.node_at(at, nodes)), host: true }
    }

    /// Whoever has an address.
    pub(super) fn address(&self, address: IpAddr, nodes: &NodeNames<'_>) -> Seen {
        let address_of = self.node_at(address, nodes);
        if let Some(pod) = self.engine.world().pod_at(address).filter(|_| address_of.is_none()) {
            return self.workload(pod, Some(address), nodes);
        }
        Seen { policy: None, class: self.engine.classes().of_address(address), node: None, address_of, host: false }
    }

    fn node_at(&self, address: IpAddr, nodes: &NodeNames<'_>) -> Option<NodeName> {
        let world = self.engine.world();
        let node = world.cluster.nodes.get(world.node_at(address)? as usize)?;
        nodes.get(node.name.as_str()).copied()
    }

    /// What one end may open to the other: what the egress rules of the one and the ingress rules of the other allow.
    pub(super) fn between(&self, pool: &mut Pool, source: &Seen, destination: &Seen) -> TrafficId {
        let egress = source.policy.map_or(EVERYTHING, |policy| self.egress(pool, policy, source, destination));
        let ingress = match destination.policy {
            Some(policy) if !source.is_on_node_of(destination) => {
                self.says(pool, policy, Direction::Ingress, source.class)
            }
            _ => EVERYTHING,
        };
        pool.both(egress, ingress)
    }

    fn egress(&self, pool: &mut Pool, policy: PolicyId, source: &Seen, destination: &Seen) -> TrafficId {
        let classes = self.engine.classes();
        let met_own = destination.address_of.is_some() && destination.address_of == source.node;
        let class = if met_own { classes.as_own_node(destination.class) } else { destination.class };
        let known_as_own = || classes.get(class).is_some_and(|class| class.own_node);
        if destination.is_on_node_of(source) && !known_as_own() {
            return self.to_own(pool, policy, class);
        }
        self.says(pool, policy, Direction::Egress, class)
    }

    /// What rules say of a class; who has no rules allows all.
    pub(super) fn says(&self, pool: &mut Pool, policy: PolicyId, direction: Direction, class: ClassId) -> TrafficId {
        let Some(table) = self.tables.port_table_id(policy, direction, class) else {
            return EVERYTHING;
        };
        *self.traffic_of_table.borrow_mut().entry(table).or_insert_with(|| {
            let table = self.tables.port_table(table);
            table.map_or(EVERYTHING, |table| pool.intern(table.allowed()))
        })
    }

    /// What egress rules say of a pod on the network of the own node, whose address nobody may know.
    fn to_own(&self, pool: &mut Pool, policy: PolicyId, class: ClassId) -> TrafficId {
        *self.traffic_to_own.borrow_mut().entry((policy, class)).or_insert_with(|| {
            let Some(rules) = self.engine.policies().get(policy as usize) else {
                return EVERYTHING;
            };
            let class = self.engine.classes().get(class).cloned().unwrap_or_default();
            let class = Class { own_node: true, ..class };
            pool.intern(rules.evaluate(self.engine.rules(), Direction::Egress, &class).allowed())
        })
    }

    /// What one end may open to an address, which is seen as `plain` but for ports that stand for backends: there, all of
    /// them have to allow it.
    pub(super) fn to_address(&self, pool: &mut Pool, source: &Seen, address: IpAddr, plain: &Seen) -> TrafficId {
        let at_all = self.between(pool, source, plain);
        let Some(set) = self.virtual_set_at.get(&address) else { return at_all };
        let Some(virtuals) = self.virtual_sets.get(*set) else { return at_all };
        let key = (*source, *set);
        let known = self.traffic_to_virtuals.borrow().get(&key).copied();
        let to_backends = known.unwrap_or_else(|| {
            let id = self.to_virtuals(pool, source, &virtuals.all);
            if virtuals.addresses > 1 {
                self.traffic_to_virtuals.borrow_mut().insert(key, id);
            }
            id
        });
        if at_all == to_backends {
            return at_all;
        }
        *self.traffic_with_virtuals.borrow_mut().entry((at_all, to_backends, *set)).or_insert_with(|| {
            let traffic = pool.get(at_all).difference(&virtuals.ports).union(pool.get(to_backends));
            pool.intern(traffic)
        })
    }

    /// The ports of which all backends allow a source.
    fn to_virtuals(&self, pool: &mut Pool, source: &Seen, virtuals: &[Virtual]) -> TrafficId {
        let mut traffic = Traffic::none();
        for transport in Transport::ALL {
            let of_transport = virtuals.iter().filter(|found| found.transport == transport);
            let allowed = of_transport.filter(|found| {
                let mut backends = self.backends_from(source.node, found.backends);
                backends.all(|behind| {
                    let traffic = self.between(pool, source, &behind.seen);
                    pool.get(traffic).contains(transport, behind.port)
                })
            });
            let allowed: Vec<u16> = allowed.map(|found| found.port).collect();
            traffic.add(transport, &ports_of(allowed.into_iter()));
        }
        pool.intern(traffic)
    }
}

/// Ports, which are in order.
fn ports_of(ports: impl Iterator<Item = u16>) -> PortSet {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for port in ports {
        match ranges.last_mut() {
            Some(last) if last.1.checked_add(1) == Some(port) => last.1 = port,
            _ => ranges.push((port, port)),
        }
    }
    // By halves: one after the other would sort them as many times as there are.
    let mut sets: Vec<PortSet> = ranges.into_iter().map(|(first, last)| PortSet::range(first, last)).collect();
    while sets.len() > 1 {
        let pairs = sets.chunks(2);
        sets = pairs.map(|pair| pair.iter().fold(PortSet::empty(), |all, more| all.union(more))).collect();
    }
    sets.pop().unwrap_or_default()
}
