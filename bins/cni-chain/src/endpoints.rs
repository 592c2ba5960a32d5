//! `cni-chain endpoints`: what is attached, and how it goes.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;

use chainkit_abi::{mark, mode};
use chainkit_bpf::{Datapath, Direction, Program, Totals};
use chainkit_cli::{Exit, Row, write_rows};
use chainkit_cluster::{EndpointInterface, EndpointRecord};
use serde::Serialize;

use crate::cli::{Asked, EndpointsArgs, failure};
use crate::node::{Mode, ours};

/// An endpoint, as it is printed: its record, and what the kernel says of it.
#[derive(Debug, Serialize)]
struct Endpoint {
    kind: &'static str,
    namespace: String,
    pod_name: String,
    pod_uid: String,
    container_id: String,
    network: String,
    ifname: String,
    netns: String,
    addresses: Vec<IpAddr>,
    mode: String,
    source: String,
    interfaces: Vec<Interface>,
    /// What is not as the record says.
    problems: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Interface {
    name: String,
    ifindex: u32,
    host_name: String,
    host_ifindex: u32,
    /// The mode in force; null: the datapath does not know it.
    mode: Option<&'static str>,
    /// `tcx` or `clsact`; null: nothing hangs there.
    attach: Option<&'static str>,
    programs: Vec<Attached>,
    counters: Option<Counters>,
}

#[derive(Debug, Serialize)]
struct Attached {
    hook: &'static str,
    id: u32,
    name: String,
    /// Names of programs that run before it and may keep packets from it.
    before: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Counters {
    connections: u64,
    evicted: u64,
    failed: u64,
    dropped: u64,
    from_pod: Traffic,
    to_pod: Traffic,
}

#[derive(Debug, Serialize)]
struct Traffic {
    packets: u64,
    bytes: u64,
}

impl Row for Endpoint {
    const HEADER: &'static [&'static str] = &[
        "POD",
        "INTERFACE",
        "HOST SIDE",
        "MODE",
        "ATTACHED",
        "CONNECTIONS",
        "FROM POD",
        "TO POD",
        "DROPPED",
        "ADDRESSES",
        "PROBLEMS",
    ];

    fn cells(&self) -> Vec<String> {
        let pod = match (self.namespace.as_str(), self.pod_name.as_str()) {
            ("", "") if self.container_id.is_empty() => "-".to_owned(),
            ("", "") => format!("container {:.12}", self.container_id),
            ("", name) => name.to_owned(),
            (namespace, name) => format!("{namespace}/{name}"),
        };
        let each = |cell: &dyn Fn(&Interface) -> String| self.interfaces.iter().map(cell).collect::<Vec<_>>().join(",");
        let sum = |count: &dyn Fn(&Counters) -> u64| {
            let known: Vec<u64> = self.interfaces.iter().filter_map(|one| one.counters.as_ref()).map(count).collect();
            if known.is_empty() { "-".to_owned() } else { known.iter().sum::<u64>().to_string() }
        };
        let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
        vec![
            pod,
            each(&|one| one.name.clone()),
            each(&|one| one.host_name.clone()),
            self.mode.clone(),
            each(&|one| one.attach.unwrap_or("no").to_owned()),
            sum(&|one| one.connections),
            sum(&|one| one.from_pod.packets),
            sum(&|one| one.to_pod.packets),
            sum(&|one| one.dropped),
            addresses.join(","),
            self.problems.join("; "),
        ]
    }
}

/// Prints them.
pub(crate) fn run(asked: &Asked, args: &EndpointsArgs) -> anyhow::Result<Exit> {
    Datapath::require_privileges().map_err(failure)?;
    let datapath = asked.node.datapath().map_err(failure)?;
    let (records, warnings) = asked.node.store.all();
    let exit = if warnings.is_empty() { Exit::Fine } else { Exit::Partial };
    for warning in warnings {
        asked.log.warning(warning);
    }
    if datapath.is_none() && records.is_empty() {
        asked.log.info("the datapath is not on this node, and nothing is attached; see cni-chain adopt --help");
    }
    let mut rows: Vec<Endpoint> = records.iter().map(|record| endpoint(asked, datapath.as_ref(), record)).collect();
    if let Some(datapath) = &datapath {
        rows.extend(unrecorded(datapath, &records).map_err(failure)?);
    }
    rows.sort_by(|a, b| {
        (&a.namespace, &a.pod_name, &a.container_id, &a.ifname).cmp(&(
            &b.namespace,
            &b.pod_name,
            &b.container_id,
            &b.ifname,
        ))
    });
    write_rows(&mut io::stdout().lock(), args.output.format(), rows)?;
    Ok(exit)
}

fn endpoint(asked: &Asked, datapath: Option<&Datapath>, record: &EndpointRecord) -> Endpoint {
    let interfaces: Vec<Interface> = record.interfaces.iter().map(|known| interface(datapath, known)).collect();
    let in_force = interfaces.iter().find_map(|shown| shown.mode);
    Endpoint {
        kind: "Endpoint",
        namespace: record.namespace.clone(),
        pod_name: record.pod_name.clone(),
        pod_uid: record.pod_uid.clone(),
        container_id: record.container_id.clone(),
        network: record.network.clone(),
        ifname: record.ifname.clone(),
        netns: record.netns.clone(),
        addresses: record.addresses.clone(),
        mode: in_force.map_or_else(|| record.mode.clone(), ToOwned::to_owned),
        source: record.source.clone(),
        interfaces,
        problems: asked.node.faults(datapath, record),
    }
}

/// What the datapath knows and no record tells of: put there by others, as `flowdump --attach` does for a while.
fn unrecorded(datapath: &Datapath, records: &[EndpointRecord]) -> chainkit_bpf::Result<Vec<Endpoint>> {
    let recorded: HashSet<u32> =
        records.iter().flat_map(|record| record.interfaces.iter().map(|known| known.host_ifindex)).collect();
    let names = chainkit_node::interfaces().unwrap_or_default();
    let mut rows = Vec::new();
    for (_, known) in datapath.endpoints()? {
        if recorded.contains(&known.ifindex) {
            continue;
        }
        let name = names.iter().find(|one| one.index == known.ifindex).map(|one| one.name.clone());
        let host = EndpointInterface {
            host_ifindex: known.ifindex,
            host_name: name.clone().unwrap_or_default(),
            ..EndpointInterface::default()
        };
        let problems = if name.is_none() {
            vec!["its interface is gone: a later DEL, or cni-chain release, sweeps it".to_owned()]
        } else if known.marks & mark::LASTING != 0 {
            vec!["it has no record: adopt it by --ifname, or release it".to_owned()]
        } else {
            Vec::new()
        };
        rows.push(Endpoint {
            kind: "Endpoint",
            namespace: String::new(),
            pod_name: String::new(),
            pod_uid: String::new(),
            container_id: String::new(),
            network: String::new(),
            ifname: String::new(),
            netns: String::new(),
            addresses: Vec::new(),
            mode: Mode::name_of(known.mode).to_owned(),
            source: String::new(),
            interfaces: vec![interface(Some(datapath), &host)],
            problems,
        });
    }
    Ok(rows)
}

fn interface(datapath: Option<&Datapath>, known: &EndpointInterface) -> Interface {
    let mut shown = Interface {
        name: known.name.clone(),
        ifindex: known.ifindex,
        host_name: known.host_name.clone(),
        host_ifindex: known.host_ifindex,
        mode: None,
        attach: None,
        programs: Vec::new(),
        counters: None,
    };
    let Some(datapath) = datapath else { return shown };
    if let Ok(Some((slot, endpoint))) = datapath.endpoint(known.host_ifindex) {
        shown.mode = Some(Mode::name_of(mode_in_force(datapath, slot, &endpoint)));
        shown.counters = datapath.totals(slot).ok().map(counters);
    }
    for direction in Direction::BOTH {
        let Ok((Some(found), before)) = ours(datapath, known.host_ifindex, direction) else { continue };
        shown.attach = Some(found.kit.name());
        shown.programs.push(Attached {
            hook: Program::of(direction).name(),
            id: found.program,
            name: found.name,
            before: before.into_iter().map(|hung| hung.name).collect(),
        });
    }
    shown
}

/// What the policy in force says, where there is one, and else what the endpoint was attached with.
fn mode_in_force(datapath: &Datapath, slot: u32, endpoint: &chainkit_abi::Endpoint) -> u8 {
    let generation = datapath.judging();
    if generation == 0 {
        return endpoint.mode;
    }
    let tables = datapath.tables_at(chainkit_abi::set_of(generation)).ok().flatten();
    let subject = tables.and_then(|tables| tables.subject(slot).ok());
    let its_own = subject.filter(|subject| subject.ifindex == endpoint.ifindex && subject.mode != mode::NONE);
    its_own.map_or(endpoint.mode, |subject| subject.mode)
}

const fn counters(totals: Totals) -> Counters {
    Counters {
        connections: totals.connections,
        evicted: totals.evicted,
        failed: totals.failed,
        dropped: totals.dropped,
        from_pod: Traffic { packets: totals.from_pod.packets, bytes: totals.from_pod.bytes },
        to_pod: Traffic { packets: totals.to_pod.packets, bytes: totals.to_pod.bytes },
    }
}
