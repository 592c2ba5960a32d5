//! `aws-cni`: a primary that wires pods to the lab's node and answers as the VPC CNI's does, without its daemon.
//!
//! Its config is the VPC CNI's; `"ipv6": true` gives each pod an IPv6 address besides. Several interfaces are asked for as there, by the
//! pod's annotation `k8s.amazonaws.com/nicConfig` (capability `io.kubernetes.cri.pod-annotations`).

use std::path::Path;

use serde_json::Value;

use super::ipam::{Allocation, Ipam, Metadata};
use super::plugin::{Refusal, Request};
use super::result;
use crate::lab::ENI_TABLE;
use crate::wire::{Wiring, hashed_name};
use crate::{Error, Netns};

pub(super) fn answer(request: &Request) -> Result<String, Refusal> {
    match request.verb.as_str() {
        "ADD" => add(request).map(|result| result.to_string()),
        "DEL" => del(request).map(|()| String::new()),
        "CHECK" => check(request).map(|()| String::new()),
        "GC" => gc(request).map(|()| String::new()),
        "STATUS" => Ok(Ipam::open(&request.root).map(|_| String::new())?),
        other => Err(Refusal::new(4, format!("CNI_COMMAND {other:?} is unknown"))),
    }
}

fn add(request: &Request) -> Result<Value, Refusal> {
    let (namespace, name) = (request.arg("K8S_POD_NAMESPACE"), request.arg("K8S_POD_NAME"));
    let (network, container_id, ifname) = (request.network(), &request.container_id, &request.ifname);
    let annotation =
        &request.config["runtimeConfig"]["io.kubernetes.cri.pod-annotations"]["k8s.amazonaws.com/nicConfig"];
    let interfaces = if annotation == "multi-nic-attachment" { 2 } else { 1 };
    let metadata = Metadata { namespace: namespace.to_owned(), name: name.to_owned(), interfaces };
    // A repeated ADD finds the addresses that the first one took.
    let mut ipam = Ipam::open(&request.root)?;
    if ipam.of(network, container_id, ifname).is_empty() {
        ipam.take(network, container_id, ifname, &metadata)?;
    }
    let wirings = wirings(request, &ipam.of(network, container_id, ifname));
    drop(ipam);
    if let Err(error) = wire(&request.netns, &wirings) {
        Ipam::open(&request.root)?.free(network, container_id, ifname)?;
        return Err(error.into());
    }
    Ok(result::of(request, &wirings, namespace, name))
}

fn wire(netns: &Path, wirings: &[Wiring]) -> Result<(), Error> {
    let (node, pod) = (Netns::current("node")?, Netns::open(netns, "pod")?);
    for wiring in wirings {
        // That of an ADD before, of this container or of one that bore the pod's name; most often there is none, or it goes just now.
        let _ = node.ip([format!("link delete {}", wiring.host_ifname).as_str()]);
        // Rules of an ADD that got no further.
        let _ = wiring.forget(&node);
        wiring.lay(&node, &pod)?;
    }
    Ok(())
}

/// Frees the address and takes routes and rules away; the veth goes with the pod's namespace, as the VPC CNI has it.
fn del(request: &Request) -> Result<(), Refusal> {
    if let Some(previous) = &request.previous {
        read_own_result(previous)?;
    }
    let (network, container_id, ifname) = (request.network(), &request.container_id, &request.ifname);
    let allocations = Ipam::open(&request.root)?.of(network, container_id, ifname);
    release(request, &allocations)
}

fn release(request: &Request, allocations: &[Allocation]) -> Result<(), Refusal> {
    let node = Netns::current("node")?;
    for wiring in wirings(request, allocations) {
        // Gone already where the veth is.
        let _ = node.ip([format!("route delete {}/32 dev {}", wiring.ip4, wiring.host_ifname).as_str()]);
        let _ = wiring.forget(&node);
    }
    if let Some(Allocation { network_name, container_id, if_name, .. }) = allocations.first() {
        Ipam::open(&request.root)?.free(network_name, container_id, if_name)?;
    }
    Ok(())
}

/// Reads what the VPC CNI's DEL reads of its own result, by its place in the list: the last interface is the one that does not exist, with
/// the number of the VLAN as its MAC address.
fn read_own_result(previous: &str) -> Result<(), Refusal> {
    let result: Value = serde_json::from_str(previous).unwrap_or_default();
    let last = result["interfaces"].as_array().and_then(|interfaces| interfaces.last()).cloned().unwrap_or_default();
    let is_dummy = last["name"].as_str().is_some_and(|name| name.starts_with("dummy"));
    if is_dummy && last["mac"].as_str().is_some_and(|vlan| vlan.parse::<u32>().is_ok()) {
        return Ok(());
    }
    Err(Refusal::new(999, format!("the last interface of prevResult is not the one that aws-cni put there: {last}")))
}

fn check(request: &Request) -> Result<(), Refusal> {
    let allocations = Ipam::open(&request.root)?.of(request.network(), &request.container_id, &request.ifname);
    let node = Netns::current("node")?;
    for wiring in wirings(request, &allocations) {
        node.ifindex(&wiring.host_ifname)?;
    }
    if allocations.is_empty() {
        return Err(Refusal::new(3, format!("container {} has no address", request.container_id)));
    }
    Ok(())
}

fn gc(request: &Request) -> Result<(), Refusal> {
    let Some(valid) = request.valid() else { return Ok(()) };
    let allocations = Ipam::open(&request.root)?.all(request.network());
    for stale in allocations {
        if !valid.iter().any(|(id, ifname)| *id == stale.container_id && *ifname == stale.if_name) {
            release(request, &[stale])?;
        }
    }
    Ok(())
}

fn wirings(request: &Request, allocations: &[Allocation]) -> Vec<Wiring> {
    let prefix = request.config["vethPrefix"].as_str().unwrap_or("eni");
    let mtu = request.config["mtu"].as_str().and_then(|mtu| mtu.parse().ok()).unwrap_or(crate::wire::MTU);
    let each = |(index, allocation): (usize, &Allocation)| {
        let Metadata { namespace, name, .. } = &allocation.metadata;
        let ip6 = (request.config["ipv6"] == true).then(|| allocation.ipv6()).filter(|_| index == 0);
        let host_ifname = hashed_name(prefix, namespace, name, index);
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        let first = Wiring { mtu, ..Wiring::of(host_ifname, allocation.ipv4, ip6, ENI_TABLE) };
        if index == 0 {
            return Wiring { ifname: request.ifname.clone(), ..first };
        }
        Wiring { ifname: format!("mNicIf{index}"), index: number, ..first }
    };
    allocations.iter().enumerate().map(each).collect()
}
