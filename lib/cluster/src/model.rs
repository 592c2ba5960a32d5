//! A cluster as policy sees it: what runs where, under which labels, and what is said about its traffic.
//!
//! Everything is kept as the objects say it; nothing is decided here. Positions are kept with what a verdict or a
//! finding may have to point at.

mod change;
mod cluster_policy;
mod lines;
mod mode;
mod problem;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde::{Deserialize, Serialize};

pub(crate) use change::Named;
pub use change::{Change, Object, ObjectName};
pub(crate) use cluster_policy::RawSpec;
pub use cluster_policy::{
    Action, ClusterPeer, ClusterPolicy, ClusterPolicyKind, ClusterPort, ClusterRule, ClusterSubject, PodSelector, Tier,
};
pub use lines::Lines;
pub use mode::{MODE_ANNOTATION, Mode};
pub use problem::{About, Problem};

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// The label that the API server gives each namespace: its name.
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Objects of a cluster, from any number of sources.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cluster {
    /// Namespaces, by name. Those that objects stand in and that were not given are among them, with the one label
    /// that each namespace has ([`NAMESPACE_NAME_LABEL`]).
    pub namespaces: Vec<Namespace>,
    /// Nodes, by name.
    pub nodes: Vec<Node>,
    /// Pods and pod templates, by namespace, kind and name.
    pub workloads: Vec<Workload>,
    /// Services, by namespace and name.
    pub services: Vec<Service>,
    /// Endpoint slices, by namespace and name.
    pub endpoint_slices: Vec<EndpointSlice>,
    /// Network policies (`networking.k8s.io/v1`), by namespace and name, which are always filled in and all that is kept of
    /// their metadata.
    pub network_policies: Vec<Located<NetworkPolicy>>,
    /// Cluster-wide policies, by kind and name.
    pub cluster_policies: Vec<Located<ClusterPolicy>>,
    /// Objects of kinds that mean nothing here, counted by kind (`apps/v1 Deployment` is known, `v1 Secret` is not).
    pub unknown: BTreeMap<String, usize>,
    /// What could not be used, in the order it was met.
    pub problems: Vec<Problem>,
    /// How many more problems there were than are kept.
    pub more_problems: usize,
}

/// Where an object stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// The file as it was named; `-` is standard input. Empty for what was made up, such as a namespace that was not given.
    #[serde(with = "shared_text")]
    pub file: Arc<str>,
    /// The document of the file, from 1.
    pub document: usize,
    /// The line of the file at which the object begins, from 1.
    pub line: usize,
}

impl Origin {
    /// Of what no input gave.
    #[must_use]
    pub fn none() -> Self {
        Self { file: "".into(), document: 0, line: 0 }
    }

    /// Whether no input gave it.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::none()
    }
}

impl Default for Origin {
    fn default() -> Self {
        Self::none()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.file.is_empty() {
            return out.write_str("not given");
        }
        write!(out, "{}:{}", self.file, self.line)
    }
}

/// An object with its place, and the lines of its fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Located<T> {
    /// The object.
    pub value: T,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Origin::is_none")]
    pub origin: Origin,
    /// The line of each of its fields.
    #[serde(default)]
    pub lines: Lines,
}

impl<T> Located<T> {
    /// The line of a field such as `spec.ingress[0].from[1]`; of the nearest field around it where it was not given.
    #[must_use]
    pub fn line(&self, path: &str) -> usize {
        self.lines.line(path).unwrap_or(self.origin.line)
    }
}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels, [`NAMESPACE_NAME_LABEL`] included.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// What its annotation [`MODE_ANNOTATION`] asks for; a value that is none counts as nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Where it stands; [`Origin::none`] where it was not given.
    #[serde(default, skip_serializing_if = "Origin::is_none")]
    pub origin: Origin,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its labels.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Its internal and external addresses; an IPv4-mapped one is an IPv4 address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// Its pod ranges (`spec.podCIDRs`), as they are written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pod_cidrs: Vec<String>,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Origin::is_none")]
    pub origin: Origin,
}

/// A pod, or the template of pods that are yet to come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// Its namespace.
    pub namespace: String,
    /// Its own name.
    pub name: String,
    /// Its own kind: `Pod`, or that of the object whose template it is.
    pub kind: String,
    /// The outermost owner that can be told; none for one that nobody owns. Pods of one owner are one workload to
    /// the reader, and each still has labels of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// Labels of the pod.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Addresses of the pod; none for a template, and for a pod that has none yet or has ended. A pod on the host's
    /// network bears its node's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// Ports with a name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<NamedPort>,
    /// Whether it is on its node's network, and so no subject of policy.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub host_network: bool,
    /// The node it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Its service account; `default` where none is named.
    pub service_account: String,
    /// When it was created, in seconds since 1970; 0 where it does not say. Of two pods with one address, the younger has it.
    #[serde(default)]
    pub created: i64,
    /// What is known of a pod beyond what policy looks at; none for a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<Box<PodFacts>>,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Origin::is_none")]
    pub origin: Origin,
}

/// What tells a pod from its namesakes, and where it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodFacts {
    /// Its UID; empty where it does not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// The controller that it names as its owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<Owner>,
    /// Addresses of the node it runs on (`status.hostIPs`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_addresses: Vec<IpAddr>,
    /// What its annotation [`MODE_ANNOTATION`] asks for; a value that is none counts as [`Mode::Enforce`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

/// What owns a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// Its kind. An owner that tells none counts as `Pod`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl Workload {
    /// Kind and name under which it is shown: its owner's, or its own.
    #[must_use]
    pub fn shown_as(&self) -> (&str, &str) {
        self.owner.as_ref().map_or((&self.kind, &self.name), |owner| (&owner.kind, &owner.name))
    }

    /// `namespace/name[Kind]`, as [`Self::shown_as`] has it.
    #[must_use]
    pub fn title(&self) -> String {
        let (kind, name) = self.shown_as();
        format!("{}/{name}[{kind}]", self.namespace)
    }
}

/// A transport protocol that policy can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
    /// SCTP
    Sctp,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// As Kubernetes writes it; `None` for another text. No text is TCP, which the caller knows.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.name() == name)
    }

    /// As Kubernetes writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }

    /// The IP protocol number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

/// A port of a container that has a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NamedPort {
    /// The name.
    pub name: String,
    /// The port's number.
    pub number: u16,
    /// The protocol that the name stands for it in.
    pub protocol: Protocol,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its cluster addresses; none for a headless one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cluster_ips: Vec<IpAddr>,
    /// Its external addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub external_ips: Vec<IpAddr>,
    /// Addresses its load balancers have been given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub load_balancer_ips: Vec<IpAddr>,
    /// Whether what is sent to a cluster address of it stays on the node that sends it (`spec.internalTrafficPolicy: Local`): it goes to
    /// endpoints there. Its other addresses and its ports on nodes lead to all endpoints from inside the cluster, whatever
    /// `spec.externalTrafficPolicy` says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stays_on_node: bool,
    /// The labels its pods must bear; without any it selects none, its endpoints are given by hand.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub selector: Labels,
    /// `spec.type`, such as `ClusterIP` (which it is where nothing is said) or `ExternalName`.
    #[serde(rename = "type")]
    pub type_: String,
    /// Its ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<ServicePort>,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Origin::is_none")]
    pub origin: Origin,
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    /// Its name; empty where it has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The service's port.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// The port of the pods.
    pub target: TargetPort,
    /// The port on the nodes, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_port: Option<u16>,
}

/// The port of a pod that a service sends to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TargetPort {
    /// A number.
    Number(u16),
    /// The name of a port of the pod.
    Name(String),
}

/// Some endpoints of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSlice {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The service it belongs to, of the same namespace (label `kubernetes.io/service-name`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Its endpoints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<ServiceEndpoint>,
    /// Its ports. One without a number stands for every port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<EndpointPort>,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "Origin::is_none")]
    pub origin: Origin,
}

/// An endpoint of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceEndpoint {
    /// Its addresses, all of which are one endpoint's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// Whether it takes connections (`conditions.ready`; not said is yes).
    pub ready: bool,
    /// Its node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The pod behind it, as namespace and name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<(String, String)>,
}

/// A port of an endpoint slice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointPort {
    /// Its name, that of the service's port; empty where it has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its number; none is every port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u16>,
    /// Its protocol.
    pub protocol: Protocol,
}

/// A text that many share, as any text.
mod shared_text {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(text: &Arc<str>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<str>, D::Error> {
        String::deserialize(from).map(Into::into)
    }
}
