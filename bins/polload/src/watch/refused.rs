//! What was told last and cannot be in force: `polload status` tells of it for as long as that is so, also once this process is no more.

use std::collections::BTreeMap;

use chainkit_cli::Log;
use chainkit_cluster::model::{Change, Problem};
use chainkit_enforce::{Refusal, Refused, Store};
use jiff::Timestamp;

/// How many are noted down; the others are counted.
const MOST: usize = 256;
/// How long a reason may be, in characters.
const LONGEST: usize = 512;

/// Policies that cannot be used as they were told last, by name.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    all: BTreeMap<String, Refusal>,
    /// What is on the disk is not this.
    changed: bool,
}

impl Refusals {
    /// Something cannot be used: if it is a policy, what it was before stays.
    pub(super) fn add(&mut self, problem: &Problem) {
        let kind = problem.object.split('/').next().unwrap_or_default();
        // Of one without a name nobody could say that it is mended.
        if !kind.ends_with("NetworkPolicy") || problem.object.contains(' ') {
            return;
        }
        let reason = match problem.field.as_str() {
            "" => problem.reason.clone(),
            field => format!("{field}: {}", problem.reason),
        };
        self.note(&problem.object, &reason);
    }

    /// An object is as it was told last, or gone.
    pub(super) fn has_changed(&mut self, change: &Change) {
        if self.all.is_empty() {
            return;
        }
        let name = match change {
            Change::Set(object) => object.name(),
            Change::Remove(name) => name.clone(),
        };
        self.changed |= self.all.remove(&name.to_string()).is_some();
    }

    /// All that has come cannot be in force, for this reason.
    pub(super) fn does_not_fit(&mut self, reason: &str) {
        self.note("", reason);
    }

    /// It can.
    pub(super) fn fits(&mut self) {
        self.changed |= self.all.remove("").is_some();
    }

    fn note(&mut self, object: &str, reason: &str) {
        let reason: String = reason.chars().take(LONGEST).collect();
        if self.all.get(object).is_some_and(|known| known.reason == reason) {
            return;
        }
        let since = Timestamp::now().to_string();
        self.all.insert(object.to_owned(), Refusal { object: object.to_owned(), reason, since });
        self.changed = true;
    }

    /// Writes it down, if anything of it has changed. Where that cannot be done it is told, and tried again with the next one.
    pub(super) fn note_down(&mut self, store: &Store, log: &Log) {
        if !self.changed {
            return;
        }
        let objects: Vec<Refusal> = self.all.values().take(MOST).cloned().collect();
        let refused = Refused { more: self.all.len() - objects.len(), objects };
        self.changed = false;
        if let Err(error) = store.set_refused(&refused) {
            log.warning(format!("what cannot be put in force could not be noted for polload status: {error}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use chainkit_cli::LogFormat;
    use chainkit_cluster::model::{About, ObjectName};

    use super::*;

    fn problem(object: &str, reason: &str) -> Problem {
        let (file, field, reason) = ("fifo".into(), "spec".to_owned(), reason.to_owned());
        Problem { file, document: 1, line: 1, object: object.to_owned(), field, reason, about: About::Policy }
    }

    fn gone(name: &str) -> Change {
        Change::Remove(ObjectName::NetworkPolicy { namespace: "shop".to_owned(), name: name.to_owned() })
    }

    #[test]
    fn a_policy_is_noted_until_it_is_mended_or_gone() {
        let root = tempfile::tempdir().unwrap();
        let (store, log) = (Store::below(root.path()), Log::new("polload", LogFormat::Text));
        let mut refusals = Refusals::default();
        let noted = |refusals: &mut Refusals| {
            refusals.note_down(&store, &log);
            let refused = store.refused().unwrap();
            refused.objects.into_iter().map(|one| format!("{}: {}", one.object, one.reason)).collect::<Vec<_>>()
        };
        refusals.add(&problem("Pod/shop/web", "of no use"));
        refusals.add(&problem("NetworkPolicy/shop/without name", "missing"));
        assert!(noted(&mut refusals).is_empty());
        refusals.add(&problem("NetworkPolicy/shop/db", "this"));
        refusals.add(&problem("NetworkPolicy/shop/db", "that"));
        refusals.add(&problem("NetworkPolicy/shop/web", "this"));
        refusals.does_not_fit("too much");
        let all = [": too much", "NetworkPolicy/shop/db: spec: that", "NetworkPolicy/shop/web: spec: this"];
        assert_eq!(noted(&mut refusals), all);
        refusals.has_changed(&gone("web"));
        refusals.has_changed(&gone("other"));
        refusals.fits();
        assert_eq!(noted(&mut refusals), all[1..2]);
        refusals.has_changed(&gone("db"));
        assert!(noted(&mut refusals).is_empty());
        assert!(!root.path().join("var/lib/chainkit/policy/refused.json").exists());
    }

    #[test]
    fn of_very_many_the_first_are_noted_and_the_others_counted() {
        let root = tempfile::tempdir().unwrap();
        let (store, log) = (Store::below(root.path()), Log::new("polload", LogFormat::Text));
        let mut refusals = Refusals::default();
        for number in 0..MOST + 7 {
            refusals.add(&problem(&format!("NetworkPolicy/shop/{number}"), &"\u{1}".repeat(9999)));
        }
        refusals.note_down(&store, &log);
        let refused = store.refused().unwrap();
        assert_eq!((refused.objects.len(), refused.more), (MOST, 7));
    }
}
