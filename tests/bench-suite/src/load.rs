//! Has the kernel verify objects, for `ebpf/build --check`: a way that no program of chainkit's offers.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, bail, ensure};
use aya::{Btf, EbpfLoader, programs::Program};

/// Loads every program of each object and lets go of it.
pub(crate) fn verify(objects: &[PathBuf]) -> Result<()> {
    for path in objects {
        // Given with or without the suffix that `ebpf/build` leaves off.
        let path = if path.exists() { path.clone() } else { path.with_extension("o") };
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let verified = programs(&bytes).with_context(|| format!("the kernel refuses {}", path.display()))?;
        ensure!(!verified.is_empty(), "{} has no programs", path.display());
        let text = format!("{}: the kernel accepts {}\n", path.display(), verified.join(", "));
        std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes()).context("cannot write to stdout")?;
    }
    Ok(())
}

fn programs(object: &[u8]) -> Result<Vec<String>> {
    let mut ebpf = EbpfLoader::new().load(object)?;
    let mut verified = Vec::new();
    for (name, program) in ebpf.programs_mut() {
        match program {
            // Without offsets of this kernel, which user space writes into the object: the verifier reads what any kernel has.
            Program::BtfTracePoint(program) => program.load("kfree_skb", &Btf::from_sys_fs()?),
            Program::SchedClassifier(program) => program.load(),
            _ => bail!("program {name} is of a kind that is not ours"),
        }
        .with_context(|| format!("program {name}"))?;
        verified.push(name.to_owned());
    }
    verified.sort();
    Ok(verified)
}
