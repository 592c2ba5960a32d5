//! What of a policy an API server would refuse though it can be read, and what it would warn of.
//!
//! Such a policy is in [`Cluster`](crate::model::Cluster) like any other, since what it says as it stands is what somebody may
//! ask. Whoever puts policy in force asks here first: the API server would not have let it come so far.

mod fields;

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use k8s_openapi::api::networking::v1::{IPBlock, NetworkPolicy, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::model::{About, ClusterPolicy, Lines, Located, Problem};
pub use fields::{UnknownField, unknown_fields};

/// How many doubts of a policy are told; the rest is counted in the last one.
pub const MAX_DOUBTS: usize = 20;

/// The longest text of the input that a doubt shows, in characters.
const LONGEST: usize = 253;

/// How sure it is that a policy is not what it is meant to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// An API server would refuse it, or drop a part of it.
    Refused,
    /// An API server takes it, and warns.
    Legacy,
    /// It leaves out what an API server would know from elsewhere, and something was taken for it.
    Assumed,
}

/// What is doubtful of a policy, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// How much it matters.
    pub weight: Weight,
    /// What it is.
    pub problem: Problem,
}

/// What is doubtful of a network policy.
#[must_use]
pub fn network_policy(policy: &Located<NetworkPolicy>) -> Vec<Doubt> {
    let metadata = &policy.value.metadata;
    let (namespace, name) = (metadata.namespace.as_deref(), metadata.name.as_deref());
    let object = format!("NetworkPolicy/{}/{}", namespace.unwrap_or_default(), name.unwrap_or_default());
    let mut doubts = Doubts::about(policy, object);
    doubts.fields("NetworkPolicy", &policy.lines);
    // Lines of nothing are those of a policy that no text gave.
    if policy.lines.fields("").next().is_some() && !policy.lines.contains("metadata.namespace") {
        doubts.push(Weight::Assumed, "metadata.namespace", || {
            "missing: it is taken for the namespace default, and kubectl would take the one it is set to".to_owned()
        });
    }
    let spec = policy.value.spec.as_ref();
    let ingress = spec.and_then(|spec| spec.ingress.as_ref()).into_iter().flatten();
    let egress = spec.and_then(|spec| spec.egress.as_ref()).into_iter().flatten();
    let ingress =
        ingress.enumerate().map(|(at, rule)| (format!("spec.ingress[{at}]"), "from", &rule.from, &rule.ports));
    let egress = egress.enumerate().map(|(at, rule)| (format!("spec.egress[{at}]"), "to", &rule.to, &rule.ports));
    for (path, field, peers, ports) in ingress.chain(egress) {
        for (at, peer) in peers.iter().flatten().enumerate() {
            if let Some(block) = &peer.ip_block {
                doubts.block(block, || format!("{path}.{field}[{at}].ipBlock"));
            }
        }
        for (at, port) in ports.iter().flatten().enumerate() {
            doubts.port(port, || format!("{path}.ports[{at}]"));
        }
    }
    doubts.told()
}

/// What is doubtful of a cluster-wide policy.
#[must_use]
pub fn cluster_policy(policy: &Located<ClusterPolicy>) -> Vec<Doubt> {
    let kind = policy.value.kind.name();
    let mut doubts = Doubts::about(policy, format!("{kind}/{}", policy.value.name));
    doubts.fields(kind, &policy.lines);
    for (at, rule) in policy.value.egress.iter().enumerate() {
        for (number, peer) in rule.peers.iter().enumerate() {
            for (index, cidr) in peer.networks.iter().flatten().enumerate() {
                doubts.legacy(cidr, || format!("spec.egress[{at}].to[{number}].networks[{index}]"));
            }
        }
    }
    doubts.told()
}

/// A problem of a policy, by the path to its line, the field as it is shown, and the reason.
type ProblemAt<'a> = dyn Fn(&str, &str, String) -> Problem + 'a;

/// Doubts of one policy.
struct Doubts<'a> {
    problem_at: Box<ProblemAt<'a>>,
    found: Vec<Doubt>,
    /// How many more there are, and how much the worst of them matters.
    more: usize,
    worst: Weight,
}

impl<'a> Doubts<'a> {
    fn about<T>(policy: &'a Located<T>, object: String) -> Self {
        let problem_at = move |path: &str, field: &str, reason: String| Problem {
            file: policy.origin.file.clone(),
            document: policy.origin.document,
            line: policy.line(path),
            object: object.clone(),
            field: short(field),
            reason,
            about: About::Policy,
        };
        Self { problem_at: Box::new(problem_at), found: Vec::new(), more: 0, worst: Weight::Assumed }
    }

    fn push(&mut self, weight: Weight, path: &str, reason: impl FnOnce() -> String) {
        self.push_as(weight, path, path, reason);
    }

    /// The same of a field that is shown otherwise than its line is found.
    fn push_as(&mut self, weight: Weight, path: &str, field: &str, reason: impl FnOnce() -> String) {
        if self.found.len() < MAX_DOUBTS {
            self.found.push(Doubt { weight, problem: (self.problem_at)(path, field, reason()) });
        } else {
            self.more += 1;
            self.worst = self.worst.min(weight);
        }
    }

    fn told(mut self) -> Vec<Doubt> {
        if self.more > 0 {
            let problem = (self.problem_at)("", "", format!("{} more like these", self.more));
            self.found.push(Doubt { weight: self.worst, problem });
        }
        self.found
    }

    fn fields(&mut self, kind: &str, lines: &Lines) {
        unknown_fields(kind, lines, &mut |unknown| {
            let dot = if unknown.inside.is_empty() { "" } else { "." };
            let field = format!("{}{dot}{}", unknown.inside, short(unknown.name));
            self.push_as(Weight::Refused, &unknown.path, &field, || {
                let known = unknown.known.join(", ");
                format!("no field of {kind}: what it was to say is not said: fields here are {known}")
            });
        });
    }

    fn block(&mut self, block: &IPBlock, path: impl Fn() -> String) {
        self.legacy(&block.cidr, || format!("{}.cidr", path()));
        let cidr = block.cidr.parse::<IpNet>().ok();
        for (at, text) in block.except.iter().flatten().enumerate() {
            let field = || format!("{}.except[{at}]", path());
            self.legacy(text, field);
            let (Some(cidr), Ok(except)) = (cidr, text.parse::<IpNet>()) else {
                continue;
            };
            // As the API server has it: lengths as they are written, addresses whatever they are written in.
            let inside =
                canonical(cidr).contains(&except.network().to_canonical()) && cidr.prefix_len() < except.prefix_len();
            if !inside {
                self.push(Weight::Refused, &field(), || {
                    let (text, cidr) = (short(text), short(&block.cidr));
                    format!(
                        "{text} is no part of {cidr} that leaves anything of it: except takes from its own cidr alone"
                    )
                });
            }
        }
    }

    fn port(&mut self, port: &NetworkPolicyPort, path: impl Fn() -> String) {
        if let (Some(IntOrString::Int(first)), Some(last)) = (&port.port, port.end_port)
            && last < *first
        {
            self.push(Weight::Refused, &format!("{}.endPort", path()), || {
                format!("{last} is below port {first}: it matches nothing")
            });
        }
    }

    /// Tells of a CIDR that is taken only since it always was: one with leading zeros in IPv4, or IPv4 written in IPv6.
    fn legacy(&mut self, text: &str, path: impl FnOnce() -> String) {
        let Ok(net) = text.parse::<IpNet>() else {
            return;
        };
        let is_mapped = canonical(net) != net;
        let has_zeros = text.split(['.', '/', ':']).any(has_leading_zero) && text.contains('.');
        if is_mapped || has_zeros {
            self.push(Weight::Legacy, &path(), || {
                let text = short(text);
                format!("{text} is taken for {}, which newer API servers want written so", canonical(net).trunc())
            });
        }
    }
}

/// An IPv4 prefix that is written in IPv6 (RFC 4291, section 2.5.5.2) as what it is.
fn canonical(net: IpNet) -> IpNet {
    match net {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => match IpAddr::V6(v6.addr()).to_canonical() {
            IpAddr::V4(v4) => Ipv4Net::new(v4, v6.prefix_len() - 96).map_or(net, IpNet::V4),
            IpAddr::V6(_) => net,
        },
        net => net,
    }
}

fn has_leading_zero(number: &str) -> bool {
    number.len() > 1 && number.starts_with('0') && number.bytes().all(|byte| byte.is_ascii_digit())
}

fn short(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests;
