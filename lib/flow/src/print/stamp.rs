//! Times, by Hubble's names of their formats (cilium, `hubble/pkg/time/time.go`). All are in UTC.

use std::io::Write;

use jiff::civil::{DateTime, Weekday};
use jiff::tz::Offset;

use crate::time::Time;

/// How times are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeFormat {
    /// `Nov 23 00:15:57.123`
    #[default]
    StampMilli,
    /// `2026-11-23`
    YearMonthDay,
    /// `2026-11-23T00Z`
    YearMonthDayHour,
    /// `2026-11-23T00:15Z`
    YearMonthDayHourMinute,
    /// `2026-11-23T00:15:57Z`
    Rfc3339,
    /// `2026-11-23T00:15:57.123Z`; zeros at the end of the fraction are left out, here and below.
    Rfc3339Milli,
    /// `2026-11-23T00:15:57.123456Z`
    Rfc3339Micro,
    /// `2026-11-23T00:15:57.123456789Z`
    Rfc3339Nano,
    /// `Mon, 23 Nov 2026 00:15:57 +0000`
    Rfc1123Z,
}

impl TimeFormat {
    const ALL: [(&'static str, Self); 9] = [
        ("StampMilli", Self::StampMilli),
        ("YearMonthDay", Self::YearMonthDay),
        ("YearMonthDayHour", Self::YearMonthDayHour),
        ("YearMonthDayHourMinute", Self::YearMonthDayHourMinute),
        ("RFC3339", Self::Rfc3339),
        ("RFC3339Milli", Self::Rfc3339Milli),
        ("RFC3339Micro", Self::Rfc3339Micro),
        ("RFC3339Nano", Self::Rfc3339Nano),
        ("RFC1123Z", Self::Rfc1123Z),
    ];

    /// Their names.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::ALL.iter().map(|(name, _)| *name)
    }

    /// The format of a name, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, format)| *format)
    }
}

/// Appends a time; `N/A` where there is none.
pub(super) fn push(time: Option<Time>, format: TimeFormat, out: &mut Vec<u8>) {
    let Some(time) = time else { return out.extend_from_slice(b"N/A") };
    if format == TimeFormat::StampMilli {
        return time.write_stamp(out);
    }
    let at = Offset::UTC.to_datetime(time.0);
    // Writing to memory does not fail.
    let _ = match format {
        TimeFormat::StampMilli | TimeFormat::YearMonthDay => write!(out, "{}", at.date()),
        TimeFormat::YearMonthDayHour => write!(out, "{}T{:02}Z", at.date(), at.hour()),
        TimeFormat::YearMonthDayHourMinute => write!(out, "{}T{:02}:{:02}Z", at.date(), at.hour(), at.minute()),
        TimeFormat::Rfc3339 => second(&at, 0, out),
        TimeFormat::Rfc3339Milli => second(&at, 3, out),
        TimeFormat::Rfc3339Micro => second(&at, 6, out),
        TimeFormat::Rfc3339Nano => second(&at, 9, out),
        TimeFormat::Rfc1123Z => write!(
            out,
            "{}, {:02} {} {:04} {:02}:{:02}:{:02} +0000",
            day(at.weekday()),
            at.day(),
            month(at.month()),
            at.year(),
            at.hour(),
            at.minute(),
            at.second(),
        ),
    };
}

/// A time with up to so many digits of a second.
fn second(at: &DateTime, digits: usize, out: &mut Vec<u8>) -> std::io::Result<()> {
    write!(out, "{}T{:02}:{:02}:{:02}", at.date(), at.hour(), at.minute(), at.second())?;
    let nanoseconds = format!("{:09}", at.subsec_nanosecond());
    let fraction = nanoseconds.get(..digits).unwrap_or_default().trim_end_matches('0');
    if !fraction.is_empty() {
        write!(out, ".{fraction}")?;
    }
    out.write_all(b"Z")
}

const fn day(weekday: Weekday) -> &'static str {
    match weekday {
        Weekday::Monday => "Mon",
        Weekday::Tuesday => "Tue",
        Weekday::Wednesday => "Wed",
        Weekday::Thursday => "Thu",
        Weekday::Friday => "Fri",
        Weekday::Saturday => "Sat",
        Weekday::Sunday => "Sun",
    }
}

const fn month(month: i8) -> &'static str {
    match month {
        1 => "Jan",
        2 => "Feb",
        3 => "Mar",
        4 => "Apr",
        5 => "May",
        6 => "Jun",
        7 => "Jul",
        8 => "Aug",
        9 => "Sep",
        10 => "Oct",
        11 => "Nov",
        _ => "Dec",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_is_as_go_prints_its_layout() {
        let printed = |time: &str, name: &str| {
            let mut out = Vec::new();
            let time: Time = serde_json::from_str(&format!("{time:?}")).unwrap();
            push(Some(time), TimeFormat::from_name(name).unwrap(), &mut out);
            String::from_utf8(out).unwrap()
        };
        for (name, text) in [
            ("StampMilli", "Nov  3 00:15:57.120"),
            ("YearMonthDay", "2026-11-03"),
            ("YearMonthDayHour", "2026-11-03T00Z"),
            ("YearMonthDayHourMinute", "2026-11-03T00:15Z"),
            ("RFC3339", "2026-11-03T00:15:57Z"),
            ("RFC3339Milli", "2026-11-03T00:15:57.12Z"),
            ("RFC3339Micro", "2026-11-03T00:15:57.120004Z"),
            ("RFC3339Nano", "2026-11-03T00:15:57.1200045Z"),
            ("RFC1123Z", "Tue, 03 Nov 2026 00:15:57 +0000"),
            ("rfc3339nano", "2026-11-03T00:15:57.1200045Z"),
        ] {
            assert_eq!(printed("2026-11-03T00:15:57.120004500Z", name), text, "{name}");
        }
        assert_eq!(printed("2026-11-03T00:15:57Z", "RFC3339Milli"), "2026-11-03T00:15:57Z");
        assert_eq!(TimeFormat::from_name("Stamp"), None);
        assert!(TimeFormat::names().all(|name| TimeFormat::from_name(name).is_some()));
    }
}
