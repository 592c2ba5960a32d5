//! `cni-chain adopt`: attaches to pods that already run.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use chainkit_bpf::Datapath;
use chainkit_cli::{Exit, Row, write_rows};
use chainkit_cluster::{EndpointInterface, EndpointRecord};
use chainkit_node::{Netns, Survey};
use serde::Serialize;

use crate::cli::{AdoptArgs, Asked, failure};
use crate::node::{Mode, Node, is_whole, recorded};
use crate::pods::{FoundPod, Wanted, find};
use crate::takeover::{Count, Live, Manner, take_over};

/// What was done with a pod.
#[derive(Debug, Serialize)]
struct Adopted {
    kind: &'static str,
    namespace: String,
    pod_name: String,
    container_id: String,
    source: String,
    interfaces: Vec<String>,
    entered: Count,
    mode: String,
    /// `adopted`, `already`, `would-adopt` or `failed`.
    result: &'static str,
    reason: String,
}

impl Row for Adopted {
    const HEADER: &'static [&'static str] =
        &["POD", "CONTAINER", "TOLD BY", "HOST SIDE", "MODE", "CONNECTIONS", "RESULT", "REASON"];

    fn cells(&self) -> Vec<String> {
        let Count { host_conntrack, pod_conntrack, socket } = self.entered;
        vec![
            if self.pod_name.is_empty() { "-".to_owned() } else { format!("{}/{}", self.namespace, self.pod_name) },
            self.container_id.chars().take(12).collect(),
            self.source.clone(),
            self.interfaces.join(","),
            self.mode.clone(),
            (host_conntrack + pod_conntrack + socket).to_string(),
            self.result.to_owned(),
            self.reason.clone(),
        ]
    }
}

impl Adopted {
    fn of(record: &EndpointRecord, result: &'static str) -> Self {
        Self {
            kind: "Adopted",
            namespace: record.namespace.clone(),
            pod_name: record.pod_name.clone(),
            container_id: record.container_id.clone(),
            source: record.source.clone(),
            interfaces: record.interfaces.iter().map(|interface| interface.host_name.clone()).collect(),
            entered: Count::default(),
            mode: record.mode.clone(),
            result,
            reason: String::new(),
        }
    }
}

/// Adopts what was selected.
pub(crate) fn run(asked: &Asked, args: &AdoptArgs) -> anyhow::Result<Exit> {
    let selection = &args.selection;
    let wanted = if selection.all {
        Wanted::All
    } else {
        Wanted::These { pods: &selection.pods, ifnames: &selection.ifnames, netns: &selection.netns }
    };
    // A lack of privilege is one error, not one for each pod.
    Datapath::can_install(&asked.node.pins).map_err(failure)?;
    let found = find(&asked.root.root, args.runtime_endpoint.as_deref(), wanted)?;
    for warning in &found.warnings {
        asked.log.warning(warning);
    }
    let mut outcomes = Vec::new();
    for missing in &found.missing {
        asked.log.error(missing, None);
        outcomes.push(Exit::Usage);
    }
    if selection.all && found.is_partial {
        // Some pods may be missing.
        outcomes.push(Exit::Partial);
    }
    let mut rows = Vec::new();
    let mut lives = Vec::new();
    let (records, warnings) = asked.node.store.all();
    for warning in warnings {
        asked.log.warning(warning);
    }
    for pod in found.pods {
        let (whole, more) = sort_out(&asked.node, &records, pod, args.mode);
        rows.extend(whole);
        lives.extend(more);
    }
    outcomes.extend(rows.iter().map(|row: &Adopted| if row.result == "failed" { Exit::Failed } else { Exit::Fine }));
    if args.dry_run {
        rows.extend(lives.iter().map(|live| Adopted::of(&live.record, "would-adopt")));
        outcomes.extend(lives.iter().map(|_| Exit::Fine));
    } else if !lives.is_empty() {
        let manner = Manner { kit: args.attach.kit(), connections: args.connections };
        asked.node.lock().and_then(|lock| asked.node.install(&lock)).map_err(failure)?;
        for (live, outcome) in lives.iter().zip(take_over(&asked.node, &lives, manner)) {
            let row = match outcome {
                Ok(entered) => Adopted { entered, ..Adopted::of(&live.record, "adopted") },
                Err(error) => Adopted { reason: format!("{error:#}"), ..Adopted::of(&live.record, "failed") },
            };
            outcomes.push(if row.result == "failed" { Exit::Failed } else { Exit::Fine });
            rows.push(row);
        }
    }
    if rows.is_empty() && outcomes.is_empty() {
        asked.log.info(
            "no pod with a network namespace of its own runs on this node, as far as runtime, cached results and ipam.json tell; \
             --ifname and --netns take one that nobody names",
        );
    }
    for row in rows.iter().filter(|row| row.result == "failed") {
        asked.log.error(format!("{}: {}", row.interfaces.join(","), row.reason), None);
    }
    write_rows(&mut io::stdout().lock(), args.output.format(), rows)?;
    Ok(outcomes.into_iter().reduce(Exit::merge).unwrap_or(Exit::Fine))
}

/// What there is to do for a pod: the records that it has are made whole, and what none of them covers gets a new one.
fn sort_out(node: &Node, records: &[EndpointRecord], pod: FoundPod, mode: Option<Mode>) -> (Vec<Adopted>, Vec<Live>) {
    let (mut rows, mut lives) = (Vec::new(), Vec::new());
    let ends: HashSet<u32> = pod.survey.host_ends.iter().map(|end| end.host_ifindex).collect();
    let mine: Vec<EndpointRecord> = records
        .iter()
        .filter(|record| record.interfaces.iter().any(|interface| ends.contains(&interface.host_ifindex)))
        .cloned()
        .collect();
    let covered: HashSet<u32> =
        mine.iter().flat_map(|record| &record.interfaces).map(|interface| interface.host_ifindex).collect();
    let netns = Arc::new(pod.netns);
    for mut record in mine {
        // An interface that is gone is of the past.
        record.interfaces.retain(|interface| ends.contains(&interface.host_ifindex));
        let wanted = mode.or_else(|| Mode::named(&record.mode)).unwrap_or_default();
        if record.mode == wanted.name() && is_whole(node, &record) && is_in_force(node, &record) {
            rows.push(Adopted::of(&record, "already"));
            continue;
        }
        wanted.name().clone_into(&mut record.mode);
        lives.push(live(record, &netns, &pod.survey));
    }
    let blank = EndpointRecord {
        kind: "Endpoint".to_owned(),
        namespace: pod.namespace,
        pod_name: pod.name,
        pod_uid: pod.uid,
        container_id: pod.container_id,
        netns: pod.netns_path.display().to_string(),
        mode: mode.unwrap_or_default().name().to_owned(),
        source: pod.source.name().to_owned(),
        ..EndpointRecord::default()
    };
    if ends.is_empty() {
        let reason = "none of its interfaces has an end on the node to attach to".to_owned();
        rows.push(Adopted { reason, ..Adopted::of(&blank, "failed") });
        return (rows, lives);
    }
    let left: Vec<EndpointInterface> =
        recorded(&pod.survey).into_iter().filter(|interface| !covered.contains(&interface.host_ifindex)).collect();
    // A record for each attachment, with the interface it is named after; what is beside, as egress-cni's, goes with the first.
    let mut records = Vec::new();
    for attachment in pod.attachments {
        let record = EndpointRecord { network: attachment.network, ifname: attachment.ifname, ..blank.clone() };
        if left.iter().any(|interface| interface.name == record.ifname) {
            records.push(record);
        }
    }
    if records.is_empty() && !left.is_empty() {
        let ifname = left.first().map(|interface| interface.name.clone()).unwrap_or_default();
        records.push(EndpointRecord { ifname, ..blank });
    }
    let named: Vec<String> = records.iter().map(|record| record.ifname.clone()).collect();
    for (place, mut record) in records.into_iter().enumerate() {
        record.interfaces = left
            .iter()
            .filter(|interface| interface.name == record.ifname || (place == 0 && !named.contains(&interface.name)))
            .cloned()
            .collect();
        let has = |ifname: &str| record.interfaces.iter().any(|interface| interface.name == ifname);
        record.addresses = pod.survey.addresses.iter().filter(|one| has(&one.ifname)).map(|one| one.address).collect();
        lives.push(live(record, &netns, &pod.survey));
    }
    (rows, lives)
}

/// Whether the datapath has the mode of a record.
fn is_in_force(node: &Node, record: &EndpointRecord) -> bool {
    let Ok(Some(datapath)) = node.datapath() else { return false };
    record.interfaces.iter().all(|interface| {
        let endpoint = datapath.endpoint(interface.host_ifindex).ok().flatten();
        endpoint.is_some_and(|(_, endpoint)| Mode::name_of(endpoint.mode) == record.mode)
    })
}

/// A pod to be taken over, with what its namespace shows of the interfaces of a record.
pub(crate) fn live(record: EndpointRecord, netns: &Arc<Netns>, survey: &Survey) -> Live {
    let has = |ifname: &str| record.interfaces.iter().any(|interface| interface.name == ifname);
    let addresses = survey.addresses.iter().filter(|one| has(&one.ifname)).cloned().collect();
    Live { record, netns: Some(Arc::clone(netns)), addresses }
}
