//! Why something is redundant, in words.

use std::collections::BTreeSet;

use super::{Cover, Item, Part, Seen};
use crate::compile::Ground;
use crate::flow::{Direction, Verdict};
use crate::rules::{Action, Policy};

/// How many of what covers are named in a sentence.
const NAMED: usize = 3;

pub(super) fn reason(
    item: &Item,
    policy: Option<&Policy>,
    seen: &Seen,
    idle: bool,
    covers: &BTreeSet<Cover>,
) -> String {
    if idle {
        return "it selects no pod, of those that were read, that policies hold for".to_owned();
    }
    let by = in_words(seen, covers);
    let (direction, index) = match item.part {
        Part::Whole if seen.covers.is_empty() => return "it decides nothing".to_owned(),
        Part::Whole => return format!("what it decides is decided alike by {by}"),
        Part::Rule(direction, index) => (direction, index),
    };
    let rules = policy.into_iter().flat_map(|policy| &policy.rules);
    let mut rules = rules.filter(|rule| (rule.direction, rule.index) == (direction, index));
    let Some(action) = rules.next().map(|rule| rule.action) else {
        let isolates = policy.is_some_and(|policy| policy.isolates.get(direction.index()) == Some(&true));
        if item.policy.kind == "NetworkPolicy" && !isolates {
            return format!("policyTypes leaves {} out: the rule says nothing", direction.name());
        }
        return "nothing of it is understood, so it accepts nothing".to_owned();
    };
    if !seen.has_peers {
        let whom = if direction == Direction::Egress { "to" } else { "from" };
        return format!("it matches nobody who was read: no pod, node or address is what it names under {whom}");
    }
    if !seen.has_ports {
        return "it matches no port: no pod that it is about has a port of that name".to_owned();
    }
    let all = |verdict| seen.covers.iter().all(|(.., found)| *found == Some(verdict));
    match action {
        Action::Allow if all(Verdict::Allowed) => format!("everything it allows is allowed by {by}"),
        Action::Deny if all(Verdict::Denied) => format!("everything it denies is denied by {by}"),
        _ if !seen.decides => format!("it is shadowed by what comes before it: {by}"),
        Action::Pass => format!("what it passes on is decided alike if it does not, by {by}"),
        _ => format!("what it decides is decided alike by {by}"),
    }
}

/// What covers, the first few by name.
fn in_words(seen: &Seen, covers: &BTreeSet<Cover>) -> String {
    let mut named: Vec<String> = covers.iter().take(NAMED).map(Cover::in_words).collect();
    if covers.len() > NAMED {
        named.push(format!("{} more", covers.len() - NAMED));
    }
    let has = |ground: Ground| seen.covers.iter().any(|(_, found, _)| *found == ground);
    if has(Ground::Default) {
        named.push("default, since no other rule decides".to_owned());
    }
    if has(Ground::OwnNode) {
        named.push("what holds for a pod's own node".to_owned());
    }
    match named.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, before)) => format!("{} and {last}", before.join(", ")),
        None => "nothing".to_owned(),
    }
}

impl Cover {
    fn in_words(&self) -> String {
        match self.rule {
            Some(rule) => format!("{} rule {rule} of {}", self.direction.name(), self.policy),
            None => format!("the {} isolation of {}", self.direction.name(), self.policy),
        }
    }
}
