//! `polload explain`: why one may reach the other, or not, and what would change it.

use std::collections::BTreeSet;
use std::io::Write;

use chainkit_cli::{Exit, Failure, Format, Log, OutputArgs, escape};
use chainkit_cluster::model::{Cluster, TargetPort};
use chainkit_policy::{Cause, Direction, Engine, Explanation, Flow, Options, Party, Side, Verdict};
use clap::Args;
use serde::Serialize;

use crate::inputs::Inputs;
use crate::party::{Found, Name, Port};

/// What is asked.
#[derive(Args, Debug)]
pub(crate) struct Ask {
    #[command(flatten)]
    inputs: Inputs,

    /// Who opens the connection: NS/NAME (a pod or workload), pod:NS/NAME, or an address
    #[arg(long, value_name = "X")]
    from: Name,

    /// To whom: NS/NAME, pod:NS/NAME, svc:NS/NAME, or an address
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
    let explanation = judge(&engine, &cluster, &from, &to, ask.port);
    let mut out = std::io::stdout().lock();
    let record = Record {
        verdict: explanation.verdict.name(),
        egress: (&explanation.egress).into(),
        ingress: (&explanation.ingress).into(),
    };
    match ask.output.format() {
        Format::Table => out.write_all(escape(&in_words(ask, &explanation, &cluster, &from, &to)).as_bytes())?,
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

/// Judges every pair of pods the names stand for. Where they differ, a denial counts.
fn judge(engine: &Engine<'_>, cluster: &Cluster, from: &Found, to: &Found, port: Port) -> Explanation {
    let sources = distinct(engine, from.parties(cluster, to));
    let destinations = distinct(engine, to.parties(cluster, from));
    let mut first: Option<Explanation> = None;
    let mut differ = false;
    for source in &sources {
        for destination in &destinations {
            let flow =
                Flow { source: *source, destination: *destination, transport: port.transport(), port: port.number };
            let explanation = engine.explain(&flow);
            match &first {
                None => first = Some(explanation),
                Some(before) if before.verdict == explanation.verdict => {}
                Some(before) => {
                    differ = true;
                    if before.verdict == Verdict::Allowed {
                        first = Some(explanation);
                    }
                }
            }
        }
    }
    let flow = Flow {
        source: sources.first().copied().unwrap_or(Party::OwnNode),
        destination: destinations.first().copied().unwrap_or(Party::OwnNode),
        transport: port.transport(),
        port: port.number,
    };
    let mut explanation = first.unwrap_or_else(|| engine.explain(&flow));
    if differ {
        for side in [&mut explanation.egress, &mut explanation.ingress] {
            if side.verdict == Verdict::Denied {
                side.reason.push_str("; other pods of the workload are allowed");
            }
        }
    }
    explanation
}

/// One party of each kind that rules can tell apart. Pods of one workload are many, and most of them are alike.
fn distinct(engine: &Engine<'_>, parties: Vec<Party>) -> Vec<Party> {
    let workloads = &engine.world().cluster.workloads;
    let mut seen = BTreeSet::new();
    let kind = |party: &Party| match party {
        Party::Workload { index, address } => {
            let class = address.map(|address| engine.classes().of_address(address));
            let node = workloads.get(*index).filter(|workload| workload.host_network);
            Some((engine.policy_of(*index), engine.world().group_of(*index), class, node.and_then(|w| w.node.clone())))
        }
        _ => None,
    };
    parties.into_iter().filter(|party| kind(party).is_none_or(|kind| seen.insert(kind))).collect()
}

/// The answer for people, with what would turn it.
fn in_words(ask: &Ask, explanation: &Explanation, cluster: &Cluster, from: &Found, to: &Found) -> String {
    let mut text = format!("{}: {} -> {} port {}\n", explanation.verdict.name(), ask.from, ask.to, ask.port);
    for (direction, side) in [(Direction::Egress, &explanation.egress), (Direction::Ingress, &explanation.ingress)] {
        text.push_str(&format!("  {:7}  {}: {}\n", direction.name(), side.verdict.name(), side.reason));
        if let (Some(file), Some(line)) = (&side.file, side.line) {
            text.push_str(&format!("           at {file}:{line}\n"));
        }
    }
    text.push_str(match explanation.verdict {
        Verdict::Denied => "To allow it, all of this:\n",
        Verdict::Allowed => "To deny it, any of this:\n",
    });
    let turning = match explanation.verdict {
        Verdict::Denied => [
            to_allow(Direction::Egress, &explanation.egress, ask, cluster, from, to),
            to_allow(Direction::Ingress, &explanation.ingress, ask, cluster, from, to),
        ],
        Verdict::Allowed => to_deny(explanation, ask),
    };
    for turn in turning.into_iter().flatten() {
        text.push_str(&format!("  {turn}\n"));
    }
    text
}

/// What would have to change for a side that denies.
fn to_allow(
    direction: Direction,
    side: &Side,
    ask: &Ask,
    cluster: &Cluster,
    from: &Found,
    to: &Found,
) -> Option<String> {
    if side.verdict == Verdict::Allowed {
        return None;
    }
    let (peer, field) = match direction {
        Direction::Egress => (to, "to"),
        Direction::Ingress => (from, "from"),
    };
    let policy = side.policy.as_ref().map(ToString::to_string).unwrap_or_default();
    let number = pod_port(cluster, to, ask.port);
    let protocol = ask.port.protocol.name();
    Some(match side.cause {
        Cause::Rule => format!(
            "{}: take rule {} out of {policy}, or put one before it that allows {} port {number}/{protocol}",
            direction.name(),
            side.rule.unwrap_or_default(),
            peer_in_words(cluster, peer),
        ),
        _ => format!(
            "{}: add to {policy} a rule with {field}: {} and port {number} {protocol}",
            direction.name(),
            peer_in_words(cluster, peer),
        ),
    })
}

/// What would have to change for a connection that is allowed.
fn to_deny(explanation: &Explanation, ask: &Ask) -> [Option<String>; 2] {
    let one = |direction: Direction, side: &Side, end: &Name| match side.cause {
        Cause::Rule => {
            let policy = side.policy.as_ref().map(ToString::to_string).unwrap_or_default();
            Some(format!(
                "{}: narrow rule {} of {policy}, and any other rule that allows it",
                direction.name(),
                side.rule.unwrap_or_default()
            ))
        }
        Cause::NotIsolated => Some(format!(
            "{}: select {end} by a NetworkPolicy with policyTypes {} whose rules do not allow it",
            direction.name(),
            if direction == Direction::Egress { "[Egress]" } else { "[Ingress]" }
        )),
        _ => None,
    };
    let either = [
        one(Direction::Egress, &explanation.egress, &ask.from),
        one(Direction::Ingress, &explanation.ingress, &ask.to),
    ];
    if either.iter().all(Option::is_none) {
        return [Some("no policy can: it concerns no end that policies select".to_owned()), None];
    }
    either
}

/// The port that the pods see.
fn pod_port(cluster: &Cluster, to: &Found, port: Port) -> String {
    let Found::Service(place) = to else {
        return port.number.to_string();
    };
    let service = cluster.services.get(*place);
    let mut ports = service.into_iter().flat_map(|service| &service.ports);
    match ports.find(|found| found.port == port.number && found.protocol == port.protocol).map(|found| &found.target) {
        Some(TargetPort::Number(number)) => number.to_string(),
        Some(TargetPort::Name(name)) => name.clone(),
        None => port.number.to_string(),
    }
}

/// A peer as a rule would name it.
fn peer_in_words(cluster: &Cluster, peer: &Found) -> String {
    match peer {
        Found::Address(address) => {
            format!("ipBlock {address}/{}", if address.is_ipv4() { 32 } else { 128 })
        }
        Found::Service(place) => cluster.services.get(*place).map_or_else(String::new, |service| {
            format!("the pods of namespace {} labelled {}", service.namespace, labels(&service.selector))
        }),
        Found::Workloads(places) => {
            let workload = places.first().and_then(|place| cluster.workloads.get(*place));
            workload.map_or_else(String::new, |workload| {
                format!("the pods of namespace {} labelled {}", workload.namespace, labels(&workload.labels))
            })
        }
    }
}

fn labels(labels: &chainkit_cluster::model::Labels) -> String {
    if labels.is_empty() {
        return "(none)".to_owned();
    }
    let pairs = labels.iter().map(|(key, value)| format!("{key}={value}"));
    pairs.collect::<Vec<_>>().join(",")
}
