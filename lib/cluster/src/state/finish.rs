//! What can only be told once all is read: namespaces that nobody gave, owners of owners, order.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::model::{Cluster, Labels, NAMESPACE_NAME_LABEL, Namespace, Origin, Owner, Workload};

/// How many owners are followed; Kubernetes' own kinds make chains of three.
const MAX_OWNERS: usize = 8;

/// Namespace, kind and name of an object, and kind and name of its owner.
type Owners<'a> = HashMap<(&'a str, &'a str, &'a str), (&'a str, &'a str)>;

/// Makes a whole of objects as they were read, whose owners are those that they name themselves.
pub(super) fn finish(mut cluster: Cluster) -> Cluster {
    settle_owners(&mut cluster.workloads);
    add_namespaces(&mut cluster);
    sort(&mut cluster);
    cluster
}

/// Leaves each workload with its outermost owner, and out those templates that an owner's template speaks for.
fn settle_owners(workloads: &mut Vec<Workload>) {
    let owners = owners(workloads);
    let templates: HashSet<(&str, &str, &str)> =
        workloads.iter().filter(|workload| workload.kind != "Pod").map(place).collect();
    let settled: Vec<Option<Option<Owner>>> = workloads
        .iter()
        .map(|workload| {
            // A Deployment's template says what the templates of its ReplicaSets say, and only the newest of those says it.
            let owner = owners.get(&place(workload)).map(|(kind, name)| (workload.namespace.as_str(), *kind, *name));
            let counts = workload.kind == "Pod" || !owner.is_some_and(|owner| templates.contains(&owner));
            counts.then(|| outermost(workload, &owners))
        })
        .collect();
    let mut settled = settled.into_iter();
    workloads.retain_mut(|workload| {
        let Some(owner) = settled.next().flatten() else {
            return false;
        };
        workload.owner = owner;
        true
    });
}

fn place(workload: &Workload) -> (&str, &str, &str) {
    (&workload.namespace, &workload.kind, &workload.name)
}

fn owners(workloads: &[Workload]) -> Owners<'_> {
    let mut owners: Owners<'_> = workloads
        .iter()
        .filter_map(|workload| {
            let owner = workload.owner.as_ref()?;
            Some((place(workload), (owner.kind.as_str(), owner.name.as_str())))
        })
        .collect();
    add_outer(workloads, &mut owners);
    owners
}

/// A Deployment names its ReplicaSets NAME-HASH and labels their pods with the hash; a CronJob names its Jobs NAME-MINUTES,
/// since 1970. Where the outer one was given and the inner one was not, that tells whose pods they are.
fn add_outer<'a>(workloads: &'a [Workload], owners: &mut Owners<'a>) {
    let given: HashSet<(&str, &str, &str)> = workloads.iter().map(place).collect();
    for pod in workloads.iter().filter(|workload| workload.kind == "Pod") {
        let Some(inner) = &pod.owner else { continue };
        let outer = match inner.kind.as_str() {
            "ReplicaSet" => {
                let hash = pod.labels.get("pod-template-hash");
                let name = hash.and_then(|hash| inner.name.strip_suffix(hash.as_str())?.strip_suffix('-'));
                name.map(|name| ("Deployment", name))
            }
            "Job" => {
                let named = inner.name.rsplit_once('-');
                let named =
                    named.filter(|(_, time)| !time.is_empty() && time.bytes().all(|byte| byte.is_ascii_digit()));
                named.map(|(name, _)| ("CronJob", name))
            }
            _ => None,
        };
        if let Some((kind, name)) = outer.filter(|(kind, name)| given.contains(&(&pod.namespace, *kind, *name))) {
            owners.entry((&pod.namespace, &inner.kind, &inner.name)).or_insert((kind, name));
        }
    }
}

fn outermost(workload: &Workload, owners: &Owners<'_>) -> Option<Owner> {
    let mut owner = None;
    let mut place = place(workload);
    for _ in 0..MAX_OWNERS {
        let Some((kind, name)) = owners.get(&place) else {
            break;
        };
        owner = Some((*kind, *name));
        place = (place.0, kind, name);
    }
    owner.map(|(kind, name)| Owner { kind: kind.to_owned(), name: name.to_owned() })
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
        mode: None,
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
