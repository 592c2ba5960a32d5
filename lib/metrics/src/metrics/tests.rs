use super::*;

const SOURCE: &str = r#""source":{"namespace":"shop","pod_name":"web-1","labels":["k8s:app=web"]}"#;
const TO_CART: &str = r#""destination":{"namespace":"shop","pod_name":"cart-1","labels":["k8s:app=cart"]}"#;

fn record(flow: &str) -> Record {
    serde_json::from_str(&format!(r#"{{"flow":{{{flow}}}}}"#)).unwrap()
}

fn metrics(configs: &[&str]) -> Metrics {
    let configs: Vec<Config> = configs.iter().map(|config| config.parse().unwrap()).collect();
    Config::check(&configs).unwrap();
    Metrics::new(configs, 1000)
}

/// The samples of one name, in the form of Prometheus.
fn samples(metrics: &Metrics, name: &str) -> Vec<String> {
    let text = metrics.text(Form::Prometheus).unwrap();
    text.lines().filter(|line| line.starts_with(&format!("{name}{{"))).map(str::to_owned).collect()
}

#[test]
fn dns_is_counted_by_question_and_answer() {
    let mut metrics = metrics(&["dns:query;ignoreAAAA"]);
    let dns = |more: &str, types: &str| {
        record(&format!(
            r#""verdict":"FORWARDED",{more},"l7":{{"dns":{{"query":"db.","qtypes":["{types}"],"rcode":3,"ips":["1.1.1.1"],"rrtypes":["A","CNAME"]}}}}"#
        ))
    };
    metrics.count(&dns(r#""is_reply":false"#, "A"));
    metrics.count(&dns(r#""is_reply":true"#, "A"));
    metrics.count(&dns(r#""is_reply":true"#, "AAAA"));
    assert_eq!(
        samples(&metrics, "hubble_dns_queries_total"),
        [r#"hubble_dns_queries_total{rcode="",qtypes="A",ips_returned="1",query="db."} 1"#]
    );
    assert_eq!(
        samples(&metrics, "hubble_dns_responses_total"),
        [r#"hubble_dns_responses_total{rcode="Non-Existent Domain",qtypes="A",ips_returned="1",query="db."} 1"#]
    );
    assert_eq!(samples(&metrics, "hubble_dns_response_types_total").len(), 2);
}

#[test]
fn drops_flags_ports_and_icmp_are_counted() {
    let mut metrics = metrics(&["drop:sourceContext=pod", "tcp", "port-distribution", "icmp", "flow"]);
    let tcp = |flags: &str, verdict: &str, more: &str| {
        record(&format!(
            r#""verdict":"{verdict}","IP":{{"ipVersion":"IPv4"}},{SOURCE},"event_type":{{"type":4,"sub_type":0}},"l4":{{"TCP":{{"destination_port":80,"flags":{{{flags}}}}}}}{more}"#
        ))
    };
    metrics.count(&tcp(r#""SYN":true"#, "FORWARDED", r#","is_reply":false"#));
    metrics.count(&tcp(r#""SYN":true,"ACK":true"#, "FORWARDED", r#","is_reply":true"#));
    metrics.count(&tcp(r#""FIN":true,"ACK":true"#, "FORWARDED", ""));
    metrics.count(&tcp(r#""SYN":true"#, "DROPPED", r#","drop_reason_desc":"POLICY_DENIED""#));
    metrics.count(&record(r#""verdict":"FORWARDED","l4":{"ICMPv6":{"type":128}},"is_reply":false"#));
    assert_eq!(
        samples(&metrics, "hubble_tcp_flags_total"),
        [
            r#"hubble_tcp_flags_total{flag="FIN",family="IPv4"} 1"#,
            r#"hubble_tcp_flags_total{flag="SYN",family="IPv4"} 1"#,
            r#"hubble_tcp_flags_total{flag="SYN-ACK",family="IPv4"} 1"#,
        ]
    );
    assert_eq!(
        samples(&metrics, "hubble_port_distribution_total"),
        [
            r#"hubble_port_distribution_total{protocol="ICMPv6",port="0"} 1"#,
            r#"hubble_port_distribution_total{protocol="TCP",port="80"} 1"#,
        ]
    );
    assert_eq!(
        samples(&metrics, "hubble_drop_total"),
        [r#"hubble_drop_total{source="shop/web-1",reason="POLICY_DENIED",protocol="TCP"} 1"#]
    );
    assert_eq!(samples(&metrics, "hubble_icmp_total"), [r#"hubble_icmp_total{family="IPv6",type="EchoRequest"} 1"#]);
    let flows = samples(&metrics, "hubble_flows_processed_total");
    let forwarded =
        r#"hubble_flows_processed_total{protocol="TCP",type="Trace",subtype="to-endpoint",verdict="FORWARDED"} 3"#;
    assert!(flows.iter().any(|sample| sample == forwarded), "{flows:?}");
}

const RESPONSE: &str = r#""verdict":"FORWARDED","traffic_direction":"INGRESS","is_reply":true,"event_type":{"type":129},"l7":{"type":"RESPONSE","latency_ns":"2000000","http":{"code":503,"method":"GET","protocol":"HTTP/1.1","headers":[{"key":"Traceparent","value":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}]}}"#;

#[test]
fn http_is_counted_as_either_generation_counts_it() {
    let request = RESPONSE.replace("RESPONSE", "REQUEST").replace(r#""is_reply":true"#, r#""is_reply":false"#);
    let mut first = metrics(&["http"]);
    first.count(&record(&request));
    first.count(&record(RESPONSE));
    assert_eq!(
        samples(&first, "hubble_http_requests_total"),
        [r#"hubble_http_requests_total{method="GET",protocol="HTTP/1.1",reporter="server"} 1"#]
    );
    assert_eq!(
        samples(&first, "hubble_http_responses_total"),
        [r#"hubble_http_responses_total{method="GET",protocol="HTTP/1.1",status="503",reporter="server"} 1"#]
    );
    let buckets = samples(&first, "hubble_http_request_duration_seconds_bucket");
    assert!(buckets.iter().any(|line| line.contains(r#"{le="0.0025","#) && line.ends_with(" 1")), "{buckets:?}");
    assert!(buckets.iter().any(|line| line.contains(r#"{le="0.001","#) && line.ends_with(" 0")), "{buckets:?}");

    let mut second = metrics(&["httpV2:exemplars=true;sourceContext=pod;destinationContext=pod"]);
    second.count(&record(&request));
    second.count(&record(&format!("{RESPONSE},{SOURCE},{TO_CART}")));
    // The one who asked is the source, though it is the response that tells.
    let expected = r#"hubble_http_requests_total{source="shop/cart-1",destination="shop/web-1",method="GET",protocol="HTTP/1.1",status="503",reporter="server"} 1"#;
    assert_eq!(samples(&second, "hubble_http_requests_total"), [expected]);
    let text = second.text(Form::OpenMetrics).unwrap();
    let exemplars: Vec<&str> =
        text.lines().filter(|line| line.contains("traceID=\"4bf92f3577b34da6a3ce929d0e0e4736\"")).collect();
    assert_eq!(exemplars.len(), 2, "{text}");
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn bytes_are_counted_once_though_counters_are_told_again_and_again() {
    let mut metrics = metrics(&["chainkit:sourceContext=pod-name"]);
    let told = |event: &str, reply: bool, tx: u64, rx: u64| {
        let (ip, l4) = if reply {
            (r#""source":"10.0.0.2","destination":"10.0.0.1""#, r#""source_port":80,"destination_port":4000"#)
        } else {
            (r#""source":"10.0.0.1","destination":"10.0.0.2""#, r#""source_port":4000,"destination_port":80"#)
        };
        let ends = if reply {
            format!(
                "{},{}",
                SOURCE.replace("\"source\"", "\"destination\""),
                TO_CART.replace("\"destination\"", "\"source\"")
            )
        } else {
            format!("{SOURCE},{TO_CART}")
        };
        record(&format!(
            r#""is_reply":{reply},"traffic_direction":"EGRESS","interface":{{"index":7}},"IP":{{{ip}}},"l4":{{"TCP":{{{l4}}}}},{ends},"extensions":{{"@type":"type.googleapis.com/google.protobuf.Struct","value":{{"event":"{event}","connection":{{"tx_packets":1,"tx_bytes":{tx},"rx_packets":1,"rx_bytes":{rx},"first_seen":"2026-11-23T00:00:00Z","rtt_ns":2000000}}}}}}"#
        ))
    };
    metrics.count(&told("first", false, 100, 0));
    metrics.count(&told("active", true, 150, 900));
    // Late: it stood behind the one above.
    metrics.count(&told("flags", false, 120, 900));
    metrics.count(&told("close", false, 200, 1000));
    assert_eq!(
        samples(&metrics, "chainkit_bytes_total"),
        [
            r#"chainkit_bytes_total{source="web-1",reporter="client",direction="received"} 1000"#,
            r#"chainkit_bytes_total{source="web-1",reporter="client",direction="sent"} 200"#,
        ]
    );
    assert_eq!(
        samples(&metrics, "chainkit_tcp_handshake_seconds_count"),
        [r#"chainkit_tcp_handshake_seconds_count{source="web-1",reporter="client"} 1"#]
    );
    assert_eq!(metrics.connections.len(), 0);
}

#[test]
fn policy_is_counted_by_the_rule_that_decided() {
    let mut metrics = metrics(&["chainkit", "policy"]);
    metrics.count(&record(
        r#""verdict":"DROPPED","traffic_direction":"INGRESS","ingress_denied_by":[{"name":"deny","namespace":"shop","kind":"NetworkPolicy"}],"extensions":{"@type":"type.googleapis.com/google.protobuf.Struct","value":{"event":"denied","count":5,"decided_by":{"direction":"ingress","action":"isolated","tier":"NetworkPolicy"}}}"#,
    ));
    assert_eq!(
        samples(&metrics, "chainkit_policy_decisions_total"),
        [
            r#"chainkit_policy_decisions_total{policy_kind="NetworkPolicy",policy_namespace="shop",policy="deny",rule="",tier="NetworkPolicy",direction="ingress",action="isolated",verdict="dropped"} 5"#
        ]
    );
    assert_eq!(
        samples(&metrics, "hubble_policy_verdicts_total"),
        [r#"hubble_policy_verdicts_total{direction="ingress",match="none",action="dropped"} 1"#]
    );
}

#[test]
fn losses_are_counted_where_they_happened() {
    let mut metrics = metrics(&[]);
    let lost = r#"{"lost_events":{"source":"HUBBLE_RING_BUFFER","num_events_lost":"7"}}"#;
    metrics.count(&serde_json::from_str(lost).unwrap());
    assert_eq!(
        samples(&metrics, "hubble_lost_events_total"),
        [r#"hubble_lost_events_total{source="HUBBLE_RING_BUFFER"} 7"#]
    );
}

#[test]
fn names_from_outside_stay_within_their_quotes() {
    let mut metrics = metrics(&["flow:sourceContext=pod-name"]);
    metrics.count(&record(r#""source":{"pod_name":"a\"} 1\n# x\\"}"#));
    let text = metrics.text(Form::Prometheus).unwrap();
    let flows: Vec<&str> = text.lines().filter(|line| line.contains("hubble_flows")).collect();
    assert_eq!(flows.len(), 3, "{text}");
    assert!(flows[2].contains(r#"source="a\"} 1\n# x\\""#), "{}", flows[2]);
}

#[test]
fn the_number_of_samples_stays_within_its_limit_and_says_what_it_left_out() {
    let configs = vec!["flow:sourceContext=ip".parse().unwrap()];
    let mut metrics = Metrics::new(configs, 10);
    for number in 0..100 {
        metrics.count(&record(&format!(r#""IP":{{"source":"10.0.0.{number}"}}"#)));
    }
    let flows = samples(&metrics, "hubble_flows_processed_total");
    assert_eq!(flows.len(), 11);
    assert!(flows[10].contains(r#"source="__overflow__""#) && flows[10].ends_with(" 90"), "{flows:?}");
    let text = metrics.text(Form::Prometheus).unwrap();
    assert!(text.contains("\nchainkit_metrics_samples 10\n"), "{text}");
    assert!(text.contains(r#"chainkit_metrics_overflowed_total{metric="hubble_flows_processed"} 90"#), "{text}");
}
