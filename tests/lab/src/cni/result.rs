//! Results as the VPC CNI writes them, in each version of the specification.

use serde_json::{Value, json};

use super::plugin::Request;
use crate::wire::{Wiring, hashed_name};

/// What the VPC CNI answers to ADD. Its interfaces are for its own DEL as much as for anyone: the pod's end bears the number of the
/// routing table, and a last one that does not exist bears the VLAN (0: none) and the device number of the ENI.
pub(super) fn of(request: &Request, wirings: &[Wiring], namespace: &str, name: &str) -> Value {
    let version = request.version();
    let sandbox = request.netns.display().to_string();
    let mut interfaces = Vec::new();
    let mut ips = Vec::new();
    let mut routes = Vec::new();
    for wiring in wirings {
        interfaces.push(json!({"name": wiring.host_ifname}));
        let table = wiring.table.to_string();
        let mut inside = json!({"name": wiring.ifname, "sandbox": sandbox, "mac": table});
        if version >= (1, 1) {
            inside["mtu"] = json!(wiring.mtu);
            inside["pciID"] = json!(table);
            routes.push(json!({"dst": "0.0.0.0/0", "gw": "169.254.1.1", "mtu": wiring.mtu, "advmss": wiring.mtu - 40,
                "priority": 100 + wiring.index, "table": wiring.table, "scope": 0}));
        }
        interfaces.push(inside);
        let addresses = (wiring.ip6.iter().map(|address| ("6", format!("{address}/128"))))
            .chain([("4", format!("{}/32", wiring.ip4))]);
        let mut addresses: Vec<(&str, String)> = addresses.collect();
        addresses.reverse();
        for (family, address) in addresses {
            let mut ip = json!({"interface": interfaces.len() - 1, "address": address});
            if version < (1, 0) {
                ip["version"] = json!(family);
            }
            ips.push(ip);
        }
    }
    let device = wirings.first().map_or(0, |wiring| wiring.table.saturating_sub(1));
    let mut dummy =
        json!({"name": hashed_name("dummy", namespace, name, 0), "mac": "0", "sandbox": device.to_string()});
    if version >= (1, 1) {
        dummy["socketPath"] = json!(wirings.len().to_string());
    }
    interfaces.push(dummy);
    let mut result =
        json!({"cniVersion": request.config["cniVersion"], "interfaces": interfaces, "ips": ips, "dns": {}});
    if !routes.is_empty() {
        result["routes"] = json!(routes);
    }
    result
}
