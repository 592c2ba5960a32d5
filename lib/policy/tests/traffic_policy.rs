//! A service that keeps its traffic on the node (`internalTrafficPolicy: Local`): which of its backends it is judged by. Engine, tables
//! and oracle are asked for each flow and have to agree.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "the lints spare test functions alone, and not what those share"
)]

mod common;

use chainkit_cluster::model::{Change, Cluster, Object, TargetPort};
use chainkit_policy::{Cause, Engine, Flow, Live, Options, Party, Scope, Update, Verdict};
use common::*;
use serde_json::json;

const SERVICE: &str = "10.96.0.1";

/// `a/web` on n1 and `a/far` on n2, which may open connections to `a/near` on n1 and not to `a/other` on n2; both of those are behind a
/// service that keeps its traffic on the node.
fn cluster() -> Cluster {
    let on_n2 = |mut pod: chainkit_cluster::model::Workload| {
        pod.node = Some("n2".to_owned());
        pod
    };
    let mut cluster = Cluster {
        nodes: vec![node("n1", &[], &["10.9.0.1"]), node("n2", &[], &["10.9.0.2"])],
        workloads: vec![
            pod("a/web", &[("app", "web")], "10.0.1.1"),
            pod("a/near", &[("app", "near")], "10.0.1.2"),
            on_n2(pod("a/far", &[("app", "web")], "10.0.2.1")),
            on_n2(pod("a/other", &[("app", "other")], "10.0.2.2")),
        ],
        ..Cluster::default()
    };
    let to = json!([{"podSelector": {"matchLabels": {"app": "near"}}}]);
    let web = json!({"matchLabels": {"app": "web"}});
    add_policy(&mut cluster, "a/p", &json!({"podSelector": web, "policyTypes": ["Egress"], "egress": [{"to": to}]}));
    let mut near = service("a/s", &[], SERVICE, 80, TargetPort::Number(8080));
    near.stays_on_node = true;
    cluster.services.push(near);
    cluster.endpoint_slices.push(slice("a/s", &["10.0.1.2", "10.0.2.2"], 8080));
    for (endpoint, node) in cluster.endpoint_slices[0].endpoints.iter_mut().zip(["n1", "n2"]) {
        endpoint.node = Some(node.to_owned());
    }
    cluster
}

fn on(node: &str) -> Options {
    Options { scope: Scope::Node(node.to_owned()), cidrs_match_pods: true }
}

/// Whether a source may open connections to an address; the same for all nodes' engine and for that of the source's node.
fn opens(cluster: &Cluster, source: &str, address: &str, port: u16) -> bool {
    let flow = tcp(party(cluster, source), Party::Address(ip(address)), port);
    let verdict = agreed(cluster, &Options::default(), &flow);
    if let Some(node) = &cluster.workloads[place(cluster, source)].node {
        assert_eq!(agreed(cluster, &on(node), &flow), verdict, "{source} -> {address}:{port}");
    }
    verdict == Verdict::Allowed
}

/// Why the source's side says what it says of a flow.
fn cause(cluster: &Cluster, source: &str, address: &str) -> (Cause, String) {
    let flow = tcp(party(cluster, source), Party::Address(ip(address)), 80);
    let egress = Engine::new(cluster, &Options::default()).explain(&flow).egress;
    (egress.cause, egress.reason)
}

#[test]
fn it_is_judged_by_the_backends_of_the_sources_node() {
    let mut cluster = cluster();
    assert!(opens(&cluster, "a/web", SERVICE, 80) && !opens(&cluster, "a/far", SERVICE, 80));
    let by_name = |cluster: &Cluster, source| {
        let flow = tcp(party(cluster, source), Party::Service(0), 80);
        agreed(cluster, &Options::default(), &flow) == Verdict::Allowed
    };
    assert!(by_name(&cluster, "a/web") && !by_name(&cluster, "a/far"));
    cluster.services[0].stays_on_node = false;
    assert!(!opens(&cluster, "a/web", SERVICE, 80) && !by_name(&cluster, "a/web"), "by all");
}

#[test]
fn the_node_of_an_endpoint_is_what_its_slice_says() {
    let mut cluster = cluster();
    cluster.endpoint_slices[0].endpoints[1].node = Some("n1".to_owned());
    assert!(!opens(&cluster, "a/web", SERVICE, 80));
    // One that says nothing is near nobody.
    cluster.endpoint_slices[0].endpoints[1].node = None;
    assert!(opens(&cluster, "a/web", SERVICE, 80));
    assert_eq!(cause(&cluster, "a/far", SERVICE).0, Cause::NoBackend);
}

#[test]
fn without_slices_the_nodes_are_those_of_the_pods_and_a_template_is_on_any() {
    let mut cluster = cluster();
    cluster.endpoint_slices.clear();
    for name in ["a/near", "a/other"] {
        let at = place(&cluster, name);
        cluster.workloads[at].labels.insert("serves".to_owned(), "s".to_owned());
    }
    cluster.services[0].selector = labels(&[("serves", "s")]);
    assert!(opens(&cluster, "a/web", SERVICE, 80) && !opens(&cluster, "a/far", SERVICE, 80));
    let mut template = pod("a/more", &[("serves", "s")], "");
    template.node = None;
    cluster.workloads.push(template);
    assert!(!opens(&cluster, "a/web", SERVICE, 80));
}

#[test]
fn where_none_is_on_the_node_no_policy_applies_and_the_reason_says_so() {
    let mut cluster = cluster();
    cluster.endpoint_slices[0].endpoints.remove(0);
    assert!(opens(&cluster, "a/web", SERVICE, 80));
    let (cause_, reason) = cause(&cluster, "a/web", SERVICE);
    assert_eq!(cause_, Cause::NoBackend);
    assert!(reason.contains("no backend for this port on n1") && reason.contains("drops"), "{reason}");
    // Of one that has none anywhere nothing of the kind is said.
    cluster.endpoint_slices[0].endpoints.clear();
    assert!(cause(&cluster, "a/web", SERVICE).1.contains("rejects"));
}

#[test]
fn where_nobody_knows_the_sources_node_it_is_judged_by_all() {
    let mut cluster = cluster();
    let mut template = pod("a/cart", &[("app", "web")], "");
    template.node = None;
    cluster.workloads.push(template);
    assert!(!opens(&cluster, "a/cart", SERVICE, 80));
    cluster.workloads[4].node = Some("n1".to_owned());
    assert!(opens(&cluster, "a/cart", SERVICE, 80));
}

#[test]
fn at_other_addresses_it_is_judged_by_all() {
    let mut cluster = cluster();
    cluster.services[0].external_ips = vec![ip("192.0.2.1")];
    cluster.services[0].load_balancer_ips = vec![ip("192.0.2.2")];
    cluster.services[0].ports[0].node_port = Some(30_080);
    assert!(opens(&cluster, "a/web", SERVICE, 80));
    for (address, port) in [("192.0.2.1", 80), ("192.0.2.2", 80), ("10.9.0.1", 30_080)] {
        assert!(!opens(&cluster, "a/web", address, port), "{address}");
    }
    // With IPVS kube-proxy sends to any of them where none is on the node.
    cluster.endpoint_slices[0].endpoints[0].ready = false;
    assert!(!opens(&cluster, "a/web", SERVICE, 80));
}

#[test]
fn a_pod_on_its_nodes_network_is_behind_an_endpoint_only_where_it_bears_its_address() {
    let mut cluster = cluster();
    cluster.services[0].stays_on_node = false;
    let at = place(&cluster, "a/other");
    let host = &mut cluster.workloads[at];
    (host.host_network, host.node, host.addresses) = (true, Some("n1".to_owned()), vec![ip("10.9.0.1")]);
    let named = Some(("a".to_owned(), "other".to_owned()));
    cluster.endpoint_slices[0].endpoints.truncate(1);
    let endpoint = &mut cluster.endpoint_slices[0].endpoints[0];
    (endpoint.pod, endpoint.addresses) = (named, vec![ip("10.9.0.1")]);
    assert!(opens(&cluster, "a/web", SERVICE, 80), "the own node");
    // The slice is older than the pod.
    cluster.endpoint_slices[0].endpoints[0].addresses = vec![ip("10.0.2.2")];
    assert!(!opens(&cluster, "a/web", SERVICE, 80));
}

#[test]
fn a_headless_one_has_all() {
    let mut cluster = cluster();
    cluster.services[0].cluster_ips.clear();
    let flow = tcp(party(&cluster, "a/web"), Party::Service(0), 80);
    assert_eq!(agreed(&cluster, &Options::default(), &flow), Verdict::Denied);
}

#[test]
fn a_change_of_its_policy_or_of_an_endpoints_node_alone_is_followed() {
    let cluster = cluster();
    let (web, service, slice) =
        (party(&cluster, "a/web"), cluster.services[0].clone(), cluster.endpoint_slices[0].clone());
    let mut live = Live::new(cluster, &on("n1"));
    let flow: Flow = tcp(web, Party::Address(ip(SERVICE)), 80);
    let asked = |live: &Live| check(&live.engine().world().cluster, live.engine(), live.tables(), &flow).unwrap();
    let set = |live: &mut Live, object| -> Update { live.apply(vec![Change::Set(Box::new(object))]) };
    assert_eq!(asked(&live), Verdict::Allowed);
    for keeps in [false, true] {
        let update = set(
            &mut live,
            Object::Service(chainkit_cluster::model::Service { stays_on_node: keeps, ..service.clone() }),
        );
        assert!(update.rows.is_empty() && !update.virtuals.is_empty());
        assert_eq!(asked(&live), if keeps { Verdict::Allowed } else { Verdict::Denied });
    }
    for (node, verdict) in [("n1", Verdict::Denied), ("n2", Verdict::Allowed)] {
        let mut moved = slice.clone();
        moved.endpoints[1].node = Some(node.to_owned());
        let update = set(&mut live, Object::EndpointSlice(moved));
        assert!(update.rows.is_empty() && !update.virtuals.is_empty());
        assert_eq!(asked(&live), verdict, "{node}");
    }
    // What happens on other nodes is none of this one's business.
    let mut moved = slice;
    moved.endpoints[1].node = Some("n3".to_owned());
    assert!(set(&mut live, Object::EndpointSlice(moved)).is_empty());
}
