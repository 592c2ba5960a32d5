//! What lies on the node: records and the pinned datapath; how an attachment is put in place and taken away.
//!
//! The record is written before anything is attached and removed after everything is taken off. So whatever a process that
//! was killed has left, a record tells of it, and the next call for the same attachment finishes or undoes it.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use chainkit_abi::{ABI_VERSION, mark, mode};
use chainkit_bpf::{
    Datapath, Direction, Hung, Kit, NodeLock, Pins, Settings, attach_endpoint, detach_endpoint, gaps, hung,
    run_directory,
};
use chainkit_cluster::{EndpointInterface, EndpointRecord, EndpointStore};
use chainkit_node::{Netns, Survey};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// How long to wait for another process that changes endpoints. One that does takes milliseconds; one that was stopped must not
/// hold up all pods of the node for good.
const PATIENCE: Duration = Duration::from_secs(20);
/// What pods have left is swept at most this often by calls that are about other pods.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// How verdicts are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// Packets are counted and reported
    #[default]
    Observe,
    /// Packets are judged, nothing is dropped
    Audit,
    /// Packets are judged, and dropped where policy denies them
    Enforce,
}

impl Mode {
    /// As records have it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Audit => "audit",
            Self::Enforce => "enforce",
        }
    }

    /// The mode of a name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Observe, Self::Audit, Self::Enforce].into_iter().find(|mode| mode.name() == name)
    }

    /// As the datapath has it.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Observe => mode::OBSERVE,
            Self::Audit => mode::AUDIT,
            Self::Enforce => mode::ENFORCE,
        }
    }

    /// The mode of the datapath's number; one that is none observes.
    pub(crate) const fn of(number: u8) -> Self {
        match number {
            mode::ENFORCE => Self::Enforce,
            mode::AUDIT => Self::Audit,
            _ => Self::Observe,
        }
    }

    /// The name of the datapath's number.
    pub(crate) const fn name_of(number: u8) -> &'static str {
        match number {
            mode::OBSERVE => "observe",
            mode::AUDIT => "audit",
            mode::ENFORCE => "enforce",
            _ => "none",
        }
    }
}

/// What the datapath was installed from, in `/run/chainkit/datapath.json`: the kernel keeps no version.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Installed {
    /// Always `Datapath`.
    pub(crate) kind: String,
    /// The version of the program that loaded it.
    pub(crate) version: String,
    /// Its ABI version.
    pub(crate) abi: u32,
}

/// The node that lies below a root.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) root: PathBuf,
    pub(crate) store: EndpointStore,
    pub(crate) pins: Pins,
}

impl Node {
    pub(crate) fn below(root: &Path) -> Self {
        Self { root: root.to_owned(), store: EndpointStore::below(root), pins: Pins::below(root) }
    }

    pub(crate) fn lock(&self) -> chainkit_bpf::Result<NodeLock> {
        NodeLock::take_within(&self.root, PATIENCE)
    }

    /// The pinned datapath of this network namespace, if there is one.
    pub(crate) fn datapath(&self) -> chainkit_bpf::Result<Option<Datapath>> {
        let Some(datapath) = Datapath::open(&self.pins)? else { return Ok(None) };
        Ok(datapath.is_of_this_namespace()?.then_some(datapath))
    }

    /// The pinned datapath, installed where it is not there yet.
    pub(crate) fn install(&self, lock: &NodeLock) -> chainkit_bpf::Result<Datapath> {
        let is_new = !self.pins.directory().exists();
        let datapath = Datapath::install(&self.pins, lock)?;
        if is_new {
            // What cannot be told is told as unknown; nothing depends on it.
            let _ = self.tell_installed();
        }
        Ok(datapath)
    }

    fn installed_path(&self) -> PathBuf {
        run_directory(&self.root).join("datapath.json")
    }

    /// Writes down that the datapath is this program's.
    pub(crate) fn tell_installed(&self) -> io::Result<()> {
        let path = self.installed_path();
        let beside = path.with_extension(format!("json.{}", std::process::id()));
        let installed =
            Installed { kind: "Datapath".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned(), abi: ABI_VERSION };
        let _ = fs::remove_file(&beside);
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(&beside)?;
        file.write_all(&serde_json::to_vec(&installed)?)?;
        fs::rename(&beside, &path)
    }

    /// What the datapath was installed from, where that is known.
    pub(crate) fn installed(&self) -> Option<Installed> {
        const LONGEST: u64 = 4096;
        let path = self.installed_path();
        let facts = fs::symlink_metadata(&path).ok()?;
        if !facts.is_file() || facts.len() > LONGEST {
            return None;
        }
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// Puts an attachment in place: record, tables, programs. Whole or not at all; what was there already stays.
    ///
    /// `settings.mode` is what the datapath is told; the record says what it is to be in the end.
    pub(crate) fn put_in_place(
        &self,
        lock: &NodeLock,
        record: &EndpointRecord,
        settings: Settings,
        kit: Option<Kit>,
    ) -> anyhow::Result<Datapath> {
        use anyhow::Context;
        let datapath = self.install(lock)?;
        let kit = kit.unwrap_or_else(Kit::best);
        let new = !self.store.path(record).exists();
        self.store
            .put(record)
            .with_context(|| format!("cannot write the record {}", self.store.path(record).display()))?;
        let mut added = Vec::new();
        for interface in &record.interfaces {
            match attach_endpoint(&datapath, &self.pins, lock, interface.host_ifindex, settings, kit) {
                Ok(placed) if placed.added => added.push(interface.host_ifindex),
                Ok(_) => {}
                Err(error) => {
                    for ifindex in added {
                        let _ = detach_endpoint(&datapath, &self.pins, lock, ifindex);
                    }
                    if new {
                        let _ = self.store.remove(record);
                    }
                    return Err(error).with_context(|| format!("cannot attach to {}", interface.host_name));
                }
            }
        }
        Ok(datapath)
    }

    /// Takes an attachment away: programs, tables, record. An interface that is gone is no error.
    ///
    /// # Errors
    /// The first error met; what can be taken away is, and the record stays, so that it is tried again.
    pub(crate) fn take_away(&self, lock: &NodeLock, record: &EndpointRecord) -> anyhow::Result<()> {
        use anyhow::Context;
        let mut outcome = Ok(());
        // What cannot be seen cannot be taken off.
        if !self.pins.is_available() && !record.interfaces.is_empty() {
            return Err(chainkit_bpf::Error::NoBpffs(self.pins.directory()).into());
        }
        for abi in Pins::other_abis(&self.root)? {
            for interface in &record.interfaces {
                for direction in Direction::BOTH {
                    Pins::of_abi(&self.root, abi).unpin_link(interface.host_ifindex, direction)?;
                }
            }
        }
        if let Some(datapath) = self.datapath()? {
            for interface in &record.interfaces {
                let done = detach_endpoint(&datapath, &self.pins, lock, interface.host_ifindex)
                    .with_context(|| format!("cannot take the programs off {}", interface.host_name));
                outcome = outcome.and(done);
            }
        }
        outcome?;
        self.store
            .remove(record)
            .with_context(|| format!("cannot remove the record {}", self.store.path(record).display()))
    }

    /// What is not as a record says.
    pub(crate) fn faults(&self, datapath: Option<&Datapath>, record: &EndpointRecord) -> Vec<String> {
        let Some(datapath) = datapath else { return vec!["the datapath is not there".to_owned()] };
        let mut faults = Vec::new();
        let present = chainkit_node::interfaces();
        for interface in &record.interfaces {
            let now = present.as_ref().map(|all| all.iter().find(|one| one.index == interface.host_ifindex));
            match now {
                Ok(None) => {
                    faults.push(format!("{}: the interface is gone", shown(interface)));
                    continue;
                }
                Ok(Some(now)) if now.name != interface.host_name => {
                    faults.push(format!("{}: it is called {} now", shown(interface), now.name));
                }
                Ok(Some(_)) => {}
                Err(error) => faults.push(format!("the interfaces of this node cannot be listed: {error}")),
            }
            faults.extend(interface_faults(datapath, interface, &record.mode));
        }
        if record.interfaces.is_empty() {
            faults.push("it has no interface with an end on the node: nothing is attached".to_owned());
        }
        faults
    }

    /// What hangs for good and no record tells of, as records: their pods are not known.
    pub(crate) fn unrecorded(
        &self,
        datapath: &Datapath,
        records: &[EndpointRecord],
    ) -> chainkit_bpf::Result<Vec<EndpointRecord>> {
        let known: HashSet<u32> =
            records.iter().flat_map(|record| record.interfaces.iter().map(|one| one.host_ifindex)).collect();
        let present = chainkit_node::interfaces().unwrap_or_default();
        let lost = datapath.endpoints()?.into_iter().map(|(_, endpoint)| endpoint);
        Ok(lost
            .filter(|endpoint| endpoint.marks & mark::LASTING != 0 && !known.contains(&endpoint.ifindex))
            .map(|endpoint| EndpointRecord {
                kind: "Endpoint".to_owned(),
                mode: Mode::name_of(endpoint.mode).to_owned(),
                interfaces: vec![EndpointInterface {
                    host_ifindex: endpoint.ifindex,
                    host_name: present
                        .iter()
                        .find(|one| one.index == endpoint.ifindex)
                        .map(|one| one.name.clone())
                        .unwrap_or_default(),
                    ..EndpointInterface::default()
                }],
                ..EndpointRecord::default()
            })
            .collect())
    }

    /// Sweeps, unless that was done within the last minute.
    pub(crate) fn sweep_now_and_then(&self, lock: &NodeLock) -> anyhow::Result<Vec<EndpointRecord>> {
        let stamp = run_directory(&self.root).join("swept");
        let swept = fs::symlink_metadata(&stamp).and_then(|facts| facts.modified());
        if let Ok(swept) = swept
            && SystemTime::now().duration_since(swept).is_ok_and(|age| age < SWEEP_INTERVAL)
        {
            return Ok(Vec::new());
        }
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&stamp)?;
        file.set_modified(SystemTime::now())?;
        self.sweep(lock)
    }

    /// Removes what pods have left that are gone: their records, slots, pins; returns the records.
    pub(crate) fn sweep(&self, lock: &NodeLock) -> anyhow::Result<Vec<EndpointRecord>> {
        let present: HashSet<u32> = chainkit_node::interfaces()?.into_iter().map(|interface| interface.index).collect();
        let mut gone = Vec::new();
        for record in self.store.all().0 {
            let is_gone = if record.interfaces.is_empty() {
                matches!(Netns::open(Path::new(&record.netns)), Err(chainkit_node::Error::Missing(_)))
            } else {
                record.interfaces.iter().all(|interface| !present.contains(&interface.host_ifindex))
            };
            if is_gone {
                self.take_away(lock, &record)?;
                gone.push(record);
            }
        }
        self.store.sweep();
        if let Some(datapath) = self.datapath()? {
            datapath.sweep_gone(&self.pins, lock)?;
        }
        Ok(gone)
    }
}

/// The programs of the datapath on one end of an interface, first in the order they run, and what runs before them.
pub(crate) fn ours(
    datapath: &Datapath,
    ifindex: u32,
    direction: Direction,
) -> chainkit_bpf::Result<(Option<Hung>, Vec<Hung>)> {
    let ids = datapath.program_ids();
    let all = hung(ifindex, direction)?;
    let place = all.iter().position(|hung| ids.contains(&hung.program));
    let before = all.iter().take(place.unwrap_or(0)).cloned().collect();
    Ok((place.and_then(|place| all.get(place).cloned()), before))
}

/// Whether all programs of a record hang where they should.
pub(crate) fn is_whole(node: &Node, record: &EndpointRecord) -> bool {
    let Ok(Some(datapath)) = node.datapath() else { return false };
    record.interfaces.iter().all(|interface| {
        let ifindex = interface.host_ifindex;
        datapath.endpoint(ifindex).is_ok_and(|endpoint| endpoint.is_some())
            && Direction::BOTH
                .into_iter()
                .all(|direction| ours(&datapath, ifindex, direction).is_ok_and(|(found, _)| found.is_some()))
    })
}

fn shown(interface: &EndpointInterface) -> &str {
    if interface.host_name.is_empty() { "an interface without a name" } else { &interface.host_name }
}

/// What people call an endpoint: its pod, else its container, else its interfaces.
pub(crate) fn title(record: &EndpointRecord) -> String {
    match (record.namespace.as_str(), record.pod_name.as_str(), record.container_id.as_str()) {
        ("", "", "") => record.interfaces.iter().map(shown).collect::<Vec<_>>().join(","),
        ("", "", container) => format!("container {container:.12}"),
        ("", name, _) => name.to_owned(),
        (namespace, name, _) => format!("{namespace}/{name}"),
    }
}

fn interface_faults(datapath: &Datapath, interface: &EndpointInterface, mode: &str) -> Vec<String> {
    let name = shown(interface);
    let mut faults = Vec::new();
    match datapath.endpoint(interface.host_ifindex) {
        Ok(None) => faults.push(format!("{name}: the datapath does not know it")),
        Ok(Some((_, endpoint))) if Mode::name_of(endpoint.mode) != mode => {
            faults.push(format!("{name}: its mode is {}, not {mode}", Mode::name_of(endpoint.mode)));
        }
        Ok(Some(_)) => {}
        Err(error) => faults.push(format!("{name}: {error}")),
    }
    match gaps(datapath, interface.host_ifindex) {
        Ok(gaps) => faults.extend(gaps.into_iter().map(|gap| format!("{name}: {gap}"))),
        Err(error) => faults.push(format!("{name}: {error}")),
    }
    faults
}

/// The interfaces of a survey as a record has them.
pub(crate) fn recorded(found: &Survey) -> Vec<EndpointInterface> {
    found
        .host_ends
        .iter()
        .map(|end| EndpointInterface {
            name: end.pod_name.clone(),
            ifindex: end.pod_ifindex,
            host_ifindex: end.host_ifindex,
            host_name: end.host_name.clone(),
            ..EndpointInterface::default()
        })
        .collect()
}
