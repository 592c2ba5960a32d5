//! `polload diff`: who may reach whom no longer, or as of now.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufWriter, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

use chainkit_cli::{Exit, Failure, Format, Log, OutputArgs, write_rows};
use chainkit_policy::AddressRange;
use clap::Args;
use serde::Serialize;

use crate::inputs::Sides;
use crate::pairs::{self, Allowed, Folded, Outside, Pairs};

/// What is asked.
#[derive(Args, Debug)]
pub(crate) struct Ask {
    #[command(flatten)]
    sides: Sides,

    #[command(flatten)]
    output: OutputArgs,
}

/// A pair that differs.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename = "ReachDiff")]
struct Row {
    #[serde(serialize_with = "pairs::text")]
    src: Rc<str>,
    #[serde(serialize_with = "pairs::text")]
    dst: Rc<str>,
    #[serde(flatten)]
    change: Change,
}

impl chainkit_cli::Row for Row {
    const HEADER: &'static [&'static str] = &["SOURCE", "DESTINATION", "GAINED", "LOST"];

    fn cells(&self) -> Vec<String> {
        let words = |allowed: &Allowed| match allowed.in_words() {
            words if words.is_empty() => "-".to_owned(),
            words => words,
        };
        vec![self.src.to_string(), self.dst.to_string(), words(&self.change.gained), words(&self.change.lost)]
    }
}

#[derive(Clone, Debug, Serialize)]
struct Change {
    gained: Allowed,
    lost: Allowed,
}

impl Change {
    /// What differs, if anything of it is shown.
    fn of(old: &Allowed, new: &Allowed) -> Option<Self> {
        if old == new {
            return None;
        }
        let change = Self { gained: new.without(old), lost: old.without(new) };
        (!change.gained.is_empty() || !change.lost.is_empty()).then_some(change)
    }

    fn is_shown_as(&self, other: &Self) -> bool {
        self.gained.is_shown_as(&other.gained) && self.lost.is_shown_as(&other.lost)
    }
}

pub(crate) fn run(ask: &Ask, log: &Log) -> anyhow::Result<Exit> {
    let [old, new] = ask.sides.each(log)?;
    let clusters = [pairs::read(&old, log)?, pairs::read(&new, log)?];
    let empty = clusters.each_ref().map(|cluster| cluster.workloads.is_empty());
    if empty == [true, true] {
        return Err(Failure::usage("neither OLD nor NEW has a pod or a pod template: there is nobody to reach")
            .remedy("give the workloads with the policies on both sides")
            .into());
    }
    for (inputs, _) in [&old, &new].into_iter().zip(empty).filter(|(_, empty)| *empty) {
        log.warning(inputs.of_this("no pod and no pod template: all that the other side allows differs"));
    }
    let [old_cluster, new_cluster] = &clusters;
    let engines = [pairs::engine(old_cluster, &old, log), pairs::engine(new_cluster, &new, log)];
    let [old_engine, new_engine] = &engines;
    let both = Both {
        old: Pairs::new(old_cluster, old_engine),
        new: Pairs::new(new_cluster, new_engine),
        nowhere: Rc::new(nowhere()),
        compared: RefCell::default(),
    };
    let differs = print(&both, ask.output.format())?;
    Ok(if differs { Exit::No } else { Exit::Fine })
}

/// Prints what differs, and tells whether anything does.
fn print(both: &Both<'_>, format: Format) -> io::Result<bool> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut rows = Vec::new();
    let mut differs = false;
    both.each(&mut |row| {
        differs = true;
        match format {
            // One at a time: there may be as many as pairs.
            Format::Jsonl => {
                serde_json::to_writer(&mut out, &row)?;
                writeln!(out)
            }
            Format::Table | Format::Json => {
                rows.push(row);
                Ok(())
            }
        }
    })?;
    let says_something = differs || format == Format::Json;
    if says_something {
        write_rows(&mut out, format, rows)?;
    }
    out.flush()?;
    Ok(differs)
}

/// Two clusters, one of which became the other.
struct Both<'e> {
    old: Pairs<'e>,
    new: Pairs<'e>,
    /// What is allowed outside to whoever is not there.
    nowhere: Rc<Outside>,
    /// What differs outside, of answers of both sides that were compared last.
    compared: RefCell<VecDeque<Compared>>,
}

/// Ranges outside of which something is gained or lost.
type Changes = Vec<(AddressRange, Change)>;

/// Two answers, and what differs between them.
type Compared = (Rc<Outside>, Rc<Outside>, Rc<Changes>);

/// How many comparisons are kept; pods that have the same rules are often neighbours.
const KEPT: usize = 4;

/// What bears one title, on either side.
type Met<'f> = (Option<&'f Folded>, Option<&'f Folded>);

impl<'e> Both<'e> {
    /// Calls `each` with every pair that differs, in the order that the matrix has.
    fn each(&self, each: &mut dyn FnMut(Row) -> io::Result<()>) -> io::Result<()> {
        let titles = self.titles();
        for (from, source) in &titles {
            for (to, destination) in titles.iter().filter(|(to, _)| *to != from) {
                let change = Change::of(
                    &between(&self.old, source.0, destination.0),
                    &between(&self.new, source.1, destination.1),
                );
                if let Some(change) = change {
                    each(Row { src: Rc::clone(from), dst: Rc::clone(to), change })?;
                }
            }
            for (range, change) in self.outside(*source, Pairs::to_outside).iter() {
                each(Row { src: Rc::clone(from), dst: range.to_string().into(), change: change.clone() })?;
            }
        }
        for (to, destination) in &titles {
            for (range, change) in self.outside(*destination, Pairs::outside_to).iter() {
                each(Row { src: range.to_string().into(), dst: Rc::clone(to), change: change.clone() })?;
            }
        }
        Ok(())
    }

    fn titles(&self) -> BTreeMap<Rc<str>, Met<'_>> {
        let mut titles: BTreeMap<Rc<str>, Met<'_>> = BTreeMap::new();
        for folded in &self.old.folded {
            titles.entry(Rc::clone(&folded.title)).or_default().0 = Some(folded);
        }
        for folded in &self.new.folded {
            titles.entry(Rc::clone(&folded.title)).or_default().1 = Some(folded);
        }
        titles
    }

    /// What is gained or lost outside.
    fn outside(&self, (old, new): Met<'_>, of: impl Fn(&Pairs<'e>, &Folded) -> Rc<Outside>) -> Rc<Changes> {
        let old = old.map_or_else(|| Rc::clone(&self.nowhere), |folded| of(&self.old, folded));
        let new = new.map_or_else(|| Rc::clone(&self.nowhere), |folded| of(&self.new, folded));
        let mut compared = self.compared.borrow_mut();
        let known = compared.iter().find(|(a, b, _)| Rc::ptr_eq(a, &old) && Rc::ptr_eq(b, &new));
        if let Some((.., changes)) = known {
            return Rc::clone(changes);
        }
        let cut = pairs::cut(&old, &new).into_iter();
        let changes = cut.map(|(range, old, new)| (range, Change::of(old, new)));
        let changes = pairs::merged(changes, |one, other| match (one, other) {
            (Some(one), Some(other)) => one.is_shown_as(other),
            (one, other) => one.is_none() && other.is_none(),
        });
        let changes = changes.into_iter().filter_map(|(range, change)| Some((range, change?)));
        let changes = Rc::new(changes.collect());
        compared.truncate(KEPT - 1);
        compared.push_front((old, new, Rc::clone(&changes)));
        changes
    }
}

/// What is allowed on one side; whoever is not there may nothing.
fn between(pairs: &Pairs<'_>, source: Option<&Folded>, destination: Option<&Folded>) -> Allowed {
    source.zip(destination).map_or_else(Allowed::none, |(source, destination)| pairs.between(source, destination))
}

/// What is allowed to whoever is not there.
fn nowhere() -> Outside {
    let families: [(IpAddr, IpAddr); 2] = [
        (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::BROADCAST.into()),
        (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::from(u128::MAX).into()),
    ];
    families.map(|(first, last)| (AddressRange { first, last }, Allowed::none())).into()
}
