//! Images that follow a cluster answer as the tables they are made of; and what is written in place answers nothing otherwise but for
//! the addresses that it is about. One cluster at random becomes another, object by object, in batches of any size.
//!
//! `PROPTEST_CASES` sets how many there are.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "the lints spare test functions alone, and not what those share"
)]

// Clusters are those of the engine's own tests.
#[path = "../../policy/tests/common/mod.rs"]
mod common;
#[path = "../../policy/tests/properties/generate.rs"]
#[allow(dead_code, reason = "the engine's tests take more of it")]
mod generate;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;

use chainkit_cluster::model::Cluster;
use chainkit_enforce::{Compiled, Compiler, Image, Lookup, policy_number, side_number};
use chainkit_policy::{Direction, Live, PolicyId, Transport, Verdict};
use common::changes;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestCaseError, TestRng, TestRunner};

const PORTS: [u16; 8] = [0, 53, 80, 81, 443, 8080, 30_001, 65_535];

/// Addresses at which anything may begin or end.
fn addresses(clusters: [&Cluster; 2]) -> Vec<IpAddr> {
    let fixed = ["9.255.255.255", "10.0.0.0", "10.0.0.255", "192.0.2.127", "203.0.113.7", "fd00::8", "2001:db8::1"];
    let mut addresses: BTreeSet<IpAddr> = fixed.map(common::ip).into();
    for cluster in clusters {
        cluster.workloads.iter().for_each(|other| addresses.extend(&other.addresses));
        cluster.nodes.iter().for_each(|node| addresses.extend(&node.addresses));
        cluster.services.iter().for_each(|service| addresses.extend(&service.cluster_ips));
    }
    addresses.into_iter().map(|address| address.to_canonical()).collect()
}

/// What is asked of an image.
#[derive(Clone, Copy, Debug)]
struct Question {
    rules: PolicyId,
    direction: Direction,
    address: IpAddr,
    transport: Transport,
    port: u16,
}

impl Question {
    fn all(live: &Live, addresses: &[IpAddr]) -> Vec<Self> {
        let engine = live.engine();
        let rules = (0..).zip(engine.policies()).map(|(id, _)| id).filter(|id| engine.is_in_use(*id));
        let mut all = Vec::new();
        for rules in rules {
            for direction in Direction::BOTH {
                for address in addresses.iter().copied() {
                    for transport in Transport::ALL {
                        let ports = PORTS.into_iter().filter(|port| *port <= transport.last_port());
                        all.extend(ports.map(|port| Self { rules, direction, address, transport, port }));
                    }
                }
            }
        }
        all
    }

    fn of(self, lookup: &Lookup<'_>) -> bool {
        // One without ports, which no service has.
        let protocol = self.transport.protocol().map_or(253, |protocol| protocol.number());
        let egress = self.direction == Direction::Egress;
        lookup.ask(policy_number(self.rules), egress, self.address, protocol, self.port, false).allowed
    }
}

/// Addresses that a delta is about, those of services among them.
fn concerned(compiled: &Compiled) -> HashSet<IpAddr> {
    let delta = &compiled.delta;
    let mut all: HashSet<IpAddr> = delta.classes4.iter().map(|(address, _)| IpAddr::from(*address)).collect();
    all.extend(delta.classes6.iter().map(|(address, _)| IpAddr::from(*address)));
    for (key, _) in &delta.virtuals {
        let bytes = key.address.map(u64::to_ne_bytes).concat();
        all.insert(match key.family {
            4 => IpAddr::from(<[u8; 4]>::try_from(&bytes[..4]).unwrap()),
            _ => IpAddr::from(<[u8; 16]>::try_from(bytes).unwrap()),
        });
    }
    all
}

#[test]
fn images_that_follow_answer_as_tables_do() {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let config = Config { failure_persistence: None, max_shrink_iters: 300, ..Config::default() };
    let mut runner = if asked {
        TestRunner::new(config)
    } else {
        let rng = TestRng::deterministic_rng(config.rng_algorithm);
        TestRunner::new_with_rng(Config { cases: 96, ..config }, rng)
    };
    let order = proptest::collection::vec((any::<Index>(), 1..9usize), 1..12);
    let (in_place, steps) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let result = runner.run(&(generate::case(), generate::case(), order), |(first, second, order)| {
        let addresses = addresses([&first.cluster, &second.cluster]);
        let mut live = Live::new(first.cluster.clone(), &first.options);
        let (mut compiler, compiled) = Compiler::new(&live, &BTreeMap::new()).unwrap();
        let mut image = Image::default();
        image.apply(&compiled.delta).unwrap();
        let mut left = changes(&first.cluster, &second.cluster);
        let mut turns = order.iter().cycle();
        while !left.is_empty() {
            let (at, count) = turns.next().unwrap();
            let mut batch = Vec::new();
            for _ in 0..(*count).min(left.len()) {
                batch.push(left.remove(at.index(left.len())));
            }
            let update = live.apply(batch);
            let compiled = compiler.update(&live, &update).unwrap();
            let before = image.clone();
            image.apply(&compiled.delta).unwrap();
            prop_assert!(image.is_equal(compiler.image()), "deltas add up to the image");
            let (was, is) = (Lookup::new(&before), Lookup::new(&image));
            let about = concerned(&compiled);
            let node_ports = compiled.delta.virtuals.iter().any(|(key, _)| key.address == [0, 0]);
            for question in Question::all(&live, &addresses) {
                let Question { rules, direction, address, transport, port } = question;
                let wanted = live.tables().judge(rules, direction, address, transport, port);
                let wanted = wanted.map(|verdict| verdict == Verdict::Allowed);
                prop_assert_eq!(Some(question.of(&is)), wanted, "{:?}", question);
                let side = before.sides.get(side_number(rules, direction) as usize);
                let knew = side.is_some_and(|side| *side != chainkit_abi::Side::default());
                if compiled.in_place && knew && !about.contains(&address) && !node_ports {
                    prop_assert_eq!(question.of(&was), question.of(&is), "in place: {:?}", question);
                }
            }
            in_place.set(in_place.get() + usize::from(compiled.in_place && !compiled.delta.is_empty()));
            steps.set(steps.get() + 1);
        }
        Ok::<(), TestCaseError>(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    println!("{} steps, {} of them in place", steps.get(), in_place.get());
    assert!(in_place.get() > 20 && in_place.get() < steps.get());
}
