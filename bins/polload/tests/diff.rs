//! `polload diff`: who may reach whom no longer, or as of now.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a failure shows its line")]

mod common;

use std::fs;

use common::{Ended, namespace, pod, policy, run_on, shop};
use serde_json::{Value, json};

/// Runs it on two texts: the old one is a file, the new one is stdin.
fn diff_in(old: &str, new: &str, form: &str) -> Ended {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("old.yaml");
    fs::write(&file, old).unwrap();
    run_on(new, &["diff", file.to_str().unwrap(), "-", "-o", form])
}

/// What differs, as (source, destination, gained, lost).
fn diff(old: &str, new: &str) -> Vec<(String, String, Value, Value)> {
    let ended = diff_in(old, new, "jsonl");
    let records = ended.records();
    assert_eq!(ended.code, Some(i32::from(!records.is_empty())), "{} {}", ended.stdout, ended.stderr);
    let rows = records.into_iter().map(|record| {
        assert_eq!(record["kind"], "ReachDiff");
        let text = |field: &str| record[field].as_str().unwrap().to_owned();
        (text("src"), text("dst"), record["gained"].clone(), record["lost"].clone())
    });
    rows.collect()
}

fn row(src: &str, dst: &str, gained: Value, lost: Value) -> (String, String, Value, Value) {
    (src.to_owned(), dst.to_owned(), gained, lost)
}

fn tcp(ranges: &Value) -> Value {
    json!({"TCP": ranges, "UDP": [], "SCTP": []})
}

fn none() -> Value {
    tcp(&json!([]))
}

fn all() -> Value {
    json!({"TCP": [[1, 65535]], "UDP": [[1, 65535]], "SCTP": [[1, 65535]]})
}

/// A policy that lets `web` out to these peers alone.
fn web_to(peers: &str) -> String {
    policy("out", &format!("{{podSelector: {{matchLabels: {{app: web}}}}, policyTypes: [Egress], egress: {peers}}}"))
}

const V4: &str = "0.0.0.0-255.255.255.255";
const V6: &str = "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
const WEB: &str = "shop/web[Pod]";
const DB: &str = "shop/db[Pod]";
const TILL: &str = "bank/till[Pod]";

#[test]
fn equal_inputs_differ_in_nothing() {
    let input = [shop(), web_to("[{to: [{ipBlock: {cidr: 10.0.0.0/8}}], ports: [{port: http}]}]")].concat();
    assert_eq!(diff(&input, &input), []);
    let table = diff_in(&input, &input, "table");
    assert_eq!((table.code, table.stdout.as_str()), (Some(0), ""), "{}", table.stderr);
    let json = diff_in(&input, &input, "json");
    assert_eq!((json.code, json.stdout.trim()), (Some(0), "[]"), "{}", json.stderr);
}

#[test]
fn the_order_of_documents_and_how_a_policy_is_written_do_not_differ() {
    let one =
        web_to("[{to: [{podSelector: {}}]}, {to: [{ipBlock: {cidr: 10.0.0.0/8}}, {ipBlock: {cidr: 11.0.0.0/8}}]}]");
    let other = web_to("[{to: [{ipBlock: {cidr: 10.0.0.0/7}}]}, {to: [{podSelector: {}}]}]");
    let pods = [pod("bank", "till", "10.0.1.1"), pod("shop", "db", "10.0.0.2"), pod("shop", "web", "10.0.0.1")];
    let reordered = [other, pods.concat(), namespace("bank", "b"), namespace("shop", "a")];
    assert_eq!(diff(&[shop(), one].concat(), &reordered.concat()), []);
}

#[test]
fn ports_that_open_are_gained_and_ports_that_close_are_lost() {
    let to_db = |ports: &str| {
        let spec = "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: ";
        [shop(), policy("db", &format!("{spec}{ports}}}]}}"))].concat()
    };
    let (old, new) =
        (to_db("[{port: 80, endPort: 90}]"), to_db("[{port: 85, endPort: 95}, {port: 53, protocol: UDP}]"));
    let gained = json!({"TCP": [[91, 95]], "UDP": [[53, 53]], "SCTP": []});
    assert_eq!(diff(&old, &new), [row(WEB, DB, gained.clone(), tcp(&json!([[80, 84]])))]);
    assert_eq!(diff(&new, &old), [row(WEB, DB, tcp(&json!([[80, 84]])), gained)]);
    let table = diff_in(&old, &new, "table").stdout;
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["SOURCE", "DESTINATION", "GAINED", "LOST"]);
    assert_eq!(lines[1], [WEB, DB, "TCP", "91-95", "UDP", "53", "TCP", "80-84"]);
    assert_eq!(lines.len(), 2);
    let json: Value = serde_json::from_str(&diff_in(&old, &new, "json").stdout).unwrap();
    assert_eq!((json.as_array().unwrap().len(), &json[0]["lost"]["TCP"]), (1, &json!([[80, 84]])));
}

#[test]
fn a_policy_that_is_new_takes_what_it_does_not_allow() {
    let closed = [shop(), policy("deny", "{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress]}")].concat();
    let expected = [(TILL, DB), (WEB, DB), (V4, DB), (V6, DB)].map(|(src, dst)| row(src, dst, none(), all())).to_vec();
    assert_eq!(diff(&shop(), &closed), expected);
}

#[test]
fn outside_is_cut_where_either_side_tells_addresses_apart() {
    let old = [shop(), web_to("[{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}]}]")].concat();
    let new = [
        shop(),
        web_to("[{to: [{ipBlock: {cidr: 10.0.0.0/15}}]}, {to: [{ipBlock: {cidr: 11.0.0.0/8}}], ports: [{port: 443}]}]"),
    ]
    .concat();
    assert_eq!(
        diff(&old, &new),
        [
            row(WEB, "10.1.0.0-10.1.255.255", all(), none()),
            row(WEB, "10.2.0.0-10.255.255.255", none(), all()),
            row(WEB, "11.0.0.0-11.255.255.255", tcp(&json!([[443, 443]])), none()),
        ]
    );
}

#[test]
fn neighbours_that_change_alike_are_one_range_whatever_they_were() {
    // What was 80 and what was 81 before both gain 443.
    let blocks = |ports: [&str; 2]| {
        let [low, high] = ports;
        let peers = format!(
            "[{{to: [{{ipBlock: {{cidr: 10.0.0.0/9}}}}], ports: {low}}}, {{to: [{{ipBlock: {{cidr: 10.128.0.0/9}}}}], ports: {high}}}]"
        );
        [shop(), web_to(&peers)].concat()
    };
    let old = blocks(["[{port: 80}]", "[{port: 81}]"]);
    let new = blocks(["[{port: 80}, {port: 443}]", "[{port: 81}, {port: 443}]"]);
    assert_eq!(diff(&old, &new), [row(WEB, "10.0.0.0-10.255.255.255", tcp(&json!([[443, 443]])), none())]);
}

#[test]
fn ipv6_is_compared_apart_from_ipv4() {
    let from = |cidrs: &[&str]| {
        let blocks: Vec<String> = cidrs.iter().map(|cidr| format!("{{ipBlock: {{cidr: '{cidr}'}}}}")).collect();
        let spec =
            format!("{{podSelector: {{matchLabels: {{app: db}}}}, ingress: [{{from: [{}]}}]}}", blocks.join(", "));
        [shop(), policy("db", &spec)].concat()
    };
    let old = from(&["2001:db8::/32", "0.0.0.0/0"]);
    let new = from(&["2001:db8:0:1::/64", "::ffff:ffff:0/112", "0.0.0.0/0"]);
    let text = diff(&old, &new);
    assert_eq!(
        text,
        [
            row("2001:db8::-2001:db8::ffff:ffff:ffff:ffff", DB, none(), all()),
            row("2001:db8:0:2::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", DB, none(), all()),
        ],
        "a block of mapped addresses is IPv4, which all of was allowed"
    );
    assert_eq!(
        diff(&from(&["0.0.0.0/0"]), &from(&["::/0"])),
        [row(V4, DB, none(), all()), row(V6, DB, all(), none())],
        "the last IPv4 address has no neighbour in IPv6"
    );
}

#[test]
fn workloads_of_one_side_alone_gain_or_lose_all_that_they_are_allowed() {
    let closed = web_to("[{to: [{podSelector: {matchLabels: {app: db}}}], ports: [{port: 5432}]}]");
    let without = [namespace("shop", "a"), pod("shop", "db", "10.0.0.2"), closed.clone()].concat();
    let with = [without.clone(), pod("shop", "web", "10.0.0.1")].concat();
    let pairs = [(DB, WEB, all()), (WEB, DB, tcp(&json!([[5432, 5432]]))), (V4, WEB, all()), (V6, WEB, all())];
    let gained: Vec<_> = pairs.iter().map(|(src, dst, what)| row(src, dst, what.clone(), none())).collect();
    assert_eq!(diff(&without, &with), gained);
    let lost: Vec<_> = pairs.iter().map(|(src, dst, what)| row(src, dst, none(), what.clone())).collect();
    assert_eq!(diff(&with, &without), lost);
}

#[test]
fn pods_that_are_replaced_under_one_owner_are_the_same() {
    let owned = |name: &str, address: &str| {
        format!(
            "---\nkind: Pod\napiVersion: v1\nmetadata: {{name: {name}, namespace: shop, labels: {{app: api}}, \
             ownerReferences: [{{apiVersion: apps/v1, kind: ReplicaSet, name: api, controller: true}}]}}\n\
             status: {{podIP: {address}}}\n"
        )
    };
    let old = [shop(), owned("api-1", "10.0.3.1"), owned("api-2", "10.0.3.2")].concat();
    assert_eq!(diff(&old, &[shop(), owned("api-3", "10.0.3.3")].concat()), []);
}

#[test]
fn what_differs_is_what_the_matrices_differ_in() {
    let matrix = |input: &str| {
        let ended = run_on(input, &["matrix", "-", "-o", "jsonl"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended.records()
    };
    // Against a side without rows, the difference is the matrix itself: names, ranges and ports.
    let lone = |input: &str| format!("{input}---\nkind: Pod\napiVersion: v1\nmetadata: {{name: lone, namespace: z}}\n");
    let deny = "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: d, namespace: z}\n\
                spec: {podSelector: {}, policyTypes: [Ingress, Egress]}\n";
    let nothing = format!("{}{deny}", lone(""));
    let peers = "[{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.9.0.0/16]}}, {podSelector: {}}], ports: [{port: 80}]}, \
                 {to: [{ipBlock: {cidr: '2001:db8::/33'}}]}]";
    let input = format!("{}{}{deny}", lone(&shop()), web_to(peers));
    let rows = matrix(&input);
    assert_eq!(matrix(&nothing), Vec::<Value>::new());
    let expected: Vec<_> = rows
        .iter()
        .map(|reach| {
            row(reach["src"].as_str().unwrap(), reach["dst"].as_str().unwrap(), reach["allow"].clone(), none())
        })
        .collect();
    assert!(expected.len() > 10);
    assert_eq!(diff(&nothing, &input), expected);
}

#[test]
fn protocols_that_are_not_shown_make_no_difference() {
    // Every port of the three is all that is shown; other protocols differ, and are none of them.
    let every = "[{ports: [{port: 1, endPort: 65535}, {port: 1, endPort: 65535, protocol: UDP}, \
                 {port: 1, endPort: 65535, protocol: SCTP}]}]";
    let (old, new) = ([shop(), web_to("[{}]")].concat(), [shop(), web_to(every)].concat());
    assert_eq!(diff(&old, &new), []);
}

#[test]
fn sides_are_told_apart_in_messages() {
    let broken = format!("{}---\nkind: Pod\nmetadata: {{name: x}}\nspec: 7\n", shop());
    let ended = diff_in(&shop(), &broken, "jsonl");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("warning: NEW: -:"), "{}", ended.stderr);
    let ended = diff_in(&broken, &shop(), "jsonl");
    assert!(ended.stderr.contains("warning: OLD: "), "{}", ended.stderr);
}

#[test]
fn one_bad_document_on_either_side_is_refused_under_strict() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("side.yaml");
    let broken = format!("{}---\nkind: Pod\nmetadata: {{name: x}}\nspec: 7\n", shop());
    fs::write(&file, shop()).unwrap();
    let side = file.to_str().unwrap();
    for arguments in [["diff", side, "-", "--strict"], ["diff", "-", side, "--strict"]] {
        let refused = run_on(&broken, &arguments);
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{}", refused.stderr);
        assert!(refused.stderr.contains("Pod/default/x: spec: "), "{}", refused.stderr);
        assert_eq!(run_on(&shop(), &arguments).code, Some(0));
    }
}

#[test]
fn policies_without_anybody_on_both_sides_are_not_taken_for_equal() {
    let ended = diff_in(&web_to("[]"), &web_to("[{}]"), "jsonl");
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{}", ended.stderr);
    assert!(ended.stderr.contains("neither OLD nor NEW has a pod"), "{}", ended.stderr);
    let ended = diff_in(&web_to("[]"), &shop(), "jsonl");
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("OLD: no pod and no pod template"), "{}", ended.stderr);
}
