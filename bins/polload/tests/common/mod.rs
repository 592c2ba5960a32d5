//! Runs `polload` on objects that a test writes down.

#![allow(dead_code, reason = "each test binary takes what it needs")]

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// What the program left.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ended {
    /// Its output as JSON Lines.
    pub(crate) fn records(&self) -> Vec<Value> {
        let lines = self.stdout.lines();
        lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }
}

/// Runs `polload` without input.
pub(crate) fn run(arguments: &[&str]) -> Ended {
    Command::new(env!("CARGO_BIN_EXE_polload")).args(arguments).output().unwrap().into()
}

/// Runs `polload` with `input` on stdin.
pub(crate) fn run_on(input: &str, arguments: &[&str]) -> Ended {
    let mut child = Command::new(env!("CARGO_BIN_EXE_polload"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap().into()
}

/// A namespace with the label `team`.
pub(crate) fn namespace(name: &str, team: &str) -> String {
    format!("---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{team: {team}}}}}\n")
}

/// A pod labelled `app` with its name, with an address and a port named `http`.
pub(crate) fn pod(namespace: &str, name: &str, address: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}}}}}\n\
         spec: {{containers: [{{name: c, ports: [{{name: http, containerPort: 8080}}]}}]}}\n\
         status: {{podIP: {address}}}\n"
    )
}

/// A network policy of namespace `shop` with this `spec`, in flow style.
pub(crate) fn policy(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {spec}\n"
    )
}

/// Namespaces `shop` and `bank`; pods `web`, `db` in the one and `till` in the other.
pub(crate) fn shop() -> String {
    [
        namespace("shop", "a"),
        namespace("bank", "b"),
        pod("shop", "web", "10.0.0.1"),
        pod("shop", "db", "10.0.0.2"),
        pod("bank", "till", "10.0.1.1"),
    ]
    .concat()
}
