//! Entries of maps: read, written and taken out, one by one or in batches.

use std::{io, os::fd::BorrowedFd};

use aya_obj::generated::bpf_cmd;

use super::{address, attributes, call, map_facts, number};

/// Every entry of a hash map, read in batches while it changes: one that comes or goes meanwhile may be missed.
///
/// The sizes of `K` and `V` must be those of the map; the caller has checked them.
pub(crate) fn entries<K: aya::Pod + Default, V: aya::Pod + Default>(map: BorrowedFd<'_>) -> io::Result<Vec<(K, V)>> {
    /// Entries asked for at once; doubled while the kernel says that a bucket does not fit.
    const BATCH: usize = 1024;
    check_layout::<K, V>(map)?;
    let mut found = Vec::new();
    let mut cursor = [0u8; 64];
    let mut first = true;
    let mut batch = BATCH;
    loop {
        let mut keys = vec![K::default(); batch];
        let mut values = vec![V::default(); batch];
        let mut attributes = attributes();
        // SAFETY: buffers live over the call and hold `count` keys and values; the cursor is longer than any key.
        let (answer, count) = unsafe {
            attributes.batch.in_batch = if first { 0 } else { cursor.as_ptr() as u64 };
            attributes.batch.out_batch = cursor.as_mut_ptr() as u64;
            attributes.batch.keys = keys.as_mut_ptr() as u64;
            attributes.batch.values = values.as_mut_ptr() as u64;
            attributes.batch.count = u32::try_from(batch).unwrap_or(u32::MAX);
            attributes.batch.map_fd = number(map);
            let answer = call(bpf_cmd::BPF_MAP_LOOKUP_BATCH, &mut attributes);
            (answer, attributes.batch.count)
        };
        let count = usize::try_from(count).unwrap_or(0).min(batch);
        match answer {
            Ok(_) => found.extend(keys.into_iter().zip(values).take(count)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                found.extend(keys.into_iter().zip(values).take(count));
                return Ok(found);
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) && batch < 1 << 20 => {
                batch *= 2;
                continue;
            }
            Err(error) => return Err(error),
        }
        first = false;
    }
}

/// Every entry of a map that the kernel does not read in batches; one that comes or goes meanwhile may be missed.
///
/// The sizes of `K` and `V` must be those of the map, which is checked.
pub(crate) fn entries_one_by_one<K: aya::Pod + Default, V: aya::Pod + Default>(
    map: BorrowedFd<'_>,
) -> io::Result<Vec<(K, V)>> {
    check_layout::<K, V>(map)?;
    let mut found = Vec::new();
    let mut before: Option<K> = None;
    loop {
        let mut key = K::default();
        let mut attributes = attributes();
        attributes.__bindgen_anon_2.map_fd = number(map);
        attributes.__bindgen_anon_2.key = before.as_ref().map_or(0, address);
        attributes.__bindgen_anon_2.__bindgen_anon_1.next_key = std::ptr::from_mut(&mut key) as u64;
        match call(bpf_cmd::BPF_MAP_GET_NEXT_KEY, &mut attributes) {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(found),
            Err(error) => return Err(error),
        }
        found.extend(look_up(map, &key)?.map(|value| (key, value)));
        before = Some(key);
    }
}

/// Refuses a map whose keys or values have other sizes.
fn check_layout<K, V>(map: BorrowedFd<'_>) -> io::Result<()> {
    let facts = map_facts(map)?;
    if facts.key_size as usize == size_of::<K>() && facts.value_size as usize == size_of::<V>() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("map {} has another layout", facts.name)))
}

/// The value of a key. The sizes of `K` and `V` must be those of the map: the caller has made or checked it.
pub(crate) fn look_up<K: aya::Pod, V: aya::Pod + Default>(map: BorrowedFd<'_>, key: &K) -> io::Result<Option<V>> {
    check_layout::<K, V>(map)?;
    let mut value = V::default();
    let mut attributes = attributes();
    attributes.__bindgen_anon_2.map_fd = number(map);
    attributes.__bindgen_anon_2.key = address(key);
    attributes.__bindgen_anon_2.__bindgen_anon_1.value = std::ptr::from_mut(&mut value) as u64;
    match call(bpf_cmd::BPF_MAP_LOOKUP_ELEM, &mut attributes) {
        Ok(_) => Ok(Some(value)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes entries, as many as there are both keys and values: in batches where the map takes them, else one by one.
pub(crate) fn update_all<K: aya::Pod, V: aya::Pod>(map: BorrowedFd<'_>, keys: &[K], values: &[V]) -> io::Result<()> {
    /// More are written at once than this only if the kernel lets others run meanwhile, which it does between batches.
    const BATCH: usize = 4096;
    /// `ENOTSUPP` of the kernel (include/linux/errno.h), which is none of user space's.
    const UNSUPPORTED: i32 = 524;
    check_layout::<K, V>(map)?;
    let mut batched = keys.len() > 1;
    for (keys, values) in keys.chunks(BATCH).zip(values.chunks(BATCH)) {
        if batched {
            let mut attributes = attributes();
            attributes.batch.keys = keys.as_ptr() as u64;
            attributes.batch.values = values.as_ptr() as u64;
            attributes.batch.count = u32::try_from(keys.len().min(values.len())).unwrap_or(0);
            attributes.batch.map_fd = number(map);
            match call(bpf_cmd::BPF_MAP_UPDATE_BATCH, &mut attributes) {
                Ok(_) => continue,
                Err(error) if matches!(error.raw_os_error(), Some(UNSUPPORTED | libc::EINVAL | libc::EOPNOTSUPP)) => {
                    batched = false;
                }
                Err(error) => return Err(error),
            }
        }
        keys.iter().zip(values).try_for_each(|(key, value)| update(map, key, value))?;
    }
    Ok(())
}

/// Writes one entry. The sizes must be those of the map: the caller has made or checked it.
pub(crate) fn update<K: aya::Pod, V: aya::Pod>(map: BorrowedFd<'_>, key: &K, value: &V) -> io::Result<()> {
    let mut attributes = attributes();
    attributes.__bindgen_anon_2.map_fd = number(map);
    attributes.__bindgen_anon_2.key = address(key);
    attributes.__bindgen_anon_2.__bindgen_anon_1.value = address(value);
    call(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attributes).map(drop)
}

/// Takes an entry of a hash map out and answers what it was, in one step (Linux 5.14); one that is not there is `None`.
pub(crate) fn take_entry<K: aya::Pod, V: aya::Pod + Default>(map: BorrowedFd<'_>, key: &K) -> io::Result<Option<V>> {
    check_layout::<K, V>(map)?;
    let mut value = V::default();
    let mut attributes = attributes();
    attributes.__bindgen_anon_2.map_fd = number(map);
    attributes.__bindgen_anon_2.key = address(key);
    attributes.__bindgen_anon_2.__bindgen_anon_1.value = std::ptr::from_mut(&mut value) as u64;
    match call(bpf_cmd::BPF_MAP_LOOKUP_AND_DELETE_ELEM, &mut attributes) {
        Ok(_) => Ok(Some(value)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes an entry out; one that is not there is no error.
pub(crate) fn delete<K: aya::Pod>(map: BorrowedFd<'_>, key: &K) -> io::Result<()> {
    if map_facts(map)?.key_size as usize != size_of::<K>() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the map has another layout"));
    }
    let mut attributes = attributes();
    attributes.__bindgen_anon_2.map_fd = number(map);
    attributes.__bindgen_anon_2.key = address(key);
    match call(bpf_cmd::BPF_MAP_DELETE_ELEM, &mut attributes) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other.map(drop),
    }
}
