//! The lab's runtime and plugins do what libcni and the VPC CNI do. Needs root, and says so where it is lacking.

#![expect(clippy::unwrap_used, reason = "a failure of the test's own means is a failure of the test")]

use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;

use chainkit_lab::cni::{Attachment, Chain, Verb, has_debian_plugins};
use chainkit_lab::{Error, Lab, Netns, PodSpec};
use serde_json::{Value, json};

fn output(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn pings(pod: &chainkit_lab::Pod, target: &str) {
    let mut command = pod.command("ping");
    output({
        command.args(["-c", "1", "-W", "20", target]);
        command
    });
}

/// The VPC CNI's list of release 1.16.2 and later, as far as the lab has its plugins.
fn aws(lab: &Lab, version: &str) -> Chain {
    Chain::new(lab, "aws-cni", version)
        .unwrap()
        .plugin(json!({"type": "aws-cni", "vethPrefix": "eni", "mtu": "9001", "podSGEnforcingMode": "strict",
            "pluginLogFile": "/dev/null", "pluginLogLevel": "DEBUG", "capabilities": {"io.kubernetes.cri.pod-annotations": true}}))
}

#[test]
fn aws_cni_wires_and_answers_as_the_vpc_cni() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let lab = Lab::new().unwrap();
    let chain = aws(&lab, "0.4.0").without_check();
    let web = lab.pod_through(&chain, &PodSpec::new("shop", "web")).unwrap();
    let cart = lab.pod_through(&chain, &PodSpec::new("shop", "cart")).unwrap();
    assert_eq!(web.ip4, Ipv4Addr::new(10, 1, 64, 1));
    assert_eq!(web.host_ifname, chainkit_lab::host_veth_name("shop", "web"));
    let result: Value = serde_json::from_str(&chain.result(&web.attachment()).unwrap()).unwrap();
    assert_eq!(
        result,
        json!({
            "cniVersion": "0.4.0",
            "interfaces": [
                {"name": web.host_ifname},
                {"name": "eth0", "mac": "2", "sandbox": web.netns_path()},
                {"name": web.host_ifname.replace("eni", "dummy"), "mac": "0", "sandbox": "1"},
            ],
            "ips": [{"version": "4", "interface": 1, "address": "10.1.64.1/32"}],
            "dns": {},
        })
    );
    pings(&web, &cart.ip4.to_string());
    let ipam: Value =
        serde_json::from_slice(&fs::read(lab.root().join("var/run/aws-node/ipam.json")).unwrap()).unwrap();
    assert_eq!(ipam["version"], "vpc-cni-ipam/1");
    assert_eq!(ipam["allocations"][1]["containerID"], cart.container_id);
    assert_eq!(ipam["allocations"][1]["ipv4"], "10.1.64.2");
    let cached = chain.cache_folder().join(format!("aws-cni-{}-eth0", web.container_id));
    assert_eq!(serde_json::from_slice::<Value>(&fs::read(&cached).unwrap()).unwrap()["result"], result);

    // An ADD that is repeated answers the same.
    assert_eq!(serde_json::from_str::<Value>(&chain.add(&web.attachment()).unwrap()).unwrap(), result);
    pings(&cart, &web.ip4.to_string());
    for pod in [web, cart] {
        lab.delete_pod_through(&chain, &pod).unwrap();
        chain.delete(&pod.attachment().without_netns()).unwrap();
    }
    assert!(!cached.exists());
    let rules = {
        let mut command = lab.node().command("ip");
        command.args(["rule"]);
        output(command)
    };
    assert!(!rules.contains("10.1.64."), "{rules}");
}

#[test]
fn aws_cni_refuses_a_result_whose_last_interface_is_not_its_own() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let lab = Lab::new().unwrap();
    let chain = aws(&lab, "0.4.0");
    let web = lab.pod_through(&chain, &PodSpec::new("shop", "web")).unwrap();
    let mut result: Value = serde_json::from_str(&chain.result(&web.attachment()).unwrap()).unwrap();
    result["interfaces"].as_array_mut().unwrap().swap(0, 2);
    let answer = chain.call(0, Verb::Del, &web.attachment(), Some(&result.to_string())).unwrap().run().unwrap();
    assert_eq!(answer.code(), Some(999), "{answer}");
    chain.delete(&web.attachment()).unwrap();
}

#[test]
fn a_pod_with_several_interfaces_and_egress_has_a_veth_for_each() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let lab = Lab::new().unwrap();
    let chain = aws(&lab, "1.1.0").plugin(json!({"type": "egress-cni", "mtu": "9001", "enabled": "true"}));
    let netns = Netns::new("pod").unwrap();
    let attachment = Attachment::new("c1", netns.path()).of_pod("shop", "web", "u1").capability(
        "io.kubernetes.cri.pod-annotations",
        json!({"k8s.amazonaws.com/nicConfig": "multi-nic-attachment"}),
    );
    let result: Value = serde_json::from_str(&chain.add(&attachment).unwrap()).unwrap();
    let names: Vec<&str> =
        result["interfaces"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!((names[1], names[3], names.len()), ("eth0", "mNicIf1", 5));
    assert_eq!(result["interfaces"][1]["pciID"], "2");
    assert_eq!(result["routes"][1]["priority"], 101);
    let links = output({
        let mut command = netns.command("ip");
        command.args(["-br", "link"]);
        command
    });
    let of_pod: Vec<&str> = links.lines().map(|line| line.split(['@', ' ']).next().unwrap()).collect();
    assert_eq!(of_pod, ["lo", "eth0", "mNicIf1", "v4if0"]);
    chain.check(&attachment).unwrap();
    chain.delete(&attachment).unwrap();
}

#[test]
fn plugins_are_called_as_libcni_calls_them() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let lab = Lab::new().unwrap();
    let record = lab.root().join("tmp/record");
    let mock =
        |name: &str| json!({"type": "lab-mock", "record": record, "is": name, "capabilities": {"bandwidth": true}});
    let chain = aws(&lab, "1.1.0").plugin(mock("one")).plugin(mock("two"));
    let netns = Netns::new("pod").unwrap();
    let attachment = Attachment::new("c1", netns.path())
        .of_pod("shop", "web", "u1")
        .capability("bandwidth", json!({"ingressRate": 1}))
        .capability("portMappings", json!([]));
    let result: Value = serde_json::from_str(&chain.add(&attachment).unwrap()).unwrap();
    chain.check(&attachment).unwrap();
    chain.status().unwrap();
    chain.gc(&[&attachment]).unwrap();
    chain.delete(&attachment).unwrap();
    assert_eq!(chain.version(1).unwrap().json()["supportedVersions"][4], "1.1.0");

    let calls: Vec<Value> =
        fs::read_to_string(&record).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let gist = |call: &Value| {
        let stdin: Value = serde_json::from_str(call["stdin"].as_str().unwrap()).unwrap();
        (call["env"]["CNI_COMMAND"].as_str().unwrap().to_owned(), stdin)
    };
    let calls: Vec<(String, Value)> = calls.iter().map(gist).collect();
    let order: Vec<String> =
        calls.iter().map(|(verb, stdin)| format!("{verb} {}", stdin["is"].as_str().unwrap())).collect();
    assert_eq!(
        order,
        [
            "ADD one",
            "ADD two",
            "CHECK one",
            "CHECK two",
            "STATUS one",
            "STATUS two",
            "GC one",
            "GC two",
            "DEL two",
            "DEL one"
        ]
    );
    for (verb, stdin) in &calls {
        assert_eq!((&stdin["name"], &stdin["cniVersion"]), (&json!("aws-cni"), &json!("1.1.0")));
        let is_of_pod = ["ADD", "CHECK", "DEL"].contains(&verb.as_str());
        assert_eq!(stdin.get("prevResult"), is_of_pod.then_some(&result), "{verb}");
        assert_eq!(
            stdin.get("runtimeConfig"),
            is_of_pod.then_some(&json!({"bandwidth": {"ingressRate": 1}})),
            "{verb}"
        );
        let valid = json!([{"containerID": "c1", "ifname": "eth0"}]);
        assert_eq!(stdin.get("cni.dev/valid-attachments"), (verb == "GC").then_some(&valid));
    }
}

#[test]
fn a_plugin_that_fails_ends_the_chain_with_its_own_words() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    let lab = Lab::new().unwrap();
    let chain = aws(&lab, "0.4.0")
        .plugin(json!({"type": "lab-mock", "fail": {"ADD": {"code": 11, "msg": "later"}, "DEL": {"code": 5}}}));
    let netns = Netns::new("pod").unwrap();
    let attachment = Attachment::new("c1", netns.path()).of_pod("shop", "web", "u1");
    let Err(Error::Plugin(answer)) = chain.add(&attachment) else { unreachable!() };
    assert_eq!((answer.plugin.as_str(), answer.code()), ("lab-mock", Some(11)));
    let Err(Error::Plugin(answer)) = chain.delete(&attachment) else { unreachable!() };
    assert_eq!(answer.code(), Some(5));
    // The primary was not called, and so the address is still taken: what a failing DEL costs.
    let ipam = fs::read_to_string(lab.root().join("var/run/aws-node/ipam.json")).unwrap();
    assert!(ipam.contains("10.1.64.1"), "{ipam}");
}

#[test]
fn debians_plugins_chain_too() {
    if chainkit_lab::skip_unless_root() {
        return;
    }
    if !has_debian_plugins() {
        return chainkit_lab::skip("Debian's containernetworking-plugins are not installed");
    }
    let lab = Lab::new().unwrap();
    let chain = Chain::new(&lab, "ptp", "1.0.0")
        .unwrap()
        .plugin(json!({"type": "ptp", "ipam": {"type": "host-local", "subnet": "10.88.0.0/16", "dataDir": lab.root().join("var/lib/ipam")}}))
        .plugin(json!({"type": "tuning"}));
    let (web, cart) = ("web", "cart");
    let [web, cart] = [web, cart].map(|name| lab.pod_through(&chain, &PodSpec::new("shop", name)).unwrap());
    assert!(web.host_ifname.starts_with("veth"), "{}", web.host_ifname);
    pings(&web, &cart.ip4.to_string());
    chain.check(&web.attachment()).unwrap();
    for pod in [&web, &cart] {
        lab.delete_pod_through(&chain, pod).unwrap();
    }
}
