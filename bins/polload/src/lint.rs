//! `polload lint`: mistakes that change what policies mean.

mod addresses;
mod cluster_wide;
mod fields;
mod network;
mod network_rules;
mod pods;
mod told;
mod unreachable;

use std::io::Write;

use chainkit_cli::{Exit, Failure, Log, OutputArgs, Row, write_rows};
use chainkit_cluster::model::{Cluster, Problem};
use clap::Args;
use serde::Serialize;

use crate::inputs::Inputs;
use pods::Pods;
use told::Told;

/// What is asked.
#[derive(Args, Debug)]
pub(crate) struct Ask {
    #[command(flatten)]
    inputs: Inputs,

    #[command(flatten)]
    output: OutputArgs,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    /// It does not do what it says.
    Error,
    /// It hardly does what was meant.
    Warning,
    /// Worth knowing.
    Info,
}

/// Something about a policy that its author should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename = "Lint")]
struct Finding {
    id: &'static str,
    severity: Severity,
    file: String,
    line: usize,
    object: String,
    message: String,
    remedy: String,
}

impl Row for Finding {
    const HEADER: &'static [&'static str] = &["SEVERITY", "ID", "PLACE", "OBJECT", "MESSAGE", "REMEDY"];

    fn cells(&self) -> Vec<String> {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        };
        let place = format!("{}:{}", self.file, self.line);
        let (id, object) = (self.id.to_owned(), self.object.clone());
        vec![severity.to_owned(), id, place, object, self.message.clone(), self.remedy.clone()]
    }
}

pub(crate) fn run(ask: &Ask, log: &Log) -> anyhow::Result<Exit> {
    let cluster = ask.inputs.read_quietly(log)?;
    if let Some(first) = cluster.problems.first().filter(|_| ask.inputs.strict()) {
        let problems = cluster.problems.len() + cluster.more_problems;
        return Err(Failure::usage(format!("{problems} things cannot be used, the first is {first}"))
            .remedy("mend the input, or leave --strict out to look at the rest")
            .into());
    }
    let findings = look(&cluster);
    if cluster.more_problems > 0 {
        log.warning(format!("{} more objects or fields cannot be used", cluster.more_problems));
    }
    let found = findings.iter().any(|finding| finding.severity <= Severity::Warning);
    let mut out = std::io::stdout().lock();
    if !findings.is_empty() || ask.output.format() != chainkit_cli::Format::Table {
        write_rows(&mut out, ask.output.format(), findings)?;
    }
    out.flush()?;
    Ok(if found { Exit::No } else { Exit::Fine })
}

/// Findings that are about the pods of a cluster.
const OF_PODS: [&str; 3] = ["selects-nothing", "peer-selects-nothing", "unknown-port-name"];

/// All findings, in order of their places.
fn look(cluster: &Cluster) -> Vec<Finding> {
    let mut findings: Vec<Finding> = cluster.problems.iter().map(unusable).collect();
    let pods = Pods::new(cluster);
    let addresses = addresses::Addresses::new(cluster);
    for policy in &cluster.network_policies {
        let metadata = &policy.value.metadata;
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let name = metadata.name.as_deref().unwrap_or_default();
        let mut told = Told::about(policy, format!("NetworkPolicy/{namespace}/{name}"));
        fields::look("NetworkPolicy", &policy.lines, &mut told);
        network::look(policy, &pods, &addresses, &mut told);
        findings.extend(told.all());
    }
    for policy in &cluster.cluster_policies {
        let kind = policy.value.kind.name();
        let mut told = Told::about(policy, format!("{kind}/{}", policy.value.name));
        fields::look(kind, &policy.lines, &mut told);
        cluster_wide::look(policy, &pods, &addresses, &mut told);
        findings.extend(told.all());
    }
    if cluster.workloads.is_empty() && !findings.is_empty() {
        // Who is selected cannot be told where nobody was given.
        let of_pods = findings.iter().find(|finding| OF_PODS.contains(&finding.id)).cloned();
        findings.retain(|finding| !OF_PODS.contains(&finding.id));
        findings.extend(of_pods.map(|first| {
            Finding {
                id: "no-pods",
                severity: Severity::Info,
                message:
                    "no pod and no pod template was given: whom policies select, and which ports have names, was not \
                      looked at"
                        .to_owned(),
                remedy: "give the workloads with the policies".to_owned(),
                ..first
            }
        }));
    }
    findings.extend(cluster_wide::same_priority(cluster, &pods));
    findings.extend(unreachable::look(cluster));
    findings.sort_by(|a, b| (&a.file, a.line, a.id, &a.object).cmp(&(&b.file, b.line, b.id, &b.object)));
    findings
}

/// What could not be used is a finding, too.
fn unusable(problem: &Problem) -> Finding {
    let field = if problem.field.is_empty() { String::new() } else { format!("{}: ", problem.field) };
    let document = if problem.document > 0 { format!(" (document {})", problem.document) } else { String::new() };
    Finding {
        id: "unusable",
        severity: Severity::Error,
        file: problem.file.to_string(),
        line: problem.line,
        object: problem.object.clone(),
        message: format!("{field}{}{document}", problem.reason),
        remedy: if problem.reason.ends_with("this one counts") {
            "give it once"
        } else {
            "mend it: what cannot be used is left out, and a policy that is left out does not protect"
        }
        .to_owned(),
    }
}
