//! `polload explain`: why one may reach the other, or not.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a failure shows its line")]

mod common;

use common::{Ended, policy, run_on, shop};
use serde_json::{Value, json};

fn explain(input: &str, from: &str, to: &str, port: &str) -> Ended {
    run_on(input, &["explain", "-", "--from", from, "--to", to, "--port", port, "-j"])
}

/// The verdict, which the exit code must bear out.
fn verdict(input: &str, from: &str, to: &str, port: &str) -> Value {
    let ended = explain(input, from, to, port);
    let records = ended.records();
    assert_eq!(records.len(), 1, "{}", ended.stderr);
    let record = records[0].clone();
    let code = if record["verdict"] == "ALLOWED" { 0 } else { 1 };
    assert_eq!(ended.code, Some(code), "{record}");
    assert_eq!(record["kind"], "Verdict");
    record
}

const DB: &str = "{podSelector: {matchLabels: {app: db}}, ingress: [{ports: [{port: 1}]}, \
                  {from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: http}]}]}";

#[test]
fn the_rule_that_allows_is_named_with_its_place() {
    let input = [shop(), policy("db", DB)].concat();
    let record = verdict(&input, "shop/web", "pod:shop/db", "8080/tcp");
    assert_eq!(record["verdict"], "ALLOWED");
    let ingress = &record["ingress"];
    assert_eq!(ingress["policy"], json!({"kind": "NetworkPolicy", "namespace": "shop", "name": "db"}));
    assert_eq!(
        (&ingress["tier"], &ingress["rule"], &ingress["isolated"]),
        (&json!("NetworkPolicy"), &json!(1), &json!(true))
    );
    assert_eq!(ingress["file"], "-");
    // The rules stand on the line of the spec, the last of the input.
    assert_eq!(ingress["line"], input.lines().count());
    let egress = &record["egress"];
    assert_eq!((&egress["verdict"], &egress["isolated"]), (&json!("ALLOWED"), &json!(false)));
    for field in ["tier", "policy", "rule", "file", "line"] {
        assert_eq!(egress[field], Value::Null, "{field}");
    }
    assert!(!egress["reason"].as_str().unwrap().is_empty());
}

#[test]
fn what_isolates_is_named_where_no_rule_allows() {
    let input = [shop(), policy("db", DB)].concat();
    for (from, port) in
        [("shop/web", "8081/tcp"), ("shop/web", "8080/udp"), ("bank/till", "8080/tcp"), ("192.0.2.1", "80")]
    {
        let record = verdict(&input, from, "shop/db", port);
        assert_eq!(record["verdict"], "DENIED", "{from} {port}");
        let ingress = &record["ingress"];
        assert_eq!((&ingress["isolated"], &ingress["rule"]), (&json!(true), &Value::Null));
        assert_eq!(ingress["policy"]["name"], "db");
        assert!(ingress["line"].as_u64().unwrap() > 0);
    }
}

#[test]
fn a_service_is_asked_by_its_own_port_and_judged_by_its_pods() {
    let service = "---\napiVersion: v1\nkind: Service\nmetadata: {name: db, namespace: shop}\n\
                   spec: {selector: {app: db}, clusterIP: 172.20.0.9, clusterIPs: [172.20.0.9], ports: [{port: 80, targetPort: http}]}\n";
    let input = [&shop(), service, &policy("db", DB)].concat();
    for to in ["svc:shop/db", "172.20.0.9"] {
        assert_eq!(verdict(&input, "shop/web", to, "80/tcp")["verdict"], "ALLOWED", "{to}");
        assert_eq!(verdict(&input, "bank/till", to, "80/tcp")["verdict"], "DENIED", "{to}");
    }
    let refused = explain(&input, "shop/web", "svc:shop/db", "8080/tcp");
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("has no port 8080/tcp") && refused.stderr.contains("80/tcp"), "{}", refused.stderr);
    assert_eq!(explain(&input, "svc:shop/db", "shop/web", "80/tcp").code, Some(2), "a service opens nothing");
}

#[test]
fn a_cluster_wide_rule_is_told_with_its_tier() {
    let admin = "---\napiVersion: policy.networking.k8s.io/v1alpha1\nkind: AdminNetworkPolicy\nmetadata: {name: a}\nspec:\n  \
                 priority: 1\n  subject: {namespaces: {}}\n  egress:\n  - {action: Deny, to: [{networks: [192.0.2.0/24]}]}\n";
    let input = [&shop(), admin].concat();
    let record = verdict(&input, "shop/web", "192.0.2.7", "443/tcp");
    assert_eq!(record["verdict"], "DENIED");
    let egress = &record["egress"];
    assert_eq!(egress["policy"], json!({"kind": "AdminNetworkPolicy", "namespace": null, "name": "a"}));
    assert_eq!((&egress["tier"], &egress["rule"]), (&json!("Admin"), &json!(0)));
    assert_eq!(egress["line"], input.lines().count());
    assert_eq!(verdict(&input, "shop/web", "192.0.3.7", "443/tcp")["verdict"], "ALLOWED");
}

#[test]
fn a_pod_is_met_under_its_address_and_a_template_under_none() {
    let block = policy(
        "out",
        "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.0.1.0/24}}]}]}",
    );
    let template = "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: cart, namespace: bank}\n\
                    spec: {selector: {}, template: {metadata: {labels: {app: cart}}}}\n";
    let input = [&shop(), &block, template].concat();
    assert_eq!(verdict(&input, "shop/web", "bank/till", "80")["verdict"], "ALLOWED");
    assert_eq!(verdict(&input, "shop/web", "bank/cart", "80")["verdict"], "DENIED");
    assert_eq!(verdict(&input, "shop/web", "bank/cart[Deployment]", "80")["verdict"], "DENIED");
}

#[test]
fn of_pods_that_differ_a_denial_counts() {
    let owned = |name: &str| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{app: {name}}}, \
             ownerReferences: [{{apiVersion: apps/v1, kind: ReplicaSet, name: api}}]}}\n"
        )
    };
    let deny = policy("deny", "{podSelector: {matchLabels: {app: api-2}}, policyTypes: [Ingress]}");
    let input = [shop(), owned("api-1"), owned("api-2"), deny].concat();
    let record = verdict(&input, "shop/web", "shop/api", "80");
    assert_eq!(record["verdict"], "DENIED");
    assert!(record["ingress"]["reason"].as_str().unwrap().contains("other pods of the workload are allowed"));
    assert_eq!(verdict(&input, "shop/web", "shop/api-1", "80")["verdict"], "ALLOWED");
}

#[test]
fn a_name_that_nobody_has_is_bad_input() {
    for (from, to) in [("shop/nobody", "shop/db"), ("shop/web", "pod:bank/db"), ("shop/web", "svc:shop/db")] {
        let refused = explain(&shop(), from, to, "80/tcp");
        assert_eq!(refused.code, Some(2), "{from} {to}");
        assert!(refused.stderr.contains("no such"), "{}", refused.stderr);
    }
}

#[test]
fn the_text_says_what_would_turn_it() {
    let input = [shop(), policy("db", DB)].concat();
    let text = |from: &str| run_on(&input, &["explain", "-", "--from", from, "--to", "shop/db", "--port", "8080/tcp"]);
    let denied = text("bank/till");
    assert_eq!(denied.code, Some(1));
    assert!(denied.stdout.starts_with("DENIED: bank/till -> shop/db port 8080/tcp\n"), "{}", denied.stdout);
    assert!(
        denied
            .stdout
            .contains("add to NetworkPolicy shop/db a rule with from: the pods of namespace bank labelled app=till"),
        "{}",
        denied.stdout
    );
    let allowed = text("shop/web");
    assert_eq!(allowed.code, Some(0));
    assert!(allowed.stdout.contains("narrow rule 1 of NetworkPolicy shop/db"), "{}", allowed.stdout);
}
