//! Services: a packet at the pod's veth still bears the virtual address, so a virtual address and port is judged as the
//! backends it may be sent to, at their ports.

use std::collections::HashMap;
use std::net::IpAddr;

use chainkit_cluster::model::{Cluster, EndpointSlice, Service, ServicePort, TargetPort, Workload};

use crate::flow::{Party, Transport};
use crate::prefix::Family;
use crate::world::{World, place};

/// Where a connection to a service may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Backend {
    /// The pod, or an address outside.
    pub party: Party,
    /// The port there.
    pub port: u16,
}

/// Virtual addresses and ports, and the backends behind each.
#[derive(Clone, Debug, Default)]
pub struct Services {
    /// By virtual address, transport and port the place in [`Self::backends`]. A node's address at a node port is one.
    pub virtuals: HashMap<(IpAddr, Transport, u16), u32>,
    /// Sets of backends, in order; an empty one is a service without any.
    pub backends: Vec<Vec<Backend>>,
    ids: HashMap<Vec<Backend>, u32>,
}

impl Services {
    /// Finds the backends of each service: its ready endpoints as the endpoint slices have them; where there is no slice of
    /// a service, the pods and templates its selector selects.
    #[must_use]
    pub fn new(world: &World<'_>) -> Self {
        let finder = Finder::new(world);
        let mut services = Self::default();
        let nodes: Vec<IpAddr> = world.node_addresses().map(|(address, _)| address).collect();
        for service in &world.cluster.services {
            let own = service.cluster_ips.iter().chain(&service.external_ips).chain(&service.load_balancer_ips);
            for port in &service.ports {
                let transport = Transport::from(port.protocol);
                for family in Family::BOTH {
                    let own = own.clone().map(IpAddr::to_canonical).filter(|address| Family::of(*address) == family);
                    let mut keys: Vec<_> = own.map(|address| (address, transport, port.port)).collect();
                    if let Some(node_port) = port.node_port {
                        let nodes = nodes.iter().filter(|address| Family::of(**address) == family);
                        keys.extend(nodes.map(|address| (*address, transport, node_port)));
                    }
                    if keys.is_empty() {
                        continue;
                    }
                    let id = services.intern(finder.backends(service, port, Some(family)));
                    // Where two services claim one, the first has it.
                    for key in keys {
                        services.virtuals.entry(key).or_insert(id);
                    }
                }
            }
        }
        services
    }

    fn intern(&mut self, backends: Vec<Backend>) -> u32 {
        if let Some(id) = self.ids.get(&backends) {
            return *id;
        }
        let id = place(self.backends.len());
        self.backends.push(backends.clone());
        self.ids.insert(backends, id);
        id
    }

    /// The backends of a virtual address and port; `None` where it is none.
    #[must_use]
    pub fn at(&self, address: IpAddr, transport: Transport, port: u16) -> Option<&[Backend]> {
        let id = self.virtuals.get(&(address.to_canonical(), transport, port))?;
        self.backends.get(*id as usize).map(Vec::as_slice)
    }
}

/// Backends of one service's port, of both families; `None` where the service has no such port.
#[must_use]
pub fn backends_of(world: &World<'_>, service: usize, transport: Transport, port: u16) -> Option<Vec<Backend>> {
    let service = world.cluster.services.get(service)?;
    let port = service.ports.iter().find(|has| has.port == port && Transport::from(has.protocol) == transport)?;
    Some(Finder::of_one(world, service).backends(service, port, None))
}

struct Finder<'w, 'a> {
    world: &'w World<'a>,
    slices: HashMap<(&'a str, &'a str), Vec<&'a EndpointSlice>>,
    /// Pods by namespace and name.
    pods: HashMap<(&'a str, &'a str), usize>,
    /// Workloads by namespace.
    workloads: HashMap<&'a str, Vec<usize>>,
}

impl<'w, 'a> Finder<'w, 'a> {
    fn new(world: &'w World<'a>) -> Self {
        Self::build(world, |_| true)
    }

    fn of_one(world: &'w World<'a>, service: &Service) -> Self {
        Self::build(world, |namespace| namespace == service.namespace)
    }

    fn build(world: &'w World<'a>, wanted: impl Fn(&str) -> bool) -> Self {
        let cluster: &'a Cluster = world.cluster;
        let mut finder = Self { world, slices: HashMap::new(), pods: HashMap::new(), workloads: HashMap::new() };
        for slice in cluster.endpoint_slices.iter().filter(|slice| wanted(&slice.namespace)) {
            if let Some(service) = &slice.service {
                finder.slices.entry((&slice.namespace, service)).or_default().push(slice);
            }
        }
        for (at, workload) in cluster.workloads.iter().enumerate().filter(|(_, workload)| wanted(&workload.namespace)) {
            if workload.kind == "Pod" {
                finder.pods.insert((&workload.namespace, &workload.name), at);
            }
            finder.workloads.entry(&workload.namespace).or_default().push(at);
        }
        finder
    }

    fn backends(&self, service: &Service, port: &ServicePort, family: Option<Family>) -> Vec<Backend> {
        let slices = self.slices.get(&(service.namespace.as_str(), service.name.as_str()));
        let mut backends = match slices {
            Some(slices) => self.of_slices(slices, port, family),
            None => self.of_selector(service, port, family),
        };
        backends.sort_unstable();
        backends.dedup();
        backends
    }

    fn of_slices(&self, slices: &[&EndpointSlice], port: &ServicePort, family: Option<Family>) -> Vec<Backend> {
        let mut backends = Vec::new();
        for slice in slices {
            let ports = slice.ports.iter().filter(|has| has.name == port.name && has.protocol == port.protocol);
            let numbers: Vec<u16> = ports.map(|has| has.number.unwrap_or(port.port)).collect();
            for endpoint in slice.endpoints.iter().filter(|endpoint| endpoint.ready) {
                let addresses = endpoint.addresses.iter().map(IpAddr::to_canonical);
                for address in addresses.filter(|address| family.is_none_or(|wanted| Family::of(*address) == wanted)) {
                    let named = endpoint
                        .pod
                        .as_ref()
                        .and_then(|(namespace, name)| self.pods.get(&(namespace.as_str(), name.as_str())).copied());
                    let party = match named.or_else(|| self.world.pod_at(address)) {
                        Some(index) => Party::pod(index, address),
                        None => Party::Address(address),
                    };
                    backends.extend(numbers.iter().map(|port| Backend { party, port: *port }));
                }
            }
        }
        backends
    }

    fn of_selector(&self, service: &Service, port: &ServicePort, family: Option<Family>) -> Vec<Backend> {
        let mut backends = Vec::new();
        if service.selector.is_empty() {
            return backends;
        }
        for at in self.workloads.get(service.namespace.as_str()).into_iter().flatten() {
            let Some(workload) = self.world.cluster.workloads.get(*at) else { continue };
            if !service.selector.iter().all(|(key, value)| workload.labels.get(key) == Some(value)) {
                continue;
            }
            let ports = target_ports(port, workload);
            if workload.addresses.is_empty() {
                backends.extend(ports.iter().map(|port| Backend { party: Party::workload(*at), port: *port }));
            }
            let addresses = workload.addresses.iter().map(IpAddr::to_canonical);
            for address in addresses.filter(|address| family.is_none_or(|wanted| Family::of(*address) == wanted)) {
                backends.extend(ports.iter().map(|port| Backend { party: Party::pod(*at, address), port: *port }));
            }
        }
        backends
    }
}

/// The ports of a pod that a service's port stands for.
fn target_ports(port: &ServicePort, workload: &Workload) -> Vec<u16> {
    match &port.target {
        TargetPort::Number(number) => vec![*number],
        TargetPort::Name(name) => {
            let named = workload.ports.iter().filter(|has| has.name == *name && has.protocol == port.protocol);
            named.map(|has| has.number).collect()
        }
    }
}
