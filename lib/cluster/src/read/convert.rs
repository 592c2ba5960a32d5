//! From the API's types to what is kept of them.

use std::net::IpAddr;

use k8s_openapi::api::apps::v1 as apps;
use k8s_openapi::api::batch::v1 as batch;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::kinds::{Key, Template, controller, owner};
use super::text::Body;
use super::yaml::Fault;
use crate::model::{
    EndpointPort, EndpointSlice, Lines, MODE_ANNOTATION, Mode, NamedPort, Namespace, Node, Origin, PodFacts, Protocol,
    Service, ServiceEndpoint, ServicePort, TargetPort, Workload,
};

/// Fields that were left out, and why; the object counts without them.
#[derive(Debug, Default)]
pub(super) struct Faults(pub(super) Vec<(String, String)>);

impl Faults {
    pub(super) fn push(&mut self, field: &str, reason: String) {
        self.0.push((field.to_owned(), reason));
    }

    /// An address; an IPv4-mapped one is an IPv4 address.
    fn address(&mut self, field: &str, text: &str) -> Option<IpAddr> {
        match text.parse::<IpAddr>() {
            Ok(address) => Some(address.to_canonical()),
            Err(_) => {
                let text: String = text.chars().take(64).collect();
                self.push(field, format!("{text:?} is no address: left out"));
                None
            }
        }
    }

    /// The mode that an object asks for; `instead` of one that is none.
    fn mode(&mut self, metadata: &ObjectMeta, instead: Option<Mode>) -> Option<Mode> {
        let asked = metadata.annotations.as_ref()?.get(MODE_ANNOTATION)?;
        let mode = Mode::from_name(asked);
        if mode.is_none() {
            let asked: String = asked.chars().take(64).collect();
            let done = instead.map_or_else(|| "left out".to_owned(), |mode| format!("taken for {}", mode.name()));
            let reason = format!("{asked:?} is no mode: {done}: give observe, audit or enforce");
            self.push(&format!("metadata.annotations[{MODE_ANNOTATION}]"), reason);
        }
        mode.or(instead)
    }

    /// A port number.
    fn port(&mut self, field: &str, number: i32) -> Option<u16> {
        let port = u16::try_from(number).ok().filter(|port| *port > 0);
        if port.is_none() {
            self.push(field, format!("{number} is no port: left out"));
        }
        port
    }

    /// A protocol; none is TCP.
    fn protocol(&mut self, field: &str, name: Option<&str>) -> Option<Protocol> {
        let protocol = Protocol::from_name(name.unwrap_or("TCP"));
        if protocol.is_none() {
            let name: String = name.unwrap_or_default().chars().take(64).collect();
            self.push(field, format!("{name:?} is no protocol: left out"));
        }
        protocol
    }
}

pub(super) fn namespace(namespace: core::Namespace, key: &Key, origin: Origin, faults: &mut Faults) -> Namespace {
    let mode = faults.mode(&namespace.metadata, None);
    Namespace { name: key.name.clone(), labels: namespace.metadata.labels.unwrap_or_default(), mode, origin }
}

pub(super) fn node(node: core::Node, key: &Key, origin: Origin, faults: &mut Faults) -> Node {
    let spec = node.spec.unwrap_or_default();
    let addresses = node.status.and_then(|status| status.addresses).unwrap_or_default();
    let addresses = addresses
        .iter()
        .enumerate()
        .filter(|(_, address)| matches!(address.type_.as_str(), "InternalIP" | "ExternalIP"));
    let addresses = addresses
        .filter_map(|(index, address)| faults.address(&format!("status.addresses[{index}].address"), &address.address));
    Node {
        name: key.name.clone(),
        labels: node.metadata.labels.unwrap_or_default(),
        addresses: addresses.collect(),
        pod_cidrs: spec.pod_cidrs.unwrap_or_else(|| spec.pod_cidr.into_iter().collect()),
        origin,
    }
}

pub(super) fn pod(pod: core::Pod, key: &Key, origin: Origin, faults: &mut Faults) -> Workload {
    let spec = pod.spec.unwrap_or_default();
    let status = pod.status.unwrap_or_default();
    let mut addresses = Vec::new();
    // What has ended has given its address back.
    if !matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        for (index, address) in status.pod_ips.iter().flatten().enumerate() {
            addresses.extend(faults.address(&format!("status.podIPs[{index}].ip"), &address.ip));
        }
        // Older servers fill this one alone.
        if status.pod_ips.as_ref().is_none_or(Vec::is_empty)
            && let Some(address) = status.pod_ip.as_deref().filter(|address| !address.is_empty())
        {
            addresses.extend(faults.address("status.podIP", address));
        }
    }
    let owner = owner(pod.metadata.owner_references.as_ref());
    // Which address a node is reached on is told for its own sake elsewhere, and in full: here it may be wrong in silence.
    let hosts = status.host_ips.iter().flatten().map(|host| &host.ip).chain(&status.host_ip);
    let hosts = hosts.filter_map(|host| host.parse().ok()).map(|host: IpAddr| host.to_canonical());
    let facts = PodFacts {
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        controller: controller(pod.metadata.owner_references.as_ref()),
        host_addresses: hosts.collect(),
        // An annotation may only tighten, so one that cannot be understood is the tightest.
        mode: faults.mode(&pod.metadata, Some(Mode::Enforce)),
    };
    let workload = workload(&spec, "spec", pod.metadata, "Pod", key, origin, faults);
    Workload { addresses, owner, facts: Some(Box::new(facts)), ..workload }
}

/// What is common to a pod and a template.
fn workload(
    spec: &core::PodSpec,
    path: &str,
    metadata: ObjectMeta,
    kind: &str,
    key: &Key,
    origin: Origin,
    faults: &mut Faults,
) -> Workload {
    Workload {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        kind: kind.to_owned(),
        owner: None,
        created: metadata.creation_timestamp.map_or(0, |time| time.0.as_second()),
        labels: metadata.labels.unwrap_or_default(),
        addresses: Vec::new(),
        ports: named_ports(spec, path, faults),
        host_network: spec.host_network.unwrap_or_default(),
        node: spec.node_name.clone().filter(|node| !node.is_empty()),
        service_account: spec
            .service_account_name
            .clone()
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "default".to_owned()),
        facts: None,
        origin,
    }
}

/// Ports with a name, of containers and of those init containers that stay (sidecars).
fn named_ports(spec: &core::PodSpec, path: &str, faults: &mut Faults) -> Vec<NamedPort> {
    let stays = |container: &&core::Container| container.restart_policy.as_deref() == Some("Always");
    let sidecars = spec.init_containers.iter().flatten().filter(stays);
    let containers = spec.containers.iter().chain(sidecars);
    let mut named = Vec::new();
    for port in containers.flat_map(|container| container.ports.iter().flatten()) {
        let Some(name) = port.name.as_ref().filter(|name| !name.is_empty()) else {
            continue;
        };
        let field = format!("{path}.containers");
        let number = faults.port(&field, port.container_port);
        let protocol = faults.protocol(&field, port.protocol.as_deref());
        if let (Some(number), Some(protocol)) = (number, protocol) {
            let port = NamedPort { name: name.clone(), number, protocol };
            if !named.contains(&port) {
                named.push(port);
            }
        }
    }
    named
}

/// A pod template and the object it stands in.
pub(super) struct FoundTemplate {
    metadata: ObjectMeta,
    template: Option<core::PodTemplateSpec>,
    path: &'static str,
}

/// Reads an object that has a pod template.
pub(super) fn template(body: Body<'_>, kind: Template, line: usize) -> Result<(FoundTemplate, Lines), Fault> {
    const PATH: &str = "spec.template.spec";
    let found = |metadata, template| FoundTemplate { metadata, template, path: PATH };
    Ok(match kind {
        Template::ReplicationController => {
            let (object, lines) = body.typed::<core::ReplicationController>(line)?;
            (found(object.metadata, object.spec.and_then(|spec| spec.template)), lines)
        }
        Template::Deployment => {
            let (object, lines) = body.typed::<apps::Deployment>(line)?;
            (found(object.metadata, object.spec.map(|spec| spec.template)), lines)
        }
        Template::ReplicaSet => {
            let (object, lines) = body.typed::<apps::ReplicaSet>(line)?;
            (found(object.metadata, object.spec.and_then(|spec| spec.template)), lines)
        }
        Template::StatefulSet => {
            let (object, lines) = body.typed::<apps::StatefulSet>(line)?;
            (found(object.metadata, object.spec.map(|spec| spec.template)), lines)
        }
        Template::DaemonSet => {
            let (object, lines) = body.typed::<apps::DaemonSet>(line)?;
            (found(object.metadata, object.spec.map(|spec| spec.template)), lines)
        }
        Template::Job => {
            let (object, lines) = body.typed::<batch::Job>(line)?;
            (found(object.metadata, object.spec.map(|spec| spec.template)), lines)
        }
        Template::CronJob => {
            let (object, lines) = body.typed::<batch::CronJob>(line)?;
            let template = object.spec.and_then(|spec| spec.job_template.spec).map(|spec| spec.template);
            let path = "spec.jobTemplate.spec.template.spec";
            (FoundTemplate { metadata: object.metadata, template, path }, lines)
        }
    })
}

impl FoundTemplate {
    pub(super) fn into_workload(self, kind: Template, key: &Key, origin: Origin, faults: &mut Faults) -> Workload {
        if self.template.is_none() {
            faults.push("spec.template", "missing: its pods are taken to have no labels".to_owned());
        }
        let template = self.template.unwrap_or_default();
        let owner = owner(self.metadata.owner_references.as_ref());
        let spec = template.spec.unwrap_or_default();
        let metadata = template.metadata.unwrap_or_default();
        Workload { owner, ..workload(&spec, self.path, metadata, kind.name(), key, origin, faults) }
    }
}

pub(super) fn service(service: core::Service, key: &Key, origin: Origin, faults: &mut Faults) -> Service {
    let spec = service.spec.unwrap_or_default();
    let mut addresses = |field: &str, texts: &[String]| -> Vec<IpAddr> {
        let texts = texts.iter().enumerate();
        // "None" is a headless service, an empty one waits for its address.
        let texts = texts.filter(|(_, text)| !text.is_empty() && *text != "None");
        texts.filter_map(|(index, text)| faults.address(&format!("{field}[{index}]"), text)).collect()
    };
    let cluster_ips = spec.cluster_ips.unwrap_or_else(|| spec.cluster_ip.into_iter().collect());
    let cluster_ips = addresses("spec.clusterIPs", &cluster_ips);
    let external_ips = addresses("spec.externalIPs", &spec.external_ips.unwrap_or_default());
    let balancers = service.status.and_then(|status| status.load_balancer).and_then(|status| status.ingress);
    let balancers: Vec<String> = balancers.into_iter().flatten().filter_map(|ingress| ingress.ip).collect();
    let load_balancer_ips = addresses("status.loadBalancer.ingress", &balancers);
    let stays_on_node = match spec.internal_traffic_policy.as_deref() {
        Some("Local") => true,
        None | Some("" | "Cluster") => false,
        Some(_) => {
            faults.push("spec.internalTrafficPolicy", "neither Cluster nor Local: taken as Cluster".to_owned());
            false
        }
    };
    let ports = spec.ports.unwrap_or_default();
    let ports = ports.into_iter().enumerate().filter_map(|(index, port)| service_port(port, index, faults)).collect();
    Service {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        cluster_ips,
        external_ips,
        load_balancer_ips,
        stays_on_node,
        selector: spec.selector.unwrap_or_default(),
        type_: spec.type_.unwrap_or_else(|| "ClusterIP".to_owned()),
        ports,
        origin,
    }
}

fn service_port(port: core::ServicePort, index: usize, faults: &mut Faults) -> Option<ServicePort> {
    let path = format!("spec.ports[{index}]");
    let number = faults.port(&format!("{path}.port"), port.port)?;
    let protocol = faults.protocol(&format!("{path}.protocol"), port.protocol.as_deref())?;
    let target = match port.target_port {
        // 0 and nothing at all are the service's own port.
        None | Some(IntOrString::Int(0)) => TargetPort::Number(number),
        Some(IntOrString::Int(target)) => TargetPort::Number(faults.port(&format!("{path}.targetPort"), target)?),
        Some(IntOrString::String(name)) => TargetPort::Name(name),
    };
    let node_port = port.node_port.filter(|port| *port != 0);
    let node_port = node_port.and_then(|port| faults.port(&format!("{path}.nodePort"), port));
    Some(ServicePort { name: port.name.unwrap_or_default(), port: number, protocol, target, node_port })
}

pub(super) fn endpoint_slice(
    slice: discovery::EndpointSlice,
    key: &Key,
    origin: Origin,
    faults: &mut Faults,
) -> EndpointSlice {
    let mut endpoints = Vec::new();
    // An FQDN is no address, and nothing that policy could look at.
    if slice.address_type != "FQDN" {
        for (index, endpoint) in slice.endpoints.into_iter().enumerate() {
            let addresses = endpoint.addresses.iter().enumerate();
            let addresses = addresses.filter_map(|(number, address)| {
                faults.address(&format!("endpoints[{index}].addresses[{number}]"), address)
            });
            let pod = endpoint.target_ref.filter(|target| target.kind.as_deref() == Some("Pod"));
            endpoints.push(ServiceEndpoint {
                addresses: addresses.collect(),
                ready: endpoint.conditions.and_then(|conditions| conditions.ready).unwrap_or(true),
                node: endpoint.node_name,
                pod: pod.and_then(|pod| Some((pod.namespace.unwrap_or_else(|| key.namespace.clone()), pod.name?))),
            });
        }
    }
    let ports = slice.ports.unwrap_or_default().into_iter().enumerate().filter_map(|(index, port)| {
        let protocol = faults.protocol(&format!("ports[{index}].protocol"), port.protocol.as_deref())?;
        let number = match port.port {
            Some(number) => Some(faults.port(&format!("ports[{index}].port"), number)?),
            None => None,
        };
        Some(EndpointPort { name: port.name.unwrap_or_default(), number, protocol })
    });
    EndpointSlice {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        service: slice.metadata.labels.and_then(|mut labels| labels.remove("kubernetes.io/service-name")),
        endpoints,
        ports: ports.collect(),
        origin,
    }
}
