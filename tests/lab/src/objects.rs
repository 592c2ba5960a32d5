//! The lab's Kubernetes objects, as `kubectl get … -o json` prints them.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::lab::{NODE, NODE_NAME, NODE6, OTHER_NODE, OTHER_NODE_NAME};
use crate::{Pod, PodSpec};

/// A Service that selects pods by their label `app`.
#[derive(Clone, Debug)]
pub struct ServiceSpec {
    /// Its namespace.
    pub namespace: String,
    /// Its name, and the value of the label `app` of its pods.
    pub name: String,
    /// Its cluster IP.
    pub cluster_ip: Ipv4Addr,
    /// Name, protocol (`TCP`, `UDP`, `SCTP`), port and target port of each of its ports.
    pub ports: Vec<(String, String, u16, u16)>,
}

/// A pod that runs elsewhere.
#[derive(Debug)]
pub(crate) struct RemotePod {
    pub(crate) spec: PodSpec,
    pub(crate) uid: String,
    pub(crate) ip4: Ipv4Addr,
}

/// A `v1` `List` of namespaces, nodes, pods and services.
pub(crate) fn list(here: &[Pod], elsewhere: &[RemotePod], services: &[ServiceSpec]) -> Value {
    let namespaces: BTreeSet<&str> = (here.iter().map(|pod| pod.namespace.as_str()))
        .chain(elsewhere.iter().map(|pod| pod.spec.namespace.as_str()))
        .chain(services.iter().map(|service| service.namespace.as_str()))
        .collect();
    let nodes =
        [node(NODE_NAME, &[NODE.to_string(), NODE6.to_string()]), node(OTHER_NODE_NAME, &[OTHER_NODE.to_string()])];
    let items: Vec<Value> = (namespaces.into_iter().map(namespace))
        .chain(nodes)
        .chain(here.iter().map(pod))
        .chain(elsewhere.iter().map(remote_pod))
        .chain(services.iter().map(service))
        .collect();
    json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items})
}

fn namespace(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    })
}

fn node(name: &str, addresses: &[String]) -> Value {
    let mut listed: Vec<Value> =
        addresses.iter().map(|address| json!({"type": "InternalIP", "address": address})).collect();
    listed.push(json!({"type": "Hostname", "address": name}));
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}},
        "spec": {},
        "status": {"addresses": listed, "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

fn pod(pod: &Pod) -> Value {
    let addresses: Vec<String> =
        std::iter::once(pod.ip4.to_string()).chain(pod.ip6.map(|address| address.to_string())).collect();
    let spec = PodSpec {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        labels: pod.labels.clone(),
        owner: pod.owner.clone(),
        ipv6: pod.ip6.is_some(),
    };
    pod_object(&spec, &pod.uid, &addresses, NODE_NAME, NODE)
}

fn remote_pod(pod: &RemotePod) -> Value {
    pod_object(&pod.spec, &pod.uid, &[pod.ip4.to_string()], OTHER_NODE_NAME, OTHER_NODE)
}

fn pod_object(spec: &PodSpec, uid: &str, addresses: &[String], node_name: &str, node: Ipv4Addr) -> Value {
    let (owner_kind, owner_name) = &spec.owner;
    let addresses_listed: Vec<Value> = addresses.iter().map(|address| json!({"ip": address})).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": spec.name,
            "namespace": spec.namespace,
            "uid": uid,
            "labels": spec.labels,
            "ownerReferences": [{
                "apiVersion": "apps/v1",
                "kind": owner_kind,
                "name": owner_name,
                "uid": format!("{uid}-owner"),
                "controller": true,
                "blockOwnerDeletion": true,
            }],
        },
        "spec": {
            "nodeName": node_name,
            "containers": [{"name": spec.name, "image": format!("registry.invalid/{}:1", spec.name)}],
        },
        "status": {
            "phase": "Running",
            "hostIP": node,
            "hostIPs": [{"ip": node}],
            "podIP": addresses.first(),
            "podIPs": addresses_listed,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    })
}

fn service(service: &ServiceSpec) -> Value {
    let ports: Vec<Value> = (service.ports.iter())
        .map(|(name, protocol, port, target)| {
            json!({"name": name, "protocol": protocol, "port": port, "targetPort": target})
        })
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": service.name, "namespace": service.namespace, "labels": {"app": service.name}},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": service.cluster_ip,
            "clusterIPs": [service.cluster_ip],
            "ipFamilies": ["IPv4"],
            "selector": {"app": service.name},
            "ports": ports,
        },
        "status": {"loadBalancer": {}},
    })
}
