use super::*;

fn read(text: &str) -> (Objects, Vec<String>) {
    let mut objects = Objects::default();
    let problems = objects.text("pods.json", text);
    (objects, problems.iter().map(ToString::to_string).collect())
}

fn pod(name: &str, address: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"namespace":"shop","name":"{name}"}},
            "spec":{{"containers":[]}},"status":{{"phase":"Running","podIP":"{address}","podIPs":[{{"ip":"{address}"}}]}}}}"#
    )
}

fn names(objects: &Objects) -> Vec<&str> {
    objects.pods().map(|pod| pod.name.as_str()).collect()
}

#[test]
fn a_bad_object_is_named_with_its_place_and_field_and_stops_no_others() {
    let bad = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"shop","name":"bad"},
        "spec":{"containers":[{"name":"c","ports":[{"containerPort":"eighty"}]}]}}"#;
    let json = format!(r#"{{"kind":"List","items":[{},{bad},7,{}]}}"#, pod("a", "10.0.0.1"), pod("b", "nonsense"));
    let (objects, problems) = read(&json);
    assert_eq!(names(&objects), ["a", "b"]);
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert_eq!(
        problems[0],
        "pods.json:3: document 1: Pod/shop/bad: spec.containers[0].ports[0].containerPort: invalid type: string \"eighty\", \
         expected i32: the object cannot be used"
    );
    assert!(problems[1].starts_with("pods.json:3: document 1: item 2: "), "{problems:?}");
    assert!(problems[2].contains("Pod/shop/b: status.podIPs[0].ip: \"nonsense\""), "{problems:?}");
}

#[test]
fn finished_pods_and_those_on_the_host_network_claim_no_address() {
    let done = pod("done", "10.0.0.1").replace("Running", "Succeeded");
    let failed = pod("failed", "10.0.0.2").replace("Running", "Failed");
    let host = pod("host", "10.1.0.1").replace(r#""containers":[]"#, r#""containers":[],"hostNetwork":true"#);
    let (objects, _) = read(&[done, failed, host].concat());
    assert_eq!(objects.pods().count(), 3);
    assert!(objects.pods().all(|pod| pod.addresses.is_empty()));
}

#[test]
fn both_addresses_of_a_dual_stack_pod_are_kept_and_mapped_ones_are_ipv4() {
    let dual = pod("a", "10.0.0.1").replace(r#"[{"ip":"10.0.0.1"}]"#, r#"[{"ip":"::ffff:10.0.0.1"},{"ip":"fd00::1"}]"#);
    let (objects, _) = read(&dual);
    let addresses = &objects.pods().next().unwrap().addresses;
    assert_eq!(addresses, &["10.0.0.1".parse::<IpAddr>().unwrap(), "fd00::1".parse().unwrap()]);
}

#[test]
fn kinds_that_name_nothing_are_passed_over_and_so_is_what_is_wrong_with_them() {
    let text = r#"{"apiVersion":"serving.knative.dev/v1","kind":"Service","metadata":{"name":"x"},"spec":7}
        {"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"}}
        {"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"x"},"spec":7}
        {"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"x"},"spec":{}}"#;
    let (objects, problems) = read(text);
    assert!(objects.is_empty() && problems.is_empty(), "{problems:?}");
}

#[test]
fn yaml_and_watches_are_read_as_well_as_json() {
    let (objects, problems) = read("kind: Pod\nmetadata: {name: a}\n---\nkind: Pod\nmetadata: {name: b}\n");
    assert_eq!((names(&objects), problems), (vec!["a", "b"], vec![]));
    let event = |kind: &str, pod: &str| format!("{{\"type\":\"{kind}\",\"object\":{pod}}}\n");
    let watch = [event("ADDED", &pod("a", "10.0.0.1")), event("ADDED", &pod("b", "10.0.0.2"))].concat();
    let (objects, problems) = read(&format!("{watch}{}", event("DELETED", &pod("a", "10.0.0.1"))));
    assert_eq!((names(&objects), problems), (vec!["b"], vec![]));
}

#[test]
fn nothing_of_a_removed_object_is_left() {
    let text = format!(
        "{}\n{}\n{}\n{}",
        pod("a", "10.0.0.1")
            .replace("\"podIP\"", "\"hostIP\":\"10.1.0.1\",\"podIP\"")
            .replace("\"spec\":{", "\"spec\":{\"nodeName\":\"n\","),
        r#"{"kind":"Node","metadata":{"name":"n"},"status":{"addresses":[{"type":"InternalIP","address":"10.1.0.2"}]}}"#,
        r#"{"kind":"Service","metadata":{"name":"s"},"spec":{"clusterIP":"172.20.0.1","ports":[{"port":80}]}}"#,
        r#"{"kind":"Namespace","metadata":{"name":"shop"}}"#,
    );
    let (mut objects, problems) = read(&text);
    assert_eq!((problems, objects.node_addresses().len(), objects.services().count()), (vec![], 2, 1));
    let (namespace, name) = ("shop".to_owned(), "a".to_owned());
    for name in [
        ObjectName::Workload { namespace, kind: "Pod".to_owned(), name },
        ObjectName::Node("n".to_owned()),
        ObjectName::Service { namespace: "default".to_owned(), name: "s".to_owned() },
        ObjectName::Namespace("shop".to_owned()),
    ] {
        assert!(!objects.is_empty());
        objects.apply(Change::Remove(name));
    }
    assert!(objects.is_empty() && objects.node_addresses().is_empty());
}

#[test]
fn no_more_than_a_thousand_problems_are_kept() {
    let (_, problems) = read(&format!("[{}]", vec!["7"; 1005].join(",")));
    assert_eq!(problems.len(), 1001);
    assert_eq!(problems[1000], "pods.json: 5 more objects or fields cannot be used");
}
