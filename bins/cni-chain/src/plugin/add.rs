//! ADD: finds the host-side ends of the attachment, records them, and hangs the datapath on them.

use std::collections::HashSet;
use std::path::Path;

use anyhow::Context;
use chainkit_bpf::{Settings, detach_endpoint};
use chainkit_cluster::EndpointRecord;
use chainkit_cni::{PluginError, Request, ResultView, Version, code, echo};
use chainkit_enforce::Keeper;
use chainkit_node::{Netns, survey};

use crate::node::{Mode, Node, is_whole, recorded};
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
    let invalid = |error: chainkit_node::Error| {
        let lacks = matches!(error, chainkit_node::Error::Privilege { .. });
        let code = if lacks { code::DATAPATH } else { code::INVALID_ENVIRONMENT };
        PluginError::new(code, format!("CNI_NETNS: {error}"))
    };
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
    let lock = node.lock()?;
    let found = survey(netns)?;
    let ends: HashSet<u32> = found.host_ends.iter().map(|end| end.host_ifindex).collect();
    let claims = Claims::find(node, record, &ends)?;
    record.interfaces = recorded(&found);
    record.interfaces.retain(|interface| !claims.of_others.contains(&interface.host_ifindex));
    call.log.debug(format_args!("found {:?} with addresses {:?}", record.interfaces, found.addresses));
    if !found.addresses.is_empty() {
        let of_ours = |name: &str| record.interfaces.iter().any(|interface| interface.name == name);
        record.addresses = found.addresses.iter().filter(|one| of_ours(&one.ifname)).map(|one| one.address).collect();
    }
    let is_there = |known: &EndpointRecord| {
        !known.interfaces.is_empty() && known.interfaces.iter().all(|interface| ends.contains(&interface.host_ifindex))
    };
    if claims.mine.iter().any(|known| is_there(known) && is_whole(node, known)) {
        call.log.info("attached already; nothing was changed");
        return Ok(());
    }
    if record.interfaces.is_empty() {
        anyhow::ensure!(options.mode != Mode::Enforce, "none of its interfaces has an end on the node to enforce at");
        let why = if claims.of_others.is_empty() {
            "none of its interfaces has an end on the node"
        } else {
            "its interfaces belong to other attachments already"
        };
        call.log.warning(format_args!("{why}: nothing to attach to"));
    }
    let mut mode = options.mode;
    if let Some(datapath) = node.datapath()? {
        for interface in claims.mine.iter().chain(&claims.nameless).flat_map(|known| &known.interfaces) {
            match datapath.endpoint(interface.host_ifindex)? {
                // What is enforced already is not loosened by this.
                Some((_, endpoint)) if ends.contains(&interface.host_ifindex) => {
                    mode = mode.max(Mode::of(endpoint.mode))
                }
                // Of an earlier try, whose interfaces are gone.
                _ => detach_endpoint(&datapath, &node.pins, &lock, interface.host_ifindex)?,
            }
        }
    }
    mode.name().clone_into(&mut record.mode);
    let settings = Settings { mode: mode.number(), connections: options.connections, ..Settings::default() };
    let datapath = node.put_in_place(&lock, record, settings, options.kit)?;
    let mut judged = false;
    match Keeper::new(&datapath, &node.root).place(&lock, record).inspect(|standing| judged = standing.is_some()) {
        Ok(None) => {}
        Ok(Some(standing)) if standing.known => {
            call.log.info(format_args!("judged by policy: {}", standing.mode.name()))
        }
        Ok(Some(standing)) => {
            let isolated = if standing.isolated == 0 { "not isolated" } else { "isolated" };
            call.log.info(format_args!(
                "policy does not know this pod yet: {}, {isolated} until it does",
                standing.mode.name()
            ));
        }
        Err(error) => {
            // A pod that would start without its rules does not start.
            for interface in &record.interfaces {
                let _ = detach_endpoint(&datapath, &node.pins, &lock, interface.host_ifindex);
            }
            let _ = node.store.remove(record);
            return Err(error).context("cannot tell which policy it has");
        }
    }
    for old in claims.mine.iter().chain(&claims.nameless) {
        if node.store.path(old) != node.store.path(record) {
            node.store.remove(old)?;
        }
    }
    for interface in &record.interfaces {
        // Where policy is in force its mode counts, which was told.
        let mode = if judged { String::new() } else { format!(", {}", record.mode) };
        call.log.info(format!("attached to {} ({} in the pod){mode}", interface.host_name, interface.name));
    }
    let swept = node.sweep_now_and_then(&lock).context("what other pods have left stays for now");
    if let Err(error) = swept {
        call.log.warning(format!("{error:#}"));
    }
    Ok(())
}

/// The records that have to do with the pod's interfaces.
struct Claims {
    /// Of this attachment, by an earlier call.
    mine: Vec<EndpointRecord>,
    /// Of pods that were adopted when nobody knew their container: now it is known.
    nameless: Vec<EndpointRecord>,
    /// Host sides that other attachments have.
    of_others: HashSet<u32>,
}

impl Claims {
    fn find(node: &Node, wanted: &EndpointRecord, ends: &HashSet<u32>) -> anyhow::Result<Self> {
        let (mine, others): (Vec<_>, Vec<_>) =
            node.store.of_container(&wanted.container_id).into_iter().partition(|known| same_attachment(known, wanted));
        let of = |records: &[EndpointRecord]| -> HashSet<u32> {
            records.iter().flat_map(|record| record.interfaces.iter().map(|one| one.host_ifindex)).collect()
        };
        let mut claims = Self { of_others: of(&others), nameless: Vec::new(), mine };
        let of_mine = of(&claims.mine);
        let is_strange = |ifindex: &u32| !of_mine.contains(ifindex) && !claims.of_others.contains(ifindex);
        let Some(datapath) = node.datapath()? else { return Ok(claims) };
        let mut strange = false;
        for ifindex in ends.iter().filter(|ifindex| is_strange(ifindex)) {
            strange |= datapath.endpoint(*ifindex)?.is_some();
        }
        // All records are read only where that is sure to find one.
        for record in if strange { node.store.all().0 } else { Vec::new() } {
            if record.container_id == wanted.container_id
                || !record.interfaces.iter().any(|interface| ends.contains(&interface.host_ifindex))
            {
                continue;
            }
            if record.container_id.is_empty() {
                claims.nameless.push(record);
            } else {
                claims.of_others.extend(record.interfaces.iter().map(|interface| interface.host_ifindex));
            }
        }
        Ok(claims)
    }
}

/// Whether two records are of one attachment; one that was adopted may not know its network or interface.
pub(crate) fn same_attachment(known: &EndpointRecord, wanted: &EndpointRecord) -> bool {
    let agree = |known: &str, wanted: &str| known.is_empty() || wanted.is_empty() || known == wanted;
    known.container_id == wanted.container_id
        && agree(&known.network, &wanted.network)
        && agree(&known.ifname, &wanted.ifname)
}
