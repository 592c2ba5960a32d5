//! A connection through a service's address is seen as two: at the client's pod to that address, at the backend's pod to
//! the backend. Here they are put together.

use std::collections::HashMap;
use std::net::IpAddr;

use super::Edges;
use crate::connection::Tracked;
use crate::node::Kind;
use crate::oriented::{Protocol, Tuple};

/// How far apart the beginnings of the two may be: clocks of two nodes, and the way between them.
const SAME_START_NS: i128 = 2_000_000_000;

/// A client's socket.
type Socket = (IpAddr, u16, Protocol);

impl Edges {
    /// For each connection to a service's address the one that its backend's side told of, where it is certain which that
    /// is: there is one of the same client's socket that began at the same time, and no other.
    ///
    /// Where a node masquerades what it forwards, the two have no address in common, and stay two.
    pub(super) fn joined(&self) -> HashMap<Tuple, Tuple> {
        let mut fronts: HashMap<Socket, Vec<(Tuple, &Tracked)>> = HashMap::new();
        for (tuple, tracked) in &self.tracked {
            if tracked.client.beginnings().next().is_some() && self.is_service(tracked.edge) {
                fronts.entry(socket(tuple)).or_default().push((*tuple, tracked));
            }
        }
        if fronts.is_empty() {
            return HashMap::new();
        }
        let mut backs: HashMap<Socket, Vec<(Tuple, &Tracked)>> = HashMap::new();
        for (tuple, tracked) in &self.tracked {
            let seen_by_server_alone =
                tracked.server.beginnings().next().is_some() && tracked.client.beginnings().next().is_none();
            if seen_by_server_alone && fronts.contains_key(&socket(tuple)) {
                backs.entry(socket(tuple)).or_default().push((*tuple, tracked));
            }
        }
        let mut joined = HashMap::new();
        for (socket, fronts) in &fronts {
            let backs = backs.get(socket).map(Vec::as_slice).unwrap_or_default();
            for (front, tracked) in fronts {
                let mut matching = backs.iter().filter(|(_, back)| begin_alike(tracked, back));
                let (Some((back, found)), None) = (matching.next(), matching.next()) else { continue };
                if fronts.iter().filter(|(_, other)| begin_alike(other, found)).count() == 1 {
                    joined.insert(*front, *back);
                }
            }
        }
        joined
    }

    fn is_service(&self, place: usize) -> bool {
        let node = self.edges.get(place).and_then(|edge| self.nodes.get(edge.key.destination));
        node.is_some_and(|node| node.kind == Kind::Service)
    }
}

const fn socket(tuple: &Tuple) -> Socket {
    (tuple.client, tuple.client_port, tuple.protocol)
}

/// Whether each connection of the client's side has one of the server's side.
fn begin_alike(front: &Tracked, back: &Tracked) -> bool {
    front.client.beginnings().all(|a| back.server.beginnings().any(|b| (a - b).abs() <= SAME_START_NS))
}
