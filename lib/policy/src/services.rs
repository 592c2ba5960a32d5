//! Services: a packet at the pod's veth still bears the virtual address, so a virtual address and port is judged as the
//! backends it may be sent to, at their ports.
//!
//! Which those are goes with the node that sends it where a service keeps its traffic there (`internalTrafficPolicy: Local`), at its
//! cluster addresses: they are the ones of that node. It is the node of the source, and in the tables of one node that one; where nobody
//! knows it (a template, somebody outside, tables of all nodes), all are taken. What a pod sends to an external address, to
//! that of a load balancer or to a node's port may go to any, whatever the service's policies: kube-proxy treats it as if it had left the
//! cluster and come in again at any node. And where none of a service that has such an address or port is on the node, all are taken at
//! its cluster addresses too: with IPVS kube-proxy then sends to any of them, where it drops with iptables and nftables.

use std::collections::HashMap;
use std::net::IpAddr;

use chainkit_cluster::model::{EndpointSlice, Labels, Service, ServicePort, TargetPort, Workload};

use crate::flow::{Party, Transport};
use crate::interned::Interned;
use crate::prefix::Family;
use crate::world::{World, place, put_in_order, take_out};

/// Where a connection to a service may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Backend {
    /// The pod, or an address outside.
    pub party: Party,
    /// The port there.
    pub port: u16,
}

/// What a connection to a service is opened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Virtual {
    /// An address that is the service's own, and a port.
    Address(IpAddr, Transport, u16),
    /// A port at every address of every node.
    NodePort(Family, Transport, u16),
}

/// An endpoint of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Endpoint {
    /// The workload, where it is known by its name or labels.
    pub(crate) workload: Option<u32>,
    /// Its address; none of a template.
    pub(crate) address: Option<IpAddr>,
    pub(crate) port: u16,
}

/// From which nodes a service that keeps its traffic on the node leads to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Near<'a> {
    /// From this one.
    Node(&'a str),
    /// From any: it is a pod, or the template of pods, of which nobody knows yet where it runs.
    Any,
    /// From none: the slice does not say where it is, and kube-proxy takes it for far from everywhere.
    None,
}

impl Near<'_> {
    /// Whether it is near a node; where nobody knows which, it is.
    fn is_met_from(self, node: Option<&str>) -> bool {
        node.is_none_or(|node| match self {
            Self::Node(near) => near == node,
            Self::Any => true,
            Self::None => false,
        })
    }
}

/// The endpoints of a service that keeps its traffic on the node.
pub(crate) struct NearEndpoints<'a> {
    /// Each with the nodes that it is near.
    pub(crate) endpoints: Vec<(Endpoint, Near<'a>)>,
    /// Whether all are taken where none is near.
    pub(crate) else_all: bool,
}

/// A set of endpoints, by its number in [`Services`].
pub(crate) type EndpointsId = u32;

/// Virtual addresses and ports, and the endpoints behind each.
#[derive(Clone, Debug, Default)]
pub struct Services {
    /// Who claims each: services by their places, in order, with their endpoints. The first has it.
    claims: HashMap<Virtual, Vec<(u32, EndpointsId)>>,
    endpoints: Interned<Vec<Endpoint>>,
    of_service: Vec<Vec<Virtual>>,
    /// By namespace and name of a service its slices, by their places and in order.
    slices: HashMap<(String, String), Vec<u32>>,
    /// Slices by namespace and name.
    slice_ids: HashMap<(String, String), u32>,
    /// By namespace the services, in order.
    of_namespace: HashMap<String, Vec<u32>>,
    /// Services whose endpoints are to be found again.
    stale: Vec<u32>,
}

impl Services {
    /// The endpoints of what a connection is opened to; `None` where it is no service's.
    pub(crate) fn endpoints_of(&self, target: &Virtual) -> Option<(EndpointsId, &[Endpoint])> {
        let (_, id) = self.claims.get(target)?.first()?;
        Some((*id, self.endpoints.get(*id)?))
    }

    /// What connections are opened to, each with its endpoints.
    pub(crate) fn virtuals(&self) -> impl Iterator<Item = (&Virtual, EndpointsId)> {
        self.claims.iter().filter_map(|(target, claims)| Some((target, claims.first()?.1)))
    }

    /// A set of endpoints by its number.
    pub(crate) fn endpoints(&self, id: EndpointsId) -> &[Endpoint] {
        self.endpoints.get(id).map_or(&[], Vec::as_slice)
    }

    /// The backends of an address and port for what is sent by a node, if that is known: first as a service's own address, then as
    /// the port of a node.
    #[must_use]
    pub fn at(
        &self,
        world: &World<'_>,
        from: Option<&str>,
        address: IpAddr,
        transport: Transport,
        port: u16,
    ) -> Option<Vec<Backend>> {
        let address = address.to_canonical();
        let mut target = Virtual::Address(address, transport, port);
        if !self.claims.contains_key(&target) {
            world.node_at(address)?;
            target = Virtual::NodePort(Family::of(address), transport, port);
        }
        let backends = |endpoints: &[Endpoint]| endpoints.iter().map(|endpoint| endpoint.backend(world)).collect();
        match self.kept_at(world, &target) {
            Some((service, port, family)) => Some(backends(&self.find(world, service, port, Some(family), from))),
            None => Some(backends(self.endpoints_of(&target)?.1)),
        }
    }

    /// The endpoints of a service's cluster address and port with the nodes that may send there; `None` where it is something else, or one
    /// that does not keep its traffic on the node.
    pub(crate) fn near<'w>(&self, world: &'w World<'_>, target: &Virtual) -> Option<NearEndpoints<'w>> {
        let (service, port, family) = self.kept_at(world, target)?;
        let mut endpoints = Vec::new();
        self.each(world, service, port, Some(family), &mut |endpoint, near| endpoints.push((endpoint, near)));
        Some(NearEndpoints { endpoints, else_all: is_met_from_outside(service, port) })
    }

    /// The service whose cluster address it is, if it keeps its traffic on the node, with its port.
    fn kept_at<'w>(&self, world: &'w World<'_>, target: &Virtual) -> Option<(&'w Service, &'w ServicePort, Family)> {
        let Virtual::Address(address, transport, number) = *target else { return None };
        let (at, _) = self.claims.get(target)?.first()?;
        let service = world.cluster.services.get(*at as usize).filter(|service| service.stays_on_node)?;
        let is_own = service.cluster_ips.iter().any(|own| own.to_canonical() == address);
        let port = service.ports.iter().find(|has| has.port == number && Transport::from(has.protocol) == transport)?;
        is_own.then_some((service, port, Family::of(address)))
    }

    /// Backends of one service's port, of the families that it has, for what is sent by a node, if that is known; `None` where the
    /// service has no such port.
    #[must_use]
    pub fn of(
        &self,
        world: &World<'_>,
        from: Option<&str>,
        service: usize,
        transport: Transport,
        port: u16,
    ) -> Option<Vec<Backend>> {
        let service = world.cluster.services.get(service)?;
        let port = service.ports.iter().find(|has| has.port == port && Transport::from(has.protocol) == transport)?;
        // Only addresses of a family that the service has lead to it; a headless one is met under those of its pods.
        let has = |family| service.cluster_ips.iter().any(|address| Family::of(*address) == family);
        let families: Vec<Option<Family>> = if service.cluster_ips.is_empty() {
            vec![None]
        } else {
            Family::BOTH.into_iter().filter(|family| has(*family)).map(Some).collect()
        };
        // Who asks for a headless one is told all addresses.
        let from = from.filter(|_| service.stays_on_node && !service.cluster_ips.is_empty());
        let endpoints = families.into_iter().flat_map(|family| self.find(world, service, port, family, from));
        let mut backends: Vec<Backend> = endpoints.map(|endpoint| endpoint.backend(world)).collect();
        backends.sort_unstable();
        backends.dedup();
        Some(backends)
    }

    /// The service at a place of the cluster is there, or is another than it was.
    pub(crate) fn join(&mut self, world: &World<'_>, at: usize) {
        if let Some(service) = world.cluster.services.get(at) {
            put_in_order(self.of_namespace.entry(service.namespace.clone()).or_default(), place(at));
            self.stale.push(place(at));
        }
    }

    /// The service at a place of the cluster, still what it was, goes.
    pub(crate) fn leave(&mut self, world: &World<'_>, at: usize) {
        if let Some(service) = world.cluster.services.get(at)
            && let Some(services) = self.of_namespace.get_mut(&service.namespace)
        {
            take_out(services, place(at));
            if services.is_empty() {
                self.of_namespace.remove(&service.namespace);
            }
        }
        self.stale.push(place(at));
    }

    /// The endpoint slice at a place of the cluster is there.
    pub(crate) fn join_slice(&mut self, world: &World<'_>, at: usize) {
        if let Some(slice) = world.cluster.endpoint_slices.get(at) {
            self.slice_ids.insert((slice.namespace.clone(), slice.name.clone()), place(at));
        }
        if let Some(key) = world.cluster.endpoint_slices.get(at).and_then(service_of) {
            put_in_order(self.slices.entry(key.clone()).or_default(), place(at));
            let concerned = self.among(world, &key.0, |service| service.name == key.1);
            self.stale.extend(concerned);
        }
    }

    /// The endpoint slice at a place of the cluster, still what it was, goes.
    pub(crate) fn leave_slice(&mut self, world: &World<'_>, at: usize) {
        if let Some(slice) = world.cluster.endpoint_slices.get(at) {
            self.slice_ids.remove(&(slice.namespace.clone(), slice.name.clone()));
        }
        if let Some(key) = world.cluster.endpoint_slices.get(at).and_then(service_of) {
            if let Some(slices) = self.slices.get_mut(&key) {
                take_out(slices, place(at));
                if slices.is_empty() {
                    self.slices.remove(&key);
                }
            }
            let concerned = self.among(world, &key.0, |service| service.name == key.1);
            self.stale.extend(concerned);
        }
    }

    /// The place of a service in the cluster.
    pub(crate) fn named(&self, world: &World<'_>, namespace: &str, name: &str) -> Option<usize> {
        let mut places = self.of_namespace.get(namespace)?.iter().map(|at| *at as usize);
        places.find(|at| world.cluster.services.get(*at).is_some_and(|service| service.name == name))
    }

    /// The place of an endpoint slice in the cluster.
    pub(crate) fn slice_named(&self, namespace: &str, name: &str) -> Option<usize> {
        self.slice_ids.get(&(namespace.to_owned(), name.to_owned())).map(|at| *at as usize)
    }

    /// A workload comes or goes: its services have other endpoints.
    pub(crate) fn touch_workload(&mut self, world: &World<'_>, at: usize) {
        let Some(workload) = world.cluster.workloads.get(at) else {
            return;
        };
        let is_concerned = |service: &Service| match self.slices_of(service) {
            Some(slices) => {
                let slices = slices.iter().filter_map(|at| world.cluster.endpoint_slices.get(*at as usize));
                let mut pods = slices.flat_map(|slice| &slice.endpoints).filter_map(|endpoint| endpoint.pod.as_ref());
                pods.any(|(namespace, name)| *namespace == workload.namespace && *name == workload.name)
            }
            None => selects(&service.selector, workload),
        };
        let concerned = self.among(world, &workload.namespace, is_concerned);
        self.stale.extend(concerned);
    }

    /// Those services of a namespace that are wanted, by their places.
    fn among(&self, world: &World<'_>, namespace: &str, wanted: impl Fn(&Service) -> bool) -> Vec<u32> {
        let services = self.of_namespace.get(namespace).into_iter().flatten().copied();
        services.filter(|at| world.cluster.services.get(*at as usize).is_some_and(&wanted)).collect()
    }

    fn slices_of(&self, service: &Service) -> Option<&Vec<u32>> {
        self.slices.get(&(service.namespace.clone(), service.name.clone()))
    }

    /// Finds the endpoints of services that changed; tells what has other endpoints now, or is no more.
    ///
    /// They are the ready ones that its endpoint slices have; where there is no slice of a service, the pods and templates
    /// that its selector selects.
    pub(crate) fn settle(&mut self, world: &World<'_>) -> Vec<Virtual> {
        let mut changed = Vec::new();
        let mut stale = std::mem::take(&mut self.stale);
        stale.sort_unstable();
        stale.dedup();
        for at in stale {
            let mut found: Vec<(Virtual, Vec<Endpoint>)> = Vec::new();
            if let Some(service) = world.cluster.services.get(at as usize) {
                self.targets(world, service, &mut found);
            }
            self.of_service.resize(self.of_service.len().max(at as usize + 1), Vec::new());
            let targets = found.iter().map(|(target, _)| *target).collect();
            let before = self.of_service.get_mut(at as usize).map(|of| std::mem::replace(of, targets));
            let mut released = Vec::new();
            for target in before.into_iter().flatten() {
                if let Some(claims) = self.claims.get_mut(&target) {
                    released.extend(claims.iter().filter(|(service, _)| *service == at).map(|(_, id)| *id));
                    claims.retain(|(service, _)| *service != at);
                    if claims.is_empty() {
                        self.claims.remove(&target);
                    }
                }
                changed.push(target);
            }
            for (target, endpoints) in found {
                let (id, _) = self.endpoints.hold(endpoints);
                let claims = self.claims.entry(target).or_default();
                let after = claims.partition_point(|(service, _)| *service < at);
                claims.insert(after, (at, id));
                changed.push(target);
            }
            released.into_iter().for_each(|id| drop(self.endpoints.release(id)));
        }
        changed
    }

    fn targets(&self, world: &World<'_>, service: &Service, found: &mut Vec<(Virtual, Vec<Endpoint>)>) {
        let here = world.own_node_name().filter(|_| service.stays_on_node);
        for port in &service.ports {
            let transport = Transport::from(port.protocol);
            for family in Family::BOTH {
                let at = |addresses: &[IpAddr]| -> Vec<Virtual> {
                    let own =
                        addresses.iter().map(IpAddr::to_canonical).filter(|address| Family::of(*address) == family);
                    own.map(|address| Virtual::Address(address, transport, port.port)).collect()
                };
                let mut inside = at(&service.cluster_ips);
                let mut others = [at(&service.external_ips), at(&service.load_balancer_ips)].concat();
                others.extend(port.node_port.map(|port| Virtual::NodePort(family, transport, port)));
                if here.is_none() {
                    inside.append(&mut others);
                }
                for (mut targets, from) in [(inside, here), (others, None)] {
                    targets.sort_unstable();
                    targets.dedup();
                    if !targets.is_empty() {
                        let endpoints = self.find(world, service, port, Some(family), from);
                        found.extend(targets.into_iter().map(|target| (target, endpoints.clone())));
                    }
                }
            }
        }
        // A port that is given twice counts as it was given first.
        found.sort_by_key(|(target, _)| *target);
        found.dedup_by_key(|(target, _)| *target);
    }

    /// The endpoints of a service's port, in order; with a node, those that it may send to.
    fn find(
        &self,
        world: &World<'_>,
        service: &Service,
        port: &ServicePort,
        family: Option<Family>,
        from: Option<&str>,
    ) -> Vec<Endpoint> {
        let mut endpoints = Vec::new();
        self.each(world, service, port, family, &mut |endpoint, near| {
            if near.is_met_from(from) {
                endpoints.push(endpoint);
            }
        });
        if endpoints.is_empty() && from.is_some() && is_met_from_outside(service, port) {
            return self.find(world, service, port, family, None);
        }
        endpoints.sort_unstable();
        endpoints.dedup();
        endpoints
    }

    fn each<'w>(
        &self,
        world: &'w World<'_>,
        service: &Service,
        port: &ServicePort,
        family: Option<Family>,
        visit: &mut impl FnMut(Endpoint, Near<'w>),
    ) {
        let of_family = |address: &IpAddr| family.is_none_or(|wanted| Family::of(*address) == wanted);
        match self.slices_of(service) {
            Some(slices) => {
                for slice in slices.iter().filter_map(|at| world.cluster.endpoint_slices.get(*at as usize)) {
                    let ports = slice.ports.iter().filter(|has| has.name == port.name && has.protocol == port.protocol);
                    let numbers: Vec<u16> = ports.map(|has| has.number.unwrap_or(port.port)).collect();
                    for endpoint in slice.endpoints.iter().filter(|endpoint| endpoint.ready) {
                        let named = endpoint.pod.as_ref();
                        let workload = named.and_then(|(namespace, name)| world.pod_named(namespace, name));
                        let near = endpoint.node.as_deref().map_or(Near::None, Near::Node);
                        for address in endpoint.addresses.iter().map(IpAddr::to_canonical).filter(of_family) {
                            let at = |port: &u16| Endpoint { workload, address: Some(address), port: *port };
                            numbers.iter().for_each(|port| visit(at(port), near));
                        }
                    }
                }
            }
            None if service.selector.is_empty() => {}
            None => {
                for at in world.workloads_in(&service.namespace) {
                    let Some(workload) = world.cluster.workloads.get(*at as usize) else { continue };
                    if !selects(&service.selector, workload) {
                        continue;
                    }
                    let ports = target_ports(port, workload);
                    let addresses = workload.addresses.iter().map(IpAddr::to_canonical).filter(of_family).map(Some);
                    let as_such = workload.addresses.is_empty().then_some(None);
                    let near = workload.node.as_deref().map_or(Near::Any, Near::Node);
                    for address in addresses.chain(as_such) {
                        let endpoint = |port: &u16| Endpoint { workload: Some(*at), address, port: *port };
                        ports.iter().for_each(|port| visit(endpoint(port), near));
                    }
                }
            }
        }
    }
}

impl Endpoint {
    /// The backend that it is: whoever has the address, since that is where packets go, whatever pod was meant. A pod on its
    /// node's network has none for itself, and is meant where it bears the address.
    pub(crate) fn backend(&self, world: &World<'_>) -> Backend {
        let named = self.workload.map(|at| at as usize);
        let bears = |index: usize, address: IpAddr| {
            let on_host = world.cluster.workloads.get(index).filter(|workload| workload.host_network);
            on_host.is_some_and(|workload| workload.addresses.iter().any(|own| own.to_canonical() == address))
        };
        let party = match (self.address, named) {
            (Some(address), Some(index)) if bears(index, address) => Party::pod(index, address),
            (Some(address), _) => match world.pod_at(address).filter(|_| world.node_at(address).is_none()) {
                Some(index) => Party::pod(index, address),
                None => Party::Address(address),
            },
            (None, Some(index)) => Party::workload(index),
            (None, None) => Party::Address(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)),
        };
        Backend { party, port: self.port }
    }
}

/// Namespace and name of the service that a slice belongs to.
fn service_of(slice: &EndpointSlice) -> Option<(String, String)> {
    Some((slice.namespace.clone(), slice.service.clone()?))
}

/// Whether a port of a service is met at another address than a cluster address.
fn is_met_from_outside(service: &Service, port: &ServicePort) -> bool {
    port.node_port.is_some() || !service.external_ips.is_empty() || !service.load_balancer_ips.is_empty()
}

fn selects(selector: &Labels, workload: &Workload) -> bool {
    !selector.is_empty() && selector.iter().all(|(key, value)| workload.labels.get(key) == Some(value))
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
