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
            return found.unwrap_or_else(|| self.unknown(&record.namespace));
        }
        let pod = self.pods.get(&format!("{}/{}", record.namespace, record.pod_name));
        let is_it = |pod: &&PodEntry| pod.uid.is_empty() || record.pod_uid.is_empty() || pod.uid == record.pod_uid;
        match pod.filter(is_it) {
            Some(pod) => Standing::of_pod(pod),
            None => self.unknown(&record.namespace),
        }
    }

    /// What a pod is judged by of which nothing is known but its namespace, or, where that is empty, not even that: it may be in any,
    /// and is isolated as far as it would be in some, in the strictest of their modes.
    fn unknown(&self, namespace: &str) -> Standing {
        if !namespace.is_empty() {
            return Standing::of_unknown(self.namespaces.get(namespace).unwrap_or(&self.others));
        }
        let all = self.namespaces.values().chain([&self.others]);
        let isolating = all.filter(|entry| entry.mode != Mode::Observe && entry.isolate != 0).map(Standing::of_unknown);
        let strictest = isolating.reduce(|one, other| Standing {
            mode: one.mode.max(other.mode),
            isolated: one.isolated | other.isolated,
            ..one
        });
        strictest.unwrap_or_else(|| Standing::of_unknown(&self.others))
    }
}

#[cfg(test)]
mod tests {
    use chainkit_abi::flag::{ISOLATED_EGRESS, ISOLATED_INGRESS};

    use super::*;

    fn entry(mode: Mode, isolate: u8) -> NamespaceEntry {
        NamespaceEntry { mode, isolate, ..NamespaceEntry::default() }
    }

    fn pods(namespaces: &[(&str, NamespaceEntry)], others: NamespaceEntry) -> Pods {
        let namespaces = namespaces.iter().map(|(name, entry)| ((*name).to_owned(), entry.clone())).collect();
        Pods { namespaces, others, ..Pods::default() }
    }

    fn of(pods: &Pods, namespace: &str, pod_name: &str) -> (Mode, u8, bool) {
        let record = EndpointRecord {
            namespace: namespace.to_owned(),
            pod_name: pod_name.to_owned(),
            ..EndpointRecord::default()
        };
        let standing = pods.standing(&record);
        (standing.mode, standing.isolated, standing.known)
    }

    #[test]
    fn a_pod_without_a_namespace_is_isolated_where_any_namespace_isolates() {
        let free = ("free", entry(Mode::Enforce, 0));
        let shop = ("shop", entry(Mode::Enforce, ISOLATED_INGRESS));
        let back = ("back", entry(Mode::Audit, ISOLATED_EGRESS));
        let some = pods(&[free.clone(), shop, back.clone()], entry(Mode::Enforce, 0));
        for name in ["", "web"] {
            assert_eq!(of(&some, "", name), (Mode::Enforce, ISOLATED_INGRESS | ISOLATED_EGRESS, false));
        }
        assert_eq!(of(&some, "free", ""), (Mode::Enforce, 0, false));
        assert_eq!(of(&some, "back", ""), (Mode::Audit, ISOLATED_EGRESS, false));
        assert_eq!(of(&some, "nowhere", "web"), (Mode::Enforce, 0, false));
        // Wherever it is, it would be dropped nowhere.
        let audited = pods(&[free.clone(), back], entry(Mode::Enforce, 0));
        assert_eq!(of(&audited, "", ""), (Mode::Audit, ISOLATED_EGRESS, false));
        assert_eq!(of(&pods(&[free], entry(Mode::Enforce, 0)), "", ""), (Mode::Enforce, 0, false));
    }

    #[test]
    fn a_namespace_that_is_only_observed_isolates_nobody() {
        let system = ("kube-system", entry(Mode::Observe, ISOLATED_INGRESS | ISOLATED_EGRESS));
        let left_out = pods(&[system], entry(Mode::Enforce, ISOLATED_INGRESS));
        assert_eq!(of(&left_out, "", ""), (Mode::Enforce, ISOLATED_INGRESS, false));
        // As --unknown-pods observe has it.
        let observed = pods(&[("shop", entry(Mode::Observe, 0))], entry(Mode::Observe, 0));
        assert_eq!(of(&observed, "", ""), (Mode::Observe, 0, false));
    }
}
