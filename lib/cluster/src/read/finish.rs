//! What can only be told once all is read: namespaces that nobody gave, owners of owners, order.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::Reader;
use crate::model::{Cluster, Labels, NAMESPACE_NAME_LABEL, Namespace, Origin, Owner, Workload};

/// How many owners are followed; Kubernetes' own kinds make chains of three.
const MAX_OWNERS: usize = 8;

/// Kind and name of the owner of what has a namespace, a kind and a name.
type Owners = HashMap<(String, String, String), (String, String)>;

pub(super) fn finish(reader: Reader) -> Cluster {
    let Reader { mut cluster, mut owners, .. } = reader;
    add_deployments(&cluster.workloads, &mut owners);
    keep_outermost_templates(&mut cluster.workloads, &owners);
    for workload in &mut cluster.workloads {
        workload.owner = outermost(workload, &owners);
    }
    add_namespaces(&mut cluster);
    sort(&mut cluster);
    cluster
}

/// A Deployment names its ReplicaSets NAME-HASH and labels their pods with the hash. Where the Deployment was given and
/// the ReplicaSet was not, that tells whose pods they are.
fn add_deployments(workloads: &[Workload], owners: &mut Owners) {
    let deployments: HashSet<(&str, &str)> = workloads
        .iter()
        .filter(|workload| workload.kind == "Deployment")
        .map(|workload| (workload.namespace.as_str(), workload.name.as_str()))
        .collect();
    for pod in workloads.iter().filter(|workload| workload.kind == "Pod") {
        let own = (pod.namespace.clone(), pod.kind.clone(), pod.name.clone());
        let Some((kind, replica_set)) = owners.get(&own).filter(|(kind, _)| kind == "ReplicaSet") else {
            continue;
        };
        let hash = pod.labels.get("pod-template-hash");
        let name = hash.and_then(|hash| replica_set.strip_suffix(hash.as_str())?.strip_suffix('-'));
        if let Some(name) = name.filter(|name| deployments.contains(&(pod.namespace.as_str(), *name))) {
            let owned = (pod.namespace.clone(), kind.clone(), replica_set.clone());
            let deployment = ("Deployment".to_owned(), name.to_owned());
            owners.entry(owned).or_insert(deployment);
        }
    }
}

/// A Deployment's template says what the templates of its ReplicaSets say, and only the newest of those says it.
fn keep_outermost_templates(workloads: &mut Vec<Workload>, owners: &Owners) {
    let templates: HashSet<(String, String, String)> = workloads
        .iter()
        .filter(|workload| workload.kind != "Pod")
        .map(|workload| (workload.namespace.clone(), workload.kind.clone(), workload.name.clone()))
        .collect();
    workloads.retain(|workload| {
        let own = (workload.namespace.clone(), workload.kind.clone(), workload.name.clone());
        let owner = owners.get(&own).map(|(kind, name)| (workload.namespace.clone(), kind.clone(), name.clone()));
        workload.kind == "Pod" || !owner.is_some_and(|owner| templates.contains(&owner))
    });
}

fn outermost(workload: &Workload, owners: &Owners) -> Option<Owner> {
    let mut owner = None;
    let mut place = (workload.namespace.clone(), workload.kind.clone(), workload.name.clone());
    for _ in 0..MAX_OWNERS {
        let Some((kind, name)) = owners.get(&place) else {
            break;
        };
        owner = Some(Owner { kind: kind.clone(), name: name.clone() });
        place = (place.0, kind.clone(), name.clone());
    }
    owner
}

fn add_namespaces(cluster: &mut Cluster) {
    let given: HashSet<&str> = cluster.namespaces.iter().map(|namespace| namespace.name.as_str()).collect();
    let policies = cluster.network_policies.iter().filter_map(|policy| policy.value.metadata.namespace.as_deref());
    let mentioned = cluster.workloads.iter().map(|workload| workload.namespace.as_str());
    let mentioned = mentioned.chain(cluster.services.iter().map(|service| service.namespace.as_str())).chain(policies);
    let missing: BTreeSet<String> = mentioned.filter(|name| !given.contains(name)).map(str::to_owned).collect();
    cluster.namespaces.extend(missing.into_iter().map(|name| Namespace {
        name,
        labels: Labels::new(),
        origin: Origin::none(),
    }));
    for namespace in &mut cluster.namespaces {
        // The server sets it, and lets nobody change it.
        namespace.labels.insert(NAMESPACE_NAME_LABEL.to_owned(), namespace.name.clone());
    }
}

fn sort(cluster: &mut Cluster) {
    cluster.namespaces.sort_by(|a, b| a.name.cmp(&b.name));
    cluster.nodes.sort_by(|a, b| a.name.cmp(&b.name));
    cluster.workloads.sort_by(|a, b| (&a.namespace, &a.kind, &a.name).cmp(&(&b.namespace, &b.kind, &b.name)));
    cluster.services.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    cluster.endpoint_slices.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    cluster.network_policies.sort_by(|a, b| {
        let (a, b) = (&a.value.metadata, &b.value.metadata);
        (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name))
    });
    cluster.cluster_policies.sort_by(|a, b| (a.value.kind, &a.value.name).cmp(&(b.value.kind, &b.value.name)));
}
