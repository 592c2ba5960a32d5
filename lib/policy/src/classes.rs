//! Addresses to classes: two addresses are of one class if no rule can tell them apart.
//!
//! A pod is in the sets that select it, and in the prefixes that contain its address. Every other address is in those
//! prefixes alone: the prefixes that rules name cut the address space into regions, and the longest one that
//! contains an address names its region.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::flow::{Direction, Options, Scope, Transport};
use crate::prefix::{Family, Prefix, PrefixTable};
use crate::rules::{Peers, PortMatch, Ports, Ruleset};
use crate::world::{World, place};

/// A port of a pod by the name that rules call it: place of the name in
/// [`Ruleset::port_names`](crate::Ruleset::port_names), transport, number.
pub type NamedNumber = (u32, Transport, u16);

/// A class, by its place in [`Classes::all`].
pub type ClassId = u32;

/// What rules can tell of an address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Class {
    /// Peer sets it is in, by their places in [`Ruleset::peer_sets`], in order.
    pub peers: Arc<[u32]>,
    /// Its ports that egress rules ask for by name: (name, transport, number), in order.
    pub names: Arc<[NamedNumber]>,
    /// Whether it is of the subjects' own node.
    pub own_node: bool,
}

/// The classes, and who is of which.
#[derive(Clone, Debug, Default)]
pub struct Classes {
    /// The classes. The first is that of whom no rule names.
    pub all: Vec<Class>,
    ids: HashMap<Class, ClassId>,
    /// Addresses whose class is not that of their region: pods and nodes.
    pub addresses: HashMap<IpAddr, ClassId>,
    /// Regions: all addresses of both families.
    pub prefixes: PrefixTable<ClassId>,
    /// For each workload its class without address.
    workloads: Vec<ClassId>,
    /// For the class of a node's address the one it has for the pods of that node.
    own: HashMap<ClassId, ClassId>,
}

impl Classes {
    /// Cuts the address space by the rules of `ruleset`.
    #[must_use]
    pub fn new(world: &World<'_>, ruleset: &Ruleset, options: &Options) -> Self {
        let mut classes = Self::default();
        classes.intern(Class::default());
        let used = used_sets(ruleset);
        let regions = Regions::new(ruleset, &used);
        let prefixes = regions.table.iter();
        let prefixes = prefixes.map(|(prefix, region)| {
            let peers = regions.peers.get(region as usize).cloned().unwrap_or_default();
            (prefix, classes.intern(Class { peers, ..Class::default() }))
        });
        let mut prefixes: Vec<_> = prefixes.collect();
        drop_repeats(&mut prefixes);
        classes.prefixes = PrefixTable::new(prefixes);

        let selected = sets_of_groups(world, ruleset, &used);
        let names = egress_names(ruleset);
        let nothing: Arc<[u32]> = Arc::from([]);
        // Pods of one group with the same named ports in one region have one class: found without building it again.
        let mut known: HashMap<(u32, u32, Vec<NamedNumber>), ClassId> = HashMap::new();
        for (at, workload) in world.cluster.workloads.iter().enumerate() {
            let Some(group) = world.group_of(at) else {
                classes.workloads.push(0);
                continue;
            };
            let own_names = named_ports(&names, &workload.ports);
            let mut class_in = |classes: &mut Self, region: u32| {
                let key = (group, region, own_names.clone());
                if let Some(class) = known.get(&key) {
                    return *class;
                }
                let of_group = selected.get(group as usize).unwrap_or(&nothing);
                let of_region = regions.peers.get(region as usize).unwrap_or(&nothing);
                let class =
                    Class { peers: merged(of_group, of_region), names: own_names.as_slice().into(), own_node: false };
                let class = classes.intern(class);
                known.insert(key, class);
                class
            };
            let symbolic = class_in(&mut classes, u32::MAX);
            classes.workloads.push(symbolic);
            for address in &workload.addresses {
                let address = address.to_canonical();
                if world.pod_at(address) != Some(at) {
                    continue;
                }
                let region = if options.cidrs_match_pods { regions.of(address) } else { u32::MAX };
                let class = class_in(&mut classes, region);
                if classes.prefixes.get(address) != Some(class) {
                    classes.addresses.insert(address, class);
                }
            }
        }
        classes.add_nodes(world, ruleset, &regions, &used, options);
        classes
    }

    fn add_nodes(&mut self, world: &World<'_>, ruleset: &Ruleset, regions: &Regions, used: &[u32], options: &Options) {
        let mut sets_of_node: HashMap<u32, Vec<u32>> = HashMap::new();
        for set in used {
            let Some(peers) = ruleset.peer_sets.get(*set as usize) else { continue };
            for node in &peers.nodes {
                sets_of_node.entry(*node).or_default().push(*set);
            }
        }
        let here = match &options.scope {
            Scope::All => None,
            Scope::Node(name) => world.node(name),
        };
        for (address, node) in world.node_addresses() {
            let of_node = sets_of_node.get(&node).map_or(&[][..], Vec::as_slice);
            let of_region = regions.peers.get(regions.of(address) as usize).map_or(&[][..], |peers| peers);
            let base = Class { peers: merged(of_node, of_region), ..Class::default() };
            let own = self.intern(Class { own_node: true, ..base.clone() });
            let base = self.intern(base);
            self.own.insert(base, own);
            let class = if here == Some(node) { own } else { base };
            // A pod that claims a node's address does not make the node a pod.
            if self.prefixes.get(address) == Some(class) {
                self.addresses.remove(&address);
            } else {
                self.addresses.insert(address, class);
            }
        }
    }

    fn intern(&mut self, class: Class) -> ClassId {
        if let Some(id) = self.ids.get(&class) {
            return *id;
        }
        let id = place(self.all.len());
        self.all.push(class.clone());
        self.ids.insert(class, id);
        id
    }

    /// A class by its place.
    #[must_use]
    pub fn get(&self, class: ClassId) -> Option<&Class> {
        self.all.get(class as usize)
    }

    /// The class of an address: the exact entry first, then the longest prefix.
    #[must_use]
    pub fn of_address(&self, address: IpAddr) -> ClassId {
        let address = address.to_canonical();
        self.addresses.get(&address).copied().or_else(|| self.prefixes.get(address)).unwrap_or(0)
    }

    /// The class of a workload as such, which no prefix contains.
    #[must_use]
    pub fn of_workload(&self, workload: usize) -> ClassId {
        self.workloads.get(workload).copied().unwrap_or(0)
    }

    /// The class of a node's address as the pods of that node see it.
    #[must_use]
    pub fn as_own_node(&self, class: ClassId) -> ClassId {
        self.own.get(&class).copied().unwrap_or(class)
    }
}

/// Peer sets that a rule in force names.
fn used_sets(ruleset: &Ruleset) -> Vec<u32> {
    let policies = ruleset.tiers.iter().flat_map(|tier| &tier.policies).filter(|policy| !policy.subjects.is_empty());
    let sets = policies.flat_map(|policy| &policy.rules).filter_map(|rule| match rule.peers {
        Peers::Set(set) => Some(set),
        Peers::Any => None,
    });
    let mut sets: Vec<u32> = sets.collect::<HashSet<_>>().into_iter().collect();
    sets.sort_unstable();
    sets
}

/// Names of ports that egress rules in force ask for, each with its place.
fn egress_names(ruleset: &Ruleset) -> HashMap<&str, u32> {
    let policies = ruleset.tiers.iter().flat_map(|tier| &tier.policies).filter(|policy| !policy.subjects.is_empty());
    let rules = policies.flat_map(|policy| &policy.rules).filter(|rule| rule.direction == Direction::Egress);
    names_in(ruleset, rules.map(|rule| &rule.ports))
}

/// Names that these ports ask for, each with its place.
pub(crate) fn names_in<'r>(ruleset: &'r Ruleset, ports: impl Iterator<Item = &'r Ports>) -> HashMap<&'r str, u32> {
    let mut names = HashMap::new();
    for port in ports.flat_map(|ports| if let Ports::List(list) = ports { list.as_slice() } else { &[] }) {
        if let PortMatch::Named { name, .. } = port
            && let Some(text) = ruleset.port_names.get(*name as usize)
        {
            names.insert(text.as_str(), *name);
        }
    }
    names
}

/// Those ports of a pod whose name is asked for.
pub(crate) fn named_ports(
    names: &HashMap<&str, u32>,
    ports: &[chainkit_cluster::model::NamedPort],
) -> Vec<NamedNumber> {
    let found = ports.iter().filter_map(|port| {
        names.get(port.name.as_str()).map(|name| (*name, Transport::from(port.protocol), port.number))
    });
    let mut found: Vec<_> = found.collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// For each group the peer sets that select it, in order.
fn sets_of_groups(world: &World<'_>, ruleset: &Ruleset, used: &[u32]) -> Vec<Arc<[u32]>> {
    let mut everywhere: Vec<u32> = Vec::new();
    let mut sets: Vec<Vec<u32>> = vec![Vec::new(); world.groups.len()];
    for set in used {
        let Some(peers) = ruleset.peer_sets.get(*set as usize) else { continue };
        let selections: Vec<_> = peers.pods.iter().filter_map(|id| ruleset.selections.get(*id as usize)).collect();
        if selections.iter().any(|groups| groups.is_none()) {
            everywhere.push(*set);
            continue;
        }
        for group in selections.into_iter().flatten().flat_map(|groups| groups.iter()) {
            if let Some(of_group) = sets.get_mut(*group as usize)
                && of_group.last() != Some(set)
            {
                of_group.push(*set);
            }
        }
    }
    let mut shared: HashMap<Vec<u32>, Arc<[u32]>> = HashMap::new();
    let shared = sets
        .into_iter()
        .map(|of_group| shared.entry(of_group).or_insert_with_key(|of_group| merged(of_group, &everywhere)).clone());
    shared.collect()
}

/// Two lists in order as one.
fn merged(a: &[u32], b: &[u32]) -> Arc<[u32]> {
    let mut all = [a, b].concat();
    all.sort_unstable();
    all.dedup();
    all.into()
}

/// Leaves out prefixes whose class is that of the prefix around them.
fn drop_repeats(prefixes: &mut Vec<(Prefix, ClassId)>) {
    let mut around: Vec<(Prefix, ClassId)> = Vec::new();
    prefixes.retain(|(prefix, class)| {
        while around.last().is_some_and(|(outer, _)| !outer.covers(prefix)) {
            around.pop();
        }
        let repeats = around.last().is_some_and(|(_, outer)| outer == class);
        if !repeats {
            around.push((*prefix, *class));
        }
        !repeats
    });
}

/// The regions into which the prefixes of rules cut all addresses.
struct Regions {
    /// A region for each prefix named, by its place in `peers`.
    table: PrefixTable<u32>,
    /// The peer sets of each region, in order.
    peers: Vec<Arc<[u32]>>,
}

/// What happens to an address block where a prefix begins.
#[derive(Clone, Copy)]
enum Mark {
    Begins,
    Excepted,
}

impl Regions {
    fn new(ruleset: &Ruleset, used: &[u32]) -> Self {
        // Every prefix that is named, with the blocks it begins or is excepted from; sorted, so that a prefix comes
        // before all inside it.
        let mut marks: BTreeMap<Prefix, Vec<(Mark, usize)>> = BTreeMap::new();
        let mut set_of_block: Vec<u32> = Vec::new();
        for family in Family::BOTH {
            marks.insert(Prefix::everything(family), Vec::new());
        }
        for set in used {
            let Some(peers) = ruleset.peer_sets.get(*set as usize) else { continue };
            for block in &peers.blocks {
                // Nothing is left of a block that is excepted as a whole.
                if block.except.iter().any(|except| except.covers(&block.prefix)) {
                    continue;
                }
                let at = set_of_block.len();
                set_of_block.push(*set);
                marks.entry(block.prefix).or_default().push((Mark::Begins, at));
                for except in &block.except {
                    marks.entry(*except).or_default().push((Mark::Excepted, at));
                }
            }
        }
        let mut walk = Walk {
            active: vec![false; set_of_block.len()],
            set_of_block,
            blocks_of_set: BTreeMap::new(),
            path: Vec::new(),
        };
        let mut ids: HashMap<Vec<u32>, u32> = HashMap::new();
        let mut peers: Vec<Arc<[u32]>> = Vec::new();
        let mut table = Vec::with_capacity(marks.len());
        for (prefix, marks) in marks {
            walk.enter(prefix, &marks);
            let sets: Vec<u32> = walk.blocks_of_set.keys().copied().collect();
            let region = *ids.entry(sets).or_insert_with_key(|sets| {
                peers.push(sets.as_slice().into());
                place(peers.len() - 1)
            });
            table.push((prefix, region));
        }
        Self { table: PrefixTable::new(table), peers }
    }

    fn of(&self, address: IpAddr) -> u32 {
        self.table.get(address).unwrap_or(u32::MAX)
    }
}

/// A walk through nested prefixes, outermost first, that knows which blocks hold where it is.
struct Walk {
    active: Vec<bool>,
    set_of_block: Vec<u32>,
    /// How many blocks of each set hold; none with 0.
    blocks_of_set: BTreeMap<u32, usize>,
    /// Where it is, with the blocks that each step turned on or off.
    path: Vec<(Prefix, Vec<usize>)>,
}

impl Walk {
    fn enter(&mut self, prefix: Prefix, marks: &[(Mark, usize)]) {
        while self.path.last().is_some_and(|(outer, _)| !outer.covers(&prefix)) {
            if let Some((_, turned)) = self.path.pop() {
                for block in turned.into_iter().rev() {
                    self.turn(block);
                }
            }
        }
        let mut turned = Vec::new();
        for (mark, block) in marks {
            let active = self.active.get(*block).copied().unwrap_or(false);
            // An exception outside of its block excepts nothing, and one inside another adds nothing.
            if active == matches!(mark, Mark::Excepted) {
                self.turn(*block);
                turned.push(*block);
            }
        }
        self.path.push((prefix, turned));
    }

    fn turn(&mut self, block: usize) {
        let (Some(active), Some(set)) = (self.active.get_mut(block), self.set_of_block.get(block)) else {
            return;
        };
        *active = !*active;
        let count = self.blocks_of_set.entry(*set).or_insert(0);
        if *active {
            *count += 1;
        } else {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.blocks_of_set.remove(set);
            }
        }
    }
}
