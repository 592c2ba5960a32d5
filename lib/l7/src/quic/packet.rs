//! Packets with a long header, and the frames in them (RFC 9000, sections 17.2 and 19).

/// Bytes of a connection identifier, at most (RFC 9000, section 17.2).
const MAX_ID: usize = 20;

/// A version that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// RFC 9000.
    V1,
    /// RFC 9369.
    V2,
}

impl Version {
    fn of(number: [u8; 4]) -> Option<Self> {
        match u32::from_be_bytes(number) {
            1 => Some(Self::V1),
            // RFC 9369, section 3.1.
            0x6b33_43cf => Some(Self::V2),
            _ => None,
        }
    }
}

/// An Initial packet, protected.
#[derive(Debug)]
pub(super) struct Initial<'a> {
    pub(super) version: Version,
    /// The destination connection identifier.
    pub(super) destination: &'a [u8],
    /// The first byte.
    pub(super) first: u8,
    /// The header after its first byte, up to the packet number.
    pub(super) header: &'a [u8],
    /// The packet number and all that follows.
    pub(super) protected: &'a [u8],
}

/// What a datagram has in a place.
#[derive(Debug)]
pub(super) enum Packet<'a> {
    Initial(Initial<'a>),
    /// 0-RTT: data that is sent before the server is heard.
    Early,
    /// The server asks the client to begin anew; nothing follows it.
    Retry,
    /// What only those who know of each other send.
    Handshake,
}

/// Reads the packet that bytes begin with; with it what follows. `None`: it is no packet with a long header of a version that
/// is read.
///
/// The bit that is fixed to 1 is not looked at: those who have met before may set it as they like (RFC 9287).
pub(super) fn split(bytes: &[u8]) -> Option<(Packet<'_>, &[u8])> {
    let mut rest = Reader(bytes);
    let first = rest.byte()?;
    let version = Version::of(*rest.0.first_chunk::<4>()?)?;
    rest.take(4)?;
    if first & 0x80 == 0 {
        return None;
    }
    let destination = rest.id()?;
    rest.id()?;
    // RFC 9000, section 17.2, table 5; RFC 9369, section 3.2.
    let kind = match version {
        Version::V1 => (first >> 4) & 3,
        Version::V2 => ((first >> 4) & 3).wrapping_sub(1) & 3,
    };
    if kind == 3 {
        return Some((Packet::Retry, &[]));
    }
    if kind == 0 {
        let token = rest.length()?;
        rest.take(token)?;
    }
    let length = rest.length()?;
    let header = bytes.get(1..bytes.len().checked_sub(rest.0.len())?)?;
    let protected = rest.take(length)?;
    let packet = match kind {
        0 => Packet::Initial(Initial { version, destination, first, header, protected }),
        1 => Packet::Early,
        _ => Packet::Handshake,
    };
    Some((packet, rest.0))
}

/// Calls `found` with offset and bytes of each CRYPTO frame. `None`: there is a frame that is none of an Initial packet (RFC
/// 9000, section 17.2.2), or one that is torn, or `found` wants no more.
pub(super) fn crypto(frames: &[u8], mut found: impl FnMut(usize, &[u8]) -> Option<()>) -> Option<()> {
    let mut rest = Reader(frames);
    while let Some(kind) = rest.byte() {
        match kind {
            // PADDING, PING.
            0x00 | 0x01 => {}
            // ACK (section 19.3): of this kind with counts of ECN.
            0x02 | 0x03 => {
                rest.number()?;
                rest.number()?;
                let ranges = rest.number()?;
                rest.number()?;
                for _ in 0..ranges {
                    rest.number()?;
                    rest.number()?;
                }
                for _ in 0..if kind == 0x03 { 3 } else { 0 } {
                    rest.number()?;
                }
            }
            0x06 => {
                let (offset, length) = (rest.length()?, rest.length()?);
                found(offset, rest.take(length)?)?;
            }
            // CONNECTION_CLOSE (section 19.19).
            0x1c => {
                rest.number()?;
                rest.number()?;
                let reason = rest.length()?;
                rest.take(reason)?;
            }
            _ => return None,
        }
    }
    Some(())
}

/// Bytes that are read from their beginning.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn id(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.byte()?);
        if length > MAX_ID { None } else { self.take(length) }
    }

    /// A number of one, two, four or eight bytes (RFC 9000, section 16).
    fn number(&mut self) -> Option<u64> {
        let first = self.byte()?;
        let more = (1usize << (first >> 6)).checked_sub(1)?;
        let more = self.take(more)?;
        Some(more.iter().fold(u64::from(first & 0x3f), |number, byte| (number << 8) | u64::from(*byte)))
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_length_that_their_first_bits_say() {
        // RFC 9000, appendix A.1.
        for (bytes, number) in [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c][..], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
            (&[0x40, 0x25], 37),
        ] {
            let mut reader = Reader(bytes);
            assert_eq!((reader.number(), reader.0.len()), (Some(number), 0));
            assert_eq!(Reader(&bytes[..bytes.len() - 1]).number(), None);
        }
    }

    #[test]
    fn frames_that_no_initial_packet_has_are_refused_and_others_passed_over() {
        let mut told = Vec::new();
        let frames = [
            &[0, 1][..],
            &[2, 5, 0, 1, 0, 1, 1],
            &[3, 5, 0, 0, 0, 1, 1, 1],
            &[6, 0x40, 9, 2, 7, 8],
            &[0x1c, 0, 0, 1, 65],
        ]
        .concat();
        let read = crypto(&frames, |offset, bytes| {
            told.push((offset, bytes.to_vec()));
            Some(())
        });
        assert_eq!((read, told), (Some(()), vec![(9, vec![7, 8])]));
        // STREAM, HANDSHAKE_DONE, torn CRYPTO, ranges without end.
        for bad in [&[8, 0, 0][..], &[0x1e], &[6, 0, 2, 7], &[2, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]]
        {
            assert_eq!(crypto(bad, |_, _| Some(())), None, "{bad:02x?}");
        }
    }
}
