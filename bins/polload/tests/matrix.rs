//! `polload matrix`: who may reach whom.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a failure shows its line")]

mod common;

use common::{Ended, policy, run_on, shop};
use serde_json::{Value, json};

fn matrix(input: &str) -> Ended {
    let ended = run_on(input, &["matrix", "-", "-o", "jsonl"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended
}

/// What `src` may open to `dst`; `None` where there is no row.
fn allowed(ended: &Ended, src: &str, dst: &str) -> Option<Value> {
    let records = ended.records();
    let mut rows = records.iter().filter(|row| row["src"] == src && row["dst"] == dst);
    let row = rows.next()?;
    assert!(rows.next().is_none(), "{src} => {dst} twice");
    assert_eq!(row["kind"], "Reach");
    Some(row["allow"].clone())
}

fn all() -> Value {
    json!({"TCP": [[1, 65535]], "UDP": [[1, 65535]], "SCTP": [[1, 65535]]})
}

const V4: &str = "0.0.0.0-255.255.255.255";
const V6: &str = "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";

#[test]
fn without_policies_all_reach_all_and_nobody_itself() {
    let ended = matrix(&shop());
    for (src, dst) in [("shop/web[Pod]", "bank/till[Pod]"), ("bank/till[Pod]", "shop/db[Pod]")] {
        assert_eq!(allowed(&ended, src, dst), Some(all()));
    }
    for outside in [V4, V6] {
        assert_eq!(allowed(&ended, "shop/web[Pod]", outside), Some(all()));
        assert_eq!(allowed(&ended, outside, "shop/web[Pod]"), Some(all()));
    }
    assert!(ended.records().iter().all(|row| row["src"] != row["dst"]));
    assert_eq!(ended.records().len(), 3 * 2 + 3 * 4);
}

#[test]
fn ports_are_ranges_by_protocol_and_pairs_without_any_are_left_out() {
    let spec = "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], \
                ports: [{port: 80}, {port: 82, endPort: 90}, {port: 81}, {port: http}, {port: 53, protocol: UDP}]}]}";
    let ended = matrix(&[shop(), policy("db", spec)].concat());
    let ports = json!({"TCP": [[80, 90], [8080, 8080]], "UDP": [[53, 53]], "SCTP": []});
    assert_eq!(allowed(&ended, "shop/web[Pod]", "shop/db[Pod]"), Some(ports));
    assert_eq!(allowed(&ended, "bank/till[Pod]", "shop/db[Pod]"), None);
    assert_eq!(allowed(&ended, V4, "shop/db[Pod]"), None);
    assert_eq!(allowed(&ended, "shop/db[Pod]", "shop/web[Pod]"), Some(all()));
}

#[test]
fn outside_is_cut_at_blocks_and_neighbours_with_equal_answers_are_one() {
    let spec = "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [\
                {to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.1.0/24]}}]}, \
                {to: [{ipBlock: {cidr: 11.0.0.0/8}}]}, \
                {to: [{ipBlock: {cidr: '2001:db8::/32'}}], ports: [{port: 443}]}]}";
    let ended = matrix(&[shop(), policy("out", spec)].concat());
    let records = ended.records();
    let outside: Vec<(&str, &Value)> = records
        .iter()
        .filter(|row| row["src"] == "shop/web[Pod]")
        .map(|row| (row["dst"].as_str().unwrap(), &row["allow"]))
        .collect();
    let https = json!({"TCP": [[443, 443]], "UDP": [], "SCTP": []});
    assert_eq!(
        outside,
        [
            ("10.0.0.0-10.0.0.255", &all()),
            ("10.0.2.0-11.255.255.255", &all()),
            ("2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", &https),
        ],
        "blocks mean what is outside: no pod is among them"
    );
}

#[test]
fn neighbours_that_differ_in_what_is_not_shown_are_one_range() {
    // All ports of the three is not all there is, but all that a row tells.
    let spec = "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [\
                {to: [{ipBlock: {cidr: 10.0.0.0/8}}]}, \
                {to: [{ipBlock: {cidr: 11.0.0.0/8}}], ports: [{port: 1, endPort: 65535}, \
                {port: 1, endPort: 65535, protocol: UDP}, {port: 1, endPort: 65535, protocol: SCTP}]}]}";
    let ended = matrix(&[shop(), policy("out", spec)].concat());
    assert_eq!(allowed(&ended, "shop/web[Pod]", "10.0.0.0-11.255.255.255"), Some(all()), "{}", ended.stdout);
}

#[test]
fn pods_fold_into_their_owner_and_what_any_of_them_may_counts() {
    let owned = |name: &str, version: &str| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: shop\n  labels: {{v: '{version}'}}\n  \
             ownerReferences: [{{apiVersion: apps/v1, kind: ReplicaSet, name: api, controller: true}}]\n"
        )
    };
    let spec = "{podSelector: {matchLabels: {v: '1'}}, ingress: [{ports: [{port: 80}]}]}";
    let second = "{podSelector: {matchLabels: {v: '2'}}, ingress: [{ports: [{port: 81}]}]}";
    let pods = [shop(), owned("api-1", "1"), owned("api-2", "2"), policy("one", spec), policy("two", second)];
    let ended = matrix(&pods.concat());
    let either = json!({"TCP": [[80, 81]], "UDP": [], "SCTP": []});
    assert_eq!(allowed(&ended, "shop/web[Pod]", "shop/api[ReplicaSet]"), Some(either.clone()));
    assert_eq!(allowed(&ended, V4, "shop/api[ReplicaSet]"), Some(either));
    assert!(!ended.stdout.contains("api-1"), "{}", ended.stdout);
}

#[test]
fn templates_are_workloads_by_their_own_kind() {
    let deployment = "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: cart, namespace: shop}\n\
                      spec: {selector: {}, template: {metadata: {labels: {app: cart}}, spec: {containers: []}}}\n";
    let ended = matrix(&[&shop(), deployment].concat());
    assert_eq!(allowed(&ended, "shop/cart[Deployment]", "shop/web[Pod]"), Some(all()));
}

#[test]
fn cluster_wide_policies_go_before_and_after_network_policies() {
    let admin = "---\napiVersion: policy.networking.k8s.io/v1alpha1\nkind: AdminNetworkPolicy\nmetadata: {name: a}\n\
                 spec: {priority: 1, subject: {namespaces: {matchLabels: {team: a}}}, ingress: [\
                 {action: Pass, from: [{pods: {podSelector: {matchLabels: {app: till}}}}], ports: [{portNumber: {protocol: TCP, port: 80}}]}, \
                 {action: Deny, from: [{namespaces: {matchLabels: {team: b}}}]}]}\n";
    let baseline = "---\napiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: b}\n\
                    spec: {tier: Baseline, priority: 1, subject: {namespaces: {}}, ingress: [\
                    {action: Deny, from: [{namespaces: {}}], protocols: [{udp: {destinationPort: {range: {start: 1, end: 99}}}}]}]}\n";
    let ended = matrix(&[&shop(), admin, baseline].concat());
    let passed = json!({"TCP": [[80, 80]], "UDP": [], "SCTP": []});
    assert_eq!(allowed(&ended, "bank/till[Pod]", "shop/web[Pod]"), Some(passed));
    let baseline = json!({"TCP": [[1, 65535]], "UDP": [[100, 65535]], "SCTP": [[1, 65535]]});
    assert_eq!(allowed(&ended, "shop/db[Pod]", "shop/web[Pod]"), Some(baseline));
}

#[test]
fn pods_on_the_network_of_their_node_are_shown_as_policies_see_them() {
    let agent = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: agent, namespace: shop, labels: {app: agent}}\n\
                 spec: {hostNetwork: true, nodeName: n1, containers: []}\nstatus: {podIP: 10.9.0.1}\n";
    let deny = policy("deny", "{podSelector: {matchLabels: {app: agent}}, policyTypes: [Ingress]}");
    let ended = matrix(&[&shop(), agent, &deny].concat());
    assert_eq!(allowed(&ended, "shop/web[Pod]", "shop/agent[Pod]"), None);
    assert!(ended.stderr.contains("1 pods are on their node's network"), "{}", ended.stderr);
}

#[test]
fn the_table_is_for_people() {
    let spec = "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {}}], ports: [{port: 80}, {port: 53, protocol: UDP}]}]}";
    let ended = run_on(&[shop(), policy("db", spec)].concat(), &["matrix", "-"]);
    assert_eq!(ended.code, Some(0));
    let lines: Vec<String> =
        ended.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(lines[0], "SOURCE DESTINATION ALLOWED");
    for wanted in ["shop/web[Pod] shop/db[Pod] TCP 80 UDP 53", "shop/db[Pod] shop/web[Pod] all"] {
        assert!(lines.iter().any(|line| line == wanted), "{wanted}: {}", ended.stdout);
    }
}

#[test]
fn dot_is_a_graph_of_all_workloads() {
    let ended = run_on(&shop(), &["matrix", "-", "-o", "dot"]);
    assert_eq!(ended.code, Some(0));
    assert!(ended.stdout.starts_with("digraph ") && ended.stdout.trim_end().ends_with('}'));
    assert!(ended.stdout.contains("\"bank/till[Pod]\" [shape=box];"), "{}", ended.stdout);
    assert!(ended.stdout.contains("\"shop/web[Pod]\" -> \"shop/db[Pod]\" [label=\"all\"];"), "{}", ended.stdout);
}

#[test]
fn html_is_one_page_that_fetches_nothing_and_takes_no_markup_from_names() {
    let evil = "---\nkind: Pod\nmetadata: {name: '<script>alert(1)</script>', namespace: shop}\n";
    let ended = run_on(&[&shop(), evil].concat(), &["matrix", "-", "-o", "html"]);
    assert_eq!(ended.code, Some(0));
    assert!(ended.stdout.starts_with("<!DOCTYPE html>") && ended.stdout.trim_end().ends_with("</html>"));
    assert!(ended.stdout.contains("shop/web[Pod]"));
    assert!(!ended.stdout.contains("<script>alert") && ended.stdout.contains("&lt;script&gt;alert"));
    for fetching in ["http://", "https://", " src=", "<link", "@import", "url("] {
        assert!(!ended.stdout.contains(fetching), "{fetching}");
    }
}
