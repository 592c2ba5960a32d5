//! What is called redundant can go, and nothing else: each policy and rule is really taken out of the objects, and the oracle
//! asked on every boundary flow, each direction by itself, whether anything has changed.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "the lints spare test functions alone, and not what those share"
)]

#[path = "../properties/boundaries.rs"]
mod boundaries;
#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code, reason = "whose flows are looked at is not chosen here")]
#[path = "../properties/generate.rs"]
mod generate;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;

use chainkit_cluster::model::Cluster;
use chainkit_policy::oracle::Between;
use chainkit_policy::{
    Direction, Engine, Flow, Options, Party, Redundant, Scope, Transport, Verdict, oracle, redundant,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRng, TestRunner};

/// What may be taken out: kind and name of the policy, and the rule.
type What = (&'static str, String, Option<(Direction, usize)>);

fn what(found: &Redundant) -> What {
    (found.policy.kind, found.policy.name.clone(), found.rule)
}

/// Everything that may be taken out. Names are one policy's alone in what is generated.
fn everything(cluster: &Cluster) -> Vec<What> {
    let mut all = Vec::new();
    let mut add = |kind, name: &str, ingress: usize, egress: usize| {
        all.push((kind, name.to_owned(), None));
        all.extend((0..ingress).map(|at| (kind, name.to_owned(), Some((Direction::Ingress, at)))));
        all.extend((0..egress).map(|at| (kind, name.to_owned(), Some((Direction::Egress, at)))));
    };
    for located in &cluster.network_policies {
        let spec = located.value.spec.as_ref().unwrap();
        let rules = (spec.ingress.as_ref().map_or(0, Vec::len), spec.egress.as_ref().map_or(0, Vec::len));
        add("NetworkPolicy", located.value.metadata.name.as_ref().unwrap(), rules.0, rules.1);
    }
    for located in &cluster.cluster_policies {
        let policy = &located.value;
        add(policy.kind.name(), &policy.name, policy.ingress.len(), policy.egress.len());
    }
    all
}

/// The cluster without some of its policies and rules.
fn without(cluster: &Cluster, gone: &[What]) -> Cluster {
    let mut cluster = cluster.clone();
    let is = |kind: &str, name: &str, rule: Option<(Direction, usize)>| {
        gone.iter().any(|what| what.0 == kind && what.1 == name && what.2 == rule)
    };
    for located in &mut cluster.network_policies {
        let name = located.value.metadata.name.clone().unwrap();
        let spec = located.value.spec.as_mut().unwrap();
        let mut at = 0..;
        let mut stays = |direction| !is("NetworkPolicy", &name, Some((direction, at.next().unwrap())));
        spec.ingress.iter_mut().for_each(|rules| rules.retain(|_| stays(Direction::Ingress)));
        at = 0..;
        let mut stays = |direction| !is("NetworkPolicy", &name, Some((direction, at.next().unwrap())));
        spec.egress.iter_mut().for_each(|rules| rules.retain(|_| stays(Direction::Egress)));
    }
    cluster
        .network_policies
        .retain(|located| !is("NetworkPolicy", located.value.metadata.name.as_ref().unwrap(), None));
    for located in &mut cluster.cluster_policies {
        let policy = &mut located.value;
        let kind = policy.kind.name();
        let mut at = 0..;
        policy.ingress.retain(|_| !is(kind, &policy.name, Some((Direction::Ingress, at.next().unwrap()))));
        at = 0..;
        policy.egress.retain(|_| !is(kind, &policy.name, Some((Direction::Egress, at.next().unwrap()))));
    }
    cluster.cluster_policies.retain(|located| !is(located.value.kind.name(), &located.value.name, None));
    cluster
}

/// From and to every workload every other end.
fn pairs_of(cluster: &Cluster, addresses: BTreeSet<IpAddr>) -> Vec<(Party, Party)> {
    let mut peers: Vec<Party> = addresses.into_iter().map(Party::Address).collect();
    let mut subjects = Vec::new();
    for (index, workload) in cluster.workloads.iter().enumerate() {
        peers.push(Party::workload(index));
        peers.extend(workload.addresses.iter().map(|address| Party::pod(index, *address)));
        subjects.push(Party::workload(index));
    }
    let both = |subject: Party, peer: Party| [(subject, peer), (peer, subject)];
    let pairs = subjects.iter().flat_map(|subject| peers.iter().flat_map(move |peer| both(*subject, *peer)));
    let mut seen = HashSet::new();
    pairs.filter(|pair| seen.insert(*pair)).collect()
}

/// What both sides say at every port.
fn sides(between: &Between<'_>, ports: &[(Transport, u16)]) -> Vec<[Verdict; 2]> {
    let answers = ports.iter().map(|(transport, port)| between.judge(*transport, *port));
    answers.map(|answer| [answer.egress, answer.ingress]).collect()
}

/// A cluster with few of its workloads and policies: what is redundant is a matter of a few, and each is taken out in turn.
fn some_of(mut cluster: Cluster) -> Cluster {
    cluster.workloads.truncate(3);
    cluster.services.truncate(1);
    cluster.network_policies.truncate(3);
    cluster.cluster_policies.truncate(3);
    cluster
}

/// The same policies among pods that came and went: an address that one pod held alone is nobody's, or its replica's
/// (`taken`), each pod is on the other node, and has a replica, which is nobody to whom no policy applies as the pod itself is.
fn later(cluster: &Cluster, taken: bool) -> Cluster {
    let mut cluster = cluster.clone();
    let mut replicas = cluster.workloads.clone();
    for workload in cluster.workloads.iter_mut() {
        let other = if workload.node.as_deref() == Some("n1") { "n2" } else { "n1" };
        workload.node = Some(other.to_owned());
    }
    let leaving = if taken { &mut [][..] } else { replicas.as_mut_slice() };
    for address in cluster.workloads.iter_mut().chain(leaving).flat_map(|workload| &mut workload.addresses) {
        if address.to_string() == "10.0.0.2" {
            *address = IpAddr::from([10, 0, 0, 62]);
        }
    }
    cluster.workloads.extend(replicas.into_iter().map(|mut replica| {
        replica.name.push('x');
        replica
    }));
    cluster
}

/// A cluster with every two ends, and what the objects say of them at every boundary port.
struct Asked {
    cluster: Cluster,
    ports: Vec<(Transport, u16)>,
    answers: Vec<(Party, Party, Vec<[Verdict; 2]>)>,
}

impl Asked {
    fn new(cluster: Cluster, options: &Options) -> Self {
        let (addresses, numbers) = boundaries::boundaries(&cluster);
        let usable = |(transport, port): &(Transport, u16)| (*transport == Transport::Other) == (*port == 0);
        let ports = Transport::ALL.into_iter().flat_map(|transport| numbers.iter().map(move |port| (transport, *port)));
        let ports: Vec<_> = ports.filter(usable).collect();
        let answers = pairs_of(&cluster, addresses).into_iter().map(|(source, destination)| {
            let between = oracle::between(&cluster, options, source, destination);
            (source, destination, sides(&between, &ports))
        });
        Self { answers: answers.collect(), ports, cluster }
    }

    /// A flow that is answered otherwise when something is taken out.
    fn changes(&self, options: &Options, gone: &[What]) -> Option<Flow> {
        let rest = without(&self.cluster, gone);
        self.answers.iter().find_map(|(source, destination, answers)| {
            let now = sides(&oracle::between(&rest, options, *source, *destination), &self.ports);
            let mut differing = self.ports.iter().zip(answers.iter().zip(&now)).filter(|(_, (was, is))| was != is);
            let ((transport, port), _) = differing.next()?;
            Some(Flow { source: *source, destination: *destination, transport: *transport, port: *port })
        })
    }
}

#[derive(Default)]
struct Shares {
    cases: usize,
    asked: usize,
    redundant: usize,
    with_any: usize,
    staying: usize,
    by_reason: BTreeMap<&'static str, usize>,
}

const REASONS: [&str; 8] = [
    "it selects no pod",
    "policyTypes leaves",
    "nothing of it is understood",
    "matches nobody",
    "matches no port",
    "everything it allows is allowed",
    "everything it denies is denied",
    "shadowed by",
];

#[test]
fn what_is_redundant_can_go_and_nothing_else() {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let config = Config { failure_persistence: None, ..Config::default() };
    let mut runner = if asked {
        TestRunner::new(config)
    } else {
        let rng = TestRng::deterministic_rng(config.rng_algorithm);
        TestRunner::new_with_rng(Config { cases: 128, ..config }, rng)
    };
    let shares = RefCell::new(Shares::default());
    let result = runner.run(&generate::case(), |case| {
        let options = Options { scope: Scope::All, ..case.options };
        let cluster = some_of(case.cluster);
        let engine = Engine::new(&cluster, &options);
        let found = redundant(&engine);
        let now = Asked::new(cluster.clone(), &options);
        let later = [true, false].map(|taken| Asked::new(later(&cluster, taken), &options));
        let changes_later = |gone: &[What]| later.iter().find_map(|asked| asked.changes(&options, gone));
        let mut shares = shares.borrow_mut();
        shares.cases += 1;
        shares.with_any += usize::from(!found.is_empty());
        for item in everything(&cluster) {
            shares.asked += 1;
            let told = found.iter().filter(|found| what(found) == item).count();
            prop_assert!(told <= 1, "{:?} is told {} times", item, told);
            let idle = found.iter().any(|found| {
                what(found) == (item.0, item.1.clone(), None) && found.reason.contains("it selects no pod")
            });
            let one = std::slice::from_ref(&item);
            match now.changes(&options, one) {
                Some(flow) => prop_assert!(told == 0 && !idle, "{:?} is no more redundant than {:?} says", item, flow),
                // Told it is where it stays so when pods come and go, too.
                None if told == 0 && !idle => {
                    prop_assert!(changes_later(one).is_some(), "{:?} changes nothing and is not told", item);
                }
                None => shares.redundant += 1,
            }
        }
        let together: Vec<What> = found.iter().filter(|found| found.together).map(what).collect();
        let changed = now.changes(&options, &together);
        prop_assert!(changed.is_none(), "{:?} cannot go at once: {:?}", together, changed);
        // What stays could not have gone beside the others.
        for found in found.iter().filter(|found| !found.together) {
            shares.staying += 1;
            let all: Vec<What> = together.iter().cloned().chain([what(found)]).collect();
            let stays = now.changes(&options, &all).or_else(|| changes_later(&all));
            prop_assert!(stays.is_some(), "{:?} could go, too", found);
        }
        for found in &found {
            for reason in REASONS.iter().filter(|reason| found.reason.contains(*reason)) {
                *shares.by_reason.entry(reason).or_default() += 1;
            }
            for cover in &found.covered_by {
                prop_assert!(
                    found.policy != cover.policy
                        || (found.rule.is_some() && found.rule != cover.rule.map(|rule| (cover.direction, rule))),
                    "{:?} covers itself",
                    found
                );
            }
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let shares = shares.into_inner();
    let percent = |part: usize, whole: usize| part * 100 / whole.max(1);
    println!(
        "{} cases, {} % with anything redundant; of {} policies and rules {} % are, {} of them only one at a time; {:?}",
        shares.cases,
        percent(shares.with_any, shares.cases),
        shares.asked,
        percent(shares.redundant, shares.asked),
        shares.staying,
        shares.by_reason
    );
    if !asked || shares.cases >= 128 {
        assert!((15..=85).contains(&percent(shares.redundant, shares.asked)), "a test of answers that are all alike");
        assert!(shares.staying > 0, "nothing that covers each other");
        for reason in REASONS {
            assert!(shares.by_reason.contains_key(reason), "never: {reason}");
        }
    }
}
