//! How the VPC CNI wires a pod to its node: a routed veth without a bridge, one address, and rules for the way there and back.

use std::net::{Ipv4Addr, Ipv6Addr};

use sha1::{Digest, Sha1};

use crate::{Error, Netns};

/// Where every pod sends everything: the VPC CNI's gateway that nobody has, answered for by a permanent neighbour entry.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// The same for IPv6.
const GATEWAY6: &str = "fe80::1";
/// The VPC CNI's default MTU (`AWS_VPC_ENI_MTU`), in bytes.
pub(crate) const MTU: u32 = 9001;
/// The VPC CNI's rule priorities (`toContainerRulePriority` and `fromPodRulePriority` of amazon-vpc-cni-k8s).
const TO_POD_PRIORITY: u32 = 512;
const FROM_POD_PRIORITY: u32 = 1536;

/// The name that the VPC CNI gives the host end of a pod's veth: `eni` and the first 11 hexadecimal digits of the SHA-1
/// of `namespace.name`.
///
/// ```
/// assert_eq!(chainkit_lab::host_veth_name("default", "nginx").len(), 14);
/// ```
#[must_use]
pub fn host_veth_name(namespace: &str, name: &str) -> String {
    hashed_name("eni", namespace, name, 0)
}

/// The name of the host end of the pod's interface number `index`, where the first is 0 (`GeneratePodHostVethName`).
pub(crate) fn hashed_name(prefix: &str, namespace: &str, name: &str, index: usize) -> String {
    let hashed = if index == 0 { format!("{namespace}.{name}") } else { format!("{namespace}.{name}.{index}") };
    let hexadecimal: String = Sha1::digest(hashed).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{prefix}{}", hexadecimal.get(..11).unwrap_or(&hexadecimal))
}

/// A veth from the node to a pod, and all that goes with it.
#[derive(Clone, Debug)]
pub(crate) struct Wiring {
    /// Its host end.
    pub(crate) host_ifname: String,
    /// Its name in the pod.
    pub(crate) ifname: String,
    pub(crate) ip4: Ipv4Addr,
    pub(crate) ip6: Option<Ipv6Addr>,
    /// The node's routing table for what the pod sends through it.
    pub(crate) table: u32,
    /// In the pod: 0 for the first interface, which the default route takes; others have a table of their own, for what is sent
    /// from their address.
    pub(crate) index: u32,
    pub(crate) mtu: u32,
}

impl Wiring {
    /// That of a pod's `eth0`.
    pub(crate) fn of(host_ifname: String, ip4: Ipv4Addr, ip6: Option<Ipv6Addr>, table: u32) -> Self {
        Self { host_ifname, ifname: "eth0".to_owned(), ip4, ip6, table, index: 0, mtu: MTU }
    }

    /// MAC address of the host end: locally administered, made of the address.
    pub(crate) fn host_mac(&self) -> [u8; 6] {
        let [a, b, c, d] = self.ip4.octets();
        [0x06, 0x00, a, b, c, d]
    }

    /// MAC address of the pod's end.
    pub(crate) fn mac(&self) -> [u8; 6] {
        let [a, b, c, d] = self.ip4.octets();
        [0x06, 0x01, a, b, c, d]
    }

    /// Lays it from the node to the pod.
    pub(crate) fn lay(&self, node: &Netns, pod: &Netns) -> Result<(), Error> {
        // Duplicate address detection would hold up the pod's IPv6 for seconds, for a link that has two ends.
        for setting in ["accept_dad", "accept_ra"] {
            pod.sysctl(&format!("ipv6/conf/all/{setting}"), "0")?;
            pod.sysctl(&format!("ipv6/conf/default/{setting}"), "0")?;
        }
        let Self { host_ifname, ifname, ip4, ip6, table, index, mtu } = self;
        let (host_mac, mac) = (colons(self.host_mac()), colons(self.mac()));
        let mut commands = vec![
            format!(
                "link add {host_ifname} mtu {mtu} address {host_mac} type veth peer name {ifname} mtu {mtu} address {mac} netns {}",
                pod.path().display()
            ),
            format!("link set {host_ifname} up"),
            format!("route add {ip4}/32 dev {host_ifname} scope link"),
            format!("rule add to {ip4}/32 table main priority {TO_POD_PRIORITY}"),
            format!("rule add from {ip4}/32 table {table} priority {FROM_POD_PRIORITY}"),
        ];
        if let Some(ip6) = ip6 {
            commands.push(format!("route add {ip6}/128 dev {host_ifname}"));
        }
        node.ip(commands.iter().map(String::as_str))?;
        if let Some(ip6) = ip6 {
            let rule = format!("rule add to {ip6}/128 table main priority {TO_POD_PRIORITY}");
            node.ip6([rule.as_str()])?;
        }
        let pods_table = if *index == 0 { "main".to_owned() } else { index.to_string() };
        let mut commands = vec![
            format!("address add {ip4}/32 dev {ifname}"),
            format!("link set {ifname} up"),
            format!("route add {GATEWAY} dev {ifname} scope link table {pods_table}"),
            format!("route add default via {GATEWAY} dev {ifname} table {pods_table}"),
            format!("neighbour add {GATEWAY} lladdr {host_mac} dev {ifname} nud permanent"),
        ];
        if *index != 0 {
            commands.push(format!("rule add from {ip4}/32 table {pods_table}"));
        }
        if let Some(ip6) = ip6 {
            commands.push(format!("address add {ip6}/128 dev {ifname} nodad"));
            commands.push(format!("route add {GATEWAY6} dev {ifname}"));
            commands.push(format!("route add ::/0 via {GATEWAY6} dev {ifname}"));
            commands.push(format!("neighbour add {GATEWAY6} lladdr {host_mac} dev {ifname} nud permanent"));
        }
        pod.ip(commands.iter().map(String::as_str))
    }

    /// Undoes what [`Wiring::lay`] did to the node; the interface goes first.
    pub(crate) fn take_up(&self, node: &Netns) -> Result<(), Error> {
        let link = format!("link delete {}", self.host_ifname);
        node.ip([link.as_str()])?;
        self.forget(node)
    }

    /// Takes away what is left on the node when the interface is gone.
    pub(crate) fn forget(&self, node: &Netns) -> Result<(), Error> {
        let ip4 = self.ip4;
        let rules = [
            format!("rule delete to {ip4}/32 priority {TO_POD_PRIORITY}"),
            format!("rule delete from {ip4}/32 priority {FROM_POD_PRIORITY}"),
        ];
        node.ip(rules.iter().map(String::as_str))?;
        if let Some(ip6) = self.ip6 {
            let rule = format!("rule delete to {ip6}/128 priority {TO_POD_PRIORITY}");
            node.ip6([rule.as_str()])?;
        }
        Ok(())
    }
}

fn colons(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::{hashed_name, host_veth_name};

    #[test]
    fn the_host_veth_is_named_as_the_vpc_cni_names_it() {
        // printf %s shop.cart | sha1sum
        assert_eq!(host_veth_name("shop", "cart"), "enie45f23531db");
    }

    #[test]
    fn further_interfaces_hash_their_number_too() {
        // printf %s shop.cart.1 | sha1sum
        assert_eq!(hashed_name("eni", "shop", "cart", 1), "enid5da5ff87ea");
    }
}
