//! Aligned columns on a stream.
//!
//! Widths are those of the rows seen so far, so rows are held back until a flush or until there are many: what is
//! printed at once is aligned as a whole, and later rows keep to the columns unless they need more.

/// Rows held back at most.
const HELD_BACK: usize = 1024;
/// Spaces between columns.
const GAP: usize = 3;

/// A table being printed.
#[derive(Debug)]
pub(super) struct Table {
    header: Vec<&'static str>,
    widths: Vec<usize>,
    printed_header: bool,
    rows: Vec<Vec<Vec<u8>>>,
    row: Vec<Vec<u8>>,
}

impl Table {
    pub(super) fn new(node_name: bool) -> Self {
        let mut header = vec!["TIMESTAMP"];
        if node_name {
            header.push("NODE");
        }
        header.extend(["SOURCE", "DESTINATION", "TYPE", "VERDICT", "SUMMARY"]);
        let widths = header.iter().map(|title| title.len()).collect();
        Self { header, widths, printed_header: false, rows: Vec::new(), row: Vec::new() }
    }

    /// Adds a cell to the row.
    pub(super) fn cell(&mut self, text: &[u8]) {
        self.row.push(text.to_vec());
    }

    /// Ends the row.
    pub(super) fn end_row(&mut self, out: &mut Vec<u8>) {
        self.rows.push(std::mem::take(&mut self.row));
        if self.rows.len() >= HELD_BACK {
            self.flush(out);
        }
    }

    /// Appends the rows that were held back.
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) {
        if self.rows.is_empty() {
            return;
        }
        for row in &self.rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(characters(cell));
            }
        }
        if !self.printed_header {
            self.printed_header = true;
            let header: Vec<Vec<u8>> = self.header.iter().map(|title| title.as_bytes().to_vec()).collect();
            push_row(&header, &self.widths, out);
        }
        for row in &self.rows {
            push_row(row, &self.widths, out);
        }
        self.rows.clear();
    }
}

fn push_row(row: &[Vec<u8>], widths: &[usize], out: &mut Vec<u8>) {
    let last = row.len().saturating_sub(1);
    for (place, (cell, width)) in row.iter().zip(widths).enumerate() {
        out.extend_from_slice(cell);
        if place != last {
            let spaces = width.saturating_sub(characters(cell)) + GAP;
            out.resize(out.len() + spaces, b' ');
        }
    }
    out.push(b'\n');
}

/// Characters of UTF-8 text: bytes that do not continue one.
fn characters(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}
