//! Every map of the datapath. User space opens them by these names.
//!
//! Each endpoint has four inner maps at its slot: a table and a ring of its keys for IPv4, and the same for IPv6. The ring
//! gives each entry a place, so that a full table makes room in constant time (see [`table`](crate::table)).

use aya_ebpf::{
    bindings::{BPF_F_INNER_MAP, BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    btf_maps::{Array, ArrayOfMaps, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf},
    macros::btf_map,
};
use chainkit_abi::{
    BackendOf, BackendsOf, CONNECTIONS, COUNTERS as COUNTER_CELLS, Clock, Conn, Control, DENIALS_PER_SLOT, Denial,
    Endpoint, Event, Health, Key4, Key6, OBSERVERS as OBSERVER_SLOTS, ObserverFilter, PayloadKey, PayloadState,
    PortRuns, RULES, RowKey, RuleHits, Run, SLOTS, Side, SourceKey, Subject, TABLE_SETS, TableState, VirtualKey,
};

const PLACES: usize = CONNECTIONS as usize;
const ENDPOINT_SLOTS: usize = SLOTS as usize;
const OBSERVER_COUNT: usize = OBSERVER_SLOTS as usize;
const SETS: usize = TABLE_SETS as usize;
/// Of an array that user space makes as long as it is to be.
const ANY_LENGTH: usize = BPF_F_INNER_MAP as usize;
/// A size for templates: a hash in an outer map may be of any.
const SOME: usize = 1024;

/// One endpoint's IPv4 connections: without preallocation, so an idle pod costs its buckets only.
pub type Table4 = HashMap<Key4, Conn, PLACES, { BPF_F_NO_PREALLOC as usize }>;
/// One endpoint's IPv6 connections.
pub type Table6 = HashMap<Key6, Conn, PLACES, { BPF_F_NO_PREALLOC as usize }>;
/// The key at each place of an IPv4 table.
pub type Keys4 = Array<Key4, PLACES, { BPF_F_INNER_MAP as usize }>;
/// The key at each place of an IPv6 table.
pub type Keys6 = Array<Key6, PLACES, { BPF_F_INNER_MAP as usize }>;

/// The word that every packet reads, and heartbeats; mapped by user space.
#[btf_map]
pub static CONTROL: Array<Control, 1, { BPF_F_MMAPABLE as usize }> = Array::new();
/// Endpoints; tried at `ifindex % SLOTS` first.
#[btf_map]
pub static ENDPOINTS: Array<Endpoint, ENDPOINT_SLOTS> = Array::new();
/// The places of endpoints whose first choice was taken, by interface index.
#[btf_map]
pub static OVERFLOW: HashMap<u32, u32, ENDPOINT_SLOTS, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();
/// IPv4 tables by slot.
#[btf_map]
pub static CONNS4: ArrayOfMaps<Table4, ENDPOINT_SLOTS> = ArrayOfMaps::new();
/// IPv6 tables by slot.
#[btf_map]
pub static CONNS6: ArrayOfMaps<Table6, ENDPOINT_SLOTS> = ArrayOfMaps::new();
/// Rings of IPv4 keys by slot.
#[btf_map]
pub static KEYS4: ArrayOfMaps<Keys4, ENDPOINT_SLOTS> = ArrayOfMaps::new();
/// Rings of IPv6 keys by slot.
#[btf_map]
pub static KEYS6: ArrayOfMaps<Keys6, ENDPOINT_SLOTS> = ArrayOfMaps::new();
/// State of each slot's tables.
#[btf_map]
pub static TABLES: Array<TableState, ENDPOINT_SLOTS> = Array::new();
/// Recent denials, [`DENIALS_PER_SLOT`] for each slot.
#[btf_map]
pub static DENIALS: Array<Denial, { (SLOTS * DENIALS_PER_SLOT) as usize }> = Array::new();
/// Node-wide counters, cells numbered by `Counter`.
#[btf_map]
pub static COUNTERS: PerCpuArray<u64, { COUNTER_CELLS as usize }> = PerCpuArray::new();
/// Each observer's ring buffer, put there by the observer.
#[btf_map]
pub static OBSERVERS: ArrayOfMaps<RingBuf<Event, { 1 << 12 }>, OBSERVER_COUNT> = ArrayOfMaps::new();
/// What each observer that wants payload has decided about connections, put there by the observer.
#[btf_map]
pub static DECISIONS: ArrayOfMaps<LruHashMap<PayloadKey, PayloadState, SOME>, OBSERVER_COUNT> = ArrayOfMaps::new();
/// How TCP connections fare, for each observer that wants to know, put there by the observer.
#[btf_map]
pub static HEALTH: ArrayOfMaps<LruHashMap<PayloadKey, Health, SOME>, OBSERVER_COUNT> = ArrayOfMaps::new();
/// Each observer's filter.
#[btf_map]
pub static FILTERS: Array<ObserverFilter, OBSERVER_COUNT> = Array::new();
/// For each observer: records sent, records lost.
#[btf_map]
pub static LOSSES: PerCpuArray<[u64; 2], OBSERVER_COUNT> = PerCpuArray::new();
/// Where an event is put together, by packets and by sweeps apart.
#[btf_map]
pub static SCRATCH: PerCpuArray<Event, 2> = PerCpuArray::new();
/// Answer of the `clock` program.
#[btf_map]
pub static CLOCK: Array<Clock, 1> = Array::new();
/// Whose rules each slot has, by set of tables.
#[btf_map]
pub static SUBJECTS: ArrayOfMaps<Array<Subject, ENDPOINT_SLOTS>, SETS> = ArrayOfMaps::new();
/// What holds for all classes that have no row.
#[btf_map]
pub static SIDES: ArrayOfMaps<Array<Side, 1, ANY_LENGTH>, SETS> = ArrayOfMaps::new();
/// The port tables of classes.
#[btf_map]
pub static ROWS: ArrayOfMaps<HashMap<RowKey, u32, SOME>, SETS> = ArrayOfMaps::new();
/// Port tables.
#[btf_map]
pub static PORTS: ArrayOfMaps<Array<PortRuns, 1, ANY_LENGTH>, SETS> = ArrayOfMaps::new();
/// Runs of ports.
#[btf_map]
pub static RUNS: ArrayOfMaps<Array<Run, 1, ANY_LENGTH>, SETS> = ArrayOfMaps::new();
/// Classes of IPv4 addresses.
#[btf_map]
pub static CLASSES4: ArrayOfMaps<HashMap<u32, u32, SOME>, SETS> = ArrayOfMaps::new();
/// Classes of IPv6 addresses.
#[btf_map]
pub static CLASSES6: ArrayOfMaps<HashMap<[u64; 2], u32, SOME>, SETS> = ArrayOfMaps::new();
/// Classes of IPv4 prefixes.
#[btf_map]
pub static PREFIXES4: ArrayOfMaps<LpmTrie<[u8; 4], u32, SOME>, SETS> = ArrayOfMaps::new();
/// Classes of IPv6 prefixes.
#[btf_map]
pub static PREFIXES6: ArrayOfMaps<LpmTrie<[u8; 16], u32, SOME>, SETS> = ArrayOfMaps::new();
/// Addresses and ports of services.
#[btf_map]
pub static VIRTUALS: ArrayOfMaps<HashMap<VirtualKey, u32, SOME>, SETS> = ArrayOfMaps::new();
/// Where the backends of each service are.
#[btf_map]
pub static BACKENDS_OF: ArrayOfMaps<Array<BackendsOf, 1, ANY_LENGTH>, SETS> = ArrayOfMaps::new();
/// Kinds of backends.
#[btf_map]
pub static BACKENDS: ArrayOfMaps<Array<BackendOf, 1, ANY_LENGTH>, SETS> = ArrayOfMaps::new();
/// What each rule has decided.
#[btf_map]
pub static HITS: Array<RuleHits, { RULES as usize }> = Array::new();
/// Addresses that endpoints may send from.
#[btf_map]
pub static SOURCES: HashMap<SourceKey, u32, { (SLOTS * 8) as usize }, { BPF_F_NO_PREALLOC as usize }> = HashMap::new();
