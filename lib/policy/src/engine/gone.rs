//! What stands at the place of an object that is gone: nobody selects it, and it selects nobody.

use chainkit_cluster::model::{
    ClusterPolicy, ClusterPolicyKind, ClusterSubject, EndpointSlice, Labels, Lines, Located, Node, Origin, Service,
    Tier, Workload,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;

pub(super) fn workload() -> Workload {
    Workload {
        namespace: String::new(),
        name: String::new(),
        kind: String::new(),
        owner: None,
        labels: Labels::new(),
        addresses: Vec::new(),
        ports: Vec::new(),
        host_network: false,
        node: None,
        service_account: String::new(),
        created: 0,
        facts: None,
        origin: Origin::none(),
    }
}

pub(super) fn node() -> Node {
    let (labels, origin) = (Labels::new(), Origin::none());
    Node { name: String::new(), labels, addresses: Vec::new(), pod_cidrs: Vec::new(), origin }
}

pub(super) fn service() -> Service {
    Service {
        namespace: String::new(),
        name: String::new(),
        cluster_ips: Vec::new(),
        external_ips: Vec::new(),
        load_balancer_ips: Vec::new(),
        stays_on_node: false,
        selector: Labels::new(),
        type_: String::new(),
        ports: Vec::new(),
        origin: Origin::none(),
    }
}

pub(super) fn slice() -> EndpointSlice {
    EndpointSlice {
        namespace: String::new(),
        name: String::new(),
        service: None,
        endpoints: Vec::new(),
        ports: Vec::new(),
        origin: Origin::none(),
    }
}

pub(super) fn network_policy() -> Located<NetworkPolicy> {
    Located { value: NetworkPolicy::default(), origin: Origin::none(), lines: Lines::default() }
}

pub(super) fn cluster_policy() -> Located<ClusterPolicy> {
    let value = ClusterPolicy {
        kind: ClusterPolicyKind::Cluster,
        name: String::new(),
        tier: Tier::Admin,
        priority: 0,
        subject: ClusterSubject { namespaces: None, pods: None },
        ingress: Vec::new(),
        egress: Vec::new(),
    };
    Located { value, origin: Origin::none(), lines: Lines::default() }
}
