//! Label selectors, the one thing that the policy compiler and its oracle share.
//!
//! An empty selector selects all. A selector that is not there (`null`) is another thing, and what it means depends on
//! the field: the caller decides.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use crate::model::Labels;

/// Whether a selector selects what bears these labels.
///
/// All of `matchLabels` and `matchExpressions` must hold. `NotIn` and `DoesNotExist` hold where the label is absent. An
/// operator that is none of the four selects nothing, as does `In` without values; [`check`] tells of both.
#[must_use]
pub fn matches(selector: &LabelSelector, labels: &Labels) -> bool {
    let equal = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    equal && selector.match_expressions.iter().flatten().all(|requirement| holds(requirement, labels))
}

fn holds(requirement: &LabelSelectorRequirement, labels: &Labels) -> bool {
    let label = labels.get(&requirement.key);
    let listed = |value| requirement.values.iter().flatten().any(|listed| listed == value);
    match requirement.operator.as_str() {
        "In" => label.is_some_and(listed),
        "NotIn" => !label.is_some_and(listed),
        "Exists" => label.is_some(),
        "DoesNotExist" => label.is_none(),
        _ => false,
    }
}

/// Whether a selector says nothing, and so selects all.
#[must_use]
pub fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(|labels| labels.is_empty())
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
}

/// What an API server would refuse of a selector: the field, relative to it, and why.
///
/// # Errors
/// With the first such field.
pub fn check(selector: &LabelSelector) -> Result<(), (String, String)> {
    for (index, requirement) in selector.match_expressions.iter().flatten().enumerate() {
        let field = |name: &str| format!("matchExpressions[{index}].{name}");
        let has_values = requirement.values.as_ref().is_some_and(|values| !values.is_empty());
        match requirement.operator.as_str() {
            "In" | "NotIn" if !has_values => {
                return Err((field("values"), format!("{} needs values, and there are none", requirement.operator)));
            }
            "Exists" | "DoesNotExist" if has_values => {
                return Err((field("values"), format!("{} takes no values", requirement.operator)));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                let other: String = other.chars().take(64).collect();
                return Err((field("operator"), format!("{other:?}: give In, NotIn, Exists or DoesNotExist")));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(of: &[(&str, &str)]) -> Labels {
        of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn expression(key: &str, operator: &str, values: &[&str]) -> LabelSelector {
        let values = (!values.is_empty()).then(|| values.iter().map(|value| (*value).to_owned()).collect());
        let requirement = LabelSelectorRequirement { key: key.into(), operator: operator.into(), values };
        LabelSelector { match_expressions: Some(vec![requirement]), match_labels: None }
    }

    #[test]
    fn an_empty_selector_selects_all() {
        let empty_lists = LabelSelector { match_expressions: Some(vec![]), match_labels: Some(Labels::new()) };
        for selector in [LabelSelector::default(), empty_lists] {
            assert!(is_empty(&selector));
            assert!(matches(&selector, &labels(&[])) && matches(&selector, &labels(&[("app", "web")])));
        }
    }

    #[test]
    fn a_selector_that_is_null_is_not_an_empty_one() {
        let parsed = |json: &str| serde_json::from_str::<Option<LabelSelector>>(json).unwrap();
        assert_eq!(parsed("null"), None);
        assert_eq!(parsed("{}"), Some(LabelSelector::default()));
        assert!(is_empty(&parsed(r#"{"matchLabels":null,"matchExpressions":null}"#).unwrap()));
    }

    #[test]
    fn all_of_match_labels_must_be_there_with_their_values() {
        let selector =
            LabelSelector { match_labels: Some(labels(&[("app", "web"), ("tier", "")])), match_expressions: None };
        assert!(!is_empty(&selector));
        assert!(matches(&selector, &labels(&[("app", "web"), ("tier", ""), ("more", "x")])));
        assert!(!matches(&selector, &labels(&[("app", "web")])), "an empty value is not a missing label");
        assert!(!matches(&selector, &labels(&[("app", "Web"), ("tier", "")])), "values are case-sensitive");
    }

    #[test]
    fn in_wants_the_label_with_one_of_the_values() {
        let selector = expression("app", "In", &["web", "api"]);
        assert!(matches(&selector, &labels(&[("app", "api")])));
        assert!(!matches(&selector, &labels(&[("app", "db")])));
        assert!(!matches(&selector, &labels(&[("tier", "web")])));
    }

    #[test]
    fn not_in_holds_also_where_the_label_is_absent() {
        let selector = expression("app", "NotIn", &["web", "api"]);
        assert!(!matches(&selector, &labels(&[("app", "api")])));
        assert!(matches(&selector, &labels(&[("app", "db")])));
        assert!(matches(&selector, &labels(&[])));
    }

    #[test]
    fn exists_and_does_not_exist_ask_for_the_key_alone() {
        for labels in [labels(&[("app", "")]), labels(&[("app", "web")])] {
            assert!(matches(&expression("app", "Exists", &[]), &labels));
            assert!(!matches(&expression("app", "DoesNotExist", &[]), &labels));
        }
        assert!(!matches(&expression("app", "Exists", &[]), &labels(&[("App", "web")])));
        assert!(matches(&expression("app", "DoesNotExist", &[]), &labels(&[])));
    }

    #[test]
    fn labels_and_expressions_must_both_hold() {
        let mut selector = expression("tier", "Exists", &[]);
        selector.match_labels = Some(labels(&[("app", "web")]));
        assert!(matches(&selector, &labels(&[("app", "web"), ("tier", "1")])));
        assert!(!matches(&selector, &labels(&[("app", "web")])));
        assert!(!matches(&selector, &labels(&[("tier", "1")])));
    }

    #[test]
    fn what_a_server_refuses_is_told_and_selects_nothing() {
        let told = |operator: &str, values: &[&str]| check(&expression("app", operator, values)).unwrap_err();
        assert_eq!(told("In", &[]).0, "matchExpressions[0].values");
        assert_eq!(told("Exists", &["web"]).0, "matchExpressions[0].values");
        assert_eq!(told("in", &["web"]).0, "matchExpressions[0].operator");
        assert!(!matches(&expression("app", "in", &["web"]), &labels(&[("app", "web")])));
        assert!(!matches(&expression("app", "In", &[]), &labels(&[("app", "web")])));
        assert_eq!(check(&expression("app", "NotIn", &["web"])), Ok(()));
    }
}
