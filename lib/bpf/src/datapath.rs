//! The datapath as user space holds it: its programs and maps, freshly loaded or found.

use std::{
    collections::HashSet,
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::fs::MetadataExt,
    path::Path,
};

use aya::{
    EbpfLoader,
    maps::{Array, HashMap, Map, MapData, PerCpuArray},
    programs::SchedClassifier,
};
use chainkit_abi::{
    ABI_VERSION, COUNTERS, Clock, Control, Counter, Denial, Endpoint, MAGIC, ObserverFilter, SourceKey, TableState,
};

use crate::{
    attach::{self, Hung},
    error::{Context, Error, Result},
    pins::{self, Pins},
    privilege,
    program::{MAPS, NEEDED, Program},
    sys::{self, ControlWord, Direction, Kind, TestContext, TestRun},
};

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
    /// The kernel's number of the map `CONTROL`, which tells one datapath from another.
    control_id: u32,
    origin: Origin,
}

impl Datapath {
    /// Loads the object into the kernel: programs and maps of its own, attached nowhere.
    ///
    /// # Errors
    /// Without the capabilities, or where the kernel refuses the object.
    pub fn load() -> Result<Self> {
        let datapath = Self::load_object(chainkit_object::DATAPATH, None)?;
        let mut control: Array<MapData, Control> = datapath.array("CONTROL")?;
        let word = Control {
            magic: MAGIC,
            abi: ABI_VERSION,
            observers: 0,
            each_packet: 0,
            payload: 0,
            health: 0,
            active: 0,
            fallback: 0,
            shadow: 0,
            rules_since: 0,
            last_generation: 0,
            tags: [0; chainkit_abi::TABLE_SETS as usize],
            netns: netns()?,
            hz: sys::hz().during(|| "read the kernel's timer frequency")?,
            pad: 0,
            heartbeats: [0; chainkit_abi::OBSERVERS as usize],
            spares: [0; chainkit_abi::SPARES as usize],
        };
        control.set(0, word, 0).map_err(|error| refused(&error))?;
        Ok(datapath)
    }

    /// Loads an object: with maps of its own, or with those pinned in a directory, which are all there.
    pub(crate) fn load_object(object: &[u8], maps_from: Option<&Path>) -> Result<Self> {
        privilege::require(&privilege::ATTACH, "load the eBPF programs")?;
        let hz = sys::hz().during(|| "read the kernel's timer frequency")?;
        let mut loader = EbpfLoader::new();
        loader.override_global("HZ", &hz, true);
        for name in MAPS {
            if let Some(directory) = maps_from {
                loader.map_pin_path(name, directory.join(name));
            }
        }
        let mut ebpf = loader.load(object).map_err(|error| refused(&error))?;
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
        Self::assemble(programs, maps, Origin::Loaded)
    }

    /// Opens the datapath pinned below `pins`; `None`: nothing is there.
    ///
    /// # Errors
    /// Where what is pinned is of another ABI or none of ours, or may not be opened.
    pub fn open(pins: &Pins) -> Result<Option<Self>> {
        let directory = pins.directory();
        if !pins.has(&directory.join("maps/CONTROL"))? {
            return Ok(None);
        }
        let mut maps = Vec::new();
        for name in MAPS {
            let path = directory.join("maps").join(name);
            match pins::open(&path) {
                Ok(fd) => maps.push((name, fd)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).during(|| format!("open the pin {}", path.display())),
            }
        }
        let mut programs = Vec::new();
        for program in Program::ALL {
            let path = directory.join("programs").join(program.name());
            match pins::open(&path) {
                Ok(fd) => programs.push((program, fd)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).during(|| format!("open the pin {}", path.display())),
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
        for interface in chainkit_node::interfaces().during(|| "list the network interfaces")? {
            for direction in Direction::BOTH {
                for hung in attach::hung(interface.index, direction)? {
                    nameless |= hung.name.is_empty();
                    if hung.name != Program::of(direction).name() {
                        continue;
                    }
                    match Self::of_program(hung.program, &interface.name) {
                        Ok(None) => {}
                        // It has just been taken off.
                        Err(Error::System { error, .. }) if error.kind() == io::ErrorKind::NotFound => {}
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
    pub(crate) fn of_program(id: u32, interface: &str) -> Result<Option<Self>> {
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
        Ok(Self { programs, maps, control, control_id: facts.id, origin })
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

    /// Whether none of its maps and programs is missing.
    pub(crate) fn is_whole(&self) -> bool {
        self.maps.len() == MAPS.len() && self.programs.len() == Program::ALL.len()
    }

    /// Whether another is made of the same maps and programs.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let maps = |datapath: &Self| -> HashSet<u32> {
            datapath.maps.iter().filter_map(|(_, fd)| sys::map_facts(fd.as_fd()).ok()).map(|facts| facts.id).collect()
        };
        maps(self) == maps(other) && self.program_ids() == other.program_ids()
    }

    /// Whether a program that hangs on an interface is of this datapath, in whichever version: it uses the same maps.
    pub(crate) fn owns(&self, hung: &Hung) -> bool {
        if hung.maps.is_empty() {
            self.program_ids().contains(&hung.program)
        } else {
            hung.maps.contains(&self.control_id)
        }
    }

    pub(crate) fn with_origin(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }

    /// Ids of its programs.
    #[must_use]
    pub fn program_ids(&self) -> HashSet<u32> {
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

    pub(crate) fn sources(&self) -> Result<HashMap<MapData, SourceKey, u32>> {
        self.typed("SOURCES", Map::HashMap)
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
