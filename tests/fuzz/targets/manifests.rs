//! Kubernetes objects with their places, as policy reads them, in YAML and in JSON: read or refused, in bounds.
#![no_main]

use chainkit_cluster::{MAX_PROBLEMS, Reader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // What is not UTF-8 is refused before it is a text.
    let text = String::from_utf8_lossy(bytes);
    read(&text);
    // Behind a comment JSON is read as the YAML that it is, too.
    read(&format!("# YAML\n{text}"));
    read(&format!("{{\"kind\":\"List\",\"items\":[{text}]}}"));
});

fn read(text: &str) {
    let mut reader = Reader::default();
    reader.text("input", text);
    // Objects that are given again replace the first ones, and are told.
    reader.text("again", text);
    let cluster = reader.finish();
    let lines = text.matches(['\n', '\r']).count() + 1;
    assert!(cluster.problems.len() <= MAX_PROBLEMS);
    for problem in &cluster.problems {
        assert!(problem.line <= lines && !problem.to_string().is_empty());
    }
    for workload in &cluster.workloads {
        assert!(!workload.name.is_empty() && workload.origin.line <= lines);
        assert!(cluster.namespaces.iter().any(|namespace| namespace.name == workload.namespace));
    }
    // An object takes more than a byte, whatever aliases say.
    assert!(cluster.workloads.len() + cluster.network_policies.len() + cluster.cluster_policies.len() <= text.len());
}
