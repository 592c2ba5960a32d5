//! Objects that come, change and go.

use chainkit_cluster::model::{
    EndpointSlice, Labels, NAMESPACE_NAME_LABEL, Namespace, Node, Object, ObjectName, Service, Workload,
};

use super::{Engine, gone};
use crate::lower::{ADMIN_TIER, BASELINE_TIER, NETWORK_POLICY_TIER};
use crate::world::GroupId;

impl Engine<'_> {
    pub(super) fn set(&mut self, object: Object) {
        match object {
            Object::Namespace(namespace) => self.set_namespace(namespace),
            Object::Node(node) => self.set_node(node),
            Object::Workload(workload) => self.set_workload(workload),
            Object::Service(service) => self.set_service(service),
            Object::EndpointSlice(slice) => self.set_slice(slice),
            Object::NetworkPolicy(policy) => self.set_network_policy(policy),
            Object::ClusterPolicy(policy) => self.set_cluster_policy(policy),
        }
    }

    pub(super) fn remove(&mut self, name: &ObjectName) {
        match name {
            ObjectName::Namespace(name) => self.remove_namespace(name),
            ObjectName::Node(name) => {
                if let Some(at) = self.world.node(name).map(|at| at as usize) {
                    self.put_node(at, gone::node());
                    self.free.nodes.push(at);
                }
            }
            ObjectName::Workload { namespace, kind, name } => {
                if let Some(at) = self.workload_named(namespace, kind, name) {
                    self.leave(at);
                    put(&mut self.world.cluster.to_mut().workloads, at, gone::workload());
                    self.free.workloads.push(at);
                    self.world.tidy_namespace(namespace);
                }
            }
            ObjectName::Service { namespace, name } => {
                if let Some(at) = self.services.named(&self.world, namespace, name) {
                    self.services.leave(&self.world, at);
                    put(&mut self.world.cluster.to_mut().services, at, gone::service());
                    self.free.services.push(at);
                }
            }
            ObjectName::EndpointSlice { namespace, name } => {
                if let Some(at) = self.services.slice_named(namespace, name) {
                    self.services.leave_slice(&self.world, at);
                    put(&mut self.world.cluster.to_mut().endpoint_slices, at, gone::slice());
                    self.free.slices.push(at);
                }
            }
            ObjectName::NetworkPolicy { namespace, name } => {
                if let Some(at) = self.network_policy_named(namespace, name) {
                    self.remove_policy(NETWORK_POLICY_TIER, at);
                }
            }
            ObjectName::ClusterPolicy { kind, name } => {
                if let Some((tier, at)) = self.cluster_policy_named(*kind, name) {
                    self.remove_policy(tier, at);
                }
            }
        }
    }

    fn set_namespace(&mut self, mut namespace: Namespace) {
        namespace.labels.insert(NAMESPACE_NAME_LABEL.to_owned(), namespace.name.clone());
        let (name, labels) = (namespace.name.clone(), namespace.labels.clone());
        let namespaces = &mut self.world.cluster.to_mut().namespaces;
        match namespaces.iter_mut().find(|has| has.name == name) {
            Some(has) => *has = namespace,
            None => namespaces.push(namespace),
        }
        let id = self.world.namespace_id(&name);
        self.world.give_namespace(id, true);
        self.relabel(id, &labels);
    }

    fn remove_namespace(&mut self, name: &str) {
        self.world.cluster.to_mut().namespaces.retain(|has| has.name != name);
        if let Some(id) = self.world.namespace(name) {
            self.world.give_namespace(id, false);
            self.relabel(id, &Labels::new());
            self.world.tidy_namespace(name);
        }
    }

    fn relabel(&mut self, id: u32, labels: &Labels) {
        if !self.world.set_namespace_labels(id, labels) {
            return;
        }
        let groups: Vec<GroupId> = self.world.groups_in(id).collect();
        for group in groups {
            if self.ruleset.selections.regroup(&self.world, group) {
                self.classes.touch_group(group);
            }
            if self.policies_of_group.contains_key(&group) {
                self.lose(group);
                self.gain(group);
            }
        }
    }

    fn set_node(&mut self, node: Node) {
        let at = match self.world.node(&node.name) {
            Some(at) => at as usize,
            None => self.free.nodes.pop().unwrap_or(self.world.cluster.nodes.len()),
        };
        self.put_node(at, node);
    }

    fn put_node(&mut self, at: usize, node: Node) {
        let old = self.world.cluster.nodes.get(at);
        let is_same = |old: &Node| (&old.name, &old.addresses) == (&node.name, &node.addresses);
        let (same, same_labels) = old.map_or((false, false), |old| (is_same(old), old.labels == node.labels));
        let same_name = old.is_some_and(|old| old.name == node.name);
        put(&mut self.world.cluster.to_mut().nodes, at, node);
        if !same {
            self.world.index_nodes();
            self.classes.touch_nodes();
        }
        if !same_labels || !same_name {
            // Which nodes a rule speaks of is known from when it was lowered.
            for tier in [ADMIN_TIER, BASELINE_TIER] {
                for (at, source) in self.places(tier) {
                    if self.speaks_of_nodes(source) {
                        let lowered = self.lowered(tier, source);
                        self.put_policy(tier, at, lowered);
                    }
                }
            }
        }
    }

    fn speaks_of_nodes(&self, source: usize) -> bool {
        let policy = self.world.cluster.cluster_policies.get(source).map(|located| &located.value);
        let rules = policy.into_iter().flat_map(|policy| policy.ingress.iter().chain(&policy.egress));
        rules.flat_map(|rule| &rule.peers).any(|peer| peer.nodes.is_some())
    }

    fn workload_named(&self, namespace: &str, kind: &str, name: &str) -> Option<usize> {
        if kind == "Pod" {
            return self.world.pod_named(namespace, name).map(|at| at as usize);
        }
        let named = |at: &&u32| {
            let workload = self.world.cluster.workloads.get(**at as usize);
            workload.is_some_and(|workload| workload.kind == kind && workload.name == name)
        };
        self.world.workloads_in(namespace).iter().find(named).map(|at| *at as usize)
    }

    fn set_workload(&mut self, workload: Workload) {
        match self.workload_named(&workload.namespace, &workload.kind, &workload.name) {
            Some(at) => {
                if self.world.cluster.workloads.get(at).is_some_and(|old| is_alike(old, &workload)) {
                    put(&mut self.world.cluster.to_mut().workloads, at, workload);
                    return;
                }
                self.leave(at);
                put(&mut self.world.cluster.to_mut().workloads, at, workload);
                self.enter(at);
            }
            None => {
                let at = self.free.workloads.pop().unwrap_or(self.world.cluster.workloads.len());
                put(&mut self.world.cluster.to_mut().workloads, at, workload);
                self.enter(at);
            }
        }
    }

    /// The workload at a place of the cluster comes in.
    pub(super) fn enter(&mut self, at: usize) {
        let joined = self.world.join(at);
        self.classes.join(&self.world, at);
        self.services.touch_workload(&self.world, at);
        let Some((group, new)) = joined else { return };
        if new && self.ruleset.selections.regroup(&self.world, group) {
            self.classes.touch_group(group);
        }
        if self.world.is_subject(at) {
            if self.world.group(group).is_some_and(|group| group.subjects.len() == 1) {
                self.gain(group);
            }
            self.pending.groups.insert(group);
        }
    }

    /// The workload at a place of the cluster, still what it was, goes.
    fn leave(&mut self, at: usize) {
        self.services.touch_workload(&self.world, at);
        self.classes.leave(&self.world, at);
        let was_subject = self.world.is_subject(at);
        let Some((group, empty)) = self.world.leave(at) else { return };
        if was_subject {
            if let Some(id) = self.policy_of_workload.get_mut(at).and_then(Option::take)
                && self.policies.release(id).is_some()
            {
                self.pending.unused.push(id);
            }
            self.pending.gone.push(at);
            if self.world.group(group).is_some_and(|group| group.subjects.is_empty()) {
                self.lose(group);
            }
        }
        if empty {
            self.ruleset.selections.forget_group(group);
            self.world.forget_group(group, at);
        }
    }

    fn set_service(&mut self, service: Service) {
        let known = self.services.named(&self.world, &service.namespace, &service.name);
        if let Some(at) = known {
            self.services.leave(&self.world, at);
        }
        let at = known.or_else(|| self.free.services.pop()).unwrap_or(self.world.cluster.services.len());
        put(&mut self.world.cluster.to_mut().services, at, service);
        self.services.join(&self.world, at);
    }

    fn set_slice(&mut self, slice: EndpointSlice) {
        let known = self.services.slice_named(&slice.namespace, &slice.name);
        if let Some(at) = known {
            self.services.leave_slice(&self.world, at);
        }
        let at = known.or_else(|| self.free.slices.pop()).unwrap_or(self.world.cluster.endpoint_slices.len());
        put(&mut self.world.cluster.to_mut().endpoint_slices, at, slice);
        self.services.join_slice(&self.world, at);
    }
}

/// Puts an object at its place, which is one of them or the next.
pub(super) fn put<T>(all: &mut Vec<T>, at: usize, object: T) {
    match all.get_mut(at) {
        Some(place) => *place = object,
        None => all.push(object),
    }
}

/// Whether two states of a workload are alike to rules.
fn is_alike(old: &Workload, new: &Workload) -> bool {
    let told = |workload: &Workload| (workload.host_network, workload.node.clone(), workload.created);
    told(old) == told(new) && old.labels == new.labels && old.addresses == new.addresses && old.ports == new.ports
}
