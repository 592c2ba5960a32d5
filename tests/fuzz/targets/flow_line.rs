//! Saved lines: whatever they hold, they are parsed or refused, printed in each format, and what is printed as JSON is read
//! again.
#![no_main]

use chainkit_flow::{Format, LineBuffer, Printer, PrinterOptions, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut lines = LineBuffer::default();
    lines.push(bytes);
    while let Some(line) = lines.next_line() {
        let _ = format!("{line:?}");
    }
    let _ = lines.finish();
    let Ok(Some(record)) = parse(bytes) else { return };
    for format in [Format::Compact, Format::Dict, Format::Table, Format::Jsonl] {
        let mut out = Vec::new();
        let mut printer = Printer::new(PrinterOptions { format, node_name: true, policy_names: true, ..PrinterOptions::default() });
        if printer.print(&record, None, &mut out).is_err() {
            continue;
        }
        printer.flush(&mut out);
        if format == Format::Jsonl {
            let line = out.strip_suffix(b"\n").unwrap_or(&out);
            assert!(line.is_empty() || matches!(parse(line), Ok(Some(_))), "not read again: {}", String::from_utf8_lossy(line));
        } else {
            let is_plain = |byte: &u8| *byte == b'\n' || *byte == b'\t' || !byte.is_ascii_control();
            assert!(out.iter().all(is_plain), "control characters reach a terminal: {out:?}");
        }
    }
});
