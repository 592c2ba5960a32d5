//! What would have to change for an answer to turn.

use std::net::IpAddr;

use chainkit_cluster::model::{Cluster, Labels, Service, ServicePort, TargetPort, Workload};
use chainkit_policy::{Cause, Direction, Engine, Explanation, Party, Side, Verdict};

use crate::party::{Found, Name, Port};

/// What was asked: the ends, as they are named and the pair that the answer speaks of, and the port.
pub(super) struct Advice<'a> {
    pub(super) engine: &'a Engine<'a>,
    /// Source and destination.
    pub(super) ends: [(&'a Name, &'a Found); 2],
    pub(super) port: Port,
}

impl Advice<'_> {
    /// The lines of the answer that say what would turn it.
    pub(super) fn lines(&self, explanation: &Explanation) -> Vec<String> {
        let sides = [(Direction::Egress, &explanation.egress), (Direction::Ingress, &explanation.ingress)];
        let denied = explanation.verdict == Verdict::Denied;
        let (head, turns): (&str, Vec<String>) = if denied {
            let denying = sides.into_iter().filter(|(_, side)| side.verdict == Verdict::Denied);
            let by_rule = denying.clone().any(|(_, side)| side.cause == Cause::Rule);
            let head = if by_rule { "To allow it, this first:" } else { "To allow it, all of this:" };
            let mut turns: Vec<String> = denying.map(|(direction, side)| self.to_allow(direction, side)).collect();
            if by_rule {
                turns.push("what comes after may still deny it: ask again after".to_owned());
            }
            (head, turns)
        } else {
            let mut turns: Vec<String> =
                sides.into_iter().filter_map(|(direction, side)| self.to_deny(direction, side)).collect();
            if turns.is_empty() {
                turns.push("no policy can: it concerns no end that policies select".to_owned());
            }
            ("To deny it, any of this:", turns)
        };
        std::iter::once(head.to_owned()).chain(turns.into_iter().map(|turn| format!("  {turn}"))).collect()
    }

    /// What would have to change for a side that denies.
    fn to_allow(&self, direction: Direction, side: &Side) -> String {
        let [(_, from), (_, to)] = self.ends;
        let (peer, field) = if direction == Direction::Egress { (to, "to") } else { (from, "from") };
        let policy = side.policy.as_ref().map(ToString::to_string).unwrap_or_default();
        let (number, protocol) = (self.pod_port(), self.port.protocol.name());
        let name = direction.name();
        if side.cause != Cause::Rule {
            let peer = self.peer(peer, "ipBlock");
            return format!("{name}: add to {policy} a rule with {field}: {peer} and port {number} {protocol}");
        }
        let rule = side.rule.unwrap_or_default();
        // Rules of cluster-wide policies name addresses for egress alone.
        if direction == Direction::Ingress && self.is_by_address(peer) {
            return format!(
                "{name}: take rule {rule} out of {policy}; its ingress rules cannot name {}",
                self.peer(peer, "networks")
            );
        }
        format!(
            "{name}: take rule {rule} out of {policy}, or put one before it that allows {} port {number}/{protocol}",
            self.peer(peer, "networks"),
        )
    }

    /// What would have to change for a side that allows, if policies can select it.
    fn to_deny(&self, direction: Direction, side: &Side) -> Option<String> {
        let [source, destination] = self.ends;
        let (name, end) = (direction.name(), if direction == Direction::Egress { source } else { destination });
        let isolate = || {
            let kind = if direction == Direction::Egress { "[Egress]" } else { "[Ingress]" };
            let end = self.subject(end)?;
            Some(format!("select {end} by a NetworkPolicy with policyTypes {kind} whose rules do not allow it"))
        };
        let policy = side.policy.as_ref().map(ToString::to_string).unwrap_or_default();
        let rule = side.rule.unwrap_or_default();
        match (side.cause, side.tier) {
            (Cause::Rule, Some("NetworkPolicy") | None) => {
                Some(format!("{name}: narrow rule {rule} of {policy}, and any other rule that allows it"))
            }
            (Cause::Rule, Some(tier)) => {
                // Without the rule the default allows it.
                let before = format!("{name}: put a Deny rule for it before rule {rule} of {policy}");
                Some(match isolate().filter(|_| tier == "Baseline") {
                    Some(isolate) => format!("{before}, or {isolate}"),
                    None => before,
                })
            }
            (Cause::NotIsolated, _) => Some(format!("{name}: {}", isolate()?)),
            _ => None,
        }
    }

    /// The port that the pods see.
    fn pod_port(&self) -> String {
        let [_, (_, to)] = self.ends;
        match self.service(to).map(|(_, port)| &port.target) {
            Some(TargetPort::Number(number)) => number.to_string(),
            Some(TargetPort::Name(name)) => name.clone(),
            None => self.port.number.to_string(),
        }
    }

    /// The service and its port that a destination is, by name or by an address and port of it.
    fn service(&self, to: &Found) -> Option<(&Service, &ServicePort)> {
        // A source is nobody's service, whatever its address.
        if !std::ptr::eq(to, self.ends[1].1) {
            return None;
        }
        let protocol = self.port.protocol;
        let world = self.engine.world();
        match to {
            Found::Workloads(_) => None,
            Found::Service(place) => {
                let service = self.cluster().services.get(*place)?;
                let mut ports = service.ports.iter();
                Some((service, ports.find(|port| port.port == self.port.number && port.protocol == protocol)?))
            }
            Found::Address(address) => {
                self.engine.services().at(world, None, *address, self.port.transport(), self.port.number)?;
                let find = |is: &dyn Fn(&Service, &ServicePort) -> bool| {
                    let mut ports = self
                        .cluster()
                        .services
                        .iter()
                        .flat_map(|service| service.ports.iter().map(move |port| (service, port)));
                    ports.find(|(service, port)| port.protocol == protocol && is(service, port))
                };
                let own = find(&|service, port| {
                    let mut own =
                        service.cluster_ips.iter().chain(&service.external_ips).chain(&service.load_balancer_ips);
                    port.port == self.port.number && own.any(|own| own == address)
                });
                own.or_else(|| find(&|_, port| port.node_port == Some(self.port.number)))
            }
        }
    }

    /// A peer as a rule would name it; `block` is how rules of the policy name addresses.
    fn peer(&self, peer: &Found, block: &str) -> String {
        let named = |workload: &Workload| pods(&workload.namespace, &workload.labels);
        match peer {
            Found::Workloads(_) => match self.workload(peer) {
                Some(workload) if workload.host_network => {
                    let address = workload.addresses.first().map_or_else(
                        || "with its node's address".to_owned(),
                        |address| format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 }),
                    );
                    format!("{block} {address} (it is on its node's network, where selectors of pods do not match it)")
                }
                Some(workload) => named(workload),
                None => String::new(),
            },
            _ => match (self.service(peer), self.workload(peer)) {
                (Some((service, _)), _) if service.selector.is_empty() => {
                    format!(
                        "{block} with the addresses of the endpoints of service {}/{}",
                        service.namespace, service.name
                    )
                }
                (Some((service, _)), _) => pods(&service.namespace, &service.selector),
                (None, Some(workload)) => named(workload),
                (None, None) => match peer {
                    Found::Address(address) => {
                        format!("{block} {address}/{}", if address.is_ipv4() { 32 } else { 128 })
                    }
                    _ => String::new(),
                },
            },
        }
    }

    /// Whether rules can name a peer by its address alone.
    fn is_by_address(&self, peer: &Found) -> bool {
        self.service(peer).is_none() && self.workload(peer).is_none_or(|workload| workload.host_network)
    }

    /// An end as a policy would select it; `None` for one that none can.
    fn subject(&self, (name, end): (&Name, &Found)) -> Option<String> {
        if let Some((service, _)) = self.service(end) {
            return Some(if service.selector.is_empty() {
                format!("the pods behind {name}")
            } else {
                pods(&service.namespace, &service.selector)
            });
        }
        let workload = self.workload(end).filter(|workload| !workload.host_network)?;
        Some(match end {
            Found::Workloads(_) => name.to_string(),
            _ => pods(&workload.namespace, &workload.labels),
        })
    }

    /// The workload that an end is, by its name or as who has the address.
    fn workload(&self, end: &Found) -> Option<&Workload> {
        let world = self.engine.world();
        let place = match end {
            Found::Workloads(places) => places.first().copied(),
            Found::Address(address) if world.node_at(*address).is_none() => world.pod_at(*address),
            _ => None,
        };
        self.cluster().workloads.get(place?)
    }

    fn cluster(&self) -> &Cluster {
        &self.engine.world().cluster
    }
}

/// The workloads that a connection from an address to a destination ends at, by their places.
pub(super) fn pods_behind(engine: &Engine<'_>, from: IpAddr, to: &Found, port: Port) -> Vec<usize> {
    let world = engine.world();
    let node = engine.node_of(Party::Address(from));
    let backends = match to {
        Found::Workloads(places) => return places.clone(),
        Found::Service(place) => engine.services().of(world, node, *place, port.transport(), port.number),
        Found::Address(address) => engine.services().at(world, node, *address, port.transport(), port.number),
    };
    match (backends, to) {
        (Some(backends), _) => {
            let places = backends.iter().map(|backend| match backend.party {
                Party::Workload { index, .. } => Some(index),
                Party::Address(address) => world.pod_at(address),
                Party::Service(_) | Party::OwnNode => None,
            });
            places.flatten().collect()
        }
        (None, Found::Address(address)) => world.pod_at(*address).into_iter().collect(),
        (None, _) => Vec::new(),
    }
}

/// Pods as a rule or policy selects them.
fn pods(namespace: &str, labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let labels = if pairs.is_empty() { "(none)".to_owned() } else { pairs.join(",") };
    format!("the pods of namespace {namespace} labelled {labels}")
}
