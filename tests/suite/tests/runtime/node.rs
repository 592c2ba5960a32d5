//! A node whose chain ends with `cni-chain`: what is attached there, and what is left.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use chainkit_abi::ABI_VERSION;
use chainkit_bpf::{Datapath, Direction, Kit, Pins, hung};
use chainkit_lab::cni::Chain;
use chainkit_lab::{Lab, Pod, skip};
use serde_json::{Value, json};

use crate::stage::eventually;

/// The config of the plugin that is tested, with its log where [`log`] finds it.
pub(crate) fn ours(lab: &Lab) -> Value {
    json!({"type": "cni-chain", "logFile": lab.root().join("var/log/cni-chain.log"), "logLevel": "debug"})
}

/// What the plugin has logged.
pub(crate) fn log(lab: &Lab) -> String {
    fs::read_to_string(lab.root().join("var/log/cni-chain.log")).unwrap_or_default()
}

/// The VPC CNI's list with ours behind it.
pub(crate) fn aws(lab: &Lab, version: &str) -> Chain {
    primary(lab, version).plugin(ours(lab))
}

fn primary(lab: &Lab, version: &str) -> Chain {
    Chain::new(lab, "aws-cni", version).unwrap().plugin(
        json!({"type": "aws-cni", "vethPrefix": "eni", "mtu": "9001", "podSGEnforcingMode": "strict", "ipv6": true,
            "pluginLogFile": "/dev/null", "capabilities": {"io.kubernetes.cri.pod-annotations": true}}),
    )
}

/// As [`aws`], with ours attached by this kit.
pub(crate) fn aws_by(lab: &Lab, version: &str, kit: Kit) -> Chain {
    let kind = match kit {
        Kit::Tcx => "tcx",
        Kit::Clsact => "clsact",
    };
    let mut config = ours(lab);
    config["attach"] = json!(kind);
    primary(lab, version).plugin(config)
}

/// The records of endpoints, by the names of their files.
pub(crate) fn records(lab: &Lab) -> Vec<Value> {
    let mut paths: Vec<PathBuf> = match fs::read_dir(lab.root().join("run/chainkit/endpoints")) {
        Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
        Err(_) => Vec::new(),
    };
    paths.sort();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    // One may go while they are read.
    paths.iter().filter_map(|path| fs::read(path).ok()).map(|text| serde_json::from_slice(&text).unwrap()).collect()
}

/// The only record of a container.
pub(crate) fn record(lab: &Lab, container_id: &str) -> Value {
    let all = records(lab);
    let mut found: Vec<&Value> = all.iter().filter(|record| record["container_id"] == container_id).collect();
    assert_eq!(found.len(), 1, "{container_id} in {all:#?}; {}", log(lab));
    found.remove(0).clone()
}

/// The node's pinned datapath.
pub(crate) fn datapath(lab: &Lab) -> Datapath {
    Datapath::open(&Pins::below(lab.root())).unwrap().unwrap_or_else(|| panic!("no datapath; {}", log(lab)))
}

/// Asserts that a container's record tells of these interfaces of the pod, and that ours hangs once on both directions of the host end of
/// each and has an endpoint there. To be called in the node's namespace.
pub(crate) fn assert_attached(lab: &Lab, container_id: &str, interfaces: &[&str]) {
    let record = record(lab, container_id);
    let listed = record["interfaces"].as_array().unwrap();
    let names: Vec<&str> = listed.iter().map(|interface| interface["name"].as_str().unwrap()).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>(), interfaces.iter().collect(), "{record:#}");
    let datapath = datapath(lab);
    for interface in listed {
        let ifindex = u32::try_from(interface["host_ifindex"].as_u64().unwrap()).unwrap();
        let name = interface["host_name"].as_str().unwrap();
        assert_eq!(lab.node().ifindex(name).unwrap(), ifindex, "{record:#}");
        assert!(datapath.endpoint(ifindex).unwrap().is_some(), "{name} is no endpoint; {}", log(lab));
        for direction in Direction::BOTH {
            let count = ours_on(&datapath, ifindex, direction);
            assert_eq!(count, 1, "programs of ours on the {} of {name}; {}", direction.name(), log(lab));
        }
    }
}

/// As [`assert_attached`], for a pod with nothing but `eth0`.
pub(crate) fn assert_pod_attached(lab: &Lab, pod: &Pod) {
    assert_attached(lab, &pod.container_id, &["eth0"]);
    let record = record(lab, &pod.container_id);
    assert_eq!(record["interfaces"][0]["host_ifindex"], pod.host_ifindex, "{record:#}");
}

/// How many programs of ours hang on one end of an interface.
pub(crate) fn ours_on(datapath: &Datapath, ifindex: u32, direction: Direction) -> usize {
    let ids = datapath.program_ids();
    hung(ifindex, direction).unwrap_or_default().iter().filter(|found| ids.contains(&found.program)).count()
}

/// Asserts that nothing is left of any pod: no record, link, pin, endpoint or remembered connection; the datapath itself stays.
pub(crate) fn assert_nothing_left(lab: &Lab) {
    assert_eq!(records(lab), [] as [Value; 0], "{}", log(lab));
    let endpoints = lab.root().join("run/chainkit/endpoints");
    let files: Vec<_> = fs::read_dir(&endpoints).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    assert!(files.is_empty(), "{files:?}");
    let datapath = datapath(lab);
    let left = datapath.endpoints().unwrap();
    assert!(left.is_empty(), "{left:?}; {}", log(lab));
    let pins = Pins::below(lab.root());
    let names = |folder: &Path| -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let links = names(&pins.directory().join("links"));
    assert!(links.is_empty(), "{links:?}");
    // Nor what was half made when somebody was killed.
    let abis = names(pins.directory().parent().unwrap());
    assert_eq!(abis, [ABI_VERSION.to_string()]);
    for interface in &nix::net::if_::if_nameindex().unwrap() {
        for direction in Direction::BOTH {
            // A link whose last pin is gone is taken off a moment later.
            eventually("a program of ours stays on an interface", || {
                ours_on(&datapath, interface.index(), direction) == 0
            });
        }
    }
}

/// How many connections all tables remember, whether or not an endpoint has them now; by `bpftool`, which sees the tables as the kernel
/// has them. Nothing, after having said so, where that is not installed.
pub(crate) fn remembered(lab: &Lab) -> Option<usize> {
    let bpftool = |arguments: &[&str]| -> Option<Vec<Value>> {
        let output = Command::new("bpftool").args(["-j", "map", "dump"]).args(arguments).output();
        let Ok(output) = output else {
            skip("bpftool is not installed, and so nobody looks into tables without an endpoint");
            return None;
        };
        Some(
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output:?}")),
        )
    };
    let mut entries = 0;
    for name in ["CONNS4", "CONNS6"] {
        let pin = Pins::below(lab.root()).directory().join("maps").join(name);
        let tables = bpftool(&["pinned", pin.to_str().unwrap()])?;
        for table in &tables {
            // Its id, as bytes in the order of this machine.
            let bytes =
                table["value"].as_array().unwrap().iter().map(|byte| byte.as_str().unwrap().trim_start_matches("0x"));
            let bytes: Vec<u8> = bytes.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
            let id = u32::from_ne_bytes(bytes.try_into().unwrap());
            entries += bpftool(&["id", &id.to_string()])?.len();
        }
    }
    Some(entries)
}

/// Runs `cni-chain` as people do, in the node's namespace; it has to end well. What it has written to stdout.
pub(crate) fn cni_chain(lab: &Lab, arguments: &[&str]) -> String {
    let program = chainkit_lab::program("cni-chain").unwrap();
    let mut command = lab.node().command(program);
    let output = command.arg("--root").arg(lab.root()).args(arguments).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {}: {stdout}{stderr}", output.status);
    stdout.into_owned()
}
