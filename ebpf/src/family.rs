//! The two address families, so that what is the same for both is written once.

use aya_ebpf::btf_maps::{Array, HashMap};
use chainkit_abi::{Conn, Key4, Key6, TableState, fragment};

use crate::{
    maps::{CLASSES4, CLASSES6, CONNS4, CONNS6, KEYS4, KEYS6, Keys4, Keys6, PREFIXES4, PREFIXES6, Table4, Table6},
    parse::{Frame, Outcome},
    pending::Pending,
    related, verdict,
};

/// An address family: its key and where its tables are.
pub trait Family {
    /// Key of a connection.
    type Key: Copy + 'static;
    /// Table of an endpoint's connections.
    type Table: 'static;
    /// 4 or 6, as events have it.
    const NUMBER: u8;

    /// The table of a slot.
    fn table(slot: u32) -> Option<&'static Self::Table>;
    /// The entry of a key.
    fn find_in(table: &'static Self::Table, key: &Self::Key) -> Option<*mut Conn>;
    /// The entry of a key in the table of a slot.
    #[inline(always)]
    fn find(slot: u32, key: &Self::Key) -> Option<*mut Conn> {
        Self::find_in(Self::table(slot)?, key)
    }
    /// Enters a connection unless the key is there; false: it is, or there is no memory, or no such table.
    fn insert(slot: u32, key: &Self::Key, conn: &Conn) -> bool;
    /// Takes an entry out; true: it was there and this call took it.
    fn remove(slot: u32, key: &Self::Key) -> bool;
    /// Where the ring keeps the key of a place.
    fn place(slot: u32, place: u32) -> Option<*mut Self::Key>;
    /// The cursor of this family's ring.
    fn cursor(state: *mut TableState) -> *mut u64;
    /// Whether a place of the ring was never used.
    fn unused(key: &Self::Key) -> bool;
    /// Makes a place of the ring as if it had never been used.
    fn forget(at: *mut Self::Key);
    /// The key under which the ports of a fragmented packet are remembered.
    fn fragment_key(key: &Self::Key, id: u32, direction: u8) -> Self::Key;
    /// The key with these ports (local in the low half, remote in the high half).
    fn with_ports(key: &Self::Key, ports: u32) -> Self::Key;
    /// Swaps local and remote.
    fn turn(key: &mut Self::Key);
    /// Both ports: local in the low half, remote in the high half.
    fn ports(key: &Self::Key) -> u32;
    /// Protocol number.
    fn protocol(key: &Self::Key) -> u8;
    /// Whether it remembers a fragmented packet.
    fn is_fragment(key: &Self::Key) -> bool;
    /// Puts down the key of the packet at `at` inside an ICMP error that this hook sees.
    fn inner<const HOOK: u8>(frame: &Frame, at: usize, key: &mut Self::Key) -> Result<(), Outcome>;
    /// The pod's address, as sixteen bytes lie in memory; IPv4 in the first four.
    fn local(key: &Self::Key) -> [u64; 2];
    /// The other side's address.
    fn remote(key: &Self::Key) -> [u64; 2];
    /// What a set of tables says of the other side's address itself.
    fn class_at(set: u32, key: &Self::Key) -> Option<u32>;
    /// The class of the longest prefix that the other side's address lies in.
    fn class_by_prefix(set: u32, pending: &mut Pending) -> Option<u32>;
}

/// An address of either family as sixteen bytes.
trait Words {
    fn words(self) -> [u64; 2];
}

impl Words for u32 {
    #[inline(always)]
    fn words(self) -> [u64; 2] {
        [self as u64, 0]
    }
}

impl Words for [u64; 2] {
    #[inline(always)]
    fn words(self) -> [u64; 2] {
        self
    }
}

macro_rules! family {
    ($(#[$doc:meta])* $name:ident, $number:literal, $key:ident, $table:ident, $keys:ident, $conns_map:ident, $keys_map:ident, $cursor:ident, $inner:path,
        $classes:ident, $prefixes:ident, $whole:path) => {
        $(#[$doc])*
        pub struct $name;

        impl Family for $name {
            type Key = $key;
            type Table = $table;
            const NUMBER: u8 = $number;

            #[inline(always)]
            fn table(slot: u32) -> Option<&'static $table> {
                $conns_map.get(slot)
            }

            #[inline(always)]
            fn find_in(table: &'static $table, key: &$key) -> Option<*mut Conn> {
                HashMap::get_ptr_mut(table, key)
            }

            #[inline(always)]
            fn insert(slot: u32, key: &$key, conn: &Conn) -> bool {
                const NOEXIST: u64 = 1;
                match Self::table(slot) {
                    Some(table) => HashMap::insert(table, key, conn, NOEXIST).is_ok(),
                    None => false,
                }
            }

            #[inline(always)]
            fn remove(slot: u32, key: &$key) -> bool {
                match Self::table(slot) {
                    Some(table) => HashMap::remove(table, key).is_ok(),
                    None => false,
                }
            }

            #[inline(always)]
            fn place(slot: u32, place: u32) -> Option<*mut $key> {
                let keys: &$keys = $keys_map.get(slot)?;
                Array::get_ptr_mut(keys, place)
            }

            #[inline(always)]
            fn cursor(state: *mut TableState) -> *mut u64 {
                // SAFETY: the caller has a valid state; only an address is taken.
                unsafe { &raw mut (*state).$cursor }
            }

            #[inline(always)]
            fn unused(key: &$key) -> bool {
                key.protocol == 0 && key.local.words() == [0, 0] && key.remote.words() == [0, 0]
            }

            #[inline(always)]
            fn forget(at: *mut $key) {
                let words: *mut u64 = at.cast();
                for index in 0..size_of::<$key>() / size_of::<u64>() {
                    // SAFETY: the caller has a place of the ring, an aligned key of whole words; all-zero is valid.
                    unsafe { core::ptr::write_volatile(words.add(index), 0) };
                }
            }

            #[inline(always)]
            fn fragment_key(key: &$key, id: u32, direction: u8) -> $key {
                $key {
                    local_port: id as u16,
                    remote_port: (id >> 16) as u16,
                    fragment: direction,
                    ..*key
                }
            }

            #[inline(always)]
            fn with_ports(key: &$key, ports: u32) -> $key {
                $key { local_port: ports as u16, remote_port: (ports >> 16) as u16, fragment: fragment::NONE, ..*key }
            }

            #[inline(always)]
            fn turn(key: &mut $key) {
                (key.local, key.remote) = (key.remote, key.local);
                (key.local_port, key.remote_port) = (key.remote_port, key.local_port);
            }

            #[inline(always)]
            fn ports(key: &$key) -> u32 {
                key.local_port as u32 | (key.remote_port as u32) << 16
            }

            #[inline(always)]
            fn protocol(key: &$key) -> u8 {
                key.protocol
            }

            #[inline(always)]
            fn is_fragment(key: &$key) -> bool {
                key.fragment != fragment::NONE
            }

            #[inline(always)]
            fn inner<const HOOK: u8>(frame: &Frame, at: usize, key: &mut $key) -> Result<(), Outcome> {
                use $inner as inner;
                inner::<HOOK>(frame, at, key)
            }

            #[inline(always)]
            fn local(key: &$key) -> [u64; 2] {
                key.local.words()
            }

            #[inline(always)]
            fn remote(key: &$key) -> [u64; 2] {
                key.remote.words()
            }

            #[inline(always)]
            fn class_at(set: u32, key: &$key) -> Option<u32> {
                // SAFETY: an element that was just found.
                $classes.get(set)?.get_ptr(key.remote).map(|found| unsafe { *found })
            }

            #[inline(always)]
            fn class_by_prefix(set: u32, pending: &mut Pending) -> Option<u32> {
                // SAFETY: a family's key.
                let remote = unsafe { pending.key::<$key>() }.remote;
                $whole(&mut pending.prefix, remote);
                // SAFETY: the words are a key of the trie: its length, and an address that is no longer than they are.
                $prefixes.get(set)?.get(unsafe { &*(&raw const pending.prefix).cast() }).copied()
            }
        }
    };
}

family! {
    /// IPv4.
    V4, 4, Key4, Table4, Keys4, CONNS4, KEYS4, cursor4, related::inner4, CLASSES4, PREFIXES4, verdict::whole4
}
family! {
    /// IPv6.
    V6, 6, Key6, Table6, Keys6, CONNS6, KEYS6, cursor6, related::inner6, CLASSES6, PREFIXES6, verdict::whole6
}
