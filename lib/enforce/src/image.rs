//! What a set of tables holds.

use std::collections::HashMap;
use std::hash::Hash;

use chainkit_abi::{BackendOf, BackendsOf, PortRuns, Prefix4, Prefix6, RowKey, Run, Side, VirtualKey};

use crate::delta::Delta;

/// The most places of each array that an image has, so that a number out of a file asks for no memory that nobody has.
mod most {
    /// Two directions of each set of rules; a node has 4096 endpoints.
    pub(super) const SIDES: usize = 1 << 20;
    pub(super) const PORTS: usize = 1 << 22;
    pub(super) const RUNS: usize = 1 << 25;
    pub(super) const BACKENDS_OF: usize = 1 << 22;
    pub(super) const BACKENDS: usize = 1 << 24;
}

/// All entries of a set of tables.
///
/// An array is as long as what has been written to it; in the kernel it has zeroes after that, so images that differ in
/// zeroes at an array's end alone are equal.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Array `SIDES`.
    pub sides: Vec<Side>,
    /// `ROWS`.
    pub rows: HashMap<RowKey, u32>,
    /// Array `PORTS`.
    pub ports: Vec<PortRuns>,
    /// Array `RUNS`.
    pub runs: Vec<Run>,
    /// `CLASSES4`.
    pub classes4: HashMap<[u8; 4], u32>,
    /// `CLASSES6`.
    pub classes6: HashMap<[u8; 16], u32>,
    /// `PREFIXES4`.
    pub prefixes4: HashMap<Prefix4, u32>,
    /// `PREFIXES6`.
    pub prefixes6: HashMap<Prefix6, u32>,
    /// `VIRTUALS`.
    pub virtuals: HashMap<VirtualKey, u32>,
    /// Array `BACKENDS_OF`.
    pub backends_of: Vec<BackendsOf>,
    /// Array `BACKENDS`.
    pub backends: Vec<BackendOf>,
}

/// Entries per table of an [`Image`]; of an array its places, zeroes within included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// `SIDES`.
    pub sides: usize,
    /// `ROWS`.
    pub rows: usize,
    /// `PORTS`.
    pub ports: usize,
    /// `RUNS`.
    pub runs: usize,
    /// `CLASSES4`.
    pub classes4: usize,
    /// `CLASSES6`.
    pub classes6: usize,
    /// `PREFIXES4`.
    pub prefixes4: usize,
    /// `PREFIXES6`.
    pub prefixes6: usize,
    /// `VIRTUALS`.
    pub virtuals: usize,
    /// `BACKENDS_OF`.
    pub backends_of: usize,
    /// `BACKENDS`.
    pub backends: usize,
}

/// A delta that no set of tables can take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{table} is to be written at place {place}, and has at most {most} places")]
pub struct ImageError {
    /// The array.
    pub table: &'static str,
    /// Where it was to be written.
    pub place: u32,
    /// How many places it may have.
    pub most: usize,
}

impl Image {
    /// Writes what a delta says.
    ///
    /// # Errors
    /// Where a place is beyond an array's bound; nothing is written then.
    pub fn apply(&mut self, delta: &Delta) -> Result<(), ImageError> {
        let lengths = [
            grown("SIDES", self.sides.len(), &delta.sides, most::SIDES)?,
            grown("PORTS", self.ports.len(), &delta.ports, most::PORTS)?,
            grown("RUNS", self.runs.len(), &delta.runs, most::RUNS)?,
            grown("BACKENDS_OF", self.backends_of.len(), &delta.backends_of, most::BACKENDS_OF)?,
            grown("BACKENDS", self.backends.len(), &delta.backends, most::BACKENDS)?,
        ];
        let [sides, ports, runs, backends_of, backends] = lengths;
        write_array(&mut self.sides, sides, &delta.sides);
        write_array(&mut self.ports, ports, &delta.ports);
        write_array(&mut self.runs, runs, &delta.runs);
        write_array(&mut self.backends_of, backends_of, &delta.backends_of);
        write_array(&mut self.backends, backends, &delta.backends);
        write_hash(&mut self.rows, &delta.rows);
        write_hash(&mut self.classes4, &delta.classes4);
        write_hash(&mut self.classes6, &delta.classes6);
        write_hash(&mut self.prefixes4, &delta.prefixes4);
        write_hash(&mut self.prefixes6, &delta.prefixes6);
        write_hash(&mut self.virtuals, &delta.virtuals);
        Ok(())
    }

    /// What makes this image out of an empty set of tables: every entry, zeroes within arrays included, by key.
    #[must_use]
    pub fn delta(&self) -> Delta {
        Delta {
            sides: all_of_array(&self.sides),
            rows: all_of_hash(&self.rows),
            ports: all_of_array(&self.ports),
            runs: all_of_array(&self.runs),
            classes4: all_of_hash(&self.classes4),
            classes6: all_of_hash(&self.classes6),
            prefixes4: all_of_hash(&self.prefixes4),
            prefixes6: all_of_hash(&self.prefixes6),
            virtuals: all_of_hash(&self.virtuals),
            backends_of: all_of_array(&self.backends_of),
            backends: all_of_array(&self.backends),
        }
    }

    /// Whether the kernel would answer alike from both.
    #[must_use]
    pub fn is_equal(&self, other: &Self) -> bool {
        self == other
    }

    /// How many entries each table has.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        Sizes {
            sides: self.sides.len(),
            rows: self.rows.len(),
            ports: self.ports.len(),
            runs: self.runs.len(),
            classes4: self.classes4.len(),
            classes6: self.classes6.len(),
            prefixes4: self.prefixes4.len(),
            prefixes6: self.prefixes6.len(),
            virtuals: self.virtuals.len(),
            backends_of: self.backends_of.len(),
            backends: self.backends.len(),
        }
    }
}

impl PartialEq for Image {
    fn eq(&self, other: &Self) -> bool {
        used(&self.sides) == used(&other.sides)
            && used(&self.ports) == used(&other.ports)
            && used(&self.runs) == used(&other.runs)
            && used(&self.backends_of) == used(&other.backends_of)
            && used(&self.backends) == used(&other.backends)
            && self.rows == other.rows
            && self.classes4 == other.classes4
            && self.classes6 == other.classes6
            && self.prefixes4 == other.prefixes4
            && self.prefixes6 == other.prefixes6
            && self.virtuals == other.virtuals
    }
}

impl Eq for Image {}

/// An array up to its last place that is not zero.
fn used<V: Default + PartialEq>(array: &[V]) -> &[V] {
    let zero = V::default();
    let length = array.iter().rposition(|value| *value != zero).map_or(0, |last| last + 1);
    array.get(..length).unwrap_or(array)
}

/// How long an array is once `entries` are written.
fn grown<V>(table: &'static str, length: usize, entries: &[(u32, V)], most: usize) -> Result<usize, ImageError> {
    let Some(&last) = entries.iter().map(|(place, _)| place).max() else { return Ok(length) };
    match usize::try_from(last) {
        Ok(place) if place < most => Ok(length.max(place + 1)),
        _ => Err(ImageError { table, place: last, most }),
    }
}

fn write_array<V: Copy + Default>(array: &mut Vec<V>, length: usize, entries: &[(u32, V)]) {
    array.resize(length, V::default());
    for (place, value) in entries {
        if let Some(cell) = usize::try_from(*place).ok().and_then(|place| array.get_mut(place)) {
            *cell = *value;
        }
    }
}

fn write_hash<K: Copy + Eq + Hash>(table: &mut HashMap<K, u32>, entries: &[(K, Option<u32>)]) {
    if table.is_empty() {
        table.reserve(entries.len());
    }
    for (key, value) in entries {
        match value {
            Some(value) => table.insert(*key, *value),
            None => table.remove(key),
        };
    }
}

fn all_of_array<V: Copy>(array: &[V]) -> Vec<(u32, V)> {
    (0..).zip(array.iter().copied()).collect()
}

fn all_of_hash<K: Copy + Ord>(table: &HashMap<K, u32>) -> Vec<(K, Option<u32>)> {
    let mut all: Vec<_> = table.iter().map(|(key, value)| (*key, Some(*value))).collect();
    all.sort_unstable();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::tests::deltas;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_image_is_made_again_out_of_its_delta(deltas in proptest::collection::vec(deltas(), 0..5)) {
            let mut image = Image::default();
            for delta in &deltas {
                image.apply(delta).unwrap();
            }
            let mut again = Image::default();
            again.apply(&image.delta()).unwrap();
            prop_assert!(again.is_equal(&image));
            prop_assert_eq!(again.sizes(), image.sizes());
            prop_assert_eq!(again.delta(), image.delta());
        }

        #[test]
        fn the_last_value_of_a_key_stays(deltas in proptest::collection::vec(deltas(), 1..5)) {
            let mut image = Image::default();
            let mut rows: Vec<(RowKey, Option<u32>)> = Vec::new();
            for delta in &deltas {
                image.apply(delta).unwrap();
                rows.extend(&delta.rows);
            }
            for (key, _) in &rows {
                let last = rows.iter().rev().find(|(other, _)| other == key).and_then(|(_, value)| *value);
                prop_assert_eq!(image.rows.get(key).copied(), last);
            }
        }
    }

    #[test]
    fn zeroes_at_the_end_of_an_array_are_no_difference() {
        let run = Run { last: 80, allowed: 1, ..Run::default() };
        let mut short = Image::default();
        short.apply(&Delta { runs: vec![(1, run)], ..Delta::default() }).unwrap();
        let mut long = short.clone();
        long.apply(&Delta { runs: vec![(9, Run::default())], ..Delta::default() }).unwrap();
        assert_eq!((short.sizes().runs, long.sizes().runs), (2, 10));
        assert!(short.is_equal(&long) && long.is_equal(&short));
        long.apply(&Delta { runs: vec![(9, run)], ..Delta::default() }).unwrap();
        assert!(!short.is_equal(&long) && !long.is_equal(&short));
    }

    #[test]
    fn one_entry_of_any_table_is_a_difference() {
        let all = [
            Delta { sides: vec![(3, Side { table: 1, ..Side::default() })], ..Delta::default() },
            Delta { rows: vec![(RowKey::default(), Some(0))], ..Delta::default() },
            Delta { ports: vec![(0, PortRuns { starts: [0, 0, 0, 0, 1], pad: 0 })], ..Delta::default() },
            Delta { runs: vec![(0, Run { rule: 1, ..Run::default() })], ..Delta::default() },
            Delta { classes4: vec![([0; 4], Some(0))], ..Delta::default() },
            Delta { classes6: vec![([0; 16], Some(0))], ..Delta::default() },
            Delta { prefixes4: vec![(Prefix4::default(), Some(0))], ..Delta::default() },
            Delta { prefixes6: vec![(Prefix6::default(), Some(0))], ..Delta::default() },
            Delta { virtuals: vec![(VirtualKey::default(), Some(0))], ..Delta::default() },
            Delta { backends_of: vec![(0, BackendsOf { first: 0, count: 1 })], ..Delta::default() },
            Delta { backends: vec![(0, BackendOf { class: 0, port: 1, pad: 0 })], ..Delta::default() },
        ];
        for (at, delta) in all.iter().enumerate() {
            let mut image = Image::default();
            image.apply(delta).unwrap();
            assert!(!image.is_equal(&Image::default()), "table {at}");
            assert_eq!(image.delta().len(), if at == 0 { 4 } else { 1 }, "table {at}");
        }
    }

    #[test]
    fn a_place_beyond_an_array_is_refused_and_nothing_is_written() {
        let mut image = Image::default();
        let delta = Delta {
            classes4: vec![([10, 0, 0, 1], Some(1))],
            sides: vec![(0, Side { table: 1, ..Side::default() })],
            runs: vec![(u32::MAX, Run::default())],
            ..Delta::default()
        };
        let error = image.apply(&delta).unwrap_err();
        assert_eq!(error, ImageError { table: "RUNS", place: u32::MAX, most: most::RUNS });
        assert!(image.is_equal(&Image::default()));
    }
}
