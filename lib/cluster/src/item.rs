//! One object of a list: where it stands, for messages, and the pieces it is parsed with.

use std::fmt;
use std::net::IpAddr;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::warning::{Warning, Warnings};

/// What is read of an object before its kind is known.
#[derive(Debug, Default, Deserialize)]
#[serde(expecting = "a Kubernetes object")]
pub(crate) struct Head {
    #[serde(rename = "apiVersion")]
    pub(crate) api_version: Option<String>,
    pub(crate) kind: Option<String>,
    #[serde(default)]
    pub(crate) metadata: HeadMetadata,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct HeadMetadata {
    #[serde(default)]
    namespace: Option<serde_json::Value>,
    #[serde(default)]
    name: Option<serde_json::Value>,
}

/// An object that is being read.
pub(crate) struct Item<'a> {
    source: &'a str,
    index: usize,
    name: String,
    warnings: &'a mut Warnings,
}

impl<'a> Item<'a> {
    /// Object number `index` (from 0) of `source`.
    pub(crate) fn new(source: &'a str, index: usize, warnings: &'a mut Warnings) -> Self {
        Self { source, index, name: String::new(), warnings }
    }

    /// From here on messages bear the object's own name, as far as it has one.
    pub(crate) fn named(&mut self, kind: &str, metadata: &HeadMetadata) {
        let text = |value: &Option<serde_json::Value>| {
            value.as_ref().and_then(serde_json::Value::as_str).map(|text| text.chars().take(253).collect::<String>())
        };
        let name = text(&metadata.name).unwrap_or_else(|| "without name".to_owned());
        self.name = match text(&metadata.namespace) {
            Some(namespace) => format!(" ({kind} {namespace}/{name})"),
            None => format!(" ({kind} {name})"),
        };
    }

    /// Tells what is wrong.
    pub(crate) fn warn(&mut self, field: &str, reason: impl fmt::Display) {
        let place = format!("{}: item {}{}", self.source, self.index, self.name);
        self.warnings.push(Warning::new(place, field, reason));
    }

    /// Parses the object; one that does not fit its type is told and left out.
    pub(crate) fn parse<T: DeserializeOwned>(&mut self, json: &str) -> Option<T> {
        let mut json = serde_json::Deserializer::from_str(json);
        match serde_path_to_error::deserialize(&mut json) {
            Ok(object) => Some(object),
            Err(error) => {
                self.warn(&error.path().to_string(), without_place(error.inner()));
                None
            }
        }
    }

    /// Parses an address; an IPv4-mapped one is an IPv4 address, one that is none is told and left out.
    pub(crate) fn address(&mut self, field: &str, text: &str) -> Option<IpAddr> {
        match text.parse::<IpAddr>() {
            Ok(address) => Some(address.to_canonical()),
            Err(error) => {
                self.warn(field, format!("{:?}: {error}", text.chars().take(64).collect::<String>()));
                None
            }
        }
    }
}

/// The error without its line and column, which count from the start of the object and so mislead.
pub(crate) fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason).to_owned()
}
