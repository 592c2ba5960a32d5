//! The kernel's messages about connections: read or refused, and what is made of them is about the pod that was asked about.
#![no_main]

use chainkit_node::{merge, parse_conntrack};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(entry) = parse_conntrack(bytes) else { return };
    assert_eq!(entry.original.src.is_ipv4(), entry.original.dst.is_ipv4());
    for address in [entry.original.src, entry.original.dst, entry.reply.src, entry.reply.dst] {
        let address = address.to_canonical();
        let known = merge(&[address], &[entry], &[entry], &[]);
        assert!(known.len() <= 3 && known.iter().all(|one| one.local == address));
    }
});
