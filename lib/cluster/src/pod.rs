//! What is kept of a pod.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::model::{self, Labels, Owner};

/// A pod, as far as its traffic is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID; empty where it is not known.
    pub uid: String,
    /// Its labels, without source prefix.
    pub labels: BTreeMap<String, String>,
    /// What it belongs to, as Hubble names it: the Deployment of a ReplicaSet, the CronJob of a Job.
    pub workloads: Vec<Workload>,
    /// ID of its sandbox container; empty where no endpoint record tells.
    pub container_id: String,
    /// Its addresses; none where it shares those of its node, and none once it has finished.
    pub addresses: Vec<IpAddr>,
    /// The node it runs on, where that is known.
    pub node: Option<String>,
    /// When it was made, seconds since 1970; 0 where that is not known.
    pub created: i64,
}

/// What a pod belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Workload {
    /// Its name.
    pub name: String,
    /// Its kind, such as `Deployment`.
    pub kind: String,
}

impl Pod {
    /// Takes what is of use from a pod of the cluster.
    pub(crate) fn new(pod: model::Workload) -> Self {
        let facts = pod.facts.map(|facts| *facts).unwrap_or_default();
        Self {
            workloads: facts.controller.map(|controller| workload(&controller, &pod.labels)).into_iter().collect(),
            namespace: pod.namespace,
            name: pod.name,
            uid: facts.uid,
            labels: pod.labels,
            container_id: String::new(),
            // On the host's network it bears the address of its node.
            addresses: if pod.host_network { Vec::new() } else { pod.addresses },
            node: pod.node,
            created: pod.created,
        }
    }
}

/// A controller as a workload, one step up where the pod itself tells it.
fn workload(owner: &Owner, labels: &Labels) -> Workload {
    let hash = labels.get("pod-template-hash").map(String::as_str);
    let (name, kind) = match owner.kind.as_str() {
        // A Deployment names its ReplicaSets NAME-HASH, and labels their pods with the hash.
        "ReplicaSet" => match hash.and_then(|hash| owner.name.strip_suffix(hash)?.strip_suffix('-')) {
            Some(deployment) if !deployment.is_empty() => (deployment, "Deployment"),
            _ => (owner.name.as_str(), "ReplicaSet"),
        },
        "Job" => match cron_job(&owner.name) {
            Some(cron_job) => (cron_job, "CronJob"),
            None => (owner.name.as_str(), "Job"),
        },
        kind => (owner.name.as_str(), kind),
    };
    Workload { name: name.to_owned(), kind: kind.to_owned() }
}

/// The CronJob that a Job of this name comes from: its controller names Jobs NAME-MINUTES, the scheduled time in minutes
/// since 1970, of eight digits from 1989 to 2160.
fn cron_job(job: &str) -> Option<&str> {
    let (name, minutes) = job.rsplit_once('-')?;
    let scheduled = minutes.len() == 8 && minutes.bytes().all(|byte| byte.is_ascii_digit());
    (scheduled && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(kind: &str, name: &str, hash: Option<&str>) -> (String, String) {
        let owner = Owner { kind: kind.to_owned(), name: name.to_owned() };
        let labels = hash.map(|hash| ("pod-template-hash".to_owned(), hash.to_owned()));
        let found = super::workload(&owner, &labels.into_iter().collect());
        (found.kind, found.name)
    }

    fn named(kind: &str, name: &str) -> (String, String) {
        (kind.to_owned(), name.to_owned())
    }

    #[test]
    fn a_replica_set_is_named_after_its_deployment() {
        assert_eq!(workload("ReplicaSet", "web-5d4f8c", Some("5d4f8c")), named("Deployment", "web"));
        assert_eq!(workload("ReplicaSet", "web-5d4f8c", None), named("ReplicaSet", "web-5d4f8c"));
        assert_eq!(workload("ReplicaSet", "web-5d4f8c", Some("other")), named("ReplicaSet", "web-5d4f8c"));
        assert_eq!(workload("ReplicaSet", "-5d4f8c", Some("5d4f8c")), named("ReplicaSet", "-5d4f8c"));
    }

    #[test]
    fn a_job_is_named_after_its_cron_job_only_when_its_name_shows_it() {
        assert_eq!(workload("Job", "backup-28412345", None), named("CronJob", "backup"));
        assert_eq!(workload("Job", "migrate-v2", None), named("Job", "migrate-v2"));
        assert_eq!(workload("Job", "backup-2841234", None), named("Job", "backup-2841234"));
        assert_eq!(workload("Job", "-28412345", None), named("Job", "-28412345"));
    }

    #[test]
    fn other_owners_are_named_as_they_are() {
        assert_eq!(workload("StatefulSet", "db", None), named("StatefulSet", "db"));
    }
}
