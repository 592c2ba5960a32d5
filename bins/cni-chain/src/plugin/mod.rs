//! The chained plugin: what a runtime calls for each pod.
//!
//! Stdout holds the answer and nothing else: the previous result, byte for byte, or an error of the specification. DEL always
//! succeeds, whatever is missing or torn, since a runtime that meets an error there never lets the primary free the address.

use std::env;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use chainkit_cni::{Command, Environment, MAX_REQUEST_BYTES, PluginError, Request, Version, code};
use serde_json::json;

use crate::node::Node;
use log::{About, PluginLog, Trace};
use options::Options;

mod add;
mod check;
mod del;
mod gc;
pub(crate) mod log;
pub(crate) mod options;
mod status;

/// One call.
pub(crate) struct Call {
    pub(crate) environment: Environment,
    pub(crate) node: Node,
    pub(crate) log: PluginLog,
}

/// Answers a runtime.
pub(crate) fn main(command: &OsStr) -> ExitCode {
    let get = |name: &str| env::var(name).ok();
    let about = About { trace: Trace::read(get), ..About::default() };
    let root = env::var_os("CHAINKIT_ROOT").filter(|root| !root.is_empty()).map_or_else(|| "/".into(), PathBuf::from);
    let mut call = Call { environment: Environment::read(get), node: Node::below(&root), log: PluginLog::new(about) };
    let since = Instant::now();
    let command = command.to_string_lossy();
    let outcome = Environment::command(&command).map_err(|error| (error, Version::NEWEST));
    let outcome = outcome.and_then(|command| answer(command, &mut call));
    let (text, exit) = match outcome {
        Ok(text) => (text, ExitCode::SUCCESS),
        Err((error, version)) => {
            call.log.error(&error);
            (error.json(version), ExitCode::FAILURE)
        }
    };
    call.log.debug(format_args!("answered within {} µs", since.elapsed().as_micros()));
    if text.is_empty() {
        return exit;
    }
    // A runtime that does not listen any more has given the call up, and calls DEL.
    match writeln!(io::stdout().lock(), "{text}") {
        Ok(()) => exit,
        Err(error) => {
            call.log.error(format!("cannot write the answer to stdout: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// The text for stdout; an error with the version it is told in.
fn answer(command: Command, call: &mut Call) -> Result<String, (PluginError, Version)> {
    let input = read(io::stdin().lock());
    answer_to(command, input, call)
}

fn answer_to(
    command: Command,
    input: Result<Vec<u8>, PluginError>,
    call: &mut Call,
) -> Result<String, (PluginError, Version)> {
    call.log.about.command = command.name();
    if command == Command::Version {
        return Ok(version(&input.unwrap_or_default()));
    }
    let request = input.and_then(|input| Request::parse(&input));
    call.describe(request.as_ref().ok());
    if command == Command::Del {
        del::run(call, request);
        return Ok(String::new());
    }
    let request = request.map_err(|error| (error, Version::NEWEST))?;
    let version = request.version().map_err(|error| (error, Version::NEWEST))?;
    let outcome = match command {
        Command::Add => add::run(call, &request, version),
        Command::Check => check::run(call, &request, version).map(|()| String::new()),
        Command::Gc => gc::run(call, &request, version).map(|()| String::new()),
        Command::Status => status::run(call, &request, version).map(|()| String::new()),
        Command::Del | Command::Version => Ok(String::new()),
    };
    outcome.map_err(|error| (error, version))
}

impl Call {
    /// Says in each line of the log what the call is about.
    fn describe(&mut self, request: Option<&Request>) {
        let pod = self.environment.pod();
        let about = &mut self.log.about;
        about.network = request.and_then(|request| request.network().ok()).unwrap_or_default();
        about.container_id = self.environment.container_id().unwrap_or_default().to_owned();
        about.ifname = self.environment.ifname().unwrap_or_default().to_owned();
        about.netns = self.environment.netns_if_any().map(|path| path.display().to_string()).unwrap_or_default();
        about.pod = match (pod.namespace.as_str(), pod.name.as_str()) {
            ("", name) => name.to_owned(),
            (namespace, name) => format!("{namespace}/{name}"),
        };
        let options = request.map(Options::lenient).unwrap_or_default();
        self.log.open(options.log_level, options.log_file.as_deref());
    }
}

fn read(input: impl Read) -> Result<Vec<u8>, PluginError> {
    let mut text = Vec::new();
    match input.take(MAX_REQUEST_BYTES + 1).read_to_end(&mut text) {
        Err(error) => {
            Err(PluginError::new(code::IO, format!("cannot read the network configuration on stdin: {error}")))
        }
        Ok(_) if text.len() as u64 > MAX_REQUEST_BYTES => Err(PluginError::new(
            code::DECODING,
            format!("the network configuration on stdin is longer than {MAX_REQUEST_BYTES} bytes"),
        )),
        Ok(_) => Ok(text),
    }
}

/// The answer to VERSION, which works with an empty stdin, too: the version that was asked in, and all that are spoken.
fn version(input: &[u8]) -> String {
    let asked = Request::parse(input).and_then(|request| request.version()).unwrap_or(Version::NEWEST);
    json!({ "cniVersion": asked.name(), "supportedVersions": Version::ALL.map(Version::name) }).to_string()
}

/// An error of the datapath, as the specification has them.
pub(crate) fn datapath_error(message: &str, error: &anyhow::Error) -> PluginError {
    let busy = |error: &io::Error| {
        matches!(error.kind(), io::ErrorKind::OutOfMemory | io::ErrorKind::WouldBlock | io::ErrorKind::ResourceBusy)
    };
    let passes = error.chain().any(|cause| match cause.downcast_ref::<chainkit_bpf::Error>() {
        Some(chainkit_bpf::Error::System { error, .. }) => busy(error),
        Some(chainkit_bpf::Error::Full(..) | chainkit_bpf::Error::Busy { .. }) => true,
        _ => false,
    });
    PluginError::new(if passes { code::TRY_AGAIN } else { code::DATAPATH }, message).details(format!("{error:#}"))
}

/// Refuses a verb that a version does not have.
pub(crate) fn since(verb: &str, since: Version, found: Version) -> Result<(), PluginError> {
    if found >= since {
        return Ok(());
    }
    let message = format!("cniVersion: {} has no {verb}, which came with {}", found.name(), since.name());
    Err(PluginError::new(code::INCOMPATIBLE_VERSION, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_answers_in_the_version_it_was_asked_in_and_without_input() {
        let all = r#""supportedVersions":["0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]}"#;
        assert_eq!(version(br#"{"cniVersion":"0.4.0"}"#), format!(r#"{{"cniVersion":"0.4.0",{all}"#));
        for odd in ["", "{", "[]", r#"{"cniVersion":"9.9.9"}"#, r#"{"cniVersion":1}"#] {
            assert_eq!(version(odd.as_bytes()), format!(r#"{{"cniVersion":"1.1.0",{all}"#), "{odd}");
        }
    }

    #[test]
    fn an_input_past_the_limit_is_refused() {
        let long = vec![b' '; usize::try_from(MAX_REQUEST_BYTES).unwrap() + 1];
        assert_eq!(read(long.as_slice()).unwrap_err().code, code::DECODING);
        assert_eq!(read(&long[1..]).unwrap().len() as u64, MAX_REQUEST_BYTES);
    }
}
