//! A set of tables at one moment: what the kernel has, and the files that it was made from.

use std::collections::BTreeMap;
use std::path::Path;

use chainkit_abi::{Active, Endpoint, set_of};
use chainkit_bpf::{Datapath, TableSet};
use chainkit_cli::{Exit, Failure, Log};
use chainkit_cluster::model::{Cluster, Workload};
use chainkit_cluster::saved::SavedReader;
use chainkit_cluster::{ClusterState, EndpointRecord, EndpointStore};
use chainkit_enforce::{Image, Keeper, Pods, RuleEntry, Saved, Standing};
use chainkit_policy::{Options, Scope};

use super::{Counterexample, Verified, What, Which};
use crate::kernel::{bpf_failure, failure, store_failure};

/// What a look at everything has come to.
pub(super) enum Looked {
    /// No policy is in force.
    Nothing,
    /// All is as it should be.
    Fine(Verified),
    /// Something is not.
    Wrong(Box<Counterexample>),
    /// Another policy was put in force meanwhile.
    Moved,
}

/// A set of tables, on both sides.
pub(super) struct Snapshot {
    pub(super) which: Which,
    /// What judges by it, may come to, or would.
    pub(super) generation: u32,
    /// As the kernel has it.
    pub(super) read: Image,
    /// As it was written.
    pub(super) saved: Image,
    pub(super) rules: BTreeMap<u32, RuleEntry>,
    pub(super) cluster: Cluster,
    pub(super) options: Options,
    pub(super) node: String,
    /// By slot the endpoint and what it is to be judged by.
    pub(super) standings: Vec<(u32, Endpoint, Standing)>,
    /// Every endpoint, those that are not judged included.
    pub(super) endpoints: Vec<(u32, Endpoint)>,
    pub(super) records: Vec<EndpointRecord>,
    /// Of this node, by `namespace/name`.
    pub(super) pods: Pods,
}

impl Snapshot {
    /// Reads everything; what is in its place where there is nothing to be verified.
    pub(super) fn take(datapath: &Datapath, root: &Path) -> anyhow::Result<Result<(Self, TableSet), Looked>> {
        let keeper = Keeper::new(datapath, root);
        let in_force = keeper.in_force().map_err(failure)?;
        let generation = in_force.generation;
        if generation == 0 {
            return Ok(Err(Looked::Nothing));
        }
        let Some(set) = datapath.tables_at(set_of(generation)).map_err(bpf_failure)? else {
            let means = "every pod that has rules is denied all that it is isolated for: apply once more";
            return Ok(Err(missing(Which::InForce, generation, means)));
        };
        let Some(folder) = in_force.folder else { return Err(no_folder(root, generation)) };
        let snapshot = Self::read(datapath, root, Which::InForce, generation, &folder, &set)?;
        // Otherwise what was read is of two.
        Ok(if snapshot.is_still_there(datapath) { Ok((snapshot, set)) } else { Err(Looked::Moved) })
    }

    /// The same of what may come to judge, or shadows; nothing where that is not in use.
    pub(super) fn other(
        datapath: &Datapath,
        root: &Path,
        which: Which,
        log: &Log,
    ) -> anyhow::Result<Result<Option<(Self, TableSet)>, Looked>> {
        let keeper = Keeper::new(datapath, root);
        let (generation, folder) = match which {
            Which::Fallback => match keeper.in_force().map_err(failure)?.fallback {
                Some(fallback) => fallback,
                None => return Ok(Ok(None)),
            },
            _ => {
                let generation = datapath.shadow();
                (generation, keeper.folder(generation).map_err(failure)?)
            }
        };
        if generation == 0 {
            return Ok(Ok(None));
        }
        let is_there = || of(datapath, which) == generation;
        let Some(set) = datapath.tables_at(set_of(generation)).map_err(bpf_failure)? else {
            let means = match which {
                Which::Fallback => {
                    "once nobody confirms what is in force, every pod that has rules is denied all that it is isolated for"
                }
                _ => "nothing is told of what it would do",
            };
            return Ok(Err(if is_there() { missing(which, generation, means) } else { Looked::Moved }));
        };
        let Some(folder) = folder else {
            if !is_there() {
                return Ok(Err(Looked::Moved));
            }
            if which == Which::Fallback {
                return Err(no_folder(root, generation));
            }
            log.info("the shadow was not looked at: what it was made from is not on disk");
            return Ok(Ok(None));
        };
        match Self::read(datapath, root, which, generation, &folder, &set) {
            Ok(snapshot) => Ok(Ok(Some((snapshot, set)))),
            // Its files go with it.
            Err(error) => {
                if is_there() {
                    Err(error)
                } else {
                    Ok(Err(Looked::Moved))
                }
            }
        }
    }

    fn read(
        datapath: &Datapath,
        root: &Path,
        which: Which,
        generation: u32,
        folder: &str,
        set: &TableSet,
    ) -> anyhow::Result<Self> {
        let keeper = Keeper::new(datapath, root);
        let saved = keeper.store().open(folder).map_err(store_failure)?;
        let pods = saved.pods().map_err(store_failure)?;
        let marker = keeper.store().marker().map_err(store_failure)?.unwrap_or_default();
        let cluster = cluster(&saved)?;
        let node = if marker.node.is_empty() { node_of(&cluster, &pods) } else { marker.node };
        Ok(Self {
            which,
            generation,
            read: chainkit_enforce::kernel::read(set).map_err(bpf_failure)?,
            saved: saved.tables().map_err(store_failure)?,
            rules: saved.rules().map_err(store_failure)?,
            options: Options { scope: Scope::Node(node.clone()), cidrs_match_pods: true },
            cluster,
            node,
            standings: keeper.standings(&pods).map_err(failure)?,
            endpoints: datapath.endpoints().map_err(bpf_failure)?,
            records: EndpointStore::below(root).all().0,
            pods,
        })
    }

    /// Whether it is still what it was.
    pub(super) fn is_still_there(&self, datapath: &Datapath) -> bool {
        of(datapath, self.which) == self.generation
    }

    /// A rule in words.
    pub(super) fn rule(&self, number: u32) -> String {
        use chainkit_abi::rule;
        match number {
            rule::NONE => "no rule".to_owned(),
            rule::OWN_NODE => "the pod's own node".to_owned(),
            rule::ITSELF => "the pod itself".to_owned(),
            rule::NO_BACKEND => "a service without backend".to_owned(),
            rule::UNKNOWN_POD => "a pod that is not known".to_owned(),
            rule::TOO_MANY_BACKENDS => "a service with too many kinds of backends".to_owned(),
            number => match self.rules.get(&number) {
                Some(rule) => crate::plan::rule_names(rule).join(", "),
                None => format!("rule {number}, which no policy has"),
            },
        }
    }

    /// The record of an endpoint.
    pub(super) fn record(&self, ifindex: u32) -> Option<&EndpointRecord> {
        self.records.iter().find(|record| record.interfaces.iter().any(|one| one.host_ifindex == ifindex))
    }

    /// An endpoint in words: its pod, or its interface.
    pub(super) fn title(&self, ifindex: u32) -> String {
        match self.record(ifindex).filter(|record| !record.pod_name.is_empty()) {
            Some(record) => format!("{}/{}", record.namespace, record.pod_name),
            None => format!("interface {ifindex}"),
        }
    }
}

/// The generation that a set is of now; 0: it is not in use.
fn of(datapath: &Datapath, which: Which) -> u32 {
    match which {
        Which::InForce | Which::Second => datapath.judging(),
        Which::Shadow => datapath.shadow(),
        Which::Fallback => {
            let active = datapath.active();
            let is_pending = active.deadline != 0 && active != Active::CLEARED;
            if is_pending && datapath.judging() == active.generation { datapath.fallback() } else { 0 }
        }
    }
}

/// A set of tables that is not there.
fn missing(which: Which, generation: u32, means: &str) -> Looked {
    Looked::Wrong(Box::new(Counterexample {
        kind: "Counterexample",
        generation,
        set: which,
        what: What::Entry,
        table: None,
        entry: None,
        flow: None,
        expected: format!("a set of tables at place {}", set_of(generation)),
        found: "none, or not all of its tables".to_owned(),
        means: means.to_owned(),
        more: 0,
    }))
}

fn no_folder(root: &Path, generation: u32) -> anyhow::Error {
    let place = root.join(chainkit_enforce::POLICY_FOLDER.trim_start_matches('/'));
    let lacking =
        format!("cannot tell what generation {generation} was made from: its folder is gone from {}", place.display());
    Failure::new(Exit::Failed, lacking).remedy("apply once more").into()
}

/// The node that pods were compiled for, where nothing says so.
fn node_of(cluster: &Cluster, pods: &Pods) -> String {
    let is_its = |workload: &&Workload| {
        workload.kind == "Pod" && pods.pods.contains_key(&format!("{}/{}", workload.namespace, workload.name))
    };
    cluster.workloads.iter().find(is_its).and_then(|workload| workload.node.clone()).unwrap_or_default()
}

/// The objects that policy was made of.
fn cluster(saved: &Saved) -> anyhow::Result<Cluster> {
    let mut state = ClusterState::default();
    let mut reader = SavedReader::default();
    for line in saved.objects().map_err(store_failure)? {
        state.apply(reader.read(&line.map_err(store_failure)?)?);
    }
    Ok(state.into_cluster())
}
