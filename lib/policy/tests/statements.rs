//! Each statement on NetworkPolicy, as a cluster that shows it. Engine, tables and oracle are asked for each flow and
//! have to agree.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "the lints spare test functions alone, and not what those share"
)]

mod common;

use chainkit_cluster::model::{Cluster, Protocol, TargetPort};
use chainkit_policy::{Cause, Engine, Flow, Options, Party, Transport, Verdict};
use common::*;
use serde_json::{Value, json};

/// Namespace `a` with `web`, `api` and `db`, namespace `b` (team=b) with `web`.
fn cluster() -> Cluster {
    Cluster {
        namespaces: vec![namespace("a", &[]), namespace("b", &[("team", "b")])],
        nodes: vec![node("n1", &[], &["10.9.0.1"]), node("n2", &[], &["10.9.0.2"])],
        workloads: vec![
            pod("a/web", &[("app", "web")], "10.0.1.1"),
            pod("a/api", &[("app", "api")], "10.0.1.2"),
            pod("a/db", &[("app", "db")], "10.0.1.3"),
            pod("b/web", &[("app", "web")], "10.0.2.1"),
        ],
        ..Cluster::default()
    }
}

fn with(name: &str, spec: &Value) -> Cluster {
    let mut cluster = cluster();
    add_policy(&mut cluster, name, spec);
    cluster
}

fn allowed(cluster: &Cluster, source: &str, destination: &str, port: u16) -> bool {
    over(cluster, Transport::Tcp, source, destination, port)
}

/// An end is `NAMESPACE/NAME`, or an address.
fn over(cluster: &Cluster, transport: Transport, source: &str, destination: &str, port: u16) -> bool {
    let end = |text: &str| text.parse().map_or_else(|_| party(cluster, text), Party::Address);
    let flow = Flow { source: end(source), destination: end(destination), transport, port };
    agreed(cluster, &Options::default(), &flow) == Verdict::Allowed
}

#[test]
fn a_pod_that_no_policy_selects_is_not_isolated() {
    let cluster = with("a/p", &json!({"podSelector": {"matchLabels": {"app": "db"}}}));
    assert!(allowed(&cluster, "b/web", "a/api", 80));
    assert!(!allowed(&cluster, "b/web", "a/db", 80));
}

#[test]
fn isolation_is_per_direction() {
    let cluster = with("a/p", &json!({"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress"]}));
    assert!(!allowed(&cluster, "a/web", "a/db", 80));
    assert!(allowed(&cluster, "a/db", "a/web", 80));
}

#[test]
fn a_policy_is_for_its_own_namespace() {
    let cluster = with("a/p", &json!({"podSelector": {}}));
    assert!(!allowed(&cluster, "b/web", "a/web", 80));
    assert!(allowed(&cluster, "a/web", "b/web", 80));
}

#[test]
fn allowed_is_the_union_of_all_policies() {
    let mut cluster = with("a/p", &json!({"podSelector": {}, "ingress": [{"ports": [{"port": 80}]}]}));
    add_policy(&mut cluster, "a/q", &json!({"podSelector": {}, "ingress": [{"ports": [{"port": 443}]}]}));
    assert!(allowed(&cluster, "b/web", "a/db", 80) && allowed(&cluster, "b/web", "a/db", 443));
    assert!(!allowed(&cluster, "b/web", "a/db", 81));
}

#[test]
fn a_flow_needs_the_sources_egress_and_the_destinations_ingress() {
    let egress = json!({"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Egress"],
        "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "api"}}}]}]});
    let ingress = json!({"podSelector": {"matchLabels": {"app": "api"}},
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]}]});
    let mut cluster = with("a/out", &egress);
    assert!(allowed(&cluster, "a/web", "a/api", 80));
    assert!(!allowed(&cluster, "a/web", "a/db", 80));
    add_policy(&mut cluster, "a/in", &ingress);
    assert!(allowed(&cluster, "a/web", "a/api", 80));
    assert!(!allowed(&cluster, "a/db", "a/api", 80));
    cluster.network_policies.remove(0);
    add_policy(&mut cluster, "a/none", &json!({"podSelector": {}, "policyTypes": ["Egress"]}));
    assert!(!allowed(&cluster, "a/web", "a/api", 80), "ingress alone does not let it out");
}

#[test]
fn replies_are_implied() {
    // The answer belongs to the flow that was opened: nothing has to allow web's egress or db's ingress.
    let cluster = with(
        "a/p",
        &json!({"podSelector": {"matchLabels": {"app": "api"}}, "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]}]}),
    );
    assert!(allowed(&cluster, "a/web", "a/api", 80));
    assert!(!allowed(&cluster, "a/api", "a/web", 80));
}

#[test]
fn without_policy_types_ingress_is_always_one_and_egress_only_with_egress_rules() {
    let cluster = with("a/p", &json!({"podSelector": {"matchLabels": {"app": "web"}}}));
    assert!(!allowed(&cluster, "a/db", "a/web", 80) && allowed(&cluster, "a/web", "a/db", 80));
    let cluster = with("a/p", &json!({"podSelector": {"matchLabels": {"app": "web"}}, "egress": []}));
    assert!(allowed(&cluster, "a/web", "a/db", 80));
    let cluster =
        with("a/p", &json!({"podSelector": {"matchLabels": {"app": "web"}}, "egress": [{"ports": [{"port": 1}]}]}));
    assert!(!allowed(&cluster, "a/db", "a/web", 80) && !allowed(&cluster, "a/web", "a/db", 80));
    assert!(allowed(&cluster, "a/web", "a/db", 1));
}

#[test]
fn policy_types_egress_alone_leaves_ingress_open_even_with_ingress_rules() {
    let cluster = with(
        "a/p",
        &json!({"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Egress"],
        "ingress": [{"ports": [{"port": 80}]}]}),
    );
    assert!(allowed(&cluster, "a/db", "a/web", 81));
    assert!(!allowed(&cluster, "a/web", "a/db", 80));
}

#[test]
fn empty_and_missing_rule_lists_allow_nothing() {
    for spec in [
        json!({"podSelector": {}, "ingress": []}),
        json!({"podSelector": {}}),
        json!({"podSelector": {}, "ingress": null}),
    ] {
        assert!(!allowed(&with("a/p", &spec), "b/web", "a/db", 80), "{spec}");
    }
    for spec in [
        json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": []}),
        json!({"podSelector": {}, "policyTypes": ["Egress"]}),
    ] {
        assert!(!allowed(&with("a/p", &spec), "a/db", "b/web", 80), "{spec}");
    }
}

#[test]
fn empty_and_missing_peers_are_any_peer() {
    for rule in [json!({}), json!({"from": []}), json!({"from": null})] {
        let cluster = with("a/p", &json!({"podSelector": {}, "ingress": [rule]}));
        for source in ["b/web", "a/api", "192.0.2.1", "2001:db8::1", "10.9.0.2"] {
            assert!(allowed(&cluster, source, "a/db", 80), "{rule} {source}");
        }
    }
}

#[test]
fn empty_and_missing_ports_are_all_ports_and_protocols() {
    for rule in [json!({}), json!({"ports": []})] {
        let cluster = with("a/p", &json!({"podSelector": {}, "ingress": [rule]}));
        for (transport, port) in
            [(Transport::Tcp, 1), (Transport::Udp, 65535), (Transport::Sctp, 7), (Transport::Other, 0)]
        {
            assert!(over(&cluster, transport, "b/web", "a/db", port), "{rule} {transport}");
        }
    }
}

#[test]
fn an_empty_pod_selector_selects_all_pods_of_the_namespace() {
    let cluster = with("a/p", &json!({"podSelector": {}}));
    for pod in ["a/web", "a/api", "a/db"] {
        assert!(!allowed(&cluster, "b/web", pod, 80), "{pod}");
    }
}

#[test]
fn an_empty_namespace_selector_selects_all_namespaces() {
    let cluster = with("a/p", &json!({"podSelector": {}, "ingress": [{"from": [{"namespaceSelector": {}}]}]}));
    assert!(allowed(&cluster, "a/web", "a/db", 80) && allowed(&cluster, "b/web", "a/db", 80));
    assert!(!allowed(&cluster, "192.0.2.1", "a/db", 80), "all namespaces are not the world");
}

#[test]
fn a_pod_selector_alone_means_the_own_namespace() {
    let from = json!([{"podSelector": {"matchLabels": {"app": "web"}}}]);
    let cluster = with("a/p", &json!({"podSelector": {}, "ingress": [{"from": from}]}));
    assert!(allowed(&cluster, "a/web", "a/db", 80) && !allowed(&cluster, "b/web", "a/db", 80));
}

#[test]
fn both_selectors_in_one_peer_must_match() {
    let from =
        json!([{"namespaceSelector": {"matchLabels": {"team": "b"}}, "podSelector": {"matchLabels": {"app": "web"}}}]);
    let mut cluster = with("a/p", &json!({"podSelector": {}, "ingress": [{"from": from}]}));
    cluster.workloads.push(pod("b/db", &[("app", "db")], "10.0.2.2"));
    assert!(allowed(&cluster, "b/web", "a/db", 80));
    assert!(!allowed(&cluster, "a/web", "a/db", 80) && !allowed(&cluster, "b/db", "a/db", 80));
}

#[test]
fn any_of_several_peers_is_enough() {
    let from = json!([{"namespaceSelector": {"matchLabels": {"team": "b"}}}, {"podSelector": {"matchLabels": {"app": "web"}}}]);
    let cluster = with("a/p", &json!({"podSelector": {}, "ingress": [{"from": from}]}));
    assert!(allowed(&cluster, "b/web", "a/db", 80) && allowed(&cluster, "a/web", "a/db", 80));
    assert!(!allowed(&cluster, "a/api", "a/db", 80));
}

#[test]
fn an_ip_block_excludes_both_selectors() {
    let from = json!([{"ipBlock": {"cidr": "0.0.0.0/0"}, "podSelector": {}}]);
    let cluster = with("a/p", &json!({"podSelector": {}, "ingress": [{"from": from}]}));
    assert!(!allowed(&cluster, "a/web", "a/db", 80), "a peer that a server refuses matches nothing");
    let problems = Engine::new(&cluster, &Options::default()).problems().cloned().collect::<Vec<_>>();
    assert_eq!(problems[0].field, "spec.ingress[0].from[0]");
}

#[test]
fn the_protocol_of_a_port_is_tcp_by_default() {
    let cluster = with("a/p", &json!({"podSelector": {}, "ingress": [{"ports": [{"port": 53}]}]}));
    assert!(over(&cluster, Transport::Tcp, "b/web", "a/db", 53));
    assert!(
        !over(&cluster, Transport::Udp, "b/web", "a/db", 53) && !over(&cluster, Transport::Other, "b/web", "a/db", 0)
    );
}

#[test]
fn a_port_entry_without_port_is_every_port_of_the_protocol() {
    let cluster = with("a/p", &json!({"podSelector": {}, "ingress": [{"ports": [{"protocol": "UDP"}]}]}));
    assert!(
        over(&cluster, Transport::Udp, "b/web", "a/db", 1) && over(&cluster, Transport::Udp, "b/web", "a/db", 65535)
    );
    assert!(!over(&cluster, Transport::Tcp, "b/web", "a/db", 1));
}

#[test]
fn end_port_is_included() {
    let cluster = with("a/p", &json!({"podSelector": {}, "ingress": [{"ports": [{"port": 80, "endPort": 82}]}]}));
    let open: Vec<u16> = (78..85).filter(|port| allowed(&cluster, "b/web", "a/db", *port)).collect();
    assert_eq!(open, [80, 81, 82]);
    let cluster = with("a/p", &json!({"podSelector": {}, "ingress": [{"ports": [{"port": 65535, "endPort": 65535}]}]}));
    assert!(allowed(&cluster, "b/web", "a/db", 65535) && !allowed(&cluster, "b/web", "a/db", 65534));
}

#[test]
fn end_port_below_port_or_with_a_name_matches_nothing_and_is_told() {
    for port in [
        json!({"port": 80, "endPort": 79}),
        json!({"port": "http", "endPort": 90}),
        json!({"endPort": 90}),
        json!({"port": 70000}),
    ] {
        let mut cluster = with("a/p", &json!({"podSelector": {}, "ingress": [{"ports": [port]}]}));
        cluster.workloads[2] = with_port(cluster.workloads[2].clone(), "http", Protocol::Tcp, 80);
        assert!(!allowed(&cluster, "b/web", "a/db", 80), "{port}");
        assert_eq!(Engine::new(&cluster, &Options::default()).problems().count(), 1, "{port}");
    }
}

#[test]
fn a_named_port_is_resolved_per_destination_pod_and_protocol() {
    let to = json!([{"podSelector": {}}]);
    let mut cluster = with(
        "a/p",
        &json!({"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Egress"],
        "egress": [{"to": to, "ports": [{"port": "http"}]}]}),
    );
    cluster.workloads[1] = with_port(cluster.workloads[1].clone(), "http", Protocol::Tcp, 8080);
    cluster.workloads[2] = with_port(cluster.workloads[2].clone(), "http", Protocol::Udp, 9090);
    assert!(allowed(&cluster, "a/web", "a/api", 8080));
    assert!(!allowed(&cluster, "a/web", "a/api", 9090) && !allowed(&cluster, "a/web", "a/db", 8080));
    assert!(!over(&cluster, Transport::Udp, "a/web", "a/db", 9090), "the name is asked for in TCP");
}

#[test]
fn a_named_port_of_an_ingress_rule_is_the_subjects() {
    let mut cluster = with("a/p", &json!({"podSelector": {}, "ingress": [{"ports": [{"port": "http"}]}]}));
    cluster.workloads[1] = with_port(cluster.workloads[1].clone(), "http", Protocol::Tcp, 8080);
    cluster.workloads[3] = with_port(cluster.workloads[3].clone(), "http", Protocol::Tcp, 7070);
    assert!(allowed(&cluster, "b/web", "a/api", 8080) && allowed(&cluster, "192.0.2.1", "a/api", 8080));
    assert!(!allowed(&cluster, "b/web", "a/api", 7070) && !allowed(&cluster, "b/web", "a/db", 8080));
}

#[test]
fn a_named_port_on_an_ip_block_matches_nothing() {
    let to = json!([{"ipBlock": {"cidr": "10.0.0.0/8"}}]);
    let mut cluster = with(
        "a/p",
        &json!({"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Egress"],
        "egress": [{"to": to, "ports": [{"port": "http"}, {"port": 443}]}]}),
    );
    cluster.workloads[1] = with_port(cluster.workloads[1].clone(), "http", Protocol::Tcp, 8080);
    assert!(!allowed(&cluster, "a/web", "a/api", 8080), "not even where the block holds a pod that has it");
    assert!(allowed(&cluster, "a/web", "a/api", 443) && allowed(&cluster, "a/web", "10.77.0.1", 443));
}

#[test]
fn except_limits_only_its_own_block() {
    let from = json!([{"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.64/26"]}}]);
    let mut cluster = with("a/p", &json!({"podSelector": {}, "ingress": [{"from": from}]}));
    for (source, expected) in [
        ("192.0.1.255", false),
        ("192.0.2.0", true),
        ("192.0.2.63", true),
        ("192.0.2.64", false),
        ("192.0.2.127", false),
        ("192.0.2.128", true),
        ("192.0.2.255", true),
        ("192.0.3.0", false),
    ] {
        assert_eq!(allowed(&cluster, source, "a/db", 80), expected, "{source}");
    }
    let again = json!([{"ipBlock": {"cidr": "192.0.2.96/28"}}]);
    add_policy(&mut cluster, "a/q", &json!({"podSelector": {}, "ingress": [{"from": again}]}));
    assert!(allowed(&cluster, "192.0.2.100", "a/db", 80), "another rule may allow the range again");
    assert!(!allowed(&cluster, "192.0.2.64", "a/db", 80));
}

#[test]
fn an_except_outside_of_its_cidr_excepts_nothing() {
    let from = json!([{"ipBlock": {"cidr": "192.0.2.0/24", "except": ["198.51.100.0/24", "0.0.0.0/8"]}}]);
    let cluster = with("a/p", &json!({"podSelector": {}, "ingress": [{"from": from}]}));
    assert!(allowed(&cluster, "192.0.2.9", "a/db", 80) && !allowed(&cluster, "198.51.100.1", "a/db", 80));
}

#[test]
fn a_block_that_is_no_cidr_matches_nothing_and_is_told() {
    for block in [json!({"cidr": "10.0.0.0"}), json!({"cidr": "0.0.0.0/0", "except": ["10.0.0.0/99"]})] {
        let cluster = with("a/p", &json!({"podSelector": {}, "ingress": [{"from": [{"ipBlock": block}]}]}));
        assert!(!allowed(&cluster, "192.0.2.1", "a/db", 80), "{block}");
        assert_eq!(Engine::new(&cluster, &Options::default()).problems().count(), 1, "{block}");
    }
}

#[test]
fn pods_are_in_the_blocks_that_contain_them_unless_that_is_turned_off() {
    let from = json!([{"ipBlock": {"cidr": "10.0.1.0/24", "except": ["10.0.1.2/32"]}}]);
    let cluster = with("a/p", &json!({"podSelector": {}, "ingress": [{"from": from}]}));
    assert!(allowed(&cluster, "a/web", "a/db", 80) && !allowed(&cluster, "a/api", "a/db", 80));
    let outside = Options { cidrs_match_pods: false, ..Options::default() };
    let flow = tcp(party(&cluster, "a/web"), party(&cluster, "a/db"), 80);
    assert_eq!(agreed(&cluster, &outside, &flow), Verdict::Denied);
    let flow = tcp(Party::Address(ip("10.0.1.77")), party(&cluster, "a/db"), 80);
    assert_eq!(agreed(&cluster, &outside, &flow), Verdict::Allowed);
}

#[test]
fn the_own_node_is_always_allowed_and_is_who_generated_the_packet() {
    let cluster = with("a/p", &json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}));
    let db = party(&cluster, "a/db");
    assert_eq!(agreed(&cluster, &Options::default(), &tcp(Party::OwnNode, db, 80)), Verdict::Allowed);
    assert!(!allowed(&cluster, "10.9.0.1", "a/db", 80), "what the node forwards may bear its address");
    assert!(allowed(&cluster, "a/db", "10.9.0.1", 80) && !allowed(&cluster, "a/db", "10.9.0.2", 80));
}

#[test]
fn a_pod_cannot_block_itself() {
    let cluster = with("a/p", &json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}));
    assert!(allowed(&cluster, "a/db", "a/db", 80) && allowed(&cluster, "a/db", "10.0.1.3", 80));
    assert!(!allowed(&cluster, "a/db", "a/web", 80));
}

#[test]
fn pods_on_the_hosts_network_are_no_subjects_and_are_their_node() {
    let mut cluster = with(
        "a/p",
        &json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": {}}]}]}),
    );
    let mut proxy = pod("a/proxy", &[("app", "web")], "10.9.0.2");
    proxy.host_network = true;
    proxy.node = Some("n2".to_owned());
    cluster.workloads.push(proxy);
    assert!(allowed(&cluster, "b/web", "a/proxy", 80), "no subject");
    assert!(!allowed(&cluster, "a/proxy", "a/db", 80), "no selector selects it");
    add_policy(
        &mut cluster,
        "a/node",
        &json!({"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.9.0.2/32"}}]}]}),
    );
    assert!(allowed(&cluster, "a/proxy", "a/db", 80), "it is its node's address");
    cluster.workloads[4].node = Some("n1".to_owned());
    cluster.network_policies.pop();
    assert!(allowed(&cluster, "a/proxy", "a/db", 80), "on the pod's own node it is that node");
}

#[test]
fn other_protocols_pass_by_rules_without_ports_alone() {
    let cluster = with(
        "a/p",
        &json!({"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}, {"ports": [{"port": 80}]}]}),
    );
    assert!(over(&cluster, Transport::Other, "a/web", "a/db", 0));
    assert!(!over(&cluster, Transport::Other, "b/web", "a/db", 0));
}

#[test]
fn dual_stack_is_judged_per_address() {
    let from = json!([{"ipBlock": {"cidr": "2001:db8::/32", "except": ["2001:db8:1::/48"]}}]);
    let mut cluster = with("a/p", &json!({"podSelector": {}, "ingress": [{"from": from}]}));
    cluster.workloads[3].addresses.push(ip("2001:db8::5"));
    assert!(!allowed(&cluster, "b/web", "a/db", 80), "by its IPv4 address");
    let index = place(&cluster, "b/web");
    let flow = tcp(Party::pod(index, ip("2001:db8::5")), party(&cluster, "a/db"), 80);
    assert_eq!(agreed(&cluster, &Options::default(), &flow), Verdict::Allowed);
    assert!(allowed(&cluster, "2001:db8::", "a/db", 80) && !allowed(&cluster, "2001:db8:1::", "a/db", 80));
    assert!(allowed(&cluster, "2001:db8:2::", "a/db", 80) && !allowed(&cluster, "2001:db9::", "a/db", 80));
}

#[test]
fn a_template_is_a_pod_without_address() {
    let from = json!([{"podSelector": {"matchLabels": {"app": "job"}}}, {"ipBlock": {"cidr": "10.0.0.0/8"}}]);
    let mut cluster = with("a/p", &json!({"podSelector": {}, "ingress": [{"from": from}]}));
    cluster.workloads.push(pod("a/job", &[("app", "job")], ""));
    cluster.workloads.push(pod("a/other", &[("app", "other")], ""));
    assert!(allowed(&cluster, "a/job", "a/db", 80) && !allowed(&cluster, "a/other", "a/db", 80));
    assert!(allowed(&cluster, "b/web", "a/other", 80), "as a subject it is like any other");
}

#[test]
fn a_service_is_judged_as_its_backends_at_their_ports() {
    let to = json!([{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "api"}}}]);
    let mut cluster = with(
        "a/p",
        &json!({"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Egress"],
        "egress": [{"to": to, "ports": [{"port": 8080}]}]}),
    );
    cluster.services.push(service("a/api", &[("app", "api")], "10.96.0.1", 80, TargetPort::Number(8080)));
    assert!(allowed(&cluster, "a/web", "10.96.0.1", 80));
    assert!(!allowed(&cluster, "a/web", "10.96.0.1", 8080), "not a port of the service: a plain address");
    cluster.services[0].ports[0].target = TargetPort::Number(9090);
    assert!(!allowed(&cluster, "a/web", "10.96.0.1", 80));
}

#[test]
fn a_service_is_allowed_only_if_all_backends_are_and_a_split_is_told() {
    let to = json!([{"podSelector": {"matchLabels": {"app": "api"}}}]);
    let mut cluster = with(
        "a/p",
        &json!({"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Egress"],
        "egress": [{"to": to}]}),
    );
    cluster.services.push(service("a/s", &[], "10.96.0.1", 80, TargetPort::Number(80)));
    cluster.endpoint_slices.push(slice("a/s", &["10.0.1.2", "10.0.1.3"], 80));
    let flow = tcp(party(&cluster, "a/web"), Party::Address(ip("10.96.0.1")), 80);
    assert_eq!(agreed(&cluster, &Options::default(), &flow), Verdict::Denied);
    let engine = Engine::new(&cluster, &Options::default());
    assert!(engine.judge(&flow).egress.split);
    assert!(engine.explain(&flow).egress.reason.contains("backends differ"));
    cluster.endpoint_slices[0].endpoints.clear();
    assert_eq!(agreed(&cluster, &Options::default(), &flow), Verdict::Allowed, "without backend it passes");
    assert_eq!(Engine::new(&cluster, &Options::default()).judge(&flow).egress.cause, Cause::NoBackend);
}

#[test]
fn an_explanation_names_rule_policy_and_isolation() {
    let mut cluster =
        with("a/p", &json!({"podSelector": {}, "ingress": [{"ports": [{"port": 1}]}, {"ports": [{"port": 80}]}]}));
    cluster.network_policies[0].origin =
        chainkit_cluster::model::Origin { file: "p.yaml".into(), document: 1, line: 3 };
    let engine = Engine::new(&cluster, &Options::default());
    let told = engine.explain(&tcp(party(&cluster, "b/web"), party(&cluster, "a/db"), 80));
    assert_eq!((told.ingress.tier, told.ingress.rule, told.ingress.isolated), (Some("NetworkPolicy"), Some(1), true));
    assert_eq!((told.ingress.file.as_deref(), told.ingress.line), (Some("p.yaml"), Some(3)));
    assert_eq!((told.egress.cause, told.egress.isolated, told.egress.policy), (Cause::NotIsolated, false, None));
    let told = engine.explain(&tcp(party(&cluster, "b/web"), party(&cluster, "a/db"), 81));
    assert_eq!((told.verdict, told.ingress.cause, told.ingress.rule), (Verdict::Denied, Cause::Isolated, None));
    assert_eq!(told.ingress.policy.map(|policy| policy.to_string()).as_deref(), Some("NetworkPolicy a/p"));
}

#[test]
fn isolation_is_told_also_where_it_does_not_decide() {
    let mut cluster = with("a/p", &json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}));
    cluster.services.push(service("a/none", &[], "10.96.0.1", 80, TargetPort::Number(80)));
    let engine = Engine::new(&cluster, &Options::default());
    let web = party(&cluster, "a/web");
    let told = engine.explain(&tcp(web, web, 80));
    assert_eq!((told.egress.cause, told.egress.isolated, told.ingress.isolated), (Cause::SelfTraffic, true, true));
    let told = engine.explain(&tcp(web, Party::Address(ip("10.96.0.1")), 80));
    assert_eq!((told.egress.cause, told.egress.isolated), (Cause::NoBackend, true));
}

#[test]
fn a_service_leads_to_addresses_of_the_families_that_it_has() {
    let egress = json!([{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]);
    let mut cluster = with("a/p", &json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": egress}));
    let db = place(&cluster, "a/db");
    cluster.workloads[db].labels.insert("serves".to_owned(), "s".to_owned());
    cluster.workloads[db].addresses.push(ip("fd00::6"));
    cluster.services.push(service("a/s", &[("serves", "s")], "10.96.0.1", 80, TargetPort::Number(80)));
    let flow = tcp(party(&cluster, "a/web"), Party::Service(0), 80);
    assert_eq!(agreed(&cluster, &Options::default(), &flow), Verdict::Allowed, "it has no IPv6 address");
    cluster.services[0].cluster_ips.push(ip("fd96::1"));
    assert_eq!(agreed(&cluster, &Options::default(), &flow), Verdict::Denied);
}
