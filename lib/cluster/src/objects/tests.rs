use super::*;
use proptest::prelude::*;

fn read(json: &str) -> (Objects, Vec<String>) {
    let mut objects = Objects::default();
    let warnings = objects.read(json.as_bytes(), "pods.json").unwrap();
    (objects, warnings.iter().map(ToString::to_string).collect())
}

fn pod(name: &str, address: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"namespace":"shop","name":"{name}"}},
            "spec":{{"containers":[]}},"status":{{"phase":"Running","podIP":"{address}","podIPs":[{{"ip":"{address}"}}]}}}}"#
    )
}

fn names(objects: &Objects) -> Vec<&str> {
    objects.pods().iter().map(|pod| pod.name.as_str()).collect()
}

#[test]
fn lists_objects_arrays_and_documents_one_after_the_other_are_read() {
    let (a, b) = (pod("a", "10.0.0.1"), pod("b", "10.0.0.2"));
    for json in [
        format!(r#"{{"apiVersion":"v1","items":[{a},{b}],"kind":"List","metadata":{{"resourceVersion":""}}}}"#),
        format!("{a}\n{b}\n"),
        format!("[{a},{b}]"),
        format!(r#"{{"kind":"List","items":[{a}]}} {{"items":null}} {{"kind":"List","items":[{b}]}}"#),
    ] {
        let (objects, warnings) = read(&json);
        assert_eq!((names(&objects), warnings), (vec!["a", "b"], vec![]), "{json}");
    }
    assert!(read("").0.is_empty());
}

#[test]
fn items_of_a_pod_list_take_their_kind_from_it_wherever_it_stands() {
    let item = r#"{"metadata":{"namespace":"shop","name":"a"},"spec":{"containers":[]},"status":{"podIP":"10.0.0.1"}}"#;
    for json in [
        format!(r#"{{"kind":"PodList","apiVersion":"v1","items":[{item}]}}"#),
        format!(r#"{{"apiVersion":"v1","items":[{item}],"kind":"PodList"}}"#),
    ] {
        let (objects, warnings) = read(&json);
        assert_eq!((names(&objects), warnings), (vec!["a"], vec![]), "{json}");
        assert_eq!(objects.pods()[0].addresses, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
    }
    let (_, warnings) = read(&format!(r#"{{"items":[{item}]}}"#));
    assert_eq!(warnings, ["pods.json: item 0: kind: missing: left out"]);
}

#[test]
fn a_bad_object_is_named_with_its_place_and_field_and_stops_no_others() {
    let bad = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"shop","name":"bad"},
        "spec":{"containers":[{"name":"c","ports":[{"containerPort":"eighty"}]}]}}"#;
    let json = format!(r#"{{"kind":"List","items":[{},{bad},7,{}]}}"#, pod("a", "10.0.0.1"), pod("b", "nonsense"));
    let (objects, warnings) = read(&json);
    assert_eq!(names(&objects), ["a", "b"]);
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    assert_eq!(
        warnings[0],
        "pods.json: item 1 (Pod shop/bad): spec.containers[0].ports[0].containerPort: invalid type: string \"eighty\", \
         expected i32: left out"
    );
    assert!(warnings[1].starts_with("pods.json: item 2: invalid type"), "{warnings:?}");
    assert!(
        warnings[2].starts_with("pods.json: item 3 (Pod shop/b): status.podIPs[0].ip: \"nonsense\""),
        "{warnings:?}"
    );
}

#[test]
fn finished_pods_and_those_on_the_host_network_claim_no_address() {
    let done = pod("done", "10.0.0.1").replace("Running", "Succeeded");
    let failed = pod("failed", "10.0.0.2").replace("Running", "Failed");
    let host = pod("host", "10.1.0.1").replace(r#""containers":[]"#, r#""containers":[],"hostNetwork":true"#);
    let (objects, _) = read(&[done, failed, host].concat());
    assert_eq!(objects.pods().len(), 3);
    assert!(objects.pods().iter().all(|pod| pod.addresses.is_empty()));
}

#[test]
fn both_addresses_of_a_dual_stack_pod_are_kept_and_mapped_ones_are_ipv4() {
    let dual = pod("a", "10.0.0.1").replace(r#"[{"ip":"10.0.0.1"}]"#, r#"[{"ip":"::ffff:10.0.0.1"},{"ip":"fd00::1"}]"#);
    let (objects, _) = read(&dual);
    let addresses = &objects.pods()[0].addresses;
    assert_eq!(addresses, &["10.0.0.1".parse::<IpAddr>().unwrap(), "fd00::1".parse().unwrap()]);
}

#[test]
fn kinds_of_other_api_groups_are_passed_over() {
    let json = r#"{"apiVersion":"serving.knative.dev/v1","kind":"Service","metadata":{"name":"x"},"spec":7}
        {"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"}}"#;
    let (objects, warnings) = read(json);
    assert!(objects.is_empty() && warnings.is_empty(), "{warnings:?}");
}

#[test]
fn what_is_no_json_is_an_error_that_says_where() {
    let mut objects = Objects::default();
    let json = format!("{}\n{{\"kind\":", pod("a", "10.0.0.1"));
    let error = objects.read(json.as_bytes(), "pods.json").unwrap_err().to_string();
    assert!(error.starts_with("cannot read Kubernetes objects from pods.json: EOF while parsing"), "{error}");
    assert_eq!(names(&objects), ["a"], "what came before is kept");
    assert!(objects.read(&b"7"[..], "x").is_err());
}

#[test]
fn an_input_past_the_limit_is_refused() {
    let error = Objects::default().read_limited(io::repeat(b' '), "-", 100_000).unwrap_err();
    assert!(error.to_string().ends_with("it is longer than 100000 bytes"), "{error}");
}

#[test]
fn no_more_than_a_hundred_warnings_are_kept() {
    let (_, warnings) = read(&"7 ".repeat(3).replace('7', &format!("[{}]", vec!["7"; 50].join(","))));
    assert_eq!(warnings.len(), 101);
    assert_eq!(warnings[100], "pods.json: 50 more objects or fields: left out");
}

proptest! {
    #[test]
    fn no_input_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Objects::default().read(bytes.as_slice(), "x");
    }

    #[test]
    fn no_mangled_list_makes_it_panic(at in 0usize..600, byte in any::<u8>()) {
        let mut json = format!(r#"{{"kind":"List","items":[{},{}]}}"#, pod("a", "10.0.0.1"), pod("b", "::1")).into_bytes();
        let at = at % json.len();
        json[at] = byte;
        let _ = Objects::default().read(json.as_slice(), "x");
    }
}
