//! DEL: takes everything of an attachment away, and never fails.

use std::collections::HashSet;

use chainkit_bpf::{NodeLock, detach_endpoint};
use chainkit_cluster::EndpointRecord;
use chainkit_cni::{PluginError, Request};
use chainkit_node::Netns;

use crate::node::Node;
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
            if !same_attachment(&record, &wanted) {
                continue;
            }
            found = true;
            let done = node.take_away(&lock, &record);
            if done.is_ok() {
                for interface in &record.interfaces {
                    call.log.info(format!("taken off {}", interface.host_name));
                }
            }
            outcome = outcome.and(done);
        }
        // An ADD that was killed may have begun to write one.
        outcome = outcome.and(node.store.remove(&wanted).map_err(Into::into));
    }
    if !found {
        outcome = outcome.and(take_away_unrecorded(call, node, &lock));
    }
    let swept = node.sweep_now_and_then(&lock).map(|gone| {
        for record in gone {
            call.log.info(format!("swept away what {}/{} has left", record.namespace, record.pod_name));
        }
    });
    outcome.and(swept)
}

/// What hangs on the pod's interfaces without a record, as when it was torn.
fn take_away_unrecorded(call: &Call, node: &Node, lock: &NodeLock) -> anyhow::Result<()> {
    let Some(path) = call.environment.netns_if_any() else { return Ok(()) };
    let netns = match Netns::open(&path) {
        Ok(netns) if netns.inode() != Netns::current()?.inode() => netns,
        // Gone, as its interfaces are.
        _ => return Ok(()),
    };
    let Some(datapath) = node.datapath()? else { return Ok(()) };
    let recorded: HashSet<u32> = node
        .store
        .all()
        .0
        .iter()
        .flat_map(|record| record.interfaces.iter().map(|interface| interface.host_ifindex))
        .collect();
    for end in node.survey(&netns, &[])?.host_ends {
        if !recorded.contains(&end.host_ifindex) && datapath.endpoint(end.host_ifindex)?.is_some() {
            detach_endpoint(&datapath, &node.pins, lock, end.host_ifindex)?;
            call.log.info(format!("taken off {}, of which no record was there", end.host_name));
        }
    }
    Ok(())
}
