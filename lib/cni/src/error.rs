//! Errors in the form of the specification (section 5, "Error").

use std::fmt;

use serde::Serialize;

use crate::Version;

/// Error codes: 1 to 99 are the specification's, those from 100 on a plugin's own.
pub mod code {
    /// The version of the configuration is not supported.
    pub const INCOMPATIBLE_VERSION: u32 = 1;
    /// A field of the configuration is not supported.
    pub const UNSUPPORTED_FIELD: u32 = 2;
    /// The container is not known, or is gone.
    pub const UNKNOWN_CONTAINER: u32 = 3;
    /// A variable of the environment is missing or invalid.
    pub const INVALID_ENVIRONMENT: u32 = 4;
    /// Reading or writing failed.
    pub const IO: u32 = 5;
    /// The input is no JSON of the right shape.
    pub const DECODING: u32 = 6;
    /// The configuration makes no sense.
    pub const INVALID_CONFIGURATION: u32 = 7;
    /// A condition that passes: the runtime should try again later.
    pub const TRY_AGAIN: u32 = 11;
    /// STATUS: ADD would fail.
    pub const NOT_AVAILABLE: u32 = 50;
    /// STATUS: ADD would fail, and what is there already may be impaired.
    pub const NOT_AVAILABLE_IMPAIRED: u32 = 51;
    /// Ours: the datapath could not be put in place.
    pub const DATAPATH: u32 = 100;
    /// Ours, CHECK: what ADD has put in place is not as it was left.
    pub const CHANGED: u32 = 101;
}

/// What a plugin answers when it could not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginError {
    /// One of [`code`].
    pub code: u32,
    /// What went wrong, in a line.
    pub message: String,
    /// More of it, and what to do; may be empty.
    pub details: String,
}

impl PluginError {
    /// An error that says `message`.
    pub fn new(code: u32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: String::new() }
    }

    /// Adds the details.
    #[must_use]
    pub fn details(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }

    /// The error as the object that goes to stdout, in a version of the protocol.
    #[must_use]
    pub fn json(&self, version: Version) -> String {
        #[derive(Serialize)]
        struct Answer<'a> {
            #[serde(rename = "cniVersion")]
            cni_version: &'static str,
            code: u32,
            msg: &'a str,
            #[serde(skip_serializing_if = "str::is_empty")]
            details: &'a str,
        }
        let answer =
            Answer { cni_version: version.name(), code: self.code, msg: &self.message, details: &self.details };
        // Strings and a number always serialize.
        serde_json::to_string(&answer).unwrap_or_default()
    }
}

impl fmt::Display for PluginError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)?;
        if self.details.is_empty() { Ok(()) } else { write!(out, ": {}", self.details) }
    }
}

impl std::error::Error for PluginError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_the_object_of_the_specification() {
        let error = PluginError::new(code::INVALID_CONFIGURATION, "mode: \"x\"");
        assert_eq!(error.json(Version::V0_4_0), r#"{"cniVersion":"0.4.0","code":7,"msg":"mode: \"x\""}"#);
        let error = error.details("one of observe, audit, enforce");
        assert_eq!(
            error.json(Version::V1_1_0),
            r#"{"cniVersion":"1.1.0","code":7,"msg":"mode: \"x\"","details":"one of observe, audit, enforce"}"#
        );
    }
}
