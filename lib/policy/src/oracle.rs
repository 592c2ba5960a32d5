//! The oracle: it reads the objects themselves, rule by rule, for one flow at a time, and is what the tables are tested
//! against. It is slow and plain on purpose, and shares nothing with the compiler but label selectors and the words in
//! which a flow is put ([`Flow`]).

mod cluster;
mod network;
mod parties;

use chainkit_cluster::model::{Cluster, Tier};

use crate::flow::{Direction, Flow, Options, Scope, Verdict};
use parties::Who;

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

/// What a tier says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Decided(Verdict),
    Nothing,
}

/// One side of a flow with everything a rule can ask for.
struct Question<'q, 'a> {
    cluster: &'a Cluster,
    options: &'q Options,
    direction: Direction,
    /// Whose rules are asked.
    subject: &'q Who<'a>,
    /// The other side.
    peer: &'q Who<'a>,
    flow: &'q Flow,
    /// The destination was chosen by a service: what comes back to its sender has left the pod.
    by_service: bool,
}

/// Judges a flow by the objects.
#[must_use]
pub fn judge(cluster: &Cluster, options: &Options, flow: &Flow) -> Answer {
    let Some(backends) = parties::backends(cluster, flow) else {
        return judge_one(cluster, options, flow, false);
    };
    let mut all = Answer { verdict: Verdict::Allowed, egress: Verdict::Allowed, ingress: Verdict::Allowed };
    for (party, port) in backends {
        let one = judge_one(cluster, options, &Flow { destination: party, port, ..*flow }, true);
        all.egress = all.egress.and(one.egress);
        all.ingress = all.ingress.and(one.ingress);
    }
    all.verdict = all.egress.and(all.ingress);
    all
}

fn judge_one(cluster: &Cluster, options: &Options, flow: &Flow, by_service: bool) -> Answer {
    let source = Who::new(cluster, flow.source);
    let destination = Who::new(cluster, flow.destination);
    let ask =
        |direction, subject, peer| Question { cluster, options, direction, subject, peer, flow, by_service }.answer();
    let egress = ask(Direction::Egress, &source, &destination);
    let ingress = ask(Direction::Ingress, &destination, &source);
    Answer { verdict: egress.and(ingress), egress, ingress }
}

impl Question<'_, '_> {
    fn answer(&self) -> Verdict {
        let Some(pod) = self.subject.pod.filter(|pod| !pod.host_network) else {
            return Verdict::Allowed;
        };
        if let Scope::Node(node) = &self.options.scope
            && pod.node.as_ref() != Some(node)
        {
            return Verdict::Allowed;
        }
        let itself = !self.by_service && pod.kind == "Pod" && self.peer.pod.is_some_and(|peer| std::ptr::eq(peer, pod));
        if itself {
            return Verdict::Allowed;
        }
        if self.direction == Direction::Ingress && self.peer.generates_on_node_of(pod) {
            return Verdict::Allowed;
        }
        let tiers: [&dyn Fn() -> Said; 3] =
            [&|| self.cluster_tier(Tier::Admin), &|| self.network_policies(), &|| self.cluster_tier(Tier::Baseline)];
        let mut said = tiers.iter().map(|tier| tier());
        let decided = said.find_map(|said| match said {
            Said::Decided(verdict) => Some(verdict),
            Said::Nothing => None,
        });
        decided.unwrap_or(Verdict::Allowed)
    }
}
