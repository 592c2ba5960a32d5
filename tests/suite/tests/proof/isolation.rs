//! Isolation: nothing is allowed to, or from, a pod that a policy selects and says no more of.

use crate::world::{by_each_kit, policy};

const ALL: [&str; 3] = ["x", "y", "z"];

#[test]
fn an_isolated_namespace_is_reached_by_nobody_and_reaches_nobody() {
    by_each_kit(|world| {
        let ingress = policy("x/ingress", "{podSelector: {}, policyTypes: [Ingress]}");
        let egress = policy("x/egress", "{podSelector: {}, policyTypes: [Egress]}");
        world.step("deny ingress", std::slice::from_ref(&ingress), |probe| !probe.is_to(&["x"]));
        world.step("deny egress", std::slice::from_ref(&egress), |probe| !probe.is_from(&["x"]));
        world.step("deny both", &[ingress, egress.clone()], |probe| !probe.is_from(&["x"]) && !probe.is_to(&["x"]));
        world.clear();
        world.step("deny egress again", std::slice::from_ref(&egress), |probe| !probe.is_from(&["x"]));
    });
}

#[test]
fn a_policy_isolates_the_pods_that_it_selects_in_the_directions_of_its_types() {
    by_each_kit(|world| {
        let step = |name: &str, spec: &str, stated: fn(&str, &str) -> bool| {
            world.step(name, &[policy("x/p", spec)], |probe| stated(probe.from, probe.to));
        };
        let only_a = "podSelector: {matchLabels: {pod: a}}";
        step("ingress by default", "{podSelector: {}}", |_, to| !to.starts_with("x/"));
        step("one pod", &format!("{{{only_a}, policyTypes: [Ingress, Egress]}}"), |from, to| {
            from != "x/a" && to != "x/a"
        });
        step(
            "no rule is no peer",
            &format!("{{{only_a}, ingress: [], egress: [], policyTypes: [Ingress]}}"),
            |_, to| to != "x/a",
        );
        step("egress by its rules", &format!("{{{only_a}, egress: [{{to: [{{podSelector: {{}}}}]}}]}}"), |from, to| {
            to != "x/a" && (from != "x/a" || to.starts_with("x/"))
        });
        step("nobody is selected", "{podSelector: {matchLabels: {pod: d}}, policyTypes: [Ingress, Egress]}", |_, _| {
            true
        });
    });
}

#[test]
fn every_pod_isolated_talks_to_itself_alone_until_all_is_allowed() {
    by_each_kit(|world| {
        let both = "{podSelector: {}, policyTypes: [Ingress, Egress]}";
        let mut policies: Vec<String> =
            ALL.iter().map(|namespace| policy(&format!("{namespace}/deny"), both)).collect();
        world.step("deny all", &policies, |_| false);
        let all = "{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{}], egress: [{}]}";
        policies.push(policy("x/allow", all));
        world.step("allow all in one namespace", &policies, |probe| probe.is_from(&["x"]) && probe.is_to(&["x"]));
        policies.extend(["y/allow", "z/allow"].map(|name| policy(name, all)));
        world.step("allow all", &policies, |_| true);
        world.step("deny all again", &policies[..3], |_| false);
        world.clear();
    });
}
