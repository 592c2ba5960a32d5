//! A chain of version 1.1.0, with GC and STATUS, which Debian's plugins do not speak yet.

use chainkit_lab::cni::{Attachment, Chain, Verb};
use chainkit_lab::{Lab, Netns, PodSpec};
use serde_json::{Value, json};

use crate::node::{assert_attached, assert_nothing_left, assert_pod_attached, aws, ours, records};
use crate::stage::on_node;

fn chain(lab: &Lab) -> Chain {
    aws(lab, "1.1.0").plugin(json!({"type": "lab-mock", "record": lab.root().join("tmp/record")}))
}

#[test]
fn what_only_1_1_0_has_is_handed_on() {
    on_node(|lab| {
        let chain = chain(lab);
        let pod = lab.pod_through(&chain, &PodSpec::new("shop", "web")).unwrap();
        let result: Value = serde_json::from_str(&chain.result(&pod.attachment()).unwrap()).unwrap();
        assert_eq!(result["cniVersion"], "1.1.0");
        assert_eq!((&result["interfaces"][1]["mtu"], &result["interfaces"][1]["pciID"]), (&json!(9001), &json!("2")));
        assert_eq!(result["interfaces"][2]["socketPath"], "1");
        let route = &result["routes"][0];
        assert_eq!((&route["mtu"], &route["table"], &route["priority"]), (&json!(9001), &json!(2), &json!(100)));
        // The plugin behind ours was told the same.
        let record = std::fs::read_to_string(lab.root().join("tmp/record")).unwrap();
        let call: Value = serde_json::from_str(record.lines().next().unwrap()).unwrap();
        let stdin: Value = serde_json::from_str(call["stdin"].as_str().unwrap()).unwrap();
        assert_eq!(stdin["prevResult"], result);
        chain.check(&pod.attachment()).unwrap();
        chain.status().unwrap();
        lab.delete_pod_through(&chain, &pod).unwrap();
        assert_nothing_left(lab);
    });
}

#[test]
fn gc_takes_away_what_is_not_valid_and_nothing_else() {
    on_node(|lab| {
        let chain = chain(lab);
        let [web, cart, lost] =
            ["web", "cart", "lost"].map(|name| lab.pod_through(&chain, &PodSpec::new("shop", name)).unwrap());
        // Of another network, and so none of this list's business.
        let elsewhere = Chain::new(lab, "elsewhere", "1.1.0")
            .unwrap()
            .plugin(json!({"type": "aws-cni", "vethPrefix": "els"}))
            .plugin(ours(lab));
        let other = Netns::new("other").unwrap();
        let other = Attachment::new("other", other.path()).of_pod("shop", "other", "uid");
        elsewhere.add(&other).unwrap();
        // Nothing is cached of it, as when a runtime was killed.
        std::fs::remove_file(chain.cache_folder().join(format!("aws-cni-{}-eth0", lost.container_id))).unwrap();

        chain.gc(&[&web.attachment(), &cart.attachment()]).unwrap();
        for pod in [&web, &cart] {
            assert_pod_attached(lab, pod);
        }
        assert_attached(lab, "other", &["eth0"]);
        assert!(!records(lab).iter().any(|record| record["container_id"] == lost.container_id.as_str()));

        // Without a list of what is valid, everything may be.
        chain.bare_call(1, Verb::Gc, &[]).unwrap().succeed().unwrap();
        assert_eq!(records(lab).len(), 3);
        chain.gc(&[]).unwrap();
        assert_eq!(records(lab).len(), 1);
        elsewhere.gc(&[]).unwrap();
        assert_nothing_left(lab);
    });
}

#[test]
fn gc_reads_either_name_of_the_list() {
    on_node(|lab| {
        let chain = chain(lab);
        for key in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
            let pod = lab.pod_through(&chain, &PodSpec::new("shop", "web")).unwrap();
            let valid = json!([{"containerID": pod.container_id, "ifname": "eth0"}]).to_string();
            chain.bare_call(1, Verb::Gc, &[(key, valid)]).unwrap().succeed().unwrap();
            assert_pod_attached(lab, &pod);
            chain.bare_call(1, Verb::Gc, &[(key, "[]".to_owned())]).unwrap().succeed().unwrap();
            assert_nothing_left(lab);
            lab.delete_pod_through(&chain, &pod).unwrap();
        }
    });
}

#[test]
fn every_end_of_several_interfaces_is_taken_and_given_back() {
    on_node(|lab| {
        let chain = Chain::new(lab, "aws-cni", "1.1.0")
            .unwrap()
            .plugin(json!({"type": "aws-cni", "capabilities": {"io.kubernetes.cri.pod-annotations": true}}))
            .plugin(json!({"type": "egress-cni", "enabled": "true"}))
            .plugin(ours(lab));
        let netns = Netns::new("pod").unwrap();
        let annotation = json!({"k8s.amazonaws.com/nicConfig": "multi-nic-attachment"});
        let attachment = Attachment::new("several", netns.path())
            .of_pod("shop", "web", "uid")
            .capability("io.kubernetes.cri.pod-annotations", annotation);
        chain.add(&attachment).unwrap();
        assert_attached(lab, "several", &["eth0", "mNicIf1", "v4if0"]);
        chain.delete(&attachment).unwrap();
        assert_nothing_left(lab);
    });
}

#[test]
fn every_version_is_spoken() {
    on_node(|lab| {
        for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
            let chain = aws(lab, version);
            let supported = chain.version(1).unwrap().json();
            assert!(supported["supportedVersions"].as_array().unwrap().contains(&json!(version)), "{supported}");
            let pod = lab.pod_through(&chain, &PodSpec::new("shop", "web")).unwrap();
            assert_pod_attached(lab, &pod);
            chain.check(&pod.attachment()).unwrap();
            lab.delete_pod_through(&chain, &pod).unwrap();
            assert_nothing_left(lab);
        }
    });
}
