//! Address prefixes of both families, and the longest-prefix-match table they make.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

impl Family {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// Bits of an address.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// The family of an address. An IPv4-mapped IPv6 address is of IPv4.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// An address prefix. Prefixes sort so that one comes before all that lie inside it, and those before what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    family: Family,
    /// The address from the highest bit down; bits past the length are 0.
    bits: u128,
    length: u8,
}

/// The address from the highest bit of the number down.
fn left_aligned(address: IpAddr) -> (Family, u128) {
    match address.to_canonical() {
        IpAddr::V4(v4) => (Family::V4, u128::from(u32::from(v4)) << 96),
        IpAddr::V6(v6) => (Family::V6, u128::from(v6)),
    }
}

fn to_address(family: Family, bits: u128) -> IpAddr {
    match family {
        Family::V4 => {
            let [a, b, c, d, ..] = bits.to_be_bytes();
            Ipv4Addr::new(a, b, c, d).into()
        }
        Family::V6 => Ipv6Addr::from(bits).into(),
    }
}

fn mask(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0)
}

impl Prefix {
    /// All addresses of a family.
    #[must_use]
    pub const fn everything(family: Family) -> Self {
        Self { family, bits: 0, length: 0 }
    }

    /// Reads `10.0.0.0/8`. Host bits are cleared, as the API server has always taken them; leading zeros are none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let net: IpNet = text.parse().ok()?;
        let (family, bits) = match net.addr() {
            // A mapped prefix is IPv4 only where it is at least as long as the mapping.
            IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() && net.prefix_len() < 96 => (Family::V6, u128::from(v6)),
            address => left_aligned(address),
        };
        let mapped = family == Family::V4 && matches!(net, IpNet::V6(_));
        let length = if mapped { net.prefix_len() - 96 } else { net.prefix_len() };
        Some(Self { family, bits: bits & mask(length), length })
    }

    /// The family.
    #[must_use]
    pub const fn family(&self) -> Family {
        self.family
    }

    /// The length in bits.
    #[must_use]
    pub const fn length(&self) -> u8 {
        self.length
    }

    /// The first address.
    #[must_use]
    pub fn first(&self) -> IpAddr {
        to_address(self.family, self.bits)
    }

    /// The last address.
    #[must_use]
    pub fn last(&self) -> IpAddr {
        to_address(self.family, self.last_bits())
    }

    fn last_bits(&self) -> u128 {
        (self.bits | !mask(self.length)) & mask(self.family.bits())
    }

    /// Whether `address` lies in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let (family, bits) = left_aligned(address);
        family == self.family && bits & mask(self.length) == self.bits
    }

    /// Whether `other` lies in it, or is it.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.family == other.family && self.length <= other.length && other.bits & mask(self.length) == self.bits
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.first(), self.length)
    }
}

/// A run of addresses of one family, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressRange {
    /// The first.
    pub first: IpAddr,
    /// The last.
    pub last: IpAddr,
}

impl fmt::Display for AddressRange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.first, self.last)
    }
}

/// A value for each prefix; an address has that of the longest prefix that contains it.
#[derive(Clone, Debug, Default)]
pub struct PrefixTable<T> {
    /// In the order of prefixes, each with the place of the next shorter one around it.
    entries: Vec<(Prefix, Option<usize>, T)>,
}

impl<T: Clone> PrefixTable<T> {
    /// Makes the table. Of a prefix that is given twice the last counts.
    #[must_use]
    pub fn new(mut prefixes: Vec<(Prefix, T)>) -> Self {
        prefixes.sort_by_key(|(prefix, _)| *prefix);
        let mut entries: Vec<(Prefix, Option<usize>, T)> = Vec::with_capacity(prefixes.len());
        let mut around: Vec<usize> = Vec::new();
        for (prefix, value) in prefixes {
            while let Some((outer, ..)) = around.last().and_then(|at| entries.get(*at))
                && !outer.covers(&prefix)
            {
                around.pop();
            }
            if let Some(last) = entries.last_mut()
                && last.0 == prefix
            {
                last.2 = value;
                continue;
            }
            entries.push((prefix, around.last().copied(), value));
            around.push(entries.len() - 1);
        }
        Self { entries }
    }

    /// The value of the longest prefix that contains `address`.
    #[must_use]
    pub fn get(&self, address: IpAddr) -> Option<T> {
        let (family, bits) = left_aligned(address);
        let key = Prefix { family, bits, length: 128 };
        let mut at = self.entries.partition_point(|(prefix, ..)| *prefix <= key).checked_sub(1);
        while let Some((prefix, outer, value)) = at.and_then(|at| self.entries.get(at)) {
            if prefix.contains(address) {
                return Some(value.clone());
            }
            at = *outer;
        }
        None
    }

    /// Its prefixes and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Prefix, T)> + '_ {
        self.entries.iter().map(|(prefix, _, value)| (*prefix, value.clone()))
    }

    /// How many prefixes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The table as runs of addresses in order, cut where a prefix begins or ends; what no prefix contains is left out.
    #[must_use]
    pub fn ranges(&self) -> Vec<(AddressRange, T)> {
        let mut cuts = Vec::with_capacity(self.entries.len() * 2);
        for (prefix, ..) in &self.entries {
            cuts.push((prefix.family, prefix.bits));
            let next = prefix.last_bits().checked_add(step(prefix.family));
            cuts.extend(next.map(|next| (prefix.family, next)));
        }
        cuts.sort_unstable();
        cuts.dedup();
        let mut ranges = Vec::with_capacity(cuts.len());
        for (at, &(family, bits)) in cuts.iter().enumerate() {
            let end = match cuts.get(at + 1) {
                Some(&(next_family, next)) if next_family == family => next - step(family),
                _ => mask(family.bits()),
            };
            let first = to_address(family, bits);
            ranges.extend(self.get(first).map(|value| (AddressRange { first, last: to_address(family, end) }, value)));
        }
        ranges
    }
}

/// What an address and the next one differ by.
const fn step(family: Family) -> u128 {
    1 << (128 - family.bits() as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefix(text: &str) -> Prefix {
        Prefix::parse(text).unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn host_bits_are_cleared_and_nonsense_is_refused() {
        assert_eq!(prefix("10.1.2.3/8").to_string(), "10.0.0.0/8");
        assert_eq!(prefix("2001:db8::1/32").to_string(), "2001:db8::/32");
        assert_eq!(prefix("::ffff:10.0.0.0/104").to_string(), "10.0.0.0/8");
        for text in ["10.0.0.0", "10.0.0.0/33", "::/129", "", "x/8", "10.0.0/8"] {
            assert_eq!(Prefix::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_family_never_contains_the_other() {
        assert!(!prefix("0.0.0.0/0").contains(address("::")));
        assert!(!prefix("::/0").contains(address("0.0.0.0")));
        assert!(prefix("0.0.0.0/0").contains(address("::ffff:10.0.0.1")));
    }

    #[test]
    fn ranges_are_cut_at_both_ends_of_each_prefix() {
        let table =
            PrefixTable::new(vec![(prefix("0.0.0.0/0"), 0), (prefix("10.0.0.0/8"), 1), (prefix("255.0.0.0/8"), 2)]);
        let ranges: Vec<_> = table.ranges().into_iter().map(|(range, value)| (range.to_string(), value)).collect();
        assert_eq!(
            ranges,
            [
                ("0.0.0.0-9.255.255.255".to_owned(), 0),
                ("10.0.0.0-10.255.255.255".to_owned(), 1),
                ("11.0.0.0-254.255.255.255".to_owned(), 0),
                ("255.0.0.0-255.255.255.255".to_owned(), 2),
            ]
        );
    }

    proptest! {
        #[test]
        fn the_longest_prefix_is_found(
            prefixes in proptest::collection::vec((any::<bool>(), 0u8..16, 0u8..=8, any::<u8>()), 0..12),
            probes in proptest::collection::vec((any::<bool>(), any::<u8>(), any::<u8>()), 1..12),
        ) {
            let all: Vec<(Prefix, u8)> = prefixes
                .iter()
                .map(|(v6, byte, length, value)| {
                    let text = if *v6 { format!("{byte:02x}00::/{length}") } else { format!("{byte}.0.0.0/{length}") };
                    (prefix(&text), *value)
                })
                .collect();
            let table = PrefixTable::new(all.clone());
            let ranges = table.ranges();
            for (v6, high, low) in probes {
                let text = if v6 { format!("{:02x}{low:02x}::1", high % 18) } else { format!("{}.{low}.0.1", high % 18) };
                let probe = address(&text);
                // The last of equally long ones counts.
                let naive = all.iter().filter(|(p, _)| p.contains(probe)).max_by_key(|(p, _)| p.length()).map(|(_, v)| *v);
                prop_assert_eq!(table.get(probe), naive);
                let in_range = ranges.iter().find(|(range, _)| {
                    Family::of(range.first) == Family::of(probe) && range.first <= probe && probe <= range.last
                });
                prop_assert_eq!(in_range.map(|(_, value)| *value), naive);
            }
        }
    }
}
