//! What the kernel says of its own memory.

use std::fs;

use anyhow::{Context, Result};

/// Kernel memory by how it was got, in bytes; differences are what matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// Small objects (`Slab`).
    pub(crate) slab: i64,
    /// Areas for each CPU (`Percpu`).
    pub(crate) percpu: i64,
    /// Larger areas (`VmallocUsed`).
    pub(crate) vmalloc: i64,
}

impl Kernel {
    pub(crate) fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self> {
        let field = |name: &str| -> Result<i64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let number = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<i64>().ok());
            Ok(number.with_context(|| format!("/proc/meminfo says nothing of {name}"))? * 1024)
        };
        Ok(Self { slab: field("Slab")?, percpu: field("Percpu")?, vmalloc: field("VmallocUsed")? })
    }

    /// What it has grown by since.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            slab: self.slab - before.slab,
            percpu: self.percpu - before.percpu,
            vmalloc: self.vmalloc - before.vmalloc,
        }
    }

    pub(crate) const fn sum(self) -> i64 {
        self.slab + self.percpu + self.vmalloc
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_names() {
        let text =
            "MemTotal:  24684456 kB\nSlab:   200 kB\nSlabReclaimable: 9 kB\nVmallocUsed:  30 kB\nPercpu:  4 kB\n";
        let found = Kernel::parse(text).unwrap();
        assert_eq!(found, Kernel { slab: 200 << 10, percpu: 4 << 10, vmalloc: 30 << 10 });
        assert_eq!(found.sum(), 234 << 10);
    }

    #[test]
    fn a_field_that_is_missing_is_named() {
        assert!(Kernel::parse("Slab: 1 kB\n").unwrap_err().to_string().contains("Percpu"));
    }
}
