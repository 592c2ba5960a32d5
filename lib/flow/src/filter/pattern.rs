//! Names with wildcards: of DNS, nodes, clusters and policies.

use crate::model::Policy;

/// A name in which each `*` stands for any text, whatever the case of letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Glob(Box<str>);

impl Glob {
    /// Of a DNS name; one dot at its end is dropped.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let name = text.trim();
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.is_empty() || name.ends_with('.') {
            return Err("expected a name such as api.example.com or *.example.com".to_owned());
        }
        match name.chars().find(|c| !(c.is_ascii_alphanumeric() || "-_.*".contains(*c))) {
            Some(c) => Err(format!("{c:?} cannot be in a name: use letters, digits, - _ . and * for any text")),
            None => Ok(Self(name.into())),
        }
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name).as_bytes();
        let pattern = self.0.as_bytes();
        // Where the last star stands, and where in the name what follows it is tried: only the last star ever has to
        // take more, so the work is bounded by the product of both lengths.
        let (mut p, mut n, mut retry) = (0, 0, None);
        loop {
            match (pattern.get(p), name.get(n)) {
                (Some(b'*'), _) => {
                    retry = Some((p + 1, n));
                    p += 1;
                }
                (Some(wanted), Some(is)) if wanted.eq_ignore_ascii_case(is) => (p, n) = (p + 1, n + 1),
                (None, None) => return true,
                _ => match retry {
                    Some((after_star, taken)) if taken < name.len() => {
                        retry = Some((after_star, taken + 1));
                        (p, n) = (after_star, taken + 1);
                    }
                    _ => return false,
                },
            }
        }
    }
}

/// `[CLUSTER/][NODE]`, each with wildcards; one that is left out is any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NodePattern {
    cluster: Option<Glob>,
    node: Option<Glob>,
}

/// The cluster of a node whose name tells none, as in Cilium.
const DEFAULT_CLUSTER: &str = "default";

impl NodePattern {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (cluster, node) = text.split_once('/').unwrap_or(("", text));
        if node.contains('/') || (cluster.is_empty() && node.is_empty()) {
            return Err("expected [CLUSTER/]NODE, such as k8s* or test/*.example.com".to_owned());
        }
        let glob = |text: &str| if text.is_empty() { Ok(None) } else { Glob::parse(text).map(Some) };
        Ok(Self { cluster: glob(cluster)?, node: glob(node)? })
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        let (cluster, node) = name.split_once('/').unwrap_or((DEFAULT_CLUSTER, name));
        let holds = |glob: &Option<Glob>, name| glob.as_ref().is_none_or(|glob| glob.matches(name));
        !name.is_empty() && holds(&self.cluster, cluster) && holds(&self.node, node)
    }
}

/// `NAMESPACE/NAME` of a policy: `/NAME` is one of the cluster, `NAME` one of any namespace or of the cluster, and
/// `NAMESPACE/` any of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PolicyPattern {
    namespace: Option<Box<str>>,
    name: Option<Box<str>>,
}

impl PolicyPattern {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, text),
        };
        if name.contains('/') || (name.is_empty() && namespace.is_none_or(str::is_empty)) {
            return Err("expected NAMESPACE/NAME, NAME of any namespace, or /NAME of the cluster".to_owned());
        }
        Ok(Self { namespace: namespace.map(Into::into), name: (!name.is_empty()).then(|| name.into()) })
    }

    pub(super) fn matches(&self, policy: &Policy) -> bool {
        self.namespace.as_deref().is_none_or(|namespace| namespace == policy.namespace)
            && self.name.as_deref().is_none_or(|name| name == policy.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_star_stands_for_any_text() {
        let matches = |pattern: &str, name: &str| Glob::parse(pattern).unwrap().matches(name);
        for (pattern, name) in [
            ("a.example.com", "a.example.com"),
            ("A.Example.com.", "a.example.COM."),
            ("*.example.com", "a.b.example.com"),
            ("a*c*e", "abcde"),
            ("*", ""),
            ("a**", "a"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("*.example.com", "example.com"), ("a*c", "abcd"), ("a.b", "aXb"), ("a", "")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
        for bad in ["", ".", "a..", "a b", "a/b", "é"] {
            assert!(Glob::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nodes_of_no_cluster_are_of_the_default_one() {
        let matches = |pattern: &str, name: &str| NodePattern::parse(pattern).unwrap().matches(name);
        assert!(matches("k8s*", "k8s1") && matches("k8s*", "east/k8s1"));
        assert!(matches("east/*", "east/k8s1") && matches("east/", "east/k8s1") && !matches("east/", "k8s1"));
        assert!(matches("default/k8s1", "k8s1") && !matches("k8s1", "k8s10") && !matches("*", ""));
        for bad in ["", "/", "a/b/c", "a b"] {
            assert!(NodePattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn policies_are_meant_by_namespace_and_name() {
        let matches = |pattern: &str, namespace: &str, name: &str| {
            let policy = Policy { name: name.into(), namespace: namespace.into(), ..Policy::default() };
            PolicyPattern::parse(pattern).unwrap().matches(&policy)
        };
        assert!(matches("shop/deny", "shop", "deny") && !matches("shop/deny", "shop", "deny-all"));
        assert!(matches("deny", "shop", "deny") && matches("deny", "", "deny"));
        assert!(matches("/deny", "", "deny") && !matches("/deny", "shop", "deny"));
        assert!(matches("shop/", "shop", "x") && !matches("shop/", "", "x"));
        for bad in ["", "/", "a/b/c"] {
            assert!(PolicyPattern::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_plain_meaning_of_a_star(pattern in "[ab*]{1,8}", name in "[ab]{0,8}") {
            fn means(pattern: &str, name: &str) -> bool {
                match pattern.split_at_checked(1) {
                    None => name.is_empty(),
                    Some(("*", rest)) => (0..=name.len()).any(|taken| means(rest, &name[taken..])),
                    Some((c, rest)) => name.strip_prefix(c).is_some_and(|name| means(rest, name)),
                }
            }
            prop_assert_eq!(Glob::parse(&pattern).unwrap().matches(&name), means(&pattern, &name));
        }
    }
}
