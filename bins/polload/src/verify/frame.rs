//! Frames of sample packets: the first packet of a connection, with nothing in it. Checksums are 0, which the programs leave to the pod.

use std::net::IpAddr;

use chainkit_policy::Transport;

use super::boundaries::protocol;

/// IP protocol number of what others open to a pod and has no ports: another than that of what the pod opens ([`protocol`]), or the one would
/// be taken for the answer to the other. Set aside for experiments, too.
const OPENED_TO_POD: u8 = 254;

/// The first packet of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opening {
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    pub(super) transport: Transport,
    pub(super) source_port: u16,
    pub(super) port: u16,
    /// Others open it to the pod.
    pub(super) to_pod: bool,
}

impl Opening {
    /// Its IP protocol number.
    pub(super) const fn protocol(&self) -> u8 {
        match self.transport {
            Transport::Other if self.to_pod => OPENED_TO_POD,
            transport => protocol(transport),
        }
    }

    /// As it is on the wire; nothing where the addresses are of two families.
    pub(super) fn frame(&self) -> Option<Vec<u8>> {
        let payload = self.payload();
        let length = u16::try_from(payload.len()).ok()?;
        // Ethernet addresses of nobody's, locally administered.
        let mut frame = vec![0x02, 0, 0, 0, 0, 0x0a, 0x02, 0, 0, 0, 0, 0x0b];
        match (self.from, self.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                // RFC 791, section 3.1: no options, not to be fragmented, 64 hops.
                frame.extend([0x08, 0x00, 0x45, 0]);
                frame.extend((20 + length).to_be_bytes());
                frame.extend([0, 0, 0x40, 0, 64, self.protocol(), 0, 0]);
                frame.extend(from.octets());
                frame.extend(to.octets());
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                // RFC 8200, section 3.
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                frame.extend(length.to_be_bytes());
                frame.extend([self.protocol(), 64]);
                frame.extend(from.octets());
                frame.extend(to.octets());
            }
            _ => return None,
        }
        frame.extend(payload);
        Some(frame)
    }

    fn payload(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.transport != Transport::Other {
            bytes.extend(self.source_port.to_be_bytes());
            bytes.extend(self.port.to_be_bytes());
        }
        match self.transport {
            // RFC 9293, section 3.1: a header of five words, SYN, and a window.
            Transport::Tcp => bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]),
            Transport::Udp => bytes.extend([0, 8, 0, 0]),
            // RFC 9260, section 3.3.2: INIT of 20 bytes, whose header has no verification tag.
            Transport::Sctp => {
                bytes.extend([0; 8]);
                bytes.extend([1, 0, 0, 20, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
            }
            Transport::Other => bytes.extend([0; 8]),
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(from: &str, to: &str, transport: Transport) -> Opening {
        let [from, to] = [from, to].map(|address| address.parse().unwrap());
        Opening { from, to, transport, source_port: 700, port: 80, to_pod: false }
    }

    #[test]
    fn lengths_are_those_that_the_headers_tell() {
        for transport in Transport::ALL {
            let v4 = opening("10.0.0.1", "10.0.0.2", transport).frame().unwrap();
            assert_eq!(usize::from(u16::from_be_bytes([v4[16], v4[17]])), v4.len() - 14, "{transport}");
            assert_eq!(v4[23], protocol(transport));
            let v6 = opening("fd00::1", "fd00::2", transport).frame().unwrap();
            assert_eq!(usize::from(u16::from_be_bytes([v6[18], v6[19]])), v6.len() - 54, "{transport}");
            assert_eq!(v6[20], protocol(transport));
            if transport != Transport::Other {
                assert_eq!(v4[34..38], [0x02, 0xbc, 0, 80]);
                assert_eq!(v6[54..58], [0x02, 0xbc, 0, 80]);
            }
        }
    }

    #[test]
    fn what_has_no_ports_is_told_apart_by_who_opens_it() {
        let by_pod = opening("10.0.0.1", "10.0.0.2", Transport::Other);
        assert_ne!(by_pod.protocol(), Opening { to_pod: true, ..by_pod }.protocol());
        let by_pod = opening("10.0.0.1", "10.0.0.2", Transport::Udp);
        assert_eq!(by_pod.protocol(), Opening { to_pod: true, ..by_pod }.protocol());
    }

    #[test]
    fn two_families_make_no_packet() {
        assert!(opening("10.0.0.1", "fd00::2", Transport::Tcp).frame().is_none());
    }
}
