//! Pods: what they are called, and what a test may do in one.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use serde_json::Value;
use sha1::{Digest, Sha1};

use crate::cni::{Attachment, Chain};
use crate::wire::{Wiring, host_veth_name};
use crate::{Error, Netns, Running};

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
    /// Id of its sandbox, as a runtime gives one: 64 hexadecimal digits.
    pub container_id: String,
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
        let wiring = Wiring::of(host_veth_name(&spec.namespace, &spec.name), ip4, ip6, table);
        wiring.lay(node, &netns)?;
        let ends = Ends {
            host_ifindex: node.ifindex(&wiring.host_ifname)?,
            host_mac: wiring.host_mac(),
            mac: wiring.mac(),
            host_ifname: wiring.host_ifname,
        };
        let container_id = container_id(&uid);
        Ok(Self::made(spec, uid, container_id, (ip4, ip6), ends, netns))
    }

    /// Makes the namespace and has a chain attach it.
    pub(crate) fn attach(node: &Netns, spec: &PodSpec, uid: String, chain: &Chain) -> Result<Self, Error> {
        let netns = Netns::new(format!("{}/{}", spec.namespace, spec.name))?;
        let container_id = container_id(&uid);
        let attachment = Attachment::new(&container_id, netns.path()).of_pod(&spec.namespace, &spec.name, &uid);
        let result = chain.add(&attachment)?;
        let addresses = result_addresses(&result);
        let ip4 = addresses.iter().find_map(|address| if let IpAddr::V4(ip4) = address { Some(*ip4) } else { None });
        let ip6 = addresses.iter().find_map(|address| if let IpAddr::V6(ip6) = address { Some(*ip6) } else { None });
        let ip4 = ip4.ok_or_else(|| Error::invalid("use the result of a chain, which has no IPv4 address", result))?;
        let ends = Ends::find(node, &netns)?;
        Ok(Self::made(spec, uid, container_id, (ip4, ip6), ends, netns))
    }

    fn made(
        spec: &PodSpec,
        uid: String,
        container_id: String,
        (ip4, ip6): (Ipv4Addr, Option<Ipv6Addr>),
        ends: Ends,
        netns: Netns,
    ) -> Self {
        Self {
            namespace: spec.namespace.clone(),
            name: spec.name.clone(),
            uid,
            container_id,
            labels: spec.labels.clone(),
            owner: spec.owner.clone(),
            ip4,
            ip6,
            host_ifname: ends.host_ifname,
            host_ifindex: ends.host_ifindex,
            host_mac: ends.host_mac,
            mac: ends.mac,
            netns: Arc::new(netns),
        }
    }

    /// How a runtime names it to plugins.
    #[must_use]
    pub fn attachment(&self) -> Attachment {
        Attachment::new(&self.container_id, self.netns_path()).of_pod(&self.namespace, &self.name, &self.uid)
    }

    /// Undoes what [`Pod::wire`] did to the node, as the CNI's DEL does; the interface goes first.
    pub(crate) fn unwire(&self, node: &Netns) -> Result<(), Error> {
        Wiring::of(self.host_ifname.clone(), self.ip4, self.ip6, 0).take_up(node)
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

/// The two ends of a pod's veth.
struct Ends {
    host_ifname: String,
    host_ifindex: u32,
    host_mac: [u8; 6],
    mac: [u8; 6],
}

impl Ends {
    /// Asks the kernel, since results of plugins differ in what they say.
    fn find(node: &Netns, pod: &Netns) -> Result<Self, Error> {
        let inside = pod.link("dev eth0")?;
        let number = |link: &Value, key: &str| link.get(key).and_then(Value::as_u64).unwrap_or(0);
        let peer = number(&inside, "link_index");
        let of_peer = |link: &Value| number(link, "ifindex") == peer;
        let outside = node.links()?.into_iter().find(of_peer).ok_or_else(|| {
            Error::invalid(format!("find the host end of {}", pod.name()), format!("the node has no interface {peer}"))
        })?;
        let name = outside.get("ifname").and_then(Value::as_str).unwrap_or_default().to_owned();
        let host_ifindex = u32::try_from(peer).unwrap_or(0);
        Ok(Self { host_ifname: name, host_ifindex, host_mac: mac(&outside), mac: mac(&inside) })
    }
}

/// The MAC address of a link as `ip -json link` shows it.
fn mac(link: &Value) -> [u8; 6] {
    let text = link.get("address").and_then(Value::as_str).unwrap_or_default();
    let mut bytes = [0; 6];
    for (byte, digits) in bytes.iter_mut().zip(text.split(':')) {
        *byte = u8::from_str_radix(digits, 16).unwrap_or(0);
    }
    bytes
}

/// The addresses of a result, in order, of any version from 0.3.0 on.
fn result_addresses(result: &str) -> Vec<IpAddr> {
    let result: Value = serde_json::from_str(result).unwrap_or_default();
    let ips = result.get("ips").and_then(Value::as_array).cloned().unwrap_or_default();
    let address = |ip: &Value| ip.get("address")?.as_str()?.split('/').next()?.parse().ok();
    ips.iter().filter_map(address).collect()
}

/// One that no other pod of any lab has.
fn container_id(uid: &str) -> String {
    let digest = Sha1::digest(format!("{}/{uid}", std::process::id()));
    let hexadecimal: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{hexadecimal}{hexadecimal}").chars().take(64).collect()
}
