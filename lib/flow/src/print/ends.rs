//! Hosts and identities of a flow.

use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;

use super::{CYAN, MAGENTA, PLAIN, YELLOW, ports};
use crate::model::{Endpoint, Flow};
use crate::resolve::Service;
use crate::text::{Lenient, Mac, push_visible};

/// Which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Source,
    Destination,
}

pub(super) const SOURCE: Side = Side::Source;
pub(super) const DESTINATION: Side = Side::Destination;

/// What is known of one end.
struct End<'a> {
    endpoint: Option<&'a Arc<Endpoint>>,
    service: Option<&'a Service>,
    names: &'a [String],
    address: Option<&'a Lenient<IpAddr>>,
    mac: Option<&'a Lenient<Mac>>,
    port: u32,
}

fn end(flow: &Flow, side: Side) -> End<'_> {
    let ports = ports(flow);
    match side {
        Side::Source => End {
            endpoint: flow.source.as_ref(),
            service: flow.source_service.as_ref(),
            names: &flow.source_names,
            address: flow.ip.as_ref().and_then(|ip| ip.source.as_ref()),
            mac: flow.ethernet.as_ref().and_then(|ethernet| ethernet.source.as_ref()),
            port: ports.source_port,
        },
        Side::Destination => End {
            endpoint: flow.destination.as_ref(),
            service: flow.destination_service.as_ref(),
            names: &flow.destination_names,
            address: flow.ip.as_ref().and_then(|ip| ip.destination.as_ref()),
            mac: flow.ethernet.as_ref().and_then(|ethernet| ethernet.destination.as_ref()),
            port: ports.destination_port,
        },
    }
}

/// Appends `NAMESPACE/POD:PORT`, or what takes its place: the service, DNS names, the address; without IP the Ethernet
/// address. Where only numbers are wanted it is always the address.
pub(super) fn push_host(flow: &Flow, side: Side, numeric: bool, colour: bool, out: &mut Vec<u8>) {
    let end = end(flow, side);
    if flow.ip.is_none() {
        if let Some(mac) = end.mac {
            paint(colour.then_some(CYAN), out, |out| push_visible(out, &mac.to_string()));
        }
        return;
    }
    let start = out.len();
    push_name(&end, numeric, out);
    let host = out.get(start..).unwrap_or_default();
    let has_name = !host.is_empty();
    // As net.JoinHostPort of Go.
    let brackets = end.port != 0 && (host.contains(&b':') || host.contains(&b'%'));
    if colour && has_name {
        out.splice(start..start, CYAN.iter().copied());
        out.extend_from_slice(PLAIN);
    }
    if brackets {
        out.insert(start, b'[');
        out.push(b']');
    }
    if end.port != 0 {
        out.push(b':');
        paint(colour.then_some(YELLOW), out, |out| push_number(end.port, out));
    }
}

/// Appends something in a colour, if there is one.
fn paint(colour: Option<&[u8]>, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(colour.unwrap_or_default());
    write(out);
    if colour.is_some() {
        out.extend_from_slice(PLAIN);
    }
}

/// Appends a number in decimal: there are up to four in every line, and the general way of formatting one shows in a profile.
fn push_number(number: u32, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 10];
    let (mut rest, mut length) = (number, 0);
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
        length += 1;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - length..).unwrap_or_default());
}

fn push_name(end: &End<'_>, numeric: bool, out: &mut Vec<u8>) {
    let service = end.service.map(|service| (service.0.namespace.as_str(), service.0.name.as_str()));
    let pod = end.endpoint.map_or(("", ""), |endpoint| (endpoint.namespace.as_str(), endpoint.pod_name.as_str()));
    let namespace = service.map_or(pod.0, |(namespace, _)| namespace);
    let name = if pod.1.is_empty() { service.map_or("", |(_, name)| name) } else { pod.1 };
    if !numeric && !name.is_empty() {
        if !namespace.is_empty() {
            push_visible(out, namespace);
            out.push(b'/');
        }
        return push_visible(out, name);
    }
    if !numeric && !end.names.is_empty() {
        for (place, name) in end.names.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            push_visible(out, name);
        }
        return;
    }
    match end.address {
        Some(Lenient::Known(address)) => {
            let _ = write!(out, "{address}");
        }
        Some(Lenient::Text(text)) => push_visible(out, text),
        None => {}
    }
}

/// Reserved identities (cilium, `pkg/identity/numericidentity.go`).
pub(crate) const RESERVED: [&str; 11] = [
    "unknown",
    "host",
    "world",
    "unmanaged",
    "health",
    "init",
    "remote-node",
    "kube-apiserver",
    "ingress",
    "world-ipv4",
    "world-ipv6",
];

/// Appends the security identity, such as ` (host)` or ` (ID:4711)`; nothing where there is none, which Hubble tells as
/// `(unknown)`: chainkit gives pods no identities.
pub(super) fn push_identity(flow: &Flow, side: Side, colour: bool, out: &mut Vec<u8>) {
    let identity = end(flow, side).endpoint.map_or(0, |endpoint| endpoint.identity);
    if identity == 0 {
        return;
    }
    let reserved = usize::try_from(identity).ok().and_then(|identity| RESERVED.get(identity));
    out.push(b' ');
    paint(colour.then_some(MAGENTA), out, |out| {
        out.push(b'(');
        match reserved {
            Some(name) => out.extend_from_slice(name.as_bytes()),
            None => {
                out.extend_from_slice(b"ID:");
                push_number(identity, out);
            }
        }
        out.push(b')');
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_standard_library_does() {
        for number in [0, 7, 10, 80, 4_711, 65_535, 999_999_999, 1_000_000_000, u32::MAX] {
            let mut out = b":".to_vec();
            push_number(number, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), format!(":{number}"));
        }
    }
}
