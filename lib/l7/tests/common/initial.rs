//! Initial packets of QUIC, protected as RFC 9001, section 5, has it; written apart from what reads them.

use ring::aead::quic::HeaderProtectionKey;
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey, quic};
use ring::hmac;

/// Versions (RFC 9000 and RFC 9369).
pub const V1: u32 = 1;
pub const V2: u32 = 0x6b33_43cf;
/// The connection identifier of the examples in RFC 9001 and RFC 9369, appendix A.
pub const ID: [u8; 8] = [0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];

pub fn hex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

fn sign(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec()
}

/// HKDF-Expand-Label, of no more than one block (RFC 5869, section 2.3).
fn expand(secret: &[u8], label: &str, length: u8) -> Vec<u8> {
    let text = [&[0, length, label.len() as u8 + 6], &b"tls13 "[..], label.as_bytes(), &[0, 1]].concat();
    sign(secret, &text)[..length.into()].to_vec()
}

fn number(number: usize) -> Vec<u8> {
    (number as u32 | 0x8000_0000).to_be_bytes().to_vec()
}

/// A CRYPTO frame (RFC 9000, section 19.6).
pub fn crypto(offset: usize, bytes: &[u8]) -> Vec<u8> {
    [&[6][..], &number(offset), &number(bytes.len()), bytes].concat()
}

/// An Initial packet as a client, or a server, protects it.
#[derive(Clone)]
pub struct Packet {
    pub version: u32,
    /// Where the keys come from.
    pub origin: Vec<u8>,
    pub destination: Vec<u8>,
    pub token: Vec<u8>,
    pub number: u32,
    /// As the label of its secret has it: `client in` or `server in`.
    pub sender: &'static str,
    pub frames: Vec<u8>,
}

impl Packet {
    pub fn new(version: u32, frames: &[u8]) -> Self {
        Self {
            version,
            origin: ID.to_vec(),
            destination: ID.to_vec(),
            token: Vec::new(),
            number: 0,
            sender: "client in",
            frames: frames.to_vec(),
        }
    }

    pub fn protected(&self) -> Vec<u8> {
        let (salt, prefix, kind) = if self.version == V2 {
            ("0dede3def700a6db819381be6e269dcbf9bd2ed9", "quicv2", 1)
        } else {
            ("38762cf7f55934b34d179ae6a4c80cadccbb7f0a", "quic", 0)
        };
        let secret = expand(&sign(&hex(salt), &self.origin), self.sender, 32);
        let derived = |name: &str, length| expand(&secret, &format!("{prefix} {name}"), length);
        let mut nonce: [u8; 12] = derived("iv", 12).try_into().unwrap();
        let packet_number = self.number.to_be_bytes();
        for (byte, number) in nonce[8..].iter_mut().zip(packet_number) {
            *byte ^= number;
        }
        let length = ((self.frames.len() + 4 + 16) as u16 | 0x4000).to_be_bytes();
        let ids = [&[self.destination.len() as u8], &self.destination[..], &[0]].concat();
        let token =
            if self.token.is_empty() { vec![0] } else { [number(self.token.len()), self.token.clone()].concat() };
        let first = 0xc3 | kind << 4;
        let mut header = [&[first][..], &self.version.to_be_bytes(), &ids, &token, &length, &packet_number].concat();
        let mut sealed = self.frames.clone();
        LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &derived("key", 16)).unwrap())
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&header), &mut sealed)
            .unwrap();
        let mask =
            HeaderProtectionKey::new(&quic::AES_128, &derived("hp", 16)).unwrap().new_mask(&sealed[..16]).unwrap();
        header[0] ^= mask[0] & 0x0f;
        let at = header.len() - 4;
        for (byte, mask) in header[at..].iter_mut().zip(&mask[1..]) {
            *byte ^= mask;
        }
        [header, sealed].concat()
    }
}
