//! `polload equivalent` and `polload contains`: whether two sets of policies allow the same, or one all that the other does.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::num::NonZeroUsize;

use chainkit_cli::{ApiArgs, Exit, Failure, Format, Log, OutputArgs, write_rows};
use chainkit_cluster::model::Cluster;
use chainkit_policy::{Comparison, Difference, End, Engine, Options, Question, Traffic, Transport, Verdict};
use clap::Args;
use serde::Serialize;

use crate::inputs::{Inputs, Shared};
use crate::pairs;

/// What is asked.
#[derive(Args, Debug)]
pub(crate) struct Ask {
    /// The one side: a file, a folder, or - for stdin
    #[arg(value_name = "A")]
    a: String,

    /// The other side, likewise
    #[arg(value_name = "B")]
    b: String,

    #[command(flatten)]
    shared: Shared,

    /// What the API server has belongs to both sides, too
    #[command(flatten)]
    api: ApiArgs,

    /// Show at most so many differences
    #[arg(long, value_name = "N", default_value = "10")]
    limit: NonZeroUsize,

    #[command(flatten)]
    output: OutputArgs,
}

/// A connection that the two sides judge otherwise.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename = "Difference")]
struct Row {
    src: String,
    dst: String,
    protocol: String,
    ports: Vec<(u16, u16)>,
    a: &'static str,
    b: &'static str,
}

impl chainkit_cli::Row for Row {
    const HEADER: &'static [&'static str] = &["SOURCE", "DESTINATION", "PROTOCOL", "PORTS", "A", "B"];

    fn cells(&self) -> Vec<String> {
        let ports: Vec<String> = self.ports.iter().copied().map(pairs::ports).collect();
        let ports = if ports.is_empty() { "-".to_owned() } else { ports.join(",") };
        let (a, b) = (self.a.to_owned(), self.b.to_owned());
        vec![self.src.clone(), self.dst.clone(), self.protocol.clone(), ports, a, b]
    }
}

pub(crate) fn run(ask: &Ask, question: Question, log: &Log) -> anyhow::Result<Exit> {
    let sides = ask.shared.beside([("A", Some(&ask.a)), ("B", Some(&ask.b))], &ask.api, log)?;
    let [a, b] = &sides;
    let mut told = BTreeSet::new();
    let clusters = [a.read_beside(log, &mut told)?, b.read_beside(log, &mut told)?];
    if clusters.iter().all(|cluster| cluster.workloads.is_empty()) {
        return Err(Failure::usage("neither A nor B has a pod or a pod template: there is nobody to judge")
            .remedy("give the workloads with the policies, or once for both sides with --with IN")
            .into());
    }
    for (inputs, cluster) in sides.iter().zip(&clusters) {
        look(inputs, cluster, log);
    }
    let [in_a, in_b] = &clusters;
    let engines = [in_a, in_b].map(|cluster| Engine::new(cluster, &Options::default()));
    for (inputs, engine) in sides.iter().zip(&engines) {
        for problem in engine.problems() {
            if told.insert(problem.to_string()) {
                log.warning(inputs.of_this(problem));
            }
        }
    }
    let [engine_a, engine_b] = &engines;
    let comparison = Comparison::new(engine_a, engine_b, question);
    let (workloads, [alone_a, alone_b]) = comparison.workloads();
    if alone_a + alone_b > 0 && alone_a + alone_b < workloads {
        log.info(format!(
            "of {workloads} workloads {alone_a} are in A alone and {alone_b} in B alone: who is not there is allowed nothing"
        ));
    }
    print(ask, question, &comparison, &clusters, log)?;
    Ok(if comparison.total() > 0 { Exit::No } else { Exit::Fine })
}

/// Tells what makes an answer less than it seems.
fn look(inputs: &Inputs, cluster: &Cluster, log: &Log) {
    if cluster.workloads.is_empty() {
        log.warning(inputs.of_this("no pod and no pod template: all that the other side allows differs"));
    } else if cluster.network_policies.is_empty() && cluster.cluster_policies.is_empty() {
        log.warning(inputs.of_this("no policy: everything is allowed"));
    }
}

fn print(
    ask: &Ask,
    question: Question,
    comparison: &Comparison<'_>,
    clusters: &[Cluster; 2],
    log: &Log,
) -> io::Result<()> {
    let limit = ask.limit.get();
    let mut rows = Vec::new();
    comparison.each(&mut |difference| {
        rows.extend(rows_of(&difference, question, clusters));
        // One more, to know whether there are any.
        rows.len() <= limit
    });
    let more = rows.len() > limit;
    rows.truncate(limit);
    let conclusion = conclusion(question, comparison, more.then_some(limit));
    let mut out = BufWriter::new(io::stdout().lock());
    match ask.output.format() {
        Format::Table => {
            if !rows.is_empty() {
                write_rows(&mut out, Format::Table, rows)?;
                writeln!(out)?;
            }
            writeln!(out, "{conclusion}")?;
        }
        format => {
            write_rows(&mut out, format, rows)?;
            if more {
                log.info(conclusion);
            }
        }
    }
    out.flush()
}

/// The records of one pair: for each protocol what only A allows, and what only B allows.
fn rows_of(difference: &Difference, question: Question, clusters: &[Cluster; 2]) -> Vec<Row> {
    let (src, dst) = (name(&difference.source, clusters), name(&difference.destination, clusters));
    let mut rows = Vec::new();
    for transport in Transport::ALL {
        let sides = [
            (&difference.only_first, Verdict::Allowed, Verdict::Denied),
            (&difference.only_second, Verdict::Denied, Verdict::Allowed),
        ];
        for (traffic, a, b) in sides {
            let asked = question == Question::Equivalent || b == Verdict::Allowed;
            if asked && !traffic.of(transport).is_empty() {
                rows.push(Row {
                    src: src.clone(),
                    dst: dst.clone(),
                    protocol: transport.to_string(),
                    ports: ports(traffic, transport),
                    a: a.name(),
                    b: b.name(),
                });
            }
        }
    }
    rows
}

fn ports(traffic: &Traffic, transport: Transport) -> Vec<(u16, u16)> {
    traffic.usable(transport)
}

fn name(end: &End, clusters: &[Cluster; 2]) -> String {
    match end {
        End::Addresses(range) => range.to_string(),
        End::Workload(places) => {
            let found = clusters.iter().zip(places).find_map(|(cluster, place)| cluster.workloads.get((*place)?));
            found.map_or_else(String::new, |found| format!("{}/{}[{}]", found.namespace, found.name, found.kind))
        }
    }
}

/// What it comes to, in a sentence.
fn conclusion(question: Question, comparison: &Comparison<'_>, shown: Option<usize>) -> String {
    let (workloads, _) = comparison.workloads();
    let differ = match comparison.total() {
        0 => format!("between {}, and to and from all addresses", count(workloads, "workload", "workloads")),
        1 => "1 pair differs".to_owned(),
        pairs => format!("{pairs} pairs differ"),
    };
    let says = match (question, comparison.total()) {
        (Question::Equivalent, 0) => "A and B allow the same",
        (Question::Equivalent, _) => "A and B do not allow the same",
        (Question::Contains, 0) => "A allows everything that B allows",
        (Question::Contains, _) => "A does not allow everything that B allows",
    };
    match shown {
        Some(limit) => {
            format!("{says}: {differ}; shown: the first {}, --limit shows more.", count(limit, "record", "records"))
        }
        None => format!("{says}: {differ}."),
    }
}

/// `1 record`, `2 records`.
pub(crate) fn count(number: usize, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}
