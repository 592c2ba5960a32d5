//! A verdict with its reason: the tier, policy and rule that decided, where it stands, and why in words.

use std::fmt;
use std::sync::Arc;

use crate::compile::Ground;
use crate::engine::{Engine, SideDecision};
use crate::flow::{Direction, Flow, Transport, Verdict};
use crate::lower::NETWORK_POLICY_TIER;
use crate::rules::Policy;

/// The name of a policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyName {
    /// Its kind.
    pub kind: &'static str,
    /// Its namespace; none for a cluster-wide one.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl fmt::Display for PolicyName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(out, "{} {namespace}/{}", self.kind, self.name),
            None => write!(out, "{} {}", self.kind, self.name),
        }
    }
}

impl From<&Policy> for PolicyName {
    fn from(policy: &Policy) -> Self {
        Self { kind: policy.kind, namespace: policy.namespace.clone(), name: policy.name.clone() }
    }
}

/// A verdict on a flow, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Allowed if both directions are.
    pub verdict: Verdict,
    /// What the source's rules say.
    pub egress: Side,
    /// What the destination's rules say.
    pub ingress: Side,
}

/// What one end's rules say of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// The verdict.
    pub verdict: Verdict,
    /// Whether a NetworkPolicy isolates this end in this direction.
    pub isolated: bool,
    /// The tier that decided.
    pub tier: Option<&'static str>,
    /// The policy that decided. Where no rule did but isolation, the first policy that isolates.
    pub policy: Option<PolicyName>,
    /// The rule that decided, by its place in its direction's list, from 0.
    pub rule: Option<usize>,
    /// The file that the policy stands in.
    pub file: Option<Arc<str>>,
    /// The line of the rule, or of the policy where no rule decided.
    pub line: Option<usize>,
    /// Why, in words.
    pub reason: String,
    /// Why.
    pub cause: Cause,
    /// All policies that isolate this end in this direction.
    pub isolated_by: Vec<PolicyName>,
}

/// Why one end's rules say what they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// A rule matched.
    Rule,
    /// It is isolated, and no rule matched.
    Isolated,
    /// It is not isolated, and no rule of another tier matched.
    NotIsolated,
    /// It is no subject of policy: outside of the cluster, a node, on its node's network, or of another node than asked for.
    NotSubject,
    /// A pod talks to itself, which no policy can keep it from. What it sends to a service and gets back has left it, and is
    /// judged.
    SelfTraffic,
    /// The other end is its own node.
    OwnNode,
    /// A service without a backend for the port: kube-proxy itself rejects the connection. So it is where all are on other nodes, and
    /// the service keeps its traffic on the source's: kube-proxy drops it.
    NoBackend,
}

impl Engine<'_> {
    /// Judges a flow, and tells why.
    #[must_use]
    pub fn explain(&self, flow: &Flow) -> Explanation {
        let judgement = self.judge(flow);
        Explanation {
            verdict: judgement.verdict,
            egress: self.told(Direction::Egress, &judgement.egress, flow),
            ingress: self.told(Direction::Ingress, &judgement.ingress, flow),
        }
    }

    fn told(&self, direction: Direction, side: &SideDecision, flow: &Flow) -> Side {
        let rules = side.subject.and_then(|at| self.policy_of(at)).and_then(|id| self.policies().get(id as usize));
        let isolating = rules.into_iter().flat_map(|rules| rules.isolated_by(self.rules(), direction));
        let isolating = isolating.filter(|(tier, _)| *tier == NETWORK_POLICY_TIER);
        let isolating = isolating.filter_map(|(tier, policy)| self.rules().policy(tier, policy));
        let isolated_by: Vec<PolicyName> = isolating.map(PolicyName::from).collect();
        let mut told = Side {
            verdict: side.verdict,
            isolated: !isolated_by.is_empty(),
            tier: None,
            policy: None,
            rule: None,
            file: None,
            line: None,
            reason: String::new(),
            cause: side.cause,
            isolated_by,
        };
        let at = match side.decision.map(|decision| decision.ground) {
            Some(Ground::Rule(at)) => Some((at.tier, at.policy, self.rules().rule(at))),
            Some(Ground::Isolated { tier, policy }) => Some((tier, policy, None)),
            _ => None,
        };
        if let Some((tier, policy, rule)) = at
            && let Some(found) = self.rules().policy(tier, policy)
        {
            told.tier = self.rules().tiers.get(tier as usize).map(|tier| tier.name);
            told.policy = Some(PolicyName::from(found));
            told.rule = rule.map(|rule| rule.index);
            told.file = (!found.origin.file.is_empty()).then(|| found.origin.file.clone());
            let line = rule.map_or(found.origin.line, |rule| rule.line);
            told.line = (line > 0).then_some(line);
        }
        if side.cause == Cause::OwnNode && side.decision.is_some() {
            told.tier = self.rules().tiers.get(NETWORK_POLICY_TIER as usize).map(|tier| tier.name);
        }
        told.reason = reason(direction, side, &told, flow);
        if side.cause == Cause::NoBackend
            && let Some(node) = self.node_of(flow.source)
            && self.backends_from(None, flow).is_some_and(|elsewhere| !elsewhere.is_empty())
        {
            told.reason = format!(
                "the service keeps its traffic on the node (internalTrafficPolicy: Local), and has no backend for this port on {node}: \
                 no policy applies, and the node drops the connection"
            );
        }
        told
    }
}

fn reason(direction: Direction, side: &SideDecision, told: &Side, flow: &Flow) -> String {
    let end = if direction == Direction::Egress { "source" } else { "destination" };
    let direction = direction.name();
    let policy = told.policy.as_ref().map(ToString::to_string).unwrap_or_default();
    let mut reason = match side.cause {
        Cause::Rule => {
            let verb = if side.verdict == Verdict::Allowed { "allows" } else { "denies" };
            format!("{direction} rule {} of {policy} {verb} it", told.rule.unwrap_or_default())
        }
        Cause::Isolated => {
            let more = match told.isolated_by.len() {
                0 | 1 => String::new(),
                n => format!(" and {} more", n - 1),
            };
            let port = match flow.transport {
                Transport::Other => "this traffic".to_owned(),
                transport if side.port == flow.port => format!("this peer on port {}/{transport}", flow.port),
                transport => {
                    format!(
                        "this peer on port {}/{transport}, where port {} of the service leads",
                        side.port, flow.port
                    )
                }
            };
            format!("the {end} is isolated for {direction} by {policy}{more}, and no rule allows {port}")
        }
        Cause::NotIsolated => {
            format!("no policy isolates the {end} for {direction}, and no rule of another tier denies it")
        }
        Cause::NotSubject => format!("the {end} is no subject of policy here"),
        Cause::SelfTraffic => "no policy keeps a pod from itself".to_owned(),
        Cause::OwnNode => "traffic between a pod and its own node is always allowed".to_owned(),
        Cause::NoBackend => {
            "the service has no backend for this port: no policy applies, and the node rejects the connection"
                .to_owned()
        }
    };
    if side.split {
        reason.push_str("; the service's backends differ, and it is allowed only if all of them are");
    }
    reason
}
