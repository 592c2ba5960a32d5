//! What it takes to understand policy at the size of the largest users. No kernel is asked.

use std::{fs, hint::black_box, net::Ipv4Addr, time::Instant};

use anyhow::{Context, Result, bail};
use chainkit_cluster::model::{Change, Located, Object};
use chainkit_policy::{Engine, Live, Options, Scope};
use k8s_openapi::{api::networking::v1::NetworkPolicy, apimachinery::pkg::util::intstr::IntOrString};
use serde_json::json;

use crate::{
    report::Report,
    stats::{median, rounded},
};

// The clusters are those of the engine's own tests in another size.
#[allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "it is test code, taken in as it stands"
)]
#[path = "../../../lib/policy/tests/common/mod.rs"]
pub(crate) mod common;

use common::large::{PODS_OF_EACH, blocklist, busy, crossing};

const NAMESPACES: usize = 5_000;
const PREFIXES: u32 = 100_000;
/// Of four workloads and two policies each.
const CROSSING: usize = 500;

/// What is to be reached, in seconds.
const COLD: f64 = 3.0;
const EXPLAIN: f64 = 0.05;
const MATRIX: f64 = 5.0;
const POD: f64 = 0.001;
const POLICY: f64 = 0.02;
/// Changes of each sort.
const FOLLOWED: u8 = 100;
/// And in bytes.
const MEMORY: u64 = 1 << 30;

pub(crate) fn measure(report: &Report, rounds: usize) -> Result<()> {
    report.heading(&format!(
        "policy: {} pods in {NAMESPACES} namespaces, 200 of them here, {} policies, 20000 label sets, {} services",
        NAMESPACES * PODS_OF_EACH,
        NAMESPACES * 2,
        NAMESPACES * 2
    ))?;
    let cluster = busy(NAMESPACES);
    let options = Options { scope: Scope::Node("n0".to_owned()), ..Options::default() };
    let before = resident()?;
    let mut cold = Vec::new();
    for _ in 0..rounds {
        let started = Instant::now();
        let engine = Engine::new(&cluster, &options);
        black_box(engine.tables());
        cold.push(started.elapsed().as_secs_f64());
    }
    let engine = Engine::new(&cluster, &options);
    let tables = engine.tables();
    let memory = resident()?.saturating_sub(before);
    let rows = tables.rows().count();
    drop((tables, engine));
    let mut live = Live::new(cluster, &options);
    tell(report, "cold compile", median(&cold), COLD)?;
    report.result(
        &json!({"kind": "policy", "what": "memory", "bytes": memory, "target": MEMORY, "rows": rows}),
        &format!("{:28} {:9} KiB   (to reach: {})", "memory of it", memory >> 10, MEMORY >> 10),
    )?;
    let cluster = &live.engine().world().cluster;
    let flow = common::tcp(common::party(cluster, "ns1/p1"), common::party(cluster, "ns0/p0"), 8080);
    let mut explain = Vec::new();
    for _ in 0..rounds {
        let started = Instant::now();
        black_box(live.engine().explain(&flow));
        explain.push(started.elapsed().as_secs_f64());
    }
    tell(report, "explain, once loaded", median(&explain), EXPLAIN)?;
    follow(report, &mut live)?;
    drop(live);

    let cluster = blocklist(PREFIXES);
    let started = Instant::now();
    let engine = Engine::new(&cluster, &Options::default());
    black_box(engine.tables());
    tell(report, "a blocklist of 100000 CIDRs", started.elapsed().as_secs_f64(), COLD)?;

    let cluster = crossing(CROSSING);
    let started = Instant::now();
    let engine = Engine::new(&cluster, &Options::default());
    let reach = engine.reach();
    let mut open = 0usize;
    for source in 0..cluster.workloads.len() {
        for destination in 0..cluster.workloads.len() {
            open += usize::from(!reach.between(source, destination).is_empty());
        }
        open += reach.to_external(source).len();
    }
    black_box(open);
    tell(report, "2000 workloads, all pairs", started.elapsed().as_secs_f64(), MATRIX)
}

/// What it takes to follow changes, one at a time: the median of many, and the worst.
fn follow(report: &Report, live: &mut Live) -> Result<()> {
    let set = |object| vec![Change::Set(Box::new(object))];
    let pod = |live: &Live, namespace: usize, at: u8| {
        let cluster = &live.engine().world().cluster;
        let name = format!("ns{namespace}");
        let mut pod = cluster.workloads.iter().find(|pod| pod.namespace == name).cloned()?;
        pod.name = format!("new-{at}");
        pod.node = Some("n7".to_owned());
        pod.addresses = vec![Ipv4Addr::new(10, 250, u8::try_from(namespace % 250).ok()?, at).into()];
        Some(pod)
    };
    let mut pods = Vec::new();
    for turn in 0..FOLLOWED {
        // Every other one where policies of this node speak of the pods.
        let namespace = if turn % 2 == 0 { 0 } else { 1 + usize::from(turn) * 7 };
        pods.push(pod(live, namespace, turn).context("there is no pod to copy")?);
    }
    let mut times = Times::default();
    for pod in &pods {
        times.of(live, set(Object::Workload(pod.clone())));
    }
    times.tell(report, "a pod like others elsewhere", POD)?;
    let mut times = Times::default();
    for pod in &pods {
        let mut other = pod.clone();
        other.labels.insert("statefulset.kubernetes.io/pod-name".to_owned(), format!("{}-{}", pod.namespace, pod.name));
        times.of(live, set(Object::Workload(other)));
    }
    times.tell(report, "a pod of labels of its own", POD)?;
    let mut times = Times::default();
    for pod in &pods {
        let mut other = pod.clone();
        other.labels.insert("tier".to_owned(), format!("v{}", pod.addresses.len()));
        other.labels.insert("app".to_owned(), "app1".to_owned());
        times.of(live, set(Object::Workload(other)));
    }
    times.tell(report, "a pod that is relabelled", POD)?;
    let mut times = Times::default();
    for pod in pods {
        times.of(live, vec![Change::Remove(Object::Workload(pod).name())]);
    }
    times.tell(report, "a pod that goes", POD)?;
    let policies: Vec<_> = live.engine().world().cluster.network_policies.clone();
    let here = |policy: &&Located<NetworkPolicy>| policy.value.metadata.namespace.as_deref() == Some("ns0");
    let policies: Vec<_> = policies.iter().filter(here).collect();
    let [inward, outward] = policies.as_slice() else { bail!("ns0 has not two policies") };
    let mut ports = Times::default();
    let mut peers = Times::default();
    let mut blocks = Times::default();
    let mut whole = Times::default();
    for turn in 0..FOLLOWED {
        let mut policy = (*inward).clone();
        let rules = policy.value.spec.as_mut().and_then(|spec| spec.ingress.as_mut()).context("no rules")?;
        let ports_of_rule = rules.get_mut(1).and_then(|rule| rule.ports.as_mut()).context("no ports")?;
        ports_of_rule.iter_mut().for_each(|port| port.port = Some(IntOrString::Int(9000 + i32::from(turn))));
        ports.of(live, set(Object::NetworkPolicy(policy.clone())));
        let rules = policy.value.spec.as_mut().and_then(|spec| spec.ingress.as_mut()).context("no rules")?;
        rules.push(serde_json::from_value(json!({"from": [{
            "namespaceSelector": {"matchLabels": {"team": format!("t{turn}")}},
            "podSelector": {"matchLabels": {"app": "app2"}},
        }]}))?);
        peers.of(live, set(Object::NetworkPolicy(policy)));
        let mut policy = (*outward).clone();
        let rules = policy.value.spec.as_mut().and_then(|spec| spec.egress.as_mut()).context("no rules")?;
        rules.push(serde_json::from_value(json!({"to": [{"ipBlock": {"cidr": format!("198.51.{turn}.0/24")}}]}))?);
        blocks.of(live, set(Object::NetworkPolicy(policy.clone())));
        let name = Object::NetworkPolicy(policy.clone()).name();
        whole.of(live, vec![Change::Remove(name)]);
        whole.of(live, set(Object::NetworkPolicy((*outward).clone())));
    }
    ports.tell(report, "a policy's ports", POLICY)?;
    peers.tell(report, "a policy's peers", POLICY)?;
    blocks.tell(report, "a policy's address blocks", POLICY)?;
    whole.tell(report, "a policy that goes or comes", POLICY)
}

#[derive(Default)]
struct Times(Vec<f64>);

impl Times {
    fn of(&mut self, live: &mut Live, changes: Vec<Change>) {
        let started = Instant::now();
        black_box(live.apply(changes));
        self.0.push(started.elapsed().as_secs_f64());
    }

    fn tell(&self, report: &Report, what: &str, target: f64) -> Result<()> {
        tell(report, what, median(&self.0), target)?;
        let worst = self.0.iter().copied().fold(0.0, f64::max);
        tell(report, "  the worst", worst, target)
    }
}

fn tell(report: &Report, what: &str, seconds: f64, target: f64) -> Result<()> {
    report.result(
        &json!({"kind": "policy", "what": what, "seconds": rounded(seconds, 6), "target": target}),
        &format!("{what:28} {:9.3} ms   (to reach: {:.0})", seconds * 1e3, target * 1e3),
    )
}

/// Bytes of this process that are in memory.
fn resident() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("there is no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().context("VmRSS is no number")?;
    Ok(kib << 10)
}
