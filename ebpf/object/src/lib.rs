//! The eBPF objects as `ebpf/build` made them, so that whoever builds chainkit needs stable Rust and nothing else.
//!
//! `PROVENANCE` beside them says from which sources and with which tools they were built; `ebpf/build --check` builds them
//! again and compares. They carry BTF and no debug information.
#![no_std]
#![forbid(unsafe_code)]

/// Bytes at an address that an ELF reader may cast to its headers.
#[repr(C, align(16))]
struct Aligned<T: ?Sized>(T);

static DATAPATH_ALIGNED: &Aligned<[u8]> = &Aligned(*include_bytes!("../datapath.o"));
static DROPS_ALIGNED: &Aligned<[u8]> = &Aligned(*include_bytes!("../drops.o"));
static FLOOR_ALIGNED: &Aligned<[u8]> = &Aligned(*include_bytes!("../floor.o"));

/// The datapath: programs `from_pod`, `to_pod`, `sweep` and `clock`, and their maps.
pub static DATAPATH: &[u8] = &DATAPATH_ALIGNED.0;

/// What tells of packets that the kernel drops: program `drops`, and its maps.
pub static DROPS: &[u8] = &DROPS_ALIGNED.0;

/// The floor that benches measure against: programs `floor` and `empty`.
pub static FLOOR: &[u8] = &FLOOR_ALIGNED.0;
