//! What is measured, as lines for people or as JSON Lines.

use std::{
    fs,
    io::{self, Write},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Where results go.
#[derive(Debug)]
pub(crate) struct Report {
    json: bool,
}

impl Report {
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Opens a group of lines for people.
    pub(crate) fn heading(&self, text: &str) -> Result<()> {
        if self.json { Ok(()) } else { write(&format!("\n{text}")) }
    }

    /// One result: its fields, the `kind` among them, and the same as a line for people.
    pub(crate) fn result(&self, fields: &Value, line: &str) -> Result<()> {
        write(&if self.json { fields.to_string() } else { format!("  {line}") })
    }

    /// What cannot be measured here, and why.
    pub(crate) fn skipped(&self, what: &str, why: &str) -> Result<()> {
        self.result(&json!({ "kind": "skipped", "what": what, "why": why }), &format!("skipped: {what}: {why}"))
    }

    /// The machine that all that follows was measured on.
    pub(crate) fn machine(&self) -> Result<()> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let kernel = read("/proc/sys/kernel/osrelease").trim().to_owned();
        let cpuinfo = read("/proc/cpuinfo");
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let model = model.map_or("unknown", |(_, model)| model);
        let cpus = std::thread::available_parallelism().map_or(0, usize::from);
        let load = read("/proc/loadavg");
        let load = load.split(' ').next().unwrap_or_default();
        self.result(
            &json!({ "kind": "machine", "kernel": kernel, "cpus": cpus, "cpu_model": model, "load": load }),
            &format!("Linux {kernel}, {cpus} CPUs ({model}), load {load}"),
        )
    }
}

fn write(line: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).context("cannot write to stdout")
}
