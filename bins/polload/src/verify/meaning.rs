//! What the entries that were read back mean is what the objects say, on every boundary.

use std::collections::BTreeMap;

use chainkit_cluster::model::{Cluster, Located};
use chainkit_enforce::Lookup;
use chainkit_policy::{Direction, Transport, Verdict, oracle};
use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::boundaries::{Boundaries, Subject, protocol, protocol_name};
use super::snapshot::Snapshot;
use super::{Counterexample, Flow, What};

/// Holds all answers against the oracle's; how many questions that were.
pub(super) fn compare(snapshot: &Snapshot, boundaries: &Boundaries<'_>) -> Result<usize, Box<Counterexample>> {
    let lookup = Lookup::new(&snapshot.read);
    let mut progress = chainkit_cli::Progress::new("asking about pods", boundaries.subjects.len());
    let mut asked = 0;
    // A network policy speaks of pods of its own namespace alone: the oracle, which reads each, is given those.
    let mut cluster = snapshot.cluster.clone();
    for (namespace, policies) in by_namespace(snapshot, boundaries) {
        cluster.network_policies = policies;
        for subject in boundaries.subjects.iter().filter(|subject| subject.pod.namespace == namespace) {
            asked += of_subject(snapshot, &cluster, boundaries, &lookup, subject)?;
            progress.step();
        }
    }
    Ok(asked)
}

/// Namespaces that pods are asked about, each with its policies.
pub(super) fn by_namespace<'a>(
    snapshot: &Snapshot,
    boundaries: &Boundaries<'a>,
) -> BTreeMap<&'a str, Vec<Located<NetworkPolicy>>> {
    let names = boundaries.subjects.iter().map(|subject| subject.pod.namespace.as_str());
    let mut all: BTreeMap<&str, Vec<Located<NetworkPolicy>>> = names.map(|name| (name, Vec::new())).collect();
    for policy in &snapshot.cluster.network_policies {
        let of = policy.value.metadata.namespace.as_deref().unwrap_or_default();
        if let Some(policies) = all.get_mut(of) {
            policies.push(policy.clone());
        }
    }
    all
}

fn of_subject(
    snapshot: &Snapshot,
    cluster: &Cluster,
    boundaries: &Boundaries<'_>,
    lookup: &Lookup<'_>,
    subject: &Subject<'_>,
) -> Result<usize, Box<Counterexample>> {
    let mut asked = 0;
    let of_all = Direction::BOTH.map(|direction| boundaries.ports_of_all(subject, direction));
    for peer in boundaries.peers(subject) {
        // What a pod sends to itself no rule is asked about.
        if subject.pod.addresses.iter().any(|own| own.to_canonical() == peer) {
            continue;
        }
        for (direction, of_all) in Direction::BOTH.into_iter().zip(&of_all) {
            let (own, other) = (subject.party(peer), boundaries.party(peer));
            let (source, destination) = match direction {
                Direction::Egress => (own, other),
                Direction::Ingress => (other, own),
            };
            let between = oracle::between(cluster, &snapshot.options, source, destination);
            let is_egress = direction == Direction::Egress;
            let tables = lookup.between(subject.policy, is_egress, peer);
            let mut of_one = boundaries.ports_of_one(subject, direction, peer);
            of_one.retain(|port| !of_all.contains(port));
            let ports = || of_all.iter().chain(&of_one).copied();
            let every = Transport::ALL.into_iter().flat_map(|transport| ports().map(move |port| (transport, port)));
            for (transport, port) in every.filter(|(transport, port)| *port <= transport.last_port()) {
                let found = tables.ask(protocol(transport), port, false);
                if found.rule == chainkit_abi::rule::TOO_MANY_BACKENDS {
                    // Not all of them are asked about, and so it may be denied more than the objects say.
                    continue;
                }
                let said = between.judge(transport, port);
                let expected = if is_egress { said.egress } else { said.ingress };
                asked += 1;
                if (expected == Verdict::Allowed) == found.allowed {
                    continue;
                }
                let found_verdict = if found.allowed { Verdict::Allowed } else { Verdict::Denied };
                return Err(Box::new(Counterexample {
                    kind: "Counterexample",
                    generation: snapshot.generation,
                    set: snapshot.which,
                    what: What::Verdict,
                    table: None,
                    entry: None,
                    flow: Some(Flow {
                        pod: subject.title(),
                        direction: direction.name(),
                        peer,
                        protocol: protocol_name(transport),
                        port,
                    }),
                    expected: expected.name().to_owned(),
                    found: format!("{} by {}", found_verdict.name(), snapshot.rule(found.rule)),
                    means: "the tables do not say what the objects say".to_owned(),
                    more: 0,
                }));
            }
        }
    }
    Ok(asked)
}
