//! What only grows: torn at every byte, damaged, read while it is written, without room.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;
use crate::Image;
use chainkit_abi::RULES;

fn tables_file(root: &TempDir) -> PathBuf {
    folder_of(root).join("g1-0/tables")
}

/// A folder `g1-0` with two batches: where the file ended before, between and after them.
fn two_batches(root: &TempDir, store: &Store) -> [usize; 3] {
    let length = || usize::try_from(fs::metadata(tables_file(root)).unwrap().len()).unwrap();
    let mut saved = saved(store, "g1-0");
    let empty = length();
    saved.append_tables(&class(1, 1)).unwrap();
    let one = length();
    saved.append_tables(&class(2, 2)).unwrap();
    [empty, one, length()]
}

fn classes(image: &Image) -> usize {
    image.sizes().classes4
}

#[test]
fn a_log_torn_at_any_byte_is_read_up_to_its_last_batch_and_goes_on_from_there() {
    let (root, store) = node();
    let ends = two_batches(&root, &store);
    let whole = fs::read(tables_file(&root)).unwrap();
    for length in 0..whole.len() {
        fs::write(tables_file(&root), &whole[..length]).unwrap();
        let mut saved = store.open("g1-0").unwrap();
        if length < ends[0] {
            assert!(matches!(saved.tables(), Err(StoreError::Damaged { .. })), "{length}");
            continue;
        }
        let batches = ends.iter().filter(|end| **end <= length).count() - 1;
        assert_eq!(classes(&saved.tables().unwrap()), batches, "{length}");
        saved.append_tables(&class(9, 9)).unwrap();
        let image = store.open("g1-0").unwrap().tables().unwrap();
        assert_eq!((classes(&image), image.classes4[&[10, 0, 0, 9]]), (batches + 1, 9), "{length}");
    }
}

#[test]
fn a_flipped_bit_anywhere_is_refused() {
    let (root, store) = node();
    two_batches(&root, &store);
    let whole = fs::read(tables_file(&root)).unwrap();
    for at in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[at / 8] ^= 1 << (at % 8);
        fs::write(tables_file(&root), &bytes).unwrap();
        let error = store.open("g1-0").unwrap().tables().unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "bit {at}: {error}");
    }
}

#[test]
fn nothing_is_appended_to_a_log_whose_batches_cannot_be_told_apart() {
    let (root, store) = node();
    let ends = two_batches(&root, &store);
    let mut bytes = fs::read(tables_file(&root)).unwrap();
    bytes[ends[0]] ^= 1;
    fs::write(tables_file(&root), &bytes).unwrap();
    assert!(matches!(store.open("g1-0").unwrap().append_tables(&class(3, 3)), Err(StoreError::Damaged { .. })));
    assert_eq!(fs::read(tables_file(&root)).unwrap(), bytes);
}

#[test]
fn an_end_of_zeroes_is_torn() {
    let (root, store) = node();
    two_batches(&root, &store);
    let whole = fs::read(tables_file(&root)).unwrap();
    for zeroes in [1, 11, 12, 13, 5000] {
        let mut bytes = whole.clone();
        bytes.resize(whole.len() + zeroes, 0);
        fs::write(tables_file(&root), &bytes).unwrap();
        let mut saved = store.open("g1-0").unwrap();
        assert_eq!(classes(&saved.tables().unwrap()), 2, "{zeroes}");
        saved.append_tables(&class(3, 3)).unwrap();
        assert_eq!(classes(&saved.tables().unwrap()), 3, "{zeroes}");
    }
}

#[test]
fn another_version_is_named() {
    let (root, store) = node();
    two_batches(&root, &store);
    let mut bytes = fs::read(tables_file(&root)).unwrap();
    bytes[7] = 9;
    fs::write(tables_file(&root), &bytes).unwrap();
    let error = store.open("g1-0").unwrap().tables().unwrap_err().to_string();
    assert!(error.contains("version 9") && error.contains("g1-0/tables"), "{error}");
}

#[test]
fn a_batch_that_no_set_of_tables_can_hold_is_refused() {
    let (_root, store) = node();
    let mut saved = saved(&store, "g1-0");
    saved.append_tables(&Delta { sides: vec![(u32::MAX, Side::default())], ..Delta::default() }).unwrap();
    let error = saved.tables().unwrap_err().to_string();
    assert!(error.contains("SIDES"), "{error}");
}

#[test]
fn lines_torn_at_any_byte_are_read_up_to_the_last_whole_one_and_go_on_from_there() {
    let (root, store) = node();
    let mut saved = saved(&store, "g1-0");
    saved.append_rules([RuleChange::Set(rule(16, "db")), RuleChange::Set(rule(17, "web"))]).unwrap();
    saved.append_objects(["one", "two"]).unwrap();
    let (rules, objects) = (folder_of(&root).join("g1-0/rules"), folder_of(&root).join("g1-0/objects"));
    for path in [rules, objects] {
        let whole = fs::read(&path).unwrap();
        for length in 0..=whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let lines_left = whole[..length].iter().filter(|byte| **byte == b'\n').count();
            if path.ends_with("rules") {
                assert_eq!(saved.rules().unwrap().len(), lines_left, "{length}");
                saved.append_rules([RuleChange::Set(rule(18, "new"))]).unwrap();
                assert_eq!(saved.rules().unwrap().len(), lines_left + 1, "{length}");
            } else {
                assert_eq!(lines(&saved).len(), lines_left, "{length}");
                saved.append_objects(["new"]).unwrap();
                assert_eq!(lines(&saved).len(), lines_left + 1, "{length}");
            }
        }
    }
}

#[test]
fn a_torn_line_longer_than_a_block_is_cut_off() {
    let (root, store) = node();
    let mut saved = saved(&store, "g1-0");
    saved.append_objects(["one"]).unwrap();
    let mut bytes = fs::read(folder_of(&root).join("g1-0/objects")).unwrap();
    bytes.resize(20_000, b'x');
    fs::write(folder_of(&root).join("g1-0/objects"), &bytes).unwrap();
    saved.append_objects(["two"]).unwrap();
    assert_eq!(lines(&saved), ["\"one\"", "\"two\""]);
}

#[test]
fn the_last_line_about_a_rule_holds() {
    let (_root, store) = node();
    let mut saved = saved(&store, "g1-0");
    let set = |number, name| RuleChange::Set(rule(number, name));
    saved.append_rules([set(16, "a"), set(17, "b"), set(18, "c")]).unwrap();
    saved.append_rules([RuleChange::Gone(17), set(16, "z"), RuleChange::Gone(18), set(18, "y")]).unwrap();
    assert_eq!(saved.rules().unwrap(), [(16, rule(16, "z")), (18, rule(18, "y"))].into());
}

#[test]
fn a_line_that_is_no_rule_is_told_with_its_place() {
    let (root, store) = node();
    let mut saved = saved(&store, "g1-0");
    saved.append_rules([RuleChange::Set(rule(16, "a"))]).unwrap();
    let path = folder_of(&root).join("g1-0/rules");
    let good = fs::read_to_string(&path).unwrap();
    let beyond = serde_json::to_string(&rule(RULES, "a")).unwrap();
    for bad in ["{}", "nonsense", r#"{"number":17}"#, r#"{"number":17,"gone":false}"#, beyond.as_str()] {
        fs::write(&path, format!("{good}{bad}\n{good}")).unwrap();
        let error = saved.rules().unwrap_err().to_string();
        assert!(error.contains(&format!("at byte {}", good.len())), "{bad}: {error}");
    }
}

#[test]
fn a_reader_meets_whole_batches_while_another_appends() {
    let (_root, store) = node();
    let mut writer = saved(&store, "g1-0");
    let done = AtomicBool::new(false);
    // Each batch has the same class throughout, so that half of one would show.
    let batch = |class: u32| Delta {
        classes4: (0..=255).map(|last| ([10, 0, 0, last], Some(class))).collect(),
        ..Delta::default()
    };
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let reader = store.open("g1-0").unwrap();
            let (mut seen, mut reads) = (0, 0);
            // Once more after the end, so that the last is met.
            let mut last = false;
            while !last {
                last = done.load(Ordering::Acquire);
                let image = reader.tables().unwrap();
                let now = image.classes4.get(&[10, 0, 0, 0]).copied().unwrap_or(0);
                assert!(image.classes4.values().all(|class| *class == now));
                assert!(now >= seen);
                let lines: Vec<_> = reader.objects().unwrap().map(Result::unwrap).collect();
                assert!(lines.len() >= usize::try_from(now).unwrap().saturating_sub(1));
                (seen, reads) = (now, reads + 1);
            }
            (seen, reads)
        });
        for class in 1..=300 {
            writer.append_tables(&batch(class)).unwrap();
            writer.append_objects([json!({ "set": "x".repeat(5000) })]).unwrap();
        }
        done.store(true, Ordering::Release);
        let (seen, reads) = reader.join().unwrap();
        assert_eq!(seen, 300);
        assert!(reads > 0);
    });
}

#[test]
fn two_that_append_one_after_another_find_the_end_each_time() {
    let (_root, store) = node();
    let mut one = saved(&store, "g1-0");
    let mut other = store.open("g1-0").unwrap();
    for last in 0..10 {
        one.append_tables(&class(last * 2, 1)).unwrap();
        other.append_tables(&class(last * 2 + 1, 1)).unwrap();
    }
    assert_eq!(classes(&one.tables().unwrap()), 20);
}

#[test]
fn files_longer_than_the_bounds_are_refused_unread() {
    let (root, store) = node();
    let mut saved = saved(&store, "g1-0");
    let grow = |name: &str, bytes: u64| {
        let file = fs::OpenOptions::new().write(true).open(folder_of(&root).join(name)).unwrap();
        file.set_len(bytes).unwrap();
    };
    grow("g1-0/tables", MAX_TABLES_BYTES + 1);
    grow("g1-0/objects", MAX_LINES_BYTES + 1);
    grow("g1-0/rules", MAX_LINE_BYTES as u64 + 10);
    grow("g1-0/pods", MAX_PODS_BYTES as u64 + 1);
    let errors = [
        saved.tables().unwrap_err(),
        saved.append_tables(&class(1, 1)).unwrap_err(),
        saved.objects().unwrap_err(),
        saved.rules().unwrap_err(),
        saved.pods().unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, StoreError::TooLong { .. }), "{error}");
        assert!(error.to_string().contains("at most"), "{error}");
    }
    store.set_marker(&marker(1, "g1-0")).unwrap();
    grow("active.json", MAX_MARKER_BYTES as u64 + 1);
    assert!(matches!(store.marker(), Err(StoreError::TooLong { .. })));
}

#[test]
fn an_object_without_json_leaves_nothing_of_its_batch() {
    let (_root, store) = node();
    let mut saved = saved(&store, "g1-0");
    saved.append_objects(["one"]).unwrap();
    // JSON has no keys that are arrays.
    let bad: BTreeMap<Vec<u8>, u8> = [(vec![1], 1)].into();
    let good: BTreeMap<Vec<u8>, u8> = BTreeMap::new();
    let error = saved.append_objects([&good, &bad]).unwrap_err();
    assert!(matches!(error, StoreError::Unwritable { .. }), "{error}");
    assert_eq!(lines(&saved), ["\"one\""]);
}

/// Runs `work` with the root of a node on a file system of 256 KiB. It is mounted in a mount namespace of a thread of its
/// own, and so is gone with that, also when it fails.
fn on_a_small_disk(work: impl FnOnce(&Path) + Send) {
    use nix::mount::{MsFlags, mount};
    if !nix::unistd::geteuid().is_root() {
        drop(writeln!(std::io::stderr(), "skipped: store::tests: a full disk: needs root"));
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let ran = thread::scope(|scope| {
        let thread = scope.spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
            mount(Some("tmpfs"), root.path(), Some("tmpfs"), MsFlags::empty(), Some("size=256k")).unwrap();
            work(root.path());
        });
        thread.join()
    });
    if let Err(failed) = ran {
        std::panic::resume_unwind(failed);
    }
}

#[test]
fn a_full_disk_is_told_and_leaves_what_was_there() {
    on_a_small_disk(|root| {
        let store = Store::below(root);
        let mut draft = store.begin().unwrap();
        draft.tables(&class(1, 1)).unwrap();
        draft.rules([rule(16, "db")]).unwrap();
        let mut saved = draft.finish("g1-0").unwrap();
        store.set_marker(&marker(1, "g1-0")).unwrap();
        let pods = saved.pods().unwrap();

        let much = Delta {
            classes4: (0..40_000_u32).map(|address| (address.to_be_bytes(), Some(2))).collect(),
            ..Delta::default()
        };
        let many: Pods = Pods {
            pods: (0..10_000).map(|pod| (format!("shop/pod-{pod}"), PodEntry::default())).collect(),
            ..Pods::default()
        };
        let text = "x".repeat(1000);
        let mut draft = store.begin().unwrap();
        let errors = [
            draft.tables(&much).unwrap_err(),
            saved.append_tables(&much).unwrap_err(),
            saved.append_rules((0..3000).map(|number| RuleChange::Set(rule(number, &text)))).unwrap_err(),
            saved.append_objects((0..3000).map(|_| &text)).unwrap_err(),
            saved.put_pods(&many).unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, StoreError::Full { .. }), "{error}");
            let said = error.to_string();
            assert!(said.contains("/policy/") && said.contains("make room"), "{said}");
        }
        drop(draft);
        let read = store.open("g1-0").unwrap();
        assert_eq!(classes(&read.tables().unwrap()), 1);
        assert_eq!((read.rules().unwrap().len(), lines(&read).len(), read.pods().unwrap()), (1, 0, pods));
        assert_eq!(store.marker().unwrap().unwrap().folder, "g1-0");

        // What failed gave its room back, so a small thing fits, and goes where the last good one ended.
        saved.append_tables(&class(2, 2)).unwrap();
        assert_eq!(classes(&read.tables().unwrap()), 2);

        // Filled to the last byte, the marker stays what it was.
        let mut rest = fs::File::create(root.join("rest")).unwrap();
        while rest.write(&[0; 4096]).is_ok_and(|got| got > 0) {}
        assert!(matches!(store.set_marker(&marker(2, "g2-0")), Err(StoreError::Full { .. })));
        assert_eq!(store.marker().unwrap().unwrap().folder, "g1-0");
        assert!(matches!(store.begin(), Err(StoreError::Full { .. })));
        store.keep_only(&["g1-0"]).unwrap();
        assert_eq!(store.folders().unwrap(), ["g1-0"]);
    });
}
