//! The tables mean what the objects say: compiler and oracle are held against each other on every boundary address and
//! port of clusters made at random.
//!
//! `PROPTEST_CASES` sets how many clusters there are. The shares of what they reach are printed and asserted: a
//! generator that no longer reaches a feature proves nothing about it.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "the lints spare test functions alone, and not what those share"
)]

mod boundaries;
#[path = "../common/mod.rs"]
mod common;
mod generate;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use boundaries::boundaries;
use chainkit_cluster::model::{Action, Cluster, ClusterPort};
use chainkit_policy::{Direction, Engine, Flow, Options, Party, Scope, Transport, Verdict, oracle};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use proptest::test_runner::{Config, TestCaseError, TestRng, TestRunner};

/// Both directions between one workload and everybody, on every boundary.
fn flows(cluster: &Cluster, subject: usize) -> Vec<Flow> {
    let (addresses, ports) = boundaries(cluster);
    let workload = &cluster.workloads[subject];
    let mut own: Vec<Party> = workload.addresses.iter().map(|address| Party::pod(subject, *address)).collect();
    own.push(Party::workload(subject));
    let mut peers: Vec<Party> = addresses.into_iter().map(Party::Address).collect();
    for (index, other) in cluster.workloads.iter().enumerate() {
        peers.push(Party::workload(index));
        peers.extend(other.addresses.iter().map(|address| Party::pod(index, *address)));
    }
    peers.push(Party::OwnNode);
    peers.extend((0..cluster.services.len()).map(Party::Service));
    let mut flows = Vec::new();
    for transport in Transport::ALL {
        for port in ports.iter().copied().filter(|port| *port <= transport.last_port()) {
            for peer in &peers {
                // One end of the subject is enough, and each in turn is met.
                let own = own[(flows.len() / 2) % own.len()];
                if *peer != Party::OwnNode {
                    flows.push(Flow { source: own, destination: *peer, transport, port });
                }
                if !matches!(peer, Party::Service(_)) {
                    flows.push(Flow { source: *peer, destination: own, transport, port });
                }
            }
        }
    }
    flows
}

/// The cluster without something, so that it shows in which flows that something decides.
fn without(cluster: &Cluster, what: &str) -> Cluster {
    let mut cluster = cluster.clone();
    for located in &mut cluster.cluster_policies {
        let policy = &mut located.value;
        for rules in [&mut policy.ingress, &mut policy.egress] {
            match what {
                "tiers" => rules.clear(),
                "Pass" => rules.retain(|rule| rule.action != Action::Pass),
                "named port" => rules.iter_mut().for_each(|rule| {
                    rule.ports.iter_mut().for_each(|ports| ports.retain(|port| !matches!(port, ClusterPort::Named(_))));
                }),
                _ => {}
            }
        }
    }
    for spec in cluster.network_policies.iter_mut().filter_map(|located| located.value.spec.as_mut()) {
        let ingress = spec.ingress.iter_mut().flatten().map(|rule| (&mut rule.from, &mut rule.ports));
        let egress = spec.egress.iter_mut().flatten().map(|rule| (&mut rule.to, &mut rule.ports));
        for (peers, ports) in ingress.chain(egress) {
            for block in peers.iter_mut().flatten().filter_map(|peer| peer.ip_block.as_mut()) {
                if what == "except" {
                    block.except = None;
                }
            }
            for port in ports.iter_mut().flatten() {
                match what {
                    "endPort" => port.end_port = None,
                    "named port" if matches!(port.port, Some(IntOrString::String(_))) => {
                        port.port = Some(IntOrString::Int(61_616));
                    }
                    _ => {}
                }
            }
        }
    }
    if what == "service" {
        cluster.services.clear();
    }
    cluster
}

fn is_v6(party: Party) -> bool {
    match party {
        Party::Address(address) | Party::Workload { address: Some(address), .. } => address.is_ipv6(),
        _ => false,
    }
}

/// Whether two ends can talk at all: both have addresses of one family, or one is taken without its address.
fn same_family(a: Party, b: Party) -> bool {
    match (a, b) {
        (Party::Workload { address: Some(a), .. }, Party::Workload { address: Some(b), .. }) => {
            a.is_ipv4() == b.is_ipv4()
        }
        _ => true,
    }
}

#[derive(Default)]
struct Shares {
    cases: usize,
    /// Of how many the features that decide were looked for.
    measured: usize,
    reached: BTreeMap<&'static str, usize>,
    flows: usize,
    denied: usize,
}

#[test]
fn engine_tables_and_oracle_agree_on_every_boundary() {
    // Without a number of cases asked for, few, and the same each time; their shares are then no matter of luck.
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
        let (cluster, options, subject) = (case.cluster, case.options, case.subject);
        let subject = subject.index(cluster.workloads.len());
        let engine = Engine::new(&cluster, &options);
        let tables = engine.tables();
        let mut shares = shares.borrow_mut();
        let flows = flows(&cluster, subject);
        let mut verdicts = Vec::with_capacity(flows.len());
        for flow in &flows {
            let verdict = common::check(&cluster, &engine, &tables, flow).map_err(TestCaseError::fail)?;
            verdicts.push(verdict);
            shares.flows += 1;
            shares.denied += usize::from(verdict == Verdict::Denied);
        }
        shares.cases += 1;
        // What decides is asked of the objects once more for each feature; a thousand cases tell the shares well enough.
        if shares.measured >= 1000 {
            return Ok(());
        }
        shares.measured += 1;
        for feature in ["tiers", "Pass", "except", "named port", "endPort", "service"] {
            let plain = without(&cluster, feature);
            let mut decides =
                flows.iter().zip(&verdicts).filter(|(flow, _)| !matches!(flow.destination, Party::Service(_)));
            if decides.any(|(flow, verdict)| oracle::judge(&plain, &options, flow).verdict != *verdict) {
                *shares.reached.entry(feature).or_default() += 1;
            }
        }
        let mut v6 = flows.iter().zip(&verdicts).filter(|(flow, _)| is_v6(flow.source) || is_v6(flow.destination));
        if v6.any(|(_, verdict)| *verdict == Verdict::Denied) {
            *shares.reached.entry("IPv6").or_default() += 1;
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let shares = shares.into_inner();
    let percent = |part: usize, whole: usize| part * 1000 / whole.max(1);
    // A handful of cases at random says nothing about shares.
    let enough = !asked || shares.cases >= 1000;
    println!("{} cases, {} flows", shares.cases, shares.flows);
    for feature in ["tiers", "Pass", "except", "named port", "endPort", "IPv6", "service"] {
        let share = percent(shares.reached.get(feature).copied().unwrap_or(0), shares.measured);
        println!("{feature}: decides in {}.{} % of cases", share / 10, share % 10);
        assert!(!enough || share >= 50, "{feature} decides in less than 5 % of cases");
    }
    let denied = percent(shares.denied, shares.flows);
    println!("denied: {}.{} % of verdicts", denied / 10, denied % 10);
    assert!(!enough || (200..=800).contains(&denied), "a test of answers that are all alike");
}

#[test]
fn reachability_is_what_the_oracle_says_of_each_pair_and_range() {
    let config = Config { cases: 64, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&generate::case(), |case| {
        let cluster = case.cluster;
        let options = Options { scope: Scope::All, ..case.options };
        let engine = Engine::new(&cluster, &options);
        let reach = engine.reach();
        let (addresses, ports) = boundaries(&cluster);
        let subject = case.subject.index(cluster.workloads.len());
        let ask = |source, destination, transport, port| {
            oracle::judge(&cluster, &options, &Flow { source, destination, transport, port }).verdict
                == Verdict::Allowed
        };
        // Under which parties a workload is met: where prefixes match pods, under each of its addresses.
        let met = |index: usize| -> Vec<Party> {
            let workload = &cluster.workloads[index];
            if workload.addresses.is_empty() || workload.host_network || !options.cidrs_match_pods {
                return vec![Party::workload(index)];
            }
            workload.addresses.iter().map(|address| Party::pod(index, *address)).collect()
        };
        for port in ports.iter().copied().filter(|port| *port > 0) {
            for other in 0..cluster.workloads.len() {
                let got = reach.between(subject, other).contains(Transport::Tcp, port);
                let mut pairs =
                    met(subject).into_iter().flat_map(|from| met(other).into_iter().map(move |to| (from, to)));
                let expected = pairs.any(|(from, to)| same_family(from, to) && ask(from, to, Transport::Tcp, port));
                proptest::prop_assert_eq!(got, expected, "{} {}", other, port);
            }
        }
        // Who is outside: no pod, no node, no service.
        let taken = |address: &IpAddr| {
            engine.world().pod_at(*address).is_some()
                || engine.world().node_at(*address).is_some()
                || cluster.services.iter().any(|service| service.cluster_ips.contains(address))
        };
        let (to, from) = (reach.to_external(subject), reach.from_external(subject));
        for address in addresses.iter().filter(|address| !taken(address)) {
            let own = Party::workload(subject);
            let find = |ranges: &[(chainkit_policy::AddressRange, std::rc::Rc<chainkit_policy::Traffic>)]| {
                let same = |range: &chainkit_policy::AddressRange| range.first.is_ipv4() == address.is_ipv4();
                let hit =
                    ranges.iter().find(|(range, _)| same(range) && range.first <= *address && *address <= range.last);
                hit.unwrap().1.clone()
            };
            for port in ports.iter().copied().filter(|port| *port > 0) {
                let peer = Party::Address(*address);
                proptest::prop_assert_eq!(
                    find(&to).contains(Transport::Udp, port),
                    ask(own, peer, Transport::Udp, port)
                );
                proptest::prop_assert_eq!(
                    find(&from).contains(Transport::Tcp, port),
                    ask(peer, own, Transport::Tcp, port)
                );
            }
        }
        for (before, after) in to.iter().zip(to.iter().skip(1)) {
            let cut = before.0.first.is_ipv4() != after.0.first.is_ipv4();
            proptest::prop_assert!(cut || before.1 != after.1, "neighbours with equal answers are one range");
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn addresses_of_one_class_are_answered_alike_and_classes_differ_for_a_rule() {
    let config = Config { cases: 64, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&generate::case(), |case| {
        let engine = Engine::new(&case.cluster, &case.options);
        let mut seen = BTreeSet::new();
        for (_, class) in engine.classes().iter() {
            let new = seen.insert((class.peers.to_vec(), class.names.to_vec(), class.own_node, class.pod));
            proptest::prop_assert!(new, "two classes that no rule can tell apart: {:?}", class);
        }
        let tables = engine.tables();
        for row in tables.rows() {
            proptest::prop_assert!(row.first <= row.last && (row.policy as usize) < engine.policies().len());
            let class = row.class.unwrap_or(0);
            let found = tables.lookup(row.policy, row.direction, class, row.transport, row.last);
            if row.class.is_some()
                || !tables.policies[row.policy as usize][row.direction.index()].classes.contains_key(&0)
            {
                proptest::prop_assert_eq!(found, Some(row.decision));
            }
            proptest::prop_assert!(row.direction == Direction::Ingress || row.direction == Direction::Egress);
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
