//! What `cni-chain` does as a program, as far as it takes no privilege.

#![allow(clippy::unwrap_used, reason = "a failure shows its line")]

use std::path::Path;
use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cni-chain"))
        .args(arguments)
        .env_remove("CNI_COMMAND")
        .env_remove("CHAINKIT_ROOT")
        .output()
        .unwrap()
}

#[test]
fn help_and_version_end_with_0() {
    for flag in ["--help", "-h"] {
        let help = run(&[flag]);
        assert_eq!(help.status.code(), Some(0));
        let text = String::from_utf8(help.stdout).unwrap();
        assert!(text.contains("Usage: cni-chain") && text.contains("Examples:"), "{text}");
    }
    for command in ["endpoints", "adopt", "release", "status", "upgrade"] {
        assert_eq!(run(&[command, "--help"]).status.code(), Some(0), "{command}");
    }
    let version = run(&["--version"]);
    assert_eq!(version.status.code(), Some(0));
    assert_eq!(String::from_utf8(version.stdout).unwrap(), concat!("cni-chain ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn wrong_usage_ends_with_2_and_prints_nothing_on_stdout() {
    for arguments in [&[][..], &["--nonsense"], &["adopt"], &["release", "--purge"], &["status", "--root", "/nonsense"]]
    {
        let refused = run(arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        assert!(refused.stdout.is_empty(), "{arguments:?}");
        assert!(!refused.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_variable_of_a_runtime_has_no_say_where_people_call() {
    let help =
        Command::new(env!("CARGO_BIN_EXE_cni-chain")).arg("--version").env("CNI_COMMAND", "ADD").output().unwrap();
    assert_eq!(String::from_utf8(help.stdout).unwrap(), concat!("cni-chain ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn committed_man_page_and_completions_are_up_to_date() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (kind, file) in [
        ("man", "man/cni-chain.1"),
        ("complete-bash", "completions/cni-chain.bash"),
        ("complete-zsh", "completions/_cni-chain"),
        ("complete-fish", "completions/cni-chain.fish"),
    ] {
        let made = run(&["--generate", kind]);
        assert_eq!(made.status.code(), Some(0), "{kind}");
        let committed = std::fs::read(top.join(file)).unwrap_or_default();
        assert!(
            made.stdout == committed,
            "{file} differs from what cni-chain --generate {kind} makes: run tests/generate"
        );
    }
}
