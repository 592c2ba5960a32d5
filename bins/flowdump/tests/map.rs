//! `flowdump map`: saved lines through the real program.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failure shows its line")]

mod common;

/// A connection from shop/web to shop/db that has ended, as the pod at one of its ends tells it.
fn closed(by_client: bool) -> String {
    let (point, direction) = if by_client { ("FROM", "EGRESS") } else { ("TO", "INGRESS") };
    let (tx, rx) = if by_client { (1000, 9000) } else { (9000, 1000) };
    let end = |name: &str| {
        format!(r#"{{"namespace":"shop","pod_name":"{name}-1","workloads":[{{"name":"{name}","kind":"Deployment"}}]}}"#)
    };
    format!(
        r#"{{"flow":{{"time":"2026-11-23T00:00:05Z","verdict":"FORWARDED","IP":{{"source":"10.0.0.1","destination":"10.0.0.2"}},"l4":{{"TCP":{{"source_port":40000,"destination_port":5432}}}},"source":{},"destination":{},"is_reply":false,"traffic_direction":"{direction}","trace_observation_point":"{point}_ENDPOINT","extensions":{{"@type":"type.googleapis.com/google.protobuf.Struct","value":{{"event":"close","connection":{{"opened":"pod","state":"closed","tx_packets":5,"tx_bytes":{tx},"rx_packets":5,"rx_bytes":{rx},"first_seen":"2026-11-23T00:00:01Z"}}}}}}}}}}
"#,
        end("web"),
        end("db")
    )
}

/// What a map prints.
fn shown(arguments: &[&str], input: &str) -> String {
    common::shown(&[&["map"], arguments].concat(), input)
}

#[test]
fn lines_of_two_nodes_are_one_edge_and_count_once() {
    let both = closed(true) + &closed(false);
    let lines = shown(&["-r", "-", "-j"], &both);
    let edge: serde_json::Value = serde_json::from_str(&lines).unwrap();
    assert_eq!((&edge["src"], &edge["dst"], &edge["port"]), (&"shop/web".into(), &"shop/db".into(), &5432.into()));
    assert_eq!((&edge["flows"], &edge["connections"]), (&2.into(), &1.into()));
    assert_eq!((&edge["bytes_to"], &edge["bytes_from"]), (&1000.into(), &9000.into()));
    assert!(edge.get("time").is_none());
    let table = shown(&["-r", "-", "--by", "pod"], &both);
    assert!(table.starts_with("SOURCE ") && table.lines().count() == 2, "{table}");
    assert!(table.contains("shop/web-1") && table.contains("8.8 KiB"), "{table}");
}

#[test]
fn filters_choose_as_without_a_map_and_flags_belong_behind_the_command() {
    assert_eq!(shown(&["-r", "-", "-j", "--to-port", "80"], &closed(true)), "");
    let before = common::flowdump(&["--pod", "x", "map"], "");
    assert_eq!(before.status.code(), Some(2));
    assert!(String::from_utf8(before.stderr).unwrap().contains("--pod stands before map"));
    let gone = common::flowdump(&["map", "-r", "/no/such/file"], "");
    assert_eq!((gone.status.code(), gone.stdout.as_slice()), (Some(2), &b""[..]));
}

#[test]
fn in_a_pipe_a_map_that_is_watched_is_lines_with_their_time() {
    let lines = shown(&["-r", "-", "-w", "-j"], &closed(true));
    let edge: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert!(edge["time"].is_string() && edge["rate"].is_number(), "{edge}");
}

#[test]
fn drawings_and_the_page_have_the_names() {
    assert!(shown(&["-r", "-", "-o", "dot"], &closed(true)).contains("[label=\"shop/web\"]"));
    assert!(shown(&["-r", "-", "-o", "mermaid"], &closed(true)).contains("[\"shop/web\"]"));
    let page = shown(&["-r", "-", "-o", "html"], &closed(true));
    assert!(
        page.starts_with("<!doctype html>") && page.contains("\"name\":\"shop/web\"") && page.contains("\"recent\":[{")
    );
}
