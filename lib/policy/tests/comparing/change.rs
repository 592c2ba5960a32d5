//! Small changes of a cluster, of which some keep its meaning.

use chainkit_cluster::model::Cluster;
use k8s_openapi::api::networking::v1::NetworkPolicySpec;
use proptest::prelude::*;
use proptest::sample::Index;

/// What is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Nothing,
    RenamePolicies,
    SplitPeers,
    DoublePolicy,
    TurnWorkloads,
    DropNetworkPolicy,
    DropClusterPolicy,
    DropRule,
    DropExcepts,
    DropEndPort,
    Relabel,
    DropWorkload,
    DropAddress,
    MoveToOtherNode,
    OntoNode,
    DropService,
    TurnTrafficPolicies,
    DropNode,
}

/// So many of [`ALL`] keep the meaning, the first ones.
const KEEPING: usize = 5;

const ALL: [What; 18] = [
    What::Nothing,
    What::RenamePolicies,
    What::SplitPeers,
    What::DoublePolicy,
    What::TurnWorkloads,
    What::DropNetworkPolicy,
    What::DropClusterPolicy,
    What::DropRule,
    What::DropExcepts,
    What::DropEndPort,
    What::Relabel,
    What::DropWorkload,
    What::DropAddress,
    What::MoveToOtherNode,
    What::OntoNode,
    What::DropService,
    What::TurnTrafficPolicies,
    What::DropNode,
];

#[derive(Clone, Debug)]
pub(crate) struct Change {
    what: What,
    place: Index,
}

/// Changes that keep the meaning, or up to four of any sort.
pub(crate) fn changes() -> impl Strategy<Value = Vec<Change>> {
    let one = |what: &'static [What]| {
        (proptest::sample::select(what), any::<Index>()).prop_map(|(what, place)| Change { what, place })
    };
    prop_oneof![
        1 => proptest::collection::vec(one(&ALL[..KEEPING]), 1..4),
        6 => proptest::collection::vec(one(&ALL), 1..5),
    ]
}

fn specs(cluster: &mut Cluster) -> impl Iterator<Item = &mut NetworkPolicySpec> {
    cluster.network_policies.iter_mut().filter_map(|located| located.value.spec.as_mut())
}

/// Takes the one at a place out, if there is any.
fn take<T>(all: &mut Vec<T>, place: Index) {
    if !all.is_empty() {
        all.remove(place.index(all.len()));
    }
}

impl Change {
    /// Whether it is written so that nothing can differ.
    pub(crate) fn keeps(&self) -> bool {
        ALL[..KEEPING].contains(&self.what)
    }

    pub(crate) fn of(&self, mut cluster: Cluster) -> Cluster {
        match self.what {
            What::Nothing => {}
            What::RenamePolicies => {
                let policies = cluster.network_policies.len();
                for (at, located) in cluster.network_policies.iter_mut().enumerate() {
                    located.value.metadata.name = Some(format!("q{}", policies - at));
                }
            }
            What::SplitPeers => specs(&mut cluster).for_each(split),
            What::DoublePolicy => {
                let double = cluster.network_policies.first().cloned();
                cluster.network_policies.extend(double.map(|mut double| {
                    double.value.metadata.name = Some("0".to_owned());
                    double
                }));
            }
            What::TurnWorkloads => cluster.workloads.reverse(),
            What::DropNetworkPolicy => take(&mut cluster.network_policies, self.place),
            What::DropClusterPolicy => take(&mut cluster.cluster_policies, self.place),
            What::DropRule => {
                for spec in specs(&mut cluster) {
                    spec.ingress.iter_mut().for_each(|rules| take(rules, self.place));
                    spec.egress.iter_mut().for_each(|rules| take(rules, self.place));
                }
            }
            What::DropExcepts => {
                for spec in specs(&mut cluster) {
                    let from = spec.ingress.iter_mut().flatten().filter_map(|rule| rule.from.as_mut());
                    let to = spec.egress.iter_mut().flatten().filter_map(|rule| rule.to.as_mut());
                    for block in from.chain(to).flatten().filter_map(|peer| peer.ip_block.as_mut()) {
                        block.except = None;
                    }
                }
            }
            What::DropEndPort => {
                for spec in specs(&mut cluster) {
                    let ingress = spec.ingress.iter_mut().flatten().filter_map(|rule| rule.ports.as_mut());
                    let egress = spec.egress.iter_mut().flatten().filter_map(|rule| rule.ports.as_mut());
                    ingress.chain(egress).flatten().for_each(|port| port.end_port = None);
                }
            }
            What::Relabel => {
                let at = self.place.index(cluster.workloads.len());
                cluster.workloads[at].labels.insert("app".to_owned(), "web".to_owned());
            }
            What::DropWorkload if cluster.workloads.len() == 1 => {}
            What::DropWorkload => take(&mut cluster.workloads, self.place),
            What::DropAddress => {
                let at = self.place.index(cluster.workloads.len());
                cluster.workloads[at].addresses.pop();
            }
            What::MoveToOtherNode => {
                let at = self.place.index(cluster.workloads.len());
                cluster.workloads[at].node = Some("n2".to_owned());
            }
            What::OntoNode => {
                let at = self.place.index(cluster.workloads.len());
                let node = cluster.nodes.last().map(|node| node.addresses.clone()).unwrap_or_default();
                let workload = &mut cluster.workloads[at];
                (workload.host_network, workload.node, workload.addresses) = (true, Some("n2".to_owned()), node);
            }
            What::DropService => take(&mut cluster.services, self.place),
            What::TurnTrafficPolicies => {
                cluster.services.iter_mut().for_each(|service| service.stays_on_node = !service.stays_on_node);
            }
            What::DropNode => take(&mut cluster.nodes, self.place),
        }
        cluster
    }
}

/// Each peer in a rule of its own, the last first.
fn split(spec: &mut NetworkPolicySpec) {
    spec.ingress = spec.ingress.as_ref().map(|rules| {
        let each = rules.iter().rev().flat_map(|rule| match rule.from.as_deref() {
            None | Some([]) => vec![rule.clone()],
            Some(peers) => {
                let one = |peer: &_| {
                    let mut rule = rule.clone();
                    rule.from = Some(vec![Clone::clone(peer)]);
                    rule
                };
                peers.iter().map(one).collect()
            }
        });
        each.collect()
    });
    spec.egress = spec.egress.as_ref().map(|rules| {
        let each = rules.iter().rev().flat_map(|rule| match rule.to.as_deref() {
            None | Some([]) => vec![rule.clone()],
            Some(peers) => {
                let one = |peer: &_| {
                    let mut rule = rule.clone();
                    rule.to = Some(vec![Clone::clone(peer)]);
                    rule
                };
                peers.iter().map(one).collect()
            }
        });
        each.collect()
    });
}
