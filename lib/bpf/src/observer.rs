//! An observer: a ring buffer of one's own in a slot of the datapath, with a filter that the kernel applies.
//!
//! A lock on one byte of a file tells who is alive: it goes with its process, however that ends. A heartbeat tells the
//! kernel the same, so that it stops copying to one that died even when no process is left to notice.

use std::{
    os::fd::AsFd,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{
    datapath::{Datapath, refused},
    endpoint::NodeLock,
    error::{Context, Error, Result},
    health::Followed,
    lockfile::{Lock, LockFile},
    payload::{Decision, Decisions, Stream},
    sys::{self, ControlWord, NewMap},
};
use aya::maps::{Map, MapData, PerCpuArray, RingBuf};
use chainkit_abi::{Event, Health, OBSERVERS, ObserverFilter, Piece, filter_bit, kind};

/// The kernel takes an observer for dead after five of these.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// How an observer is made.
#[derive(Clone, Copy, Debug)]
pub struct ObserverSettings {
    /// Size of its ring buffer in bytes; rounded up to a power of two, a page at least.
    pub ring_bytes: u32,
    /// What the kernel may leave out.
    pub filter: ObserverFilter,
}

/// Records sent and lost since the observer was made, and how often the kernel had switched it off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Events, and pieces of payload, that went into the ring.
    pub sent: u64,
    /// Those for which it had no room.
    pub lost: u64,
    /// Times that the process was stopped for so long that the kernel took it for dead; what happened then was not sent,
    /// nor counted.
    pub pauses: u64,
}

/// What lies in an observer's ring buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// An event.
    Event(&'a Event),
    /// A piece of payload, and its bytes, which may be none.
    Piece(&'a Piece, &'a [u8]),
}

/// One reader of the datapath's events, and of payload if it [wants](Self::want_payload) that.
pub struct Observer {
    slot: u32,
    ring: RingBuf<MapData>,
    losses: PerCpuArray<MapData, [u64; 2]>,
    filters: aya::maps::Array<MapData, ObserverFilter>,
    outer: std::os::fd::OwnedFd,
    decisions: Option<Deciding>,
    followed: Option<Following>,
    control: Arc<ControlWord>,
    pauses: Arc<AtomicU64>,
    /// Its bit, where it wants payload; else 0.
    payload: Arc<AtomicU64>,
    /// Its bit, where it wants to know how connections fare; else 0.
    health: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    heart: Option<JoinHandle<()>>,
    // Closing the file gives the slot back.
    _alive: LockFile,
}

/// What an observer that wants payload has decided, and where the kernel looks for it.
struct Deciding {
    decisions: Decisions,
    outer: std::os::fd::OwnedFd,
}

/// How connections fare, and where the kernel puts it.
struct Following {
    followed: Arc<Followed>,
    outer: std::os::fd::OwnedFd,
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Observer").field("slot", &self.slot).finish_non_exhaustive()
    }
}

impl Observer {
    /// Takes a free slot, or that of an observer that died, and starts to be told.
    ///
    /// # Errors
    /// Where all slots are taken by living observers, or the kernel has no memory for the ring.
    pub fn start(datapath: &Datapath, root: &Path, settings: ObserverSettings) -> Result<Self> {
        let netns = datapath.control_value()?.netns;
        let (slot, alive) = claim(root, netns)?;
        let control = ControlWord::map(datapath.map("CONTROL")?).during(|| "map CONTROL into memory")?;
        let bit = 1u64 << slot;
        // Whatever is in the slot was a dead observer's.
        control.observers().fetch_and(!bit, Ordering::AcqRel);
        control.payload().fetch_and(!bit, Ordering::AcqRel);
        control.health().fetch_and(!bit, Ordering::AcqRel);
        let ring = new_ring(settings.ring_bytes)?;
        let outer = datapath.map("OBSERVERS")?.try_clone_to_owned().during(|| "copy a descriptor")?;
        let mut losses = datapath.losses()?;
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error).during(|| "count the CPUs")?;
        let zeroes = aya::maps::PerCpuValues::try_from(vec![[0u64; 2]; cpus]).during(|| "count the CPUs")?;
        losses.set(slot, zeroes, 0).map_err(|error| refused(&error))?;
        let mut filters = datapath.filter_array()?;
        filters.set(slot, settings.filter, 0).map_err(|error| refused(&error))?;
        sys::put_inner(outer.as_fd(), slot, ring.fd().as_fd()).during(|| "put a ring buffer into its slot")?;
        forget(datapath, "DECISIONS", slot)?;
        forget(datapath, "HEALTH", slot)?;
        let ring = RingBuf::try_from(Map::RingBuf(ring)).map_err(|error| refused(&error))?;
        control.heartbeat(slot).store(sys::monotonic(), Ordering::Release);
        want(&control, bit, &settings.filter);
        control.observers().fetch_or(bit, Ordering::AcqRel);
        let mut observer = Self {
            slot,
            ring,
            losses,
            filters,
            outer,
            decisions: None,
            followed: None,
            control: Arc::new(control),
            pauses: Arc::default(),
            payload: Arc::default(),
            health: Arc::default(),
            stop: Arc::default(),
            heart: None,
            _alive: alive,
        };
        observer.heart = Some(observer.start_heart()?);
        Ok(observer)
    }

    fn start_heart(&self) -> Result<JoinHandle<()>> {
        let (control, pauses, stop) = (Arc::clone(&self.control), Arc::clone(&self.pauses), Arc::clone(&self.stop));
        let (payload, health) = (Arc::clone(&self.payload), Arc::clone(&self.health));
        let (slot, bit) = (self.slot, 1u64 << self.slot);
        let beat = move || {
            while !stop.load(Ordering::Acquire) {
                control.heartbeat(slot).store(sys::monotonic(), Ordering::Release);
                if control.observers().fetch_or(bit, Ordering::AcqRel) & bit == 0 && !stop.load(Ordering::Acquire) {
                    pauses.fetch_add(1, Ordering::AcqRel);
                }
                control.payload().fetch_or(payload.load(Ordering::Acquire), Ordering::AcqRel);
                control.health().fetch_or(health.load(Ordering::Acquire), Ordering::AcqRel);
                thread::park_timeout(HEARTBEAT);
            }
        };
        thread::Builder::new().name("heartbeat".to_owned()).spawn(beat).during(|| "start the heartbeat thread")
    }

    /// Its slot.
    #[must_use]
    pub const fn slot(&self) -> u32 {
        self.slot
    }

    /// Changes what the kernel may leave out.
    ///
    /// # Errors
    /// Where the map cannot be written.
    pub fn set_filter(&mut self, filter: &ObserverFilter) -> Result<()> {
        self.filters.set(self.slot, filter, 0).map_err(|error| refused(&error))?;
        want(&self.control, 1u64 << self.slot, filter);
        Ok(())
    }

    /// From now on has payload of connections copied, as far as its filter lets them through; verdicts do not matter. What it gets is
    /// read by [`read`](Self::read).
    ///
    /// `decisions` is how many decisions about connections are kept, 1,024 at least and 1,048,576 at most, each 136 bytes of kernel
    /// memory, taken at once; the least used is forgotten for another. To ask again changes nothing.
    ///
    /// # Errors
    /// Where the kernel has no memory for them, or the datapath is of a version without them.
    pub fn want_payload(&mut self, datapath: &Datapath, decisions: u32) -> Result<()> {
        if self.decisions.is_some() {
            return Ok(());
        }
        let outer = datapath.map("DECISIONS")?.try_clone_to_owned().during(|| "copy a descriptor")?;
        let decisions = Decisions::new(decisions)?;
        sys::put_inner(outer.as_fd(), self.slot, decisions.map())
            .during(|| "put a map of decisions about payload into its slot")?;
        self.decisions = Some(Deciding { decisions, outer });
        let bit = 1u64 << self.slot;
        self.payload.store(bit, Ordering::Release);
        self.control.payload().fetch_or(bit, Ordering::AcqRel);
        Ok(())
    }

    /// From now on has the kernel follow how TCP connections fare, as far as its filter lets them through; verdicts do not matter. What
    /// it finds is asked of what this gives, as long as the observer is there.
    ///
    /// `connections` is how many are followed at a time, 1,024 at least and 1,048,576 at most, each 368 bytes of kernel memory, taken at
    /// once; the one that was quiet longest is forgotten for another, and begins anew should it go on. To ask again changes nothing.
    ///
    /// # Errors
    /// Where the kernel has no memory for them, or the datapath is of a version that does not follow them.
    pub fn want_health(&mut self, datapath: &Datapath, connections: u32) -> Result<Arc<Followed>> {
        if let Some(following) = &self.followed {
            return Ok(Arc::clone(&following.followed));
        }
        let outer = datapath.map("HEALTH")?.try_clone_to_owned().during(|| "copy a descriptor")?;
        let followed = Arc::new(Followed::new(connections)?);
        sys::put_inner(outer.as_fd(), self.slot, followed.map())
            .during(|| "put a map for the health of connections into its slot")?;
        self.followed = Some(Following { followed: Arc::clone(&followed), outer });
        let bit = 1u64 << self.slot;
        self.health.store(bit, Ordering::Release);
        self.control.health().fetch_or(bit, Ordering::AcqRel);
        Ok(followed)
    }

    /// How a TCP connection fares; `None` where it was not asked for, or nothing of the connection has passed since then.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn health(&self, stream: &Stream) -> Result<Option<Health>> {
        match &self.followed {
            Some(following) => following.followed.of(stream),
            None => Ok(None),
        }
    }

    /// Decides about the payload of a connection; what was decided before is replaced, skips included.
    ///
    /// The kernel heeds it from the next packet on. It may forget it, as it may forget the connection itself, and then copies as if
    /// nothing had been decided: pieces say so by their flags.
    ///
    /// # Errors
    /// Where the observer has not asked for payload, or the kernel refuses.
    pub fn decide(&self, stream: &Stream, decision: Decision) -> Result<()> {
        self.deciding()?.decide(stream, decision)
    }

    /// Forgets what was decided about the payload of a connection; where nothing was, it is no error.
    ///
    /// # Errors
    /// As for [`decide`](Self::decide).
    pub fn undecide(&self, stream: &Stream) -> Result<()> {
        self.deciding()?.forget(stream)
    }

    fn deciding(&self) -> Result<&Decisions> {
        let no_payload = || Error::Unsupported("this observer has not asked for payload".to_owned());
        self.decisions.as_ref().map(|deciding| &deciding.decisions).ok_or_else(no_payload)
    }

    /// Hands what has come to `take`, at most `limit` events; returns how many it was. Pieces of payload are thrown away, and count as
    /// well: [`read`](Self::read) is for them.
    pub fn drain(&mut self, limit: usize, mut take: impl FnMut(&Event)) -> usize {
        self.read(limit, |record| {
            if let Record::Event(event) = record {
                take(event);
            }
        })
    }

    /// Hands what has come to `take`, at most `limit` records; returns how many it was.
    ///
    /// Records come in the order in which the kernel has put them there: packets of one direction as they passed, the pieces of a packet
    /// from first to last, and the event of a packet before its payload. With several CPUs at work, only those of one CPU are sure to.
    pub fn read(&mut self, limit: usize, mut take: impl FnMut(Record<'_>)) -> usize {
        let mut count = 0;
        while count < limit {
            let Some(bytes) = self.ring.next() else { break };
            hand(&bytes, &mut take);
            count += 1;
        }
        count
    }

    /// What was sent and lost so far.
    ///
    /// # Errors
    /// Where the map cannot be read.
    pub fn losses(&self) -> Result<Losses> {
        let cells = self.losses.get(&self.slot, 0).map_err(|error| refused(&error))?;
        let mut losses = Losses { pauses: self.pauses.load(Ordering::Acquire), ..Losses::default() };
        for [sent, lost] in cells.iter() {
            losses.sent += sent;
            losses.lost += lost;
        }
        Ok(losses)
    }

    /// Stops being told; what is in the ring can still be drained.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(heart) = self.heart.take() {
            heart.thread().unpark();
            let _ = heart.join();
        }
        self.control.observers().fetch_and(!(1u64 << self.slot), Ordering::AcqRel);
        self.control.payload().fetch_and(!(1u64 << self.slot), Ordering::AcqRel);
        self.control.health().fetch_and(!(1u64 << self.slot), Ordering::AcqRel);
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.stop();
        let _ = sys::take_inner(self.outer.as_fd(), self.slot);
        if let Some(deciding) = &self.decisions {
            let _ = sys::take_inner(deciding.outer.as_fd(), self.slot);
        }
        if let Some(following) = &self.followed {
            let _ = sys::take_inner(following.outer.as_fd(), self.slot);
        }
    }
}

/// Tells the kernel whether this observer is why packets that bring nothing new must be looked at.
fn want(control: &ControlWord, bit: u64, filter: &ObserverFilter) {
    if filter.flags & filter_bit::PER_PACKET != 0 {
        control.each_packet().fetch_or(bit, Ordering::AcqRel);
    } else {
        control.each_packet().fetch_and(!bit, Ordering::AcqRel);
    }
}

/// Hands one record over as what it is; what is too short to be either is left out.
fn hand(bytes: &[u8], take: &mut impl FnMut(Record<'_>)) {
    /// Where both have their kind.
    const KIND: usize = std::mem::offset_of!(Event, kind);
    const _: () = assert!(KIND == std::mem::offset_of!(Piece, kind));
    if bytes.get(KIND) != Some(&kind::PAYLOAD) {
        if let Some((event, _)) = sys::value_of::<Event>(bytes) {
            take(Record::Event(&event));
        }
        return;
    }
    // The kernel rounds a record up to eight bytes only where nobody sees it; what a piece says of itself counts.
    if let Some((piece, rest)) = sys::value_of::<Piece>(bytes)
        && let Some(payload) = usize::try_from(piece.length).ok().and_then(|length| rest.get(..length))
    {
        take(Record::Piece(&piece, payload));
    }
}

/// Takes away the map that a dead observer had put into this slot.
fn forget(datapath: &Datapath, outer: &str, slot: u32) -> Result<()> {
    let outer = datapath.map(outer)?;
    // To empty a place takes the kernel milliseconds, and it is seldom taken.
    if sys::inner_id(outer, slot).during(|| "look for what a dead observer has left")?.is_none() {
        return Ok(());
    }
    sys::take_inner(outer, slot).during(|| "take away what a dead observer has left")
}

/// Takes the first byte of the lock file that nobody holds.
fn claim(root: &Path, netns: u64) -> Result<(u32, LockFile)> {
    let lock = NodeLock::take(root)?;
    let file = LockFile::open(&lock, root, &format!("observers-{netns}.lock"))?;
    for slot in 0..OBSERVERS {
        match file.set(u64::from(slot), Lock::Exclusive) {
            Ok(()) => return Ok((slot, file)),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {}
            Err(error) => return Err(error).during(|| "lock an observer's slot"),
        }
    }
    // The file's end takes the lock.
    drop(lock);
    Err(Error::Full(OBSERVERS, "observers' slots"))
}

fn new_ring(bytes: u32) -> Result<MapData> {
    const RINGBUF: u32 = 27;
    const LARGEST: u32 = 1 << 30;
    let bytes = bytes.clamp(4096, LARGEST).next_power_of_two();
    let new = NewMap {
        name: "observer",
        map_type: RINGBUF,
        key_size: 0,
        value_size: 0,
        max_entries: bytes,
        flags: 0,
        btf: None,
    };
    let fd = sys::create_map(new).during(|| format!("create a ring buffer of {bytes} bytes"))?;
    MapData::from_fd(fd).map_err(|error| refused(&error))
}
