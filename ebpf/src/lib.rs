//! What chainkit runs in the kernel.
//!
//! Nothing here may panic, loop without bound, or keep a pointer into a packet over a call that may move it. What lies in
//! maps is described by `chainkit-abi`, which user space reads too. Start at [`hook::run`].
#![no_std]
#![feature(asm_experimental_arch)]

pub mod atomic;
pub mod count;
pub mod enter;
pub mod family;
pub mod health;
pub mod hook;
pub mod lately;
pub mod malformed;
pub mod maps;
pub mod observe;
pub mod packet;
pub mod parse;
pub mod payload;
pub mod pending;
pub mod plain;
pub mod related;
pub mod slow;
pub mod sweep;
pub mod table;
pub mod time;
pub mod track;
pub mod verdict;
