//! Changes of a cluster, one object at a time.

use std::fmt;

use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde::{Deserialize, Serialize};

use super::{ClusterPolicy, ClusterPolicyKind, EndpointSlice, Located, Namespace, Node, Origin, Service, Workload};

/// One change of a cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// The object is new, or has become this. The owner of a workload is the one that it names itself; who owns that one
    /// is known to who keeps them all, such as [`ClusterState`](crate::ClusterState).
    Set(Box<Object>),
    /// The object is gone.
    Remove(ObjectName),
}

/// An object of any kind that means something here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::large_enum_variant, reason = "it is handed on in a box and kept by its kind")]
pub enum Object {
    /// A namespace.
    Namespace(Namespace),
    /// A node.
    Node(Node),
    /// A pod or a pod template.
    Workload(Workload),
    /// A service.
    Service(Service),
    /// Some endpoints of a service.
    EndpointSlice(EndpointSlice),
    /// A network policy; its namespace is filled in.
    NetworkPolicy(Located<NetworkPolicy>),
    /// A cluster-wide policy.
    ClusterPolicy(Located<ClusterPolicy>),
}

/// What an object is known by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ObjectName {
    /// A namespace, by its name.
    Namespace(String),
    /// A node, by its name.
    Node(String),
    /// A pod or a pod template.
    Workload {
        /// Its namespace.
        namespace: String,
        /// Its own kind, `Pod` or that of a template.
        kind: String,
        /// Its own name.
        name: String,
    },
    /// A service.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// An endpoint slice.
    EndpointSlice {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A network policy.
    NetworkPolicy {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// A cluster-wide policy.
    ClusterPolicy {
        /// Its kind.
        kind: ClusterPolicyKind,
        /// Its name.
        name: String,
    },
}

/// What is known by a name.
pub(crate) trait Named {
    /// The name.
    fn name(&self) -> ObjectName;
}

impl Named for Namespace {
    fn name(&self) -> ObjectName {
        ObjectName::Namespace(self.name.clone())
    }
}

impl Named for Node {
    fn name(&self) -> ObjectName {
        ObjectName::Node(self.name.clone())
    }
}

impl Named for Workload {
    fn name(&self) -> ObjectName {
        let (namespace, kind, name) = (self.namespace.clone(), self.kind.clone(), self.name.clone());
        ObjectName::Workload { namespace, kind, name }
    }
}

impl Named for Service {
    fn name(&self) -> ObjectName {
        ObjectName::Service { namespace: self.namespace.clone(), name: self.name.clone() }
    }
}

impl Named for EndpointSlice {
    fn name(&self) -> ObjectName {
        ObjectName::EndpointSlice { namespace: self.namespace.clone(), name: self.name.clone() }
    }
}

impl Named for Located<NetworkPolicy> {
    fn name(&self) -> ObjectName {
        ObjectName::NetworkPolicy {
            namespace: self.value.metadata.namespace.clone().unwrap_or_default(),
            name: self.value.metadata.name.clone().unwrap_or_default(),
        }
    }
}

impl Named for Located<ClusterPolicy> {
    fn name(&self) -> ObjectName {
        ObjectName::ClusterPolicy { kind: self.value.kind, name: self.value.name.clone() }
    }
}

impl Object {
    /// What it is known by.
    #[must_use]
    pub fn name(&self) -> ObjectName {
        match self {
            Self::Namespace(object) => object.name(),
            Self::Node(object) => object.name(),
            Self::Workload(object) => object.name(),
            Self::Service(object) => object.name(),
            Self::EndpointSlice(object) => object.name(),
            Self::NetworkPolicy(object) => object.name(),
            Self::ClusterPolicy(object) => object.name(),
        }
    }

    pub(crate) const fn origin_mut(&mut self) -> &mut Origin {
        match self {
            Self::Namespace(object) => &mut object.origin,
            Self::Node(object) => &mut object.origin,
            Self::Workload(object) => &mut object.origin,
            Self::Service(object) => &mut object.origin,
            Self::EndpointSlice(object) => &mut object.origin,
            Self::NetworkPolicy(object) => &mut object.origin,
            Self::ClusterPolicy(object) => &mut object.origin,
        }
    }

    /// Where it stands.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        match self {
            Self::Namespace(object) => &object.origin,
            Self::Node(object) => &object.origin,
            Self::Workload(object) => &object.origin,
            Self::Service(object) => &object.origin,
            Self::EndpointSlice(object) => &object.origin,
            Self::NetworkPolicy(object) => &object.origin,
            Self::ClusterPolicy(object) => &object.origin,
        }
    }
}

/// `Kind/namespace/name`, as messages have it.
impl fmt::Display for ObjectName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespace(name) => write!(out, "Namespace/{name}"),
            Self::Node(name) => write!(out, "Node/{name}"),
            Self::Workload { namespace, kind, name } => write!(out, "{kind}/{namespace}/{name}"),
            Self::Service { namespace, name } => write!(out, "Service/{namespace}/{name}"),
            Self::EndpointSlice { namespace, name } => write!(out, "EndpointSlice/{namespace}/{name}"),
            Self::NetworkPolicy { namespace, name } => write!(out, "NetworkPolicy/{namespace}/{name}"),
            Self::ClusterPolicy { kind, name } => write!(out, "{}/{name}", kind.name()),
        }
    }
}
