//! How protojson writes and accepts scalars (protobuf.dev, "ProtoJSON Format").
//!
//! Written: 64-bit integers as strings, enums by name, zero values left out. Accepted: integers as numbers or strings,
//! enums as names or numbers, `null` as the zero value.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use serde::ser::Serializer;

/// Whether a value is left out.
pub(crate) fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Takes `null` for the zero value.
pub(crate) fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(json: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(json)?.unwrap_or_default())
}

/// An integer, as a number or a string.
pub(crate) fn integer<'de, D, T>(json: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<i128> + Default,
{
    json.deserialize_any(IntegerVisitor(std::marker::PhantomData))
}

/// An integer that may be missing, as a number or a string.
pub(crate) fn optional_integer<'de, D, T>(json: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<i128> + Default,
{
    struct Wrapped<T>(T);
    impl<'de, T: TryFrom<i128> + Default> Deserialize<'de> for Wrapped<T> {
        fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
            integer(json).map(Self)
        }
    }
    Ok(Option::<Wrapped<T>>::deserialize(json)?.map(|wrapped| wrapped.0))
}

/// A 64-bit integer, written as a string.
pub(crate) fn as_string<S: Serializer>(value: &u64, json: S) -> Result<S::Ok, S::Error> {
    json.collect_str(value)
}

struct IntegerVisitor<T>(std::marker::PhantomData<T>);

impl<T: TryFrom<i128> + Default> Visitor<'_> for IntegerVisitor<T> {
    type Value = T;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an integer, as a number or a string")
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
        T::try_from(value.into()).map_err(|_| E::invalid_value(Unexpected::Signed(value), &self))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<T, E> {
        T::try_from(value.into()).map_err(|_| E::invalid_value(Unexpected::Unsigned(value), &self))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<T, E> {
        // Written with an exponent or ".0"; past 2^53 a float does not say which integer is meant.
        let whole = value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0;
        #[allow(clippy::cast_possible_truncation, reason = "a whole number within 2^53, as just checked")]
        let integer = value as i128;
        whole
            .then_some(integer)
            .and_then(|integer| T::try_from(integer).ok())
            .ok_or_else(|| E::invalid_value(Unexpected::Float(value), &self))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<T, E> {
        let integer: Option<i128> = value.parse().ok();
        integer
            .and_then(|integer| T::try_from(integer).ok())
            .ok_or_else(|| E::invalid_value(Unexpected::Str(value), &self))
    }
}

/// A name or number of an enum: `by_name` and `by_number` say which value is meant.
pub(crate) fn enumeration<'de, D, T>(
    json: D,
    by_name: fn(&str) -> Option<T>,
    by_number: fn(i32) -> T,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default,
{
    json.deserialize_any(EnumVisitor { by_name, by_number })
}

struct EnumVisitor<T> {
    by_name: fn(&str) -> Option<T>,
    by_number: fn(i32) -> T,
}

impl<T: Default> Visitor<'_> for EnumVisitor<T> {
    type Value = T;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the name or number of an enum value")
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
        i32::try_from(value).map(self.by_number).map_err(|_| E::invalid_value(Unexpected::Signed(value), &self))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<T, E> {
        i32::try_from(value).map(self.by_number).map_err(|_| E::invalid_value(Unexpected::Unsigned(value), &self))
    }

    /// A name that a newer writer knows is taken for the zero value.
    fn visit_str<E: Error>(self, value: &str) -> Result<T, E> {
        Ok((self.by_name)(value).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed<T: TryFrom<i128> + Default>(json: &str) -> Result<T, String> {
        let mut json = serde_json::Deserializer::from_str(json);
        integer(&mut json).map_err(|error| error.to_string())
    }

    #[test]
    fn integers_are_accepted_as_numbers_and_strings() {
        assert_eq!(parsed::<u64>("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(parsed::<u64>("\"18446744073709551615\""), Ok(u64::MAX));
        assert_eq!(parsed::<u32>("80.0"), Ok(80));
        assert_eq!(parsed::<u32>("8e1"), Ok(80));
        assert_eq!(parsed::<i32>("-1"), Ok(-1));
        assert_eq!(parsed::<i32>("null"), Ok(0));
        for bad in ["-1", "4294967296", "1.5", "\"x\"", "\"\"", "true", "[]"] {
            assert!(parsed::<u32>(bad).is_err(), "{bad}");
        }
    }
}
