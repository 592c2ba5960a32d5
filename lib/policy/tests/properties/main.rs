//! The tables mean what the objects say: compiler and oracle are held against each other on every boundary address and
//! port of clusters made at random.
//!
//! `PROPTEST_CASES` sets how many clusters there are, `PROPTEST_RNG_SEED` which. The shares of what they reach are printed
//! and asserted: a generator that no longer reaches a feature proves nothing about it.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "the lints spare test functions alone, and not what those share"
)]

mod batches;
mod boundaries;
#[path = "../common/mod.rs"]
mod common;
mod generate;
mod shares;

use std::collections::BTreeSet;
use std::net::IpAddr;

use boundaries::{boundaries, ends, peers};
use chainkit_policy::{Direction, Engine, Flow, Options, Party, Scope, Transport, Verdict, oracle};
use generate::Case;
use proptest::test_runner::TestCaseError;
use shares::{REMOVABLE, Shares, V6, is_v6, without};

/// Whether two ends can talk at all: both have addresses of one family, or one is taken without its address.
fn same_family(a: Party, b: Party) -> bool {
    match (a, b) {
        (Party::Workload { address: Some(a), .. }, Party::Workload { address: Some(b), .. }) => {
            a.is_ipv4() == b.is_ipv4()
        }
        _ => true,
    }
}

/// Holds engine and tables against the oracle on both directions between one workload and everybody, on every boundary.
fn compare(case: &Case, measured: bool, shares: &mut Shares) -> Result<(), TestCaseError> {
    let (cluster, options) = (&case.cluster, &case.options);
    let engine = Engine::new(cluster, options);
    let tables = engine.tables();
    let plain = REMOVABLE.map(|feature| measured.then(|| without(cluster, feature)));
    let mut decides = [false; REMOVABLE.len()];
    let mut denies_v6 = false;
    let (addresses, ports) = boundaries(cluster);
    let own = ends(cluster, case.subject.index(cluster.workloads.len()));
    for peer in peers(cluster, &addresses) {
        let directions = [
            // Nobody opens anything to the own node as such, and a service opens nothing.
            (peer != Party::OwnNode).then_some(Direction::Egress),
            (!matches!(peer, Party::Service(_))).then_some(Direction::Ingress),
        ];
        for direction in directions.into_iter().flatten() {
            let pairs = own.iter().map(|own| match direction {
                Direction::Egress => (*own, peer),
                Direction::Ingress => (peer, *own),
            });
            let asked: Vec<_> =
                pairs.map(|(from, to)| (from, to, oracle::between(cluster, options, from, to))).collect();
            let mut verdicts = Vec::new();
            let every =
                Transport::ALL.into_iter().flat_map(|transport| ports.iter().map(move |port| (transport, *port)));
            for (transport, port) in every.filter(|(transport, port)| *port <= transport.last_port()) {
                // One end of the subject is enough, and each in turn is met.
                let turn = verdicts.len() % asked.len();
                let (source, destination, between) = &asked[turn];
                let flow = Flow { source: *source, destination: *destination, transport, port };
                let expected = between.judge(transport, port);
                common::compare(cluster, &engine, &tables, &flow, expected).map_err(TestCaseError::fail)?;
                shares.verdict(expected.verdict);
                denies_v6 |= (is_v6(*source) || is_v6(*destination)) && expected.verdict == Verdict::Denied;
                verdicts.push((turn, transport, port, expected.verdict));
            }
            if matches!(peer, Party::Service(_)) {
                continue;
            }
            for (plain, decides) in plain.iter().zip(&mut decides).filter(|(_, decides)| !**decides) {
                let Some(plain) = plain else { continue };
                let of_plain: Vec<_> =
                    asked.iter().map(|(from, to, _)| oracle::between(plain, options, *from, *to)).collect();
                *decides = verdicts.iter().any(|(turn, transport, port, verdict)| {
                    of_plain[*turn].judge(*transport, *port).verdict != *verdict
                });
            }
        }
    }
    shares.cases += 1;
    if measured {
        shares.measured += 1;
        REMOVABLE.into_iter().zip(decides).filter(|(_, decides)| *decides).for_each(|(name, _)| shares.reached(name));
        if denies_v6 {
            shares.reached(V6);
        }
    }
    Ok(())
}

#[test]
fn engine_tables_and_oracle_agree_on_every_boundary() {
    // Without a number of cases asked for, few, and the same each time; their shares are then no matter of luck.
    let (cases, seed) = batches::asked().map_or((128, 0), |cases| (cases, batches::seed()));
    // What decides is asked of the objects once more for each feature: some thousand cases tell the shares well enough.
    let step = (cases / 5000).max(1);
    let mut shares = Shares::default();
    batches::run(
        cases,
        seed,
        |number, case, shares| compare(&case, number % step == 0, shares),
        |more| shares.add(more),
    );
    // A handful of cases at random says nothing about shares.
    shares.assert(batches::asked().is_none() || cases >= 1000);
}

/// How many cases there are of what is asked of a cluster as a whole.
fn beside() -> usize {
    batches::asked().map_or(64, |cases| (cases / 10).max(64))
}

#[test]
fn reachability_is_what_the_oracle_says_of_each_pair_and_range() {
    let test = |_, case: Case, (): &mut ()| {
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
                || cluster.services.iter().any(|service| {
                    let virtuals = [&service.cluster_ips, &service.external_ips, &service.load_balancer_ips];
                    virtuals.iter().any(|addresses| addresses.contains(address))
                })
        };
        let (to, from) = (reach.to_external(subject), reach.from_external(subject));
        // An IPv4 address written in IPv6 is an IPv4 address.
        let addresses: BTreeSet<IpAddr> = addresses.iter().map(IpAddr::to_canonical).collect();
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
    };
    batches::run(beside(), batches::seed(), test, |()| ());
}

#[test]
fn addresses_of_one_class_are_answered_alike_and_classes_differ_for_a_rule() {
    let test = |_, case: Case, (): &mut ()| {
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
    };
    batches::run(beside(), batches::seed(), test, |()| ());
}
