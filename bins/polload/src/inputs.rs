//! What every command reads.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::Read;
use std::sync::Arc;

use chainkit_cli::{Failure, Log};
use chainkit_cluster::model::Cluster;
use chainkit_cluster::{MAX_INPUT_BYTES, Reader};
use clap::Args;

/// Where objects come from.
#[derive(Args, Debug)]
pub(crate) struct Inputs {
    /// Files, folders, or - for stdin
    #[arg(value_name = "IN", required = true)]
    inputs: Vec<String>,

    /// Refuse everything if anything of it cannot be used
    #[arg(long)]
    strict: bool,

    /// What the command calls them, where it reads others beside.
    #[arg(skip)]
    side: Option<&'static str>,

    /// Standard input, where it has been read for both sides.
    #[arg(skip)]
    stdin: Option<Arc<str>>,
}

/// Where two sets of objects come from, one to be held against the other.
#[derive(Args, Debug)]
pub(crate) struct Sides {
    /// What it was: a file, a folder, or - for stdin
    #[arg(value_name = "OLD")]
    old: String,

    /// What it has become, likewise
    #[arg(value_name = "NEW")]
    new: String,

    #[command(flatten)]
    shared: Shared,
}

impl Sides {
    /// The old side and the new one.
    pub(crate) fn each(&self) -> anyhow::Result<[Inputs; 2]> {
        self.shared.beside([("OLD", &self.old), ("NEW", &self.new)])
    }
}

/// What two sides have in common.
#[derive(Args, Debug)]
pub(crate) struct Shared {
    /// Objects that belong to both sides, such as the pods and namespaces of a cluster: a file, a folder, or - for stdin.
    /// What a side says of an object counts there
    #[arg(long, value_name = "IN")]
    with: Vec<String>,

    /// Refuse everything if anything of it cannot be used
    #[arg(long)]
    strict: bool,
}

impl Shared {
    /// Two sides, by what the command calls them, each with what belongs to both.
    pub(crate) fn beside(&self, sides: [(&'static str, &String); 2]) -> anyhow::Result<[Inputs; 2]> {
        stdin_once(self.with.iter().chain(sides.map(|(_, input)| input)))?;
        // It can be read once, and is read by both.
        let stdin = if self.with.iter().any(|input| input == "-") { Some(stdin()?) } else { None };
        Ok(sides.map(|(side, input)| Inputs {
            // What comes last counts.
            inputs: self.with.iter().chain([input]).cloned().collect(),
            strict: self.strict,
            side: Some(side),
            stdin: stdin.clone(),
        }))
    }
}

/// All of standard input.
fn stdin() -> anyhow::Result<Arc<str>> {
    let wrong = |reason: String| Failure::usage(format!("cannot read Kubernetes objects from -: {reason}"));
    let mut text = String::new();
    let read = std::io::stdin().lock().take(MAX_INPUT_BYTES + 1).read_to_string(&mut text);
    read.map_err(|error| wrong(error.to_string()))?;
    if text.len() as u64 > MAX_INPUT_BYTES {
        return Err(wrong(format!("longer than {} MiB", MAX_INPUT_BYTES >> 20)).remedy("give it in parts").into());
    }
    Ok(text.into())
}

fn stdin_once<'a>(inputs: impl IntoIterator<Item = &'a String>) -> anyhow::Result<()> {
    if inputs.into_iter().filter(|input| *input == "-").count() > 1 {
        return Err(Failure::usage("stdin (-) was given twice").into());
    }
    Ok(())
}

impl Inputs {
    /// Reads the objects, and tells what cannot be used of them.
    pub(crate) fn read(&self, log: &Log) -> anyhow::Result<Cluster> {
        self.read_beside(log, &mut BTreeSet::new())
    }

    /// The same, without what has been told of the other side.
    pub(crate) fn read_beside(&self, log: &Log, told: &mut BTreeSet<String>) -> anyhow::Result<Cluster> {
        let cluster = self.read_quietly()?;
        for problem in &cluster.problems {
            if told.insert(problem.to_string()) {
                log.warning(self.of_this(problem));
            }
        }
        if cluster.more_problems > 0 {
            log.warning(self.of_this(format!("{} more objects or fields cannot be used", cluster.more_problems)));
        }
        if !cluster.unknown.is_empty() {
            let counts: Vec<String> = cluster.unknown.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            log.info(self.of_this(format!("passed over: {}", counts.join(", "))));
        }
        self.refuse(&cluster)?;
        Ok(cluster)
    }

    /// Reads the objects for a command that tells problems in its own way.
    pub(crate) fn read_quietly(&self) -> anyhow::Result<Cluster> {
        stdin_once(&self.inputs)?;
        let mut reader = Reader::default();
        for input in &self.inputs {
            match &self.stdin {
                Some(text) if input == "-" => reader.text(input, text),
                _ => reader.input(input).map_err(|error| Failure::usage(error.to_string()))?,
            }
        }
        Ok(reader.finish())
    }

    /// With `--strict`, an error if anything could not be used; without, if nothing could.
    fn refuse(&self, cluster: &Cluster) -> anyhow::Result<()> {
        if let Some(first) = cluster.problems.first().filter(|_| self.strict) {
            let problems = cluster.problems.len() + cluster.more_problems;
            return Err(Failure::usage(format!("{problems} things cannot be used, the first is {first}"))
                .remedy("mend the input, or leave --strict out to use the rest")
                .into());
        }
        let is_empty = cluster.workloads.is_empty()
            && cluster.namespaces.is_empty()
            && cluster.nodes.is_empty()
            && cluster.network_policies.is_empty()
            && cluster.cluster_policies.is_empty();
        if is_empty {
            let inputs = self.inputs.join(", ");
            return Err(Failure::usage(format!("no Kubernetes objects of use in {inputs}"))
                .remedy("give pods or their templates, namespaces and policies")
                .into());
        }
        Ok(())
    }

    /// A message that tells which of two sides it is of.
    pub(crate) fn of_this(&self, message: impl Display) -> String {
        self.side.map_or_else(|| message.to_string(), |side| format!("{side}: {message}"))
    }

    /// Whether anything that cannot be used ends the program.
    pub(crate) const fn strict(&self) -> bool {
        self.strict
    }
}
