//! Who there is, and what a subject's rules say of each whom they can tell apart.

use std::collections::{HashMap, HashSet};

use crate::classes::{Class, NamedNumber};
use crate::compare::usable_traffic;
use crate::compile::{Ground, PortTable, SubjectRules};
use crate::engine::Engine;
use crate::flow::{Direction, Transport, Verdict};
use crate::ports::{PortSet, Traffic};
use crate::rules::{Action, Peers, PortMatch, Ports, Rule, RuleRef, Ruleset, TierDefault};
use crate::world::place;

/// What a table allows of what a connection can ask for.
pub(super) fn usable(table: &PortTable) -> Traffic {
    table.allowed().intersection(&usable_traffic())
}

/// The classes that somebody is of.
#[derive(Debug)]
pub(super) struct Everybody {
    classes: Vec<Class>,
    by_set: HashMap<u32, Vec<usize>>,
    with_names: Vec<usize>,
    own_nodes: Vec<usize>,
    pods: Vec<usize>,
}

impl Everybody {
    pub(super) fn new(engine: &Engine<'_>) -> Self {
        let (world, classes) = (engine.world(), engine.classes());
        let mut ids: HashSet<u32> = classes.prefixes().iter().map(|(_, class)| class).collect();
        ids.extend(world.pod_addresses().map(|(address, _)| classes.of_address(address)));
        for (address, _) in world.node_addresses() {
            let class = classes.of_address(address);
            ids.extend([class, classes.as_own_node(class)]);
        }
        // Pods on their node's network are the node, also where nobody knows its addresses.
        let mut hosts: HashSet<u32> = HashSet::new();
        for (at, workload) in world.cluster.workloads.iter().enumerate() {
            if world.group_of(at).is_some() {
                ids.insert(classes.of_workload(at));
            } else {
                let met: Vec<u32> = workload.addresses.iter().map(|address| classes.of_address(*address)).collect();
                hosts.extend(if met.is_empty() { vec![0] } else { met });
            }
        }
        let of = |id: u32| classes.get(id).cloned().unwrap_or_default();
        let mut all: HashSet<Class> = ids.into_iter().map(of).collect();
        for host in hosts.into_iter().map(of) {
            all.insert(Class { own_node: true, ..host.clone() });
            all.insert(host);
        }
        let mut everybody = Self {
            classes: all.into_iter().collect(),
            by_set: HashMap::new(),
            with_names: Vec::new(),
            own_nodes: Vec::new(),
            pods: Vec::new(),
        };
        for (at, class) in everybody.classes.iter().enumerate() {
            for set in class.peers.iter() {
                everybody.by_set.entry(*set).or_default().push(at);
            }
            if !class.names.is_empty() {
                everybody.with_names.push(at);
            }
            if class.own_node {
                everybody.own_nodes.push(at);
            }
            if class.pod {
                everybody.pods.push(at);
            }
        }
        everybody
    }

    /// Everybody whom a subject's rules can tell apart, with what they say.
    pub(super) fn met_by(&self, ruleset: &Ruleset, rules: &SubjectRules, direction: Direction) -> Vec<Met> {
        let mut sets: HashSet<u32> = HashSet::new();
        let mut names: HashSet<u32> = HashSet::new();
        for (_, rule) in rules.rules(ruleset, direction) {
            if let Peers::Set(set) = rule.peers {
                sets.insert(set);
            }
            if let (Direction::Egress, Ports::List(list)) = (direction, &rule.ports) {
                names.extend(list.iter().filter_map(|port| match port {
                    PortMatch::Named { name, .. } => Some(*name),
                    PortMatch::Range { .. } => None,
                }));
            }
        }
        let egress = direction == Direction::Egress;
        let everywhere = sets.iter().any(|set| ruleset.is_everywhere(*set));
        let mut touched: HashSet<usize> =
            sets.iter().filter_map(|set| self.by_set.get(set)).flatten().copied().collect();
        if !names.is_empty() {
            touched.extend(&self.with_names);
        }
        if egress {
            touched.extend(&self.own_nodes);
        }
        if everywhere {
            touched.extend(&self.pods);
        }
        let mut seen: HashSet<Class> = HashSet::new();
        for class in touched.iter().filter_map(|at| self.classes.get(*at)) {
            let peers: Vec<u32> = class.peers.iter().filter(|set| sets.contains(set)).copied().collect();
            let named: Vec<NamedNumber> =
                class.names.iter().filter(|(name, ..)| names.contains(name)).copied().collect();
            seen.insert(Class {
                peers: peers.into(),
                names: named.into(),
                own_node: class.own_node && egress,
                pod: class.pod && everywhere,
            });
        }
        if touched.len() < self.classes.len() {
            seen.insert(Class::default());
        }
        seen.into_iter().map(|class| Met::new(ruleset, rules, direction, class)).collect()
    }
}

/// Peers whom a subject's rules cannot tell apart, with what those say.
#[derive(Debug)]
pub(super) struct Met {
    pub(super) class: Class,
    direction: Direction,
    pub(super) table: PortTable,
    pub(super) allowed: Traffic,
}

impl Met {
    fn new(ruleset: &Ruleset, rules: &SubjectRules, direction: Direction, class: Class) -> Self {
        let table = rules.evaluate(ruleset, direction, &class);
        Self { allowed: usable(&table), class, direction, table }
    }

    /// What some of the grounds decide on.
    pub(super) fn decided_by(&self, wanted: impl Fn(Ground) -> bool) -> Traffic {
        let mut traffic = Traffic::none();
        for transport in Transport::ALL {
            for (first, last, decision) in self.table.rows(transport) {
                if wanted(decision.ground) {
                    traffic.add(transport, &PortSet::range(first, last));
                }
            }
        }
        traffic.intersection(&usable_traffic())
    }

    /// What happens to some traffic before the rules of `own` are asked: what takes it, and what is left of it. A rule that
    /// passes takes for its own tier alone.
    pub(super) fn taken_before(
        &self,
        ruleset: &Ruleset,
        rules: &SubjectRules,
        own: &dyn Fn(RuleRef) -> bool,
        asked: &Traffic,
    ) -> (Vec<(Ground, Option<Verdict>)>, Traffic) {
        let mut takers = Vec::new();
        let mut open = asked.clone();
        for (at, tier) in ruleset.tiers.iter().enumerate() {
            let tier_at = place(at);
            let of_tier = || rules.rules(ruleset, self.direction).filter(|(at, _)| at.tier == tier_at);
            let ends_here = of_tier().any(|(at, _)| own(at));
            let mut passed = Traffic::none();
            for (at, rule) in of_tier() {
                if own(at) || open.is_empty() {
                    break;
                }
                if !self.class.matches(ruleset, rule.peers) {
                    continue;
                }
                let taken = open.intersection(&self.asked_by(rule, rules));
                if taken.is_empty() {
                    continue;
                }
                open = open.difference(&taken);
                match rule.action {
                    Action::Pass if !ends_here => passed = passed.union(&taken),
                    Action::Pass => takers.push((Ground::Rule(at), None)),
                    Action::Allow => takers.push((Ground::Rule(at), Some(Verdict::Allowed))),
                    Action::Deny => takers.push((Ground::Rule(at), Some(Verdict::Denied))),
                }
            }
            if ends_here {
                break;
            }
            let isolating = rules.isolated_by(ruleset, self.direction).find(|(in_tier, _)| *in_tier == tier_at);
            if let (TierDefault::DenyIsolated, Some((tier, policy)), false) = (tier.default, isolating, open.is_empty())
            {
                open = Traffic::none();
                takers.push(if self.class.own_node && self.direction == Direction::Egress {
                    (Ground::OwnNode, Some(Verdict::Allowed))
                } else {
                    (Ground::Isolated { tier, policy }, Some(Verdict::Denied))
                });
            }
            open = open.union(&passed);
        }
        (takers, open)
    }

    /// The traffic that a rule of the subject asks for with these peers.
    pub(super) fn asked_by(&self, rule: &Rule, rules: &SubjectRules) -> Traffic {
        let Ports::List(list) = &rule.ports else {
            return usable_traffic();
        };
        let names: &[NamedNumber] = match self.direction {
            Direction::Ingress => &rules.names,
            Direction::Egress => &self.class.names,
        };
        let mut traffic = Traffic::none();
        for port in list {
            match *port {
                PortMatch::Range { transport, first, last } => traffic.add(transport, &PortSet::range(first, last)),
                PortMatch::Named { name, transport } => {
                    let has =
                        names.iter().filter(|(has, over, _)| *has == name && transport.is_none_or(|it| it == *over));
                    has.for_each(|(_, over, number)| traffic.add(*over, &PortSet::range(*number, *number)));
                }
            }
        }
        traffic.intersection(&usable_traffic())
    }
}
