//! How much of an input is taken before it is refused, and that what is refused is told.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a failure shows its line")]

use chainkit_cluster::Reader;
use chainkit_cluster::model::Cluster;

fn read(text: &str) -> Cluster {
    let mut reader = Reader::default();
    reader.text("in.yaml", text);
    reader.finish()
}

fn told(cluster: &Cluster) -> Vec<String> {
    cluster.problems.iter().map(ToString::to_string).collect()
}

fn names(cluster: &Cluster) -> Vec<&str> {
    cluster.workloads.iter().map(|workload| workload.name.as_str()).collect()
}

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\n";

#[test]
fn a_collection_in_brackets_longer_than_any_object_is_refused_and_the_next_document_read() {
    for unit in ["x, ", "'', ", "{a: b}, ", "? a, "] {
        let long = unit.repeat(3 << 20);
        let cluster = read(&format!("kind: Pod\nmetadata: {{name: long}}\na: [{long}]\n---\n{POD}"));
        assert_eq!(names(&cluster), ["web"], "{unit}");
        let told = told(&cluster);
        assert!(told.len() == 1 && told[0].contains("document 1"), "{unit}: {told:?}");
        // Whichever limit it meets first.
        let words = ["a collection in brackets, of more than 2 MiB", "an object of more than 2000000 values"];
        assert!(words.iter().any(|words| told[0].contains(words)), "{unit}: {told:?}");
    }
}

#[test]
fn a_collection_in_brackets_as_long_as_an_object_may_be_is_read() {
    let values: String = (0..100_000).map(|n| format!("a{n}, ")).collect();
    let policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: x}\n";
    let spec =
        format!("spec: {{podSelector: {{matchExpressions: [{{key: app, operator: In, values: [{values}]}}]}}}}\n");
    let cluster = read(&format!("{policy}{spec}"));
    assert_eq!(told(&cluster), Vec::<String>::new());
    let selector = cluster.network_policies[0].value.spec.as_ref().unwrap().pod_selector.as_ref().unwrap();
    let values = selector.match_expressions.as_ref().unwrap()[0].values.as_ref().unwrap();
    assert_eq!((values.len(), values.last().map(String::as_str)), (100_000, Some("a99999")));
}

#[test]
fn a_text_longer_than_any_object_is_refused_and_a_comment_is_no_matter() {
    let long = "x".repeat(5 << 20);
    let lines = "  x\n".repeat(2 << 20);
    for text in [
        format!("long: {long}"),
        format!("long: \"{long}\""),
        format!("long: |\n  {long}"),
        format!("long: >\n{lines}"),
    ] {
        let cluster = read(&format!("{POD}{text}\n---\n{POD}"));
        let told = told(&cluster);
        assert_eq!((names(&cluster), told.len()), (vec!["web"], 1), "{told:?}");
        assert!(told[0].contains("document 1: a text, or a collection in brackets, of more than 2 MiB"), "{told:?}");
    }
    let cluster = read(&format!("{POD}# {long}\n"));
    assert_eq!((names(&cluster), told(&cluster)), (vec!["web"], vec![]));
}

#[test]
fn an_object_in_json_of_too_many_values_is_refused_and_its_neighbours_read() {
    let pod = |name: &str, more: &str| format!(r#"{{"kind":"Pod","metadata":{{"name":"{name}"}}{more}}}"#);
    let numbers = format!(r#","a":[0{}]"#, ",0".repeat(2_000_000));
    let text = format!(r#","a":"{}""#, ",[{".repeat(2_000_000));
    let list = format!(
        "{{\"kind\":\"List\",\"items\":[{},\n{},\n{},{}]}}",
        pod("one", ""),
        pod("many", &numbers),
        pod("text", &text),
        pod("two", "")
    );
    let cluster = read(&list);
    assert_eq!(names(&cluster), ["one", "text", "two"], "commas within a text are no values");
    let told_of = told(&cluster);
    assert!(
        told_of.len() == 1 && told_of[0].contains("items[1]: an object of more than 2000000 values"),
        "{told_of:?}"
    );
    assert_eq!(cluster.problems[0].line, 2);

    let alone = read(&pod("many", &numbers));
    assert_eq!((names(&alone).len(), told(&alone).len()), (0, 1), "{:?}", told(&alone));
}

#[test]
fn items_of_a_list_that_tells_its_kind_last_are_read() {
    let items = "items:\n- {metadata: {name: a}}\n- {metadata: {name: b}}\n";
    for (text, expected) in [
        (format!("apiVersion: v1\n{items}kind: PodList\n"), &["a", "b"][..]),
        (format!("apiVersion: v1\n{items}kind: 'PodList'\n"), &["a", "b"]),
        (format!("apiVersion: v1\n{items}kind: !!str PodList\n"), &["a", "b"]),
        (format!("{items}kind: PodList\napiVersion: v1\n"), &["a", "b"]),
        (format!("{items}- {{kind: Service, apiVersion: v1, metadata: {{name: c}}}}\nkind: PodList\n"), &["a", "b"]),
        // Lines that only look like fields of the whole.
        (format!("{items}note: |\n kind: PodList\nkind: SecretList\napiVersion: v1\n"), &[]),
        (format!("{{\n{items}}}\n"), &[]),
    ] {
        assert_eq!(names(&read(&text)), expected, "{text}");
    }
}

#[test]
fn items_that_wait_for_their_kind_are_bounded() {
    let values = "0,".repeat(300_000);
    let item = |name: &str| format!("- metadata: {{name: {name}}}\n  a: [{values}]\n");
    let items: String = ["a", "b", "c", "d", "e", "f", "g", "h"].iter().map(|name| item(name)).collect();
    let cluster = read(&format!("apiVersion: v1\nitems:\n{items}kind: !!str PodList\n"));
    assert_eq!(names(&cluster), ["a", "b", "c", "d", "e", "f"]);
    let told = told(&cluster);
    assert!(
        told.len() == 2 && told[0].contains("items[6].kind") && told[0].contains("write its kind first"),
        "{told:?}"
    );
}

#[test]
fn names_longer_than_a_server_takes_are_refused_and_told_in_short() {
    let pod = |name: &str, namespace: &str| {
        format!("---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}}}\n")
    };
    let (name, namespace) = ("n".repeat(253), "s".repeat(63));
    let text = [
        pod(&name, &namespace),
        pod(&format!("{name}x"), &namespace),
        pod(&name, &format!("{namespace}x")),
        pod(&"n".repeat(1 << 20), "a"),
    ]
    .concat();
    let cluster = read(&text);
    assert_eq!(names(&cluster), [name.as_str()]);
    let told = told(&cluster);
    assert_eq!(told.len(), 3, "{told:?}");
    for (told, words) in told.iter().zip([
        "metadata.name: 254 characters: a server takes 253",
        "metadata.namespace: 64 characters: a server takes 63",
        "metadata.name: 1048576 characters: a server takes 253",
    ]) {
        assert!(told.contains(words) && told.len() < 1000, "{told}");
    }
}
