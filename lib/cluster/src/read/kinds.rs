//! Kinds of objects that mean something here, and an object's head.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde::Deserialize;

use crate::model::{ClusterPolicyKind, ObjectName, Owner};

/// A kind that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Pod,
    Namespace,
    Node,
    Service,
    EndpointSlice,
    NetworkPolicy,
    Template(Template),
    ClusterPolicy(ClusterPolicyKind),
}

/// A kind that has a pod template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Template {
    ReplicationController,
    Deployment,
    ReplicaSet,
    StatefulSet,
    DaemonSet,
    Job,
    CronJob,
}

impl Template {
    /// As Kubernetes writes it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::ReplicationController => "ReplicationController",
            Self::Deployment => "Deployment",
            Self::ReplicaSet => "ReplicaSet",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::Job => "Job",
            Self::CronJob => "CronJob",
        }
    }
}

impl Kind {
    /// The kind of that name in that version of its group. Without a version the name alone decides.
    pub(super) fn of(api_version: Option<&str>, kind: &str) -> Option<Self> {
        let in_versions = |versions: &[&str]| api_version.is_none_or(|version| versions.contains(&version));
        let (found, versions): (Self, &[&str]) = match kind {
            "Pod" => (Self::Pod, &["v1"]),
            "Namespace" => (Self::Namespace, &["v1"]),
            "Node" => (Self::Node, &["v1"]),
            "Service" => (Self::Service, &["v1"]),
            "EndpointSlice" => (Self::EndpointSlice, &["discovery.k8s.io/v1"]),
            "NetworkPolicy" => (Self::NetworkPolicy, &["networking.k8s.io/v1"]),
            "ReplicationController" => (Self::Template(Template::ReplicationController), &["v1"]),
            "Deployment" => (Self::Template(Template::Deployment), &["apps/v1"]),
            "ReplicaSet" => (Self::Template(Template::ReplicaSet), &["apps/v1"]),
            "StatefulSet" => (Self::Template(Template::StatefulSet), &["apps/v1"]),
            "DaemonSet" => (Self::Template(Template::DaemonSet), &["apps/v1"]),
            "Job" => (Self::Template(Template::Job), &["batch/v1"]),
            "CronJob" => (Self::Template(Template::CronJob), &["batch/v1"]),
            "AdminNetworkPolicy" => {
                (Self::ClusterPolicy(ClusterPolicyKind::Admin), &["policy.networking.k8s.io/v1alpha1"])
            }
            "BaselineAdminNetworkPolicy" => {
                (Self::ClusterPolicy(ClusterPolicyKind::BaselineAdmin), &["policy.networking.k8s.io/v1alpha1"])
            }
            // v1beta1 says the same as v1alpha2.
            "ClusterNetworkPolicy" => (
                Self::ClusterPolicy(ClusterPolicyKind::Cluster),
                &["policy.networking.k8s.io/v1alpha2", "policy.networking.k8s.io/v1beta1"],
            ),
            _ => return None,
        };
        in_versions(versions).then_some(found)
    }

    /// Whether its objects are policies.
    pub(super) const fn is_policy(self) -> bool {
        matches!(self, Self::NetworkPolicy | Self::ClusterPolicy(_))
    }

    /// Whether its objects stand in a namespace.
    pub(super) const fn is_namespaced(self) -> bool {
        !matches!(self, Self::Namespace | Self::Node | Self::ClusterPolicy(_))
    }
}

/// Groups in which every kind is a policy but for these.
const POLICY_GROUPS: [(&str, &[&str]); 2] = [
    ("networking.k8s.io", &["Ingress", "IngressClass", "ServiceCIDR", "IPAddress", "ClusterCIDR"]),
    ("policy.networking.k8s.io", &[]),
];

/// Why an object of a kind that is not read cannot be passed over like others: it is a policy, or is meant to be one for all that
/// can be told, in a group of Kubernetes itself. What vendors call so is theirs.
pub(super) fn unread_policy(api_version: Option<&str>, kind: &str) -> Option<String> {
    let api_version = api_version?;
    let (group, _) = api_version.split_once('/').unwrap_or(("", api_version));
    let read = match kind {
        "NetworkPolicy" => "networking.k8s.io/v1",
        "AdminNetworkPolicy" | "BaselineAdminNetworkPolicy" => "policy.networking.k8s.io/v1alpha1",
        "ClusterNetworkPolicy" => "policy.networking.k8s.io/v1alpha2 and v1beta1",
        _ => {
            let (_, others) = POLICY_GROUPS.iter().find(|(policies, _)| *policies == group)?;
            return (!others.contains(&kind)).then(|| {
                "a kind that is not known, in a group of policies: it cannot be used: mend its name".to_owned()
            });
        }
    };
    // A group without a dot, or below k8s.io, can be nobody else's: a CustomResourceDefinition may not have it, or not without
    // the consent of Kubernetes (apiextensions' api-approved.kubernetes.io).
    let is_own = !group.contains('.') || group == "k8s.io" || group.ends_with(".k8s.io");
    let version: String = api_version.chars().take(100).collect();
    is_own.then(|| format!("{version} is not read: the policy cannot be used: write it as {read}"))
}

/// What an object is, and what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) kind: Kind,
    /// Empty for a kind without.
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Key {
    /// The name it is known by.
    pub(super) fn object_name(&self) -> ObjectName {
        let (namespace, name) = (self.namespace.clone(), self.name.clone());
        match self.kind {
            Kind::Pod => ObjectName::Workload { namespace, kind: "Pod".to_owned(), name },
            Kind::Template(template) => ObjectName::Workload { namespace, kind: template.name().to_owned(), name },
            Kind::Namespace => ObjectName::Namespace(name),
            Kind::Node => ObjectName::Node(name),
            Kind::Service => ObjectName::Service { namespace, name },
            Kind::EndpointSlice => ObjectName::EndpointSlice { namespace, name },
            Kind::NetworkPolicy => ObjectName::NetworkPolicy { namespace, name },
            Kind::ClusterPolicy(kind) => ObjectName::ClusterPolicy { kind, name },
        }
    }
}

/// What is read of an object before its kind is known. What is no text is told later, where the object is typed.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "a Kubernetes object")]
pub(super) struct Head {
    pub(super) api_version: Option<serde_json::Value>,
    pub(super) kind: Option<serde_json::Value>,
    pub(super) metadata: Option<HeadMetadata>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", expecting = "metadata")]
pub(super) struct HeadMetadata {
    pub(super) namespace: Option<serde_json::Value>,
    pub(super) name: Option<serde_json::Value>,
    pub(super) generate_name: Option<serde_json::Value>,
    pub(super) annotations: Option<serde_json::Value>,
}

/// The owner to be shown, of those that an object names: the controller, or the first.
pub(super) fn owner(references: Option<&Vec<OwnerReference>>) -> Option<Owner> {
    let references = references?;
    let controller = references.iter().find(|owner| owner.controller == Some(true));
    let owner = controller.or_else(|| references.first())?;
    // A static pod is owned by its node, which says nothing about it.
    if owner.kind == "Node" || owner.name.is_empty() {
        return None;
    }
    let kind = if owner.kind.is_empty() { "Pod" } else { owner.kind.as_str() };
    Some(Owner { kind: kind.to_owned(), name: owner.name.clone() })
}

/// The owner that an object names as its controller, whatever it is.
pub(super) fn controller(references: Option<&Vec<OwnerReference>>) -> Option<Owner> {
    let controller = references?.iter().find(|owner| owner.controller == Some(true))?;
    Some(Owner { kind: controller.kind.clone(), name: controller.name.clone() })
}
