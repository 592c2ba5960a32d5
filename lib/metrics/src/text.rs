//! The two texts that scrapers take.

/// The form of the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Prometheus' own, version 0.0.4, which all scrapers take; without exemplars.
    #[default]
    Prometheus,
    /// OpenMetrics 1.0, with exemplars.
    OpenMetrics,
}

impl Form {
    /// The form that a scraper asks for by its header `Accept`.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        let names = accept.split(',').map(|range| range.split(';').next().unwrap_or_default().trim());
        if names.into_iter().any(|name| name.eq_ignore_ascii_case("application/openmetrics-text")) {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// Its media type.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Makes Prometheus' own form of OpenMetrics: there, a counter's name ends with `_total` in its description too, and there is
/// neither an end nor a unit nor an exemplar.
pub(crate) fn to_prometheus(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut help = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ');
            match (words.next(), words.next(), words.next()) {
                // Held back until the kind is known, which comes after it.
                (Some("HELP"), Some(name), told) => help = Some((name, told.unwrap_or_default())),
                (Some("TYPE"), Some(name), Some(kind)) => {
                    let ending = if kind == "counter" { "_total" } else { "" };
                    if let Some((_, told)) = help.take().filter(|(of, _)| *of == name) {
                        out.push_str(&format!("# HELP {name}{ending} {told}\n"));
                    }
                    out.push_str(&format!("# TYPE {name}{ending} {kind}\n"));
                }
                _ => {}
            }
            continue;
        }
        out.push_str(without_exemplar(line));
        out.push('\n');
    }
    out
}

/// A sample without its exemplar, which begins with ` # ` outside of the values of labels.
fn without_exemplar(line: &str) -> &str {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'#' if !quoted => return line.get(..at).unwrap_or(line).trim_end(),
            _ => {}
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrapers_get_what_they_ask_for() {
        let asked = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3";
        assert_eq!(Form::accepted(asked), Form::OpenMetrics);
        assert_eq!(Form::accepted("*/*"), Form::Prometheus);
        assert_eq!(Form::accepted(""), Form::Prometheus);
    }

    #[test]
    fn counters_are_described_by_the_name_of_their_samples() {
        let text = "# HELP a_b What.\n# TYPE a_b counter\na_b_total{x=\"# \\\" #\"} 1 # {traceID=\"0\"} 1.0\n# HELP c C.\n# TYPE c gauge\n# UNIT c seconds\nc 2.5\n# EOF\n";
        let expected = "# HELP a_b_total What.\n# TYPE a_b_total counter\na_b_total{x=\"# \\\" #\"} 1\n# HELP c C.\n# TYPE c gauge\nc 2.5\n";
        assert_eq!(to_prometheus(text), expected);
    }
}
