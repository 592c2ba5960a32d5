//! Results that libcni has kept: read or refused; a path that is taken is a whole one.
#![no_main]

// What cni-chain reads them with: a program has no library to take it from.
#[path = "../../../bins/cni-chain/src/pods/claim.rs"]
#[allow(dead_code, reason = "the target reads bytes and merges nothing")]
mod claim;
#[path = "../../../bins/cni-chain/src/pods/files.rs"]
#[allow(dead_code, reason = "the target reads bytes, no files")]
mod files;
#[path = "../../../bins/cni-chain/src/pods/results.rs"]
#[allow(dead_code, reason = "the target reads bytes, no files")]
mod results;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(claim) = results::parse(bytes) else { return };
    assert!(claim.netns.is_none_or(|path| path.is_absolute()));
    assert_eq!(claim.attachments.len(), 1);
});
