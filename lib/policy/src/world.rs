//! The cluster's workloads, interned: pods that no label selector can tell apart are one *group*, found through an
//! index of labels rather than one by one.

mod labels;

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use chainkit_cluster::model::{Cluster, Labels, NAMESPACE_NAME_LABEL};

use crate::flow::Scope;
pub(crate) use labels::LabelIndex;

/// Pods of one namespace with one set of labels, by its place in [`World::groups`].
pub type GroupId = u32;

/// Pods and templates that no label selector can tell apart. Those on the host's network are in none: they are their node.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// The namespace, by its place in [`World::namespaces`].
    pub namespace: u32,
    /// The workloads, by their place in the cluster, in order; none where the place of the group is free.
    pub members: Vec<u32>,
    /// Those of them that are subjects, in order.
    pub subjects: Vec<u32>,
}

/// A namespace that a workload stands in, or that was given.
#[derive(Clone, Debug, Default)]
pub struct KnownNamespace {
    /// Its name.
    pub name: Arc<str>,
    /// Its labels, its name among them.
    pub labels: Labels,
    /// Whether it was given, and not only mentioned.
    given: bool,
    /// Its groups, by a number that goes with the labels that make them.
    groups: HashMap<u64, Vec<GroupId>>,
    /// How many groups it has.
    count: usize,
    /// Those of them with a subject.
    with_subjects: BTreeSet<GroupId>,
    /// Its workloads, in order.
    workloads: Vec<u32>,
    /// Its pods by name.
    pods: HashMap<String, u32>,
}

/// The cluster with its workloads interned.
#[derive(Clone, Debug)]
pub struct World<'a> {
    /// The objects. A place whose object is gone is empty until another takes it.
    pub cluster: Cow<'a, Cluster>,
    /// Groups of pods.
    pub groups: Vec<Group>,
    /// Each namespace that a workload stands in or that was given, in no order. A free place has one without name and groups.
    pub namespaces: Vec<KnownNamespace>,
    scope: Scope,
    free_groups: Vec<GroupId>,
    free_namespaces: Vec<u32>,
    namespace_ids: HashMap<Arc<str>, u32>,
    /// By place in the cluster: the group, or none for one on its host's network.
    group_of_workload: Vec<Option<GroupId>>,
    /// Workloads that are subjects here.
    subject: Vec<bool>,
    nodes: HashMap<String, u32>,
    node_addresses: HashMap<IpAddr, u32>,
    pods_by_address: HashMap<IpAddr, u32>,
    /// Addresses that more than one pod claims, with all that do.
    contested: HashMap<IpAddr, Vec<u32>>,
    pub(crate) pod_labels: LabelIndex,
    pub(crate) namespace_labels: LabelIndex,
}

/// A number of things that fits a place in a table.
pub(crate) fn place(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// A number that goes with labels: equal for equal ones.
fn hash_of(labels: &Labels) -> u64 {
    let mut hasher = DefaultHasher::new();
    labels.hash(&mut hasher);
    hasher.finish()
}

/// Puts a number into a list in order; tells whether it is new there.
pub(crate) fn put_in_order<T: Copy + Ord>(list: &mut Vec<T>, number: T) -> bool {
    // Most come in order.
    if list.last().is_none_or(|last| *last < number) {
        list.push(number);
        return true;
    }
    let at = list.binary_search(&number);
    if let Err(at) = at {
        list.insert(at, number);
    }
    at.is_err()
}

/// Takes a number out of a list in order; tells whether it was there.
pub(crate) fn take_out<T: Copy + Ord>(list: &mut Vec<T>, number: T) -> bool {
    let at = list.binary_search(&number);
    if let Ok(at) = at {
        list.remove(at);
    }
    at.is_ok()
}

impl<'a> World<'a> {
    /// A world of `cluster` in which no workload has joined yet.
    pub(crate) fn new(cluster: Cow<'a, Cluster>, scope: Scope) -> Self {
        let count = cluster.workloads.len();
        let mut world = Self {
            groups: Vec::new(),
            namespaces: Vec::new(),
            scope,
            free_groups: Vec::new(),
            free_namespaces: Vec::new(),
            namespace_ids: HashMap::new(),
            group_of_workload: vec![None; count],
            subject: vec![false; count],
            nodes: HashMap::new(),
            node_addresses: HashMap::new(),
            pods_by_address: HashMap::with_capacity(count),
            contested: HashMap::new(),
            pod_labels: LabelIndex::default(),
            namespace_labels: LabelIndex::default(),
            cluster,
        };
        for at in 0..world.cluster.namespaces.len() {
            if let Some((name, labels)) =
                world.cluster.namespaces.get(at).map(|has| (has.name.clone(), has.labels.clone()))
            {
                let id = world.namespace_id(&name);
                world.give_namespace(id, true);
                world.set_namespace_labels(id, &labels);
            }
        }
        world.index_nodes();
        world
    }

    /// Reads which node has which name and addresses.
    pub(crate) fn index_nodes(&mut self) {
        self.nodes.clear();
        self.node_addresses.clear();
        for (at, node) in self.cluster.nodes.iter().enumerate().filter(|(_, node)| !node.name.is_empty()) {
            self.nodes.insert(node.name.clone(), place(at));
            for address in &node.addresses {
                self.node_addresses.entry(address.to_canonical()).or_insert(place(at));
            }
        }
    }

    /// The place of a namespace, which is made if it is new.
    pub(crate) fn namespace_id(&mut self, name: &str) -> u32 {
        if let Some(id) = self.namespace_ids.get(name) {
            return *id;
        }
        let id = self.free_namespaces.pop().unwrap_or_else(|| place(self.namespaces.len()));
        let name: Arc<str> = name.into();
        let labels = Labels::from([(NAMESPACE_NAME_LABEL.to_owned(), name.to_string())]);
        self.namespace_labels.add(id, &labels);
        self.namespace_ids.insert(Arc::clone(&name), id);
        let namespace = KnownNamespace { name, labels, ..KnownNamespace::default() };
        match self.namespaces.get_mut(id as usize) {
            Some(free) => *free = namespace,
            None => self.namespaces.push(namespace),
        }
        id
    }

    /// Says whether a namespace is given.
    pub(crate) fn give_namespace(&mut self, id: u32, given: bool) {
        if let Some(namespace) = self.namespaces.get_mut(id as usize) {
            namespace.given = given;
        }
    }

    /// Forgets a namespace that nobody gave and nobody stands in any more.
    pub(crate) fn tidy_namespace(&mut self, name: &str) {
        let Some(id) = self.namespace(name) else { return };
        let Some(namespace) = self.namespaces.get_mut(id as usize) else { return };
        if !namespace.given && namespace.workloads.is_empty() {
            let gone = std::mem::take(namespace);
            self.namespace_labels.remove(id, &gone.labels);
            self.namespace_ids.remove(&gone.name);
            self.free_namespaces.push(id);
        }
    }

    /// Gives a namespace these labels, its name beside; tells whether they differ from those it had.
    pub(crate) fn set_namespace_labels(&mut self, id: u32, labels: &Labels) -> bool {
        let Some(namespace) = self.namespaces.get_mut(id as usize) else {
            return false;
        };
        let mut labels = labels.clone();
        labels.entry(NAMESPACE_NAME_LABEL.to_owned()).or_insert_with(|| namespace.name.to_string());
        if namespace.labels == labels {
            return false;
        }
        self.namespace_labels.remove(id, &namespace.labels);
        self.namespace_labels.add(id, &labels);
        namespace.labels = labels;
        true
    }

    /// Takes in the workload at a place of the cluster; tells its group, and whether that is new. One on its host's network
    /// has no group.
    pub(crate) fn join(&mut self, at: usize) -> Option<(GroupId, bool)> {
        let number = place(at);
        self.group_of_workload.resize(self.group_of_workload.len().max(at + 1), None);
        self.subject.resize(self.subject.len().max(at + 1), false);
        let known = self.namespace_ids.get(self.cluster.workloads.get(at)?.namespace.as_str()).copied();
        let namespace_id = match known {
            Some(id) => id,
            None => {
                let name = self.cluster.workloads.get(at)?.namespace.clone();
                self.namespace_id(&name)
            }
        };
        let workload = self.cluster.workloads.get(at)?;
        let namespace = self.namespaces.get_mut(namespace_id as usize)?;
        put_in_order(&mut namespace.workloads, number);
        if workload.kind == "Pod" {
            namespace.pods.insert(workload.name.clone(), number);
        }
        if workload.host_network {
            return None;
        }
        let is_subject = match &self.scope {
            Scope::All => true,
            Scope::Node(node) => workload.node.as_ref() == Some(node),
        };
        if let Some(subject) = self.subject.get_mut(at) {
            *subject = is_subject;
        }
        let hash = hash_of(&workload.labels);
        let alike = |id: &GroupId| {
            let first = self.groups.get(*id as usize).and_then(|group| group.members.first());
            first.and_then(|at| self.cluster.workloads.get(*at as usize)).map(|has| &has.labels)
                == Some(&workload.labels)
        };
        let found = namespace.groups.get(&hash).and_then(|ids| ids.iter().copied().find(alike));
        let (id, new) = match found {
            Some(id) => (id, false),
            None => {
                let id = self.free_groups.pop().unwrap_or_else(|| place(self.groups.len()));
                namespace.groups.entry(hash).or_default().push(id);
                namespace.count += 1;
                self.pod_labels.add(id, &workload.labels);
                let group = Group { namespace: namespace_id, ..Group::default() };
                match self.groups.get_mut(id as usize) {
                    Some(free) => *free = group,
                    None => self.groups.push(group),
                }
                (id, true)
            }
        };
        if is_subject {
            namespace.with_subjects.insert(id);
        }
        if let Some(group) = self.groups.get_mut(id as usize) {
            put_in_order(&mut group.members, number);
            if is_subject {
                put_in_order(&mut group.subjects, number);
            }
        }
        if let Some(of_workload) = self.group_of_workload.get_mut(at) {
            *of_workload = Some(id);
        }
        let mut contested = Vec::new();
        for address in &workload.addresses {
            let address = address.to_canonical();
            match self.pods_by_address.get(&address).copied() {
                None => {
                    self.pods_by_address.insert(address, number);
                }
                Some(holder) if holder == number => {}
                Some(holder) => {
                    put_in_order(self.contested.entry(address).or_insert_with(|| vec![holder]), number);
                    contested.push(address);
                }
            }
        }
        contested.into_iter().for_each(|address| self.settle_claims(address));
        Some((id, new))
    }

    /// Takes out the workload at a place of the cluster, which is still what it was when it joined; tells its group, and
    /// whether that is gone with it.
    pub(crate) fn leave(&mut self, at: usize) -> Option<(GroupId, bool)> {
        let number = place(at);
        let workload = self.cluster.workloads.get(at)?;
        let addresses = workload.addresses.clone();
        let id = self.namespace_ids.get(workload.namespace.as_str());
        if let Some(namespace) = id.and_then(|id| self.namespaces.get_mut(*id as usize)) {
            take_out(&mut namespace.workloads, number);
            if workload.kind == "Pod" {
                namespace.pods.remove(&workload.name);
            }
        }
        let id = self.group_of_workload.get_mut(at)?.take()?;
        for address in addresses.iter().map(IpAddr::to_canonical) {
            if let Some(claims) = self.contested.get_mut(&address) {
                take_out(claims, number);
                self.settle_claims(address);
            } else if self.pods_by_address.get(&address) == Some(&number) {
                self.pods_by_address.remove(&address);
            }
        }
        if let Some(subject) = self.subject.get_mut(at) {
            *subject = false;
        }
        let group = self.groups.get_mut(id as usize)?;
        take_out(&mut group.members, number);
        take_out(&mut group.subjects, number);
        if group.subjects.is_empty()
            && let Some(namespace) = self.namespaces.get_mut(group.namespace as usize)
        {
            namespace.with_subjects.remove(&id);
        }
        Some((id, group.members.is_empty()))
    }

    /// Frees the place of a group whose last member was the workload at a place of the cluster, which is still what it was.
    pub(crate) fn forget_group(&mut self, id: GroupId, last: usize) {
        let Some(group) = self.groups.get_mut(id as usize).map(std::mem::take) else {
            return;
        };
        let Some(workload) = self.cluster.workloads.get(last) else { return };
        self.pod_labels.remove(id, &workload.labels);
        if let Some(namespace) = self.namespaces.get_mut(group.namespace as usize) {
            let hash = hash_of(&workload.labels);
            namespace.count -= 1;
            if let Some(ids) = namespace.groups.get_mut(&hash) {
                ids.retain(|other| *other != id);
                if ids.is_empty() {
                    namespace.groups.remove(&hash);
                }
            }
        }
        self.free_groups.push(id);
    }

    /// The labels that all members of a group bear.
    #[must_use]
    pub fn labels(&self, group: &Group) -> &Labels {
        static NONE: Labels = Labels::new();
        let first = group.members.first().and_then(|at| self.cluster.workloads.get(*at as usize));
        first.map_or(&NONE, |workload| &workload.labels)
    }

    /// Of pods that claim one address the youngest has it; of equally young ones the first in the cluster.
    fn settle_claims(&mut self, address: IpAddr) {
        let Some(claims) = self.contested.get(&address) else {
            return;
        };
        let age = |at: u32| self.cluster.workloads.get(at as usize).map_or(i64::MIN, |workload| workload.created);
        let holder = claims.iter().copied().max_by_key(|at| (age(*at), Reverse(*at)));
        if claims.len() < 2 {
            self.contested.remove(&address);
        }
        match holder {
            Some(holder) => self.pods_by_address.insert(address, holder),
            None => self.pods_by_address.remove(&address),
        };
    }

    /// The place of a namespace in [`Self::namespaces`].
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<u32> {
        self.namespace_ids.get(name).copied()
    }

    /// The workloads of a namespace, by their places and in order.
    pub(crate) fn workloads_in(&self, namespace: &str) -> &[u32] {
        let namespace = self.namespace(namespace).and_then(|id| self.namespaces.get(id as usize));
        namespace.map_or(&[], |namespace| &namespace.workloads)
    }

    /// The pod of a name.
    pub(crate) fn pod_named(&self, namespace: &str, name: &str) -> Option<u32> {
        self.namespaces.get(self.namespace(namespace)? as usize)?.pods.get(name).copied()
    }

    /// The name of the node whose pods are the subjects; none where all are.
    pub(crate) fn own_node_name(&self) -> Option<&str> {
        match &self.scope {
            Scope::All => None,
            Scope::Node(name) => Some(name),
        }
    }

    /// The node whose pods are the subjects, by its place in the cluster.
    pub(crate) fn own_node(&self) -> Option<u32> {
        self.node(self.own_node_name()?)
    }

    /// The groups of a namespace, in no order.
    pub fn groups_in(&self, namespace: u32) -> impl Iterator<Item = GroupId> + '_ {
        self.namespaces
            .get(namespace as usize)
            .into_iter()
            .flat_map(|namespace| namespace.groups.values().flatten().copied())
    }

    /// Those of them that have a subject.
    pub(crate) fn groups_with_subjects(&self, namespace: u32) -> &BTreeSet<GroupId> {
        static NONE: BTreeSet<GroupId> = BTreeSet::new();
        self.namespaces.get(namespace as usize).map_or(&NONE, |namespace| &namespace.with_subjects)
    }

    fn count_in(&self, namespace: u32) -> usize {
        self.namespaces.get(namespace as usize).map_or(0, |namespace| namespace.count)
    }

    /// How many groups some namespaces have.
    pub(crate) fn count_in_all(&self, namespaces: &[u32]) -> usize {
        namespaces.iter().map(|id| self.count_in(*id)).sum()
    }

    /// The group of a workload; none for one on its host's network.
    #[must_use]
    pub fn group_of(&self, workload: usize) -> Option<GroupId> {
        self.group_of_workload.get(workload).copied().flatten()
    }

    /// A group by its place.
    #[must_use]
    pub fn group(&self, id: GroupId) -> Option<&Group> {
        self.groups.get(id as usize)
    }

    /// Whether a workload is a subject: not on its host's network, and in the scope.
    #[must_use]
    pub fn is_subject(&self, workload: usize) -> bool {
        self.subject.get(workload).copied().unwrap_or(false)
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

    /// The pod that has the address for itself: of several that claim it the youngest, then the first in the cluster.
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
