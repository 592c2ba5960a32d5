//! Watch streams, torn anywhere: what they say does not depend on how their bytes are cut up, and is bounded.
#![no_main]

use chainkit_cluster::model::Change;
use chainkit_cluster::{ClusterState, MAX_PROBLEMS, Reader, Said, Stream};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // The first byte says how long the pieces are.
    let Some((piece, stream)) = bytes.split_first() else {
        return;
    };
    let whole = said(stream, stream.len().max(1));
    let pieces = said(stream, usize::from(*piece).max(1));
    assert_eq!(format!("{whole:?}"), format!("{pieces:?}"));
    // Each object, each problem and each event takes a byte at least.
    assert!(whole.len() <= 2 * stream.len() + 1);
    let mut state = ClusterState::default();
    for said in whole {
        match said {
            Said::Set { object, .. } => drop(state.apply(Change::Set(object))),
            Said::Remove(name) => drop(state.apply(Change::Remove(name))),
            Said::Problem { problem, .. } => assert!(!problem.to_string().is_empty()),
            Said::Listed | Said::Unknown(_) => {}
        }
    }
    assert!(state.cluster().workloads.len() <= state.len());
    // A saved watch is read as the stream was, as far as both go.
    let mut reader = Reader::default();
    reader.text("watch", &String::from_utf8_lossy(stream));
    assert!(reader.finish().problems.len() <= MAX_PROBLEMS);
});

fn said(bytes: &[u8], piece: usize) -> Vec<Said> {
    let mut said = Vec::new();
    let mut stream = Stream::new("watch");
    for bytes in bytes.chunks(piece) {
        stream.feed(bytes, &mut |what| said.push(what));
    }
    stream.end(&mut |what| said.push(what));
    said
}
