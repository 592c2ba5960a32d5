//! QUIC: whatever comes, in whatever datagrams, it is read or left, and memory stays within its bounds. Since nothing that is
//! made up gets past its protection, the input is also taken for the frames of packets, which are protected here.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../../lib/l7/tests/common/initial.rs"]
#[allow(dead_code, reason = "its tests use all of it")]
mod initial;
#[path = "l7/pieces.rs"]
mod pieces;

use initial::{ID, Packet, V1, V2};

fuzz_target!(|bytes: &[u8]| {
    pieces::udp(bytes);
    pieces::udp(&protected(bytes));
});

/// The same pieces, each as the frames of an Initial packet of one of several beginnings.
fn protected(input: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    let mut rest = input;
    let mut number = 0;
    while let Some((&[who, what, high, low], after)) = rest.split_first_chunk::<{ pieces::HEADER }>() {
        let (frames, after) = after.split_at(usize::from(u16::from_be_bytes([high, low])).min(after.len()).min(8000));
        rest = after;
        let id = [&ID[..], &[what & 0x07]].concat();
        let version = if what & 0x08 == 0 { V1 } else { V2 };
        let packet = Packet { number, origin: id.clone(), destination: id, ..Packet::new(version, frames) }.protected();
        number += 1;
        all.extend([&[who, what][..], &(packet.len() as u16).to_be_bytes(), &packet].concat());
    }
    all
}
