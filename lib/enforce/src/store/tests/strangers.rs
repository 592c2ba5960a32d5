//! What others have put where our files are to be.

use std::os::unix::fs::symlink;

use super::*;

/// Puts a link to what lies elsewhere in place of `name`.
fn relink(root: &TempDir, name: &str, elsewhere: &Path) {
    let path = folder_of(root).join(name);
    if path.is_dir() {
        fs::remove_dir_all(&path).unwrap();
    } else if path.exists() {
        fs::remove_file(&path).unwrap();
    }
    symlink(elsewhere, path).unwrap();
}

fn assert_strange<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    let error = result.unwrap_err();
    assert!(matches!(error, StoreError::Strange { .. }), "{error}");
    assert!(error.to_string().contains("links are not followed"), "{error}");
}

#[test]
fn folders_that_are_links_are_not_followed() {
    for at in ["var/lib/chainkit", "var/lib/chainkit/policy"] {
        let (root, store) = node();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join(at).parent().unwrap()).unwrap();
        fs::create_dir(elsewhere.path().join("policy")).unwrap();
        symlink(elsewhere.path(), root.path().join(at)).unwrap();
        assert_strange(store.begin());
        assert_strange(store.marker());
        assert_strange(store.set_marker(&marker(1, "g1-0")));
        assert_strange(store.remove_marker());
        assert_strange(store.folders());
        assert_strange(store.keep_only(&[]));
        assert_strange(store.rules_in_force().get().map(BTreeMap::len));
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1);
        assert_eq!(fs::read_dir(elsewhere.path().join("policy")).unwrap().count(), 0);
    }
}

#[test]
fn the_systems_own_folders_may_be_links() {
    let (root, store) = node();
    let disk = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("var")).unwrap();
    symlink(disk.path(), root.path().join("var/lib")).unwrap();
    saved(&store, "g1-0");
    assert!(disk.path().join("chainkit/policy/g1-0/tables").is_file());
}

#[test]
fn a_folder_of_policy_that_is_a_link_is_no_folder() {
    let (root, store) = node();
    let elsewhere = tempfile::tempdir().unwrap();
    saved(&store, "g1-0");
    fs::write(elsewhere.path().join("tables"), "precious").unwrap();
    relink(&root, "g1-0", elsewhere.path());
    relink(&root, ".gone-g2-0", elsewhere.path());
    relink(&root, ".new-1-1", elsewhere.path());
    assert_strange(store.open("g1-0"));
    assert!(store.folders().unwrap().is_empty());
    assert_strange(store.keep_only(&[]));
    assert_eq!(fs::read(elsewhere.path().join("tables")).unwrap(), b"precious");
}

#[test]
fn files_that_are_links_or_none_are_neither_read_nor_written() {
    let (root, store) = node();
    let elsewhere = tempfile::tempdir().unwrap();
    let precious = elsewhere.path().join("precious");
    fs::write(&precious, "").unwrap();
    let mut saved = saved(&store, "g1-0");
    for name in ["tables", "rules", "objects", "pods"] {
        relink(&root, &format!("g1-0/{name}"), &precious);
    }
    assert_strange(saved.tables());
    assert_strange(saved.append_tables(&class(1, 1)));
    assert_strange(saved.rules());
    assert_strange(saved.append_rules([RuleChange::Gone(16)]));
    assert_strange(saved.objects());
    assert_strange(saved.append_objects(["x"]));
    assert_strange(saved.pods());
    // What is moved to its place replaces the link.
    saved
        .put_pods(&Pods { others: NamespaceEntry { isolate: 1, ..NamespaceEntry::default() }, ..Pods::default() })
        .unwrap();
    assert_eq!(saved.pods().unwrap().others.isolate, 1);
    relink(&root, "active.json", &precious);
    assert_strange(store.marker());
    store.set_marker(&marker(1, "g1-0")).unwrap();
    assert_eq!(store.marker().unwrap().unwrap().generation, 1);
    assert_eq!(fs::read(&precious).unwrap(), b"");
}

#[test]
fn a_pipe_or_a_folder_in_place_of_a_file_stops_nobody() {
    let (root, store) = node();
    let saved = saved(&store, "g1-0");
    let folder = folder_of(&root).join("g1-0");
    fs::remove_file(folder.join("tables")).unwrap();
    nix::unistd::mkfifo(&folder.join("tables"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_strange(saved.tables());
    fs::remove_file(folder.join("rules")).unwrap();
    fs::create_dir(folder.join("rules")).unwrap();
    assert_strange(saved.rules());
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let (root, store) = node();
    saved(&store, "g1-0");
    fs::create_dir(root.path().join("var/lib/chainkit/other")).unwrap();
    let long = "g".repeat(MAX_NAME + 1);
    for name in ["", ".", "..", "../other", "/etc", "g1-0/", ".new-1-1", "active.json", "g1\0", &long] {
        assert!(matches!(store.open(name), Err(StoreError::Name { .. })), "{name:?}");
        assert!(matches!(store.begin().unwrap().finish(name), Err(StoreError::Name { .. })), "{name:?}");
        assert!(matches!(store.set_marker(&marker(1, name)), Err(StoreError::Name { .. })), "{name:?}");
        let text = serde_json::to_vec(&marker(1, name)).unwrap();
        fs::write(folder_of(&root).join("active.json"), text).unwrap();
        assert!(matches!(store.marker(), Err(StoreError::Name { .. })), "{name:?}");
        assert!(matches!(store.rules_in_force().get(), Err(StoreError::Name { .. })), "{name:?}");
    }
}

#[test]
fn what_is_not_ours_stays() {
    let (root, store) = node();
    saved(&store, "g1-0");
    let folder = folder_of(&root);
    fs::write(folder.join("notes.txt"), "mine").unwrap();
    fs::write(folder.join("g3-0"), "a file").unwrap();
    fs::create_dir(folder.join("g1-0/inner")).unwrap();
    saved(&store, "g2-0");
    let error = store.keep_only(&[]).unwrap_err();
    assert!(error.to_string().contains("inner"), "{error}");
    assert!(folder.join("notes.txt").is_file() && folder.join("g3-0").is_file());
    assert!(store.folders().unwrap().is_empty(), "the other one is removed all the same");
}
