//! Policy, compiled and put in force for the one endpoint of a [`Node`].

use std::collections::BTreeMap;

use chainkit_abi::{Active, Subject, set_of};
use chainkit_bpf::NodeLock;
use chainkit_cluster::model::{Cluster, Workload};
use chainkit_enforce::{Compiler, kernel, policy_number};
use chainkit_policy::{Live, Options, Scope};
use serde_json::Value;

use crate::common;
use crate::node::{IFINDEX, Node};

/// Policies of the node `n1`.
pub(crate) struct Policy {
    pub(crate) cluster: Cluster,
    pub(crate) options: Options,
    live: Live,
    compiler: Compiler,
}

impl Policy {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        let options = Options { scope: Scope::Node("n1".to_owned()), cidrs_match_pods: true };
        let live = Live::new(cluster.clone(), &options);
        let (compiler, _) = Compiler::new(&live, &BTreeMap::new()).unwrap();
        Self { cluster: cluster.clone(), options, live, compiler }
    }

    /// Number of a pod's rules.
    pub(crate) fn number(&self, index: usize) -> u32 {
        self.live.engine().policy_of(index).map_or(0, policy_number)
    }

    /// Puts it in force under a generation, the endpoint being this pod.
    pub(crate) fn put(&self, node: &Node, generation: u32, index: usize, mode: u8) {
        let tables = kernel::make(self.compiler.image()).unwrap();
        let subject = Subject { ifindex: IFINDEX, policy: self.number(index), mode, ..Subject::default() };
        tables.set_subject(node.slot, subject).unwrap();
        let lock = NodeLock::take(node.root()).unwrap();
        node.datapath.put_tables(&lock, set_of(generation), &tables).unwrap();
        node.datapath.set_active(Active { generation, deadline: 0 }, 0);
    }
}

/// A namespace `a` of two nodes, `n1` of which has the pods; no pod and no policy yet.
pub(crate) fn cluster(pods: &[Workload], policies: &[Value]) -> Cluster {
    let mut cluster = Cluster {
        namespaces: vec![common::namespace("a", &[])],
        nodes: vec![common::node("n1", &[], &["10.9.0.1"]), common::node("n2", &[], &["10.9.0.2"])],
        workloads: pods.to_vec(),
        ..Cluster::default()
    };
    for (at, spec) in policies.iter().enumerate() {
        common::add_policy(&mut cluster, &format!("a/p{at}"), spec);
    }
    cluster
}
