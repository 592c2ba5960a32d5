//! What an index says, and how much is looked at with it.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "the lints spare test functions alone, and not what those share"
)]

#[path = "../../../tests/common/mod.rs"]
mod common;
#[path = "../../../tests/properties/generate.rs"]
#[allow(dead_code, reason = "the engine's tests take more of it")]
mod generate;

use chainkit_cluster::model::{Change, Cluster, Object};
use proptest::prelude::*;
use serde_json::json;

use super::super::work;
use super::Index;
use crate::classes::Class;
use crate::engine::Engine;
use crate::flow::{Direction, Options, Scope};
use crate::live::Live;
use common::{add_policy, namespace, node, pod};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_index_says_of_everybody_what_all_the_rules_one_after_another_say(case in generate::case()) {
        let engine = Engine::new(&case.cluster, &case.options);
        let classes: Vec<Class> = engine.classes().iter().map(|(_, class)| class.clone()).collect();
        let own_node = classes.iter().map(|class| Class { own_node: true, ..class.clone() });
        let classes: Vec<Class> = own_node.chain(classes.iter().cloned()).collect();
        for rules in engine.policies() {
            for direction in Direction::BOTH {
                let index = Index::new(engine.rules(), rules, direction);
                for class in &classes {
                    prop_assert_eq!(
                        index.evaluate(engine.rules(), class),
                        rules.evaluate(engine.rules(), direction, class),
                        "{:?} {:?} {:?}", rules, direction, class
                    );
                }
            }
        }
    }
}

/// Ten pods on node `n1` in namespace `a`, and no policy.
fn ten_pods() -> Cluster {
    let mut cluster = Cluster { namespaces: vec![namespace("a", &[])], ..Cluster::default() };
    cluster.nodes = vec![node("n1", &[], &["172.16.0.1"]), node("n2", &[], &["172.16.0.2"])];
    for at in 0..10 {
        let labels = [("app", "web"), ("at", &*at.to_string())];
        cluster.workloads.push(pod(&format!("a/w{at}"), &labels, &format!("10.0.0.{at}")));
    }
    cluster
}

/// A block of each number's own.
fn block(number: usize) -> serde_json::Value {
    json!({"ipBlock": {"cidr": format!("20.{}.{}.0/24", number / 256, number % 256)}})
}

fn a_policy_for_each_block(policies: usize) -> Cluster {
    let mut cluster = ten_pods();
    for at in 0..policies {
        add_policy(&mut cluster, &format!("a/p{at}"), &json!({"podSelector": {}, "ingress": [{"from": [block(at)]}]}));
    }
    cluster
}

fn a_policy_for_each_peer(policies: usize) -> Cluster {
    let mut cluster = ten_pods();
    for at in 0..policies {
        let peer = at.to_string();
        let mut elsewhere = pod(&format!("a/x{at}"), &[("x", &peer)], &format!("10.1.{}.{}", at / 256, at % 256));
        elsewhere.node = Some("n2".to_owned());
        cluster.workloads.push(elsewhere);
        let from = json!([{"podSelector": {"matchLabels": {"x": peer}}}]);
        let spec = json!({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [{"from": from}]});
        add_policy(&mut cluster, &format!("a/p{at}"), &spec);
    }
    cluster
}

fn one_policy_with_a_rule_for_each_block(rules: usize) -> Cluster {
    let mut cluster = ten_pods();
    let rules: Vec<_> = (0..rules).map(|at| json!({"to": [block(at)], "ports": [{"port": 1 + at % 60_000}]})).collect();
    add_policy(&mut cluster, "a/p", &json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": rules}));
    cluster
}

/// Five blocks in each other, and again five, each in a policy that selects the pods by words of its own.
fn nested_blocks(policies: usize) -> Cluster {
    let mut cluster = ten_pods();
    for at in 0..policies {
        let (outer, inner) = (at / 5, 20 + at % 5);
        let cidr = format!("20.{}.{}.0/{inner}", outer / 16, outer % 16 * 16);
        let words = json!([{"key": "app", "operator": "In", "values": ["web", at.to_string()]}]);
        let ports = json!([{"port": 1 + at % 60_000}]);
        let ingress = json!([{"from": [{"ipBlock": {"cidr": cidr}}], "ports": ports}]);
        let spec = json!({"podSelector": {"matchExpressions": words}, "ingress": ingress});
        add_policy(&mut cluster, &format!("a/p{at}"), &spec);
    }
    cluster
}

/// Every second policy lets everybody in at one of three ports, and every second one a block.
fn blocks_beside_everybody(policies: usize) -> Cluster {
    let mut cluster = ten_pods();
    for at in 0..policies {
        let ports = json!([{"port": 80 + at / 2 % 3}]);
        let from = [json!([]), json!([block(at)])][at % 2].clone();
        let spec = json!({"podSelector": {}, "ingress": [{"from": from, "ports": ports}]});
        add_policy(&mut cluster, &format!("a/p{at}"), &spec);
    }
    cluster
}

/// A cluster of so many policies.
type Shape = fn(usize) -> Cluster;

#[test]
fn twice_the_policies_are_twice_the_work_and_no_more() {
    let shapes: [(&str, Shape); 5] = [
        ("a policy for each block", a_policy_for_each_block),
        ("a policy for each peer", a_policy_for_each_peer),
        ("one policy", one_policy_with_a_rule_for_each_block),
        ("nested blocks", nested_blocks),
        ("blocks beside everybody", blocks_beside_everybody),
    ];
    let options = Options { scope: Scope::Node("n1".to_owned()), ..Options::default() };
    for (shape, cluster) in shapes {
        let work = [100, 200, 400].map(|size| {
            let cluster = cluster(size);
            let first = Object::NetworkPolicy(cluster.network_policies[0].clone());
            let mut live = None;
            let compiled = work::of(|| live = Some(Live::new(cluster, &options)));
            let live = live.as_mut().unwrap();
            assert!(live.engine().classes().iter().count() > size / 2, "{shape}: the peers are told apart");
            let followed = work::of(|| {
                live.apply(vec![Change::Remove(first.name())]);
                live.apply(vec![Change::Set(Box::new(first))]);
            });
            [compiled, followed]
        });
        // Twice as many more are at most twice as much more work, whatever it takes to begin with.
        let [few, some, many] = work;
        for at in 0..2 {
            assert!(many[at] - some[at] <= 2 * (some[at] - few[at]), "{shape}: {work:?}");
        }
        assert!(work[2][0] > 400, "{shape}: it is counted");
    }
}
