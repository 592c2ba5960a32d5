//! Rules to rows: what one subject's rules say of one class of peers, for every protocol and port at once.

mod index;
mod open;

use std::sync::Arc;

use crate::classes::{Class, NamedNumber};
use crate::flow::{Direction, Transport, Verdict};
use crate::ports::{PortSet, Traffic};
use crate::rules::{Action, PortMatch, Ports, Rule, RuleRef, Ruleset, TierDefault};
use crate::world::place;
pub(crate) use index::Index;
use open::{Open, Piece};

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

    /// Of pieces that have no port in common and leave none out.
    fn new(mut decided: Vec<(Piece, Decision)>) -> Self {
        decided.sort_unstable_by_key(|((transport, first, _), _)| (*transport, *first));
        let mut runs: [Vec<(u16, Decision)>; 4] = Default::default();
        for ((transport, _, last), decision) in decided {
            let Some(runs) = runs.get_mut(transport.index()) else { continue };
            match runs.last_mut() {
                Some(before) if before.1 == decision => before.0 = last,
                _ => runs.push((last, decision)),
            }
        }
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
            #[cfg(test)]
            work::count(1 + rules.len());
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
            #[cfg(test)]
            work::count(1);
            let found = ruleset.policy(*tier, *policy);
            found.is_some_and(|policy| policy.isolates.get(direction.index()) == Some(&true))
        })
    }

    /// Decides on every port at once between the subject and a class of peers. Whoever asks of many classes does so by an
    /// [`Index`], which goes over the rules once for all.
    #[must_use]
    pub fn evaluate(&self, ruleset: &Ruleset, direction: Direction, class: &Class) -> PortTable {
        let of_tier = |tier: u32| {
            let of_tier = self.rules(ruleset, direction).filter(move |(at, _)| at.tier == tier);
            of_tier.filter(|(_, rule)| class.matches(ruleset, rule.peers))
        };
        let isolating = |tier: u32| self.isolated_by(ruleset, direction).find(|(in_tier, _)| *in_tier == tier);
        decide(ruleset, of_tier, isolating, names(&self.names, direction, class), (direction, class))
    }
}

/// The names of ports that count for a destination: the subject's own, or those of the peer.
fn names<'n>(own: &'n [NamedNumber], direction: Direction, class: &'n Class) -> &'n [NamedNumber] {
    match direction {
        Direction::Ingress => own,
        Direction::Egress => &class.names,
    }
}

/// Decides on every port at once by the rules of each tier that name a class, in order, and by the policy of each that isolates
/// the subject.
fn decide<'r, R: Iterator<Item = (RuleRef, &'r Rule)>>(
    ruleset: &Ruleset,
    rules: impl Fn(u32) -> R,
    isolating: impl Fn(u32) -> Option<(u32, u32)>,
    names: &[NamedNumber],
    (direction, class): (Direction, &Class),
) -> PortTable {
    let mut decided: Vec<(Piece, Decision)> = Vec::new();
    let mut open = Open::all();
    for (at, tier) in ruleset.tiers.iter().enumerate() {
        let tier_at = place(at);
        let mut passed: Vec<Piece> = Vec::new();
        for (at, rule) in rules(tier_at) {
            let verdict = match rule.action {
                Action::Pass => None,
                Action::Allow => Some(Verdict::Allowed),
                Action::Deny => Some(Verdict::Denied),
            };
            let decision = verdict.map(|verdict| Decision { verdict, ground: Ground::Rule(at) });
            take(&mut open, &rule.ports, names, |piece| match decision {
                Some(decision) => decided.push((piece, decision)),
                None => passed.push(piece),
            });
            if open.is_empty() {
                break;
            }
        }
        if let (TierDefault::DenyIsolated, Some((tier, policy))) = (tier.default, isolating(tier_at)) {
            let decision = if class.own_node && direction == Direction::Egress {
                Decision { verdict: Verdict::Allowed, ground: Ground::OwnNode }
            } else {
                Decision { verdict: Verdict::Denied, ground: Ground::Isolated { tier, policy } }
            };
            open.take_all(|piece| decided.push((piece, decision)));
        }
        passed.into_iter().for_each(|piece| open.give_back(piece));
        if open.is_empty() {
            break;
        }
    }
    open.take_all(|piece| decided.push((piece, UNDECIDED)));
    PortTable::new(decided)
}

/// Takes what is left of a rule's ports, for a destination that has these named ports.
fn take(open: &mut Open, ports: &Ports, names: &[NamedNumber], mut taken: impl FnMut(Piece)) {
    let Ports::List(list) = ports else {
        open.take_all(taken);
        return;
    };
    for port in list {
        match *port {
            PortMatch::Range { transport, first, last } => open.take((transport, first, last), &mut taken),
            PortMatch::Named { name, transport } => {
                for (has, over, number) in names {
                    if *has == name && transport.is_none_or(|wanted| wanted == *over) {
                        open.take((*over, *number, *number), &mut taken);
                    }
                }
            }
        }
    }
}

/// Counts what is looked at, for tests of what compiling costs: a machine may be fast, and a count is what it is.
#[cfg(test)]
pub(crate) mod work {
    use std::cell::Cell;

    thread_local!(static LOOKED_AT: Cell<usize> = const { Cell::new(0) });

    /// So many policies or rules more were looked at.
    pub(crate) fn count(more: usize) {
        LOOKED_AT.set(LOOKED_AT.get() + more);
    }

    /// How many policies and rules `job` looks at.
    pub(crate) fn of(job: impl FnOnce()) -> usize {
        let before = LOOKED_AT.get();
        job();
        LOOKED_AT.get() - before
    }
}
