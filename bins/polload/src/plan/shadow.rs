//! `polload plan --shadow`: tables beside those in force, which decide nothing; what they would decide is told.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chainkit_abi::{Event, ObserverFilter, kind, reply, verdict};
use chainkit_bpf::{Observer, ObserverSettings};
use chainkit_cli::{Exit, Failure, Format, Log, OutputArgs, Row, write_rows};
use chainkit_cluster::EndpointStore;
use chainkit_cluster::model::Cluster;
use chainkit_enforce::{Keeper, RuleEntry, tag_of};
use serde::Serialize;

use super::changes::names;
use crate::apply::{prepare, tell_problems};
use crate::kernel::modes::NodeArgs;
use crate::kernel::tables::Tables;
use crate::kernel::{bpf_failure, failure, install, node_lock, placement, store_failure};

/// How often events are looked for.
const PAUSE: Duration = Duration::from_millis(20);
/// Events taken at once.
const AT_ONCE: usize = 4096;
/// Bytes of the ring that events wait in.
const RING: u32 = 4 << 20;

/// What would be decided otherwise.
#[derive(Debug, Serialize)]
struct Shadowed {
    kind: &'static str,
    pod: String,
    direction: &'static str,
    source: IpAddr,
    destination: IpAddr,
    source_port: u16,
    destination_port: u16,
    protocol: u8,
    verdict: &'static str,
    would: &'static str,
    by: Vec<String>,
}

impl Row for Shadowed {
    const HEADER: &'static [&'static str] =
        &["POD", "DIRECTION", "SOURCE", "DESTINATION", "PROTOCOL", "IS", "WOULD BE", "BY"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.pod.clone(),
            self.direction.to_owned(),
            format!("{}:{}", self.source, self.source_port),
            format!("{}:{}", self.destination, self.destination_port),
            self.protocol.to_string(),
            self.verdict.to_owned(),
            self.would.to_owned(),
            self.by.join(", "),
        ]
    }
}

/// Takes the shadow away however this ends, but by a `kill -9`; then the next who changes policy does.
struct Shadow<'a> {
    keeper: Keeper<'a>,
    root: std::path::PathBuf,
}

impl Drop for Shadow<'_> {
    fn drop(&mut self) {
        self.keeper.datapath().set_shadow(0);
        if let Ok(lock) = node_lock(&self.root) {
            let _ = self.keeper.tidy(&lock);
        }
    }
}

pub(super) fn run(
    cluster: Cluster,
    node: &NodeArgs,
    until: Option<Duration>,
    output: OutputArgs,
    log: &Log,
) -> anyhow::Result<Exit> {
    let root = &node.root.root;
    let _alone = Keeper::shadow_lock(root).map_err(|error| {
        Failure::new(Exit::Failed, format!("another polload plan --shadow runs on this node: {error}"))
            .remedy("end it first")
    })?;
    let datapath = install(root, &node_lock(root)?)?;
    let keeper = Keeper::new(&datapath, root);
    keeper.settle(&node_lock(root)?).map_err(failure)?;
    let tables = Tables::compile(cluster, &node.how, root, &BTreeMap::new())?;
    placement::check(&tables, root, log)?;
    tell_problems(&tables, &node.how, log);
    let made = chainkit_enforce::kernel::make(tables.compiler.image()).map_err(bpf_failure)?;
    let draft = prepare(keeper.store(), &tables)?;
    let rules: BTreeMap<u32, RuleEntry> = tables.compiler.rules().into_iter().map(|rule| (rule.number, rule)).collect();
    let shadow = Shadow { keeper, root: root.clone() };
    let mut observer =
        Observer::start(&datapath, root, ObserverSettings { ring_bytes: RING, filter: ObserverFilter::default() })
            .map_err(bpf_failure)?;
    {
        let lock = node_lock(root)?;
        let generation = shadow.keeper.next_generation().map_err(failure)?;
        // Its files are what verify holds it against, and by which pods that start meanwhile have their rules in it.
        let folder = shadow.keeper.new_folder(generation);
        draft.finish(&folder).map_err(store_failure)?;
        shadow.keeper.put(&lock, generation, &made, &tables.pods, tag_of(&folder)).map_err(failure)?;
        datapath.set_shadow(generation);
        // What is live is asked about once, too.
        shadow.keeper.judge_again(&lock);
    }
    log.info("reporting what would be decided otherwise; end it with Ctrl-C");
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let started = Instant::now();
    let pods = pods(root);
    let format = if output.format() == Format::Json { Format::Jsonl } else { output.format() };
    while !stop.load(Ordering::Relaxed) && until.is_none_or(|until| started.elapsed() < until) {
        let mut told = Vec::new();
        observer.drain(AT_ONCE, |event| told.extend(shadowed(event, &pods, &rules)));
        let mut out = std::io::stdout().lock();
        if !told.is_empty() {
            write_rows(&mut out, format, told)?;
        }
        drop(out);
        std::thread::sleep(PAUSE);
    }
    Ok(Exit::Fine)
}

/// Pods by the index of their interfaces.
fn pods(root: &std::path::Path) -> BTreeMap<u32, String> {
    let records = EndpointStore::below(root).all().0;
    let named = records.iter().flat_map(|record| {
        let pod = format!("{}/{}", record.namespace, record.pod_name);
        record.interfaces.iter().map(move |one| (one.host_ifindex, pod.clone()))
    });
    named.collect()
}

/// What an event tells, if the shadow would have decided otherwise.
fn shadowed(event: &Event, pods: &BTreeMap<u32, String>, rules: &BTreeMap<u32, RuleEntry>) -> Option<Shadowed> {
    let denied = |verdict| matches!(verdict, verdict::DROPPED | verdict::AUDIT);
    if event.shadow_verdict == 0
        || denied(event.shadow_verdict) == denied(event.verdict)
        || !matches!(event.kind, kind::FIRST | kind::DENIED | kind::VERDICT)
    {
        return None;
    }
    let from_pod = event.hook == chainkit_abi::hook::FROM_POD;
    let egress = from_pod != (event.reply == reply::YES);
    let name = |verdict| if denied(verdict) { "DENIED" } else { "ALLOWED" };
    Some(Shadowed {
        kind: "Shadow",
        pod: pods.get(&event.ifindex).cloned().unwrap_or_default(),
        direction: if egress { "egress" } else { "ingress" },
        source: address(event.family, event.source),
        destination: address(event.family, event.destination),
        source_port: event.source_port,
        destination_port: event.destination_port,
        protocol: event.protocol,
        verdict: name(event.verdict),
        would: name(event.shadow_verdict),
        by: rules.get(&event.shadow_rule).map(names).unwrap_or_default(),
    })
}

fn address(family: u8, bytes: [u8; 16]) -> IpAddr {
    let [a, b, c, d, ..] = bytes;
    if family == 4 { Ipv4Addr::new(a, b, c, d).into() } else { Ipv6Addr::from(bytes).into() }
}
