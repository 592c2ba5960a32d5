//! Names of the rules that the datapath tells by number, out of what `polload` keeps of the policy in force.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use chainkit_abi::rule;
use chainkit_bpf::Datapath;
use chainkit_cli::Log;
use chainkit_enforce::{RuleAction, RuleDirection, RuleEntry, RulesInForce, Store};
use chainkit_flow::{Decoder, Policy, Rule};

/// How often it is looked again for the sake of a number that is not known.
const AGAIN_AFTER: Duration = Duration::from_millis(250);
/// The kernel judges by a policy a moment before the disk says so: how long that is waited for, once for each.
const MARKER_PATIENCE: Duration = Duration::from_millis(200);
/// A step of that wait.
const MARKER_STEP: Duration = Duration::from_millis(5);

/// Tells a decoder which rules the numbers are that it meets.
pub(crate) struct Rules {
    in_force: RulesInForce,
    store: Store,
    /// What the kernel may go back to by itself, or has.
    before: Option<Before>,
    /// The generation in force, as far as the disk says.
    generation: u32,
    /// Since that generation rules are those of today.
    rules_since: u32,
    /// Numbers that the decoder knows as they are in force.
    met: BTreeSet<u32>,
    again_at: Option<Instant>,
    /// The generation that was waited for last.
    awaited: u32,
    /// Whether it has been told that something cannot be read.
    warned: bool,
    log: Log,
}

/// The policy before the one that waits for its confirmation.
struct Before {
    folder: String,
    generation: u32,
    rules: BTreeMap<u32, RuleEntry>,
}

impl Rules {
    /// Those of the node whose root is `root`; nothing is read yet.
    pub(crate) fn of(root: &Path, log: Log) -> Self {
        let store = Store::below(root);
        Self {
            in_force: store.rules_in_force(),
            store,
            before: None,
            generation: 0,
            rules_since: 0,
            met: BTreeSet::new(),
            again_at: None,
            awaited: 0,
            warned: false,
            log,
        }
    }

    /// Sees to it that `decoder` knows the rule of this number if anybody does, as it was when `generation` judged.
    pub(crate) fn meet(&mut self, number: u32, generation: u32, decoder: &mut Decoder) {
        if number < rule::FIRST || generation == self.generation && self.met.contains(&number) {
            return;
        }
        if is_newer(generation, self.generation) || self.find(number, generation).is_none() {
            self.look_again(generation, decoder);
        }
        let rule = self.find(number, generation).map(told);
        // What it was in another generation is said of this flow alone.
        if rule.is_some() && generation == self.generation {
            self.met.insert(number);
        } else {
            self.met.remove(&number);
        }
        decoder.set_rule(number, rule);
    }

    /// Looks at what is in force now, as is to be done once in a while: a number may be another rule's by now.
    pub(crate) fn refresh(&mut self, datapath: &Datapath, decoder: &mut Decoder) {
        self.look(decoder);
        if let Ok(control) = datapath.control_value() {
            self.rules_since = control.rules_since;
        }
    }

    fn look_again(&mut self, generation: u32, decoder: &mut Decoder) {
        let now = Instant::now();
        if self.again_at.is_some_and(|at| now < at) {
            return;
        }
        self.look(decoder);
        if is_newer(generation, self.generation) && self.awaited != generation {
            self.awaited = generation;
            while is_newer(generation, self.generation) && now.elapsed() < MARKER_PATIENCE {
                sleep(MARKER_STEP);
                self.look(decoder);
            }
        }
        self.again_at = Some(Instant::now() + AGAIN_AFTER);
    }

    fn look(&mut self, decoder: &mut Decoder) {
        let looked = self.in_force.get().map(drop);
        for number in std::mem::take(&mut self.met) {
            decoder.set_rule(number, None);
        }
        let (mut generation, mut previous) = (0, None);
        if let Some(marker) = self.in_force.marker() {
            (generation, previous) = (marker.generation, marker.previous.clone());
        }
        if generation != self.generation {
            // Until the kernel says more.
            (self.generation, self.rules_since) = (generation, generation);
        }
        let looked = looked.and_then(|()| {
            if self.before.as_ref().map(|before| &before.folder) == previous.as_ref() {
                return Ok(());
            }
            self.before = None;
            if let Some(folder) = previous {
                let rules = self.store.open(&folder)?.rules()?;
                self.before = Some(Before { generation: generation_of(&folder).unwrap_or(0), folder, rules });
            }
            Ok(())
        });
        match looked {
            Ok(()) => self.warned = false,
            Err(error) if !self.warned => {
                self.warned = true;
                self.log.warning(format!("rules of policy are told by number alone: {error}"));
            }
            Err(_) => {}
        }
    }

    /// The rule that a number was when a generation judged, where that is certain: a number that is free for the length of a
    /// generation may be given to another rule.
    fn find(&self, number: u32, generation: u32) -> Option<&RuleEntry> {
        if let Some(before) = self.before.as_ref().filter(|before| before.generation == generation) {
            return before.rules.get(&number);
        }
        let is_older = is_newer(self.generation, generation);
        let is_certain =
            !is_older || generation.wrapping_add(1) == self.generation || !is_newer(self.rules_since, generation);
        is_certain.then(|| self.in_force.known().get(&number)).flatten()
    }
}

/// Generations are counted round.
const fn is_newer(one: u32, other: u32) -> bool {
    one != other && one.wrapping_sub(other) < 1 << 31
}

/// The generation that a folder is of, by its name: `g<generation>-<8 hex>`.
fn generation_of(folder: &str) -> Option<u32> {
    folder.strip_prefix('g')?.split_once('-')?.0.parse().ok()
}

fn told(entry: &RuleEntry) -> Rule {
    let action = match entry.action {
        RuleAction::Allow => chainkit_flow::RuleAction::Allow,
        RuleAction::Deny => chainkit_flow::RuleAction::Deny,
        RuleAction::Isolated => chainkit_flow::RuleAction::Isolated,
    };
    let policies: Vec<Policy> = entry
        .policies
        .iter()
        .map(|policy| Policy {
            name: policy.name.clone(),
            namespace: policy.namespace.clone(),
            kind: policy.kind.clone(),
            ..Policy::default()
        })
        .collect();
    Rule::new(entry.direction == RuleDirection::Egress, action, &entry.tier, entry.index, &policies)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use chainkit_abi::{Event, hook, kind, reason, verdict};
    use chainkit_cli::LogFormat;
    use chainkit_enforce::{Marker, PolicyRef, RuleChange, Saved};
    use chainkit_flow::{Resolver, WallClock};
    use jiff::Timestamp;

    use super::*;

    fn entry(number: u32, name: &str) -> RuleEntry {
        RuleEntry {
            number,
            direction: RuleDirection::Ingress,
            action: RuleAction::Isolated,
            tier: "NetworkPolicy".into(),
            index: None,
            policies: vec![PolicyRef { kind: "NetworkPolicy".into(), namespace: "shop".into(), name: name.into() }],
            more: BTreeMap::new(),
        }
    }

    fn put(store: &Store, generation: u32, previous: Option<&Saved>, rules: &[RuleEntry]) -> Saved {
        let mut draft = store.begin().unwrap();
        draft.rules(rules.iter().cloned()).unwrap();
        let folder = store.new_name(generation);
        let saved = draft.finish(&folder).unwrap();
        let previous = previous.map(|saved| saved.path().file_name().unwrap().to_str().unwrap().to_owned());
        let kind = "PolicyMarker".to_owned();
        store.set_marker(&Marker { kind, generation, folder, previous, ..Marker::default() }).unwrap();
        saved
    }

    fn decoder() -> Decoder {
        Decoder::new("n", WallClock::new(0, Timestamp::UNIX_EPOCH), Resolver::default())
    }

    /// The name that a denial by a rule of a generation bears.
    fn name(rules: &mut Rules, decoder: &mut Decoder, number: u32, generation: u32) -> Option<String> {
        let event = Event {
            kind: kind::DENIED,
            hook: hook::TO_POD,
            family: 4,
            verdict: verdict::DROPPED,
            reason: reason::POLICY,
            rule: number,
            generation,
            ..Event::default()
        };
        rules.meet(number, generation, decoder);
        let flow = decoder.event(&event).flow.unwrap();
        assert_eq!(flow.extensions.unwrap().extra().unwrap().rule, number);
        flow.ingress_denied_by.first().map(|policy| policy.name.clone())
    }

    fn rules(root: &Path) -> Rules {
        Rules::of(root, Log::new("flowdump", LogFormat::Text))
    }

    #[test]
    fn rules_are_named_as_they_come_and_change() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::below(root.path());
        let (mut rules, mut decoder) = (rules(root.path()), decoder());
        assert_eq!(name(&mut rules, &mut decoder, 16, 0), None, "nothing is in force");
        put(&store, 1, None, &[entry(16, "a")]);
        rules.again_at = None;
        assert_eq!(name(&mut rules, &mut decoder, 16, 1).as_deref(), Some("a"));
        let mut saved = put(&store, 2, None, &[entry(16, "a"), entry(17, "b")]);
        // Too soon to look again.
        assert_eq!(name(&mut rules, &mut decoder, 17, 2), None);
        rules.again_at = None;
        assert_eq!(name(&mut rules, &mut decoder, 17, 2).as_deref(), Some("b"));
        saved.append_rules([RuleChange::Set(entry(18, "c")), RuleChange::Set(entry(16, "d"))]).unwrap();
        rules.again_at = None;
        assert_eq!(name(&mut rules, &mut decoder, 18, 2).as_deref(), Some("c"));
        assert_eq!(name(&mut rules, &mut decoder, 16, 2).as_deref(), Some("d"), "a number that is another rule's now");
        assert_eq!(name(&mut rules, &mut decoder, 3, 2), None, "no rule of a policy");
        store.remove_marker().unwrap();
        rules.look(&mut decoder);
        assert_eq!(name(&mut rules, &mut decoder, 18, 2), None);
    }

    #[test]
    fn a_name_that_may_be_another_rules_by_now_is_not_told() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::below(root.path());
        put(&store, 7, None, &[entry(16, "a")]);
        let (mut rules, mut decoder) = (rules(root.path()), decoder());
        for (generation, named) in [(7, true), (6, true), (5, false), (8, true)] {
            let found = name(&mut rules, &mut decoder, 16, generation);
            assert_eq!(found.is_some(), named, "{generation}");
        }
        // No rule has changed since.
        rules.rules_since = 5;
        assert_eq!(name(&mut rules, &mut decoder, 16, 5).as_deref(), Some("a"));
        assert_eq!(name(&mut rules, &mut decoder, 16, 4), None);
    }

    #[test]
    fn what_the_kernel_went_back_to_is_named() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::below(root.path());
        let before = put(&store, 3, None, &[entry(16, "a")]);
        put(&store, 6, Some(&before), &[entry(16, "z"), entry(17, "b")]);
        let (mut rules, mut decoder) = (rules(root.path()), decoder());
        assert_eq!(name(&mut rules, &mut decoder, 17, 6).as_deref(), Some("b"));
        assert_eq!(name(&mut rules, &mut decoder, 16, 3).as_deref(), Some("a"));
        assert_eq!(name(&mut rules, &mut decoder, 16, 6).as_deref(), Some("z"));
        assert_eq!(name(&mut rules, &mut decoder, 17, 3), None);
    }

    #[test]
    fn what_the_disk_says_a_moment_later_is_waited_for() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::below(root.path());
        put(&store, 1, None, &[entry(16, "a")]);
        let (mut rules, mut decoder) = (rules(root.path()), decoder());
        assert_eq!(name(&mut rules, &mut decoder, 16, 1).as_deref(), Some("a"));
        rules.again_at = None;
        // Nobody ever writes of generation 2: once is waited, then no more.
        assert_eq!(name(&mut rules, &mut decoder, 17, 2), None);
        assert_eq!(rules.awaited, 2);
        assert_eq!(name(&mut rules, &mut decoder, 16, 2).as_deref(), Some("a"), "numbers stay with their rules");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told_once_and_numbers_are_left() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::below(root.path());
        let saved = put(&store, 1, None, &[entry(16, "a")]);
        let file = saved.path().join("rules");
        let whole = fs::read(&file).unwrap();
        fs::write(&file, "no rule\n").unwrap();
        let (mut rules, mut decoder) = (rules(root.path()), decoder());
        for _ in 0..3 {
            rules.again_at = None;
            assert_eq!(name(&mut rules, &mut decoder, 16, 1), None);
            assert!(rules.warned);
        }
        fs::write(&file, whole).unwrap();
        rules.again_at = None;
        assert_eq!(name(&mut rules, &mut decoder, 16, 1).as_deref(), Some("a"));
        assert!(!rules.warned);
    }

    #[test]
    fn generations_are_counted_round() {
        assert!(is_newer(1, u32::MAX) && !is_newer(u32::MAX, 1) && !is_newer(4, 4) && is_newer(5, 4));
        assert_eq!(generation_of("g12-0a1b2c3d"), Some(12));
        for odd in ["", "g-1", "12-0", "gx-0", "g12"] {
            assert_eq!(generation_of(odd), None, "{odd}");
        }
    }
}
