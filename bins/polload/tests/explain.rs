//! `polload explain`: why one may reach the other, or not.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a failure shows its line")]

mod common;

use common::{Ended, pod, policy, run_on, shop};
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
    let denied = explain(&input, "bank/till", "svc:shop/db", "80/tcp");
    holds(&denied.stdout, "on port 8080/TCP, where port 80 of the service leads");
    let refused = explain(&input, "shop/web", "svc:shop/db", "8080/tcp");
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("has no port 8080/tcp") && refused.stderr.contains("80/tcp"), "{}", refused.stderr);
    assert_eq!(explain(&input, "svc:shop/db", "shop/web", "80/tcp").code, Some(2), "a service opens nothing");
}

#[test]
fn a_service_that_keeps_its_traffic_on_the_node_is_judged_by_the_pods_there() {
    let on = |name: &str, node: &str, address: &str| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{app: {name}}}, \
             ownerReferences: [{{apiVersion: apps/v1, kind: DaemonSet, name: agents}}]}}\nspec: {{nodeName: {node}}}\n\
             status: {{podIP: {address}}}\n"
        )
    };
    let service = |policy: &str| {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: db, namespace: shop}}\n\
             spec: {{clusterIP: 172.20.0.9, clusterIPs: [172.20.0.9], ports: [{{port: 80}}]{policy}}}\n---\n\
             apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\nports: [{{port: 8080}}]\n\
             metadata: {{name: db-1, namespace: shop, labels: {{kubernetes.io/service-name: db}}}}\n\
             endpoints: [{{addresses: [10.0.7.1], nodeName: n1}}, {{addresses: [10.0.7.2], nodeName: n2}}]\n"
        )
    };
    let pods = [on("one", "n1", "10.0.6.1"), on("two", "n2", "10.0.6.2"), on("three", "n3", "10.0.6.3")].concat();
    let rules = "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.0.7.1/32}}]}]}";
    let input =
        |policy: &str| [&shop(), &pods, &service(policy), &self::policy("out", rules)].map(String::as_str).concat();
    let kept = input(", internalTrafficPolicy: Local");
    for to in ["svc:shop/db", "172.20.0.9"] {
        assert_eq!(verdict(&kept, "shop/one", to, "80/tcp")["verdict"], "ALLOWED", "{to}");
        assert_eq!(verdict(&kept, "shop/two", to, "80/tcp")["verdict"], "DENIED", "{to}");
        let none = verdict(&kept, "shop/three", to, "80/tcp");
        assert_eq!(none["verdict"], "ALLOWED", "{to}");
        holds(none["egress"]["reason"].as_str().unwrap(), "no backend for this port on n3");
        // Of a workload's pods, which rules cannot tell apart, each asks from its own node.
        assert_eq!(verdict(&kept, "shop/agents", to, "80/tcp")["verdict"], "DENIED", "{to}");
        for policy in ["", ", internalTrafficPolicy: Cluster", ", externalTrafficPolicy: Local"] {
            assert_eq!(verdict(&input(policy), "shop/one", to, "80/tcp")["verdict"], "DENIED", "{to}{policy}");
        }
    }
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

/// The answer for people.
fn answer(input: &str, from: &str, to: &str, port: &str) -> String {
    let ended = run_on(input, &["explain", "-", "--from", from, "--to", to, "--port", port]);
    assert!(matches!(ended.code, Some(0 | 1)), "{}", ended.stderr);
    ended.stdout
}

fn holds(text: &str, part: &str) {
    assert!(text.contains(part), "no {part:?} in:\n{text}");
}

fn template(kind: &str, name: &str, app: &str) -> String {
    format!(
        "---\napiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {{selector: {{}}, template: {{metadata: {{labels: {{app: {app}}}}}}}}}\n"
    )
}

fn service(name: &str, spec: &str) -> String {
    format!("---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {spec}\n")
}

fn node(name: &str, address: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n\
         status: {{addresses: [{{type: InternalIP, address: {address}}}]}}\n"
    )
}

fn pod_with(name: &str, spec: &str, status: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{app: {name}}}}}\n\
         spec: {spec}\nstatus: {status}\n"
    )
}

fn admin(name: &str, priority: u32, rules: &str) -> String {
    format!(
        "---\napiVersion: policy.networking.k8s.io/v1alpha1\nkind: AdminNetworkPolicy\nmetadata: {{name: {name}}}\n\
         spec: {{priority: {priority}, subject: {{namespaces: {{}}}}, {rules}}}\n"
    )
}

const CLOSED: &str = "{podSelector: {}, policyTypes: [Ingress, Egress]}";

#[test]
fn a_kind_that_is_given_tells_workloads_of_one_name_apart() {
    let deny = policy("deny", "{podSelector: {matchLabels: {app: set}}, policyTypes: [Ingress]}");
    let input =
        [shop(), template("Deployment", "api", "deployment"), template("StatefulSet", "api", "set"), deny].concat();
    assert_eq!(verdict(&input, "shop/web", "shop/api[Deployment]", "80")["verdict"], "ALLOWED");
    assert_eq!(verdict(&input, "shop/web", "shop/api[StatefulSet]", "80")["verdict"], "DENIED");
    holds(&answer(&input, "shop/web", "shop/api[StatefulSet]", "80"), "shop/web -> shop/api[StatefulSet] port");
    let several = explain(&input, "shop/web", "shop/api", "80");
    assert_eq!(several.code, Some(2));
    holds(&several.stderr, "shop/api[Deployment], shop/api[StatefulSet]");
    let none = explain(&input, "shop/web", "shop/api[DaemonSet]", "80");
    assert_eq!(none.code, Some(2));
    holds(&none.stderr, "shop/api[DaemonSet]: no such pod or workload");
    // A pod of the name comes first.
    let input = [input, pod("shop", "api", "10.0.0.9")].concat();
    assert_eq!(verdict(&input, "shop/web", "shop/api", "80")["verdict"], "ALLOWED");
}

#[test]
fn an_unknown_service_is_told_with_those_of_its_namespace() {
    let many: String =
        (0..9).map(|at| service(&format!("s{at}"), "{selector: {app: db}, ports: [{port: 80}]}")).collect();
    let input = [shop(), many].concat();
    let refused = explain(&input, "shop/web", "svc:shop/db", "80");
    assert_eq!(refused.code, Some(2));
    holds(&refused.stderr, "the services of namespace shop are s0, s1, s2, s3, s4, s5, s6, s7 and 1 more");
    assert!(!refused.stderr.contains("polload matrix"), "{}", refused.stderr);
    holds(&explain(&input, "shop/web", "svc:bank/db", "80").stderr, "no service of namespace bank");
}

#[test]
fn a_pod_and_itself_are_no_pair_where_there_are_others() {
    let owned = |name: &str, address: &str| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{app: api}}, \
             ownerReferences: [{{apiVersion: apps/v1, kind: ReplicaSet, name: api}}]}}\nstatus: {{podIP: {address}}}\n"
        )
    };
    let one = [shop(), owned("api-1", "10.0.0.5"), policy("closed", CLOSED)].concat();
    assert_eq!(verdict(&one, "shop/api", "shop/api", "80")["verdict"], "ALLOWED");
    let two = [one, owned("api-2", "10.0.0.6")].concat();
    let record = verdict(&two, "shop/api", "shop/api", "80");
    assert_eq!(record["verdict"], "DENIED");
    for side in ["egress", "ingress"] {
        assert!(!record[side]["reason"].as_str().unwrap().contains("other pods"), "{record}");
    }
}

#[test]
fn the_other_family_is_told_where_it_differs() {
    let dual = |name: &str, four: &str, six: &str| {
        pod_with(name, "{}", &format!("{{podIP: {four}, podIPs: [{{ip: {four}}}, {{ip: \"{six}\"}}]}}"))
    };
    let block = |cidr: &str| {
        policy(
            "four",
            &format!(
                "{{podSelector: {{matchLabels: {{app: b}}}}, ingress: [{{from: [{{ipBlock: {{cidr: {cidr}}}}}]}}]}}"
            ),
        )
    };
    let pods = [shop(), dual("a", "10.0.2.1", "fd00::5"), dual("b", "10.0.2.2", "fd00::6")].concat();
    let record = verdict(&[&pods, block("10.0.2.0/24").as_str()].concat(), "shop/a", "shop/b", "80");
    assert_eq!(record["verdict"], "ALLOWED");
    let reason = record["ingress"]["reason"].as_str().unwrap();
    assert!(reason.ends_with("; under fd00::5 -> fd00::6 it is denied"), "{reason}");
    assert!(!record["egress"]["reason"].as_str().unwrap().contains("under"), "{record}");
    let record = verdict(&[&pods, block("\"fd00::/64\"").as_str()].concat(), "shop/a", "shop/b", "80");
    assert_eq!(record["verdict"], "DENIED");
    let reason = record["ingress"]["reason"].as_str().unwrap();
    assert!(reason.ends_with("; under fd00::5 -> fd00::6 it is allowed"), "{reason}");
    // Where only one end has the other family, there is nothing to tell.
    let record = verdict(&[&pods, block("10.0.2.0/24").as_str()].concat(), "shop/web", "shop/b", "80");
    assert!(!record["ingress"]["reason"].as_str().unwrap().contains("under"), "{record}");
}

#[test]
fn what_a_node_sends_itself_is_told_from_what_it_forwards() {
    let here = pod_with("here", "{nodeName: n1}", "{podIP: 10.0.2.1}");
    let input = [shop(), node("n1", "192.168.0.1"), node("n2", "192.168.0.2"), here, policy("closed", CLOSED)].concat();
    let said = "this is judged as traffic forwarded through the node: what the node itself sends, such as probes, is";
    let reason = |from: &str| {
        let record = verdict(&input, from, "shop/here", "80");
        assert_eq!(record["verdict"], "DENIED", "{record}");
        record["ingress"]["reason"].as_str().unwrap().to_owned()
    };
    holds(&reason("192.168.0.1"), said);
    assert!(!reason("192.168.0.2").contains(said));
    assert!(!reason("192.0.2.1").contains(said));
}

#[test]
fn advice_for_a_virtual_address_names_the_port_and_pods_behind_it() {
    let spec = "{type: NodePort, selector: {app: db}, clusterIP: 172.20.0.9, clusterIPs: [172.20.0.9], \
                ports: [{port: 5000, targetPort: http, nodePort: 30001}]}";
    let input = [shop(), node("n1", "192.168.0.1"), service("db", spec), policy("closed", CLOSED)].concat();
    for (to, port) in [("svc:shop/db", "5000"), ("172.20.0.9", "5000"), ("192.168.0.1", "30001")] {
        let text = answer(&input, "shop/web", to, port);
        holds(&text, "a rule with to: the pods of namespace shop labelled app=db and port http TCP");
        holds(&text, "a rule with from: the pods of namespace shop labelled app=web and port http TCP");
    }
}

#[test]
fn advice_names_a_pod_on_its_nodes_network_by_address() {
    let agent = pod_with("agent", "{nodeName: n1, hostNetwork: true}", "{podIP: 192.168.0.1}");
    let open = [shop(), node("n1", "192.168.0.1"), agent].concat();
    let text = answer(&[&open, policy("closed", CLOSED).as_str()].concat(), "shop/agent", "shop/web", "80");
    holds(
        &text,
        "a rule with from: ipBlock 192.168.0.1/32 (it is on its node's network, where selectors of pods do not",
    );
    // No policy selects the agent or a node.
    let text = answer(&open, "shop/web", "shop/agent", "80");
    assert!(!text.contains("select shop/agent"), "{text}");
    holds(&text, "egress: select shop/web by a NetworkPolicy with policyTypes [Egress]");
    holds(&answer(&open, "shop/agent", "192.0.2.1", "80"), "no policy can");
}

#[test]
fn advice_does_not_promise_what_later_policies_may_deny() {
    let rule = "egress: [{action: Deny, to: [{networks: [192.0.2.0/24]}]}]";
    let text = answer(&[shop(), admin("a", 1, rule), admin("b", 2, rule)].concat(), "shop/web", "192.0.2.7", "443");
    holds(&text, "take rule 0 out of AdminNetworkPolicy a");
    holds(&text, "what comes after may still deny it: ask again after");
    assert!(!text.contains("all of this"), "{text}");
    let text = answer(&[shop(), policy("closed", CLOSED)].concat(), "shop/web", "192.0.2.7", "443");
    holds(&text, "To allow it, all of this:\n");
}

#[test]
fn advice_against_a_cluster_wide_allow_is_a_deny_before_it() {
    let rule = "ingress: [{action: Allow, from: [{namespaces: {}}]}]";
    let text = answer(&[shop(), admin("a", 1, rule)].concat(), "shop/web", "shop/db", "80");
    holds(&text, "ingress: put a Deny rule for it before rule 0 of AdminNetworkPolicy a\n");
    assert!(!text.contains("narrow"), "{text}");
    let baseline = admin("default", 1, rule).replace("AdminNetworkPolicy", "BaselineAdminNetworkPolicy");
    let baseline = baseline.replace("priority: 1, ", "");
    let text = answer(&[shop(), baseline].concat(), "shop/web", "shop/db", "80");
    holds(
        &text,
        "put a Deny rule for it before rule 0 of BaselineAdminNetworkPolicy default, or select shop/db by a \
         NetworkPolicy with policyTypes [Ingress]",
    );
}

#[test]
fn advice_selects_the_pods_and_not_the_address_before_them() {
    let spec = "{type: NodePort, selector: {app: db}, clusterIP: 172.20.0.9, clusterIPs: [172.20.0.9], \
                ports: [{port: 80, targetPort: http, nodePort: 30001}]}";
    let input = [shop(), node("n1", "192.168.0.1"), service("db", spec)].concat();
    for (to, port) in [("svc:shop/db", "80"), ("172.20.0.9", "80"), ("192.168.0.1", "30001"), ("10.0.0.2", "80")] {
        let text = answer(&input, "shop/web", to, port);
        holds(&text, "ingress: select the pods of namespace shop labelled app=db by a NetworkPolicy");
    }
    let text = answer(&input, "shop/web", "192.168.0.1", "22");
    assert!(!text.contains("select 192.168.0.1"), "{text}");
}
