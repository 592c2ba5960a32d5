//! What is to be written into a set of tables, and how it lies in a file.
//!
//! The encoding: a byte [`VERSION`], then for each table, in the order of [`Delta`]'s fields, a count of entries (`u32`) and
//! the entries one after another. All of a table's entries have one size; numbers are little endian, addresses are as the
//! kernel has them, padding is left out. A value that may be missing is a byte, 1 or 0, and four bytes, zero if it is missing.

use chainkit_abi::{BackendOf, BackendsOf, PortRuns, Prefix4, Prefix6, RowKey, Run, Side, VirtualKey};

/// The version of the encoding.
const VERSION: u8 = 1;

/// What is to be written into a set of tables.
///
/// Entries of one table are written in their order; a later one of the same key replaces. Tables are arrays, of which a
/// place is written over, or hash tables and tries, of which an entry without a value is removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// Array `SIDES`.
    pub sides: Vec<(u32, Side)>,
    /// `ROWS`: the place of a port table.
    pub rows: Vec<(RowKey, Option<u32>)>,
    /// Array `PORTS`.
    pub ports: Vec<(u32, PortRuns)>,
    /// Array `RUNS`.
    pub runs: Vec<(u32, Run)>,
    /// `CLASSES4`, by address as it lies in a packet: class and bits of [`address`](chainkit_abi::address).
    pub classes4: Vec<([u8; 4], Option<u32>)>,
    /// `CLASSES6`.
    pub classes6: Vec<([u8; 16], Option<u32>)>,
    /// `PREFIXES4`: class.
    pub prefixes4: Vec<(Prefix4, Option<u32>)>,
    /// `PREFIXES6`: class.
    pub prefixes6: Vec<(Prefix6, Option<u32>)>,
    /// `VIRTUALS`: a place in `BACKENDS_OF`.
    pub virtuals: Vec<(VirtualKey, Option<u32>)>,
    /// Array `BACKENDS_OF`.
    pub backends_of: Vec<(u32, BackendsOf)>,
    /// Array `BACKENDS`.
    pub backends: Vec<(u32, BackendOf)>,
}

/// Why bytes are no [`Delta`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Another version wrote it.
    #[error(
        "its encoding has version {found}, and this program knows {VERSION}: use the program that wrote it, or apply again"
    )]
    Version {
        /// The version found.
        found: u8,
    },
    /// There are fewer bytes than it says.
    #[error("it ends within {table}")]
    Short {
        /// Where.
        table: &'static str,
    },
    /// Bytes follow its end.
    #[error("{bytes} bytes follow its end")]
    Long {
        /// How many.
        bytes: usize,
    },
    /// A byte that is neither 0 nor 1, or a removal with a value.
    #[error("entry {entry} of {table} is neither a value nor a removal")]
    Value {
        /// Of which table.
        table: &'static str,
        /// The entry, from 0.
        entry: usize,
    },
    /// A table with more entries than the encoding can count.
    #[error("{table} has {entries} entries, and a file counts to {}", u32::MAX)]
    TooMany {
        /// Which.
        table: &'static str,
        /// How many it has.
        entries: usize,
    },
}

/// Calls a macro with each table's field and its name.
macro_rules! tables {
    ($do:ident) => {
        $do!(sides, "SIDES");
        $do!(rows, "ROWS");
        $do!(ports, "PORTS");
        $do!(runs, "RUNS");
        $do!(classes4, "CLASSES4");
        $do!(classes6, "CLASSES6");
        $do!(prefixes4, "PREFIXES4");
        $do!(prefixes6, "PREFIXES6");
        $do!(virtuals, "VIRTUALS");
        $do!(backends_of, "BACKENDS_OF");
        $do!(backends, "BACKENDS");
    };
}

impl Delta {
    /// Whether nothing is to be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many entries are to be written.
    #[must_use]
    pub fn len(&self) -> usize {
        let mut entries = 0;
        macro_rules! count {
            ($table:ident, $name:expr) => {
                entries += self.$table.len();
            };
        }
        tables!(count);
        entries
    }

    /// Its encoding, for [`decode`](Self::decode).
    ///
    /// # Errors
    /// [`DecodeError::TooMany`] where a table has more than 2³² - 1 entries.
    pub fn encode(&self) -> Result<Vec<u8>, DecodeError> {
        let mut out = Vec::with_capacity(self.encoded_bytes());
        out.push(VERSION);
        macro_rules! write {
            ($table:ident, $name:expr) => {
                write_table(&mut out, $name, &self.$table)?;
            };
        }
        tables!(write);
        Ok(out)
    }

    /// The length of its encoding, in bytes.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        let mut bytes = 1;
        macro_rules! add {
            ($table:ident, $name:expr) => {
                bytes += 4 + self.$table.len().saturating_mul(entry_bytes(&self.$table));
            };
        }
        tables!(add);
        bytes
    }

    /// What [`encode`](Self::encode) made. It takes no more memory than the bytes call for, whatever they are.
    ///
    /// # Errors
    /// Where they are something else.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut read = Read { bytes };
        let [found] = read.take().ok_or(DecodeError::Short { table: "its head" })?;
        if found != VERSION {
            return Err(DecodeError::Version { found });
        }
        let mut delta = Self::default();
        macro_rules! read {
            ($table:ident, $name:expr) => {
                delta.$table = read_table(&mut read, $name)?;
            };
        }
        tables!(read);
        match read.bytes.len() {
            0 => Ok(delta),
            bytes => Err(DecodeError::Long { bytes }),
        }
    }
}

fn write_table<K: Field, V: Field>(
    out: &mut Vec<u8>,
    table: &'static str,
    entries: &[(K, V)],
) -> Result<(), DecodeError> {
    let count = u32::try_from(entries.len()).map_err(|_| DecodeError::TooMany { table, entries: entries.len() })?;
    count.write(out);
    for (key, value) in entries {
        key.write(out);
        value.write(out);
    }
    Ok(())
}

fn read_table<K: Field, V: Field>(read: &mut Read<'_>, table: &'static str) -> Result<Vec<(K, V)>, DecodeError> {
    let short = DecodeError::Short { table };
    let Some(count) = read.take().map(u32::from_le_bytes).and_then(|count| usize::try_from(count).ok()) else {
        return Err(short);
    };
    // What is there bounds what is asked for.
    if count > read.bytes.len() / (K::BYTES + V::BYTES) {
        return Err(short);
    }
    let mut entries = Vec::with_capacity(count);
    for entry in 0..count {
        match (K::read(read), V::read(read)) {
            (Some(key), Some(value)) => entries.push((key, value)),
            _ => return Err(DecodeError::Value { table, entry }),
        }
    }
    Ok(entries)
}

fn entry_bytes<K: Field, V: Field>(_: &[(K, V)]) -> usize {
    K::BYTES + V::BYTES
}

struct Read<'a> {
    bytes: &'a [u8],
}

impl Read<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        Some(*first)
    }
}

/// Something of a fixed size.
trait Field: Sized {
    const BYTES: usize;
    fn write(&self, out: &mut Vec<u8>);
    /// `None` where the bytes are too few, or mean nothing.
    fn read(read: &mut Read<'_>) -> Option<Self>;
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Field for $number {
            const BYTES: usize = size_of::<Self>();
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn read(read: &mut Read<'_>) -> Option<Self> {
                read.take().map(Self::from_le_bytes)
            }
        }
    )*};
}
numbers!(u8, u16, u32);

impl<const N: usize> Field for [u8; N] {
    const BYTES: usize = N;
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn read(read: &mut Read<'_>) -> Option<Self> {
        read.take()
    }
}

impl Field for [u32; 5] {
    const BYTES: usize = 20;
    fn write(&self, out: &mut Vec<u8>) {
        for number in self {
            number.write(out);
        }
    }
    fn read(read: &mut Read<'_>) -> Option<Self> {
        let mut all = [0; 5];
        for number in &mut all {
            *number = u32::read(read)?;
        }
        Some(all)
    }
}

/// Sixteen bytes of an address, which a key has in two words so that it is aligned: as they lie in memory.
impl Field for [u64; 2] {
    const BYTES: usize = 16;
    fn write(&self, out: &mut Vec<u8>) {
        for word in self {
            out.extend_from_slice(&word.to_ne_bytes());
        }
    }
    fn read(read: &mut Read<'_>) -> Option<Self> {
        Some([u64::from_ne_bytes(read.take()?), u64::from_ne_bytes(read.take()?)])
    }
}

impl Field for Option<u32> {
    const BYTES: usize = 5;
    fn write(&self, out: &mut Vec<u8>) {
        u8::from(self.is_some()).write(out);
        self.unwrap_or(0).write(out);
    }
    fn read(read: &mut Read<'_>) -> Option<Self> {
        match (u8::read(read)?, u32::read(read)?) {
            (0, 0) => Some(None),
            (1, value) => Some(Some(value)),
            _ => None,
        }
    }
}

macro_rules! structs {
    ($($name:ident { $($field:ident: $type:ty),* } $($pad:ident)?;)*) => {$(
        impl Field for $name {
            const BYTES: usize = 0 $(+ <$type as Field>::BYTES)*;
            fn write(&self, out: &mut Vec<u8>) {
                $(self.$field.write(out);)*
            }
            fn read(read: &mut Read<'_>) -> Option<Self> {
                Some(Self { $($field: <$type as Field>::read(read)?,)* $($pad: 0)? })
            }
        }
    )*};
}
structs! {
    Side { table: u32, isolated_by: u32, restricts: u32 } pad;
    RowKey { side: u32, class: u32 };
    PortRuns { starts: [u32; 5] } pad;
    Run { last: u16, allowed: u8, ground: u8, rule: u32 };
    Prefix4 { length: u32, address: [u8; 4] };
    Prefix6 { length: u32, address: [u8; 16] };
    VirtualKey { address: [u64; 2], port: u16, protocol: u8, family: u8 } pad;
    BackendsOf { first: u32, count: u32 };
    BackendOf { class: u32, port: u16 } pad;
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn at<V: std::fmt::Debug + 'static>(
        value: impl Strategy<Value = V> + 'static,
    ) -> impl Strategy<Value = Vec<(u32, V)>> {
        vec((0_u32..40, value), 0..12)
    }

    /// Deltas that touch the same few keys again and again.
    pub(crate) fn deltas() -> impl Strategy<Value = Delta> {
        let value = || proptest::option::of(any::<u32>());
        let side = any::<[u32; 3]>().prop_map(|[table, isolated_by, restricts]| Side {
            table,
            isolated_by,
            restricts,
            ..Side::default()
        });
        let row = (0_u32..4, 0_u32..4).prop_map(|(side, class)| RowKey { side, class });
        let ports = any::<[u32; 5]>().prop_map(|starts| PortRuns { starts, pad: 0 });
        let run =
            any::<(u16, u8, u8, u32)>().prop_map(|(last, allowed, ground, rule)| Run { last, allowed, ground, rule });
        let prefix4 =
            (0_u32..33, any::<u8>()).prop_map(|(length, last)| Prefix4 { length, address: [10, 0, 0, last & 3] });
        let prefix6 = (0_u32..129, any::<u8>()).prop_map(|(length, last)| Prefix6 { length, address: [last & 3; 16] });
        let virtuals = (0_u64..3, 0_u16..3, any::<u8>(), any::<bool>()).prop_map(|(low, port, protocol, six)| {
            let address = [u64::from_ne_bytes([10, 96, 0, 1, 0, 0, 0, 0]), low];
            VirtualKey { address, port, protocol: protocol & 1, family: if six { 6 } else { 4 }, pad: 0 }
        });
        let of = any::<[u32; 2]>().prop_map(|[first, count]| BackendsOf { first, count });
        let backend = any::<(u32, u16)>().prop_map(|(class, port)| BackendOf { class, port, pad: 0 });
        let class4 = (0_u8..4).prop_map(|last| [10, 0, 0, last]);
        let class6 = (0_u8..4).prop_map(|last| [last; 16]);
        let hashes = (
            vec((row, value()), 0..12),
            vec((class4, value()), 0..12),
            vec((class6, value()), 0..12),
            vec((prefix4, value()), 0..12),
            vec((prefix6, value()), 0..12),
            vec((virtuals, value()), 0..12),
        );
        let arrays = (at(side), at(ports), at(run), at(of), at(backend));
        (hashes, arrays).prop_map(|(hashes, arrays)| {
            let (rows, classes4, classes6, prefixes4, prefixes6, virtuals) = hashes;
            let (sides, ports, runs, backends_of, backends) = arrays;
            Delta {
                sides,
                rows,
                ports,
                runs,
                classes4,
                classes6,
                prefixes4,
                prefixes6,
                virtuals,
                backends_of,
                backends,
            }
        })
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(delta in deltas()) {
            let bytes = delta.encode().unwrap();
            prop_assert_eq!(bytes.len(), delta.encoded_bytes());
            prop_assert_eq!(Delta::decode(&bytes).unwrap(), delta);
        }

        #[test]
        fn a_part_is_refused(delta in deltas(), cut in any::<prop::sample::Index>()) {
            let bytes = delta.encode().unwrap();
            prop_assert!(Delta::decode(&bytes[..cut.index(bytes.len())]).is_err());
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(mut bytes in vec(any::<u8>(), 0..300), known in any::<bool>()) {
            if let Some(first) = bytes.first_mut().filter(|_| known) {
                *first = VERSION;
            }
            // There is one encoding of each delta, so that what is read is what was written.
            if let Ok(delta) = Delta::decode(&bytes) {
                prop_assert_eq!(delta.encode().unwrap(), bytes);
            }
        }
    }

    #[test]
    fn a_count_beyond_the_bytes_asks_for_no_memory() {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&u32::MAX.to_le_bytes());
        bytes.extend_from_slice(&[0; 64]);
        assert_eq!(Delta::decode(&bytes), Err(DecodeError::Short { table: "SIDES" }));
    }

    #[test]
    fn what_another_version_wrote_is_refused() {
        let mut bytes = Delta::default().encode().unwrap();
        bytes[0] = VERSION + 1;
        let error = Delta::decode(&bytes).unwrap_err();
        assert_eq!(error, DecodeError::Version { found: VERSION + 1 });
        assert!(error.to_string().contains("apply again"), "{error}");
    }

    #[test]
    fn bytes_after_the_end_are_refused() {
        let mut bytes = Delta::default().encode().unwrap();
        bytes.push(0);
        assert_eq!(Delta::decode(&bytes), Err(DecodeError::Long { bytes: 1 }));
    }
}
