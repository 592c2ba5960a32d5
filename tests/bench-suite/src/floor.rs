//! The programs to compare with: the least that a datapath with a memory can do, and nothing at all.

use anyhow::{Context, Result};
use aya::{
    Ebpf, EbpfLoader,
    programs::{SchedClassifier, TestRun, TestRunOptions},
};

/// The floor's object, loaded.
#[derive(Debug)]
pub(crate) struct Floor {
    ebpf: Ebpf,
}

/// Its programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// Parses, looks up one connection, counts packets and bytes.
    Floor,
    /// Returns.
    Empty,
}

impl Program {
    const ALL: [Self; 2] = [Self::Floor, Self::Empty];

    const fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Empty => "empty",
        }
    }
}

impl Floor {
    pub(crate) fn load() -> Result<Self> {
        let mut ebpf = EbpfLoader::new().load(chainkit_object::FLOOR).context("cannot load the floor")?;
        for program in Program::ALL {
            let loaded: &mut SchedClassifier =
                ebpf.program_mut(program.name()).context("the floor's object lacks a program")?.try_into()?;
            loaded.load().with_context(|| format!("cannot load the program {}", program.name()))?;
        }
        Ok(Self { ebpf })
    }

    /// Runs a program `repeat` times on a frame; answers the mean nanoseconds of a run.
    pub(crate) fn run(&self, program: Program, frame: &[u8], repeat: u32) -> Result<f64> {
        let loaded: &SchedClassifier =
            self.ebpf.program(program.name()).context("the floor's object lacks a program")?.try_into()?;
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.repeat = repeat;
        let run = loaded.test_run(options).with_context(|| format!("cannot run the program {}", program.name()))?;
        Ok(run.duration.as_secs_f64() * 1e9)
    }
}
