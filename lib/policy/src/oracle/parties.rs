//! Who the ends of a flow are, read from the objects.

use std::net::IpAddr;

use chainkit_cluster::model::{Cluster, Node, Service, ServicePort, TargetPort, Workload};

use crate::flow::{Party, Transport};

/// One end of a flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Who<'a> {
    /// The workload, if it is one.
    pub(super) pod: Option<&'a Workload>,
    /// The address it is met under, if there is one.
    pub(super) address: Option<IpAddr>,
    /// The node whose address that is.
    pub(super) node: Option<&'a Node>,
    /// The destination's own node, as the one that generates the packets.
    own_node: bool,
}

fn has(addresses: &[IpAddr], address: IpAddr) -> bool {
    addresses.iter().any(|has| has.to_canonical() == address.to_canonical())
}

fn node_with(cluster: &Cluster, address: IpAddr) -> Option<&Node> {
    cluster.nodes.iter().find(|node| has(&node.addresses, address))
}

impl<'a> Who<'a> {
    pub(super) fn new(cluster: &'a Cluster, party: Party) -> Self {
        let nobody = Self { pod: None, address: None, node: None, own_node: false };
        match party {
            Party::OwnNode => Self { own_node: true, ..nobody },
            Party::Service(_) => nobody,
            Party::Address(address) => {
                let node = node_with(cluster, address);
                let own = |pod: &&Workload| !pod.host_network && has(&pod.addresses, address);
                // Of several the youngest, and of those of one age the first.
                let claiming = cluster.workloads.iter().filter(own).rev();
                let pod = claiming.max_by_key(|pod| pod.created).filter(|_| node.is_none());
                Self { pod, address: Some(address), node, own_node: false }
            }
            Party::Workload { index, address } => {
                let pod = cluster.workloads.get(index);
                let address = match pod {
                    Some(pod) if pod.host_network => address.or_else(|| pod.addresses.first().copied()),
                    _ => address,
                };
                Self { pod, address, node: address.and_then(|address| node_with(cluster, address)), own_node: false }
            }
        }
    }

    /// The pod that selectors of peers may select: one with a network of its own.
    pub(super) fn selectable(&self) -> Option<&'a Workload> {
        self.pod.filter(|pod| !pod.host_network)
    }

    /// Whether it is `pod`'s own node that generates the packets, be it through a pod on the node's network.
    pub(super) fn generates_on_node_of(&self, pod: &Workload) -> bool {
        self.own_node
            || self.pod.is_some_and(|other| other.host_network && other.node.is_some() && other.node == pod.node)
    }

    /// Whether it is `pod`'s own node as a destination.
    pub(super) fn is_node_of(&self, pod: &Workload) -> bool {
        self.generates_on_node_of(pod) || self.node.is_some_and(|node| pod.node.as_ref() == Some(&node.name))
    }
}

/// A port at which a destination is a service.
pub(super) struct VirtualPort {
    pub(super) transport: Transport,
    pub(super) number: u16,
    /// Where what comes to it may end.
    pub(super) backends: Vec<(Party, u16)>,
}

/// The ports at which a destination is a service to a source; of two with one number the first counts.
pub(super) fn virtual_ports(cluster: &Cluster, source: Party, destination: Party) -> Vec<VirtualPort> {
    let source = Who::new(cluster, source);
    let sent_by = match source.pod {
        Some(pod) => pod.node.as_ref(),
        None => source.node.map(|node| &node.name),
    };
    let mut found = Vec::new();
    match destination {
        Party::Service(index) => {
            if let Some(service) = cluster.services.get(index) {
                let kept_by = sent_by.filter(|_| service.stays_on_node);
                for port in &service.ports {
                    let mut backends = Vec::new();
                    if service.cluster_ips.is_empty() {
                        backends.extend(of_port(cluster, service, port, None, None));
                    }
                    for ipv4 in [true, false] {
                        if service.cluster_ips.iter().any(|address| address.to_canonical().is_ipv4() == ipv4) {
                            backends.extend(of_port(cluster, service, port, Some(ipv4), kept_by));
                        }
                    }
                    let transport = Transport::from(port.protocol);
                    found.push(VirtualPort { transport, number: port.port, backends });
                }
            }
        }
        Party::Address(address) => {
            let ipv4 = Some(address.to_canonical().is_ipv4());
            let is_node = node_with(cluster, address).is_some();
            let mut add = |service, port: &ServicePort, number, kept_by| {
                let backends = of_port(cluster, service, port, ipv4, kept_by);
                found.push(VirtualPort { transport: Transport::from(port.protocol), number, backends });
            };
            // kube-proxy looks at nodes' ports last.
            for service in &cluster.services {
                let virtuals = [&service.cluster_ips, &service.external_ips, &service.load_balancer_ips];
                if virtuals.iter().any(|addresses| has(addresses, address)) {
                    // Only at its cluster addresses: to others pods come as from outside, to whatever node.
                    let kept_by = sent_by.filter(|_| service.stays_on_node && has(&service.cluster_ips, address));
                    service.ports.iter().for_each(|port| add(service, port, port.port, kept_by));
                }
            }
            for service in cluster.services.iter().filter(|_| is_node) {
                for port in &service.ports {
                    if let Some(number) = port.node_port {
                        add(service, port, number, None);
                    }
                }
            }
        }
        Party::Workload { .. } | Party::OwnNode => {}
    }
    found
}

/// Who is behind an endpoint's address: whoever has it, whatever pod was meant, but for a pod on its node's network that
/// bears it.
fn behind(cluster: &Cluster, meant: Option<usize>, address: IpAddr) -> Party {
    let on_host = |index: &usize| {
        cluster.workloads.get(*index).is_some_and(|pod| pod.host_network && has(&pod.addresses, address))
    };
    match meant {
        Some(index) if on_host(&index) => Party::pod(index, address),
        _ => {
            let has = Who::new(cluster, Party::Address(address)).pod;
            let index = cluster.workloads.iter().position(|pod| has.is_some_and(|has| std::ptr::eq(has, pod)));
            index.map_or(Party::Address(address), |index| Party::pod(index, address))
        }
    }
}

/// Where what comes to a service's port may end. Where a node keeps what it sends there, that is what is on it; if nothing is, the
/// node drops it, unless the port is met from outside too: then kube-proxy with IPVS sends it to any.
fn of_port(
    cluster: &Cluster,
    service: &Service,
    port: &ServicePort,
    ipv4: Option<bool>,
    kept_by: Option<&String>,
) -> Vec<(Party, u16)> {
    let found = endpoints(cluster, service, port, ipv4, kept_by);
    let outer = service.external_ips.len() + service.load_balancer_ips.len() + usize::from(port.node_port.is_some());
    if found.is_empty() && outer > 0 { endpoints(cluster, service, port, ipv4, None) } else { found }
}

/// The endpoints of a service's port: all, or those on a node.
fn endpoints(
    cluster: &Cluster,
    service: &Service,
    port: &ServicePort,
    ipv4: Option<bool>,
    on: Option<&String>,
) -> Vec<(Party, u16)> {
    let right_family = |address: &IpAddr| ipv4.is_none_or(|ipv4| address.to_canonical().is_ipv4() == ipv4);
    let mut found = Vec::new();
    let mut sliced = false;
    for slice in &cluster.endpoint_slices {
        if slice.namespace != service.namespace || slice.service.as_ref() != Some(&service.name) {
            continue;
        }
        sliced = true;
        for endpoint_port in slice.ports.iter().filter(|has| has.name == port.name && has.protocol == port.protocol) {
            for endpoint in slice.endpoints.iter().filter(|endpoint| endpoint.ready) {
                if on.is_some() && endpoint.node.as_ref() != on {
                    continue;
                }
                for address in endpoint.addresses.iter().filter(|address| right_family(address)) {
                    let by_name = cluster.workloads.iter().position(|pod| {
                        endpoint.pod.as_ref() == Some(&(pod.namespace.clone(), pod.name.clone())) && pod.kind == "Pod"
                    });
                    let party = behind(cluster, by_name, *address);
                    found.push((party, endpoint_port.number.unwrap_or(port.port)));
                }
            }
        }
    }
    if sliced || service.selector.is_empty() {
        return found;
    }
    for (index, pod) in cluster.workloads.iter().enumerate() {
        let selected = service.selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value));
        if pod.namespace != service.namespace || !selected {
            continue;
        }
        // What has no node yet may come to run on any.
        if on.is_some() && pod.node.is_some() && pod.node.as_ref() != on {
            continue;
        }
        let mut numbers = Vec::new();
        match &port.target {
            TargetPort::Number(number) => numbers.push(*number),
            TargetPort::Name(name) => {
                for has in &pod.ports {
                    if has.name == *name && has.protocol == port.protocol {
                        numbers.push(has.number);
                    }
                }
            }
        }
        for number in numbers {
            if pod.addresses.is_empty() {
                found.push((Party::workload(index), number));
            }
            for address in pod.addresses.iter().filter(|address| right_family(address)) {
                found.push((behind(cluster, Some(index), *address), number));
            }
        }
    }
    found
}
