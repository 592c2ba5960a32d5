//! Policy that is made for another node than the one it is to be put in force on.

use std::fs;

use chainkit_lab::{NODE_NAME, OTHER_NODE_NAME};
use serde_json::Value;

use crate::ground::{Ground, lets, on_ground};

/// Exit code and complaint.
fn said(ground: &Ground<'_>, arguments: &[&str]) -> (Option<i32>, String) {
    let output = ground.polload(arguments);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn policy_of_another_node_is_refused_by_the_pods_that_are_attached() {
    on_ground(|ground| {
        ground.apply(&ground.file("a.json", &[lets("a")]));
        let other = ground.file("b.json", &[lets("b")]);
        let other = other.to_str().unwrap();
        for command in ["apply", "plan"] {
            let (code, said) = said(ground, &[command, "--node", OTHER_NODE_NAME, other]);
            assert_eq!(code, Some(2), "{command}: {said}");
            assert!(said.contains("shop/") && said.contains("know 3"), "{said}");
            assert!(said.contains(&format!("--node {NODE_NAME}")), "{said}");
            assert_eq!(ground.who(), (true, false));
        }
        ground.verified();
    });
}

#[test]
fn pods_that_the_objects_have_elsewhere_are_told() {
    on_ground(|ground| {
        let file = ground.file("a.json", &[lets("a")]);
        let path = file.to_str().unwrap();
        let (code, none) = said(ground, &["apply", "--node", NODE_NAME, path]);
        assert!(code == Some(0) && !none.contains("another node"), "{none}");
        let mut objects: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let items = objects["items"].as_array_mut().unwrap();
        let moved = items.iter_mut().find(|one| one["kind"] == "Pod" && one["metadata"]["name"] == "b").unwrap();
        moved["spec"]["nodeName"] = OTHER_NODE_NAME.into();
        // Another pod of the name of one that is attached here: nothing is known of that one.
        let stranger = items.iter_mut().find(|one| one["kind"] == "Pod" && one["metadata"]["name"] == "a").unwrap();
        stranger["spec"]["nodeName"] = OTHER_NODE_NAME.into();
        stranger["metadata"]["uid"] = "another".into();
        fs::write(&file, objects.to_string()).unwrap();
        for command in ["plan", "apply"] {
            let (code, said) = said(ground, &[command, "--node", NODE_NAME, path]);
            assert_eq!(code, Some(0), "{command}: {said}");
            assert!(said.contains("of the 2 pods") && said.contains("have 1 on another node"), "{said}");
            assert!(said.contains("shop/b") && said.contains(OTHER_NODE_NAME), "{said}");
        }
    });
}
