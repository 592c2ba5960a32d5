//! The real program, with what it reads given.

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// Runs it to its end; what it is given on stdin may be more than a pipe holds.
pub(crate) fn flowdump(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_flowdump"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// What it prints, where it has nothing to complain of.
pub(crate) fn shown(arguments: &[&str], input: &str) -> String {
    let output = flowdump(arguments, input);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), told.as_str()), (Some(0), ""), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}
