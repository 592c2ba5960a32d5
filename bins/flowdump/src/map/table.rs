//! The map in columns, and as a screen that is drawn anew.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

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

/// A terminal on which the map is drawn anew each time.
#[derive(Debug)]
pub(super) struct Screen {
    begun: bool,
}

impl Screen {
    /// The terminal that stdout is, if it is one.
    pub(super) fn of_stdout() -> Option<Self> {
        io::stdout().is_terminal().then_some(Self { begun: false })
    }

    /// Draws the map over the one before, as much as there is room for.
    pub(super) fn draw(&mut self, map: &Snapshot, out: &mut Vec<u8>) -> io::Result<()> {
        if !self.begun {
            self.begun = true;
            // The alternate screen (xterm's private mode 1049), so that what was there comes back.
            out.extend_from_slice(b"\x1b[?1049h");
        }
        let (rows, columns) = size();
        draw_on(map, rows, columns, out)
    }

    /// Gives the terminal back as it was, with the map as it was last.
    pub(super) fn leave(self, out: &mut impl Write) -> io::Result<()> {
        if self.begun {
            out.write_all(b"\x1b[?1049l")?;
        }
        out.flush()
    }
}

fn draw_on(map: &Snapshot, rows: usize, columns: usize, out: &mut Vec<u8>) -> io::Result<()> {
    let shown = rows.saturating_sub(3).max(1);
    let head = format!(
        "{} edges, {} flows{}",
        map.edges.len(),
        map.flows,
        if map.lost > 0 { format!(", {} events lost", map.lost) } else { String::new() }
    );
    let mut table = Vec::new();
    write_rows(&mut table, Format::Table, map.edges.iter().take(shown).map(Line))?;
    let table = String::from_utf8_lossy(&table);
    let left = map.edges.len().saturating_sub(shown);
    let foot = if left > 0 { format!("{left} more") } else { String::new() };
    // Home, each line to its end cleared, then what is below.
    out.extend_from_slice(b"\x1b[H");
    let lines: Vec<&str> = std::iter::once(head.as_str()).chain(table.lines()).chain([foot.as_str()]).collect();
    for (place, line) in lines.iter().enumerate() {
        let line: String = line.chars().take(columns).collect();
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(if place + 1 < lines.len() { b"\x1b[K\r\n" } else { b"\x1b[K" });
    }
    out.extend_from_slice(b"\x1b[J");
    Ok(())
}

/// Rows and columns of the terminal; 24 and 80 where it does not say.
fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(io::stdout().as_fd()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row.into(), size.ws_col.into()),
        _ => (24, 80),
    }
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
        let mut out = Vec::new();
        draw_on(&map(&lines), 7, 40, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.split("\x1b[K").collect();
        assert!(text.starts_with("\x1b[H10 edges, 10 flows\x1b[K\r\nSOURCE"), "{text:?}");
        assert!(text.ends_with("6 more\x1b[K\x1b[J"), "{text:?}");
        assert_eq!(lines.len(), 7 + 1, "no more than the rows of the terminal: {text:?}");
        assert!(lines.iter().all(|line| line.chars().count() <= 40 + 5), "{text:?}");
    }

    #[test]
    fn names_cannot_steer_the_terminal() {
        let mut out = Vec::new();
        write(&map(&[line(1, "\u{1b}[2Jx")]), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains('\u{1b}') && text.contains("\\u{1b}[2Jx"), "{text}");
    }
}
