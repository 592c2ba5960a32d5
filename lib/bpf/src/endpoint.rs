//! Endpoints: gives an interface a slot and tables of its own, and takes them away again.

use std::{
    fs::{self, File, OpenOptions},
    os::fd::AsFd,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use chainkit_abi::{CONNECTIONS, Conn, DENIALS_PER_SLOT, Denial, Endpoint, Key4, Key6, SLOTS, TableState, mode};

use crate::{
    btf,
    datapath::{Datapath, Program, refused},
    error::{Context, Error, Result},
    sys::{self, NewMap, TestContext},
    tables::{Family, SWEEP_FRAME},
};

/// What an endpoint is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// One of [`mode`].
    pub mode: u8,
    /// Bits of [`flag`](chainkit_abi::flag).
    pub flags: u8,
    /// Which set of rules applies; 0: none.
    pub policy: u32,
    /// Connections remembered for each family.
    pub connections: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { mode: mode::OBSERVE, flags: 0, policy: 0, connections: CONNECTIONS }
    }
}

/// Held while endpoints of a node are changed, so that two programs do not give one slot twice.
#[derive(Debug)]
pub struct NodeLock {
    // Closing the file gives the lock back.
    _file: nix::fcntl::Flock<File>,
}

/// Where chainkit keeps what lasts until the next boot: `<root>/run/chainkit`.
#[must_use]
pub fn run_directory(root: &Path) -> PathBuf {
    root.join("run/chainkit")
}

/// Opens a file of ours in the run directory, made with mode 0600 and never through a link.
pub(crate) fn run_file(root: &Path, name: &str) -> Result<File> {
    let directory = run_directory(root);
    let mut builder = fs::DirBuilder::new();
    builder.mode(0o700).recursive(true);
    builder.create(&directory).during(|| format!("create {}", directory.display()))?;
    let is_folder = fs::symlink_metadata(&directory).is_ok_and(|facts| facts.is_dir());
    if !is_folder {
        let what = "it is a link or no folder, and links are not followed".to_owned();
        return Err(Error::Foreign { place: directory.display().to_string(), what });
    }
    let path = directory.join(name);
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(&path)
        .during(|| format!("open {}", path.display()))
}

impl NodeLock {
    /// Waits for the lock of the node whose root is `root`.
    ///
    /// # Errors
    /// Where the run directory cannot be made or the lock not be had.
    pub fn take(root: &Path) -> Result<Self> {
        Self::lock(root, nix::fcntl::FlockArg::LockExclusive)
    }

    /// Takes the lock if nobody holds it, this process included.
    ///
    /// # Errors
    /// As for [`take`](Self::take), and where it is held.
    pub fn try_take(root: &Path) -> Result<Self> {
        Self::lock(root, nix::fcntl::FlockArg::LockExclusiveNonblock)
    }

    fn lock(root: &Path, how: nix::fcntl::FlockArg) -> Result<Self> {
        let file = run_file(root, "lock")?;
        let file = nix::fcntl::Flock::lock(file, how).map_err(|(_, errno)| Error::System {
            action: "lock the node's endpoints".to_owned(),
            source: errno.into(),
        })?;
        Ok(Self { _file: file })
    }
}

impl Datapath {
    /// The endpoints in use, with their slots.
    ///
    /// # Errors
    /// Where the map cannot be read.
    pub fn endpoints(&self) -> Result<Vec<(u32, Endpoint)>> {
        let all = sys::entries::<u32, Endpoint>(self.map("ENDPOINTS")?).during(|| "read the endpoints")?;
        Ok(all.into_iter().filter(|(_, endpoint)| endpoint.ifindex != 0).collect())
    }

    /// The slot and endpoint of an interface.
    ///
    /// # Errors
    /// Where the map cannot be read.
    pub fn endpoint(&self, ifindex: u32) -> Result<Option<(u32, Endpoint)>> {
        Ok(self.endpoints()?.into_iter().find(|(_, endpoint)| endpoint.ifindex == ifindex))
    }

    /// Gives an interface a slot and tables; one that has them keeps them and takes the settings but for table sizes.
    ///
    /// # Errors
    /// Where all slots are taken or the kernel has no memory for tables; then nothing has changed.
    pub fn add_endpoint(&self, _lock: &NodeLock, ifindex: u32, settings: Settings) -> Result<u32> {
        let present = self.endpoints()?;
        let mut array = self.endpoint_array()?;
        if let Some((slot, mut endpoint)) = present.iter().copied().find(|(_, known)| known.ifindex == ifindex) {
            endpoint.mode = settings.mode;
            endpoint.flags = settings.flags;
            endpoint.policy = settings.policy;
            array.set(slot, endpoint, 0).map_err(|error| refused(&error))?;
            return Ok(slot);
        }
        let taken = |slot: u32| present.iter().any(|(known, _)| *known == slot);
        let first = ifindex % SLOTS;
        let slot = if taken(first) { (0..SLOTS).rev().find(|slot| !taken(*slot)) } else { Some(first) };
        let slot = slot.ok_or(Error::Full(SLOTS, "endpoint slots"))?;
        self.make_tables(slot, settings.connections)?;
        if slot != first {
            self.overflow()?.insert(ifindex, slot, 0).map_err(|error| refused(&error))?;
        }
        let endpoint = Endpoint {
            ifindex,
            mode: settings.mode,
            flags: settings.flags,
            pad: 0,
            policy: settings.policy,
            connections: settings.connections,
        };
        array.set(slot, endpoint, 0).map_err(|error| refused(&error))?;
        Ok(slot)
    }

    /// Takes an interface's slot and tables away; observers are told of the connections that end with it.
    ///
    /// # Errors
    /// Where maps cannot be written. An interface without a slot is no error.
    pub fn remove_endpoint(&self, _lock: &NodeLock, ifindex: u32) -> Result<()> {
        let Some((slot, endpoint)) = self.endpoint(ifindex)? else { return Ok(()) };
        let mut array = self.endpoint_array()?;
        // First no packet enters anything more, then what is there is told of, then the tables go.
        array.set(slot, Endpoint { mode: mode::NONE, ..endpoint }, 0).map_err(|error| refused(&error))?;
        self.sweep_slot(slot, endpoint.connections, true)?;
        array.set(slot, Endpoint::default(), 0).map_err(|error| refused(&error))?;
        if slot != ifindex % SLOTS {
            let _ = self.overflow()?.remove(&ifindex);
        }
        for name in ["CONNS4", "CONNS6", "KEYS4", "KEYS6"] {
            sys::take_inner(self.map(name)?, slot).during(|| format!("empty slot {slot} of {name}"))?;
        }
        Ok(())
    }

    fn make_tables(&self, slot: u32, connections: u32) -> Result<()> {
        const HASH: u32 = 1;
        const ARRAY: u32 = 2;
        const NO_PREALLOC: u32 = 1;
        const INNER_MAP: u32 = 0x1000;
        let size = |bytes: usize| u32::try_from(bytes).unwrap_or(0);
        let (key4, key6, conn) = (size(size_of::<Key4>()), size(size_of::<Key6>()), size(size_of::<Conn>()));
        let inner = |name, map_type, key_size, value_size, flags, key, value| NewMap {
            name,
            map_type,
            key_size,
            value_size,
            max_entries: connections,
            flags,
            btf: Some((self.btf.as_fd(), key, value)),
        };
        let tables = [
            ("CONNS4", inner("conns4", HASH, key4, conn, NO_PREALLOC, btf::KEY4, btf::CONN)),
            ("CONNS6", inner("conns6", HASH, key6, conn, NO_PREALLOC, btf::KEY6, btf::CONN)),
            ("KEYS4", inner("keys4", ARRAY, 4, key4, INNER_MAP, btf::U32, btf::KEY4)),
            ("KEYS6", inner("keys6", ARRAY, 4, key6, INNER_MAP, btf::U32, btf::KEY6)),
        ];
        self.table_states()?.set(slot, TableState::default(), 0).map_err(|error| refused(&error))?;
        // What was denied to the one before is not to be told as a repetition.
        let mut denials = self.denials()?;
        for index in (slot * DENIALS_PER_SLOT..).take(DENIALS_PER_SLOT as usize) {
            denials.set(index, Denial::default(), 0).map_err(|error| refused(&error))?;
        }
        for (outer, new) in tables {
            let map = sys::create_map(new)
                .during(|| format!("create a table of {connections} connections ({})", new.name))?;
            sys::put_inner(self.map(outer)?, slot, map.as_fd())
                .during(|| format!("put the table {} into slot {slot}", new.name))?;
        }
        Ok(())
    }

    /// Takes out what has expired of one slot, or all of it; returns how many entries went.
    pub(crate) fn sweep_slot(&self, slot: u32, connections: u32, all: bool) -> Result<u64> {
        let Ok(program) = self.program(Program::Sweep) else { return Ok(0) };
        let state = self.table_states()?.get(&slot, 0).map_err(|error| refused(&error))?;
        let mut taken = 0;
        for (family, cursor) in [(Family::V4, state.cursor4), (Family::V6, state.cursor6)] {
            let used = u32::try_from(cursor).unwrap_or(u32::MAX).min(connections);
            let mut start = 0;
            while start < used {
                let context =
                    TestContext { cb: [slot, family.number(), start, u32::from(all), 0], ..TestContext::default() };
                let run = sys::test_run(program, &SWEEP_FRAME, context, 1).during(|| "sweep expired connections")?;
                taken += u64::try_from(run.answer).unwrap_or(0);
                start += chainkit_abi::SWEEP_CHUNK;
            }
        }
        Ok(taken)
    }
}
