//! A datapath to be measured, with readers.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use chainkit_abi::{ObserverFilter, filter_bit};
use chainkit_bpf::{Datapath, NodeLock, Observer, ObserverSettings, Program, Settings, TestContext};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use crate::frames::Case;

/// How long a reader sleeps when there is nothing to read: wake-ups for each event would cost more than the events.
const PAUSE: Duration = Duration::from_millis(2);

/// Loopback, as the endpoint of packets that no interface carries.
pub(crate) const LOOPBACK: u32 = 1;

/// Loads a datapath whose only endpoint is loopback, which it is not attached to.
pub(crate) fn of_loopback(root: &Path, connections: u32) -> Result<Datapath> {
    let datapath = Datapath::load()?;
    let settings = Settings { connections, ..Settings::default() };
    datapath.add_endpoint(&NodeLock::take(root)?, LOOPBACK, settings)?;
    Ok(datapath)
}

/// Brings a conversation of the endpoint to where nothing about it is new.
pub(crate) fn establish(datapath: &Datapath, case: Case, port: u16) -> Result<()> {
    for (from_pod, frame) in case.opening(port) {
        let program = if from_pod { Program::FromPod } else { Program::ToPod };
        datapath.test_run(program, &frame, TestContext::default(), 1)?;
    }
    Ok(())
}

/// What a reader asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    /// First packets, flags, ends.
    Sparse,
    /// Every packet.
    Packets,
}

impl Wants {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sparse => "sparse",
            Self::Packets => "per-packet",
        }
    }
}

/// Readers, each on a thread of its own, which count events and do nothing else with them.
pub(crate) struct Readers {
    each: Vec<Reader>,
}

struct Reader {
    read: Arc<AtomicU64>,
    sent_lost: Arc<[AtomicU64; 2]>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Readers {
    pub(crate) fn start(datapath: &Datapath, root: &Path, count: usize, wants: Wants, ring_bytes: u32) -> Result<Self> {
        let mut filter = ObserverFilter::default();
        if wants == Wants::Packets {
            filter.flags |= filter_bit::PER_PACKET;
        }
        let each = (0..count)
            .map(|_| Ok(Reader::start(Observer::start(datapath, root, ObserverSettings { ring_bytes, filter })?)))
            .collect::<Result<_>>()?;
        Ok(Self { each })
    }

    /// Waits until they have read all that was sent; answers (read, lost) of all of them together.
    pub(crate) fn settle(&self) -> Result<(u64, u64)> {
        // Twice: what a reader tells at first it may have looked up before.
        self.settle_once()?;
        self.settle_once()
    }

    fn settle_once(&self) -> Result<(u64, u64)> {
        let started = Instant::now();
        let mut sums = (0, 0);
        for reader in &self.each {
            reader.sent_lost.iter().for_each(|cell| cell.store(u64::MAX, Ordering::Release));
        }
        for reader in &self.each {
            loop {
                let [sent, lost] = &*reader.sent_lost;
                let (sent, lost, read) =
                    (sent.load(Ordering::Acquire), lost.load(Ordering::Acquire), reader.read.load(Ordering::Acquire));
                if sent != u64::MAX && read >= sent {
                    sums = (sums.0 + read, sums.1 + lost);
                    break;
                }
                ensure!(
                    started.elapsed() < Duration::from_secs(20),
                    "a reader has read {read} of {sent} events in 20 s"
                );
                thread::sleep(Duration::from_micros(200));
            }
        }
        Ok(sums)
    }
}

impl Reader {
    fn start(mut observer: Observer) -> Self {
        let read: Arc<AtomicU64> = Arc::default();
        let sent_lost = Arc::new([AtomicU64::new(u64::MAX), AtomicU64::new(0)]);
        let stop: Arc<AtomicBool> = Arc::default();
        let (counts, tells, stopped) = (Arc::clone(&read), Arc::clone(&sent_lost), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                let mut bytes = 0u64;
                let count = observer.drain(4096, |event| bytes = bytes.wrapping_add(u64::from(event.bytes)));
                std::hint::black_box(bytes);
                counts.fetch_add(u64::try_from(count).unwrap_or(0), Ordering::AcqRel);
                if count == 0 {
                    if let Ok(losses) = observer.losses() {
                        let [sent, lost] = &*tells;
                        lost.store(losses.lost, Ordering::Release);
                        sent.store(losses.sent, Ordering::Release);
                    }
                    thread::sleep(PAUSE);
                }
            }
        });
        Self { read, sent_lost, stop, thread: Some(thread) }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // A reader does not panic.
            drop(thread.join());
        }
    }
}

/// Keeps this thread on one CPU, so that no round pays for a move.
pub(crate) fn stay_on(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .with_context(|| format!("cannot stay on CPU {cpu}"))
}
