//! One call of one plugin.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::{Error, Netns, Running};

/// How long a plugin may take: far longer than any does, on a machine under load.
const LIMIT: Duration = Duration::from_secs(120);

/// What a plugin is asked to do: `CNI_COMMAND`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Attach.
    Add,
    /// Detach.
    Del,
    /// Say whether the attachment is as it should be; from version 0.4.0.
    Check,
    /// Take away what belongs to no valid attachment; from version 1.1.0.
    Gc,
    /// Say whether an ADD could be served; from version 1.1.0.
    Status,
    /// Say which versions are spoken.
    Version,
}

impl fmt::Display for Verb {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        })
    }
}

/// A plugin about to be called; what it gets may still be changed, also into what no runtime would send.
#[derive(Clone, Debug)]
pub struct Call {
    pub(super) node: Arc<Netns>,
    pub(super) program: PathBuf,
    pub(super) verb: Verb,
    pub(super) environment: Vec<(OsString, OsString)>,
    pub(super) stdin: Vec<u8>,
}

/// What a plugin has answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// File name of the plugin.
    pub plugin: String,
    /// What it was asked.
    pub verb: Verb,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Call {
    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self = self.without_env(&name);
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Takes away a variable that the lab would set.
    #[must_use]
    pub fn without_env(mut self, name: impl AsRef<OsStr>) -> Self {
        self.environment.retain(|(known, _)| known != name.as_ref());
        self
    }

    /// Replaces what it reads from stdin.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// What it would read from stdin.
    #[must_use]
    pub fn request(&self) -> &[u8] {
        &self.stdin
    }

    /// The command without its streams, to be run by whoever has means of his own; in the network namespace of the caller, which should
    /// be the node's.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts it in the node's network namespace. It is killed when the guard is dropped.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self) -> Result<Running, Error> {
        let mut command = self.node.command(&self.program);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let (reader, mut writer) = io::pipe().map_err(Error::io("make a pipe"))?;
        command.stdin(reader).stdout(Stdio::piped()).stderr(Stdio::piped());
        let running = Running::start_as_is(command)?;
        let stdin = self.stdin.clone();
        // A plugin that does not read to the end says so by its answer.
        thread::spawn(move || drop(writer.write_all(&stdin)));
        Ok(running)
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// When it cannot be started or does not end; not when it ends with an error of its own.
    pub fn run(&self) -> Result<Answer, Error> {
        let mut running = self.start()?;
        let status = running.wait(LIMIT)?;
        Ok(self.answer(status, running.stdout(), running.stderr()))
    }

    /// Runs it to its end, which has to be a good one.
    ///
    /// # Errors
    /// As [`Call::run`], and [`Error::Plugin`] when it ends with an error.
    pub fn succeed(&self) -> Result<Answer, Error> {
        let answer = self.run()?;
        if answer.status.success() { Ok(answer) } else { Err(Error::Plugin(Box::new(answer))) }
    }

    pub(super) fn answer(&self, status: ExitStatus, stdout: String, stderr: String) -> Answer {
        let name = self.program.file_name().unwrap_or(self.program.as_os_str());
        Answer { plugin: name.to_string_lossy().into_owned(), verb: self.verb, status, stdout, stderr }
    }

    /// The file that is run.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }
}

impl Answer {
    /// Stdout as JSON; null when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or(Value::Null)
    }

    /// The code of the specification's error object; `None` when there is none on stdout.
    #[must_use]
    pub fn code(&self) -> Option<u64> {
        self.json()["code"].as_u64()
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plugin, verb, status, stdout, stderr } = self;
        write!(to, "{verb} of {plugin} ended with {status}; stdout: {}; stderr: {}", stdout.trim(), stderr.trim())
    }
}
