//! The cases of np-guard/netpol-analyzer: manifests, and the connectivity they must give.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure shows its line")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use chainkit_corpora::Connectivity;
use chainkit_lab::skip;

/// The program: in the folder of `CHAINKIT_BIN_DIR`, else where Cargo puts it.
fn polload() -> PathBuf {
    let folder = std::env::var_os("CHAINKIT_BIN_DIR").map(PathBuf::from);
    // target/debug/deps/np_guard-0123456789abcdef
    let folder = folder.unwrap_or_else(|| std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned());
    let path = folder.join("polload");
    assert!(path.exists(), "{} is not there: cargo build -p polload, or say where by CHAINKIT_BIN_DIR", path.display());
    path
}

/// What differs in a case; `None` if nothing does.
fn difference(program: &Path, case: &Path) -> Option<String> {
    let manifests = case.join("manifests");
    let output = Command::new(program).arg("matrix").arg(&manifests).args(["-o", "jsonl"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() != Some(0) {
        return Some(format!("it ended with {}: {said}", output.status));
    }
    let found = match Connectivity::from_polload(&String::from_utf8_lossy(&output.stdout)) {
        Ok(found) => found,
        Err(error) => return Some(format!("line {} of its output: {}", error.line, error.reason)),
    };
    let expected = fs::read_to_string(case.join("expected.txt")).unwrap();
    let expected = Connectivity::from_np_guard(&expected)
        .unwrap_or_else(|error| panic!("{}: line {}: {}", case.display(), error.line, error.reason));
    expected.first_difference(&found)
}

#[test]
fn every_case_gives_the_connectivity_it_must() {
    let Some(corpora) = std::env::var_os("CHAINKIT_CORPORA") else {
        return skip("CHAINKIT_CORPORA does not say where the corpora are");
    };
    let cases = Path::new(&corpora).join("np-guard/cases");
    let mut cases: Vec<PathBuf> = fs::read_dir(&cases)
        .unwrap_or_else(|error| panic!("cannot list {}: {error}", cases.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("expected.txt").exists())
        .collect();
    cases.sort();
    assert!(!cases.is_empty(), "no case has an expected.txt");

    let program = polload();
    let differing: Vec<String> = cases
        .iter()
        .filter_map(|case| Some(format!("{}: {}", case.file_name()?.to_string_lossy(), difference(&program, case)?)))
        .collect();
    assert!(
        differing.is_empty(),
        "{} of {} cases differ; the first difference of each:\n{}",
        differing.len(),
        cases.len(),
        differing.join("\n")
    );
}
