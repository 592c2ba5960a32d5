//! What `flowdump` says of itself, and how it ends when it is asked for what cannot be.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failure shows its line")]

use std::path::Path;
use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    // What is generated does not depend on where.
    let surroundings = [("NODE_NAME", "n9"), ("CHAINKIT_ROOT", "/nowhere"), ("COLUMNS", "40")];
    Command::new(env!("CARGO_BIN_EXE_flowdump")).args(arguments).envs(surroundings).output().unwrap()
}

#[test]
fn help_has_examples_and_version_a_number() {
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let text = String::from_utf8(help.stdout).unwrap();
    assert!(
        text.starts_with("Prints the flows") && text.contains("Usage: flowdump") && text.contains("Examples:"),
        "{text}"
    );
    assert!(!text.contains("attach-kind") && !text.contains("--generate"), "{text}");
    let version = run(&["--version"]);
    assert_eq!(String::from_utf8(version.stdout).unwrap(), concat!("flowdump ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_is_wrong() {
    for (arguments, message) in [
        (&["--nonsense"][..], "unexpected argument '--nonsense'"),
        (&["-r", "x", "--attach", "all"], "cannot be used with"),
        (&["-r", "-", "--pods", "-"], "-r - and --pods - both read stdin"),
        (&["-r", "x", "--port", "http"], "invalid value \"http\" for --port"),
        (&["-r", "x", "--protocol", "ip"], "expected tcp, udp, sctp"),
        (&["-r", "x", "--not"], "--not is the last filter"),
        (&["-r", "x", "--pod", "a", "--from-pod", "b"], "--pod and --from-pod cannot be combined"),
        (&["-r", "x", "--since", "1m", "--until", "2m"], "is later than --until"),
        (&["-r", "/no/such/file"], "cannot open /no/such/file: No such file"),
        (&["-r", "/"], "cannot read /: it is a folder"),
        (&["-r", "-", "--pods", "/no/such/file"], "cannot read Kubernetes objects from /no/such/file: No such file"),
        (&["--pods", "-", "--pods", "-"], "--pods - was given twice"),
    ] {
        let refused = run(arguments);
        let text = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(message), "{arguments:?}: {text}");
        assert!(refused.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn under_json_logs_an_error_is_one_object_a_line() {
    for arguments in [&["-r", "/no/such/file", "--log", "json"][..], &["--log=json", "--nonsense"]] {
        let refused = run(arguments);
        assert_eq!(refused.status.code(), Some(2));
        let text = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["level"], "error");
        assert!(line["message"].is_string());
    }
}

#[test]
fn committed_man_page_and_completions_are_up_to_date() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (kind, file) in [
        ("man", "man/flowdump.1"),
        ("complete-bash", "completions/flowdump.bash"),
        ("complete-zsh", "completions/_flowdump"),
        ("complete-fish", "completions/flowdump.fish"),
    ] {
        let made = run(&["--generate", kind]);
        assert_eq!(made.status.code(), Some(0), "{kind}");
        assert!(!String::from_utf8_lossy(&made.stdout).contains("attach-kind"), "{kind} shows a hidden flag");
        let committed = std::fs::read(top.join(file)).unwrap_or_default();
        assert!(
            made.stdout == committed,
            "{file} differs from what flowdump --generate {kind} makes: run tests/generate"
        );
    }
}

#[test]
fn the_man_page_describes_every_field_that_is_written() {
    let page = String::from_utf8(run(&["--generate", "man"]).stdout).unwrap();
    for field in [
        "drop_reason_desc",
        "trace_observation_point",
        "source_service",
        "traffic_direction",
        "is_reply",
        "num_events_lost",
        "value.event",
        "value.packets",
        "value.bytes",
        "value.count",
        "value.reason",
        "value.connection.opened",
        "value.connection.state",
        "value.connection.tx_packets",
        "value.connection.tx_bytes",
        "value.connection.rx_packets",
        "value.connection.rx_bytes",
        "value.connection.first_seen",
        "value.connection.rtt_ns",
        "value.connection.tx_flags",
        "value.connection.rx_flags",
        "value.vlan",
        "value.ethertype",
        "value.protocol",
        "value.fragment",
        "value.generation",
        "value.rule",
    ] {
        assert!(page.contains(field), "{field} is not described");
    }
}
