//! `polload redundant`: rules and policies whose removal changes nothing.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a failure shows its line")]

mod common;

use common::{namespace, pod, policy, run_on, shop};
use serde_json::{Value, json};

/// What is redundant, as records.
fn redundant(input: &str) -> Vec<Value> {
    let ended = run_on(input, &["redundant", "-", "-j"]);
    let records = ended.records();
    assert_eq!(ended.code, Some(i32::from(!records.is_empty())), "{} {}", ended.stdout, ended.stderr);
    assert!(records.iter().all(|record| record["kind"] == "Redundant" && record["file"] == "-"), "{}", ended.stdout);
    records
}

/// The same in short: object, direction, rule, whether it can go with the others, and why.
fn found(input: &str) -> Vec<(String, Value, Value, bool, String)> {
    let short = redundant(input).into_iter().map(|record| {
        let text = |field: &str| record[field].as_str().unwrap().to_owned();
        let together = record["together"].as_bool().unwrap();
        (text("object"), record["direction"].clone(), record["rule"].clone(), together, text("reason"))
    });
    short.collect()
}

fn whole(object: &str, together: bool, reason: &str) -> (String, Value, Value, bool, String) {
    (object.to_owned(), Value::Null, Value::Null, together, reason.to_owned())
}

fn rule(object: &str, at: (&str, u32), together: bool, reason: &str) -> (String, Value, Value, bool, String) {
    (object.to_owned(), json!(at.0), json!(at.1), together, reason.to_owned())
}

/// A policy for `db` with these rules.
fn for_db(name: &str, ingress: &str) -> String {
    policy(name, &format!("{{podSelector: {{matchLabels: {{app: db}}}}, policyTypes: [Ingress], ingress: {ingress}}}"))
}

const WEB: &str = "{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 80}]}";
const TILL: &str = "{from: [{namespaceSelector: {matchLabels: {team: b}}}]}";

#[test]
fn where_all_is_needed_nothing_is_redundant() {
    let input = [shop(), for_db("db", &format!("[{WEB}, {TILL}]"))].concat();
    assert_eq!(redundant(&input), Vec::<Value>::new());
    let table = run_on(&input, &["redundant", "-"]);
    assert_eq!(
        (table.code, table.stdout.as_str()),
        (Some(0), "Nothing is redundant in 1 policy.\n"),
        "{}",
        table.stderr
    );
    let json = run_on(&input, &["redundant", "-", "-o", "json"]);
    assert_eq!((json.code, json.stdout.trim()), (Some(0), "[]"));
}

#[test]
fn a_rule_within_another_is_told_with_its_place_and_what_covers_it() {
    let wider = "{from: [{podSelector: {}}], ports: [{port: 80, endPort: 81}]}";
    let input = [shop(), for_db("db", &format!("[\n    {WEB},\n    {wider}]"))].concat();
    let line = input.lines().position(|line| line.contains(WEB)).unwrap() + 1;
    let cover = json!({"kind": "NetworkPolicy", "namespace": "shop", "name": "db", "direction": "ingress", "rule": 1});
    assert_eq!(
        redundant(&input),
        [json!({
            "kind": "Redundant", "object": "NetworkPolicy/shop/db", "rule": 0, "direction": "ingress", "file": "-", "line": line,
            "reason": "everything it allows is allowed by ingress rule 1 of NetworkPolicy shop/db",
            "covered_by": [cover], "together": true,
        })]
    );
}

#[test]
fn of_two_policies_that_say_the_same_one_has_to_stay() {
    let input = [shop(), for_db("one", &format!("[{WEB}]")), for_db("two", &format!("[{WEB}]"))].concat();
    let told = found(&input);
    let parts: Vec<_> =
        told.iter().map(|(object, _, rule, together, _)| (object.as_str(), rule.is_null(), *together)).collect();
    let (one, two) = ("NetworkPolicy/shop/one", "NetworkPolicy/shop/two");
    assert_eq!(parts, [(one, true, true), (one, false, true), (two, true, false), (two, false, false)]);
    assert!(told[0].4.contains("ingress rule 0 of NetworkPolicy shop/two"), "{}", told[0].4);
    assert_eq!(told[3].4, "everything it allows is allowed by ingress rule 0 of NetworkPolicy shop/one");
}

#[test]
fn a_policy_that_isolates_is_needed_though_it_allows_nothing_of_its_own() {
    let alone = [shop(), policy("deny", "{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress]}")].concat();
    assert_eq!(found(&alone), []);
    let beside = [
        shop(),
        policy("deny", "{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress]}"),
        for_db("web", &format!("[{WEB}]")),
    ]
    .concat();
    let reason = "what it decides is decided alike by the ingress isolation of NetworkPolicy shop/web";
    assert_eq!(found(&beside), [whole("NetworkPolicy/shop/deny", true, reason)]);
}

#[test]
fn the_only_egress_rule_isolates_where_no_policy_types_are_given() {
    let nobody = "egress: [{to: [{podSelector: {matchLabels: {app: nobody}}}]}]";
    let implied =
        [shop(), policy("web", &format!("{{podSelector: {{matchLabels: {{app: web}}}}, ingress: [{{}}], {nobody}}}"))]
            .concat();
    let told = found(&implied);
    assert!(told.iter().all(|(_, direction, ..)| direction != "egress"), "{told:?}");
    let given = implied.replace("ingress: [{}]", "policyTypes: [Egress]");
    let reason = "it matches nobody who was read: no pod, node or address is what it names under to";
    assert_eq!(found(&given), [rule("NetworkPolicy/shop/web", ("egress", 0), true, reason)]);
}

#[test]
fn rules_that_say_nothing_are_told_why() {
    let spec = "{podSelector: {matchLabels: {app: db}}, policyTypes: [Egress], ingress: [{}], egress: [{ports: [{port: 53, protocol: UDP}]}]}";
    let left_out = "policyTypes leaves ingress out: the rule says nothing";
    assert_eq!(
        found(&[shop(), policy("db", spec)].concat()),
        [rule("NetworkPolicy/shop/db", ("ingress", 0), true, left_out)]
    );
    let unnamed = "it matches no port: no pod that it is about has a port of that name";
    let named = for_db("db", &format!("[{WEB}, {{from: [{{podSelector: {{}}}}], ports: [{{port: metrics}}]}}]"));
    assert_eq!(found(&[shop(), named].concat()), [rule("NetworkPolicy/shop/db", ("ingress", 1), true, unnamed)]);
    let nobody = policy("x", &format!("{{podSelector: {{matchLabels: {{app: nobody}}}}, ingress: [{WEB}, {TILL}]}}"));
    let reason = "it selects no pod, of those that were read, that policies hold for";
    assert_eq!(
        found(&[shop(), nobody].concat()),
        [whole("NetworkPolicy/shop/x", true, reason)],
        "not each of its rules, too"
    );
}

#[test]
fn a_range_counts_also_where_pods_have_all_of_it() {
    let by_address = "{from: [{ipBlock: {cidr: 10.0.0.1/32}}], ports: [{port: 80}]}";
    let input = [shop(), for_db("db", &format!("[{WEB}, {by_address}]"))].concat();
    assert_eq!(found(&input), [], "the pod of that address may go, and another come under that label");
    let wider = "{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.2.0.0/16]}}]}";
    let input = [shop(), for_db("db", &format!("[{by_address}, {wider}]"))].concat();
    let reason = "everything it allows is allowed by ingress rule 1 of NetworkPolicy shop/db";
    assert_eq!(found(&input), [rule("NetworkPolicy/shop/db", ("ingress", 0), true, reason)]);
    let excepted = by_address.replace("10.0.0.1/32", "10.2.0.1/32");
    assert_eq!(found(&[shop(), for_db("db", &format!("[{excepted}, {wider}]"))].concat()), [], "it lies in the except");
}

#[test]
fn each_side_is_held_to_by_itself() {
    // What web may not send db need not deny, but db's node does.
    let quiet = policy("web", "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]}");
    let input = [shop(), quiet, for_db("db", &format!("[{WEB}]"))].concat();
    assert_eq!(found(&input), []);
}

#[test]
fn pods_on_their_nodes_network_are_no_subjects() {
    let host = "---\nkind: Pod\napiVersion: v1\nmetadata: {name: agent, namespace: shop, labels: {app: agent}}\n\
                spec: {hostNetwork: true}\n";
    let input =
        format!("{}{host}{}", shop(), policy("agent", "{podSelector: {matchLabels: {app: agent}}, ingress: [{}]}"));
    let reason = "it selects no pod, of those that were read, that policies hold for";
    assert_eq!(found(&input), [whole("NetworkPolicy/shop/agent", true, reason)]);
}

#[test]
fn ipv6_and_ipv4_do_not_cover_each_other() {
    let blocks = |one: &str, other: &str| {
        let rules = [one, other].map(|cidr| format!("{{to: [{{ipBlock: {{cidr: '{cidr}'}}}}]}}")).join(", ");
        let spec = format!("{{podSelector: {{matchLabels: {{app: web}}}}, policyTypes: [Egress], egress: [{rules}]}}");
        [shop(), policy("web", &spec)].concat()
    };
    assert_eq!(found(&blocks("0.0.0.0/0", "::/0")), []);
    let reason = "everything it allows is allowed by egress rule 1 of NetworkPolicy shop/web";
    assert_eq!(
        found(&blocks("2001:db8::/32", "2001::/16")),
        [rule("NetworkPolicy/shop/web", ("egress", 0), true, reason)]
    );
}

/// A cluster-wide policy on everything in `shop`.
fn cluster_wide(tier: &str, name: &str, priority: u32, ingress: &str) -> String {
    format!(
        "---\napiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {{name: {name}}}\n\
         spec: {{tier: {tier}, priority: {priority}, subject: {{namespaces: {{matchLabels: {{team: a}}}}}}, ingress: {ingress}}}\n"
    )
}

#[test]
fn what_comes_before_shadows() {
    let bank = "from: [{namespaces: {matchLabels: {team: b}}}]";
    let deny = cluster_wide("Admin", "first", 1, &format!("[{{action: Deny, {bank}}}]"));
    let accept = cluster_wide("Admin", "second", 2, &format!("[{{action: Accept, {bank}}}]"));
    let reason = "it is shadowed by what comes before it: ingress rule 0 of ClusterNetworkPolicy first";
    let told = found(&[shop(), deny, accept].concat());
    assert_eq!(told[1], rule("ClusterNetworkPolicy/second", ("ingress", 0), true, reason));
    assert_eq!((told.len(), told[0].0.as_str(), &told[0].2), (2, "ClusterNetworkPolicy/second", &Value::Null));
    // A rule that passes shadows those after it in its tier alone.
    let pass = cluster_wide("Admin", "first", 1, &format!("[{{action: Pass, {bank}}}, {{action: Deny, {bank}}}]"));
    let last = cluster_wide("Baseline", "last", 1, &format!("[{{action: Deny, {bank}}}]"));
    let reason = "it is shadowed by what comes before it: ingress rule 0 of ClusterNetworkPolicy first";
    let told = found(&[shop(), pass, last].concat());
    assert!(told.contains(&rule("ClusterNetworkPolicy/first", ("ingress", 1), true, reason)), "{told:?}");
    assert!(told.iter().all(|(object, ..)| object != "ClusterNetworkPolicy/last"), "{told:?}");
}

#[test]
fn people_get_a_table_and_a_sentence() {
    let input = [shop(), for_db("one", &format!("[{WEB}]")), for_db("two", &format!("[{WEB}, {TILL}]"))].concat();
    let table = run_on(&input, &["redundant", "-"]);
    let lines: Vec<&str> = table.stdout.lines().collect();
    assert_eq!(table.code, Some(1), "{}", table.stderr);
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["PLACE", "OBJECT", "RULE", "TOGETHER", "REASON"]);
    assert!(
        lines[1].contains("NetworkPolicy/shop/one") && lines[1].contains(" all ") && lines[1].contains(" yes "),
        "{}",
        lines[1]
    );
    assert_eq!(lines.last(), Some(&"Redundant: 1 of 2 policies, and 2 rules; 2 of these 3 can be removed at once."));
}

#[test]
fn without_anybody_to_select_nothing_is_said() {
    let refused = run_on(&[namespace("shop", "a"), for_db("db", "[]")].concat(), &["redundant", "-"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{}", refused.stderr);
    assert!(refused.stderr.contains("no pod and no pod template"), "{}", refused.stderr);
    let idle = run_on(&pod("shop", "web", "10.0.0.1"), &["redundant", "-"]);
    assert_eq!((idle.code, idle.stdout.as_str()), (Some(0), "Nothing is redundant in 0 policies.\n"));
}

#[test]
fn what_stays_for_the_sake_of_a_later_rule_goes_with_it() {
    // Without the first, the second keeps the third from denying; the third can go, and then the second.
    let input = [
        shop(),
        "---\napiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: p}\n\
         spec: {tier: Admin, priority: 0, subject: {namespaces: {}}, ingress: [{action: Pass, from: [{namespaces: {}}]}, \
         {action: Pass, from: [{namespaces: {}}]}, {action: Deny, from: [{namespaces: {}}]}], \
         egress: [{action: Deny, to: [{networks: [192.0.2.0/24]}]}]}\n"
            .to_owned(),
    ]
    .concat();
    let together = found(&input).into_iter().map(|(_, direction, rule, together, _)| (direction, rule, together));
    let rule = |at: u32| (json!("ingress"), json!(at), true);
    assert_eq!(together.collect::<Vec<_>>(), [rule(0), rule(1), rule(2)]);
}

#[test]
fn a_block_that_others_fill_is_covered_by_them() {
    for (halves, whole) in [(["10.0.0.0/9", "10.128.0.0/9"], "10.0.0.0/8"), (["::/1", "8000::/1"], "::/0")] {
        let block = |cidr: &str| format!("{{from: [{{ipBlock: {{cidr: '{cidr}'}}}}]}}");
        let ingress = format!("[{}, {}, {}]", block(halves[0]), block(halves[1]), block(whole));
        let found = found(&[shop(), for_db("db", &ingress)].concat());
        let rules: Vec<u64> = found.iter().filter_map(|(_, _, rule, ..)| rule.as_u64()).collect();
        assert_eq!(rules, [0, 1, 2], "{found:?}");
    }
}
