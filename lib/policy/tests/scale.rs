//! How long compiling takes at the size of a large cluster. Ignored by default: build with optimizations, and run with
//! `--ignored --nocapture` to read the times. Nothing here is asserted about time, since machines differ.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "the lints spare test functions alone, and not what those share"
)]

mod common;

use std::time::Instant;

use chainkit_cluster::model::{Cluster, TargetPort};
use chainkit_policy::{Direction, Engine, Options, Party, Scope, Verdict};
use common::*;
use serde_json::json;

const NAMESPACES: usize = 5_000;
const PODS_OF_EACH: usize = 50;

/// 250,000 pods in 5,000 namespaces under 20,000 label sets, 200 of them on node `n0`; 10,000 policies, 10,000 services.
fn large() -> Cluster {
    let mut cluster = Cluster::default();
    for node_at in 0..1250 {
        cluster.nodes.push(node(
            &format!("n{node_at}"),
            &[],
            &[&format!("172.16.{}.{}", node_at / 250, node_at % 250)],
        ));
    }
    for at in 0..NAMESPACES {
        let name = format!("ns{at}");
        cluster.namespaces.push(namespace(&name, &[("team", &format!("t{}", at % 100))]));
        for pod_at in 0..PODS_OF_EACH {
            let number = at * PODS_OF_EACH + pod_at;
            let address = format!("10.{}.{}.{}", number / 62_500, number / 250 % 250, number % 250);
            let (app, tier) = (format!("app{}", pod_at % 4), format!("v{}", at % 20));
            let mut added = pod(
                &format!("{name}/p{pod_at}"),
                &[("app", &app), ("tier", &tier), ("pod-template-hash", "6b7")],
                &address,
            );
            added.node =
                Some(if pod_at == 0 && at % 25 == 0 { "n0".to_owned() } else { format!("n{}", 1 + number % 1249) });
            cluster.workloads.push(added);
        }
        add_policy(
            &mut cluster,
            &format!("{name}/in"),
            &json!({"podSelector": {}, "ingress": [
            {"from": [{"podSelector": {}}, {"namespaceSelector": {"matchLabels": {"team": format!("t{}", at % 100)}}, "podSelector": {"matchLabels": {"app": "app1"}}}]},
            {"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"tier": format!("v{}", at % 20)}}}], "ports": [{"port": 9090}]}]}),
        );
        add_policy(
            &mut cluster,
            &format!("{name}/out"),
            &json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [
            {"to": [{"namespaceSelector": {}}], "ports": [{"port": 53, "protocol": "UDP"}]},
            {"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", format!("203.0.113.{}/32", at % 256)]}}], "ports": [{"port": 443}]}]}),
        );
        for (service_at, app) in ["app0", "app1"].into_iter().enumerate() {
            let number = at * 2 + service_at;
            let address = format!("10.96.{}.{}", number / 250, number % 250);
            cluster.services.push(service(
                &format!("{name}/s{service_at}"),
                &[("app", app)],
                &address,
                80,
                TargetPort::Number(8080),
            ));
        }
    }
    cluster
}

#[test]
#[ignore = "takes a large cluster's time and memory; read its times in an optimized build"]
fn compile_a_large_cluster_for_one_node() {
    let cluster = large();
    let options = Options { scope: Scope::Node("n0".to_owned()), ..Options::default() };
    let start = Instant::now();
    let engine = Engine::new(&cluster, &options);
    println!("engine: {:?}", start.elapsed());
    let tables = engine.tables();
    println!("engine and tables: {:?}", start.elapsed());
    println!(
        "policy ids {}, classes {}, addresses {}, prefixes {}, rows {}",
        tables.policies.len(),
        tables.classes,
        tables.addresses.len(),
        tables.prefixes.len(),
        tables.rows().count()
    );
    assert_eq!(tables.policies.len(), 200);
    let start = Instant::now();
    let flow = tcp(party(&cluster, "ns1/p1"), party(&cluster, "ns0/p0"), 8080);
    let told = engine.explain(&flow);
    println!("explain: {:?}: {}", start.elapsed(), told.ingress.reason);
    assert_eq!(told.verdict, Verdict::Denied);
}

#[test]
#[ignore = "takes a large cluster's time and memory; read its times in an optimized build"]
fn compile_a_large_cluster_for_everybody() {
    let cluster = large();
    let start = Instant::now();
    let engine = Engine::new(&cluster, &Options::default());
    println!("engine: {:?}", start.elapsed());
    let start = Instant::now();
    let told = engine.explain(&tcp(party(&cluster, "ns1/p1"), party(&cluster, "ns0/p0"), 8080));
    println!("explain: {:?}: {}", start.elapsed(), told.ingress.reason);
    assert_eq!(told.verdict, Verdict::Denied);
}

#[test]
#[ignore = "read its times in an optimized build"]
fn compile_a_blocklist_of_100_000_prefixes() {
    let mut cluster = Cluster { namespaces: vec![namespace("a", &[])], ..Cluster::default() };
    cluster.workloads.push(pod("a/web", &[], "10.0.0.1"));
    let cidrs: Vec<String> =
        (0..100_000u32).map(|n| format!("{}.{}.{}.{}/32", 11 + n / 50_000, n / 250 % 200, n % 250, n % 7)).collect();
    add_policy(
        &mut cluster,
        "a/p",
        &json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [
        {"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": cidrs}}]}]}),
    );
    let start = Instant::now();
    let engine = Engine::new(&cluster, &Options::default());
    let tables = engine.tables();
    println!("blocklist: {:?}, {} prefixes, {} classes", start.elapsed(), tables.prefixes.len(), tables.classes);
    let start = Instant::now();
    let ranges = engine.reach().to_external(0).len();
    println!("as ranges: {:?}, {ranges}", start.elapsed());
    let policy = engine.policy_of(0).unwrap();
    let judge = |text: &str| tables.judge(policy, Direction::Egress, ip(text), chainkit_policy::Transport::Tcp, 80);
    assert_eq!((judge("11.0.0.0"), judge("13.0.0.1")), (Some(Verdict::Denied), Some(Verdict::Allowed)));
}

#[test]
#[ignore = "read its times in an optimized build"]
fn reach_of_2_000_workloads_and_1_000_policies() {
    let mut cluster = Cluster::default();
    for at in 0..500 {
        let name = format!("ns{at}");
        cluster.namespaces.push(namespace(&name, &[("team", &format!("t{}", at % 10))]));
        for app in 0..4 {
            cluster.workloads.push(pod(&format!("{name}/w{app}"), &[("app", &format!("app{app}"))], ""));
        }
        add_policy(
            &mut cluster,
            &format!("{name}/in"),
            &json!({"podSelector": {"matchLabels": {"app": "app1"}}, "ingress": [
            {"from": [{"namespaceSelector": {"matchLabels": {"team": format!("t{}", at % 10)}}}], "ports": [{"port": 80}]}]}),
        );
        add_policy(
            &mut cluster,
            &format!("{name}/out"),
            &json!({"podSelector": {"matchLabels": {"app": "app2"}}, "policyTypes": ["Egress"], "egress": [
            {"to": [{"podSelector": {}}, {"ipBlock": {"cidr": format!("10.{}.0.0/16", at % 250)}}]}]}),
        );
    }
    let start = Instant::now();
    let engine = Engine::new(&cluster, &Options::default());
    let reach = engine.reach();
    println!("reach made: {:?}, kinds {}", start.elapsed(), reach.kinds());
    let mut open = 0usize;
    for source in 0..cluster.workloads.len() {
        for destination in 0..cluster.workloads.len() {
            open += usize::from(!reach.between(source, destination).is_empty());
        }
        open += reach.to_external(source).len();
    }
    println!("all pairs: {:?}, {open} open", start.elapsed());
    assert!(open > 0 && matches!(Party::workload(0), Party::Workload { .. }));
}
