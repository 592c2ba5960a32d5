//! Egress, and both directions at once: a connection needs the leave of who opens it and of who is asked.

use crate::world::{by_each_kit, policy};

#[test]
fn egress_is_allowed_to_the_peers_of_its_rules() {
    by_each_kit(|world| {
        let step = |name: &str, to: &str, peers: &[&str]| {
            let spec =
                format!("{{podSelector: {{matchLabels: {{pod: a}}}}, policyTypes: [Egress], egress: [{{to: {to}}}]}}");
            world.step(name, &[policy("x/p", &spec)], |probe| !probe.is_from(&["x/a"]) || probe.is_to(peers));
        };
        step("pod", "[{podSelector: {matchLabels: {pod: b}}}]", &["x/b"]);
        step(
            "namespace or pod",
            "[{namespaceSelector: {matchLabels: {ns: y}}}, {podSelector: {matchLabels: {pod: b}}}]",
            &["y", "x/b"],
        );
        step(
            "namespace and pod",
            "[{namespaceSelector: {matchLabels: {ns: y}}, podSelector: {matchLabels: {pod: b}}}]",
            &["y/b"],
        );
        step(
            "not its own namespace",
            "[{namespaceSelector: {matchExpressions: [{key: ns, operator: NotIn, values: [x]}]}}]",
            &["y", "z"],
        );
        step("anybody", "[]", &["x", "y", "z"]);
    });
}

#[test]
fn a_policy_of_both_directions_judges_each_by_its_own_rules() {
    by_each_kit(|world| {
        let rules = "ingress: [{from: [{namespaceSelector: {matchLabels: {ns: y}}}]}], egress: [{to: [{namespaceSelector: {matchLabels: {ns: z}}}], ports: [{port: 80}]}]";
        let spec = |types: &str| format!("{{podSelector: {{matchLabels: {{pod: a}}}}, policyTypes: {types}, {rules}}}");
        let ingress = |from: &str| from.starts_with("y/");
        world.step("both", &[policy("x/p", &spec("[Ingress, Egress]"))], |probe| {
            (probe.to != "x/a" || ingress(probe.from))
                && (probe.from != "x/a" || probe.is_to(&["z"]) && probe.tcp() && probe.port() == 80)
        });
        // Rules of a direction that is not among the types do not count.
        world.step("ingress alone", &[policy("x/p", &spec("[Ingress]"))], |probe| {
            probe.to != "x/a" || ingress(probe.from)
        });
        world.step("egress alone", &[policy("x/p", &spec("[Egress]"))], |probe| {
            probe.from != "x/a" || probe.is_to(&["z"]) && probe.tcp() && probe.port() == 80
        });
    });
}

#[test]
fn both_ends_have_to_allow_it() {
    by_each_kit(|world| {
        let to_y = "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {ns: y}}}]}]}";
        let from_x_on_81 = "{podSelector: {matchLabels: {pod: b}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: x}}}], ports: [{port: 81}, {port: 81, protocol: UDP}]}]}";
        let nobody = "{podSelector: {matchLabels: {pod: c}}}";
        let policies = [policy("x/to-y", to_y), policy("y/from-x", from_x_on_81), policy("y/nobody", nobody)];
        world.step("both ends", &policies, |probe| {
            let egress = !probe.is_from(&["x/a"]) || probe.is_to(&["y"]);
            let of_y_b = probe.is_from(&["x"]) && probe.port() == 81 && !probe.sctp();
            egress && (!probe.is_to(&["y/b"]) || of_y_b) && !probe.is_to(&["y/c"])
        });
        world.step("who opens it", &policies[..1], |probe| !probe.is_from(&["x/a"]) || probe.is_to(&["y"]));
        world.step("who is asked", &policies[1..], |probe| {
            let of_y_b = probe.is_from(&["x"]) && probe.port() == 81 && !probe.sctp();
            (!probe.is_to(&["y/b"]) || of_y_b) && !probe.is_to(&["y/c"])
        });
    });
}
