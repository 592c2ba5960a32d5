//! The cluster's workloads, interned: pods that no label selector can tell apart are one *group*, found through an
//! index of labels rather than one by one.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use chainkit_cluster::model::{Cluster, Labels};
use chainkit_cluster::selector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::flow::Scope;

/// Pods of one namespace with one set of labels, by its place in [`World::groups`].
pub type GroupId = u32;

/// Pods and templates that no label selector can tell apart. Those on the host's network are in none: they are their node.
#[derive(Clone, Debug)]
pub struct Group<'a> {
    /// The namespace, by its place in [`World::namespaces`].
    pub namespace: u32,
    /// The labels that all of them bear.
    pub labels: &'a Labels,
    /// The workloads, by their place in the cluster, in order.
    pub members: Vec<u32>,
}

/// Things with labels, found by label.
#[derive(Clone, Debug, Default)]
struct LabelIndex<'a> {
    by_value: HashMap<&'a str, HashMap<&'a str, Vec<u32>>>,
    by_key: HashMap<&'a str, Vec<u32>>,
    count: u32,
}

impl<'a> LabelIndex<'a> {
    fn new(all: impl Iterator<Item = &'a Labels>) -> Self {
        let mut index = Self::default();
        for labels in all {
            for (key, value) in labels {
                index.by_value.entry(key).or_default().entry(value).or_default().push(index.count);
                index.by_key.entry(key).or_default().push(index.count);
            }
            index.count += 1;
        }
        index
    }

    /// A superset of what `selector` selects: the shortest list that one of its requirements leaves.
    fn candidates(&self, selector: &LabelSelector) -> Vec<u32> {
        let labels = selector.match_labels.iter().flatten();
        let mut offers: Vec<Vec<&[u32]>> =
            labels.map(|(key, value)| self.with_value(key, value).into_iter().collect()).collect();
        for requirement in selector.match_expressions.iter().flatten() {
            let key = requirement.key.as_str();
            match requirement.operator.as_str() {
                "In" => {
                    let values: BTreeSet<&str> = requirement.values.iter().flatten().map(String::as_str).collect();
                    offers.push(values.into_iter().filter_map(|value| self.with_value(key, value)).collect());
                }
                "Exists" => offers.push(self.by_key.get(key).map(Vec::as_slice).into_iter().collect()),
                _ => {}
            }
        }
        let shortest = offers.into_iter().min_by_key(|lists| lists.iter().map(|list| list.len()).sum::<usize>());
        shortest.map_or_else(|| (0..self.count).collect(), |lists| lists.concat())
    }

    fn with_value(&self, key: &str, value: &str) -> Option<&[u32]> {
        self.by_value.get(key)?.get(value).map(Vec::as_slice)
    }
}

/// The cluster with its workloads interned.
#[derive(Clone, Debug)]
pub struct World<'a> {
    /// The objects.
    pub cluster: &'a Cluster,
    /// Groups of pods.
    pub groups: Vec<Group<'a>>,
    /// Labels of each namespace that a workload or policy stands in, by name and in order.
    pub namespaces: Vec<(&'a str, Labels)>,
    namespace_ids: HashMap<&'a str, u32>,
    groups_of_namespace: Vec<Vec<GroupId>>,
    group_of_workload: Vec<Option<GroupId>>,
    /// Workloads that are subjects here.
    subject: Vec<bool>,
    nodes: HashMap<&'a str, u32>,
    node_addresses: HashMap<IpAddr, u32>,
    pods_by_address: HashMap<IpAddr, u32>,
}

/// A number of things that fits a place in a table.
pub(crate) fn place(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

impl<'a> World<'a> {
    /// Interns the workloads of `cluster`.
    #[must_use]
    pub fn new(cluster: &'a Cluster, scope: &Scope) -> Self {
        let mut world = Self {
            cluster,
            groups: Vec::new(),
            namespaces: Vec::new(),
            namespace_ids: HashMap::new(),
            groups_of_namespace: Vec::new(),
            group_of_workload: Vec::with_capacity(cluster.workloads.len()),
            subject: Vec::with_capacity(cluster.workloads.len()),
            nodes: HashMap::new(),
            node_addresses: HashMap::new(),
            pods_by_address: HashMap::new(),
        };
        for namespace in &cluster.namespaces {
            world.add_namespace(&namespace.name, Some(&namespace.labels));
        }
        for (at, node) in cluster.nodes.iter().enumerate() {
            world.nodes.insert(&node.name, place(at));
            for address in &node.addresses {
                world.node_addresses.entry(address.to_canonical()).or_insert(place(at));
            }
        }
        let mut ids: HashMap<(u32, &'a Labels), GroupId> = HashMap::new();
        for (at, workload) in cluster.workloads.iter().enumerate() {
            let local = match scope {
                Scope::All => true,
                Scope::Node(node) => workload.node.as_ref() == Some(node),
            };
            world.subject.push(local && !workload.host_network);
            if workload.host_network {
                world.group_of_workload.push(None);
                continue;
            }
            let namespace = world.add_namespace(&workload.namespace, None);
            let id = *ids.entry((namespace, &workload.labels)).or_insert_with(|| {
                world.groups.push(Group { namespace, labels: &workload.labels, members: Vec::new() });
                place(world.groups.len() - 1)
            });
            if let Some(group) = world.groups.get_mut(id as usize) {
                group.members.push(place(at));
            }
            world.group_of_workload.push(Some(id));
            for address in &workload.addresses {
                world.pods_by_address.entry(address.to_canonical()).or_insert(place(at));
            }
        }
        world.groups_of_namespace.resize(world.namespaces.len(), Vec::new());
        for (id, group) in world.groups.iter().enumerate() {
            if let Some(groups) = world.groups_of_namespace.get_mut(group.namespace as usize) {
                groups.push(place(id));
            }
        }
        world
    }

    fn add_namespace(&mut self, name: &'a str, labels: Option<&Labels>) -> u32 {
        if let Some(id) = self.namespace_ids.get(name) {
            return *id;
        }
        let mut labels = labels.cloned().unwrap_or_default();
        labels.entry(chainkit_cluster::model::NAMESPACE_NAME_LABEL.to_owned()).or_insert_with(|| name.to_owned());
        self.namespaces.push((name, labels));
        let id = place(self.namespaces.len() - 1);
        self.namespace_ids.insert(name, id);
        id
    }

    /// The place of a namespace in [`Self::namespaces`].
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<u32> {
        self.namespace_ids.get(name).copied()
    }

    /// The groups of a namespace.
    #[must_use]
    pub fn groups_in(&self, namespace: u32) -> &[GroupId] {
        self.groups_of_namespace.get(namespace as usize).map_or(&[], Vec::as_slice)
    }

    /// The group of a workload; none for one on its host's network.
    #[must_use]
    pub fn group_of(&self, workload: usize) -> Option<GroupId> {
        self.group_of_workload.get(workload).copied().flatten()
    }

    /// Whether a workload is a subject: not on its host's network, and in the scope.
    #[must_use]
    pub fn is_subject(&self, workload: usize) -> bool {
        self.subject.get(workload).copied().unwrap_or(false)
    }

    /// Whether a group has a subject among its members.
    #[must_use]
    pub fn has_subjects(&self, group: &Group<'_>) -> bool {
        group.members.iter().any(|member| self.is_subject(*member as usize))
    }

    /// The node, by its place in the cluster.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<u32> {
        self.nodes.get(name).copied()
    }

    /// The node that has the address.
    #[must_use]
    pub fn node_at(&self, address: IpAddr) -> Option<u32> {
        self.node_addresses.get(&address.to_canonical()).copied()
    }

    /// The pod that has the address for itself. Where several claim it, the first in the cluster.
    #[must_use]
    pub fn pod_at(&self, address: IpAddr) -> Option<usize> {
        self.pods_by_address.get(&address.to_canonical()).map(|at| *at as usize)
    }

    /// Addresses that pods have for themselves, each with its pod.
    pub fn pod_addresses(&self) -> impl Iterator<Item = (IpAddr, usize)> + '_ {
        self.pods_by_address.iter().map(|(address, at)| (*address, *at as usize))
    }

    /// Addresses of nodes, each with its node.
    pub fn node_addresses(&self) -> impl Iterator<Item = (IpAddr, u32)> + '_ {
        self.node_addresses.iter().map(|(address, at)| (*address, *at))
    }
}

/// Groups that a pair of selectors selects, by its place in [`Selections`].
pub type SelectionId = u32;

/// Where the pods of a selection are looked for.
#[derive(Clone, Copy, Debug)]
pub enum Within<'s> {
    /// In one namespace.
    Namespace(&'s str),
    /// In the namespaces a selector selects.
    Namespaces(&'s LabelSelector),
}

/// Selectors resolved to groups, each pair of selectors once.
#[derive(Debug)]
pub struct Selections<'w, 'a> {
    world: &'w World<'a>,
    pods: LabelIndex<'w>,
    namespaces: LabelIndex<'w>,
    ids: HashMap<String, SelectionId>,
    /// The groups of each, in order; `None` is every group.
    resolved: Vec<Option<Arc<[GroupId]>>>,
}

impl<'w, 'a> Selections<'w, 'a> {
    /// Indexes the labels of `world`.
    #[must_use]
    pub fn new(world: &'w World<'a>) -> Self {
        Self {
            world,
            pods: LabelIndex::new(world.groups.iter().map(|group| group.labels)),
            namespaces: LabelIndex::new(world.namespaces.iter().map(|(_, labels)| labels)),
            ids: HashMap::new(),
            resolved: Vec::new(),
        }
    }

    /// The groups of pods that `pods` selects within some namespaces.
    pub fn select(&mut self, within: Within<'_>, pods: &LabelSelector) -> SelectionId {
        let key = match within {
            Within::Namespace(name) => format!("={name}|{pods:?}"),
            Within::Namespaces(selector) => format!("{selector:?}|{pods:?}"),
        };
        if let Some(id) = self.ids.get(&key) {
            return *id;
        }
        let groups = match within {
            Within::Namespaces(selector) if selector::is_empty(selector) && selector::is_empty(pods) => None,
            Within::Namespaces(selector) if selector::is_empty(selector) => Some(self.everywhere(pods)),
            Within::Namespaces(selector) => {
                let mut namespaces = self.namespaces.candidates(selector);
                namespaces.retain(|id| {
                    let namespace = self.world.namespaces.get(*id as usize);
                    namespace.is_some_and(|(_, labels)| selector::matches(selector, labels))
                });
                Some(self.in_namespaces(&namespaces, pods))
            }
            Within::Namespace(name) => Some(self.in_namespaces(self.world.namespace(name).as_slice(), pods)),
        };
        let id = place(self.resolved.len());
        self.resolved.push(groups.map(|mut groups| {
            groups.sort_unstable();
            groups.dedup();
            groups.into()
        }));
        self.ids.insert(key, id);
        id
    }

    fn everywhere(&self, pods: &LabelSelector) -> Vec<GroupId> {
        let mut groups = self.pods.candidates(pods);
        groups.retain(|id| self.matches(*id, pods));
        groups
    }

    fn in_namespaces(&self, namespaces: &[u32], pods: &LabelSelector) -> Vec<GroupId> {
        let all: usize = namespaces.iter().map(|id| self.world.groups_in(*id).len()).sum();
        if all <= 64 || selector::is_empty(pods) {
            let groups = namespaces.iter().flat_map(|id| self.world.groups_in(*id)).copied();
            return groups.filter(|id| self.matches(*id, pods)).collect();
        }
        let mut inside = vec![false; self.world.namespaces.len()];
        for id in namespaces {
            if let Some(inside) = inside.get_mut(*id as usize) {
                *inside = true;
            }
        }
        let mut groups = self.pods.candidates(pods);
        groups.retain(|id| {
            let namespace = self.world.groups.get(*id as usize).map(|group| group.namespace as usize);
            namespace.and_then(|at| inside.get(at)).copied().unwrap_or(false) && self.matches(*id, pods)
        });
        groups
    }

    fn matches(&self, group: GroupId, pods: &LabelSelector) -> bool {
        self.world.groups.get(group as usize).is_some_and(|group| selector::matches(pods, group.labels))
    }

    /// What the selections came to, by their ids; `None` is every group.
    #[must_use]
    pub fn into_resolved(self) -> Vec<Option<Arc<[GroupId]>>> {
        self.resolved
    }
}
