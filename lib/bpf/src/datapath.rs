//! The datapath as user space holds it: its programs and maps, freshly loaded or found.

use std::{
    collections::HashSet,
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

use aya::{
    EbpfLoader,
    maps::{Array, HashMap, Map, MapData, PerCpuArray},
    programs::SchedClassifier,
};
use chainkit_abi::{
    ABI_VERSION, Active, COUNTERS, Clock, Control, Counter, Denial, Endpoint, MAGIC, ObserverFilter, TableState,
};

use crate::{
    attach, btf,
    error::{Context, Error, Result},
    netlink, privilege,
    sys::{self, ControlWord, Direction, Kind, TestContext, TestRun},
};

/// Names of the maps, as the object has them.
const MAPS: [&str; 15] = [
    "CONTROL",
    "ENDPOINTS",
    "OVERFLOW",
    "CONNS4",
    "CONNS6",
    "KEYS4",
    "KEYS6",
    "TABLES",
    "DENIALS",
    "COUNTERS",
    "OBSERVERS",
    "FILTERS",
    "LOSSES",
    "SCRATCH",
    "CLOCK",
];

/// Maps without which nothing can be done with a datapath.
const NEEDED: [&str; 11] = [
    "CONTROL",
    "ENDPOINTS",
    "OVERFLOW",
    "CONNS4",
    "CONNS6",
    "KEYS4",
    "KEYS6",
    "TABLES",
    "OBSERVERS",
    "FILTERS",
    "LOSSES",
];

/// The programs of the datapath.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Hangs on ingress of the host side.
    FromPod,
    /// Hangs on egress of the host side.
    ToPod,
    /// Takes out expired connections; run by [`Datapath::sweep`](crate::tables).
    Sweep,
    /// Reads the kernel's clocks.
    Clock,
}

impl Program {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::FromPod, Self::ToPod, Self::Sweep, Self::Clock];

    /// Its name in the object and in the kernel.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FromPod => "from_pod",
            Self::ToPod => "to_pod",
            Self::Sweep => "sweep",
            Self::Clock => "clock",
        }
    }

    /// The program that hangs on a direction.
    #[must_use]
    pub const fn of(direction: Direction) -> Self {
        match direction {
            Direction::Ingress => Self::FromPod,
            Direction::Egress => Self::ToPod,
        }
    }
}

/// Where a datapath was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This process has loaded it.
    Loaded,
    /// Under its pins.
    Pinned,
    /// On an interface of this network namespace.
    Attached,
}

/// A datapath: whoever holds this keeps its programs and maps alive.
#[derive(Debug)]
pub struct Datapath {
    pub(crate) programs: Vec<(Program, OwnedFd)>,
    pub(crate) maps: Vec<(&'static str, OwnedFd)>,
    pub(crate) control: ControlWord,
    pub(crate) btf: OwnedFd,
    origin: Origin,
}

impl Datapath {
    /// Loads the object into the kernel: programs and maps of its own, attached nowhere.
    ///
    /// # Errors
    /// Without the capabilities, or where the kernel refuses the object.
    pub fn load() -> Result<Self> {
        privilege::require(&privilege::ATTACH, "load the eBPF programs")?;
        let hz = sys::hz().during(|| "read the kernel's timer frequency")?;
        let mut ebpf = EbpfLoader::new()
            .override_global("HZ", &hz, true)
            .load(chainkit_object::DATAPATH)
            .map_err(|error| refused(&error))?;
        let mut programs = Vec::new();
        for program in Program::ALL {
            let name = program.name();
            let loaded: &mut SchedClassifier = ebpf
                .program_mut(name)
                .ok_or_else(|| Error::Load(format!("the object has no program {name}")))?
                .try_into()
                .map_err(|error| refused(&error))?;
            loaded.load().map_err(|error| refused(&error))?;
            let fd = loaded.fd().map_err(|error| refused(&error))?;
            programs.push((program, fd.as_fd().try_clone_to_owned().during(|| "copy a descriptor")?));
        }
        let mut maps = Vec::new();
        for name in MAPS {
            let map = ebpf.map(name).ok_or_else(|| Error::Load(format!("the object has no map {name}")))?;
            maps.push((name, descriptor(map)?));
        }
        let datapath = Self::assemble(programs, maps, Origin::Loaded)?;
        let mut control: Array<MapData, Control> = datapath.array("CONTROL")?;
        let word = Control {
            magic: MAGIC,
            abi: ABI_VERSION,
            observers: 0,
            each_packet: 0,
            active: 0,
            netns: netns()?,
            hz,
            pad: 0,
            heartbeats: [0; chainkit_abi::OBSERVERS as usize],
        };
        control.set(0, word, 0).map_err(|error| refused(&error))?;
        Ok(datapath)
    }

    /// Opens the datapath pinned below `pins`; `None`: nothing is there.
    ///
    /// # Errors
    /// Where what is pinned is of another ABI or none of ours, or may not be opened.
    pub fn open(pins: &Pins) -> Result<Option<Self>> {
        let directory = pins.directory();
        if !directory.join("maps/CONTROL").exists() {
            return Ok(None);
        }
        let mut maps = Vec::new();
        for name in MAPS {
            let path = directory.join("maps").join(name);
            match sys::by_pin(&path) {
                Ok(fd) => maps.push((name, fd)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).during(|| format!("open the pin {}", path.display())),
            }
        }
        let mut programs = Vec::new();
        for program in Program::ALL {
            let path = directory.join("programs").join(program.name());
            if let Ok(fd) = sys::by_pin(&path) {
                programs.push((program, fd));
            }
        }
        let place = format!("pinned at {}", directory.display());
        if let Some((_, control)) = maps.iter().find(|(name, _)| *name == "CONTROL") {
            refuse_other_abi(control.as_fd(), &place)?;
        }
        let datapath = Self::assemble(programs, maps, Origin::Pinned)?;
        datapath.check(&place)?;
        Ok(Some(datapath))
    }

    /// Finds the datapath that hangs on interfaces of this network namespace, wherever it is pinned; `None`: there is none.
    ///
    /// # Errors
    /// Where interfaces cannot be asked, or what is found is of another ABI.
    pub fn discover() -> Result<Option<Self>> {
        let mut nameless = false;
        for interface in netlink::interfaces().during(|| "list the network interfaces")? {
            for direction in Direction::BOTH {
                for hung in attach::hung(interface.index, direction)? {
                    nameless |= hung.name.is_empty();
                    if hung.name != Program::of(direction).name() {
                        continue;
                    }
                    match Self::of_program(hung.program, &interface.name) {
                        Ok(None) => {}
                        // It has just been taken off.
                        Err(Error::System { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                        found => return found,
                    }
                }
            }
        }
        if nameless {
            // Something hangs there; whether it is ours may not be asked.
            privilege::require(&privilege::DISCOVER, "look at the programs that hang on interfaces")?;
        }
        Ok(None)
    }

    /// The datapath that a program belongs to; `None`: it is another's that bears the name.
    fn of_program(id: u32, interface: &str) -> Result<Option<Self>> {
        let action = || format!("open the program {id} that hangs on {interface}");
        let place = format!("on interface {interface}");
        let fd = sys::by_id(Kind::Program, id).during(action)?;
        let facts = sys::program_facts(fd.as_fd()).during(action)?;
        let mut maps = Vec::new();
        let mut control = None;
        for map in &facts.maps {
            let fd = sys::by_id(Kind::Map, *map).during(action)?;
            let name = sys::map_facts(fd.as_fd()).during(action)?.name;
            if let Some(name) = MAPS.into_iter().find(|known| *known == name) {
                if name == "CONTROL" {
                    control = Some(*map);
                    // Before any map is missed that another version has no more, or not yet.
                    refuse_other_abi(fd.as_fd(), &place)?;
                }
                maps.push((name, fd));
            }
        }
        let Some(control) = control.filter(|_| NEEDED.iter().all(|name| maps.iter().any(|(found, _)| found == name)))
        else {
            return Ok(None);
        };
        let mut programs = Vec::new();
        for info in aya::programs::loaded_programs().flatten() {
            let Some(program) = Program::ALL.into_iter().find(|known| info.name_as_str() == Some(known.name())) else {
                continue;
            };
            let Ok(fd) = sys::by_id(Kind::Program, info.id()) else { continue };
            let Ok(facts) = sys::program_facts(fd.as_fd()) else { continue };
            // `clock` has no map in common with the others but its own.
            let ours = facts.maps.contains(&control);
            if !ours {
                continue;
            }
            for map in facts.maps {
                let Ok(fd) = sys::by_id(Kind::Map, map) else { continue };
                let Ok(facts) = sys::map_facts(fd.as_fd()) else { continue };
                let known = MAPS.into_iter().find(|known| *known == facts.name);
                if let Some(name) = known.filter(|name| maps.iter().all(|(found, _)| found != name)) {
                    maps.push((name, fd));
                }
            }
            if programs.iter().all(|(found, _)| *found != program) {
                programs.push((program, fd));
            }
        }
        let datapath = Self::assemble(programs, maps, Origin::Attached)?;
        datapath.check(&place)?;
        Ok(Some(datapath))
    }

    fn assemble(programs: Vec<(Program, OwnedFd)>, maps: Vec<(&'static str, OwnedFd)>, origin: Origin) -> Result<Self> {
        let control = maps.iter().find(|(name, _)| *name == "CONTROL").map(|(_, fd)| fd);
        let control = control.ok_or_else(|| Error::Foreign {
            place: "the datapath".to_owned(),
            what: "it has no map CONTROL".to_owned(),
        })?;
        let facts = sys::map_facts(control.as_fd()).during(|| "describe the map CONTROL")?;
        if usize::try_from(facts.value_size).ok() != Some(size_of::<Control>()) {
            return Err(Error::Foreign {
                place: "the map CONTROL".to_owned(),
                what: format!("values of {} bytes instead of {}", facts.value_size, size_of::<Control>()),
            });
        }
        let control = ControlWord::map(control.as_fd()).during(|| "map CONTROL into memory")?;
        let btf = btf::load().during(|| "load type information for connection tables")?;
        Ok(Self { programs, maps, control, btf, origin })
    }

    /// Refuses what is not ours or of another version.
    fn check(&self, place: &str) -> Result<()> {
        for name in NEEDED {
            if self.maps.iter().all(|(found, _)| *found != name) {
                return Err(Error::Foreign { place: place.to_owned(), what: format!("it has no map {name}") });
            }
        }
        let word = self.control_value()?;
        if word.magic != MAGIC {
            return Err(Error::Foreign { place: place.to_owned(), what: "its control word is another's".to_owned() });
        }
        Ok(())
    }

    /// Where it was found.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// Whether its interface indexes are those of this process's network namespace.
    ///
    /// # Errors
    /// Where the namespace cannot be told.
    pub fn is_of_this_namespace(&self) -> Result<bool> {
        Ok(self.control_value()?.netns == netns()?)
    }

    /// A copy of the control element.
    ///
    /// # Errors
    /// Where the map cannot be read.
    pub fn control_value(&self) -> Result<Control> {
        let control: Array<MapData, Control> = self.array("CONTROL")?;
        control.get(&0, 0).map_err(|error| refused(&error))
    }

    /// The generation of policy in force.
    #[must_use]
    pub fn active(&self) -> Active {
        Active::unpack(self.control.active().load(Ordering::Acquire))
    }

    /// Puts a generation in force with one write.
    pub fn set_active(&self, active: Active) {
        self.control.active().store(active.pack(), Ordering::Release);
    }

    /// Every node-wide counter, summed over CPUs.
    ///
    /// # Errors
    /// Where the map cannot be read.
    pub fn counters(&self) -> Result<Vec<(Counter, u64)>> {
        let cells: PerCpuArray<MapData, u64> = self.typed("COUNTERS", Map::PerCpuArray)?;
        Counter::ALL
            .iter()
            .filter(|counter| (**counter as u32) < COUNTERS)
            .map(|counter| {
                let values = cells.get(&(*counter as u32), 0).map_err(|error| refused(&error))?;
                Ok((*counter, values.iter().sum()))
            })
            .collect()
    }

    /// Runs one of its programs on a frame, without an interface; for tests and benches.
    ///
    /// # Errors
    /// Where the kernel refuses to run it.
    pub fn test_run(&self, program: Program, frame: &[u8], context: TestContext, repeat: u32) -> Result<TestRun> {
        let fd = self.program(program)?;
        sys::test_run(fd, frame, context, repeat).during(|| format!("run the program {}", program.name()))
    }

    /// One of its programs.
    pub(crate) fn program(&self, program: Program) -> Result<BorrowedFd<'_>> {
        let found = self.programs.iter().find(|(known, _)| *known == program);
        found.map(|(_, fd)| fd.as_fd()).ok_or_else(|| Error::Foreign {
            place: "the datapath".to_owned(),
            what: format!("its program {} is gone", program.name()),
        })
    }

    /// Ids of its programs.
    pub(crate) fn program_ids(&self) -> HashSet<u32> {
        self.programs.iter().filter_map(|(_, fd)| sys::program_facts(fd.as_fd()).ok()).map(|facts| facts.id).collect()
    }

    /// One of its maps.
    pub(crate) fn map(&self, name: &str) -> Result<BorrowedFd<'_>> {
        let found = self.maps.iter().find(|(known, _)| *known == name);
        found
            .map(|(_, fd)| fd.as_fd())
            .ok_or_else(|| Error::Foreign { place: "the datapath".to_owned(), what: format!("it has no map {name}") })
    }

    fn typed<M: TryFrom<Map, Error = aya::maps::MapError>>(
        &self,
        name: &'static str,
        kind: fn(MapData) -> Map,
    ) -> Result<M> {
        let fd = self.map(name)?.try_clone_to_owned().during(|| "copy a descriptor")?;
        let data = MapData::from_fd(fd).map_err(|error| refused(&error))?;
        M::try_from(kind(data)).map_err(|error| refused(&error))
    }

    pub(crate) fn array<T: aya::Pod>(&self, name: &'static str) -> Result<Array<MapData, T>> {
        self.typed(name, Map::Array)
    }

    pub(crate) fn endpoint_array(&self) -> Result<Array<MapData, Endpoint>> {
        self.array("ENDPOINTS")
    }

    pub(crate) fn overflow(&self) -> Result<HashMap<MapData, u32, u32>> {
        self.typed("OVERFLOW", Map::HashMap)
    }

    pub(crate) fn table_states(&self) -> Result<Array<MapData, TableState>> {
        self.array("TABLES")
    }

    pub(crate) fn filter_array(&self) -> Result<Array<MapData, ObserverFilter>> {
        self.array("FILTERS")
    }

    pub(crate) fn losses(&self) -> Result<PerCpuArray<MapData, [u64; 2]>> {
        self.typed("LOSSES", Map::PerCpuArray)
    }

    pub(crate) fn denials(&self) -> Result<Array<MapData, Denial>> {
        self.array("DENIALS")
    }

    pub(crate) fn clock_cell(&self) -> Result<Array<MapData, Clock>> {
        self.array("CLOCK")
    }

    /// Pins maps and programs, so that they outlive every process.
    ///
    /// The directory is made whole beside its place and then moved there: nobody meets half of it.
    ///
    /// # Errors
    /// Where something is pinned there already, or the place is no BPF filesystem.
    pub fn pin(&self, pins: &Pins) -> Result<()> {
        let directory = pins.directory();
        let beside = pins.base().join(format!("{ABI_VERSION}-{}", std::process::id()));
        let action = || format!("pin the datapath at {}", directory.display());
        pins.check_filesystem()?;
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700).recursive(true);
        builder.create(beside.join("maps")).during(action)?;
        builder.create(beside.join("programs")).during(action)?;
        let pinned = self.pin_into(&beside).and_then(|()| fs::rename(&beside, &directory));
        if pinned.is_err() {
            let _ = fs::remove_dir_all(&beside);
        }
        pinned.during(action)
    }

    fn pin_into(&self, directory: &Path) -> io::Result<()> {
        for (name, fd) in &self.maps {
            sys::pin(fd.as_fd(), &directory.join("maps").join(name))?;
        }
        for (program, fd) in &self.programs {
            sys::pin(fd.as_fd(), &directory.join("programs").join(program.name()))?;
        }
        Ok(())
    }
}

/// Refuses a control map of another version, whatever its size: its first two words are the same in all.
fn refuse_other_abi(control: BorrowedFd<'_>, place: &str) -> Result<()> {
    // What cannot be mapped is none of ours in any version, and is refused as such.
    let Ok(word) = ControlWord::map(control) else { return Ok(()) };
    match word.magic_and_abi() {
        (MAGIC, found) if found != ABI_VERSION => Err(Error::Abi { place: place.to_owned(), found, ours: ABI_VERSION }),
        _ => Ok(()),
    }
}

/// Where a datapath is pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins {
    bpffs: PathBuf,
}

impl Pins {
    /// The pins of the node whose root is `root` (`/` but for tests): `<root>/sys/fs/bpf/chainkit/<ABI version>`.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        Self { bpffs: root.join("sys/fs/bpf") }
    }

    fn base(&self) -> PathBuf {
        self.bpffs.join("chainkit")
    }

    /// The directory of this ABI version.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.base().join(ABI_VERSION.to_string())
    }

    /// Whether a BPF filesystem is mounted there.
    #[must_use]
    pub fn is_available(&self) -> bool {
        self.check_filesystem().is_ok()
    }

    fn check_filesystem(&self) -> Result<()> {
        match nix::sys::statfs::statfs(&self.bpffs) {
            Ok(facts) if facts.filesystem_type() == nix::sys::statfs::BPF_FS_MAGIC => Ok(()),
            _ => Err(Error::NoBpffs(self.bpffs.clone())),
        }
    }

    /// Takes all pins of this ABI version away; what still hangs on interfaces goes on.
    ///
    /// # Errors
    /// Where they cannot be removed.
    pub fn remove(&self) -> Result<()> {
        let directory = self.directory();
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.during(|| format!("remove the pins at {}", directory.display()))?,
        }
        // Others' versions may be there.
        let _ = fs::remove_dir(self.base());
        Ok(())
    }
}

/// Inode number of this process's network namespace.
pub(crate) fn netns() -> Result<u64> {
    Ok(fs::metadata("/proc/thread-self/ns/net").during(|| "look at this network namespace")?.ino())
}

/// An error of aya's, as ours: permission is told apart, since there is something to do about it.
pub(crate) fn refused(error: &(dyn std::error::Error + 'static)) -> Error {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(system) = inner.downcast_ref::<io::Error>()
            // EACCES is the verifier's answer to a program, too.
            && system.raw_os_error() == Some(libc::EPERM)
        {
            return Error::Privilege {
                action: "load the eBPF programs".to_owned(),
                needs: crate::error::NEEDS.to_owned(),
            };
        }
        message = format!("{message}: {inner}");
        cause = inner.source();
    }
    Error::Load(message)
}

fn descriptor(map: &Map) -> Result<OwnedFd> {
    match map {
        Map::Array(data) | Map::ArrayOfMaps(data) | Map::HashMap(data) | Map::PerCpuArray(data) => {
            data.fd().as_fd().try_clone_to_owned().during(|| "copy a descriptor")
        }
        _ => Err(Error::Load("the object has a map of an unknown type".to_owned())),
    }
}
