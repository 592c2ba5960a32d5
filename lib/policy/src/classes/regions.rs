//! Regions: the prefixes that rules name cut all addresses into parts whose addresses lie in the same blocks.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::NONE;
use crate::interned::Interned;
use crate::prefix::{AddressRange, Family, Prefix, PrefixTable};
use crate::rules::PeerSet;

/// A region, by the peer sets whose blocks hold its addresses.
pub(crate) type RegionId = u32;

/// All addresses of both families, by region.
#[derive(Clone, Debug, Default)]
pub(crate) struct Regions {
    table: PrefixTable<RegionId>,
    /// The peer sets of each region, in order.
    peers: Interned<Arc<[u32]>>,
}

/// What another cut of the addresses changed.
#[derive(Debug, Default)]
pub(crate) struct Recut {
    /// Regions that are as they were but for their peer sets.
    pub(crate) renamed: Vec<RegionId>,
    /// Regions that were not there before.
    pub(crate) new: Vec<RegionId>,
    /// Regions that are no more.
    pub(crate) gone: Vec<RegionId>,
    /// Addresses that are in another region now.
    pub(crate) moved: Vec<AddressRange>,
}

impl Regions {
    /// Cuts the addresses by the blocks of these sets, which come in order.
    pub(crate) fn cut<'p>(&mut self, sets: impl Iterator<Item = (u32, &'p PeerSet)>) -> Recut {
        let cut = cut(sets);
        let images = self.images(&cut);
        let mut recut = Recut::default();
        // A region all of whose addresses go the same way keeps its number.
        for (region, image) in images {
            if let Some(peers) = image
                && self.peers.get(region).is_some_and(|has| **has != *peers)
                && self.peers.rename(region, peers)
            {
                recut.renamed.push(region);
            }
        }
        let before: HashSet<RegionId> = self.peers.iter().map(|(id, _)| id).collect();
        let old = std::mem::take(&mut self.table);
        let held: Vec<RegionId> = old.iter().map(|(_, region)| region).collect();
        let prefixes: Vec<(Prefix, RegionId)> =
            cut.iter().map(|(prefix, peers)| (prefix, self.peers.hold(peers).0)).collect();
        self.table = PrefixTable::new(prefixes);
        held.into_iter().for_each(|region| drop(self.peers.release(region)));
        let after: HashSet<RegionId> = self.peers.iter().map(|(id, _)| id).collect();
        recut.new = after.difference(&before).copied().collect();
        recut.gone = before.difference(&after).copied().collect();
        for (range, was, is) in both(&old.ranges(), &self.table.ranges()) {
            if was != is {
                recut.moved.push(range);
            }
        }
        recut
    }

    /// What becomes of each region: the peer sets of all its addresses, where those are the same for all.
    fn images(&self, cut: &PrefixTable<Arc<[u32]>>) -> HashMap<RegionId, Option<Arc<[u32]>>> {
        let mut images: HashMap<RegionId, Option<Arc<[u32]>>> = HashMap::new();
        for (_, region, peers) in both(&self.table.ranges(), &cut.ranges()) {
            let image = images.entry(region).or_insert_with(|| Some(Arc::clone(&peers)));
            if image.as_ref().is_some_and(|image| **image != *peers) {
                *image = None;
            }
        }
        images
    }

    /// The region of an address.
    pub(crate) fn of(&self, address: IpAddr) -> RegionId {
        self.table.get(address).unwrap_or(NONE)
    }

    /// The peer sets whose blocks hold the addresses of a region, in order.
    pub(crate) fn peers(&self, region: RegionId) -> &[u32] {
        self.peers.get(region).map_or(&[], |peers| peers)
    }

    /// Prefixes with their regions, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Prefix, RegionId)> + '_ {
        self.table.iter()
    }
}

/// Two covers of addresses, cut so that each range has one value in either.
fn both<A: Clone, B: Clone>(one: &[(AddressRange, A)], other: &[(AddressRange, B)]) -> Vec<(AddressRange, A, B)> {
    let (mut left, mut right) = (one.iter().peekable(), other.iter().peekable());
    let mut ranges = Vec::new();
    // Addresses sort by family first, so that ranges of two families have nothing in common.
    while let (Some((a, of_one)), Some((b, of_other))) = (left.peek(), right.peek()) {
        let common = AddressRange { first: a.first.max(b.first), last: a.last.min(b.last) };
        if common.first <= common.last {
            ranges.push((common, of_one.clone(), of_other.clone()));
        }
        let (done_left, done_right) = (a.last <= b.last, b.last <= a.last);
        left.next_if(|_| done_left);
        right.next_if(|_| done_right);
    }
    ranges
}

/// What happens to an address block where a prefix begins.
#[derive(Clone, Copy)]
enum Mark {
    Begins,
    Excepted,
}

/// Every prefix that a set names, with the sets whose blocks hold what is in it and in no longer prefix.
fn cut<'p>(sets: impl Iterator<Item = (u32, &'p PeerSet)>) -> PrefixTable<Arc<[u32]>> {
    // Every prefix that is named, with the blocks it begins or is excepted from; sorted, so that a prefix comes
    // before all inside it.
    let mut marks: BTreeMap<Prefix, Vec<(Mark, usize)>> = BTreeMap::new();
    let mut set_of_block: Vec<u32> = Vec::new();
    for family in Family::BOTH {
        marks.insert(Prefix::everything(family), Vec::new());
    }
    for (set, peers) in sets {
        for block in &peers.blocks {
            // Nothing is left of a block that is excepted as a whole.
            if block.except.iter().any(|except| except.covers(&block.prefix)) {
                continue;
            }
            let at = set_of_block.len();
            set_of_block.push(set);
            marks.entry(block.prefix).or_default().push((Mark::Begins, at));
            for except in &block.except {
                marks.entry(*except).or_default().push((Mark::Excepted, at));
            }
        }
    }
    let mut walk = Walk {
        active: vec![false; set_of_block.len()],
        set_of_block,
        blocks_of_set: BTreeMap::new(),
        path: Vec::new(),
    };
    let mut shared: HashMap<Vec<u32>, Arc<[u32]>> = HashMap::new();
    let mut prefixes = Vec::with_capacity(marks.len());
    for (prefix, marks) in marks {
        walk.enter(prefix, &marks);
        let sets: Vec<u32> = walk.blocks_of_set.keys().copied().collect();
        let sets = shared.entry(sets).or_insert_with_key(|sets| sets.as_slice().into());
        prefixes.push((prefix, Arc::clone(sets)));
    }
    drop_filled(&mut prefixes);
    PrefixTable::new(prefixes)
}

/// Leaves out prefixes of which longer ones leave no address: nobody is there.
fn drop_filled<T>(prefixes: &mut Vec<(Prefix, T)>) {
    // Prefixes around where the walk is: the place of each, and what is filled of it so far, in parts of 2^128; none is all.
    let mut around: Vec<(usize, Option<u128>)> = Vec::new();
    let mut filled: HashSet<usize> = HashSet::new();
    let close = |around: &mut Vec<(usize, Option<u128>)>, filled: &mut HashSet<usize>| {
        if let Some((at, None)) = around.pop() {
            filled.insert(at);
        }
    };
    for (at, (prefix, _)) in prefixes.iter().enumerate() {
        while let Some((outer, _)) = around.last().and_then(|(outer, _)| prefixes.get(*outer))
            && !outer.covers(prefix)
        {
            close(&mut around, &mut filled);
        }
        if let Some((outer, sum)) = around.last_mut()
            && let Some((outer, _)) = prefixes.get(*outer)
            && let Some(longer @ 1..) = prefix.length().checked_sub(outer.length())
        {
            *sum = sum.and_then(|sum| sum.checked_add(1 << (128 - u32::from(longer))));
        }
        around.push((at, Some(0)));
    }
    while !around.is_empty() {
        close(&mut around, &mut filled);
    }
    let mut at = 0;
    prefixes.retain(|_| {
        at += 1;
        !filled.contains(&(at - 1))
    });
}

/// A walk through nested prefixes, outermost first, that knows which blocks hold where it is.
struct Walk {
    active: Vec<bool>,
    set_of_block: Vec<u32>,
    /// How many blocks of each set hold; none with 0.
    blocks_of_set: BTreeMap<u32, usize>,
    /// Where it is, with the blocks that each step turned on or off.
    path: Vec<(Prefix, Vec<usize>)>,
}

impl Walk {
    fn enter(&mut self, prefix: Prefix, marks: &[(Mark, usize)]) {
        while self.path.last().is_some_and(|(outer, _)| !outer.covers(&prefix)) {
            if let Some((_, turned)) = self.path.pop() {
                for block in turned.into_iter().rev() {
                    self.turn(block);
                }
            }
        }
        let mut turned = Vec::new();
        for (mark, block) in marks {
            let active = self.active.get(*block).copied().unwrap_or(false);
            // An exception outside of its block excepts nothing, and one inside another adds nothing.
            if active == matches!(mark, Mark::Excepted) {
                self.turn(*block);
                turned.push(*block);
            }
        }
        self.path.push((prefix, turned));
    }

    fn turn(&mut self, block: usize) {
        let (Some(active), Some(set)) = (self.active.get_mut(block), self.set_of_block.get(block)) else {
            return;
        };
        *active = !*active;
        let count = self.blocks_of_set.entry(*set).or_insert(0);
        if *active {
            *count += 1;
        } else {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.blocks_of_set.remove(set);
            }
        }
    }
}

/// Leaves out prefixes whose value is that of the prefix around them.
pub(super) fn drop_repeats<T: Copy + PartialEq>(prefixes: &mut Vec<(Prefix, T)>) {
    let mut around: Vec<(Prefix, T)> = Vec::new();
    prefixes.retain(|(prefix, value)| {
        while around.last().is_some_and(|(outer, _)| !outer.covers(prefix)) {
            around.pop();
        }
        let repeats = around.last().is_some_and(|(_, outer)| outer == value);
        if !repeats {
            around.push((*prefix, *value));
        }
        !repeats
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_that_longer_ones_fill_is_no_region() {
        let left = |all: &[&str]| -> Vec<String> {
            let mut prefixes: Vec<(Prefix, ())> = all.iter().map(|text| (Prefix::parse(text).unwrap(), ())).collect();
            prefixes.sort();
            drop_filled(&mut prefixes);
            prefixes.iter().map(|(prefix, ())| prefix.to_string()).collect()
        };
        assert_eq!(left(&["10.0.0.0/8", "10.0.0.0/9", "10.128.0.0/9"]), ["10.0.0.0/9", "10.128.0.0/9"]);
        assert_eq!(left(&["10.0.0.0/8", "10.0.0.0/9", "10.128.0.0/10"]), ["10.0.0.0/8", "10.0.0.0/9", "10.128.0.0/10"]);
        assert_eq!(left(&["::/0", "::/1", "8000::/1"]), ["::/1", "8000::/1"]);
        assert_eq!(
            left(&["0.0.0.0/0", "0.0.0.0/1", "0.0.0.0/2", "64.0.0.0/2", "128.0.0.0/1"]),
            ["0.0.0.0/2", "64.0.0.0/2", "128.0.0.0/1"]
        );
        let all: Vec<String> =
            (0..=255).map(|last| format!("10.0.0.{last}/32")).chain(["10.0.0.0/24".into()]).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        assert_eq!(left(&all).len(), 256);
    }
}
