//! Whose rules an endpoint has, by what is known of pods.

use chainkit_abi::{Subject, mode};
use chainkit_cluster::EndpointRecord;
use chainkit_cluster::model::Mode;

use crate::store::{NamespaceEntry, PodEntry, Pods};

/// What an endpoint is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Number of its rules; 0: no policy selects it.
    pub policy: u32,
    /// How verdicts about it are used.
    pub mode: Mode,
    /// Directions in which it is isolated since nothing is known of it, bits of [`flag`](chainkit_abi::flag).
    pub isolated: u8,
    /// Whether its pod is known.
    pub known: bool,
}

impl Standing {
    /// As the kernel has it, for an interface.
    #[must_use]
    pub fn subject(&self, ifindex: u32) -> Subject {
        Subject {
            ifindex,
            policy: self.policy,
            mode: match self.mode {
                Mode::Observe => mode::OBSERVE,
                Mode::Audit => mode::AUDIT,
                Mode::Enforce => mode::ENFORCE,
            },
            isolated: self.isolated,
            ..Subject::default()
        }
    }

    fn of_pod(pod: &PodEntry) -> Self {
        Self { policy: pod.policy, mode: pod.mode, isolated: 0, known: true }
    }

    fn of_unknown(entry: &NamespaceEntry) -> Self {
        Self { policy: 0, mode: entry.mode, isolated: entry.isolate, known: false }
    }
}

impl Pods {
    /// What an endpoint is judged by: its pod by name and UID, or by address where its record has no name; else what pods of its
    /// namespace have of which nothing is known.
    #[must_use]
    pub fn standing(&self, record: &EndpointRecord) -> Standing {
        if record.pod_name.is_empty() {
            let has = |pod: &&PodEntry| pod.addresses.iter().any(|address| record.addresses.contains(address));
            let found = self.pods.values().find(has).map(Standing::of_pod);
            return found.unwrap_or_else(|| Standing::of_unknown(&self.others));
        }
        let pod = self.pods.get(&format!("{}/{}", record.namespace, record.pod_name));
        let is_it = |pod: &&PodEntry| pod.uid.is_empty() || record.pod_uid.is_empty() || pod.uid == record.pod_uid;
        match pod.filter(is_it) {
            Some(pod) => Standing::of_pod(pod),
            None => Standing::of_unknown(self.namespaces.get(&record.namespace).unwrap_or(&self.others)),
        }
    }
}
