//! `--pod [NAMESPACE/][NAME]`.

use std::fmt;

/// Pods whose name begins with a text, in a namespace or in any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPattern {
    namespace: Option<String>,
    prefix: String,
}

impl PodPattern {
    /// `NAME` is a pod of the namespace `default`, `NAMESPACE/NAME` of that one, `/NAME` of any; `NAMESPACE/` is every
    /// pod of a namespace. A name stands for all that begin with it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (namespace, prefix) = text.split_once('/').unwrap_or(("default", text));
        if prefix.contains('/') || (prefix.is_empty() && matches!(text, "" | "/")) {
            return None;
        }
        let namespace = (!namespace.is_empty()).then(|| namespace.to_owned());
        Some(Self { namespace, prefix: prefix.to_owned() })
    }

    /// Every pod.
    pub(super) const fn any() -> Self {
        Self { namespace: None, prefix: String::new() }
    }

    /// Whether it means a pod. Nothing means what has neither namespace nor name.
    #[must_use]
    pub fn matches(&self, namespace: &str, name: &str) -> bool {
        let named = !(namespace.is_empty() && name.is_empty());
        named && name.starts_with(&self.prefix) && self.namespace.as_deref().is_none_or(|wanted| wanted == namespace)
    }
}

impl fmt::Display for PodPattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.namespace.as_deref().unwrap_or_default(), self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_prefix_and_its_namespace_default_unless_told() {
        let means =
            |pattern: &str, namespace: &str, name: &str| PodPattern::parse(pattern).unwrap().matches(namespace, name);
        assert!(means("web", "default", "web-1"));
        assert!(!means("web", "shop", "web-1"));
        assert!(means("shop/web", "shop", "web-1"));
        assert!(!means("shop/web", "shop", "db-web"));
        assert!(means("shop/", "shop", "anything"));
        assert!(!means("shop/", "shop2", "anything"));
        assert!(means("/web", "shop", "web-1"));
        assert!(!means("shop/", "", ""));
        assert!(!means("/x", "", ""));
    }

    #[test]
    fn an_empty_pattern_and_one_of_three_parts_mean_nothing() {
        for bad in ["", "/", "a/b/c"] {
            assert_eq!(PodPattern::parse(bad), None, "{bad}");
        }
    }
}
