//! HTTP/1, over TCP: whatever comes, in whatever pieces, it is read or left, and memory stays within its bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "l7/pieces.rs"]
mod pieces;

fuzz_target!(|bytes: &[u8]| pieces::tcp(bytes));
