//! What `polload` does as a program, whatever it is asked.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a failure shows its line")]

mod common;

use std::fs;
use std::path::Path;

use common::{policy, run, run_on, shop};

#[test]
fn help_and_version_end_with_0() {
    for arguments in [
        &["--help"][..],
        &["-h"],
        &["matrix", "--help"],
        &["explain", "-h"],
        &["diff", "-h"],
        &["lint", "--help"],
        &["equivalent", "-h"],
        &["contains", "-h"],
        &["redundant", "-h"],
    ] {
        let help = run(arguments);
        assert_eq!(help.code, Some(0), "{arguments:?}");
        assert!(help.stdout.contains("Usage: polload"), "{}", help.stdout);
    }
    for arguments in [&["--help"][..], &["equivalent", "--help"], &["contains", "--help"], &["redundant", "--help"]] {
        assert!(run(arguments).stdout.contains("Examples:"), "{arguments:?}");
    }
    let version = run(&["--version"]);
    assert_eq!(version.code, Some(0));
    assert_eq!(version.stdout, concat!("polload ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn usage_errors_end_with_2_and_print_nothing() {
    for arguments in [
        &[][..],
        &["apply"],
        &["apply", "-", "--exclude-namespace", "Kube-System"],
        &["plan", "-", "--namespace-mode", "shop.web=audit"],
        &["watch", "-", "--namespace-mode", "=audit"],
        &["matrix"],
        &["matrix", "-", "-"],
        &["matrix", "-", "-o", "svg"],
        &["explain", "-", "--from", "a/b", "--to", "c/d"],
        &["explain", "-", "--from", "b", "--to", "c/d", "--port", "80/tcp"],
        &["explain", "-", "--from", "a/b", "--to", "c/d", "--port", "80/icmp"],
        &["diff", "-"],
        &["diff", "-", "-"],
        &["diff", "-", "/nonexistent/manifests"],
        &["diff", "-", "-", "-"],
        &["lint", "/nonexistent/manifests"],
        &["equivalent", "-"],
        &["equivalent", "-", "-"],
        &["equivalent", "/dev/null", "-", "--with", "-"],
        &["equivalent", "/dev/null", "/dev/null", "--limit", "0"],
        &["equivalent", "-", "/nonexistent/manifests"],
        &["contains", "-", "/dev/null", "--with", "/nonexistent/cluster.yaml"],
        &["contains", "-", "/dev/null", "-o", "dot"],
        &["redundant"],
        &["redundant", "/nonexistent/manifests"],
    ] {
        let refused = run_on("", arguments);
        assert_eq!(refused.code, Some(2), "{arguments:?}: {}", refused.stderr);
        assert!(refused.stdout.is_empty() && !refused.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn commands_for_policy_in_force_are_offered() {
    let help = run(&["--help"]).stdout;
    for command in ["plan", "apply", "confirm", "clear", "restore", "status", "verify"] {
        assert!(help.contains(&format!("  {command} ")), "{command}: {help}");
    }
}

#[test]
fn what_cannot_be_used_is_told_and_the_rest_counts() {
    let input = format!("{}---\nkind: Pod\nmetadata: {{name: [}}\n---\nkind: Secret\napiVersion: v1\n", shop());
    let matrix = run_on(&input, &["matrix", "-", "-o", "jsonl"]);
    assert_eq!(matrix.code, Some(0), "{}", matrix.stderr);
    assert!(!matrix.records().is_empty());
    assert!(
        matrix.stderr.contains("polload: warning: -:") && matrix.stderr.contains("document 6"),
        "{}",
        matrix.stderr
    );
    assert!(matrix.stderr.contains("passed over: 1 v1 Secret"), "{}", matrix.stderr);
}

#[test]
fn strict_refuses_all_for_one_bad_document() {
    let sound = shop();
    let input = format!("{sound}---\nkind: Pod\nmetadata: {{name: x}}\nspec: 7\n");
    for command in [
        &["matrix", "-", "--strict"][..],
        &["lint", "-", "--strict"],
        &["redundant", "-", "--strict"],
        &["explain", "-", "--strict", "--from", "shop/web", "--to", "shop/db", "--port", "80"],
    ] {
        let refused = run_on(&input, command);
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{command:?}");
        assert!(refused.stderr.contains("Pod/default/x: spec: "), "{}", refused.stderr);
        assert_eq!(run_on(&sound, command).code, Some(0), "{command:?}");
    }
}

#[test]
fn inputs_that_hold_nothing_of_use_are_bad_input() {
    for input in ["", "just words", "kind: Secret\napiVersion: v1\n"] {
        let refused = run_on(input, &["matrix", "-"]);
        assert_eq!(refused.code, Some(2), "{input}: {}", refused.stderr);
        assert!(refused.stderr.contains("no Kubernetes objects of use in -"), "{}", refused.stderr);
    }
}

#[test]
fn files_folders_and_stdin_are_read_together() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("policies/inner");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("deny.yml"), policy("deny", "{podSelector: {}, policyTypes: [Ingress]}")).unwrap();
    let file = scratch.path().join("more.json");
    fs::write(&file, r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"extra","namespace":"bank"}}"#).unwrap();
    let inputs = [scratch.path().join("policies").to_str().unwrap().to_owned(), file.to_str().unwrap().to_owned()];
    let matrix = run_on(&shop(), &["matrix", &inputs[0], "-", &inputs[1], "-o", "jsonl"]);
    assert_eq!(matrix.code, Some(0), "{}", matrix.stderr);
    let to = |name: &str| matrix.records().iter().any(|row| row["dst"] == name);
    assert!(to("bank/till[Pod]") && to("bank/extra[Pod]") && !to("shop/web[Pod]"), "{}", matrix.stdout);
}

#[test]
fn messages_are_objects_under_json_logs() {
    let refused = run_on("", &["matrix", "-", "--log", "json"]);
    assert_eq!(refused.code, Some(2));
    let message: serde_json::Value = serde_json::from_str(refused.stderr.trim()).unwrap();
    assert_eq!(message["level"], "error");
}

#[test]
fn committed_man_page_and_completions_are_up_to_date() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (kind, file) in [
        ("man", "man/polload.1"),
        ("complete-bash", "completions/polload.bash"),
        ("complete-zsh", "completions/_polload"),
        ("complete-fish", "completions/polload.fish"),
    ] {
        let made = run(&["--generate", kind]);
        assert_eq!(made.code, Some(0), "{kind}");
        let committed = fs::read_to_string(top.join(file)).unwrap_or_default();
        assert!(
            made.stdout == committed,
            "{file} differs from what polload --generate {kind} makes: run tests/generate"
        );
    }
}
