//! `polload redundant`: rules and policies whose removal changes nothing.

use std::io::{self, BufWriter, Write};

use chainkit_cli::{Exit, Failure, Format, Log, OutputArgs, write_rows};
use chainkit_policy::{Cover, Engine, Options, PolicyName, Redundant, redundant};
use clap::Args;
use serde::Serialize;

use crate::compare::count;
use crate::inputs::Inputs;

/// What is asked.
#[derive(Args, Debug)]
pub(crate) struct Ask {
    #[command(flatten)]
    inputs: Inputs,

    #[command(flatten)]
    output: OutputArgs,
}

/// A policy or rule that is redundant.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename = "Redundant")]
struct Row {
    object: String,
    rule: Option<usize>,
    direction: Option<&'static str>,
    file: Option<String>,
    line: Option<usize>,
    reason: String,
    covered_by: Vec<CoverRecord>,
    together: bool,
}

#[derive(Clone, Debug, Serialize)]
struct CoverRecord {
    kind: &'static str,
    namespace: Option<String>,
    name: String,
    direction: &'static str,
    rule: Option<usize>,
}

impl From<Redundant> for Row {
    fn from(found: Redundant) -> Self {
        Self {
            object: object(&found.policy),
            rule: found.rule.map(|(_, index)| index),
            direction: found.rule.map(|(direction, _)| direction.name()),
            file: (!found.file.is_empty()).then(|| found.file.to_string()),
            line: (found.line > 0).then_some(found.line),
            reason: found.reason,
            covered_by: found.covered_by.into_iter().map(CoverRecord::from).collect(),
            together: found.together,
        }
    }
}

impl From<Cover> for CoverRecord {
    fn from(cover: Cover) -> Self {
        let PolicyName { kind, namespace, name } = cover.policy;
        Self { kind, namespace, name, direction: cover.direction.name(), rule: cover.rule }
    }
}

fn object(policy: &PolicyName) -> String {
    match &policy.namespace {
        Some(namespace) => format!("{}/{namespace}/{}", policy.kind, policy.name),
        None => format!("{}/{}", policy.kind, policy.name),
    }
}

impl chainkit_cli::Row for Row {
    const HEADER: &'static [&'static str] = &["PLACE", "OBJECT", "RULE", "TOGETHER", "REASON"];

    fn cells(&self) -> Vec<String> {
        let place = match (&self.file, self.line) {
            (Some(file), Some(line)) => format!("{file}:{line}"),
            _ => "-".to_owned(),
        };
        let rule = match (self.direction, self.rule) {
            (Some(direction), Some(rule)) => format!("{direction}[{rule}]"),
            _ => "all".to_owned(),
        };
        let together = if self.together { "yes" } else { "no" };
        vec![place, self.object.clone(), rule, together.to_owned(), self.reason.clone()]
    }
}

pub(crate) fn run(ask: &Ask, log: &Log) -> anyhow::Result<Exit> {
    let cluster = ask.inputs.read(log)?;
    if cluster.workloads.is_empty() {
        return Err(Failure::usage(
            "no pod and no pod template: without anybody to select every policy would be redundant",
        )
        .remedy("give the workloads with the policies")
        .into());
    }
    let engine = Engine::new(&cluster, &Options::default());
    for problem in engine.problems() {
        log.warning(problem);
    }
    let found: Vec<Row> = redundant(&engine).into_iter().map(Row::from).collect();
    let exit = if found.is_empty() { Exit::Fine } else { Exit::No };
    let policies = cluster.network_policies.len() + cluster.cluster_policies.len();
    print(found, policies, ask.output.format())?;
    Ok(exit)
}

fn print(found: Vec<Row>, policies: usize, format: Format) -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    if format != Format::Table {
        write_rows(&mut out, format, found)?;
        return out.flush();
    }
    let policies = count(policies, "policy", "policies");
    if found.is_empty() {
        writeln!(out, "Nothing is redundant in {policies}.")?;
        return out.flush();
    }
    let whole = found.iter().filter(|row| row.rule.is_none()).count();
    let what = match (whole, found.len() - whole) {
        (whole, 0) => format!("{whole} of {policies}"),
        (0, rules) => count(rules, "rule", "rules"),
        (whole, rules) => format!("{whole} of {policies}, and {}", count(rules, "rule", "rules")),
    };
    let conclusion = match (found.len(), found.iter().filter(|row| row.together).count()) {
        (1, _) => format!("Redundant: {what}."),
        (all, together) if all == together => format!("Redundant: {what}; all of this can be removed at once."),
        (all, together) => format!("Redundant: {what}; {together} of these {all} can be removed at once."),
    };
    write_rows(&mut out, Format::Table, found)?;
    writeln!(out, "\n{conclusion}")?;
    out.flush()
}
