//! `cni-chain status`: whether the datapath is there, which it is, and what is not as it should be.

use std::io;
use std::time::Duration;

use chainkit_abi::ABI_VERSION;
use chainkit_bpf::{Datapath, Error, Kit, NodeLock, Pins};
use chainkit_cli::{Exit, Row, write_rows};
use serde::Serialize;

use crate::cli::{Asked, StatusArgs, failure};
use crate::node::title;

/// How long to wait for the node's lock.
const PATIENCE: Duration = Duration::from_secs(1);

/// The state of a node.
#[derive(Debug, Serialize)]
struct Status {
    kind: &'static str,
    /// Whether a datapath of this ABI version is pinned and usable.
    installed: bool,
    /// Its ABI version; null where there is none.
    abi: Option<u32>,
    /// The version of the program that loaded it; null where nobody knows.
    version: Option<String>,
    /// Whether its programs are this program's own; null where that could not be found out.
    current: Option<bool>,
    /// This program's version and ABI version.
    program_version: &'static str,
    program_abi: u32,
    /// Where it is pinned.
    pins: String,
    /// How programs are attached on this kernel: `tcx` or `clsact`.
    attach: &'static str,
    endpoints: usize,
    problems: Vec<String>,
}

impl Row for Status {
    const HEADER: &'static [&'static str] =
        &["INSTALLED", "ABI", "VERSION", "CURRENT", "ATTACH", "ENDPOINTS", "PROBLEMS"];

    fn cells(&self) -> Vec<String> {
        let known = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let yes = |value: bool| if value { "yes" } else { "no" }.to_owned();
        vec![
            yes(self.installed),
            known(self.abi.map(|abi| abi.to_string())),
            known(self.version.clone()),
            known(self.current.map(yes)),
            self.attach.to_owned(),
            self.endpoints.to_string(),
            if self.problems.is_empty() { "none".to_owned() } else { self.problems.join("; ") },
        ]
    }
}

/// Prints it; 1 where something is not as it should be.
pub(crate) fn run(asked: &Asked, args: &StatusArgs) -> anyhow::Result<Exit> {
    let status = look(asked)?;
    let exit = if status.problems.is_empty() { Exit::Fine } else { Exit::No };
    write_rows(&mut io::stdout().lock(), args.output.format(), [status])?;
    Ok(exit)
}

fn look(asked: &Asked) -> anyhow::Result<Status> {
    let node = &asked.node;
    Datapath::require_privileges().map_err(failure)?;
    let mut problems = Vec::new();
    let others = Pins::other_abis(&asked.root.root).unwrap_or_default();
    let datapath = match Datapath::open(&node.pins) {
        // What was asked cannot be found out.
        Err(error @ Error::Privilege { .. }) => return Err(failure(error)),
        Err(error) => {
            problems.push(error.to_string());
            None
        }
        Ok(None) => {
            problems.push(if !others.is_empty() {
                "there is no datapath of this program's ABI version".to_owned()
            } else if node.pins.is_available() {
                "the datapath is not there: the next ADD, or cni-chain adopt, puts it there".to_owned()
            } else {
                "the datapath is not there, and no BPF filesystem is mounted: mount -t bpf bpf /sys/fs/bpf".to_owned()
            });
            None
        }
        Ok(Some(datapath)) if !datapath.is_of_this_namespace().map_err(failure)? => {
            problems.push("the datapath is that of another network namespace".to_owned());
            None
        }
        Ok(found) => found,
    };
    for abi in &others {
        problems.push(format!("a datapath of ABI version {abi} is there: cni-chain upgrade --migrate moves it over"));
    }
    let (records, warnings) = node.store.all();
    problems.extend(warnings.iter().map(ToString::to_string));
    let mut current = None;
    if let Some(datapath) = &datapath {
        // To look is not worth waiting for: whoever holds the lock may have been stopped.
        match NodeLock::take_within(&node.root, PATIENCE).and_then(|lock| Datapath::upgrade(&node.pins, &lock, true)) {
            Ok(found) => {
                current = Some(found.unchanged);
                if !found.unchanged {
                    problems.push("its programs are not this program's: cni-chain upgrade swaps them".to_owned());
                }
            }
            Err(error) => problems.push(format!("whether its programs are current cannot be told: {error}")),
        }
        for record in node.unrecorded(datapath, &records).map_err(failure)? {
            let name = title(&record);
            problems.push(format!("{name}: it is attached and has no record: adopt it by --ifname, or release it"));
        }
        for record in &records {
            let about = title(record);
            let faults = node.faults(Some(datapath), record);
            problems.extend(faults.into_iter().map(|fault| format!("{about}: {fault}")));
        }
        for ifindex in datapath.endpoints_gone(&node.pins).map_err(failure)? {
            problems.push(format!(
                "interface {ifindex} is gone and its slot is not: a later DEL, or cni-chain release, sweeps it"
            ));
        }
    } else if !records.is_empty() && others.is_empty() {
        problems.push(format!("{} endpoints are recorded and none is attached: cni-chain adopt --all", records.len()));
    }
    let installed = node.installed().filter(|_| datapath.is_some());
    Ok(Status {
        kind: "Status",
        installed: datapath.is_some(),
        abi: datapath.as_ref().map(|_| ABI_VERSION),
        version: installed.map(|installed| installed.version),
        current,
        program_version: env!("CARGO_PKG_VERSION"),
        program_abi: ABI_VERSION,
        pins: node.pins.directory().display().to_string(),
        attach: Kit::best().name(),
        endpoints: records.len(),
        problems,
    })
}
