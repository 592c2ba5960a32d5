//! The differences between what is in force and what would be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;

use chainkit_bpf::Datapath;
use chainkit_cli::{Log, Row};
use chainkit_cluster::EndpointStore;
use chainkit_cluster::model::{Change, Mode, Object};
use chainkit_cluster::saved::SavedReader;
use chainkit_enforce::{Keeper, Pods, RuleAction, RuleEntry, Saved, Standing};
use serde::Serialize;

use super::ends::Judging;
use crate::kernel::tables::{Size, Tables};
use crate::kernel::{failure, store_failure};

/// What is in force.
#[derive(Debug, Default)]
pub(crate) struct Before {
    pub(crate) generation: u32,
    pub(crate) rules: BTreeMap<u32, RuleEntry>,
    pods: Pods,
    /// By name what each policy says.
    policies: BTreeMap<String, String>,
    saved: Option<Saved>,
}

impl Before {
    /// Finds it; nothing is in force where no datapath is.
    pub(crate) fn find(datapath: Option<&Datapath>, root: &Path, log: &Log) -> anyhow::Result<Self> {
        let Some(datapath) = datapath else { return Ok(Self::default()) };
        let keeper = Keeper::new(datapath, root);
        let generation = keeper.in_force().map_err(failure)?.generation;
        let Some(saved) = keeper.saved().map_err(failure)? else { return Ok(Self { generation, ..Self::default() }) };
        let mut policies = BTreeMap::new();
        let mut reader = SavedReader::default();
        for line in saved.objects().map_err(store_failure)? {
            let change = line.map_err(store_failure).and_then(|line| Ok(reader.read(&line)?));
            match change {
                Ok(change) => note(change, &mut policies),
                Err(error) => log.warning(format!("what is in force is known in part: {error:#}")),
            }
        }
        Ok(Self {
            generation,
            rules: saved.rules().map_err(store_failure)?,
            pods: saved.pods().map_err(store_failure)?,
            policies,
            saved: Some(saved),
        })
    }
}

fn note(change: Change, policies: &mut BTreeMap<String, String>) {
    match change {
        Change::Set(object) => {
            if let Some((name, text)) = policy_text(&object) {
                policies.insert(name, text);
            }
        }
        Change::Remove(name) => {
            policies.remove(&name.to_string());
        }
    }
}

/// Name and text of a policy; nothing of what is none.
fn policy_text(object: &Object) -> Option<(String, String)> {
    let text = match object {
        Object::NetworkPolicy(policy) => serde_json::to_string(&policy.value.spec).ok()?,
        Object::ClusterPolicy(policy) => format!("{:?}", policy.value),
        _ => return None,
    };
    Some((object.name().to_string(), text))
}

/// One thing that would be otherwise, or the sum of it.
#[derive(Debug, Serialize)]
#[serde(tag = "kind")]
pub(crate) enum Difference {
    /// The sum.
    Plan {
        node: String,
        generation: u32,
        #[serde(flatten)]
        size: Size,
        policies_added: usize,
        policies_changed: usize,
        policies_removed: usize,
        endpoints_changed: usize,
        connections_ended: usize,
    },
    /// A policy comes, changes or goes.
    PolicyChange { policy: String, change: &'static str },
    /// An endpoint is judged otherwise.
    EndpointChange { pod: String, interface: String, before: String, after: String },
    /// A live connection would end.
    ConnectionEnd {
        pod: String,
        opened_by: &'static str,
        peer: IpAddr,
        port: u16,
        protocol: u8,
        denied_by: Vec<String>,
    },
}

impl Row for Difference {
    const HEADER: &'static [&'static str] = &["WHAT", "WHICH", "CHANGE"];

    fn cells(&self) -> Vec<String> {
        let cells = |what: &str, which: String, change: String| vec![what.to_owned(), which, change];
        match self {
            Self::Plan {
                node, size, policies_added, policies_changed, policies_removed, connections_ended, ..
            } => cells(
                "node",
                node.clone(),
                format!(
                    "policies +{policies_added} ~{policies_changed} -{policies_removed}; {} pods of {} selected, {} classes, {} rows, {} \
                     addresses, {} bytes; {connections_ended} connections end",
                    size.selected_pods, size.pods, size.classes, size.rows, size.addresses, size.bytes
                ),
            ),
            Self::PolicyChange { policy, change } => cells("policy", policy.clone(), (*change).to_owned()),
            Self::EndpointChange { pod, interface, before, after } => {
                cells("endpoint", format!("{pod} ({interface})"), format!("{before} -> {after}"))
            }
            Self::ConnectionEnd { pod, opened_by, peer, port, protocol, denied_by } => cells(
                "connection",
                format!("{pod}, opened by {opened_by}: {peer} port {port} protocol {protocol}"),
                format!("ends: {}", denied_by.join(", ")),
            ),
        }
    }
}

/// Everything that would be otherwise, the sum first.
pub(crate) fn changes(
    datapath: Option<&Datapath>,
    root: &Path,
    before: &Before,
    tables: &Tables,
) -> anyhow::Result<Vec<Difference>> {
    let mut differences = policies(before, tables);
    let count = |wanted: &str| {
        let is = |one: &&Difference| matches!(one, Difference::PolicyChange { change, .. } if *change == wanted);
        differences.iter().filter(is).count()
    };
    let (added, changed, removed) = (count("added"), count("changed"), count("removed"));
    let mut endpoints = Vec::new();
    let mut ends = Vec::new();
    if let Some(datapath) = datapath {
        let keeper = Keeper::new(datapath, root);
        let records = EndpointStore::below(root).all().0;
        let titles: BTreeMap<u32, (String, String)> = records
            .iter()
            .flat_map(|record| {
                let pod = format!("{}/{}", record.namespace, record.pod_name);
                record.interfaces.iter().map(move |one| (one.host_ifindex, (pod.clone(), one.host_name.clone())))
            })
            .collect();
        let was: BTreeMap<u32, Standing> = keeper
            .standings(&before.pods)
            .map_err(failure)?
            .into_iter()
            .map(|(slot, _, standing)| (slot, standing))
            .collect();
        let image = before.saved.as_ref().map(Saved::tables).transpose().map_err(store_failure)?.unwrap_or_default();
        let judging = Judging::new(datapath, before.generation, &image, tables)?;
        for (slot, endpoint, standing) in keeper.standings(&tables.pods).map_err(failure)? {
            let (pod, interface) = titles.get(&endpoint.ifindex).cloned().unwrap_or_default();
            let old = was.get(&slot).filter(|_| before.generation != 0);
            ends.extend(judging.ended(slot, &pod, old, &standing)?);
            let (old, new) = (said(old), said(Some(&standing)));
            if old != new {
                endpoints.push(Difference::EndpointChange { pod, interface, before: old, after: new });
            }
        }
    }
    let sum = Difference::Plan {
        node: tables.node.clone(),
        generation: before.generation,
        size: tables.size(),
        policies_added: added,
        policies_changed: changed,
        policies_removed: removed,
        endpoints_changed: endpoints.len(),
        connections_ended: ends.len(),
    };
    differences.insert(0, sum);
    differences.extend(endpoints);
    differences.extend(ends);
    Ok(differences)
}

fn policies(before: &Before, tables: &Tables) -> Vec<Difference> {
    let cluster = &tables.live.engine().world().cluster;
    let network = cluster.network_policies.iter().cloned().map(Object::NetworkPolicy);
    let cluster_wide = cluster.cluster_policies.iter().cloned().map(Object::ClusterPolicy);
    let after: BTreeMap<String, String> =
        network.chain(cluster_wide).filter_map(|object| policy_text(&object)).collect();
    let names: BTreeSet<&String> = before.policies.keys().chain(after.keys()).collect();
    let change = |name: &String| match (before.policies.get(name), after.get(name)) {
        (None, Some(_)) => Some("added"),
        (Some(_), None) => Some("removed"),
        (Some(old), Some(new)) if old != new => Some("changed"),
        _ => None,
    };
    let changes = names.into_iter().filter_map(|name| Some((name, change(name)?)));
    changes.map(|(name, change)| Difference::PolicyChange { policy: name.clone(), change }).collect()
}

/// How an endpoint is judged, in words.
fn said(standing: Option<&Standing>) -> String {
    let Some(standing) = standing else { return "not judged".to_owned() };
    let by = match (standing.mode, standing.known, standing.policy, standing.isolated) {
        (Mode::Observe, ..) => return "observe".to_owned(),
        (_, false, _, 0) => "unknown pod, not isolated",
        (_, false, ..) => "unknown pod, isolated",
        (_, true, 0, _) => "no policy selects it",
        (_, true, ..) => "policies select it",
    };
    format!("{}: {by}", standing.mode.name())
}

/// Policies of a rule, with its place in the one that it is of.
pub(crate) fn names(rule: &RuleEntry) -> Vec<String> {
    let shown = rule.policies.iter().map(|policy| {
        let name = if policy.namespace.is_empty() {
            policy.name.clone()
        } else {
            format!("{}/{}", policy.namespace, policy.name)
        };
        match (rule.action, rule.index) {
            (RuleAction::Isolated, _) | (_, None) => format!("{} {name}", policy.kind),
            (_, Some(index)) => format!("{} {name} rule {index}", policy.kind),
        }
    });
    shown.collect()
}
