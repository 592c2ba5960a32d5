//! What a runtime says in the environment.

use std::path::PathBuf;

use crate::{PluginError, code};

/// The longest value of a variable that is taken, in bytes.
const MAX_VALUE: usize = 32 * 1024;
/// The longest interface name of Linux (`IFNAMSIZ` less the terminating zero, linux/if.h).
const MAX_INTERFACE_NAME: usize = 15;
/// The longest identifier of a container or a network that is taken; runtimes use 64 hexadecimal digits.
const MAX_IDENTIFIER: usize = 200;

/// A verb of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// A container joins the network.
    Add,
    /// It leaves it.
    Del,
    /// Is all as ADD left it? From 0.4.0.
    Check,
    /// Everything but what is listed is gone. From 1.1.0.
    Gc,
    /// Would ADD work? From 1.1.0.
    Status,
    /// Which versions are spoken here?
    Version,
}

impl Command {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Add, Self::Del, Self::Check, Self::Gc, Self::Status, Self::Version];

    /// As `CNI_COMMAND` has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }
}

/// The variables of one call, read once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    container_id: String,
    netns: String,
    ifname: String,
    args: String,
}

/// What `CNI_ARGS` says of the pod; empty where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodArgs {
    /// `K8S_POD_NAMESPACE`.
    pub namespace: String,
    /// `K8S_POD_NAME`.
    pub name: String,
    /// `K8S_POD_UID`.
    pub uid: String,
    /// `K8S_POD_INFRA_CONTAINER_ID`.
    pub infra_container_id: String,
}

impl Environment {
    /// Reads the variables through `get`. One that is too long counts as not set.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Self {
        let value = |name| get(name).filter(|value| value.len() <= MAX_VALUE).unwrap_or_default();
        Self {
            container_id: value("CNI_CONTAINERID"),
            netns: value("CNI_NETNS"),
            ifname: value("CNI_IFNAME"),
            args: value("CNI_ARGS"),
        }
    }

    /// The verb of `CNI_COMMAND`.
    ///
    /// # Errors
    /// Where there is none of that name.
    pub fn command(name: &str) -> Result<Command, PluginError> {
        Command::ALL
            .into_iter()
            .find(|command| command.name() == name)
            .ok_or_else(|| invalid("CNI_COMMAND", name, "is none of ADD, DEL, CHECK, GC, STATUS, VERSION"))
    }

    /// `CNI_CONTAINERID`.
    ///
    /// # Errors
    /// Where it is missing or no identifier (specification 1.1.0, section 2, "Parameters").
    pub fn container_id(&self) -> Result<&str, PluginError> {
        match self.container_id.as_str() {
            "" => Err(missing("CNI_CONTAINERID")),
            id if is_identifier(id) => Ok(id),
            id => Err(invalid(
                "CNI_CONTAINERID",
                id,
                "is no identifier: letters, digits, '_', '.' and '-', the first a letter or digit, 200 at most",
            )),
        }
    }

    /// `CNI_IFNAME`.
    ///
    /// # Errors
    /// Where it is missing or no name that Linux takes.
    pub fn ifname(&self) -> Result<&str, PluginError> {
        let forbidden = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
        match self.ifname.as_str() {
            "" => Err(missing("CNI_IFNAME")),
            name if name.len() > MAX_INTERFACE_NAME => {
                Err(invalid("CNI_IFNAME", name, "is longer than the 15 bytes of an interface name"))
            }
            name if name == "." || name == ".." || name.contains(forbidden) => {
                Err(invalid("CNI_IFNAME", name, "is no interface name"))
            }
            name => Ok(name),
        }
    }

    /// `CNI_NETNS`.
    ///
    /// # Errors
    /// Where it is missing or no absolute path.
    pub fn netns(&self) -> Result<PathBuf, PluginError> {
        match self.netns.as_str() {
            "" => Err(missing("CNI_NETNS")),
            path if path.starts_with('/') => Ok(path.into()),
            path => Err(invalid("CNI_NETNS", path, "is no absolute path")),
        }
    }

    /// `CNI_NETNS` of a DEL, where it may be missing, and where what cannot be used counts as missing.
    #[must_use]
    pub fn netns_if_any(&self) -> Option<PathBuf> {
        self.netns().ok()
    }

    /// The pod that `CNI_ARGS` names. Unknown arguments and those without a value are left alone, as the runtimes' own
    /// plugins do it under `IgnoreUnknown`.
    #[must_use]
    pub fn pod(&self) -> PodArgs {
        let mut pod = PodArgs::default();
        for (key, value) in self.args.split(';').filter_map(|pair| pair.split_once('=')) {
            let place = match key {
                "K8S_POD_NAMESPACE" => &mut pod.namespace,
                "K8S_POD_NAME" => &mut pod.name,
                "K8S_POD_UID" => &mut pod.uid,
                "K8S_POD_INFRA_CONTAINER_ID" => &mut pod.infra_container_id,
                _ => continue,
            };
            value.clone_into(place);
        }
        pod
    }
}

/// Whether a text is an identifier of a container or a network.
pub(crate) fn is_identifier(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    text.len() <= MAX_IDENTIFIER
        && text.bytes().all(good)
        && text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
}

fn missing(name: &str) -> PluginError {
    PluginError::new(code::INVALID_ENVIRONMENT, format!("{name} is not set"))
        .details("a runtime sets it; see the CNI specification, section 2")
}

fn invalid(name: &str, value: &str, why: &str) -> PluginError {
    let shown: String = value.chars().take(80).collect();
    PluginError::new(code::INVALID_ENVIRONMENT, format!("{name}={shown:?} {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        Environment::read(|name| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn what_a_kubelet_says_is_read() {
        let environment = environment(&[
            ("CNI_CONTAINERID", "3f2a"),
            ("CNI_NETNS", "/var/run/netns/cni-1"),
            ("CNI_IFNAME", "eth0"),
            (
                "CNI_ARGS",
                "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=3f2a;K8S_POD_UID=u=1",
            ),
        ]);
        assert_eq!(environment.container_id().unwrap(), "3f2a");
        assert_eq!(environment.ifname().unwrap(), "eth0");
        assert_eq!(environment.netns().unwrap(), PathBuf::from("/var/run/netns/cni-1"));
        let pod = environment.pod();
        assert_eq!((pod.namespace.as_str(), pod.name.as_str(), pod.uid.as_str()), ("shop", "web-0", "u=1"));
        assert_eq!(pod.infra_container_id, "3f2a");
    }

    #[test]
    fn what_is_missing_or_cannot_be_is_named() {
        let error = environment(&[]).container_id().unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (4, "CNI_CONTAINERID is not set"));
        let long = "x".repeat(201);
        for id in ["-a", ".a", "a/b", "a b", "ä", long.as_str()] {
            let error = environment(&[("CNI_CONTAINERID", id)]).container_id().unwrap_err();
            assert!(error.code == 4 && error.message.contains("CNI_CONTAINERID"), "{id}: {error}");
        }
        for name in ["", "..", "a/b", "a:b", "a b", "sixteen-bytes-xx", "a\n"] {
            let error = environment(&[("CNI_IFNAME", name)]).ifname().unwrap_err();
            assert!(error.code == 4 && error.message.contains("CNI_IFNAME"), "{name}: {error}");
        }
        assert_eq!(environment(&[("CNI_NETNS", "netns/x")]).netns().unwrap_err().code, 4);
        assert_eq!(environment(&[]).netns_if_any(), None);
        assert_eq!(Environment::command("add").unwrap_err().code, 4);
    }

    #[test]
    fn arguments_without_meaning_change_nothing() {
        for args in ["", ";", "=", "a", "K8S_POD_NAME", ";;K8S_POD=x;", &"K8S_POD_NAME=".repeat(9000)] {
            assert_eq!(environment(&[("CNI_ARGS", args)]).pod(), PodArgs::default(), "{args:.80}");
        }
    }
}
