//! Programs that are not built yet: they tell what they will do, and nothing else.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::program::wants_json;
use crate::{Exit, Log, LogFormat, Program, run};

/// Runs a program that is not built yet: help, version and what the build makes of it work; every other call says so on
/// stderr and ends with 4.
///
/// `cni`: it is a CNI plugin, so that a runtime that calls it (`CNI_COMMAND` is set) gets the error on stdout in the
/// form of the CNI specification (section 5, "Error"), with code 100, the first that plugins may give a meaning.
pub fn pending(program: &Program, cni: bool) -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let known = ["--help", "-h", "--version", "-V", "--generate"];
    let first = arguments.get(1).and_then(|argument| argument.to_str()).unwrap_or_default();
    if known.contains(&first) || first.starts_with("--generate=") {
        return run(program, |_, _| Ok(Exit::Fine));
    }
    let format = if wants_json(&arguments) { LogFormat::Json } else { LogFormat::Text };
    let log = Log::new(program.name, format);
    let message = "not built yet: this version answers --help and --version only";
    log.error(message, None);
    if cni && std::env::var_os("CNI_COMMAND").is_some() {
        let answer = serde_json::json!({
            "cniVersion": "1.0.0",
            "code": 100,
            "msg": "cni-chain is not built yet",
            "details": "take it out of the chain: this version adds nothing to a pod's network",
        });
        // The exit code says the same to a runtime that has closed its end.
        let _ = writeln!(io::stdout().lock(), "{answer}");
    }
    Exit::Failed.into()
}
