//! Peers: who may reach a pod, by the labels of pods and namespaces.

use crate::world::{World, by_each_kit, policy};

/// Applies a policy on ingress of `x/a` with this `from`, which is to let in these pods and namespaces alone.
#[track_caller]
fn lets_in(world: &World<'_>, name: &str, from: &str, peers: &[&str]) {
    let spec = format!("{{podSelector: {{matchLabels: {{pod: a}}}}, ingress: [{{from: {from}}}]}}");
    world.step(name, &[policy("x/p", &spec)], |probe| !probe.is_to(&["x/a"]) || probe.is_from(peers));
}

#[test]
fn peers_are_selected_by_pod_by_namespace_by_both_and_by_either() {
    by_each_kit(|world| {
        lets_in(world, "pod", "[{podSelector: {matchLabels: {pod: b}}}]", &["x/b"]);
        lets_in(world, "namespace", "[{namespaceSelector: {matchLabels: {ns: y}}}]", &["y"]);
        let both = "[{namespaceSelector: {matchLabels: {ns: y}}, podSelector: {matchLabels: {pod: b}}}]";
        lets_in(world, "namespace and pod", both, &["y/b"]);
        let either = "[{namespaceSelector: {matchLabels: {ns: y}}}, {podSelector: {matchLabels: {pod: b}}}]";
        lets_in(world, "namespace or pod", either, &["y", "x/b"]);
    });
}

#[test]
fn an_empty_selector_is_everything_that_it_could_select() {
    by_each_kit(|world| {
        lets_in(world, "all pods", "[{podSelector: {}}]", &["x"]);
        lets_in(world, "all namespaces", "[{namespaceSelector: {}}]", &["x", "y", "z"]);
        let pods = "[{namespaceSelector: {}, podSelector: {matchLabels: {pod: c}}}]";
        lets_in(world, "a pod of all namespaces", pods, &["x/c", "y/c", "z/c"]);
        let all = "[{namespaceSelector: {matchLabels: {ns: z}}, podSelector: {}}]";
        lets_in(world, "all pods of a namespace", all, &["z"]);
        lets_in(world, "no list is anybody", "[]", &["x", "y", "z"]);
        let by_name = "[{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: z}}}]";
        lets_in(world, "a namespace by its name", by_name, &["z"]);
        lets_in(world, "nobody at all", "[{namespaceSelector: {matchLabels: {ns: w}}}]", &[]);
    });
}

#[test]
fn expressions_select_peers() {
    by_each_kit(|world| {
        world.label_pod("x/c", "role", Some("client"));
        world.label_pod("z/b", "role", Some("client"));
        world.label_namespace("z", "zone", Some("far"));
        let pods = |expressions: &str| format!("[{{podSelector: {{matchExpressions: [{expressions}]}}}}]");
        let namespaces = |expressions: &str| format!("[{{namespaceSelector: {{matchExpressions: [{expressions}]}}}}]");
        lets_in(world, "In", &pods("{key: pod, operator: In, values: [b, c]}"), &["x/b", "x/c"]);
        lets_in(world, "NotIn", &pods("{key: pod, operator: NotIn, values: [a, b]}"), &["x/c"]);
        lets_in(world, "NotIn without the label", &pods("{key: role, operator: NotIn, values: [client]}"), &["x/b"]);
        lets_in(world, "Exists", &pods("{key: role, operator: Exists}"), &["x/c"]);
        lets_in(world, "In, of namespaces", &namespaces("{key: ns, operator: In, values: [x, z]}"), &["x", "z"]);
        lets_in(world, "NotIn, of namespaces", &namespaces("{key: ns, operator: NotIn, values: [x]}"), &["y", "z"]);
        lets_in(world, "DoesNotExist, of namespaces", &namespaces("{key: zone, operator: DoesNotExist}"), &["x", "y"]);
        let both = "{key: ns, operator: NotIn, values: [x]}, {key: zone, operator: DoesNotExist}";
        lets_in(world, "two expressions", &namespaces(both), &["y"]);
        let of_both = "[{namespaceSelector: {matchExpressions: [{key: ns, operator: NotIn, values: [x]}]}, podSelector: {matchExpressions: [{key: pod, operator: In, values: [b, c]}, {key: role, operator: DoesNotExist}]}}]";
        lets_in(world, "of namespace and pod", of_both, &["y/b", "y/c", "z/c"]);
        let subject = "{podSelector: {matchExpressions: [{key: pod, operator: NotIn, values: [b]}]}, ingress: [{from: [{podSelector: {matchLabels: {pod: b}}}]}]}";
        world.step("on the subject", &[policy("x/p", subject)], |probe| {
            !probe.is_to(&["x/a", "x/c"]) || probe.is_from(&["x/b"])
        });
    });
}
