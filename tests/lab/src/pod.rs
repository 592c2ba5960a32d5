//! Pods: what they are called, and how the VPC CNI wires one to the node.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use sha1::{Digest, Sha1};

use crate::{Error, Netns, Running};

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
    let digest = Sha1::digest(format!("{namespace}.{name}"));
    let hexadecimal: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("eni{}", hexadecimal.get(..11).unwrap_or(&hexadecimal))
}

/// What a pod is to be.
#[derive(Clone, Debug)]
pub struct PodSpec {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) owner: (String, String),
    pub(crate) ipv6: bool,
}

impl PodSpec {
    /// A pod with the label `app` bearing its name, of a `ReplicaSet` of a `Deployment` of its name.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        let hash = template_hash(namespace, name);
        let labels = [("app", name), ("pod-template-hash", hash.as_str())];
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            owner: ("ReplicaSet".to_owned(), format!("{name}-{hash}")),
            ipv6: false,
        }
    }

    /// Adds a label, or replaces its value.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Makes it belong to another workload, as in `("DaemonSet", "node-exporter")`.
    #[must_use]
    pub fn owner(mut self, kind: &str, name: &str) -> Self {
        self.labels.remove("pod-template-hash");
        self.owner = (kind.to_owned(), name.to_owned());
        self
    }

    /// Gives it an IPv6 address besides its IPv4 address.
    #[must_use]
    pub fn ipv6(mut self) -> Self {
        self.ipv6 = true;
        self
    }
}

/// Something in the form of the hash that a Deployment's controller adds, the same for the same pod.
fn template_hash(namespace: &str, name: &str) -> String {
    let digest = Sha1::digest(format!("template {namespace}/{name}"));
    digest.iter().take(5).map(|byte| format!("{byte:02x}")).collect()
}

/// A pod of the lab's node. Copies of it are the same pod.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Its namespace in Kubernetes.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID, which no other pod of any lab of this process has.
    pub uid: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Kind and name of what owns it.
    pub owner: (String, String),
    /// Its address.
    pub ip4: Ipv4Addr,
    /// Its IPv6 address, where it was to have one.
    pub ip6: Option<Ipv6Addr>,
    /// The host end of its veth, as the node calls it.
    pub host_ifname: String,
    /// Index of the host end, in the node's namespace.
    pub host_ifindex: u32,
    /// MAC address of the host end.
    pub host_mac: [u8; 6],
    /// MAC address of its `eth0`.
    pub mac: [u8; 6],
    netns: Arc<Netns>,
}

impl Pod {
    /// Makes the namespace and wires it to the node, in which the pod's traffic from then on follows table `table`.
    pub(crate) fn wire(
        node: &Netns,
        spec: &PodSpec,
        uid: String,
        ip4: Ipv4Addr,
        ip6: Option<Ipv6Addr>,
        table: u32,
    ) -> Result<Self, Error> {
        let netns = Netns::new(format!("{}/{}", spec.namespace, spec.name))?;
        let host_ifname = host_veth_name(&spec.namespace, &spec.name);
        let (host_mac, mac) = macs(ip4);
        // Duplicate address detection would hold up the pod's IPv6 for seconds, for a link that has two ends.
        for setting in ["accept_dad", "accept_ra"] {
            netns.sysctl(&format!("ipv6/conf/all/{setting}"), "0")?;
            netns.sysctl(&format!("ipv6/conf/default/{setting}"), "0")?;
        }
        let mut commands = vec![
            format!(
                "link add {host_ifname} mtu {MTU} address {} type veth peer name eth0 mtu {MTU} address {} netns {}",
                colons(host_mac),
                colons(mac),
                netns.path().display()
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
        let mut commands = vec![
            format!("address add {ip4}/32 dev eth0"),
            "link set eth0 up".to_owned(),
            format!("route add {GATEWAY} dev eth0 scope link"),
            format!("route add default via {GATEWAY} dev eth0"),
            format!("neighbour add {GATEWAY} lladdr {} dev eth0 nud permanent", colons(host_mac)),
        ];
        if let Some(ip6) = ip6 {
            commands.push(format!("address add {ip6}/128 dev eth0 nodad"));
            commands.push(format!("route add {GATEWAY6} dev eth0"));
            commands.push(format!("route add ::/0 via {GATEWAY6} dev eth0"));
            commands.push(format!("neighbour add {GATEWAY6} lladdr {} dev eth0 nud permanent", colons(host_mac)));
        }
        netns.ip(commands.iter().map(String::as_str))?;
        let host_ifindex = node.ifindex(&host_ifname)?;
        Ok(Self {
            namespace: spec.namespace.clone(),
            name: spec.name.clone(),
            uid,
            labels: spec.labels.clone(),
            owner: spec.owner.clone(),
            ip4,
            ip6,
            host_ifname,
            host_ifindex,
            host_mac,
            mac,
            netns: Arc::new(netns),
        })
    }

    /// Undoes what [`Pod::wire`] did to the node, as the CNI's DEL does; the interface goes first.
    pub(crate) fn unwire(&self, node: &Netns) -> Result<(), Error> {
        let (ip4, host_ifname) = (self.ip4, &self.host_ifname);
        let commands = [
            format!("link delete {host_ifname}"),
            format!("rule delete to {ip4}/32 priority {TO_POD_PRIORITY}"),
            format!("rule delete from {ip4}/32 priority {FROM_POD_PRIORITY}"),
        ];
        node.ip(commands.iter().map(String::as_str))?;
        if let Some(ip6) = self.ip6 {
            let rule = format!("rule delete to {ip6}/128 priority {TO_POD_PRIORITY}");
            node.ip6([rule.as_str()])?;
        }
        Ok(())
    }

    /// Its network namespace.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// A path that opens its network namespace; see [`Netns::path`].
    #[must_use]
    pub fn netns_path(&self) -> &Path {
        self.netns.path()
    }

    /// A command that runs inside; see [`Netns::command`].
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        self.netns.command(program)
    }

    /// Starts a program inside; see [`Netns::spawn`].
    ///
    /// # Errors
    /// As [`Netns::spawn`].
    pub fn spawn<I, S>(&self, program: impl AsRef<std::ffi::OsStr>, arguments: I) -> Result<Running, Error>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<std::ffi::OsStr>,
    {
        self.netns.spawn(program, arguments)
    }

    /// Runs `work` on a thread inside; see [`Netns::run`].
    ///
    /// # Errors
    /// As [`Netns::run`].
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        self.netns.run(work)
    }
}

/// Locally administered addresses of the two ends of the veth of the pod with this address: host end, pod's end.
fn macs(ip4: Ipv4Addr) -> ([u8; 6], [u8; 6]) {
    let [a, b, c, d] = ip4.octets();
    ([0x06, 0x00, a, b, c, d], [0x06, 0x01, a, b, c, d])
}

fn colons(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::host_veth_name;

    #[test]
    fn the_host_veth_is_named_as_the_vpc_cni_names_it() {
        // printf %s shop.cart | sha1sum
        assert_eq!(host_veth_name("shop", "cart"), "enie45f23531db");
    }
}
