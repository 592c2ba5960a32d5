//! Sets of traffic by number, so that what is asked of many pairs is worked out once.

use std::collections::HashMap;
use std::rc::Rc;

use crate::flow::Transport;
use crate::ports::{PortSet, Traffic};
use crate::world::place;

/// Some traffic, by its place in a [`Pool`]; equal numbers are equal traffic.
pub(super) type TrafficId = u32;

/// No traffic at all.
pub(super) const NOTHING: TrafficId = 0;
/// All traffic there is.
pub(super) const EVERYTHING: TrafficId = 1;

/// What either side allows and the other does not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Change {
    pub(super) only: [Traffic; 2],
}

impl Change {
    pub(super) fn union(&self, other: &Self) -> Self {
        Self { only: [self.only[0].union(&other.only[0]), self.only[1].union(&other.only[1])] }
    }
}

/// All that a connection can ask for: every port from 1 on, and protocols without ports.
pub(crate) fn usable_traffic() -> Traffic {
    Transport::ALL.into_iter().fold(Traffic::none(), |mut all, transport| {
        let first = u16::from(transport.last_port() > 0);
        all.add(transport, &PortSet::range(first, transport.last_port()));
        all
    })
}

/// All sets of traffic that were met.
#[derive(Debug)]
pub(super) struct Pool {
    all: Vec<Traffic>,
    ids: HashMap<Traffic, TrafficId>,
    both: HashMap<(TrafficId, TrafficId), TrafficId>,
    changes: HashMap<(TrafficId, TrafficId), Rc<Change>>,
    /// What a connection can ask for: no port 0 but of what has no ports.
    usable: Traffic,
    nothing: Traffic,
}

impl Pool {
    pub(super) fn new() -> Self {
        let mut pool = Self {
            all: Vec::new(),
            ids: HashMap::new(),
            both: HashMap::new(),
            changes: HashMap::new(),
            usable: usable_traffic(),
            nothing: Traffic::none(),
        };
        pool.intern(Traffic::none());
        pool.intern(Traffic::all());
        pool
    }

    /// The number of some traffic, of which what nobody can ask for is left out.
    pub(super) fn intern(&mut self, traffic: Traffic) -> TrafficId {
        let traffic = traffic.intersection(&self.usable);
        if let Some(id) = self.ids.get(&traffic) {
            return *id;
        }
        let id = place(self.all.len());
        self.all.push(traffic.clone());
        self.ids.insert(traffic, id);
        id
    }

    pub(super) fn get(&self, id: TrafficId) -> &Traffic {
        self.all.get(id as usize).unwrap_or(&self.nothing)
    }

    /// What is in both.
    pub(super) fn both(&mut self, one: TrafficId, other: TrafficId) -> TrafficId {
        match (one.min(other), one.max(other)) {
            (NOTHING, _) => NOTHING,
            (EVERYTHING, id) => id,
            (one, other) if one == other => one,
            key => {
                if let Some(id) = self.both.get(&key) {
                    return *id;
                }
                let traffic = self.get(key.0).intersection(self.get(key.1));
                let id = self.intern(traffic);
                self.both.insert(key, id);
                id
            }
        }
    }

    /// What one allows and the other does not; none if they are the same.
    pub(super) fn change(&mut self, a: TrafficId, b: TrafficId) -> Option<Rc<Change>> {
        if a == b {
            return None;
        }
        if let Some(change) = self.changes.get(&(a, b)) {
            return Some(Rc::clone(change));
        }
        let (in_a, in_b) = (self.get(a), self.get(b));
        let change = Rc::new(Change { only: [in_a.difference(in_b), in_b.difference(in_a)] });
        self.changes.insert((a, b), Rc::clone(&change));
        Some(change)
    }
}
