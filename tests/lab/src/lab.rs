//! The node, the network around it, and the pods.
//!
//! ```text
//!  pods' namespaces             the node's namespace                      the world's namespace
//!  shop/cart  eth0 ------- eni1a2b...   10.1.1.1/32 dev eni1a2b...
//!  10.1.1.1/32                          512  to 10.1.1.1   -> main
//!  shop/web   eth0 ------- eni3c4d...   1536 from 10.1.1.1 -> table 2
//!  10.1.1.2/32                          eth0 10.0.1.10/24 ------------- eth0 10.0.1.1    lo: 198.51.100.10 (the Internet),
//!                                       eth1 10.1.0.10/16 ------------- eth1 10.1.0.1        10.0.2.10 (another node), its pods
//! ```
//!
//! `eth0` is the primary ENI, which carries the node's own address; `eth1` is a secondary one in a subnet for pods (custom networking), so
//! that their traffic takes a table of its own. IPv6 takes the primary ENI alone, as the VPC CNI has it (prefix delegation).

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::cni::Chain;
use crate::objects::{self, RemotePod, ServiceSpec};
use crate::plugins;
use crate::root::Root;
use crate::wire::MTU;
use crate::{Error, Netns, Pod, PodSpec};

/// Name of the node in Kubernetes.
pub const NODE_NAME: &str = "ip-10-0-1-10.lab.internal";
/// Address of the node.
pub const NODE: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 10);
/// IPv6 address of the node.
pub const NODE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10);
/// Name of the other node, of which only addresses exist.
pub const OTHER_NODE_NAME: &str = "ip-10-0-2-10.lab.internal";
/// Address of the other node.
pub const OTHER_NODE: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 10);
/// An address outside the cluster (of RFC 5737, TEST-NET-2), which answers.
pub const INTERNET: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
/// An IPv6 address outside the cluster (of RFC 3849), which answers.
pub const INTERNET6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0x10);

/// The pods' addresses come after this one, up to [`MOST_PODS`] of them.
const POD_BASE: Ipv4Addr = Ipv4Addr::new(10, 1, 1, 0);
/// The pods' IPv6 addresses come after this one.
const POD_BASE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 1, 0, 0, 0, 0);
/// Addresses of pods on the other node come after this one.
const REMOTE_POD_BASE: Ipv4Addr = Ipv4Addr::new(10, 2, 1, 0);
/// Far more than the 250 or so that an EKS node runs.
const MOST_PODS: u32 = 16_000;
/// Addresses of pods that the plugin `aws-cni` wires come after this one.
pub(crate) const CHAINED_POD_BASE: Ipv4Addr = Ipv4Addr::new(10, 1, 64, 0);
/// Their IPv6 addresses come after this one.
pub(crate) const CHAINED_POD_BASE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 1, 0, 0, 1, 0);
/// What fits into 10.1.0.0/16 after [`CHAINED_POD_BASE`].
pub(crate) const MOST_CHAINED_PODS: u32 = 40_000;
/// The secondary ENI's routing table: the VPC CNI takes the device number plus one.
pub(crate) const ENI_TABLE: u32 = 2;

/// A node with pods, and the network around it. All of it vanishes when this is dropped.
#[derive(Debug)]
pub struct Lab {
    pods: Mutex<Pods>,
    node: Netns,
    world: Netns,
    root: Root,
}

#[derive(Debug, Default)]
struct Pods {
    here: Vec<Pod>,
    elsewhere: Vec<RemotePod>,
    services: Vec<ServiceSpec>,
    /// How many addresses have been given out; none is given twice.
    addresses: u32,
    remote_addresses: u32,
}

impl Lab {
    /// Makes a node without pods, and what is around it.
    ///
    /// # Errors
    /// When the caller is not root, or `ip`, or the kernel's namespaces, veth or bpffs, are missing.
    pub fn new() -> Result<Self, Error> {
        let root = Root::new()?;
        let node = Netns::new("node")?;
        let world = Netns::new("world")?;
        wire_node(&node, &world)?;
        Ok(Self { pods: Mutex::default(), node, world, root })
    }

    /// The node's network namespace, where the programs run.
    #[must_use]
    pub fn node(&self) -> &Netns {
        &self.node
    }

    /// The network namespace of everything that is not on the node: [`INTERNET`], [`OTHER_NODE`] and its pods.
    #[must_use]
    pub fn world(&self) -> &Netns {
        &self.world
    }

    /// The tree to hand to the programs as `--root`, with a bpffs at `sys/fs/bpf`.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Adds a pod as [`PodSpec::new`] describes it.
    ///
    /// # Errors
    /// As [`Lab::pod_of`].
    pub fn pod(&self, namespace: &str, name: &str) -> Result<Pod, Error> {
        self.pod_of(&PodSpec::new(namespace, name))
    }

    /// Adds a pod.
    ///
    /// # Errors
    /// When one of that name is there, the addresses are used up, or the wiring fails.
    pub fn pod_of(&self, spec: &PodSpec) -> Result<Pod, Error> {
        self.is_free(spec)?;
        let mut pods = self.pods();
        if pods.addresses >= MOST_PODS {
            return Err(Error::Full(MOST_PODS));
        }
        pods.addresses += 1;
        let ip4 = nth(POD_BASE, pods.addresses);
        let ip6 = spec.ipv6.then(|| Ipv6Addr::from_bits(POD_BASE6.to_bits() + u128::from(pods.addresses)));
        let pod = Pod::wire(&self.node, spec, new_uid(), ip4, ip6, ENI_TABLE)?;
        pods.here.push(pod.clone());
        Ok(pod)
    }

    /// Adds a pod that a chain attaches, whose first plugin gives it its address.
    ///
    /// # Errors
    /// When one of that name is there, or the chain fails.
    pub fn pod_through(&self, chain: &Chain, spec: &PodSpec) -> Result<Pod, Error> {
        self.is_free(spec)?;
        // Not under the lock, so that many can be added at one time.
        let pod = Pod::attach(&self.node, spec, new_uid(), chain)?;
        self.pods().here.push(pod.clone());
        Ok(pod)
    }

    /// Has the chain detach a pod of [`Lab::pod_through`]. Its namespace goes with the last copy of `pod`, as with a runtime, which
    /// removes it after that.
    ///
    /// # Errors
    /// When the chain fails.
    pub fn delete_pod_through(&self, chain: &Chain, pod: &Pod) -> Result<(), Error> {
        chain.delete(&pod.attachment())?;
        self.pods().here.retain(|other| other.uid != pod.uid);
        Ok(())
    }

    /// Forgets a pod without touching anything, as when a node loses it: what is left of it is for others to find.
    pub fn forget_pod(&self, pod: &Pod) {
        self.pods().here.retain(|other| other.uid != pod.uid);
    }

    /// Does to the node's tree what a boot does: the bpffs is another and empty, `/run` is empty, `/var/lib` is as it was. What holds on
    /// to the kernel otherwise (namespaces, what hangs on interfaces without a pin) is not touched.
    ///
    /// # Errors
    /// When the bpffs cannot be mounted anew.
    pub fn reboot(&self) -> Result<(), Error> {
        self.root.boot()
    }

    fn is_free(&self, spec: &PodSpec) -> Result<(), Error> {
        if self.pods().here.iter().any(|pod| pod.namespace == spec.namespace && pod.name == spec.name) {
            return Err(Error::Duplicate { namespace: spec.namespace.clone(), name: spec.name.clone() });
        }
        Ok(())
    }

    /// Takes a pod of [`Lab::pod`] off the node: its interface, routes and rules go, its address is not used again.
    ///
    /// # Errors
    /// When it is not on the node any more.
    pub fn delete_pod(&self, pod: &Pod) -> Result<(), Error> {
        pod.unwire(&self.node)?;
        self.pods().here.retain(|other| other.uid != pod.uid);
        Ok(())
    }

    /// Adds a pod on the other node; its address is one of [`Lab::world`].
    ///
    /// # Errors
    /// When the addresses are used up, or the address cannot be added.
    pub fn remote_pod(&self, namespace: &str, name: &str) -> Result<Ipv4Addr, Error> {
        let mut pods = self.pods();
        if pods.remote_addresses >= MOST_PODS {
            return Err(Error::Full(MOST_PODS));
        }
        pods.remote_addresses += 1;
        let ip4 = nth(REMOTE_POD_BASE, pods.remote_addresses);
        self.world.ip([format!("address add {ip4}/32 dev lo").as_str()])?;
        pods.elsewhere.push(RemotePod { spec: PodSpec::new(namespace, name), uid: new_uid(), ip4 });
        Ok(ip4)
    }

    /// Adds a Service to the objects. Nothing forwards to its backends: there is no kube-proxy here.
    pub fn service(&self, spec: ServiceSpec) {
        self.pods().services.push(spec);
    }

    /// What `kubectl get pods,services,nodes,namespaces -A -o json` would print: a `List` of all of them.
    #[must_use]
    pub fn objects(&self) -> Value {
        let pods = self.pods();
        objects::list(&pods.here, &pods.elsewhere, &pods.services)
    }

    /// Writes [`Lab::objects`] to a file below [`Lab::root`], for `--pods`; a later call replaces it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn pods_file(&self) -> Result<PathBuf, Error> {
        let path = self.root().join("tmp/pods.json");
        fs::write(&path, format!("{:#}\n", self.objects())).map_err(Error::io(format!("write {}", path.display())))?;
        Ok(path)
    }

    /// The folder of CNI plugins, below [`Lab::root`]: Debian's where they are installed, the lab's own ([`PLUGIN_NAMES`](crate::cni::PLUGIN_NAMES)), and `cni-chain`
    /// where it is built.
    ///
    /// # Errors
    /// When `chainkit-lab` is not built, or the folder cannot be written.
    pub fn plugin_folder(&self) -> Result<PathBuf, Error> {
        let _one_at_a_time = self.pods();
        plugins::install(&self.root().join("opt/cni/bin"))
    }

    fn pods(&self) -> MutexGuard<'_, Pods> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn nth(base: Ipv4Addr, number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(base.to_bits() + number)
}

/// In the form of a random UUID, told from others of this process by its number.
fn new_uid() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("00000000-0000-4000-8000-{:012x}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Joins the node to the world by two ENIs, with the settings of an EKS node.
fn wire_node(node: &Netns, world: &Netns) -> Result<(), Error> {
    for netns in [node, world] {
        netns.sysctl("ipv4/ip_forward", "1")?;
        netns.sysctl("ipv6/conf/all/forwarding", "1")?;
        // Duplicate address detection would hold up IPv6 for seconds.
        for setting in ["accept_dad", "accept_ra"] {
            netns.sysctl(&format!("ipv6/conf/all/{setting}"), "0")?;
            netns.sysctl(&format!("ipv6/conf/default/{setting}"), "0")?;
        }
    }
    // The kernel takes the larger of `all` and the interface's own. Strict for the veths to come, as distributions have it;
    // loose (2) on the primary ENI, where the VPC CNI sets it so.
    node.sysctl("ipv4/conf/all/rp_filter", "0")?;
    node.sysctl("ipv4/conf/default/rp_filter", "1")?;
    let world_path = world.path().display();
    let node_commands = [
        format!("link add eth0 mtu {MTU} type veth peer name eth0 mtu {MTU} netns {world_path}"),
        format!("link add eth1 mtu {MTU} type veth peer name eth1 mtu {MTU} netns {world_path}"),
        format!("address add {NODE}/24 dev eth0"),
        format!("address add {NODE6}/64 dev eth0 nodad"),
        // The VPC CNI keeps the subnets of secondary ENIs out of the main table.
        "address add 10.1.0.10/16 dev eth1 noprefixroute".to_owned(),
        "link set eth0 up".to_owned(),
        "link set eth1 up".to_owned(),
        "route add default via 10.0.1.1 dev eth0".to_owned(),
        "route add ::/0 via 2001:db8:1::1 dev eth0".to_owned(),
        format!("route add 10.1.0.1 dev eth1 scope link table {ENI_TABLE}"),
        format!("route add default via 10.1.0.1 dev eth1 table {ENI_TABLE}"),
        "rule add fwmark 0x80/0x80 table main priority 1024".to_owned(),
        format!("rule add from 10.1.0.10 table {ENI_TABLE} priority 32765"),
    ];
    let world_commands = [
        "address add 10.0.1.1/24 dev eth0".to_owned(),
        "address add 2001:db8:1::1/64 dev eth0 nodad".to_owned(),
        "address add 10.1.0.1/32 dev eth1".to_owned(),
        "link set eth0 up".to_owned(),
        "link set eth1 up".to_owned(),
        "route add 10.1.0.10 dev eth1 scope link".to_owned(),
        // The fabric knows which ENI an address belongs to.
        "route add 10.1.0.0/16 via 10.1.0.10 dev eth1".to_owned(),
        format!("route add 2001:db8:1:1::/64 via {NODE6} dev eth0"),
        format!("address add {INTERNET}/32 dev lo"),
        format!("address add {INTERNET6}/128 dev lo nodad"),
        format!("address add {OTHER_NODE}/32 dev lo"),
    ];
    node.ip(node_commands.iter().map(String::as_str))?;
    node.sysctl("ipv4/conf/eth0/rp_filter", "2")?;
    world.ip(world_commands.iter().map(String::as_str))?;
    Ok(())
}
