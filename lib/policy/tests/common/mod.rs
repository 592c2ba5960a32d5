//! Clusters in the open: what the tests of this crate build their input with.
#![allow(dead_code, unreachable_pub, reason = "each test file takes what it needs of these")]

pub mod large;

use std::net::IpAddr;

use chainkit_cluster::model::{
    Change, Cluster, ClusterPolicy, EndpointPort, EndpointSlice, Labels, Lines, Located, NamedPort, Namespace, Node,
    Object, ObjectName, Origin, Protocol, Service, ServiceEndpoint, ServicePort, TargetPort, Workload,
};
use chainkit_policy::{Direction, Engine, Flow, Options, Party, Tables, Transport, Verdict, oracle};
use serde_json::Value;

/// Everything that a cluster has, as objects.
pub fn objects(cluster: &Cluster) -> Vec<Object> {
    let mut objects: Vec<Object> = Vec::new();
    objects.extend(cluster.namespaces.iter().cloned().map(Object::Namespace));
    objects.extend(cluster.nodes.iter().cloned().map(Object::Node));
    objects.extend(cluster.workloads.iter().cloned().map(Object::Workload));
    objects.extend(cluster.services.iter().cloned().map(Object::Service));
    objects.extend(cluster.endpoint_slices.iter().cloned().map(Object::EndpointSlice));
    objects.extend(cluster.network_policies.iter().cloned().map(Object::NetworkPolicy));
    objects.extend(cluster.cluster_policies.iter().cloned().map(Object::ClusterPolicy));
    objects
}

/// What makes one cluster another.
pub fn changes(from: &Cluster, to: &Cluster) -> Vec<Change> {
    let stays: std::collections::BTreeSet<ObjectName> = objects(to).iter().map(Object::name).collect();
    let gone = objects(from).into_iter().map(|object| object.name()).filter(|name| !stays.contains(name));
    let mut changes: Vec<Change> = gone.map(Change::Remove).collect();
    changes.extend(objects(to).into_iter().map(|object| Change::Set(Box::new(object))));
    changes
}

pub fn labels(of: &[(&str, &str)]) -> Labels {
    of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn namespace(name: &str, of: &[(&str, &str)]) -> Namespace {
    Namespace { name: name.to_owned(), labels: labels(of), mode: None, origin: Origin::none() }
}

pub fn node(name: &str, of: &[(&str, &str)], addresses: &[&str]) -> Node {
    let addresses = addresses.iter().map(|text| ip(text)).collect();
    Node { name: name.to_owned(), labels: labels(of), addresses, pod_cidrs: Vec::new(), origin: Origin::none() }
}

/// `NAMESPACE/NAME` with an address on node `n1`; no address is a template.
pub fn pod(name: &str, of: &[(&str, &str)], address: &str) -> Workload {
    let (namespace, name) = name.split_once('/').unwrap();
    Workload {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        kind: if address.is_empty() { "Deployment" } else { "Pod" }.to_owned(),
        owner: None,
        labels: labels(of),
        addresses: if address.is_empty() { Vec::new() } else { vec![ip(address)] },
        ports: Vec::new(),
        host_network: false,
        node: Some("n1".to_owned()),
        service_account: "default".to_owned(),
        created: 0,
        facts: None,
        origin: Origin::none(),
    }
}

pub fn with_port(mut pod: Workload, name: &str, protocol: Protocol, number: u16) -> Workload {
    pod.ports.push(NamedPort { name: name.to_owned(), number, protocol });
    pod
}

pub fn located<T>(value: T) -> Located<T> {
    Located { value, origin: Origin::none(), lines: Lines::default() }
}

/// Adds `NAMESPACE/NAME` with this spec.
pub fn add_policy(cluster: &mut Cluster, name: &str, spec: &Value) {
    let (namespace, name) = name.split_once('/').unwrap();
    let policy = serde_json::json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"namespace": namespace, "name": name}, "spec": spec,
    });
    cluster.network_policies.push(located(serde_json::from_value(policy).unwrap()));
}

pub fn add_cluster_policy(cluster: &mut Cluster, policy: ClusterPolicy) {
    cluster.cluster_policies.push(located(policy));
}

/// A service of one port.
pub fn service(name: &str, selector: &[(&str, &str)], address: &str, port: u16, target: TargetPort) -> Service {
    let (namespace, name) = name.split_once('/').unwrap();
    Service {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        cluster_ips: vec![ip(address)],
        external_ips: Vec::new(),
        load_balancer_ips: Vec::new(),
        stays_on_node: false,
        selector: labels(selector),
        type_: "ClusterIP".to_owned(),
        ports: vec![ServicePort { name: String::new(), port, protocol: Protocol::Tcp, target, node_port: None }],
        origin: Origin::none(),
    }
}

pub fn slice(service: &str, endpoints: &[&str], port: u16) -> EndpointSlice {
    let (namespace, service) = service.split_once('/').unwrap();
    let endpoint = |text: &&str| ServiceEndpoint { addresses: vec![ip(text)], ready: true, node: None, pod: None };
    EndpointSlice {
        namespace: namespace.to_owned(),
        name: format!("{service}-1"),
        service: Some(service.to_owned()),
        endpoints: endpoints.iter().map(endpoint).collect(),
        ports: vec![EndpointPort { name: String::new(), number: Some(port), protocol: Protocol::Tcp }],
        origin: Origin::none(),
    }
}

/// The place of a workload by `NAMESPACE/NAME`.
pub fn place(cluster: &Cluster, name: &str) -> usize {
    let (namespace, name) = name.split_once('/').unwrap();
    cluster.workloads.iter().position(|has| has.namespace == namespace && has.name == name).unwrap()
}

/// A workload under its first address, if it has one.
pub fn party(cluster: &Cluster, name: &str) -> Party {
    let index = place(cluster, name);
    Party::Workload { index, address: cluster.workloads[index].addresses.first().copied() }
}

/// What engine, tables and oracle say of a flow, which is the same.
pub fn agreed(cluster: &Cluster, options: &Options, flow: &Flow) -> Verdict {
    let engine = Engine::new(cluster, options);
    check(cluster, &engine, &engine.tables(), flow).unwrap()
}

/// The verdict that engine and oracle agree on, and the tables where they can be asked; else how they differ.
pub fn check(cluster: &Cluster, engine: &Engine<'_>, tables: &Tables, flow: &Flow) -> Result<Verdict, String> {
    let expected = oracle::judge(cluster, engine.options(), flow);
    compare(cluster, engine, tables, flow, expected).map(|()| expected.verdict)
}

/// Whether engine, and the tables where they can be asked, say what the oracle said; else how they differ.
pub fn compare(
    cluster: &Cluster,
    engine: &Engine<'_>,
    tables: &Tables,
    flow: &Flow,
    expected: oracle::Answer,
) -> Result<(), String> {
    let judged = engine.judge(flow);
    let got =
        oracle::Answer { verdict: judged.verdict, egress: judged.egress.verdict, ingress: judged.ingress.verdict };
    if got != expected {
        return Err(format!("{flow:?}: engine {got:?}, oracle {expected:?}: {:#?}", engine.explain(flow)));
    }
    let sides = [
        (Direction::Egress, flow.source, flow.destination, expected.egress),
        (Direction::Ingress, flow.destination, flow.source, expected.ingress),
    ];
    for (direction, subject, peer, verdict) in sides {
        let Party::Workload { index, .. } = subject else { continue };
        let Some(policy) = engine.policy_of(index) else { continue };
        let address = match peer {
            // Packets to the pod itself and from its own node never come to the tables.
            Party::Workload { index: other, .. } if other == index || cluster.workloads[other].host_network => {
                continue;
            }
            Party::Workload { address: Some(address), .. } | Party::Address(address) => address,
            _ => continue,
        };
        if cluster.workloads[index].addresses.contains(&address) {
            continue;
        }
        // Tables of all nodes do not say which node is whose own, also where a node is behind a service.
        let is_node = |party: &Party| match party {
            Party::Address(address) => engine.world().node_at(*address).is_some(),
            Party::Workload { index, .. } => cluster.workloads[*index].host_network,
            _ => false,
        };
        let backends = |from| engine.services().at(engine.world(), from, address, flow.transport, flow.port);
        let (all, near) = (backends(None), backends(cluster.workloads[index].node.as_deref()));
        let meets_node =
            is_node(&Party::Address(address)) || all.iter().flatten().any(|backend| is_node(&backend.party));
        // Nor on which node a subject is, which a service may keep its traffic on.
        if engine.options().scope == chainkit_policy::Scope::All && (meets_node || all != near) {
            continue;
        }
        let found = tables.judge(policy, direction, address, flow.transport, flow.port);
        // They know nodes by their addresses alone: a pod on the network of one that has none yet is somebody outside to them.
        let is_unknown = |backend: &chainkit_policy::Backend| match backend.party {
            Party::Workload { index, address: Some(address) } => {
                cluster.workloads[index].host_network && engine.world().node_at(address).is_none()
            }
            _ => false,
        };
        if found == Some(Verdict::Denied) && near.iter().flatten().any(is_unknown) {
            continue;
        }
        if found != Some(verdict) {
            return Err(format!("{flow:?} {direction:?}: tables {found:?}, oracle {verdict:?}"));
        }
    }
    Ok(())
}

/// A flow of TCP.
pub fn tcp(source: Party, destination: Party, port: u16) -> Flow {
    Flow { source, destination, transport: Transport::Tcp, port }
}
