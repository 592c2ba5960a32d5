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
    /// One in the form in which protojson writes it, which is all that most lines have.
    pub(crate) fn usual(text: &[u8]) -> Option<Self> {
        usual(text).map(Self)
    }

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
        if let Some(time) = usual(text.as_bytes()) {
            return Ok(Time(time));
        }
        text.parse().map(Time).map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

/// An instant in the form in which protojson writes it: `2026-11-23T00:15:57.123456789Z`, with up to nine digits of a second.
///
/// There is one in every line twice. What has another form is left to who knows all of them.
fn usual(text: &[u8]) -> Option<Timestamp> {
    let [y @ .., b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', i1, i2, b':', s1, s2] = text.get(..19)? else {
        return None;
    };
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| i64::from(byte - b'0'));
    let two = |tens: &u8, ones: &u8| Some(digit(tens)? * 10 + digit(ones)?);
    let [y1, y2, y3, y4] = y else { return None };
    let (year, month, day) = (two(y1, y2)? * 100 + two(y3, y4)?, two(m1, m2)?, two(d1, d2)?);
    let (hour, minute, second) = (two(h1, h2)?, two(i1, i2)?, two(s1, s2)?);
    let fraction = match text.get(19..)? {
        [b'Z'] => [].as_slice(),
        [b'.', fraction @ .., b'Z'] if (1..=9).contains(&fraction.len()) => fraction,
        _ => return None,
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=days).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut nanoseconds = 0i64;
    for place in 0..9 {
        nanoseconds = nanoseconds * 10 + fraction.get(place).map_or(Some(0), digit)?;
    }
    // Years begin in March, so that a leap day is the last of one; 400 of them have 146,097 days. 1970 begins 719,468 days
    // after March of the year 0.
    let from_march = (month + 9) % 12;
    let year = year - i64::from(month < 3);
    let day = 365 * year + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (153 * from_march + 2) / 5
        + day
        - 1;
    let seconds = (day - 719_468) * 86_400 + hour * 3600 + minute * 60 + second;
    Timestamp::new(seconds, i32::try_from(nanoseconds).ok()?).ok()
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
        fn the_usual_form_is_read_as_any_is(
            text in "[0-9]{4}-(0[0-9]|1[0-3])-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]([.][0-9]{0,10})?[Zz]"
        ) {
            if let Some(time) = usual(text.as_bytes()) {
                prop_assert_eq!(Ok(time), text.parse::<Timestamp>().map_err(|error| error.to_string()));
            }
        }

        #[test]
        fn what_is_written_is_of_the_usual_form(second in -60_000_000_000i64..200_000_000_000, nanosecond in 0..1_000_000_000) {
            let time = at(second, nanosecond);
            prop_assert_eq!(usual(time.to_string().as_bytes()), Some(time.0));
        }

        #[test]
        fn what_is_written_is_read_back(second in -60_000_000_000i64..200_000_000_000, nanosecond in 0..1_000_000_000) {
            let time = at(second, nanosecond);
            let json = serde_json::to_string(&time).unwrap();
            prop_assert_eq!(serde_json::from_str::<Time>(&json).unwrap(), time);
        }
    }
}
