//! Changes of a cluster, one object at a time.

use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::{ClusterPolicy, ClusterPolicyKind, EndpointSlice, Located, Namespace, Node, Service, Workload};

/// One change of a cluster.
#[derive(Clone, Debug)]
pub enum Change {
    /// The object is new, or has become this.
    Set(Box<Object>),
    /// The object is gone.
    Remove(ObjectName),
}

/// An object of any kind that means something here.
#[allow(clippy::large_enum_variant, reason = "a change holds it in a box")]
#[derive(Clone, Debug)]
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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

impl Object {
    /// What it is known by.
    #[must_use]
    pub fn name(&self) -> ObjectName {
        match self {
            Self::Namespace(object) => ObjectName::Namespace(object.name.clone()),
            Self::Node(object) => ObjectName::Node(object.name.clone()),
            Self::Workload(object) => ObjectName::Workload {
                namespace: object.namespace.clone(),
                kind: object.kind.clone(),
                name: object.name.clone(),
            },
            Self::Service(object) => {
                ObjectName::Service { namespace: object.namespace.clone(), name: object.name.clone() }
            }
            Self::EndpointSlice(object) => {
                ObjectName::EndpointSlice { namespace: object.namespace.clone(), name: object.name.clone() }
            }
            Self::NetworkPolicy(object) => ObjectName::NetworkPolicy {
                namespace: object.value.metadata.namespace.clone().unwrap_or_default(),
                name: object.value.metadata.name.clone().unwrap_or_default(),
            },
            Self::ClusterPolicy(object) => {
                ObjectName::ClusterPolicy { kind: object.value.kind, name: object.value.name.clone() }
            }
        }
    }
}
