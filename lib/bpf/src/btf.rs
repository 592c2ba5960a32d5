//! A BTF blob made by hand, for inner maps.
//!
//! A kernel before 6.3 takes an inner map only if it found in its value type what it found in that of the outer map's
//! template, which comes from our object: a struct without a timer. No type at all, or one that is no struct, is something
//! else to it (`-EINVAL` against `-ENOENT` in `timer_off`, compared by `bpf_map_meta_equal`). What types and members are
//! called does not matter, only their sizes.

use std::{io, os::fd::OwnedFd};

use crate::sys;

/// A type in the blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    /// An integer of 32 bits.
    U32,
    /// A struct of so many bytes, one of [`STRUCTS`].
    Struct(usize),
}

/// Sizes of the structs that keys and values of inner maps are.
const STRUCTS: [usize; 8] = [8, 16, 20, 24, 40, 48, 104, 256];

impl Type {
    /// Its number in the blob; 0, which is `void`, for a struct that is none of [`STRUCTS`].
    pub(crate) fn id(self) -> u32 {
        match self {
            Self::U32 => 1,
            Self::Struct(size) => {
                let place = STRUCTS.iter().position(|known| *known == size);
                place.and_then(|place| u32::try_from(place + 2).ok()).unwrap_or(0)
            }
        }
    }
}

/// Loads the blob. Layout: kernel `Documentation/bpf/btf.rst`, sections 2.1 and 2.2.
pub(crate) fn load() -> io::Result<OwnedFd> {
    sys::load_btf(&blob())
}

fn blob() -> Vec<u8> {
    const STRINGS: &[u8] = b"\0u32\0";
    const KIND_INT: u32 = 1 << 24;
    const KIND_ARRAY: u32 = 3 << 24;
    const KIND_STRUCT: u32 = 4 << 24;
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(0);
    let mut types: Vec<u32> = Vec::new();
    // An integer: name, kind, size in bytes, width in bits.
    types.extend([1, KIND_INT, 4, 32]);
    for (array, size) in (length(STRUCTS.len()) + 2..).zip(STRUCTS) {
        // A struct of one member: no name, kind and number of members, size in bytes; the member's name, type, bit offset.
        types.extend([0, KIND_STRUCT | 1, length(size), 0, array, 0]);
    }
    for size in STRUCTS {
        // An array: no name, kind, size unused; element type, index type, elements.
        types.extend([0, KIND_ARRAY, 0, Type::U32.id(), Type::U32.id(), length(size / 4)]);
    }
    let mut blob = Vec::new();
    blob.extend(0xeb9f_u16.to_ne_bytes());
    blob.extend([1, 0]);
    let types_length = length(types.len() * 4);
    for word in [24, 0, types_length, types_length, length(STRINGS.len())] {
        blob.extend(word.to_ne_bytes());
    }
    blob.extend(types.into_iter().flat_map(u32::to_ne_bytes));
    blob.extend(STRINGS);
    blob
}
