//! The keys that protect what a client says first: anyone who sees the packet can derive them (RFC 9001, section 5.2).

use ring::aead::quic::{self, HeaderProtectionKey};
use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{self, KeyType, Prk, Salt};

use super::packet::{Initial, Version};

/// Bytes of a nonce (RFC 5116, section 5.1).
const NONCE: usize = 12;

/// What a version derives its keys with.
struct Labels {
    salt: [u8; 20],
    key: &'static [u8],
    nonce: &'static [u8],
    header: &'static [u8],
}

/// RFC 9001, sections 5.1 and 5.2.
const V1: Labels = Labels {
    salt: [
        0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb,
        0x7f, 0x0a,
    ],
    key: b"quic key",
    nonce: b"quic iv",
    header: b"quic hp",
};

/// RFC 9369, sections 3.3.1 and 3.3.2.
const V2: Labels = Labels {
    salt: [
        0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93, 0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb, 0xf9, 0xbd,
        0x2e, 0xd9,
    ],
    key: b"quicv2 key",
    nonce: b"quicv2 iv",
    header: b"quicv2 hp",
};

/// The keys of a client's Initial packets.
#[derive(Debug)]
pub(super) struct Keys {
    packet: LessSafeKey,
    nonce: [u8; NONCE],
    header: HeaderKey,
}

struct HeaderKey(HeaderProtectionKey);

impl std::fmt::Debug for HeaderKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("HeaderKey").finish_non_exhaustive()
    }
}

/// A length of what is derived, for what is no key of an algorithm.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-Expand-Label without a context (RFC 8446, section 7.1).
fn derive<T, L: KeyType, R>(secret: &Prk, label: &[u8], kind: L, made: T) -> Option<R>
where
    T: FnOnce(hkdf::Okm<'_, L>) -> Option<R>,
{
    let length = u16::try_from(kind.len()).ok()?.to_be_bytes();
    let label_length = u8::try_from(label.len()).ok()?.checked_add(6)?;
    made(secret.expand(&[&length, &[label_length], b"tls13 ", label, &[0]], kind).ok()?)
}

impl Keys {
    /// Of the client whose first packet has this destination connection identifier, or of the one that was sent after a Retry.
    pub(super) fn new(version: Version, destination: &[u8]) -> Option<Self> {
        let labels = match version {
            Version::V1 => V1,
            Version::V2 => V2,
        };
        let initial = Salt::new(hkdf::HKDF_SHA256, &labels.salt).extract(destination);
        let client = derive(&initial, b"client in", hkdf::HKDF_SHA256, |okm| Some(Prk::from(okm)))?;
        let mut nonce = [0; NONCE];
        derive(&client, labels.nonce, Length(NONCE), |okm| okm.fill(&mut nonce).ok())?;
        Some(Self {
            packet: derive(&client, labels.key, &aead::AES_128_GCM, |okm| {
                Some(LessSafeKey::new(UnboundKey::from(okm)))
            })?,
            nonce,
            header: derive(&client, labels.header, &quic::AES_128, |okm| Some(HeaderKey(okm.into())))?,
        })
    }

    /// The frames of a packet, if these are its keys. Its number is taken to be as short as it is written: a client that
    /// has not been heard out has no number of more bytes that it could leave out (RFC 9000, section 17.1).
    pub(super) fn open(&self, packet: &Initial<'_>) -> Option<Vec<u8>> {
        // RFC 9001, section 5.4.2: as if the number had four bytes.
        let sample = packet.protected.get(4..20)?;
        let [first_mask, number_mask @ ..] = self.header.0.new_mask(sample).ok()?;
        let first = packet.first ^ (first_mask & 0x0f);
        let number_length = usize::from(first & 0x03).checked_add(1)?;
        let (number, protected) = packet.protected.split_at_checked(number_length)?;
        let number: Vec<u8> = number.iter().zip(number_mask).map(|(byte, mask)| byte ^ mask).collect();
        let mut nonce = self.nonce;
        for (byte, number) in nonce.iter_mut().rev().zip(number.iter().rev()) {
            *byte ^= number;
        }
        // What is authenticated is the header as it was before its protection.
        let header = [&[first], packet.header, &number[..]].concat();
        let mut frames = protected.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let length = self.packet.open_in_place(nonce, Aad::from(&header[..]), &mut frames).ok()?.len();
        frames.truncate(length);
        // Reserved bits are zero (RFC 9000, section 17.2).
        (first & 0x0c == 0).then_some(frames)
    }
}
