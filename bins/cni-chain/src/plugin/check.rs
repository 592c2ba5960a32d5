//! CHECK: whether all is as ADD left it.

use chainkit_cluster::{EndpointInterface, EndpointRecord};
use chainkit_cni::{PluginError, Request, ResultView, Version, code};
use chainkit_node::survey;

use crate::node::{Mode, recorded};
use crate::plugin::{Call, add, datapath_error, options::Options, since};

pub(crate) fn run(call: &Call, request: &Request, version: Version) -> Result<(), PluginError> {
    since("CHECK", Version::V0_4_0, version)?;
    let network = request.network()?;
    let options = Options::read(request)?;
    let environment = &call.environment;
    let (container_id, ifname, path) = (environment.container_id()?, environment.ifname()?, environment.netns()?);
    let Some(previous) = request.prev_result() else {
        return Err(PluginError::new(code::INVALID_CONFIGURATION, "prevResult: it is missing")
            .details("CHECK gets the result of ADD"));
    };
    let view = ResultView::of(previous)?;
    let netns = add::open(&path)?;
    let wanted = EndpointRecord {
        container_id: container_id.to_owned(),
        ifname: ifname.to_owned(),
        network,
        ..EndpointRecord::default()
    };
    let known = call.node.store.of_container(container_id);
    let Some(record) = known.iter().find(|known| add::same_attachment(known, &wanted)) else {
        return Err(changed(format!("no record of container {container_id}, interface {ifname}")));
    };
    let found = survey(&netns).map_err(|error| changed(error.to_string()))?;
    // What the pod has besides is other attachments', or none of this chain's.
    let now = recorded(&found);
    for was in &record.interfaces {
        let is_there = |one: &EndpointInterface| (one.ifindex, one.host_ifindex) == (was.ifindex, was.host_ifindex);
        if !now.iter().any(is_there) {
            let (name, host, index) = (&was.name, &was.host_name, was.host_ifindex);
            return Err(changed(format!("the pod's interface {name} behind {host} (index {index}) is gone")));
        }
    }
    for address in view.addresses {
        if !found.addresses.iter().any(|one| one.address == address) {
            return Err(changed(format!("the pod has lost the address {address}")));
        }
    }
    // A mode that was tightened since is no loss.
    if Mode::named(&record.mode).unwrap_or_default() < options.mode {
        return Err(changed(format!("mode: the pod's is {}, not {}", record.mode, options.mode.name())));
    }
    let datapath = call.node.datapath().map_err(|error| datapath_error("cannot open the datapath", &error.into()))?;
    let mut faults = call.node.faults(datapath.as_ref(), record);
    // A pod without an end on the node was let in by ADD.
    faults.retain(|_| !record.interfaces.is_empty());
    match faults.first() {
        None => Ok(()),
        Some(_) => Err(changed(faults.join("; "))),
    }
}

fn changed(details: String) -> PluginError {
    PluginError::new(code::CHANGED, "the attachment is not as ADD left it").details(details)
}
