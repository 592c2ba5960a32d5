//! The VPC CNI's list of addresses: read or refused, within bounds.
#![no_main]

// What cni-chain reads it with: a program has no library to take it from.
#[path = "../../../bins/cni-chain/src/pods/claim.rs"]
#[allow(dead_code, reason = "the target reads bytes and merges nothing")]
mod claim;
#[path = "../../../bins/cni-chain/src/pods/files.rs"]
#[allow(dead_code, reason = "the target reads bytes, no files")]
mod files;
#[path = "../../../bins/cni-chain/src/pods/ipam.rs"]
#[allow(dead_code, reason = "the target reads bytes, no files")]
mod ipam;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok((claims, _)) = ipam::parse(bytes) else { return };
    for claim in claims {
        assert_eq!(claim.host_names.is_empty(), claim.name.is_empty());
        assert!(claim.host_names.len() <= 16 && claim.host_names.iter().all(|name| name.len() == 11));
    }
});
