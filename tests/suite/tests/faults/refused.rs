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
fn a_policy_that_is_invalid_is_told_and_refused_where_that_was_asked_for() {
    on_ground(|ground| {
        ground.apply(&ground.file("a.json", &[lets("a")]));
        let mut policy = lets("b");
        policy["spec"]["ingress"][0]["from"][0]["ipBlock"] = json!({"cidr": "10.0.0.0/33"});
        let file = ground.file("bad.json", &[policy]);
        let output = ground.polload(&["apply", "--strict", "--node", NODE_NAME, file.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("bad.json") && said.contains("shop/server"), "{said}");
        assert_eq!(ground.who(), (true, false));
        ground.verified();
    });
}
