//! A cluster as it is now, kept from changes.

mod finish;

use std::collections::HashMap;

use k8s_openapi::api::networking::v1::NetworkPolicy;

use crate::model::{
    Change, Cluster, ClusterPolicy, EndpointSlice, Located, Named, Namespace, Node, Object, ObjectName, Service,
    Workload,
};
use crate::saved::Shelves;

/// The objects of a cluster as they are now: what [`Change`]s have made of them.
#[derive(Clone, Debug, Default)]
pub struct ClusterState {
    namespaces: Shelf<Namespace>,
    nodes: Shelf<Node>,
    workloads: Shelf<Workload>,
    services: Shelf<Service>,
    endpoint_slices: Shelf<EndpointSlice>,
    network_policies: Shelf<Located<NetworkPolicy>>,
    cluster_policies: Shelf<Located<ClusterPolicy>>,
}

impl ClusterState {
    /// Takes a change in, and gives back the object that it replaced or removed.
    pub fn apply(&mut self, change: Change) -> Option<Object> {
        match change {
            Change::Set(object) => self.set(*object),
            Change::Remove(name) => self.remove(&name),
        }
    }

    fn set(&mut self, object: Object) -> Option<Object> {
        let name = object.name();
        match object {
            Object::Namespace(object) => self.namespaces.put(name, object).map(Object::Namespace),
            Object::Node(object) => self.nodes.put(name, object).map(Object::Node),
            Object::Workload(object) => self.workloads.put(name, object).map(Object::Workload),
            Object::Service(object) => self.services.put(name, object).map(Object::Service),
            Object::EndpointSlice(object) => self.endpoint_slices.put(name, object).map(Object::EndpointSlice),
            Object::NetworkPolicy(object) => self.network_policies.put(name, object).map(Object::NetworkPolicy),
            Object::ClusterPolicy(object) => self.cluster_policies.put(name, object).map(Object::ClusterPolicy),
        }
    }

    fn remove(&mut self, name: &ObjectName) -> Option<Object> {
        match name {
            ObjectName::Namespace(_) => self.namespaces.take(name).map(Object::Namespace),
            ObjectName::Node(_) => self.nodes.take(name).map(Object::Node),
            ObjectName::Workload { .. } => self.workloads.take(name).map(Object::Workload),
            ObjectName::Service { .. } => self.services.take(name).map(Object::Service),
            ObjectName::EndpointSlice { .. } => self.endpoint_slices.take(name).map(Object::EndpointSlice),
            ObjectName::NetworkPolicy { .. } => self.network_policies.take(name).map(Object::NetworkPolicy),
            ObjectName::ClusterPolicy { .. } => self.cluster_policies.take(name).map(Object::ClusterPolicy),
        }
    }

    /// The objects as they were given, by kind.
    pub(crate) fn shelves(&self) -> Shelves<'_> {
        Shelves {
            namespaces: &self.namespaces.objects,
            nodes: &self.nodes.objects,
            workloads: &self.workloads.objects,
            services: &self.services.objects,
            endpoint_slices: &self.endpoint_slices.objects,
            network_policies: &self.network_policies.objects,
            cluster_policies: &self.cluster_policies.objects,
        }
    }

    /// The objects as they were given.
    pub(crate) fn into_objects(self) -> impl Iterator<Item = Object> {
        let namespaces = self.namespaces.objects.into_iter().map(Object::Namespace);
        let nodes = self.nodes.objects.into_iter().map(Object::Node);
        let workloads = self.workloads.objects.into_iter().map(Object::Workload);
        let services = self.services.objects.into_iter().map(Object::Service);
        let slices = self.endpoint_slices.objects.into_iter().map(Object::EndpointSlice);
        let network_policies = self.network_policies.objects.into_iter().map(Object::NetworkPolicy);
        let cluster_policies = self.cluster_policies.objects.into_iter().map(Object::ClusterPolicy);
        let policies = network_policies.chain(cluster_policies);
        namespaces.chain(nodes).chain(workloads).chain(services).chain(slices).chain(policies)
    }

    /// How many objects there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.namespaces.objects.len()
            + self.nodes.objects.len()
            + self.workloads.objects.len()
            + self.services.objects.len()
            + self.endpoint_slices.objects.len()
            + self.network_policies.objects.len()
            + self.cluster_policies.objects.len()
    }

    /// Whether there is any policy.
    #[must_use]
    pub const fn has_policies(&self) -> bool {
        !self.network_policies.objects.is_empty() || !self.cluster_policies.objects.is_empty()
    }

    /// Whether there is no object.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The cluster as it is now. Namespaces that were only mentioned are added, owners are followed to the outermost one,
    /// and all is in order.
    #[must_use]
    pub fn cluster(&self) -> Cluster {
        self.clone().into_cluster()
    }

    /// The same, without a copy.
    #[must_use]
    pub fn into_cluster(self) -> Cluster {
        finish::finish(Cluster {
            namespaces: self.namespaces.objects,
            nodes: self.nodes.objects,
            workloads: self.workloads.objects,
            services: self.services.objects,
            endpoint_slices: self.endpoint_slices.objects,
            network_policies: self.network_policies.objects,
            cluster_policies: self.cluster_policies.objects,
            ..Cluster::default()
        })
    }
}

/// Objects of a kind, in no order that means anything.
#[derive(Clone, Debug)]
struct Shelf<T> {
    objects: Vec<T>,
    places: HashMap<ObjectName, usize>,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { objects: Vec::new(), places: HashMap::new() }
    }
}

impl<T: Named> Shelf<T> {
    /// Keeps an object; one that was there under its name is replaced and given back.
    fn put(&mut self, name: ObjectName, new: T) -> Option<T> {
        if let Some(old) = self.places.get(&name).and_then(|place| self.objects.get_mut(*place)) {
            return Some(std::mem::replace(old, new));
        }
        self.places.insert(name, self.objects.len());
        self.objects.push(new);
        None
    }

    /// Takes an object off; the last one comes into its place.
    fn take(&mut self, name: &ObjectName) -> Option<T> {
        let place = self.places.remove(name)?;
        let taken = self.objects.swap_remove(place);
        if let Some(moved) = self.objects.get(place) {
            self.places.insert(moved.name(), place);
        }
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::model::Origin;

    fn namespace(name: &str, mark: &str) -> Change {
        let labels = BTreeMap::from([("mark".to_owned(), mark.to_owned())]);
        let namespace = Namespace { name: name.to_owned(), labels, mode: None, origin: Origin::none() };
        Change::Set(Box::new(Object::Namespace(namespace)))
    }

    fn marks(cluster: &Cluster) -> Vec<(&str, &str)> {
        cluster.namespaces.iter().map(|space| (space.name.as_str(), space.labels["mark"].as_str())).collect()
    }

    #[test]
    fn a_change_gives_back_what_was_there() {
        let mut state = ClusterState::default();
        assert!(state.apply(namespace("a", "1")).is_none());
        let old = state.apply(namespace("a", "2")).unwrap();
        assert!(matches!(old, Object::Namespace(old) if old.labels["mark"] == "1"));
        assert!(state.apply(Change::Remove(ObjectName::Namespace("b".to_owned()))).is_none());
        assert!(state.apply(Change::Remove(ObjectName::Namespace("a".to_owned()))).is_some());
        assert!(state.is_empty());
    }

    proptest! {
        #[test]
        fn it_holds_what_a_plain_map_would(changes in proptest::collection::vec((0u8..8, 0u8..4), 0..60)) {
            let mut state = ClusterState::default();
            let mut plain = BTreeMap::new();
            for (name, mark) in changes {
                let (name, mark) = (format!("n{name}"), mark.to_string());
                if mark == "0" {
                    plain.remove(&name);
                    state.apply(Change::Remove(ObjectName::Namespace(name)));
                } else {
                    state.apply(namespace(&name, &mark));
                    plain.insert(name, mark);
                }
            }
            prop_assert_eq!(state.len(), plain.len());
            let plain: Vec<(&str, &str)> = plain.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            let cluster = state.cluster();
            prop_assert_eq!(marks(&cluster), plain);
        }
    }
}
