//! What `netcheck` does as a program.

#![allow(clippy::unwrap_used, reason = "a failure shows its line")]

use std::path::Path;
use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_netcheck")).args(arguments).env_remove("CNI_COMMAND").output().unwrap()
}

#[test]
fn help_and_version_end_with_0() {
    for flag in ["--help", "-h"] {
        let help = run(&[flag]);
        assert_eq!(help.status.code(), Some(0));
        let text = String::from_utf8(help.stdout).unwrap();
        assert!(text.contains("Usage: netcheck") && text.contains("Examples:"), "{text}");
    }
    let version = run(&["--version"]);
    assert_eq!(version.status.code(), Some(0));
    assert_eq!(String::from_utf8(version.stdout).unwrap(), concat!("netcheck ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn every_other_call_is_not_built_yet() {
    for arguments in [&[][..], &["show"], &["--nonsense"], &["show", "--help"], &["-o", "json", "all"]] {
        let refused = run(arguments);
        assert_eq!(refused.status.code(), Some(4), "{arguments:?}");
        assert!(refused.stdout.is_empty(), "{arguments:?}");
        let message = String::from_utf8(refused.stderr).unwrap();
        assert!(message.starts_with("netcheck: not built yet"), "{arguments:?}: {message}");
    }
}

#[test]
fn under_json_logs_the_refusal_is_an_object() {
    let refused = run(&["show", "--log", "json"]);
    assert_eq!(refused.status.code(), Some(4));
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(message.starts_with(r#"{"level":"error","message":"not built yet"#), "{message}");
}

#[test]
fn committed_man_page_and_completions_are_up_to_date() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (kind, file) in [
        ("man", "man/netcheck.1"),
        ("complete-bash", "completions/netcheck.bash"),
        ("complete-zsh", "completions/_netcheck"),
        ("complete-fish", "completions/netcheck.fish"),
    ] {
        let made = run(&["--generate", kind]);
        assert_eq!(made.status.code(), Some(0), "{kind}");
        let committed = std::fs::read(top.join(file)).unwrap_or_default();
        assert!(
            made.stdout == committed,
            "{file} differs from what netcheck --generate {kind} makes: run tests/generate"
        );
    }
}
