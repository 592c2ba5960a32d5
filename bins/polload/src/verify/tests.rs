//! Tables of clusters at random say what the objects say: what `polload verify` asks about is answered as the oracle answers it, and one
//! verdict that is turned around is found.

use std::collections::BTreeMap;

use chainkit_abi::{RowKey, side_of};
use chainkit_enforce::{Compiler, Lookup, PodEntry, Pods, policy_number};
use chainkit_policy::{Live, Options, Scope};
use proptest::prelude::*;

use super::boundaries::{ALL_UP_TO, Boundaries, OUTSIDE};
use super::snapshot::Snapshot;
use super::{Which, meaning};

// Clusters at random, as the compiler's own tests make them.
#[path = "../../../../lib/policy/tests/common/mod.rs"]
mod common;
#[path = "../../../../lib/policy/tests/properties/generate.rs"]
#[expect(dead_code, reason = "not all of a case is asked for")]
mod generate;

/// What is in force once this is, on the node `n1`.
fn snapshot(case: &generate::Case) -> Snapshot {
    let node = "n1".to_owned();
    let options = Options { scope: Scope::Node(node.clone()), cidrs_match_pods: true };
    let live = Live::new(case.cluster.clone(), &options);
    let (compiler, _) = Compiler::new(&live, &BTreeMap::new()).unwrap();
    let mut pods = Pods::default();
    for (index, pod) in case.cluster.workloads.iter().enumerate() {
        let policy = live.engine().policy_of(index).map_or(0, policy_number);
        pods.pods.insert(format!("{}/{}", pod.namespace, pod.name), PodEntry { policy, ..PodEntry::default() });
    }
    Snapshot {
        which: Which::InForce,
        generation: 1,
        read: compiler.image().clone(),
        saved: compiler.image().clone(),
        rules: compiler.rules().into_iter().map(|rule| (rule.number, rule)).collect(),
        cluster: case.cluster.clone(),
        options,
        node,
        standings: Vec::new(),
        endpoints: Vec::new(),
        records: Vec::new(),
        pods,
    }
}

fn asked(snapshot: &Snapshot, all_up_to: usize) -> Result<usize, String> {
    let boundaries = Boundaries::new(snapshot, all_up_to);
    meaning::compare(snapshot, &boundaries).map_err(|counterexample| format!("{counterexample:?}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn right_tables_have_no_counterexample(case in generate::case()) {
        let snapshot = snapshot(&case);
        let subjects = case.cluster.workloads.iter().filter(|pod| {
            pod.kind == "Pod" && !pod.host_network && pod.node.as_deref() == Some("n1")
        });
        let all = asked(&snapshot, ALL_UP_TO).map_err(TestCaseError::fail)?;
        // As where there are too many addresses.
        let some = asked(&snapshot, 0).map_err(TestCaseError::fail)?;
        prop_assert!(subjects.count() == 0 || all >= some && some > 100, "{all} questions, {some} of them where there are many");
    }

    #[test]
    fn a_verdict_turned_around_is_found(case in generate::case(), which in any::<prop::sample::Index>()) {
        let mut snapshot = snapshot(&case);
        // Of a pod's rules on somebody outside.
        let class = Lookup::new(&snapshot.read).class_of(OUTSIDE[0]);
        let policies: Vec<u32> = Boundaries::new(&snapshot, 0).subjects.iter().map(|subject| subject.policy).collect();
        let sides = policies.iter().filter(|policy| **policy != 0).flat_map(|policy| [side_of(*policy, 0), side_of(*policy, 1)]);
        let of_rules = sides.map(|side| {
            let row = snapshot.read.rows.get(&RowKey { side, class });
            row.copied().unwrap_or(snapshot.read.sides[side as usize].table)
        });
        let starts = of_rules.map(|table| snapshot.read.ports[table as usize].starts);
        let runs: Vec<u32> = starts.flat_map(|starts| starts[0]..starts[4]).collect();
        prop_assume!(!runs.is_empty());
        let run = &mut snapshot.read.runs[runs[which.index(runs.len())] as usize];
        run.allowed = 1 - run.allowed;
        prop_assert!(asked(&snapshot, ALL_UP_TO).is_err() && asked(&snapshot, 0).is_err());
    }
}
