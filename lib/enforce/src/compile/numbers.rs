//! Numbers of rules: what an event tells which rule by.

use std::collections::{BTreeMap, HashMap, HashSet};

use chainkit_abi::{RULES, rule};
use chainkit_policy::rules::{Action, Policy, RuleRef, Ruleset};
use chainkit_policy::{Direction, PolicyName};

use super::{CompileError, MOST_RULES};
use crate::store::{PolicyRef, RuleAction, RuleChange, RuleDirection, RuleEntry};

/// What makes two rules the same: a rule that is worded anew in its place is the same one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Identity {
    direction: RuleDirection,
    tier: String,
    index: Option<u32>,
    policies: Vec<PolicyRef>,
}

/// Rules and their numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    known: HashMap<Identity, u32>,
    /// By number the rule, and how often it is held.
    entries: BTreeMap<u32, (RuleEntry, u32)>,
    /// Numbers of rules as they were before, for those that come back.
    before: HashMap<Identity, u32>,
    reserved: HashSet<u32>,
    next: u32,
    touched: HashSet<u32>,
}

impl Numbers {
    /// Numbers of which those that are given stay with their rules.
    pub(super) fn keeping(numbered: &BTreeMap<u32, RuleEntry>) -> Self {
        let before = numbered.values().map(|entry| (identity(entry), entry.number)).collect();
        let reserved = numbered.keys().copied().collect();
        Self { before, reserved, next: rule::FIRST, ..Self::default() }
    }

    /// The number of a rule, which is held once more.
    pub(super) fn rule(&mut self, ruleset: &Ruleset, at: RuleRef) -> Result<u32, CompileError> {
        let (Some(policy), Some(found)) = (ruleset.policy(at.tier, at.policy), ruleset.rule(at)) else {
            return Ok(rule::NONE);
        };
        let action = if found.action == Action::Deny { RuleAction::Deny } else { RuleAction::Allow };
        let index = u32::try_from(found.index).ok();
        self.hold(entry(ruleset, at.tier, found.direction, action, index, vec![named(policy)]))
    }

    /// The number of the isolation by some policies, which is held once more.
    pub(super) fn isolation(
        &mut self,
        ruleset: &Ruleset,
        direction: Direction,
        policies: &[(u32, u32)],
    ) -> Result<u32, CompileError> {
        let tier = policies.first().map_or(0, |(tier, _)| *tier);
        let names = policies.iter().filter_map(|(tier, policy)| ruleset.policy(*tier, *policy)).map(named).collect();
        self.hold(entry(ruleset, tier, direction, RuleAction::Isolated, None, names))
    }

    fn hold(&mut self, mut entry: RuleEntry) -> Result<u32, CompileError> {
        let identity = identity(&entry);
        if let Some(number) = self.known.get(&identity).copied() {
            if let Some((known, held)) = self.entries.get_mut(&number) {
                *held += 1;
                if known.action != entry.action {
                    known.action = entry.action;
                    self.touched.insert(number);
                }
            }
            return Ok(number);
        }
        let policy = entry.policies.first().map(shown).unwrap_or_default();
        let before = self.before.remove(&identity).filter(|number| !self.entries.contains_key(number));
        before.map(|number| self.reserved.remove(&number));
        let number = match before {
            Some(number) if (rule::FIRST..RULES).contains(&number) => number,
            _ => self.free().ok_or(CompileError::Rules { policy, most: MOST_RULES })?,
        };
        entry.number = number;
        self.known.insert(identity, number);
        self.entries.insert(number, (entry, 1));
        self.touched.insert(number);
        Ok(number)
    }

    /// A number that nobody has, and nobody who may come back had: the next one, so that one that was given back is not given
    /// again soon.
    fn free(&mut self) -> Option<u32> {
        let is_free = |number: &u32| !self.entries.contains_key(number);
        let from = self.next.max(rule::FIRST);
        let mut all = (from..RULES).chain(rule::FIRST..from);
        let found = all.clone().find(|number| is_free(number) && !self.reserved.contains(number));
        let number = found.or_else(|| all.find(is_free))?;
        self.next = number + 1;
        Some(number)
    }

    /// Lets go of a number once.
    pub(super) fn release(&mut self, number: u32) {
        let Some((entry, held)) = self.entries.get_mut(&number) else { return };
        *held = held.saturating_sub(1);
        if *held == 0 {
            let identity = identity(entry);
            self.known.remove(&identity);
            if self.before.len() >= RULES as usize {
                // Who has not come back by now has lost its number.
                self.before.clear();
                self.reserved.clear();
            }
            self.before.insert(identity, number);
            self.reserved.insert(number);
            self.entries.remove(&number);
            self.touched.insert(number);
        }
    }

    /// What became of rules since this was last asked.
    pub(super) fn changes(&mut self) -> Vec<RuleChange> {
        let mut touched: Vec<u32> = self.touched.drain().collect();
        touched.sort_unstable();
        let change = |number| match self.entries.get(&number) {
            Some((entry, _)) => RuleChange::Set(entry.clone()),
            None => RuleChange::Gone(number),
        };
        touched.into_iter().map(change).collect()
    }

    pub(super) fn all(&self) -> Vec<RuleEntry> {
        self.entries.values().map(|(entry, _)| entry.clone()).collect()
    }
}

fn identity(entry: &RuleEntry) -> Identity {
    Identity {
        direction: entry.direction,
        tier: entry.tier.clone(),
        index: entry.index,
        policies: entry.policies.clone(),
    }
}

fn entry(
    ruleset: &Ruleset,
    tier: u32,
    direction: Direction,
    action: RuleAction,
    index: Option<u32>,
    policies: Vec<PolicyRef>,
) -> RuleEntry {
    let direction = match direction {
        Direction::Ingress => RuleDirection::Ingress,
        Direction::Egress => RuleDirection::Egress,
    };
    let tier = ruleset.tiers.get(tier as usize).map(|tier| tier.name.to_owned()).unwrap_or_default();
    RuleEntry { number: 0, direction, action, tier, index, policies, more: BTreeMap::new() }
}

fn named(policy: &Policy) -> PolicyRef {
    let PolicyName { kind, namespace, name } = PolicyName::from(policy);
    PolicyRef { kind: kind.to_owned(), namespace: namespace.unwrap_or_default(), name }
}

fn shown(policy: &PolicyRef) -> String {
    if policy.namespace.is_empty() {
        return format!("{} {}", policy.kind, policy.name);
    }
    format!("{} {}/{}", policy.kind, policy.namespace, policy.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule_of(policy: usize, index: u32) -> RuleEntry {
        let name =
            PolicyRef { kind: "NetworkPolicy".to_owned(), namespace: "shop".to_owned(), name: format!("p{policy}") };
        RuleEntry {
            number: 0,
            direction: RuleDirection::Ingress,
            action: RuleAction::Allow,
            tier: "NetworkPolicy".to_owned(),
            index: Some(index),
            policies: vec![name],
            more: BTreeMap::new(),
        }
    }

    #[test]
    fn one_rule_too_many_is_refused_with_its_policy_and_the_limit() {
        let mut numbers = Numbers::keeping(&BTreeMap::new());
        for index in 0..MOST_RULES {
            numbers.hold(rule_of(0, index)).unwrap();
        }
        let error = numbers.hold(rule_of(1, 0)).unwrap_err();
        assert_eq!(error, CompileError::Rules { policy: "NetworkPolicy shop/p1".to_owned(), most: 65_520 });
        // One that is there already still has its number, and one that goes makes room.
        let kept = numbers.hold(rule_of(0, 7)).unwrap();
        numbers.release(numbers.known[&identity(&rule_of(0, 9))]);
        assert!(numbers.hold(rule_of(1, 0)).is_ok());
        assert_eq!(numbers.hold(rule_of(0, 7)).unwrap(), kept);
    }

    #[test]
    fn a_rule_that_comes_back_has_the_number_it_had() {
        let mut before = Numbers::keeping(&BTreeMap::new());
        let numbers = [0, 1, 2].map(|index| before.hold(rule_of(0, index)).unwrap());
        let kept = before.all().into_iter().map(|rule| (rule.number, rule)).collect();
        let mut after = Numbers::keeping(&kept);
        let new = after.hold(rule_of(5, 0)).unwrap();
        assert!(!numbers.contains(&new), "it is somebody's who may come back");
        assert_eq!(after.hold(rule_of(0, 2)).unwrap(), numbers[2]);
        after.release(numbers[2]);
        assert_eq!(after.hold(rule_of(0, 2)).unwrap(), numbers[2]);
    }
}
