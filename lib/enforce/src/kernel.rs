//! Images and deltas to and from the kernel's tables.

use chainkit_abi::{BackendOf, BackendsOf, PortRuns, Prefix4, Prefix6, RowKey, Run, Side, VirtualKey};
use chainkit_bpf::{Capacities, Result, Table, TableSet};

use crate::delta::Delta;
use crate::image::{Image, Sizes};

/// Room for what an image holds and for what may come: a quarter more, and some.
#[must_use]
pub fn capacities(sizes: &Sizes) -> Capacities {
    const SOME: usize = 512;
    let mut capacities = Capacities::default();
    for (table, entries) in by_table(sizes) {
        let room = entries.saturating_add(entries / 4).saturating_add(SOME);
        capacities.set(table, u32::try_from(room).unwrap_or(u32::MAX));
    }
    capacities
}

/// Whether tables of these capacities have room for so many entries, and if not which has none.
#[must_use]
pub fn lacks_room(capacities: &Capacities, sizes: &Sizes) -> Option<Table> {
    let short = |(table, entries): &(Table, usize)| *entries > capacities.get(*table) as usize;
    by_table(sizes).into_iter().find(short).map(|(table, _)| table)
}

fn by_table(sizes: &Sizes) -> [(Table, usize); 11] {
    [
        (Table::Sides, sizes.sides),
        (Table::Rows, sizes.rows),
        (Table::Ports, sizes.ports),
        (Table::Runs, sizes.runs),
        (Table::Classes4, sizes.classes4),
        (Table::Classes6, sizes.classes6),
        (Table::Prefixes4, sizes.prefixes4),
        (Table::Prefixes6, sizes.prefixes6),
        (Table::Virtuals, sizes.virtuals),
        (Table::BackendsOf, sizes.backends_of),
        (Table::Backends, sizes.backends),
    ]
}

/// Makes tables that hold what an image does, aside.
///
/// # Errors
/// Where the kernel has no memory for them, or refuses.
pub fn make(image: &Image) -> Result<TableSet> {
    let tables = TableSet::make(&capacities(&image.sizes()))?;
    write(&tables, &image.delta())?;
    Ok(tables)
}

/// Writes a delta, in the order in which nothing is looked up that is not there yet; what is to go goes in the other order.
///
/// # Errors
/// Where a table is full or the kernel refuses; a part is written then.
pub fn write(tables: &TableSet, delta: &Delta) -> Result<()> {
    tables.write(Table::Runs, &delta.runs)?;
    tables.write(Table::Ports, &delta.ports)?;
    tables.write(Table::Rows, &there(&delta.rows, |key| *key))?;
    tables.write(Table::Sides, &delta.sides)?;
    tables.write(Table::Backends, &delta.backends)?;
    tables.write(Table::BackendsOf, &delta.backends_of)?;
    tables.write(Table::Virtuals, &there(&delta.virtuals, |key| *key))?;
    tables.write(Table::Prefixes4, &there(&delta.prefixes4, |key| *key))?;
    tables.write(Table::Prefixes6, &there(&delta.prefixes6, |key| *key))?;
    tables.write(Table::Classes4, &there(&delta.classes4, word))?;
    tables.write(Table::Classes6, &there(&delta.classes6, words))?;
    tables.remove(Table::Classes6, &gone(&delta.classes6, words))?;
    tables.remove(Table::Classes4, &gone(&delta.classes4, word))?;
    tables.remove(Table::Prefixes6, &gone(&delta.prefixes6, |key| *key))?;
    tables.remove(Table::Prefixes4, &gone(&delta.prefixes4, |key| *key))?;
    tables.remove(Table::Virtuals, &gone(&delta.virtuals, |key| *key))?;
    tables.remove(Table::Rows, &gone(&delta.rows, |key| *key))
}

/// What tables hold.
///
/// # Errors
/// Where they cannot be read.
pub fn read(tables: &TableSet) -> Result<Image> {
    Ok(Image {
        sides: array::<Side>(tables, Table::Sides)?,
        rows: tables.entries::<RowKey, u32>(Table::Rows)?.into_iter().collect(),
        ports: array::<PortRuns>(tables, Table::Ports)?,
        runs: array::<Run>(tables, Table::Runs)?,
        classes4: tables
            .entries::<u32, u32>(Table::Classes4)?
            .into_iter()
            .map(|(key, class)| (key.to_ne_bytes(), class))
            .collect(),
        classes6: tables
            .entries::<[u64; 2], u32>(Table::Classes6)?
            .into_iter()
            .map(|(key, class)| (bytes(key), class))
            .collect(),
        prefixes4: tables.entries::<Prefix4, u32>(Table::Prefixes4)?.into_iter().collect(),
        prefixes6: tables.entries::<Prefix6, u32>(Table::Prefixes6)?.into_iter().collect(),
        virtuals: tables.entries::<VirtualKey, u32>(Table::Virtuals)?.into_iter().collect(),
        backends_of: array::<BackendsOf>(tables, Table::BackendsOf)?,
        backends: array::<BackendOf>(tables, Table::Backends)?,
    })
}

fn array<V: Default + Copy + PartialEq + chainkit_bpf::Pod>(tables: &TableSet, table: Table) -> Result<Vec<V>> {
    let mut entries = tables.entries::<u32, V>(table)?;
    entries.sort_unstable_by_key(|(place, _)| *place);
    Ok(entries.into_iter().map(|(_, value)| value).collect())
}

fn there<K, L, V: Copy>(entries: &[(K, Option<V>)], key: impl Fn(&K) -> L) -> Vec<(L, V)> {
    entries.iter().filter_map(|(at, value)| value.map(|value| (key(at), value))).collect()
}

fn gone<K, L, V>(entries: &[(K, Option<V>)], key: impl Fn(&K) -> L) -> Vec<L> {
    entries.iter().filter(|(_, value)| value.is_none()).map(|(at, _)| key(at)).collect()
}

/// An IPv4 address as the kernel's table has it.
fn word(address: &[u8; 4]) -> u32 {
    u32::from_ne_bytes(*address)
}

/// An IPv6 address as the kernel's table has it.
fn words(address: &[u8; 16]) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, rest @ ..] = *address;
    [u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes(rest)]
}

fn bytes([first, second]: [u64; 2]) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(first.to_ne_bytes().into_iter().chain(second.to_ne_bytes())) {
        *to = from;
    }
    bytes
}
