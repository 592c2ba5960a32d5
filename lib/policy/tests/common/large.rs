//! Clusters of a size: the tests take small ones, the bench those of the largest users.

use chainkit_cluster::model::{Cluster, TargetPort};
use serde_json::json;

use super::{add_policy, namespace, node, pod, service};

/// Pods in each namespace of [`busy`].
pub const PODS_OF_EACH: usize = 50;
/// Namespaces of [`busy`] for each pod that is on node `n0`.
pub const NAMESPACES_FOR_ONE_LOCAL: usize = 25;

/// So many namespaces, each with 50 pods under four label sets of its own, two policies and two services. Of every 25th namespace
/// one pod is on node `n0`, the others are spread over 1,249 nodes.
pub fn busy(namespaces: usize) -> Cluster {
    let mut cluster = Cluster::default();
    for node_at in 0..1250 {
        let address = format!("172.16.{}.{}", node_at / 250, node_at % 250);
        cluster.nodes.push(node(&format!("n{node_at}"), &[], &[&address]));
    }
    for at in 0..namespaces {
        let name = format!("ns{at}");
        let team = format!("t{}", at % 100);
        cluster.namespaces.push(namespace(&name, &[("team", &team)]));
        for pod_at in 0..PODS_OF_EACH {
            let number = at * PODS_OF_EACH + pod_at;
            let address = format!("10.{}.{}.{}", number / 62_500, number / 250 % 250, number % 250);
            let (app, tier) = (format!("app{}", pod_at % 4), format!("v{}", at % 20));
            let labels = [("app", app.as_str()), ("tier", &tier), ("release", &name), ("pod-template-hash", "6b7")];
            let mut added = pod(&format!("{name}/p{pod_at}"), &labels, &address);
            let is_local = pod_at == 0 && at % NAMESPACES_FOR_ONE_LOCAL == 0;
            added.node = Some(if is_local { "n0".to_owned() } else { format!("n{}", 1 + number % 1249) });
            cluster.workloads.push(added);
        }
        let own_team = json!({"namespaceSelector": {"matchLabels": {"team": team}}, "podSelector": {"matchLabels": {"app": "app1"}}});
        let own_tier =
            json!({"namespaceSelector": {}, "podSelector": {"matchLabels": {"tier": format!("v{}", at % 20)}}});
        let ingress =
            json!([{"from": [{"podSelector": {}}, own_team]}, {"from": [own_tier], "ports": [{"port": 9090}]}]);
        add_policy(&mut cluster, &format!("{name}/in"), &json!({"podSelector": {}, "ingress": ingress}));
        let outside = json!({"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", format!("203.0.113.{}/32", at % 256)]});
        let egress = json!([
            {"to": [{"namespaceSelector": {}}], "ports": [{"port": 53, "protocol": "UDP"}]},
            {"to": [{"ipBlock": outside}], "ports": [{"port": 443}]},
        ]);
        let spec = json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": egress});
        add_policy(&mut cluster, &format!("{name}/out"), &spec);
        for (service_at, app) in ["app0", "app1"].into_iter().enumerate() {
            let number = at * 2 + service_at;
            let address = format!("10.96.{}.{}", number / 250, number % 250);
            let name = format!("{name}/s{service_at}");
            cluster.services.push(service(&name, &[("app", app)], &address, 80, TargetPort::Number(8080)));
        }
    }
    cluster
}

/// One pod, and a policy that lets it go everywhere but to so many single addresses.
pub fn blocklist(prefixes: u32) -> Cluster {
    let mut cluster = Cluster { namespaces: vec![namespace("a", &[])], ..Cluster::default() };
    cluster.workloads.push(pod("a/web", &[], "10.0.0.1"));
    let blocked = |n: u32| format!("{}.{}.{}.{}/32", 11 + n / 50_000, n / 250 % 200, n % 250, n % 7);
    let cidrs: Vec<String> = (0..prefixes).map(blocked).collect();
    let egress = json!([{"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": cidrs}}]}]);
    add_policy(&mut cluster, "a/p", &json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": egress}));
    cluster
}

/// So many namespaces of four workloads and two policies each.
pub fn crossing(namespaces: usize) -> Cluster {
    let mut cluster = Cluster::default();
    for at in 0..namespaces {
        let name = format!("ns{at}");
        let team = format!("t{}", at % 10);
        cluster.namespaces.push(namespace(&name, &[("team", &team)]));
        for app in 0..4 {
            cluster.workloads.push(pod(&format!("{name}/w{app}"), &[("app", &format!("app{app}"))], ""));
        }
        let from = json!([{"namespaceSelector": {"matchLabels": {"team": team}}}]);
        let ingress = json!([{"from": from, "ports": [{"port": 80}]}]);
        let selects = |app: &str| json!({"matchLabels": {"app": app}});
        let spec = json!({"podSelector": selects("app1"), "ingress": ingress});
        add_policy(&mut cluster, &format!("{name}/in"), &spec);
        let to = json!([{"podSelector": {}}, {"ipBlock": {"cidr": format!("10.{}.0.0/16", at % 250)}}]);
        let spec = json!({"podSelector": selects("app2"), "policyTypes": ["Egress"], "egress": [{"to": to}]});
        add_policy(&mut cluster, &format!("{name}/out"), &spec);
    }
    cluster
}
