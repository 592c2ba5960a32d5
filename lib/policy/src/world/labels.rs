//! What has labels, by label.

use std::collections::{BTreeSet, HashMap};

use chainkit_cluster::model::Labels;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{put_in_order, take_out};

/// Things with labels, found by label.
#[derive(Clone, Debug, Default)]
pub(crate) struct LabelIndex {
    by_value: HashMap<String, HashMap<String, Vec<u32>>>,
    by_key: HashMap<String, Vec<u32>>,
    all: BTreeSet<u32>,
}

impl LabelIndex {
    pub(super) fn add(&mut self, id: u32, labels: &Labels) {
        self.all.insert(id);
        for (key, value) in labels {
            if !self.by_key.contains_key(key) {
                self.by_key.insert(key.clone(), Vec::new());
                self.by_value.insert(key.clone(), HashMap::new());
            }
            if let (Some(with_key), Some(values)) = (self.by_key.get_mut(key), self.by_value.get_mut(key)) {
                put_in_order(with_key, id);
                match values.get_mut(value) {
                    Some(with_value) => {
                        put_in_order(with_value, id);
                    }
                    None => {
                        values.insert(value.clone(), vec![id]);
                    }
                }
            }
        }
    }

    pub(super) fn remove(&mut self, id: u32, labels: &Labels) {
        self.all.remove(&id);
        for (key, value) in labels {
            let (Some(with_key), Some(values)) = (self.by_key.get_mut(key), self.by_value.get_mut(key)) else {
                continue;
            };
            take_out(with_key, id);
            if let Some(with_value) = values.get_mut(value) {
                take_out(with_value, id);
                if with_value.is_empty() {
                    values.remove(value);
                }
            }
            if with_key.is_empty() {
                self.by_key.remove(key);
                self.by_value.remove(key);
            }
        }
    }

    /// A superset of what `selector` selects: the shortest list that one of its requirements leaves.
    pub(crate) fn candidates(&self, selector: &LabelSelector) -> Vec<u32> {
        self.shortest(selector).map_or_else(|| self.all.iter().copied().collect(), |lists| lists.concat())
    }

    /// The same where there are no more than `most`.
    pub(crate) fn few_candidates(&self, selector: &LabelSelector, most: usize) -> Option<Vec<u32>> {
        self.shortest(selector).filter(|lists| count(lists) <= most).map(|lists| lists.concat())
    }

    fn shortest(&self, selector: &LabelSelector) -> Option<Vec<&[u32]>> {
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
        offers.into_iter().min_by_key(|lists| count(lists))
    }

    fn with_value(&self, key: &str, value: &str) -> Option<&[u32]> {
        self.by_value.get(key)?.get(value).map(Vec::as_slice)
    }
}

fn count(lists: &[&[u32]]) -> usize {
    lists.iter().map(|list| list.len()).sum()
}
