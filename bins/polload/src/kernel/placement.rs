//! Whether the pods that are attached here are those of the node that policy is made for, as the objects have it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use chainkit_cli::{Failure, Log};
use chainkit_cluster::model::Workload;
use chainkit_cluster::{EndpointRecord, EndpointStore};

use super::tables::Tables;

/// A pod that is attached here, and the node that the objects have it on.
#[derive(Debug, PartialEq, Eq)]
struct Placed<'a> {
    pod: &'a Workload,
    node: &'a str,
}

/// Refuses policy of another node: every pod that is attached here and that the objects know is on one and the same other by them, so
/// that all of them would be judged as pods that nobody knows. Where only some are elsewhere that is told.
pub(crate) fn check(tables: &Tables, root: &Path, log: &Log) -> anyhow::Result<()> {
    let records = EndpointStore::below(root).all().0;
    let placed = placed(&records, &tables.live.engine().world().cluster.workloads, &tables.node);
    let elsewhere: Vec<&Placed<'_>> = placed.iter().filter(|placed| placed.node != tables.node).collect();
    let Some(first) = elsewhere.first() else { return Ok(()) };
    let (node, count, known) = (&tables.node, elsewhere.len(), placed.len());
    let example = format!("{}/{}", first.pod.namespace, first.pod.name);
    if count == known && elsewhere.iter().all(|placed| placed.node == first.node) {
        return Err(Failure::usage(format!(
            "policy of node {node} is not for this one, and nothing was changed: of the pods attached here the objects know {known}, and have \
             every one, such as {example}, on node {}",
            first.node
        ))
        .remedy(format!("give --node {}, or objects that are up to date", first.node))
        .into());
    }
    log.warning(format!(
        "of the {known} pods attached here that the objects know, they have {count} on another node than {node}, such as {example} on {}: they \
         are judged as pods that nobody knows; give objects that are up to date, or --node if this is not {node}",
        first.node
    ));
    Ok(())
}

/// Those of the records whose pod is among the objects and has a node; here, where several might be meant and one is.
fn placed<'a>(records: &[EndpointRecord], workloads: &'a [Workload], here: &str) -> Vec<Placed<'a>> {
    let mut by_name: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
    let mut by_address: BTreeMap<IpAddr, Vec<usize>> = BTreeMap::new();
    for (at, record) in records.iter().enumerate() {
        if record.pod_name.is_empty() {
            record.addresses.iter().for_each(|address| by_address.entry(*address).or_default().push(at));
        } else {
            by_name.entry((&record.namespace, &record.pod_name)).or_default().push(at);
        }
    }
    let mut found: BTreeMap<usize, Placed<'a>> = BTreeMap::new();
    for pod in workloads.iter().filter(|workload| workload.kind == "Pod" && !workload.host_network) {
        let Some(node) = pod.node.as_deref() else { continue };
        let named = by_name.get(&(pod.namespace.as_str(), pod.name.as_str())).into_iter().flatten();
        let named = named.filter(|at| records.get(**at).is_some_and(|record| is_of(record, pod)));
        let bearing = pod.addresses.iter().filter_map(|address| by_address.get(&address.to_canonical())).flatten();
        for at in named.chain(bearing) {
            if found.get(at).is_none_or(|known| known.node != here) {
                found.insert(*at, Placed { pod, node });
            }
        }
    }
    found.into_values().collect()
}

/// Whether a record is of the pod of its name, and not of one that was there before: by UID, or else by address.
fn is_of(record: &EndpointRecord, pod: &Workload) -> bool {
    let uid = pod.facts.as_ref().map_or("", |facts| facts.uid.as_str());
    if !uid.is_empty() && !record.pod_uid.is_empty() {
        return uid == record.pod_uid;
    }
    pod.addresses.iter().any(|address| record.addresses.contains(&address.to_canonical()))
}
