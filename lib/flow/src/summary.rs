//! A flow in a few words, as Hubble has them.

use std::borrow::Cow;

use crate::icmp;
use crate::layer4::{Icmp, Layer4};

/// The summary of a packet: that of its last header that has a name.
pub(crate) fn summary(layer4: Option<&Layer4>, family: u8) -> Cow<'static, str> {
    match layer4 {
        Some(Layer4::Tcp(tcp)) => match tcp.flags {
            None => Cow::Borrowed("TCP"),
            Some(flags) => {
                let mut text = String::with_capacity(32);
                text.push_str("TCP Flags: ");
                for (place, name) in flags.names().enumerate() {
                    if place > 0 {
                        text.push_str(", ");
                    }
                    text.push_str(name);
                }
                Cow::Owned(text)
            }
        },
        Some(Layer4::Udp(_)) => Cow::Borrowed("UDP"),
        Some(Layer4::Sctp(_)) => Cow::Borrowed("SCTP"),
        Some(Layer4::Icmp4(icmp)) => Cow::Owned(format!("ICMPv4 {}", icmp_name(false, icmp))),
        Some(Layer4::Icmp6(icmp)) => Cow::Owned(format!("ICMPv6 {}", icmp_name(true, icmp))),
        Some(Layer4::Other) | None => Cow::Borrowed(match family {
            4 => "IPv4",
            6 => "IPv6",
            _ => "Ethernet",
        }),
    }
}

fn icmp_name(ipv6: bool, icmp: &Icmp) -> Cow<'static, str> {
    icmp::name(ipv6, u8::try_from(icmp.kind).unwrap_or(u8::MAX), u8::try_from(icmp.code).unwrap_or(u8::MAX))
}
