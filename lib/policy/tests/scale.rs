//! What larger clusters compile to. How long that takes at full size is measured by `tests/bench policy`.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "the lints spare test functions alone, and not what those share"
)]

mod common;

use chainkit_policy::{Direction, Engine, Options, Scope, Transport, Verdict};
use common::large::{NAMESPACES_FOR_ONE_LOCAL, blocklist, busy, crossing};
use common::*;

#[test]
fn a_node_has_tables_of_its_own_pods_alone() {
    const NAMESPACES: usize = 100;
    let cluster = busy(NAMESPACES);
    let options = Options { scope: Scope::Node("n0".to_owned()), ..Options::default() };
    let engine = Engine::new(&cluster, &options);
    let tables = engine.tables();
    // Each of its pods is in a namespace whose policies are like no other's.
    assert_eq!(tables.policies.len(), NAMESPACES / NAMESPACES_FOR_ONE_LOCAL);
    for (from, port, expected) in [
        ("ns0/p2", 8080, Verdict::Allowed),  // of its namespace
        ("ns1/p1", 8080, Verdict::Denied),   // of another team
        ("ns20/p2", 9090, Verdict::Allowed), // of its tier
        ("ns20/p2", 9091, Verdict::Denied),
    ] {
        let flow = tcp(party(&cluster, from), party(&cluster, "ns0/p0"), port);
        assert_eq!(check(&cluster, &engine, &tables, &flow), Ok(expected), "{from} {port}");
        assert_eq!(engine.explain(&flow).verdict, expected, "{from} {port}");
    }
}

#[test]
fn every_prefix_of_a_long_blocklist_is_blocked_and_nothing_else() {
    const PREFIXES: u32 = 20_000;
    let cluster = blocklist(PREFIXES);
    let engine = Engine::new(&cluster, &Options::default());
    let tables = engine.tables();
    let policy = engine.policy_of(0).unwrap();
    let judge = |text: &str| tables.judge(policy, Direction::Egress, ip(text), Transport::Tcp, 80).unwrap();
    for number in 0..PREFIXES {
        let blocked = format!("11.{}.{}.{}", number / 250 % 200, number % 250, number % 7);
        assert_eq!(judge(&blocked), Verdict::Denied, "{blocked}");
    }
    for passed in ["10.255.255.255", "11.0.0.1", "11.80.0.0", "13.0.0.1"] {
        assert_eq!(judge(passed), Verdict::Allowed, "{passed}");
    }
}

#[test]
fn reach_between_all_pairs_is_what_is_judged_of_each() {
    let cluster = crossing(20);
    let engine = Engine::new(&cluster, &Options::default());
    let reach = engine.reach();
    let mut open = 0;
    for source in 0..cluster.workloads.len() {
        for destination in 0..cluster.workloads.len() {
            let parties = [source, destination].map(chainkit_policy::Party::workload);
            let flow = tcp(parties[0], parties[1], 80);
            let allowed = engine.judge(&flow).verdict == Verdict::Allowed;
            assert_eq!(
                reach.between(source, destination).contains(Transport::Tcp, 80),
                allowed,
                "{source} {destination}"
            );
            open += usize::from(allowed);
        }
    }
    let pairs = cluster.workloads.len() * cluster.workloads.len();
    assert!(open > pairs / 4 && open < pairs, "{open} of {pairs}");
}
