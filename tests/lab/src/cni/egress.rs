//! `egress-cni`: gives a pod a second veth for what leaves the cluster in the other family, as the VPC CNI's plugin of that name; its result
//! says nothing of it.

use std::net::Ipv4Addr;

use super::plugin::{Refusal, Request};
use crate::wire::hashed_name;
use crate::{Error, Netns};

/// The VPC CNI's range for these, of which none is ever seen outside of the node.
const BASE: Ipv4Addr = Ipv4Addr::new(169, 254, 172, 0);
/// The name of the pod's end.
const IFNAME: &str = "v4if0";

pub(super) fn answer(request: &Request) -> Result<String, Refusal> {
    let netns = &request.netns;
    match request.verb.as_str() {
        "ADD" => {
            let passed_on = request.passed_on()?;
            let (node, pod) = (Netns::current("node")?, Netns::open(netns, "pod")?);
            lay(&node, &pod, request)?;
            Ok(passed_on)
        }
        "DEL" => {
            if let Ok(pod) = Netns::open(netns, "pod") {
                // Gone already when this is repeated.
                let _ = pod.ip([format!("link delete {IFNAME}").as_str()]);
            }
            Ok(String::new())
        }
        _ => Ok(String::new()),
    }
}

fn lay(node: &Netns, pod: &Netns, request: &Request) -> Result<(), Error> {
    let host_ifname = hashed_name("veth", "egress", &request.container_id, 0);
    // That of an ADD before; most often there is none.
    let _ = node.ip([format!("link delete {host_ifname}").as_str()]);
    node.ip([format!("link add {host_ifname} type veth peer name {IFNAME} netns {}", pod.path().display()).as_str()])?;
    // Interface indexes differ on one node, and so do the addresses made of them.
    let number = node.ifindex(&host_ifname)? % 0x1ff * 2 + 2;
    let [host, inside] = [number, number + 1].map(|number| Ipv4Addr::from_bits(BASE.to_bits() + number));
    let commands =
        [format!("address add {host}/32 peer {inside}/32 dev {host_ifname}"), format!("link set {host_ifname} up")];
    node.ip(commands.iter().map(String::as_str))?;
    let commands = [format!("address add {inside}/32 peer {host}/32 dev {IFNAME}"), format!("link set {IFNAME} up")];
    pod.ip(commands.iter().map(String::as_str))
}
