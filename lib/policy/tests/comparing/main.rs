//! Whether two clusters allow the same is what the objects of both say of every flow: the comparison is held against the oracle
//! on every boundary address and port, between clusters made at random and what a small change makes of them.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "the lints spare test functions alone, and not what those share"
)]

#[path = "../properties/boundaries.rs"]
mod boundaries;
mod change;
#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code, reason = "whose flows are looked at is not chosen here")]
#[path = "../properties/generate.rs"]
mod generate;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use chainkit_cluster::model::Cluster;
use chainkit_policy::oracle::Between;
use chainkit_policy::{
    AddressRange, Comparison, Difference, End, Engine, Options, Party, Question, Scope, Transport, Verdict, oracle,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRng, TestRunner};

/// Two clusters, of which one is the other after a change.
struct Pair {
    clusters: [Cluster; 2],
    options: Options,
}

/// A workload by its places on both sides.
type Places = [Option<usize>; 2];

/// How a workload is met on both sides: the family, and a party where it is there.
type Met = (Option<bool>, [Option<Party>; 2]);

impl Pair {
    /// Workloads by their names, with their places on both sides.
    fn workloads(&self) -> Vec<(bool, [Option<usize>; 2])> {
        let mut all: BTreeMap<(String, String, String), [Option<usize>; 2]> = BTreeMap::new();
        for (at, cluster) in self.clusters.iter().enumerate() {
            for (index, workload) in cluster.workloads.iter().enumerate() {
                let name = (workload.namespace.clone(), workload.kind.clone(), workload.name.clone());
                all.entry(name).or_default()[at] = Some(index);
            }
        }
        all.into_iter().map(|((_, kind, _), places)| (kind == "Pod", places)).collect()
    }

    fn met(&self, places: [Option<usize>; 2]) -> Vec<Met> {
        let addresses = |at: usize, v4: bool| -> Vec<IpAddr> {
            let workload = places[at].map(|index| &self.clusters[at].workloads[index]);
            let all = workload.map_or(&[][..], |workload| &workload.addresses);
            all.iter().filter(|address| address.is_ipv4() == v4).copied().collect()
        };
        let bare = |at: usize| addresses(at, true).is_empty() && addresses(at, false).is_empty();
        if bare(0) && bare(1) {
            return vec![(None, places.map(|place| place.map(Party::workload)))];
        }
        let mut met = Vec::new();
        for v4 in [true, false] {
            for nth in 0..addresses(0, v4).len().max(addresses(1, v4).len()) {
                let party = |at: usize| {
                    let index = places[at]?;
                    match addresses(at, v4).get(nth) {
                        Some(address) => Some(Party::pod(index, *address)),
                        None => bare(at).then_some(Party::workload(index)),
                    }
                };
                met.push((Some(v4), [party(0), party(1)]));
            }
        }
        met
    }

    /// What the objects of each side say of two ends.
    fn between(&self, source: [Option<Party>; 2], destination: [Option<Party>; 2]) -> Asked<'_> {
        Asked([0, 1].map(|at| {
            let (source, destination) = source[at].zip(destination[at])?;
            Some(oracle::between(&self.clusters[at], &self.options, source, destination))
        }))
    }

    /// Addresses of nodes and services of either side. They are the same on both.
    fn specials(&self) -> BTreeSet<IpAddr> {
        let mut all = BTreeSet::new();
        for cluster in &self.clusters {
            all.extend(cluster.nodes.iter().flat_map(|node| &node.addresses));
            for service in &cluster.services {
                all.extend(service.cluster_ips.iter().chain(&service.external_ips).chain(&service.load_balancer_ips));
            }
        }
        all
    }
}

/// What the objects of both sides say of two ends; none is a side on which one of them is not there.
struct Asked<'a>([Option<Between<'a>>; 2]);

impl Asked<'_> {
    /// Whether either side allows it; who is not there may nothing.
    fn allowed(&self, transport: Transport, port: u16) -> [bool; 2] {
        let allows = |between: &Option<Between<'_>>| {
            between.as_ref().is_some_and(|between| between.judge(transport, port).verdict == Verdict::Allowed)
        };
        self.0.each_ref().map(allows)
    }
}

/// What a comparison tells, by its ends.
struct Told {
    pairs: HashMap<(Places, Places), Difference>,
    to: Vec<Difference>,
    from: Vec<Difference>,
    addresses: Vec<Difference>,
}

impl Told {
    fn new(comparison: &Comparison<'_>) -> Self {
        let mut told = Self { pairs: HashMap::new(), to: Vec::new(), from: Vec::new(), addresses: Vec::new() };
        comparison.each(&mut |difference| {
            match (difference.source, difference.destination) {
                (End::Workload(from), End::Workload(to)) => {
                    assert!(told.pairs.insert((from, to), difference).is_none(), "a pair is told once");
                }
                (End::Workload(_), End::Addresses(_)) => told.to.push(difference),
                (End::Addresses(_), End::Workload(_)) => told.from.push(difference),
                (End::Addresses(_), End::Addresses(_)) => told.addresses.push(difference),
            }
            true
        });
        told
    }
}

fn holds(end: &End, address: IpAddr) -> bool {
    match end {
        End::Addresses(range) => {
            range.first.is_ipv4() == address.is_ipv4() && range.first <= address && address <= range.last
        }
        End::Workload(_) => false,
    }
}

/// An address of a node or service is told by itself: a range around it is of those who are outside.
fn is_at(end: &End, address: IpAddr) -> bool {
    *end == End::Addresses(AddressRange { first: address, last: address })
}

fn is(end: &End, places: [Option<usize>; 2]) -> bool {
    *end == End::Workload(places)
}

/// What is told of a flow: whether the first or the second side alone allows it.
fn told_of(found: Option<&Difference>, transport: Transport, port: u16) -> [bool; 2] {
    found.map_or([false, false], |found| {
        [found.only_first.contains(transport, port), found.only_second.contains(transport, port)]
    })
}

/// What is to be told of answers of both sides, each of which is one form of the same pair.
fn to_tell(answers: impl Iterator<Item = [bool; 2]>) -> [bool; 2] {
    answers.fold([false, false], |all, [a, b]| [all[0] || (a && !b), all[1] || (b && !a)])
}

#[derive(Default)]
struct Shares {
    cases: usize,
    differing: usize,
    /// Of those with a change that is not meant to keep the meaning.
    changed_and_equal: usize,
    contained: usize,
    not_contained: usize,
    by_end: [usize; 6],
}

/// The addresses before and after this one.
fn beside(address: IpAddr) -> impl Iterator<Item = IpAddr> {
    let [before, after] = match address {
        IpAddr::V4(v4) => [v4.to_bits().checked_sub(1), v4.to_bits().checked_add(1)]
            .map(|bits| bits.map(|bits| IpAddr::from(Ipv4Addr::from_bits(bits)))),
        IpAddr::V6(v6) => [v6.to_bits().checked_sub(1), v6.to_bits().checked_add(1)]
            .map(|bits| bits.map(|bits| IpAddr::from(Ipv6Addr::from_bits(bits)))),
    };
    before.into_iter().chain(after)
}

/// Compares everything that is told with what the oracle says of both sides; whether anything differs, by ends.
fn compare(pair: &Pair, told: &Told) -> Result<[bool; 6], TestCaseError> {
    let mut differs = [false; 6];
    let (addresses, ports): (Vec<_>, Vec<_>) = pair.clusters.iter().map(boundaries::boundaries).unzip();
    let addresses: BTreeSet<IpAddr> = addresses.into_iter().flatten().map(|address| address.to_canonical()).collect();
    let ports: BTreeSet<u16> = ports.into_iter().flatten().collect();
    let specials = pair.specials();
    let known: BTreeSet<IpAddr> =
        pair.clusters.iter().flat_map(|c| &c.workloads).flat_map(|w| &w.addresses).copied().collect();
    // Between two pods at both ends of a block lie addresses that no edge of a block tells.
    let beside = known.iter().chain(&specials).flat_map(|address| beside(*address));
    let outside: BTreeSet<IpAddr> = addresses.into_iter().chain(beside).collect();
    let outside: Vec<IpAddr> = outside.into_iter().filter(|a| !known.contains(a) && !specials.contains(a)).collect();
    let workloads = pair.workloads();
    let numbers = |transport| ports.iter().map(move |port| (transport, *port));
    let ports: Vec<(Transport, u16)> = Transport::ALL.into_iter().flat_map(numbers).filter(is_usable).collect();
    // Each of what is asked is one form of the same pair.
    let mut check = |end: usize, what: &dyn Fn() -> String, found: Option<&Difference>, asked: &[Asked<'_>]| {
        for (transport, port) in ports.iter().copied() {
            let expected = to_tell(asked.iter().map(|asked| asked.allowed(transport, port)));
            differs[end] |= expected != [false, false];
            prop_assert_eq!(told_of(found, transport, port), expected, "{} {}/{}", what(), port, transport);
        }
        Ok(())
    };
    for (is_pod, places) in &workloads {
        let met = pair.met(*places);
        for (_, others) in &workloads {
            let found = told.pairs.get(&(*places, *others));
            if *is_pod && places == others {
                prop_assert!(found.is_none());
                continue;
            }
            let other_met = pair.met(*others);
            let ends = met.iter().flat_map(|from| other_met.iter().map(move |to| (from, to)));
            let ends = ends.filter(|(from, to)| from.0.is_none() || to.0.is_none() || from.0 == to.0);
            let asked: Vec<Asked<'_>> = ends.map(|(from, to)| pair.between(from.1, to.1)).collect();
            check(0, &|| format!("{places:?} -> {others:?}"), found, &asked)?;
        }
        let as_such = places.map(|place| place.map(Party::workload));
        for address in &outside {
            let peer = [Some(Party::Address(*address)); 2];
            let found = told.to.iter().find(|d| is(&d.source, *places) && holds(&d.destination, *address));
            check(1, &|| format!("{places:?} -> {address}"), found, &[pair.between(as_such, peer)])?;
            let found = told.from.iter().find(|d| holds(&d.source, *address) && is(&d.destination, *places));
            check(2, &|| format!("{address} -> {places:?}"), found, &[pair.between(peer, as_such)])?;
        }
        for address in &specials {
            let peer = [Some(Party::Address(*address)); 2];
            let fits = |(v4, _): &&Met| v4.is_none_or(|v4| v4 == address.is_ipv4());
            let fitting: Vec<_> = if met.iter().any(|form| fits(&form)) {
                met.iter().filter(fits).collect()
            } else {
                met.iter().collect()
            };
            let found = told.to.iter().find(|d| is(&d.source, *places) && is_at(&d.destination, *address));
            let asked: Vec<Asked<'_>> = fitting.iter().map(|(_, own)| pair.between(*own, peer)).collect();
            check(3, &|| format!("{places:?} -> {address}"), found, &asked)?;
            let found = told.from.iter().find(|d| is_at(&d.source, *address) && is(&d.destination, *places));
            let asked: Vec<Asked<'_>> = fitting.iter().map(|(_, own)| pair.between(peer, *own)).collect();
            check(4, &|| format!("{address} -> {places:?}"), found, &asked)?;
        }
    }
    for address in &outside {
        for special in specials.iter().filter(|special| special.is_ipv4() == address.is_ipv4()) {
            let ends = [[Some(Party::Address(*address)); 2], [Some(Party::Address(*special)); 2]];
            let found = told.addresses.iter().find(|d| holds(&d.source, *address) && is_at(&d.destination, *special));
            check(5, &|| format!("{address} -> {special}"), found, &[pair.between(ends[0], ends[1])])?;
        }
    }
    Ok(differs)
}

/// Port 0 is that of what has no ports.
fn is_usable((transport, port): &(Transport, u16)) -> bool {
    (*transport == Transport::Other) == (*port == 0)
}

#[test]
fn what_two_sides_differ_in_is_what_the_oracle_says_of_both() {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let config = Config { failure_persistence: None, ..Config::default() };
    let mut runner = if asked {
        TestRunner::new(config)
    } else {
        let rng = TestRng::deterministic_rng(config.rng_algorithm);
        TestRunner::new_with_rng(Config { cases: 256, ..config }, rng)
    };
    let shares = RefCell::new(Shares::default());
    let result = runner.run(&(generate::case(), change::changes()), |(case, changes)| {
        let options = Options { scope: Scope::All, ..case.options };
        let second = changes.iter().fold(case.cluster.clone(), |cluster, change| change.of(cluster));
        let keeps = changes.iter().all(change::Change::keeps);
        let pair = Pair { clusters: [case.cluster, second], options };
        let [first, second] = pair.clusters.each_ref().map(|cluster| Engine::new(cluster, &pair.options));
        let comparison = Comparison::new(&first, &second, Question::Equivalent);
        let told = Told::new(&comparison);
        let differs = compare(&pair, &told)?;
        let count = told.pairs.len() + told.to.len() + told.from.len() + told.addresses.len();
        prop_assert_eq!(comparison.total(), count, "the total is how many are told");
        prop_assert_eq!(count > 0, differs.contains(&true), "no range without an address in it");
        // Containing is that the second alone allows nothing, whichever way round.
        let all = || told.pairs.values().chain(&told.to).chain(&told.from).chain(&told.addresses);
        let second_alone = all().filter(|found| !found.only_second.is_empty()).count();
        let first_alone = all().any(|found| !found.only_first.is_empty());
        let contains = Comparison::new(&first, &second, Question::Contains);
        prop_assert_eq!(contains.total() == 0, second_alone == 0);
        let turned = Comparison::new(&second, &first, Question::Contains);
        prop_assert_eq!(turned.total() == 0, !first_alone);
        let mut shares = shares.borrow_mut();
        shares.cases += 1;
        shares.differing += usize::from(count > 0);
        shares.changed_and_equal += usize::from(count == 0 && !keeps);
        prop_assert!(count == 0 || !keeps, "{:?} keep the meaning", changes);
        if count > 0 {
            shares.contained += usize::from(second_alone == 0);
            shares.not_contained += usize::from(second_alone > 0);
        }
        for (share, differs) in shares.by_end.iter_mut().zip(differs) {
            *share += usize::from(differs);
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let shares = shares.into_inner();
    let percent = |part: usize| part * 100 / shares.cases.max(1);
    println!(
        "{} cases: {} % differ, {} % equal after a change; of those that differ {} contained, {} not; by ends {:?}",
        shares.cases,
        percent(shares.differing),
        percent(shares.changed_and_equal),
        shares.contained,
        shares.not_contained,
        shares.by_end.map(percent)
    );
    if !asked || shares.cases >= 256 {
        assert!((30..=70).contains(&percent(shares.differing)), "a test of answers that are all alike");
        assert!(percent(shares.changed_and_equal) >= 10, "no change that changes nothing");
        assert!(shares.contained * 6 > shares.differing && shares.not_contained * 6 > shares.differing);
        assert!(shares.by_end.iter().all(|share| percent(*share) >= 3), "ends that never differ: {:?}", shares.by_end);
    }
}
