//! Stretches of an array, given out and taken back.

use std::collections::BTreeMap;

/// Which places of an array are free: stretches between those in use, and all after the last.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    /// Free stretches by where they begin; none touches another, or the end.
    free: BTreeMap<u32, u32>,
    /// All from here on are free.
    end: u32,
}

impl Places {
    /// A stretch of so many places: the first that is long enough.
    pub(super) fn take(&mut self, count: u32) -> u32 {
        if count == 0 {
            return 0;
        }
        let found = self.free.iter().find(|(_, length)| **length >= count).map(|(first, length)| (*first, *length));
        let Some((first, length)) = found else {
            let first = self.end;
            self.end = self.end.saturating_add(count);
            return first;
        };
        self.free.remove(&first);
        if length > count {
            self.free.insert(first + count, length - count);
        }
        first
    }

    /// Gives stretches back.
    pub(super) fn free(&mut self, stretches: &mut Vec<(u32, u32)>) {
        for (first, count) in stretches.drain(..).filter(|(_, count)| *count > 0) {
            let (mut first, mut end) = (first, first + count);
            if let Some((before, length)) = self.free.range(..first).next_back().map(|(at, length)| (*at, *length))
                && before + length == first
            {
                self.free.remove(&before);
                first = before;
            }
            if let Some(length) = self.free.remove(&end) {
                end += length;
            }
            if end == self.end {
                self.end = first;
            } else {
                self.free.insert(first, end - first);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_place_is_given_twice_and_none_is_lost(steps in prop::collection::vec((any::<bool>(), 1u32..9, any::<prop::sample::Index>()), 0..200)) {
            let mut places = Places::default();
            let mut used: Vec<(u32, u32)> = Vec::new();
            for (takes, count, which) in steps {
                if takes || used.is_empty() {
                    let first = places.take(count);
                    let overlaps = |(other, length): &(u32, u32)| first < other + length && *other < first + count;
                    prop_assert!(!used.iter().any(overlaps), "{first}+{count} in {used:?}");
                    used.push((first, count));
                } else {
                    let gone = used.swap_remove(which.index(used.len()));
                    places.free(&mut vec![gone]);
                }
                let held: u32 = used.iter().map(|(_, count)| count).sum();
                let free: u32 = places.free.values().sum();
                prop_assert_eq!(held + free, places.end);
            }
            places.free(&mut used);
            prop_assert_eq!((places.end, places.free.len()), (0, 0));
        }
    }
}
