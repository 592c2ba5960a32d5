//! `polload plan`: what putting policy in force on this node would change, and which live connections it would end.

mod changes;
mod ends;
mod shadow;

use std::time::Duration;

use chainkit_cli::{Exit, Format, Log, OutputArgs, write_rows};
use chainkit_cluster::model::Cluster;
use clap::Args;

pub(crate) use changes::names as rule_names;

use crate::apply::{self, tell_problems};
use crate::inputs::Inputs;
use crate::kernel::modes::NodeArgs;
use crate::kernel::open;
use crate::kernel::placement;
use crate::kernel::tables::Tables;
use crate::sound;

/// What `polload plan` can be asked.
#[derive(Args, Debug)]
pub(crate) struct Ask {
    #[command(flatten)]
    inputs: Inputs,

    #[command(flatten)]
    node: NodeArgs,

    /// Load it beside what is in force, and report on live traffic what it would decide otherwise, until interrupted
    #[arg(long)]
    shadow: bool,

    /// End --shadow after this time, such as 10m
    #[arg(long = "for", value_name = "TIME", requires = "shadow", value_parser = apply::time)]
    shadow_for: Option<Duration>,

    /// Leave out policies that cannot be used, instead of refusing everything
    #[arg(long)]
    skip_invalid: bool,

    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn run(ask: &Ask, log: &Log) -> anyhow::Result<Exit> {
    let cluster = sound::read(&ask.inputs, ask.skip_invalid, log)?;
    chainkit_bpf::Datapath::require_privileges().map_err(crate::kernel::bpf_failure)?;
    if ask.shadow {
        return shadow::run(cluster, &ask.node, ask.shadow_for, ask.output, log);
    }
    tell(cluster, &ask.node, ask.output, log)
}

/// Tells what would change; changes nothing.
pub(crate) fn tell(cluster: Cluster, node: &NodeArgs, output: OutputArgs, log: &Log) -> anyhow::Result<Exit> {
    let root = &node.root.root;
    let datapath = open(root)?;
    let before = changes::Before::find(datapath.as_ref(), root, log)?;
    let tables = Tables::compile(cluster, &node.how, root, &before.rules)?;
    placement::check(&tables, root, log)?;
    tell_problems(&tables, &node.how, log);
    let changes = changes::changes(datapath.as_ref(), root, &before, &tables)?;
    let mut out = std::io::stdout().lock();
    if output.format() == Format::Table && changes.len() == 1 {
        log.info("nothing would change for any endpoint, and no connection would end");
    }
    write_rows(&mut out, output.format(), changes)?;
    Ok(Exit::Fine)
}
