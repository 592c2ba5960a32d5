//! `polload status`: which policy is in force on this node, for whom, what its rules have decided, and what is not as it should be.

mod faults;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use chainkit_abi::{Endpoint, RuleHits, ground, mark, rule};
use chainkit_bpf::{Datapath, Pins, monotonic};
use chainkit_cli::{Exit, Log, OutputArgs, RootArgs, write_rows};
use chainkit_cluster::{EndpointRecord, EndpointStore};
use chainkit_enforce::{Image, InForce, Keeper, Marker, Pods, RuleEntry, Saved, Standing};
use clap::Args;
use jiff::Timestamp;

use crate::kernel::{bpf_failure, failure};
use crate::plan::rule_names;
use faults::Faults;
use told::{EndpointPolicy, PolicyStatus, RuleState, Told};

/// What `polload status` can be asked.
#[derive(Args, Debug)]
pub(crate) struct Ask {
    #[command(flatten)]
    root: RootArgs,

    #[command(flatten)]
    output: OutputArgs,
}

/// How long a pod may be in the middle of being taken over, with its node's lock to be waited for.
const TAKEOVER: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);
/// How often all is looked at before a fault is told.
const LOOKS: u32 = 5;

pub(crate) fn run(ask: &Ask, _log: &Log) -> anyhow::Result<Exit> {
    let root = &ask.root.root;
    Datapath::require_privileges().map_err(bpf_failure)?;
    let (mut told, mut faults) = look(root)?;
    // What is there only while somebody changes policy is none.
    for _ in 1..LOOKS {
        if faults.all.is_empty() {
            break;
        }
        std::thread::sleep(PAUSE);
        let again = look(root)?;
        faults.keep_those_of(&again.1);
        told = again.0;
    }
    let faults = faults.all;
    let exit = if faults.is_empty() { Exit::Fine } else { Exit::No };
    if let Some(Told::PolicyStatus(status)) = told.first_mut() {
        status.faults = faults.len();
    }
    told.extend(faults.into_iter().map(Told::Fault));
    write_rows(&mut std::io::stdout().lock(), ask.output.format(), told)?;
    Ok(exit)
}

/// Looks at everything once.
fn look(root: &Path) -> anyhow::Result<(Vec<Told>, Faults)> {
    let mut faults = Faults::default();
    let mut told = Vec::new();
    let store = chainkit_enforce::Store::below(root);
    let marker = faults.of_file(store.marker()).flatten();
    if let Some(refused) = faults.of_file(store.refused()) {
        faults.refused(&refused);
    }
    match Datapath::open(&Pins::below(root)).map_err(bpf_failure)? {
        None => {
            told.push(Told::PolicyStatus(PolicyStatus::none(marker.as_ref())));
            faults.nothing_installed(marker.as_ref());
        }
        Some(datapath) if !datapath.is_of_this_namespace().map_err(bpf_failure)? => {
            told.push(Told::PolicyStatus(PolicyStatus::none(marker.as_ref())));
            faults.another_namespace();
        }
        Some(datapath) => of_datapath(&datapath, root, marker.as_ref(), &mut faults, &mut told)?,
    }
    Ok((told, faults))
}

/// What is kept of the policy in force, as far as it can be read.
#[derive(Default)]
struct Kept {
    rules: BTreeMap<u32, RuleEntry>,
    image: Image,
    pods: Option<Pods>,
}

impl Kept {
    fn read(saved: &Saved, faults: &mut Faults) -> Self {
        faults.of_file(saved.objects());
        Self {
            rules: faults.of_file(saved.rules()).unwrap_or_default(),
            image: faults.of_file(saved.tables()).unwrap_or_default(),
            pods: faults.of_file(saved.pods()),
        }
    }
}

fn of_datapath(
    datapath: &Datapath,
    root: &Path,
    marker: Option<&Marker>,
    faults: &mut Faults,
    told: &mut Vec<Told>,
) -> anyhow::Result<()> {
    let keeper = Keeper::new(datapath, root);
    let now = keeper.in_force().map_err(failure)?;
    let (records, warnings) = EndpointStore::below(root).all();
    faults.of_policy(&now, marker);
    warnings.iter().for_each(|warning| faults.unreadable(warning));
    told.push(Told::PolicyStatus(status(&now, marker)));
    if now.generation == 0 {
        return Ok(());
    }
    let tables = datapath.tables_at(chainkit_abi::set_of(now.generation)).map_err(bpf_failure)?;
    if tables.is_none() {
        faults.no_tables(now.generation);
    }
    let kept = match &now.folder {
        None => {
            faults.no_folder(now.generation);
            Kept::default()
        }
        Some(folder) => match faults.of_file(keeper.store().open(folder)) {
            Some(saved) => Kept::read(&saved, faults),
            None => Kept::default(),
        },
    };
    for (_, endpoint) in still_taken_over(datapath)? {
        faults.taking_over(&title(&records, &endpoint));
    }
    let policies = policies(&kept);
    if let (Some(folder), Some(Told::PolicyStatus(status))) = (&now.folder, told.first_mut())
        && let Ok((tables, objects)) = keeper.store().open(folder).and_then(|saved| saved.changed_at())
    {
        status.followed(tables, objects);
    }
    if let Some(pods) = &kept.pods {
        for pod in keeper.unattached(pods).map_err(failure)? {
            faults.unattached(&pod);
        }
        for (slot, endpoint, standing) in keeper.standings(pods).map_err(failure)? {
            let (pod, interface) = title(&records, &endpoint);
            for gap in chainkit_bpf::gaps(datapath, endpoint.ifindex).map_err(bpf_failure)? {
                faults.unseen(&pod, &interface, &gap);
            }
            if let Some(tables) = &tables {
                let subject = tables.subject(slot).map_err(bpf_failure)?;
                if subject != standing.subject(endpoint.ifindex) {
                    faults.wrong_rules(&pod, &interface);
                }
            }
            if !standing.known && pod.is_empty() {
                faults.nameless(&interface, &addresses(&records, &endpoint), &standing);
            } else if !standing.known {
                faults.unknown_pod(&pod, &interface, standing.isolated != 0);
            }
            told.push(Told::EndpointPolicy(endpoint_policy(pod, interface, &endpoint, &standing, &policies)));
        }
    }
    let hits: BTreeMap<u32, RuleHits> = datapath.rule_hits().map_err(bpf_failure)?.into_iter().collect();
    told.extend(rules(&kept.rules, &hits).into_iter().map(Told::RuleHits));
    Ok(())
}

fn status(now: &InForce, marker: Option<&Marker>) -> PolicyStatus {
    let mut status = PolicyStatus::none(marker);
    status.generation = now.generation;
    status.cleared = now.cleared;
    status.went_back = now.went_back;
    status.seconds_left = now.seconds_left;
    status.falls_back_to = now.fallback.as_ref().map(|(generation, _)| *generation);
    if now.generation != 0 {
        let mode = marker.and_then(|marker| marker.options.get("mode")).and_then(|mode| mode.as_str());
        status.mode = mode.unwrap_or("unknown").to_owned();
    }
    status
}

/// Pods that are being taken over, and are so for longer than that takes.
fn still_taken_over(datapath: &Datapath) -> anyhow::Result<Vec<(u32, Endpoint)>> {
    let since = Instant::now();
    loop {
        let mut endpoints = datapath.endpoints().map_err(bpf_failure)?;
        endpoints.retain(|(_, endpoint)| endpoint.marks & mark::TAKING_OVER != 0);
        if endpoints.is_empty() || since.elapsed() > TAKEOVER {
            return Ok(endpoints);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Pod and interface of an endpoint.
fn title(records: &[EndpointRecord], endpoint: &Endpoint) -> (String, String) {
    let found = records.iter().find_map(|record| {
        let interface = record.interfaces.iter().find(|one| one.host_ifindex == endpoint.ifindex)?;
        Some((record, interface))
    });
    match found {
        Some((record, interface)) if !record.pod_name.is_empty() => {
            (format!("{}/{}", record.namespace, record.pod_name), interface.host_name.clone())
        }
        Some((_, interface)) => (String::new(), interface.host_name.clone()),
        None => (String::new(), format!("index {}", endpoint.ifindex)),
    }
}

/// Addresses of an endpoint, as far as they are known.
fn addresses(records: &[EndpointRecord], endpoint: &Endpoint) -> Vec<IpAddr> {
    let is_its = |record: &&EndpointRecord| record.interfaces.iter().any(|one| one.host_ifindex == endpoint.ifindex);
    records.iter().find(is_its).map(|record| record.addresses.clone()).unwrap_or_default()
}

/// By number of rules the policies that decide anything there.
fn policies(kept: &Kept) -> BTreeMap<u32, BTreeSet<String>> {
    let image = &kept.image;
    let mut by_table: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    let tables = image.sides.iter().zip(0..).map(|(side, number)| (number, side.table));
    for (side, table) in tables.chain(image.rows.iter().map(|(row, table)| (row.side, *table))) {
        by_table.entry(side).or_default().insert(table);
    }
    let mut policies: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    for (side, tables) in by_table {
        let starts = tables.iter().filter_map(|table| image.ports.get(*table as usize)).map(|ports| ports.starts);
        let runs = starts.flat_map(|[first, .., end]| image.runs.get(first as usize..end as usize).unwrap_or_default());
        let mut numbers: BTreeSet<u32> = runs.filter(|run| run.ground == ground::RULE).map(|run| run.rule).collect();
        numbers.extend(image.sides.get(side as usize).map(|side| side.isolated_by));
        let names = policies.entry(side >> 1).or_default();
        for rule in numbers.iter().filter_map(|number| kept.rules.get(number)) {
            names.extend(rule.policies.iter().map(told::policy_name));
        }
    }
    policies
}

fn endpoint_policy(
    pod: String,
    interface: String,
    endpoint: &Endpoint,
    standing: &Standing,
    policies: &BTreeMap<u32, BTreeSet<String>>,
) -> EndpointPolicy {
    use chainkit_abi::flag;
    let bits = [(flag::ISOLATED_INGRESS, "ingress"), (flag::ISOLATED_EGRESS, "egress")];
    let isolated = bits.into_iter().filter(|(bit, _)| standing.isolated & bit != 0).map(|(_, name)| name).collect();
    let found = policies.get(&standing.policy).filter(|_| standing.policy != 0);
    EndpointPolicy {
        pod,
        interface,
        ifindex: endpoint.ifindex,
        mode: standing.mode.name(),
        known: standing.known,
        isolated,
        policies: found.into_iter().flatten().cloned().collect(),
    }
}

/// Every rule of the policy in force, and what is no policy's and has decided something.
fn rules(rules: &BTreeMap<u32, RuleEntry>, hits: &BTreeMap<u32, RuleHits>) -> Vec<RuleState> {
    let mut all: Vec<RuleState> =
        rules.values().map(|entry| rule_state(entry.number, Some(entry), hits.get(&entry.number))).collect();
    let builtin = hits.iter().filter(|(number, _)| **number < rule::FIRST);
    all.extend(builtin.map(|(number, hits)| rule_state(*number, None, Some(hits))));
    all.sort_by_key(|rule| rule.number);
    all
}

fn rule_state(number: u32, entry: Option<&RuleEntry>, hits: Option<&RuleHits>) -> RuleState {
    let hits = hits.copied().unwrap_or_default();
    let own = match number {
        rule::OWN_NODE => "the pod's own node",
        rule::ITSELF => "the pod itself",
        rule::NO_BACKEND => "a service without backend",
        rule::UNKNOWN_POD => "a pod that is not known",
        rule::TOO_MANY_BACKENDS => "a service with too many kinds of backends",
        _ => "a rule of no policy",
    };
    let ago = (hits.last != 0).then(|| Duration::from_nanos(monotonic().saturating_sub(hits.last)));
    RuleState {
        number,
        direction: entry.map(|entry| entry.direction),
        action: entry.map(|entry| entry.action),
        tier: entry.map(|entry| entry.tier.clone()),
        rule: entry.map_or_else(|| vec![own.to_owned()], rule_names),
        allowed: hits.allowed,
        denied: hits.denied,
        audited: hits.audited,
        last: ago.and_then(|ago| Timestamp::now().checked_sub(ago).ok()),
    }
}
