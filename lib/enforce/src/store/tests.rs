//! The store as its users meet it.

mod appending;
mod strangers;

use chainkit_cluster::model::Mode;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::delta::Delta;
use chainkit_abi::Side;

/// A node's root of its own, and the store on it.
fn node() -> (TempDir, Store) {
    let root = tempfile::tempdir().unwrap();
    let store = Store::below(root.path());
    (root, store)
}

fn folder_of(root: &TempDir) -> PathBuf {
    root.path().join("var/lib/chainkit/policy")
}

fn class(last: u8, class: u32) -> Delta {
    Delta { classes4: vec![([10, 0, 0, last], Some(class))], ..Delta::default() }
}

fn rule(number: u32, name: &str) -> RuleEntry {
    RuleEntry {
        number,
        direction: RuleDirection::Ingress,
        action: RuleAction::Allow,
        tier: "NetworkPolicy".to_owned(),
        index: Some(0),
        policies: vec![PolicyRef {
            kind: "NetworkPolicy".to_owned(),
            namespace: "shop".to_owned(),
            name: name.to_owned(),
        }],
        more: BTreeMap::new(),
    }
}

fn marker(generation: u32, folder: &str) -> Marker {
    Marker { kind: "PolicyMarker".to_owned(), generation, folder: folder.to_owned(), ..Marker::default() }
}

fn saved(store: &Store, name: &str) -> Saved {
    store.begin().unwrap().finish(name).unwrap()
}

fn mode_of(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

fn lines(saved: &Saved) -> Vec<String> {
    saved.objects().unwrap().map(|line| String::from_utf8(line.unwrap()).unwrap()).collect()
}

#[test]
fn what_a_draft_was_given_is_read_from_its_folder() {
    let (root, store) = node();
    let pods = Pods {
        pods: [("shop/db".to_owned(), PodEntry { uid: "u1".to_owned(), policy: 3, ..PodEntry::default() })].into(),
        others: NamespaceEntry { mode: Mode::Enforce, isolate: 3, ..NamespaceEntry::default() },
        ..Pods::default()
    };
    let mut draft = store.begin().unwrap();
    draft.tables(&class(1, 7)).unwrap();
    draft.tables(&Delta { sides: vec![(6, Side { table: 2, ..Side::default() })], ..Delta::default() }).unwrap();
    draft.rules([rule(16, "db"), rule(17, "web")]).unwrap();
    draft.pods(&pods).unwrap();
    draft.objects([json!({"set": 1})]).unwrap();
    draft.objects([json!({"set": 2})]).unwrap();
    assert!(store.folders().unwrap().is_empty(), "it is not there before it is whole");
    let name = store.new_name(1);
    draft.finish(&name).unwrap();

    assert_eq!(store.folders().unwrap(), [name.as_str()]);
    let saved = store.open(&name).unwrap();
    let image = saved.tables().unwrap();
    assert_eq!((image.classes4[&[10, 0, 0, 1]], image.sides[6].table), (7, 2));
    assert_eq!(saved.rules().unwrap(), [(16, rule(16, "db")), (17, rule(17, "web"))].into());
    assert_eq!(saved.pods().unwrap(), pods);
    assert_eq!(lines(&saved), ["{\"set\":1}", "{\"set\":2}"]);
    let folder = folder_of(&root);
    assert_eq!((mode_of(&folder), mode_of(&folder.join(&name))), (0o700, 0o700));
    for file in ["tables", "rules", "pods", "objects"] {
        assert_eq!(mode_of(&folder.join(&name).join(file)), 0o600, "{file}");
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
}

#[test]
fn a_rule_is_a_line_that_says_what_it_is() {
    let (root, store) = node();
    let mut saved = saved(&store, "g1-0");
    let isolated = RuleEntry { index: None, action: RuleAction::Isolated, ..rule(17, "db") };
    saved.append_rules([RuleChange::Set(isolated), RuleChange::Gone(18)]).unwrap();
    let text = fs::read_to_string(folder_of(&root).join("g1-0/rules")).unwrap();
    let first = concat!(
        r#"{"number":17,"direction":"ingress","action":"isolated","tier":"NetworkPolicy","index":null,"#,
        r#""policies":[{"kind":"NetworkPolicy","namespace":"shop","name":"db"}]}"#
    );
    assert_eq!(text, format!("{first}\n{{\"number\":18,\"gone\":true}}\n"));
}

#[test]
fn a_folder_that_is_empty_can_be_read() {
    let (_root, store) = node();
    saved(&store, "g1-0");
    let saved = store.open("g1-0").unwrap();
    assert!(saved.tables().unwrap().is_equal(&crate::Image::default()));
    assert!(saved.rules().unwrap().is_empty() && lines(&saved).is_empty());
    assert_eq!(saved.pods().unwrap(), Pods::default());
}

#[test]
fn a_draft_that_is_given_up_leaves_nothing() {
    let (root, store) = node();
    let mut draft = store.begin().unwrap();
    draft.tables(&class(1, 1)).unwrap();
    drop(draft);
    assert_eq!(fs::read_dir(folder_of(&root)).unwrap().count(), 0);
    saved(&store, "g1-0");
    let error = store.begin().unwrap().finish("g1-0").unwrap_err();
    assert!(error.to_string().contains("choose another name"), "{error}");
    assert_eq!(fs::read_dir(folder_of(&root)).unwrap().count(), 1);
}

#[test]
fn the_marker_is_replaced_and_keeps_what_it_does_not_know() {
    let (root, store) = node();
    assert_eq!(store.marker().unwrap(), None);
    store.remove_marker().unwrap();
    store.set_marker(&marker(1, "g1-0")).unwrap();
    let path = folder_of(&root).join("active.json");
    assert_eq!(mode_of(&path), 0o600);
    let text = r#"{"kind":"PolicyMarker","generation":2,"folder":"g2-0","later":[1]}"#;
    fs::write(&path, text).unwrap();
    let mut read = store.marker().unwrap().unwrap();
    assert_eq!((read.generation, read.previous.as_deref(), read.deadline), (2, None, None));
    read.previous = Some("g1-0".to_owned());
    read.deadline = Some(1_800_000_000);
    read.options.insert("node".to_owned(), json!("n1"));
    store.set_marker(&read).unwrap();
    assert_eq!(store.marker().unwrap(), Some(read));
    assert!(fs::read_to_string(&path).unwrap().contains(r#""later":[1]"#));
    store.remove_marker().unwrap();
    assert_eq!(store.marker().unwrap(), None);
}

#[test]
fn a_torn_marker_is_told() {
    let (root, store) = node();
    store.set_marker(&marker(1, "g1-0")).unwrap();
    let path = folder_of(&root).join("active.json");
    let text = fs::read(&path).unwrap();
    for length in 0..text.len() - 1 {
        fs::write(&path, &text[..length]).unwrap();
        let error = store.marker().unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }) && !error.is_missing(), "{length}: {error}");
    }
}

#[test]
fn other_folders_and_leftovers_are_removed() {
    let (root, store) = node();
    for name in ["g1-0", "g2-0", "g3-0"] {
        saved(&store, name);
    }
    let folder = folder_of(&root);
    for leftover in [".new-1-0", ".gone-g0-0"] {
        fs::create_dir(folder.join(leftover)).unwrap();
        fs::write(folder.join(leftover).join("tables"), "x").unwrap();
    }
    fs::write(folder.join(".active.json.new"), "{").unwrap();
    store.set_marker(&marker(2, "g2-0")).unwrap();
    fs::write(folder.join(".active.json.new"), "{").unwrap();
    let mut alive = store.begin().unwrap();
    store.keep_only(&["g2-0", "g3-0", "g9-0"]).unwrap();
    assert_eq!(store.folders().unwrap(), ["g2-0", "g3-0"]);
    alive.tables(&class(1, 1)).unwrap();
    alive.finish("g4-0").unwrap();
    let mut names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["active.json", "g2-0", "g3-0", "g4-0"]);
    store.keep_only(&[]).unwrap();
    assert!(store.folders().unwrap().is_empty());
    assert_eq!(store.marker().unwrap().unwrap().folder, "g2-0");
}

#[test]
fn where_nothing_was_ever_applied_nothing_is_there() {
    let (root, store) = node();
    assert!(store.folders().unwrap().is_empty());
    store.keep_only(&[]).unwrap();
    let error = store.open("g1-0").unwrap_err();
    assert!(error.is_missing() && error.to_string().contains("apply again"), "{error}");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0, "to read makes no folder");
}

#[test]
fn names_of_folders_are_of_their_generation_and_of_nothing_else() {
    let (_root, store) = node();
    let (one, other) = (store.new_name(7), store.new_name(7));
    assert!(one.starts_with("g7-") && one.len() == 11 && one != other, "{one} {other}");
    check_name(&one).unwrap();
}

#[test]
fn of_a_folder_that_was_removed_the_files_are_missing() {
    let (_root, store) = node();
    let mut draft = store.begin().unwrap();
    draft.tables(&class(1, 7)).unwrap();
    let saved = draft.finish("g1-0").unwrap();
    let objects = saved.objects().unwrap();
    store.keep_only(&[]).unwrap();
    assert_eq!(objects.count(), 0);
    assert!(saved.tables().unwrap_err().is_missing());
}

#[test]
fn what_was_refused_is_kept_until_it_is_nothing_or_policy_is_taken_off() {
    let (root, store) = node();
    let refusal =
        Refusal { object: "NetworkPolicy/shop/db".to_owned(), reason: "why".to_owned(), ..Refusal::default() };
    let refused = Refused { objects: vec![refusal], more: 2 };
    let path = folder_of(&root).join("refused.json");
    assert_eq!(store.refused().unwrap(), Refused::default());
    // Nothing to be noted makes no folder.
    store.set_refused(&Refused::default()).unwrap();
    assert!(!folder_of(&root).exists());
    store.set_refused(&refused).unwrap();
    assert_eq!((store.refused().unwrap(), mode_of(&path)), (refused.clone(), 0o600));
    store.keep_only(&[]).unwrap();
    assert_eq!(store.refused().unwrap(), refused);
    store.set_refused(&Refused::default()).unwrap();
    assert!(!path.exists());
    store.set_refused(&refused).unwrap();
    store.remove_marker().unwrap();
    assert!(!path.exists());
    // A link is not followed, and what is too long is not read.
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    assert!(store.refused().is_err());
    fs::remove_file(&path).unwrap();
    fs::write(&path, " ".repeat(MAX_REFUSED_BYTES + 1)).unwrap();
    assert!(store.refused().is_err());
}
