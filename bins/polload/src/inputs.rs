//! What every command reads.

use std::fmt::Display;

use chainkit_cli::{Failure, Log};
use chainkit_cluster::Reader;
use chainkit_cluster::model::Cluster;
use clap::Args;

use crate::api::ApiArgs;

/// Where objects come from.
#[derive(Args, Debug)]
pub(crate) struct Inputs {
    /// Files, folders, FIFOs, or - for stdin
    #[arg(value_name = "IN", required_unless_present = "api")]
    inputs: Vec<String>,

    #[command(flatten)]
    api: ApiArgs,

    /// Refuse everything if anything of it cannot be used
    #[arg(long)]
    strict: bool,

    /// What the command calls them, where it reads others beside.
    #[arg(skip)]
    side: Option<&'static str>,
}

/// Where two sets of objects come from, one to be held against the other.
#[derive(Args, Debug)]
pub(crate) struct Sides {
    /// What it was: a file, a folder, a FIFO, or - for stdin; left out with --api, whose cluster it is then
    #[arg(value_name = "OLD")]
    old: String,

    /// What it has become, likewise
    #[arg(value_name = "NEW", required_unless_present = "api", conflicts_with = "api")]
    new: Option<String>,

    #[command(flatten)]
    api: ApiArgs,

    /// Refuse everything if anything of it cannot be used
    #[arg(long)]
    strict: bool,
}

impl Sides {
    /// The old side and the new one.
    pub(crate) fn each(&self) -> anyhow::Result<[Inputs; 2]> {
        // One that stands alone is the new one.
        let (old, new) = match &self.new {
            Some(new) => (Some(&self.old), new),
            None => (None, &self.old),
        };
        stdin_once(old.into_iter().chain([new]))?;
        let side = |side, input: Option<&String>| Inputs {
            inputs: input.into_iter().cloned().collect(),
            api: if input.is_none() { self.api.clone() } else { ApiArgs::default() },
            strict: self.strict,
            side: Some(side),
        };
        Ok([side("OLD", old), side("NEW", Some(new))])
    }
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
        let cluster = self.read_quietly(log)?;
        for problem in &cluster.problems {
            log.warning(self.of_this(problem));
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
    pub(crate) fn read_quietly(&self, log: &Log) -> anyhow::Result<Cluster> {
        stdin_once(&self.inputs)?;
        let mut reader = Reader::default();
        for note in self.api.read(&mut reader)? {
            log.info(self.of_this(note));
        }
        reader.inputs(&self.inputs).map_err(|error| Failure::usage(error.to_string()))?;
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
            let api = self.api.wanted().then_some("the API server");
            let inputs: Vec<&str> = api.into_iter().chain(self.inputs.iter().map(String::as_str)).collect();
            let inputs = inputs.join(", ");
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
