//! The oracle: it reads the objects themselves, rule by rule, for one source and destination at a time, and is what the
//! tables are tested against. It is plain on purpose, and shares nothing with the compiler but label selectors and the
//! words in which a flow is put ([`Flow`]).
//!
//! Peers are matched once for two ends ([`between`]) and ports each time they are asked for ([`Between::judge`]), so that
//! every port between them can be asked for.

mod cluster;
mod network;
mod parties;
mod ports;

use chainkit_cluster::model::{Cluster, Tier};

use crate::flow::{Direction, Flow, Options, Party, Scope, Transport, Verdict};
use parties::Who;
use ports::Ports;

/// What the objects say of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Allowed if both sides are.
    pub verdict: Verdict,
    /// What the policies on the source say.
    pub egress: Verdict,
    /// What the policies on the destination say.
    pub ingress: Verdict,
}

impl Answer {
    const ALLOWED: Self = Self { verdict: Verdict::Allowed, egress: Verdict::Allowed, ingress: Verdict::Allowed };

    /// Allowed where both are, side by side.
    fn and(self, other: Self) -> Self {
        let (egress, ingress) = (self.egress.and(other.egress), self.ingress.and(other.ingress));
        Self { verdict: egress.and(ingress), egress, ingress }
    }
}

/// Judges a flow by the objects.
#[must_use]
pub fn judge(cluster: &Cluster, options: &Options, flow: &Flow) -> Answer {
    between(cluster, options, flow.source, flow.destination).judge(flow.transport, flow.port)
}

/// What the objects say of a source and a destination, whatever the port.
#[derive(Clone, Debug)]
pub struct Between<'a> {
    /// To the destination itself; `None` for a service, which nothing is behind but its ports.
    direct: Option<Pair<'a>>,
    /// Ports at which the destination is a service, with the backends that stand for it.
    virtual_ports: Vec<(Transport, u16, Backends<'a>)>,
}

/// What stands behind a port, each with its own port.
type Backends<'a> = Vec<(Pair<'a>, u16)>;

/// Reads what the objects say of a source and a destination.
#[must_use]
pub fn between<'a>(cluster: &'a Cluster, options: &Options, source: Party, destination: Party) -> Between<'a> {
    let pair = |destination, by_service| Pair::new(cluster, options, source, destination, by_service);
    let virtual_ports = parties::virtual_ports(cluster, source, destination).into_iter().map(|port| {
        let backends = port.backends.into_iter().map(|(party, number)| (pair(party, true), number));
        (port.transport, port.number, backends.collect())
    });
    let is_service = matches!(destination, Party::Service(_));
    Between { direct: (!is_service).then(|| pair(destination, false)), virtual_ports: virtual_ports.collect() }
}

impl Between<'_> {
    /// Judges one port, in host byte order; of [`Transport::Other`] that is 0.
    #[must_use]
    pub fn judge(&self, transport: Transport, port: u16) -> Answer {
        let at = self.virtual_ports.iter().find(|(of, number, _)| (*of, *number) == (transport, port));
        match (at, &self.direct) {
            (Some((.., backends)), _) => {
                backends.iter().map(|(pair, port)| pair.judge(transport, *port)).fold(Answer::ALLOWED, Answer::and)
            }
            (None, Some(pair)) => pair.judge(transport, port),
            (None, None) => Answer::ALLOWED,
        }
    }
}

/// What both sides of a source and a destination say.
#[derive(Clone, Debug)]
struct Pair<'a> {
    egress: Side<'a>,
    ingress: Side<'a>,
}

impl<'a> Pair<'a> {
    fn new(cluster: &'a Cluster, options: &Options, source: Party, destination: Party, by_service: bool) -> Self {
        let source = Who::new(cluster, source);
        let destination = Who::new(cluster, destination);
        let ask =
            |direction, subject, peer| Question { cluster, options, direction, subject, peer, by_service }.answer();
        Self {
            egress: ask(Direction::Egress, &source, &destination),
            ingress: ask(Direction::Ingress, &destination, &source),
        }
    }

    fn judge(&self, transport: Transport, port: u16) -> Answer {
        let (egress, ingress) = (self.egress.judge(transport, port), self.ingress.judge(transport, port));
        Answer { verdict: egress.and(ingress), egress, ingress }
    }
}

/// What a tier says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Decided(Verdict),
    Nothing,
}

/// What one rule says to the other end, at these ports.
#[derive(Clone, Debug)]
struct Clause<'a> {
    ports: Ports<'a>,
    said: Said,
}

/// What the policies of one end say to the other: tier by tier what applies to it, of which the first that has the port counts.
/// Without tiers everything is allowed.
#[derive(Clone, Debug, Default)]
struct Side<'a> {
    tiers: Vec<Vec<Clause<'a>>>,
}

impl Side<'_> {
    fn judge(&self, transport: Transport, port: u16) -> Verdict {
        let mut said = self.tiers.iter().filter_map(|clauses| {
            clauses.iter().find(|clause| clause.ports.contain(transport, port)).map(|clause| clause.said)
        });
        let decided = said.find_map(|said| match said {
            Said::Decided(verdict) => Some(verdict),
            Said::Nothing => None,
        });
        decided.unwrap_or(Verdict::Allowed)
    }
}

/// One side of two ends, with everything but the port that a rule can ask for.
struct Question<'q, 'a> {
    cluster: &'a Cluster,
    options: &'q Options,
    direction: Direction,
    /// Whose rules are asked.
    subject: &'q Who<'a>,
    /// The other side.
    peer: &'q Who<'a>,
    /// The destination was chosen by a service: what comes back to its sender has left the pod.
    by_service: bool,
}

impl<'a> Question<'_, 'a> {
    fn answer(&self) -> Side<'a> {
        let Some(pod) = self.subject.pod.filter(|pod| !pod.host_network) else {
            return Side::default();
        };
        if let Scope::Node(node) = &self.options.scope
            && pod.node.as_ref() != Some(node)
        {
            return Side::default();
        }
        let itself = !self.by_service && pod.kind == "Pod" && self.peer.pod.is_some_and(|peer| std::ptr::eq(peer, pod));
        if itself {
            return Side::default();
        }
        if self.direction == Direction::Ingress && self.peer.generates_on_node_of(pod) {
            return Side::default();
        }
        Side {
            tiers: vec![
                self.cluster_tier(Tier::Admin, pod),
                self.network_policies(pod),
                self.cluster_tier(Tier::Baseline, pod),
            ],
        }
    }
}
