//! The ends of edges: what an end of a flow is called.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use chainkit_flow::{Endpoint, Flow};
use serde::Serialize;

/// The longest name of a part of a node, as a Kubernetes name or a DNS name is at most.
const MAX_NAME: usize = 253;

/// What the nodes of the map are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// What pods belong to, such as a Deployment; a pod that belongs to nothing by itself.
    #[default]
    Workload,
    /// Pods.
    Pod,
    /// Namespaces.
    Namespace,
    /// Services, where a flow or the other side of its connection tells one, else workloads.
    Service,
}

/// What kind of end a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// What pods belong to.
    Workload,
    /// A pod.
    Pod,
    /// A namespace.
    Namespace,
    /// A service, whose backend is not known or not asked for.
    Service,
    /// An external peer, by a DNS name.
    Name,
    /// One of Hubble's reserved entities, such as `reserved:host`.
    Reserved,
    /// An address of which nothing else is known.
    Address,
    /// External peers beyond the budget, or ends of edges beyond it.
    Others,
    /// An end of which not even an address is known.
    Unknown,
}

/// A node of the map.
///
/// Of two that are told of the same end the lesser says more, so that it does not matter which was told first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Of what is in a namespace; else empty.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Of a workload its kind, such as `Deployment`; else empty.
    pub workload: Arc<str>,
}

impl fmt::Display for Node {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = match self.kind {
            Kind::Service => "svc:",
            Kind::Reserved => "reserved:",
            _ => "",
        };
        let slash = if self.namespace.is_empty() { "" } else { "/" };
        write!(out, "{prefix}{}{slash}{}", self.namespace, self.name)
    }
}

impl Node {
    fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: short(namespace), name: short(name), workload: Arc::from("") }
    }

    /// Stands for all ends that there is no room for.
    pub(crate) fn others() -> Self {
        Self::new(Kind::Others, "", "(others)")
    }

    /// Whether it lies outside of what Kubernetes names, so that there may be any number of its kind.
    pub(crate) const fn is_external(&self) -> bool {
        matches!(self.kind, Kind::Name | Kind::Address)
    }
}

/// Whether `a` says more of an end than `b`.
pub(crate) fn says_more(by: By, a: &Node, b: &Node) -> bool {
    let asked_for = |node: &Node| by == By::Service && node.kind == Kind::Service;
    match (asked_for(a), asked_for(b)) {
        (true, false) => true,
        (false, true) => false,
        _ => a < b,
    }
}

fn short(text: &str) -> Arc<str> {
    let mut end = text.len().min(MAX_NAME);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().into()
}

/// The two ends of a flow, as it has them: source, destination.
pub(crate) fn ends(flow: &Flow, by: By) -> (Node, Node) {
    let ip = flow.ip.as_ref();
    let address = |source: bool| {
        ip.and_then(|ip| if source { ip.source.as_ref() } else { ip.destination.as_ref() }).map(ToString::to_string)
    };
    let service = |service: Option<&chainkit_flow::Service>| {
        service.map(|service| Node::new(Kind::Service, &service.0.namespace, &service.0.name))
    };
    let source_service = service(flow.source_service.as_ref());
    let destination_service = service(flow.destination_service.as_ref());
    (
        node(by, flow.source.as_deref(), source_service, &flow.source_names, address(true)),
        node(by, flow.destination.as_deref(), destination_service, &flow.destination_names, address(false)),
    )
}

fn node(by: By, end: Option<&Endpoint>, service: Option<Node>, names: &[String], address: Option<String>) -> Node {
    if by == By::Service
        && let Some(service) = service
    {
        return service;
    }
    if let Some(named) = end.and_then(|end| in_cluster(by, end)) {
        return named;
    }
    if let Some(service) = service {
        return if by == By::Namespace { Node::new(Kind::Namespace, "", &service.namespace) } else { service };
    }
    // A name says more than that it is somewhere in the world; less than that it is this host.
    let entity = end.and_then(reserved);
    if let Some(entity) = entity.filter(|entity| *entity != "world" && *entity != "unknown") {
        return Node::new(Kind::Reserved, "", entity);
    }
    if let Some(name) = names.iter().min() {
        return Node::new(Kind::Name, "", name.trim_end_matches('.'));
    }
    match address {
        Some(address) => Node::new(Kind::Address, "", &address),
        None => entity
            .map_or_else(|| Node::new(Kind::Unknown, "", "(unknown)"), |entity| Node::new(Kind::Reserved, "", entity)),
    }
}

/// What Kubernetes calls it.
fn in_cluster(by: By, end: &Endpoint) -> Option<Node> {
    let known = !end.pod_name.is_empty() || !end.namespace.is_empty() || !end.workloads.is_empty();
    if !known {
        return None;
    }
    if by == By::Namespace {
        return Some(Node::new(Kind::Namespace, "", &end.namespace));
    }
    if by != By::Pod
        && let Some(workload) = end.workloads.iter().find(|workload| !workload.name.is_empty())
    {
        let node = Node::new(Kind::Workload, &end.namespace, &workload.name);
        return Some(Node { workload: short(&workload.kind), ..node });
    }
    let name = if end.pod_name.is_empty() { "*" } else { &end.pod_name };
    Some(Node::new(Kind::Pod, &end.namespace, name))
}

/// The reserved entity that it is, by its labels; an API server is first of all that.
fn reserved(end: &Endpoint) -> Option<&str> {
    let entities = || end.labels.iter().filter_map(|label| label.strip_prefix("reserved:"));
    entities().find(|entity| *entity == "kube-apiserver").or_else(|| entities().next())
}

/// An address in its one form, IPv4 within IPv6 as IPv4.
pub(crate) fn plain(address: Option<&chainkit_flow::Lenient<IpAddr>>) -> Option<IpAddr> {
    address.and_then(chainkit_flow::Lenient::known).map(IpAddr::to_canonical)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chainkit_flow::parse;

    fn called(destination: &str, by: By) -> String {
        let line =
            format!(r#"{{"flow":{{"IP":{{"source":"10.0.0.1","destination":"93.184.216.34"}},{destination}}}}}"#);
        let flow = parse(line.as_bytes()).unwrap().unwrap().flow.unwrap();
        ends(&flow, by).1.to_string()
    }

    #[test]
    fn an_end_is_called_by_the_most_that_is_known_of_it() {
        let pod = r#""destination":{"namespace":"shop","pod_name":"db-0","workloads":[{"name":"db","kind":"StatefulSet"}]},"destination_service":{"namespace":"shop","name":"pg"}"#;
        assert_eq!(called(pod, By::Workload), "shop/db");
        assert_eq!(called(pod, By::Pod), "shop/db-0");
        assert_eq!(called(pod, By::Namespace), "shop");
        assert_eq!(called(pod, By::Service), "svc:shop/pg");
        let service = r#""destination_service":{"namespace":"shop","name":"pg"}"#;
        assert_eq!(called(service, By::Workload), "svc:shop/pg");
        assert_eq!(called(service, By::Namespace), "shop");
        let world = r#""destination":{"identity":2,"labels":["reserved:world"]}"#;
        assert_eq!(called(world, By::Workload), "93.184.216.34");
        let named = format!(r#"{world},"destination_names":["b.example.","a.example."]"#);
        assert_eq!(called(&named, By::Workload), "a.example");
        let server =
            r#""destination":{"labels":["reserved:remote-node","reserved:kube-apiserver"]},"destination_names":["x"]"#;
        assert_eq!(called(server, By::Pod), "reserved:kube-apiserver");
        assert_eq!(called(r#""destination":{"namespace":"shop"}"#, By::Workload), "shop/*");
    }

    #[test]
    fn no_name_is_longer_than_a_name_can_be() {
        let long = format!(r#""destination_names":["{}"]"#, "ä".repeat(5000));
        assert_eq!(called(&long, By::Workload).len(), 252);
    }
}
