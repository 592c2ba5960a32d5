//! Every pod that is judged has its packets seen.

use super::snapshot::Snapshot;
use super::{Counterexample, What};
use crate::kernel::bpf_failure;

/// The first pod whose packets no program of ours sees for certain.
pub(super) fn look(datapath: &chainkit_bpf::Datapath, snapshot: &Snapshot) -> anyhow::Result<Option<Counterexample>> {
    let mut first: Option<Counterexample> = None;
    for (_, endpoint, _) in &snapshot.standings {
        for gap in chainkit_bpf::gaps(datapath, endpoint.ifindex).map_err(bpf_failure)? {
            if let Some(first) = &mut first {
                first.more += 1;
                continue;
            }
            first = Some(Counterexample {
                kind: "Counterexample",
                generation: snapshot.generation,
                set: snapshot.which,
                what: What::Attachment,
                table: None,
                entry: Some(format!("interface {}", endpoint.ifindex)),
                flow: None,
                expected: "our programs see its packets, and before others do".to_owned(),
                found: gap,
                means: format!("what is denied to {} may pass", snapshot.title(endpoint.ifindex)),
                more: 0,
            });
        }
    }
    Ok(first)
}
