//! Instants, as protojson writes them and as `hubble observe` prints them.

use std::fmt;
use std::ops::Range;

use jiff::Timestamp;
use jiff::tz::Offset;
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, Serializer};

/// An instant.
///
/// In JSON it is RFC 3339 in UTC with 0, 3, 6 or 9 digits of a second (google/protobuf/timestamp.proto).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub Timestamp);

const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

impl Time {
    /// Appends it as RFC 3339.
    pub fn write_rfc3339(self, out: &mut Vec<u8>) {
        let date = Offset::UTC.to_datetime(self.0);
        let Ok(year) = u32::try_from(date.year()) else {
            // Before the year 0: not from a clock; whatever is printed, it is not lost.
            return out.extend_from_slice(self.0.to_string().as_bytes());
        };
        digits(out, year, 4);
        out.push(b'-');
        digits(out, small(date.month()), 2);
        out.push(b'-');
        digits(out, small(date.day()), 2);
        out.push(b'T');
        clock(out, &date);
        let nanoseconds = date.subsec_nanosecond().unsigned_abs();
        let (fraction, width) = match nanoseconds {
            0 => (0, 0),
            n if n % 1_000_000 == 0 => (n / 1_000_000, 3),
            n if n % 1_000 == 0 => (n / 1_000, 6),
            n => (n, 9),
        };
        if width > 0 {
            out.push(b'.');
            digits(out, fraction, width);
        }
        out.push(b'Z');
    }

    /// Appends it as `Nov 23 00:15:57.123`, in UTC.
    pub fn write_stamp(self, out: &mut Vec<u8>) {
        let date = Offset::UTC.to_datetime(self.0);
        let month = usize::try_from(date.month()).unwrap_or_default().wrapping_sub(1);
        out.extend_from_slice(MONTHS.get(month).copied().unwrap_or(b"???"));
        out.push(b' ');
        let day = small(date.day());
        if day < 10 {
            out.push(b' ');
            digits(out, day, 1);
        } else {
            digits(out, day, 2);
        }
        out.push(b' ');
        clock(out, &date);
        out.push(b'.');
        digits(out, date.subsec_nanosecond().unsigned_abs() / 1_000_000, 3);
    }
}

fn clock(out: &mut Vec<u8>, date: &jiff::civil::DateTime) {
    digits(out, small(date.hour()), 2);
    out.push(b':');
    digits(out, small(date.minute()), 2);
    out.push(b':');
    digits(out, small(date.second()), 2);
}

/// A field of a date, none of which is negative.
fn small(field: i8) -> u32 {
    field.unsigned_abs().into()
}

/// Appends the last `width` decimal digits of a number.
fn digits(out: &mut Vec<u8>, number: u32, width: u32) {
    let places: Range<u32> = 0..width;
    for place in places.rev() {
        let digit = number / 10u32.saturating_pow(place) % 10;
        out.push(b'0' + u8::try_from(digit).unwrap_or_default());
    }
}

impl fmt::Display for Time {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(32);
        self.write_rfc3339(&mut text);
        out.write_str(&String::from_utf8_lossy(&text))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        let mut text = Vec::with_capacity(32);
        self.write_rfc3339(&mut text);
        json.serialize_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_str(TimeVisitor)
    }
}

struct TimeVisitor;

impl Visitor<'_> for TimeVisitor {
    type Value = Time;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a time as in RFC 3339")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Time, E> {
        text.parse().map(Time).map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64, nanosecond: i32) -> Time {
        Time(Timestamp::new(second, nanosecond).unwrap())
    }

    fn stamp(time: Time) -> String {
        let mut out = Vec::new();
        time.write_stamp(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_has_as_many_digits_as_protojson_writes() {
        for (time, text) in [
            (at(1234, 0), "1970-01-01T00:20:34Z"),
            (at(1234, 500_000_000), "1970-01-01T00:20:34.500Z"),
            (at(1234, 567_800_000), "1970-01-01T00:20:34.567800Z"),
            (at(1234, 1), "1970-01-01T00:20:34.000000001Z"),
        ] {
            assert_eq!(time.to_string(), text);
        }
    }

    #[test]
    fn a_stamp_pads_the_day_with_a_space() {
        assert_eq!(stamp(at(1234, 567_899_999)), "Jan  1 00:20:34.567");
        assert_eq!(stamp(at(1_795_392_957, 123_000_000)), "Nov 23 00:15:57.123");
    }

    #[test]
    fn other_offsets_are_understood() {
        let time: Time = serde_json::from_str("\"1970-01-01T02:20:34+02:00\"").unwrap();
        assert_eq!(time, at(1234, 0));
        assert!(serde_json::from_str::<Time>("\"yesterday\"").is_err());
        assert!(serde_json::from_str::<Time>("7").is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(second in -60_000_000_000i64..200_000_000_000, nanosecond in 0..1_000_000_000) {
            let time = at(second, nanosecond);
            let json = serde_json::to_string(&time).unwrap();
            prop_assert_eq!(serde_json::from_str::<Time>(&json).unwrap(), time);
        }
    }
}
