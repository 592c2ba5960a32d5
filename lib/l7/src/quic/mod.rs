//! QUIC, versions 1 and 2: the ClientHello in a client's first packets (RFC 9001, section 4, and RFC 9369). Their keys are derived
//! from what is in them, so that a name that is told is one whose packet was authentic; nothing of what follows can be read.

mod keys;
mod packet;

use crate::decoder::{Context, Next};
use crate::message::Protocol;
use crate::piece::Side;
use crate::tls::{self, Hello};
use keys::Keys;
use packet::{Initial, Packet, Version};

/// A ClientHello that ends after so many bytes is not read; with post-quantum keys they have two to four thousand.
const MAX_CRYPTO: usize = 16 * 1024;
/// Beginnings of one connection that are followed: the first, and what comes after each Retry (RFC 9000, section 17.2.5.2:
/// a client accepts one), or after another client has taken the port.
const MAX_ATTEMPTS: usize = 3;
/// Datagrams, of both sides, within which the ClientHello is whole or given up.
const MAX_DATAGRAMS: u32 = 64;

/// Whether a datagram begins like the first of a connection that is seen: with what is sent before both know of each other.
pub(crate) fn begins(bytes: &[u8]) -> bool {
    matches!(packet::split(bytes), Some((Packet::Initial(_) | Packet::Early | Packet::Retry, _)))
}

/// The decoder of a connection, until the ClientHello.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// The client, once one of its packets was read.
    client: Option<Side>,
    /// The newest last.
    attempts: Vec<Attempt>,
    datagrams: u32,
    pub(crate) next: Option<Next>,
}

/// What is known of a beginning.
#[derive(Debug)]
struct Attempt {
    version: Version,
    /// The identifier that its keys come from.
    destination: Vec<u8>,
    keys: Keys,
    hello: Assembly,
}

/// The stream of CRYPTO frames, as far as it is known.
#[derive(Debug, Default)]
struct Assembly {
    bytes: Vec<u8>,
    is_known: Vec<bool>,
    /// How many bytes are known without a hole.
    whole: usize,
}

impl Decoder {
    /// A datagram; there may be several packets in it (RFC 9000, section 12.2).
    pub(crate) fn datagram(&mut self, side: Side, bytes: &[u8], cx: &mut Context<'_>) {
        self.datagrams = self.datagrams.saturating_add(1);
        let mut rest = bytes;
        while let Some((packet, after)) = packet::split(rest) {
            rest = after;
            if let Packet::Initial(initial) = packet
                && self.client.is_none_or(|client| client == side)
            {
                self.initial(side, &initial, cx);
            }
            if self.next.is_some() {
                return;
            }
        }
        if self.datagrams >= MAX_DATAGRAMS {
            self.next = Some(Next::Done);
        }
    }

    fn initial(&mut self, side: Side, packet: &Initial<'_>, cx: &mut Context<'_>) {
        let Some((at, frames)) = self.open(packet) else { return };
        self.client = Some(side);
        let Some(attempt) = self.attempts.get_mut(at) else { return };
        // Of a packet that contradicts itself or what came before, nothing can be said.
        if packet::crypto(&frames, |offset, bytes| attempt.hello.put(offset, bytes)).is_none() {
            self.next = Some(Next::Done);
            return;
        }
        match tls::client_hello(attempt.hello.whole()) {
            Hello::More => {}
            Hello::Other => self.next = Some(Next::Done),
            Hello::Whole(tls) => {
                cx.tell(tls::message(side, Protocol::Quic, tls, cx));
                self.next = Some(Next::Done);
            }
        }
    }

    /// The frames of a packet, and the attempt that it is of. The client goes on with the keys of its beginning when it has been
    /// told the server's identifier (RFC 9001, section 5.2), so that those are tried first.
    fn open(&mut self, packet: &Initial<'_>) -> Option<(usize, Vec<u8>)> {
        for (at, attempt) in self.attempts.iter().enumerate().rev() {
            if attempt.version == packet.version
                && let Some(frames) = attempt.keys.open(packet)
            {
                return Some((at, frames));
            }
        }
        let is_tried = |one: &Attempt| one.version == packet.version && one.destination == packet.destination;
        if self.attempts.iter().any(is_tried) {
            return None;
        }
        let keys = Keys::new(packet.version, packet.destination)?;
        let frames = keys.open(packet)?;
        if self.attempts.len() >= MAX_ATTEMPTS {
            self.attempts.remove(0);
        }
        let destination = packet.destination.to_vec();
        self.attempts.push(Attempt { version: packet.version, destination, keys, hello: Assembly::default() });
        Some((self.attempts.len().saturating_sub(1), frames))
    }

    /// Bytes of memory beyond its own.
    pub(crate) fn memory(&self) -> usize {
        let of_attempt = |one: &Attempt| one.destination.capacity().saturating_add(one.hello.memory());
        let attempts: usize = self.attempts.iter().map(of_attempt).sum();
        attempts.saturating_add(self.attempts.capacity().saturating_mul(size_of::<Attempt>()))
    }
}

impl Assembly {
    /// Puts bytes where they belong; `None`: they contradict what is there, or lie too far ahead.
    fn put(&mut self, offset: usize, bytes: &[u8]) -> Option<()> {
        let end = offset.checked_add(bytes.len()).filter(|end| *end <= MAX_CRYPTO)?;
        if end > self.bytes.len() {
            self.bytes.resize(end, 0);
            self.is_known.resize(end, false);
        }
        let places = self.bytes.get_mut(offset..end)?.iter_mut().zip(self.is_known.get_mut(offset..end)?);
        for ((place, is_known), byte) in places.zip(bytes) {
            if *is_known && place != byte {
                return None;
            }
            (*place, *is_known) = (*byte, true);
        }
        let more = self.is_known.get(self.whole..)?.iter().take_while(|is_known| **is_known).count();
        self.whole = self.whole.saturating_add(more);
        Some(())
    }

    fn whole(&self) -> &[u8] {
        self.bytes.get(..self.whole).unwrap_or_default()
    }

    fn memory(&self) -> usize {
        self.bytes.capacity().saturating_add(self.is_known.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_in_any_order_is_whole_up_to_its_first_hole() {
        let mut stream = Assembly::default();
        for (offset, bytes, whole) in [
            (4, &b"ef"[..], &b""[..]),
            (0, b"a", b"a"),
            (0, b"abc", b"abc"),
            (5, b"fg", b"abc"),
            (2, b"cde", b"abcdefg"),
        ] {
            assert_eq!((stream.put(offset, bytes), stream.whole()), (Some(()), whole));
        }
    }

    #[test]
    fn what_contradicts_or_lies_too_far_ahead_is_refused() {
        let mut stream = Assembly::default();
        assert_eq!(stream.put(0, b"abc"), Some(()));
        assert_eq!(stream.put(2, b"x"), None);
        assert_eq!(stream.put(MAX_CRYPTO, b"x"), None);
        assert_eq!(stream.put(usize::MAX, b"x"), None);
        assert_eq!(stream.put(MAX_CRYPTO - 1, b"x"), Some(()));
    }
}
