//! Each statement on cluster-wide policies, as a cluster that shows it. Engine, tables and oracle have to agree.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "the lints spare test functions alone, and not what those share"
)]

mod common;

use chainkit_cluster::model::{
    Action, Cluster, ClusterPeer, ClusterPolicy, ClusterPolicyKind, ClusterPort, ClusterRule, ClusterSubject, Protocol,
    Tier,
};
use chainkit_policy::{Cause, Engine, Flow, Options, Party, Transport, Verdict};
use common::*;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::{Value, json};

fn cluster() -> Cluster {
    Cluster {
        namespaces: vec![namespace("a", &[("team", "a")]), namespace("b", &[("team", "b")])],
        nodes: vec![
            node("n1", &[("role", "worker")], &["10.9.0.1"]),
            node("n2", &[("role", "infra")], &["10.9.0.2", "fd09::2"]),
        ],
        workloads: vec![
            with_port(pod("a/web", &[("app", "web")], "10.0.1.1"), "dns", Protocol::Udp, 53),
            pod("b/web", &[("app", "web")], "10.0.2.1"),
        ],
        ..Cluster::default()
    }
}

fn selector(value: Value) -> LabelSelector {
    serde_json::from_value(value).unwrap()
}

fn team(name: &str) -> ClusterPeer {
    ClusterPeer { namespaces: Some(selector(json!({"matchLabels": {"team": name}}))), ..ClusterPeer::default() }
}

fn networks(cidrs: &[&str]) -> ClusterPeer {
    ClusterPeer { networks: Some(cidrs.iter().map(|cidr| (*cidr).to_owned()).collect()), ..ClusterPeer::default() }
}

fn rule(action: Action, peers: Vec<ClusterPeer>, ports: Option<Vec<ClusterPort>>) -> ClusterRule {
    ClusterRule { name: String::new(), action, peers, ports }
}

/// A policy on namespace `a`.
fn policy(name: &str, tier: Tier, priority: i32) -> ClusterPolicy {
    ClusterPolicy {
        kind: ClusterPolicyKind::Cluster,
        name: name.to_owned(),
        tier,
        priority,
        subject: ClusterSubject { namespaces: team("a").namespaces, pods: None },
        ingress: Vec::new(),
        egress: Vec::new(),
    }
}

fn judge(cluster: &Cluster, source: &str, destination: &str, transport: Transport, port: u16) -> Verdict {
    let end = |text: &str| text.parse().map_or_else(|_| party(cluster, text), Party::Address);
    agreed(cluster, &Options::default(), &Flow { source: end(source), destination: end(destination), transport, port })
}

fn tcp80(cluster: &Cluster, source: &str, destination: &str) -> Verdict {
    judge(cluster, source, destination, Transport::Tcp, 80)
}

#[test]
fn admin_comes_before_network_policy_and_baseline_after_it() {
    let mut cluster = cluster();
    let mut admin = policy("deny", Tier::Admin, 5);
    admin.ingress.push(rule(Action::Deny, vec![team("b")], None));
    let mut baseline = policy("base", Tier::Baseline, 5);
    baseline.ingress.push(rule(Action::Deny, vec![team("b")], None));
    let open = json!({"podSelector": {}, "ingress": [{}]});

    add_cluster_policy(&mut cluster, baseline);
    assert_eq!(tcp80(&cluster, "b/web", "a/web"), Verdict::Denied, "baseline alone decides");
    add_policy(&mut cluster, "a/open", &open);
    assert_eq!(tcp80(&cluster, "b/web", "a/web"), Verdict::Allowed, "a network policy overrides it");
    add_cluster_policy(&mut cluster, admin);
    assert_eq!(tcp80(&cluster, "b/web", "a/web"), Verdict::Denied, "admin overrides both");
}

#[test]
fn an_isolated_pod_never_gets_to_the_baseline() {
    let mut cluster = cluster();
    let mut baseline = policy("base", Tier::Baseline, 5);
    baseline.ingress.push(rule(Action::Accept, vec![team("b")], None));
    add_cluster_policy(&mut cluster, baseline);
    add_policy(&mut cluster, "a/closed", &json!({"podSelector": {}}));
    assert_eq!(tcp80(&cluster, "b/web", "a/web"), Verdict::Denied);
}

#[test]
fn lower_priority_values_come_first_and_rules_in_list_order() {
    let mut cluster = cluster();
    let mut late = policy("a-late", Tier::Admin, 20);
    late.ingress.push(rule(Action::Deny, vec![team("b")], None));
    let mut early = policy("z-early", Tier::Admin, 10);
    early.ingress.push(rule(Action::Accept, vec![team("b")], None));
    early.ingress.push(rule(Action::Deny, vec![team("b")], None));
    add_cluster_policy(&mut cluster, late);
    add_cluster_policy(&mut cluster, early);
    assert_eq!(tcp80(&cluster, "b/web", "a/web"), Verdict::Allowed);
    let told = Engine::new(&cluster, &Options::default()).explain(&tcp(
        party(&cluster, "b/web"),
        party(&cluster, "a/web"),
        80,
    ));
    assert_eq!((told.ingress.tier, told.ingress.rule, told.ingress.cause), (Some("Admin"), Some(0), Cause::Rule));
    assert_eq!(told.ingress.policy.unwrap().name, "z-early");
}

#[test]
fn pass_skips_the_rest_of_the_tier_and_no_more() {
    let mut cluster = cluster();
    let mut first = policy("pass", Tier::Admin, 1);
    first.ingress.push(rule(
        Action::Pass,
        vec![team("b")],
        Some(vec![ClusterPort::Range { protocol: Protocol::Tcp, first: 80, last: 80 }]),
    ));
    let mut second = policy("deny", Tier::Admin, 2);
    second.ingress.push(rule(Action::Deny, vec![team("b")], None));
    let mut baseline = policy("base", Tier::Baseline, 1);
    baseline.ingress.push(rule(Action::Deny, vec![team("b")], None));
    add_cluster_policy(&mut cluster, first);
    add_cluster_policy(&mut cluster, second);
    assert_eq!(tcp80(&cluster, "b/web", "a/web"), Verdict::Allowed, "passed, and nobody else decides");
    assert_eq!(judge(&cluster, "b/web", "a/web", Transport::Tcp, 81), Verdict::Denied);
    add_cluster_policy(&mut cluster, baseline);
    assert_eq!(tcp80(&cluster, "b/web", "a/web"), Verdict::Denied, "passed on to the baseline");
}

#[test]
fn networks_match_in_cluster_addresses_too() {
    let mut cluster = cluster();
    let mut admin = policy("net", Tier::Admin, 1);
    admin.egress.push(rule(Action::Deny, vec![networks(&["10.0.2.0/24", "2001:db8::/32"])], None));
    add_cluster_policy(&mut cluster, admin);
    assert_eq!(tcp80(&cluster, "a/web", "b/web"), Verdict::Denied);
    assert_eq!(tcp80(&cluster, "a/web", "10.0.2.255"), Verdict::Denied);
    assert_eq!(tcp80(&cluster, "a/web", "10.0.3.0"), Verdict::Allowed);
    assert_eq!(tcp80(&cluster, "a/web", "2001:db8::1"), Verdict::Denied);
}

#[test]
fn nodes_match_every_address_of_a_node_and_pods_on_its_network() {
    let mut cluster = cluster();
    let mut admin = policy("nodes", Tier::Admin, 1);
    let infra =
        ClusterPeer { nodes: Some(selector(json!({"matchLabels": {"role": "infra"}}))), ..ClusterPeer::default() };
    admin.egress.push(rule(Action::Deny, vec![infra], None));
    add_cluster_policy(&mut cluster, admin);
    let mut proxy = pod("b/proxy", &[], "10.9.0.2");
    proxy.host_network = true;
    proxy.node = Some("n2".to_owned());
    cluster.workloads.push(proxy);
    for destination in ["10.9.0.2", "fd09::2", "b/proxy"] {
        assert_eq!(tcp80(&cluster, "a/web", destination), Verdict::Denied, "{destination}");
    }
    assert_eq!(tcp80(&cluster, "a/web", "10.9.0.1"), Verdict::Allowed);
}

#[test]
fn a_named_port_is_of_whatever_protocol_the_pod_has_it_in() {
    let mut cluster = cluster();
    let mut admin = policy("dns", Tier::Admin, 1);
    admin.subject.namespaces = team("b").namespaces;
    admin.egress.push(rule(Action::Deny, vec![team("a")], Some(vec![ClusterPort::Named("dns".to_owned())])));
    add_cluster_policy(&mut cluster, admin);
    assert_eq!(judge(&cluster, "b/web", "a/web", Transport::Udp, 53), Verdict::Denied);
    assert_eq!(judge(&cluster, "b/web", "a/web", Transport::Tcp, 53), Verdict::Allowed);
}

#[test]
fn an_unknown_peer_fails_closed() {
    for (action, expected) in
        [(Action::Accept, Verdict::Denied), (Action::Deny, Verdict::Denied), (Action::Pass, Verdict::Denied)]
    {
        let mut cluster = cluster();
        let mut admin = policy("new", Tier::Admin, 1);
        // Beside one that is known: the rule as a whole fails.
        admin.ingress.push(rule(action, vec![team("b"), ClusterPeer::default()], None));
        admin.ingress.push(rule(Action::Deny, vec![team("b")], None));
        add_cluster_policy(&mut cluster, admin);
        assert_eq!(tcp80(&cluster, "b/web", "a/web"), expected, "{action:?}");
        let others = if action == Action::Accept { Verdict::Allowed } else { Verdict::Denied };
        assert_eq!(tcp80(&cluster, "192.0.2.1", "a/web"), others, "{action:?}: it matches nothing, or denies all");
        assert_eq!(
            Engine::new(&cluster, &Options::default()).problems().next().unwrap().field,
            "spec.ingress[0].from[1]"
        );
    }
}

#[test]
fn domain_names_are_refused_aloud_and_accept_nothing() {
    let mut cluster = cluster();
    let mut admin = policy("names", Tier::Admin, 1);
    let names = ClusterPeer { domain_names: Some(vec!["example.org".to_owned()]), ..ClusterPeer::default() };
    admin.egress.push(rule(Action::Accept, vec![names, networks(&["192.0.2.1/32"])], None));
    admin.egress.push(rule(Action::Deny, vec![networks(&["0.0.0.0/0"])], None));
    add_cluster_policy(&mut cluster, admin);
    assert_eq!(tcp80(&cluster, "a/web", "192.0.2.1"), Verdict::Allowed, "what is understood beside them counts");
    assert_eq!(tcp80(&cluster, "a/web", "192.0.2.2"), Verdict::Denied);
    let problems = Engine::new(&cluster, &Options::default()).problems().cloned().collect::<Vec<_>>();
    assert!(problems[0].field.ends_with("domainNames") && problems[0].reason.contains("not supported"), "{problems:?}");
}

#[test]
fn the_own_node_passes_even_a_rule_that_denies_all() {
    let mut cluster = cluster();
    let mut admin = policy("closed", Tier::Admin, 1);
    admin.ingress.push(rule(Action::Deny, vec![ClusterPeer::default()], None));
    add_cluster_policy(&mut cluster, admin);
    let web = party(&cluster, "a/web");
    assert_eq!(agreed(&cluster, &Options::default(), &tcp(Party::OwnNode, web, 80)), Verdict::Allowed);
    assert_eq!(tcp80(&cluster, "10.9.0.1", "a/web"), Verdict::Denied, "forwarded by the node, not from it");
}

#[test]
fn the_baseline_singleton_comes_after_all_that_have_a_priority() {
    let mut cluster = cluster();
    let mut single = policy("default", Tier::Baseline, 0);
    single.kind = ClusterPolicyKind::BaselineAdmin;
    single.ingress.push(rule(Action::Deny, vec![team("b")], None));
    let mut other = policy("open", Tier::Baseline, 1000);
    other.ingress.push(rule(Action::Accept, vec![team("b")], None));
    add_cluster_policy(&mut cluster, single);
    add_cluster_policy(&mut cluster, other);
    assert_eq!(tcp80(&cluster, "b/web", "a/web"), Verdict::Allowed);
}
