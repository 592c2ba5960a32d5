//! What can be not as it should be, in words, and what to do about it.

use std::fmt::Display;
use std::net::IpAddr;

use chainkit_abi::flag;
use chainkit_cluster::model::Mode;
use chainkit_enforce::{InForce, Marker, Refusal, Refused, Standing, StoreError, Unsettled, boot_id};

use super::told::Fault;

/// What is not as it should be.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) all: Vec<Fault>,
}

impl Faults {
    fn add(&mut self, what: impl Into<String>, remedy: &'static str) {
        self.all.push(Fault { what: what.into(), remedy });
    }

    /// Leaves out what another look has not found.
    pub(super) fn keep_those_of(&mut self, other: &Self) {
        self.all.retain(|fault| other.all.iter().any(|found| found.what == fault.what));
    }

    /// What a file says, where it can be read.
    pub(super) fn of_file<T>(&mut self, read: Result<T, StoreError>) -> Option<T> {
        read.map_err(|error| self.add(error.to_string(), "put policy in force anew with polload apply")).ok()
    }

    /// What a watch was told of and could not have in force.
    pub(super) fn refused(&mut self, refused: &Refused) {
        const REMEDY: &str =
            "mend it where it comes from; if polload watch runs no more, start it again, or apply anew";
        for Refusal { object, reason, since } in &refused.objects {
            let what = if object.is_empty() { "what the cluster has by now" } else { object };
            self.add(
                format!(
                    "{what} cannot be put in force since {since}, and what was before, if anything, stays: {reason}"
                ),
                REMEDY,
            );
        }
        if refused.more > 0 {
            self.add(format!("{} more policies cannot be put in force", refused.more), REMEDY);
        }
    }

    pub(super) fn unreadable(&mut self, warning: impl Display) {
        self.add(warning.to_string(), "adopt the pod anew with cni-chain adopt");
    }

    pub(super) fn nothing_installed(&mut self, marker: Option<&Marker>) {
        if let Some(marker) = marker {
            self.not_in_force(marker);
        }
    }

    fn not_in_force(&mut self, marker: &Marker) {
        let since = if marker.boot_id == boot_id() { "" } else { " since the node was started" };
        let what = format!("no policy is in force{since}, though generation {} was applied", marker.generation);
        self.add(what, "put it back with polload restore");
    }

    pub(super) fn another_namespace(&mut self) {
        self.add(
            "the pinned datapath is of another network namespace",
            "run this in the node's network namespace, or give --root another tree",
        );
    }

    /// What the kernel has in force, and what the file says of it.
    pub(super) fn of_policy(&mut self, now: &InForce, marker: Option<&Marker>) {
        if now.went_back {
            let what = match now.generation {
                0 => "nobody confirmed the policy in time: no policy is in force again".to_owned(),
                generation => format!("nobody confirmed the policy in time: generation {generation} is in force again"),
            };
            self.add(what, "apply once more, and confirm it in time; polload restore takes note of what is in force");
            return;
        }
        if let Some(unsettled) = marker.and_then(|marker| now.unsettled(marker)) {
            self.unsettled(unsettled);
            return;
        }
        match (now.generation, marker) {
            (0, Some(_)) if now.cleared => {
                self.add(
                    "policy was cleared, and would come back with the next start of the node",
                    "run polload clear",
                );
            }
            (0, Some(marker)) => self.not_in_force(marker),
            (0, None) => {}
            (_, None) => self.add(
                "policy is in force, and would not come back after the next start of the node: active.json is missing",
                "put policy in force anew with polload apply",
            ),
            (_, Some(marker)) if now.folder.as_ref().is_some_and(|folder| *folder != marker.folder) => self.add(
                "another policy is in force than would come back after the next start of the node",
                "put policy in force anew with polload apply",
            ),
            _ => {}
        }
    }

    /// A confirmation that was interrupted, or could not be written down.
    fn unsettled(&mut self, unsettled: Unsettled) {
        let (what, remedy) = match unsettled {
            Unsettled::ConfirmedOnDisk => (
                "the policy in force was confirmed, and the kernel has not been told: it would go back to the one before",
                "run polload confirm",
            ),
            Unsettled::ConfirmedInKernel => (
                "the policy in force was confirmed, and that is not written down: after the next start of the node the one before would be put back",
                "run polload confirm",
            ),
            Unsettled::WentBack => (
                "nobody confirmed the policy that was applied last, and it is not written down that the one before is in force again",
                "run polload restore",
            ),
        };
        self.add(what, remedy);
    }

    pub(super) fn no_tables(&mut self, generation: u32) {
        let what = format!("generation {generation} is in force, and its tables are not all there");
        self.add(what, "put policy in force anew with polload apply");
    }

    pub(super) fn no_folder(&mut self, generation: u32) {
        let what = format!("what generation {generation} was made from is not on disk");
        self.add(what, "put policy in force anew with polload apply");
    }

    pub(super) fn taking_over(&mut self, (pod, interface): &(String, String)) {
        let what = format!("{} is not judged: whoever took it over did not come to an end", named(pod, interface));
        self.add(what, "take it over again with cni-chain adopt");
    }

    pub(super) fn wrong_rules(&mut self, pod: &str, interface: &str) {
        let what = format!("{} is judged by other rules than its own", named(pod, interface));
        self.add(what, "put policy in force anew with polload apply");
    }

    pub(super) fn unknown_pod(&mut self, pod: &str, interface: &str, isolated: bool) {
        let how = if isolated { "and is isolated until it is" } else { "and no policy is asked about it" };
        let what = format!("{} is not among the objects, {how}", named(pod, interface));
        self.add(what, "apply with objects that have it, or keep polload watch running");
    }

    /// A pod whose name nobody knows, and none of whose addresses is a known pod's.
    pub(super) fn nameless(&mut self, interface: &str, addresses: &[IpAddr], standing: &Standing) {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let at = if addresses.is_empty() { String::new() } else { format!(" with {}", addresses.join(" and ")) };
        let both = flag::ISOLATED_INGRESS | flag::ISOLATED_EGRESS;
        let how = match (standing.mode, standing.isolated & both) {
            (Mode::Observe, _) => "policy does not judge it",
            (_, 0) => "everything is allowed to it and from it",
            (_, flag::ISOLATED_INGRESS) => "nothing may be opened to it but by its own node",
            (_, flag::ISOLATED_EGRESS) => "it may open nothing",
            _ => "nothing may be opened to it but by its own node, and it may open nothing",
        };
        let in_mode = if standing.mode == Mode::Audit { ", which is told and not enforced" } else { "" };
        let what = format!(
            "nobody knows which pod is at {interface}{at}, so none of the policies that select pods is asked about it: {how}{in_mode}"
        );
        self.add(
            what,
            "let its name be found with cni-chain adopt --all, or apply with objects in which a pod has its address",
        );
    }

    /// Packets of a pod that no program of ours sees, or not for certain.
    pub(super) fn unseen(&mut self, pod: &str, interface: &str, gap: &str) {
        let what = format!("{} is not judged, or not for certain: {gap}", named(pod, interface));
        self.add(what, "attach it anew with cni-chain release and cni-chain adopt, and see cni-chain status for what others put there");
    }

    pub(super) fn unattached(&mut self, pod: &str) {
        let what = format!("{pod} is selected by policy and judged by nobody: nothing is attached to it");
        self.add(what, "attach it with cni-chain adopt --all");
    }
}

fn named(pod: &str, interface: &str) -> String {
    if pod.is_empty() { format!("the pod at {interface}") } else { format!("{pod} ({interface})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(now: &InForce, marker: Option<&Marker>) -> Vec<String> {
        let mut faults = Faults::default();
        faults.of_policy(now, marker);
        faults.all.into_iter().map(|fault| fault.what).collect()
    }

    fn in_force(generation: u32) -> InForce {
        let folder = (generation != 0).then(|| format!("g{generation}-0000000{generation}"));
        InForce { generation, folder, fallback: None, seconds_left: None, went_back: false, cleared: false }
    }

    fn marker(folder: &str) -> Marker {
        Marker { generation: 7, folder: folder.to_owned(), boot_id: boot_id(), ..Marker::default() }
    }

    #[test]
    fn what_is_as_the_file_says_is_no_fault() {
        assert!(told(&in_force(7), Some(&marker("g7-00000007"))).is_empty());
        assert!(told(&in_force(0), None).is_empty());
        assert!(told(&InForce { cleared: true, ..in_force(0) }, None).is_empty());
    }

    #[test]
    fn what_was_in_force_before_a_start_is_missed() {
        let before = Marker { boot_id: "another".to_owned(), ..marker("g7-00000007") };
        assert_eq!(
            told(&in_force(0), Some(&before)),
            ["no policy is in force since the node was started, though generation 7 was applied"]
        );
        let same = told(&in_force(0), Some(&marker("g7-00000007")));
        assert_eq!(same, ["no policy is in force, though generation 7 was applied"]);
    }

    #[test]
    fn what_would_not_come_back_is_told() {
        assert!(told(&in_force(7), None)[0].contains("would not come back"));
        assert!(told(&in_force(7), Some(&marker("g6-00000006")))[0].contains("another policy is in force"));
        let cleared = InForce { cleared: true, ..in_force(0) };
        assert!(told(&cleared, Some(&marker("g7-00000007")))[0].contains("cleared, and would come back"));
    }

    #[test]
    fn a_confirmation_that_was_interrupted_is_told_with_what_finishes_it() {
        let told = |folder: &str, waits: bool, deadline| {
            let fallback = waits.then(|| (6, Some("g6-00000006".to_owned())));
            let now = InForce { folder: Some(folder.to_owned()), fallback, ..in_force(7) };
            let previous = Some("g6-00000006".to_owned());
            let mut faults = Faults::default();
            faults.of_policy(&now, Some(&Marker { previous, deadline, ..marker("g7-00000007") }));
            faults.all.into_iter().map(|fault| fault.remedy).collect::<Vec<_>>()
        };
        assert_eq!(told("g7-00000007", true, None), ["run polload confirm"]);
        assert_eq!(told("g7-00000007", false, Some(9)), ["run polload confirm"]);
        assert_eq!(told("g6-00000006", false, Some(9)), ["run polload restore"]);
        assert!(told("g7-00000007", true, Some(9)).is_empty());
    }

    #[test]
    fn a_pod_without_a_name_is_told_with_its_addresses_and_what_becomes_of_it() {
        let told = |mode, isolated| {
            let mut faults = Faults::default();
            let addresses = ["10.0.0.7".parse().unwrap(), "fd00::7".parse().unwrap()];
            faults.nameless("eni7", &addresses, &Standing { policy: 0, mode, isolated, known: false });
            faults.all.remove(0).what
        };
        let both = flag::ISOLATED_INGRESS | flag::ISOLATED_EGRESS;
        assert_eq!(
            told(Mode::Enforce, both),
            "nobody knows which pod is at eni7 with 10.0.0.7 and fd00::7, so none of the policies that select pods is asked about it: \
             nothing may be opened to it but by its own node, and it may open nothing"
        );
        assert!(told(Mode::Enforce, 0).ends_with("everything is allowed to it and from it"));
        assert!(
            told(Mode::Audit, flag::ISOLATED_EGRESS).ends_with("it may open nothing, which is told and not enforced")
        );
        assert!(told(Mode::Observe, both).ends_with("policy does not judge it"));
    }

    #[test]
    fn what_was_refused_is_told_with_its_reason() {
        let refused =
            |object: &str| Refusal { object: object.to_owned(), reason: "why".to_owned(), since: "now".to_owned() };
        let mut faults = Faults::default();
        faults.refused(&Refused { objects: vec![refused("NetworkPolicy/shop/db"), refused("")], more: 3 });
        let told: Vec<&str> = faults.all.iter().map(|fault| fault.what.as_str()).collect();
        assert_eq!(
            told[0],
            "NetworkPolicy/shop/db cannot be put in force since now, and what was before, if anything, stays: why"
        );
        assert_eq!(
            told[1],
            "what the cluster has by now cannot be put in force since now, and what was before, if anything, stays: why"
        );
        assert_eq!(told[2..], ["3 more policies cannot be put in force"]);
    }

    #[test]
    fn a_policy_that_was_not_confirmed_is_told_once() {
        let back = InForce { went_back: true, ..in_force(6) };
        let told = told(&back, Some(&marker("g7-00000007")));
        assert_eq!(told, ["nobody confirmed the policy in time: generation 6 is in force again"]);
    }
}
