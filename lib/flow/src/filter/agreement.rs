//! The filter against a second reading of its flags, which looks at the JSON of a flow and knows nothing of this crate's
//! types, messages or patterns.

use proptest::prelude::{Just, ProptestConfig, Strategy, prop_assert_eq, prop_compose, proptest};
use serde_json::{Value, json};

use super::*;

/// One of a flow's forms: what an end is, and what the flow is otherwise. Numbers choose.
fn end(choice: u8) -> Value {
    match choice {
        0 => {
            json!({"namespace":"shop","pod_name":"web-1","identity":4711,"cluster_name":"east","labels":["k8s:app=web"],
                    "workloads":[{"name":"web","kind":"Deployment"}]})
        }
        1 => {
            json!({"namespace":"default","pod_name":"db-0","workloads":[{"name":"db","kind":"StatefulSet"},{"name":"web"}]})
        }
        2 => json!({"identity":2,"labels":["reserved:world"]}),
        _ => json!({"cluster_name":"west"}),
    }
}

fn layer7(choice: u8) -> (Value, Value) {
    let dns = json!({"query":"db.shop.svc.","qtypes":["A"]});
    match choice {
        0 => (json!({"type":"REQUEST","dns":dns}), json!({"protocol":"dns"})),
        1 => (json!({"type":"RESPONSE","latency_ns":"10000000","dns":dns}), Value::Null),
        2 => (
            json!({"type":"RESPONSE","latency_ns":"2000000","http":{"code":503,"method":"GET","url":"http://cart/items/7?x=/q",
                   "headers":[{"key":"X-Id","value":"7"},{"key":"server","value":"x"}]}}),
            Value::Null,
        ),
        3 => (
            json!({"type":"REQUEST","http":{"method":"post","url":"/shop.Cart/Get","headers":[]}}),
            json!({"protocol":"grpc","grpc":{"service":"shop.Cart","method":"Get"}}),
        ),
        4 => (json!({"type":"REQUEST"}), json!({"protocol":"quic","tls":{"sni":"API.example.com"}})),
        _ => (Value::Null, Value::Null),
    }
}

prop_compose! {
    fn saved_flow()(
        ends in (0u8..4, 0u8..4),
        l7 in 0u8..7,
        places in (0usize..3, 0usize..3, 0usize..3, 0usize..3, 0usize..3),
        numbers in (0usize..4, 0usize..3, 0usize..3, 0usize..3, 0usize..4),
    ) -> Value {
        let (l7, extra) = layer7(l7);
        let (node, interface, names, service, by) = places;
        let (verdict, event, reply, trace, bytes) = numbers;
        let mut flow = json!({
            "verdict": (["FORWARDED", "DROPPED", "AUDIT", "ERROR"][verdict]),
            "uuid": format!("u{trace}"),
            "source": end(ends.0), "destination": end(ends.1),
            "node_name": (["", "k8s1", "east/k8s2"][node]),
            "node_labels": ([["zone=a", "gpu"], ["zone=b", "x"], ["", ""]][node]),
            "interface": ([json!({"index":7,"name":"eni1"}), json!({"name":"lo"}), Value::Null][interface]),
            "source_names": ([vec!["api.example.com"], vec!["Example.com.", "x"], vec![]][names]),
            "destination_names": ([vec![], vec!["api.example.com"], vec!["x"]][names]),
            "destination_service": ([json!({"name":"db","namespace":"shop"}), json!({"name":"dns"}), Value::Null][service]),
            "event_type": ([json!({"type":4,"sub_type":5}), json!({"type":1,"sub_type":133}), json!({"type":129})][event]),
            "drop_reason_desc": (["DROP_REASON_UNKNOWN", "POLICY_DENIED", "DROP_REASON_UNKNOWN"][event]),
            "is_reply": ([Value::Null, json!(true), json!(false)][reply]),
            "trace_context": ([Value::Null, json!({"parent":{"trace_id":"t1"}}), json!({"parent":{}})][trace]),
            "ip_trace_id": ([Value::Null, json!({"trace_id":"9"}), json!({"traceId":8})][trace]),
            "IP": ([json!({"source":"10.0.0.1","destination":"10.0.0.2","ipVersion":"IPv4","source_xlated":"192.0.2.7"}),
                   json!({"source":"10.0.0.2","destination":"10.0.0.1","ipVersion":"IPv4","encrypted":true}),
                   Value::Null][interface]),
            "l4": ([json!({"TCP":{"source_port":40000,"destination_port":80}}), json!({"UDP":{"source_port":53,"destination_port":80}}),
                   Value::Null][interface]),
            "l7": l7,
        });
        let policy = [json!([{"name":"deny","namespace":"shop"}]), json!([{"name":"deny"}]), json!([])][by].clone();
        let field = ["egress_allowed_by", "ingress_allowed_by", "egress_denied_by", "ingress_denied_by"][verdict];
        flow[field] = policy;
        let connection = [Value::Null, json!({"tx_bytes":600,"rx_bytes":500}), json!({"tx_bytes":1,"rx_bytes":1}), Value::Null];
        if bytes < 3 || !extra.is_null() {
            flow["extensions"] = json!({"@type":"type.googleapis.com/google.protobuf.Struct",
                "value":{"event":"first","bytes":1100 * bytes,"connection":connection[bytes],"l7":extra}});
        }
        flow
    }
}

/// Flags with values that often match.
const FLAGS: &[(FilterFlag, &[&str])] = &[
    (FilterFlag::Pod, &["shop/web", "db", "/x"]),
    (FilterFlag::FromPod, &["shop/", "db-0"]),
    (FilterFlag::Service, &["shop/d", "dns", "/d"]),
    (FilterFlag::ToService, &["shop/", "db"]),
    (FilterFlag::FromService, &["shop/db"]),
    (FilterFlag::Workload, &["web", "Deployment/", "StatefulSet/db", "Deployment/db"]),
    (FilterFlag::FromWorkload, &["web"]),
    (FilterFlag::ToWorkload, &["StatefulSet/db"]),
    (FilterFlag::Identity, &["world", "4711", "host"]),
    (FilterFlag::FromIdentity, &["2"]),
    (FilterFlag::ToIdentity, &["4711"]),
    (FilterFlag::Cluster, &["east", "*st", "w*"]),
    (FilterFlag::FromCluster, &["east"]),
    (FilterFlag::ToCluster, &["*"]),
    (FilterFlag::Fqdn, &["api.example.com", "*.example.com", "*example.com"]),
    (FilterFlag::FromFqdn, &["EXAMPLE.com"]),
    (FilterFlag::ToFqdn, &["*.example.com.", "x"]),
    (FilterFlag::Ip, &["10.0.0.1"]),
    (FilterFlag::SnatIp, &["192.0.2.0/24", "10.0.0.1"]),
    (FilterFlag::Port, &["80", "53"]),
    (FilterFlag::Protocol, &["tcp", "dns", "http", "grpc", "tls", "quic", "kafka"]),
    (FilterFlag::IpVersion, &["4", "none"]),
    (FilterFlag::Encrypted, &[""]),
    (FilterFlag::Unencrypted, &[""]),
    (FilterFlag::Type, &["trace", "drop:POLICY_DENIED", "129", "trace:to-endpoint", "4:5", "0"]),
    (FilterFlag::Verdict, &["DROPPED", "FORWARDED"]),
    (FilterFlag::DropReason, &["POLICY_DENIED", "drop_reason_unknown"]),
    (FilterFlag::Policy, &["shop/deny", "deny", "/deny", "shop/", "shop/other"]),
    (FilterFlag::Reply, &["true", "false"]),
    (FilterFlag::Interface, &["eni1", "eni"]),
    (FilterFlag::NodeName, &["k8s*", "east/", "default/*", "k8s1"]),
    (FilterFlag::NodeLabel, &["zone=a", "gpu", "!gpu"]),
    (FilterFlag::Uuid, &["u1", "u"]),
    (FilterFlag::TraceId, &["t1", "t2"]),
    (FilterFlag::IpTraceId, &["9", "8"]),
    (FilterFlag::HttpStatus, &["503", "5+", "50+", "404"]),
    (FilterFlag::HttpMethod, &["get", "POST"]),
    (FilterFlag::HttpPath, &["^/items/[0-9]$", "q", "Cart"]),
    (FilterFlag::HttpUrl, &["^http://cart/", "q$"]),
    (FilterFlag::HttpHeader, &["x-id:7", "x-id:8", "Server:", ":x"]),
    (FilterFlag::DnsQuery, &["^db[.]", "cart"]),
    (FilterFlag::Sni, &["api.example.com", "*.example.org", "*"]),
    (FilterFlag::Latency, &["5ms", "<5ms", ">10ms", "<=10ms", ">1ms,<10ms"]),
    (FilterFlag::MinBytes, &["1100", "1kB", "2KiB", "0"]),
    (FilterFlag::CelExpression, &["_flow.l7.http.code == 503u", "has(_flow.IP) && _flow.IP.source == '10.0.0.1'"]),
];

fn flag() -> impl Strategy<Value = (bool, FilterFlag, &'static str)> {
    (proptest::bool::ANY, proptest::sample::select(FLAGS))
        .prop_flat_map(|(negated, (flag, values))| (Just(negated), Just(flag), proptest::sample::select(values)))
}

/// Text at a path, or empty.
fn text<'a>(flow: &'a Value, path: &str) -> &'a str {
    flow.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(flow: &'a Value, path: &str) -> &'a [Value] {
    flow.pointer(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A number that may be written as text.
fn number(flow: &Value, path: &str) -> u64 {
    let value = flow.pointer(path);
    value.and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok())).unwrap_or_default()
}

/// `NAMESPACE/PREFIX` against a namespace and a name.
fn named(wanted: &str, namespace: &str, name: &str) -> bool {
    let (in_namespace, prefix) = wanted.split_once('/').unwrap_or(("default", wanted));
    (!namespace.is_empty() || !name.is_empty())
        && (in_namespace.is_empty() || in_namespace == namespace)
        && name.starts_with(prefix)
}

/// A name with at most one star, at its begin or its end.
fn starred(pattern: &str, name: &str) -> bool {
    let plain = |text: &str| text.trim_end_matches('.').to_lowercase();
    let (pattern, name) = (plain(pattern), plain(name));
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(end), _) => name.ends_with(end),
        (_, Some(begin)) => name.starts_with(begin),
        _ => name == pattern,
    }
}

/// Whether one value of a flag holds, at one end where it is about an end.
fn holds(flow: &Value, flag: FilterFlag, value: &str, end: &str) -> bool {
    let of_end = |field: &str| format!("/{end}/{field}");
    let l7 = "/extensions/value/l7";
    let name = flag.name();
    match name.strip_prefix("from-").or_else(|| name.strip_prefix("to-")).unwrap_or(name) {
        "pod" => named(value, text(flow, &of_end("namespace")), text(flow, &of_end("pod_name"))),
        "service" => {
            let service = format!("/{end}_service");
            named(value, text(flow, &format!("{service}/namespace")), text(flow, &format!("{service}/name")))
        }
        "workload" => {
            let (kind, name) = value.split_once('/').unwrap_or(("", value));
            list(flow, &of_end("workloads")).iter().any(|workload| {
                (kind.is_empty() || text(workload, "/kind") == kind)
                    && (name.is_empty() || text(workload, "/name") == name)
            })
        }
        "identity" => {
            let wanted = match value {
                "host" => 1,
                "world" => 2,
                other => other.parse().unwrap(),
            };
            number(flow, &of_end("identity")) == wanted
        }
        "cluster" => {
            let cluster = text(flow, &of_end("cluster_name"));
            !cluster.is_empty() && starred(value, cluster)
        }
        "fqdn" => list(flow, &format!("/{end}_names")).iter().any(|name| starred(value, name.as_str().unwrap())),
        "ip" => text(flow, &format!("/IP/{end}")) == value,
        "snat-ip" => value.contains('/') && text(flow, "/IP/source_xlated") == "192.0.2.7",
        "port" => ["TCP", "UDP"].iter().any(|form| {
            let path = format!("/l4/{form}/{end}_port");
            flow.pointer(&path).is_some() && number(flow, &path).to_string() == value
        }),
        "protocol" => match value {
            "tcp" => flow.pointer("/l4/TCP").is_some(),
            "dns" | "http" | "kafka" => flow.pointer(&format!("/l7/{value}")).is_some(),
            "quic" => text(flow, &format!("{l7}/protocol")) == "quic",
            form => flow.pointer(&format!("{l7}/{form}")).is_some(),
        },
        "ip-version" => (value == "none") == flow["IP"].is_null(),
        "encrypted" => flow["IP"]["encrypted"] == true,
        "unencrypted" => !flow["IP"].is_null() && flow["IP"]["encrypted"] != true,
        "type" => {
            let event = (number(flow, "/event_type/type"), number(flow, "/event_type/sub_type"));
            match value {
                "trace" => event.0 == 4,
                "drop:POLICY_DENIED" => event == (1, 133),
                "129" => event.0 == 129,
                "trace:to-endpoint" => event == (4, 0),
                "4:5" => event == (4, 5),
                _ => true,
            }
        }
        "verdict" => text(flow, "/verdict") == value,
        "drop-reason-desc" => text(flow, "/drop_reason_desc") == value.to_uppercase(),
        "policy" => ["egress_allowed_by", "ingress_allowed_by", "egress_denied_by", "ingress_denied_by"]
            .iter()
            .flat_map(|field| list(flow, &format!("/{field}")))
            .any(|policy| {
                let (namespace, name) = (text(policy, "/namespace"), text(policy, "/name"));
                match value {
                    "shop/" => namespace == "shop",
                    "deny" => name == "deny",
                    _ => format!("{namespace}/{name}") == value,
                }
            }),
        "reply" => match &flow["is_reply"] {
            Value::Bool(reply) => reply.to_string() == value,
            _ => text(flow, "/verdict") == "DROPPED" && value == "false",
        },
        "interface" => text(flow, "/interface/name") == value,
        "node-name" => match value {
            "k8s*" => !text(flow, "/node_name").is_empty(),
            "east/" => text(flow, "/node_name") == "east/k8s2",
            _ => text(flow, "/node_name") == "k8s1",
        },
        "node-label" => {
            let labels: Vec<&str> = list(flow, "/node_labels").iter().filter_map(Value::as_str).collect();
            match value.strip_prefix('!') {
                Some(missing) => !labels.contains(&missing),
                None => labels.contains(&value),
            }
        }
        "uuid" => text(flow, "/uuid") == value,
        "trace-id" => text(flow, "/trace_context/parent/trace_id") == value,
        "ip-trace-id" => {
            let id = number(flow, "/ip_trace_id/trace_id") + number(flow, "/ip_trace_id/traceId");
            id.to_string() == value
        }
        "http-status" => {
            let code = number(flow, "/l7/http/code");
            code != 0 && code.to_string().starts_with(value.trim_end_matches('+'))
        }
        "http-method" => text(flow, "/l7/http/method").to_uppercase() == value.to_uppercase(),
        "http-path" => match text(flow, "/l7/http/url") {
            "http://cart/items/7?x=/q" => value == "^/items/[0-9]$",
            "/shop.Cart/Get" => value == "Cart",
            _ => false,
        },
        "http-url" => text(flow, "/l7/http/url").starts_with("http://cart/"),
        "http-header" => list(flow, "/l7/http/headers").iter().any(|header| {
            let (name, wanted) = value.split_once(':').unwrap();
            (name.is_empty() || text(header, "/key").to_lowercase() == name.to_lowercase())
                && (wanted.is_empty() || text(header, "/value") == wanted)
        }),
        "dns-query" => value == "^db[.]" && flow.pointer("/l7/dns").is_some(),
        "sni" => {
            let sni = text(flow, &format!("{l7}/tls/sni"));
            !sni.is_empty() && starred(value, sni)
        }
        "latency" => {
            let ms = number(flow, "/l7/latency_ns") / 1_000_000;
            ms != 0
                && match value {
                    "5ms" => ms >= 5,
                    "<5ms" => ms < 5,
                    ">10ms" => ms > 10,
                    "<=10ms" => ms <= 10,
                    _ => ms > 1 && ms < 10,
                }
        }
        "min-bytes" => {
            let connection = "/extensions/value/connection";
            let bytes = match flow.pointer(connection) {
                Some(Value::Object(_)) => {
                    number(flow, &format!("{connection}/tx_bytes")) + number(flow, &format!("{connection}/rx_bytes"))
                }
                _ => number(flow, "/extensions/value/bytes"),
            };
            let least = match value {
                "1kB" => 1000,
                "2KiB" => 2048,
                other => other.parse().unwrap(),
            };
            flow.get("extensions").is_some() && bytes >= least
        }
        "cel-expression" if value.contains("http") => number(flow, "/l7/http/code") == 503,
        "cel-expression" => text(flow, "/IP/source") == "10.0.0.1",
        other => panic!("{other}"),
    }
}

/// Whether all flags hold: of each any of its values, a bare one all at one end.
fn all_hold(flow: &Value, flags: &[(FilterFlag, &str)]) -> bool {
    flags.iter().all(|(flag, _)| {
        let ends: &[&str] = match flag.name() {
            name if name.starts_with("from-") => &["source"],
            name if name.starts_with("to-") => &["destination"],
            _ => &["source", "destination"],
        };
        // All values of a bare flag are about the end that is chosen for it, so that any of them at any end will do.
        let same = || flags.iter().filter(|(other, _)| other == flag);
        ends.iter().any(|end| same().any(|(flag, value)| holds(flow, *flag, value, end)))
            || pair(*flag).is_some_and(|pair| {
                flags.iter().any(|(other, _)| *other == pair)
                    && flags
                        .iter()
                        .filter(|(other, _)| *other == pair)
                        .any(|(flag, value)| holds(flow, *flag, value, ""))
            })
    })
}

/// Two flags of one criterion: either will do.
fn pair(flag: FilterFlag) -> Option<FilterFlag> {
    match flag {
        FilterFlag::Encrypted => Some(FilterFlag::Unencrypted),
        FilterFlag::Unencrypted => Some(FilterFlag::Encrypted),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_filter_agrees_with_a_plain_reading_of_every_flag(
        flags in proptest::collection::vec(flag(), 0..4),
        saved in saved_flow(),
    ) {
        let mut builder = FilterBuilder::default();
        for (negated, flag, value) in &flags {
            if builder.add(*negated, *flag, value).is_err() {
                return Ok(());
            }
        }
        // HTTP beside a type that cannot be of HTTP is refused.
        let Ok(filter) = builder.build() else { return Ok(()) };
        let flow: Flow = serde_json::from_value(saved.clone()).unwrap();
        let of = |wanted: bool| -> Vec<(FilterFlag, &str)> {
            flags.iter().filter(|flag| flag.0 == wanted).map(|(_, flag, value)| (*flag, *value)).collect()
        };
        let (allow, deny) = (of(false), of(true));
        let expected =
            (allow.is_empty() || all_hold(&saved, &allow)) && (deny.is_empty() || !all_hold(&saved, &deny));
        prop_assert_eq!(filter.matches(&flow), expected, "{:?}\n{}", flags, saved);

        // What is printed of it, read as lists, is the same filter.
        let raw = filter.raw().unwrap();
        let mut again = FilterBuilder::default();
        let mut deny = false;
        for line in raw.lines() {
            match line.strip_prefix("    - '").and_then(|rest| rest.strip_suffix('\'')) {
                Some(json) => again.add_list(deny, &json.replace("''", "'")).unwrap(),
                None => deny = line == "denylist:",
            }
        }
        prop_assert_eq!(again.build().unwrap(), filter);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_single_flag_is_read_alike(saved in saved_flow()) {
        let flow: Flow = serde_json::from_value(saved.clone()).unwrap();
        for (flag, values) in FLAGS {
            for value in *values {
                let mut builder = FilterBuilder::default();
                builder.add(false, *flag, value).unwrap();
                let shown = builder.build().unwrap().matches(&flow);
                prop_assert_eq!(shown, all_hold(&saved, &[(*flag, value)]), "--{} {}\n{}", flag.name(), value, saved);
            }
        }
    }
}

#[test]
fn every_flag_is_among_those_that_are_held_against_a_plain_reading() {
    // These are in the tests of live events; --all-namespaces is for its effect on pods, in both.
    let elsewhere =
        ["to-pod", "namespace", "label", "from-ip", "to-ip", "from-port", "to-port", "tcp-flags", "traffic-direction"];
    for flag in FilterFlag::ALL {
        let name = flag.name();
        let held = FLAGS.iter().any(|(known, _)| known == flag);
        assert!(
            held || elsewhere.iter().any(|known| name.ends_with(known)) || name.contains("all-namespaces"),
            "{name}"
        );
    }
}
