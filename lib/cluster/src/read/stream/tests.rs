use proptest::prelude::*;

use super::*;
use crate::Reader;
use crate::model::Cluster;

/// A watch event of a pod of namespace `shop`, printed as `kubectl` does or on one line.
fn event(kind: &str, name: &str, address: &str, pretty: bool) -> String {
    let event = serde_json::json!({
        "type": kind,
        "object": {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "shop", "labels": {"curly": "}{"}},
            "status": {"podIP": address},
        },
    });
    let text = if pretty { serde_json::to_string_pretty(&event) } else { serde_json::to_string(&event) };
    format!("{}\n", text.unwrap())
}

/// What a stream says that comes in pieces of `piece` bytes: `+NAME@LINE`, `-NAME`, `listed`, or a problem.
fn said_in_pieces(bytes: &[u8], piece: usize) -> Vec<String> {
    let mut told = Vec::new();
    let mut hear = |said: Said| {
        told.push(match said {
            Said::Set { object, .. } => format!("+{}@{}", object.name(), object.origin().line),
            Said::Remove(name) => format!("-{name}"),
            Said::Listed => "listed".to_owned(),
            Said::Problem { problem, .. } => problem.to_string(),
            Said::Unknown(kind) => format!("?{kind}"),
        });
    };
    let mut stream = Stream::new("pods");
    for bytes in bytes.chunks(piece) {
        stream.feed(bytes, &mut hear);
    }
    stream.end(&mut hear);
    told
}

fn said(text: &str) -> Vec<String> {
    said_in_pieces(text.as_bytes(), text.len().max(1))
}

fn read(text: &str) -> Cluster {
    let mut reader = Reader::default();
    reader.text("pods", text);
    reader.finish()
}

#[test]
fn events_set_and_remove_whether_in_a_stream_or_in_a_saved_file() {
    for pretty in [false, true] {
        let text = [
            event("ADDED", "a", "10.0.0.1", pretty),
            event("ADDED", "b", "10.0.0.2", pretty),
            event("MODIFIED", "a", "10.0.0.3", pretty),
            event("DELETED", "b", "10.0.0.2", pretty),
            event("ADDED", "a", "10.0.0.4", pretty),
        ]
        .concat();
        let signs: Vec<String> = said(&text).iter().map(|said| said.split('@').next().unwrap().to_owned()).collect();
        assert_eq!(signs, ["+Pod/shop/a", "+Pod/shop/b", "+Pod/shop/a", "-Pod/shop/b", "+Pod/shop/a"]);
        let cluster = read(&text);
        assert_eq!(cluster.problems, []);
        let pods: Vec<_> = cluster.workloads.iter().map(|pod| (pod.name.as_str(), pod.addresses[0])).collect();
        assert_eq!(pods, [("a", "10.0.0.4".parse().unwrap())]);
    }
}

#[test]
fn events_need_nothing_between_them() {
    let text = [event("ADDED", "a", "10.0.0.1", false), event("ADDED", "b", "10.0.0.2", true)].concat();
    let told = said(&text.replace("}\n{", "}{"));
    assert_eq!(told, ["+Pod/shop/a@1", "+Pod/shop/b@2"]);
}

#[test]
fn a_bookmark_counts_for_nothing_and_may_end_the_list() {
    let bookmark = |annotations: &str| {
        format!(
            r#"{{"type":"BOOKMARK","object":{{"kind":"Pod","apiVersion":"v1","metadata":{{"resourceVersion":"7"{annotations}}}}}}}"#
        )
    };
    assert_eq!(said(&bookmark("")), Vec::<String>::new());
    assert_eq!(said(&bookmark(r#","annotations":{"k8s.io/initial-events-end":"true"}"#)), ["listed"]);
    assert_eq!(said(&bookmark(r#","annotations":{"k8s.io/initial-events-end":"no"}"#)), Vec::<String>::new());
    assert_eq!(read(&bookmark("")).problems, []);
}

#[test]
fn an_error_of_the_server_is_told_by_code_and_message() {
    let text = r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired",
        "message":"too old resource version: 1 (9)","code":410}}"#;
    assert_eq!(
        said(text),
        [
            "pods:1: document 1: the server broke the watch off: 410: Expired: too old resource version: 1 (9): what it gave \
          so far stays"
        ]
    );
}

#[test]
fn plain_objects_and_lists_stand_in_a_stream_too_and_another_event_is_told() {
    let text = r#"{"kind":"PodList","apiVersion":"v1","items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"}}]}
{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"shop"}}
{"kind":"Secret","apiVersion":"v1","metadata":{"name":"x"}}
{"type":"RENAMED","object":{}}
"#;
    assert_eq!(
        said(text),
        [
            "+Pod/default/a@1",
            "+Pod/default/b@1",
            "+Namespace/shop@2",
            "?v1 Secret",
            "pods:4: document 4: type: \"RENAMED\" is no watch event",
        ]
    );
    let yaml = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\nkind: Namespace\nmetadata: {name: b}\n";
    assert_eq!(said(yaml), ["+Namespace/a@1", "+Namespace/b@5"]);
}

#[test]
fn a_torn_document_takes_nothing_with_it_but_itself() {
    let (a, b) = (event("ADDED", "a", "10.0.0.1", true), event("ADDED", "b", "10.0.0.2", true));
    let lines = a.lines().count();
    for cut in 1..a.len() - 1 {
        // Its writer died, and the next one begins on a line of its own.
        let text = format!("{}\n{b}", a.get(..cut).unwrap());
        let told = said(&text);
        assert!(told.last().unwrap().starts_with("+Pod/shop/b@"), "{cut}: {told:?}");
        assert!(told.len() == 2 && told[0].starts_with("pods:1: document 1: "), "{cut}: {told:?}");
        let cluster = read(&text);
        assert_eq!((cluster.workloads.len(), cluster.problems.len()), (1, 1), "{cut}: {:?}", cluster.problems);
    }
    // The end of one whose beginning nobody read, and what has no business there.
    for cut in 1..lines {
        let rest: String = a.lines().skip(cut).map(|line| format!("{line}\n")).collect();
        let told = said(&format!("{b}{rest}Warning: v1 is old\n{b}"));
        let sound = |said: &String| said.starts_with("+Pod/shop/b@");
        assert!(told.len() == 3 && sound(&told[0]) && sound(&told[2]), "{cut}: {told:?}");
        assert!(told[1].contains("begins no document"), "{cut}: {told:?}");
    }
}

#[test]
fn a_stream_that_ends_in_a_document_tells_so_and_begins_anew() {
    let a = event("ADDED", "a", "10.0.0.1", false);
    let mut stream = Stream::new("pods");
    let mut told = Vec::new();
    let mut hear = |said: Said| told.push(matches!(said, Said::Set { .. }));
    stream.feed(a.get(..40).unwrap().as_bytes(), &mut hear);
    stream.end(&mut hear);
    stream.feed(a.as_bytes(), &mut hear);
    assert_eq!(told, [false, true]);
}

#[test]
fn a_document_past_the_limit_is_passed_over_and_held_nowhere() {
    let mut stream = Stream::new("pods");
    let mut told = Vec::new();
    let mut hear = |said: Said| match said {
        Said::Problem { problem, .. } => told.push(problem.reason),
        other => told.push(format!("{other:?}").chars().take(3).collect()),
    };
    stream.feed(b"{\"kind\":\"Pod\",\"x\":\"", &mut hear);
    let filling = vec![b'x'; 1 << 20];
    for _ in 0..=MAX_DOCUMENT_BYTES >> 20 {
        stream.feed(&filling, &mut hear);
    }
    stream.feed(b"\"}\n", &mut hear);
    stream.feed(event("ADDED", "a", "10.0.0.1", true).as_bytes(), &mut hear);
    assert_eq!(told, ["longer than 64 MiB: passed over up to the next line that begins with {", "Set"]);
}

/// Pieces of streams, whole and not.
fn fragment() -> impl Strategy<Value = String> {
    prop_oneof![
        (0..3usize, any::<bool>()).prop_map(|(name, pretty)| event("ADDED", ["a", "b", "c"][name], "10.0.0.1", pretty)),
        (0..3usize, 0..200usize).prop_map(|(name, cut)| {
            let event = event("MODIFIED", ["a", "b", "c"][name], "10.0.0.1", true);
            event.chars().take(cut).collect()
        }),
        Just("---\nkind: Namespace\nmetadata: {name: a}\n".to_owned()),
        Just("---\n".to_owned()),
        Just("Warning: {\n".to_owned()),
        Just("\u{feff}".to_owned()),
        Just("[{\"kind\":\"Pod\",\n{\n".to_owned()),
        "[{}\\[\\]\"\\\\\\n a:-]{0,12}",
    ]
}

proptest! {
    #[test]
    fn how_the_bytes_are_cut_up_makes_no_difference(
        fragments in proptest::collection::vec(fragment(), 0..8),
        piece in 1usize..50,
        mangled in proptest::option::of((any::<usize>(), any::<u8>())),
    ) {
        let mut bytes = fragments.concat().into_bytes();
        if let Some((at, byte)) = mangled.filter(|_| !bytes.is_empty()) {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let whole = said_in_pieces(&bytes, bytes.len().max(1));
        prop_assert_eq!(said_in_pieces(&bytes, piece), whole.clone());
        prop_assert_eq!(said_in_pieces(&bytes, 1), whole);
        // A file is bounded likewise, whatever is in it.
        read(&String::from_utf8_lossy(&bytes));
    }
}
