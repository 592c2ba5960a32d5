//! What the user asks for: metrics by name, each with its options, as Hubble's configuration has them.

use std::str::FromStr;

use thiserror::Error;

use crate::context::{Contexts, Identifier};

/// Metrics of one name, with their options: `drop:sourceContext=pod|dns;labelsContext=source_ip,traffic_direction`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub(crate) group: Group,
    pub(crate) contexts: Contexts,
    /// `dns:query`.
    pub(crate) query: bool,
    /// `dns:ignoreAAAA`.
    pub(crate) ignore_aaaa: bool,
    /// `flows-to-world:any-drop`.
    pub(crate) any_drop: bool,
    /// `flows-to-world:port`.
    pub(crate) port: bool,
    /// `flows-to-world:syn-only`.
    pub(crate) syn_only: bool,
    /// `httpV2:exemplars=true`.
    pub(crate) exemplars: bool,
}

/// Metrics that are asked for together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Group {
    Dns,
    Drop,
    Tcp,
    Flow,
    PortDistribution,
    Icmp,
    Http,
    HttpV2,
    FlowsToWorld,
    Policy,
    Kafka,
    Chainkit,
}

/// Names of groups, as Hubble has them.
const GROUPS: [(&str, Group); 12] = [
    ("dns", Group::Dns),
    ("drop", Group::Drop),
    ("tcp", Group::Tcp),
    ("flow", Group::Flow),
    ("port-distribution", Group::PortDistribution),
    ("icmp", Group::Icmp),
    ("http", Group::Http),
    ("httpV2", Group::HttpV2),
    ("flows-to-world", Group::FlowsToWorld),
    ("policy", Group::Policy),
    ("kafka", Group::Kafka),
    ("chainkit", Group::Chainkit),
];

/// Why a configuration is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// There are no such metrics.
    #[error("there are no metrics {name:?}: there are {}", names())]
    Unknown {
        /// As it was given.
        name: String,
    },
    /// They have no such option.
    #[error("the metrics {name} have no option {option:?}")]
    Option {
        /// The metrics.
        name: String,
        /// As it was given.
        option: String,
    },
    /// An option that takes no value has one, or one that takes one has none or another.
    #[error("option {option} of the metrics {name}: {value:?} is not {expected}")]
    Value {
        /// The metrics.
        name: String,
        /// The option.
        option: String,
        /// As it was given.
        value: String,
        /// What there may be.
        expected: String,
    },
    /// The same series would be counted twice.
    #[error("the metrics {name} and {other} count the same: ask for one of them")]
    Twice {
        /// The metrics.
        name: String,
        /// Those that were asked for before.
        other: String,
    },
}

fn names() -> String {
    GROUPS.map(|(name, _)| name).join(", ")
}

impl Config {
    /// What is counted where nothing is asked for: all without options, `httpV2` in place of `http`.
    #[must_use]
    pub fn defaults() -> Vec<Self> {
        let wanted = GROUPS.into_iter().filter(|(_, group)| *group != Group::Http);
        wanted.map(|(_, group)| Self::plain(group)).collect()
    }

    /// Whether configurations go together.
    ///
    /// # Errors
    /// Where two of them count the same.
    pub fn check(configs: &[Self]) -> Result<(), ConfigError> {
        for (at, config) in configs.iter().enumerate() {
            let before = configs.iter().take(at);
            if let Some(other) = before.into_iter().find(|other| other.group.counts() == config.group.counts()) {
                return Err(ConfigError::Twice { name: config.name().to_owned(), other: other.name().to_owned() });
            }
        }
        Ok(())
    }

    /// The name of its metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        GROUPS.into_iter().find(|(_, group)| *group == self.group).map_or("", |(name, _)| name)
    }

    fn plain(group: Group) -> Self {
        Self {
            group,
            contexts: Contexts::default(),
            query: false,
            ignore_aaaa: false,
            any_drop: false,
            port: false,
            syn_only: false,
            exemplars: false,
        }
    }

    fn set(&mut self, option: &str, value: Option<&str>) -> Result<(), ConfigError> {
        let bad = |expected: &str| ConfigError::Value {
            name: self.name().to_owned(),
            option: option.to_owned(),
            value: value.unwrap_or_default().to_owned(),
            expected: expected.to_owned(),
        };
        let flag = || match value {
            None | Some("" | "true") => Ok(true),
            Some("false") => Ok(false),
            Some(_) => Err(bad("true or false")),
        };
        let list = || {
            let identifiers = value.unwrap_or_default().split('|').map(Identifier::from_name);
            identifiers.collect::<Option<Vec<_>>>().ok_or_else(|| bad(&Identifier::grammar()))
        };
        let option_in_small = option.to_ascii_lowercase();
        match (self.group, option_in_small.as_str()) {
            (_, "sourcecontext") => self.contexts.source = list()?,
            (_, "sourceegresscontext") => self.contexts.source_egress = list()?,
            (_, "sourceingresscontext") => self.contexts.source_ingress = list()?,
            (_, "destinationcontext") => self.contexts.destination = list()?,
            (_, "destinationegresscontext") => self.contexts.destination_egress = list()?,
            (_, "destinationingresscontext") => self.contexts.destination_ingress = list()?,
            (_, "labelscontext") => {
                // Helm wants commas escaped, and some leave them so.
                let labels = value.unwrap_or_default().split(',').map(|label| label.trim_end_matches('\\'));
                let labels: Option<Vec<_>> = labels.map(Contexts::label_from_name).collect();
                self.contexts.labels = labels.ok_or_else(|| bad(&Contexts::label_grammar()))?;
                self.contexts.labels.dedup();
            }
            (Group::Dns, "query") => self.query = flag()?,
            (Group::Dns, "ignoreaaaa") => self.ignore_aaaa = flag()?,
            (Group::FlowsToWorld, "any-drop") => self.any_drop = flag()?,
            (Group::FlowsToWorld, "port") => self.port = flag()?,
            (Group::FlowsToWorld, "syn-only") => self.syn_only = flag()?,
            (Group::Http | Group::HttpV2, "exemplars") => self.exemplars = flag()?,
            _ => return Err(ConfigError::Option { name: self.name().to_owned(), option: option.to_owned() }),
        }
        Ok(())
    }
}

impl Group {
    /// What it counts: both generations of HTTP's metrics bear the same names.
    const fn counts(self) -> Self {
        match self {
            Self::HttpV2 => Self::Http,
            other => other,
        }
    }
}

impl FromStr for Config {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let (name, options) = text.split_once(':').unwrap_or((text, ""));
        let found = GROUPS.into_iter().find(|(known, _)| *known == name);
        let (_, group) = found.ok_or_else(|| ConfigError::Unknown { name: name.to_owned() })?;
        let mut config = Self::plain(group);
        for option in options.split(';').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some((option, value)) => config.set(option, Some(value))?,
                None => config.set(option, None)?,
            }
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_understood_as_hubble_understands_them() {
        let config: Config =
            "dns:query;ignoreAAAA;sourceContext=pod|dns;labelsContext=source_ip\\,traffic_direction".parse().unwrap();
        assert_eq!(config.name(), "dns");
        assert!(config.query && config.ignore_aaaa);
        assert_eq!(config.contexts.source, [Identifier::Pod, Identifier::Dns]);
        assert_eq!(config.contexts.names(), ["source_ip", "traffic_direction", "source"]);
        assert!("httpV2:exemplars=true".parse::<Config>().unwrap().exemplars);
        assert!(!"httpV2:exemplars=false".parse::<Config>().unwrap().exemplars);
    }

    #[test]
    fn what_is_none_says_what_there_is() {
        for (text, says) in [
            ("drops", "there are no metrics \"drops\": there are dns, drop, tcp"),
            ("drop:query", "the metrics drop have no option \"query\""),
            ("drop:sourceContext=host", "option sourceContext of the metrics drop: \"host\" is not"),
            ("drop:sourceContext", "\"\" is not"),
            ("flow:labelsContext=source_port", "\"source_port\" is not"),
            ("dns:query=maybe", "\"maybe\" is not true or false"),
        ] {
            let error = text.parse::<Config>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn what_counts_the_same_is_asked_for_once() {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Config>>();
        assert!(Config::check(&parse(&["dns", "http", "chainkit"])).is_ok());
        let error = Config::check(&parse(&["http", "httpV2"])).unwrap_err().to_string();
        assert_eq!(error, "the metrics httpV2 and http count the same: ask for one of them");
        assert!(Config::check(&parse(&["dns", "dns:query"])).is_err());
        assert!(Config::check(&Config::defaults()).is_ok());
    }
}
