//! Endpoint records: read or refused; what is read is written and read again the same.
#![no_main]

use chainkit_cluster::EndpointRecord;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(record) = serde_json::from_slice::<EndpointRecord>(bytes) else { return };
    let Ok(written) = serde_json::to_vec(&record) else { return };
    assert_eq!(serde_json::from_slice::<EndpointRecord>(&written).ok(), Some(record));
});
