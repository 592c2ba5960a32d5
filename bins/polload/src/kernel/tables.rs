//! Objects, compiled for this node.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use chainkit_cluster::model::Cluster;
use chainkit_enforce::{Compiled, Compiler, Pods, RuleEntry};
use chainkit_policy::{Live, Options, Scope};
use serde::Serialize;

use super::modes::How;
use super::{compile_failure, pods};

/// What is to be in force on this node.
pub(crate) struct Tables {
    pub(crate) node: String,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) live: Live,
    pub(crate) compiler: Compiler,
    pub(crate) compiled: Compiled,
    pub(crate) pods: Pods,
}

/// How much of everything there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Size {
    /// Policies that select a pod of this node.
    pub(crate) policies: usize,
    /// Pods of this node that some policy selects, and all of them.
    pub(crate) selected_pods: usize,
    pub(crate) pods: usize,
    /// Kinds of addresses that rules can tell apart.
    pub(crate) classes: usize,
    pub(crate) rules: usize,
    /// Entries of the kernel's tables.
    pub(crate) rows: usize,
    pub(crate) addresses: usize,
    pub(crate) prefixes: usize,
    pub(crate) services: usize,
    /// Bytes of all entries of the tables, the kernel's own upkeep not counted.
    pub(crate) bytes: usize,
}

impl Tables {
    /// Compiles a cluster for this node; rules that are among `numbered` keep their numbers.
    pub(crate) fn compile(
        mut cluster: Cluster,
        how: &How,
        root: &Path,
        numbered: &BTreeMap<u32, RuleEntry>,
    ) -> anyhow::Result<Self> {
        let (node, addresses) = pods::this_node(how, root, &cluster)?;
        pods::add_addresses(&mut cluster, &node, &addresses);
        let options = Options { scope: Scope::Node(node.clone()), cidrs_match_pods: true };
        let live = Live::new(cluster, &options);
        let (compiler, compiled) = Compiler::new(&live, numbered).map_err(compile_failure)?;
        let pods = pods::pods(live.engine(), &node, how);
        Ok(Self { node, addresses, live, compiler, compiled, pods })
    }

    pub(crate) fn size(&self) -> Size {
        let image = self.compiler.image();
        let sizes = image.sizes();
        let engine = self.live.engine();
        let selecting = engine.rules().tiers.iter().flat_map(|tier| &tier.policies);
        let bytes = sizes.sides * 20
            + sizes.rows * 12
            + sizes.ports * 28
            + sizes.runs * 12
            + sizes.classes4 * 8
            + sizes.classes6 * 20
            + sizes.prefixes4 * 12
            + sizes.prefixes6 * 24
            + sizes.virtuals * 28
            + sizes.backends_of * 12
            + sizes.backends * 12;
        Size {
            policies: selecting.filter(|policy| !policy.subjects.is_empty()).count(),
            selected_pods: self.pods.pods.values().filter(|pod| pod.policy != 0).count(),
            pods: self.pods.pods.len(),
            classes: engine.classes().all().len(),
            rules: self.compiler.rules().len(),
            rows: sizes.rows,
            addresses: sizes.classes4 + sizes.classes6,
            prefixes: sizes.prefixes4 + sizes.prefixes6,
            services: sizes.virtuals,
            bytes,
        }
    }
}
