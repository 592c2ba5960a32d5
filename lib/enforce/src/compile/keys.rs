//! Addresses, prefixes and services as the kernel's tables have them.

use std::net::IpAddr;

use chainkit_abi::{Prefix4, Prefix6, VirtualKey};
use chainkit_cluster::model::Protocol;
use chainkit_policy::{Family, Prefix, Transport, Virtual};

/// The key of what connections are opened to.
#[must_use]
pub fn virtual_key(target: &Virtual) -> VirtualKey {
    let key = |address, family: Family, transport: Transport, port| VirtualKey {
        address,
        port,
        protocol: transport.protocol().map_or(0, Protocol::number),
        family: if family == Family::V4 { 4 } else { 6 },
        pad: 0,
    };
    match target {
        Virtual::Address(address, transport, port) => key(words(*address), Family::of(*address), *transport, *port),
        Virtual::NodePort(family, transport, port) => key([0, 0], *family, *transport, *port),
    }
}

/// An address as it lies in a packet, IPv4 in the first four bytes.
#[must_use]
pub fn words(address: IpAddr) -> [u64; 2] {
    let mut bytes = [0; 16];
    match address.to_canonical() {
        IpAddr::V4(address) => {
            for (to, from) in bytes.iter_mut().zip(address.octets()) {
                *to = from;
            }
        }
        IpAddr::V6(address) => bytes = address.octets(),
    }
    let [a, b, c, d, e, f, g, h, rest @ ..] = bytes;
    [u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes(rest)]
}

/// A trie's key.
pub(super) fn prefix_key(prefix: &Prefix) -> Result<Prefix4, Prefix6> {
    let length = u32::from(prefix.length());
    match prefix.first() {
        IpAddr::V4(address) => Ok(Prefix4 { length, address: address.octets() }),
        IpAddr::V6(address) => Err(Prefix6 { length, address: address.octets() }),
    }
}
