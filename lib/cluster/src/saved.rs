//! Objects as lines of JSON, to be kept and read again: what was read stays equal, the lines of its fields included.
//!
//! A line is a [`Change`]: `{"set":{"workload":{…}}}` or `{"remove":{"service":{"namespace":"shop","name":"db"}}}`. The first
//! kind is written from where objects are kept, without a copy of them, by [`Cluster::saved`] and [`ClusterState::saved`];
//! both are written from a [`Change`], which has serde. [`SavedReader`] reads them.
//!
//! The names in a line are those of [`model`](crate::model), not those of the API: what an object says beyond what is kept
//! of it is gone. Fields that are not known are passed over, those that are missing are empty where that means something.

use std::sync::Arc;

use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde::Serialize;

use crate::model::{Change, Cluster, ClusterPolicy, EndpointSlice, Located, Namespace, Node, Service, Workload};
use crate::state::ClusterState;

/// The line that says what an object is.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SavedObject<'a> {
    set: Borrowed<'a>,
}

/// An [`Object`](crate::model::Object) that lies elsewhere, and looks the same in JSON.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
enum Borrowed<'a> {
    Namespace(&'a Namespace),
    Node(&'a Node),
    Workload(&'a Workload),
    Service(&'a Service),
    EndpointSlice(&'a EndpointSlice),
    NetworkPolicy(&'a Located<NetworkPolicy>),
    ClusterPolicy(&'a Located<ClusterPolicy>),
}

/// Objects of all kinds, wherever they lie.
pub(crate) struct Shelves<'a> {
    pub(crate) namespaces: &'a [Namespace],
    pub(crate) nodes: &'a [Node],
    pub(crate) workloads: &'a [Workload],
    pub(crate) services: &'a [Service],
    pub(crate) endpoint_slices: &'a [EndpointSlice],
    pub(crate) network_policies: &'a [Located<NetworkPolicy>],
    pub(crate) cluster_policies: &'a [Located<ClusterPolicy>],
}

impl<'a> Shelves<'a> {
    fn saved(self) -> impl Iterator<Item = SavedObject<'a>> {
        // An object that is gone may have left its place empty.
        let namespaces = self.namespaces.iter().filter(|object| !object.name.is_empty()).map(Borrowed::Namespace);
        let nodes = self.nodes.iter().filter(|object| !object.name.is_empty()).map(Borrowed::Node);
        let workloads = self.workloads.iter().filter(|object| !object.kind.is_empty()).map(Borrowed::Workload);
        let services = self.services.iter().filter(|object| !object.name.is_empty()).map(Borrowed::Service);
        let slices = self.endpoint_slices.iter().filter(|object| !object.name.is_empty()).map(Borrowed::EndpointSlice);
        let is_named = |policy: &&Located<NetworkPolicy>| policy.value.metadata.name.is_some();
        let network_policies = self.network_policies.iter().filter(is_named).map(Borrowed::NetworkPolicy);
        let cluster_policies = self.cluster_policies.iter().filter(|policy| !policy.value.name.is_empty());
        let cluster_policies = cluster_policies.map(Borrowed::ClusterPolicy);
        let policies = network_policies.chain(cluster_policies);
        let all = namespaces.chain(nodes).chain(workloads).chain(services).chain(slices).chain(policies);
        all.map(|set| SavedObject { set })
    }
}

impl Cluster {
    /// A line for each object, as it is here: owners are the outermost ones, namespaces that were only mentioned are among
    /// them. Problems and kinds that mean nothing are left out.
    pub fn saved(&self) -> impl Iterator<Item = SavedObject<'_>> {
        Shelves {
            namespaces: &self.namespaces,
            nodes: &self.nodes,
            workloads: &self.workloads,
            services: &self.services,
            endpoint_slices: &self.endpoint_slices,
            network_policies: &self.network_policies,
            cluster_policies: &self.cluster_policies,
        }
        .saved()
    }
}

impl ClusterState {
    /// A line for each object, as it was given: what is read again goes on as this does.
    pub fn saved(&self) -> impl Iterator<Item = SavedObject<'_>> {
        self.shelves().saved()
    }
}

/// A line that says nothing of an object.
#[derive(Debug, thiserror::Error)]
#[error("line {line} says nothing of an object: {source}")]
pub struct SavedError {
    /// The line, from 1.
    pub line: usize,
    /// Why not.
    pub source: serde_json::Error,
}

/// Reads lines one after another.
///
/// A line takes some times its length of memory, whatever is in it; how long one may be is for who hands it on.
#[derive(Clone, Debug, Default)]
pub struct SavedReader {
    lines: usize,
    /// The file that the last object stood in: most stand in one, and need its name once.
    file: Arc<str>,
}

impl SavedReader {
    /// What the next line says.
    ///
    /// # Errors
    /// Where it is something else. The line after it can be read.
    pub fn read(&mut self, line: &[u8]) -> Result<Change, SavedError> {
        self.lines += 1;
        let change = serde_json::from_slice(line);
        let mut change = change.map_err(|source| SavedError { line: self.lines, source })?;
        if let Change::Set(object) = &mut change {
            let file = &mut object.origin_mut().file;
            if *file == self.file {
                *file = Arc::clone(&self.file);
            } else {
                self.file = Arc::clone(file);
            }
        }
        Ok(change)
    }
}

#[cfg(test)]
mod tests;
