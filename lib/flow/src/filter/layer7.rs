//! What is asked of a request or response.

use std::borrow::Cow;

use regex::Regex;

use super::any;
use super::message::{FlowFilter, Header};
use super::pattern::Glob;
use crate::extra::Extra;
use crate::layer7::{Http, Layer7};
use crate::model::Flow;

/// Criteria of `--http-…`, `--dns-query` and `--latency`. An empty list asks nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer7Asked {
    statuses: Vec<Status>,
    methods: Vec<String>,
    paths: Vec<Regex>,
    urls: Vec<Regex>,
    headers: Vec<Header>,
    dns_queries: Vec<Regex>,
    latencies: Vec<Latency>,
}

/// A criterion that cannot be meant: its field, its value, and why.
pub(super) type Wrong = (&'static str, String, String);

impl Layer7Asked {
    /// The criteria of a message; none where it has none of them.
    pub(super) fn compile(message: &FlowFilter) -> Result<Option<Box<Self>>, Wrong> {
        let asked = Self {
            statuses: each("http_status_code", &message.http_status_code, Status::parse)?,
            methods: message.http_method.clone(),
            paths: each("http_path", &message.http_path, regex)?,
            urls: each("http_url", &message.http_url, regex)?,
            headers: message.http_header.clone(),
            dns_queries: each("dns_query", &message.dns_query, regex)?,
            latencies: each("latency", &message.chainkit.latency, Latency::parse)?,
        };
        let asks = asked.asks_http() || !asked.dns_queries.is_empty() || !asked.latencies.is_empty();
        Ok(asks.then(|| Box::new(asked)))
    }

    const fn asks_http(&self) -> bool {
        !(self.statuses.is_empty()
            && self.methods.is_empty()
            && self.paths.is_empty()
            && self.urls.is_empty()
            && self.headers.is_empty())
    }

    pub(super) fn matches(&self, flow: &Flow) -> bool {
        let Some(l7) = flow.l7.as_deref() else { return false };
        any(&self.latencies, |latency| latency.matches(l7.latency_ns))
            && any(&self.dns_queries, |regex| l7.dns.as_ref().is_some_and(|dns| regex.is_match(&dns.query)))
            && (!self.asks_http() || l7.http.as_ref().is_some_and(|http| self.http_matches(http)))
    }

    fn http_matches(&self, http: &Http) -> bool {
        any(&self.statuses, |status| status.matches(http.code))
            && any(&self.methods, |method| method.eq_ignore_ascii_case(&http.method))
            && any(&self.headers, |wanted| http.headers.iter().any(|header| holds(wanted, &header.key, &header.value)))
            && any(&self.urls, |regex| !http.url.is_empty() && regex.is_match(&http.url))
            && (self.paths.is_empty()
                || path(&http.url).is_some_and(|path| self.paths.iter().any(|regex| regex.is_match(&path))))
    }
}

/// Parses each value of a field.
pub(super) fn each<V: AsRef<str>, T>(
    field: &'static str,
    values: &[V],
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, Wrong> {
    let one = |value: &V| parse(value.as_ref()).map_err(|reason| (field, value.as_ref().to_owned(), reason));
    values.iter().map(one).collect()
}

/// The name of a header is the same in any case, as HTTP has it.
fn holds(wanted: &Header, key: &str, value: &str) -> bool {
    (wanted.key.is_empty() || wanted.key.eq_ignore_ascii_case(key))
        && (wanted.value.is_empty() || wanted.value == value)
}

fn regex(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| {
        // Of a drawing over several lines the last one says what is wrong.
        let message = error.to_string();
        message.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })
}

/// The path of a URL, without its escapes; none where it has none.
fn path(url: &str) -> Option<Cow<'_, str>> {
    let rest = match url.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|start| rest.get(start..)).unwrap_or_default(),
        None if url.starts_with('/') => url,
        None => return None,
    };
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let path = rest.get(..end)?;
    if !path.contains('%') {
        return Some(Cow::Borrowed(path));
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut parts = path.split('%');
    bytes.extend_from_slice(parts.next()?.as_bytes());
    for part in parts {
        // As Go: what is no escape makes it no URL.
        let (digits, text) = part.split_at_checked(2)?;
        let two = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        bytes.push(two.then(|| u8::from_str_radix(digits, 16).ok()).flatten()?);
        bytes.extend_from_slice(text.as_bytes());
    }
    Some(Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()))
}

/// `404`, or the first digits of statuses: `5+`, `40+`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Status {
    from: u32,
    to: u32,
}

impl Status {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "expected a status such as 404, or its first digits, such as 5+ or 40+".to_owned();
        let (digits, width) = match text.strip_suffix('+') {
            Some(digits) if matches!(digits.len(), 1 | 2) => (digits, if digits.len() == 1 { 100 } else { 10 }),
            None if text.len() == 3 => (text, 1),
            _ => return Err(wrong()),
        };
        if !digits.bytes().all(|digit| digit.is_ascii_digit()) || !digits.starts_with(['1', '2', '3', '4', '5']) {
            return Err(wrong());
        }
        let number: u32 = digits.parse().map_err(|_| wrong())?;
        Ok(Self { from: number * width, to: number * width + width - 1 })
    }

    fn matches(self, code: u32) -> bool {
        (self.from..=self.to).contains(&code)
    }
}

/// Bounds of a response's latency, all of which must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Latency(Vec<(Comparison, u64)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Latency {
    fn parse(text: &str) -> Result<Self, String> {
        let bound = |text: &str| {
            let operators = [
                (">=", Comparison::GreaterOrEqual),
                ("<=", Comparison::LessOrEqual),
                (">", Comparison::Greater),
                ("<", Comparison::Less),
            ];
            let text = text.trim();
            let found = operators.into_iter().find_map(|(name, operator)| Some((operator, text.strip_prefix(name)?)));
            let (operator, duration) = found.unwrap_or((Comparison::GreaterOrEqual, text));
            Ok((operator, nanoseconds(duration.trim())?))
        };
        text.split(',').map(bound).collect::<Result<_, String>>().map(Self)
    }

    /// Zero is that of no response, or of one whose request was not seen.
    fn matches(&self, latency_ns: u64) -> bool {
        latency_ns != 0
            && self.0.iter().all(|(comparison, bound)| match comparison {
                Comparison::Less => latency_ns < *bound,
                Comparison::LessOrEqual => latency_ns <= *bound,
                Comparison::Greater => latency_ns > *bound,
                Comparison::GreaterOrEqual => latency_ns >= *bound,
            })
    }
}

/// A duration such as `10ms` or `1.5s`, in nanoseconds.
fn nanoseconds(text: &str) -> Result<u64, String> {
    let wrong = || "expected a duration such as 10ms or 1.5s, with >, >=, < or <= before it or without".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
    let unit: u64 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        _ => return Err(wrong()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let places = u32::try_from(fraction.len()).ok().filter(|places| (1..=9).contains(places)).ok_or_else(wrong)?;
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let fraction: u64 = fraction.parse().map_err(|_| wrong())?;
    let part = u128::from(fraction) * u128::from(unit) / 10u128.pow(places);
    whole
        .checked_mul(unit)
        .and_then(|whole| whole.checked_add(u64::try_from(part).ok()?))
        .ok_or_else(|| "it is too long".to_owned())
}

/// A protocol of an application, as `--protocol` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Application {
    Dns,
    Http,
    Kafka,
    Grpc,
    Tls,
    Quic,
}

impl Application {
    pub(super) fn is(self, flow: &Flow) -> bool {
        let has = |part: fn(&Layer7) -> bool| flow.l7.as_deref().is_some_and(part);
        match self {
            Self::Dns => has(|l7| l7.dns.is_some()),
            Self::Http => has(|l7| l7.http.is_some()),
            Self::Kafka => has(|l7| l7.kafka.is_some()),
            Self::Grpc => told(flow, |extra| extra.l7.as_ref().is_some_and(|l7| l7.grpc.is_some())),
            // QUIC bears a ClientHello of TLS, too.
            Self::Tls => told(flow, |extra| extra.l7.as_ref().is_some_and(|l7| l7.tls.is_some())),
            Self::Quic => told(flow, |extra| extra.l7.as_ref().is_some_and(|l7| l7.protocol == "quic")),
        }
    }
}

/// Whether something holds for what Hubble has no field for.
pub(super) fn told(flow: &Flow, holds: impl FnOnce(&Extra) -> bool) -> bool {
    flow.extensions.as_ref().and_then(|extensions| extensions.extra()).is_some_and(|extra| holds(&extra))
}

/// Whether the server's name of a ClientHello is one of the names.
pub(super) fn sni_matches(names: &[Glob], extra: &Extra) -> bool {
    let tls = extra.l7.as_ref().and_then(|l7| l7.tls.as_ref());
    tls.is_some_and(|tls| !tls.sni.is_empty() && names.iter().any(|name| name.matches(&tls.sni)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_whole_or_begin_so() {
        let matches = |text: &str, code| Status::parse(text).unwrap().matches(code);
        assert!(matches("404", 404) && !matches("404", 405));
        assert!(matches("5+", 500) && matches("5+", 599) && !matches("5+", 499) && !matches("5+", 0));
        assert!(matches("40+", 409) && !matches("40+", 410));
        for bad in ["", "+", "6+", "600", "4040", "404+", "4x", "0+", "+4", "-40", "é+"] {
            assert!(Status::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn latencies_are_bounded_as_the_signs_say() {
        let matches = |text: &str, ns| Latency::parse(text).unwrap().matches(ns);
        assert!(matches("10ms", 10_000_000) && !matches("10ms", 9_999_999));
        assert!(matches(">=10ms", 10_000_000) && !matches(">10ms", 10_000_000) && matches("> 10ms", 10_000_001));
        assert!(
            matches("<1.5s", 1_499_999_999) && !matches("<1.5s", 1_500_000_000) && matches("<=1.5s", 1_500_000_000)
        );
        assert!(!matches("<1s", 0), "no latency is none that is short");
        assert!(matches(">1us,<1ms", 1001) && !matches(">1us,<1ms", 1_000_000));
        for bad in ["", "10", "ms", ">", "=1s", "1.s", ".5s", "1h", "1..2s", "99999999999999s", "-1s", "1.0000000001s"]
        {
            assert!(Latency::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_is_what_stands_between_host_and_query() {
        let path = |url| path(url).map(Cow::into_owned);
        assert_eq!(path("http://cart:80/items/7?x=/y#z").unwrap(), "/items/7");
        assert_eq!(path("/items?x").unwrap(), "/items");
        assert_eq!(path("/a%20b%2Fc").unwrap(), "/a b/c");
        assert_eq!(path("http://cart").unwrap(), "");
        for none in ["", "cart/items", "/a%2", "/a%zz", "/%+1"] {
            assert_eq!(path(none), None, "{none}");
        }
    }

    #[test]
    fn a_regex_that_is_none_says_why_in_a_line() {
        let error = regex("a(b").unwrap_err();
        assert_eq!(error, "unclosed group");
    }
}
