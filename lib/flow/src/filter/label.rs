//! `--label SELECTOR`: Kubernetes label selectors over Hubble's labels.
//!
//! The grammar is that of kubectl (`k=v`, `k!=v`, `k in (a,b)`, `k notin (a,b)`, `k`, `!k`, `k>1`, `k<1`, comma: and). A
//! label has a source, `k8s:app=web`; a key with a source asks for that one, without for any.

use std::str::FromStr;

/// Requirements that must all hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    source: Option<String>,
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Exists,
    Missing,
    In(Vec<String>),
    /// Also holds where there is no such label.
    NotIn(Vec<String>),
    Greater(i64),
    Less(i64),
}

impl Selector {
    pub(super) fn matches(&self, labels: &[String]) -> bool {
        self.0.iter().all(|requirement| requirement.matches(labels))
    }
}

impl Requirement {
    fn matches(&self, labels: &[String]) -> bool {
        let mut values = labels.iter().filter_map(|label| {
            let (source, key, value) = split(label);
            (key == self.key && self.source.as_deref().is_none_or(|wanted| wanted == source)).then_some(value)
        });
        match &self.test {
            Test::Exists => values.next().is_some(),
            Test::Missing => values.next().is_none(),
            Test::In(wanted) => values.any(|value| wanted.iter().any(|wanted| wanted == value)),
            Test::NotIn(unwanted) => !values.any(|value| unwanted.iter().any(|unwanted| unwanted == value)),
            Test::Greater(bound) => values.any(|value| value.parse::<i64>().is_ok_and(|value| value > *bound)),
            Test::Less(bound) => values.any(|value| value.parse::<i64>().is_ok_and(|value| value < *bound)),
        }
    }
}

/// Source, key and value of a label.
fn split(label: &str) -> (&str, &str, &str) {
    let (name, value) = label.split_once('=').unwrap_or((label, ""));
    let (source, key) = name.split_once(':').unwrap_or(("", name));
    (source, key, value)
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut rest = text.trim();
        let mut requirements = Vec::new();
        loop {
            let requirement;
            (requirement, rest) = parse_requirement(rest)?;
            requirements.push(requirement);
            rest = rest.trim_start();
            match rest.strip_prefix(',') {
                Some(next) => rest = next.trim_start(),
                None if rest.is_empty() => return Ok(Self(requirements)),
                None => return Err(format!("expected a comma before {rest:?}")),
            }
        }
    }
}

fn parse_requirement(text: &str) -> Result<(Requirement, &str), String> {
    if let Some(text) = text.strip_prefix('!') {
        let (name, rest) = word(text.trim_start());
        return Ok((requirement(name, Test::Missing)?, rest));
    }
    let (name, rest) = word(text);
    let rest = rest.trim_start();
    if let Some((operator, rest)) = ["==", "!=", "=", ">", "<"].iter().find_map(|o| Some((*o, rest.strip_prefix(o)?))) {
        let (value, rest) = word(rest.trim_start());
        let values = vec![value.to_owned()];
        let number = || value.parse().map_err(|_| format!("{value:?} after {operator} is no integer"));
        let test = match operator {
            "!=" => Test::NotIn(values),
            ">" => Test::Greater(number()?),
            "<" => Test::Less(number()?),
            _ => Test::In(values),
        };
        return Ok((requirement(name, test)?, rest));
    }
    let (operator, after) = word(rest);
    match operator {
        "in" => set(after).and_then(|(values, rest)| Ok((requirement(name, Test::In(values))?, rest))),
        "notin" => set(after).and_then(|(values, rest)| Ok((requirement(name, Test::NotIn(values))?, rest))),
        "" => Ok((requirement(name, Test::Exists)?, rest)),
        _ => Err(format!("unknown operator {operator:?}: use =, !=, in, notin, >, < or none")),
    }
}

/// Text up to what cannot be part of a key or value.
fn word(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| c.is_whitespace() || "(),!=<>".contains(c)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

fn requirement(name: &str, test: Test) -> Result<Requirement, String> {
    let (source, key) = match name.split_once(':') {
        Some((source, key)) => (Some(source.to_owned()).filter(|source| source != "any"), key),
        None => (None, name),
    };
    if key.is_empty() {
        return Err("a key is missing".to_owned());
    }
    Ok(Requirement { source, key: key.to_owned(), test })
}

fn set(text: &str) -> Result<(Vec<String>, &str), String> {
    let missing = || "after in and notin stands a list such as (a,b)".to_owned();
    let (values, rest) =
        text.trim_start().strip_prefix('(').and_then(|text| text.split_once(')')).ok_or_else(missing)?;
    let values: Vec<String> = values.split(',').map(|value| value.trim().to_owned()).collect();
    match values.iter().find(|value| word(value).0 != value.as_str()) {
        Some(value) => Err(format!("{value:?} cannot be a value")),
        None => Ok((values, rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn holds(selector: &str, labels: &[&str]) -> bool {
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        selector.parse::<Selector>().unwrap_or_else(|error| panic!("{selector}: {error}")).matches(&labels)
    }

    #[test]
    fn the_operators_of_kubectl_are_understood() {
        let labels = ["k8s:app=web", "k8s:tier=front", "k8s:shard=7", "reserved:host"];
        for yes in [
            "app=web",
            "app==web",
            "app = web",
            "app!=db",
            "other!=x",
            "app",
            "!other",
            "! other",
            "app in (db, web)",
            "app notin (db)",
            "other notin (db)",
            "shard>6",
            "shard<8",
            "app=web,tier=front",
            "app in (web),tier , !other",
            "k8s:app=web",
            "any:app=web",
            "reserved:host",
            "host",
        ] {
            assert!(holds(yes, &labels), "{yes}");
        }
        for no in [
            "app=db",
            "app!=web",
            "!app",
            "other",
            "app in (db)",
            "app notin (web)",
            "shard>7",
            "shard<7",
            "app>1",
            "app=web,tier=back",
            "container:app=web",
            "reserved:app",
            "app=",
        ] {
            assert!(!holds(no, &labels), "{no}");
        }
        assert!(holds("k8s:x=", &["k8s:x="]));
        assert!(holds("app.kubernetes.io/name=web", &["k8s:app.kubernetes.io/name=web"]));
    }

    #[test]
    fn what_is_no_selector_says_why() {
        for (bad, why) in [
            ("", "a key is missing"),
            ("=web", "a key is missing"),
            ("a,", "a key is missing"),
            ("a b", "unknown operator \"b\""),
            ("a in web", "after in and notin stands a list"),
            ("a in (b", "after in and notin stands a list"),
            ("a in (b c)", "\"b c\" cannot be a value"),
            ("a>x", "\"x\" after > is no integer"),
            ("a=b c", "expected a comma before \"c\""),
            ("k8s:=x", "a key is missing"),
        ] {
            let error = bad.parse::<Selector>().unwrap_err();
            assert!(error.starts_with(why), "{bad}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z!=<>(),: é]{0,20}") {
            let _ = text.parse::<Selector>();
        }
    }
}
