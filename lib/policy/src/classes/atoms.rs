//! Atoms: addresses and workloads that go through every change together.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::regions::RegionId;
use super::{ClassId, Classes, NONE};
use crate::world::{GroupId, World, place};

/// What makes addresses alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Kind {
    pub(super) group: GroupId,
    pub(super) region: RegionId,
    pub(super) ports: u32,
}

pub(super) type AtomId = u32;

#[derive(Clone, Debug)]
pub(super) struct Atom {
    pub(super) kind: Kind,
    pub(super) class: ClassId,
    pub(super) addresses: Vec<IpAddr>,
    /// Workloads that are of this kind without an address, and regions as such.
    pub(super) others: u32,
}

impl Classes {
    /// Takes in a workload that has joined `world`.
    pub(crate) fn join(&mut self, world: &World<'_>, at: usize) {
        let Some(workload) = world.cluster.workloads.get(at) else {
            return;
        };
        self.pending.addresses.extend(workload.addresses.iter().map(IpAddr::to_canonical));
        if let Some(group) = world.group_of(at) {
            let mut ports = workload.ports.clone();
            ports.sort_unstable();
            ports.dedup();
            let (ports, _) = self.port_lists.hold(ports);
            let atom = self.atom(Kind { group, region: NONE, ports });
            if let Some(atom) = self.atoms.get_mut(atom as usize) {
                atom.others += 1;
            }
            self.workloads.resize(self.workloads.len().max(at + 1), None);
            if let Some(workload) = self.workloads.get_mut(at) {
                *workload = Some((atom, ports));
            }
        }
    }

    /// Takes out a workload that leaves `world`, where it is still what it was.
    pub(crate) fn leave(&mut self, world: &World<'_>, at: usize) {
        if let Some(workload) = world.cluster.workloads.get(at) {
            // Whatever pod has them now is found when it is settled.
            let addresses = workload.addresses.iter().map(IpAddr::to_canonical);
            for address in addresses {
                self.displace(address);
                self.pending.addresses.insert(address);
            }
        }
        if let Some((atom, ports)) = self.workloads.get_mut(at).and_then(Option::take) {
            self.port_lists.release(ports);
            if let Some(found) = self.atoms.get_mut(atom as usize) {
                found.others = found.others.saturating_sub(1);
            }
            self.pending.atoms.insert(atom);
        }
    }

    /// The atom of a kind, which is made if it is new.
    pub(super) fn atom(&mut self, kind: Kind) -> AtomId {
        if let Some(id) = self.atom_ids.get(&kind) {
            return *id;
        }
        let id = self.free_atoms.pop().unwrap_or_else(|| place(self.atoms.len()));
        let atom = Atom { kind, class: NONE, addresses: Vec::new(), others: 0 };
        match self.atoms.get_mut(id as usize) {
            Some(free) => *free = atom,
            None => self.atoms.push(atom),
        }
        self.atom_ids.insert(kind, id);
        if kind.group != NONE {
            let at = kind.group as usize;
            self.atoms_of_group.resize(self.atoms_of_group.len().max(at + 1), Vec::new());
            if let Some(atoms) = self.atoms_of_group.get_mut(at) {
                atoms.push(id);
            }
        }
        if kind.region != NONE {
            let at = kind.region as usize;
            self.atoms_of_region.resize(self.atoms_of_region.len().max(at + 1), BTreeSet::new());
            if let Some(atoms) = self.atoms_of_region.get_mut(at) {
                atoms.insert(id);
            }
        }
        self.pending.atoms.insert(id);
        id
    }

    /// Forgets an atom that nobody is of.
    pub(super) fn forget(&mut self, id: AtomId) {
        let Some(atom) = self.atoms.get_mut(id as usize) else { return };
        let kind = atom.kind;
        atom.class = NONE;
        self.atom_ids.remove(&kind);
        if let Some(atoms) = self.atoms_of_group.get_mut(kind.group as usize) {
            atoms.retain(|other| *other != id);
        }
        if let Some(atoms) = self.atoms_of_region.get_mut(kind.region as usize) {
            atoms.remove(&id);
        }
        self.free_atoms.push(id);
    }

    pub(super) fn displace(&mut self, address: IpAddr) {
        let Some((id, at)) = self.places.remove(&address) else { return };
        self.in_order.remove(&address);
        let Some(atom) = self.atoms.get_mut(id as usize) else { return };
        if (at as usize) < atom.addresses.len() {
            atom.addresses.swap_remove(at as usize);
        }
        if let Some(moved) = atom.addresses.get(at as usize)
            && let Some(place) = self.places.get_mut(moved)
        {
            place.1 = at;
        }
        if atom.addresses.is_empty() {
            self.pending.atoms.insert(id);
        }
    }

    /// Puts addresses where the pods that have them belong.
    pub(super) fn place_addresses(&mut self, world: &World<'_>, touched: &BTreeSet<IpAddr>) {
        for address in touched {
            let kind = world.pod_at(*address).and_then(|at| {
                let group = world.group_of(at)?;
                let (_, ports) = self.workloads.get(at).copied().flatten()?;
                let region = if self.cidrs_match_pods { self.regions.of(*address) } else { NONE };
                Some(Kind { group, region, ports })
            });
            let has = self.places.get(address).and_then(|(atom, _)| self.atoms.get(*atom as usize));
            if has.map(|atom| atom.kind) == kind {
                continue;
            }
            self.displace(*address);
            if let Some(kind) = kind {
                let id = self.atom(kind);
                if let Some(atom) = self.atoms.get_mut(id as usize) {
                    self.places.insert(*address, (id, place(atom.addresses.len())));
                    atom.addresses.push(*address);
                    self.in_order.insert(*address);
                }
            }
        }
    }
}
