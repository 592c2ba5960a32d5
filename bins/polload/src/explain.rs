//! `polload explain`: why one may reach the other, or not, and what would change it.

mod advice;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::IpAddr;

use chainkit_cli::{Exit, Failure, Format, Log, OutputArgs, escape};
use chainkit_cluster::model::Cluster;
use chainkit_policy::{Direction, Engine, Explanation, Flow, Options, Party, Side, Verdict};
use clap::Args;
use serde::Serialize;

use self::advice::{Advice, pods_behind};
use crate::inputs::Inputs;
use crate::party::{Found, Name, Port};

/// What is asked.
#[derive(Args, Debug)]
pub(crate) struct Ask {
    #[command(flatten)]
    inputs: Inputs,

    /// Who opens the connection: NS/NAME (a pod or workload; NS/NAME[KIND] is the workload), pod:NS/NAME, or an address
    #[arg(long, value_name = "X")]
    from: Name,

    /// To whom: NS/NAME, NS/NAME[KIND], pod:NS/NAME, svc:NS/NAME, or an address
    #[arg(long, value_name = "Y")]
    to: Name,

    /// The destination port and protocol, such as 80/tcp; of a service, the service's port
    #[arg(long, value_name = "PORT/PROTOCOL")]
    port: Port,

    #[command(flatten)]
    output: OutputArgs,
}

/// The answer, as JSON.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename = "Verdict")]
struct Record {
    verdict: &'static str,
    egress: SideRecord,
    ingress: SideRecord,
}

#[derive(Debug, Serialize)]
struct SideRecord {
    verdict: &'static str,
    isolated: bool,
    tier: Option<&'static str>,
    policy: Option<PolicyRecord>,
    rule: Option<usize>,
    file: Option<String>,
    line: Option<usize>,
    reason: String,
}

#[derive(Debug, Serialize)]
struct PolicyRecord {
    kind: &'static str,
    namespace: Option<String>,
    name: String,
}

impl From<&Side> for SideRecord {
    fn from(side: &Side) -> Self {
        let policy = side.policy.as_ref();
        Self {
            verdict: side.verdict.name(),
            isolated: side.isolated,
            tier: side.tier,
            policy: policy.map(|policy| PolicyRecord {
                kind: policy.kind,
                namespace: policy.namespace.clone(),
                name: policy.name.clone(),
            }),
            rule: side.rule,
            file: side.file.as_ref().map(ToString::to_string),
            line: side.line,
            reason: side.reason.clone(),
        }
    }
}

pub(crate) fn run(ask: &Ask, log: &Log) -> anyhow::Result<Exit> {
    let cluster = ask.inputs.read(log)?;
    let engine = Engine::new(&cluster, &Options::default());
    for problem in engine.problems() {
        log.warning(problem);
    }
    let (from, to) = (ask.from.find(&cluster)?, ask.to.find(&cluster)?);
    if matches!(from, Found::Service(_)) {
        return Err(Failure::usage(format!("--from {}: a service opens no connection", ask.from))
            .remedy("name one of its pods")
            .into());
    }
    check_service_port(&cluster, &to, ask)?;
    let (explanation, [from, to]) = judge(&engine, &cluster, &from, &to, ask.port);
    let mut out = std::io::stdout().lock();
    let record = Record {
        verdict: explanation.verdict.name(),
        egress: (&explanation.egress).into(),
        ingress: (&explanation.ingress).into(),
    };
    match ask.output.format() {
        Format::Table => {
            let ends = [(&ask.from, &from), (&ask.to, &to)];
            let advice = Advice { engine: &engine, ends, port: ask.port };
            out.write_all(escape(&in_words(ask, &explanation, &advice)).as_bytes())?;
        }
        Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(&record)?)?,
        Format::Jsonl => writeln!(out, "{}", serde_json::to_string(&record)?)?,
    }
    out.flush()?;
    Ok(if explanation.verdict == Verdict::Allowed { Exit::Fine } else { Exit::No })
}

/// A service that does not have the port at all is more likely a slip than a question.
fn check_service_port(cluster: &Cluster, to: &Found, ask: &Ask) -> anyhow::Result<()> {
    let Found::Service(place) = to else {
        return Ok(());
    };
    let Some(service) = cluster.services.get(*place) else {
        return Ok(());
    };
    let has = |port: &&chainkit_cluster::model::ServicePort| {
        port.port == ask.port.number && port.protocol == ask.port.protocol
    };
    if service.ports.iter().any(|port| has(&port)) {
        return Ok(());
    }
    let ports: Vec<String> = service
        .ports
        .iter()
        .map(|port| format!("{}/{}", port.port, port.protocol.name().to_ascii_lowercase()))
        .collect();
    let ports = if ports.is_empty() { "none".to_owned() } else { ports.join(", ") };
    Err(Failure::usage(format!("{} has no port {}", ask.to, ask.port))
        .remedy(format!("its ports are {ports}; a service is asked by its own port, not by that of its pods"))
        .into())
}

/// Judges every pair of pods the names stand for. Where they differ, a denial counts. Tells the pair it speaks of.
fn judge(engine: &Engine<'_>, cluster: &Cluster, from: &Found, to: &Found, port: Port) -> (Explanation, [Found; 2]) {
    let flows = |source: &Found, destination: &Found| met(cluster, source, destination, port);
    let sources = distinct(engine, cluster, from, to);
    let destinations = distinct(engine, cluster, to, from);
    let each = sources.iter().flat_map(|source| destinations.iter().map(move |destination| (source, destination)));
    let mut pairs: Vec<(&Found, &Found)> = each.clone().filter(|pair| !is_itself(cluster, pair)).collect();
    if pairs.is_empty() {
        pairs = each.collect();
    }
    let denied = |flow: &Flow| engine.judge(flow).verdict == Verdict::Denied;
    let worst = pairs.iter().position(|(source, destination)| flows(source, destination).first().is_some_and(denied));
    let differ = worst.is_some()
        && pairs
            .iter()
            .any(|(source, destination)| flows(source, destination).first().is_some_and(|flow| !denied(flow)));
    let at =
        worst.or_else(|| pairs.iter().position(|(source, destination)| flows(source, destination).iter().any(denied)));
    let (source, destination) = pairs.get(at.unwrap_or(0)).copied().unwrap_or((from, to));
    let flows = flows(source, destination);
    let outside =
        Flow { source: Party::OwnNode, destination: Party::OwnNode, transport: port.transport(), port: port.number };
    let mut explanation = engine.explain(flows.first().unwrap_or(&outside));
    if differ {
        for side in [&mut explanation.egress, &mut explanation.ingress] {
            if side.verdict == Verdict::Denied {
                side.reason.push_str("; other pods of the workload are allowed");
            }
        }
    }
    if let Some(other) = flows.get(1)
        && let Some(under) = under(cluster, source, destination)
    {
        let judged = engine.judge(other);
        for (side, verdict) in
            [(&mut explanation.egress, judged.egress.verdict), (&mut explanation.ingress, judged.ingress.verdict)]
        {
            if side.verdict != verdict {
                side.reason.push_str(&format!("; under {under} it is {}", verdict.name().to_ascii_lowercase()));
            }
        }
    }
    if explanation.ingress.verdict == Verdict::Denied && is_own_node(engine, cluster, source, destination, port) {
        explanation.ingress.reason.push_str(
            "; this is judged as traffic forwarded through the node: what the node itself sends, such as probes, is always allowed",
        );
    }
    (explanation, [source.clone(), destination.clone()])
}

/// Addresses of one family that both ends have: the first in common, then of the other family. `None` where one has no address.
fn in_common(cluster: &Cluster, source: &Found, destination: &Found) -> Vec<(IpAddr, IpAddr)> {
    let destinations = destination.addresses(cluster);
    let of_family = |source: &IpAddr| destinations.iter().find(|other| other.is_ipv4() == source.is_ipv4()).copied();
    source.addresses(cluster).iter().filter_map(|source| Some((*source, of_family(source)?))).collect()
}

/// The flows between two ends: the one that counts, then that of the other family where both ends have it.
fn met(cluster: &Cluster, source: &Found, destination: &Found, port: Port) -> Vec<Flow> {
    let flow = |source: Option<Party>, destination: Option<Party>| {
        Some(Flow { source: source?, destination: destination?, transport: port.transport(), port: port.number })
    };
    let common = in_common(cluster, source, destination);
    let first = match common.first() {
        Some((from, to)) => flow(source.party(Some(*from)), destination.party(Some(*to))),
        None => {
            let from = source.addresses(cluster).first().copied();
            flow(source.party(from), destination.party(destination.addresses(cluster).first().copied()))
        }
    };
    // Under an address of its own a service has the backends of that family alone.
    let other = common.get(1).and_then(|(from, to)| match destination {
        Found::Service(_) => flow(source.party(Some(*from)), Some(Party::Address(*to))),
        _ => flow(source.party(Some(*from)), destination.party(Some(*to))),
    });
    first.into_iter().chain(other).collect()
}

/// The addresses of the other family.
fn under(cluster: &Cluster, source: &Found, destination: &Found) -> Option<String> {
    in_common(cluster, source, destination).get(1).map(|(from, to)| format!("{from} -> {to}"))
}

/// Whether both are one pod. Pods of one template are several.
fn is_itself(cluster: &Cluster, (source, destination): &(&Found, &Found)) -> bool {
    let Found::Workloads(places) = source else {
        return false;
    };
    let workload = places.first().and_then(|place| cluster.workloads.get(*place));
    source == destination && workload.is_some_and(|workload| workload.kind == "Pod")
}

/// Whether the source is asked as the address of the node that the destination runs on.
fn is_own_node(engine: &Engine<'_>, cluster: &Cluster, source: &Found, destination: &Found, port: Port) -> bool {
    let world = engine.world();
    let Found::Address(address) = source else {
        return false;
    };
    let Some(node) = world.node_at(*address) else {
        return false;
    };
    let behind = pods_behind(engine, *address, destination, port);
    let mut behind = behind.iter().filter_map(|place| cluster.workloads.get(*place));
    behind.any(|workload| workload.node.as_ref().is_some_and(|name| world.node(name) == Some(node)))
}

/// One of each kind that rules can tell apart. Pods of one workload are many, and most of them are alike; two of a kind are
/// kept where both ends have pods in common, as a pod and itself are not as two alike.
fn distinct(engine: &Engine<'_>, cluster: &Cluster, found: &Found, other: &Found) -> Vec<Found> {
    let Found::Workloads(places) = found else {
        return vec![found.clone()];
    };
    let others: BTreeSet<usize> = match other {
        Found::Workloads(others) => others.iter().copied().collect(),
        _ => BTreeSet::new(),
    };
    let keep = if places.iter().any(|place| others.contains(place)) { 2 } else { 1 };
    let host = |place: &usize| cluster.workloads.get(*place).is_some_and(|workload| workload.host_network);
    // Which node it is counts between a node and its pods, and where a service keeps its traffic on the node.
    let keeps = match other {
        Found::Address(_) => true,
        Found::Service(place) => cluster.services.get(*place).is_some_and(|service| service.stays_on_node),
        Found::Workloads(_) => false,
    };
    let by_node = keeps || others.iter().any(host);
    let mut seen: BTreeMap<_, usize> = BTreeMap::new();
    let mut kept = Vec::new();
    for place in places {
        let one = Found::Workloads(vec![*place]);
        let classes: Vec<_> = one
            .addresses(cluster)
            .iter()
            .map(|address| (address.is_ipv4(), engine.classes().of_address(*address)))
            .collect();
        let node = cluster.workloads.get(*place).filter(|workload| by_node || workload.host_network);
        let node = node.and_then(|workload| workload.node.as_ref());
        let count = seen.entry((engine.policy_of(*place), engine.world().group_of(*place), classes, node)).or_default();
        *count += 1;
        if *count <= keep {
            kept.push(one);
        }
    }
    kept
}

/// The answer for people, with what would turn it.
fn in_words(ask: &Ask, explanation: &Explanation, advice: &Advice<'_>) -> String {
    let mut text = format!("{}: {} -> {} port {}\n", explanation.verdict.name(), ask.from, ask.to, ask.port);
    for (direction, side) in [(Direction::Egress, &explanation.egress), (Direction::Ingress, &explanation.ingress)] {
        text.push_str(&format!("  {:7}  {}: {}\n", direction.name(), side.verdict.name(), side.reason));
        if let (Some(file), Some(line)) = (&side.file, side.line) {
            text.push_str(&format!("           at {file}:{line}\n"));
        }
    }
    for line in advice.lines(explanation) {
        text.push_str(&line);
        text.push('\n');
    }
    text
}
