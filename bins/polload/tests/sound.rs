//! What `polload apply` and `polload plan` refuse before they look at the kernel: policies without which more would be allowed
//! than was meant.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a failure shows its line")]

mod common;

use std::fs;

use common::{Ended, policy, run, run_on, shop};

/// The spec of a policy that lets nobody in.
const DENY: &str = "{podSelector: {}, policyTypes: [Ingress]}";

/// The node that it is asked about.
const NODE: &str = "---\napiVersion: v1\nkind: Node\nmetadata: {name: n}\n";

/// Asks `plan` on a node that has nothing in force: without privileges it gets no further than the objects.
fn plan(input: &str, more: &[&str]) -> Ended {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().to_str().unwrap();
    run_on(&[input, NODE].concat(), &[&["plan", "-", "--root", root, "--node", "n"], more].concat())
}

/// Refused by `apply` and `plan`, with exit code 2 and all of these words.
#[track_caller]
fn refused(input: &str, words: &[&str]) {
    let input = [shop(), input.to_owned()].concat();
    for command in [&["apply", "-"][..], &["apply", "-", "--dry-run"], &["plan", "-"]] {
        let ended = run_on(&input, command);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{command:?}: {}", ended.stderr);
        let error = ended.stderr.lines().find(|line| line.contains("nothing was changed")).unwrap_or_default();
        assert!(ended.stderr.contains("--skip-invalid") || ended.stderr.contains("named later"), "{}", ended.stderr);
        for word in words {
            assert!(error.contains(word), "{command:?}: {word} is not in {}", ended.stderr);
        }
    }
    let left_out = plan(&input, &["--skip-invalid"]);
    assert_ne!(left_out.code, Some(2), "{}", left_out.stderr);
}

/// Taken by `plan`, however far that comes then. What it told.
#[track_caller]
fn taken(input: &str) -> String {
    let ended = plan(&[shop(), input.to_owned()].concat(), &[]);
    assert!(
        ended.code != Some(2) && !ended.stderr.contains("nothing was changed"),
        "{:?} {}",
        ended.code,
        ended.stderr
    );
    ended.stderr
}

#[test]
fn policies_of_versions_that_are_not_read_are_refused() {
    for (from, to, reads) in [
        ("networking.k8s.io/v1", "extensions/v1beta1", "networking.k8s.io/v1"),
        ("networking.k8s.io/v1", "v1", "networking.k8s.io/v1"),
        ("networking.k8s.io/v1", "networking.k8s.io/v2", "networking.k8s.io/v1"),
        ("NetworkPolicy\n", "NetworkPolcy\n", "a kind that is not known"),
        ("NetworkPolicy\n", "AdminNetworkPolicy\n", "policy.networking.k8s.io/v1alpha1"),
    ] {
        let input = policy("deny", DENY).replacen(from, to, 1);
        refused(&input, &["-:", "/deny", reads]);
    }
    let cluster = "---\napiVersion: policy.networking.k8s.io/v1\nkind: ClusterNetworkPolicy\nmetadata: {name: c}\n";
    refused(cluster, &["ClusterNetworkPolicy/c", "policy.networking.k8s.io/v1 is not read", "v1alpha2"]);
    // What is in it nobody knows.
    refused("---\nkind: List\napiVersion: v1\nitem: []\n", &["items: missing"]);
    refused("---\nmetadata: {name: x}\nspec: {podSelector: {}}\n", &["kind: missing"]);
    refused("---\n{kind: List, items: [{metadata: {name: x}}]}\n", &["item 0: kind: missing"]);
}

#[test]
fn policies_of_others_are_passed_over_and_told() {
    for version in ["crd.projectcalico.org/v1", "projectcalico.org/v3"] {
        let told = taken(&policy("deny", DENY).replacen("networking.k8s.io/v1", version, 1));
        assert!(told.contains(&format!("passed over: 1 {version} NetworkPolicy")), "{told}");
    }
}

#[test]
fn fields_that_a_policy_does_not_have_are_refused_there_and_told_elsewhere() {
    let typos = policy("open", "{podSelector: {}, ingress: [{form: [{podSelector: {}}], ports: [{prot: 80}]}]}");
    refused(&typos, &["NetworkPolicy/shop/open: spec.ingress[0].form", "(and 1 more)"]);
    let input = [shop(), typos].concat();
    let matrix = run_on(&input, &["matrix", "-", "-j"]);
    assert_eq!(matrix.code, Some(0), "{}", matrix.stderr);
    for field in ["warning: -:", "spec.ingress[0].form: no field", "spec.ingress[0].ports[0].prot: no field"] {
        assert!(matrix.stderr.contains(field), "{}", matrix.stderr);
    }
    let strict = run_on(&input, &["matrix", "-", "--strict"]);
    assert_eq!((strict.code, strict.stdout.as_str()), (Some(2), ""), "{}", strict.stderr);
    let lint = run_on(&input, &["lint", "-", "-j"]);
    assert_eq!(lint.records().iter().filter(|found| found["id"] == "unknown-field").count(), 2, "{}", lint.stdout);
}

#[test]
fn what_is_told_of_unknown_fields_is_bounded() {
    let fields: String = (0..500).map(|number| format!(", f{number}: 1")).collect();
    let policies: String =
        (0..50).map(|at| policy(&format!("p{at}"), &format!("{{podSelector: {{}}{fields}}}"))).collect();
    let matrix = run_on(&[shop(), policies].concat(), &["matrix", "-"]);
    assert_eq!(matrix.code, Some(0));
    assert!(matrix.stderr.lines().count() < 110, "{}", matrix.stderr.lines().count());
    assert!(matrix.stderr.contains("more doubts about policies"), "{}", matrix.stderr);
}

#[test]
fn what_an_api_server_refuses_is_refused_and_what_it_always_took_is_told() {
    let block = |block: &str| policy("p", &format!("{{podSelector: {{}}, egress: [{{to: [{{ipBlock: {block}}}]}}]}}"));
    refused(&block("{cidr: 10.0.0.0/8, except: [11.0.0.0/8]}"), &["ipBlock.except[0]", "11.0.0.0/8"]);
    refused(&block("{cidr: 10.0.0.0/8, except: [10.0.0.0/8]}"), &["ipBlock.except[0]"]);
    refused(&policy("p", "{podSelector: {}, ingress: [{ports: [{port: 9, endPort: 8}]}]}"), &["ports[0].endPort"]);
    for cidr in ["'::ffff:10.1.64.0/120'", "10.1.064.0/24"] {
        let told = taken(&block(&format!("{{cidr: {cidr}}}")));
        assert!(told.contains("ipBlock.cidr") && told.contains("is taken for 10.1.64.0/24"), "{told}");
    }
    let told = taken(&policy("p", DENY).replace(", namespace: shop", ""));
    assert!(told.contains("NetworkPolicy/default/p: metadata.namespace: missing"), "{told}");
}

#[test]
fn of_a_policy_that_two_inputs_give_the_one_named_later_counts() {
    let scratch = tempfile::tempdir().unwrap();
    let file = |name: &str, text: String| {
        let path = scratch.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let cluster = file("cluster.yaml", [shop(), policy("p", DENY), NODE.to_owned()].concat());
    let new = file("new.yaml", policy("p", "{podSelector: {}, ingress: [{}]}"));
    let root = scratch.path().join("root").to_str().unwrap().to_owned();
    let ended = run(&["plan", &cluster, &new, "--root", &root, "--node", "n"]);
    assert_ne!(ended.code, Some(2), "{}", ended.stderr);
    let told = format!("new.yaml:4: document 1: NetworkPolicy/shop/p: metadata.name: given before at {cluster}:");
    assert!(ended.stderr.contains(&told) && ended.stderr.contains("this one counts"), "{}", ended.stderr);
    // Which one that is shows in what it allows.
    let rows = |inputs: [&str; 2]| run(&["matrix", inputs[0], inputs[1], "-j", "--strict"]).records().len();
    assert!(rows([&cluster, &new]) > rows([&new, &cluster]));
    let twice = [policy("p", DENY), policy("p", "{podSelector: {}, ingress: [{}]}")].concat();
    refused(&twice, &["given twice by one input", "given before at -:"]);
}
