//! What is read of a text, and what is told of it.

mod objects;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;

use proptest::prelude::*;

use super::*;
use crate::model::{About, NAMESPACE_NAME_LABEL, Origin, Workload};
use crate::selector;

fn read(text: &str) -> Cluster {
    let mut reader = Reader::default();
    reader.text("in.yaml", text);
    reader.finish()
}

fn told(cluster: &Cluster) -> Vec<String> {
    cluster.problems.iter().map(ToString::to_string).collect()
}

const POLICY: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: web
  namespace: shop
spec:
  podSelector:
    matchLabels: {app: web}
  ingress:
  - from:
    - podSelector: {}
    - ipBlock:
        cidr: 10.0.0.0/8
        except: [10.1.0.0/16]
    ports:
    - port: http
";

#[test]
fn a_policy_knows_the_lines_of_its_fields() {
    let json = r#"{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy",
"metadata":{"name":"web","namespace":"shop"},
"spec":{"podSelector":{},
 "ingress":[
  {"from":[{"podSelector":{}},
   {"ipBlock":{"cidr":"10.0.0.0/8"}}]}]}}"#;
    for (text, object, ingress, block) in [(POLICY.to_owned(), 1, 9, 12), (json.to_owned(), 1, 4, 6)] {
        for (before, document, offset) in
            [("", 1, 0), ("# nothing\n---\n", 1, 2), ("kind: Secret\napiVersion: v1\n---\n", 2, 3)]
        {
            let cluster = read(&format!("{before}{text}"));
            assert_eq!(told(&cluster), Vec::<String>::new());
            let policy = &cluster.network_policies[0];
            assert_eq!(policy.origin, Origin { file: "in.yaml".into(), document, line: object + offset });
            assert_eq!(policy.line("spec.ingress"), ingress + offset);
            assert_eq!(policy.line("spec.ingress[0].from[1].ipBlock"), block + offset);
            assert_eq!(policy.line("spec.ingress[0].from[1].ipBlock.nothing"), block + offset);
        }
    }
}

#[test]
fn a_broken_document_takes_no_other_with_it() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: NAME}\nspec: {containers: []}\n";
    let broken = "apiVersion: v1\nkind: Pod\nmetadata: {name: [\n";
    let text = format!("{}---\n{broken}---\n{}", pod.replace("NAME", "one"), pod.replace("NAME", "two"));
    let cluster = read(&text);
    let names: Vec<&str> = cluster.workloads.iter().map(|workload| workload.name.as_str()).collect();
    assert_eq!(names, ["one", "two"]);
    assert_eq!((cluster.problems.len(), cluster.problems[0].document), (1, 2));
    assert!((6..=9).contains(&cluster.problems[0].line), "{:?}", cluster.problems);
    assert!(cluster.problems[0].reason.starts_with("no YAML: "), "{:?}", cluster.problems);
}

#[test]
fn a_field_that_does_not_fit_is_named_with_its_place() {
    let text = POLICY.replace("port: http", "port: [http]");
    assert_eq!(
        told(&read(&text)),
        ["in.yaml:16: document 1: NetworkPolicy/shop/web: spec.ingress[0].ports[0].port: invalid type: sequence, \
          expected IntOrString: the policy cannot be used"]
    );
    let json = "[\n{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"a\"},\n\"spec\":{\"containers\":[{\"name\":7}]}}]";
    let cluster = read(json);
    assert_eq!((cluster.problems[0].line, cluster.problems[0].field.as_str()), (3, "spec.containers[0].name"));
}

#[test]
fn what_a_server_refuses_is_told_and_left_out() {
    for (from, to, field) in [
        ("10.0.0.0/8", "10.0.0.0/33", "spec.ingress[0].from[1].ipBlock.cidr"),
        ("10.1.0.0/16", "10.1.0.0", "spec.ingress[0].from[1].ipBlock.except[0]"),
        ("port: http", "port: 70000", "spec.ingress[0].ports[0].port"),
        ("port: http", "{port: http, endPort: 9}", "spec.ingress[0].ports[0].endPort"),
        ("port: http", "protocol: tcp", "spec.ingress[0].ports[0].protocol"),
        ("- podSelector: {}", "- {}", "spec.ingress[0].from[0]"),
        (
            "podSelector: {}",
            "podSelector: {matchExpressions: [{key: a, operator: In}]}",
            "spec.ingress[0].from[0].podSelector.matchExpressions[0].values",
        ),
    ] {
        let cluster = read(&POLICY.replace(from, to));
        assert!(cluster.network_policies.is_empty(), "{to}");
        assert_eq!(cluster.problems[0].field, field, "{to}: {:?}", cluster.problems);
        assert!(cluster.problems[0].line >= 10, "{:?}", cluster.problems);
    }
}

#[test]
fn lists_hand_on_their_items_typed_or_not() {
    let pod = |name: &str, kind: &str| format!("- {kind}metadata: {{name: {name}}}\n  spec: {{containers: []}}\n");
    let own = "kind: Pod\n  apiVersion: v1\n  ";
    for text in [
        format!("apiVersion: v1\nkind: List\nitems:\n{}{}", pod("a", own), pod("b", own)),
        format!("apiVersion: v1\nkind: PodList\nitems:\n{}{}", pod("a", ""), pod("b", own)),
        format!("apiVersion: v1\nitems:\n{}{}kind: PodList\n", pod("a", ""), pod("b", "")),
        format!("{}{}", pod("a", own), pod("b", own)),
        r#"{"kind":"PodList","apiVersion":"v1","items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"}}]}"#
            .to_owned(),
        r#"[{"kind":"Pod","metadata":{"name":"a"}},{"kind":"Pod","metadata":{"name":"b"}}]"#.to_owned(),
        r#"{"kind":"Pod","metadata":{"name":"a"}}{"kind":"Pod","metadata":{"name":"b"}}"#.to_owned(),
    ] {
        let cluster = read(&text);
        assert_eq!(told(&cluster), Vec::<String>::new(), "{text}");
        let titles: Vec<String> = cluster.workloads.iter().map(Workload::title).collect();
        assert_eq!(titles, ["default/a[Pod]", "default/b[Pod]"], "{text}");
    }
}

#[test]
fn an_item_that_is_no_use_is_told_by_its_place_and_the_others_count() {
    let text = "kind: List\napiVersion: v1\nitems:\n- {kind: Pod, metadata: {name: a}}\n- metadata: {name: b}\n- kind: Pod\n  kind: Pod\n- {kind: Pod, metadata: {name: c}}\n";
    let cluster = read(text);
    assert_eq!(cluster.workloads.len(), 2);
    assert_eq!(
        told(&cluster),
        [
            "in.yaml:7: document 1: items[2].kind: given twice",
            "in.yaml:5: document 1: item 1: kind: missing: a Kubernetes object has apiVersion and kind",
        ]
    );
}

#[test]
fn what_is_no_object_at_all_is_told() {
    for (text, reason) in [
        ("just words\n", "a text is no Kubernetes object"),
        ("replicas: 3\n", "missing: a Kubernetes object has apiVersion and kind"),
        ("kind: Pod\nmetadata: {}\n", "missing"),
        ("{\"kind\":\"Pod\",", "no JSON: EOF while parsing an object"),
    ] {
        let cluster = read(text);
        assert_eq!(cluster.problems.len(), 1, "{text}: {:?}", cluster.problems);
        assert_eq!(cluster.problems[0].reason, reason, "{text}");
    }
    assert!(read("").problems.is_empty() && read("---\n# nothing\n---\n").problems.is_empty());
}

#[test]
fn kinds_that_mean_nothing_here_are_counted() {
    let text = "{kind: Secret, apiVersion: v1}\n---\n{kind: Secret, apiVersion: v1}\n---\n{kind: NetworkPolicy, apiVersion: projectcalico.org/v3}\n";
    let cluster = read(text);
    assert!(cluster.problems.is_empty() && cluster.network_policies.is_empty());
    let counts: Vec<(&str, usize)> = cluster.unknown.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
    assert_eq!(counts, [("projectcalico.org/v3 NetworkPolicy", 1), ("v1 Secret", 2)]);
}

#[test]
fn policies_of_versions_that_are_not_read_are_told_and_not_passed_over() {
    for (version, kind) in [
        ("extensions/v1beta1", "NetworkPolicy"),
        ("v1", "NetworkPolicy"),
        ("networking/v1", "NetworkPolicy"),
        ("networking.k8s.io/v2", "NetworkPolicy"),
        ("networking.k8s.io/v1", "AdminNetworkPolicy"),
        ("policy.networking.k8s.io/v1alpha2", "AdminNetworkPolicy"),
        ("policy.networking.k8s.io/v1beta1", "BaselineAdminNetworkPolicy"),
        ("policy.networking.k8s.io/v1", "ClusterNetworkPolicy"),
        ("networking.k8s.io/v1", "NetworkPolcy"),
        ("policy.networking.k8s.io/v1alpha1", "AdminNetworkPolicies"),
    ] {
        let text = format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: p, namespace: shop}}\nspec: {{}}\n");
        let json = serde_json::json!({"apiVersion": version, "kind": kind, "metadata": {"name": "p"}}).to_string();
        for text in [text, json] {
            let cluster = read(&text);
            assert!(cluster.unknown.is_empty(), "{text}: {:?}", cluster.unknown);
            assert_eq!(cluster.problems.len(), 1, "{text}: {:?}", cluster.problems);
            assert_eq!(cluster.problems[0].about, About::Policy, "{text}");
            let object = &cluster.problems[0].object;
            assert!(object.starts_with(kind) && object.ends_with("/p"), "{text}: {object}");
        }
    }
    let cluster = read("apiVersion: extensions/v1beta1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: shop}\n");
    assert_eq!(
        told(&cluster),
        [
            "in.yaml:1: document 1: NetworkPolicy/shop/p: apiVersion: extensions/v1beta1 is not read: the policy cannot be used: write it as networking.k8s.io/v1"
        ]
    );
}

#[test]
fn kinds_of_others_and_neighbours_of_policies_are_passed_over() {
    for (version, kind) in [
        ("crd.projectcalico.org/v1", "NetworkPolicy"),
        ("projectcalico.org/v3", "GlobalNetworkPolicy"),
        ("cilium.io/v2", "CiliumNetworkPolicy"),
        ("networking.k8s.io/v1", "Ingress"),
        ("networking.k8s.io/v1beta1", "IngressClass"),
        ("networking.k8s.io/v1", "ServiceCIDR"),
        ("networking.k8s.io/v1", "IPAddress"),
        ("extensions/v1beta1", "Deployment"),
        ("example.com/v1", "AllowList"),
    ] {
        let cluster = read(&format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: p}}\n"));
        assert_eq!(cluster.problems, [], "{version} {kind}");
        assert_eq!(cluster.unknown, [(format!("{version} {kind}"), 1)].into());
    }
}

#[test]
fn lists_within_lists_are_read_to_a_depth() {
    let policy = |name: &str| serde_json::json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name, "namespace": "n"}, "spec": {}});
    let list = |items: Vec<serde_json::Value>| serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items});
    let mut typed = list(vec![serde_json::json!({"metadata": {"name": "c", "namespace": "n"}})]);
    typed["kind"] = "NetworkPolicyList".into();
    typed["apiVersion"] = "networking.k8s.io/v1".into();
    let nested = list(vec![policy("a"), list(vec![list(vec![policy("b")]), typed])]);
    // JSON, and the same as YAML, which JSON is where it does not begin as JSON does.
    for text in [nested.to_string(), format!("# YAML\n---\nitems: {}\nkind: List\n", nested["items"])] {
        let cluster = read(&text);
        assert_eq!(cluster.problems, [], "{text}");
        let names = cluster.network_policies.iter().map(|policy| policy.value.metadata.name.as_deref().unwrap());
        assert_eq!(names.collect::<String>(), "abc", "{text}");
    }
    let deep = (0..7).fold(policy("deep"), |inner, _| list(vec![inner]));
    let cluster = read(&deep.to_string());
    assert!(cluster.network_policies.is_empty());
    assert_eq!((cluster.problems.len(), cluster.problems[0].about), (1, About::Policy), "{:?}", cluster.problems);
    for text in ["kind: List\napiVersion: v1\n", "[{\"kind\": \"List\", \"items\": {}}]"] {
        assert_eq!(read(text).problems.len(), 1, "{text}");
    }
}

#[test]
fn what_ends_too_soon_is_at_fault_in_its_last_line() {
    for (text, line) in
        [("a: [\n", 1), ("a: [", 1), ("kind: Pod\nmetadata: {\n\n", 3), ("---\nkind: Pod\n---\na: [\n", 4)]
    {
        let cluster = read(text);
        assert_eq!(
            cluster.problems.iter().map(|problem| problem.line).max(),
            Some(line),
            "{text:?}: {:?}",
            cluster.problems
        );
    }
}

#[test]
fn yaml_means_what_kubectl_takes_it_for() {
    let text = "kind: Namespace\nmetadata:\n  name: \"010\"\n  labels:\n    a: 'yes'\n    b: !!str 1\n    c: \"1e3\"\n    d: 1.2.3\n    e: |\n      x\n";
    let cluster = read(text);
    assert_eq!(told(&cluster), Vec::<String>::new());
    let labels = &cluster.namespaces[0].labels;
    let of = |key: &str| labels[key].as_str();
    assert_eq!((of("a"), of("b"), of("c"), of("d"), of("e")), ("yes", "1", "1e3", "1.2.3", "x\n"));
    assert_eq!(of(NAMESPACE_NAME_LABEL), "010");
    for (value, what) in [
        ("yes", "boolean `true`"),
        ("off", "boolean `false`"),
        ("010", "integer `8`"),
        ("1_000", "integer `1000`"),
        ("0x1F", "integer `31`"),
        ("1e3", "floating point"),
    ] {
        let cluster = read(&format!("kind: Namespace\nmetadata:\n  name: n\n  labels:\n    a: {value}\n"));
        assert_eq!(cluster.problems[0].field, "metadata.labels.a", "{value}");
        assert!(cluster.problems[0].reason.contains(what), "{value}: {}", cluster.problems[0].reason);
        assert_eq!(cluster.problems[0].line, 5);
    }
}

#[test]
fn anchors_and_merge_keys_are_resolved() {
    let text = "kind: Namespace\nmetadata:\n  name: n\n  annotations: &base {a: '1', b: '2'}\n  labels:\n    <<: *base\n    b: '3'\n";
    let cluster = read(text);
    assert_eq!(told(&cluster), Vec::<String>::new());
    assert_eq!((cluster.namespaces[0].labels["a"].as_str(), cluster.namespaces[0].labels["b"].as_str()), ("1", "3"));
}

#[test]
fn a_bomb_of_aliases_is_refused_and_the_next_document_counts() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..40 {
        let references = format!("*a{}, ", level - 1).repeat(9);
        writeln!(bomb, "a{level}: &a{level} [{references}]").unwrap();
    }
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), "*a, ".repeat(1000));
    for bomb in [bomb, long] {
        let cluster = read(&format!("{bomb}---\nkind: Namespace\nmetadata: {{name: n}}\n"));
        assert_eq!(cluster.namespaces.len(), 1);
        assert_eq!(cluster.problems.len(), 1);
        assert!(cluster.problems[0].reason.contains("write"), "{:?}", cluster.problems);
    }
}

#[test]
fn nesting_is_bounded() {
    for text in [
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "[\n".repeat(100_000),
        "{\"a\":".repeat(100_000),
        "- ".repeat(100_000),
        (0..3000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect(),
    ] {
        let cluster = read(&text);
        assert_eq!(cluster.problems.len(), 1, "{}: {:?}", &text[..10], cluster.problems);
    }
}

#[test]
fn problems_are_bounded() {
    let cluster = read(&"kind: Pod\n---\n".repeat(MAX_PROBLEMS + 5));
    assert_eq!((cluster.problems.len(), cluster.more_problems), (MAX_PROBLEMS, 5));
}

#[test]
fn a_selector_of_ten_thousand_values_is_read_and_matches() {
    let values: Vec<String> = (0..10_000).map(|number| format!("v{number}")).collect();
    let text = POLICY.replace(
        "matchLabels: {app: web}",
        &format!("matchExpressions: [{{key: app, operator: In, values: [{}]}}]", values.join(", ")),
    );
    let cluster = read(&text);
    assert_eq!(told(&cluster), Vec::<String>::new());
    let spec = cluster.network_policies[0].value.spec.as_ref().unwrap();
    let labels = |value: &str| [("app".to_owned(), value.to_owned())].into();
    assert!(selector::matches(spec.pod_selector.as_ref().unwrap(), &labels("v9999")));
    assert!(!selector::matches(spec.pod_selector.as_ref().unwrap(), &labels("v10000")));
}

#[test]
fn what_is_given_twice_counts_as_it_was_given_last() {
    let text = "kind: Namespace\nmetadata: {name: n, labels: {v: '1'}}\n---\nkind: Namespace\nmetadata: {name: n, labels: {v: '2'}}\n";
    let cluster = read(text);
    assert_eq!((cluster.namespaces.len(), cluster.namespaces[0].labels["v"].as_str()), (1, "2"));
    assert_eq!(
        told(&cluster),
        ["in.yaml:5: document 2: Namespace/n: metadata.name: given before at in.yaml:1: this one counts"]
    );
}

#[test]
fn of_two_inputs_the_later_one_counts_and_that_is_no_fault() {
    let policy = |name: &str, app: &str| {
        format!(
            "---\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: n}}\nspec: {{podSelector: {{matchLabels: {{app: {app}}}}}}}\n"
        )
    };
    let scratch = tempfile::tempdir().unwrap();
    let [a, b] = ["a.yaml", "b.yaml"].map(|name| scratch.path().join(name).to_str().unwrap().to_owned());
    fs::write(&a, [policy("p", "old"), policy("twice", "x"), policy("twice", "y")].concat()).unwrap();
    fs::write(&b, policy("p", "new")).unwrap();
    let about = |inputs: &[&str]| {
        let cluster = Cluster::read(inputs).unwrap();
        let spec = cluster.network_policies[0].value.spec.as_ref().unwrap();
        let app = spec.pod_selector.as_ref().unwrap().match_labels.as_ref().unwrap()["app"].clone();
        (app, cluster.problems.iter().map(|problem| problem.about).collect::<Vec<_>>())
    };
    assert_eq!(about(&[&a, &b]), ("new".to_owned(), vec![About::PolicyTwice, About::Replaced]));
    assert_eq!(about(&[&b, &a]), ("old".to_owned(), vec![About::Replaced, About::PolicyTwice]));
    // Two files of one folder are one input.
    let folder = scratch.path().to_str().unwrap();
    assert_eq!(about(&[folder]), ("new".to_owned(), vec![About::PolicyTwice, About::PolicyTwice]));
}

#[test]
fn that_a_policy_cannot_be_used_is_told_whatever_else_cannot() {
    let text = format!(
        "{}apiVersion: v1\nkind: NetworkPolicy\nmetadata: {{name: p}}\n",
        "kind: Pod\nmetadata: {name: x}\nspec: 7\n---\n".repeat(MAX_PROBLEMS + 5)
    );
    let cluster = read(&text);
    assert_eq!((cluster.problems.len(), cluster.more_problems), (MAX_PROBLEMS, 6));
    assert_eq!(cluster.problems.last().unwrap().about, About::Policy);
}

#[test]
fn namespaces_that_are_only_mentioned_are_there_with_their_name() {
    let cluster = read("kind: Pod\nmetadata: {name: p, namespace: shop}\n");
    assert_eq!(cluster.namespaces[0].labels, [(NAMESPACE_NAME_LABEL.to_owned(), "shop".to_owned())].into());
    assert_eq!(cluster.namespaces[0].origin, Origin::none());
}

#[test]
fn a_folder_is_read_in_order_and_links_lead_nowhere_else() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("in");
    let namespace = |name: &str| format!("kind: Namespace\nmetadata: {{name: {name}}}\n");
    fs::create_dir_all(folder.join("b/c")).unwrap();
    fs::create_dir(folder.join("..data")).unwrap();
    fs::write(folder.join("a.yaml"), namespace("a")).unwrap();
    fs::write(folder.join("b/c/deep.YML"), namespace("deep")).unwrap();
    fs::write(folder.join("b/x.json"), r#"{"kind":"Namespace","metadata":{"name":"x"}}"#).unwrap();
    fs::write(folder.join("readme.txt"), "kind: nothing").unwrap();
    fs::write(folder.join("..data/mounted.yaml"), namespace("mounted")).unwrap();
    fs::write(scratch.path().join("outside.yaml"), namespace("outside")).unwrap();
    symlink("..data/mounted.yaml", folder.join("mounted.yaml")).unwrap();
    symlink("../outside.yaml", folder.join("out.yaml")).unwrap();
    symlink("..", folder.join("up")).unwrap();
    symlink("nowhere", folder.join("gone.yaml")).unwrap();
    fs::write(folder.join("bytes.yaml"), b"kind: Namespace\n\xff").unwrap();

    let folder = folder.to_str().unwrap();
    let cluster = Cluster::read(&[folder]).unwrap();
    let names: Vec<&str> = cluster.namespaces.iter().map(|namespace| namespace.name.as_str()).collect();
    assert_eq!(names, ["a", "deep", "mounted", "x"]);
    let told = told(&cluster);
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].contains("gone.yaml: cannot be followed") && told[1].contains("out.yaml: passed over"), "{told:?}");
    assert!(told[2].contains("bytes.yaml:2: not UTF-8"), "{told:?}");

    let outside = scratch.path().join("outside.yaml");
    assert_eq!(Cluster::read(&[outside.to_str().unwrap()]).unwrap().namespaces.len(), 1);
    let missing = Cluster::read(&[format!("{folder}/missing.yaml")]).unwrap_err().to_string();
    assert!(missing.contains("missing.yaml") && missing.contains("No such file"), "{missing}");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in r#"([ \n\-\[\]{}:,&*"'|>#%!?.a-c0-9]|kind: |items:|metadata|---\n|<<: ){0,120}"#) {
        read(&text);
    }

    #[test]
    fn json_means_the_same_as_yaml(name in "[a-z]{1,8}", value in "[ -~]{0,20}") {
        let json = serde_json::json!({"kind": "Namespace", "metadata": {"name": name, "labels": {"a": value}}});
        let [plain, flow] = [json.to_string(), format!("# YAML\n{json}")].map(|text| read(&text));
        prop_assert_eq!(&plain.namespaces[0].labels, &flow.namespaces[0].labels);
        prop_assert_eq!(&plain.namespaces[0].labels["a"], &value);
    }
}

#[test]
fn a_policy_without_a_spec_is_one_with_nothing_in_it() {
    for spec in ["", "spec:\n", "spec: {}\n"] {
        let text = format!("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p}}\n{spec}");
        let cluster = read(&text);
        assert_eq!(told(&cluster), Vec::<String>::new(), "{spec}");
        let policy = &cluster.network_policies[0].value;
        assert_eq!(policy.spec, Some(k8s_openapi::api::networking::v1::NetworkPolicySpec::default()), "{spec}");
    }
}
