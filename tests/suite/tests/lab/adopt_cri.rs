//! Pods of a real containerd, started before the chain had `cni-chain` in it: who they are is told by its CRI, or by what libcni keeps.

use std::fs;
use std::path::Path;

use chainkit_lab::cni::{Chain, has_debian_plugins};
use chainkit_lab::runtime::{Containerd, SandboxSpec};
use chainkit_lab::{Lab, program, skip, skip_unless_root};
use serde_json::{Value, json};

use crate::dump::records;
use crate::stage::on_node;

/// Runs `cni-chain` where containerd runs, with its mounts; what it printed.
fn cni_chain(lab: &Lab, containerd: &Containerd, arguments: &[&str]) -> Vec<Value> {
    let mut command = containerd.machine().command(program("cni-chain").unwrap());
    let output = command.arg("--root").arg(lab.root()).args(arguments).args(["-o", "jsonl"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {}: {stderr}", output.status);
    records(&String::from_utf8(output.stdout).unwrap())
}

fn endpoints(lab: &Lab) -> Vec<Value> {
    let folder = lab.root().join("run/chainkit/endpoints");
    let files = fs::read_dir(folder).into_iter().flatten().map(|entry| fs::read(entry.unwrap().path()).unwrap());
    let mut found: Vec<Value> = files.map(|bytes| serde_json::from_slice(&bytes).unwrap()).collect();
    found.sort_by_key(|record| record["pod_name"].as_str().unwrap().to_owned());
    found
}

#[test]
fn pods_of_containerd_are_adopted_under_the_names_that_it_knows() {
    if skip_unless_root() {
        return;
    }
    if let Some(program) = Containerd::lacks() {
        skip(&format!("{program} is not installed"));
        return;
    }
    if !has_debian_plugins() {
        skip("Debian's containernetworking-plugins are not installed");
        return;
    }
    on_node(|lab| {
        let primary =
            json!({"type": "aws-cni", "vethPrefix": "eni", "mtu": "9001", "ipv6": true, "pluginLogFile": "/dev/null"});
        let chain = Chain::new(lab, "aws-cni", "0.4.0").unwrap().plugin(primary);
        fs::write(lab.root().join("etc/cni/net.d/10-aws.conflist"), chain.conflist()).unwrap();
        let containerd = Containerd::start(lab).unwrap();
        let pods = ["cart", "web"].map(|name| {
            let spec = SandboxSpec::new("shop", name, &format!("uid-of-{name}"));
            containerd.run_pod(&spec).unwrap_or_else(|error| panic!("{error}\n{}", containerd.log()))
        });
        let gone = containerd.run_pod(&SandboxSpec::new("shop", "gone", "uid-of-gone")).unwrap();
        containerd.stop_pod(&gone.id).unwrap();
        assert_eq!(endpoints(lab), [] as [Value; 0]);

        let socket = format!("unix://{}", containerd.socket().display());
        for (arguments, source) in [
            (&["adopt", "--all", "--runtime-endpoint", &socket][..], "cri"),
            // No runtime answers in the usual places below the root; libcni has kept its results there.
            (&["adopt", "--all"], "cached-result"),
        ] {
            let rows = cni_chain(lab, &containerd, arguments);
            let told: Vec<String> = rows
                .iter()
                .map(|row| {
                    ["pod_name", "container_id", "source", "result"].map(|field| row[field].as_str().unwrap()).join(" ")
                })
                .collect();
            let expected =
                ["cart", "web"].iter().zip(&pods).map(|(name, pod)| format!("{name} {} {source} adopted", pod.id));
            assert_eq!(told, expected.collect::<Vec<_>>());
            for ((record, pod), name) in endpoints(lab).iter().zip(&pods).zip(["cart", "web"]) {
                let said = |field: &str| record[field].as_str().unwrap().to_owned();
                assert_eq!((said("namespace"), said("pod_name")), ("shop".to_owned(), name.to_owned()));
                assert_eq!(said("pod_uid"), format!("uid-of-{name}"));
                assert_eq!((said("ifname"), said("container_id")), ("eth0".to_owned(), pod.id.clone()));
                assert_eq!(Path::new(&said("netns")), pod.status.netns);
                let mut addresses = pod.status.addresses.clone();
                addresses.sort();
                let mut recorded: Vec<std::net::IpAddr> = serde_json::from_value(record["addresses"].clone()).unwrap();
                recorded.sort();
                assert_eq!(recorded, addresses);
            }
            assert_eq!(cni_chain(lab, &containerd, &["release", "--all"]).len(), 2);
            assert_eq!(endpoints(lab), [] as [Value; 0]);
        }
    });
}
