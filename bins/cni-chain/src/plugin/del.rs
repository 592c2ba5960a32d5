//! DEL: takes everything of an attachment away, and never fails.

use chainkit_bpf::{NodeLock, detach_endpoint};
use chainkit_cluster::EndpointRecord;
use chainkit_cni::{PluginError, Request};
use chainkit_node::{Netns, survey};

use crate::node::{Node, title};
use crate::plugin::{Call, add::same_attachment};

/// Takes away what there is; what could not be is said in the log, and swept later.
pub(crate) fn run(call: &Call, request: Result<Request, PluginError>) {
    if let Err(error) = &request {
        call.log.warning(error);
    }
    if let Err(error) = take_away(call, request.ok().as_ref()) {
        call.log.error(format!("left for a later sweep: {error:#}"));
    }
}

fn take_away(call: &Call, request: Option<&Request>) -> anyhow::Result<()> {
    let node = &call.node;
    let lock = node.lock()?;
    let mut outcome = Ok(());
    let mut found = false;
    if let Ok(container_id) = call.environment.container_id() {
        let wanted = EndpointRecord {
            container_id: container_id.to_owned(),
            ifname: call.environment.ifname().unwrap_or_default().to_owned(),
            network: request.and_then(|request| request.network().ok()).unwrap_or_default(),
            ..EndpointRecord::default()
        };
        for record in node.store.of_container(container_id) {
            if same_attachment(&record, &wanted) {
                found = true;
                outcome = outcome.and(take_away_record(call, &lock, &record));
            }
        }
        if !found {
            outcome = outcome.and(take_away_unrecorded(call, node, &lock));
            // An ADD that was killed may have begun to write one; one that is torn tells nothing that is not done by now.
            if node.store.path(&wanted).exists() {
                call.log.warning("its record cannot be read: what else it told of is for cni-chain status to find");
            }
            outcome = outcome.and(node.store.remove(&wanted).map_err(Into::into));
        }
    } else {
        outcome = outcome.and(take_away_unrecorded(call, node, &lock));
    }
    // Runtimes repeat DEL until the pod is gone: what was not there by name may be gone by now.
    let swept = if found { node.sweep_now_and_then(&lock) } else { node.sweep(&lock) };
    let swept = swept.map(|gone| {
        for record in gone {
            call.log.info(format!("swept away what {} has left", title(&record)));
        }
    });
    outcome.and(swept)
}

fn take_away_record(call: &Call, lock: &NodeLock, record: &EndpointRecord) -> anyhow::Result<()> {
    call.node.take_away(lock, record)?;
    for interface in &record.interfaces {
        call.log.info(format!("taken off {}", interface.host_name));
    }
    Ok(())
}

/// What hangs on the pod's interfaces without a record, as when it was torn, and what was adopted when nobody knew its container.
fn take_away_unrecorded(call: &Call, node: &Node, lock: &NodeLock) -> anyhow::Result<()> {
    let Some(path) = call.environment.netns_if_any() else { return Ok(()) };
    let netns = match Netns::open(&path) {
        Ok(netns) if netns.inode() != Netns::current()?.inode() => netns,
        // Gone, as its interfaces are.
        _ => return Ok(()),
    };
    let Some(datapath) = node.datapath()? else { return Ok(()) };
    let records = node.store.all().0;
    for end in survey(&netns)?.host_ends {
        if datapath.endpoint(end.host_ifindex)?.is_none() {
            continue;
        }
        let has_it = |record: &&EndpointRecord| {
            record.interfaces.iter().any(|interface| interface.host_ifindex == end.host_ifindex)
        };
        match records.iter().find(has_it) {
            None => {
                detach_endpoint(&datapath, &node.pins, lock, end.host_ifindex)?;
                call.log.info(format!("taken off {}, of which no record was there", end.host_name));
            }
            Some(record) if record.container_id.is_empty() => take_away_record(call, lock, record)?,
            // Another attachment's.
            Some(_) => {}
        }
    }
    Ok(())
}
