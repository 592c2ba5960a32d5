//! What each flow adds to what was known of its connection: the way from counters that only grow to numbers that can be
//! added up under any heading.

use std::collections::HashMap;

use chainkit_flow::{Extra, Flow, L7FlowType, Time};

use crate::connection::{Tracked, quietest};
use crate::oriented::{Oriented, Side, Tuple};
use crate::tally::{Sums, Tally, is_error};

/// Follows connections, the budget of them bounded.
#[derive(Debug)]
pub(crate) struct Growth {
    tracked: HashMap<Tuple, Tracked>,
    most: usize,
    flows: u64,
    /// Connections that began no later, and are not known, count from what is told of them first.
    forgotten: Option<i128>,
}

/// What a flow adds.
#[derive(Clone, Debug)]
pub(crate) struct Increase {
    pub(crate) oriented: Oriented,
    /// To what its observer's side has told.
    pub(crate) seen: Sums,
    /// To what both sides have told together: of two that see the same, once.
    pub(crate) once: Sums,
    /// Whether it has counters.
    pub(crate) has_counters: bool,
    pub(crate) tally: Tally,
}

impl Growth {
    /// Remembers at most so many connections. Of what was there before `since`, only what comes from then on counts.
    pub(crate) fn new(most: usize, since: Option<Time>) -> Self {
        let forgotten = since.map(|since| since.0.as_nanosecond());
        Self { tracked: HashMap::new(), most: most.max(1), flows: 0, forgotten }
    }

    pub(crate) fn take(&mut self, flow: &Flow, extra: Option<&Extra>) -> Increase {
        let oriented = Oriented::new(flow, extra);
        let tally = Tally::of(flow, extra);
        let has_counters = extra.is_some_and(|extra| extra.connection.is_some());
        let Some(tuple) = oriented.tuple else {
            let sums = without_connection(flow, extra);
            return Increase { oriented, seen: sums, once: sums, has_counters: false, tally };
        };
        self.flows += 1;
        if !self.tracked.contains_key(&tuple) && self.tracked.len() >= self.most {
            self.forget();
        }
        let (side, now, forgotten) = (oriented.observer, self.flows, self.forgotten);
        let tracked = self.tracked.entry(tuple).or_insert_with(|| Tracked::new(0));
        tracked.touched = now;
        let before = (tracked.view(side).sums(tuple.protocol), tracked.sums(tuple.protocol));
        tracked.view(side).take(flow, extra, side, forgotten);
        let after = (tracked.view(side).sums(tuple.protocol), tracked.sums(tuple.protocol));
        Increase { oriented, seen: after.0.since(before.0), once: after.1.since(before.1), has_counters, tally }
    }

    fn forget(&mut self) {
        for tuple in quietest(&self.tracked) {
            let Some(tracked) = self.tracked.remove(&tuple) else { continue };
            let beginnings = tracked.client.beginnings().chain(tracked.server.beginnings());
            self.forgotten = self.forgotten.into_iter().chain(beginnings).max();
        }
    }
}

impl Increase {
    /// What its observer's pod has sent and received more, and the like.
    pub(crate) const fn at_observer(&self) -> Sums {
        match self.oriented.observer {
            Side::Client => self.seen,
            Side::Server => Sums {
                bytes_to: self.seen.bytes_from,
                bytes_from: self.seen.bytes_to,
                packets_to: self.seen.packets_from,
                packets_from: self.seen.packets_to,
                ..self.seen
            },
        }
    }
}

fn without_connection(flow: &Flow, extra: Option<&Extra>) -> Sums {
    let Some(l7) = &flow.l7 else { return Sums::default() };
    Sums {
        requests: u64::from(l7.kind == L7FlowType::Request),
        errors: u64::from(is_error(l7, extra)),
        ..Sums::default()
    }
}
