//! Cluster-wide policies: Admin comes before NetworkPolicy, Baseline after it, and what neither decides is allowed.

use crate::world::{by_each_kit, policy};

/// The subject: all pods of namespace `x`.
const X: &str = "subject: {namespaces: {matchLabels: {ns: x}}}";
const Y: &str = "{namespaces: {matchLabels: {ns: y}}}";
const Z_B: &str = "{pods: {namespaceSelector: {matchLabels: {ns: z}}, podSelector: {matchLabels: {pod: b}}}}";
const ANY: &str = "{namespaces: {}}";

/// A `ClusterNetworkPolicy` on namespace `x`, with its rules in YAML.
fn cluster_wide(name: &str, tier: &str, priority: u32, rules: &str) -> String {
    format!(
        "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {{name: {name}}}\nspec: {{tier: {tier}, priority: {priority}, {X}, {rules}}}\n"
    )
}

#[test]
fn an_admin_policy_decides_before_network_policies_and_a_baseline_after_them() {
    by_each_kit(|world| {
        let deny_y = cluster_wide("deny-y", "Admin", 10, &format!("ingress: [{{action: Deny, from: [{Y}]}}]"));
        world.step("Deny", std::slice::from_ref(&deny_y), |probe| !probe.is_to(&["x"]) || !probe.is_from(&["y"]));
        let all = policy("x/all", "{podSelector: {}, ingress: [{}]}");
        world.step("Deny before a network policy that allows", &[deny_y, all], |probe| {
            !probe.is_to(&["x"]) || !probe.is_from(&["y"])
        });
        let accept = cluster_wide("accept", "Admin", 10, &format!("ingress: [{{action: Accept, from: [{Z_B}]}}]"));
        let none = policy("x/none", "{podSelector: {}}");
        world.step("Accept before a network policy that denies", &[accept, none.clone()], |probe| {
            !probe.is_to(&["x"]) || probe.is_from(&["z/b"])
        });
        let baseline = cluster_wide("baseline", "Baseline", 10, &format!("ingress: [{{action: Deny, from: [{ANY}]}}]"));
        world.step("Baseline without network policies", std::slice::from_ref(&baseline), |probe| !probe.is_to(&["x"]));
        let one = policy(
            "x/one",
            "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: y}}}]}]}",
        );
        world.step("Baseline for pods without network policies", &[baseline, one], |probe| {
            !probe.is_to(&["x"]) || probe.is_to(&["x/a"]) && probe.is_from(&["y"])
        });
    });
}

#[test]
fn pass_leaves_it_to_the_next_tier() {
    by_each_kit(|world| {
        let admin = cluster_wide(
            "admin",
            "Admin",
            10,
            &format!("ingress: [{{action: Pass, from: [{Z_B}]}}, {{action: Deny, from: [{ANY}]}}]"),
        );
        world.step("to nothing", std::slice::from_ref(&admin), |probe| !probe.is_to(&["x"]) || probe.is_from(&["z/b"]));
        let on_80 = policy("x/p", "{podSelector: {}, ingress: [{ports: [{port: 80}]}]}");
        world.step("to a network policy", &[admin.clone(), on_80], |probe| {
            !probe.is_to(&["x"]) || probe.is_from(&["z/b"]) && probe.tcp() && probe.port() == 80
        });
        let baseline = cluster_wide(
            "baseline",
            "Baseline",
            10,
            &format!(
                "ingress: [{{action: Deny, from: [{ANY}], protocols: [{{udp: {{destinationPort: {{number: 81}}}}}}, {{sctp: {{}}}}]}}]"
            ),
        );
        world.step("to the baseline", &[admin, baseline], |probe| {
            let denied = probe.udp() && probe.port() == 81 || probe.sctp();
            !probe.is_to(&["x"]) || probe.is_from(&["z/b"]) && !denied
        });
    });
}

#[test]
fn the_lower_priority_and_the_earlier_rule_come_first() {
    by_each_kit(|world| {
        let accept = |priority| {
            cluster_wide("accept", "Admin", priority, &format!("ingress: [{{action: Accept, from: [{Y}]}}]"))
        };
        let deny =
            |priority| cluster_wide("deny", "Admin", priority, &format!("ingress: [{{action: Deny, from: [{ANY}]}}]"));
        world.step("Accept first", &[accept(5), deny(6)], |probe| !probe.is_to(&["x"]) || probe.is_from(&["y"]));
        world.step("Deny first", &[accept(7), deny(6)], |probe| !probe.is_to(&["x"]));
        let ordered = |rules: &str| cluster_wide("rules", "Admin", 0, &format!("ingress: [{rules}]"));
        let (on_80, others) = (
            format!(
                "{{action: Accept, from: [{Y}], protocols: [{{tcp: {{destinationPort: {{number: 80}}}}}}, {{destinationNamedPort: serve-81-udp}}]}}"
            ),
            format!("{{action: Deny, from: [{Y}]}}"),
        );
        world.step("Accept above", &[ordered(&format!("{on_80}, {others}"))], |probe| {
            let accepted = probe.tcp() && probe.port() == 80 || probe.udp() && probe.port() == 81;
            !probe.is_to(&["x"]) || !probe.is_from(&["y"]) || accepted
        });
        world.step("Deny above", &[ordered(&format!("{others}, {on_80}"))], |probe| {
            !probe.is_to(&["x"]) || !probe.is_from(&["y"])
        });
    });
}

#[test]
fn cluster_wide_egress_knows_networks_and_ranges() {
    by_each_kit(|world| {
        let y_c = world.pod("y/c").ip6.unwrap();
        let rules = format!(
            "egress: [{{action: Accept, to: [{{networks: ['{y_c}/128', 10.1.1.8/31]}}]}}, {{action: Deny, to: [{ANY}], protocols: [{{tcp: {{destinationPort: {{range: {{start: 80, end: 81}}}}}}}}]}}]"
        );
        world.step("networks", &[cluster_wide("egress", "Admin", 0, &rules)], |probe| {
            // 10.1.1.8 and 10.1.1.9 are z/b and z/c.
            let accepted = if probe.ipv4() { probe.is_to(&["z/b", "z/c"]) } else { probe.is_to(&["y/c"]) };
            !probe.is_from(&["x"]) || accepted || !probe.tcp()
        });
    });
}

#[test]
fn the_older_admin_and_baseline_kinds_say_the_same() {
    by_each_kit(|world| {
        let older = |kind: &str, name: &str, spec: &str| {
            format!(
                "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
            )
        };
        let admin = older(
            "AdminNetworkPolicy",
            "admin",
            &format!(
                "priority: 3, {X}, ingress: [{{action: Allow, from: [{Y}], ports: [{{portNumber: {{protocol: TCP, port: 80}}}}]}}, {{action: Pass, from: [{Z_B}]}}, {{action: Deny, from: [{Y}]}}]"
            ),
        );
        let baseline =
            older("BaselineAdminNetworkPolicy", "default", &format!("{X}, ingress: [{{action: Deny, from: [{ANY}]}}]"));
        let on_y = |is_tcp: bool, port: u16| is_tcp && port == 80;
        world.step("Admin", std::slice::from_ref(&admin), |probe| {
            !probe.is_to(&["x"]) || !probe.is_from(&["y"]) || on_y(probe.tcp(), probe.port())
        });
        world.step("Admin and Baseline", &[admin.clone(), baseline.clone()], |probe| {
            !probe.is_to(&["x"]) || probe.is_from(&["y"]) && on_y(probe.tcp(), probe.port())
        });
        let b = policy(
            "x/b",
            "{podSelector: {matchLabels: {pod: b}}, ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {pod: b}}}]}]}",
        );
        world.step("a network policy between them", &[admin, baseline, b], |probe| {
            let by_policy = probe.is_to(&["x/b"]) && probe.is_from(&["x/b", "z/b"]);
            !probe.is_to(&["x"]) || by_policy || probe.is_from(&["y"]) && on_y(probe.tcp(), probe.port())
        });
    });
}
