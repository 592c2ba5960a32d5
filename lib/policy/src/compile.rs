//! Rules to rows: what one subject's rules say of one class of peers, for every protocol and port at once.

use std::sync::Arc;

use crate::classes::{Class, NamedNumber};
use crate::flow::{Direction, Transport, Verdict};
use crate::ports::{PortSet, Traffic};
use crate::rules::{Action, PortMatch, Ports, Rule, RuleRef, Ruleset, TierDefault};
use crate::world::place;

/// What decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ground {
    /// The first rule that matched.
    Rule(RuleRef),
    /// A policy isolates the subject, and no rule of its tier matched. The first such policy, by its places.
    Isolated {
        /// The tier.
        tier: u32,
        /// The policy in the tier.
        policy: u32,
    },
    /// The subject is isolated, but the peer is its own node.
    OwnNode,
    /// No tier decided.
    Default,
}

/// A verdict with what decided it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decision {
    /// The verdict.
    pub verdict: Verdict,
    /// What decided it.
    pub ground: Ground,
}

/// Decisions on every port of every transport.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PortTable {
    /// For each transport runs of ports in order, without a gap: the last port of the run, and its decision.
    runs: [Vec<(u16, Decision)>; 4],
}

impl PortTable {
    /// The decision on a port. A port past the last that a transport has is decided as the last.
    #[must_use]
    pub fn get(&self, transport: Transport, port: u16) -> Decision {
        let runs = self.runs(transport);
        let at = runs.partition_point(|(last, _)| *last < port).min(runs.len().saturating_sub(1));
        runs.get(at).map_or(UNDECIDED, |(_, decision)| *decision)
    }

    /// Runs of ports in order: first, last, decision.
    pub fn rows(&self, transport: Transport) -> impl Iterator<Item = (u16, u16, Decision)> + '_ {
        let mut first = 0;
        self.runs(transport).iter().map(move |(last, decision)| {
            let row = (first, *last, *decision);
            first = last.saturating_add(1);
            row
        })
    }

    fn runs(&self, transport: Transport) -> &[(u16, Decision)] {
        self.runs.get(transport.index()).map_or(&[], Vec::as_slice)
    }

    /// What it allows.
    #[must_use]
    pub fn allowed(&self) -> Traffic {
        let mut traffic = Traffic::none();
        for transport in Transport::ALL {
            let rows = self.rows(transport).filter(|(_, _, decision)| decision.verdict == Verdict::Allowed);
            let ports = PortSet::of(rows.map(|(first, last, _)| (first, last)).collect());
            traffic.add(transport, &ports);
        }
        traffic
    }

    fn new(decided: &[(Traffic, Decision)]) -> Self {
        let runs = Transport::ALL.map(|transport| {
            let ranges = decided.iter().flat_map(|(traffic, decision)| {
                traffic.of(transport).ranges().iter().map(|(first, last)| (*first, *last, *decision))
            });
            let mut all: Vec<_> = ranges.collect();
            all.sort_unstable_by_key(|(first, ..)| *first);
            let mut runs: Vec<(u16, Decision)> = Vec::with_capacity(all.len());
            for (_, last, decision) in all {
                match runs.last_mut() {
                    Some(before) if before.1 == decision => before.0 = last,
                    _ => runs.push((last, decision)),
                }
            }
            runs
        });
        Self { runs }
    }
}

/// What is left when no tier decides.
const UNDECIDED: Decision = Decision { verdict: Verdict::Allowed, ground: Ground::Default };

/// The rules that select a subject: the same for all its replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SubjectRules {
    /// Policies that select it, by tier and place, in order.
    pub policies: Arc<[(u32, u32)]>,
    /// Its own ports that ingress rules of those policies ask for by name: (name, transport, number), in order.
    pub names: Vec<NamedNumber>,
}

impl SubjectRules {
    /// Its rules of a direction, in order, with their places.
    pub fn rules<'r>(
        &'r self,
        ruleset: &'r Ruleset,
        direction: Direction,
    ) -> impl Iterator<Item = (RuleRef, &'r Rule)> + 'r {
        self.policies.iter().flat_map(move |(tier, policy)| {
            let rules = ruleset.policy(*tier, *policy).map_or(&[][..], |found| found.rules.as_slice());
            let rules = rules.iter().enumerate().filter(move |(_, rule)| rule.direction == direction);
            rules.map(|(at, rule)| (RuleRef { tier: *tier, policy: *policy, rule: place(at) }, rule))
        })
    }

    /// Policies that isolate it in a direction, by tier and place.
    pub fn isolated_by<'r>(
        &'r self,
        ruleset: &'r Ruleset,
        direction: Direction,
    ) -> impl Iterator<Item = (u32, u32)> + 'r {
        self.policies.iter().copied().filter(move |(tier, policy)| {
            let found = ruleset.policy(*tier, *policy);
            found.is_some_and(|policy| policy.isolates.get(direction.index()) == Some(&true))
        })
    }

    /// Decides on every port at once between the subject and a class of peers.
    #[must_use]
    pub fn evaluate(&self, ruleset: &Ruleset, direction: Direction, class: &Class) -> PortTable {
        let names: &[NamedNumber] = match direction {
            Direction::Ingress => &self.names,
            Direction::Egress => &class.names,
        };
        let mut decided: Vec<(Traffic, Decision)> = Vec::new();
        let mut open = Traffic::all();
        for (at, tier) in ruleset.tiers.iter().enumerate() {
            let tier_at = place(at);
            let mut passed = Traffic::none();
            let rules = self.rules(ruleset, direction).filter(|(at, _)| at.tier == tier_at);
            for (at, rule) in rules.filter(|(_, rule)| class.matches(ruleset, rule.peers)) {
                let taken = open.intersection(&traffic_of(&rule.ports, names));
                if taken.is_empty() {
                    continue;
                }
                open = open.difference(&taken);
                match rule.action {
                    Action::Pass => passed = passed.union(&taken),
                    Action::Allow | Action::Deny => {
                        let verdict = if rule.action == Action::Allow { Verdict::Allowed } else { Verdict::Denied };
                        decided.push((taken, Decision { verdict, ground: Ground::Rule(at) }));
                    }
                }
                if open.is_empty() {
                    break;
                }
            }
            let isolating = self.isolated_by(ruleset, direction).find(|(in_tier, _)| *in_tier == tier_at);
            if let (TierDefault::DenyIsolated, Some((tier, policy))) = (tier.default, isolating) {
                let decision = if class.own_node && direction == Direction::Egress {
                    Decision { verdict: Verdict::Allowed, ground: Ground::OwnNode }
                } else {
                    Decision { verdict: Verdict::Denied, ground: Ground::Isolated { tier, policy } }
                };
                decided.push((std::mem::take(&mut open), decision));
            }
            open = open.union(&passed);
            if open.is_empty() {
                break;
            }
        }
        decided.push((open, UNDECIDED));
        PortTable::new(&decided)
    }
}

/// The ports of a rule, for a destination that has these named ports.
fn traffic_of(ports: &Ports, names: &[NamedNumber]) -> Traffic {
    let Ports::List(list) = ports else {
        return Traffic::all();
    };
    let mut ranges: [Vec<(u16, u16)>; 4] = Default::default();
    let mut add = |transport: Transport, first, last| {
        if let Some(ranges) = ranges.get_mut(transport.index()) {
            ranges.push((first, last));
        }
    };
    for port in list {
        match *port {
            PortMatch::Range { transport, first, last } => add(transport, first, last),
            PortMatch::Named { name, transport } => {
                for (has, over, number) in names {
                    if *has == name && transport.is_none_or(|wanted| wanted == *over) {
                        add(*over, *number, *number);
                    }
                }
            }
        }
    }
    let mut traffic = Traffic::none();
    for (transport, ranges) in Transport::ALL.into_iter().zip(ranges) {
        traffic.add(transport, &PortSet::of(ranges));
    }
    traffic
}
