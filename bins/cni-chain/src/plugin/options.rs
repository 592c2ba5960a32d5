//! The plugin's own keys in its configuration.

use std::path::PathBuf;

use chainkit_abi::CONNECTIONS;
use chainkit_bpf::Kit;
use chainkit_cni::{PluginError, Raw, Request, code};
use serde::Deserialize;

use crate::node::Mode;
use crate::plugin::log::Level;

/// The least and the most connections that a table may be made for, in each address family.
pub(crate) const CONNECTION_LIMITS: std::ops::RangeInclusive<u32> = 64..=1 << 20;

/// The keys that are known, for messages.
const KNOWN: &str = "mode, attach, connections, onFailure, logFile, logLevel";

/// What a configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// `mode`.
    pub(crate) mode: Mode,
    /// `attach`: `None` is `auto`.
    pub(crate) kit: Option<Kit>,
    /// `connections`.
    pub(crate) connections: u32,
    /// `onFailure`: whether a pod may start whose interfaces could not be attached.
    pub(crate) lets_pass: bool,
    /// `logFile`.
    pub(crate) log_file: Option<PathBuf>,
    /// `logLevel`.
    pub(crate) log_level: Level,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mode: Mode::Observe,
            kit: None,
            connections: CONNECTIONS,
            lets_pass: false,
            log_file: None,
            log_level: Level::Info,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Attach {
    Auto,
    Tcx,
    Clsact,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum OnFailure {
    Fail,
    Pass,
}

impl Options {
    /// Reads a configuration.
    ///
    /// # Errors
    /// Names the first key that is not known, or whose value cannot be used.
    pub(crate) fn read(request: &Request) -> Result<Self, PluginError> {
        let mut options = Self::default();
        for (key, value) in request.own() {
            options.set(key, value)?;
        }
        if options.lets_pass && options.mode == Mode::Enforce {
            return Err(PluginError::new(
                code::INVALID_CONFIGURATION,
                "onFailure: \"pass\" does not go with mode \"enforce\"",
            )
            .details("a pod that is to be enforced must not start without"));
        }
        Ok(options)
    }

    /// What can be used of a configuration, for the verbs that must not fail.
    pub(crate) fn lenient(request: &Request) -> Self {
        let mut options = Self::default();
        for (key, value) in request.own() {
            let _ = options.set(key, value);
        }
        options
    }

    fn set(&mut self, key: &str, value: &Raw) -> Result<(), PluginError> {
        match key {
            "mode" => self.mode = read(key, value, "one of observe, audit, enforce")?,
            "attach" => {
                self.kit = match read(key, value, "one of auto, tcx, clsact")? {
                    Attach::Auto => None,
                    Attach::Tcx => Some(Kit::Tcx),
                    Attach::Clsact => Some(Kit::Clsact),
                }
            }
            "connections" => {
                let wanted = "a number from 64 to 1048576";
                self.connections = read(key, value, wanted)?;
                if !CONNECTION_LIMITS.contains(&self.connections) {
                    self.connections = CONNECTIONS;
                    return Err(wrong(key, value, wanted));
                }
            }
            "onFailure" => self.lets_pass = matches!(read(key, value, "fail or pass")?, OnFailure::Pass),
            "logLevel" => self.log_level = read(key, value, "one of error, warning, info, debug")?,
            "logFile" => {
                let path: PathBuf = read(key, value, "an absolute path")?;
                if !path.is_absolute() {
                    return Err(wrong(key, value, "an absolute path"));
                }
                self.log_file = Some(path);
            }
            _ => {
                let shown: String = key.chars().take(80).collect();
                return Err(PluginError::new(code::INVALID_CONFIGURATION, format!("{shown}: this key is not known"))
                    .details(format!("known are {KNOWN}")));
            }
        }
        Ok(())
    }
}

fn read<'a, T: Deserialize<'a>>(key: &str, value: &'a Raw, wanted: &str) -> Result<T, PluginError> {
    value.read().map_err(|_| wrong(key, value, wanted))
}

fn wrong(key: &str, value: &Raw, wanted: &str) -> PluginError {
    let shown: String = value.text().chars().take(80).collect();
    PluginError::new(code::INVALID_CONFIGURATION, format!("{key}: {shown} cannot be used"))
        .details(format!("wanted is {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(keys: &str) -> Result<Options, PluginError> {
        Options::read(&Request::parse(format!(r#"{{"name":"n","cniVersion":"1.0.0"{keys}}}"#).as_bytes()).unwrap())
    }

    #[test]
    fn all_keys_have_a_default() {
        assert_eq!(read_text("").unwrap(), Options::default());
        let options = read_text(
            r#","mode":"enforce","attach":"clsact","connections":512,"onFailure":"fail","logFile":"/var/log/x","logLevel":"debug""#,
        )
        .unwrap();
        assert_eq!((options.mode, options.kit, options.connections), (Mode::Enforce, Some(Kit::Clsact), 512));
        assert_eq!((options.log_level, options.log_file), (Level::Debug, Some(PathBuf::from("/var/log/x"))));
    }

    #[test]
    fn a_key_that_cannot_be_used_is_named() {
        for (keys, key) in [
            (r#","mode":"enforced""#, "mode"),
            (r#","mode":1"#, "mode"),
            (r#","attach":"xdp""#, "attach"),
            (r#","connections":0"#, "connections"),
            (r#","connections":63"#, "connections"),
            (r#","connections":-1"#, "connections"),
            (r#","connections":"4096""#, "connections"),
            (r#","connections":99999999999"#, "connections"),
            (r#","logFile":"x.log""#, "logFile"),
            (r#","logLevel":"loud""#, "logLevel"),
            (r#","onFailure":true"#, "onFailure"),
            (r#","onFailure":"pass","mode":"enforce""#, "onFailure"),
            (r#","Mode":"audit""#, "Mode"),
            (r#","colour":null"#, "colour"),
        ] {
            let error = read_text(keys).unwrap_err();
            assert_eq!(error.code, code::INVALID_CONFIGURATION, "{keys}");
            assert!(error.message.starts_with(&format!("{key}:")), "{keys}: {error}");
        }
    }

    #[test]
    fn what_can_be_used_is_used_where_nothing_may_fail() {
        let text = r#"{"mode":"audit","colour":1,"connections":0,"logFile":"/x"}"#;
        let options = Options::lenient(&Request::parse(text.as_bytes()).unwrap());
        assert_eq!(
            (options.mode, options.connections, options.log_file),
            (Mode::Audit, CONNECTIONS, Some("/x".into()))
        );
    }
}
