//! Sets of policy's tables in the kernel: made aside, put in their place, written to, read back; and which generation judges.
//!
//! What the tables mean, `chainkit-abi`'s `policy` says; which rows there are, and when a generation is put in force, who calls this.
//! A place of an outer map is empty or has a whole map: to put one in, the kernel waits until no packet uses what was there.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::atomic::Ordering,
};

use aya::Pod;
use chainkit_abi::{
    Active, BackendOf, BackendsOf, PortRuns, Prefix4, Prefix6, RULES, RowKey, RuleHits, Run, SLOTS, Side, Subject,
    TABLE_SETS, VirtualKey,
};

use crate::{
    btf::{self, Type},
    datapath::{Datapath, refused},
    endpoint::NodeLock,
    error::{Context, Result},
    slots::at_once,
    sys::{self, Kind, NewMap},
};

/// `enum bpf_map_type` and map flags (linux/bpf.h).
const HASH: u32 = 1;
const ARRAY: u32 = 2;
const LPM_TRIE: u32 = 11;
const NO_PREALLOC: u32 = 1;
const INNER_MAP: u32 = 0x1000;

macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident = $outer:literal, $shown:literal, $kind:ident $flags:expr, $key:ty as $key_type:expr, $value:ty as $value_type:expr;)*) => {
        /// A table of a set.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Table { $($(#[$doc])* $name,)* }

        impl Table {
            /// All of them.
            pub const ALL: [Self; 12] = [$(Self::$name),*];

            /// Name of the outer map.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $outer,)* }
            }

            fn new_map(self, entries: u32, types: BorrowedFd<'_>) -> NewMap<'_> {
                match self {
                    $(Self::$name => NewMap {
                        name: $shown,
                        map_type: $kind,
                        key_size: bytes::<$key>(),
                        value_size: bytes::<$value>(),
                        max_entries: entries.max(1),
                        flags: $flags,
                        btf: Some((types, $key_type.id(), $value_type.id())),
                    },)*
                }
            }
        }
    };
}

tables! {
    /// Whose rules each slot has ([`Subject`]).
    Subjects = "SUBJECTS", "subjects", ARRAY 0, u32 as Type::U32, Subject as Type::Struct(16);
    /// What holds for all classes without a row ([`Side`]).
    Sides = "SIDES", "sides", ARRAY INNER_MAP, u32 as Type::U32, Side as Type::Struct(16);
    /// The port tables of classes ([`RowKey`]).
    Rows = "ROWS", "rows", HASH 0, RowKey as Type::Struct(8), u32 as Type::U32;
    /// Port tables ([`PortRuns`]).
    Ports = "PORTS", "ports", ARRAY INNER_MAP, u32 as Type::U32, PortRuns as Type::Struct(24);
    /// Runs of ports ([`Run`]).
    Runs = "RUNS", "runs", ARRAY INNER_MAP, u32 as Type::U32, Run as Type::Struct(8);
    /// Classes of IPv4 addresses, which lie as in a packet.
    Classes4 = "CLASSES4", "classes4", HASH 0, u32 as Type::U32, u32 as Type::U32;
    /// Classes of IPv6 addresses.
    Classes6 = "CLASSES6", "classes6", HASH 0, [u64; 2] as Type::Struct(16), u32 as Type::U32;
    /// Classes of IPv4 prefixes ([`Prefix4`]).
    Prefixes4 = "PREFIXES4", "prefixes4", LPM_TRIE NO_PREALLOC, Prefix4 as Type::Struct(8), u32 as Type::U32;
    /// Classes of IPv6 prefixes ([`Prefix6`]).
    Prefixes6 = "PREFIXES6", "prefixes6", LPM_TRIE NO_PREALLOC, Prefix6 as Type::Struct(20), u32 as Type::U32;
    /// Addresses and ports of services ([`VirtualKey`]).
    Virtuals = "VIRTUALS", "virtuals", HASH 0, VirtualKey as Type::Struct(24), u32 as Type::U32;
    /// Where backends are ([`BackendsOf`]).
    BackendsOf = "BACKENDS_OF", "backends_of", ARRAY INNER_MAP, u32 as Type::U32, BackendsOf as Type::Struct(8);
    /// Kinds of backends ([`BackendOf`]).
    Backends = "BACKENDS", "backends", ARRAY INNER_MAP, u32 as Type::U32, BackendOf as Type::Struct(8);
}

fn bytes<T>() -> u32 {
    u32::try_from(size_of::<T>()).unwrap_or(0)
}

/// How many entries each table of a set has room for, by the table's place in [`Table::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacities([u32; 12]);

impl Capacities {
    /// The room of a table.
    #[must_use]
    pub fn get(&self, table: Table) -> u32 {
        if table == Table::Subjects { SLOTS } else { self.0.get(table as usize).copied().unwrap_or(0) }
    }

    /// Sets the room of a table; that for subjects is always all slots.
    pub fn set(&mut self, table: Table, entries: u32) {
        if let Some(room) = self.0.get_mut(table as usize) {
            *room = entries;
        }
    }
}

/// A set of tables, in its place or made aside.
#[derive(Debug)]
pub struct TableSet {
    maps: Vec<(Table, OwnedFd)>,
}

impl TableSet {
    /// Makes empty tables. A hash has room for all its entries from the start, so that writing to it later does not fail for
    /// want of memory.
    ///
    /// # Errors
    /// Where the kernel has no memory for them, or refuses; names the table and its size.
    pub fn make(capacities: &Capacities) -> Result<Self> {
        let types = btf::load().during(|| "load type information for tables of policy")?;
        let mut maps = Vec::with_capacity(Table::ALL.len());
        for table in Table::ALL {
            let entries = capacities.get(table);
            let map = sys::create_map(table.new_map(entries, types.as_fd()))
                .during(|| format!("make the table {} for {entries} entries", table.name()))?;
            maps.push((table, map));
        }
        Ok(Self { maps })
    }

    fn map(&self, table: Table) -> io::Result<BorrowedFd<'_>> {
        let found = self.maps.iter().find(|(known, _)| *known == table);
        found.map(|(_, fd)| fd.as_fd()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
    }

    /// Writes entries, whether they are there already or not.
    ///
    /// `K` and `V` must be what the table has, which is checked by their sizes.
    ///
    /// # Errors
    /// Where a table is full, or the kernel refuses; some may be written then.
    pub fn write<K: Pod, V: Pod>(&self, table: Table, entries: &[(K, V)]) -> Result<()> {
        let keys: Vec<K> = entries.iter().map(|(key, _)| *key).collect();
        let values: Vec<V> = entries.iter().map(|(_, value)| *value).collect();
        self.map(table)
            .and_then(|map| sys::update_all(map, &keys, &values))
            .during(|| format!("write {} entries into the table {}", entries.len(), table.name()))
    }

    /// Takes entries out; one that is not there is no error.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn remove<K: Pod>(&self, table: Table, keys: &[K]) -> Result<()> {
        let action = || format!("take entries out of the table {}", table.name());
        let map = self.map(table).during(action)?;
        keys.iter().try_for_each(|key| sys::delete(map, key)).during(action)
    }

    /// All entries of a table; of an array every element.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn entries<K: Pod + Default, V: Pod + Default>(&self, table: Table) -> Result<Vec<(K, V)>> {
        let read = |map| match table {
            Table::Prefixes4 | Table::Prefixes6 => sys::entries_one_by_one::<K, V>(map),
            _ => sys::entries::<K, V>(map),
        };
        self.map(table).and_then(read).during(|| format!("read the table {}", table.name()))
    }

    /// How much room its tables have.
    ///
    /// # Errors
    /// Where the kernel does not describe them.
    pub fn capacities(&self) -> Result<Capacities> {
        let mut capacities = Capacities::default();
        for (table, map) in &self.maps {
            let facts = sys::map_facts(map.as_fd()).during(|| format!("describe the table {}", table.name()))?;
            capacities.set(*table, facts.max_entries);
        }
        Ok(capacities)
    }

    /// Says whose rules a slot has.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn set_subject(&self, slot: u32, subject: Subject) -> Result<()> {
        self.write(Table::Subjects, &[(slot, subject)])
    }

    /// Whose rules a slot has.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn subject(&self, slot: u32) -> Result<Subject> {
        let found = self.map(Table::Subjects).and_then(|map| sys::look_up::<u32, Subject>(map, &slot));
        Ok(found.during(|| format!("read slot {slot} of SUBJECTS"))?.unwrap_or_default())
    }
}

impl Datapath {
    /// Puts a set of tables in its place. No generation that names the place may be in force.
    ///
    /// # Errors
    /// Where the kernel refuses; then the place is empty.
    pub fn put_tables(&self, _lock: &NodeLock, set: u32, tables: &TableSet) -> Result<()> {
        let set = set % TABLE_SETS;
        let put = at_once(&tables.maps, |(table, map)| {
            sys::put_inner(self.map(table.name())?, set, map.as_fd())
                .during(|| format!("put a table into place {set} of {}", table.name()))
        });
        put.or_else(|error| self.clear_tables(set).and(Err(error)))
    }

    /// Takes the set of tables out of a place; what is empty stays so.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn take_tables(&self, _lock: &NodeLock, set: u32) -> Result<()> {
        self.clear_tables(set)
    }

    fn clear_tables(&self, set: u32) -> Result<()> {
        let mut full = Vec::new();
        for table in Table::ALL {
            let outer = self.map(table.name())?;
            if sys::inner_id(outer, set % TABLE_SETS).during(|| format!("look at {}", table.name()))?.is_some() {
                full.push(table);
            }
        }
        at_once(&full, |table| {
            sys::take_inner(self.map(table.name())?, set % TABLE_SETS)
                .during(|| format!("empty place {set} of {}", table.name()))
        })
    }

    /// The set of tables in a place; `None`: it is empty, or not whole.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn tables_at(&self, set: u32) -> Result<Option<TableSet>> {
        let mut maps = Vec::with_capacity(Table::ALL.len());
        for table in Table::ALL {
            let outer = self.map(table.name())?;
            let id = sys::inner_id(outer, set % TABLE_SETS).during(|| format!("look at {}", table.name()))?;
            let Some(id) = id else { return Ok(None) };
            match sys::by_id(Kind::Map, id) {
                Ok(map) => maps.push((table, map)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error).during(|| format!("open the table {}", table.name())),
            }
        }
        Ok(Some(TableSet { maps }))
    }

    /// Waits until no packet uses what was in force before: the kernel does when a map is put where it is already.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn wait_for_packets(&self, _lock: &NodeLock, set: u32, tables: &TableSet) -> Result<()> {
        let action = || "wait for packets under way";
        let map = tables.map(Table::Sides).during(action)?;
        sys::put_inner(self.map(Table::Sides.name())?, set % TABLE_SETS, map).during(action)
    }

    /// Which generation judges.
    #[must_use]
    pub fn active(&self) -> Active {
        Active::unpack(self.control.active().load(Ordering::Acquire))
    }

    /// The generation that judges once an unconfirmed one's time is up.
    #[must_use]
    pub fn fallback(&self) -> u32 {
        u32::try_from(self.control.fallback().load(Ordering::Acquire) & u64::from(u32::MAX)).unwrap_or(0)
    }

    /// The generation that judges now, the deadline considered.
    #[must_use]
    pub fn judging(&self) -> u32 {
        let active = self.active();
        let now = sys::monotonic() / 1_000_000_000;
        if active.deadline != 0 && active != Active::CLEARED && now > u64::from(active.deadline) {
            self.fallback()
        } else {
            active.generation
        }
    }

    /// Puts a generation in force with one write. With a deadline, `fallback` is the one to go back to; without, the one there was stays
    /// noted, since a packet that has read the word before may still go by it.
    pub fn set_active(&self, active: Active, fallback: u32) {
        if active.deadline != 0 {
            self.control.fallback().store(u64::from(fallback), Ordering::SeqCst);
        }
        self.control.active().store(active.pack(), Ordering::SeqCst);
    }

    /// Says in which generation rules changed last: connections judged since are not judged again for what leads to a service.
    pub fn set_rules_since(&self, generation: u32) {
        self.control.rules_since().store(generation, Ordering::SeqCst);
    }

    /// The highest generation that there has been.
    #[must_use]
    pub fn last_generation(&self) -> u32 {
        self.control.last_generation().load(Ordering::Acquire)
    }

    /// Notes that there is a generation.
    pub fn set_last_generation(&self, generation: u32) {
        self.control.last_generation().store(generation, Ordering::SeqCst);
    }

    /// What tells which policy the tables at a place are; 0: nothing does.
    #[must_use]
    pub fn tag(&self, set: u32) -> u32 {
        self.control.tag(set).load(Ordering::Acquire)
    }

    /// Notes which policy the tables at a place are.
    pub fn set_tag(&self, set: u32, tag: u32) {
        self.control.tag(set).store(tag, Ordering::SeqCst);
    }

    /// Takes all policy off with one write: everything passes.
    pub fn clear(&self) {
        self.control.active().store(Active::CLEARED.pack(), Ordering::SeqCst);
    }

    /// The generation whose tables only shadow; 0: none.
    #[must_use]
    pub fn shadow(&self) -> u32 {
        u32::try_from(self.control.shadow().load(Ordering::Acquire) & u64::from(u32::MAX)).unwrap_or(0)
    }

    /// Has a generation's tables shadow, or with 0 none.
    pub fn set_shadow(&self, generation: u32) {
        self.control.shadow().store(u64::from(generation), Ordering::SeqCst);
    }

    /// What each rule that ever decided has decided, by number.
    ///
    /// # Errors
    /// Where the map cannot be read.
    pub fn rule_hits(&self) -> Result<Vec<(u32, RuleHits)>> {
        let all = sys::entries::<u32, RuleHits>(self.map("HITS")?).during(|| "read what rules have decided")?;
        Ok(all.into_iter().filter(|(_, hits)| *hits != RuleHits::default()).collect())
    }

    /// Forgets what a rule has decided: its number is given to another.
    ///
    /// # Errors
    /// Where the map cannot be written.
    pub fn forget_hits(&self, rules: &[u32]) -> Result<()> {
        let mut hits: aya::maps::Array<_, RuleHits> = self.array("HITS")?;
        for rule in rules.iter().filter(|rule| **rule < RULES) {
            hits.set(*rule, RuleHits::default(), 0).map_err(|error| refused(&error))?;
        }
        Ok(())
    }
}
