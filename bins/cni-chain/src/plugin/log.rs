//! What the plugin says beside its answer: a JSON object a line, on stderr and in an optional file. Stdout is the answer's alone.

use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A file that is longer than this is moved to `<file>.1` before it is written to, in bytes.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;
/// The longest `TRACESTATE` that must be passed on (W3C Trace Context, section 3.3.1.5).
const MAX_TRACE_STATE: usize = 512;

/// How much is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// What made a call fail.
    Error,
    /// What went wrong without that.
    Warning,
    /// What was done.
    #[default]
    Info,
    /// How.
    Debug,
}

/// The trace that a call is part of (W3C Trace Context), as the runtime's environment has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Trace {
    #[serde(skip_serializing_if = "String::is_empty")]
    trace_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    span_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    trace_flags: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    trace_state: String,
}

impl Trace {
    /// Reads `TRACEPARENT` and `TRACESTATE`; what is not of their form is left out.
    pub(crate) fn read(get: impl Fn(&str) -> Option<String>) -> Self {
        let parent = get("TRACEPARENT").unwrap_or_default();
        let mut parts = parent.split('-');
        let mut hex = |length: usize| {
            let part = parts.next().unwrap_or_default();
            let good = part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            good.then(|| part.to_owned())
        };
        let (Some(version), Some(trace_id), Some(span_id), Some(trace_flags)) = (hex(2), hex(32), hex(16), hex(2))
        else {
            return Self::default();
        };
        let is_zero = |text: &str| text.bytes().all(|byte| byte == b'0');
        if version == "ff" || is_zero(&trace_id) || is_zero(&span_id) || (version == "00" && parts.next().is_some()) {
            return Self::default();
        }
        let state = get("TRACESTATE").filter(|state| state.len() <= MAX_TRACE_STATE && state.is_ascii());
        Self { trace_id, span_id, trace_flags, trace_state: state.unwrap_or_default() }
    }
}

/// What a call is about; said with each line.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct About {
    pub(crate) command: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) network: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) container_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) ifname: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) netns: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) pod: String,
    #[serde(flatten)]
    pub(crate) trace: Trace,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    level: Level,
    #[serde(flatten)]
    about: &'a About,
    message: &'a str,
}

/// Where lines go. Nothing that fails here fails a call.
#[derive(Debug)]
pub(crate) struct PluginLog {
    pub(crate) about: About,
    level: Level,
    file: Option<File>,
}

impl PluginLog {
    /// Lines on stderr.
    pub(crate) const fn new(about: About) -> Self {
        Self { about, level: Level::Info, file: None }
    }

    /// Sets how much is said, and adds the file.
    pub(crate) fn open(&mut self, level: Level, file: Option<&Path>) {
        self.level = level;
        let Some(path) = file else { return };
        match open(path) {
            Ok(file) => self.file = Some(file),
            Err(error) => self.warning(format!("cannot write the log file {}: {error}", path.display())),
        }
    }

    pub(crate) fn error(&self, message: impl Display) {
        self.write(Level::Error, message);
    }

    pub(crate) fn warning(&self, message: impl Display) {
        self.write(Level::Warning, message);
    }

    pub(crate) fn info(&self, message: impl Display) {
        self.write(Level::Info, message);
    }

    pub(crate) fn debug(&self, message: impl Display) {
        self.write(Level::Debug, message);
    }

    fn write(&self, level: Level, message: impl Display) {
        if level > self.level {
            return;
        }
        let time = jiff::Timestamp::now().to_string();
        let line = Line { time, level, about: &self.about, message: &message.to_string() };
        let Ok(mut text) = serde_json::to_vec(&line) else { return };
        text.push(b'\n');
        // One write a line, so that lines of plugins that run at once do not mix. Nobody is left to tell where it fails.
        let _ = io::stderr().lock().write_all(&text);
        if let Some(mut file) = self.file.as_ref() {
            let _ = file.write_all(&text);
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let open = || -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        // A pipe without a reader must not hold up a pod.
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC).open(path)
    };
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        // One level: a path that is wrong higher up is a mistake.
        fs::create_dir(folder)?;
    }
    let file = open()?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    if file.metadata()?.len() <= MAX_FILE_BYTES {
        return Ok(file);
    }
    let mut old = path.as_os_str().to_owned();
    old.push(".1");
    fs::rename(path, PathBuf::from(old))?;
    open()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(parent: &str) -> Trace {
        Trace::read(|name| match name {
            "TRACEPARENT" => Some(parent.to_owned()),
            "TRACESTATE" => Some("a=1,b=2".to_owned()),
            _ => None,
        })
    }

    #[test]
    fn the_trace_of_the_environment_is_in_each_line() {
        let found = trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        assert_eq!(
            (found.trace_id.as_str(), found.span_id.as_str()),
            ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
        );
        assert_eq!((found.trace_flags.as_str(), found.trace_state.as_str()), ("01", "a=1,b=2"));
        let about = About { command: "ADD", pod: "shop/web".to_owned(), trace: found, ..About::default() };
        let line = Line { time: "t".to_owned(), level: Level::Info, about: &about, message: "attached" };
        assert_eq!(
            serde_json::to_string(&line).unwrap(),
            r#"{"time":"t","level":"info","command":"ADD","pod":"shop/web","trace_id":"0af7651916cd43dd8448eb211c80319c","span_id":"b7ad6b7169203331","trace_flags":"01","trace_state":"a=1,b=2","message":"attached"}"#
        );
    }

    #[test]
    fn what_is_no_trace_is_left_out() {
        for parent in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        ] {
            assert_eq!(trace(parent), Trace::default(), "{parent}");
        }
    }

    #[test]
    fn a_file_is_appended_to_never_through_a_link_and_moved_aside_when_long() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chain.log");
        for message in ["one", "two"] {
            let mut log = PluginLog::new(About::default());
            log.open(Level::Info, Some(&path));
            log.info(message);
            log.debug("not said");
        }
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains("one") && text.contains("two"), "{text}");
        let link = folder.path().join("link.log");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(open(&link).is_err());
        assert!(open(folder.path()).is_err());
        File::options().write(true).open(&path).unwrap().set_len(MAX_FILE_BYTES + 1).unwrap();
        assert_eq!(open(&path).unwrap().metadata().unwrap().len(), 0);
        assert!(folder.path().join("chain.log.1").exists());
    }
}
