//! Slots: where an endpoint's connection tables are.
//!
//! To put a map into an outer map takes the kernel milliseconds, since it waits for every program that may still use what was
//! there. So the tables of an endpoint that is gone are emptied and kept as *spares* for the next, [`SPARES`] at most;
//! and where new ones must be made, some more are made along with them, in the same time.

use std::{
    os::fd::{AsFd, OwnedFd},
    sync::atomic::Ordering,
    thread,
};

use chainkit_abi::{CONNECTIONS, Conn, DENIALS_PER_SLOT, Denial, Key4, Key6, SLOTS, SPARES, SWEEP_CHUNK, TableState};

use crate::{
    btf::{self, Type},
    datapath::{Datapath, refused},
    endpoint::NodeLock,
    error::{Context, Error, Result},
    program::Program,
    sys::{self, NewMap, TestContext},
    tables::{Family, SWEEP_FRAME},
};

/// Outer maps that have something at each slot.
const OUTER: [&str; 4] = ["CONNS4", "CONNS6", "KEYS4", "KEYS6"];
/// How many slots are given tables, or are relieved of them, at a time.
const BATCH: usize = 4;

impl Datapath {
    /// A slot with empty tables of `connections` places each, which from now on is this interface's.
    pub(crate) fn take_slot(&self, lock: &NodeLock, ifindex: u32, connections: u32) -> Result<u32> {
        let slot = loop {
            let Some(spare) = self.take_spare(lock, connections)? else {
                break self.make_slots(lock, connections)?;
            };
            // What came in behind the last look at it: a packet may have been under way.
            if self.is_empty(spare)? || self.empty_slot(spare)? {
                break spare;
            }
            self.discard_slots(&[spare])?;
        };
        let state = TableState { places: connections, ifindex, ..TableState::default() };
        self.table_states()?.set(slot, state, 0).map_err(|error| refused(&error))?;
        // What was denied to the one before is not to be told as a repetition.
        let mut denials = self.denials()?;
        for index in (slot * DENIALS_PER_SLOT..).take(DENIALS_PER_SLOT as usize) {
            denials.set(index, Denial::default(), 0).map_err(|error| refused(&error))?;
        }
        Ok(slot)
    }

    /// Keeps a slot that no endpoint has any more for the next, or takes its tables away if there are spares enough.
    pub(crate) fn give_back_slot(&self, _lock: &NodeLock, slot: u32) -> Result<()> {
        let mut states = self.table_states()?;
        let places = states.get(&slot, 0).map_err(|error| refused(&error))?.places;
        states.set(slot, TableState { places, ..TableState::default() }, 0).map_err(|error| refused(&error))?;
        let mut surplus = vec![slot];
        for index in 0..SPARES {
            let spare = self.control.spare(index);
            let known = spare.load(Ordering::Acquire);
            if known == 0 {
                spare.store(slot + 1, Ordering::Release);
                return Ok(());
            }
            if surplus.len() < BATCH {
                surplus.push(known - 1);
            }
        }
        for index in 0..SPARES {
            let spare = self.control.spare(index);
            if surplus.contains(&spare.load(Ordering::Acquire).wrapping_sub(1)) {
                spare.store(0, Ordering::Release);
            }
        }
        self.discard_slots(&surplus)
    }

    /// Takes the tables of slots away that nobody has.
    pub(crate) fn discard_slots(&self, slots: &[u32]) -> Result<()> {
        let mut states = self.table_states()?;
        for slot in slots {
            states.set(*slot, TableState::default(), 0).map_err(|error| refused(&error))?;
        }
        self.clear_slots(slots)
    }

    /// A spare with tables of this size.
    fn take_spare(&self, _lock: &NodeLock, connections: u32) -> Result<Option<u32>> {
        let states = self.table_states()?;
        for index in 0..SPARES {
            let spare = self.control.spare(index);
            let Some(slot) = spare.load(Ordering::Acquire).checked_sub(1).filter(|slot| *slot < SLOTS) else {
                continue;
            };
            if states.get(&slot, 0).map_err(|error| refused(&error))?.places == connections {
                // Before an endpoint has it: a process that is killed in between loses the slot until the next look at all.
                spare.store(0, Ordering::Release);
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }

    /// Gives tables to a slot that has none, and where they are of the common size to some more for later.
    fn make_slots(&self, lock: &NodeLock, connections: u32) -> Result<u32> {
        let mut used = vec![false; SLOTS as usize];
        let endpoints = self.endpoints()?;
        let spares = (0..SPARES).filter_map(|index| self.control.spare(index).load(Ordering::Acquire).checked_sub(1));
        for slot in endpoints.iter().map(|(slot, _)| *slot).chain(spares) {
            if let Some(used) = used.get_mut(slot as usize) {
                *used = true;
            }
        }
        let states = sys::entries::<u32, TableState>(self.map("TABLES")?).during(|| "read the tables' states")?;
        let free: Vec<(u32, TableState)> =
            states.into_iter().filter(|(slot, _)| used.get(*slot as usize) == Some(&false)).collect();
        // A process was killed when it had taken it from where it was, and put it nowhere.
        for (lost, _) in free.iter().filter(|(_, state)| state.places == connections) {
            if self.empty_slot(*lost)? {
                return Ok(*lost);
            }
        }
        let room = (0..SPARES).filter(|index| self.control.spare(*index).load(Ordering::Acquire) == 0).count();
        let count = if connections == CONNECTIONS { BATCH.min(room + 1) } else { 1 };
        let slots: Vec<u32> = free.iter().map(|(slot, _)| *slot).take(count).collect();
        let first = *slots.first().ok_or(Error::Full(SLOTS, "endpoint slots"))?;
        self.make_tables(&slots, connections)?;
        let mut states = self.table_states()?;
        for slot in &slots {
            let state = TableState { places: connections, ..TableState::default() };
            states.set(*slot, state, 0).map_err(|error| refused(&error))?;
            if *slot != first {
                self.give_back_slot(lock, *slot)?;
            }
        }
        Ok(first)
    }

    /// Makes tables for slots. Each takes as long as the kernel waits, so all are put in place at once.
    fn make_tables(&self, slots: &[u32], connections: u32) -> Result<()> {
        const HASH: u32 = 1;
        const ARRAY: u32 = 2;
        const NO_PREALLOC: u32 = 1;
        const INNER_MAP: u32 = 0x1000;
        const KEY4: Type = Type::Struct(16);
        const KEY6: Type = Type::Struct(40);
        const CONN: Type = Type::Struct(104);
        const U32: Type = Type::U32;
        let types = btf::load().during(|| "load type information for connection tables")?;
        let size = |bytes: usize| u32::try_from(bytes).unwrap_or(0);
        let (key4, key6, conn) = (size(size_of::<Key4>()), size(size_of::<Key6>()), size(size_of::<Conn>()));
        let inner = |name, map_type, key_size, value_size, flags, key: Type, value: Type| NewMap {
            name,
            map_type,
            key_size,
            value_size,
            max_entries: connections,
            flags,
            btf: Some((types.as_fd(), key.id(), value.id())),
        };
        let tables = [
            inner("conns4", HASH, key4, conn, NO_PREALLOC, KEY4, CONN),
            inner("conns6", HASH, key6, conn, NO_PREALLOC, KEY6, CONN),
            inner("keys4", ARRAY, 4, key4, INNER_MAP, U32, KEY4),
            inner("keys6", ARRAY, 4, key6, INNER_MAP, U32, KEY6),
        ];
        let mut made: Vec<(&str, u32, OwnedFd)> = Vec::new();
        for slot in slots {
            for (outer, new) in OUTER.into_iter().zip(tables) {
                let map = sys::create_map(new)
                    .during(|| format!("create a table of {connections} connections ({})", new.name))?;
                made.push((outer, *slot, map));
            }
        }
        let put = at_once(&made, |(outer, slot, map)| {
            sys::put_inner(self.map(outer)?, *slot, map.as_fd())
                .during(|| format!("put a table into slot {slot} of {outer}"))
        });
        put.or_else(|error| self.clear_slots(slots).and(Err(error)))
    }

    /// Takes the tables out of slots, all at once.
    fn clear_slots(&self, slots: &[u32]) -> Result<()> {
        let all: Vec<(&str, u32)> = slots.iter().flat_map(|slot| OUTER.map(|outer| (outer, *slot))).collect();
        at_once(&all, |(outer, slot)| {
            sys::take_inner(self.map(outer)?, *slot).during(|| format!("empty slot {slot} of {outer}"))
        })
    }

    /// Takes all entries of a slot out, and forgets their keys; false: some are left. So it is where the program that does this is
    /// gone: it is held by no interface, and a leased datapath's goes with the process that was killed.
    pub(crate) fn empty_slot(&self, slot: u32) -> Result<bool> {
        /// A packet under way may enter one more, once or twice.
        const TRIES: u32 = 10;
        if self.program(Program::Sweep).is_err() {
            return Ok(false);
        }
        let state = self.table_state(slot)?;
        self.sweep_places(slot, [state.cursor4, state.cursor6].map(|cursor| used(cursor, state.places)), true)?;
        for _ in 0..TRIES {
            if self.is_empty(slot)? {
                return Ok(true);
            }
            self.sweep_places(slot, [state.places; 2], true)?;
        }
        Ok(false)
    }

    /// Whether neither table of a slot has an entry.
    fn is_empty(&self, slot: u32) -> Result<bool> {
        for outer in ["CONNS4", "CONNS6"] {
            if let Some(table) = self.table(outer, slot)?
                && !sys::is_empty(table.as_fd()).during(|| format!("read slot {slot} of {outer}"))?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes out what has expired of one slot; returns how many entries went.
    pub(crate) fn sweep_slot(&self, slot: u32) -> Result<u64> {
        let state = self.table_state(slot)?;
        self.sweep_places(slot, [state.cursor4, state.cursor6].map(|cursor| used(cursor, state.places)), false)
    }

    /// Looks at the first so many places of the IPv4 and of the IPv6 table.
    fn sweep_places(&self, slot: u32, [places4, places6]: [u32; 2], all: bool) -> Result<u64> {
        let Ok(program) = self.program(Program::Sweep) else { return Ok(0) };
        let mut taken = 0;
        for (family, places) in [(Family::V4, places4), (Family::V6, places6)] {
            let mut start = 0;
            while start < places {
                let context =
                    TestContext { cb: [slot, family.number(), start, u32::from(all), 0], ..TestContext::default() };
                let run = sys::test_run(program, &SWEEP_FRAME, context, 1).during(|| "sweep connections")?;
                taken += u64::try_from(run.answer).unwrap_or(0);
                start += SWEEP_CHUNK;
            }
        }
        Ok(taken)
    }
}

/// How many places of a table were ever handed out.
fn used(cursor: u64, places: u32) -> u32 {
    u32::try_from(cursor).unwrap_or(u32::MAX).min(places)
}

/// Does something with each of some things on a thread of its own; the first error.
pub(crate) fn at_once<T: Sync>(things: &[T], work: impl Fn(&T) -> Result<()> + Sync) -> Result<()> {
    let Some((first, others)) = things.split_first() else { return Ok(()) };
    thread::scope(|scope| {
        let work = &work;
        let started: Vec<_> = others
            .iter()
            .map(|thing| (thing, thread::Builder::new().spawn_scoped(scope, move || work(thing))))
            .collect();
        let mut done = work(first);
        for (thing, thread) in started {
            done = done.and(match thread {
                Ok(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                // No thread to be had: one after another, then.
                Err(_) => work(thing),
            });
        }
        done
    })
}
