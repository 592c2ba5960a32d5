//! What changes under the eyes of the pods: policies are added, updated and deleted; labels of pods and namespaces change under policies
//! that stay.

use crate::world::{by_each_kit, policy};

#[test]
fn policies_add_up_are_updated_and_go() {
    by_each_kit(|world| {
        let from = |peer: &str, ports: &str| {
            format!("{{podSelector: {{matchLabels: {{pod: a}}}}, ingress: [{{from: [{peer}], ports: {ports}}}]}}")
        };
        let y = "{namespaceSelector: {matchLabels: {ns: y}}}";
        let deny = policy("x/deny", "{podSelector: {}}");
        let first = policy("x/first", &from(y, "[{port: 80}]"));
        let second = policy("x/second", &from("{podSelector: {matchLabels: {pod: b}}}", "[{port: 81, protocol: UDP}]"));
        world.step("one", std::slice::from_ref(&deny), |probe| !probe.is_to(&["x"]));
        let of_first = |from: &str, is_tcp: bool, port: u16| from.starts_with("y/") && is_tcp && port == 80;
        world.step("three", &[deny.clone(), first.clone(), second.clone()], |probe| {
            let of_second = probe.is_from(&["x/b"]) && probe.udp() && probe.port() == 81;
            let a = of_first(probe.from, probe.tcp(), probe.port()) || of_second;
            !probe.is_to(&["x"]) || probe.is_to(&["x/a"]) && a
        });
        let updated = policy("x/second", &from("{podSelector: {matchLabels: {pod: c}}}", "[{protocol: SCTP}]"));
        world.step("one updated", &[deny.clone(), first.clone(), updated.clone()], |probe| {
            let of_updated = probe.is_from(&["x/c"]) && probe.sctp();
            let a = of_first(probe.from, probe.tcp(), probe.port()) || of_updated;
            !probe.is_to(&["x"]) || probe.is_to(&["x/a"]) && a
        });
        world.step("one deleted", &[first, updated], |probe| {
            let of_updated = probe.is_from(&["x/c"]) && probe.sctp();
            !probe.is_to(&["x/a"]) || of_first(probe.from, probe.tcp(), probe.port()) || of_updated
        });
        world.step("all deleted", &[], |_| true);
        world.step("one again", &[deny], |probe| !probe.is_to(&["x"]));
        world.clear();
    });
}

#[test]
fn labels_of_pods_change_under_a_policy_that_stays() {
    by_each_kit(|world| {
        let spec = "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {role: client}}}]}]}";
        let policies = [policy("x/p", spec)];
        world.step("nobody has the label", &policies, |probe| !probe.is_to(&["x/a"]));
        world.label_pod("y/b", "role", Some("client"));
        world.step("one has it", &policies, |probe| !probe.is_to(&["x/a"]) || probe.is_from(&["y/b"]));
        world.label_pod("y/b", "role", Some("server"));
        world.label_pod("z/c", "role", Some("client"));
        world.step("another has it", &policies, |probe| !probe.is_to(&["x/a"]) || probe.is_from(&["z/c"]));
        // Who is selected changes, too.
        world.label_pod("x/a", "pod", Some("d"));
        world.step("nobody is selected", &policies, |_| true);
        world.label_pod("x/c", "pod", Some("a"));
        world.step("another is selected", &policies, |probe| !probe.is_to(&["x/c"]) || probe.is_from(&["z/c"]));
        world.label_pod("z/c", "role", None);
        world.step("the label is gone", &policies, |probe| !probe.is_to(&["x/c"]));
    });
}

#[test]
fn labels_of_namespaces_change_under_a_policy_that_stays() {
    by_each_kit(|world| {
        let spec = "{podSelector: {matchLabels: {pod: a}}, policyTypes: [Ingress, Egress], ingress: [{from: [{namespaceSelector: {matchLabels: {team: red}}}]}], egress: [{to: [{namespaceSelector: {matchExpressions: [{key: team, operator: DoesNotExist}]}, podSelector: {matchLabels: {pod: b}}}]}]}";
        let policies = [policy("x/p", spec)];
        let step = |world: &crate::world::World<'_>, name: &str, from: &[&str], to: &[&str]| {
            world.step(name, &policies, |probe| {
                (!probe.is_to(&["x/a"]) || probe.is_from(from)) && (!probe.is_from(&["x/a"]) || probe.is_to(to))
            });
        };
        step(world, "no namespace has the label", &[], &["x/b", "y/b", "z/b"]);
        world.label_namespace("y", "team", Some("red"));
        step(world, "one has it", &["y"], &["x/b", "z/b"]);
        world.label_namespace("z", "team", Some("blue"));
        step(world, "another has another value", &["y"], &["x/b"]);
        world.label_namespace("z", "team", Some("red"));
        world.label_namespace("y", "team", None);
        step(world, "they have changed places", &["z"], &["x/b", "y/b"]);
    });
}
