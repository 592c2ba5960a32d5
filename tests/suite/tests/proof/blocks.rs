//! Blocks of addresses (`ipBlock`), with what they leave out (`except`): they match addresses of pods as any other, each family by itself.

use crate::world::{World, by_each_kit, policy};

/// The pods of the lab's node are in these.
const PODS4: &str = "10.1.1.0/24";
const PODS6: &str = "2001:db8:1:1::/64";

fn ingress(blocks: &str) -> String {
    policy("x/p", &format!("{{podSelector: {{matchLabels: {{pod: a}}}}, ingress: [{{from: {blocks}}}]}}"))
}

fn egress(name: &str, rule: &str) -> String {
    policy(name, &format!("{{podSelector: {{matchLabels: {{pod: a}}}}, policyTypes: [Egress], egress: [{{{rule}}}]}}"))
}

/// The addresses of a pod, with the length of a host.
fn hosts(world: &World<'_>, pod: &str) -> (String, String) {
    let pod = world.pod(pod);
    (format!("{}/32", pod.ip4), format!("{}/128", pod.ip6.unwrap()))
}

#[test]
fn a_block_lets_in_its_own_family_without_what_is_excepted() {
    by_each_kit(|world| {
        let ((y_b4, y_b6), (z_c4, _)) = (hosts(world, "y/b"), hosts(world, "z/c"));
        world.step("IPv4", &[ingress(&format!("[{{ipBlock: {{cidr: {PODS4}}}}}]"))], |probe| {
            !probe.is_to(&["x/a"]) || probe.ipv4()
        });
        let except = ingress(&format!("[{{ipBlock: {{cidr: {PODS4}, except: ['{y_b4}', '{z_c4}']}}}}]"));
        world.step("IPv4 without two pods", &[except], |probe| {
            !probe.is_to(&["x/a"]) || probe.ipv4() && !probe.is_from(&["y/b", "z/c"])
        });
        let except =
            ingress(&format!("[{{ipBlock: {{cidr: '{PODS6}', except: ['{y_b6}']}}}}, {{ipBlock: {{cidr: {z_c4}}}}}]"));
        world.step("IPv6 without a pod, or one pod's IPv4", &[except], |probe| {
            let six = !probe.ipv4() && !probe.is_from(&["y/b"]);
            !probe.is_to(&["x/a"]) || six || probe.ipv4() && probe.is_from(&["z/c"])
        });
    });
}

#[test]
fn what_one_rule_excepts_another_may_allow() {
    by_each_kit(|world| {
        let (y_b4, y_b6) = hosts(world, "y/b");
        let except = egress(
            "x/p",
            &format!(
                "to: [{{ipBlock: {{cidr: {PODS4}, except: ['{y_b4}']}}}}, {{ipBlock: {{cidr: '::/0', except: ['{PODS6}']}}}}]"
            ),
        );
        let four = |to: &str, is_ipv4: bool| is_ipv4 && to != "y/b";
        world.step("excepted", std::slice::from_ref(&except), |probe| {
            !probe.is_from(&["x/a"]) || four(probe.to, probe.ipv4())
        });
        let allow = egress(
            "x/more",
            &format!("to: [{{ipBlock: {{cidr: {y_b4}}}}}, {{ipBlock: {{cidr: '{y_b6}'}}}}], ports: [{{port: 80}}]"),
        );
        world.step("allowed by another policy", &[except, allow], |probe| {
            let more = probe.is_to(&["y/b"]) && probe.tcp() && probe.port() == 80;
            !probe.is_from(&["x/a"]) || four(probe.to, probe.ipv4()) || more
        });
        let by_label = egress(
            "x/p",
            &format!(
                "to: [{{ipBlock: {{cidr: 0.0.0.0/0, except: ['{PODS4}']}}}}, {{namespaceSelector: {{matchLabels: {{ns: y}}}}}}]"
            ),
        );
        world.step("allowed by a label", &[by_label], |probe| !probe.is_from(&["x/a"]) || probe.is_to(&["y"]));
    });
}

#[test]
fn blocks_in_blocks_are_told_apart() {
    by_each_kit(|world| {
        // x/a has 10.1.1.1, and so on to z/c with 10.1.1.9: .4 to .7 are y/a, y/b, y/c and z/a, and .8 and .9 z/b and z/c.
        assert_eq!(
            (hosts(world, "x/a").0, hosts(world, "z/c").0),
            ("10.1.1.1/32".to_owned(), "10.1.1.9/32".to_owned())
        );
        let policies = [
            egress("x/p", "to: [{ipBlock: {cidr: 10.1.1.4/30, except: [10.1.1.6/31]}}]"),
            egress(
                "x/q",
                "to: [{ipBlock: {cidr: 10.1.1.0/28, except: [10.1.1.0/29]}}], ports: [{port: 80, protocol: UDP}]",
            ),
            egress("x/r", "to: [{ipBlock: {cidr: '2001:db8:1:1::4/126'}}], ports: [{protocol: SCTP}]"),
        ];
        world.step("three policies", &policies, |probe| {
            let first = probe.ipv4() && probe.is_to(&["y/a", "y/b"]);
            let second = probe.ipv4() && probe.is_to(&["z/b", "z/c"]) && probe.udp() && probe.port() == 80;
            let third = !probe.ipv4() && probe.is_to(&["y", "z/a"]) && probe.sctp();
            !probe.is_from(&["x/a"]) || first || second || third
        });
    });
}
