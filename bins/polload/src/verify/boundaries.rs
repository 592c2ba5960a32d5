//! The addresses and ports at which an answer may change: what there is to ask about.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use chainkit_abi::side_of;
use chainkit_cluster::model::{Cluster, ClusterPort, ClusterRule, Workload};
use chainkit_enforce::{Image, Lookup};
use chainkit_policy::{Direction, Party, Transport};
use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::snapshot::Snapshot;

/// So many addresses are all asked about; of more, some of each class.
pub(super) const ALL_UP_TO: usize = 1024;
/// So many of each class are then.
const OF_A_CLASS: usize = 3;
/// Services that each pod is asked about then: others for the next, since the objects take long to say what is behind one.
const SERVICES_OF_A_POD: usize = 64;
/// Ports of services that are asked about at one address; of more, some from all over.
const PORTS_AT_ONE: usize = 128;

/// A pod of this node whose rules are asked about.
pub(super) struct Subject<'a> {
    pub(super) index: usize,
    pub(super) pod: &'a Workload,
    /// Number of its rules.
    pub(super) policy: u32,
    /// Nobody before it has the same rules: everything is asked.
    pub(super) is_first: bool,
}

impl Subject<'_> {
    pub(super) fn title(&self) -> String {
        format!("{}/{}", self.pod.namespace, self.pod.name)
    }

    /// The pod as an end of a connection with `peer`: under the address that it has in that family.
    pub(super) fn party(&self, peer: IpAddr) -> Party {
        let same = |address: &&IpAddr| address.to_canonical().is_ipv4() == peer.is_ipv4();
        match self.pod.addresses.iter().find(same) {
            Some(address) => Party::pod(self.index, *address),
            None => Party::workload(self.index),
        }
    }
}

/// Everything there is to ask about.
pub(super) struct Boundaries<'a> {
    pub(super) subjects: Vec<Subject<'a>>,
    image: &'a Image,
    cluster: &'a Cluster,
    /// Addresses of pods, nodes, services, and what else the tables name: all, or some of each class.
    named: Vec<IpAddr>,
    /// One address of each class.
    of_each_class: Vec<IpAddr>,
    /// Addresses of services where there are too many for every pod to be asked about each.
    of_services: Vec<IpAddr>,
    /// Where prefixes begin and end, by the namespace of the policy that has them; of those of the cluster under no name.
    edges: BTreeMap<&'a str, BTreeSet<IpAddr>>,
    ports: BTreeMap<&'a str, BTreeSet<u16>>,
    /// Who has an address that nobody else has.
    holders: HashMap<IpAddr, usize>,
    /// Ports of services by address.
    services: HashMap<IpAddr, BTreeSet<u16>>,
    nodes: BTreeSet<IpAddr>,
    node_ports: BTreeSet<u16>,
    /// Boundaries in the tables, by number of rules and direction.
    runs: HashMap<u32, BTreeSet<u16>>,
}

/// Addresses of no pod, no node and no policy: documentation's (RFC 5737, RFC 3849).
pub(super) const OUTSIDE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 7))];

impl<'a> Boundaries<'a> {
    /// All there is; of more addresses than `all_up_to` some of each class.
    pub(super) fn new(snapshot: &'a Snapshot, all_up_to: usize) -> Self {
        let (cluster, image) = (&snapshot.cluster, &snapshot.read);
        let mut boundaries = Self {
            subjects: subjects(snapshot),
            image,
            cluster,
            named: Vec::new(),
            of_each_class: Vec::new(),
            of_services: Vec::new(),
            edges: BTreeMap::new(),
            ports: BTreeMap::new(),
            holders: HashMap::new(),
            services: HashMap::new(),
            nodes: cluster.nodes.iter().flat_map(|node| &node.addresses).map(IpAddr::to_canonical).collect(),
            node_ports: BTreeSet::new(),
            runs: HashMap::new(),
        };
        boundaries.of_policies();
        boundaries.of_services();
        boundaries.of_pods();
        boundaries.of_tables();
        boundaries.choose(all_up_to);
        boundaries
    }

    fn of_policies(&mut self) {
        for policy in self.cluster.network_policies.iter().map(|policy| &policy.value) {
            let namespace = policy.metadata.namespace.as_deref().unwrap_or_default();
            let (edges, ports) = (self.edges.entry(namespace).or_default(), self.ports.entry(namespace).or_default());
            for (peers, of_rule) in rules_of(policy) {
                for block in peers.iter().filter_map(|peer| peer.ip_block.as_ref()) {
                    around_prefix(&block.cidr, edges);
                    block.except.iter().flatten().for_each(|except| around_prefix(except, edges));
                }
                for port in of_rule {
                    if let Some(IntOrString::Int(number)) = port.port {
                        around(number, ports);
                    }
                    port.end_port.into_iter().for_each(|last| around(last, ports));
                }
            }
        }
        let (edges, ports) = (self.edges.entry("").or_default(), self.ports.entry("").or_default());
        edges.extend(OUTSIDE);
        ports.extend([0, 1, u16::MAX]);
        for policy in self.cluster.cluster_policies.iter().map(|policy| &policy.value) {
            for ClusterRule { peers, ports: of_rule, .. } in policy.ingress.iter().chain(&policy.egress) {
                let networks = peers.iter().filter_map(|peer| peer.networks.as_ref()).flatten();
                networks.for_each(|network| around_prefix(network, edges));
                for port in of_rule.iter().flatten() {
                    if let ClusterPort::Range { first, last, .. } = port {
                        around((*first).into(), ports);
                        around((*last).into(), ports);
                    }
                }
            }
        }
        // What the tables tell apart though no policy may say so.
        for prefix in self.image.prefixes4.keys() {
            edge(Ipv4Addr::from(prefix.address).into(), prefix.length, edges);
        }
        for prefix in self.image.prefixes6.keys() {
            edge(Ipv6Addr::from(prefix.address).into(), prefix.length, edges);
        }
    }

    fn of_services(&mut self) {
        for service in &self.cluster.services {
            let at = service.cluster_ips.iter().chain(&service.external_ips).chain(&service.load_balancer_ips);
            let at: Vec<IpAddr> = at.map(IpAddr::to_canonical).collect();
            for port in &service.ports {
                for address in &at {
                    around(port.port.into(), self.services.entry(*address).or_default());
                }
                port.node_port.into_iter().for_each(|port| around(port.into(), &mut self.node_ports));
            }
        }
    }

    fn of_pods(&mut self) {
        let mut claimed: HashMap<IpAddr, Option<usize>> = HashMap::new();
        for (index, pod) in self.cluster.workloads.iter().enumerate().filter(|(_, pod)| !pod.host_network) {
            for address in pod.addresses.iter().map(IpAddr::to_canonical) {
                claimed.entry(address).and_modify(|holder| *holder = None).or_insert(Some(index));
            }
        }
        let alone = claimed.into_iter().filter_map(|(address, holder)| Some((address, holder?)));
        let (nodes, services) = (&self.nodes, &self.services);
        let is_only_that = |address: &IpAddr| !nodes.contains(address) && !services.contains_key(address);
        self.holders = alone.filter(|(address, _)| is_only_that(address)).collect();
    }

    fn of_tables(&mut self) {
        let mut tables: HashMap<u32, BTreeSet<u32>> = HashMap::new();
        for (side, of) in (0..).zip(&self.image.sides) {
            tables.entry(side).or_default().insert(of.table);
        }
        for (row, table) in &self.image.rows {
            tables.entry(row.side).or_default().insert(*table);
        }
        for (side, tables) in tables {
            let ports = self.runs.entry(side).or_default();
            for table in tables.into_iter().filter_map(|table| self.image.ports.get(table as usize)) {
                let [first, .., end] = table.starts;
                for run in self.image.runs.get(first as usize..end as usize).unwrap_or_default() {
                    ports.insert(run.last);
                    ports.insert(run.last.saturating_add(1));
                }
            }
        }
    }

    /// All addresses that are named anywhere, or some of each class.
    fn choose(&mut self, all_up_to: usize) {
        let lookup = Lookup::new(self.image);
        let named4 = self.image.classes4.keys().map(|address| IpAddr::from(*address));
        let named6 = self.image.classes6.keys().map(|address| IpAddr::from(*address));
        let of_pods = self.cluster.workloads.iter().flat_map(|pod| &pod.addresses).map(IpAddr::to_canonical);
        let mut all: BTreeSet<IpAddr> = named4.chain(named6).chain(of_pods).collect();
        all.extend(self.services.keys().chain(&self.nodes));
        // A service's address is of a kind by what it leads to.
        let mut lists: HashMap<[u64; 2], BTreeSet<(u16, u8, u32)>> = HashMap::new();
        for (key, list) in &self.image.virtuals {
            lists.entry(key.address).or_default().insert((key.port, key.protocol, *list));
        }
        let mut classes: BTreeMap<_, Vec<IpAddr>> = BTreeMap::new();
        for address in &all {
            let led = lists.get(&chainkit_enforce::words(*address)).cloned().unwrap_or_default();
            let value = match address {
                IpAddr::V4(address) => self.image.classes4.get(&address.octets()),
                IpAddr::V6(address) => self.image.classes6.get(&address.octets()),
            };
            let kind = (address.is_ipv4(), value.is_some(), lookup.class_of(*address), self.nodes.contains(address));
            classes.entry((kind, led)).or_default().push(*address);
        }
        if all.len() <= all_up_to {
            self.of_each_class = classes.values().filter_map(|of| of.first().copied()).collect();
            self.named = all.into_iter().collect();
            return;
        }
        let (services, others): (Vec<_>, Vec<_>) = classes.iter().partition(|((_, led), _)| !led.is_empty());
        self.of_services = services.into_iter().filter_map(|(_, of)| of.first().copied()).collect();
        self.of_each_class = others.iter().filter_map(|(_, of)| of.first().copied()).collect();
        self.named = others.into_iter().flat_map(|(_, of)| spread(of, OF_A_CLASS)).collect();
    }

    /// The other sides that a pod's rules are asked about.
    pub(super) fn peers(&self, subject: &Subject<'_>) -> BTreeSet<IpAddr> {
        let edges =
            ["", &subject.pod.namespace].into_iter().filter_map(|namespace| self.edges.get(namespace)).flatten();
        if subject.is_first {
            let step = self.of_services.len().div_ceil(SERVICES_OF_A_POD).max(1);
            let services = self.of_services.iter().skip(subject.index % step).step_by(step);
            edges.chain(&self.named).chain(services).copied().collect()
        } else {
            self.of_each_class.iter().copied().collect()
        }
    }

    /// The ports to ask about between a pod and an address: those of all addresses, and more.
    pub(super) fn ports(&self, subject: &Subject<'_>, direction: Direction, peer: IpAddr) -> BTreeSet<u16> {
        let mut ports = self.ports_of_all(subject, direction);
        ports.extend(self.ports_of_one(subject, direction, peer));
        ports
    }

    /// The ports to ask about whatever the address is.
    pub(super) fn ports_of_all(&self, subject: &Subject<'_>, direction: Direction) -> BTreeSet<u16> {
        let mut ports = BTreeSet::new();
        if subject.is_first {
            let of_policies =
                ["", &subject.pod.namespace].into_iter().filter_map(|namespace| self.ports.get(namespace));
            ports.extend(of_policies.flatten());
            let side = side_of(subject.policy, (direction == Direction::Egress).into());
            ports.extend(self.runs.get(&side).into_iter().flatten());
        } else {
            ports.extend([0, 1, u16::MAX]);
        }
        ports
    }

    /// The ports to ask about since the address is this one.
    pub(super) fn ports_of_one(&self, subject: &Subject<'_>, direction: Direction, peer: IpAddr) -> BTreeSet<u16> {
        let mut ports = BTreeSet::new();
        let named = match direction {
            Direction::Ingress => Some(subject.index),
            Direction::Egress => self.holders.get(&peer).copied(),
        };
        for port in named.and_then(|index| self.cluster.workloads.get(index)).iter().flat_map(|pod| &pod.ports) {
            around(port.number.into(), &mut ports);
        }
        if direction == Direction::Egress {
            let mut of_services: Vec<u16> = self.services.get(&peer).into_iter().flatten().copied().collect();
            if self.nodes.contains(&peer) {
                of_services.extend(&self.node_ports);
            }
            ports.extend(spread(&of_services, PORTS_AT_ONE));
        }
        ports
    }

    /// Who has an address, as the end of a connection.
    pub(super) fn party(&self, peer: IpAddr) -> Party {
        self.holders.get(&peer).map_or(Party::Address(peer), |index| Party::pod(*index, peer))
    }
}

fn subjects(snapshot: &Snapshot) -> Vec<Subject<'_>> {
    let mut seen = BTreeSet::new();
    let mut subjects = Vec::new();
    for (index, pod) in snapshot.cluster.workloads.iter().enumerate() {
        if pod.kind != "Pod" || pod.host_network || pod.node.as_ref() != Some(&snapshot.node) {
            continue;
        }
        let entry = snapshot.pods.pods.get(&format!("{}/{}", pod.namespace, pod.name));
        let policy = entry.map_or(0, |entry| entry.policy);
        // Pods that no policy selects are told apart by their namespaces at least.
        let rules = (policy, if policy == 0 { pod.namespace.as_str() } else { "" });
        subjects.push(Subject { index, pod, policy, is_first: seen.insert(rules) });
    }
    subjects
}

/// Some of many, from all over.
pub(super) fn spread<T: Copy>(all: &[T], most: usize) -> Vec<T> {
    let step = all.len().div_ceil(most.max(1)).max(1);
    all.iter().step_by(step).copied().collect()
}

type Said<'a> = (&'a [NetworkPolicyPeer], &'a [NetworkPolicyPort]);

fn rules_of(policy: &NetworkPolicy) -> impl Iterator<Item = Said<'_>> {
    let spec = policy.spec.iter();
    spec.flat_map(|spec| {
        let ingress = spec.ingress.iter().flatten().map(|rule| (rule.from.as_deref(), rule.ports.as_deref()));
        let egress = spec.egress.iter().flatten().map(|rule| (rule.to.as_deref(), rule.ports.as_deref()));
        ingress.chain(egress).map(|(peers, ports)| (peers.unwrap_or_default(), ports.unwrap_or_default()))
    })
}

/// A port and its neighbours.
fn around(port: i32, into: &mut BTreeSet<u16>) {
    let near = [port.saturating_sub(1), port, port.saturating_add(1)];
    into.extend(near.into_iter().filter_map(|port| u16::try_from(port).ok()));
}

/// First and last address of a prefix, and their neighbours outside of it.
fn around_prefix(text: &str, into: &mut BTreeSet<IpAddr>) {
    if let Ok(prefix) = text.parse::<IpNet>() {
        into.extend(ends(&prefix).map(|address| address.to_canonical()));
    }
}

fn edge(address: IpAddr, length: u32, into: &mut BTreeSet<IpAddr>) {
    if let Some(prefix) = u8::try_from(length).ok().and_then(|length| IpNet::new(address, length).ok()) {
        into.extend(ends(&prefix).map(|address| address.to_canonical()));
    }
}

fn ends(prefix: &IpNet) -> impl Iterator<Item = IpAddr> {
    let (first, last) = (prefix.network(), prefix.broadcast());
    let before = match first {
        IpAddr::V4(first) => first.to_bits().checked_sub(1).map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(first) => first.to_bits().checked_sub(1).map(|bits| Ipv6Addr::from_bits(bits).into()),
    };
    let after = match last {
        IpAddr::V4(last) => last.to_bits().checked_add(1).map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(last) => last.to_bits().checked_add(1).map(|bits| Ipv6Addr::from_bits(bits).into()),
    };
    [before, Some(first), Some(last), after].into_iter().flatten()
}

/// IP protocol number that a packet of this sort has; for what has no ports one that is set aside for experiments (RFC 3692).
pub(super) const fn protocol(transport: Transport) -> u8 {
    match transport.protocol() {
        Some(protocol) => protocol.number(),
        None => 253,
    }
}

/// As it is told.
pub(super) const fn protocol_name(transport: Transport) -> &'static str {
    match transport.protocol() {
        Some(protocol) => protocol.name(),
        None => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(prefix: &str) -> Vec<String> {
        let mut found = BTreeSet::new();
        around_prefix(prefix, &mut found);
        found.iter().map(IpAddr::to_string).collect()
    }

    #[test]
    fn a_prefix_has_its_ends_and_their_neighbours() {
        assert_eq!(edges("10.0.0.4/30"), ["10.0.0.3", "10.0.0.4", "10.0.0.7", "10.0.0.8"]);
        assert_eq!(edges("0.0.0.0/0"), ["0.0.0.0", "255.255.255.255"]);
        assert_eq!(edges("fd00::/126"), ["fcff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fd00::", "fd00::3", "fd00::4"]);
        assert!(edges("10.0.0.0/33").is_empty());
    }

    #[test]
    fn a_port_at_either_end_has_one_neighbour() {
        let mut ports = BTreeSet::new();
        around(0, &mut ports);
        around(65535, &mut ports);
        around(-7, &mut ports);
        assert_eq!(Vec::from_iter(ports), [0, 1, 65534, 65535]);
    }

    #[test]
    fn some_of_many_are_from_all_over() {
        let all: Vec<u32> = (0..10).collect();
        assert_eq!(spread(&all, 3), [0, 4, 8]);
        assert_eq!(spread(&all, 100), all);
        assert!(spread(&all[..0], 3).is_empty());
    }
}
