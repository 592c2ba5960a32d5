//! Rules of a subject by whom they name, so that what one class of peers costs goes with the rules that name it, and not with
//! all there are.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use super::{Open, PortTable, SubjectRules, decide, names, take};
use crate::classes::{Class, NamedNumber};
use crate::flow::Direction;
use crate::rules::{Peers, RuleRef, Ruleset};
use crate::world::place;

/// The rules of a subject in one direction, found by the class of a peer.
///
/// Of rules that name the same peers those are left out that take nothing because of the ones before them.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    direction: Direction,
    /// The subject's own ports that rules ask for by name.
    names: Vec<NamedNumber>,
    /// The rules in order.
    rules: Vec<RuleRef>,
    /// Their places in that list: by the set that they name, of those that name anybody, and of those that name every pod.
    of_set: HashMap<u32, Vec<u32>>,
    anybody: Vec<u32>,
    every_pod: Vec<u32>,
    /// By tier the first policy that isolates the subject.
    isolating: Vec<Option<(u32, u32)>>,
}

impl Index {
    /// Goes over the rules of a subject once.
    pub(crate) fn new(ruleset: &Ruleset, subject: &SubjectRules, direction: Direction) -> Self {
        let mut index = Self {
            direction,
            names: subject.names.clone(),
            rules: Vec::new(),
            of_set: HashMap::new(),
            anybody: Vec::new(),
            every_pod: Vec::new(),
            isolating: vec![None; ruleset.tiers.len()],
        };
        for (at, rule) in subject.rules(ruleset, direction) {
            let here = place(index.rules.len());
            index.rules.push(at);
            match rule.peers {
                Peers::Any => index.anybody.push(here),
                Peers::Set(set) => {
                    index.of_set.entry(set).or_default().push(here);
                    if ruleset.is_everywhere(set) {
                        index.every_pod.push(here);
                    }
                }
            }
        }
        for (tier, policy) in subject.isolated_by(ruleset, direction) {
            if let Some(first @ None) = index.isolating.get_mut(tier as usize) {
                *first = Some((tier, policy));
            }
        }
        let mut of_set = std::mem::take(&mut index.of_set);
        of_set.values_mut().for_each(|rules| index.leave_out_shadowed(ruleset, rules));
        index.of_set = of_set;
        let (mut anybody, mut every_pod) = (std::mem::take(&mut index.anybody), std::mem::take(&mut index.every_pod));
        index.leave_out_shadowed(ruleset, &mut anybody);
        index.leave_out_shadowed(ruleset, &mut every_pod);
        (index.anybody, index.every_pod) = (anybody, every_pod);
        index
    }

    /// The sets that rules name.
    pub(crate) fn sets(&self) -> impl Iterator<Item = u32> + '_ {
        self.of_set.keys().copied()
    }

    /// Whether a rule names a set.
    pub(crate) fn names_set(&self, set: u32) -> bool {
        self.of_set.contains_key(&set)
    }

    /// Whether a rule names every pod there is.
    pub(crate) fn names_every_pod(&self) -> bool {
        !self.every_pod.is_empty()
    }

    /// Decides on every port at once between the subject and a class of peers, as [`SubjectRules::evaluate`] does.
    pub(crate) fn evaluate(&self, ruleset: &Ruleset, class: &Class) -> PortTable {
        let naming = self.naming(class);
        #[cfg(test)]
        super::work::count(naming.len());
        let tier_of = |at: &u32| self.rules.get(*at as usize).map_or(u32::MAX, |rule| rule.tier);
        let of_tier = |tier: u32| {
            let from = naming.partition_point(|at| tier_of(at) < tier);
            let rules = naming.get(from..).unwrap_or_default().iter().filter_map(|at| self.rules.get(*at as usize));
            rules.take_while(move |at| at.tier == tier).filter_map(|at| Some((*at, ruleset.rule(*at)?)))
        };
        let isolating = |tier: u32| self.isolating.get(tier as usize).copied().flatten();
        decide(ruleset, of_tier, isolating, names(&self.names, self.direction, class), (self.direction, class))
    }

    /// Which rules name a class, in order.
    fn naming(&self, class: &Class) -> Vec<u32> {
        let mut naming = self.anybody.clone();
        if class.pod {
            naming.extend(&self.every_pod);
        }
        naming.extend(class.peers.iter().filter_map(|set| self.of_set.get(set)).flatten());
        naming.sort_unstable();
        naming.dedup();
        naming
    }

    /// Leaves out the rules from whom those before them in their tier take everything, of a list all of which match if one does.
    fn leave_out_shadowed(&self, ruleset: &Ruleset, list: &mut Vec<u32>) {
        let mut open = Open::all();
        let mut tier = None;
        list.retain(|at| {
            let found = self.rules.get(*at as usize).and_then(|at| Some((at.tier, ruleset.rule(*at)?)));
            let Some((tier_of, rule)) = found else { return false };
            if tier.replace(tier_of) != Some(tier_of) {
                open = Open::all();
            }
            // What a name stands for at the other end is not known here.
            let mut takes = self.direction == Direction::Egress && rule.ports.has_names();
            let known = if self.direction == Direction::Ingress { self.names.as_slice() } else { &[] };
            take(&mut open, &rule.ports, known, |_| takes = true);
            takes
        });
    }
}
