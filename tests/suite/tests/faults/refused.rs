//! What cannot be put in force leaves what is.

use std::fs;

use chainkit_lab::NODE_NAME;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::json;

use crate::ground::{Ground, lets, on_ground};

/// Applies what is refused: exit code 4, and what was in force still is. What it said.
#[track_caller]
fn refused(ground: &Ground<'_>, file: &std::path::Path) -> String {
    let output = ground.polload(&["apply", "--node", NODE_NAME, file.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert_eq!(ground.who(), (true, false), "{said}");
    said
}

/// Applies what holds an invalid policy: exit code 2, and what was in force still is.
#[track_caller]
fn refused_as_invalid(ground: &Ground<'_>, file: &std::path::Path) {
    let output = ground.polload(&["apply", "--node", NODE_NAME, file.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("bad.json") && said.contains("shop/server"), "{said}");
    assert_eq!(ground.who(), (true, false));
}

#[test]
fn a_full_disk_changes_nothing_and_is_named() {
    on_ground(|ground| {
        ground.apply(&ground.file("a.json", &[lets("a")]));
        let folder = ground.lab.root().join("var/lib/chainkit");
        let kept = ground.lab.root().join("tmp/kept");
        copy(&folder.join("policy"), &kept);
        // A disk of its own, with room for what is there and little more.
        mount(Some("tmpfs"), &folder, Some("tmpfs"), MsFlags::empty(), Some("size=96k,mode=0700")).unwrap();
        copy(&kept, &folder.join("policy"));
        fs::write(folder.join("filler"), vec![0; 1 << 20]).unwrap_err();
        let said = refused(ground, &ground.file("b.json", &[lets("b")]));
        assert!(said.contains("policy") && said.to_lowercase().contains("space"), "{said}");
        fs::remove_file(folder.join("filler")).unwrap();
        ground.verified();
        umount2(&folder, MntFlags::MNT_DETACH).unwrap();
    });
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_policy_that_is_invalid_is_told_and_leaves_what_was_in_force() {
    on_ground(|ground| {
        ground.apply(&ground.file("a.json", &[lets("a")]));
        let with = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut policy = lets("b");
            change(&mut policy);
            ground.file("bad.json", &[policy])
        };
        let block = json!({"cidr": "10.0.0.0/33"});
        refused_as_invalid(ground, &with(&|policy| policy["spec"]["ingress"][0]["from"][0]["ipBlock"] = block.clone()));
        refused_as_invalid(ground, &with(&|policy| policy["apiVersion"] = json!("extensions/v1beta1")));
        let file = with(&|policy| policy["spec"]["ingress"][0]["form"] = json!([]));
        refused_as_invalid(ground, &file);
        ground.verified();
        // Who wants the rest all the same has it.
        ground.fine(&["apply", "--skip-invalid", "--node", NODE_NAME, file.to_str().unwrap()]);
        assert_eq!(ground.who(), (true, true));
    });
}

#[test]
fn what_was_done_and_cannot_be_told_is_no_failure_to_do_it() {
    on_ground(|ground| {
        ground.apply(&ground.file("a.json", &[lets("a")]));
        let file = ground.file("b.json", &[lets("b")]);
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = ground.command(&["apply", "--node", NODE_NAME, file.to_str().unwrap()]);
        let output =
            command.stdout(full).stderr(std::process::Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{said}");
        assert!(said.contains("is in force") && said.contains("stdout"), "{said}");
        assert_eq!(ground.who(), (false, true));
    });
}

#[test]
fn files_that_are_torn_or_damaged_are_told_and_mended_by_the_next_apply() {
    on_ground(|ground| {
        let file = ground.file("a.json", &[lets("a")]);
        let policy = ground.lab.root().join("var/lib/chainkit/policy");
        for name in ["tables", "rules", "objects", "pods", "active.json"] {
            ground.apply(&file);
            assert_eq!(ground.polload(&["status"]).status.code(), Some(0), "{name}");
            let path =
                if name == "active.json" { policy.join(name) } else { policy.join(&ground.folders()[0]).join(name) };
            let length = fs::metadata(&path).unwrap().len();
            fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 3).unwrap();
            let output = ground.polload(&["status"]);
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!(output.status.code(), Some(1), "{name}: {said}");
            assert_eq!(ground.who(), (true, false), "{name}: the kernel goes on");
        }
        ground.apply(&file);
        assert_eq!(ground.polload(&["status"]).status.code(), Some(0));
        ground.verified();
    });
}

#[test]
fn a_pod_of_which_nobody_can_tell_the_rules_does_not_start() {
    on_ground(|ground| {
        ground.apply(&ground.file("a.json", &[lets("a")]));
        let folder = ground.lab.root().join("var/lib/chainkit/policy").join(&ground.folders()[0]);
        let away = ground.lab.root().join("tmp/away");
        fs::rename(&folder, &away).unwrap();
        let spec = chainkit_lab::PodSpec::new("shop", "late");
        let error = ground.lab.pod_through(&ground.chain, &spec).unwrap_err().to_string();
        assert!(error.contains("polload apply"), "{error}");
        assert_eq!(ground.who(), (true, false), "the kernel goes on");
        fs::rename(&away, &folder).unwrap();
        ground.lab.pod_through(&ground.chain, &spec).unwrap();
    });
}
