//! `networking.k8s.io/v1` NetworkPolicy to rules.

use chainkit_cluster::model::{Located, Protocol};
use chainkit_cluster::selector;
use k8s_openapi::api::networking::v1::{IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{EVERYTHING, Lowering};
use crate::flow::{Direction, Transport};
use crate::prefix::Prefix;
use crate::rules::{Action, Block, PeerSet, Peers, Policy, PortMatch, Ports, Rule};
use crate::selections::Within;

impl Lowering<'_, '_> {
    pub(super) fn network_policy(&mut self, located: &Located<NetworkPolicy>) -> Policy {
        let policy = &located.value;
        let name = policy.metadata.name.clone().unwrap_or_default();
        let namespace = policy.metadata.namespace.clone().unwrap_or_default();
        let mut source = Source { located, object: format!("NetworkPolicy/{namespace}/{name}"), namespace: &namespace };
        let mut lowered = Policy {
            kind: "NetworkPolicy",
            namespace: Some(namespace.clone()),
            name,
            origin: located.origin.clone(),
            ..Policy::default()
        };
        let Some(spec) = &policy.spec else {
            self.problem(located, &source.object, "spec", "missing: the policy selects nothing".to_owned());
            return lowered;
        };
        let Some(pods) = pods(policy) else {
            return lowered;
        };
        self.check(&mut source, "spec.podSelector", Some(pods));
        if let Some(id) = self.world.namespace(&namespace) {
            lowered.subjects = self.subjects(id, pods);
        }
        let (ingress, egress) = (spec.ingress.iter().flatten(), spec.egress.iter().flatten());
        lowered.isolates = match spec.policy_types.as_deref().unwrap_or_default() {
            [] => [true, egress.clone().next().is_some()],
            types => ["Ingress", "Egress"].map(|direction| types.iter().any(|name| name == direction)),
        };
        if !self.all && lowered.subjects.is_empty() {
            return lowered;
        }
        // Rules of a direction that policyTypes leaves out say nothing.
        let [for_ingress, for_egress] = lowered.isolates;
        for (index, rule) in ingress.enumerate().filter(|_| for_ingress) {
            let at = (Direction::Ingress, index);
            self.rule(&mut source, at, rule.from.as_deref(), rule.ports.as_deref(), &mut lowered.rules);
        }
        for (index, rule) in egress.enumerate().filter(|_| for_egress) {
            let at = (Direction::Egress, index);
            self.rule(&mut source, at, rule.to.as_deref(), rule.ports.as_deref(), &mut lowered.rules);
        }
        lowered
    }

    fn rule(
        &mut self,
        source: &mut Source<'_>,
        (direction, index): (Direction, usize),
        peers: Option<&[NetworkPolicyPeer]>,
        ports: Option<&[NetworkPolicyPort]>,
        rules: &mut Vec<Rule>,
    ) {
        let path = format!("spec.{}[{index}]", direction.name());
        let line = source.located.line(&path);
        let ports = self.ports(source, &path, ports.unwrap_or_default());
        let mut push = |peers, ports| rules.push(Rule { direction, index, peers, ports, action: Action::Allow, line });
        let peers = peers.unwrap_or_default();
        if peers.is_empty() {
            push(Peers::Any, ports);
            return;
        }
        let field = if direction == Direction::Ingress { "from" } else { "to" };
        let mut set = PeerSet::default();
        for (at, peer) in peers.iter().enumerate() {
            self.peer(source, &format!("{path}.{field}[{at}]"), peer, &mut set);
        }
        // The name of a port is the destination pod's. What is met through an address block has none.
        if direction == Direction::Egress && ports.has_names() && !set.blocks.is_empty() {
            let outside = PeerSet { blocks: std::mem::take(&mut set.blocks), ..PeerSet::default() };
            push(self.peer_set(outside), ports.without_names());
            if set.pods.is_empty() {
                return;
            }
        }
        push(self.peer_set(set), ports);
    }

    fn peer(&mut self, source: &mut Source<'_>, path: &str, peer: &NetworkPolicyPeer, set: &mut PeerSet) {
        self.check(source, &format!("{path}.namespaceSelector"), peer.namespace_selector.as_ref());
        self.check(source, &format!("{path}.podSelector"), peer.pod_selector.as_ref());
        match (&peer.ip_block, &peer.namespace_selector, &peer.pod_selector) {
            (Some(block), None, None) => {
                let block = self.block(source, &format!("{path}.ipBlock"), block);
                set.blocks.extend(block);
            }
            (Some(_), ..) => {
                let reason = "ipBlock stands alone, and there is a selector beside it: the peer matches nothing";
                self.problem(source.located, &source.object, path, reason.to_owned());
            }
            (None, Some(namespaces), pods) => {
                let pods = pods.as_ref().unwrap_or(&EVERYTHING);
                self.select(set, Within::Namespaces(namespaces.clone()), pods);
            }
            (None, None, Some(pods)) => self.select(set, Within::Namespace(source.namespace.to_owned()), pods),
            (None, None, None) => {
                let reason = "no podSelector, namespaceSelector or ipBlock in it: the peer matches nothing";
                self.problem(source.located, &source.object, path, reason.to_owned());
            }
        }
    }

    fn block(&mut self, source: &mut Source<'_>, path: &str, block: &IPBlock) -> Option<Block> {
        let Some(prefix) = Prefix::parse(&block.cidr) else {
            let reason =
                format!("{:?} is no CIDR such as 10.0.0.0/8: the peer matches nothing", shortened(&block.cidr));
            self.problem(source.located, &source.object, &format!("{path}.cidr"), reason);
            return None;
        };
        let mut except = Vec::new();
        for (at, text) in block.except.iter().flatten().enumerate() {
            match Prefix::parse(text) {
                Some(inner) => except.push(inner),
                // Whatever it was meant to keep out, nothing may come in through a block with a hole that nobody knows.
                None => {
                    let reason = format!("{:?} is no CIDR: the peer matches nothing", shortened(text));
                    self.problem(source.located, &source.object, &format!("{path}.except[{at}]"), reason);
                    return None;
                }
            }
        }
        except.sort_unstable();
        except.dedup();
        Some(Block { prefix, except })
    }

    fn ports(&mut self, source: &mut Source<'_>, path: &str, ports: &[NetworkPolicyPort]) -> Ports {
        if ports.is_empty() {
            return Ports::Any;
        }
        let mut list = Vec::new();
        for (at, port) in ports.iter().enumerate() {
            match self.port(port) {
                Ok(port) => list.push(port),
                Err((field, reason)) => {
                    let field = format!("{path}.ports[{at}].{field}");
                    self.problem(source.located, &source.object, &field, format!("{reason}: the port matches nothing"));
                }
            }
        }
        Ports::List(list)
    }

    fn port(&mut self, port: &NetworkPolicyPort) -> Result<PortMatch, (&'static str, String)> {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let Some(transport) = Protocol::from_name(protocol).map(Transport::from) else {
            return Err(("protocol", format!("{:?} is none of TCP, UDP and SCTP", shortened(protocol))));
        };
        let number = |number: i32| u16::try_from(number).ok().filter(|number| *number > 0);
        match (&port.port, port.end_port) {
            (None, None) => Ok(PortMatch::Range { transport, first: 0, last: transport.last_port() }),
            (None, Some(_)) => Err(("endPort", "endPort without port".to_owned())),
            (Some(IntOrString::Int(first)), end) => {
                let Some(first) = number(*first) else {
                    return Err(("port", format!("{first} is no port")));
                };
                match end.map_or(Some(first), number) {
                    Some(last) if last >= first => Ok(PortMatch::Range { transport, first, last }),
                    _ => Err(("endPort", format!("endPort {} is no port from {first} on", end.unwrap_or_default()))),
                }
            }
            (Some(IntOrString::String(_)), Some(_)) => Err(("endPort", "endPort with a named port".to_owned())),
            (Some(IntOrString::String(name)), None) => {
                Ok(PortMatch::Named { name: self.port_name(name), transport: Some(transport) })
            }
        }
    }

    fn check(&mut self, source: &mut Source<'_>, path: &str, selector: Option<&LabelSelector>) {
        if let Some(Err((field, reason))) = selector.map(selector::check) {
            self.problem(source.located, &source.object, &format!("{path}.{field}"), reason);
        }
    }
}

/// The pods of its namespace that a policy selects; none where it says nothing at all. Which field was left out does not matter:
/// `podSelector` is required, and one that is null is empty to a server.
pub(super) fn pods(policy: &NetworkPolicy) -> Option<&LabelSelector> {
    let spec = policy.spec.as_ref()?;
    Some(spec.pod_selector.as_ref().unwrap_or(&EVERYTHING))
}

struct Source<'s> {
    located: &'s Located<NetworkPolicy>,
    object: String,
    namespace: &'s str,
}

/// As much of a text from outside as a message needs.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}
