//! Taking pods over that already run, without losing a packet or a connection: first they are only observed, then the
//! connections that exist are entered, and then the mode is put in force. What `adopt` and `upgrade --migrate` share.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Context;
use chainkit_abi::{mark, mode, opened};
use chainkit_bpf::{Entered, Kit, Known, Settings, Stage};
use chainkit_cli::Progress;
use chainkit_cluster::EndpointRecord;
use chainkit_enforce::{KeepError, Keeper};
use chainkit_node::{Existing, Netns, Opened, PodAddress, Source, TcpState, existing_beside, tracked};
use serde::Serialize;

use crate::node::{Mode, Node};

/// A pod that runs.
#[derive(Debug)]
pub(crate) struct Live {
    /// What its record is to be.
    pub(crate) record: EndpointRecord,
    /// Where it runs; `None`: nobody knows, and its connections can only be met as they come.
    pub(crate) netns: Option<Arc<Netns>>,
    /// Its addresses, by interface.
    pub(crate) addresses: Vec<PodAddress>,
}

/// How many connections were entered, by who knew of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Count {
    pub(crate) host_conntrack: u64,
    pub(crate) pod_conntrack: u64,
    pub(crate) socket: u64,
}

/// How it is attached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    pub(crate) kit: Option<Kit>,
    pub(crate) connections: u32,
}

/// Takes pods over; an outcome for each, in their order.
pub(crate) fn take_over(node: &Node, pods: &[Live], manner: Manner) -> Vec<anyhow::Result<Count>> {
    let mut progress = Progress::new("taking over pods", pods.len() * 2);
    let mut outcomes = Vec::with_capacity(pods.len());
    // What was in force before a boot is to be so again before anybody is watched: each is judged once its connections are known.
    let settled = settle(node);
    for pod in pods {
        if let Err(error) = &settled {
            outcomes.push(Err(anyhow::anyhow!("{error:#}")));
            continue;
        }
        outcomes.push(observe(node, pod, manner).map(|()| Count::default()));
        progress.step();
    }
    // Read once, after the last of them began to be watched: what comes later is met by the datapath itself.
    let addresses: HashSet<IpAddr> = pods.iter().flat_map(|pod| pod.addresses.iter().map(|one| one.address)).collect();
    let host = tracked(&addresses);
    for (pod, outcome) in pods.iter().zip(&mut outcomes) {
        if outcome.is_ok() {
            *outcome = match &host {
                Ok(host) => existing_of(pod, host).and_then(|found| enter(node, pod, &found)),
                Err(error) => Err(anyhow::anyhow!("{error}")),
            };
        }
        progress.step();
    }
    if let Err(error) = judge_again(node) {
        let failed = || Err(anyhow::anyhow!("its connections are not judged by the policy in force: {error:#}"));
        outcomes.iter_mut().filter(|outcome| outcome.is_ok()).for_each(|outcome| *outcome = failed());
    }
    outcomes
}

fn settle(node: &Node) -> anyhow::Result<()> {
    let lock = node.lock()?;
    let datapath = node.install(&lock)?;
    match Keeper::new(&datapath, &node.root).settle(&lock) {
        // It is in force, which is what matters here.
        Ok(_) | Err(KeepError::Partly { .. }) => Ok(()),
        Err(error) => Err(error).context("cannot put back the policy that was in force"),
    }
}

/// What was met while it was only observed was judged by nothing.
fn judge_again(node: &Node) -> anyhow::Result<()> {
    let lock = node.lock()?;
    if let Some(datapath) = node.datapath()? {
        Keeper::new(&datapath, &node.root).judge_again(&lock);
    }
    Ok(())
}

fn existing_of(pod: &Live, host: &[chainkit_node::Entry]) -> anyhow::Result<Vec<Existing>> {
    let Some(netns) = &pod.netns else { return Ok(Vec::new()) };
    let addresses: Vec<IpAddr> = pod.addresses.iter().map(|one| one.address).collect();
    existing_beside(host, netns, &addresses).context("cannot tell which connections it has")
}

/// Attaches, and only observes. One that is attached already keeps its mode: what is enforced is not loosened for this.
fn observe(node: &Node, pod: &Live, manner: Manner) -> anyhow::Result<()> {
    let lock = node.lock()?;
    let datapath = node.install(&lock)?;
    let mut mode = mode::OBSERVE;
    let mut fresh = Vec::new();
    for interface in &pod.record.interfaces {
        match datapath.endpoint(interface.host_ifindex)? {
            Some((_, endpoint)) if endpoint.marks & (mark::LASTING | mark::TAKING_OVER) == mark::LASTING => {
                mode = mode.max(endpoint.mode);
            }
            _ => fresh.push(interface.host_ifindex),
        }
    }
    let settings = Settings { mode, connections: manner.connections, ..Settings::default() };
    node.put_in_place(&lock, &pod.record, settings, manner.kit)?;
    // Nobody else comes in between, who could take it for one that is to be judged.
    fresh.into_iter().try_for_each(|ifindex| datapath.mark(&lock, ifindex, mark::TAKING_OVER, 0))?;
    Ok(())
}

/// Enters what exists, then puts the mode in force: in one go under the lock, so that no slot changes hands meanwhile.
fn enter(node: &Node, pod: &Live, found: &[Existing]) -> anyhow::Result<Count> {
    let lock = node.lock()?;
    let datapath = node.install(&lock)?;
    let mut count = Count::default();
    let mut slots = Vec::new();
    for interface in &pod.record.interfaces {
        let endpoint = datapath.endpoint(interface.host_ifindex)?;
        let (slot, endpoint) = endpoint.with_context(|| format!("{} was released meanwhile", interface.host_name))?;
        slots.push((interface, slot, endpoint));
    }
    for connection in found {
        let ifname = pod.addresses.iter().find(|one| one.address == connection.local).map(|one| one.ifname.as_str());
        let Some((_, slot, _)) = slots.iter().find(|(interface, ..)| Some(interface.name.as_str()) == ifname) else {
            continue;
        };
        if datapath.enter(&lock, *slot, &known(connection))? == Entered::Present {
            continue;
        }
        match connection.source {
            Source::HostConntrack => count.host_conntrack += 1,
            Source::PodConntrack => count.pod_conntrack += 1,
            Source::Socket => count.socket += 1,
        }
    }
    let mode = Mode::named(&pod.record.mode).unwrap_or_default().number();
    for (interface, _, endpoint) in slots {
        let settings = Settings { mode, flags: endpoint.flags, ..Settings::default() };
        datapath.add_endpoint(&lock, interface.host_ifindex, settings)?;
        datapath.mark(&lock, interface.host_ifindex, 0, mark::TAKING_OVER)?;
    }
    Keeper::new(&datapath, &node.root).place(&lock, &pod.record).context("cannot tell which policy it has")?;
    Ok(count)
}

fn known(connection: &Existing) -> Known {
    Known {
        local: connection.local,
        remote: connection.remote,
        local_port: connection.local_port,
        remote_port: connection.remote_port,
        protocol: connection.protocol,
        opened: match connection.opened {
            Opened::ByPod => opened::BY_POD,
            Opened::ByRemote => opened::BY_REMOTE,
            Opened::Unknown => opened::UNKNOWN,
        },
        replied: connection.replied || connection.state == Some(TcpState::SynReceived),
        stage: match connection.state {
            Some(TcpState::SynSent | TcpState::SynReceived) => Stage::Handshake,
            Some(TcpState::Closing | TcpState::Closed | TcpState::Over) => Stage::Closing,
            Some(TcpState::Established) | None => Stage::Established,
        },
    }
}
