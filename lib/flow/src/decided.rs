//! Who decided: rules of policy by their numbers, and what a flow tells of them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use chainkit_abi::rule;
use serde::{Deserialize, Serialize};

use crate::drop_reason::DropReason;
use crate::enums::{TrafficDirection, Verdict};
use crate::model::{Flow, Policy};
use crate::resolve::json_bytes;
use crate::text::beginning;
use crate::wire::{is_zero, nullable};

/// Bytes that the policies of one rule may take in JSON, for the same reason as labels are limited.
const MAX_POLICY_BYTES: usize = 6 * 1024;
/// Bytes of a name (RFC 1123 allows 253).
const MAX_NAME_BYTES: usize = 253;

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleAction {
    /// It lets pass.
    Allow,
    /// It denies.
    Deny,
    /// No rule allows, and policies isolate the pod.
    Isolated,
}

impl RuleAction {
    const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Isolated => "isolated",
        }
    }
}

/// A rule of policy, as flows tell it. What all flows have of it is made once.
#[derive(Clone, Debug)]
pub struct Rule {
    egress: bool,
    action: RuleAction,
    policies: Arc<[Policy]>,
    told: Arc<DecidedBy>,
}

impl Rule {
    /// A rule in a tier, for what pods open (`egress`) or for what is opened to them. `index` is its place among the rules of
    /// its policy for that direction, from 0; none where it is the policy as a whole. Of an isolation, `policies` are all that
    /// isolate; policies past a limit are left out, and their number is told.
    #[must_use]
    pub fn new(egress: bool, action: RuleAction, tier: &str, index: Option<u32>, policies: &[Policy]) -> Self {
        let mut left = MAX_POLICY_BYTES;
        let kept: Arc<[Policy]> = policies
            .iter()
            .map(|policy| Policy {
                name: short(&policy.name),
                namespace: short(&policy.namespace),
                kind: short(&policy.kind),
                ..Policy::default()
            })
            .take_while(|policy| {
                let bytes = json_bytes(&policy.name) + json_bytes(&policy.namespace) + json_bytes(&policy.kind) + 40;
                let fits = bytes <= left;
                left = left.saturating_sub(bytes);
                fits
            })
            .collect();
        let told = DecidedBy {
            direction: if egress { "egress" } else { "ingress" }.into(),
            action: action.name().into(),
            tier: short(tier).into(),
            rule: index,
            policies_left_out: u32::try_from(policies.len() - kept.len()).unwrap_or(u32::MAX),
            because: Cow::Borrowed(""),
        };
        Self { egress, action, policies: kept, told: Arc::new(told) }
    }
}

fn short(text: &str) -> String {
    beginning(text, MAX_NAME_BYTES).to_owned()
}

/// What decided, beyond the policies that Hubble has fields for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecidedBy {
    /// `ingress` or `egress`: which way the rule is about, seen from the pod.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "str::is_empty")]
    pub direction: Cow<'static, str>,
    /// `allow`, `deny`, or `isolated`: no rule allows, and policies isolate the pod.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "str::is_empty")]
    pub action: Cow<'static, str>,
    /// The tier of the rule, such as `Admin` or `NetworkPolicy`.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "str::is_empty")]
    pub tier: Cow<'static, str>,
    /// Its place among the rules of its policy for this direction, from 0; none where it is the policy as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,
    /// How many policies more there are than are named.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub policies_left_out: u32,
    /// In words, where no rule of a policy decided.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "str::is_empty")]
    pub because: Cow<'static, str>,
}

/// Rules by the numbers that the datapath tells them by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    rules: HashMap<u32, Rule>,
}

impl Rules {
    /// The number is this rule's, or none's that is known.
    pub(crate) fn set(&mut self, number: u32, rule: Option<Rule>) {
        match rule {
            Some(rule) => self.rules.insert(number, rule),
            None => self.rules.remove(&number),
        };
    }

    /// Puts down in a flow, whose verdict is there, who decided; what of it is for `extensions` is returned.
    ///
    /// A rule that cannot have come to that verdict is another one by now: nothing is told of it.
    pub(crate) fn tell(&self, flow: &mut Flow, number: u32) -> Option<Arc<DecidedBy>> {
        let denied = match flow.verdict {
            Verdict::Forwarded => false,
            Verdict::Dropped | Verdict::Audit => true,
            _ => return None,
        };
        if number < rule::FIRST {
            let because = constant(number, denied)?;
            return Some(Arc::new(DecidedBy { because: because.into(), ..DecidedBy::default() }));
        }
        let rule = self.rules.get(&number)?;
        if denied == (rule.action == RuleAction::Allow) {
            return None;
        }
        let policies = match (rule.egress, denied) {
            (true, false) => &mut flow.egress_allowed_by,
            (false, false) => &mut flow.ingress_allowed_by,
            (true, true) => &mut flow.egress_denied_by,
            (false, true) => &mut flow.ingress_denied_by,
        };
        policies.clone_from(&rule.policies);
        if flow.is_reply.is_none() {
            // It was judged as one that was opened this way.
            flow.traffic_direction = if rule.egress { TrafficDirection::Egress } else { TrafficDirection::Ingress };
        }
        Some(Arc::clone(&rule.told))
    }

    /// Hubble tells a denial by a rule from one for want of a rule.
    pub(crate) fn drop_reason(&self, number: u32) -> DropReason {
        match self.rules.get(&number) {
            Some(rule) if rule.action == RuleAction::Deny => DropReason::POLICY_DENY,
            _ => DropReason::POLICY_DENIED,
        }
    }
}

/// What decided where no policy's rule did.
const fn constant(number: u32, denied: bool) -> Option<&'static str> {
    match number {
        rule::NONE if !denied => None,
        rule::NONE => Some("what policy says could not be looked up"),
        rule::OWN_NODE => Some("it is between a pod and its own node"),
        rule::ITSELF => Some("it is between a pod and itself"),
        rule::NO_BACKEND => Some("the service has no backend, and the node rejects it"),
        rule::UNKNOWN_POD => Some("the pod is isolated until something is known of it"),
        rule::TOO_MANY_BACKENDS => Some("the service has more kinds of backends than are looked at"),
        _ => None,
    }
}

/// The policies of a flow that stand for its verdict, the direction of each, and whether they denied.
pub(crate) fn policies(flow: &Flow) -> impl Iterator<Item = (TrafficDirection, bool, &Policy)> {
    use TrafficDirection::{Egress, Ingress};
    [
        (Egress, true, &flow.egress_denied_by),
        (Ingress, true, &flow.ingress_denied_by),
        (Egress, false, &flow.egress_allowed_by),
        (Ingress, false, &flow.ingress_allowed_by),
    ]
    .into_iter()
    .flat_map(|(direction, denied, policies)| policies.iter().map(move |policy| (direction, denied, policy)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: &str) -> Policy {
        Policy { name: name.into(), namespace: "shop".into(), kind: "NetworkPolicy".into(), ..Policy::default() }
    }

    fn told(rule: Rule, verdict: Verdict) -> (Flow, Option<Arc<DecidedBy>>) {
        let mut rules = Rules::default();
        rules.set(20, Some(rule));
        let mut flow = Flow { verdict, ..Flow::default() };
        let told = rules.tell(&mut flow, 20);
        (flow, told)
    }

    #[test]
    fn each_direction_and_verdict_has_its_field() {
        for (egress, action, verdict, place) in [
            (false, RuleAction::Isolated, Verdict::Dropped, 0),
            (true, RuleAction::Deny, Verdict::Audit, 1),
            (false, RuleAction::Allow, Verdict::Forwarded, 2),
            (true, RuleAction::Allow, Verdict::Forwarded, 3),
        ] {
            let rule = Rule::new(egress, action, "NetworkPolicy", Some(2), &[policy("a"), policy("b")]);
            let (flow, told) = told(rule, verdict);
            let fields =
                [&flow.ingress_denied_by, &flow.egress_denied_by, &flow.ingress_allowed_by, &flow.egress_allowed_by];
            for (at, field) in fields.into_iter().enumerate() {
                let names: Vec<&str> = field.iter().map(|policy| policy.name.as_str()).collect();
                assert_eq!(names, if at == place { vec!["a", "b"] } else { vec![] }, "{place} {at}");
            }
            let told = told.unwrap();
            assert_eq!(told.direction, if egress { "egress" } else { "ingress" });
            assert_eq!((told.action.as_ref(), told.rule), (action.name(), Some(2)));
        }
    }

    #[test]
    fn a_rule_that_cannot_have_decided_so_is_not_told() {
        for (action, verdict) in [
            (RuleAction::Allow, Verdict::Dropped),
            (RuleAction::Allow, Verdict::Audit),
            (RuleAction::Deny, Verdict::Forwarded),
            (RuleAction::Isolated, Verdict::Forwarded),
            (RuleAction::Isolated, Verdict::Unknown),
        ] {
            let (flow, told) = told(Rule::new(false, action, "NetworkPolicy", None, &[policy("a")]), verdict);
            assert_eq!((told, policies(&flow).count()), (None, 0), "{action:?} {verdict}");
        }
    }

    #[test]
    fn what_no_policy_decided_is_told_in_words() {
        let rules = Rules::default();
        let because = |number, verdict| {
            let told = rules.tell(&mut Flow { verdict, ..Flow::default() }, number);
            told.map(|told| told.because.clone().into_owned())
        };
        assert_eq!(because(rule::NONE, Verdict::Forwarded), None);
        assert!(because(rule::NONE, Verdict::Dropped).unwrap().contains("looked up"));
        assert!(because(rule::OWN_NODE, Verdict::Forwarded).unwrap().contains("own node"));
        assert!(because(rule::ITSELF, Verdict::Forwarded).unwrap().contains("itself"));
        assert!(because(rule::NO_BACKEND, Verdict::Forwarded).unwrap().contains("no backend"));
        assert!(because(rule::UNKNOWN_POD, Verdict::Dropped).unwrap().contains("isolated until"));
        assert!(because(rule::TOO_MANY_BACKENDS, Verdict::Audit).unwrap().contains("backends"));
        for number in [6, rule::FIRST - 1, rule::FIRST, u32::MAX] {
            assert_eq!(because(number, Verdict::Dropped), None, "{number}");
        }
    }

    #[test]
    fn many_and_long_policies_stay_within_a_limit_and_the_rest_is_counted() {
        let long: Vec<Policy> = (0..1000).map(|_| policy(&"\u{1}".repeat(5000))).collect();
        let rule = Rule::new(true, RuleAction::Isolated, &"t".repeat(5000), None, &long);
        let (flow, told) = told(rule, Verdict::Dropped);
        let kept = flow.egress_denied_by.len();
        assert!((1..10).contains(&kept), "{kept}");
        let told = told.unwrap();
        assert_eq!(told.policies_left_out, 1000 - u32::try_from(kept).unwrap());
        assert_eq!(told.tier.len(), MAX_NAME_BYTES);
        let bytes = serde_json::to_string(&flow.egress_denied_by).unwrap().len();
        assert!(bytes <= MAX_POLICY_BYTES, "{bytes}");
    }

    #[test]
    fn a_denial_by_a_rule_has_another_reason_than_one_for_want_of_a_rule() {
        let mut rules = Rules::default();
        for (number, action) in [(16, RuleAction::Deny), (17, RuleAction::Isolated)] {
            rules.set(number, Some(Rule::new(true, action, "Admin", None, &[])));
        }
        let numbers = [16, 17, 18, rule::UNKNOWN_POD].map(|number| rules.drop_reason(number).0);
        assert_eq!(numbers, [181, 133, 133, 133]);
        rules.set(16, None);
        assert_eq!(rules.drop_reason(16).0, 133);
    }
}
