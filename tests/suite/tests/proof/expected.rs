//! What the oracle says of the objects, probe by probe.

use std::net::IpAddr;

use chainkit_cluster::Reader;
use chainkit_cluster::model::Cluster;
use chainkit_lab::NODE_NAME;
use chainkit_policy::{Options, Party, Scope, Verdict, oracle};

use crate::ask::Probe;

/// Whether each probe is allowed, by files as `polload` is given them: names and text.
pub(crate) fn allowed(files: &[(String, String)], probes: &[Vec<Probe>]) -> Vec<Vec<bool>> {
    let mut reader = Reader::default();
    for (name, text) in files {
        reader.text(name, text);
    }
    let cluster = reader.finish();
    assert!(cluster.problems.is_empty(), "the test's own objects: {:#?}", cluster.problems);
    let options = Options { scope: Scope::Node(NODE_NAME.to_owned()), ..Options::default() };
    let of = |probe: &Probe| {
        let source = party(&cluster, probe.from, probe.source);
        let destination = party(&cluster, probe.to, probe.destination.ip());
        let between = oracle::between(&cluster, &options, source, destination);
        between.judge(probe.transport, probe.port()).verdict == Verdict::Allowed
    };
    probes.iter().map(|probes| probes.iter().map(of).collect()).collect()
}

/// A pod under one of its addresses.
fn party(cluster: &Cluster, pod: &str, address: IpAddr) -> Party {
    let is_it = |workload: &chainkit_cluster::model::Workload| {
        pod.split_once('/') == Some((&workload.namespace, &workload.name)) && workload.addresses.contains(&address)
    };
    Party::pod(cluster.workloads.iter().position(is_it).unwrap(), address)
}
