//! What rules in force ask of addresses.

use std::collections::{BTreeSet, HashMap};

use super::Classes;
use crate::rules::{PeerSet, Ports, Ruleset};

/// The sets and names that rules in force ask for, by how many of them do.
#[derive(Clone, Debug, Default)]
pub(super) struct Used {
    /// By set, how many rules name it.
    pub(super) sets: Vec<u32>,
    pub(super) with_blocks: BTreeSet<u32>,
    pub(super) sets_of_selection: Vec<Vec<u32>>,
    pub(super) sets_of_node: HashMap<u32, Vec<u32>>,
    pub(super) everywhere: u32,
    /// By name of a port, how many egress rules ask for it.
    pub(super) names: HashMap<u32, u32>,
}

impl Classes {
    /// A rule in force names this set.
    pub(crate) fn use_set(&mut self, ruleset: &Ruleset, id: u32) {
        let at = id as usize;
        if self.used.sets.len() <= at {
            self.used.sets.resize(at + 1, 0);
        }
        let Some(uses) = self.used.sets.get_mut(at) else { return };
        *uses += 1;
        if *uses == 1
            && let Some(set) = ruleset.peer_set(id)
        {
            for selection in &set.pods {
                let at = *selection as usize;
                if self.used.sets_of_selection.len() <= at {
                    self.used.sets_of_selection.resize(at + 1, Vec::new());
                }
                if let Some(sets) = self.used.sets_of_selection.get_mut(at) {
                    sets.push(id);
                }
            }
            for node in &set.nodes {
                self.used.sets_of_node.entry(*node).or_default().push(id);
            }
            if !set.blocks.is_empty() {
                self.used.with_blocks.insert(id);
            }
            if ruleset.is_everywhere(id) {
                self.used.everywhere += 1;
                self.pending.all_pods |= self.used.everywhere == 1 || !set.blocks.is_empty();
            }
            self.touch_set(ruleset, id, set);
        }
    }

    /// A rule that named this set is in force no longer.
    pub(crate) fn drop_set(&mut self, ruleset: &Ruleset, id: u32) {
        let Some(uses) = self.used.sets.get_mut(id as usize) else { return };
        *uses = uses.saturating_sub(1);
        if *uses == 0
            && let Some(set) = ruleset.peer_set(id)
        {
            for selection in &set.pods {
                if let Some(sets) = self.used.sets_of_selection.get_mut(*selection as usize) {
                    sets.retain(|other| *other != id);
                }
            }
            for node in &set.nodes {
                if let Some(sets) = self.used.sets_of_node.get_mut(node) {
                    sets.retain(|other| *other != id);
                }
            }
            self.used.with_blocks.remove(&id);
            if ruleset.is_everywhere(id) {
                self.used.everywhere = self.used.everywhere.saturating_sub(1);
                // Its number may be given to a set of the same blocks that does not hold every pod, and then no region tells.
                self.pending.all_pods |= self.used.everywhere == 0 || !set.blocks.is_empty();
            }
            self.touch_set(ruleset, id, set);
        }
    }

    fn touch_set(&mut self, ruleset: &Ruleset, id: u32, set: &PeerSet) {
        // Who is in a set that holds every pod is not told class by class.
        if !ruleset.is_everywhere(id) {
            for selection in set.pods.iter().filter_map(|id| ruleset.selections.get(*id)) {
                self.pending.groups.extend(&selection.groups);
            }
        }
        self.pending.regions |= !set.blocks.is_empty();
        self.pending.nodes |= !set.nodes.is_empty();
    }

    /// An egress rule in force has these ports.
    pub(crate) fn use_names(&mut self, ports: &Ports) {
        for name in ports.names() {
            let uses = self.used.names.entry(name).or_default();
            *uses += 1;
            if *uses == 1 {
                self.pending.names.insert(name);
            }
        }
    }

    /// An egress rule that had these ports is in force no longer.
    pub(crate) fn drop_names(&mut self, ports: &Ports) {
        for name in ports.names() {
            if let Some(uses) = self.used.names.get_mut(&name) {
                *uses -= 1;
                if *uses == 0 {
                    self.used.names.remove(&name);
                    self.pending.names.insert(name);
                }
            }
        }
    }
}
