//! `--drops`: packets of pods that the kernel drops, beside what the datapath tells.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chainkit_abi::{DropAddress, DropEndpoint};
use chainkit_bpf::{DropLosses, DropSettings, Dropped, Drops};
use chainkit_cli::{Exit, Failure, Log};
use chainkit_cluster::Names;
use chainkit_flow::{Decoder, KernelDrop, Record};
use chainkit_node::{Netns, netns_of_interface, survey};
use clap::ValueEnum;

use crate::attach::{Source, failure};
use crate::cli::Options;

/// Records taken at once.
const DRAIN: usize = 8 * 1024;
/// How often the addresses of pods that are known are asked for again.
const SURVEY_EVERY: Duration = Duration::from_secs(30);
/// How long it is waited before a pod whose namespace was not found is looked for again.
const MISSING_AGAIN: Duration = Duration::from_secs(5);

/// Which drops are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Ask {
    /// Those that are a fault, or may be
    Fault,
    /// Also those of which the kernel says that nobody misses them
    All,
}

/// A reader of drops, and of whom it is told.
pub(crate) struct KernelDrops {
    drops: Drops,
    netns: u32,
    pods: HashMap<u32, Pod>,
    /// It was said that a pod's namespace was not found.
    complained: bool,
    /// It was said that there is no room for more.
    full: bool,
    told: DropLosses,
    log: Log,
}

/// An endpoint, as its namespace shows it.
struct Pod {
    path: Option<PathBuf>,
    netns: u32,
    pod_ifindex: u32,
    addresses: Vec<IpAddr>,
    asked: Instant,
}

impl KernelDrops {
    /// Starts to be told, if that was asked for.
    pub(crate) fn start(options: &Options) -> anyhow::Result<Option<Self>> {
        let Some(ask) = options.drops else { return Ok(None) };
        let settings = DropSettings { ring_bytes: options.buffer, all: ask == Ask::All };
        let drops = Drops::start(settings).map_err(failure)?;
        if !drops.has_reasons() {
            options.log.warning(
                "this kernel does not tell why it drops a packet (Linux 5.17 does): reasons are unknown, and some are no fault",
            );
        }
        if !drops.has_locations() {
            options.log.warning(
                "/proc/kallsyms keeps addresses back: drops are told without the function that dropped; run as root, or with \
                 CAP_SYSLOG and kernel.kptr_restrict at most 1",
            );
        }
        let own = Netns::current().map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        Ok(Some(Self {
            drops,
            netns: number(own.inode()),
            pods: HashMap::new(),
            complained: false,
            full: false,
            told: DropLosses::default(),
            log: options.log,
        }))
    }

    /// Says anew of whom drops are to be told: pods come and go.
    pub(crate) fn look(&mut self, root: &Path, source: &Source, names: &Names) -> anyhow::Result<()> {
        let now = Instant::now();
        let endpoints = source.datapath().endpoints().map_err(failure)?;
        let is_wanted = |ifindex: u32| source.wanted().is_none_or(|wanted| wanted.contains(&ifindex));
        let present: Vec<u32> =
            endpoints.iter().map(|(_, endpoint)| endpoint.ifindex).filter(|ifindex| is_wanted(*ifindex)).collect();
        self.pods.retain(|ifindex, _| present.contains(ifindex));
        for ifindex in present {
            let known = self.pods.get(&ifindex);
            let patience = known.map(|pod| if pod.path.is_some() { SURVEY_EVERY } else { MISSING_AGAIN });
            if known.zip(patience).is_some_and(|(pod, patience)| now.duration_since(pod.asked) < patience) {
                continue;
            }
            let pod = Pod::ask(root, ifindex, known.and_then(|pod| pod.path.as_deref()), now);
            if pod.path.is_none() && !self.complained {
                self.complained = true;
                self.log.warning(format!(
                    "the network namespace behind interface {ifindex} was not found in run/netns nor under any process: drops inside \
                     of it are not told, and on the node only those of addresses that endpoint records name; not as root, it takes \
                     CAP_SYS_ADMIN and CAP_SYS_PTRACE to look",
                ));
            }
            self.pods.insert(ifindex, pod);
        }
        let mut wanted = vec![(DropAddress { address: [0; 16], netns: self.netns }, DropEndpoint::default())];
        for (ifindex, pod) in &self.pods {
            let endpoint = DropEndpoint { ifindex: *ifindex, pod_ifindex: pod.pod_ifindex };
            if pod.netns != 0 {
                wanted.push((DropAddress { address: [0; 16], netns: pod.netns }, endpoint));
            }
            wanted.extend(pod.addresses.iter().map(|address| (of_address(*address), endpoint)));
        }
        // What records say of pods, for those whose own namespace says nothing.
        let recorded: HashMap<_, _> = names.host_interfaces().collect();
        for (ifindex, pod) in self.pods.iter().filter(|(_, pod)| pod.path.is_none()) {
            let Some(named) = recorded.get(ifindex) else { continue };
            let endpoint = DropEndpoint { ifindex: *ifindex, pod_ifindex: pod.pod_ifindex };
            let addresses = names.addresses().filter(|(_, other)| std::sync::Arc::ptr_eq(other, named));
            wanted.extend(addresses.map(|(address, _)| (of_address(*address), endpoint)));
        }
        if let Err(error) = self.drops.watch(&wanted)
            && !std::mem::replace(&mut self.full, true)
        {
            self.log.warning(format!("drops of some pods are not told: {error}"));
        }
        Ok(())
    }

    /// Hands what has come to `take`; how many it was.
    pub(crate) fn read(
        &mut self,
        decoder: &mut Decoder,
        take: &mut impl FnMut(Record) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize> {
        let mut outcome = Ok(());
        let pods = &self.pods;
        let count = self.drops.read(DRAIN, |dropped| {
            if outcome.is_ok() {
                outcome = take(record(pods, dropped, decoder));
            }
        });
        outcome.map(|()| count)
    }

    /// Hands on what the kernel has only counted so far: what is over, or at the end all.
    pub(crate) fn settle(
        &mut self,
        all: bool,
        decoder: &mut Decoder,
        take: &mut impl FnMut(Record) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        let pods = &self.pods;
        self.drops
            .settle(all, |dropped| {
                if outcome.is_ok() {
                    outcome = take(record(pods, dropped, decoder));
                }
            })
            .map_err(failure)?;
        outcome
    }

    /// How many packets were lost word of since this was last asked.
    pub(crate) fn lost(&mut self) -> anyhow::Result<u64> {
        let now = self.drops.losses().map_err(failure)?;
        let lost = now.lost.saturating_sub(self.told.lost);
        self.told = now;
        Ok(lost)
    }

    /// Says at the end what could not be told.
    pub(crate) fn finish(&self) {
        if self.told.unread > 0 {
            self.log.warning(format!(
                "{} dropped packets on this node had no IP header that could be read: whose they were is not known",
                self.told.unread
            ));
        }
    }
}

impl Pod {
    /// Asks the namespace behind an interface, which was last found under `path`.
    fn ask(root: &Path, ifindex: u32, path: Option<&Path>, now: Instant) -> Self {
        let nothing = || Self { path: None, netns: 0, pod_ifindex: 0, addresses: Vec::new(), asked: now };
        let at = |path: &Path| {
            let netns = Netns::open(path).ok()?;
            let found = survey(&netns).ok()?;
            let end = found.host_ends.iter().find(|end| end.host_ifindex == ifindex)?;
            // Those that every namespace has would be those of others, too.
            let own = |address: &IpAddr| !address.is_loopback() && !is_link_local(address);
            Some(Self {
                path: Some(path.to_owned()),
                netns: number(netns.inode()),
                pod_ifindex: end.pod_ifindex,
                addresses: found.addresses.iter().map(|address| address.address).filter(own).collect(),
                asked: now,
            })
        };
        if let Some(pod) = path.and_then(at) {
            return pod;
        }
        let found = netns_of_interface(root, ifindex).ok().flatten();
        found.as_deref().and_then(at).unwrap_or_else(nothing)
    }
}

fn record(pods: &HashMap<u32, Pod>, dropped: &Dropped, decoder: &mut Decoder) -> Record {
    let key = &dropped.drop.key;
    let is_within = |ifindex: u32| pods.get(&ifindex).is_some_and(|pod| pod.netns != 0 && pod.netns == key.netns);
    let within = [key.from, key.to].into_iter().find(|ifindex| is_within(*ifindex)).unwrap_or(0);
    decoder.kernel_drop(KernelDrop {
        drop: &dropped.drop,
        reason: dropped.reason.clone(),
        subsystem: dropped.subsystem.clone(),
        location: dropped.location.clone(),
        within,
    })
}

fn of_address(address: IpAddr) -> DropAddress {
    let address = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    DropAddress { address: address.octets(), netns: 0 }
}

fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => Ipv6Addr::is_unicast_link_local(address),
    }
}

/// The number of a namespace, as packets bear it.
fn number(inode: u64) -> u32 {
    u32::try_from(inode).unwrap_or(0)
}
