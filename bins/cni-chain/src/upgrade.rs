//! `cni-chain upgrade`: swaps the programs of a running node, or moves over from a datapath of another ABI version.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use chainkit_abi::{ABI_VERSION, CONNECTIONS};
use chainkit_bpf::{Datapath, Pins, abi_interfaces, remove_abi};
use chainkit_cli::{Exit, Failure, Row, write_rows};
use chainkit_cluster::{EndpointInterface, EndpointRecord};
use chainkit_node::{Netns, interfaces, netns_of_interface, survey};
use serde::Serialize;

use crate::adopt::live;
use crate::cli::{Asked, UpgradeArgs, failure};
use crate::node::{Mode, recorded};
use crate::takeover::{Live, Manner, take_over};

/// What an upgrade did.
#[derive(Debug, Serialize)]
struct Upgraded {
    kind: &'static str,
    from_abi: u32,
    to_abi: u32,
    /// Ends of interfaces whose program was swapped.
    links: usize,
    /// Interfaces that were moved over from another ABI version.
    migrated: usize,
    unchanged: bool,
    /// `upgraded`, `unchanged` or `would-upgrade`.
    result: &'static str,
    version: &'static str,
}

impl Row for Upgraded {
    const HEADER: &'static [&'static str] =
        &["RESULT", "FROM ABI", "TO ABI", "VERSION", "PROGRAMS SWAPPED", "INTERFACES MOVED"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.result.to_owned(),
            self.from_abi.to_string(),
            self.to_abi.to_string(),
            self.version.to_owned(),
            self.links.to_string(),
            self.migrated.to_string(),
        ]
    }
}

/// Upgrades.
pub(crate) fn run(asked: &Asked, args: &UpgradeArgs) -> anyhow::Result<Exit> {
    let others = Pins::other_abis(&asked.root.root).map_err(failure)?;
    let row = match (others.as_slice(), args.migrate) {
        ([], _) => swap(asked, args.dry_run)?,
        ([abi, ..], false) => return Err(refused(*abi)),
        (others, true) => migrate(asked, others, args.dry_run)?,
    };
    write_rows(&mut io::stdout().lock(), args.output.format(), [row])?;
    Ok(Exit::Fine)
}

fn refused(abi: u32) -> anyhow::Error {
    let message = format!(
        "the datapath on this node has ABI version {abi}, this program {ABI_VERSION}: its tables cannot be taken over, and \
         nothing was changed"
    );
    Failure::new(Exit::Failed, message)
        .remedy("cni-chain upgrade --migrate moves over: connections go on, counters begin anew")
        .into()
}

fn swap(asked: &Asked, dry_run: bool) -> anyhow::Result<Upgraded> {
    let node = &asked.node;
    if node.datapath().map_err(failure)?.is_none() {
        let failure = Failure::new(Exit::Failed, "the datapath is not on this node: there is nothing to upgrade");
        return Err(failure.remedy("cni-chain adopt --all puts it there").into());
    }
    let lock = node.lock().map_err(failure)?;
    let done = Datapath::upgrade(&node.pins, &lock, dry_run).map_err(failure)?;
    if !dry_run {
        node.tell_installed().context("the programs were swapped; which version they are could not be written down")?;
    }
    Ok(Upgraded {
        kind: "Upgraded",
        from_abi: ABI_VERSION,
        to_abi: ABI_VERSION,
        links: done.links,
        migrated: 0,
        unchanged: done.unchanged,
        result: match (done.unchanged, dry_run) {
            (true, _) => "unchanged",
            (_, true) => "would-upgrade",
            _ => "upgraded",
        },
        version: env!("CARGO_PKG_VERSION"),
    })
}

/// Attaches this version's datapath beside the others, enters what exists, and takes the others away.
fn migrate(asked: &Asked, others: &[u32], dry_run: bool) -> anyhow::Result<Upgraded> {
    let node = &asked.node;
    let mut ifindexes = Vec::new();
    for abi in others {
        ifindexes.extend(abi_interfaces(&asked.root.root, *abi).map_err(failure)?);
    }
    let lives = lives(asked, &ifindexes)?;
    let migrated = lives.iter().map(|live| live.record.interfaces.len()).sum();
    if !dry_run {
        node.lock().and_then(|lock| node.install(&lock)).map_err(failure)?;
        let outcomes = take_over(node, &lives, Manner { kit: None, connections: CONNECTIONS });
        let mut failed = 0;
        for (live, outcome) in lives.iter().zip(outcomes) {
            if let Err(error) = outcome {
                failed += 1;
                let names: Vec<&str> = live.record.interfaces.iter().map(|one| one.host_name.as_str()).collect();
                asked.log.error(format!("{}: {error:#}", names.join(",")), None);
            }
        }
        if failed > 0 {
            let message =
                format!("{failed} of {} endpoints could not be moved over; the other datapath stays", lives.len());
            return Err(Failure::new(Exit::Partial, message)
                .remedy("mend what is said above, and run it again")
                .into());
        }
        let lock = node.lock().map_err(failure)?;
        for abi in others {
            remove_abi(&asked.root.root, *abi, &lock).map_err(failure)?;
        }
        node.tell_installed().context("all was moved over; which version it is could not be written down")?;
    }
    Ok(Upgraded {
        kind: "Upgraded",
        from_abi: others.first().copied().unwrap_or(ABI_VERSION),
        to_abi: ABI_VERSION,
        links: 0,
        migrated,
        unchanged: false,
        result: if dry_run { "would-upgrade" } else { "upgraded" },
        version: env!("CARGO_PKG_VERSION"),
    })
}

/// The endpoints behind these interfaces: by their records, and where there is none, by what the interface itself leads to.
fn lives(asked: &Asked, ifindexes: &[u32]) -> anyhow::Result<Vec<Live>> {
    let present = interfaces().context("cannot list the interfaces of this node")?;
    let wanted: HashSet<u32> =
        present.iter().map(|interface| interface.index).filter(|ifindex| ifindexes.contains(ifindex)).collect();
    let mut covered = HashSet::new();
    let mut lives = Vec::new();
    for record in asked.node.store.all().0 {
        let ends: Vec<u32> = record.interfaces.iter().map(|interface| interface.host_ifindex).collect();
        if ends.iter().any(|ifindex| wanted.contains(ifindex)) {
            covered.extend(ends);
            let netns = Netns::open(Path::new(&record.netns)).ok();
            lives.push(of_record(record, netns));
        }
    }
    for interface in present.iter().filter(|one| wanted.contains(&one.index) && !covered.contains(&one.index)) {
        let path = netns_of_interface(&asked.root.root, interface.index)?;
        let netns = path.as_deref().and_then(|path| Netns::open(path).ok());
        let ends =
            netns.as_ref().and_then(|netns| survey(netns).ok()).map(|found| recorded(&found)).unwrap_or_default();
        let end = ends.into_iter().find(|end| end.host_ifindex == interface.index);
        let record = EndpointRecord {
            kind: "Endpoint".to_owned(),
            netns: path.map(|path| path.display().to_string()).unwrap_or_default(),
            ifname: end.as_ref().map(|end| end.name.clone()).unwrap_or_default(),
            mode: Mode::Observe.name().to_owned(),
            source: "interface".to_owned(),
            interfaces: vec![end.unwrap_or_else(|| EndpointInterface {
                host_ifindex: interface.index,
                host_name: interface.name.clone(),
                ..EndpointInterface::default()
            })],
            ..EndpointRecord::default()
        };
        let mut found = of_record(record, netns);
        found.record.addresses = found.addresses.iter().map(|one| one.address).collect();
        lives.push(found);
    }
    Ok(lives)
}

/// With a namespace that cannot be looked into, connections are met as they come.
fn of_record(record: EndpointRecord, netns: Option<Netns>) -> Live {
    match netns.map(|netns| (survey(&netns), Arc::new(netns))) {
        Some((Ok(found), netns)) => live(record, &netns, &found),
        _ => Live { record, netns: None, addresses: Vec::new() },
    }
}
