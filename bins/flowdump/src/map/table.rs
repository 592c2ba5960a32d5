//! The map in columns.

use std::io::{self, Write};

use chainkit_cli::{Format, Row, write_rows};
use chainkit_edges::{Edge, Snapshot, human_bytes, human_milliseconds};
use serde::Serialize;

/// What is cut off a name that is longer than a column may be.
const MAX_COLUMN: usize = 60;

#[derive(Serialize)]
#[serde(transparent)]
struct Line<'a>(&'a Edge);

impl Row for Line<'_> {
    const HEADER: &'static [&'static str] = &[
        "SOURCE",
        "DESTINATION",
        "OVER",
        "FLOWS",
        "RATE",
        "CONNS",
        "TO",
        "FROM",
        "P50",
        "P99",
        "OF",
        "ERRORS",
        "RESETS",
        "DENIED",
        "",
    ];

    fn cells(&self) -> Vec<String> {
        let edge = self.0;
        let known = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let counted = |count: u64| if count == 0 { "-".to_owned() } else { count.to_string() };
        let milliseconds = |value: Option<f64>| known(value.map(|value| format!("{}ms", human_milliseconds(value))));
        let mut said = Vec::new();
        if edge.would_deny > 0 {
            said.push(format!("{} would be denied", edge.would_deny));
        }
        if let Some(unanswered) = edge.unanswered.filter(|count| *count > 0) {
            said.push(format!("{unanswered} unanswered"));
        }
        if edge.overflow {
            said.push("more than there was room for".to_owned());
        }
        if edge.partial {
            said.push("bytes may be more".to_owned());
        }
        said.extend(edge.denied_by.first().map(|policy| format!("by {}", cut(policy))));
        vec![
            cut(&edge.src),
            cut(&edge.dst),
            edge.over(),
            edge.flows.to_string(),
            format!("{}/s", human_milliseconds(edge.rate)),
            known(edge.connections.map(|count| count.to_string())),
            known(edge.bytes_to.map(human_bytes)),
            known(edge.bytes_from.map(human_bytes)),
            milliseconds(edge.p50_ms),
            milliseconds(edge.p99_ms),
            edge.latency_of.unwrap_or("-").to_owned(),
            counted(edge.errors),
            counted(edge.resets),
            counted(edge.denied),
            said.join(", "),
        ]
    }
}

fn cut(name: &str) -> String {
    if name.chars().count() <= MAX_COLUMN {
        return name.to_owned();
    }
    name.chars().take(MAX_COLUMN - 1).chain(['…']).collect()
}

/// Writes the map in columns.
pub(super) fn write(map: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    write_rows(out, Format::Table, map.edges.iter().map(Line))
}

/// The map as lines of a screen with so many rows.
pub(super) fn lines(map: &Snapshot, rows: usize) -> io::Result<Vec<String>> {
    let shown = rows.saturating_sub(3).max(1);
    let lost = if map.lost > 0 { format!(", {} events lost", map.lost) } else { String::new() };
    let mut lines = vec![format!("{} edges, {} flows{lost}", map.edges.len(), map.flows)];
    let mut table = Vec::new();
    write_rows(&mut table, Format::Table, map.edges.iter().take(shown).map(Line))?;
    lines.extend(String::from_utf8_lossy(&table).lines().map(str::to_owned));
    let left = map.edges.len().saturating_sub(shown);
    if left > 0 {
        lines.push(format!("{left} more"));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chainkit_edges::{Budget, By, Edges};
    use chainkit_flow::parse;

    fn map(lines: &[String]) -> Snapshot {
        let mut edges = Edges::new(By::Pod, Budget::default());
        for line in lines {
            edges.take(&parse(line.as_bytes()).unwrap().unwrap());
        }
        edges.snapshot()
    }

    fn line(number: usize, name: &str) -> String {
        format!(
            r#"{{"flow":{{"verdict":"FORWARDED","IP":{{"source":"10.0.0.{number}","destination":"10.0.0.2"}},"l4":{{"UDP":{{"source_port":40000,"destination_port":53}}}},"source":{{"namespace":"shop","pod_name":{}}}}}}}"#,
            serde_json::to_string(name).unwrap()
        )
    }

    #[test]
    fn a_screen_shows_what_there_is_room_for_and_says_how_much_more_there_is() {
        let lines: Vec<String> = (0..10).map(|number| line(number, &format!("web-{number}"))).collect();
        let shown = super::lines(&map(&lines), 7).unwrap();
        assert!(shown[0] == "10 edges, 10 flows" && shown[1].starts_with("SOURCE"), "{shown:?}");
        assert_eq!((shown.len(), shown[6].as_str()), (7, "6 more"), "no more than the rows of the terminal");
    }

    #[test]
    fn names_cannot_steer_the_terminal() {
        let mut out = Vec::new();
        write(&map(&[line(1, "\u{1b}[2Jx")]), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains('\u{1b}') && text.contains("\\u{1b}[2Jx"), "{text}");
    }
}
