//! What has been quiet for long is let go of, so that a map that is watched for days stays one of what goes on.

use std::collections::HashMap;

use chainkit_flow::Time;

use super::{Edges, Gathered, Key};
use crate::connection::Tracked;
use crate::oriented::Tuple;

impl Edges {
    /// Lets go of connections and edges of which no flow was at `since` or later. One that speaks again after that is
    /// new: of what its connections carried before, nothing counts.
    pub fn let_go_of_idle(&mut self, since: Time) {
        let is_idle = |last: Option<Time>| last.is_none_or(|last| last < since);
        let idle = self.tracked.iter().filter(|(_, tracked)| is_idle(tracked.tally.last));
        let idle: Vec<Tuple> = idle.map(|(tuple, _)| *tuple).collect();
        self.settle(idle);
        let mut kept: Vec<bool> = self.edges.iter().map(|edge| !is_idle(edge.tally.last)).collect();
        for tracked in self.tracked.values() {
            if let Some(kept) = kept.get_mut(tracked.edge) {
                *kept = true;
            }
        }
        if kept.contains(&false) {
            self.keep(&kept);
        }
    }

    /// Keeps these edges, and nodes that they need; all are numbered anew.
    fn keep(&mut self, kept: &[bool]) {
        let mut places = HashMap::new();
        for (place, _) in kept.iter().enumerate().filter(|(_, kept)| **kept) {
            places.insert(place, places.len());
        }
        let nodes = std::mem::take(&mut self.nodes);
        let edges = std::mem::take(&mut self.edges);
        (self.externals, self.numbers, self.places, self.ports) = Default::default();
        let kept = edges.into_iter().zip(kept).filter(|(_, kept)| **kept).map(|(edge, _)| edge);
        for edge in kept {
            let Some((source, destination)) = nodes.get(edge.key.source).zip(nodes.get(edge.key.destination)) else {
                continue;
            };
            let (source, destination) = (self.again(source), self.again(destination));
            let key = Key { source, destination, ..edge.key };
            *self.ports.entry((source, destination)).or_default() += 1;
            self.places.insert(key, self.edges.len());
            let moved = edge.moved.and_then(|to| places.get(&to).copied());
            self.edges.push(Gathered { key, moved, ..edge });
        }
        for tracked in self.tracked.values_mut() {
            // An edge with a connection was kept.
            if let Some(place) = places.get(&tracked.edge) {
                tracked.edge = *place;
            }
        }
    }

    /// The number of a node that was there, from now on.
    fn again(&mut self, node: &crate::node::Node) -> usize {
        if node.is_external() && !self.numbers.contains_key(node) {
            self.externals += 1;
        }
        self.number(node)
    }

    /// Lets go of connections. What they have counted stays with their edges.
    pub(super) fn settle(&mut self, over: impl IntoIterator<Item = Tuple>) {
        for tuple in over {
            let Some(tracked): Option<Tracked> = self.tracked.remove(&tuple) else { continue };
            let beginnings = tracked.client.beginnings().chain(tracked.server.beginnings());
            self.forgotten = self.forgotten.into_iter().chain(beginnings).max();
            if let Some(edge) = self.edges.get_mut(tracked.edge) {
                edge.tally.add(&tracked.tally);
                edge.sums.add(tracked.sums(tuple.protocol));
                edge.knows_connections |= tracked.knows_connections();
            }
        }
    }
}
