//! What a runtime wants attached: one interface of one container.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// One interface of one container, as a runtime names it to plugins.
#[derive(Clone, Debug, PartialEq)]
pub struct Attachment {
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_NETNS`; empty where there is none any more.
    pub netns: PathBuf,
    /// `CNI_IFNAME`.
    pub ifname: String,
    /// `CNI_ARGS`, in order.
    pub args: Vec<(String, String)>,
    /// Arguments of capabilities, by the name of the capability; a plugin gets those that its config asks for.
    pub capabilities: Map<String, Value>,
}

impl Attachment {
    /// Of `eth0`, with nothing but what the specification requires, as `ctr` has it.
    #[must_use]
    pub fn new(container_id: impl Into<String>, netns: impl AsRef<Path>) -> Self {
        Self {
            container_id: container_id.into(),
            netns: netns.as_ref().to_owned(),
            ifname: "eth0".to_owned(),
            args: Vec::new(),
            capabilities: Map::new(),
        }
    }

    /// Adds what the kubelet's runtime tells of a pod in `CNI_ARGS`.
    #[must_use]
    pub fn of_pod(mut self, namespace: &str, name: &str, uid: &str) -> Self {
        let told = [
            ("IgnoreUnknown", "1"),
            ("K8S_POD_NAMESPACE", namespace),
            ("K8S_POD_NAME", name),
            ("K8S_POD_INFRA_CONTAINER_ID", &self.container_id),
            ("K8S_POD_UID", uid),
        ];
        self.args = told.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        self
    }

    /// Sets the argument of a capability, as in `("portMappings", [{"hostPort": …}])`.
    #[must_use]
    pub fn capability(mut self, name: &str, argument: Value) -> Self {
        self.capabilities.insert(name.to_owned(), argument);
        self
    }

    /// The same without its namespace, as runtimes say it when the namespace is gone.
    #[must_use]
    pub fn without_netns(mut self) -> Self {
        self.netns = PathBuf::new();
        self
    }

    /// The value of `CNI_ARGS`.
    #[must_use]
    pub fn args_text(&self) -> String {
        let pairs: Vec<String> = self.args.iter().map(|(key, value)| format!("{key}={value}")).collect();
        pairs.join(";")
    }
}
