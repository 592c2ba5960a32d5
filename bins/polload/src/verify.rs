//! `polload verify`: what this node's kernel has in force, read back and held against the objects that it was made of.
//!
//! Three steps, of which each takes for granted what the one before has shown: every entry is the one that was written ([`entries`]);
//! what the entries mean is what the objects say ([`meaning`]); and the programs do what the entries mean ([`packets`]). Sets of tables that do
//! not judge now are held against their own files by the first two steps, as far as they are there ([`Which`]).

mod attached;
mod boundaries;
mod entries;
mod frame;
mod meaning;
mod packets;
mod second;
mod snapshot;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::{Duration, Instant};

use chainkit_bpf::{Datapath, TableSet};
use chainkit_cli::{Exit, Log, OutputArgs, RootArgs, Row, write_rows};
use clap::Args;
use serde::Serialize;

use crate::apply::nothing_in_force;
use crate::kernel::open;
use boundaries::Boundaries;
use snapshot::{Looked, Snapshot};

/// What `polload verify` can be asked.
#[derive(Args, Debug)]
pub(crate) struct Ask {
    #[command(flatten)]
    root: RootArgs,

    /// Send no sample packets through the programs: nothing is counted, and no connection is entered
    #[arg(long)]
    no_packets: bool,

    #[command(flatten)]
    output: OutputArgs,
}

/// All is as it should be.
#[derive(Debug, Serialize)]
struct Verified {
    kind: &'static str,
    generation: u32,
    /// The sets of tables that were looked at.
    sets: Vec<Which>,
    /// Endpoints that policy judges.
    endpoints: usize,
    /// Entries read back and held against those that were written.
    entries: usize,
    /// Questions answered by what was read back as the objects say.
    boundaries: usize,
    /// Packets that the programs answered as the objects say.
    packets: usize,
    /// How long it took, in milliseconds.
    ms: f64,
}

impl Row for Verified {
    const HEADER: &'static [&'static str] =
        &["GENERATION", "SETS", "ENDPOINTS", "ENTRIES", "BOUNDARIES", "PACKETS", "RESULT"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.generation.to_string(),
            self.sets.iter().map(|set| set.name()).collect::<Vec<_>>().join(", "),
            self.endpoints.to_string(),
            self.entries.to_string(),
            self.boundaries.to_string(),
            self.packets.to_string(),
            "verified".to_owned(),
        ]
    }
}

/// A set of tables in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Which {
    /// It judges.
    InForce,
    /// The kernel goes back to it unless what is in force is confirmed in time.
    Fallback,
    /// It decides nothing, and tells what it would.
    Shadow,
    /// A running `polload watch` writes the next change into it, and has it in force then.
    Second,
}

impl Which {
    const fn name(self) -> &'static str {
        match self {
            Self::InForce => "in-force",
            Self::Fallback => "fallback",
            Self::Shadow => "shadow",
            Self::Second => "second",
        }
    }

    /// What it is, in a sentence.
    const fn words(self) -> &'static str {
        match self {
            Self::InForce => "what is in force",
            Self::Fallback => "what the kernel goes back to",
            Self::Shadow => "the shadow",
            Self::Second => "the second set of polload watch",
        }
    }
}

/// The first thing that is not as it should be.
#[derive(Clone, Debug, Serialize)]
struct Counterexample {
    kind: &'static str,
    /// The generation that judges by the set.
    generation: u32,
    set: Which,
    what: What,
    /// The table that an entry is wrong in.
    table: Option<&'static str>,
    /// The entry, by its key.
    entry: Option<String>,
    /// The connection that is answered wrongly.
    flow: Option<Flow>,
    expected: String,
    found: String,
    /// What comes of it.
    means: String,
    /// How many more of this sort there are.
    more: usize,
}

/// In which step it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum What {
    /// An entry is not what was written.
    Entry,
    /// The entries do not mean what the objects say.
    Verdict,
    /// A program does not do what the entries mean.
    Packet,
    /// No program sees the packets.
    Attachment,
}

/// A connection that was asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Flow {
    pod: String,
    direction: &'static str,
    peer: std::net::IpAddr,
    protocol: &'static str,
    port: u16,
}

impl Row for Counterexample {
    const HEADER: &'static [&'static str] = &["WHAT", "WHERE", "EXPECTED", "FOUND", "MEANS"];

    fn cells(&self) -> Vec<String> {
        let place = match (&self.flow, self.table, &self.entry) {
            (Some(flow), ..) => format!(
                "{} {} {} {} {}/{}",
                flow.pod,
                flow.direction,
                if flow.direction == "egress" { "to" } else { "from" },
                flow.peer,
                flow.port,
                flow.protocol
            ),
            (None, table, entry) => format!("{} {}", table.unwrap_or(""), entry.as_deref().unwrap_or("")),
        };
        let what = match self.what {
            What::Entry => "entry",
            What::Verdict => "verdict",
            What::Packet => "packet",
            What::Attachment => "attachment",
        };
        let what = match self.set {
            Which::InForce => what.to_owned(),
            other => format!("{what} of {}", other.words()),
        };
        let more = if self.more > 0 { format!("; and {} more", self.more) } else { String::new() };
        vec![what, place, self.expected.clone(), self.found.clone(), format!("{}{more}", self.means)]
    }
}

/// How often all is looked at before a finding is told: what is there only while somebody changes policy is none.
const LOOKS: u32 = 4;
/// How long such a change may take.
const PAUSE: Duration = Duration::from_millis(250);

pub(crate) fn run(ask: &Ask, log: &Log) -> anyhow::Result<Exit> {
    let root = &ask.root.root;
    let Some(datapath) = open(root)? else { return Err(nothing_in_force()) };
    let started = Instant::now();
    let mut look = 1;
    let found = loop {
        let found = verify(&datapath, root, !ask.no_packets, look, log);
        // The second set was looked at as often.
        let is_sure = match &found {
            Ok(Looked::Fine(_) | Looked::Nothing) => true,
            Ok(Looked::Wrong(counterexample)) => counterexample.set == Which::Second,
            _ => false,
        };
        let is_last = look == LOOKS || is_sure;
        if is_last {
            break found?;
        }
        look += 1;
        std::thread::sleep(PAUSE);
    };
    let mut out = std::io::stdout().lock();
    match found {
        Looked::Nothing => Err(nothing_in_force()),
        Looked::Fine(verified) => {
            let verified = Verified { ms: started.elapsed().as_secs_f64() * 1000.0, ..verified };
            write_rows(&mut out, ask.output.format(), [verified])?;
            Ok(Exit::Fine)
        }
        Looked::Wrong(counterexample) => {
            write_rows(&mut out, ask.output.format(), [*counterexample])?;
            Ok(Exit::No)
        }
        Looked::Moved => {
            Err(chainkit_cli::Failure::new(Exit::Failed, "policy changed faster than it could be verified")
                .remedy("try again, or end what applies policy over and over")
                .into())
        }
    }
}

/// Looks at everything once.
fn verify(datapath: &Datapath, root: &Path, packets: bool, look: u32, log: &Log) -> anyhow::Result<Looked> {
    let (snapshot, set) = match Snapshot::take(datapath, root)? {
        Ok(taken) => taken,
        Err(other) => return Ok(other),
    };
    let generation = snapshot.generation;
    let mut verified = Verified {
        kind: "Verified",
        generation,
        sets: Vec::new(),
        endpoints: snapshot.standings.len(),
        entries: 0,
        boundaries: 0,
        packets: 0,
        ms: 0.0,
    };
    let wrong = |counterexample| Ok(Looked::Wrong(Box::new(counterexample)));
    let boundaries = match tables(datapath, &snapshot, &set, &mut verified)? {
        Ok(boundaries) => boundaries,
        Err(counterexample) => return wrong(*counterexample),
    };
    if let Some(counterexample) = attached::look(datapath, &snapshot)? {
        return wrong(counterexample);
    }
    if packets {
        match packets::send(datapath, &snapshot, &boundaries, look, log)? {
            packets::Sent::All(packets) => verified.packets = packets,
            packets::Sent::Wrong(counterexample) => return wrong(*counterexample),
            packets::Sent::Moved => return Ok(Looked::Moved),
        }
    }
    drop(boundaries);
    for which in [Which::Fallback, Which::Shadow] {
        let (other, set) = match Snapshot::other(datapath, root, which, log)? {
            Ok(Some(taken)) => taken,
            Ok(None) => continue,
            Err(other) => return Ok(other),
        };
        let found = tables(datapath, &other, &set, &mut verified)?.map(drop);
        if !other.is_still_there(datapath) {
            return Ok(Looked::Moved);
        }
        if let Err(counterexample) = found {
            return wrong(*counterexample);
        }
    }
    match second::compare(datapath, root, snapshot, log)? {
        second::Seen::None => {}
        second::Seen::Fine(entries) => {
            verified.sets.push(Which::Second);
            verified.entries += entries;
        }
        second::Seen::Wrong(counterexample) => return wrong(*counterexample),
    }
    Ok(Looked::Fine(verified))
}

/// Holds a set of tables against its files and its objects; what was asked about.
fn tables<'a>(
    datapath: &Datapath,
    snapshot: &'a Snapshot,
    set: &TableSet,
    verified: &mut Verified,
) -> anyhow::Result<Result<Boundaries<'a>, Box<Counterexample>>> {
    verified.entries += match entries::compare(datapath, snapshot, set)? {
        Ok(entries) => entries,
        Err(counterexample) => return Ok(Err(counterexample)),
    };
    let boundaries = Boundaries::new(snapshot, boundaries::ALL_UP_TO);
    verified.boundaries += match meaning::compare(snapshot, &boundaries) {
        Ok(asked) => asked,
        Err(counterexample) => return Ok(Err(counterexample)),
    };
    verified.sets.push(snapshot.which);
    Ok(Ok(boundaries))
}
