//! Packets of pods that the kernel drops, as its tracepoint `skb:kfree_skb` tells them.
//!
//! Each reader loads a program and maps of its own, pinned nowhere: they go with the process, however it ends.

mod kernel;
mod symbols;

use std::{
    collections::{BTreeMap, HashMap as Table},
    os::fd::AsFd,
    sync::Arc,
};

use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{HashMap, Map, MapData, MapError, PerCpuArray, RingBuf},
    programs::BtfTracePoint,
};
use chainkit_abi::{DROP_AGAIN_NS, Drop, DropAddress, DropEndpoint, DropKey, DropSeen, drop_counter, quiet};

use crate::{
    datapath::refused,
    error::{Context, Error, Result},
    privilege::{self, Capability},
    sys,
};
use kernel::Kernel;
use symbols::Symbols;

/// Reasons that are no fault: the packet was not for this socket or host, or what it brought was there already.
///
/// A kernel has those of them that its version knows (include/net/dropreason-core.h).
const NO_FAULT: [&str; 18] = [
    "SKB_NOT_DROPPED_YET",
    "SKB_CONSUMED",
    "SOCKET_FILTER",
    "PACKET_SOCK_ERROR",
    "UNIX_DISCONNECT",
    "UNIX_SKIP_OOB",
    "OTHERHOST",
    "UNICAST_IN_L2_MULTICAST",
    "IPV6_NDISC_NS_OTHERHOST",
    "QUEUE_PURGE",
    "TCP_OLD_ACK",
    "TCP_OLD_DATA",
    "TCP_OLD_SEQUENCE",
    "TCP_OFOMERGE",
    "TCP_RFC7323_PAWS_ACK",
    "TCP_RESET",
    "TCP_CLOSE",
    "DUP_FRAG",
];

/// The names of places that are remembered.
const MOST_PLACES: usize = 4096;

/// How a reader of drops is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropSettings {
    /// Size of its ring buffer in bytes; rounded up to a power of two, a page at least.
    pub ring_bytes: u32,
    /// Reasons that are no fault are told as well.
    pub all: bool,
}

/// A drop, with what this kernel calls its reason and place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// What, and how often.
    pub drop: Drop,
    /// The reason without its prefix, as `NETFILTER_DROP`; one without a name is `unknown:N`, and where the kernel tells none `unknown`.
    pub reason: Arc<str>,
    /// The subsystem whose reason it is, where that is not the network core.
    pub subsystem: Option<Arc<str>>,
    /// The function that dropped it.
    pub location: Option<Arc<str>>,
}

/// What was told and lost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DropLosses {
    /// Records that went into the ring.
    pub sent: u64,
    /// Packets of which word did not find room there.
    pub lost: u64,
    /// Packets in pods' namespaces and the node's whose IP header could not be read; whose they are is not known.
    pub unread: u64,
}

/// A reader of drops.
pub struct Drops {
    ring: RingBuf<MapData>,
    watched: HashMap<MapData, DropAddress, DropEndpoint>,
    current: BTreeMap<([u8; 16], u32), DropEndpoint>,
    seen: MapData,
    counters: PerCpuArray<MapData, u64>,
    kernel: Kernel,
    symbols: Symbols,
    reasons: Table<u32, (Arc<str>, Option<Arc<str>>)>,
    places: Table<u64, Option<Arc<str>>>,
    // Holds the program's link.
    _ebpf: Ebpf,
}

impl std::fmt::Debug for Drops {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Drops").field("watched", &self.current.len()).finish_non_exhaustive()
    }
}

impl Drops {
    /// Loads the program and starts to be told; nothing is before [`watch`](Self::watch) has said of whom.
    ///
    /// # Errors
    /// Without `CAP_BPF` and `CAP_PERFMON`, or on a kernel without BTF or the tracepoint.
    pub fn start(settings: DropSettings) -> Result<Self> {
        const SMALLEST: u32 = 4096;
        const LARGEST: u32 = 1 << 30;
        privilege::require(&[Capability::Bpf, Capability::Perfmon], "load the eBPF program that tells drops")?;
        let mut kernel = Kernel::running()?;
        kernel.layout.all = u32::from(settings.all);
        let btf = Btf::from_sys_fs().map_err(|error| refused(&error))?;
        let ring_bytes = settings.ring_bytes.clamp(SMALLEST, LARGEST).next_power_of_two();
        let mut loader = EbpfLoader::new();
        loader.override_global("LAYOUT", &kernel.layout, true).map_max_entries("DROPS", ring_bytes);
        let mut ebpf = loader.load(chainkit_object::DROPS).map_err(|error| refused(&error))?;
        let mut cells: aya::maps::Array<MapData, u32> = take(&mut ebpf, "QUIET")?;
        for (names, how) in [(&NO_FAULT[..], quiet::NO_FAULT), (&["NOT_SPECIFIED"], quiet::VAGUE)] {
            let count = cells.len();
            for number in kernel.numbers(names).into_iter().filter(|number| *number < count) {
                cells.set(number, how, 0).map_err(|error| refused(&error))?;
            }
        }
        let ring = take(&mut ebpf, "DROPS")?;
        let watched = take(&mut ebpf, "WATCHED")?;
        let counters = take(&mut ebpf, "DROP_COUNTERS")?;
        let seen = match ebpf.take_map("SEEN") {
            Some(Map::HashMap(data)) => data,
            _ => return Err(Error::Load("the object has no map SEEN".to_owned())),
        };
        let program: &mut BtfTracePoint = ebpf
            .program_mut("drops")
            .ok_or_else(|| Error::Load("the object has no program drops".to_owned()))?
            .try_into()
            .map_err(|error| refused(&error))?;
        program.load("kfree_skb", &btf).map_err(|error| refused(&error))?;
        program.attach().map_err(|error| refused(&error))?;
        Ok(Self {
            ring,
            watched,
            current: BTreeMap::new(),
            seen,
            counters,
            kernel,
            symbols: Symbols::read(),
            reasons: Table::new(),
            places: Table::new(),
            _ebpf: ebpf,
        })
    }

    /// Whether this kernel tells why it drops a packet: from Linux 5.17 on.
    #[must_use]
    pub const fn has_reasons(&self) -> bool {
        self.kernel.has_reasons()
    }

    /// Whether this process may know which function an address lies in.
    #[must_use]
    pub fn has_locations(&self) -> bool {
        !self.symbols.is_empty()
    }

    /// From now on tells of these namespaces and addresses, and of no others.
    ///
    /// # Errors
    /// Where there are more than 16,384, or the map cannot be written.
    pub fn watch(&mut self, wanted: &[(DropAddress, DropEndpoint)]) -> Result<()> {
        let wanted: BTreeMap<_, _> =
            wanted.iter().map(|(address, endpoint)| ((address.address, address.netns), *endpoint)).collect();
        let key = |(address, netns): &([u8; 16], u32)| DropAddress { address: *address, netns: *netns };
        let gone: Vec<_> = self.current.keys().filter(|place| !wanted.contains_key(*place)).copied().collect();
        for place in gone {
            match self.watched.remove(&key(&place)) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(refused(&error)),
            }
            self.current.remove(&place);
        }
        for (place, endpoint) in wanted {
            if self.current.get(&place) != Some(&endpoint) {
                self.watched.insert(key(&place), endpoint, 0).map_err(|error| refused(&error))?;
                self.current.insert(place, endpoint);
            }
        }
        Ok(())
    }

    /// Hands what has come to `take`, at most `limit` records; returns how many it was.
    pub fn read(&mut self, limit: usize, mut take: impl FnMut(&Dropped)) -> usize {
        let mut count = 0;
        while count < limit {
            let Some(bytes) = self.ring.next() else { break };
            let drop = sys::value_of::<Drop>(&bytes).map(|(drop, _)| drop);
            count += 1;
            std::mem::drop(bytes);
            if let Some(drop) = drop {
                take(&self.name(drop));
            }
        }
        count
    }

    /// Tells of what the kernel has only counted for over a second, or of all it has counted, and forgets what is over.
    ///
    /// To be called about once a second. A packet that is dropped in the very moment in which its like are forgotten may be counted with
    /// others of another kind.
    ///
    /// # Errors
    /// Where the map cannot be read.
    pub fn settle(&mut self, all: bool, mut take: impl FnMut(&Dropped)) -> Result<()> {
        let now = sys::monotonic();
        let action = || "read what was dropped of late";
        let seen: Vec<(DropKey, DropSeen)> = sys::entries(self.seen.fd().as_fd()).during(action)?;
        for (key, value) in seen {
            if !all && now.saturating_sub(value.told) < DROP_AGAIN_NS {
                continue;
            }
            let Some(last) = sys::take_entry::<DropKey, DropSeen>(self.seen.fd().as_fd(), &key).during(action)? else {
                continue;
            };
            if last.pending > 0 {
                take(&self.name(Drop { key, facts: last.facts, count: last.pending }));
            }
        }
        Ok(())
    }

    /// What was told and lost so far.
    ///
    /// # Errors
    /// Where the map cannot be read.
    pub fn losses(&self) -> Result<DropLosses> {
        let cell = |number| -> Result<u64> {
            Ok(self.counters.get(&number, 0).map_err(|error| refused(&error))?.iter().sum())
        };
        Ok(DropLosses {
            sent: cell(drop_counter::SENT)?,
            lost: cell(drop_counter::LOST)?,
            unread: cell(drop_counter::UNREAD)?,
        })
    }

    fn name(&mut self, drop: Drop) -> Dropped {
        let kernel = &self.kernel;
        let (reason, subsystem) = self
            .reasons
            .entry(drop.key.reason)
            .or_insert_with(|| {
                let number = drop.key.reason;
                let (name, subsystem) = kernel.reason(number);
                let name = match name {
                    Some(name) => name.to_owned(),
                    None if kernel.has_reasons() => format!("unknown:{number}"),
                    None => "unknown".to_owned(),
                };
                (name.into(), subsystem.map(Into::into))
            })
            .clone();
        if self.places.len() >= MOST_PLACES {
            self.places.clear();
        }
        let symbols = &mut self.symbols;
        // What is told is the address behind the call.
        let place = || symbols.name(drop.key.location.saturating_sub(1)).map(Into::into);
        let location = self.places.entry(drop.key.location).or_insert_with(place).clone();
        Dropped { drop, reason, subsystem, location }
    }
}

fn take<M: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &str) -> Result<M> {
    let map = ebpf.take_map(name).ok_or_else(|| Error::Load(format!("the object has no map {name}")))?;
    M::try_from(map).map_err(|error| refused(&error))
}
