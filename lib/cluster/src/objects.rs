//! What names are made of: of each object, what is of use for that and no more.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::{self, Change, Labels, Object, ObjectName, Problem};
use crate::names::ServiceName;
use crate::pod::Pod;
use crate::read::{self, InputError, MAX_PROBLEMS, Said};

/// Kubernetes objects: what is kept of pods, services, nodes and namespaces. Objects of other kinds are passed over.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    pods: BTreeMap<(String, String), KnownPod>,
    services: BTreeMap<(String, String), Service>,
    /// Addresses of nodes by name.
    nodes: BTreeMap<String, Vec<IpAddr>>,
    pub(crate) namespaces: BTreeMap<String, Labels>,
}

#[derive(Clone, Debug)]
struct KnownPod {
    pod: Arc<Pod>,
    /// On which address a node is reached, its pods know, too.
    host_addresses: Vec<IpAddr>,
}

/// A service's virtual addresses.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) name: Arc<ServiceName>,
    pub(crate) cluster: Vec<IpAddr>,
    pub(crate) external: Vec<IpAddr>,
    /// Port and IP protocol number.
    pub(crate) ports: Vec<(u16, u8)>,
}

impl Objects {
    /// Reads a text, which is named `file` in messages, and gives what of it could not be used.
    pub fn text(&mut self, file: &str, text: &str) -> Vec<Problem> {
        let mut problems = Problems::default();
        read::text(file, text, &mut |said| self.hear(said, &mut problems));
        problems.told()
    }

    /// Reads inputs as [`Reader::inputs`](crate::Reader::inputs) does, and gives what of them could not be used.
    ///
    /// # Errors
    /// When an input does not exist or cannot be opened.
    pub fn inputs<T: AsRef<str>>(&mut self, inputs: &[T]) -> Result<Vec<Problem>, InputError> {
        let mut problems = Problems::default();
        read::read_inputs(inputs, &mut |_, said| self.hear(said, &mut problems))?;
        Ok(problems.told())
    }

    fn hear(&mut self, said: Said, problems: &mut Problems) {
        match said {
            Said::Set { object, .. } => self.apply(Change::Set(object)),
            Said::Remove(name) => self.apply(Change::Remove(name)),
            // What is wrong with a policy is for who reads policies.
            Said::Problem { problem, name } if name.as_ref().is_none_or(is_of_use) => problems.push(problem),
            Said::Problem { .. } | Said::Listed | Said::Unknown(_) => {}
        }
    }

    /// Takes in a change.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Set(object) => self.set(*object),
            Change::Remove(name) => self.remove(name),
        }
    }

    fn set(&mut self, object: Object) {
        match object {
            Object::Workload(pod) if pod.kind == "Pod" => {
                let host_addresses = pod.facts.as_ref().map(|facts| facts.host_addresses.clone()).unwrap_or_default();
                let pod = Arc::new(Pod::new(pod));
                self.pods.insert((pod.namespace.clone(), pod.name.clone()), KnownPod { pod, host_addresses });
            }
            Object::Service(service) => {
                self.services.insert((service.namespace.clone(), service.name.clone()), Service::new(service));
            }
            Object::Node(node) => {
                self.nodes.insert(node.name, node.addresses);
            }
            Object::Namespace(namespace) => {
                self.namespaces.insert(namespace.name, namespace.labels);
            }
            _ => {}
        }
    }

    fn remove(&mut self, name: ObjectName) {
        match name {
            ObjectName::Workload { namespace, kind, name } if kind == "Pod" => {
                drop(self.pods.remove(&(namespace, name)))
            }
            ObjectName::Service { namespace, name } => drop(self.services.remove(&(namespace, name))),
            ObjectName::Node(name) => drop(self.nodes.remove(&name)),
            ObjectName::Namespace(name) => drop(self.namespaces.remove(&name)),
            _ => {}
        }
    }

    /// Whether nothing of use was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty() && self.services.is_empty() && self.nodes.is_empty() && self.namespaces.is_empty()
    }

    /// The pods, by namespace and name.
    pub fn pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods.values().map(|known| &known.pod)
    }

    pub(crate) fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.values()
    }

    /// Addresses of nodes, each with the name of its node; what a node says itself goes before what its pods say.
    pub(crate) fn node_addresses(&self) -> HashMap<IpAddr, Arc<str>> {
        let mut names: HashMap<&str, Arc<str>> = HashMap::new();
        let mut addresses = HashMap::new();
        for known in self.pods.values() {
            if let Some(node) = known.pod.node.as_deref() {
                let name = names.entry(node).or_insert_with(|| node.into());
                addresses.extend(known.host_addresses.iter().map(|address| (*address, Arc::clone(name))));
            }
        }
        for (node, own) in &self.nodes {
            let name = names.entry(node).or_insert_with(|| node.as_str().into());
            addresses.extend(own.iter().map(|address| (*address, Arc::clone(name))));
        }
        addresses
    }
}

impl Service {
    fn new(service: model::Service) -> Self {
        let mut external = service.external_ips;
        external.extend(service.load_balancer_ips);
        Self {
            name: Arc::new(ServiceName { namespace: service.namespace, name: service.name }),
            cluster: service.cluster_ips,
            external,
            ports: service.ports.iter().map(|port| (port.port, port.protocol.number())).collect(),
        }
    }
}

/// Whether names are made of objects of that kind.
fn is_of_use(name: &ObjectName) -> bool {
    match name {
        ObjectName::Workload { kind, .. } => kind == "Pod",
        ObjectName::Service { .. } | ObjectName::Node(_) | ObjectName::Namespace(_) => true,
        _ => false,
    }
}

/// Problems of inputs; what goes past [`MAX_PROBLEMS`] is only counted, since the input decides how many there are.
#[derive(Default)]
struct Problems {
    kept: Vec<Problem>,
    more: usize,
}

impl Problems {
    fn push(&mut self, problem: Problem) {
        if self.kept.len() < MAX_PROBLEMS {
            self.kept.push(problem);
        } else {
            self.more += 1;
        }
    }

    fn told(mut self) -> Vec<Problem> {
        if let Some(last) = self.kept.last().filter(|_| self.more > 0).cloned() {
            let reason = format!("{} more objects or fields cannot be used", self.more);
            let (object, field) = (String::new(), String::new());
            self.kept.push(Problem { document: 0, line: 0, object, field, reason, ..last });
        }
        self.kept
    }
}

#[cfg(test)]
mod tests;
