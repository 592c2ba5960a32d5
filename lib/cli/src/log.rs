//! What a program says on stderr: for people, or a JSON object a line.

use std::fmt::Display;
use std::io::Write;

use clap::ValueEnum;
use serde::Serialize;

/// The form of messages on stderr, `--log`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// NAME: message
    #[default]
    Text,
    /// A JSON object a line, of level, message and, where one is known, remedy
    Json,
}

/// Writes messages to stderr. A stderr that is closed or full is no reason to stop: failures to write are ignored.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    name: &'static str,
    format: LogFormat,
}

#[derive(Serialize)]
struct Line<'a> {
    level: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'a str>,
}

impl Log {
    /// Messages of the program `name` in the given form.
    #[must_use]
    pub const fn new(name: &'static str, format: LogFormat) -> Self {
        Self { name, format }
    }

    /// Something that the user should know and that changes nothing about the outcome.
    pub fn info(&self, message: impl Display) {
        self.write("info", &message.to_string(), None);
    }

    /// Something that went wrong without ending the program.
    pub fn warning(&self, message: impl Display) {
        self.write("warning", &message.to_string(), None);
    }

    /// What ends the program, and what to do about it.
    pub fn error(&self, message: impl Display, remedy: Option<&str>) {
        self.write("error", &message.to_string(), remedy);
    }

    fn write(&self, level: &str, message: &str, remedy: Option<&str>) {
        let mut line = self.line(level, message, remedy);
        line.push('\n');
        // One write, so that lines of programs that share a stderr do not mix.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }

    fn line(&self, level: &str, message: &str, remedy: Option<&str>) -> String {
        match self.format {
            LogFormat::Json => serde_json::to_string(&Line { level, message, remedy }).unwrap_or_default(),
            LogFormat::Text => {
                let level = if level == "warning" { "warning: " } else { "" };
                let message = crate::escape(message);
                match remedy {
                    None => format!("{}: {level}{message}", self.name),
                    Some(remedy) => format!("{}: {level}{message}\n  {}", self.name, crate::escape(remedy)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_line_holds_level_message_and_remedy() {
        let log = Log::new("netcheck", LogFormat::Json);
        assert_eq!(
            log.line("error", "cannot read \"a\nb\"", Some("run it as root")),
            r#"{"level":"error","message":"cannot read \"a\nb\"","remedy":"run it as root"}"#
        );
        assert_eq!(log.line("warning", "x", None), r#"{"level":"warning","message":"x"}"#);
    }

    #[test]
    fn a_text_line_names_the_program() {
        let log = Log::new("netcheck", LogFormat::Text);
        assert_eq!(log.line("error", "no such pod", None), "netcheck: no such pod");
        assert_eq!(log.line("warning", "old", None), "netcheck: warning: old");
        assert_eq!(log.line("error", "denied", Some("run it as root")), "netcheck: denied\n  run it as root");
    }

    #[test]
    fn a_message_cannot_steer_the_terminal() {
        let log = Log::new("netcheck", LogFormat::Text);
        assert_eq!(log.line("error", "pod \"\u{1b}[2J\"", None), "netcheck: pod \"\\u{1b}[2J\"");
    }
}
