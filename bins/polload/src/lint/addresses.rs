//! Address blocks that do not match what they seem to.

use std::net::IpAddr;

use chainkit_cluster::model::Cluster;
use ipnet::IpNet;

/// Addresses of the cluster, in order.
pub(super) struct Addresses {
    /// Of services: a packet to one has another destination by the time it is judged.
    virtual_: Vec<IpAddr>,
    /// Of pods and nodes.
    real: Vec<IpAddr>,
}

impl Addresses {
    pub(super) fn new(cluster: &Cluster) -> Self {
        let mut virtual_: Vec<IpAddr> =
            cluster.services.iter().flat_map(|service| &service.cluster_ips).copied().collect();
        let pods = cluster.workloads.iter().flat_map(|workload| &workload.addresses);
        let nodes = cluster.nodes.iter().flat_map(|node| &node.addresses);
        let mut real: Vec<IpAddr> = pods.chain(nodes).copied().collect();
        virtual_.sort_unstable();
        real.sort_unstable();
        Self { virtual_, real }
    }

    /// Whether a block holds virtual addresses and, as far as can be told, nothing else: it holds no pod and no node, it
    /// lies where no network outside is (RFC 1918, RFC 6598, RFC 4193), and it is no larger than a range that services get
    /// their addresses from.
    pub(super) fn only_virtual(&self, block: &IpNet) -> bool {
        if block.prefix_len() == block.max_prefix_len() {
            return any_in(&self.virtual_, block);
        }
        let private = match block {
            IpNet::V4(block) => {
                let [a, b, ..] = block.network().octets();
                // A /12 is the largest that the API server takes for services.
                block.prefix_len() >= 12 && (block.network().is_private() || (a == 100 && (64..128).contains(&b)))
            }
            // And of IPv6 a /108; what operators write is coarser.
            IpNet::V6(block) => block.prefix_len() >= 64 && block.network().is_unique_local(),
        };
        private && any_in(&self.virtual_, block) && !any_in(&self.real, block)
    }
}

/// Whether any of some sorted addresses lies in a block.
fn any_in(addresses: &[IpAddr], block: &IpNet) -> bool {
    let first = addresses.partition_point(|address| *address < block.network());
    addresses.get(first).is_some_and(|address| block.contains(address))
}
