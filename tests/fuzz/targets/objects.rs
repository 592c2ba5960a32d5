//! Kubernetes objects: read or refused, and names made of them.
#![no_main]

use chainkit_cluster::{Names, Objects};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut objects = Objects::default();
    objects.text("input", &String::from_utf8_lossy(bytes));
    let names = Names::new(&objects, &[]);
    for (address, pod) in names.addresses() {
        assert!(names.pod(address).is_some_and(|found| found.name == pod.name));
    }
});
