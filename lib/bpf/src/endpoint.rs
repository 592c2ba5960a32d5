//! Endpoints: gives an interface a slot and tables of its own, and takes them away again.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use chainkit_abi::{CONNECTIONS, Endpoint, SLOTS, SourceKey, Subject, TABLE_SETS, flag, mode};

use crate::{
    datapath::{Datapath, refused},
    error::{Context, Error, Result},
    sys,
};

/// What an endpoint is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// One of [`mode`].
    pub mode: u8,
    /// Bits of [`flag`](chainkit_abi::flag).
    pub flags: u8,
    /// Connections remembered for each family.
    pub connections: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { mode: mode::OBSERVE, flags: 0, connections: CONNECTIONS }
    }
}

/// Held while endpoints of a node are changed, so that two programs do not give one slot twice.
#[derive(Debug)]
pub struct NodeLock {
    // Closing the file gives the lock back.
    _file: nix::fcntl::Flock<File>,
    root: PathBuf,
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

    /// Waits for the lock, but not longer than `patience`: whoever holds it may have been stopped.
    ///
    /// # Errors
    /// As for [`take`](Self::take), and [`Error::Busy`] where it is still held.
    pub fn take_within(root: &Path, patience: Duration) -> Result<Self> {
        const PAUSE: Duration = Duration::from_millis(2);
        let since = Instant::now();
        loop {
            match Self::try_take(root) {
                Err(Error::System { error, .. }) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
            if since.elapsed() >= patience {
                return Err(Error::Busy { lock: run_directory(root).join("lock"), patience });
            }
            thread::sleep(PAUSE);
        }
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
            error: errno.into(),
        })?;
        Ok(Self { _file: file, root: root.to_owned() })
    }

    /// The root of the node that it locks.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
}

/// A lock of the run directory that is held for as long as this is; which process holds it can be asked.
#[derive(Debug)]
pub struct RunLock {
    _file: nix::fcntl::Flock<File>,
}

impl RunLock {
    /// Takes the lock `name` of the node whose root is `root`, and waits for it no longer than `patience`.
    ///
    /// # Errors
    /// [`Error::Held`] with who holds it, and where the run directory cannot be made or the lock not be had.
    pub fn take_within(root: &Path, name: &str, patience: Duration) -> Result<Self> {
        const PAUSE: Duration = Duration::from_millis(5);
        let since = Instant::now();
        loop {
            let file = run_file(root, name)?;
            match nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock) {
                Ok(mut file) => {
                    // Who holds it is for messages alone.
                    let _ = file.set_len(0).and_then(|()| write!(*file, "{}", std::process::id()));
                    return Ok(Self { _file: file });
                }
                Err((file, nix::errno::Errno::EWOULDBLOCK)) if since.elapsed() >= patience => {
                    let mut holder = String::new();
                    let _ = Read::take(&file, 20).read_to_string(&mut holder);
                    return Err(Error::Held { lock: run_directory(root).join(name), holder: holder.parse().ok() });
                }
                Err((_, nix::errno::Errno::EWOULDBLOCK)) => thread::sleep(PAUSE),
                Err((_, errno)) => {
                    return Err(Error::System { action: format!("take the lock {name}"), error: errno.into() });
                }
            }
        }
    }
}

impl Datapath {
    /// The endpoints in use, with their slots.
    ///
    /// # Errors
    /// Where the map cannot be read.
    pub fn endpoints(&self) -> Result<Vec<(u32, Endpoint)>> {
        let all = sys::entries::<u32, Endpoint>(self.map("ENDPOINTS")?).during(|| "read the endpoints")?;
        let used = all.into_iter().filter(|(_, endpoint)| endpoint.ifindex != 0);
        Ok(used.map(|(_, endpoint)| (endpoint.slot, endpoint)).collect())
    }

    /// The slot and endpoint of an interface.
    ///
    /// # Errors
    /// Where the map cannot be read.
    pub fn endpoint(&self, ifindex: u32) -> Result<Option<(u32, Endpoint)>> {
        Ok(self.find(ifindex)?.map(|(_, endpoint)| (endpoint.slot, endpoint)))
    }

    /// Where an interface's endpoint is, as the kernel looks for it.
    fn find(&self, ifindex: u32) -> Result<Option<(u32, Endpoint)>> {
        if ifindex == 0 {
            return Ok(None);
        }
        let array = self.endpoint_array()?;
        let first = ifindex % SLOTS;
        let at = |place: u32| -> Result<Option<(u32, Endpoint)>> {
            let endpoint = array.get(&place, 0).map_err(|error| refused(&error))?;
            Ok((endpoint.ifindex == ifindex).then_some((place, endpoint)))
        };
        if let Some(found) = at(first)? {
            return Ok(Some(found));
        }
        match self.overflow()?.get(&ifindex, 0) {
            Ok(place) => at(place % SLOTS),
            Err(aya::maps::MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(refused(&error)),
        }
    }

    /// Gives an interface a slot and tables; one that has them keeps them and takes the settings but for table sizes.
    ///
    /// # Errors
    /// Where all slots are taken or the kernel has no memory for tables; then nothing has changed.
    pub fn add_endpoint(&self, lock: &NodeLock, ifindex: u32, settings: Settings) -> Result<u32> {
        let mut array = self.endpoint_array()?;
        let Settings { mode, flags, connections } = settings;
        if let Some((place, endpoint)) = self.find(ifindex)? {
            let flags = flags | endpoint.flags & flag::SOURCES_KNOWN;
            array.set(place, Endpoint { mode, flags, ..endpoint }, 0).map_err(|error| refused(&error))?;
            return Ok(endpoint.slot);
        }
        let first = ifindex % SLOTS;
        let is_free = array.get(&first, 0).map_err(|error| refused(&error))?.ifindex == 0;
        let place = if is_free { first } else { self.free_place()? };
        let slot = self.take_slot(lock, ifindex, connections)?;
        if place != first {
            self.overflow()?.insert(ifindex, place, 0).map_err(|error| refused(&error))?;
        }
        let endpoint = Endpoint { ifindex, mode, flags, marks: 0, pad: 0, more_pad: 0, slot };
        array.set(place, endpoint, 0).map_err(|error| refused(&error))?;
        Ok(slot)
    }

    /// A place that no endpoint has; those whose own place another has come from the end.
    fn free_place(&self) -> Result<u32> {
        let all = sys::entries::<u32, Endpoint>(self.map("ENDPOINTS")?).during(|| "read the endpoints")?;
        let free = all.iter().rev().find(|(_, endpoint)| endpoint.ifindex == 0);
        free.map(|(place, _)| *place).ok_or(Error::Full(SLOTS, "endpoint slots"))
    }

    /// Changes what user space remembers of an endpoint, bits of [`mark`](chainkit_abi::mark); what is none is left.
    ///
    /// # Errors
    /// Where the map cannot be read or written.
    pub fn mark(&self, _lock: &NodeLock, ifindex: u32, set: u8, clear: u8) -> Result<()> {
        let Some((place, endpoint)) = self.find(ifindex)? else { return Ok(()) };
        self.write(place, endpoint, Endpoint { marks: endpoint.marks & !clear | set, ..endpoint })
    }

    /// Makes an endpoint's settings and marks again what they were.
    pub(crate) fn restore(&self, _lock: &NodeLock, ifindex: u32, was: Endpoint) -> Result<()> {
        match self.find(ifindex)? {
            Some((place, now)) => self.write(place, now, was),
            None => Ok(()),
        }
    }

    fn write(&self, place: u32, now: Endpoint, wanted: Endpoint) -> Result<()> {
        if now == wanted {
            return Ok(());
        }
        self.endpoint_array()?.set(place, wanted, 0).map_err(|error| refused(&error))
    }

    /// Says from which addresses an interface's pod may send where that is enforced. Without any it may from all: nothing is known
    /// of them.
    ///
    /// # Errors
    /// Where maps cannot be written, or are full. An interface without a slot is no error.
    pub fn set_sources(&self, lock: &NodeLock, ifindex: u32, addresses: &[IpAddr]) -> Result<()> {
        let Some((place, endpoint)) = self.find(ifindex)? else { return Ok(()) };
        let wanted: Vec<SourceKey> = addresses.iter().map(|address| source_key(ifindex, *address)).collect();
        let mut sources = self.sources()?;
        for key in &wanted {
            sources.insert(key, 1, 0).map_err(|error| refused(&error))?;
        }
        // First those that are new, then whether they count, then those that were before.
        let known = if wanted.is_empty() { 0 } else { flag::SOURCES_KNOWN };
        self.write(place, endpoint, Endpoint { flags: endpoint.flags & !flag::SOURCES_KNOWN | known, ..endpoint })?;
        if endpoint.flags & flag::SOURCES_KNOWN != 0 {
            self.forget_sources(lock, ifindex, &wanted)?;
        }
        Ok(())
    }

    /// The addresses that [`set_sources`](Self::set_sources) was told.
    ///
    /// # Errors
    /// Where the map cannot be read.
    pub fn source_addresses(&self, ifindex: u32) -> Result<Vec<IpAddr>> {
        let all = sys::entries::<SourceKey, u32>(self.map("SOURCES")?).during(|| "read the addresses of endpoints")?;
        let mut found: Vec<IpAddr> =
            all.iter().filter(|(key, _)| key.ifindex == ifindex).map(|(key, _)| address_of(key)).collect();
        found.sort_unstable();
        Ok(found)
    }

    fn forget_sources(&self, _lock: &NodeLock, ifindex: u32, but: &[SourceKey]) -> Result<()> {
        let map = self.map("SOURCES")?;
        let all = sys::entries::<SourceKey, u32>(map).during(|| "read the addresses of endpoints")?;
        let old = all.iter().map(|(key, _)| key).filter(|key| key.ifindex == ifindex && !but.contains(key));
        old.into_iter().try_for_each(|key| sys::delete(map, key)).during(|| "take out addresses of an endpoint")
    }

    /// Takes an interface's slot and tables away; observers are told of the connections that end with it.
    ///
    /// # Errors
    /// Where maps cannot be written. An interface without a slot is no error.
    pub fn remove_endpoint(&self, lock: &NodeLock, ifindex: u32) -> Result<()> {
        let Some((place, endpoint)) = self.find(ifindex)? else { return Ok(()) };
        let mut array = self.endpoint_array()?;
        // First no packet enters anything more, then what is there is told of, then the tables are another's to take.
        array.set(place, Endpoint { mode: mode::NONE, ..endpoint }, 0).map_err(|error| refused(&error))?;
        let is_empty = self.empty_slot(endpoint.slot)?;
        if endpoint.flags & flag::SOURCES_KNOWN != 0 {
            self.forget_sources(lock, ifindex, &[])?;
        }
        for set in 0..TABLE_SETS {
            if let Some(tables) = self.tables_at(set)? {
                tables.set_subject(endpoint.slot, Subject::default())?;
            }
        }
        array.set(place, Endpoint::default(), 0).map_err(|error| refused(&error))?;
        if place != ifindex % SLOTS {
            let _ = self.overflow()?.remove(&ifindex);
        }
        if is_empty { self.give_back_slot(lock, endpoint.slot) } else { self.discard_slots(&[endpoint.slot]) }
    }
}

fn source_key(ifindex: u32, address: IpAddr) -> SourceKey {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let word = u32::from_ne_bytes(address.octets());
            SourceKey { address: [u64::from(word), 0], ifindex, family: 4 }
        }
        IpAddr::V6(address) => SourceKey { address: words_of(address), ifindex, family: 6 },
    }
}

/// An address as it lies in a packet.
fn words_of(address: Ipv6Addr) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, rest @ ..] = address.octets();
    [u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes(rest)]
}

fn address_of(key: &SourceKey) -> IpAddr {
    let [first, second] = key.address.map(u64::to_ne_bytes);
    if key.family == 4 {
        let [a, b, c, d, ..] = first;
        return Ipv4Addr::new(a, b, c, d).into();
    }
    let mut octets = [0; 16];
    for (to, from) in octets.iter_mut().zip(first.into_iter().chain(second)) {
        *to = from;
    }
    Ipv6Addr::from(octets).into()
}
