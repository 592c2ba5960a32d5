use chainkit_flow::parse;

use super::*;

fn by(names: &[&str]) -> Vec<By> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn record(line: &str) -> Record {
    parse(line.as_bytes()).unwrap().unwrap()
}

/// A packet of web-1 to db-0, or its reply, with the bytes that web-1 has sent and received by then.
fn told(reply: bool, port: u16, (tx, rx): (u64, u64)) -> Record {
    let (from, to) = if reply { (5432, port) } else { (port, 5432) };
    let (source, destination) = if reply { ("db-0", "web-1") } else { ("web-1", "db-0") };
    let (a, b) = if reply { ("10.0.0.2", "10.0.0.1") } else { ("10.0.0.1", "10.0.0.2") };
    let point = if reply { "TO" } else { "FROM" };
    record(&format!(
        r#"{{"flow":{{"time":"2026-11-23T00:00:0{}Z","verdict":"FORWARDED","IP":{{"source":"{a}","destination":"{b}"}},"l4":{{"TCP":{{"source_port":{from},"destination_port":{to}}}}},"source":{{"namespace":"shop","pod_name":"{source}"}},"destination":{{"namespace":"shop","pod_name":"{destination}"}},"is_reply":{reply},"trace_observation_point":"{point}_ENDPOINT","extensions":{{"@type":"type.googleapis.com/google.protobuf.Struct","value":{{"event":"active","connection":{{"opened":"pod","state":"established","tx_packets":2,"tx_bytes":{tx},"rx_packets":1,"rx_bytes":{rx},"first_seen":"2026-11-23T00:00:01Z"}}}}}}}}}}"#,
        port % 10
    ))
}

#[test]
fn flows_are_folded_by_what_they_have_in_common() {
    let mut aggregates = Aggregates::new(by(&["client_pod", "server_pod", "server_port"]), 10, None);
    aggregates.take(&told(false, 40001, (100, 0)));
    aggregates.take(&told(true, 40001, (100, 900)));
    aggregates.take(&told(false, 40002, (50, 0)));
    let folded = aggregates.fold();
    let [group] = folded.as_slice() else { panic!("{folded:?}") };
    let json = serde_json::to_value(group).unwrap();
    assert_eq!(
        json["by"],
        serde_json::json!({"client_pod": "shop/web-1", "server_pod": "shop/db-0", "server_port": 5432})
    );
    assert_eq!((group.flows, group.connections), (3, Some(2)));
    assert_eq!(
        (group.bytes, group.bytes_to, group.bytes_from, group.packets),
        (Some(1050), Some(150), Some(900), Some(6))
    );
    assert_eq!((&json["first"], &json["last"]), (&"2026-11-23T00:00:01Z".into(), &"2026-11-23T00:00:02Z".into()));
    assert!(json.get("others").is_none() && json.get("time").is_none(), "{json}");
    // What was folded is not folded again; what comes after is only what is more.
    assert!(aggregates.is_empty());
    aggregates.take(&told(false, 40001, (170, 900)));
    assert_eq!(aggregates.fold()[0].bytes, Some(70));
}

#[test]
fn source_and_destination_are_those_of_the_flow() {
    let mut aggregates = Aggregates::new(by(&["source_pod", "is_reply"]), 10, None);
    aggregates.take(&told(false, 40001, (100, 0)));
    aggregates.take(&told(true, 40001, (100, 900)));
    let values: Vec<String> = aggregates
        .fold()
        .iter()
        .map(|group| group.by.iter().map(|(_, value)| value.to_string()).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(values, ["shop/db-0 true", "shop/web-1 false"]);
}

#[test]
fn what_is_not_told_is_null_and_what_finds_no_room_is_one_that_says_so() {
    let mut aggregates = Aggregates::new(by(&["destination_port", "dns_query", "policy"]), 2, None);
    for port in [53, 80, 443, 8080] {
        aggregates.take(&record(&format!(
            r#"{{"flow":{{"verdict":"DROPPED","l4":{{"UDP":{{"source_port":1,"destination_port":{port}}}}},"ingress_denied_by":[{{"name":"db","namespace":"shop","kind":"NetworkPolicy"}}]}}}}"#
        )));
    }
    let folded = aggregates.fold();
    assert_eq!(folded.len(), 3);
    let first = serde_json::to_value(&folded[0]).unwrap();
    assert_eq!(
        first["by"],
        serde_json::json!({"destination_port": 53, "dns_query": null, "policy": "NetworkPolicy shop/db"})
    );
    assert_eq!((&first["bytes"], &first["denied"]), (&serde_json::Value::Null, &1.into()));
    let others = serde_json::to_value(&folded[2]).unwrap();
    assert_eq!((&others["others"], &others["flows"], &others["by"]), (&true.into(), &2.into(), &serde_json::json!({})));
}
