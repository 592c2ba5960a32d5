//! Text from outside: what should have a form but may not, and what must not reach a terminal as it is.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, Serializer};

/// Something with a form, such as an address, as a saved line has it: text of another form is kept and matches nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lenient<T> {
    /// It has the form.
    Known(T),
    /// It has not.
    Text(Box<str>),
}

impl<T> Lenient<T> {
    /// The value, where the text had the form.
    #[must_use]
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Text(_) => None,
        }
    }
}

impl<T: fmt::Display> fmt::Display for Lenient<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(value) => value.fmt(out),
            Self::Text(text) => out.write_str(text),
        }
    }
}

impl<T: fmt::Display> Serialize for Lenient<T> {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Known(value) => json.collect_str(value),
            Self::Text(text) => json.serialize_str(text),
        }
    }
}

impl<'de, T: FromStr> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_str(LenientVisitor(PhantomData))
    }
}

/// Takes the text as it lies in the line: what has the form is not copied.
struct LenientVisitor<T>(PhantomData<T>);

impl<T: FromStr> Visitor<'_> for LenientVisitor<T> {
    type Value = Lenient<T>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Lenient<T>, E> {
        Ok(text.parse().map_or_else(|_| Lenient::Text(text.into()), Lenient::Known))
    }
}

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [b':'; 17];
        for (byte, place) in self.0.iter().zip(text.chunks_mut(3)) {
            for (slot, digit) in place.iter_mut().zip([byte >> 4, byte & 0xf]) {
                *slot = if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
            }
        }
        out.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl FromStr for Mac {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "an Ethernet address is six bytes in hexadecimal with colons between them";
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or(WRONG)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| WRONG)?;
        }
        parts.next().is_none().then_some(Self(bytes)).ok_or(WRONG)
    }
}

/// Appends text with what could steer a terminal made visible: control characters, and those that turn the direction of
/// writing.
pub(crate) fn push_visible(out: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return out.extend_from_slice(text.as_bytes());
    }
    for c in text.chars() {
        if c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
            out.extend(c.escape_default().map(|c| u8::try_from(c).unwrap_or(b'?')));
        } else {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

/// The longest beginning of `text` that takes no more than `bytes` bytes and ends between characters.
pub(crate) fn beginning(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_gets_through() {
        let mut out = Vec::new();
        push_visible(&mut out, "a\u{1b}[31m\r\n\u{9b}x\u{202e}é");
        assert_eq!(String::from_utf8(out).unwrap(), "a\\u{1b}[31m\\r\\n\\u{9b}x\\u{202e}é");
    }

    #[test]
    fn ethernet_addresses_are_written_as_they_are_read() {
        let text = "0a:1b:2c:3d:4e:ff";
        assert_eq!(text.parse::<Mac>().unwrap().to_string(), text);
        for bad in ["", "0a:1b:2c:3d:4e", "0a:1b:2c:3d:4e:ff:00", "a:1b:2c:3d:4e:fff", "0a-1b-2c-3d-4e-ff"] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(beginning("aéb", 2), "a");
        assert_eq!(beginning("aéb", 3), "aé");
        assert_eq!(beginning("aéb", 9), "aéb");
    }
}
