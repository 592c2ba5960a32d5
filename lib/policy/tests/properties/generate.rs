//! Clusters at random: small, so that rules meet, with few labels, addresses and ports, so that they overlap.

use chainkit_cluster::model::{
    Action, Cluster, ClusterPeer, ClusterPolicy, ClusterPolicyKind, ClusterPort, ClusterRule, ClusterSubject,
    EndpointPort, PodSelector, Protocol, Service, ServicePort, TargetPort, Tier, Workload,
};
use chainkit_policy::{Options, Scope};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use super::common;

#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) cluster: Cluster,
    pub(crate) options: Options,
    pub(crate) subject: Index,
}

const NAMESPACES: [&str; 3] = ["a", "b", "c"];
const APPS: [&str; 3] = ["web", "api", "db"];
const CIDRS: [&str; 15] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.0.0.0/24",
    "10.0.0.2/32",
    "10.0.0.4/30",
    "10.9.0.0/16",
    "10.96.0.0/12",
    "192.0.2.0/24",
    "192.0.2.128/25",
    "255.255.255.255/32",
    "::/0",
    "fd00::/8",
    "fd00::4/126",
    "2001:db8::/32",
    "::ffff:10.0.0.0/104",
];
const PORTS: [u16; 5] = [53, 80, 443, 8080, 65535];

fn selector() -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => Just(json!({})),
        4 => select(&APPS[..]).prop_map(|app| json!({"matchLabels": {"app": app}})),
        1 => select(&APPS[..]).prop_map(|app| json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": [app]}]})),
        1 => Just(json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "db"]}]})),
        1 => Just(json!({"matchExpressions": [{"key": "tier", "operator": "Exists"}]})),
        1 => Just(json!({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]})),
    ]
}

fn namespace_selector() -> impl Strategy<Value = Value> {
    prop_oneof![
        2 => Just(json!({})),
        2 => select(&["x", "y"][..]).prop_map(|team| json!({"matchLabels": {"team": team}})),
        2 => select(&NAMESPACES[..]).prop_map(|name| json!({"matchLabels": {"kubernetes.io/metadata.name": name}})),
    ]
}

/// A namespace that things stand in: mostly the same, so that they meet.
fn home() -> impl Strategy<Value = &'static str> {
    prop_oneof![6 => Just("a"), 2 => Just("b"), 1 => Just("c")]
}

fn block() -> impl Strategy<Value = Value> {
    // Blocks with something inside to except, excepts that lie in each other, and some that lie outside.
    let v4 = (
        select(&["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/24"][..]),
        proptest::collection::vec(select(&CIDRS[1..9]), 1..3),
    );
    let v6 = (select(&["::/0", "fd00::/8"][..]), proptest::collection::vec(select(&CIDRS[11..]), 1..3));
    let any = (select(&CIDRS[..]), proptest::collection::vec(select(&CIDRS[..]), 0..3));
    prop_oneof![4 => v4, 2 => v6, 2 => any]
        .prop_map(|(cidr, except)| json!({"ipBlock": {"cidr": cidr, "except": except}}))
}

fn peer() -> impl Strategy<Value = Value> {
    prop_oneof![
        2 => selector().prop_map(|pods| json!({"podSelector": pods})),
        2 => namespace_selector().prop_map(|namespaces| json!({"namespaceSelector": namespaces})),
        2 => (namespace_selector(), selector()).prop_map(|(n, p)| json!({"namespaceSelector": n, "podSelector": p})),
        5 => block(),
    ]
}

fn port() -> impl Strategy<Value = Value> {
    let protocol = select(&[None, None, Some("TCP"), Some("UDP"), Some("SCTP")][..]);
    let ends = (select(&PORTS[..]), select(&[None, None, Some(0u16), Some(1), Some(400), Some(9000)][..]));
    let name = select(&["http", "http", "dns", "none"][..]);
    let what = prop_oneof![
        4 => ends.prop_map(|(port, more)| match more {
            Some(more) => json!({"port": port, "endPort": u32::from(port) + u32::from(more)}),
            None => json!({"port": port}),
        }),
        6 => name.prop_map(|name| json!({"port": name})),
        1 => Just(json!({})),
    ];
    (protocol, what).prop_map(|(protocol, mut port)| {
        if let Some(protocol) = protocol {
            port["protocol"] = json!(protocol);
        }
        port
    })
}

fn rules(peers_field: &'static str) -> impl Strategy<Value = Value> {
    let peers = prop_oneof![1 => Just(None), 12 => proptest::collection::vec(peer(), 1..3).prop_map(Some), 1 => Just(Some(Vec::new()))];
    let ports = prop_oneof![4 => Just(None), 8 => proptest::collection::vec(port(), 1..4).prop_map(Some), 1 => Just(Some(Vec::new()))];
    let rule = (peers, ports).prop_map(move |(peers, ports)| {
        let mut rule = json!({});
        if let Some(peers) = peers {
            rule[peers_field] = json!(peers);
        }
        if let Some(ports) = ports {
            rule["ports"] = json!(ports);
        }
        rule
    });
    proptest::collection::vec(rule, 0..4).prop_map(|rules| json!(rules))
}

fn network_policy() -> impl Strategy<Value = (&'static str, Value)> {
    let types = select(vec![None, None, Some(vec!["Ingress"]), Some(vec!["Egress"]), Some(vec!["Ingress", "Egress"])]);
    let pods = prop_oneof![Just(json!({})), selector()];
    (home(), pods, types, rules("from"), rules("to")).prop_map(|(namespace, pods, types, from, to)| {
        let mut spec = json!({"podSelector": pods, "ingress": from, "egress": to});
        if let Some(types) = types {
            spec["policyTypes"] = json!(types);
        }
        (namespace, spec)
    })
}

fn typed(value: Value) -> LabelSelector {
    serde_json::from_value(value).unwrap()
}

fn cluster_peer(egress: bool) -> impl Strategy<Value = ClusterPeer> {
    let inside = prop_oneof![
        namespace_selector()
            .prop_map(|namespaces| ClusterPeer { namespaces: Some(typed(namespaces)), ..ClusterPeer::default() }),
        (namespace_selector(), selector()).prop_map(|(namespaces, pods)| {
            let pods = PodSelector { namespace_selector: typed(namespaces), pod_selector: typed(pods) };
            ClusterPeer { pods: Some(pods), ..ClusterPeer::default() }
        }),
    ];
    let outside = prop_oneof![
        4 => proptest::collection::vec(select(&CIDRS[..]), 1..3).prop_map(|cidrs| ClusterPeer {
            networks: Some(cidrs.into_iter().map(str::to_owned).collect()), ..ClusterPeer::default()
        }),
        2 => select(&["infra", "worker"][..]).prop_map(|role| ClusterPeer {
            nodes: Some(typed(json!({"matchLabels": {"role": role}}))), ..ClusterPeer::default()
        }),
        1 => Just(ClusterPeer { domain_names: Some(vec!["example.org".to_owned()]), ..ClusterPeer::default() }),
        1 => Just(ClusterPeer { networks: Some(vec!["10.0.0.0/99".to_owned()]), ..ClusterPeer::default() }),
        1 => Just(ClusterPeer::default()),
    ];
    // An ingress rule with a peer of egress is one that is not understood.
    if egress {
        prop_oneof![3 => inside.boxed(), 2 => outside.boxed()]
    } else {
        prop_oneof![20 => inside.boxed(), 1 => outside.boxed()]
    }
}

fn protocol() -> impl Strategy<Value = Protocol> + Clone {
    select(&[Protocol::Tcp, Protocol::Tcp, Protocol::Udp, Protocol::Sctp][..])
}

fn cluster_port() -> impl Strategy<Value = ClusterPort> {
    prop_oneof![
        10 => (protocol(), select(&PORTS[..]), select(&[0u16, 0, 1, 500][..])).prop_map(|(protocol, first, more)| {
            ClusterPort::Range { protocol, first, last: first.saturating_add(more) }
        }),
        8 => select(&["http", "dns"][..]).prop_map(|name| ClusterPort::Named(name.to_owned())),
        2 => protocol().prop_map(|protocol| ClusterPort::Range { protocol, first: 0, last: u16::MAX }),
        1 => Just(ClusterPort::Range { protocol: Protocol::Tcp, first: 90, last: 80 }),
        1 => Just(ClusterPort::Unknown),
    ]
}

fn cluster_rules(egress: bool) -> impl Strategy<Value = Vec<ClusterRule>> {
    let action = select(&[Action::Accept, Action::Deny, Action::Pass, Action::Pass][..]);
    let ports = prop_oneof![Just(None), proptest::collection::vec(cluster_port(), 1..3).prop_map(Some)];
    let peers = prop_oneof![1 => Just(Vec::new()), 20 => proptest::collection::vec(cluster_peer(egress), 1..3)];
    let rule = (action, peers, ports).prop_map(|(action, peers, ports)| ClusterRule {
        name: String::new(),
        action,
        peers,
        ports,
    });
    proptest::collection::vec(rule, 0..4)
}

fn cluster_policy() -> impl Strategy<Value = ClusterPolicy> {
    let kind = select(
        &[
            ClusterPolicyKind::Admin,
            ClusterPolicyKind::Cluster,
            ClusterPolicyKind::Cluster,
            ClusterPolicyKind::BaselineAdmin,
        ][..],
    );
    let subject = prop_oneof![
        namespace_selector().prop_map(|n| ClusterSubject { namespaces: Some(typed(n)), pods: None }),
        (namespace_selector(), selector()).prop_map(|(n, p)| ClusterSubject {
            namespaces: None,
            pods: Some(PodSelector { namespace_selector: typed(n), pod_selector: typed(p) }),
        }),
    ];
    let name = select(&["p", "q", "r"][..]);
    (kind, any::<bool>(), 0..4i32, subject, cluster_rules(false), cluster_rules(true), name).prop_map(
        |(kind, admin, priority, subject, ingress, egress, name)| {
            let tier = match kind {
                ClusterPolicyKind::Admin => Tier::Admin,
                ClusterPolicyKind::BaselineAdmin => Tier::Baseline,
                ClusterPolicyKind::Cluster if admin => Tier::Admin,
                ClusterPolicyKind::Cluster => Tier::Baseline,
            };
            ClusterPolicy { kind, name: name.to_owned(), tier, priority, subject, ingress, egress }
        },
    )
}

/// A workload but for its addresses, which its place gives it.
fn workload() -> impl Strategy<Value = (Workload, u8)> {
    let tier = any::<bool>();
    let ports = proptest::collection::vec((select(&["http", "http", "dns"][..]), protocol(), select(&PORTS[..])), 1..4);
    (home(), select(&APPS[..]), tier, ports, any::<bool>(), 0..10u8).prop_map(
        |(namespace, app, tier, ports, first_node, form)| {
            let mut workload = common::pod(&format!("{namespace}/w"), &[("app", app)], "10.0.0.1");
            if tier {
                workload.labels.insert("tier".to_owned(), "1".to_owned());
            }
            for (name, protocol, number) in ports {
                workload = common::with_port(workload, name, protocol, number);
            }
            workload.node = Some(if first_node { "n1" } else { "n2" }.to_owned());
            (workload, form)
        },
    )
}

fn add_workload(cluster: &mut Cluster, mut workload: Workload, form: u8) {
    let at = cluster.workloads.len() + 1;
    workload.name = format!("w{at}");
    workload.addresses = vec![common::ip(&format!("10.0.0.{at}"))];
    match form {
        0 => {
            workload.kind = "Deployment".to_owned();
            workload.addresses.clear();
        }
        1 => {
            workload.host_network = true;
            let node = if workload.node.as_deref() == Some("n1") { 0 } else { 1 };
            workload.addresses = vec![cluster.nodes[node].addresses[0]];
        }
        2 => workload.addresses = vec![common::ip(&format!("fd00::{at}"))],
        3..6 => workload.addresses.push(common::ip(&format!("fd00::{at}"))),
        _ => {}
    }
    cluster.workloads.push(workload);
}

/// What a service has beside its cluster addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Inside,
    /// Not even those.
    Headless,
    External,
    Balanced,
    /// At a node's address, at what is the first service's port there.
    OnNode,
}

/// Where the endpoints of a slice say that they are.
type On = Vec<Option<&'static str>>;

fn service() -> impl Strategy<Value = (Service, Reach, Option<On>)> {
    let target = prop_oneof![
        select(&PORTS[..]).prop_map(TargetPort::Number),
        select(&["http", "dns"][..]).prop_map(|name| TargetPort::Name(name.to_owned())),
    ];
    let port = (select(&PORTS[..]), target, protocol(), select(&[true, false, false][..]));
    let ports =
        prop_oneof![3 => proptest::collection::vec(port.clone(), 1), 1 => proptest::collection::vec(port, 2..4)];
    let reach =
        select(&[Reach::Inside, Reach::Inside, Reach::Headless, Reach::External, Reach::Balanced, Reach::OnNode][..]);
    let on = proptest::collection::vec(select(&[Some("n1"), Some("n1"), Some("n2"), Some("n3"), None][..]), 4);
    let sliced = prop_oneof![1 => Just(None), 2 => on.prop_map(Some)];
    let all = (home(), select(&APPS[..]), ports, reach, sliced, select(&[true, true, false][..]));
    all.prop_map(|(namespace, app, ports, reach, sliced, stays_on_node)| {
        let name = format!("{namespace}/s");
        let mut service = common::service(&name, &[("app", app)], "10.96.0.1", 80, TargetPort::Number(80));
        service.ports.clear();
        service.stays_on_node = stays_on_node;
        for (number, (port, target, protocol, node_port)) in ports.into_iter().enumerate() {
            // A port is one of its service's alone.
            if service.ports.iter().all(|has| (has.port, has.protocol) != (port, protocol)) {
                let node_port = node_port.then(|| 30_000 + 10 * u16::try_from(number).unwrap());
                service.ports.push(ServicePort { name: format!("p{number}"), port, protocol, target, node_port });
            }
        }
        (service, reach, sliced)
    })
}

fn add_service(cluster: &mut Cluster, mut service: Service, reach: Reach, sliced: Option<On>) {
    let at = cluster.services.len() + 1;
    service.name = format!("s{at}");
    service.cluster_ips = vec![common::ip(&format!("10.96.0.{at}")), common::ip(&format!("fd96::{at}"))];
    match reach {
        Reach::Inside => {}
        Reach::Headless => service.cluster_ips.clear(),
        Reach::External => service.external_ips = vec![common::ip(&format!("192.0.2.{}", 200 + at))],
        Reach::OnNode => {
            service.external_ips = vec![common::ip("10.9.0.1")];
            service.ports[0].port = 30_001;
        }
        Reach::Balanced => service.load_balancer_ips = vec![common::ip(&format!("2001:db8::{at}"))],
    }
    for port in &mut service.ports {
        port.node_port = port.node_port.map(|first| first + u16::try_from(at).unwrap());
    }
    if let Some(on) = sliced {
        let name = format!("{}/{}", service.namespace, service.name);
        let mut slice = common::slice(&name, &["10.0.0.1", "10.0.0.2", "198.51.100.9", "fd00::3"], 8080);
        let ports = service.ports.iter().enumerate().map(|(number, port)| EndpointPort {
            name: port.name.clone(),
            // No number is the service's own.
            number: (number != 1).then(|| 8080 + u16::try_from(number).unwrap()),
            protocol: port.protocol,
        });
        slice.ports = ports.collect();
        slice.endpoints[1].ready = at.is_multiple_of(2);
        for (endpoint, node) in slice.endpoints.iter_mut().zip(on) {
            endpoint.node = node.map(str::to_owned);
        }
        // Some say which pod of theirs it is.
        let first = &slice.endpoints[0].addresses[0];
        let named =
            cluster.workloads.iter().find(|pod| pod.namespace == service.namespace && pod.addresses.contains(first));
        slice.endpoints[0].pod = named.map(|pod| (pod.namespace.clone(), pod.name.clone()));
        cluster.endpoint_slices.push(slice);
    }
    cluster.services.push(service);
}

pub(crate) fn case() -> impl Strategy<Value = Case> {
    let workloads = proptest::collection::vec(workload(), 2..8);
    let services = proptest::collection::vec(service(), 0..4);
    let network_policies = proptest::collection::vec(network_policy(), 0..5);
    let cluster_policies = proptest::collection::vec(cluster_policy(), 0..5);
    let scope = select(vec![Scope::All, Scope::Node("n1".to_owned())]);
    let matching = prop_oneof![4 => Just(true), 1 => Just(false)];
    (workloads, services, network_policies, cluster_policies, scope, matching, any::<Index>()).prop_map(
        |(workloads, services, network_policies, cluster_policies, scope, cidrs_match_pods, subject)| {
            let mut cluster = Cluster {
                // Nothing is known of `c` but its name.
                namespaces: vec![common::namespace("a", &[("team", "x")]), common::namespace("b", &[("team", "y")])],
                nodes: vec![
                    common::node("n1", &[("role", "infra")], &["10.9.0.1", "fd09::1"]),
                    common::node("n2", &[("role", "worker")], &["10.9.0.2"]),
                ],
                ..Cluster::default()
            };
            workloads.into_iter().for_each(|(workload, form)| add_workload(&mut cluster, workload, form));
            services.into_iter().for_each(|(service, reach, sliced)| add_service(&mut cluster, service, reach, sliced));
            for (at, (namespace, spec)) in network_policies.iter().enumerate() {
                common::add_policy(&mut cluster, &format!("{namespace}/p{at}"), spec);
            }
            for (at, mut policy) in cluster_policies.into_iter().enumerate() {
                // A name is one policy's alone.
                policy.name = format!("{}{at}", policy.name);
                common::add_cluster_policy(&mut cluster, policy);
            }
            Case { cluster, options: Options { scope, cidrs_match_pods }, subject }
        },
    )
}
