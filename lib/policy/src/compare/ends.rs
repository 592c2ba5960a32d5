//! Who may be an end of a connection on either side, and which ends are the same on both.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use chainkit_cluster::model::Cluster;

use super::End;
use super::side::{NodeNames, Seen, Side};
use crate::classes::ClassId;
use crate::engine::PolicyId;
use crate::prefix::{AddressRange, Family};

/// A workload as both sides see it, under one of its addresses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Form {
    /// The family of the address; none for one without address.
    pub(super) family: Option<Family>,
    pub(super) sides: [Option<Seen>; 2],
}

impl Form {
    /// Whether packets can go from one to the other.
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.family.is_none() || other.family.is_none() || self.family == other.family
    }
}

/// Ends that no rule of either side can tell apart.
pub(super) type Kind = Vec<Form>;

/// Kinds, each with how many workloads are of it, and how many of those are pods.
#[derive(Debug, Default)]
pub(super) struct Kinds {
    pub(super) all: Vec<(Kind, usize, usize)>,
    ids: HashMap<Kind, usize>,
}

impl Kinds {
    pub(super) fn add(&mut self, kind: Kind, is_pod: bool) -> usize {
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

    pub(super) fn get(&self, id: usize) -> &[Form] {
        self.all.get(id).map_or(&[], |(kind, ..)| kind.as_slice())
    }
}

/// A workload of either side.
#[derive(Debug)]
pub(super) struct Matched {
    pub(super) places: [Option<usize>; 2],
    /// Its kind without regard to nodes; none where its node matters to others.
    pub(super) base: Option<usize>,
    /// Its kind with its node.
    pub(super) placed: usize,
    pub(super) is_pod: bool,
    /// Its rules on either side, as outside sees them.
    pub(super) subject: Subject,
}

/// Rules on either side of one that is there; none in it is one without rules.
pub(super) type Subject = [Option<Option<PolicyId>>; 2];

/// An address of a node or service.
#[derive(Debug)]
pub(super) struct Special {
    /// Which address it is on either side.
    pub(super) at: [IpAddr; 2],
    pub(super) seen: [Seen; 2],
    /// Whether it matters on which node a source is.
    pub(super) needs_node: bool,
}

/// The workloads of both sides, with the kinds they are of.
#[derive(Debug, Default)]
pub(super) struct Workloads {
    /// By namespace, kind and name.
    pub(super) all: Vec<Matched>,
    /// Kinds without regard to nodes.
    pub(super) base: Kinds,
    /// Kinds with their nodes.
    pub(super) placed: Kinds,
}

/// The workloads of both sides, by namespace, kind and name.
pub(super) fn workloads(sides: &[Side<'_>; 2], nodes: &NodeNames<'_>) -> Workloads {
    let mut found = Workloads::default();
    let mut met: BTreeMap<(&str, &str, &str), [Option<usize>; 2]> = BTreeMap::new();
    for (side, at) in sides.iter().zip([0usize, 1]) {
        for (index, workload) in side.engine.world().cluster.workloads.iter().enumerate() {
            let places = met.entry((&workload.namespace, &workload.kind, &workload.name)).or_default();
            if let Some(place) = places.get_mut(at) {
                place.get_or_insert(index);
            }
        }
    }
    for ((_, kind, _), places) in met {
        let is_pod = kind == "Pod";
        let placed = forms(sides, places, nodes);
        let seen = || placed.iter().flat_map(|form| form.sides.iter().flatten());
        let is_base = !seen().any(Seen::is_of_a_node);
        let base = is_base.then(|| {
            let mut base = placed.clone();
            for seen in base.iter_mut().flat_map(|form| form.sides.iter_mut().flatten()) {
                seen.node = None;
            }
            base.sort_unstable();
            base.dedup();
            found.base.add(base, is_pod)
        });
        let [first, second] = sides;
        let [in_first, in_second] = places;
        let subject = [
            in_first.map(|index| first.engine.policy_of(index)),
            in_second.map(|index| second.engine.policy_of(index)),
        ];
        let placed = found.placed.add(placed, is_pod);
        found.all.push(Matched { places, base, placed, is_pod, subject });
    }
    found
}

/// How a workload is met.
fn forms(sides: &[Side<'_>; 2], places: [Option<usize>; 2], nodes: &NodeNames<'_>) -> Kind {
    let [first, second] = sides;
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
            let seen = |(side, index, all): &(&Side<'_>, Option<usize>, Vec<IpAddr>), own: &[IpAddr]| {
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

impl Special {
    pub(super) fn family(&self) -> Family {
        let [address, _] = self.at;
        Family::of(address)
    }

    pub(super) fn end(&self) -> End {
        let [address, _] = self.at;
        End::Addresses(AddressRange { first: address, last: address })
    }

    /// The forms that can meet it: those of its family, or all where there is none.
    pub(super) fn met_by<'f>(&self, forms: &'f [Form]) -> impl Iterator<Item = &'f Form> {
        let family = self.family();
        let fits = move |form: &Form| form.family.is_none_or(|of| of == family);
        let any_fits = forms.iter().any(fits);
        forms.iter().filter(move |form| !any_fits || fits(form))
    }
}

/// The addresses of nodes and services, each with what it is on the other side.
pub(super) fn specials(sides: &[Side<'_>; 2], nodes: &NodeNames<'_>) -> Vec<Special> {
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
        let cluster: &Cluster = &side.engine.world().cluster;
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
        let depends = sides.iter().zip(at).any(|(side, at)| side.depends_on_node(at));
        let needs_node = depends || seen.iter().any(Seen::is_of_a_node);
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

/// The ranges into which both sides cut addresses, without those in which everybody is known.
pub(super) fn outside(sides: &[Side<'_>; 2], specials: &[Special]) -> Vec<(AddressRange, [ClassId; 2])> {
    let mut known: BTreeSet<IpAddr> = specials.iter().flat_map(|special| special.at).collect();
    for side in sides {
        let world = side.engine.world();
        known.extend(world.pod_addresses().map(|(address, _)| address));
        known.extend(world.node_addresses().map(|(address, _)| address));
    }
    let known: Vec<IpAddr> = known.into_iter().collect();
    let [first, second] = sides.each_ref().map(|side| side.engine.classes().prefixes().ranges());
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
