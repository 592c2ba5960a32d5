//! Objects as this node sees them, and which of them concern it.

use std::net::IpAddr;

use chainkit_cluster::model::{Change, Labels, Node, Object, ObjectName, Origin};
use chainkit_policy::Update;

use crate::kernel::pods::join;

/// This node: its object has the addresses that the host has in fact, and is there whether the cluster has it or not.
#[derive(Clone, Debug)]
pub(super) struct OwnNode {
    name: String,
    addresses: Vec<IpAddr>,
}

impl OwnNode {
    pub(super) fn new(name: &str, addresses: &[IpAddr]) -> Self {
        Self { name: name.to_owned(), addresses: addresses.to_vec() }
    }

    /// The changes with that put right.
    pub(super) fn own(&self, changes: Vec<Change>) -> Vec<Change> {
        changes.into_iter().map(|change| self.own_one(change)).collect()
    }

    fn own_one(&self, change: Change) -> Change {
        match change {
            Change::Set(mut object) => {
                if let Object::Node(node) = &mut *object
                    && node.name == self.name
                {
                    join(&mut node.addresses, &self.addresses);
                }
                Change::Set(object)
            }
            Change::Remove(ObjectName::Node(name)) if name == self.name => {
                let addresses = self.addresses.clone();
                let (labels, pod_cidrs, origin) = (Labels::new(), Vec::new(), Origin::none());
                Change::Set(Box::new(Object::Node(Node { name, labels, addresses, pod_cidrs, origin })))
            }
            other => other,
        }
    }
}

/// Whether changes may change what a pod of this node, or one that is not known yet, is judged by.
pub(super) fn concern(changes: &[Change], update: &Update, node: &str) -> bool {
    !update.subjects.is_empty()
        || changes.iter().any(|change| match change {
            Change::Set(object) => match &**object {
                Object::Namespace(_) | Object::NetworkPolicy(_) | Object::ClusterPolicy(_) => true,
                Object::Workload(workload) => workload.node.as_deref() == Some(node),
                Object::Node(_) | Object::Service(_) | Object::EndpointSlice(_) => false,
            },
            Change::Remove(name) => matches!(
                name,
                ObjectName::Namespace(_)
                    | ObjectName::NetworkPolicy { .. }
                    | ObjectName::ClusterPolicy { .. }
                    | ObjectName::Workload { .. }
            ),
        })
}
