//! How verdicts are used: of the node, of a namespace, of a pod.

use std::collections::{BTreeMap, BTreeSet};

use chainkit_cli::{Log, RootArgs};
use chainkit_cluster::model::{Cluster, Mode};
use clap::{Args, ValueEnum};
use serde_json::Value;

/// Which node it is, and how verdicts are used there.
#[derive(Args, Clone, Debug)]
pub(crate) struct NodeArgs {
    #[command(flatten)]
    pub(crate) root: RootArgs,

    #[command(flatten)]
    pub(crate) how: How,
}

/// How policy is to be put in force.
#[derive(Args, Clone, Debug)]
pub(crate) struct How {
    /// The name of this node in Kubernetes [default: the node that has an address of this host, or runs its pods, or is called as the host is]
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,

    /// How verdicts are used on this node
    #[arg(long, value_name = "MODE", value_enum, default_value_t = Verdicts::Enforce)]
    pub(crate) mode: Verdicts,

    /// How they are used in a namespace, whatever its annotation chainkit.dev/mode says (repeatable)
    #[arg(long, value_name = "NS=MODE", value_parser = of_namespace)]
    namespace_mode: Vec<(String, Verdicts)>,

    /// A namespace whose pods are not judged at all (repeatable)
    #[arg(long, value_name = "NS", value_parser = namespace)]
    exclude_namespace: Vec<String>,

    /// What becomes of a pod that is not among the objects [default: isolate where a policy could select it by its namespace]
    #[arg(long, value_name = "WHAT", value_enum)]
    pub(crate) unknown_pods: Option<Unknown>,
}

/// How verdicts are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Verdicts {
    /// Nothing is judged
    Observe,
    /// What would be denied is reported, and passes
    Audit,
    /// What is denied is dropped
    Enforce,
}

/// What becomes of a pod of which nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Unknown {
    /// It is isolated until its object arrives
    Isolate,
    /// It is not judged until its object arrives
    Observe,
}

impl From<Verdicts> for Mode {
    fn from(verdicts: Verdicts) -> Self {
        match verdicts {
            Verdicts::Observe => Self::Observe,
            Verdicts::Audit => Self::Audit,
            Verdicts::Enforce => Self::Enforce,
        }
    }
}

/// The name of a namespace, which is a label of DNS (RFC 1123, section 2.1): so no namespace has any other.
fn namespace(text: &str) -> Result<String, String> {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_label =
        (1..=63).contains(&text.len()) && text.bytes().all(is_inner) && !text.starts_with('-') && !text.ends_with('-');
    if is_label {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is no name of a namespace: at most 63 of a-z, 0-9 and -, with no - at either end"))
}

fn of_namespace(text: &str) -> Result<(String, Verdicts), String> {
    let wrong = || "a namespace and its mode are NS=MODE, as in shop=audit".to_owned();
    let (name, mode) = text.split_once('=').ok_or_else(wrong)?;
    Ok((
        namespace(name)?,
        Verdicts::from_str(mode, false).map_err(|_| format!("{mode:?} is none of observe, audit, enforce"))?,
    ))
}

/// The modes, worked out.
#[derive(Clone, Debug)]
pub(crate) struct Modes {
    node: Mode,
    namespaces: BTreeMap<String, Mode>,
    excluded: BTreeSet<String>,
}

impl Modes {
    /// As they were asked for.
    pub(crate) fn new(how: &How) -> Self {
        let namespaces = how.namespace_mode.iter().map(|(namespace, mode)| (namespace.clone(), (*mode).into()));
        Self {
            node: how.mode.into(),
            namespaces: namespaces.collect(),
            excluded: how.exclude_namespace.iter().cloned().collect(),
        }
    }

    /// Of a namespace with this annotation.
    pub(crate) fn of_namespace(&self, namespace: &str, annotation: Option<Mode>) -> Mode {
        if self.excluded.contains(namespace) {
            return Mode::Observe;
        }
        self.namespaces.get(namespace).copied().or(annotation).unwrap_or(self.node)
    }

    /// Of a pod with this annotation, in a namespace with that one. A pod may be tightened, and not loosened; where its namespace is
    /// left out it is so, too.
    pub(crate) fn of_pod(&self, namespace: &str, of_namespace: Option<Mode>, annotation: Option<Mode>) -> Mode {
        let mode = self.of_namespace(namespace, of_namespace);
        if self.excluded.contains(namespace) { mode } else { mode.max(annotation.unwrap_or(mode)) }
    }

    /// Of a pod of which not even the namespace is known.
    pub(crate) const fn of_others(&self) -> Mode {
        self.node
    }
}

impl How {
    /// Tells of namespaces that were named and are not among the objects: a slip of the pen, or they come later.
    pub(crate) fn tell_missing(&self, cluster: &Cluster, log: &Log) {
        let named = self.namespace_mode.iter().map(|(name, _)| ("--namespace-mode", name));
        let named = named.chain(self.exclude_namespace.iter().map(|name| ("--exclude-namespace", name)));
        let is_known = |name: &str| {
            cluster.namespaces.iter().any(|namespace| namespace.name == name)
                || cluster.workloads.iter().any(|workload| workload.namespace == name)
        };
        for (option, name) in named.filter(|(_, name)| !is_known(name)) {
            log.warning(format!(
                "{option} {name}: no such namespace is among the objects; it counts once there is one"
            ));
        }
    }

    /// As a marker keeps it, by the long names of the options.
    pub(crate) fn kept(&self) -> BTreeMap<String, Value> {
        let modes: Vec<String> = self
            .namespace_mode
            .iter()
            .map(|(namespace, mode)| format!("{namespace}={}", Mode::from(*mode).name()))
            .collect();
        let mut kept = BTreeMap::from([("mode".to_owned(), Value::from(Mode::from(self.mode).name()))]);
        if !modes.is_empty() {
            kept.insert("namespace-mode".to_owned(), Value::from(modes));
        }
        if !self.exclude_namespace.is_empty() {
            kept.insert("exclude-namespace".to_owned(), Value::from(self.exclude_namespace.clone()));
        }
        if let Some(unknown) = self.unknown_pods {
            let name = if unknown == Unknown::Isolate { "isolate" } else { "observe" };
            kept.insert("unknown-pods".to_owned(), Value::from(name));
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modes(arguments: &[&str]) -> Modes {
        #[derive(clap::Parser)]
        struct Asked {
            #[command(flatten)]
            how: How,
        }
        let asked = <Asked as clap::Parser>::try_parse_from([&["test"], arguments].concat()).unwrap();
        Modes::new(&asked.how)
    }

    #[test]
    fn a_pod_may_tighten_and_not_loosen() {
        let modes = modes(&["--mode", "audit"]);
        assert_eq!(modes.of_pod("shop", None, None), Mode::Audit);
        assert_eq!(modes.of_pod("shop", None, Some(Mode::Enforce)), Mode::Enforce);
        assert_eq!(modes.of_pod("shop", None, Some(Mode::Observe)), Mode::Audit);
    }

    #[test]
    fn a_namespace_may_be_loosened_by_its_annotation_and_that_be_overruled() {
        let modes = modes(&["--namespace-mode", "dev=observe"]);
        assert_eq!(modes.of_pod("shop", Some(Mode::Audit), None), Mode::Audit);
        assert_eq!(modes.of_pod("dev", Some(Mode::Enforce), None), Mode::Observe);
        assert_eq!(modes.of_pod("dev", None, Some(Mode::Enforce)), Mode::Enforce);
        assert_eq!(modes.of_others(), Mode::Enforce);
    }

    #[test]
    fn what_can_be_no_namespace_is_refused() {
        for name in ["kube-system", "a", "0", "x1-y", &"n".repeat(63)] {
            assert_eq!(namespace(name).unwrap(), name);
            assert_eq!(of_namespace(&format!("{name}=audit")).unwrap(), (name.to_owned(), Verdicts::Audit));
        }
        for name in ["", "Shop", "shop.web", "shop/web", "-a", "a-", "a b", "ä", "a,b", &"n".repeat(64)] {
            assert!(namespace(name).is_err(), "{name}");
            assert!(of_namespace(&format!("{name}=audit")).is_err(), "{name}");
        }
        assert!(of_namespace("shop").is_err() && of_namespace("shop=on").is_err());
    }

    #[test]
    fn who_is_left_out_is_so_whatever_a_pod_says() {
        let modes = modes(&["--exclude-namespace", "kube-system"]);
        assert_eq!(modes.of_pod("kube-system", Some(Mode::Enforce), Some(Mode::Enforce)), Mode::Observe);
        assert_eq!(modes.of_pod("shop", None, None), Mode::Enforce);
    }
}
