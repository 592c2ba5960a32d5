//! Every entry of every table is the one that was written, every endpoint has the rules that are its pod's, and every pod may send from
//! its own addresses.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use chainkit_abi::{
    BackendOf, BackendsOf, PortRuns, Prefix4, Prefix6, RowKey, Run, Side, Subject, VirtualKey, address, flag, ground,
    mark, mode,
};
use chainkit_bpf::{Datapath, Table, TableSet};

use super::snapshot::Snapshot;
use super::{Counterexample, What, Which};
use crate::kernel::bpf_failure;

/// An entry that is not what it should be.
struct Finding {
    table: &'static str,
    entry: String,
    expected: String,
    found: String,
    means: String,
}

/// What was found; the first is kept, and the others are counted.
#[derive(Default)]
struct Findings {
    first: Option<Finding>,
    count: usize,
    entries: usize,
}

impl Findings {
    fn add(&mut self, finding: impl FnOnce() -> Finding) {
        if self.first.is_none() {
            self.first = Some(finding());
        }
        self.count += 1;
    }

    /// An array: what it has beyond what was written is zero.
    fn array<V: Copy + Default + PartialEq>(
        &mut self,
        table: Table,
        expected: &[V],
        found: &[V],
        entry: impl Fn(usize) -> (String, String),
        shown: impl Fn(&V) -> String,
    ) {
        for place in 0..expected.len().max(found.len()) {
            let [expected, found] = [expected, found].map(|array| array.get(place).copied().unwrap_or_default());
            if expected != found {
                self.add(|| {
                    let (entry, means) = entry(place);
                    Finding { table: table.name(), entry, expected: shown(&expected), found: shown(&found), means }
                });
            }
        }
        self.entries += expected.len();
    }

    fn hash<K: Copy + Eq + Hash + Ord>(
        &mut self,
        table: Table,
        expected: &HashMap<K, u32>,
        found: &HashMap<K, u32>,
        entry: impl Fn(&K) -> (String, String),
        shown: impl Fn(u32) -> String,
    ) {
        let differs = |key: &&K| expected.get(key) != found.get(key);
        let keys: BTreeSet<&K> = expected.keys().chain(found.keys()).filter(differs).collect();
        for key in keys {
            let said = |value: Option<&u32>| value.map_or_else(|| "no entry".to_owned(), |value| shown(*value));
            self.add(|| {
                let (entry, means) = entry(key);
                Finding {
                    table: table.name(),
                    entry,
                    expected: said(expected.get(key)),
                    found: said(found.get(key)),
                    means,
                }
            });
        }
        self.entries += expected.len();
    }
}

/// Holds everything against what was written; how many entries that was.
pub(super) fn compare(
    datapath: &Datapath,
    snapshot: &Snapshot,
    set: &TableSet,
) -> anyhow::Result<Result<usize, Box<Counterexample>>> {
    let mut findings = Findings::default();
    // In the second one who has which rules is written anew before it judges.
    if snapshot.which != Which::Second {
        subjects(snapshot, set, &mut findings)?;
    }
    rules(snapshot, &mut findings);
    addresses(snapshot, &mut findings);
    services(snapshot, &mut findings);
    // Which are the same for all sets.
    if snapshot.which == Which::InForce {
        endpoints(snapshot, &mut findings);
        sources(datapath, snapshot, &mut findings)?;
    }
    let Findings { first, count, entries } = findings;
    Ok(first.map_or(Ok(entries), |finding| {
        Err(Box::new(Counterexample {
            kind: "Counterexample",
            generation: snapshot.generation,
            set: snapshot.which,
            what: What::Entry,
            table: Some(finding.table),
            entry: Some(finding.entry),
            flow: None,
            expected: finding.expected,
            found: finding.found,
            means: finding.means,
            more: count - 1,
        }))
    }))
}

fn subjects(snapshot: &Snapshot, set: &TableSet, findings: &mut Findings) -> anyhow::Result<()> {
    let expected: BTreeMap<u32, Subject> = snapshot
        .standings
        .iter()
        .map(|(slot, endpoint, standing)| (*slot, standing.subject(endpoint.ifindex)))
        .collect();
    for (slot, endpoint) in &snapshot.endpoints {
        let found = set.subject(*slot).map_err(bpf_failure)?;
        // What is said of another interface, or of none, is not asked.
        let found =
            if found.ifindex == endpoint.ifindex && found.mode != mode::NONE { found } else { Subject::default() };
        let expected = expected.get(slot).copied();
        // One that is still being taken over may have been given its rules already.
        let is_wrong = match expected {
            Some(expected) => expected != found,
            None => endpoint.marks & mark::TAKING_OVER == 0 && found != Subject::default(),
        };
        if is_wrong {
            findings.add(|| Finding {
                table: Table::Subjects.name(),
                entry: format!("slot {slot}, interface {}", endpoint.ifindex),
                expected: shown_subject(&expected.unwrap_or_default()),
                found: shown_subject(&found),
                means: format!("{} is judged by other rules than its own", snapshot.title(endpoint.ifindex)),
            });
        }
        findings.entries += 1;
    }
    Ok(())
}

fn shown_subject(subject: &Subject) -> String {
    if *subject == Subject::default() {
        return "no entry".to_owned();
    }
    let mode = match subject.mode {
        mode::OBSERVE => "observe",
        mode::AUDIT => "audit",
        mode::ENFORCE => "enforce",
        _ => "no mode",
    };
    let isolated = match subject.isolated & (flag::ISOLATED_INGRESS | flag::ISOLATED_EGRESS) {
        0 => "",
        flag::ISOLATED_INGRESS => ", isolated from ingress",
        flag::ISOLATED_EGRESS => ", isolated from egress",
        _ => ", isolated",
    };
    let odd = if subject.isolated > 3 || subject.pad != [0; 6] { format!(" ({subject:?})") } else { String::new() };
    format!("rules {}, {mode}{isolated}{odd}", subject.policy)
}

/// A place of `SIDES` in words.
fn side(side: u32) -> String {
    format!("rules {} {}", side >> 1, if side & 1 == 1 { "egress" } else { "ingress" })
}

fn rules(snapshot: &Snapshot, findings: &mut Findings) {
    let (saved, read) = (&snapshot.saved, &snapshot.read);
    let at = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
    findings.array(
        Table::Sides,
        &saved.sides,
        &read.sides,
        |place| (side(at(place)), "what these rules say of addresses that have no row of their own".to_owned()),
        |value: &Side| {
            let restricts = if value.restricts == 0 { "restricts nothing" } else { "restricts" };
            format!("port table {}, isolated by {}, {restricts}", value.table, snapshot.rule(value.isolated_by))
        },
    );
    findings.hash(
        Table::Rows,
        &saved.rows,
        &read.rows,
        |RowKey { side: of, class }| {
            (format!("{}, class {class}", side(*of)), "what these rules say of addresses of this class".to_owned())
        },
        |table| format!("port table {table}"),
    );
    findings.array(
        Table::Ports,
        &saved.ports,
        &read.ports,
        |place| (format!("port table {place}"), "what is said of ports where a row leads to this table".to_owned()),
        |PortRuns { starts, .. }| format!("TCP, UDP, SCTP and others from {starts:?}"),
    );
    findings.array(
        Table::Runs,
        &saved.runs,
        &read.runs,
        |place| (format!("run {place}"), "the verdict on these ports, in each port table that has the run".to_owned()),
        |run: &Run| {
            let by = match run.ground {
                ground::DEFAULT => "no policy".to_owned(),
                ground::RULE => snapshot.rule(run.rule),
                ground::ISOLATED => "isolation".to_owned(),
                ground::OWN_NODE => "the pod's own node".to_owned(),
                other => format!("a ground {other} that there is not"),
            };
            format!("to port {}: {} by {by}", run.last, if run.allowed == 0 { "denied" } else { "allowed" })
        },
    );
}

/// A value of `CLASSES4` and `CLASSES6` in words.
fn shown_class(value: u32) -> String {
    let class = match value & address::CLASS {
        address::AS_PREFIX => "class of its prefix".to_owned(),
        class => format!("class {class}"),
    };
    let service = if value & address::VIRTUAL == 0 { "" } else { ", service" };
    let node = if value & address::NODE == 0 { "" } else { ", node" };
    format!("{class}{service}{node}")
}

fn addresses(snapshot: &Snapshot, findings: &mut Findings) {
    let (saved, read) = (&snapshot.saved, &snapshot.read);
    let means = |what: &str| format!("the {what} is taken for another by all rules of this node");
    let of_address = |address: IpAddr| (address.to_string(), means("address"));
    findings.hash(
        Table::Classes4,
        &saved.classes4,
        &read.classes4,
        |address| of_address(Ipv4Addr::from(*address).into()),
        shown_class,
    );
    findings.hash(
        Table::Classes6,
        &saved.classes6,
        &read.classes6,
        |address| of_address(Ipv6Addr::from(*address).into()),
        shown_class,
    );
    let shown = |class: u32| format!("class {class}");
    findings.hash(
        Table::Prefixes4,
        &saved.prefixes4,
        &read.prefixes4,
        |Prefix4 { length, address }| (format!("{}/{length}", Ipv4Addr::from(*address)), means("prefix")),
        shown,
    );
    findings.hash(
        Table::Prefixes6,
        &saved.prefixes6,
        &read.prefixes6,
        |Prefix6 { length, address }| (format!("{}/{length}", Ipv6Addr::from(*address)), means("prefix")),
        shown,
    );
}

/// What is opened to a service, in words.
pub(super) fn shown_virtual(key: &VirtualKey) -> String {
    let address: IpAddr = virtual_address(key);
    let who = if key.address == [0, 0] { "any node".to_owned() } else { address.to_string() };
    format!("{who} port {} protocol {} (IPv{})", key.port, key.protocol, key.family)
}

/// The address of a service; all zero for a port of all nodes.
pub(super) fn virtual_address(key: &VirtualKey) -> IpAddr {
    let [first, second] = key.address.map(u64::to_ne_bytes);
    let [a, b, c, d, ..] = first;
    if key.family == 4 {
        return Ipv4Addr::new(a, b, c, d).into();
    }
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(first.into_iter().chain(second)) {
        *to = from;
    }
    Ipv6Addr::from(bytes).into()
}

fn services(snapshot: &Snapshot, findings: &mut Findings) {
    let (saved, read) = (&snapshot.saved, &snapshot.read);
    findings.hash(
        Table::Virtuals,
        &saved.virtuals,
        &read.virtuals,
        |key| {
            (shown_virtual(key), "what is opened to this service is judged by other backends than its own".to_owned())
        },
        |list| format!("list {list}"),
    );
    findings.array(
        Table::BackendsOf,
        &saved.backends_of,
        &read.backends_of,
        |place| (format!("list {place}"), "services with this list are judged by other backends".to_owned()),
        |BackendsOf { first, count }| format!("{count} from {first}"),
    );
    findings.array(
        Table::Backends,
        &saved.backends,
        &read.backends,
        |place| (format!("backend {place}"), "services that have it are judged by another backend".to_owned()),
        |BackendOf { class, port, .. }| format!("class {class} port {port}"),
    );
}

/// Each pod may send from its own addresses, as its record has them.
/// What an endpoint does where no policy speaks of it.
fn endpoints(snapshot: &Snapshot, findings: &mut Findings) {
    let names = [(mode::OBSERVE, "observe"), (mode::AUDIT, "audit"), (mode::ENFORCE, "enforce")];
    for (_, endpoint) in snapshot.endpoints.iter().filter(|(_, endpoint)| endpoint.marks & mark::LASTING != 0) {
        findings.entries += 1;
        let name = names.iter().find(|(number, _)| *number == endpoint.mode).map(|(_, name)| *name);
        // What has no record may be attached in any mode.
        let expected =
            snapshot.record(endpoint.ifindex).map(|record| record.mode.as_str()).or(name).unwrap_or("observe");
        if name == Some(expected) {
            continue;
        }
        findings.add(|| Finding {
            table: "ENDPOINTS",
            entry: format!("interface {}", endpoint.ifindex),
            expected: format!("mode {expected}"),
            found: format!("mode {}", name.unwrap_or("none")),
            means: format!("what becomes of packets of {}", snapshot.title(endpoint.ifindex)),
        });
    }
}

fn sources(datapath: &Datapath, snapshot: &Snapshot, findings: &mut Findings) -> anyhow::Result<()> {
    for (_, endpoint) in &snapshot.endpoints {
        let Some(record) = snapshot.record(endpoint.ifindex) else { continue };
        if endpoint.marks & (mark::LASTING | mark::TAKING_OVER) != mark::LASTING {
            continue;
        }
        let expected: BTreeSet<IpAddr> = record.addresses.iter().map(IpAddr::to_canonical).collect();
        let found: BTreeSet<IpAddr> =
            datapath.source_addresses(endpoint.ifindex).map_err(bpf_failure)?.into_iter().collect();
        let title = || snapshot.title(endpoint.ifindex);
        let mut add = |entry: String, expected: &str, found: &str, means: String| {
            let (expected, found) = (expected.to_owned(), found.to_owned());
            findings.add(|| Finding { table: "SOURCES", entry, expected, found, means });
        };
        for address in expected.symmetric_difference(&found) {
            let entry = format!("{address}, interface {}", endpoint.ifindex);
            if expected.contains(address) {
                add(entry, "an entry", "no entry", format!("{} cannot send from its own address", title()));
            } else {
                add(entry, "no entry", "an entry", format!("{} may send from an address that is not its own", title()));
            }
        }
        if (endpoint.flags & flag::SOURCES_KNOWN != 0) == expected.is_empty() && expected == found {
            let entry = format!("interface {}", endpoint.ifindex);
            let words = |known: bool| if known { "its addresses count" } else { "any address" };
            add(
                entry,
                words(!expected.is_empty()),
                words(expected.is_empty()),
                format!("whether {} may send from others' addresses", title()),
            );
        }
        findings.entries += expected.len();
    }
    Ok(())
}
