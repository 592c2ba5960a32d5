//! ADD: finds the host-side ends of the attachment, records them, and hangs the datapath on them.

use std::path::Path;

use anyhow::Context;
use chainkit_bpf::Settings;
use chainkit_cluster::EndpointRecord;
use chainkit_cni::{PluginError, Request, ResultView, Version, code, echo};
use chainkit_node::Netns;

use crate::node::{Mode, is_whole, recorded};
use crate::plugin::{Call, datapath_error, options::Options};

/// Returns the answer.
pub(crate) fn run(call: &Call, request: &Request, version: Version) -> Result<String, PluginError> {
    let network = request.network()?;
    let options = Options::read(request)?;
    let environment = &call.environment;
    let (container_id, ifname, path) = (environment.container_id()?, environment.ifname()?, environment.netns()?);
    let Some(previous) = request.prev_result() else {
        return Err(PluginError::new(code::INVALID_CONFIGURATION, "prevResult: it is missing")
            .details("this plugin is chained: put it behind the one that makes the interface"));
    };
    let answer = echo(previous, version)?;
    let view = ResultView::of(previous)?;
    let netns = open(&path)?;
    let pod = environment.pod();
    let mut record = EndpointRecord {
        kind: "Endpoint".to_owned(),
        namespace: pod.namespace,
        pod_name: pod.name,
        pod_uid: pod.uid,
        container_id: container_id.to_owned(),
        network,
        ifname: ifname.to_owned(),
        netns: path.display().to_string(),
        addresses: view.addresses,
        mode: options.mode.name().to_owned(),
        source: "cni".to_owned(),
        ..EndpointRecord::default()
    };
    match attach(call, &mut record, &netns, &options) {
        Ok(()) => {}
        Err(error) if options.lets_pass => {
            call.log.warning(format!("not attached, and let pass as onFailure has it: {error:#}"));
        }
        Err(error) => return Err(datapath_error("cannot attach the datapath to this pod", &error)),
    }
    Ok(answer.into_owned())
}

/// Opens the pod's namespace, which must be another than the node's.
pub(crate) fn open(path: &Path) -> Result<Netns, PluginError> {
    let invalid =
        |error: chainkit_node::Error| PluginError::new(code::INVALID_ENVIRONMENT, format!("CNI_NETNS: {error}"));
    let netns = Netns::open(path).map_err(invalid)?;
    if netns.inode() == Netns::current().map_err(invalid)?.inode() {
        let message = format!("CNI_NETNS: {} is the node's own network namespace", path.display());
        return Err(
            PluginError::new(code::INVALID_ENVIRONMENT, message).details("pods of the host network are not attached")
        );
    }
    Ok(netns)
}

fn attach(call: &Call, record: &mut EndpointRecord, netns: &Netns, options: &Options) -> anyhow::Result<()> {
    let node = &call.node;
    let (known, others): (Vec<_>, Vec<_>) =
        node.store.of_container(&record.container_id).into_iter().partition(|known| same_attachment(known, record));
    let found = node.survey(netns, &others)?;
    record.interfaces = recorded(&found);
    call.log.debug(format_args!("found {:?} with addresses {:?}", record.interfaces, found.addresses));
    if !found.addresses.is_empty() {
        let of_ours = |name: &str| record.interfaces.iter().any(|interface| interface.name == name);
        record.addresses = found.addresses.iter().filter(|one| of_ours(&one.ifname)).map(|one| one.address).collect();
    }
    // Only what changes the datapath waits for others.
    let lock = node.lock()?;
    for known in &known {
        if is_same(known, record) && is_whole(node, known) {
            call.log.info("attached already; nothing was changed");
            return Ok(());
        }
        if known.interfaces != record.interfaces {
            // Of an earlier try, whose interfaces are gone.
            node.take_away(&lock, known)?;
        }
    }
    if record.interfaces.is_empty() {
        anyhow::ensure!(options.mode != Mode::Enforce, "none of its interfaces has an end on the node to enforce at");
        call.log.warning("none of its interfaces has an end on the node: nothing to attach to");
    }
    let settings = Settings { mode: options.mode.number(), connections: options.connections, ..Settings::default() };
    node.put_in_place(&lock, record, settings, options.kit)?;
    for interface in &record.interfaces {
        call.log.info(format!("attached to {} ({} in the pod), {}", interface.host_name, interface.name, record.mode));
    }
    let swept = node.sweep_now_and_then(&lock).context("what other pods have left stays for now");
    if let Err(error) = swept {
        call.log.warning(format!("{error:#}"));
    }
    Ok(())
}

/// Whether two records are of one attachment; one that was adopted may not know its network or interface.
pub(crate) fn same_attachment(known: &EndpointRecord, wanted: &EndpointRecord) -> bool {
    let agree = |known: &str, wanted: &str| known.is_empty() || wanted.is_empty() || known == wanted;
    known.container_id == wanted.container_id
        && agree(&known.network, &wanted.network)
        && agree(&known.ifname, &wanted.ifname)
}

/// Whether a repeated ADD has nothing to do, as far as the records tell.
fn is_same(known: &EndpointRecord, wanted: &EndpointRecord) -> bool {
    known.interfaces == wanted.interfaces && known.network == wanted.network && known.ifname == wanted.ifname
}
