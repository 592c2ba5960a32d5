use proptest::prelude::*;

use super::*;

fn flow() -> Flow {
    serde_json::from_str(
        r#"{"verdict":"DROPPED","drop_reason_desc":"POLICY_DENIED","is_reply":false,"node_name":"n1",
        "IP":{"source":"10.0.0.1","destination":"10.0.0.2","ipVersion":"IPv4"},
        "l4":{"TCP":{"source_port":40000,"destination_port":80,"flags":{"SYN":true}}},
        "source":{"namespace":"shop","pod_name":"web-1","labels":["k8s:app=web"],"identity":4711,
            "workloads":[{"name":"web","kind":"Deployment"}]},
        "l7":{"type":"RESPONSE","latency_ns":"7000000","http":{"code":503,"method":"GET","url":"/x",
            "headers":[{"key":"Server","value":"x"}]}},
        "event_type":{"type":1,"sub_type":133},"traffic_direction":"EGRESS",
        "egress_denied_by":[{"name":"deny","namespace":"shop"}],
        "trace_context":{"parent":{"trace_id":"abc"}},
        "extensions":{"@type":"type.googleapis.com/google.protobuf.Struct","value":{"event":"denied","count":7,
            "reason":"policy","connection":{"state":"established","tx_bytes":5000000000,"rtt_ns":2000000},
            "decided_by":{"direction":"egress","action":"isolated","tier":"NetworkPolicy"},
            "l7":{"protocol":"grpc","grpc":{"service":"shop.Cart","status":14}}}}}"#,
    )
    .unwrap()
}

fn holds(text: &str) -> bool {
    Expression::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).holds(&flow())
}

#[test]
fn fields_are_named_and_typed_as_in_the_protobuf_definition() {
    for yes in [
        "_flow.verdict == Verdict.DROPPED",
        "_flow.verdict == flow.Verdict.DROPPED && _flow.verdict == 2",
        "_flow.verdict in [Verdict.DROPPED, Verdict.AUDIT]",
        "_flow.drop_reason_desc == DropReason.POLICY_DENIED",
        "_flow.traffic_direction == TrafficDirection.EGRESS",
        "_flow.l7.type == L7FlowType.RESPONSE",
        "_flow.source.namespace == 'shop' && _flow.source.pod_name.startsWith('web')",
        "_flow.source.labels.exists(label, label == 'k8s:app=web')",
        "'k8s:app=web' in _flow.source.labels",
        "_flow.source.labels[0].contains('web')",
        "_flow.source.workloads.exists(w, w.kind == 'Deployment' && w.name == 'web')",
        "_flow.l7.http.headers.exists(h, h.key == 'Server')",
        "_flow.egress_denied_by.all(policy, policy.namespace == 'shop')",
        "_flow.l4.TCP.destination_port == 80u",
        "_flow.l4.TCP.destination_port == 80",
        "_flow.l4.TCP.destination_port > 79u && _flow.l4.TCP.flags.SYN && !_flow.l4.TCP.flags.ACK",
        "_flow.l7.http.code >= 500u && _flow.l7.latency_ns > 5000000u",
        "_flow.l7.http.url.matches('^/[xy]$')",
        "_flow.IP.source == '10.0.0.1' && _flow.IP.ipVersion == IPVersion.IPv4",
        "_flow.event_type.type == 1 && _flow.event_type.sub_type == 133",
        "_flow.is_reply == false && !_flow.reply",
        "_flow.trace_context.parent.trace_id == 'abc'",
        "has(_flow.l7.http) && !has(_flow.l7.dns) && has(_flow.source) && !has(_flow.destination)",
        "has(_flow.source.namespace) && !has(_flow.source.cluster_name)",
        "_flow.destination.pod_name == '' && _flow.l7.dns.query == '' && size(_flow.destination.labels) == 0",
        "_flow.source.identity == 4711u ? true : false",
        "_flow.extensions.value.event == 'denied' && _flow.extensions.value.count == 7",
        "_flow.extensions.value.connection.tx_bytes > 1000000000u && _flow.extensions.value.connection.rtt_ns == 2000000u",
        "_flow.extensions.value.l7.grpc.status == 14 && _flow.extensions.value.l7.grpc.service.startsWith('shop.')",
        "_flow.extensions.value.l7.stream == 0 && _flow.extensions.value.l7.grpc.status > 0u && _flow.extensions.value.decided_by.action == 'isolated'",
        "has(_flow.extensions.value.l7.grpc) && !has(_flow.extensions.value.l7.tls) && has(_flow.extensions)",
        "true || _flow.destination.labels[0] == 'x'",
    ] {
        assert!(holds(yes), "{yes}");
    }
    for no in [
        "_flow.verdict == Verdict.FORWARDED",
        "_flow.destination.labels[0] == 'x'",
        "_flow.destination.labels.exists(label, true)",
        "_flow.l4.UDP.destination_port == 80u",
        "false",
    ] {
        assert!(!holds(no), "{no}");
    }
}

#[test]
fn an_unset_reply_is_null() {
    let unset = Flow::default();
    assert!(Expression::parse("_flow.is_reply == null").unwrap().holds(&unset));
    assert!(!Expression::parse("_flow.is_reply == false").unwrap().holds(&unset));
}

#[test]
fn what_is_wrong_with_an_expression_is_said_with_its_place() {
    for (text, message) in [
        ("_flow.verdict ==", "at column "),
        ("", "at column "),
        ("_flow.source.podname == 'x'", "at column 13: there is no field \"podname\" in _flow.source"),
        ("_flow.l7.smtp.x == 1", "at column 14: there is no field \"smtp\" in _flow.l7"),
        ("_flow.source == _flow.destination", "at column 6: _flow.source is a message: name one of its fields"),
        ("size(_flow) > 0", "at column 6: _flow is a message"),
        ("_flow.verdict == Verdict.ALLOWED", "at column 25: there is no ALLOWED in the enum Verdict"),
        ("_flow.verdict == 'DROPPED'", "at column 15: _flow.verdict never has a value of that type: it is an enum"),
        ("_flow.source.namespace == 7", "at column 24: _flow.source.namespace never has"),
        ("verdict == 1", "at column 1: there is no variable \"verdict\""),
        (
            "_flow.extensions.value.nothing == 1",
            "at column 23: there is no field \"nothing\" in _flow.extensions.value",
        ),
        ("_flow.extensions == 1", "at column 6: _flow.extensions is a message: name one of its fields"),
        (
            "_flow.extensions.value.event == 1",
            "at column 30: _flow.extensions.value.event never has a value of that type",
        ),
        ("_flow.time > 1", "at column 6: _flow.time cannot be asked for here: use --since"),
        ("_flow.verdict", "it is no condition: its type is int, not bool"),
        ("_flow.source.namespace > 7", "found no matching overload"),
        ("_flow.source.namespace.shout()", "Undeclared reference to 'shout'"),
        ("[1].all(a, [1].all(b, [1].all(c, true)))", "at column 30: more than 2 macros within one another"),
        ("Flow{verdict: 1} == 1", "at column 5: Flow cannot be made here"),
    ] {
        let error = Expression::parse(text).unwrap_err();
        assert!(error.starts_with(message), "{text}: {error}");
    }
    assert!(Expression::parse(&"true && ".repeat(600)).unwrap_err().starts_with("it is longer"));
}

#[test]
fn deep_expressions_are_an_error_and_not_the_end_of_the_stack() {
    for deep in [
        format!("{}true{}", "(".repeat(2000), ")".repeat(2000)),
        format!("{}true", "!".repeat(4000)),
        format!("{}1 == 1", "1+".repeat(2000)),
        format!("{}1 == -1", "-".repeat(4000)),
        format!("{}1{} == 1", "[".repeat(1900), "]".repeat(1900)),
        format!("_flow{} == 1", ".a".repeat(2000)),
        format!("{}true{}", "true?(".repeat(500), "):false".repeat(150)),
        format!("{}true", "true&&".repeat(680)),
        format!("{}1 > 1", "1+".repeat(29)),
        format!("{}1{} == 1", "[".repeat(30), "]".repeat(30)),
        format!("{}true{}", "(".repeat(128), ")".repeat(128)),
    ] {
        // Some are no more than long: what counts is that it returns.
        if let Ok(expression) = Expression::parse(&deep) {
            expression.holds(&flow());
        }
    }
}

#[test]
fn what_an_evaluation_goes_through_is_bounded() {
    let mut flow = flow();
    let mut source = (*flow.source.clone().unwrap()).clone();
    source.labels = (0..2000).map(|number| format!("k8s:l{number}=x")).collect();
    flow.source = Some(source.into());
    let once = Expression::parse("_flow.source.labels.all(a, a.endsWith('x'))").unwrap();
    assert!(once.holds(&flow));
    let squared = Expression::parse("_flow.source.labels.all(a, _flow.source.labels.exists(b, a == b))").unwrap();
    assert!(!squared.holds(&flow), "four million steps are not taken");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(_flow|Verdict|[a-z.()=<>!&|?:'\\[\\]{}0-9u, é\"-]){0,24}") {
        if let Ok(expression) = Expression::parse(&text) {
            expression.holds(&flow());
        }
    }
}
