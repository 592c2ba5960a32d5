//! `polload equivalent` and `polload contains`: whether two sets of policies allow the same, or one all that the other does.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a failure shows its line")]

mod common;

use std::fs;

use common::{Ended, namespace, policy, run, run_on, shop};
use serde_json::{Value, json};

/// Runs a command on two texts, both of which are files.
fn ask_in(command: &str, a: &str, b: &str, more: &[&str]) -> Ended {
    let scratch = tempfile::tempdir().unwrap();
    let files = ["a.yaml", "b.yaml"].map(|name| scratch.path().join(name).to_str().unwrap().to_owned());
    fs::write(&files[0], a).unwrap();
    fs::write(&files[1], b).unwrap();
    run(&[&[command, &files[0], &files[1]], more].concat())
}

/// The records of all that differs.
fn differences(a: &str, b: &str) -> Vec<Value> {
    let ended = ask_in("equivalent", a, b, &["-j", "--limit", "100000"]);
    let records = ended.records();
    assert_eq!(ended.code, Some(i32::from(!records.is_empty())), "{} {}", ended.stdout, ended.stderr);
    assert!(records.iter().all(|record| record["kind"] == "Difference"), "{}", ended.stdout);
    // Containing is that nothing is allowed by B alone, and the other way round.
    let alone = |side: &str| records.iter().any(|record| record[side] == "ALLOWED");
    for (one, other, expected) in [(a, b, alone("b")), (b, a, alone("a"))] {
        let ended = ask_in("contains", one, other, &["-j"]);
        assert_eq!(ended.code, Some(i32::from(expected)), "{} {}", ended.stdout, ended.stderr);
        assert_eq!(ended.records().is_empty(), !expected);
        assert!(ended.records().iter().all(|record| record["a"] == "DENIED" && record["b"] == "ALLOWED"));
    }
    records
}

fn difference(src: &str, dst: &str, protocol: &str, ports: Value, allowed_by: &str) -> Value {
    let says = |side: &str| if side == allowed_by { "ALLOWED" } else { "DENIED" };
    json!({"kind": "Difference", "src": src, "dst": dst, "protocol": protocol, "ports": ports, "a": says("a"), "b": says("b")})
}

fn are_equivalent(a: &str, b: &str) -> bool {
    differences(a, b).is_empty()
}

/// With the pods of the shop a policy that lets these into `db`.
fn into_db(ingress: &str) -> String {
    let spec = format!("{{podSelector: {{matchLabels: {{app: db}}}}, policyTypes: [Ingress], ingress: {ingress}}}");
    [shop(), policy("db", &spec)].concat()
}

/// The same for what `web` may open.
fn out_of_web(egress: &str) -> String {
    let spec = format!("{{podSelector: {{matchLabels: {{app: web}}}}, policyTypes: [Egress], egress: {egress}}}");
    [shop(), policy("web", &spec)].concat()
}

const WEB: &str = "shop/web[Pod]";
const DB: &str = "shop/db[Pod]";
const TILL: &str = "bank/till[Pod]";
const EVERY: [(&str, u16); 3] = [("TCP", 65535), ("UDP", 65535), ("SCTP", 65535)];

/// Records of everything between two ends.
fn everything(src: &str, dst: &str, allowed_by: &str) -> Vec<Value> {
    let ports = EVERY.map(|(protocol, last)| difference(src, dst, protocol, json!([[1, last]]), allowed_by));
    ports.into_iter().chain([difference(src, dst, "other", json!([]), allowed_by)]).collect()
}

#[test]
fn what_is_written_otherwise_and_allows_the_same_is_equivalent() {
    let one = into_db("[{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 80, endPort: 82}]}]");
    let by_name_of_namespace = into_db(
        "[{from: [{namespaceSelector: {matchLabels: {team: a}}, podSelector: {matchLabels: {app: web}}}], ports: [{port: 82}, {port: 80}]}, \
         {from: [{ipBlock: {cidr: 10.0.0.1/32}}], ports: [{port: 81}]}]",
    );
    assert!(are_equivalent(&one, &by_name_of_namespace));
    let by_address = into_db("[{from: [{ipBlock: {cidr: 10.0.0.1/32}}], ports: [{port: 80, endPort: 82}]}]");
    assert!(are_equivalent(&one, &by_address), "nobody but the pod has the address");
    let turned = into_db(
        "[{from: [{podSelector: {matchExpressions: [{key: app, operator: In, values: [web]}]}}], ports: [{port: 81, endPort: 82}, {port: 80}]}]",
    );
    assert!(are_equivalent(&one, &turned));
}

#[test]
fn a_port_that_differs_is_told_with_who_allows_it() {
    let from_web =
        |ports: &str| into_db(&format!("[{{from: [{{podSelector: {{matchLabels: {{app: web}}}}}}], ports: {ports}}}]"));
    let (a, b) =
        (from_web("[{port: 80, endPort: 90}]"), from_web("[{port: 85, endPort: 95}, {port: 53, protocol: UDP}]"));
    assert_eq!(
        differences(&a, &b),
        [
            difference(WEB, DB, "TCP", json!([[80, 84]]), "a"),
            difference(WEB, DB, "TCP", json!([[91, 95]]), "b"),
            difference(WEB, DB, "UDP", json!([[53, 53]]), "b"),
        ]
    );
}

#[test]
fn all_ports_by_number_leave_protocols_without_ports() {
    let every = "[{ports: [{port: 1, endPort: 65535}, {port: 1, endPort: 65535, protocol: UDP}, {protocol: SCTP}]}]";
    let records = differences(&into_db("[{}]"), &into_db(every));
    assert!(!records.is_empty());
    assert!(records.iter().all(|record| record["protocol"] == "other" && record["ports"] == json!([])));
    assert!(are_equivalent(
        &into_db(every),
        &into_db("[{ports: [{protocol: TCP}, {protocol: UDP}, {protocol: SCTP}]}]")
    ));
}

#[test]
fn a_verdict_is_of_both_ends_together() {
    let closed = policy("db", "{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress]}");
    let also = policy(
        "web",
        "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: db}}}]}]}",
    );
    let none = policy("web", "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]}");
    let (a, b) = ([shop(), closed.clone(), also].concat(), [shop(), closed, none].concat());
    assert!(are_equivalent(&a, &b), "what one end denies the other need not");
}

#[test]
fn addresses_outside_are_cut_by_both_sides_in_both_families() {
    let a = out_of_web(
        "[{to: [{ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.128/25]}}, {ipBlock: {cidr: '2001:db8::/32'}}]}]",
    );
    let b = out_of_web("[{to: [{ipBlock: {cidr: 192.0.2.0/26}}, {ipBlock: {cidr: '2001:db8::/33'}}]}]");
    let expected = [
        everything(WEB, "192.0.2.64-192.0.2.127", "a"),
        everything(WEB, "2001:db8:8000::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "a"),
    ];
    assert_eq!(differences(&a, &b), expected.concat());
    let in_parts = out_of_web(
        "[{to: [{ipBlock: {cidr: 192.0.2.0/26}}]}, {to: [{ipBlock: {cidr: 192.0.2.64/26}}, {ipBlock: {cidr: '2001:db8::/32'}}]}]",
    );
    assert!(are_equivalent(&a, &in_parts));
}

#[test]
fn a_pod_is_met_under_each_of_its_addresses() {
    let dual = |cidr: &str| {
        let web = "---\nkind: Pod\napiVersion: v1\nmetadata: {name: both, namespace: shop, labels: {app: both}}\n\
                   status: {podIP: 10.0.0.9, podIPs: [{ip: 10.0.0.9}, {ip: 'fd00::9'}]}\n";
        let db = "---\nkind: Pod\napiVersion: v1\nmetadata: {name: db6, namespace: shop, labels: {app: db}}\n\
                  status: {podIP: 10.0.0.8, podIPs: [{ip: 10.0.0.8}, {ip: 'fd00::8'}]}\n";
        format!("{}{web}{db}", into_db(&format!("[{{from: [{{ipBlock: {{cidr: '{cidr}'}}}}]}}]")))
    };
    let records = differences(&dual("10.0.0.9/32"), &dual("fd00::9/128"));
    let expected = [
        everything("shop/both[Pod]", DB, "a"),
        everything("shop/both[Pod]", "shop/db6[Pod]", "a"),
        everything("shop/both[Pod]", "shop/db6[Pod]", "b"),
    ]
    .concat();
    let told = |record: &Value| records.contains(record);
    assert!(expected.iter().all(told), "{records:#?}");
    assert_eq!(records.len(), expected.len(), "{records:#?}");
}

#[test]
fn named_ports_are_those_of_the_pod() {
    let from_web = |port: &str| {
        into_db(&format!("[{{from: [{{podSelector: {{matchLabels: {{app: web}}}}}}], ports: [{{port: {port}}}]}}]"))
    };
    assert!(are_equivalent(&from_web("http"), &from_web("8080")));
    assert_eq!(
        differences(&from_web("http"), &from_web("80")),
        [difference(WEB, DB, "TCP", json!([[8080, 8080]]), "a"), difference(WEB, DB, "TCP", json!([[80, 80]]), "b")]
    );
}

#[test]
fn tiers_and_pass_count_by_what_they_come_to() {
    let admin = |rules: &str| {
        format!(
            "---\napiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {{name: top}}\n\
             spec: {{tier: Admin, priority: 5, subject: {{namespaces: {{matchLabels: {{team: a}}}}}}, ingress: {rules}}}\n"
        )
    };
    let from_bank = "from: [{namespaces: {matchLabels: {team: b}}}]";
    let deny = [shop(), admin(&format!("[{{action: Deny, {from_bank}}}]"))].concat();
    let pass =
        [into_db("[]"), admin(&format!("[{{action: Pass, {from_bank}}}, {{action: Deny, {from_bank}}}]"))].concat();
    let records = differences(&deny, &pass);
    assert!(everything(TILL, WEB, "b").iter().all(|record| records.contains(record)), "{records:#?}");
    assert!(records.iter().all(|record| record["dst"] == WEB || record["a"] == "ALLOWED"), "db is closed either way");
    let passed_on = [shop(), admin(&format!("[{{action: Pass, {from_bank}}}]"))].concat();
    assert!(are_equivalent(&shop(), &passed_on));
}

#[test]
fn pods_on_their_nodes_network_are_their_node() {
    let node = "---\nkind: Node\napiVersion: v1\nmetadata: {name: n1}\nstatus: {addresses: [{type: InternalIP, address: 172.16.0.1}]}\n";
    let host = "---\nkind: Pod\napiVersion: v1\nmetadata: {name: agent, namespace: shop, labels: {app: agent}}\n\
                spec: {hostNetwork: true, nodeName: n1}\nstatus: {podIP: 172.16.0.1}\n";
    let with = |policies: &str| format!("{}{node}{host}{policies}", shop());
    let select = with(&policy("agent", "{podSelector: {matchLabels: {app: agent}}, policyTypes: [Ingress, Egress]}"));
    assert!(are_equivalent(&with(""), &select), "no policy holds for it");
    let closed = "{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress]";
    let by_label = with(&policy(
        "db",
        &format!("{closed}, ingress: [{{from: [{{podSelector: {{matchLabels: {{app: agent}}}}}}]}}]}}"),
    ));
    assert!(are_equivalent(&with(&policy("db", &format!("{closed}}}"))), &by_label), "no selector selects it");
    let by_address =
        with(&policy("db", &format!("{closed}, ingress: [{{from: [{{ipBlock: {{cidr: 172.16.0.1/32}}}}]}}]}}")));
    let expected = [everything("shop/agent[Pod]", DB, "b"), everything("172.16.0.1-172.16.0.1", DB, "b")].concat();
    assert_eq!(differences(&by_label, &by_address), expected);
}

#[test]
fn a_service_is_judged_by_its_backends() {
    let service = |port: &str| {
        format!(
            "---\nkind: Service\napiVersion: v1\nmetadata: {{name: db, namespace: shop}}\n\
             spec: {{clusterIP: 10.96.0.7, selector: {{app: db}}, ports: [{{port: 80, targetPort: {port}}}]}}\n"
        )
    };
    let open = "[{to: [{podSelector: {matchLabels: {app: db}}}], ports: [{port: 5432}]}]";
    let (right, wrong) = ([out_of_web(open), service("5432")].concat(), [out_of_web(open), service("6432")].concat());
    assert_eq!(
        differences(&right, &wrong),
        [difference(WEB, "10.96.0.7-10.96.0.7", "TCP", json!([[80, 80]]), "a")],
        "the backends differ, the policies do not"
    );
    let by_virtual = "[{to: [{podSelector: {matchLabels: {app: db}}}], ports: [{port: 5432}]}, {to: [{ipBlock: {cidr: 10.96.0.7/32}}], ports: [{port: 80}]}]";
    assert!(are_equivalent(&right, &[out_of_web(by_virtual), service("5432")].concat()), "no packet is judged by it");
}

#[test]
fn workloads_are_not_folded_and_those_of_one_side_may_nothing_on_the_other() {
    let owned = |name: &str, address: &str| {
        format!(
            "---\nkind: Pod\napiVersion: v1\nmetadata: {{name: {name}, namespace: shop, labels: {{app: api}}, \
             ownerReferences: [{{apiVersion: apps/v1, kind: ReplicaSet, name: api, controller: true}}]}}\n\
             status: {{podIP: {address}}}\n"
        )
    };
    let both = [namespace("shop", "a"), owned("api-1", "10.0.3.1"), owned("api-2", "10.0.3.2")].concat();
    let one = [namespace("shop", "a"), owned("api-1", "10.0.3.1")].concat();
    let records = differences(&both, &one);
    let expected = [
        everything("shop/api-1[Pod]", "shop/api-2[Pod]", "a"),
        everything("shop/api-2[Pod]", "shop/api-1[Pod]", "a"),
        everything("shop/api-2[Pod]", "0.0.0.0-255.255.255.255", "a"),
    ];
    assert!(expected.concat().iter().all(|record| records.contains(record)), "{records:#?}");
    let told = ask_in("equivalent", &both, &one, &["-j"]);
    assert!(told.stderr.contains("of 2 workloads 1 are in A alone and 0 in B alone"), "{}", told.stderr);
    // A pod that is bound elsewhere is the same.
    let moved = [namespace("shop", "a"), owned("api-1", "10.0.3.7"), owned("api-2", "10.0.3.8")].concat();
    assert!(are_equivalent(&both, &moved));
}

#[test]
fn labels_differ_only_as_far_as_verdicts_do() {
    let relabelled = shop().replace("labels: {app: till}", "labels: {app: till, release: new}");
    assert!(relabelled != shop() && are_equivalent(&shop(), &relabelled));
    let closed = "[{from: [{podSelector: {matchLabels: {app: web}}}]}]";
    let renamed = into_db(closed).replace("labels: {app: web}}", "labels: {app: other}}");
    assert_eq!(differences(&into_db(closed), &renamed), everything(WEB, DB, "a"));
}

#[test]
fn what_belongs_to_both_sides_is_given_once() {
    let scratch = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let file = scratch.path().join(name);
        fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let deny = policy("deny", "{podSelector: {matchLabels: {app: db}}, policyTypes: [Ingress]}");
    let (a, b, cluster) =
        (write("a.yaml", &deny), write("b.yaml", &deny.replace("deny", "block")), write("c.yaml", &shop()));
    let open = write("open.yaml", &policy("open", "{podSelector: {}, ingress: [{}]}"));
    let by_file = run(&["equivalent", &a, &b, "--with", &cluster]);
    assert_eq!(by_file.code, Some(0), "{}", by_file.stderr);
    let by_stdin = run_on(&shop(), &["equivalent", &a, &b, "--with", "-"]);
    assert_eq!((by_stdin.code, &by_stdin.stdout), (Some(0), &by_file.stdout), "{}", by_stdin.stderr);
    let differs = run_on(&shop(), &["equivalent", &a, &open, "--with", "-", "-j"]);
    assert_eq!(differs.code, Some(1), "{}", differs.stderr);
    assert_eq!(run_on(&shop(), &["contains", &open, &a, "--with", "-"]).code, Some(0));
    assert_eq!(run_on(&shop(), &["contains", &a, &open, "--with", "-"]).code, Some(1));
    let diff = run_on(&shop(), &["diff", &a, &b, "--with", "-"]);
    assert_eq!((diff.code, diff.stdout.as_str()), (Some(0), ""), "{}", diff.stderr);
    assert_eq!(run_on(&shop(), &["diff", &a, &open, "--with", "-", "-j"]).code, Some(1));
    // In parts, and what cannot be used of it is told once.
    let broken = format!("{}---\nkind: Pod\nmetadata: {{name: x}}\nspec: 7\n", namespace("more", "c"));
    let in_parts = run_on(&broken, &["equivalent", &a, &b, "--with", &cluster, "--with", "-"]);
    assert_eq!(in_parts.code, Some(0), "{}", in_parts.stderr);
    assert_eq!(in_parts.stderr.matches("Pod/default/x: spec: ").count(), 1, "{}", in_parts.stderr);
    let strict = run_on(&broken, &["equivalent", &a, &b, "--with", &cluster, "--with", "-", "--strict"]);
    assert_eq!((strict.code, strict.stdout.as_str()), (Some(2), ""), "{}", strict.stderr);
}

#[test]
fn people_get_a_sentence_and_programs_records_alone() {
    let (open, closed) = (shop(), into_db("[]"));
    let same = ask_in("equivalent", &open, &open, &[]);
    assert_eq!(
        (same.code, same.stdout.as_str()),
        (Some(0), "A and B allow the same: between 3 workloads, and to and from all addresses.\n")
    );
    for (form, expected) in [("jsonl", ""), ("json", "[]")] {
        let same = ask_in("contains", &open, &open, &["-o", form]);
        assert_eq!((same.code, same.stdout.trim()), (Some(0), expected), "{form}");
    }
    let table = ask_in("equivalent", &open, &closed, &["--limit", "2"]);
    let lines: Vec<&str> = table.stdout.lines().collect();
    assert_eq!(table.code, Some(1));
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>(),
        ["SOURCE", "DESTINATION", "PROTOCOL", "PORTS", "A", "B"]
    );
    assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), [TILL, DB, "TCP", "all", "ALLOWED", "DENIED"]);
    assert_eq!((lines.len(), lines[3]), (5, ""));
    assert_eq!(
        lines[4], "A and B do not allow the same: 4 pairs differ; shown: the first 2 records, --limit shows more.",
        "web, till and outside of both families"
    );
    let json: Value = serde_json::from_str(&ask_in("equivalent", &open, &closed, &["-o", "json"]).stdout).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 10, "no more than the default");
    let cut = ask_in("equivalent", &open, &closed, &["-j", "--limit", "3"]);
    assert_eq!(cut.records().len(), 3);
    assert!(cut.stderr.contains("4 pairs differ"), "{}", cut.stderr);
    let looser = ask_in("contains", &closed, &open, &[]);
    assert_eq!(looser.code, Some(1));
    assert!(looser.stdout.ends_with("A does not allow everything that B allows: 4 pairs differ; shown: the first 10 records, --limit shows more.\n"), "{}", looser.stdout);
    let tighter = ask_in("contains", &open, &closed, &[]);
    assert_eq!(
        tighter.stdout,
        "A allows everything that B allows: between 3 workloads, and to and from all addresses.\n"
    );
}

#[test]
fn an_answer_about_nobody_is_refused_and_sides_without_something_are_told() {
    let deny = policy("deny", "{podSelector: {}, policyTypes: [Ingress]}");
    let refused = ask_in("equivalent", &deny, &deny, &[]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("neither A nor B has a pod") && refused.stderr.contains("--with"),
        "{}",
        refused.stderr
    );
    let half = ask_in("equivalent", &deny, &shop(), &["-j"]);
    assert_eq!(half.code, Some(1));
    assert!(half.stderr.contains("A: no pod and no pod template"), "{}", half.stderr);
    assert!(half.stderr.contains("B: no policy: everything is allowed"), "{}", half.stderr);
    let nothing = ask_in("contains", "", &shop(), &[]);
    assert_eq!((nothing.code, nothing.stdout.as_str()), (Some(2), ""), "{}", nothing.stderr);
}
