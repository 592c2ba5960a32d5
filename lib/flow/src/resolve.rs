//! From addresses to the ends of a flow.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use chainkit_cluster::{Names, Pod, ServiceName};
use serde::de::{Deserialize, Deserializer};
use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::model::{Endpoint, Workload};
use crate::text::beginning;
use crate::wire;

/// Bytes that all labels of one end may take in JSON, so that a line stays under 64 KiB, which is as much as
/// `hubble observe` reads.
const MAX_LABEL_BYTES: usize = 20 * 1024;
/// Bytes of a name (RFC 1123 allows 253).
const MAX_NAME_BYTES: usize = 253;
/// Workloads of a pod.
const MAX_WORKLOADS: usize = 8;
/// What stands for labels that were left out, before their number.
const LEFT_OUT: &str = "chainkit:labels-left-out=";

/// Cilium's reserved identities (cilium, `pkg/identity/numericidentity.go`).
mod identity {
    pub(super) const HOST: u32 = 1;
    pub(super) const WORLD: u32 = 2;
    pub(super) const REMOTE_NODE: u32 = 6;
}

/// The service of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service(pub Arc<ServiceName>);

impl Serialize for Service {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        let ServiceName { name, namespace } = self.0.as_ref();
        let mut object = json.serialize_struct("Service", 2)?;
        for (key, value) in [("name", name), ("namespace", namespace)] {
            if value.is_empty() {
                object.skip_field(key)?;
            } else {
                object.serialize_field(key, beginning(value, MAX_NAME_BYTES))?;
            }
        }
        object.end()
    }
}

impl<'de> Deserialize<'de> for Service {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        struct Fields {
            #[serde(default, deserialize_with = "wire::nullable")]
            name: String,
            #[serde(default, deserialize_with = "wire::nullable")]
            namespace: String,
        }
        let Fields { name, namespace } = Fields::deserialize(json)?;
        Ok(Self(Arc::new(ServiceName { namespace, name })))
    }
}

/// Says who has an address, as a flow tells it. Each end is made once and shared by all flows.
#[derive(Clone, Debug)]
pub struct Resolver {
    names: Arc<Names>,
    addresses: HashMap<IpAddr, Arc<Endpoint>>,
    behind: HashMap<u32, Arc<Endpoint>>,
    world: Arc<Endpoint>,
}

impl Resolver {
    /// Knows what `names` know. The addresses of the node called `own_node`, and `own_addresses` besides, are the host's.
    #[must_use]
    pub fn new(names: Arc<Names>, own_node: &str, own_addresses: &[IpAddr]) -> Self {
        let host = Arc::new(reserved(identity::HOST, "host"));
        let remote_node = Arc::new(reserved(identity::REMOTE_NODE, "remote-node"));
        let mut addresses: HashMap<IpAddr, Arc<Endpoint>> = HashMap::new();
        for (address, node) in names.nodes() {
            let end = if node.as_ref() == own_node { &host } else { &remote_node };
            addresses.insert(*address, Arc::clone(end));
        }
        for address in own_addresses {
            addresses.insert(address.to_canonical(), Arc::clone(&host));
        }
        let mut ends: HashMap<*const Pod, Arc<Endpoint>> = HashMap::new();
        let mut end = |pod: &Arc<Pod>| {
            let labels = names.namespace_labels(&pod.namespace);
            Arc::clone(ends.entry(Arc::as_ptr(pod)).or_insert_with(|| Arc::new(endpoint(pod, labels))))
        };
        for (address, pod) in names.addresses() {
            addresses.insert(*address, end(pod));
        }
        let behind = names.host_interfaces().map(|(ifindex, pod)| (ifindex, end(pod))).collect();
        Self { addresses, behind, world: Arc::new(reserved(identity::WORLD, "world")), names }
    }

    /// Who has an address. Where the cluster is known, an address that is nobody's lies outside of it.
    #[must_use]
    pub fn endpoint(&self, address: &IpAddr) -> Option<&Arc<Endpoint>> {
        self.addresses.get(address).or_else(|| {
            (self.names.knows_cluster() && is_global(address) && self.names.service(address, 0, 0).is_none())
                .then_some(&self.world)
        })
    }

    /// The pod behind a host-side interface of this node.
    #[must_use]
    pub fn behind(&self, host_ifindex: u32) -> Option<&Arc<Endpoint>> {
        self.behind.get(&host_ifindex)
    }

    /// The service that has an address and port.
    #[must_use]
    pub fn service(&self, address: &IpAddr, port: u16, protocol: u8) -> Option<Service> {
        self.names.service(address, port, protocol).map(|service| Service(Arc::clone(service)))
    }
}

impl Default for Resolver {
    /// Knows no names.
    fn default() -> Self {
        Self::new(Arc::new(Names::default()), "", &[])
    }
}

/// Whether an address can lie outside of the cluster at all.
fn is_global(address: &IpAddr) -> bool {
    let special = address.is_loopback() || address.is_multicast() || address.is_unspecified();
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !special && !link_local
}

fn reserved(identity: u32, name: &str) -> Endpoint {
    Endpoint { identity, labels: vec![format!("reserved:{name}")], ..Endpoint::default() }
}

/// A pod with the labels that Cilium gives it: its own, its namespace, and those of its namespace.
fn endpoint(pod: &Pod, namespace_labels: Option<&BTreeMap<String, String>>) -> Endpoint {
    let own = pod.labels.iter().map(|(key, value)| format!("k8s:{key}={value}"));
    let namespace = namespace_labels
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("k8s:io.cilium.k8s.namespace.labels.{key}={value}"));
    let name = beginning(&pod.namespace, MAX_NAME_BYTES);
    let name = (!name.is_empty()).then(|| format!("k8s:io.kubernetes.pod.namespace={name}"));
    let mut labels: Vec<String> = own.chain(namespace).chain(name).collect();
    labels.sort();
    trim(&mut labels);
    let short = |text: &str| beginning(text, MAX_NAME_BYTES).to_owned();
    let workloads = pod.workloads.iter().take(MAX_WORKLOADS);
    Endpoint {
        namespace: short(&pod.namespace),
        pod_name: short(&pod.name),
        labels,
        workloads: workloads.map(|load| Workload { name: short(&load.name), kind: short(&load.kind) }).collect(),
        container_id: (!pod.container_id.is_empty()).then(|| Arc::from(beginning(&pod.container_id, MAX_NAME_BYTES))),
        ..Endpoint::default()
    }
}

/// Leaves out labels past the limit, and says how many.
fn trim(labels: &mut Vec<String>) {
    let mut left = MAX_LABEL_BYTES;
    let kept = labels.iter().take_while(|label| {
        let bytes = json_bytes(label);
        let fits = bytes <= left;
        left = left.saturating_sub(bytes);
        fits
    });
    let kept = kept.count();
    if kept < labels.len() {
        let left_out = labels.len() - kept;
        labels.truncate(kept);
        labels.push(format!("{LEFT_OUT}{left_out}"));
    }
}

/// Bytes that a text takes in a JSON array.
pub(crate) fn json_bytes(text: &str) -> usize {
    let escaped = text.bytes().map(|byte| match byte {
        b'"' | b'\\' => 2,
        0..=0x1f => 6,
        _ => 1,
    });
    escaped.sum::<usize>() + 3
}

#[cfg(test)]
mod tests {
    use super::*;
    use chainkit_cluster::Objects;

    const CLUSTER: &str = r#"
        {"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"shop","name":"web-5d4f8c-x","labels":
            {"app":"web","pod-template-hash":"5d4f8c"},"ownerReferences":
            [{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web-5d4f8c","uid":"r","controller":true}]},
         "spec":{"containers":[],"nodeName":"n1"},"status":{"hostIP":"10.1.0.1","podIPs":[{"ip":"10.0.0.1"}]}}
        {"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop","labels":{"team":"a"}}}
        {"apiVersion":"v1","kind":"Node","metadata":{"name":"n2"},
         "status":{"addresses":[{"type":"InternalIP","address":"10.1.0.2"}]}}
        {"apiVersion":"v1","kind":"Service","metadata":{"namespace":"shop","name":"web"},
         "spec":{"clusterIP":"172.20.0.10","ports":[{"port":80}]}}"#;

    fn resolver(json: &str) -> Resolver {
        let mut objects = Objects::default();
        assert_eq!(objects.text("test", json), []);
        Resolver::new(Arc::new(Names::new(&objects, &[])), "n1", &["10.1.9.9".parse().unwrap()])
    }

    fn labels(resolver: &Resolver, address: &str) -> Vec<String> {
        resolver.endpoint(&address.parse().unwrap()).map(|end| end.labels.clone()).unwrap_or_default()
    }

    #[test]
    fn a_pod_bears_its_labels_its_namespace_and_its_workload() {
        let resolver = resolver(CLUSTER);
        let pod = resolver.endpoint(&"10.0.0.1".parse().unwrap()).unwrap();
        assert_eq!((pod.namespace.as_str(), pod.pod_name.as_str()), ("shop", "web-5d4f8c-x"));
        assert_eq!(
            pod.labels,
            [
                "k8s:app=web",
                "k8s:io.cilium.k8s.namespace.labels.team=a",
                "k8s:io.kubernetes.pod.namespace=shop",
                "k8s:pod-template-hash=5d4f8c"
            ]
        );
        assert_eq!(pod.workloads, [Workload { name: "web".into(), kind: "Deployment".into() }]);
    }

    #[test]
    fn nodes_and_the_world_are_told_apart() {
        let resolver = resolver(CLUSTER);
        assert_eq!(labels(&resolver, "10.1.0.1"), ["reserved:host"], "by the name of the node");
        assert_eq!(labels(&resolver, "10.1.9.9"), ["reserved:host"], "an address of this host");
        assert_eq!(labels(&resolver, "10.1.0.2"), ["reserved:remote-node"]);
        assert_eq!(labels(&resolver, "192.0.2.1"), ["reserved:world"]);
        for nobody in ["172.20.0.10", "127.0.0.1", "169.254.1.1", "224.0.0.1", "fe80::1", "ff02::1", "0.0.0.0"] {
            assert_eq!(labels(&resolver, nobody), [""; 0], "{nobody}");
        }
    }

    #[test]
    fn without_a_cluster_nothing_lies_outside_of_it() {
        assert_eq!(labels(&Resolver::default(), "192.0.2.1"), [""; 0]);
    }

    #[test]
    fn labels_are_trimmed_with_a_mark() {
        let mut many: Vec<String> = (0..10_000).map(|n| format!("k8s:label-{n:05}=\"")).collect();
        trim(&mut many);
        let bytes: usize = serde_json::to_string(&many).unwrap().len();
        assert!(bytes < MAX_LABEL_BYTES + 64, "{bytes}");
        let kept = many.len() - 1;
        assert_eq!(many[kept], format!("chainkit:labels-left-out={}", 10_000 - kept));
    }
}
