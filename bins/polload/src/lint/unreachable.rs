//! Rules of cluster-wide policies that are never reached, on any port of anybody: what comes before them in their tier has
//! taken all that they match.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use chainkit_cluster::model::Cluster;
use chainkit_policy::rules::{Peers, Policy, PortMatch, Ports, Rule, Tier};
use chainkit_policy::{
    Class, ClassId, Direction, Engine, NamedNumber, Options, PortSet, Ruleset, Scope, SubjectRules, Traffic, Transport,
};

use super::told::Told;
use super::{Finding, Severity};

/// Comparisons of rules with peers that are made in one tier and direction: some seconds' worth.
const MOST: usize = 100_000_000;

/// How many comparisons it takes as long as to take ports out of others, if they are few.
const PORTS: usize = 40;

/// Places of rules in what is kept of peers that were judged, to know the like of them again.
const MANY_SEEN: usize = 1 << 22;

pub(super) fn look(cluster: &Cluster) -> Vec<Finding> {
    look_within(cluster, MOST)
}

fn look_within(cluster: &Cluster, most: usize) -> Vec<Finding> {
    if cluster.cluster_policies.is_empty() {
        return Vec::new();
    }
    // Network policies stand in a tier of their own, and would only make more peers to tell apart.
    let cluster = &Cluster {
        namespaces: cluster.namespaces.clone(),
        nodes: cluster.nodes.clone(),
        workloads: cluster.workloads.clone(),
        cluster_policies: cluster.cluster_policies.clone(),
        ..Cluster::default()
    };
    let engine = Engine::new(cluster, &Options { scope: Scope::All, cidrs_match_pods: true });
    let peers = Met::new(&engine);
    let mut findings = Vec::new();
    for (place, tier) in engine.rules().tiers.iter().enumerate() {
        let mut told: BTreeMap<usize, Told<'_>> = BTreeMap::new();
        for direction in Direction::BOTH {
            let mut ranked = Ranked::new(tier, direction);
            match ranked.judge_all(&engine, &peers, place, most) {
                Ok(()) => ranked.tell(tier, &mut told),
                Err(TooMany) => tell_not_looked_for(tier, direction, &mut told),
            }
        }
        findings.extend(told.into_values().flat_map(Told::all));
    }
    findings
}

fn about<'t>(told: &'t mut BTreeMap<usize, Told<'static>>, at: usize, policy: &Policy) -> &'t mut Told<'static> {
    told.entry(at)
        .or_insert_with(|| Told::at_lines(policy.origin.file.to_string(), format!("{}/{}", policy.kind, policy.name)))
}

fn tell_not_looked_for(tier: &Tier, direction: Direction, told: &mut BTreeMap<usize, Told<'static>>) {
    let with_rules = |policy: &&Policy| policy.rules.iter().any(|rule| rule.direction == direction);
    let count = tier.policies.iter().filter(with_rules).count();
    let Some((at, policy)) = tier.policies.iter().enumerate().find(|(_, policy)| with_rules(policy)) else {
        return;
    };
    about(told, at, policy).push_at(
        "unreachable-not-looked-for",
        Severity::Info,
        policy.origin.line,
        format!(
            "whether {} rules of tier {} are ever reached was not looked for: {count} policies have too many rules, peers and \
             pods to compare",
            direction.name(),
            tier.name
        ),
        "look at fewer policies at once, or ask polload redundant",
    );
}

/// More comparisons than are made.
#[derive(Debug)]
struct TooMany;

/// The classes of peers that there are, by what rules ask of them.
struct Met<'e> {
    classes: Vec<&'e Class>,
    in_set: HashMap<u32, Vec<ClassId>>,
    pods: Vec<ClassId>,
}

impl<'e> Met<'e> {
    fn new(engine: &'e Engine<'_>) -> Self {
        let mut met = Self { classes: Vec::new(), in_set: HashMap::new(), pods: Vec::new() };
        for (at, (_, class)) in (0..).zip(engine.classes().iter()) {
            met.classes.push(class);
            class.peers.iter().for_each(|set| met.in_set.entry(*set).or_default().push(at));
            if class.pod {
                met.pods.push(at);
            }
        }
        met
    }
}

/// A rule with its place in the policy, and what is known of it.
struct Known<'r> {
    rule: &'r Rule,
    /// Its ports, where they are the same for everybody.
    ports: Option<Traffic>,
    /// It matches something that no rule before it does.
    first: bool,
    /// It matches something if nothing is before it.
    alone: bool,
}

/// The rules of a tier in one direction, policy by policy.
struct Ranked<'r> {
    direction: Direction,
    rules: Vec<Known<'r>>,
    of_policy: Vec<Range<usize>>,
}

/// What rules can tell of a peer: which of them it matches, and its ports that they ask for.
type Seen = (Vec<usize>, Vec<NamedNumber>);

impl<'r> Ranked<'r> {
    fn new(tier: &'r Tier, direction: Direction) -> Self {
        let (mut rules, mut of_policy) = (Vec::new(), Vec::new());
        for policy in &tier.policies {
            let first = rules.len();
            let of_direction = policy.rules.iter().filter(|rule| rule.direction == direction);
            rules.extend(of_direction.map(|rule| {
                let ports = names(&rule.ports).next().is_none().then(|| traffic(&rule.ports, &[]));
                Known { rule, ports, first: false, alone: false }
            }));
            of_policy.push(first..rules.len());
        }
        Self { direction, rules, of_policy }
    }

    /// Judges every peer of every subject.
    fn judge_all(&mut self, engine: &Engine<'_>, met: &Met<'_>, place: usize, mut most: usize) -> Result<(), TooMany> {
        let mut done = HashSet::new();
        for (id, rules) in (0..).zip(engine.policies()) {
            if !engine.is_in_use(id) {
                continue;
            }
            let rules = self.rules_of(rules, place);
            if !rules.0.is_empty() && done.insert(rules.clone()) {
                self.judge(engine.rules(), met, &rules, &mut most)?;
            }
        }
        Ok(())
    }

    /// What the tier's rules can tell of a subject.
    fn rules_of(&self, rules: &SubjectRules, place: usize) -> Seen {
        let policies = rules.policies.iter().filter(|(tier, _)| *tier as usize == place);
        let policies = policies.map(|(_, policy)| *policy as usize);
        let policies: Vec<usize> =
            policies.filter(|at| self.of_policy.get(*at).is_some_and(|rules| !rules.is_empty())).collect();
        let names = if self.direction == Direction::Ingress { rules.names.clone() } else { Vec::new() };
        (policies, names)
    }

    /// Judges every peer of one subject that its rules can tell apart.
    fn judge(
        &mut self,
        ruleset: &Ruleset,
        met: &Met<'_>,
        (policies, own_names): &Seen,
        most: &mut usize,
    ) -> Result<(), TooMany> {
        let in_order = policies.iter().filter_map(|at| self.of_policy.get(*at)).cloned().flatten();
        let in_order: Vec<usize> = in_order.collect();
        spend(most, in_order.len())?;
        // Places in that order.
        let (mut of_set, mut of_pods, mut of_all) = (HashMap::<u32, Vec<usize>>::new(), Vec::new(), Vec::new());
        let mut asked = HashSet::new();
        for (at, known) in in_order.iter().enumerate().filter_map(|(at, rule)| Some((at, self.rules.get(*rule)?))) {
            match known.rule.peers {
                Peers::Any => of_all.push(at),
                Peers::Set(set) => {
                    of_set.entry(set).or_default().push(at);
                    if ruleset.is_everywhere(set) {
                        of_pods.push(at);
                    }
                }
            }
            if self.direction == Direction::Egress {
                asked.extend(names(&known.rule.ports));
            }
        }
        let mut candidates: Vec<ClassId> = Vec::new();
        if of_all.is_empty() {
            let of_sets = of_set.keys().filter_map(|set| met.in_set.get(set));
            for classes in of_sets.chain((!of_pods.is_empty()).then_some(&met.pods)) {
                spend(most, classes.len())?;
                candidates.extend(classes);
            }
            candidates.sort_unstable();
            candidates.dedup();
        } else {
            candidates.extend((0..).zip(&met.classes).map(|(at, _)| at));
        }
        let (mut seen, mut kept) = (HashSet::<Seen>::new(), 0);
        for class in candidates.into_iter().filter_map(|at| met.classes.get(at as usize)) {
            spend(most, class.peers.len())?;
            let of_sets = class.peers.iter().filter_map(|set| of_set.get(set)).flatten();
            let pods = of_pods.iter().filter(|_| class.pod);
            let mut matching: Vec<usize> = of_all.iter().chain(of_sets).chain(pods).copied().collect();
            matching.sort_unstable();
            matching.dedup();
            spend(most, matching.len())?;
            let has = class.names.iter().filter(|(name, ..)| asked.contains(name)).copied();
            let of_peer: Seen = (matching, has.collect());
            if !seen.contains(&of_peer) {
                let names = if self.direction == Direction::Ingress { own_names } else { &of_peer.1 };
                self.match_in_order(of_peer.0.iter().filter_map(|at| in_order.get(*at)), names, most)?;
                kept += of_peer.0.len();
                if kept > MANY_SEEN {
                    seen.clear();
                    kept = 0;
                }
                seen.insert(of_peer);
            }
        }
        Ok(())
    }

    /// Lets rules take what they match of everything, one after the other.
    fn match_in_order<'a>(
        &mut self,
        rules: impl Iterator<Item = &'a usize>,
        names: &[NamedNumber],
        most: &mut usize,
    ) -> Result<(), TooMany> {
        let mut open = Traffic::all();
        let mut is_open = true;
        for at in rules {
            let Some(known) = self.rules.get_mut(*at) else { continue };
            if !is_open && known.alone {
                continue;
            }
            let of_peer;
            let ports = match &known.ports {
                Some(ports) => ports,
                None => {
                    of_peer = traffic(&known.rule.ports, names);
                    &of_peer
                }
            };
            known.alone |= !ports.is_empty();
            if !is_open {
                continue;
            }
            spend(most, work(&open, ports))?;
            let taken = open.intersection(ports);
            if !taken.is_empty() {
                known.first = true;
                open = open.difference(&taken);
                is_open = !open.is_empty();
            }
        }
        Ok(())
    }

    /// Tells of rules none of whose parts is ever first, where one of them would match if it were alone.
    fn tell(&self, tier: &Tier, told: &mut BTreeMap<usize, Told<'static>>) {
        for (at, (policy, rules)) in tier.policies.iter().zip(&self.of_policy).enumerate() {
            // Parts of a rule follow one another.
            for parts in self.rules.get(rules.clone()).unwrap_or_default().chunk_by(|a, b| a.rule.index == b.rule.index)
            {
                // What matches nothing even alone has another finding.
                let is_shadowed = parts.iter().all(|part| !part.first) && parts.iter().any(|part| part.alone);
                let Some(part) = parts.first().filter(|_| is_shadowed) else { continue };
                about(told, at, policy).push_at(
                    "unreachable-rule",
                    Severity::Warning,
                    part.rule.line,
                    format!(
                        "{} rule {} is never reached: rules before it in tier {} match all that it matches",
                        self.direction.name(),
                        part.rule.index,
                        tier.name
                    ),
                    "put it before them, give its policy a lower priority number, or take it out",
                );
            }
        }
    }
}

fn spend(most: &mut usize, comparisons: usize) -> Result<(), TooMany> {
    *most = most.checked_sub(comparisons).ok_or(TooMany)?;
    Ok(())
}

/// How much work it is to take ports out of others: a unit for what takes as long as a comparison of peers.
fn work(open: &Traffic, ports: &Traffic) -> usize {
    let each = Transport::ALL.map(|of| open.of(of).ranges().len() * ports.of(of).ranges().len());
    PORTS + each.into_iter().sum::<usize>() / 8
}

/// The names among ports, by their numbers.
fn names(ports: &Ports) -> impl Iterator<Item = u32> + '_ {
    let list = if let Ports::List(list) = ports { list.as_slice() } else { &[] };
    list.iter().filter_map(|port| if let PortMatch::Named { name, .. } = port { Some(*name) } else { None })
}

/// The ports of a rule, for a destination that has these named ports.
fn traffic(ports: &Ports, names: &[NamedNumber]) -> Traffic {
    let Ports::List(list) = ports else {
        return Traffic::all();
    };
    let mut sets: [Vec<PortSet>; 4] = Default::default();
    let mut add = |transport: Transport, first: u16, last: u16| {
        if let Some(sets) = sets.get_mut(transport.index()) {
            sets.push(PortSet::range(first, last));
        }
    };
    for port in list {
        match *port {
            PortMatch::Range { transport, first, last } => add(transport, first, last),
            PortMatch::Named { name, transport } => {
                let called = names
                    .iter()
                    .filter(|(has, over, _)| *has == name && transport.is_none_or(|transport| transport == *over));
                called.for_each(|(_, over, number)| add(*over, *number, *number));
            }
        }
    }
    let mut traffic = Traffic::none();
    for (transport, sets) in Transport::ALL.into_iter().zip(sets) {
        traffic.add(transport, &united(sets));
    }
    traffic
}

/// All of some sets; two by two, so that many take little longer than their sum.
fn united(mut sets: Vec<PortSet>) -> PortSet {
    while sets.len() > 1 {
        sets = sets.chunks(2).map(|two| two.iter().fold(PortSet::empty(), |all, set| all.union(set))).collect();
    }
    sets.pop().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use chainkit_cluster::Reader;

    use super::*;

    /// 50 pods, and for each number a policy of one rule: for all pods, from all pods, on this port.
    fn cluster(numbers: impl Iterator<Item = u16>) -> Cluster {
        let mut text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n".to_owned();
        for n in 1..=50 {
            let metadata = format!("{{name: w{n}, namespace: shop, labels: {{app: a{n}}}}}");
            writeln!(text, "---\napiVersion: v1\nkind: Pod\nmetadata: {metadata}\nstatus: {{podIP: 10.0.0.{n}}}")
                .unwrap();
        }
        for (at, port) in numbers.enumerate() {
            let rule = format!(
                "{{action: Accept, from: [{{namespaces: {{}}}}], protocols: [{{tcp: {{destinationPort: {{number: {port}}}}}}}]}}"
            );
            writeln!(
                text,
                "---\napiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {{name: p{at}}}\n\
                 spec: {{tier: Admin, priority: {at}, subject: {{namespaces: {{}}}}, ingress: [{rule}]}}"
            )
            .unwrap();
        }
        let mut reader = Reader::default();
        reader.text("-", &text);
        let cluster = reader.finish();
        assert_eq!((cluster.problems.len(), cluster.workloads.len()), (0, 50));
        cluster
    }

    fn found(cluster: &Cluster, most: usize) -> Vec<(&'static str, String)> {
        look_within(cluster, most).into_iter().map(|finding| (finding.id, finding.object)).collect()
    }

    #[test]
    fn comparisons_are_of_what_rules_can_tell_apart() {
        // 100 rules and 50 pods that no rule can tell apart.
        let cluster = cluster((1..=99).chain([1]));
        let shadowed = ("unreachable-rule", "ClusterNetworkPolicy/p99".to_owned());
        assert_eq!(found(&cluster, 100 * 2 * PORTS), [shadowed]);
    }

    #[test]
    fn what_would_take_too_long_is_told() {
        let first = ("unreachable-not-looked-for", "ClusterNetworkPolicy/p0".to_owned());
        assert_eq!(found(&cluster((1..=99).chain([1])), 150), [first]);
    }

    #[test]
    fn many_ports_are_united_as_a_few_are() {
        let range = |n: u16| PortMatch::Range { transport: Transport::Tcp, first: 3 * n, last: 3 * n + 1 };
        let ports = Ports::List((0..9999).rev().map(range).collect());
        let united = traffic(&ports, &[]);
        assert_eq!(united.of(Transport::Tcp).ranges().len(), 9999);
        assert!(united.contains(Transport::Tcp, 3001) && !united.contains(Transport::Tcp, 3002));
        assert!(united.of(Transport::Udp).is_empty());
    }
}
