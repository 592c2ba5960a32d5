//! What a program prints on stdout: a table, JSON, or JSON Lines.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use clap::{Args, ValueEnum};
use serde::Serialize;
use tabled::builder::Builder;
use tabled::settings::{Padding, Style};

/// The form of the output, `-o`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for people
    #[default]
    Table,
    /// One JSON array
    Json,
    /// A JSON object a line
    Jsonl,
}

/// The flags `-o` and `-j`.
#[derive(Args, Clone, Copy, Debug)]
pub struct OutputArgs {
    /// Form of the output
    #[arg(short = 'o', long = "output", value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,
    /// The same as -o jsonl
    #[arg(short = 'j', conflicts_with = "output")]
    jsonl: bool,
}

impl OutputArgs {
    /// The form that was asked for.
    #[must_use]
    pub const fn format(self) -> Format {
        if self.jsonl { Format::Jsonl } else { self.output }
    }
}

/// A record that can stand in a table.
pub trait Row: Serialize {
    /// The head of the table.
    const HEADER: &'static [&'static str];

    /// Its cells, one for each column.
    fn cells(&self) -> Vec<String>;
}

/// Prints `rows` on `out`; JSON Lines are flushed a record, so that the next program in a pipe has them at once.
///
/// # Errors
/// When `out` cannot be written to; a closed pipe is an error of kind [`io::ErrorKind::BrokenPipe`], which
/// [`run`](crate::run) takes for a quiet end.
pub fn write_rows<R: Row>(out: &mut impl Write, format: Format, rows: impl IntoIterator<Item = R>) -> io::Result<()> {
    match format {
        Format::Table => {
            let header = R::HEADER.iter().map(|title| (*title).to_owned()).collect();
            write_columns(out, std::iter::once(header).chain(rows.into_iter().map(|row| row.cells())))?;
        }
        Format::Json => {
            let rows: Vec<R> = rows.into_iter().collect();
            serde_json::to_writer_pretty(&mut *out, &rows)?;
            writeln!(out)?;
        }
        Format::Jsonl => {
            for row in rows {
                serde_json::to_writer(&mut *out, &row)?;
                writeln!(out)?;
                out.flush()?;
            }
        }
    }
    out.flush()
}

/// Prints rows in columns, the first of them the head: for tables whose columns are known when they are made.
///
/// # Errors
/// When `out` cannot be written to.
pub fn write_columns(out: &mut impl Write, rows: impl IntoIterator<Item = Vec<String>>) -> io::Result<()> {
    let mut table = Builder::new();
    for row in rows {
        // A line feed would make two rows of one.
        table.push_record(row.iter().map(|cell| escape(cell).replace('\n', "\\n")));
    }
    let mut table = table.build();
    table.with(Style::empty()).with(Padding::new(0, 3, 0, 0));
    for line in table.to_string().lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Whether stdout wants colour: it is a terminal, and `NO_COLOR` is not set to anything (no-color.org).
#[must_use]
pub fn colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The text with its control characters made visible, so that input cannot steer the terminal. Line feeds stay.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    let control = |c: char| c.is_control() && c != '\n';
    if !text.chars().any(control) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if control(c) {
            let _ = write!(clean, "{}", c.escape_default());
        } else {
            clean.push(c);
        }
    }
    Cow::Owned(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Map {
        name: String,
        entries: u32,
    }

    impl Row for Map {
        const HEADER: &'static [&'static str] = &["NAME", "ENTRIES"];

        fn cells(&self) -> Vec<String> {
            vec![self.name.clone(), self.entries.to_string()]
        }
    }

    fn printed(format: Format) -> String {
        let rows = [Map { name: "conn\u{7}\n".into(), entries: 12 }, Map { name: "x".into(), entries: 3 }];
        let mut out = Vec::new();
        write_rows(&mut out, format, rows).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_table_is_aligned_and_free_of_control_characters() {
        assert_eq!(printed(Format::Table), "NAME          ENTRIES\nconn\\u{7}\\n   12\nx             3\n");
    }

    #[test]
    fn json_lines_are_one_record_a_line() {
        assert_eq!(
            printed(Format::Jsonl),
            "{\"name\":\"conn\\u0007\\n\",\"entries\":12}\n{\"name\":\"x\",\"entries\":3}\n"
        );
    }

    #[test]
    fn json_is_one_array() {
        let rows: serde_json::Value = serde_json::from_str(&printed(Format::Json)).unwrap();
        assert_eq!(rows[1]["entries"], 3);
    }
}
