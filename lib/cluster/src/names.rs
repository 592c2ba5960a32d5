//! What an address is called.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use crate::endpoint::EndpointRecord;
use crate::objects::{Objects, Service};
use crate::pod::Pod;

/// A service's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ServiceName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What addresses of the cluster are called: pods, services and nodes.
///
/// Two sources meet here. The node's own endpoint records say whose an address is now; Kubernetes objects say it for the
/// rest of the cluster, and give pods their labels and workloads.
#[derive(Clone, Debug, Default)]
pub struct Names {
    pods: HashMap<IpAddr, Arc<Pod>>,
    by_host_interface: HashMap<u32, Arc<Pod>>,
    by_name: HashMap<(String, String), Arc<Pod>>,
    ports: HashMap<(IpAddr, u16, u8), Arc<ServiceName>>,
    cluster_addresses: HashMap<IpAddr, Arc<ServiceName>>,
    nodes: HashMap<IpAddr, Arc<str>>,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    whole_cluster: bool,
}

impl Names {
    /// Names from both sources; where they differ about an address, the record wins.
    #[must_use]
    pub fn new(objects: &Objects, records: &[EndpointRecord]) -> Self {
        let mut names = Self {
            namespaces: objects.namespaces.clone(),
            nodes: objects.node_addresses(),
            whole_cluster: !objects.is_empty(),
            ..Self::default()
        };
        for pod in objects.pods() {
            names.by_name.insert((pod.namespace.clone(), pod.name.clone()), Arc::clone(pod));
            for address in &pod.addresses {
                // An address passes from a pod that ends to one that starts: the younger one has it.
                let old = names.pods.get(address).map_or(i64::MIN, |old| old.created);
                if pod.created >= old {
                    names.pods.insert(*address, Arc::clone(pod));
                }
            }
        }
        for service in objects.services() {
            names.add_service(service);
        }
        for record in records {
            names.add_record(record);
        }
        names
    }

    fn add_service(&mut self, service: &Service) {
        for address in service.cluster.iter().chain(&service.external) {
            for (port, protocol) in &service.ports {
                self.ports.insert((*address, *port, *protocol), Arc::clone(&service.name));
            }
        }
        for address in &service.cluster {
            self.cluster_addresses.insert(*address, Arc::clone(&service.name));
        }
    }

    fn add_record(&mut self, record: &EndpointRecord) {
        let key = (record.namespace.clone(), record.pod_name.clone());
        // A runtime may name no pod; such records have nothing in common.
        let is_named = !record.pod_name.is_empty();
        // A pod of a StatefulSet comes back under its old name: the UID tells whether the object is of this one.
        let object = self
            .by_name
            .get(&key)
            .filter(|_| is_named)
            .filter(|pod| pod.uid == record.pod_uid || pod.uid.is_empty() || record.pod_uid.is_empty());
        let pod = Arc::new(Pod {
            namespace: record.namespace.clone(),
            name: record.pod_name.clone(),
            uid: record.pod_uid.clone(),
            container_id: record.container_id.clone(),
            addresses: record.addresses.iter().map(IpAddr::to_canonical).collect(),
            ..object.map(|object| Pod::clone(object)).unwrap_or_default()
        });
        for address in &pod.addresses {
            self.pods.insert(*address, Arc::clone(&pod));
        }
        for interface in record.interfaces.iter().filter(|interface| interface.host_ifindex != 0) {
            self.by_host_interface.insert(interface.host_ifindex, Arc::clone(&pod));
        }
        if is_named {
            self.by_name.insert(key, pod);
        }
    }

    /// The pod that has an address of its own.
    #[must_use]
    pub fn pod(&self, address: &IpAddr) -> Option<&Arc<Pod>> {
        self.pods.get(address)
    }

    /// The pod behind a host-side interface of this node, by the index of that interface.
    #[must_use]
    pub fn pod_behind(&self, host_ifindex: u32) -> Option<&Arc<Pod>> {
        self.by_host_interface.get(&host_ifindex)
    }

    /// The pod of a name.
    #[must_use]
    pub fn pod_named(&self, namespace: &str, name: &str) -> Option<&Arc<Pod>> {
        self.by_name.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// All pods that have a name, in no order.
    pub fn pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.by_name.values()
    }

    /// Addresses and the pods that have them, in no order.
    pub fn addresses(&self) -> impl Iterator<Item = (&IpAddr, &Arc<Pod>)> {
        self.pods.iter()
    }

    /// Host-side interfaces by index and the pods behind them, in no order.
    pub fn host_interfaces(&self) -> impl Iterator<Item = (u32, &Arc<Pod>)> {
        self.by_host_interface.iter().map(|(ifindex, pod)| (*ifindex, pod))
    }

    /// The service at a virtual address: of this port and IP protocol, or, at a cluster address, of any.
    #[must_use]
    pub fn service(&self, address: &IpAddr, port: u16, protocol: u8) -> Option<&Arc<ServiceName>> {
        self.ports.get(&(*address, port, protocol)).or_else(|| self.cluster_addresses.get(address))
    }

    /// The node that has an address.
    #[must_use]
    pub fn node(&self, address: &IpAddr) -> Option<&Arc<str>> {
        self.nodes.get(address)
    }

    /// Addresses of nodes and the names of those nodes, in no order.
    pub fn nodes(&self) -> impl Iterator<Item = (&IpAddr, &Arc<str>)> {
        self.nodes.iter()
    }

    /// The labels of a namespace, where it was given.
    #[must_use]
    pub fn namespace_labels(&self, namespace: &str) -> Option<&BTreeMap<String, String>> {
        self.namespaces.get(namespace)
    }

    /// Whether objects of the cluster were given, so that an address without a name lies outside of it.
    #[must_use]
    pub const fn knows_cluster(&self) -> bool {
        self.whole_cluster
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::EndpointInterface;

    fn objects(json: &str) -> Objects {
        let mut objects = Objects::default();
        assert_eq!(objects.text("test", json), []);
        objects
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn pod(name: &str, uid: &str, address: &str, created: &str) -> String {
        format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"namespace":"shop","name":"{name}","uid":"{uid}",
                "creationTimestamp":"{created}","labels":{{"app":"{name}"}}}},
                "status":{{"phase":"Running","podIPs":[{{"ip":"{address}"}}]}}}}"#
        )
    }

    #[test]
    fn the_younger_pod_has_an_address_that_two_claim() {
        let old = pod("old", "1", "10.0.0.1", "2026-01-01T00:00:00Z");
        let young = pod("young", "2", "10.0.0.1", "2026-02-01T00:00:00Z");
        for json in [format!("{old}{young}"), format!("{young}{old}")] {
            assert_eq!(Names::new(&objects(&json), &[]).pod(&ip("10.0.0.1")).unwrap().name, "young");
        }
    }

    #[test]
    fn a_record_says_whose_an_address_is_and_objects_give_the_labels() {
        let objects = objects(
            &[
                pod("web", "1", "10.0.0.1", "2026-01-01T00:00:00Z"),
                pod("gone", "2", "10.0.0.2", "2026-01-01T00:00:00Z"),
            ]
            .concat(),
        );
        let record = EndpointRecord {
            namespace: "shop".into(),
            pod_name: "web".into(),
            pod_uid: "1".into(),
            addresses: vec![ip("10.0.0.2"), ip("::ffff:10.0.0.3")],
            interfaces: vec![EndpointInterface { host_ifindex: 7, ..Default::default() }],
            ..Default::default()
        };
        let names = Names::new(&objects, &[record]);
        for address in ["10.0.0.2", "10.0.0.3"] {
            let web = names.pod(&ip(address)).unwrap();
            assert_eq!((web.name.as_str(), web.labels["app"].as_str()), ("web", "web"), "{address}");
        }
        assert_eq!(names.pod_behind(7).unwrap().name, "web");
    }

    #[test]
    fn labels_of_a_namesake_with_another_uid_are_not_taken() {
        let objects = objects(&pod("db-0", "old", "10.0.0.1", "2026-01-01T00:00:00Z"));
        let record = EndpointRecord {
            namespace: "shop".into(),
            pod_name: "db-0".into(),
            pod_uid: "new".into(),
            addresses: vec![ip("10.0.0.9")],
            ..Default::default()
        };
        let names = Names::new(&objects, &[record]);
        assert!(names.pod(&ip("10.0.0.9")).unwrap().labels.is_empty());
    }

    #[test]
    fn records_without_a_pod_are_told_apart_by_their_containers() {
        let record = |container_id: &str, address: &str| EndpointRecord {
            container_id: container_id.into(),
            addresses: vec![ip(address)],
            ..Default::default()
        };
        let names = Names::new(&Objects::default(), &[record("c1", "10.0.0.1"), record("c2", "10.0.0.2")]);
        let pod = |address: &str| names.pod(&ip(address)).unwrap();
        assert_eq!((pod("10.0.0.1").container_id.as_str(), pod("10.0.0.1").name.as_str()), ("c1", ""));
        assert_eq!((pod("10.0.0.2").container_id.as_str(), pod("10.0.0.2").name.as_str()), ("c2", ""));
        assert!(names.pod_named("", "").is_none());
    }

    #[test]
    fn a_service_is_found_by_address_and_port_and_a_cluster_address_by_itself() {
        let service = |name: &str, cluster: &str, external: &str, port: u16, protocol: &str| {
            format!(
                r#"{{"apiVersion":"v1","kind":"Service","metadata":{{"namespace":"shop","name":"{name}"}},
                    "spec":{{"clusterIP":"{cluster}","clusterIPs":["{cluster}"],"externalIPs":["{external}"],
                    "ports":[{{"port":{port},"protocol":"{protocol}"}}]}}}}"#
            )
        };
        let json = [
            service("web", "172.20.0.10", "192.0.2.1", 80, "TCP"),
            service("dns", "172.20.0.11", "192.0.2.1", 53, "UDP"),
            service("headless", "None", "192.0.2.9", 9, "SCTP"),
        ];
        let names = Names::new(&objects(&json.concat()), &[]);
        let name = |address: &str, port, protocol| {
            names.service(&ip(address), port, protocol).map(|service| service.name.as_str())
        };
        assert_eq!(name("172.20.0.10", 80, 6), Some("web"));
        assert_eq!(name("172.20.0.10", 0, 1), Some("web"), "ping of a cluster address");
        assert_eq!(name("192.0.2.1", 80, 6), Some("web"));
        assert_eq!(name("192.0.2.1", 53, 17), Some("dns"));
        assert_eq!(name("192.0.2.1", 53, 6), None, "another protocol");
        assert_eq!(name("192.0.2.1", 443, 6), None, "an external address may be a node's: other ports are its own");
    }

    #[test]
    fn node_addresses_come_from_nodes_and_from_their_pods() {
        let json = r#"
            {"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"},"status":{"addresses":[
                {"type":"InternalIP","address":"10.1.0.1"},{"type":"Hostname","address":"n1"}]}}
            {"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"kube-system","name":"proxy"},
             "spec":{"hostNetwork":true,"nodeName":"n2","containers":[]},
             "status":{"hostIP":"10.1.0.2","podIP":"10.1.0.2","podIPs":[{"ip":"10.1.0.2"}]}}"#;
        let names = Names::new(&objects(json), &[]);
        assert_eq!(names.node(&ip("10.1.0.1")).map(AsRef::as_ref), Some("n1"));
        assert_eq!(names.node(&ip("10.1.0.2")).map(AsRef::as_ref), Some("n2"));
        assert_eq!(names.pod(&ip("10.1.0.2")), None, "a pod on the host's network has no address of its own");
    }
}
