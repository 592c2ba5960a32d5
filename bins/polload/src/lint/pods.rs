//! Which pods selectors select: pods of one namespace with equal labels are looked at once.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use chainkit_cluster::model::{Cluster, Labels, PodSelector, Workload};
use chainkit_cluster::selector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Pods that no selector can tell apart, by their place in [`Pods`].
pub(super) type Group = usize;

/// The cluster's pods by namespace and labels.
pub(super) struct Pods<'a> {
    groups: Vec<Vec<&'a Workload>>,
    labels: Vec<&'a Labels>,
    by_namespace: BTreeMap<&'a str, Vec<Group>>,
    namespaces: HashMap<&'a str, &'a Labels>,
    chosen: RefCell<HashMap<String, Rc<BTreeSet<Group>>>>,
}

impl<'a> Pods<'a> {
    pub(super) fn new(cluster: &'a Cluster) -> Self {
        let mut pods = Self {
            groups: Vec::new(),
            labels: Vec::new(),
            by_namespace: BTreeMap::new(),
            namespaces: HashMap::new(),
            chosen: RefCell::default(),
        };
        for namespace in &cluster.namespaces {
            pods.namespaces.insert(&namespace.name, &namespace.labels);
        }
        let mut places: HashMap<(&str, &Labels), Group> = HashMap::new();
        for workload in &cluster.workloads {
            let place = *places.entry((&workload.namespace, &workload.labels)).or_insert_with(|| {
                pods.groups.push(Vec::new());
                pods.labels.push(&workload.labels);
                let place = pods.groups.len() - 1;
                pods.by_namespace.entry(&workload.namespace).or_default().push(place);
                place
            });
            if let Some(group) = pods.groups.get_mut(place) {
                group.push(workload);
            }
        }
        pods
    }

    /// Pods of the groups.
    pub(super) fn of<'s>(&'s self, groups: &'s BTreeSet<Group>) -> impl Iterator<Item = &'a Workload> + 's {
        groups.iter().filter_map(|group| self.groups.get(*group)).flatten().copied()
    }

    /// What a selector selects in one namespace; no selector is an empty one.
    pub(super) fn within(&self, namespace: &str, pods: Option<&LabelSelector>) -> Rc<BTreeSet<Group>> {
        self.cached(format!("={namespace}|{pods:?}"), || {
            let groups = self.by_namespace.get(namespace).into_iter().flatten();
            groups.copied().filter(|group| self.selects(*group, pods)).collect()
        })
    }

    /// What a selector selects in the namespaces that another selects.
    pub(super) fn among(&self, namespaces: &LabelSelector, pods: Option<&LabelSelector>) -> Rc<BTreeSet<Group>> {
        self.cached(format!("{namespaces:?}|{pods:?}"), || {
            let inside = self.by_namespace.iter().filter(|(name, _)| {
                self.namespaces.get(*name).is_some_and(|labels| selector::matches(namespaces, labels))
            });
            let groups = inside.flat_map(|(_, groups)| groups);
            groups.copied().filter(|group| self.selects(*group, pods)).collect()
        })
    }

    /// The same for a cluster-wide policy's subject or peer, which names one of both.
    pub(super) fn chosen(&self, namespaces: Option<&LabelSelector>, pods: Option<&PodSelector>) -> Rc<BTreeSet<Group>> {
        match (namespaces, pods) {
            (Some(namespaces), _) => self.among(namespaces, None),
            (None, Some(pods)) => self.among(&pods.namespace_selector, Some(&pods.pod_selector)),
            (None, None) => Rc::default(),
        }
    }

    fn selects(&self, group: Group, pods: Option<&LabelSelector>) -> bool {
        let labels = self.labels.get(group);
        pods.is_none_or(|pods| labels.is_some_and(|labels| selector::matches(pods, labels)))
    }

    fn cached(&self, key: String, find: impl FnOnce() -> BTreeSet<Group>) -> Rc<BTreeSet<Group>> {
        if let Some(groups) = self.chosen.borrow().get(&key) {
            return Rc::clone(groups);
        }
        let groups = Rc::new(find());
        self.chosen.borrow_mut().insert(key, Rc::clone(&groups));
        groups
    }
}
