//! What a runtime meets when it calls `cni-chain`, as far as it takes no privilege and no network namespace.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failure shows its line")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A call with the variables of a kubelet's runtime, but for those that are given.
fn call(verb: &str, stdin: &str, variables: &[(&str, &str)]) -> Output {
    let root = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cni-chain"));
    command
        .env_clear()
        .env("CNI_COMMAND", verb)
        .env("CNI_CONTAINERID", "3f2a")
        .env("CNI_NETNS", "/nonsense/netns")
        .env("CNI_IFNAME", "eth0")
        .env("CHAINKIT_ROOT", root.path())
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that answers without reading is no failure of this end.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

const PREVIOUS: &str = r#""prevResult":{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"/x"}],"ips":[]}"#;

fn configuration(version: &str, more: &str) -> String {
    format!(r#"{{"cniVersion":"{version}","name":"net","type":"cni-chain",{more}{PREVIOUS}}}"#)
}

/// The error on stdout, which must be that and nothing else.
fn error(output: &Output) -> Value {
    assert_ne!(output.status.code(), Some(0));
    let error: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(error["code"].is_u64() && error["msg"].is_string() && error["cniVersion"].is_string(), "{error}");
    error
}

#[test]
fn version_needs_nothing() {
    for (stdin, version) in [("", "1.1.0"), ("{", "1.1.0"), (r#"{"cniVersion":"0.3.1"}"#, "0.3.1")] {
        let answer = call("VERSION", stdin, &[("CNI_CONTAINERID", ""), ("CNI_IFNAME", ""), ("CNI_NETNS", "")]);
        assert_eq!(answer.status.code(), Some(0));
        let answer: Value = serde_json::from_slice(&answer.stdout).unwrap();
        assert_eq!(answer["cniVersion"], version);
        assert_eq!(answer["supportedVersions"], serde_json::json!(["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]));
    }
}

#[test]
fn errors_have_the_codes_of_the_specification_and_the_version_of_the_request() {
    let good = configuration("1.0.0", "");
    for (verb, stdin, variables, code, names) in [
        ("ADD", good.as_str(), &[("CNI_CONTAINERID", "")][..], 4, "CNI_CONTAINERID"),
        ("ADD", &good, &[("CNI_CONTAINERID", "../x")], 4, "CNI_CONTAINERID"),
        ("ADD", &good, &[("CNI_NETNS", "")], 4, "CNI_NETNS"),
        ("ADD", &good, &[("CNI_NETNS", "x")], 4, "CNI_NETNS"),
        ("ADD", &good, &[], 4, "/nonsense/netns"),
        ("ADD", &good, &[("CNI_NETNS", "/dev/null")], 4, "/dev/null"),
        ("ADD", &good, &[("CNI_IFNAME", "a/b")], 4, "CNI_IFNAME"),
        ("CHECK", &good, &[], 4, "/nonsense/netns"),
        ("ADD", "", &[], 6, "stdin"),
        ("ADD", "[]", &[], 6, "stdin"),
        ("ADD", r#"{"cniVersion":"1.0.0","name":"net"}"#, &[], 7, "prevResult"),
        ("ADD", r#"{"cniVersion":"1.0.0","prevResult":{}}"#, &[], 7, "name"),
        ("ADD", &configuration("1.0.0", r#""mode":"loud","#), &[], 7, "mode"),
        ("ADD", &configuration("1.0.0", r#""conections":9,"#), &[], 7, "conections"),
        ("STATUS", &configuration("1.1.0", r#""attach":7,"#), &[], 7, "attach"),
        ("CHECK", &configuration("0.3.1", ""), &[], 1, "CHECK"),
        ("GC", &configuration("1.0.0", ""), &[], 1, "GC"),
        ("STATUS", &configuration("1.0.0", ""), &[], 1, "STATUS"),
        ("ADD", &configuration("0.2.0", ""), &[], 1, "0.2.0"),
        ("GC", r#"{"cniVersion":"1.1.0","name":"net","cni.dev/attachments":7}"#, &[], 7, "cni.dev/attachments"),
        ("add", &good, &[], 4, "CNI_COMMAND"),
    ] {
        let output = call(verb, stdin, variables);
        let error = error(&output);
        assert_eq!(error["code"], code, "{verb} {stdin} {variables:?}: {error}");
        let said = format!("{} {}", error["msg"], error["details"]);
        assert!(said.contains(names), "{verb} {stdin}: {error}");
    }
    let old = error(&call("ADD", &configuration("0.4.0", r#""mode":1,"#), &[]));
    assert_eq!(old["cniVersion"], "0.4.0");
}

#[test]
fn del_succeeds_whatever_is_missing_or_torn() {
    for stdin in [
        "",
        "{",
        "null",
        &configuration("1.0.0", ""),
        &configuration("9.9.9", ""),
        &configuration("1.0.0", r#""oops":1,"#),
    ] {
        for variables in [
            &[][..],
            &[("CNI_NETNS", "")],
            &[("CNI_NETNS", "/dev/null")],
            &[("CNI_CONTAINERID", ""), ("CNI_IFNAME", "")],
            &[("CNI_CONTAINERID", "../../etc"), ("CNI_IFNAME", "a/b"), ("CNI_NETNS", "relative")],
            &[("CHAINKIT_ROOT", "/proc/nonsense")],
            &[("CHAINKIT_ROOT", "/dev/null")],
        ] {
            let output = call("DEL", stdin, variables);
            assert_eq!(output.status.code(), Some(0), "{stdin} {variables:?}");
            assert!(output.stdout.is_empty(), "{stdin} {variables:?}");
        }
    }
}

#[test]
fn gc_without_a_list_deletes_nothing_and_succeeds() {
    let output = call("GC", r#"{"cniVersion":"1.1.0","name":"net","type":"cni-chain"}"#, &[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout.is_empty());
}

#[test]
fn what_is_said_on_stderr_and_in_the_file_bears_the_trace_and_never_goes_through_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (folder.path().join("chain.log"), folder.path().join("link.log"));
    symlink(&file, &link).unwrap();
    let trace = [("TRACEPARENT", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")];
    let to = |path: &std::path::Path| configuration("1.0.0", &format!(r#""logFile":"{}","#, path.display()));
    let output = call("ADD", &to(&link), &trace);
    assert!(!file.exists());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("link.log"), "{said}");
    let output = call("ADD", &to(&file), &trace);
    for said in [String::from_utf8(output.stderr).unwrap(), fs::read_to_string(&file).unwrap()] {
        let line: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
        assert_eq!(line["trace_id"], "0af7651916cd43dd8448eb211c80319c", "{line}");
        assert_eq!(
            (&line["level"], &line["command"], &line["container_id"]),
            (&"error".into(), &"ADD".into(), &"3f2a".into())
        );
    }
}
