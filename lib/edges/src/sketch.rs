//! Quantiles of durations in bounded memory.

/// Bits that a bucket keeps below the highest one: 16 buckets for each power of two.
const BITS: u32 = 4;
/// As many buckets as 64-bit numbers have: those below 16 one each, then 16 for each power of two.
const BUCKETS: usize = 16 + 60 * 16;

/// A histogram with logarithmic buckets. A quantile of it is within 1/32 (3.2 %) of a value that was put in, and no
/// order of values or of merging makes a difference. It takes 4 bytes for each bucket between the least and the greatest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sketch {
    /// The bucket that `counts` begins with.
    first: usize,
    counts: Vec<u32>,
    total: u64,
}

impl Sketch {
    /// Puts a value in.
    pub fn add(&mut self, value: u64) {
        self.add_to(bucket(value), 1);
    }

    /// Puts in all that `other` holds.
    pub fn merge(&mut self, other: &Self) {
        for (place, count) in other.counts.iter().enumerate() {
            if *count > 0 {
                self.add_to(other.first + place, *count);
            }
        }
    }

    /// How many values it holds.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.total
    }

    /// The value below or at which `per_mille` thousandths of the values are; none of none.
    #[must_use]
    pub fn quantile(&self, per_mille: u64) -> Option<u64> {
        let wanted = self.total.saturating_mul(per_mille).div_ceil(1000).clamp(1, self.total.max(1));
        let mut met = 0;
        for (place, count) in self.counts.iter().enumerate() {
            met += u64::from(*count);
            if met >= wanted {
                return Some(middle(self.first + place));
            }
        }
        None
    }

    fn add_to(&mut self, bucket: usize, count: u32) {
        let bucket = bucket.min(BUCKETS - 1);
        if self.counts.is_empty() {
            self.first = bucket;
        }
        if bucket < self.first {
            let more = self.first - bucket;
            self.counts.splice(0..0, std::iter::repeat_n(0, more));
            self.first = bucket;
        }
        let place = bucket - self.first;
        if place >= self.counts.len() {
            self.counts.resize(place + 1, 0);
        }
        if let Some(slot) = self.counts.get_mut(place) {
            // The total stays the sum of the counts, so that each quantile is found.
            let added = count.min(u32::MAX - *slot);
            *slot += added;
            self.total += u64::from(added);
        }
    }
}

fn bucket(value: u64) -> usize {
    let Some(shift) = value.checked_ilog2().and_then(|high| high.checked_sub(BITS)) else {
        return usize::try_from(value).unwrap_or_default();
    };
    let within = (value >> shift) - 16;
    usize::try_from(16 + u64::from(shift) * 16 + within).unwrap_or(BUCKETS - 1)
}

fn middle(bucket: usize) -> u64 {
    let number = u64::try_from(bucket).unwrap_or_default();
    let Some(above) = number.checked_sub(16) else { return number };
    let shift = above / 16;
    ((16 + above % 16) << shift) + (1 << shift) / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sketch(values: &[u64]) -> Sketch {
        let mut sketch = Sketch::default();
        values.iter().for_each(|value| sketch.add(*value));
        sketch
    }

    #[test]
    fn nothing_has_no_quantile_and_small_values_are_exact() {
        assert_eq!(Sketch::default().quantile(500), None);
        assert_eq!(sketch(&[3, 1, 2]).quantile(500), Some(2));
        assert_eq!(sketch(&[3, 1, 2]).quantile(990), Some(3));
        assert_eq!(sketch(&[0]).quantile(0), Some(0));
    }

    proptest! {
        #[test]
        fn a_quantile_is_within_a_thirty_second_of_the_value(
            mut values in proptest::collection::vec(any::<u64>().prop_map(|value| value >> (value % 60)), 1..200),
            per_mille in 1u64..=1000,
        ) {
            let found = sketch(&values).quantile(per_mille).unwrap();
            values.sort_unstable();
            let rank = (values.len() as u64 * per_mille).div_ceil(1000).max(1);
            let exact = values[usize::try_from(rank).unwrap() - 1];
            prop_assert!(found.abs_diff(exact) <= exact / 32 + 1, "{found} for {exact}");
        }

        #[test]
        fn merging_is_adding(a in proptest::collection::vec(any::<u64>(), 0..50), b in proptest::collection::vec(any::<u64>(), 0..50)) {
            let mut merged = sketch(&a);
            merged.merge(&sketch(&b));
            let mut reverse = sketch(&b);
            reverse.merge(&sketch(&a));
            prop_assert_eq!(&merged, &reverse);
            prop_assert_eq!(merged, sketch(&[a, b].concat()));
        }
    }
}
