//! What is asked for.

use super::ApiError;

/// A kind of objects, as the server knows it.
#[derive(Debug)]
pub(super) struct Kind {
    /// Empty for the core group.
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    /// In the plural.
    pub(super) resource: &'static str,
    /// Whether a server may well not have it.
    pub(super) optional: bool,
    /// Whether addresses bear names of it.
    names: bool,
}

const fn builtin(group: &'static str, version: &'static str, resource: &'static str) -> Kind {
    Kind { group, version, resource, optional: false, names: false }
}

const fn custom(version: &'static str, resource: &'static str) -> Kind {
    Kind { group: "policy.networking.k8s.io", version, resource, optional: true, names: false }
}

const fn naming(resource: &'static str) -> Kind {
    Kind { group: "", version: "v1", resource, optional: false, names: true }
}

/// Which kinds are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kinds {
    /// All that policy is made of.
    #[default]
    Policy,
    /// What addresses are called by: pods, services, nodes and namespaces.
    Names,
}

impl Kinds {
    /// Those of them, in the order of [`KINDS`].
    pub(super) fn list(self) -> Vec<&'static Kind> {
        KINDS.iter().filter(|kind| self == Self::Policy || kind.names).collect()
    }
}

/// The kinds that policy is made of. Pods come last: they are the most, and mean more once the rest is known.
const KINDS: &[Kind] = &[
    naming("namespaces"),
    builtin("networking.k8s.io", "v1", "networkpolicies"),
    custom("v1alpha1", "adminnetworkpolicies"),
    custom("v1alpha1", "baselineadminnetworkpolicies"),
    custom("v1alpha2", "clusternetworkpolicies"),
    naming("nodes"),
    naming("services"),
    builtin("discovery.k8s.io", "v1", "endpointslices"),
    naming("pods"),
];

impl Kind {
    /// The path of its version of its group.
    pub(super) fn group_path(&self) -> String {
        if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        }
    }

    /// The path of all of them.
    pub(super) fn path(&self) -> String {
        format!("{}/{}", self.group_path(), self.resource)
    }

    /// What is told where the server does not have it.
    pub(super) fn absent(&self, server: &str) -> String {
        format!("the API server {server} has no {} of {}/{}: passed over", self.resource, self.group, self.version)
    }

    pub(super) fn failed(&self, verb: &'static str, server: &str, reason: String) -> ApiError {
        ApiError::Failed { verb, resource: self.resource, server: server.to_owned(), reason }
    }
}
