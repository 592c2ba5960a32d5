//! This node, its pods, and what pods have of which nothing is known yet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use chainkit_abi::flag;
use chainkit_cli::Failure;
use chainkit_cluster::model::{Action, Cluster, ClusterPolicy, Labels, Mode, Namespace, Node, Origin, Workload};
use chainkit_cluster::{EndpointStore, selector};
use chainkit_enforce::{NamespaceEntry, PodEntry, Pods, policy_number};
use chainkit_policy::{Engine, PolicyId};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::modes::{How, Modes, Unknown};

const BOTH: u8 = flag::ISOLATED_INGRESS | flag::ISOLATED_EGRESS;

/// The name of this node, and its addresses: those that the host's interfaces have.
pub(crate) fn this_node(how: &How, root: &Path, cluster: &Cluster) -> anyhow::Result<(String, Vec<IpAddr>)> {
    let addresses = host_addresses()?;
    Ok((name_of(how, root, cluster, &addresses)?, addresses))
}

/// Addresses of this host's interfaces, but for those that mean this host everywhere.
fn host_addresses() -> anyhow::Result<Vec<IpAddr>> {
    let all = chainkit_node::addresses().map_err(|error| {
        Failure::new(chainkit_cli::Exit::Failed, format!("cannot list the addresses of this host: {error}"))
    })?;
    Ok(all.into_iter().filter(|address| !address.is_loopback() && !address.is_unspecified()).collect())
}

fn name_of(how: &How, root: &Path, cluster: &Cluster, addresses: &[IpAddr]) -> anyhow::Result<String> {
    if let Some(name) = &how.node {
        let known = cluster.nodes.iter().any(|node| node.name == *name)
            || cluster.workloads.iter().any(|workload| workload.node.as_ref() == Some(name));
        if known {
            return Ok(name.clone());
        }
        return Err(Failure::usage(format!("--node {name}: none of the objects is this node, or a pod on it"))
            .remedy("see kubectl get nodes for what it is called, or give the Node objects along")
            .into());
    }
    let has = |node: &&Node| node.addresses.iter().any(|address| addresses.contains(address));
    if let Some(node) = cluster.nodes.iter().find(has) {
        return Ok(node.name.clone());
    }
    let here: BTreeSet<String> = EndpointStore::below(root)
        .all()
        .0
        .into_iter()
        .map(|record| record.pod_uid)
        .filter(|uid| !uid.is_empty())
        .collect();
    let runs_here = |workload: &&Workload| workload.facts.as_ref().is_some_and(|facts| here.contains(&facts.uid));
    if let Some(node) = cluster.workloads.iter().find(runs_here).and_then(|workload| workload.node.clone()) {
        return Ok(node);
    }
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
    let is_host = |name: &str| name == host || name.split('.').next() == host.split('.').next();
    let mut names = cluster.nodes.iter().map(|node| node.name.as_str());
    let mut of_pods = cluster.workloads.iter().filter_map(|workload| workload.node.as_deref());
    if let Some(name) = names.find(|name| is_host(name)).or_else(|| of_pods.find(|name| is_host(name))) {
        return Ok(name.to_owned());
    }
    Err(Failure::usage(
        "cannot tell which node of the cluster this is: none of the nodes given has an address of this host",
    )
    .remedy("say which it is with --node, or give the Node objects along")
    .into())
}

/// Gives the node the addresses that the host has in fact, which are more than its object tells.
pub(crate) fn add_addresses(cluster: &mut Cluster, name: &str, addresses: &[IpAddr]) {
    match cluster.nodes.iter_mut().find(|node| node.name == name) {
        Some(node) => join(&mut node.addresses, addresses),
        None => {
            let (name, addresses) = (name.to_owned(), addresses.to_vec());
            cluster.nodes.push(Node {
                name,
                labels: Labels::new(),
                addresses,
                pod_cidrs: Vec::new(),
                origin: Origin::none(),
            });
        }
    }
}

/// Adds what is not there.
pub(crate) fn join(addresses: &mut Vec<IpAddr>, more: &[IpAddr]) {
    for address in more {
        if !addresses.contains(address) {
            addresses.push(*address);
        }
    }
}

/// The pods of the node, and what others have.
pub(crate) fn pods(engine: &Engine<'_>, node: &str, how: &How) -> Pods {
    let cluster = &engine.world().cluster;
    let modes = Modes::new(how);
    let annotations: BTreeMap<&str, Option<Mode>> =
        cluster.namespaces.iter().map(|namespace| (namespace.name.as_str(), namespace.mode)).collect();
    let of_namespace = |name: &str| annotations.get(name).copied().flatten();
    let mut pods = Pods::default();
    for (at, workload) in cluster.workloads.iter().enumerate() {
        if workload.kind != "Pod" || workload.host_network || workload.node.as_deref() != Some(node) {
            continue;
        }
        let facts = workload.facts.as_deref();
        let mode =
            modes.of_pod(&workload.namespace, of_namespace(&workload.namespace), facts.and_then(|facts| facts.mode));
        pods.pods.insert(
            format!("{}/{}", workload.namespace, workload.name),
            PodEntry {
                uid: facts.map(|facts| facts.uid.clone()).unwrap_or_default(),
                policy: engine.policy_of(at).filter(|policy| is_selected(engine, *policy)).map_or(0, policy_number),
                addresses: workload.addresses.iter().map(IpAddr::to_canonical).collect(),
                mode,
                ..PodEntry::default()
            },
        );
    }
    let of_network = isolating(cluster);
    for namespace in &cluster.namespaces {
        let mode = modes.of_namespace(&namespace.name, namespace.mode);
        let isolate = isolated(cluster, |policy| could_select(policy, namespace))
            | of_network.get(namespace.name.as_str()).copied().unwrap_or(0);
        pods.namespaces.insert(namespace.name.clone(), unknown(how, mode, isolate));
    }
    // Of a namespace that is not among the objects only its policies may be there. Which labels it has nobody knows.
    let known = |name: &str| annotations.contains_key(name);
    for (namespace, of_policies) in of_network {
        if !known(namespace) {
            let isolate = isolated(cluster, |policy| may_select(policy, |name| name == namespace));
            let entry = unknown(how, modes.of_namespace(namespace, None), isolate | of_policies);
            pods.namespaces.insert(namespace.to_owned(), entry);
        }
    }
    let isolate = isolated(cluster, |policy| may_select(policy, |name| !known(name)));
    pods.others = unknown(how, modes.of_others(), isolate);
    pods
}

/// Whether rules of this id are of any policy; those of pods that none selects are of none.
fn is_selected(engine: &Engine<'_>, policy: PolicyId) -> bool {
    engine.policies().get(policy as usize).is_some_and(|rules| !rules.policies.is_empty())
}

fn unknown(how: &How, mode: Mode, isolate: u8) -> NamespaceEntry {
    match how.unknown_pods {
        Some(Unknown::Observe) => NamespaceEntry { mode: Mode::Observe, ..NamespaceEntry::default() },
        Some(Unknown::Isolate) => NamespaceEntry { mode, isolate: BOTH, ..NamespaceEntry::default() },
        None => NamespaceEntry { mode, isolate, ..NamespaceEntry::default() },
    }
}

/// By namespace the directions in which some network policy isolates whom it selects.
fn isolating(cluster: &Cluster) -> BTreeMap<&str, u8> {
    let mut isolating = BTreeMap::new();
    for policy in cluster.network_policies.iter().map(|policy| &policy.value) {
        let namespace = policy.metadata.namespace.as_deref().unwrap_or_default();
        *isolating.entry(namespace).or_insert(0) |= isolates(policy);
    }
    isolating
}

/// Directions in which some cluster-wide policy that could select a pod may keep it from something.
fn isolated(cluster: &Cluster, could_select: impl Fn(&ClusterPolicy) -> bool) -> u8 {
    let mut isolated = 0;
    for policy in cluster.cluster_policies.iter().map(|policy| &policy.value) {
        if !could_select(policy) {
            continue;
        }
        let denies =
            |rules: &[chainkit_cluster::model::ClusterRule]| rules.iter().any(|rule| rule.action == Action::Deny);
        isolated |= if denies(&policy.ingress) { flag::ISOLATED_INGRESS } else { 0 };
        isolated |= if denies(&policy.egress) { flag::ISOLATED_EGRESS } else { 0 };
    }
    isolated
}

/// Directions in which a policy isolates whom it selects (`spec.policyTypes`, and what it stands for where it is not given).
fn isolates(policy: &NetworkPolicy) -> u8 {
    let Some(spec) = &policy.spec else { return 0 };
    let says = |name: &str| spec.policy_types.as_ref().is_some_and(|types| types.iter().any(|one| one == name));
    let unsaid = spec.policy_types.as_ref().is_none_or(Vec::is_empty);
    let ingress = unsaid || says("Ingress");
    let egress = says("Egress") || unsaid && spec.egress.as_ref().is_some_and(|rules| !rules.is_empty());
    (if ingress { flag::ISOLATED_INGRESS } else { 0 }) | (if egress { flag::ISOLATED_EGRESS } else { 0 })
}

/// Whether it could select a pod of a namespace, whatever labels that has.
fn could_select(policy: &ClusterPolicy, namespace: &Namespace) -> bool {
    selects_namespace(policy, |wanted| selector::matches(wanted, &namespace.labels))
}

/// The same of a namespace of which nothing is known, but maybe its name.
fn may_select(policy: &ClusterPolicy, may_be_called: impl Fn(&str) -> bool) -> bool {
    /// The label that the API server gives each namespace.
    const NAME: &str = "kubernetes.io/metadata.name";
    selects_namespace(policy, |wanted| {
        wanted.match_labels.as_ref().and_then(|labels| labels.get(NAME)).is_none_or(|name| may_be_called(name))
    })
}

fn selects_namespace(policy: &ClusterPolicy, selects: impl Fn(&LabelSelector) -> bool) -> bool {
    let subject = &policy.subject;
    subject.namespaces.as_ref().is_some_and(&selects)
        || subject.pods.as_ref().is_some_and(|pods| selects(&pods.namespace_selector))
}
