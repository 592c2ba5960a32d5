//! Which pods selectors select: pods of one namespace with equal labels are looked at once.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use chainkit_cluster::model::{Cluster, Labels, PodSelector, Protocol, Workload};
use chainkit_cluster::selector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Pods that no selector can tell apart, by their place in [`Pods`].
pub(super) type Group = usize;

/// The cluster's pods by namespace and labels.
pub(super) struct Pods<'a> {
    groups: Vec<Vec<&'a Workload>>,
    labels: Vec<&'a Labels>,
    namespace_of: Vec<&'a str>,
    by_namespace: BTreeMap<&'a str, Vec<Group>>,
    namespaces: HashMap<&'a str, &'a Labels>,
    /// Groups that have a label.
    by_label: HashMap<&'a str, HashMap<&'a str, Vec<Group>>>,
    chosen: RefCell<Chosen>,
}

/// What selectors have selected.
#[derive(Default)]
struct Chosen {
    known: HashMap<String, Rc<BTreeSet<Group>>>,
    /// How many groups that are.
    groups: usize,
}

/// Groups that are kept of what selectors have selected; with more, it is forgotten.
const MANY_CHOSEN: usize = 1 << 21;

impl<'a> Pods<'a> {
    pub(super) fn new(cluster: &'a Cluster) -> Self {
        let mut pods = Self {
            groups: Vec::new(),
            labels: Vec::new(),
            namespace_of: Vec::new(),
            by_namespace: BTreeMap::new(),
            namespaces: HashMap::new(),
            by_label: HashMap::new(),
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
                pods.namespace_of.push(&workload.namespace);
                for (key, value) in &workload.labels {
                    pods.by_label.entry(key).or_default().entry(value).or_default().push(place);
                }
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
            let inside = self.by_namespace.get(namespace).map_or(&[][..], Vec::as_slice);
            let groups = match self.with_label(pods) {
                Some(with_label) if with_label.len() < inside.len() => with_label,
                _ => inside,
            };
            let is_inside = |group: &Group| self.namespace_of.get(*group) == Some(&namespace);
            groups.iter().copied().filter(|group| is_inside(group) && self.selects(*group, pods)).collect()
        })
    }

    /// What a selector selects in the namespaces that another selects.
    pub(super) fn among(&self, namespaces: &LabelSelector, pods: Option<&LabelSelector>) -> Rc<BTreeSet<Group>> {
        self.cached(format!("{namespaces:?}|{pods:?}"), || {
            let is_inside =
                |name: &str| self.namespaces.get(name).is_some_and(|labels| selector::matches(namespaces, labels));
            if let Some(groups) = self.with_label(pods) {
                let groups = groups.iter().copied().filter(|group| self.selects(*group, pods));
                return groups
                    .filter(|group| self.namespace_of.get(*group).is_some_and(|name| is_inside(name)))
                    .collect();
            }
            let groups = self.by_namespace.iter().filter(|(name, _)| is_inside(name)).flat_map(|(_, groups)| groups);
            groups.copied().filter(|group| self.selects(*group, pods)).collect()
        })
    }

    /// Groups among which all are that a selector selects, if it asks for a label.
    fn with_label(&self, pods: Option<&LabelSelector>) -> Option<&[Group]> {
        let (key, value) = pods?.match_labels.as_ref()?.first_key_value()?;
        let groups = self.by_label.get(key.as_str()).and_then(|by_value| by_value.get(value.as_str()));
        Some(groups.map_or(&[], Vec::as_slice))
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
        if let Some(groups) = self.chosen.borrow().known.get(&key) {
            return Rc::clone(groups);
        }
        let groups = Rc::new(find());
        let mut chosen = self.chosen.borrow_mut();
        if chosen.groups + groups.len() > MANY_CHOSEN {
            *chosen = Chosen::default();
        }
        chosen.groups += groups.len();
        chosen.known.insert(key, Rc::clone(&groups));
        groups
    }
}

/// Names of pods' ports.
pub(super) struct PortNames<'a> {
    names: HashMap<&'a str, BTreeSet<Protocol>>,
    any: bool,
}

impl<'a> PortNames<'a> {
    pub(super) fn of(pods: impl Iterator<Item = &'a Workload>) -> Self {
        let mut names = Self { names: HashMap::new(), any: false };
        for pod in pods {
            names.any = true;
            for port in &pod.ports {
                names.names.entry(&port.name).or_default().insert(port.protocol);
            }
        }
        names
    }

    /// Whether there is any pod.
    pub(super) fn any(&self) -> bool {
        self.any
    }

    /// The protocols of ports of a name.
    pub(super) fn protocols(&self, name: &str) -> &BTreeSet<Protocol> {
        static NONE: BTreeSet<Protocol> = BTreeSet::new();
        self.names.get(name).unwrap_or(&NONE)
    }
}
