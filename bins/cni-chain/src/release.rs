//! `cni-chain release`: takes the datapath off pods, and with `--purge` off the node.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context;
use chainkit_bpf::{Datapath, NodeLock, detach_endpoint, run_directory};
use chainkit_cli::{Exit, Failure, Row, write_rows};
use chainkit_cluster::EndpointRecord;
use chainkit_node::Netns;
use serde::Serialize;

use crate::cli::{Asked, ReleaseArgs, Selection, failure};
use crate::node::title;

/// What was done with an endpoint.
#[derive(Debug, Serialize)]
struct Released {
    kind: &'static str,
    namespace: String,
    pod_name: String,
    container_id: String,
    #[serde(skip)]
    title: String,
    interfaces: Vec<String>,
    /// `released`, `would-release` or `failed`.
    result: &'static str,
    reason: String,
}

impl Row for Released {
    const HEADER: &'static [&'static str] = &["POD", "CONTAINER", "HOST SIDE", "RESULT", "REASON"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.title.clone(),
            self.container_id.chars().take(12).collect(),
            self.interfaces.join(","),
            self.result.to_owned(),
            self.reason.clone(),
        ]
    }
}

/// Releases what was selected.
pub(crate) fn run(asked: &Asked, args: &ReleaseArgs) -> anyhow::Result<Exit> {
    let node = &asked.node;
    Datapath::require_privileges().map_err(failure)?;
    // Taken before the records are read: none comes in between.
    let lock = if args.dry_run { None } else { Some(node.lock().map_err(failure)?) };
    let (mut records, warnings) = node.store.all();
    for warning in &warnings {
        asked.log.warning(warning);
    }
    if let Some(datapath) = node.datapath().map_err(failure)? {
        let lost = node.unrecorded(&datapath, &records).map_err(failure)?;
        records.extend(lost);
    }
    let chosen = choose(&args.selection, records)?;
    let mut exit = None::<Exit>;
    let mut rows = Vec::new();
    for record in chosen {
        let done = match &lock {
            None => Ok(()),
            Some(lock) => node.take_away(lock, &record),
        };
        let outcome = if done.is_ok() { Exit::Fine } else { Exit::Failed };
        if let Err(error) = &done {
            let names: Vec<&str> = record.interfaces.iter().map(|one| one.host_name.as_str()).collect();
            asked.log.error(format!("{}: {error:#}", names.join(",")), None);
        }
        exit = Some(exit.map_or(outcome, |exit| exit.merge(outcome)));
        rows.push(Released {
            kind: "Released",
            title: title(&record),
            namespace: record.namespace,
            pod_name: record.pod_name,
            container_id: record.container_id,
            interfaces: record.interfaces.into_iter().map(|one| one.host_name).collect(),
            result: match (&lock, &done) {
                (None, _) => "would-release",
                (_, Ok(())) => "released",
                (_, Err(_)) => "failed",
            },
            reason: done.err().map(|error| format!("{error:#}")).unwrap_or_default(),
        });
    }
    write_rows(&mut io::stdout().lock(), args.output.format(), rows)?;
    let mut exit = exit.unwrap_or(Exit::Fine);
    if args.selection.all && !warnings.is_empty() {
        exit = exit.merge(Exit::Partial);
    }
    if args.purge && lock.is_none() {
        asked.log.info("the datapath itself would be removed too, with its tables and files");
    }
    if let Some(lock) = lock {
        node.sweep(&lock)?;
        if args.purge && exit == Exit::Fine {
            purge(asked, &lock)?;
        } else if args.purge {
            asked.log.warning("the datapath itself stays, since not all could be released");
        }
    }
    Ok(exit)
}

/// The records that were meant; each selector must find one.
fn choose(selection: &Selection, records: Vec<EndpointRecord>) -> anyhow::Result<Vec<EndpointRecord>> {
    if selection.all {
        return Ok(records);
    }
    let of_pod = |record: &EndpointRecord, (namespace, name): &(String, String)| {
        record.namespace == *namespace && record.pod_name == *name
    };
    // By the name that it has now, whatever it was called when it was attached.
    let present = chainkit_node::interfaces().unwrap_or_default();
    let of_interface = |record: &EndpointRecord, ifname: &String| {
        let index = present.iter().find(|one| one.name == *ifname).map(|one| one.index);
        record.interfaces.iter().any(|one| index.map_or(one.host_name == *ifname, |index| one.host_ifindex == index))
    };
    let missing =
        |what: String| Failure::usage(format!("{what}: nothing is attached there")).remedy("see cni-chain endpoints");
    for pod in &selection.pods {
        if !records.iter().any(|record| of_pod(record, pod)) {
            return Err(missing(format!("--pod {}/{}", pod.0, pod.1)).into());
        }
    }
    for ifname in &selection.ifnames {
        if !records.iter().any(|record| of_interface(record, ifname)) {
            return Err(missing(format!("--ifname {ifname}")).into());
        }
    }
    for path in &selection.netns {
        if !records.iter().any(|record| in_netns(record, path)) {
            return Err(missing(format!("--netns {}", path.display())).into());
        }
    }
    Ok(records
        .into_iter()
        .filter(|record| {
            selection.pods.iter().any(|pod| of_pod(record, pod))
                || selection.ifnames.iter().any(|ifname| of_interface(record, ifname))
                || selection.netns.iter().any(|path| in_netns(record, path))
        })
        .collect())
}

/// Whether a path leads to the namespace of a record, by whatever name.
fn in_netns(record: &EndpointRecord, path: &Path) -> bool {
    if Path::new(&record.netns) == path {
        return true;
    }
    let inode = |path: &Path| Netns::open(path).map(|netns| netns.inode()).ok();
    inode(path).is_some_and(|wanted| inode(Path::new(&record.netns)) == Some(wanted))
}

/// Takes the datapath off the node: every interface, its pins, our files.
fn purge(asked: &Asked, lock: &NodeLock) -> anyhow::Result<()> {
    let node = &asked.node;
    if let Some(datapath) = node.datapath().map_err(failure)? {
        for (_, endpoint) in datapath.endpoints().map_err(failure)? {
            detach_endpoint(&datapath, &node.pins, lock, endpoint.ifindex).map_err(failure)?;
        }
    }
    node.pins.remove().map_err(failure)?;
    let run = run_directory(&asked.root.root);
    for name in ["datapath.json", "swept"] {
        match fs::remove_file(run.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", run.join(name).display()));
            }
            _ => {}
        }
    }
    node.store.remove_folder();
    Ok(())
}
