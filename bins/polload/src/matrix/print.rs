//! The matrix for people, programs and Graphviz.

use std::io::{self, Write};

use chainkit_cli::{Format, write_rows};
use serde::Serialize;

use super::{Row, Rows};

impl chainkit_cli::Row for Row {
    const HEADER: &'static [&'static str] = &["SOURCE", "DESTINATION", "ALLOWED"];

    fn cells(&self) -> Vec<String> {
        vec![self.src.to_string(), self.dst.to_string(), self.allow.in_words()]
    }
}

pub(super) fn table(out: &mut impl Write, rows: &Rows<'_>) -> io::Result<()> {
    let mut all = Vec::new();
    rows.each(&mut |row| {
        all.push(row);
        Ok(())
    })?;
    write_rows(out, Format::Table, all)
}

pub(super) fn jsonl(out: &mut impl Write, rows: &Rows<'_>) -> io::Result<()> {
    rows.each(&mut |row| {
        row.serialize(&mut serde_json::Serializer::new(&mut *out))?;
        writeln!(out)
    })
}

/// A directed graph: workloads are boxes, addresses outside are ellipses.
pub(super) fn dot(out: &mut impl Write, rows: &Rows<'_>) -> io::Result<()> {
    writeln!(out, "digraph reach {{\n  rankdir=LR;\n  node [shape=ellipse];")?;
    for folded in &rows.0.folded {
        writeln!(out, "  {} [shape=box];", quoted(&folded.title))?;
    }
    rows.each(&mut |row| {
        let label = quoted(&row.allow.in_words());
        writeln!(out, "  {} -> {} [label={label}];", quoted(&row.src), quoted(&row.dst))
    })?;
    writeln!(out, "}}")
}

/// A quoted identifier of the DOT language.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push(' '),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
