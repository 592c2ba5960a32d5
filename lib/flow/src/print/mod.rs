//! Printing records as `hubble observe` does.
//!
//! Nothing that comes from outside reaches a terminal as it is, and no line of text is longer than 64 KiB.

mod decided;
mod ends;
mod stamp;
mod table;

use std::io;

use crate::drop_reason::DropReason;
use crate::enums::{Verdict, event_type};
use crate::layer4::Ports;
use crate::layer7::Layer7;
use crate::model::{Flow, LostEvents, Record};
use crate::summary7::summary_of_layer7;
use crate::text::push_visible;
use decided::Told;
pub(crate) use ends::RESERVED;
pub use stamp::TimeFormat;
use table::Table;

/// The longest line of text, in bytes; a longer one is cut and ends with `…`.
pub const MAX_TEXT_LINE: usize = 64 * 1024;

/// The longest cell of a table: all columns of a row together stay under the limit of a line.
const MAX_CELL: usize = 4 * 1024;

/// The form of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A line a flow, for people.
    #[default]
    Compact,
    /// A few lines a flow, each with its name.
    Dict,
    /// Columns.
    Table,
    /// A JSON object a line.
    Jsonl,
}

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrinterOptions {
    /// The form.
    pub format: Format,
    /// How times are printed; in JSON they are RFC 3339.
    pub time_format: TimeFormat,
    /// Whether the name of the node is printed; in JSON it always is.
    pub node_name: bool,
    /// Whether the policies that allowed are printed, too: those that denied always are.
    pub policy_names: bool,
    /// Whether addresses are printed in place of names.
    pub numeric: bool,
    /// Whether hosts, ports, identities and verdicts are coloured, as Hubble does; in a table and in JSON they never are.
    pub colour: bool,
}

/// Prints records into a buffer.
#[derive(Debug)]
pub struct Printer {
    options: PrinterOptions,
    any: bool,
    table: Table,
    scratch: Vec<u8>,
}

const GREEN: &[u8] = b"\x1b[32m";
const RED: &[u8] = b"\x1b[31m";
const YELLOW: &[u8] = b"\x1b[33m";
const CYAN: &[u8] = b"\x1b[36m";
const MAGENTA: &[u8] = b"\x1b[35m";
const PLAIN: &[u8] = b"\x1b[0m";

impl Printer {
    /// A printer that has printed nothing yet.
    #[must_use]
    pub fn new(options: PrinterOptions) -> Self {
        let table = Table::new(options.node_name);
        Self { options, any: false, table, scratch: Vec::new() }
    }

    /// Appends a record to `out`. In JSON the line that it was read from is passed on as it is.
    ///
    /// A table holds rows back until [`flush`](Self::flush), to align them.
    ///
    /// # Errors
    /// Never in practice: the types of this crate can all be written as JSON.
    pub fn print(&mut self, record: &Record, line: Option<&[u8]>, out: &mut Vec<u8>) -> io::Result<()> {
        if self.options.format == Format::Jsonl {
            match line {
                Some(line) => out.extend_from_slice(line),
                None => serde_json::to_writer(&mut *out, record)?,
            }
            out.push(b'\n');
            return Ok(());
        }
        if let Some(flow) = &record.flow {
            match self.options.format {
                Format::Dict => self.dict(flow, out),
                Format::Table => self.row(flow, out),
                _ => self.compact(flow, out),
            }
            self.any = true;
        } else if let Some(lost) = &record.lost_events {
            self.lost(lost, out);
            self.any = true;
        }
        Ok(())
    }

    /// Appends rows that were held back.
    pub fn flush(&mut self, out: &mut Vec<u8>) {
        self.table.flush(out);
    }

    fn compact(&mut self, flow: &Flow, out: &mut Vec<u8>) {
        let start = out.len();
        stamp::push(flow.time, self.options.time_format, out);
        if self.options.node_name {
            out.extend_from_slice(b" [");
            push_visible(out, &flow.node_name);
            out.push(b']');
        }
        out.extend_from_slice(b": ");
        let (first, arrow, second) = match flow.is_reply {
            Some(false) => (ends::SOURCE, " -> ", ends::DESTINATION),
            Some(true) => (ends::DESTINATION, " <- ", ends::SOURCE),
            None => (ends::SOURCE, " <> ", ends::DESTINATION),
        };
        let PrinterOptions { numeric, colour, .. } = self.options;
        ends::push_host(flow, first, numeric, colour, out);
        ends::push_identity(flow, first, colour, out);
        out.extend_from_slice(arrow.as_bytes());
        ends::push_host(flow, second, numeric, colour, out);
        ends::push_identity(flow, second, colour, out);
        out.push(b' ');
        push_type(flow, out);
        out.push(b' ');
        push_verdict(flow, colour, out);
        decided::push_decided_by(flow, self.options.policy_names, out);
        out.extend_from_slice(b" (");
        push_summary(flow, out);
        out.push(b')');
        end_line(out, start, colour);
    }

    fn dict(&self, flow: &Flow, out: &mut Vec<u8>) {
        if self.any {
            out.extend_from_slice(b"------------\n");
        }
        let mut field = |name: &str, write: &dyn Fn(&mut Vec<u8>)| {
            let start = out.len();
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            write(out);
            end_line(out, start, self.options.colour);
        };
        let PrinterOptions { time_format, numeric, colour, .. } = self.options;
        field("  TIMESTAMP", &|out| stamp::push(flow.time, time_format, out));
        if self.options.node_name {
            field("       NODE", &|out| push_visible(out, &flow.node_name));
        }
        field("     SOURCE", &|out| ends::push_host(flow, ends::SOURCE, numeric, colour, out));
        field("DESTINATION", &|out| ends::push_host(flow, ends::DESTINATION, numeric, colour, out));
        field("       TYPE", &|out| push_type(flow, out));
        field("    VERDICT", &|out| push_verdict(flow, colour, out));
        let by = if decided::is_denied(flow) { "  DENIED BY" } else { " ALLOWED BY" };
        match decided::told(flow) {
            Told::By(text) => field(by, &|out| out.extend_from_slice(&text)),
            Told::Because(text) => field("    BECAUSE", &|out| out.extend_from_slice(&text)),
            Told::Nothing => {}
        }
        field("    SUMMARY", &|out| push_summary(flow, out));
    }

    fn row(&mut self, flow: &Flow, out: &mut Vec<u8>) {
        let PrinterOptions { node_name, time_format, numeric, policy_names, .. } = self.options;
        let mut cell = |write: &dyn Fn(&mut Vec<u8>)| {
            self.scratch.clear();
            write(&mut self.scratch);
            cut(&mut self.scratch, 0, MAX_CELL);
            self.table.cell(&self.scratch);
        };
        cell(&|out| stamp::push(flow.time, time_format, out));
        if node_name {
            cell(&|out| push_visible(out, &flow.node_name));
        }
        cell(&|out| ends::push_host(flow, ends::SOURCE, numeric, false, out));
        cell(&|out| ends::push_host(flow, ends::DESTINATION, numeric, false, out));
        cell(&|out| push_type(flow, out));
        cell(&|out| {
            push_verdict(flow, false, out);
            decided::push_decided_by(flow, policy_names, out);
        });
        cell(&|out| push_summary(flow, out));
        self.table.end_row(out);
    }

    fn lost(&mut self, lost: &LostEvents, out: &mut Vec<u8>) {
        let (source, cpu, count) = (lost.source, lost.cpu.unwrap_or_default(), lost.num_events_lost);
        match self.options.format {
            Format::Table => {
                self.table.cell(b"");
                if self.options.node_name {
                    self.table.cell(b"");
                }
                for text in [source.to_string(), String::new(), "EVENTS LOST".to_owned(), String::new()] {
                    self.table.cell(text.as_bytes());
                }
                self.table.cell(format!("CPU({cpu}) - {count}").as_bytes());
                self.table.end_row(out);
            }
            Format::Dict => {
                let separator = if self.any { "------------\n" } else { "" };
                let node = if self.options.node_name { "       NODE: \n" } else { "" };
                let text = format!(
                    "{separator}  TIMESTAMP: \n{node}     SOURCE: {source}\n       TYPE: EVENTS LOST\n    VERDICT: \n    \
                     SUMMARY: CPU({cpu}) - {count}\n"
                );
                out.extend_from_slice(text.as_bytes());
            }
            Format::Compact | Format::Jsonl => {
                out.extend_from_slice(format!("EVENTS LOST: {source} CPU({cpu}) {count}\n").as_bytes());
            }
        }
    }
}

/// Ends the line that began at `start`, in no colour.
fn end_line(out: &mut Vec<u8>, start: usize, colour: bool) {
    let reserved = if colour { PLAIN.len() } else { 0 };
    if cut(out, start, MAX_TEXT_LINE - reserved) && colour {
        out.extend_from_slice(PLAIN);
    }
    out.push(b'\n');
}

/// Cuts what began at `start` to less than `limit` bytes; true if it was longer.
fn cut(out: &mut Vec<u8>, start: usize, limit: usize) -> bool {
    const MARK: &[u8] = "…".as_bytes();
    if out.len() - start < limit {
        return false;
    }
    let mut end = start + limit - 1 - MARK.len();
    // Not within a character: bytes of one after its first have the form 10xxxxxx.
    while out.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
        end -= 1;
    }
    out.truncate(end);
    out.extend_from_slice(MARK);
    true
}

/// What kind of flow it is, in Hubble's words.
fn push_type(flow: &Flow, out: &mut Vec<u8>) {
    if let Some(l7) = &flow.l7 {
        return push_l7(flow, l7, out);
    }
    let event = flow.event_type.unwrap_or_default();
    // The words for a drop come from the sub-type, a byte in Cilium.
    let sub_type = event.sub_type & 0xff;
    match event.kind {
        event_type::TRACE => match POINTS.get(usize::try_from(sub_type).unwrap_or(usize::MAX)) {
            Some(point) => out.extend_from_slice(point.as_bytes()),
            None => out.extend_from_slice(sub_type.to_string().as_bytes()),
        },
        event_type::DROP => push_reason(flow, sub_type, out),
        event_type::POLICY_VERDICT => {
            let matched = usize::try_from(flow.policy_match_type).ok().and_then(|number| MATCHES.get(number));
            let text = format!("policy-verdict:{} {}", matched.copied().unwrap_or("unknown"), flow.traffic_direction);
            out.extend_from_slice(text.as_bytes());
        }
        _ => out.extend_from_slice(b"UNKNOWN"),
    }
}

/// Why it was dropped: of the kernel's drops in the kernel's own words, with the function that did it.
fn push_reason(flow: &Flow, sub_type: i32, out: &mut Vec<u8>) {
    let extra = flow.extensions.as_ref().and_then(|extensions| extensions.extra());
    let Some(drop) = extra.as_ref().and_then(|extra| extra.drop.as_ref()) else {
        out.extend_from_slice(DropReason(sub_type).label().as_bytes());
        return;
    };
    push_visible(out, &drop.reason);
    if let Some(location) = &drop.location {
        out.extend_from_slice(b" in ");
        push_visible(out, location);
    }
}

/// Sub-types of a trace (cilium, `pkg/monitor/api/types.go`).
pub(crate) const POINTS: [&str; 14] = [
    "to-endpoint",
    "to-proxy",
    "to-host",
    "to-stack",
    "to-overlay",
    "from-endpoint",
    "from-proxy",
    "from-host",
    "from-stack",
    "from-overlay",
    "from-network",
    "to-network",
    "from-crypto",
    "to-crypto",
];

/// Policy match types (as above).
const MATCHES: [&str; 7] = ["none", "L3-Only", "L3-L4", "L4-Only", "all", "L3-Proto", "Proto-Only"];

fn push_l7(flow: &Flow, l7: &Layer7, out: &mut Vec<u8>) {
    match (&l7.dns, &l7.http, &l7.kafka) {
        (Some(_), _, _) => out.extend_from_slice(b"dns"),
        (_, Some(_), _) => out.extend_from_slice(b"http"),
        (_, _, Some(_)) => out.extend_from_slice(b"kafka"),
        // What Hubble has no record for says itself what it is.
        _ => {
            match flow.extensions.as_ref().and_then(|extensions| extensions.extra()).and_then(|extra| extra.l7.clone())
            {
                Some(extra) if !extra.protocol.is_empty() => push_visible(out, &extra.protocol),
                _ => out.extend_from_slice(b"l7"),
            }
        }
    }
    out.push(b'-');
    push_visible(out, &l7.kind.to_string().to_ascii_lowercase());
    if let Some(dns) = &l7.dns {
        out.push(b' ');
        push_visible(out, &dns.observation_source);
    }
}

/// It in a few words; of a request or response that says none, those that Hubble would say.
fn push_summary(flow: &Flow, out: &mut Vec<u8>) {
    match &flow.l7 {
        Some(l7) if flow.summary.is_empty() => {
            let extra = flow.extensions.as_ref().and_then(|extensions| extensions.extra());
            let extra = extra.as_ref().and_then(|extra| extra.l7.as_ref());
            push_visible(out, &summary_of_layer7(l7, extra));
        }
        _ => push_visible(out, &flow.summary),
    }
}

fn push_verdict(flow: &Flow, colour: bool, out: &mut Vec<u8>) {
    let of_policy = flow.event_type.is_some_and(|event| event.kind == event_type::POLICY_VERDICT);
    let (word, paint) = match flow.verdict {
        Verdict::Forwarded | Verdict::Redirected => (of_policy.then_some("ALLOWED"), GREEN),
        Verdict::Dropped | Verdict::Error => (of_policy.then_some("DENIED"), RED),
        Verdict::Audit => (of_policy.then_some("AUDITED"), YELLOW),
        Verdict::Traced | Verdict::Translated => (None, YELLOW),
        Verdict::Unknown | Verdict::Other(_) => (None, PLAIN),
    };
    if colour {
        out.extend_from_slice(paint);
    }
    match word {
        Some(word) => out.extend_from_slice(word.as_bytes()),
        None => out.extend_from_slice(flow.verdict.to_string().as_bytes()),
    }
    if colour {
        out.extend_from_slice(PLAIN);
    }
}

/// Both ports of a flow; 0 where there is none.
fn ports(flow: &Flow) -> Ports {
    flow.l4.and_then(|l4| l4.ports()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
