//! Pairs of selectors and the groups of pods they select, each pair resolved once.
//!
//! Both ways are quick: which groups a new pair selects, through the labels' index of the world; and which pairs select a
//! new group, through an index of what each pair asks for.

use std::collections::HashMap;
use std::fmt;

use chainkit_cluster::selector;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::world::{Group, GroupId, World, place, put_in_order, take_out};

/// A pair of selectors, by its place in [`Selections`].
pub type SelectionId = u32;

/// Where the pods of a selection are looked for.
#[derive(Clone, Debug)]
pub enum Within {
    /// In one namespace.
    Namespace(String),
    /// In the namespaces a selector selects.
    Namespaces(LabelSelector),
}

/// A pair of selectors, resolved.
#[derive(Clone, Debug)]
pub struct Selection {
    within: Within,
    pods: LabelSelector,
    /// Whether it selects every pod there is or will be.
    pub is_everywhere: bool,
    /// The groups it selects, in order; none are kept of one that selects every pod.
    pub groups: Vec<GroupId>,
    held: u32,
    key: String,
}

/// What a group must have for a selection to be worth a look.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Asks {
    Namespace(String),
    Label(String, String),
    Key(String),
    NamespaceLabel(String, String),
    NamespaceKey(String),
    Nothing,
}

/// Selectors resolved to groups, each pair of selectors once.
#[derive(Clone, Debug, Default)]
pub struct Selections {
    all: Vec<Option<Selection>>,
    free: Vec<SelectionId>,
    ids: HashMap<String, SelectionId>,
    by_need: HashMap<Asks, Vec<SelectionId>>,
    /// By group the selections that select it, in order, but for those that select everything.
    of_group: Vec<Vec<SelectionId>>,
}

impl Selections {
    /// Holds a pair of selectors once more.
    pub(crate) fn hold(&mut self, world: &World<'_>, within: Within, pods: &LabelSelector) -> SelectionId {
        let key = match &within {
            Within::Namespace(name) => format!("={name}|{pods:?}"),
            Within::Namespaces(selector) => format!("{selector:?}|{pods:?}"),
        };
        if let Some(id) = self.ids.get(&key) {
            if let Some(selection) = self.all.get_mut(*id as usize).and_then(Option::as_mut) {
                selection.held += 1;
            }
            return *id;
        }
        let id = self.free.pop().unwrap_or_else(|| place(self.all.len()));
        let is_everywhere =
            matches!(&within, Within::Namespaces(selector) if selector::is_empty(selector)) && selector::is_empty(pods);
        let mut selection =
            Selection { within, pods: pods.clone(), is_everywhere, groups: Vec::new(), held: 1, key: key.clone() };
        if !is_everywhere {
            selection.groups = selection.resolve(world);
            // The last group is the highest.
            let count = selection.groups.last().map_or(0, |last| *last as usize + 1);
            self.of_group.resize(self.of_group.len().max(count), Vec::new());
            for group in &selection.groups {
                if let Some(selecting) = self.of_group.get_mut(*group as usize) {
                    put_in_order(selecting, id);
                }
            }
            for need in selection.needs() {
                self.by_need.entry(need).or_default().push(id);
            }
        }
        match self.all.get_mut(id as usize) {
            Some(free) => *free = Some(selection),
            None => self.all.push(Some(selection)),
        }
        self.ids.insert(key, id);
        id
    }

    /// Holds a pair of selectors that is held already once more.
    pub(crate) fn hold_again(&mut self, id: SelectionId) {
        if let Some(selection) = self.all.get_mut(id as usize).and_then(Option::as_mut) {
            selection.held += 1;
        }
    }

    /// Lets go of a pair of selectors once.
    pub(crate) fn release(&mut self, id: SelectionId) {
        let Some(slot) = self.all.get_mut(id as usize) else {
            return;
        };
        match slot {
            Some(selection) if selection.held > 1 => selection.held -= 1,
            _ => {
                let Some(selection) = slot.take() else { return };
                self.ids.remove(&selection.key);
                for need in selection.needs() {
                    if let Some(ids) = self.by_need.get_mut(&need) {
                        ids.retain(|other| *other != id);
                        if ids.is_empty() {
                            self.by_need.remove(&need);
                        }
                    }
                }
                for group in &selection.groups {
                    if let Some(selecting) = self.of_group.get_mut(*group as usize) {
                        take_out(selecting, id);
                    }
                }
                self.free.push(id);
            }
        }
    }

    /// A selection by its place.
    #[must_use]
    pub fn get(&self, id: SelectionId) -> Option<&Selection> {
        self.all.get(id as usize)?.as_ref()
    }

    /// The selections that select a group, in order, but for those that select everything.
    #[must_use]
    pub fn of_group(&self, group: GroupId) -> &[SelectionId] {
        self.of_group.get(group as usize).map_or(&[], Vec::as_slice)
    }

    /// Finds anew which selections select a group that is new, or whose namespace has other labels; tells whether others do.
    pub(crate) fn regroup(&mut self, world: &World<'_>, id: GroupId) -> bool {
        let selected = world.group(id).map(|group| self.selecting(world, group)).unwrap_or_default();
        let before = self.set_of_group(id, selected.clone());
        if before == selected {
            return false;
        }
        for gone in before.iter().filter(|has| selected.binary_search(has).is_err()) {
            if let Some(selection) = self.all.get_mut(*gone as usize).and_then(Option::as_mut) {
                take_out(&mut selection.groups, id);
            }
        }
        for new in &selected {
            if let Some(selection) = self.all.get_mut(*new as usize).and_then(Option::as_mut) {
                put_in_order(&mut selection.groups, id);
            }
        }
        true
    }

    /// Forgets a group.
    pub(crate) fn forget_group(&mut self, id: GroupId) {
        for selection in self.set_of_group(id, Vec::new()) {
            if let Some(selection) = self.all.get_mut(selection as usize).and_then(Option::as_mut) {
                take_out(&mut selection.groups, id);
            }
        }
    }

    /// Sets what selects a group, and gives what did.
    fn set_of_group(&mut self, group: GroupId, selecting: Vec<SelectionId>) -> Vec<SelectionId> {
        let at = group as usize;
        if self.of_group.len() <= at {
            self.of_group.resize(at + 1, Vec::new());
        }
        self.of_group.get_mut(at).map(|of_group| std::mem::replace(of_group, selecting)).unwrap_or_default()
    }

    fn selecting(&self, world: &World<'_>, group: &Group) -> Vec<SelectionId> {
        let Some(namespace) = world.namespaces.get(group.namespace as usize) else {
            return Vec::new();
        };
        let mut needs = vec![Asks::Nothing, Asks::Namespace(namespace.name.to_string())];
        for (key, value) in world.labels(group) {
            needs.push(Asks::Label(key.clone(), value.clone()));
            needs.push(Asks::Key(key.clone()));
        }
        for (key, value) in &namespace.labels {
            needs.push(Asks::NamespaceLabel(key.clone(), value.clone()));
            needs.push(Asks::NamespaceKey(key.clone()));
        }
        let asked = needs.iter().filter_map(|need| self.by_need.get(need)).flatten().copied();
        let mut selecting: Vec<SelectionId> =
            asked.filter(|id| self.get(*id).is_some_and(|selection| selection.selects(world, group))).collect();
        selecting.sort_unstable();
        selecting.dedup();
        selecting
    }
}

impl fmt::Display for Selection {
    /// The pair of selectors, for messages.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.key)
    }
}

impl Selection {
    /// Whether it selects a group.
    fn selects(&self, world: &World<'_>, group: &Group) -> bool {
        let Some(namespace) = world.namespaces.get(group.namespace as usize) else {
            return false;
        };
        let within = match &self.within {
            Within::Namespace(name) => *name == *namespace.name,
            Within::Namespaces(selector) => selector::matches(selector, &namespace.labels),
        };
        within && selector::matches(&self.pods, world.labels(group))
    }

    /// What a group must have, any of these, for this to select it.
    fn needs(&self) -> Vec<Asks> {
        if let Within::Namespace(name) = &self.within {
            return vec![Asks::Namespace(name.clone())];
        }
        let needs = |selector: &LabelSelector, label: fn(String, String) -> Asks, has: fn(String) -> Asks| {
            if let Some((key, value)) = selector.match_labels.iter().flatten().next() {
                return Some(vec![label(key.clone(), value.clone())]);
            }
            let mut expressions = selector.match_expressions.iter().flatten();
            let one = expressions.find(|one| matches!(one.operator.as_str(), "In" | "Exists"))?;
            Some(match one.operator.as_str() {
                "In" => one.values.iter().flatten().map(|value| label(one.key.clone(), value.clone())).collect(),
                _ => vec![has(one.key.clone())],
            })
        };
        let of_pods = needs(&self.pods, Asks::Label, Asks::Key);
        let of_namespace = || match &self.within {
            Within::Namespaces(selector) => needs(selector, Asks::NamespaceLabel, Asks::NamespaceKey),
            Within::Namespace(_) => None,
        };
        of_pods.or_else(of_namespace).unwrap_or_else(|| vec![Asks::Nothing])
    }

    fn resolve(&self, world: &World<'_>) -> Vec<GroupId> {
        let mut groups = match &self.within {
            Within::Namespaces(selector) if selector::is_empty(selector) => {
                let mut groups = world.pod_labels.candidates(&self.pods);
                groups.retain(|id| self.selects_labels(world, *id));
                groups
            }
            Within::Namespaces(selector) => {
                let mut namespaces = world.namespace_labels.candidates(selector);
                namespaces.retain(|id| {
                    let namespace = world.namespaces.get(*id as usize);
                    namespace.is_some_and(|namespace| selector::matches(selector, &namespace.labels))
                });
                self.in_namespaces(world, &namespaces)
            }
            Within::Namespace(name) => self.in_namespaces(world, world.namespace(name).as_slice()),
        };
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    fn in_namespaces(&self, world: &World<'_>, namespaces: &[u32]) -> Vec<GroupId> {
        if world.count_in_all(namespaces) <= 64 || selector::is_empty(&self.pods) {
            let groups = namespaces.iter().flat_map(|id| world.groups_in(*id));
            return groups.filter(|id| self.selects_labels(world, *id)).collect();
        }
        let mut inside = vec![false; world.namespaces.len()];
        for id in namespaces {
            if let Some(inside) = inside.get_mut(*id as usize) {
                *inside = true;
            }
        }
        let mut groups = world.pod_labels.candidates(&self.pods);
        groups.retain(|id| {
            let namespace = world.group(*id).map(|group| group.namespace as usize);
            namespace.and_then(|at| inside.get(at)).copied().unwrap_or(false) && self.selects_labels(world, *id)
        });
        groups
    }

    fn selects_labels(&self, world: &World<'_>, group: GroupId) -> bool {
        world.group(group).is_some_and(|group| selector::matches(&self.pods, world.labels(group)))
    }
}
