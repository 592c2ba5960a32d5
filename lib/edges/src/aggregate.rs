//! Flows with equal values of some fields, folded into one.

mod fields;

use std::collections::HashMap;

use chainkit_flow::{Record, Time};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::growth::Growth;
use crate::numbers::{Kept, Latency, Numbers};
use crate::oriented::Side;
use fields::Value;
pub use fields::{By, field_names};

/// Connections that are remembered, so that nothing is counted twice.
const MAX_CONNECTIONS: usize = 131_072;

/// Folds flows.
#[derive(Debug)]
pub struct Aggregates {
    by: Vec<By>,
    growth: Growth,
    groups: HashMap<Box<[Value]>, Kept>,
    max_groups: usize,
    /// Of what there was no room for.
    others: Option<Kept>,
}

impl Aggregates {
    /// By these fields, in at most so many groups. Of connections that were there before `since` only the bytes count that
    /// come from then on; without it, all that is told of them.
    #[must_use]
    pub fn new(by: Vec<By>, max_groups: usize, since: Option<Time>) -> Self {
        let growth = Growth::new(MAX_CONNECTIONS, since);
        Self { by, growth, groups: HashMap::new(), max_groups: max_groups.max(1), others: None }
    }

    /// Takes a record.
    pub fn take(&mut self, record: &Record) {
        self.count(record, true);
    }

    /// Takes the counters of a connection as they are now: bytes and packets, but no flow.
    pub fn counters(&mut self, record: &Record) {
        self.count(record, false);
    }

    fn count(&mut self, record: &Record, is_flow: bool) {
        let Some(flow) = &record.flow else { return };
        let extra = flow.extensions.as_ref().and_then(|extensions| extensions.extra());
        let extra = extra.as_deref();
        let increase = self.growth.take(flow, extra);
        let numbers = Numbers::of(increase.once, is_flow.then_some(&increase.tally));
        if numbers == Numbers::default() {
            return;
        }
        let key: Box<[Value]> = self.by.iter().map(|by| by.of(record, flow, extra, &increase.oriented)).collect();
        let has_room = self.groups.len() < self.max_groups;
        let group = match self.groups.get_mut(&key) {
            Some(group) => group,
            None if has_room => self.groups.entry(key).or_default(),
            None => self.others.get_or_insert_default(),
        };
        group.take(&numbers, flow, &increase);
    }

    /// Whether nothing has come since it was last folded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.others.is_none()
    }

    /// The groups, those of most flows first; counting begins anew from here.
    pub fn fold(&mut self) -> Vec<Aggregate> {
        let mut groups: Vec<(Box<[Value]>, Kept)> = self.groups.drain().collect();
        groups.sort_by(|(one, a), (other, b)| b.numbers.flows.cmp(&a.numbers.flows).then_with(|| one.cmp(other)));
        let mut folded: Vec<Aggregate> = groups
            .into_iter()
            .map(|(values, kept)| Aggregate::new(self.by.iter().copied().zip(values).collect(), &kept, false))
            .collect();
        folded.extend(self.others.take().map(|others| Aggregate::new(Vec::new(), &others, true)));
        folded
    }
}

/// Some flows in one. As JSON it has `"kind":"Aggregate"`; what is not known is null.
#[derive(Clone, Debug, Serialize)]
pub struct Aggregate {
    /// `Aggregate`.
    pub kind: &'static str,
    /// The end of the while in which they came, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
    /// How long that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// What they have in common.
    #[serde(serialize_with = "as_map")]
    pub by: Vec<(By, Value)>,
    /// How many there were.
    pub flows: u64,
    /// Bytes of Ethernet frames, both ways.
    pub bytes: Option<u64>,
    /// To the server.
    pub bytes_to: Option<u64>,
    /// From the server.
    pub bytes_from: Option<u64>,
    /// Packets, both ways.
    pub packets: Option<u64>,
    /// Connections that were new to it.
    pub connections: Option<u64>,
    /// Packets that were dropped.
    pub denied: u64,
    /// Packets that would be dropped were policy enforced.
    pub would_deny: u64,
    /// Requests of applications.
    pub requests: u64,
    /// Requests that failed on the server's side.
    pub errors: u64,
    /// TCP connections that were reset.
    pub resets: u64,
    /// Of requests.
    #[serde(flatten)]
    pub latency: Latency,
    /// The first flow.
    pub first: Option<Time>,
    /// The last flow.
    pub last: Option<Time>,
    /// It stands for all groups that there was no room for.
    #[serde(skip_serializing_if = "is_false")]
    pub others: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn as_map<S: Serializer>(by: &[(By, Value)], json: S) -> Result<S::Ok, S::Error> {
    let mut map = json.serialize_map(Some(by.len()))?;
    for (by, value) in by {
        map.serialize_entry(by.name(), value)?;
    }
    map.end()
}

impl Aggregate {
    fn new(by: Vec<(By, Value)>, kept: &Kept, others: bool) -> Self {
        let numbers = kept.numbers;
        let known = |count: u64| kept.has_counters.then_some(count);
        Self {
            kind: "Aggregate",
            time: None,
            seconds: None,
            by,
            flows: numbers.flows,
            bytes: known(numbers.bytes()),
            bytes_to: known(numbers.bytes_sent),
            bytes_from: known(numbers.bytes_received),
            packets: known(numbers.packets()),
            connections: known(numbers.connections),
            denied: numbers.denied,
            would_deny: numbers.would_deny,
            requests: numbers.requests,
            errors: numbers.errors,
            resets: numbers.resets,
            latency: kept.latency(Side::Client),
            first: kept.first,
            last: kept.last,
            others,
        }
    }
}

#[cfg(test)]
mod tests;
