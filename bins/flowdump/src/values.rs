//! Values of flags: sizes, times.

use std::net::SocketAddr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The smallest ring buffer: one page.
const MIN_BUFFER: u64 = 4 * 1024;
/// The largest: half of what the kernel could make, since its pages are mapped twice.
const MAX_BUFFER: u64 = 1 << 30;

/// A size such as `8MiB`, `512KiB` or `65536`, for a ring buffer: rounded up to a power of two, as the kernel wants it.
pub(crate) fn buffer(text: &str) -> Result<u32, String> {
    let bytes = size(text)?;
    if !(MIN_BUFFER..=MAX_BUFFER).contains(&bytes) {
        return Err("expected a size from 4KiB to 1GiB".to_owned());
    }
    u32::try_from(bytes.next_power_of_two()).map_err(|error| error.to_string())
}

/// The least and the most memory that decoding may be given.
const MEMORY: std::ops::RangeInclusive<u64> = (1 << 20)..=(64 << 30);

/// A size of memory.
pub(crate) fn memory(text: &str) -> Result<usize, String> {
    let bytes = size(text)?;
    let bytes = usize::try_from(bytes).ok().filter(|_| MEMORY.contains(&bytes));
    bytes.ok_or_else(|| "expected a size from 1MiB to 64GiB".to_owned())
}

/// A number of bytes, with or without a unit; one that is too large for any is the largest.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text.strip_prefix(digits).unwrap_or_default().trim() {
        "" | "B" => 1,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        unit => return Err(format!("unknown unit {unit:?}: use KiB, MiB or GiB")),
    };
    Ok(digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).unwrap_or(u64::MAX))
}

/// A duration such as `10s` or `1h 30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}: expected a duration such as 10s or 5m"))
}

/// An address with a port, to listen on.
pub(crate) fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected an address and a port such as 127.0.0.1:9965 or [::1]:9965".to_owned())
}

/// An instant: RFC 3339, or how long ago it was.
pub(crate) fn instant(text: &str) -> Result<Timestamp, String> {
    instant_from(text, Timestamp::now())
}

fn instant_from(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(instant) = text.parse() {
        return Ok(instant);
    }
    let ago = humantime::parse_duration(text).ok().and_then(|ago| SignedDuration::try_from(ago).ok());
    ago.and_then(|ago| now.checked_sub(ago).ok())
        .ok_or_else(|| "expected a time such as 2026-11-23T10:00:00Z, or how long ago it was, such as 5m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_up_to_a_power_of_two() {
        assert_eq!(buffer("8MiB"), Ok(8 << 20));
        assert_eq!(buffer("65536"), Ok(65536));
        assert_eq!(buffer("100 KiB"), Ok(128 << 10));
        assert_eq!(buffer("1G"), Ok(1 << 30));
        for bad in ["", "1", "4095", "2GiB", "8MB", "-1", "8 Mi B", "99999999999999999999"] {
            assert!(buffer(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_absolute_or_ago() {
        let now: Timestamp = "2026-11-23T10:00:00Z".parse().unwrap();
        assert_eq!(instant_from("5m", now).unwrap().to_string(), "2026-11-23T09:55:00Z");
        assert_eq!(instant_from("1h 30m", now).unwrap().to_string(), "2026-11-23T08:30:00Z");
        assert_eq!(instant_from("2026-11-23T11:00:00+01:00", now).unwrap(), now);
        for bad in ["", "yesterday", "2026-11-23", "5", "99999999999years"] {
            assert!(instant_from(bad, now).is_err(), "{bad}");
        }
    }
}
