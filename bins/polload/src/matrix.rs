//! `polload matrix`: who may reach whom.

mod html;
mod print;

use std::io::{BufWriter, Write};
use std::rc::Rc;

use chainkit_cli::{Exit, Log};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::inputs::Inputs;
use crate::pairs::{self, Allowed, Outside, Pairs};

/// What is asked.
#[derive(Args, Debug)]
pub(crate) struct Ask {
    #[command(flatten)]
    inputs: Inputs,

    /// Form of the output
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Form,

    /// The same as -o jsonl
    #[arg(short, conflicts_with = "output")]
    jsonl: bool,
}

/// The form of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Columns for people
    #[default]
    Table,
    /// A JSON object a line
    Jsonl,
    /// A graph for Graphviz
    Dot,
    /// One page that needs nothing else
    Html,
}

/// A pair that is allowed anything.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename = "Reach")]
struct Row {
    #[serde(serialize_with = "pairs::text")]
    src: Rc<str>,
    #[serde(serialize_with = "pairs::text")]
    dst: Rc<str>,
    allow: Allowed,
}

pub(crate) fn run(ask: &Ask, log: &Log) -> anyhow::Result<Exit> {
    let cluster = pairs::read(&ask.inputs, log)?;
    let engine = pairs::engine(&cluster, &ask.inputs, log);
    let rows = Rows(Pairs::new(&cluster, &engine));
    let mut out = BufWriter::new(std::io::stdout().lock());
    match if ask.jsonl { Form::Jsonl } else { ask.output } {
        Form::Table => print::table(&mut out, &rows)?,
        Form::Jsonl => print::jsonl(&mut out, &rows)?,
        Form::Dot => print::dot(&mut out, &rows)?,
        Form::Html => html::page(&mut out, &rows)?,
    }
    out.flush()?;
    Ok(Exit::Fine)
}

/// All rows, made one by one.
struct Rows<'e>(Pairs<'e>);

impl Rows<'_> {
    /// Calls `each` with every row, in order of the source and then of the destination, what is outside last.
    fn each(&self, each: &mut dyn FnMut(Row) -> std::io::Result<()>) -> std::io::Result<()> {
        let Self(pairs) = self;
        for source in &pairs.folded {
            for destination in &pairs.folded {
                if source.title == destination.title {
                    continue;
                }
                let allow = pairs.between(source, destination);
                if !allow.is_empty() {
                    each(Row { src: Rc::clone(&source.title), dst: Rc::clone(&destination.title), allow })?;
                }
            }
            for (range, allow) in shown(&pairs.to_outside(source)) {
                each(Row { src: Rc::clone(&source.title), dst: range, allow })?;
            }
        }
        for destination in &pairs.folded {
            for (range, allow) in shown(&pairs.outside_to(destination)) {
                each(Row { src: range, dst: Rc::clone(&destination.title), allow })?;
            }
        }
        Ok(())
    }
}

/// The ranges that are allowed anything.
fn shown(outside: &Outside) -> impl Iterator<Item = (Rc<str>, Allowed)> + '_ {
    let allowed = outside.iter().filter(|(_, allow)| !allow.is_empty());
    allowed.map(|(range, allow)| (range.to_string().into(), allow.clone()))
}
