//! What hostile and huge input does to `polload`: it ends in bounded time and memory, with clear words, and gives no half answer
//! without saying so.
//!
//! Sizes are full where the program is optimised, as `tests/run large` has it, and a fiftieth of that elsewhere; what shows
//! in full sizes alone is left to it.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a failure shows its line")]

#[path = "../common/mod.rs"]
mod common;
mod policies;
mod texts;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::Ended;
use tempfile::TempDir;

/// Part of a full size.
pub(crate) const fn sized(full: usize) -> usize {
    if cfg!(debug_assertions) { full / 50 } else { full }
}

/// 100 MB; more than a text may have, in any case.
pub(crate) const HUGE: usize = if cfg!(debug_assertions) { 5 << 19 } else { 100 << 20 };
/// Address space for input that is small, in MiB. A program with debug information takes much of it for itself.
pub(crate) const LITTLE: usize = 512;
/// The same for input of 100 MB.
pub(crate) const MUCH: usize = 1536;
/// Only what never ends takes this long, in seconds.
pub(crate) const NEVER: usize = 300;

/// Runs `polload` with so much address space (MiB). However it ends, it ends by itself.
pub(crate) fn run_within(memory: usize, arguments: &[&str]) -> Ended {
    let output = Command::new("sh")
        .args(["-c", "ulimit -c 0; ulimit -v $(($1 * 1024)); shift; exec timeout -s KILL \"$@\"", "sh"])
        .args([&memory.to_string(), &NEVER.to_string(), env!("CARGO_BIN_EXE_polload")])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let ended = Ended::from(output);
    assert!(matches!(ended.code, Some(0..=2)), "{arguments:?} ended with {:?}: {}", ended.code, ended.stderr);
    ended
}

/// Files that are removed in the end.
pub(crate) struct Scratch(TempDir);

impl Scratch {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// A file of these parts.
    pub(crate) fn file(&self, name: &str, parts: &[&[u8]]) -> String {
        let path = self.path(name);
        let mut file = BufWriter::new(File::create(&path).unwrap());
        parts.iter().for_each(|part| file.write_all(part).unwrap());
        file.flush().unwrap();
        path
    }

    /// A file of a head, of what `item` makes of 0, 1, 2 ... until there are so many bytes, and of an end. With how many there are.
    pub(crate) fn filled(
        &self,
        name: &str,
        bytes: usize,
        head: &str,
        end: &str,
        item: impl Fn(usize) -> String,
    ) -> (String, usize) {
        let path = self.path(name);
        let mut file = BufWriter::new(File::create(&path).unwrap());
        file.write_all(head.as_bytes()).unwrap();
        let (mut written, mut items) = (0, 0);
        while written < bytes {
            let text = item(items);
            file.write_all(text.as_bytes()).unwrap();
            written += text.len();
            items += 1;
        }
        file.write_all(end.as_bytes()).unwrap();
        file.flush().unwrap();
        (path, items)
    }
}

pub(crate) fn address(number: usize) -> String {
    format!("10.{}.{}.{}", number >> 16 & 255, number >> 8 & 255, number & 255)
}

/// A pod of namespace `shop` with these labels, in flow style.
pub(crate) fn labelled(name: &str, number: usize, labels: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, labels: {{{labels}}}}}\n\
         spec: {{containers: [{{name: c, ports: [{{name: http, containerPort: 8080}}]}}]}}\n\
         status: {{podIP: {}}}\n",
        address(number)
    )
}

/// Lines, joined.
pub(crate) fn each(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).fold(String::new(), |mut all, number| {
        all.push_str(&line(number));
        all
    })
}

/// Whether `explain` says that `from` may reach a port of `to`.
pub(crate) fn allows(memory: usize, file: &str, from: &str, to: &str, port: &str) -> bool {
    let explained = run_within(memory, &["explain", "-j", file, "--from", from, "--to", to, "--port", port]);
    let records = explained.records();
    assert_eq!(records.len(), 1, "{}", explained.stderr);
    assert_eq!(explained.code, Some(i32::from(records[0]["verdict"] == "DENIED")));
    records[0]["verdict"] == "ALLOWED"
}
