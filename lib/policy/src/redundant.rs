//! Rules and policies whose removal changes nothing.
//!
//! Each policy as a whole and each of its rules is taken out alone, and every pod that the policy selects is asked what its
//! rules then say, in each direction, of everybody they can tell apart, on every port: a node enforces each side by itself, so
//! each side's answers have to stay as they were. Taking out a whole NetworkPolicy, or its last egress rule where
//! `policyTypes` is left to the default, may end an isolation, which counts like any other change.
//!
//! Everybody is who the objects tell of: pods under their addresses and as such, nodes, and each range of addresses that rules
//! name, also one whose addresses are all taken by pods today, since pods come and go.

mod finding;
mod known;
mod removal;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use chainkit_cluster::model::Cluster;

use crate::compile::{Ground, PortTable};
use crate::engine::{Engine, PolicyId};
use crate::explain::PolicyName;
use crate::flow::{Direction, Transport, Verdict};
use crate::ports::{PortSet, Traffic};
use crate::rules::{Policy, Rule, RuleRef};
use crate::world::place;
use known::{Everybody, Met};
use removal::Removal;

/// A policy by its tier and its place there.
pub(crate) type PolicyAt = (u32, u32);

/// A policy or rule whose removal changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redundant {
    /// The policy.
    pub policy: PolicyName,
    /// The rule by its direction and its place there, from 0; none is the policy as a whole.
    pub rule: Option<(Direction, usize)>,
    /// The file it stands in; empty where it came from none.
    pub file: Arc<str>,
    /// The line it stands at.
    pub line: usize,
    /// Why, in words.
    pub reason: String,
    /// What decides in its place, in order; at most [`MAX_COVERS`].
    pub covered_by: Vec<Cover>,
    /// Whether it is of a set that can be removed all at once: in the order of files and lines, each that can still go beside
    /// those before it, and then what can go once others have. Of two rules that cover each other one stays.
    pub together: bool,
}

/// What decides in place of what is redundant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cover {
    /// The policy.
    pub policy: PolicyName,
    /// The direction.
    pub direction: Direction,
    /// The rule by its place in its direction; none where the policy isolates and so denies what no rule of it allows.
    pub rule: Option<usize>,
}

/// How much of what covers is named.
pub const MAX_COVERS: usize = 100;

/// What may be taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Part {
    Whole,
    Rule(Direction, usize),
}

/// How often what had to stay is looked at again: one round for each turn of who stays for whose sake, which are few.
const MORE_ROUNDS: usize = 8;

/// Something that may be taken out, with its place.
#[derive(Clone, Debug)]
struct Item {
    file: Arc<str>,
    line: usize,
    part: Part,
    at: PolicyAt,
    policy: PolicyName,
}

/// Finds the policies and rules whose removal changes nothing, in the order of files and lines. The rules of a policy that
/// selects nobody are not told beside it.
#[must_use]
pub fn redundant(engine: &Engine<'_>) -> Vec<Redundant> {
    Search::new(engine).all()
}

struct Search<'e, 'a> {
    engine: &'e Engine<'a>,
    everybody: Everybody,
    /// Whose rules a policy is among.
    selected: HashMap<PolicyAt, Vec<PolicyId>>,
    /// What subjects' rules say as they stand, by direction.
    met: HashMap<(PolicyId, Direction), Arc<[Met]>>,
}

/// What is seen while something is taken out.
#[derive(Default)]
struct Seen {
    /// What decides in its place, and how; a rule that passes decides nothing itself.
    covers: BTreeSet<(Direction, Ground, Option<Verdict>)>,
    /// Whether its peers are anybody.
    has_peers: bool,
    /// Whether it takes any port of theirs.
    has_ports: bool,
    /// Whether it decides anything as things stand.
    decides: bool,
}

impl<'e, 'a> Search<'e, 'a> {
    fn new(engine: &'e Engine<'a>) -> Self {
        let workloads = 0..engine.world().cluster.workloads.len();
        let in_use: BTreeSet<PolicyId> = workloads.filter_map(|at| engine.policy_of(at)).collect();
        let mut selected: HashMap<PolicyAt, Vec<PolicyId>> = HashMap::new();
        for id in in_use {
            for at in engine.policies().get(id as usize).into_iter().flat_map(|rules| rules.policies.iter()) {
                selected.entry(*at).or_default().push(id);
            }
        }
        Self { engine, everybody: Everybody::new(engine), selected, met: HashMap::new() }
    }

    fn all(&mut self) -> Vec<Redundant> {
        let (mut found, mut stayed) = (Vec::<Redundant>::new(), Vec::new());
        let objects = removal::Objects::new(&self.engine.world().cluster);
        let mut alone = Removal::new(self.engine.rules(), &objects);
        let mut together = Removal::new(self.engine.rules(), &objects);
        for item in items(self.engine) {
            let idle = !self.selected.contains_key(&item.at);
            if idle && item.part != Part::Whole {
                continue;
            }
            let seen = if idle {
                Seen::default()
            } else {
                alone.take(item.at, item.part);
                let seen = self.changes_nothing(&item, &alone);
                alone.put_back(item.at, item.part);
                let Some(seen) = seen else { continue };
                seen
            };
            let gone_already = together.is_gone(item.at);
            if !gone_already {
                together.take(item.at, item.part);
            }
            let goes = gone_already || idle || self.stays_same(&item, &together);
            if !goes {
                together.put_back(item.at, item.part);
                stayed.push((found.len(), item.clone()));
            }
            found.push(self.told(item, &seen, idle, goes));
        }
        // What stayed for the sake of something after it can go once that has gone.
        for _ in 0..MORE_ROUNDS {
            let before = stayed.len();
            stayed.reverse();
            stayed.retain(|(at, item)| {
                together.take(item.at, item.part);
                let goes = self.stays_same(item, &together);
                if !goes {
                    together.put_back(item.at, item.part);
                } else if let Some(found) = found.get_mut(*at) {
                    found.together = true;
                }
                !goes
            });
            if stayed.len() == before {
                break;
            }
        }
        found
    }

    /// What a subject's rules say as they stand.
    fn met(&mut self, id: PolicyId, direction: Direction) -> Arc<[Met]> {
        if let Some(met) = self.met.get(&(id, direction)) {
            return Arc::clone(met);
        }
        let rules = self.engine.policies().get(id as usize).cloned().unwrap_or_default();
        let met: Arc<[Met]> = self.everybody.met_by(self.engine.rules(), &rules, direction).into();
        self.met.insert((id, direction), Arc::clone(&met));
        met
    }

    /// The subjects that something may matter to, and in which directions.
    fn concerned(&self, item: &Item) -> Vec<(PolicyId, Direction)> {
        let ids = self.selected.get(&item.at).map_or(&[][..], Vec::as_slice);
        let directions = match item.part {
            Part::Whole => &Direction::BOTH[..],
            Part::Rule(Direction::Ingress, _) => &[Direction::Ingress],
            Part::Rule(Direction::Egress, _) => &[Direction::Egress],
        };
        directions.iter().flat_map(|direction| ids.iter().map(|id| (*id, *direction))).collect()
    }

    fn policy(&self, at: PolicyAt) -> Option<&'e Policy> {
        self.engine.rules().policy(at.0, at.1)
    }

    /// What was seen where taking something out changes nothing; `None` as soon as something changes.
    fn changes_nothing(&mut self, item: &Item, without: &Removal<'_>) -> Option<Seen> {
        let policy = self.policy(item.at)?;
        let mut seen = Seen::default();
        for (id, direction) in self.concerned(item) {
            let rules = self.engine.policies().get(id as usize)?;
            let rest = without.of_subject(rules);
            let own: Vec<&Rule> =
                policy.rules.iter().filter(|rule| rule.direction == direction && item.has(rule)).collect();
            let isolates = policy.isolates.get(direction.index()) == Some(&true);
            let ends_isolation = isolates && (item.part == Part::Whole || !without.isolates(item.at, direction));
            for met in self.met(id, direction).iter() {
                let mut asked = Traffic::none();
                for rule in own.iter().filter(|rule| met.class.matches(self.engine.rules(), rule.peers)) {
                    seen.has_peers = true;
                    asked = asked.union(&met.asked_by(rule, rules));
                }
                seen.has_ports |= !asked.is_empty();
                if asked.is_empty() && !ends_isolation {
                    continue;
                }
                let is_own = |at: RuleRef| {
                    (at.tier, at.policy) == item.at
                        && policy.rules.get(at.rule as usize).is_some_and(|rule| item.has(rule))
                };
                // What comes before a policy as a whole comes before its first rule; between its rules others may stand.
                let (takers, mut left) = met.taken_before(self.engine.rules(), rules, &is_own, &asked);
                seen.covers.extend(takers.into_iter().map(|(ground, verdict)| (direction, ground, verdict)));
                if ends_isolation {
                    left = left.union(&met.decided_by(|ground| item.is_ground(ground)));
                }
                if left.is_empty() && !ends_isolation {
                    continue;
                }
                seen.decides = true;
                let table = rest.evaluate(without.ruleset(), direction, &met.class);
                if known::usable(&table) != met.allowed {
                    return None;
                }
                seen.covered(direction, &table, &left);
            }
        }
        Some(seen)
    }

    /// Whether something can go beside all that has gone before.
    fn stays_same(&mut self, item: &Item, without: &Removal<'_>) -> bool {
        let Some(policy) = self.policy(item.at) else { return true };
        for (id, direction) in self.concerned(item) {
            let Some(rules) = self.engine.policies().get(id as usize) else { continue };
            let rest = without.of_subject(rules);
            let ends_isolation = policy.isolates.get(direction.index()) == Some(&true)
                && (item.part == Part::Whole || !without.isolates(item.at, direction));
            let own = || policy.rules.iter().filter(|rule| rule.direction == direction && item.has(rule));
            for met in self.met(id, direction).iter() {
                let concerned = ends_isolation || own().any(|rule| met.class.matches(self.engine.rules(), rule.peers));
                if concerned && known::usable(&rest.evaluate(without.ruleset(), direction, &met.class)) != met.allowed {
                    return false;
                }
            }
        }
        true
    }

    fn told(&self, item: Item, seen: &Seen, idle: bool, together: bool) -> Redundant {
        let ruleset = self.engine.rules();
        let covers: BTreeSet<Cover> = seen
            .covers
            .iter()
            .filter_map(|(direction, ground, _)| {
                let (at, rule) = match *ground {
                    Ground::Rule(at) => ((at.tier, at.policy), Some(ruleset.rule(at)?.index)),
                    Ground::Isolated { tier, policy } => ((tier, policy), None),
                    Ground::OwnNode | Ground::Default => return None,
                };
                Some(Cover { policy: self.policy(at)?.into(), direction: *direction, rule })
            })
            .collect();
        let reason = finding::reason(&item, self.policy(item.at), seen, idle, &covers);
        Redundant {
            policy: item.policy,
            rule: match item.part {
                Part::Whole => None,
                Part::Rule(direction, index) => Some((direction, index)),
            },
            file: item.file,
            line: item.line,
            reason,
            covered_by: covers.into_iter().take(MAX_COVERS).collect(),
            together,
        }
    }
}

impl Item {
    /// Whether a rule of its policy is part of it.
    fn has(&self, rule: &Rule) -> bool {
        match self.part {
            Part::Whole => true,
            Part::Rule(direction, index) => (rule.direction, rule.index) == (direction, index),
        }
    }

    /// Whether it denies as a policy that isolates.
    fn is_ground(&self, ground: Ground) -> bool {
        matches!(ground, Ground::Isolated { tier, policy } if (tier, policy) == self.at)
    }
}

impl Seen {
    /// Notes what decides on some traffic where something is taken out.
    fn covered(&mut self, direction: Direction, without: &PortTable, asked: &Traffic) {
        for transport in Transport::ALL.into_iter().filter(|transport| !asked.of(*transport).is_empty()) {
            for (first, last, decision) in without.rows(transport) {
                if !asked.of(transport).intersection(&PortSet::range(first, last)).is_empty() {
                    self.covers.insert((direction, decision.ground, Some(decision.verdict)));
                }
            }
        }
    }
}

/// Everything that may be taken out, in the order of files and lines.
fn items(engine: &Engine<'_>) -> Vec<Item> {
    let mut places: BTreeMap<PolicyName, PolicyAt> = BTreeMap::new();
    for (tier, found) in engine.rules().tiers.iter().enumerate() {
        for (at, policy) in found.policies.iter().enumerate() {
            places.insert(policy.into(), (place(tier), place(at)));
        }
    }
    let cluster: &Cluster = &engine.world().cluster;
    let mut items = Vec::new();
    let mut add =
        |policy: PolicyName, file: &Arc<str>, line_of: &dyn Fn(Option<String>) -> usize, rules: [usize; 2]| {
            let Some(at) = places.get(&policy) else { return };
            let mut push = |part, line| {
                items.push(Item { file: Arc::clone(file), line, part, at: *at, policy: policy.clone() });
            };
            push(Part::Whole, line_of(None));
            for (direction, rules) in Direction::BOTH.into_iter().zip(rules) {
                for index in 0..rules {
                    push(Part::Rule(direction, index), line_of(Some(format!("spec.{}[{index}]", direction.name()))));
                }
            }
        };
    for located in &cluster.network_policies {
        let metadata = &located.value.metadata;
        let name = PolicyName {
            kind: "NetworkPolicy",
            namespace: Some(metadata.namespace.clone().unwrap_or_default()),
            name: metadata.name.clone().unwrap_or_default(),
        };
        let line_of = |path: Option<String>| path.map_or(located.origin.line, |path| located.line(&path));
        add(name, &located.origin.file, &line_of, removal::rules_of(&located.value));
    }
    for located in &cluster.cluster_policies {
        let policy = &located.value;
        let name = PolicyName { kind: policy.kind.name(), namespace: None, name: policy.name.clone() };
        let line_of = |path: Option<String>| path.map_or(located.origin.line, |path| located.line(&path));
        add(name, &located.origin.file, &line_of, [policy.ingress.len(), policy.egress.len()]);
    }
    items.sort_by(|a, b| (&a.file, a.line, &a.policy, a.part).cmp(&(&b.file, b.line, &b.policy, b.part)));
    items
}
