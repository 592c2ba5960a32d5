//! The programs to compare with: the least that a datapath with a memory can do, and nothing at all.

use anyhow::{Context, Result};
use chainkit_bpf::TestContext;
use std::os::fd::AsFd;

use aya::{
    Ebpf, EbpfLoader,
    maps::{HashMap, LpmTrie, lpm_trie::Key},
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
    /// Misses a connection and enters it, finds an address in a hash and one in a trie.
    First,
    /// Returns.
    Empty,
}

impl Program {
    const ALL: [Self; 3] = [Self::Floor, Self::First, Self::Empty];

    const fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::First => "first",
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

    /// Gives the program `first` addresses and prefixes to find.
    pub(crate) fn fill(
        &mut self,
        hosts: &std::collections::HashMap<[u8; 4], u32>,
        blocks: &std::collections::HashMap<chainkit_abi::Prefix4, u32>,
    ) -> Result<()> {
        let map = self.ebpf.map_mut("HOSTS").context("the floor's object lacks HOSTS")?;
        let mut table: HashMap<_, u32, u32> = HashMap::try_from(map)?;
        for (host, class) in hosts {
            table.insert(u32::from_ne_bytes(*host), class, 0)?;
        }
        let map = self.ebpf.map_mut("BLOCKS").context("the floor's object lacks BLOCKS")?;
        let mut trie: LpmTrie<_, [u8; 4], u32> = LpmTrie::try_from(map)?;
        for (prefix, class) in blocks {
            trie.insert(&Key::new(prefix.length, prefix.address), class, 0)?;
        }
        // What is in no prefix is in all.
        Ok(trie.insert(&Key::new(0, [0; 4]), 0, 0)?)
    }

    /// Runs a program once on a frame, with the words of `context`.
    pub(crate) fn run_in(&self, program: Program, frame: &[u8], context: TestContext) -> Result<f64> {
        let loaded: &SchedClassifier =
            self.ebpf.program(program.name()).context("the floor's object lacks a program")?.try_into()?;
        let run = chainkit_bpf::run_program(loaded.fd()?.as_fd(), frame, context)?;
        anyhow::ensure!(run.answer != 2, "the floor's program {} found nothing", program.name());
        Ok(f64::from(run.nanoseconds))
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
