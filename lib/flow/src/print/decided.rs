//! Which policies decided, for people.

use crate::decided::{DecidedBy, policies};
use crate::enums::{TrafficDirection, Verdict};
use crate::model::{Flow, Policy};
use crate::text::push_visible;

/// Policies named of each direction; of more their number is told.
const MOST_NAMED: usize = 3;

/// Whether a flow was, or would be, denied.
pub(super) fn is_denied(flow: &Flow) -> bool {
    matches!(flow.verdict, Verdict::Dropped | Verdict::Error | Verdict::Audit)
}

/// Appends to a verdict who denied, and who allowed if that is asked for; nothing where the flow does not say.
pub(super) fn push_decided_by(flow: &Flow, allowed_too: bool, out: &mut Vec<u8>) {
    if !is_denied(flow) && !allowed_too {
        return;
    }
    match told(flow) {
        Told::By(text) => {
            out.extend_from_slice(b" BY ");
            out.extend_from_slice(&text);
        }
        Told::Because(text) => {
            out.extend_from_slice(b": ");
            out.extend_from_slice(&text);
        }
        Told::Nothing => {}
    }
}

/// What a flow says of who decided.
pub(super) enum Told {
    /// Policies, or a rule by its number.
    By(Vec<u8>),
    /// Something else, in words.
    Because(Vec<u8>),
    Nothing,
}

/// Who decided on a flow.
pub(super) fn told(flow: &Flow) -> Told {
    let denied = is_denied(flow);
    let mut text = Vec::new();
    let extra = flow.extensions.as_ref().and_then(|extensions| extensions.extra());
    let decided_by = extra.as_ref().and_then(|extra| extra.decided_by.as_deref());
    for wanted in [TrafficDirection::Egress, TrafficDirection::Ingress] {
        let of = policies(flow).filter(|(direction, of_denial, _)| *direction == wanted && *of_denial == denied);
        let of: Vec<&Policy> = of.map(|(.., policy)| policy).collect();
        if of.is_empty() {
            continue;
        }
        if !text.is_empty() {
            text.extend_from_slice(b"; ");
        }
        let direction = if wanted == TrafficDirection::Egress { "egress" } else { "ingress" };
        let decided_by = decided_by.filter(|decided_by| decided_by.direction == direction);
        push_policies(&of, direction, decided_by, &mut text);
    }
    if !text.is_empty() {
        return Told::By(text);
    }
    if let Some(because) = decided_by.map(|decided_by| decided_by.because.as_ref()).filter(|text| !text.is_empty()) {
        push_visible(&mut text, because);
        return Told::Because(text);
    }
    match extra.map_or(0, |extra| extra.rule) {
        0 => Told::Nothing,
        rule => Told::By(format!("rule {rule}").into_bytes()),
    }
}

/// Such as `NetworkPolicy shop/a, NetworkPolicy shop/b (ingress, isolated)`.
fn push_policies(policies: &[&Policy], direction: &str, decided_by: Option<&DecidedBy>, out: &mut Vec<u8>) {
    for (place, policy) in policies.iter().take(MOST_NAMED).enumerate() {
        if place > 0 {
            out.extend_from_slice(b", ");
        }
        for (part, after) in [(&policy.kind, b' '), (&policy.namespace, b'/')] {
            if !part.is_empty() {
                push_visible(out, part);
                out.push(after);
            }
        }
        push_visible(out, &policy.name);
    }
    let left_out = decided_by.map_or(0, |decided_by| u64::from(decided_by.policies_left_out));
    let more = policies.len().saturating_sub(MOST_NAMED) as u64 + left_out;
    if more > 0 {
        out.extend_from_slice(format!(" and {more} more").as_bytes());
    }
    out.extend_from_slice(b" (");
    out.extend_from_slice(direction.as_bytes());
    if let Some(decided_by) = decided_by {
        // That of a NetworkPolicy has its name; a kind of several tiers does not say which.
        let told_by_kind = policies.first().is_some_and(|policy| policy.kind == decided_by.tier);
        if !decided_by.tier.is_empty() && !told_by_kind {
            out.extend_from_slice(b", tier ");
            push_visible(out, &decided_by.tier);
        }
        match decided_by.rule {
            Some(rule) => out.extend_from_slice(format!(", rule {rule}").as_bytes()),
            None if decided_by.action == "isolated" => out.extend_from_slice(b", isolated"),
            None => {}
        }
    }
    out.push(b')');
}
