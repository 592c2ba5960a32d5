//! Findings on cluster-wide policies.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use chainkit_cluster::model::{
    Action, Cluster, ClusterPolicy, ClusterPolicyKind, ClusterPort, ClusterRule, Located, Tier,
};
use ipnet::IpNet;

use super::addresses::Addresses;
use super::pods::{Group, Pods, PortNames};
use super::told::{self, Told};
use super::{Finding, Severity};

/// Sets of groups that are looked through for one that is known.
const MANY_KNOWN: usize = 100;

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
    let subjects = subjects(value, pods);
    if subjects.is_empty() {
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
            rule_alone(&rule, &subjects, pods, told);
            networks(&rule, addresses, told);
        }
    }
}

fn subjects(policy: &ClusterPolicy, pods: &Pods<'_>) -> Rc<BTreeSet<Group>> {
    pods.chosen(policy.subject.namespaces.as_ref(), policy.subject.pods.as_ref())
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
                match rule.action {
                    Action::Accept => "domainNames is not supported: the rule matches nothing by name".to_owned(),
                    Action::Deny | Action::Pass => {
                        format!("domainNames is not supported: the rule fails closed, {closed}")
                    }
                },
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
    let destinations = if *field == "to" { &pod_peers } else { subjects };
    let names = OnceCell::new();
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
                format!(
                    "{:?} is a name, and networks and nodes have no names: the rule matches nothing of them",
                    told::name(name)
                ),
                "give the port's number",
            ),
            ClusterPort::Named(name) => {
                let names = names.get_or_init(|| PortNames::of(pods.of(destinations)));
                // Where nobody is selected, that is the finding.
                if names.protocols(name).is_empty() && !destinations.is_empty() {
                    told.push(
                        "unknown-port-name",
                        Severity::Warning,
                        path,
                        format!("no pod it is for has a port named {:?}", told::name(name)),
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
        // The first that is about a group of pods, and sets of groups that are in there.
        let (mut first_about, mut known) = (HashMap::new(), Vec::<Rc<BTreeSet<Group>>>::new());
        for (index, policy) in policies.iter().enumerate() {
            let groups = subjects(&policy.value, pods);
            let shared = groups.iter().find_map(|group| first_about.get(group)).copied();
            if !known.iter().rev().take(MANY_KNOWN).any(|known| Rc::ptr_eq(known, &groups)) {
                groups.iter().for_each(|group| {
                    first_about.entry(*group).or_insert(index);
                });
                known.push(groups);
            }
            let Some(other) = shared.or(index.checked_sub(1)).and_then(|other| policies.get(other)) else {
                continue;
            };
            let kind = policy.value.kind.name();
            findings.push(Finding {
                id: "same-priority",
                severity: if shared.is_some() { Severity::Warning } else { Severity::Info },
                file: policy.origin.file.to_string(),
                line: policy.line("spec.priority"),
                object: format!("{kind}/{}", policy.value.name),
                message: format!(
                    "priority {priority} of tier {} is that of {} {}, too{}: which comes first is not specified",
                    tier.name(),
                    other.value.kind.name(),
                    other.value.name,
                    if shared.is_some() { ", and both are about some of the same pods" } else { "" }
                ),
                remedy: "give each its own priority, lower first".to_owned(),
            });
        }
    }
    findings
}
