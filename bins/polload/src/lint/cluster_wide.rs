//! Findings on cluster-wide policies.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chainkit_cluster::model::{
    Action, Cluster, ClusterPolicy, ClusterPolicyKind, ClusterPort, ClusterRule, Located, Tier,
};
use chainkit_policy::{Direction, Engine, Ground, Options, Ruleset, Scope, Transport};
use ipnet::IpNet;

use super::addresses::Addresses;
use super::pods::{Group, Pods};
use super::{Finding, Severity, Told};

pub(super) fn look<'a>(
    policy: &'a Located<ClusterPolicy>,
    pods: &Pods<'_>,
    addresses: &Addresses,
    told: &mut Told<'a>,
) {
    let value = &policy.value;
    if value.kind == ClusterPolicyKind::BaselineAdmin && value.name != "default" {
        told.push(
            "baseline-name",
            Severity::Error,
            "metadata.name",
            "a server takes a BaselineAdminNetworkPolicy under the name default alone".to_owned(),
            "name it default, or write a ClusterNetworkPolicy of tier Baseline",
        );
    }
    if subjects(value, pods).is_empty() {
        told.push(
            "selects-nothing",
            Severity::Warning,
            "spec.subject",
            "it selects no pod: it does nothing".to_owned(),
            "compare its labels with those of the pods and namespaces it is for",
        );
    }
    if value.ingress.is_empty() && value.egress.is_empty() {
        told.push(
            "no-rules",
            Severity::Warning,
            "spec",
            "it has no rules: it does nothing, and denies nothing".to_owned(),
            "a cluster-wide policy isolates nobody by itself: write a rule of action Deny to deny",
        );
    }
    for (direction, field, rules) in [("ingress", "from", &value.ingress), ("egress", "to", &value.egress)] {
        for (index, rule) in rules.iter().enumerate() {
            let rule = Rule { rule, path: format!("spec.{direction}[{index}]"), field };
            rule_alone(&rule, &subjects(value, pods), pods, told);
            networks(&rule, addresses, told);
        }
    }
}

fn subjects(policy: &ClusterPolicy, pods: &Pods<'_>) -> BTreeSet<Group> {
    (*pods.chosen(policy.subject.namespaces.as_ref(), policy.subject.pods.as_ref())).clone()
}

/// A rule of either direction.
struct Rule<'a> {
    rule: &'a ClusterRule,
    path: String,
    /// `from` or `to`.
    field: &'static str,
}

/// What can be said of a rule by itself.
fn rule_alone(rule: &Rule<'_>, subjects: &BTreeSet<Group>, pods: &Pods<'_>, told: &mut Told<'_>) {
    let Rule { rule, path, field } = rule;
    let closed = match rule.action {
        Action::Accept => "it matches nothing",
        Action::Deny | Action::Pass => "it denies everything",
    };
    let peers = format!("{path}.{field}");
    if rule.peers.is_empty() {
        told.push(
            "empty-peers",
            Severity::Error,
            &peers,
            format!("{peers} is empty: the rule matches nobody"),
            "give the peers; all pods are namespaces: {}",
        );
    }
    let (mut pod_peers, mut named) = (BTreeSet::new(), false);
    for (index, peer) in rule.peers.iter().enumerate() {
        let path = format!("{peers}[{index}]");
        if peer.domain_names.is_some() {
            told.push(
                "domain-names",
                Severity::Error,
                &path,
                "domainNames is not supported: the rule matches nothing by name".to_owned(),
                "name the networks, or reach the names through a proxy that can be selected",
            );
        } else if !peer.is_known() {
            told.push(
                "unknown-peer",
                Severity::Error,
                &path,
                format!("a peer that is not understood: the rule fails closed, {closed}"),
                "give one of namespaces, pods, networks and nodes",
            );
        }
        if peer.namespaces.is_some() || peer.pods.is_some() {
            let chosen = pods.chosen(peer.namespaces.as_ref(), peer.pods.as_ref());
            if chosen.is_empty() {
                told.push(
                    "peer-selects-nothing",
                    Severity::Info,
                    &path,
                    "no pod that was read is such a peer".to_owned(),
                    "compare its labels with those of the pods and namespaces that are meant",
                );
            }
            pod_peers.extend(chosen.iter().copied());
        } else {
            named = true;
        }
    }
    for port in rule.ports.iter().flatten() {
        match port {
            ClusterPort::Unknown => told.push(
                "unknown-port",
                Severity::Error,
                path,
                format!("a port that is not understood: the rule fails closed, {closed}"),
                "give a number, a range or a name, of TCP, UDP or SCTP",
            ),
            ClusterPort::Range { first, last, .. } if first > last => told.push(
                "end-port-below-port",
                Severity::Error,
                path,
                format!("the range {first} to {last} is the wrong way round: it matches nothing"),
                "give the lower as start and the higher as end",
            ),
            ClusterPort::Named(name) if named && *field == "to" => told.push(
                "named-port-on-ip-block",
                Severity::Warning,
                path,
                format!("{name:?} is a name, and networks and nodes have no names: the rule matches nothing of them"),
                "give the port's number",
            ),
            ClusterPort::Named(name) => {
                let destinations = if *field == "to" { &pod_peers } else { subjects };
                let has = pods.of(destinations).any(|pod| pod.ports.iter().any(|port| port.name == *name));
                // Where nobody is selected, that is the finding.
                if !has && !destinations.is_empty() {
                    told.push(
                        "unknown-port-name",
                        Severity::Warning,
                        path,
                        format!("no pod it is for has a port named {name:?}"),
                        "name a port of the pods' containers, or give its number",
                    );
                }
            }
            ClusterPort::Range { .. } => {}
        }
    }
}

/// Address blocks of a rule.
fn networks(rule: &Rule<'_>, addresses: &Addresses, told: &mut Told<'_>) {
    for (index, peer) in rule.rule.peers.iter().enumerate() {
        for (number, network) in peer.networks.iter().flatten().enumerate() {
            let path = format!("{}.{}[{index}].networks[{number}]", rule.path, rule.field);
            let Ok(cidr) = network.parse::<IpNet>() else {
                continue;
            };
            if cidr.addr() != cidr.network() {
                told.push(
                    "host-bits",
                    Severity::Info,
                    &path,
                    format!("{network} means {}", cidr.trunc()),
                    "write the network's first address",
                );
            }
            if addresses.only_virtual(&cidr) {
                told.push(
                    "only-virtual-addresses",
                    Severity::Warning,
                    &path,
                    format!(
                        "{network} covers addresses of services alone, as far as can be told: a policy meets the pods \
                         behind them, so it may match nothing"
                    ),
                    "select the pods of the service by their labels",
                );
            }
        }
    }
}

/// Policies of one tier and priority: which of them comes first is not said, where both are about a pod.
pub(super) fn same_priority(cluster: &Cluster, pods: &Pods<'_>) -> Vec<Finding> {
    let mut places: BTreeMap<(Tier, i32), Vec<&Located<ClusterPolicy>>> = BTreeMap::new();
    for policy in &cluster.cluster_policies {
        // The older Baseline kind is one alone, and comes before all of its tier.
        if policy.value.kind != ClusterPolicyKind::BaselineAdmin {
            places.entry((policy.value.tier, policy.value.priority)).or_default().push(policy);
        }
    }
    let mut findings = Vec::new();
    for ((tier, priority), policies) in places.into_iter().filter(|(_, policies)| policies.len() > 1) {
        let subjects: Vec<BTreeSet<Group>> = policies.iter().map(|policy| subjects(&policy.value, pods)).collect();
        for (index, policy) in policies.iter().enumerate().skip(1) {
            let before = policies.iter().take(index).zip(&subjects);
            let shares = |groups: &BTreeSet<Group>| subjects.get(index).is_some_and(|own| !own.is_disjoint(groups));
            let Some((other, shared)) =
                before.map(|(other, groups)| (other, shares(groups))).max_by_key(|(_, shared)| *shared)
            else {
                continue;
            };
            let kind = policy.value.kind.name();
            findings.push(Finding {
                id: "same-priority",
                severity: if shared { Severity::Warning } else { Severity::Info },
                file: policy.origin.file.to_string(),
                line: policy.line("spec.priority"),
                object: format!("{kind}/{}", policy.value.name),
                message: format!(
                    "priority {priority} of tier {} is that of {} {}, too{}: which comes first is not specified",
                    tier.name(),
                    other.value.kind.name(),
                    other.value.name,
                    if shared { ", and both are about some of the same pods" } else { "" }
                ),
                remedy: "give each its own priority, lower first".to_owned(),
            });
        }
    }
    findings
}

/// Rules that never match first, on any port of anybody: what comes before them in their tier has taken all they match.
pub(super) fn unreachable(cluster: &Cluster) -> Vec<Finding> {
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
    let rules = engine.rules();
    let mut findings = Vec::new();
    for (place, tier) in rules.tiers.iter().enumerate() {
        let first = first_matches(&engine, &only_tier(rules, place));
        for (at, policy) in tier.policies.iter().enumerate() {
            let all = policy
                .rules
                .iter()
                .enumerate()
                .map(|(number, rule)| ((rule.direction, rule.index), (rule, (place, at, number))));
            // A rule may have several parts, any of which may match.
            let mut parts: BTreeMap<_, Vec<_>> = BTreeMap::new();
            for (key, part) in all {
                parts.entry(key).or_default().push(part);
            }
            for ((direction, index), parts) in parts {
                if parts.iter().any(|(_, at)| first.contains(at)) {
                    continue;
                }
                // What matches nothing even alone has another finding.
                let Some((rule, _)) = parts.into_iter().find(|(_, at)| matches_alone(&engine, rules, *at)) else {
                    continue;
                };
                findings.push(Finding {
                    id: "unreachable-rule",
                    severity: Severity::Warning,
                    file: policy.origin.file.to_string(),
                    line: rule.line,
                    object: format!("{}/{}", policy.kind, policy.name),
                    message: format!(
                        "{} rule {index} is never reached: rules before it in tier {} match all that it matches",
                        direction.name(),
                        tier.name
                    ),
                    remedy: "put it before them, give its policy a lower priority number, or take it out".to_owned(),
                });
            }
        }
    }
    findings
}

/// A rule by its tier, its policy in the tier, and its place in the policy.
type At = (usize, usize, usize);

/// The rules of one tier, each of which ends the matter, so that what matches first can be seen.
fn only_tier(rules: &Ruleset, place: usize) -> Ruleset {
    let mut only = rules.clone();
    for (other, tier) in only.tiers.iter_mut().enumerate() {
        if other != place {
            tier.policies.clear();
        }
        for rule in tier.policies.iter_mut().flat_map(|policy| &mut policy.rules) {
            rule.action = chainkit_policy::rules::Action::Deny;
        }
    }
    only
}

/// The rules that match anything before all others.
fn first_matches(engine: &Engine<'_>, rules: &Ruleset) -> HashSet<At> {
    let mut first = HashSet::new();
    for subject in engine.policies() {
        for class in engine.classes().all() {
            for direction in Direction::BOTH {
                let table = subject.evaluate(rules, direction, class);
                let rows = Transport::ALL.into_iter().flat_map(|transport| table.rows(transport));
                first.extend(rows.filter_map(|(_, _, decision)| match decision.ground {
                    Ground::Rule(at) => Some((at.tier as usize, at.policy as usize, at.rule as usize)),
                    _ => None,
                }));
            }
        }
    }
    first
}

/// Whether a rule would match anything if it were the only one.
fn matches_alone(engine: &Engine<'_>, rules: &Ruleset, at: At) -> bool {
    let (tier, policy, number) = at;
    let mut only = only_tier(rules, tier);
    for (place, other) in only.tiers.iter_mut().flat_map(|tier| tier.policies.iter_mut().enumerate()) {
        for (rule_place, rule) in other.rules.iter_mut().enumerate() {
            if (place, rule_place) != (policy, number) {
                rule.ports = chainkit_policy::rules::Ports::List(Vec::new());
            }
        }
    }
    first_matches(engine, &only).contains(&at)
}
