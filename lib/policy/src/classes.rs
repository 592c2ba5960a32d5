//! Addresses to classes: two addresses are of one class if no rule can tell them apart.
//!
//! A pod is in the sets that select it, and in the prefixes that contain its address. Every other address is in those
//! prefixes alone: the prefixes that rules name cut the address space into regions, and the longest one that
//! contains an address names its region.
//!
//! Between addresses and classes stand *atoms*: pods of one group, in one region, with the same named ports, which go
//! through every change together. A change of rules is worked out for the atoms it concerns, and a class all of whose atoms
//! change alike keeps its number, so that no address has to be told.

mod atoms;
mod regions;
mod used;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use chainkit_cluster::model::NamedPort;

use crate::flow::Transport;
use crate::interned::Interned;
use crate::prefix::{Prefix, PrefixTable};
use crate::rules::Ruleset;
use crate::world::{GroupId, World};
use atoms::{Atom, AtomId, Kind};
use regions::{RegionId, Regions, drop_repeats};
use used::Used;

/// A port of a pod by the name that rules call it: number of the name ([`Ruleset::port_name`]), transport, number.
pub type NamedNumber = (u32, Transport, u16);

/// A class, by its place in [`Classes::all`].
pub type ClassId = u32;

/// What is not there: an atom's group or region, an atom's class before it has one.
const NONE: u32 = u32::MAX;

/// What rules can tell of an address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Class {
    /// Peer sets it is in, by their numbers ([`Ruleset::peer_set`]), in order. For pods those that hold every pod are left out.
    pub peers: Arc<[u32]>,
    /// Its ports that egress rules ask for by name: (name, transport, number), in order.
    pub names: Arc<[NamedNumber]>,
    /// Whether it is of the subjects' own node.
    pub own_node: bool,
    /// Whether it is of pods, told where a rule speaks of every pod ([`Ruleset::is_everywhere`]).
    pub pod: bool,
}

/// The classes, and who is of which.
#[derive(Clone, Debug, Default)]
pub struct Classes {
    classes: Interned<Class>,
    atoms: Vec<Atom>,
    atom_ids: HashMap<Kind, AtomId>,
    free_atoms: Vec<AtomId>,
    atoms_of_group: Vec<Vec<AtomId>>,
    atoms_of_region: Vec<BTreeSet<AtomId>>,
    /// By region the atom of those who are in it and are no pods.
    own_of_region: Vec<AtomId>,
    /// Addresses of pods: the atom and the place in it.
    places: HashMap<IpAddr, (AtomId, u32)>,
    in_order: BTreeSet<IpAddr>,
    /// For each workload its atom without address, and its named ports.
    workloads: Vec<Option<(AtomId, u32)>>,
    port_lists: Interned<Vec<NamedPort>>,
    regions: Regions,
    /// Regions by class: all addresses of both families.
    prefixes: PrefixTable<ClassId>,
    nodes: HashMap<IpAddr, ClassId>,
    /// Classes that addresses of nodes hold.
    held_by_nodes: Vec<ClassId>,
    /// For the class of a node's address the one it has for the pods of that node.
    own: HashMap<ClassId, ClassId>,
    used: Used,
    pending: Pending,
    /// Whether prefixes match pods.
    cidrs_match_pods: bool,
}

/// What is to be worked out at the next [`Classes::settle`].
#[derive(Clone, Debug, Default)]
struct Pending {
    addresses: BTreeSet<IpAddr>,
    atoms: HashSet<AtomId>,
    groups: HashSet<GroupId>,
    regions: bool,
    nodes: bool,
    all_pods: bool,
    names: HashSet<u32>,
}

/// What a settlement changed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settled {
    /// Classes that are not what they were, with what they were; none is one that was not there.
    pub(crate) classes: HashMap<ClassId, Option<Class>>,
    /// Addresses of pods and nodes that may be of another class.
    pub(crate) addresses: Vec<IpAddr>,
    /// Whether prefixes may be of other classes.
    pub(crate) prefixes: bool,
}

impl Class {
    /// Whether the class is among a rule's peers.
    #[must_use]
    pub fn matches(&self, ruleset: &Ruleset, peers: crate::rules::Peers) -> bool {
        match peers {
            crate::rules::Peers::Any => true,
            crate::rules::Peers::Set(set) => {
                self.peers.binary_search(&set).is_ok() || (self.pod && ruleset.is_everywhere(set))
            }
        }
    }
}

impl Classes {
    /// One class, that of whom no rule names.
    pub(crate) fn new(cidrs_match_pods: bool) -> Self {
        let mut classes = Self { cidrs_match_pods, ..Self::default() };
        classes.classes.hold(Class::default());
        classes.pending.regions = true;
        classes.pending.nodes = true;
        classes
    }

    /// The classes by number. The first is that of whom no rule names; one that is like it stands where a number is free.
    #[must_use]
    pub fn all(&self) -> &[Class] {
        self.classes.all()
    }

    /// The classes that there are, with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (ClassId, &Class)> {
        self.classes.iter()
    }

    /// A class by its number.
    #[must_use]
    pub fn get(&self, class: ClassId) -> Option<&Class> {
        self.classes.get(class)
    }

    /// Whether a number is a class's.
    #[must_use]
    pub fn is_held(&self, class: ClassId) -> bool {
        self.classes.held(class) > 0
    }

    /// The class of an address.
    #[must_use]
    pub fn of_address(&self, address: IpAddr) -> ClassId {
        let address = address.to_canonical();
        self.exact(address).or_else(|| self.prefixes.get(address)).unwrap_or(0)
    }

    /// The class of an address that a pod or node has.
    fn exact(&self, address: IpAddr) -> Option<ClassId> {
        if let Some(class) = self.nodes.get(&address) {
            return Some(*class);
        }
        let (atom, _) = self.places.get(&address)?;
        self.atoms.get(*atom as usize).map(|atom| atom.class)
    }

    /// The class of an address of a pod or node, where it is not that of its region.
    pub(crate) fn shown(&self, address: IpAddr) -> Option<ClassId> {
        let class = self.exact(address)?;
        let of_region = match self.places.get(&address).and_then(|(atom, _)| self.atoms.get(*atom as usize)) {
            Some(atom) if atom.kind.region != NONE && !self.nodes.contains_key(&address) => {
                self.class_of_region(atom.kind.region)
            }
            _ => self.prefixes.get(address),
        };
        (of_region != Some(class)).then_some(class)
    }

    /// Addresses of pods and nodes.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.places.keys().chain(self.nodes.keys()).copied()
    }

    /// The class of a workload as such, which no prefix contains.
    #[must_use]
    pub fn of_workload(&self, workload: usize) -> ClassId {
        let atom = self.workloads.get(workload).copied().flatten();
        atom.and_then(|(atom, _)| self.atoms.get(atom as usize)).map_or(0, |atom| atom.class)
    }

    /// The class of a node's address as the pods of that node see it.
    #[must_use]
    pub fn as_own_node(&self, class: ClassId) -> ClassId {
        self.own.get(&class).copied().unwrap_or(class)
    }

    /// Regions by class: all addresses of both families.
    #[must_use]
    pub fn prefixes(&self) -> &PrefixTable<ClassId> {
        &self.prefixes
    }

    /// Has the classes of a group's pods worked out again.
    pub(crate) fn touch_group(&mut self, group: GroupId) {
        self.pending.groups.insert(group);
    }

    /// Has the classes of nodes' addresses worked out again.
    pub(crate) fn touch_nodes(&mut self) {
        self.pending.nodes = true;
    }

    fn class_of_region(&self, region: RegionId) -> Option<ClassId> {
        let atom = self.own_of_region.get(region as usize)?;
        self.atoms.get(*atom as usize).map(|atom| atom.class)
    }

    /// Works out what all that happened since the last time comes to.
    pub(crate) fn settle(&mut self, world: &World<'_>, ruleset: &Ruleset) -> Settled {
        let mut settled = Settled::default();
        let pending = std::mem::take(&mut self.pending);
        let mut touched = pending.addresses;
        let mut atoms = pending.atoms;
        if pending.regions {
            self.cut(ruleset, &mut touched, &mut atoms);
            settled.prefixes = true;
        }
        self.place_addresses(world, &touched);
        atoms.extend(std::mem::take(&mut self.pending.atoms));
        for group in &pending.groups {
            atoms.extend(self.atoms_of_group.get(*group as usize).into_iter().flatten());
        }
        if pending.all_pods || !pending.names.is_empty() {
            atoms.extend(self.atom_ids.values());
        }
        let moved = self.classify(ruleset, atoms, &mut settled);
        settled.addresses = touched.into_iter().collect();
        for id in moved {
            let Some(atom) = self.atoms.get(id as usize) else { continue };
            settled.addresses.extend(&atom.addresses);
            let is_region = atom.kind.group == NONE;
            if is_region && atom.kind.region != NONE {
                settled.prefixes = true;
                let pods = self.atoms_of_region.get(atom.kind.region as usize).into_iter().flatten();
                let pods = pods.filter_map(|id| self.atoms.get(*id as usize));
                settled.addresses.extend(pods.flat_map(|atom| &atom.addresses));
            }
        }
        if settled.prefixes {
            let prefixes = self.regions.iter();
            let mut prefixes: Vec<(Prefix, ClassId)> =
                prefixes.map(|(prefix, region)| (prefix, self.class_of_region(region).unwrap_or(0))).collect();
            drop_repeats(&mut prefixes);
            self.prefixes = PrefixTable::new(prefixes);
        }
        if settled.prefixes && !self.cidrs_match_pods {
            // Pods are in no region, and whether they differ from theirs is told address by address.
            settled.addresses.extend(self.places.keys());
        }
        if pending.nodes || settled.prefixes || pending.regions {
            self.classify_nodes(world, &mut settled);
        }
        settled.classes.retain(|id, was| was.as_ref() != self.classes.get(*id).filter(|_| self.classes.held(*id) > 0));
        settled
    }

    /// Cuts the regions anew.
    fn cut(&mut self, ruleset: &Ruleset, touched: &mut BTreeSet<IpAddr>, atoms: &mut HashSet<AtomId>) {
        let sets = self.used.with_blocks.iter().filter_map(|id| Some((*id, ruleset.peer_set(*id)?)));
        let recut = self.regions.cut(sets);
        for region in recut.renamed {
            atoms.extend(self.atoms_of_region.get(region as usize).into_iter().flatten());
        }
        for region in recut.gone {
            let own = self.own_of_region.get(region as usize).copied();
            if let Some(own) = own.and_then(|id| self.atoms.get_mut(id as usize)) {
                own.others = 0;
            }
            atoms.extend(self.atoms_of_region.get(region as usize).into_iter().flatten());
        }
        for region in recut.new {
            let own = self.atom(Kind { group: NONE, region, ports: NONE });
            if let Some(atom) = self.atoms.get_mut(own as usize) {
                atom.others = 1;
            }
            self.own_of_region.resize(self.own_of_region.len().max(region as usize + 1), NONE);
            if let Some(of_region) = self.own_of_region.get_mut(region as usize) {
                *of_region = own;
            }
            atoms.insert(own);
        }
        for range in recut.moved {
            touched.extend(self.in_order.range(range.first..=range.last));
        }
    }

    /// Gives these atoms the classes they belong to; tells which are of another class than before.
    fn classify(&mut self, ruleset: &Ruleset, atoms: HashSet<AtomId>, settled: &mut Settled) -> Vec<AtomId> {
        let mut moved = Vec::new();
        let mut of_class: HashMap<ClassId, Vec<(AtomId, Class)>> = HashMap::new();
        for id in atoms {
            let Some(atom) = self.atoms.get(id as usize) else { continue };
            if self.atom_ids.get(&atom.kind) != Some(&id) {
                continue;
            }
            if atom.addresses.is_empty() && atom.others == 0 {
                let class = atom.class;
                self.forget(id);
                self.release(class, settled);
                continue;
            }
            let (old, class) = (atom.class, self.class_of_kind(ruleset, atom.kind));
            if old == NONE {
                let class = self.hold(class, settled);
                if let Some(atom) = self.atoms.get_mut(id as usize) {
                    atom.class = class;
                }
                moved.push(id);
            } else if self.classes.get(old) != Some(&class) {
                of_class.entry(old).or_default().push((id, class));
            }
        }
        for (old, atoms) in of_class {
            let alike = atoms.windows(2).all(|pair| matches!(pair, [a, b] if a.1 == b.1));
            let all = self.classes.held(old) as usize == atoms.len();
            if let Some((_, new)) = atoms.first().filter(|_| alike && all) {
                let was = self.classes.get(old).cloned();
                if self.classes.rename(old, new.clone()) {
                    settled.classes.entry(old).or_insert(was);
                    continue;
                }
            }
            for (id, class) in atoms {
                let class = self.hold(class, settled);
                if let Some(atom) = self.atoms.get_mut(id as usize) {
                    atom.class = class;
                }
                self.release(old, settled);
                moved.push(id);
            }
        }
        moved
    }

    fn class_of_kind(&self, ruleset: &Ruleset, kind: Kind) -> Class {
        let mut peers: Vec<u32> = Vec::new();
        if kind.region != NONE {
            peers.extend(self.regions.peers(kind.region));
        }
        if kind.group == NONE {
            return Class { peers: peers.into(), ..Class::default() };
        }
        for selection in ruleset.selections.of_group(kind.group) {
            peers.extend(self.used.sets_of_selection.get(*selection as usize).into_iter().flatten());
        }
        if self.used.everywhere > 0 {
            peers.retain(|set| !ruleset.is_everywhere(*set));
        }
        peers.sort_unstable();
        peers.dedup();
        let mut names: Vec<NamedNumber> = Vec::new();
        if !self.used.names.is_empty() {
            let list = self.port_lists.get(kind.ports).map_or(&[][..], Vec::as_slice);
            let used = |port: &NamedPort| {
                let name = ruleset.port_names.find(&port.name).filter(|name| self.used.names.contains_key(name))?;
                Some((name, Transport::from(port.protocol), port.number))
            };
            names.extend(list.iter().filter_map(used));
            names.sort_unstable();
            names.dedup();
        }
        Class { peers: peers.into(), names: names.into(), own_node: false, pod: self.used.everywhere > 0 }
    }

    fn classify_nodes(&mut self, world: &World<'_>, settled: &mut Settled) {
        let here = world.own_node();
        let held = std::mem::take(&mut self.held_by_nodes);
        let before = std::mem::take(&mut self.nodes);
        self.own.clear();
        for (address, node) in world.node_addresses() {
            let of_node = self.used.sets_of_node.get(&node).map_or(&[][..], Vec::as_slice);
            let mut peers = [of_node, self.regions.peers(self.regions.of(address))].concat();
            peers.sort_unstable();
            peers.dedup();
            let base = Class { peers: peers.into(), ..Class::default() };
            let own = self.hold(Class { own_node: true, ..base.clone() }, settled);
            let base = self.hold(base, settled);
            self.held_by_nodes.extend([base, own]);
            self.own.insert(base, own);
            self.nodes.insert(address, if here == Some(node) { own } else { base });
        }
        held.into_iter().for_each(|class| self.release(class, settled));
        settled.addresses.extend(before.keys().chain(self.nodes.keys()));
    }

    fn hold(&mut self, class: Class, settled: &mut Settled) -> ClassId {
        let (id, new) = self.classes.hold(class);
        if new {
            settled.classes.entry(id).or_insert(None);
        }
        id
    }

    fn release(&mut self, id: ClassId, settled: &mut Settled) {
        if id != NONE
            && let Some(was) = self.classes.release(id)
        {
            settled.classes.entry(id).or_insert(Some(was));
        }
    }
}
