//! The records of `polload status`.

use std::time::{Duration, SystemTime};

use chainkit_cli::Row;
use chainkit_enforce::{Marker, PolicyRef, RuleAction, RuleDirection};
use jiff::Timestamp;
use serde::Serialize;

/// One of them.
#[derive(Debug, Serialize)]
#[serde(tag = "kind")]
pub(super) enum Told {
    /// The node, always the first.
    PolicyStatus(PolicyStatus),
    /// An endpoint that policy judges.
    EndpointPolicy(EndpointPolicy),
    /// A rule, and what it has decided.
    RuleHits(RuleState),
    /// Something that is not as it should be.
    Fault(Fault),
}

/// How many seconds ago that was.
fn age(at: Option<&String>) -> Option<u64> {
    let at: Timestamp = at?.parse().ok()?;
    Some(u64::try_from(Timestamp::now().as_second().saturating_sub(at.as_second())).unwrap_or(0))
}

/// The node.
#[derive(Debug, Default, Serialize)]
pub(super) struct PolicyStatus {
    /// The generation that judges; 0: none, everything passes.
    pub(super) generation: u32,
    /// What it was applied with: `observe`, `audit` or `enforce`; `none` without policy.
    pub(super) mode: String,
    pub(super) node: String,
    pub(super) applied_at: Option<String>,
    pub(super) objects_at: Option<String>,
    /// How old the objects are, in seconds.
    pub(super) objects_age: Option<u64>,
    /// Seconds until the kernel goes back by itself.
    pub(super) seconds_left: Option<u64>,
    /// To which generation.
    pub(super) falls_back_to: Option<u32>,
    pub(super) went_back: bool,
    pub(super) cleared: bool,
    pub(super) faults: usize,
}

impl PolicyStatus {
    /// Of a node without policy in force.
    pub(super) fn none(marker: Option<&Marker>) -> Self {
        let said = |text: &String| (!text.is_empty()).then(|| text.clone());
        let objects_at = marker.and_then(|marker| said(&marker.objects_at));
        Self {
            mode: "none".to_owned(),
            node: marker.map(|marker| marker.node.clone()).unwrap_or_default(),
            applied_at: marker.and_then(|marker| said(&marker.applied_at)),
            objects_age: age(objects_at.as_ref()),
            objects_at,
            ..Self::default()
        }
    }

    /// A `polload watch` has written what came later into the files, and not when.
    pub(super) fn followed(&mut self, tables: SystemTime, objects: SystemTime) {
        let later = |said: &mut Option<String>, written: SystemTime| {
            let written = Timestamp::try_from(written).ok();
            let before = said.as_ref().and_then(|said| said.parse::<Timestamp>().ok());
            // When files are whole they are said to be in force, within moments.
            if let (Some(written), Some(before)) = (written, before)
                && written.as_second() > before.as_second()
            {
                *said = Some(written.to_string());
            }
        };
        later(&mut self.applied_at, tables);
        later(&mut self.objects_at, objects);
        self.objects_age = age(self.objects_at.as_ref());
    }

    fn detail(&self) -> String {
        let mut detail = Vec::new();
        detail.extend(self.applied_at.as_ref().map(|at| format!("applied {at}")));
        let age = self.objects_age.map(|age| humantime::format_duration(Duration::from_secs(age)));
        detail.extend(age.map(|age| format!("objects are {age} old")));
        if let (Some(left), Some(to)) = (self.seconds_left, self.falls_back_to) {
            let left = humantime::format_duration(Duration::from_secs(left));
            detail.push(format!("goes back to generation {to} in {left} unless confirmed"));
        }
        if self.cleared {
            detail.push("cleared".to_owned());
        }
        detail.join("; ")
    }
}

/// An endpoint that policy judges.
#[derive(Debug, Serialize)]
pub(super) struct EndpointPolicy {
    pub(super) pod: String,
    pub(super) interface: String,
    pub(super) ifindex: u32,
    pub(super) mode: &'static str,
    /// Whether its pod is among the objects.
    pub(super) known: bool,
    /// Of a pod that is not: the directions in which it is isolated.
    pub(super) isolated: Vec<&'static str>,
    /// Policies that decide anything for it.
    pub(super) policies: Vec<String>,
}

/// A rule, and what it has decided.
#[derive(Debug, Serialize)]
pub(super) struct RuleState {
    pub(super) number: u32,
    pub(super) direction: Option<RuleDirection>,
    pub(super) action: Option<RuleAction>,
    pub(super) tier: Option<String>,
    pub(super) rule: Vec<String>,
    pub(super) allowed: u64,
    pub(super) denied: u64,
    pub(super) audited: u64,
    /// When it decided last.
    pub(super) last: Option<Timestamp>,
}

/// Something that is not as it should be.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Fault {
    pub(super) what: String,
    pub(super) remedy: &'static str,
}

/// A policy by kind and name.
pub(super) fn policy_name(policy: &PolicyRef) -> String {
    if policy.namespace.is_empty() {
        format!("{} {}", policy.kind, policy.name)
    } else {
        format!("{} {}/{}", policy.kind, policy.namespace, policy.name)
    }
}

impl Row for Told {
    const HEADER: &'static [&'static str] = &["WHAT", "WHICH", "STATE", "DETAIL"];

    fn cells(&self) -> Vec<String> {
        let cells = |what: &str, which: String, state: String, detail| vec![what.to_owned(), which, state, detail];
        match self {
            Self::PolicyStatus(status) => {
                let state = match status.generation {
                    0 => "no policy is in force".to_owned(),
                    generation => format!("{}, generation {generation}", status.mode),
                };
                cells("node", status.node.clone(), state, status.detail())
            }
            Self::EndpointPolicy(endpoint) => {
                let pod = if endpoint.pod.is_empty() { "(no pod known)" } else { &endpoint.pod };
                let detail = match (endpoint.known, endpoint.isolated.is_empty(), endpoint.policies.is_empty()) {
                    (false, true, _) => "unknown pod, not isolated".to_owned(),
                    (false, false, _) => format!("unknown pod, isolated: {}", endpoint.isolated.join(", ")),
                    (true, _, true) => "no policy decides anything for it".to_owned(),
                    (true, _, false) => endpoint.policies.join(", "),
                };
                cells("endpoint", format!("{pod} ({})", endpoint.interface), endpoint.mode.to_owned(), detail)
            }
            Self::RuleHits(rule) => {
                let direction = rule.direction.map_or("", |direction| match direction {
                    RuleDirection::Ingress => "ingress ",
                    RuleDirection::Egress => "egress ",
                });
                let action = rule.action.map_or("", |action| match action {
                    RuleAction::Allow => "allow",
                    RuleAction::Deny => "deny",
                    RuleAction::Isolated => "isolated",
                });
                let last = rule.last.map_or_else(|| "never hit".to_owned(), |last| format!("last {last:.0}"));
                let hits = format!("{} allowed, {} denied, {} audited", rule.allowed, rule.denied, rule.audited);
                cells("rule", rule.rule.join(", "), format!("{direction}{action}"), format!("{hits}; {last}"))
            }
            Self::Fault(fault) => cells("FAULT", fault.what.clone(), String::new(), fault.remedy.to_owned()),
        }
    }
}
