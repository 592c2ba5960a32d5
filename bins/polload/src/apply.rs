//! `polload apply`: puts policy in force on this node, wholly or not at all.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use chainkit_cli::{Exit, Failure, Log, OutputArgs, Progress, Row};
use chainkit_enforce::{Keeper, Marker, Prepared, Store};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use crate::inputs::Inputs;
use crate::kernel::modes::{How, NodeArgs};
use crate::kernel::tables::{Size, Tables};
use crate::kernel::{Numbered, failure, install, node_lock, placement, policy_lock, settle, store_failure, tell};
use crate::{plan, sound};

/// What `polload apply` can be asked.
#[derive(Args, Debug)]
pub(crate) struct Ask {
    #[command(flatten)]
    inputs: Inputs,

    #[command(flatten)]
    node: NodeArgs,

    /// Go back by itself to what was in force before, unless `polload confirm` comes within this time, such as 10m
    #[arg(long, value_name = "TIME", value_parser = time)]
    confirm: Option<Duration>,

    /// Leave out policies that cannot be used, instead of refusing everything
    #[arg(long)]
    skip_invalid: bool,

    /// Only say what would change
    #[arg(long, conflicts_with = "confirm")]
    dry_run: bool,

    #[command(flatten)]
    output: OutputArgs,
}

/// What was put in force.
#[derive(Debug, Serialize)]
struct Applied {
    kind: &'static str,
    generation: u32,
    node: String,
    #[serde(flatten)]
    size: Size,
    /// Endpoints on this node that are judged by it.
    endpoints: usize,
    /// When it goes back unless it is confirmed.
    confirm_before: Option<Timestamp>,
    /// From the objects read to policy in force, in milliseconds.
    ms: f64,
}

impl Row for Applied {
    const HEADER: &'static [&'static str] = &[
        "GENERATION",
        "NODE",
        "POLICIES",
        "PODS",
        "ENDPOINTS",
        "CLASSES",
        "RULES",
        "ROWS",
        "ADDRESSES",
        "CONFIRM BEFORE",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.generation.to_string(),
            self.node.clone(),
            self.size.policies.to_string(),
            format!("{}/{}", self.size.selected_pods, self.size.pods),
            self.endpoints.to_string(),
            self.size.classes.to_string(),
            self.size.rules.to_string(),
            self.size.rows.to_string(),
            self.size.addresses.to_string(),
            self.confirm_before.map(|time| time.to_string()).unwrap_or_default(),
        ]
    }
}

/// The longest time that a confirmation may be waited for: a week.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| format!("{error}; give a time such as 10m or 90s"))?;
    if time < Duration::from_secs(1) || time > LONGEST {
        return Err("give at least a second, and a week at most".to_owned());
    }
    Ok(time)
}

pub(crate) fn run(ask: &Ask, log: &Log) -> anyhow::Result<Exit> {
    let root = &ask.node.root.root;
    let cluster = sound::read(&ask.inputs, ask.skip_invalid, log)?;
    chainkit_bpf::Datapath::require_privileges().map_err(crate::kernel::bpf_failure)?;
    if ask.dry_run {
        return plan::tell(cluster, &ask.node, ask.output, log);
    }
    let _policy = policy_lock(root, log)?;
    let started = Instant::now();
    let mut progress = Progress::new("putting policy in force", 4);
    let datapath = install(root, &node_lock(root)?)?;
    let keeper = Keeper::new(&datapath, root);
    settle(&keeper, root, log)?;
    let numbered = Numbered::find(&keeper);
    let tables = Tables::compile(cluster, &ask.node.how, root, &numbered.all)?;
    placement::check(&tables, root, log)?;
    tell_problems(&tables, &ask.node.how, log);
    progress.step();
    let draft = prepare(keeper.store(), &tables)?;
    progress.step();
    let made = chainkit_enforce::kernel::make(tables.compiler.image()).map_err(crate::kernel::bpf_failure)?;
    progress.step();
    let mut marker = marker(&tables, ask.node.how.kept());
    let digest = serde_json::Value::from(digest(&tables));
    let before = keeper.store().marker().ok().flatten();
    let same_rules = before.is_some_and(|before| before.more.get(DIGEST) == Some(&digest));
    marker.more.insert(DIGEST.to_owned(), digest);
    let prepared = Prepared {
        image: tables.compiler.image(),
        pods: &tables.pods,
        draft,
        marker,
        confirm: ask.confirm,
        same_rules,
        kept: numbered.kept(&tables.compiler.rules()),
    };
    let lock = node_lock(root)?;
    let (generation, _) = keeper.apply_made(&lock, prepared, &made).map_err(failure)?;
    let endpoints = keeper.standings(&tables.pods).map_err(failure)?.len();
    drop(lock);
    progress.step();
    drop(progress);
    let applied = Applied {
        kind: "Applied",
        generation,
        node: tables.node.clone(),
        size: tables.size(),
        endpoints,
        confirm_before: ask.confirm.and_then(|after| Timestamp::now().checked_add(after).ok()),
        ms: started.elapsed().as_secs_f64() * 1000.0,
    };
    warn_of_unattached(&keeper, &tables, log)?;
    tell(ask.output, applied, &format!("policy is in force (generation {generation})"))?;
    Ok(Exit::Fine)
}

/// Tells of pods that policy selects and nobody judges, since nothing is attached to them.
fn warn_of_unattached(keeper: &Keeper<'_>, tables: &Tables, log: &Log) -> anyhow::Result<()> {
    let missing = keeper.unattached(&tables.pods).map_err(failure)?;
    if let Some(first) = missing.first() {
        let count = missing.len();
        log.warning(format!(
            "{count} pods of this node are selected by policy and judged by nobody, {first} is the first: attach them with cni-chain adopt --all"
        ));
    }
    Ok(())
}

/// Where a marker keeps what tells whether rules are the same.
const DIGEST: &str = "rules_digest";

/// What tells whether rules are the same: what policies and namespaces say, and who is judged by them here.
fn digest(tables: &Tables) -> String {
    let mut hasher = DefaultHasher::new();
    let cluster = &tables.live.engine().world().cluster;
    for policy in &cluster.network_policies {
        serde_json::to_string(&policy.value).unwrap_or_default().hash(&mut hasher);
    }
    for policy in &cluster.cluster_policies {
        serde_json::to_string(&policy.value).unwrap_or_default().hash(&mut hasher);
    }
    for namespace in &cluster.namespaces {
        (&namespace.name, &namespace.labels).hash(&mut hasher);
    }
    let here = cluster.workloads.iter().filter(|workload| workload.node.as_deref() == Some(tables.node.as_str()));
    for workload in here {
        (&workload.namespace, &workload.name, &workload.labels).hash(&mut hasher);
    }
    for (name, pod) in &tables.pods.pods {
        (name, &pod.uid, pod.policy != 0, pod.mode).hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

/// What could not be taken as it stands.
pub(crate) fn tell_problems(tables: &Tables, how: &How, log: &Log) {
    how.tell_missing(&tables.live.engine().world().cluster, log);
    for problem in tables.live.engine().problems() {
        log.warning(problem.to_string());
    }
}

/// Writes the files of what is to be put in force.
pub(crate) fn prepare(store: &Store, tables: &Tables) -> anyhow::Result<chainkit_enforce::Draft> {
    let mut draft = store.begin().map_err(store_failure)?;
    draft.tables(&tables.compiler.image().delta()).map_err(store_failure)?;
    draft.rules(tables.compiler.rules()).map_err(store_failure)?;
    draft.pods(&tables.pods).map_err(store_failure)?;
    draft.objects(tables.live.engine().world().cluster.saved()).map_err(store_failure)?;
    Ok(draft)
}

/// What the file says of it.
pub(crate) fn marker(tables: &Tables, options: BTreeMap<String, serde_json::Value>) -> Marker {
    let now = Timestamp::now().to_string();
    Marker {
        kind: "PolicyMarker".to_owned(),
        applied_at: now.clone(),
        objects_at: now,
        node: tables.node.clone(),
        options,
        ..Marker::default()
    }
}

/// An error for what makes no sense where no policy is in force.
pub(crate) fn nothing_in_force() -> anyhow::Error {
    let error = Failure::new(Exit::No, "no policy is in force on this node");
    error.remedy("put one in force with polload apply").into()
}
