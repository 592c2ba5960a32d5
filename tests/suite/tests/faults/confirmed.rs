//! `polload confirm` and `polload clear`, interrupted, and on a disk that cannot be written.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Instant;

use chainkit_lab::NODE_NAME;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::Value;

use crate::ground::{Ground, lets, on_ground};

/// How often it is killed; the moments are spread over the time that it takes.
const TIMES: u32 = 20;

fn marker(ground: &Ground<'_>) -> PathBuf {
    ground.lab.root().join("var/lib/chainkit/policy/active.json")
}

/// What `status` says first, its faults, and its exit code.
fn status(ground: &Ground<'_>) -> (Value, Vec<String>, Option<i32>) {
    let output = ground.polload(&["status", "-o", "jsonl"]);
    let said = String::from_utf8(output.stdout).unwrap();
    let records: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let faults = records.iter().filter(|one| one["kind"] == "Fault");
    let faults = faults.map(|one| format!("{}: {}", one["what"].as_str().unwrap(), one["remedy"].as_str().unwrap()));
    (records[0].clone(), faults.collect(), output.status.code())
}

/// What is in force stays, in the kernel and after a start of the node, and nothing is wrong.
#[track_caller]
fn stays(ground: &Ground<'_>) {
    let (head, faults, code) = status(ground);
    assert_eq!((code, faults), (Some(0), Vec::new()), "{head}");
    assert!(head["seconds_left"].is_null(), "{head}");
    let kept: Value = serde_json::from_slice(&fs::read(marker(ground)).unwrap()).unwrap();
    assert!(kept.get("deadline").is_none() && kept.get("previous").is_none(), "{kept}");
    assert_eq!(ground.folders(), [kept["folder"].as_str().unwrap()]);
}

#[track_caller]
fn ends_with(ground: &Ground<'_>, arguments: &[&str], code: i32) -> String {
    let output = ground.polload(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    said
}

/// A disk that can be read and not written, for as long as this lives.
struct ReadOnly(PathBuf);

impl ReadOnly {
    fn new(ground: &Ground<'_>) -> Self {
        let folder = ground.lab.root().join("var/lib/chainkit");
        mount(Some(&folder), &folder, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        let only = Self(folder);
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(None::<&str>, &only.0, None::<&str>, flags, None::<&str>).unwrap();
        only
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

fn apply_unconfirmed(ground: &Ground<'_>, file: &std::path::Path) {
    ground.fine(&["apply", "--node", NODE_NAME, "--confirm", "10m", file.to_str().unwrap()]);
}

#[test]
fn a_confirmation_that_is_killed_at_any_moment_is_whole_or_can_be_completed() {
    on_ground(|ground| {
        let files = [ground.file("a.json", &[lets("a")]), ground.file("b.json", &[lets("b")])];
        apply_unconfirmed(ground, &files[0]);
        let started = Instant::now();
        ground.fine(&["confirm"]);
        let takes = started.elapsed();
        stays(ground);
        let mut waited = 0;
        for turn in 0..TIMES {
            let wanted = usize::try_from(turn % 2).unwrap();
            apply_unconfirmed(ground, &files[wanted]);
            let mut child = ground.command(&["confirm"]).stdout(std::process::Stdio::null()).spawn().unwrap();
            thread::sleep(takes * turn / TIMES);
            child.kill().unwrap();
            child.wait().unwrap();
            let (head, faults, _) = status(ground);
            if head["seconds_left"].is_null() {
                // What it left to be tidied up is no part of it.
                assert_eq!(faults, Vec::<String>::new(), "turn {turn}");
                assert!(matches!(ground.polload(&["confirm"]).status.code(), Some(0 | 1)));
            } else {
                waited += 1;
                assert!(faults.iter().all(|fault| fault.ends_with("run polload confirm")), "turn {turn}: {faults:?}");
                ends_with(ground, &["confirm"], 0);
                stays(ground);
            }
            assert_eq!(ground.who(), (wanted == 0, wanted == 1), "turn {turn}");
        }
        println!("killed {TIMES} times within {takes:?}: {waited} times it was still to be confirmed");
        assert!(waited > 0);
    });
}

#[test]
fn a_confirmation_that_is_half_done_is_told_and_finished() {
    on_ground(|ground| {
        let (a, b) = (ground.file("a.json", &[lets("a")]), ground.file("b.json", &[lets("b")]));
        ground.apply(&a);
        // On the disk, and not in the kernel.
        let half = || {
            apply_unconfirmed(ground, &b);
            let waits = fs::read(marker(ground)).unwrap();
            let mut kept: Value = serde_json::from_slice(&waits).unwrap();
            for field in ["deadline", "previous"] {
                kept.as_object_mut().unwrap().remove(field).unwrap();
            }
            fs::write(marker(ground), kept.to_string()).unwrap();
            waits
        };
        let waits = half();
        let (_, faults, code) = status(ground);
        assert_eq!((code, faults.len()), (Some(1), 1), "{faults:?}");
        assert!(faults[0].contains("was confirmed") && faults[0].ends_with("polload confirm"), "{faults:?}");
        ends_with(ground, &["confirm"], 0);
        stays(ground);

        // In the kernel, and not on the disk.
        fs::write(marker(ground), &waits).unwrap();
        let (_, faults, code) = status(ground);
        assert_eq!((code, faults.len()), (Some(1), 1), "{faults:?}");
        assert!(faults[0].contains("not written down") && faults[0].ends_with("polload confirm"), "{faults:?}");
        {
            let _disk = ReadOnly::new(ground);
            let said = ends_with(ground, &["confirm"], 5);
            assert!(said.contains("confirmed in the kernel") && said.contains("could not be written down"), "{said}");
        }
        let said = ends_with(ground, &["confirm"], 0);
        assert!(said.contains("written down"), "{said}");
        stays(ground);
        ends_with(ground, &["confirm"], 1);

        // Whoever comes next finishes it, too.
        half();
        ground.fine(&["restore"]);
        stays(ground);
        half();
        ground.apply(&a);
        stays(ground);
        assert_eq!(ground.who(), (true, false));
    });
}

#[test]
fn on_a_disk_that_cannot_be_written_it_is_told_truthfully_what_is_so() {
    on_ground(|ground| {
        ground.apply(&ground.file("a.json", &[lets("a")]));
        apply_unconfirmed(ground, &ground.file("b.json", &[lets("b")]));
        {
            let _disk = ReadOnly::new(ground);
            let said = ends_with(ground, &["confirm"], 4);
            assert!(said.contains("active.json"), "{said}");
            let (head, faults, _) = status(ground);
            assert!(head["seconds_left"].is_u64() && faults.is_empty(), "nothing has changed: {head} {faults:?}");
        }
        ends_with(ground, &["confirm"], 0);
        stays(ground);
        {
            let _disk = ReadOnly::new(ground);
            for arguments in [&["clear"][..], &["clear", "--now"]] {
                let said = ends_with(ground, arguments, 5);
                assert!(said.contains("all policy is off") && said.contains("would come back"), "{said}");
                assert_eq!(ground.who(), (true, true));
                let (_, faults, code) = status(ground);
                assert_eq!(code, Some(1));
                assert!(faults[0].contains("would come back") && faults[0].ends_with("polload clear"), "{faults:?}");
            }
        }
        ground.fine(&["clear"]);
        assert_eq!(status(ground).2, Some(0));
        assert!(!marker(ground).exists());
    });
}
