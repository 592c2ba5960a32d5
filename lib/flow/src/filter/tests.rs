use chainkit_abi::{filter_bit, protocol_bit, side};

use super::*;
use crate::model::Record;

/// Parses words as the command line would: `--not --pod shop/web -4`.
fn filter(words: &str) -> Result<Filter, FilterError> {
    let mut builder = FilterBuilder::default();
    let mut words = words.split_whitespace();
    let mut negated = false;
    while let Some(word) = words.next() {
        let (flag, value) = match word {
            "--not" => {
                negated = true;
                continue;
            }
            "-4" => (FilterFlag::IpVersion, "4"),
            "-6" => (FilterFlag::IpVersion, "6"),
            "-A" => (FilterFlag::AllNamespaces, ""),
            name => {
                let flag = FilterFlag::ALL.iter().find(|flag| name.strip_prefix("--") == Some(flag.name()));
                (*flag.unwrap_or_else(|| panic!("no such flag: {name}")), words.next().unwrap())
            }
        };
        builder.add(std::mem::take(&mut negated), flag, value)?;
    }
    builder.build()
}

fn flow(json: &str) -> Flow {
    let record: Record = serde_json::from_str(&format!("{{\"flow\":{json}}}")).unwrap();
    record.flow.unwrap()
}

/// shop/web-1 (10.0.0.1:40000) to default/db-0 (10.0.0.2:5432).
fn web_to_db() -> Flow {
    flow(
        r#"{"verdict":"FORWARDED","IP":{"source":"10.0.0.1","destination":"10.0.0.2","ipVersion":"IPv4"},
        "l4":{"TCP":{"source_port":40000,"destination_port":5432,"flags":{"SYN":true,"ACK":true}}},
        "source":{"namespace":"shop","pod_name":"web-1","labels":["k8s:app=web"]},
        "destination":{"namespace":"default","pod_name":"db-0","labels":["k8s:app=db"]},
        "traffic_direction":"EGRESS"}"#,
    )
}

fn shows(words: &str, flow: &Flow) -> bool {
    filter(words).unwrap_or_else(|error| panic!("{words}: {error}")).matches(flow)
}

#[test]
fn repeated_flags_take_any_value_and_different_flags_must_all_hold() {
    let flow = web_to_db();
    for yes in [
        "",
        "--verdict DROPPED --verdict forwarded",
        "--verdict FORWARDED --protocol TCP",
        "--to-port 5432 --from-ip 10.0.0.0/24",
        "--from-pod shop/web --to-pod db",
        "--traffic-direction egress",
        "--tcp-flags syn,ack",
        "--tcp-flags rst --tcp-flags SYN",
        "-4",
        "-6 -4",
        "--to-port 5000-6000",
    ] {
        assert!(shows(yes, &flow), "{yes}");
    }
    for no in [
        "--verdict DROPPED",
        "--verdict FORWARDED --protocol udp",
        "--from-port 5432",
        "--to-ip 10.0.0.1",
        "--from-pod web",
        "--traffic-direction INGRESS",
        "--tcp-flags syn,rst",
        "-6",
        "--protocol icmp",
        "--to-port 5000-5431",
    ] {
        assert!(!shows(no, &flow), "{no}");
    }
}

#[test]
fn each_bare_flag_asks_for_either_end() {
    let flow = web_to_db();
    for yes in [
        "--ip 10.0.0.1",
        "--ip 10.0.0.2",
        "--port 5432",
        "--port 40000",
        "--pod shop/web",
        "--pod db",
        "--label app=db",
        "--namespace shop",
        "--namespace default",
        "--ip 10.0.0.2 --port 5432",
        "--ip 10.0.0.1 --port 5432",
        "--pod shop/web --port 5432",
        "--pod shop/web --label app=db",
        "--pod shop/web --to-port 5432",
        "--namespace shop --pod web",
        "--namespace other --namespace shop --pod web",
        "-A --pod web",
        "--pod /web",
        "--pod shop/",
    ] {
        assert!(shows(yes, &flow), "{yes}");
    }
    for no in [
        "--ip 10.0.0.3",
        "--ip 10.0.0.3 --port 5432",
        "--ip 10.0.0.1 --port 5433",
        "--namespace default --pod web",
        "--namespace shop --to-port 80",
        "-A --pod xweb",
    ] {
        assert!(!shows(no, &flow), "{no}");
    }
}

#[test]
fn not_leaves_out_what_all_negated_flags_hold_for() {
    let flow = web_to_db();
    assert!(!shows("--not --pod shop/web", &flow));
    assert!(!shows("--not --pod other/x --not --pod shop/web", &flow), "any of the repeated");
    assert!(shows("--not --pod shop/web --not --protocol udp", &flow), "both would have to hold");
    assert!(!shows("--not --pod shop/web --not --protocol tcp", &flow));
    assert!(!shows("--ip 10.0.0.1 --not --verdict FORWARDED", &flow));
    assert!(shows("--ip 10.0.0.1 --not --verdict DROPPED", &flow));
    assert!(!shows("--not -4", &flow));
}

#[test]
fn flows_without_ports_addresses_or_pods_match_no_filter_of_them() {
    let bare = flow(r#"{"verdict":"FORWARDED"}"#);
    for no in ["--port 0", "--ip 0.0.0.0/0", "--pod /x", "--namespace x", "-A", "--label x", "--protocol tcp", "-4"] {
        assert!(!shows(no, &bare), "{no}");
    }
    assert!(shows("--label !x", &bare));
    let icmp = flow(r#"{"l4":{"ICMPv6":{"type":128}}}"#);
    assert!(shows("--protocol icmp", &icmp) && shows("--protocol icmpv6", &icmp) && !shows("--protocol icmpv4", &icmp));
    assert!(!shows("--port 0", &icmp));
}

#[test]
fn a_bad_value_is_an_error_that_names_flag_and_value() {
    for (words, message) in [
        ("--ip 10.0.0.256", "invalid value \"10.0.0.256\" for --ip: expected an IP address or CIDR"),
        ("--from-ip 10.0.0.0/33", "invalid value \"10.0.0.0/33\" for --from-ip: expected an IP address or CIDR"),
        ("--port http", "invalid value \"http\" for --port: expected a port"),
        ("--port 65536", "invalid value \"65536\" for --port: expected a port"),
        ("--port +80", "invalid value \"+80\" for --port: expected a port"),
        ("--port 9-8", "invalid value \"9-8\" for --port: the range ends before it begins"),
        ("--protocol ip", "invalid value \"ip\" for --protocol: expected tcp"),
        ("--verdict ALLOWED", "invalid value \"ALLOWED\" for --verdict: expected FORWARDED"),
        ("--traffic-direction up", "invalid value \"up\" for --traffic-direction: expected ingress or egress"),
        ("--tcp-flags syn,x", "invalid value \"syn,x\" for --tcp-flags: unknown flag \"x\""),
        ("--ip-version 5", "invalid value \"5\" for --ip-version: expected 4, 6 or none"),
        ("--label a>b", "invalid value \"a>b\" for --label: \"b\" after > is no integer"),
        ("--pod a/b/c", "invalid value \"a/b/c\" for --pod: expected [NAMESPACE/]NAME"),
        ("--namespace a/b", "invalid value \"a/b\" for --namespace: expected the name of a namespace"),
        ("--pod a --from-pod b", "--pod and --from-pod cannot be combined"),
        ("--to-port 1 --port 2", "--to-port and --port cannot be combined"),
        ("--namespace a --pod b/c", "--pod b/c lies outside of --namespace a"),
        ("--to-namespace a --to-pod b/c", "--to-pod b/c lies outside of --to-namespace a"),
        ("--namespace a --service b/c", "--service b/c lies outside of --namespace a"),
        ("--namespace a --from-service b", "--namespace and --from-service cannot be combined"),
        ("--from-all-namespaces x", "invalid value \"x\" for --from-all-namespaces"),
        ("--identity web", "invalid value \"web\" for --identity: expected a number, or one of host, world"),
        ("--fqdn a/b", "invalid value \"a/b\" for --fqdn: '/' cannot be in a name"),
        ("--workload /", "invalid value \"/\" for --workload: expected NAME, KIND/NAME"),
        ("--type agent", "invalid value \"agent\" for --type: expected a number, or one of drop"),
        (
            "--type trace:up",
            "invalid value \"trace:up\" for --type: unknown sub-type \"up\": use a number, or one of to-",
        ),
        ("--type drop:x", "invalid value \"drop:x\" for --type: unknown sub-type \"x\": use a drop reason"),
        ("--drop-reason-desc x", "invalid value \"x\" for --drop-reason-desc: expected a reason as flows have it"),
        ("--reply maybe", "invalid value \"maybe\" for --reply: expected true or false"),
        ("--ip-trace-id 0", "invalid value \"0\" for --ip-trace-id: expected a number above 0"),
        ("--http-status 6+", "invalid value \"6+\" for --http-status: expected a status such as 404"),
        ("--http-path (", "invalid value \"(\" for --http-path: unclosed group"),
        ("--http-header x", "invalid value \"x\" for --http-header: expected NAME:VALUE"),
        ("--dns-query [", "invalid value \"[\" for --dns-query: unclosed character class"),
        ("--latency 10", "invalid value \"10\" for --latency: expected a duration such as 10ms"),
        ("--min-bytes 1TB", "invalid value \"1TB\" for --min-bytes: unknown unit \"TB\""),
        ("--policy a/b/c", "invalid value \"a/b/c\" for --policy: expected NAMESPACE/NAME"),
        (
            "--cel-expression _flow.x",
            "invalid value \"_flow.x\" for --cel-expression: at column 6: there is no field \"x\"",
        ),
        (
            "--http-status 5+ --type trace",
            "these filters cannot be combined: what is asked of HTTP only flows of type l7",
        ),
    ] {
        let error = filter(words).unwrap_err().to_string();
        assert!(error.starts_with(message), "{words}: {error}");
    }
    assert!(filter("--pod a --not --from-pod b").is_ok(), "what is negated is a filter of its own");
}

#[test]
fn what_the_kernel_can_decide_goes_into_its_filter() {
    let kernel = |words: &str| filter(words).unwrap().kernel_filter(false, |_| None);
    assert_eq!(kernel("").flags, 0);
    assert_eq!(filter("").unwrap().kernel_filter(true, |_| None).flags, filter_bit::PER_PACKET);
    let drops = kernel("--verdict DROPPED --protocol tcp -4");
    assert_eq!(drops.flags, filter_bit::VERDICTS | filter_bit::PROTOCOLS);
    assert_eq!((drops.verdicts, drops.protocols), (1 << 2, protocol_bit::TCP | protocol_bit::IPV4));

    let host = kernel("--ip 10.0.0.1 --port 80");
    assert_eq!(host.flags, filter_bit::PREFIXES | filter_bit::PORTS);
    let mut address = [0; 16];
    address[..4].copy_from_slice(&[10, 0, 0, 1]);
    assert_eq!(host.prefixes[0], chainkit_abi::PrefixMatch::new(address, 4, 32, side::ANY));
    assert_eq!(host.prefixes[1].family, 0);
    assert_eq!(host.ports[0], chainkit_abi::PortMatch { port: 80, side: side::ANY, pad: 0 });
    assert_eq!(kernel("--to-port 80").ports[0].side, side::DESTINATION);

    assert_eq!(kernel("--not --verdict DROPPED").flags, 0, "what is negated is left out");
    assert_eq!(kernel("--port 1-13").flags, 0, "more ports than fit");
    assert_eq!(kernel("--port 1-12").flags, filter_bit::PORTS);
    let many: String = (0..9).map(|n| format!("--ip 10.0.{n}.0/24 ")).collect();
    assert_eq!(kernel(&many).flags, 0, "more prefixes than fit");
}

#[test]
fn endpoints_go_into_the_kernels_filter_where_both_ends_are_asked_for() {
    let slots = |pattern: &PodPattern| {
        let mut set = [0; 64];
        set[0] = if pattern.matches("shop", "web") { 0b10 } else { 0b100 };
        Some(set)
    };
    let both = filter("--from-pod shop/web --to-pod shop/db").unwrap().kernel_filter(false, slots);
    assert_eq!((both.flags, both.endpoints[0]), (filter_bit::ENDPOINTS, 0b110));
    // A flow of the pod is also seen at the other end of it.
    assert_eq!(filter("--pod shop/web").unwrap().kernel_filter(false, slots).flags, 0);
    assert_eq!(filter("--from-pod shop/web").unwrap().kernel_filter(false, slots).flags, 0);
}

#[test]
fn a_namespace_goes_with_pods_and_services_and_means_all_pods_without() {
    let raw = |words: &str| {
        let raw = filter(words).unwrap_or_else(|error| panic!("{words}: {error}")).raw().unwrap();
        let messages: Vec<String> = raw
            .lines()
            .filter_map(|line| Some(line.strip_prefix("    - '")?.strip_suffix('\'')?.replace('"', "")))
            .collect();
        messages.join(" ")
    };
    for (words, messages) in [
        ("--namespace shop", "{source_pod:[shop/]} {destination_pod:[shop/]}"),
        ("--namespace shop --service db", "{source_service:[shop/db]} {destination_service:[shop/db]}"),
        ("--from-namespace a --from-namespace b --from-pod x", "{source_pod:[a/x,b/x]}"),
        ("-A --service db", "{source_service:[/db]} {destination_service:[/db]}"),
        ("-A", "{source_pod:[/]} {destination_pod:[/]}"),
        ("--from-namespace a --to-service b", "{source_pod:[a/],destination_service:[b]}"),
        (
            "--namespace shop --pod web --service db",
            "{source_pod:[shop/web],source_service:[shop/db]} {source_pod:[shop/web],destination_service:[shop/db]} \
             {source_service:[shop/db],destination_pod:[shop/web]} {destination_pod:[shop/web],destination_service:[shop/db]}",
        ),
    ] {
        let mut found: Vec<String> = raw(words).split(' ').map(str::to_owned).collect();
        let mut expected: Vec<String> = messages.split(' ').map(str::to_owned).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{words}");
    }
}

#[test]
fn lists_stand_beside_flags() {
    let flow = web_to_db();
    let shown = |flags: &str, allow: &str, deny: &str| {
        let mut builder = FilterBuilder::default();
        for word in flags.split_whitespace() {
            builder.add(false, FilterFlag::Port, word).unwrap();
        }
        for (deny, json) in [(false, allow), (true, deny)] {
            if !json.is_empty() {
                builder.add_list(deny, json).unwrap();
            }
        }
        builder.build().unwrap().matches(&flow)
    };
    let (own, other) = (r#"{"source_pod":["shop/web"],"protocol":["tcp"]}"#, r#"{"sourcePod":["shop/x"]}"#);
    assert!(shown("", own, "") && !shown("", other, "") && shown("", &format!("{other}{own}"), ""));
    assert!(shown("1", own, ""), "one of the lists is enough");
    assert!(!shown("5432", "", own) && shown("5432", "", other) && !shown("", "{}", "{}"));
}

#[test]
fn what_only_user_space_can_tell_does_not_narrow_the_kernels_filter() {
    let kernel = |words: &str| filter(words).unwrap().kernel_filter(false, |_| None);
    for words in [
        "--protocol dns",
        "--protocol tcp --protocol http",
        "--cel-expression _flow.verdict==Verdict.DROPPED",
        "--ip-version none",
        "--ip-version none -4",
        "--dns-query x --sni y --policy a/b --reply true",
    ] {
        assert_eq!(kernel(words).flags, 0, "{words}");
    }
    assert_eq!(kernel("--http-status 5+ --port 80").flags, filter_bit::PORTS);
    let mut both = FilterBuilder::default();
    both.add(false, FilterFlag::Verdict, "DROPPED").unwrap();
    both.add_list(false, r#"{"source_ip":["10.0.0.1"]}"#).unwrap();
    assert_eq!(both.build().unwrap().kernel_filter(false, |_| None).flags, 0, "either may hold");
}
