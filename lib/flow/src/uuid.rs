//! What tells one flow from another.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::wire;

/// Identifies a flow: a UUID of our own making, or whatever a saved line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FlowId {
    /// None.
    #[default]
    None,
    /// A UUID.
    Number(u128),
    /// As it was read.
    Text(Box<str>),
}

impl FlowId {
    /// As it is read: a text that is what a number would be written as is kept as the number.
    pub(crate) fn from_text(text: &str) -> Self {
        match number(text.as_bytes()) {
            Some(number) => Self::Number(number),
            None if text.is_empty() => Self::None,
            None => Self::Text(text.into()),
        }
    }
}

impl fmt::Display for FlowId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Text(text) => out.write_str(text),
            Self::Number(number) => out.write_str(std::str::from_utf8(&hyphenated(*number)).unwrap_or_default()),
        }
    }
}

/// The form of RFC 9562, section 4.
fn hyphenated(number: u128) -> [u8; 36] {
    let mut text = [b'-'; 36];
    let places = (0..36).filter(|place| !matches!(place, 8 | 13 | 18 | 23));
    for (nibble, place) in (0..32u32).zip(places) {
        let digit = u8::try_from(number >> (124 - nibble * 4) & 0xf).unwrap_or_default();
        if let Some(slot) = text.get_mut(place) {
            *slot = if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
        }
    }
    text
}

impl Serialize for FlowId {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => json.serialize_str(""),
            Self::Text(text) => json.serialize_str(text),
            Self::Number(number) => json.serialize_str(std::str::from_utf8(&hyphenated(*number)).unwrap_or_default()),
        }
    }
}

impl<'de> Deserialize<'de> for FlowId {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        wire::nullable::<D, Read>(json).map(|read| read.0)
    }
}

#[derive(Default)]
struct Read(FlowId);

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_str(ReadVisitor)
    }
}

struct ReadVisitor;

impl Visitor<'_> for ReadVisitor {
    type Value = Read;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Read, E> {
        Ok(Read(FlowId::from_text(text)))
    }
}

/// The number that is written as this text, if there is one.
fn number(text: &[u8]) -> Option<u128> {
    let text: &[u8; 36] = text.try_into().ok()?;
    let mut number = 0u128;
    let mut digits = 0u64;
    let mut count = 0;
    for byte in text {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'-' => continue,
            _ => return None,
        };
        digits = digits << 4 | u64::from(digit);
        count += 1;
        if count == 16 {
            number = u128::from(digits) << 64;
            digits = 0;
        }
    }
    let at = |place: usize| text.get(place) == Some(&b'-');
    (count == 32 && at(8) && at(13) && at(18) && at(23)).then_some(number | u128::from(digits))
}

/// Gives out identifiers without a system call each: a random base, taken once, and a counter.
#[derive(Clone, Debug)]
pub struct FlowIds {
    high: u64,
    low: u64,
    next: u64,
}

impl FlowIds {
    /// A base of its own: no two give out the same.
    #[must_use]
    pub fn new() -> Self {
        // The standard library seeds each from the system's random numbers and steps them.
        Self { high: RandomState::new().hash_one(0u8), low: RandomState::new().hash_one(1u8), next: 0 }
    }

    /// The next one, of the form of version 4 (RFC 9562, section 5.4).
    pub fn next_id(&mut self) -> FlowId {
        // An odd multiplier visits every value once, and neighbours do not look alike.
        let step = self.next.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.next = self.next.wrapping_add(1);
        let high = self.high & !0xf000 | 0x4000;
        let low = self.low.wrapping_add(step) & (u64::MAX >> 2) | 1 << 63;
        FlowId::Number(u128::from(high) << 64 | u128::from(low))
    }
}

impl Default for FlowIds {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn identifiers_differ_and_look_like_version_4() {
        let mut ids = FlowIds::new();
        let mut seen = HashSet::new();
        for _ in 0..100_000 {
            let text = ids.next_id().to_string();
            let form: String = text.chars().map(|c| if c == '-' { '-' } else { 'x' }).collect();
            assert_eq!(form, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
            assert_eq!(&text[14..15], "4");
            assert!(matches!(&text[19..20], "8" | "9" | "a" | "b"), "{text}");
            assert!(seen.insert(text));
        }
        assert_ne!(FlowIds::new().next_id(), FlowIds::new().next_id());
    }

    #[test]
    fn whatever_is_read_is_written_as_it_was() {
        let read = |text: &str| serde_json::from_str::<FlowId>(&format!("{text:?}")).unwrap();
        let canonical = "01234567-89ab-4def-8123-456789abcdef";
        assert_eq!(read(canonical), FlowId::Number(0x0123_4567_89ab_4def_8123_4567_89ab_cdef));
        for text in [
            "01234567-89AB-4def-8123-456789abcdef",
            "0123456-789ab-4def-8123-456789abcdef",
            "01234567-89ab-4def-8123-456789abcde-",
            "01234567-89ab-4def-8123-456789abcdeg",
            "012345670890ab04def08123045678900000",
            "------------------------------------",
            "u1",
        ] {
            assert_eq!(read(text), FlowId::Text(text.into()));
        }
        for text in [canonical, "u1", ""] {
            assert_eq!(read(text).to_string(), text);
        }
        assert_eq!(serde_json::from_str::<FlowId>("null").unwrap(), FlowId::None);
        let wrong = serde_json::from_str::<FlowId>("7").unwrap_err().to_string();
        assert!(wrong.starts_with("invalid type: integer `7`, expected a string"), "{wrong}");
    }

    #[test]
    fn an_identifier_is_written_in_groups() {
        let id = FlowId::Number(0x0123_4567_89ab_4def_8123_4567_89ab_cdef);
        assert_eq!(id.to_string(), "01234567-89ab-4def-8123-456789abcdef");
    }
}
