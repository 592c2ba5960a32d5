//! What every command reads.

use std::collections::BTreeSet;
use std::fmt::Display;

use chainkit_cli::{ApiArgs, Failure, Log};
use chainkit_cluster::Reader;
use chainkit_cluster::model::{About, Cluster, Problem};
use chainkit_cluster::soundness::Weight;
use clap::Args;

use crate::api;
use crate::sound::doubts;

/// How many doubts about policies are told; the rest is counted.
const MOST_DOUBTS: usize = 100;

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

    /// What has been read for both sides.
    #[arg(skip)]
    shared: Option<Reader>,
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

    #[command(flatten)]
    shared: Shared,
}

impl Sides {
    /// The old side and the new one.
    pub(crate) fn each(&self, log: &Log) -> anyhow::Result<[Inputs; 2]> {
        // One that stands alone is the new one.
        let (old, new) = match &self.new {
            Some(new) => (Some(&self.old), new),
            None => (None, &self.old),
        };
        let [mut old, new] = self.shared.beside([("OLD", old), ("NEW", Some(new))], &ApiArgs::default(), log)?;
        if self.new.is_none() {
            old.api = self.api.clone();
        }
        Ok([old, new])
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
    /// Two sides, by what the command calls them, each with what belongs to both: what `--with` names, and what the API server has, if `from` says to ask it.
    pub(crate) fn beside(
        &self,
        sides: [(&'static str, Option<&String>); 2],
        from: &ApiArgs,
        log: &Log,
    ) -> anyhow::Result<[Inputs; 2]> {
        stdin_once(self.with.iter().chain(sides.iter().filter_map(|(_, input)| *input)))?;
        let shared = if self.with.is_empty() && !from.api {
            None
        } else {
            let mut reader = Reader::default();
            api::read(from, &mut reader)?.into_iter().for_each(|note| log.info(note));
            reader.inputs(&self.with).map_err(|error| Failure::usage(error.to_string()))?;
            Some(reader)
        };
        Ok(sides.map(|(side, input)| Inputs {
            inputs: input.into_iter().cloned().collect(),
            api: ApiArgs::default(),
            strict: self.strict,
            side: Some(side),
            // What a side says of an object comes last, and counts.
            shared: shared.clone(),
        }))
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
        self.read_beside(log, &mut BTreeSet::new())
    }

    /// The same, without what has been told of the other side.
    pub(crate) fn read_beside(&self, log: &Log, told: &mut BTreeSet<String>) -> anyhow::Result<Cluster> {
        self.read_telling(log, told, Weight::Legacy)
    }

    /// The same for a command that puts policy in force: what was assumed of a policy is told, too.
    pub(crate) fn read_for_node(&self, log: &Log) -> anyhow::Result<Cluster> {
        self.read_telling(log, &mut BTreeSet::new(), Weight::Assumed)
    }

    /// Reads the objects, and tells what cannot be used of them, and what is doubtful of policies as far down as `least`.
    fn read_telling(&self, log: &Log, told: &mut BTreeSet<String>, least: Weight) -> anyhow::Result<Cluster> {
        let cluster = self.read_quietly(log)?;
        for problem in &cluster.problems {
            if told.insert(problem.to_string()) {
                log.warning(self.of_this(problem));
            }
        }
        if cluster.more_problems > 0 {
            log.warning(self.of_this(format!("{} more objects or fields cannot be used", cluster.more_problems)));
        }
        let (mut doubtful, mut refused) = (0, Vec::new());
        for doubt in doubts(&cluster).filter(|doubt| doubt.weight <= least) {
            doubtful += 1;
            if doubtful <= MOST_DOUBTS && told.insert(doubt.problem.to_string()) {
                log.warning(self.of_this(&doubt.problem));
            }
            if doubt.weight == Weight::Refused {
                refused.push(doubt.problem);
            }
        }
        if doubtful > MOST_DOUBTS {
            log.warning(self.of_this(format!("{} more doubts about policies", doubtful - MOST_DOUBTS)));
        }
        if !cluster.unknown.is_empty() {
            let counts: Vec<String> = cluster.unknown.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            log.info(self.of_this(format!("passed over: {}", counts.join(", "))));
        }
        self.refuse(&cluster, &refused)?;
        Ok(cluster)
    }

    /// Reads the objects for a command that tells problems in its own way.
    pub(crate) fn read_quietly(&self, log: &Log) -> anyhow::Result<Cluster> {
        stdin_once(&self.inputs)?;
        let mut reader = self.shared.clone().unwrap_or_default();
        for note in api::read(&self.api, &mut reader)? {
            log.info(self.of_this(note));
        }
        reader.inputs(&self.inputs).map_err(|error| Failure::usage(error.to_string()))?;
        Ok(reader.finish())
    }

    /// With `--strict`, an error if anything could not be used, or not as it was meant; without, if nothing could.
    fn refuse(&self, cluster: &Cluster, doubtful: &[Problem]) -> anyhow::Result<()> {
        let unused: Vec<&Problem> =
            cluster.problems.iter().filter(|problem| problem.about != About::Replaced).chain(doubtful).collect();
        if let Some(first) = unused.first().filter(|_| self.strict) {
            let problems = unused.len() + cluster.more_problems;
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
            let api = self.api.api.then_some("the API server");
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
