//! Maps by connection of an observer's own, of which the one that was used least makes room for another.

use std::os::fd::{AsFd, OwnedFd};

use chainkit_abi::PayloadKey;

use crate::{
    btf::{self, Type},
    error::{Context, Result},
    sys::{self, NewMap},
};

/// Makes one for `most` connections; `what` it holds is for messages. The size of `V` is one of those that `btf.rs` knows.
pub(crate) fn map<V>(name: &'static str, most: u32, what: &str) -> Result<OwnedFd> {
    const LRU_HASH: u32 = 9;
    let (key, value) = (size_of::<PayloadKey>(), size_of::<V>());
    let types = btf::load().during(|| format!("load type information for {what}"))?;
    let new = NewMap {
        name,
        map_type: LRU_HASH,
        key_size: u32::try_from(key).unwrap_or(0),
        value_size: u32::try_from(value).unwrap_or(0),
        max_entries: most,
        flags: 0,
        btf: Some((types.as_fd(), Type::Struct(key).id(), Type::Struct(value).id())),
    };
    sys::create_map(new).during(|| format!("create a map for {what} of {most} connections"))
}
