//! Who has which address, in the VPC CNI's own file: `/var/run/aws-node/ipam.json`.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::lab::{CHAINED_POD_BASE, CHAINED_POD_BASE6, MOST_CHAINED_PODS};

const FOLDER: &str = "var/run/aws-node";

/// An address that is taken.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Allocation {
    pub(super) network_name: String,
    #[serde(rename = "containerID")]
    pub(super) container_id: String,
    pub(super) if_name: String,
    pub(super) ipv4: Ipv4Addr,
    /// Nanoseconds since 1970.
    allocation_timestamp: u64,
    pub(super) metadata: Metadata,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Metadata {
    #[serde(rename = "k8sPodNamespace")]
    pub(super) namespace: String,
    #[serde(rename = "k8sPodName")]
    pub(super) name: String,
    #[serde(rename = "interfacesCount")]
    pub(super) interfaces: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct State {
    version: String,
    allocations: Vec<Allocation>,
    /// The number given out last, so that an address rests before it is given again.
    #[serde(default, rename = "labLast")]
    last: u32,
}

/// The file, locked.
pub(super) struct Ipam {
    state: State,
    path: std::path::PathBuf,
    _lock: Flock<File>,
}

impl Ipam {
    /// Waits for the lock, and reads.
    pub(super) fn open(root: &Path) -> Result<Self, Error> {
        let folder = root.join(FOLDER);
        let what = || format!("open {}/ipam.json", folder.display());
        fs::create_dir_all(&folder).map_err(Error::io(what()))?;
        let lock = File::create(folder.join("lock")).map_err(Error::io(what()))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| Error::io(what())(errno))?;
        let path = folder.join("ipam.json");
        let state = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| Error::io(what())(io::Error::other(error)))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                State { version: "vpc-cni-ipam/1".to_owned(), allocations: Vec::new(), last: 0 }
            }
            Err(error) => return Err(Error::io(what())(error)),
        };
        Ok(Self { state, path, _lock: lock })
    }

    /// What an attachment has; one for each interface, since a pod may have several.
    pub(super) fn of(&self, network: &str, container_id: &str, ifname: &str) -> Vec<Allocation> {
        let of = |known: &&Allocation| known.is(network, container_id, ifname);
        self.state.allocations.iter().filter(of).cloned().collect()
    }

    /// Everything that is taken in a network.
    pub(super) fn all(&self, network: &str) -> Vec<Allocation> {
        self.state.allocations.iter().filter(|known| known.network_name == network).cloned().collect()
    }

    /// Gives an attachment as many addresses as its metadata say.
    pub(super) fn take(
        &mut self,
        network: &str,
        container_id: &str,
        ifname: &str,
        metadata: &Metadata,
    ) -> Result<(), Error> {
        for _ in 0..metadata.interfaces {
            let is_taken = |address: Ipv4Addr| self.state.allocations.iter().any(|known| known.ipv4 == address);
            let next = (1..=MOST_CHAINED_PODS)
                .map(|step| (self.state.last + step - 1) % MOST_CHAINED_PODS + 1)
                .find(|number| !is_taken(address4(*number)));
            let number = next.ok_or(Error::Full(MOST_CHAINED_PODS))?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.state.last = number;
            self.state.allocations.push(Allocation {
                network_name: network.to_owned(),
                container_id: container_id.to_owned(),
                if_name: ifname.to_owned(),
                ipv4: address4(number),
                allocation_timestamp: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
                metadata: metadata.clone(),
            });
        }
        self.save()
    }

    /// Takes an attachment's addresses back.
    pub(super) fn free(&mut self, network: &str, container_id: &str, ifname: &str) -> Result<(), Error> {
        self.state.allocations.retain(|known| !known.is(network, container_id, ifname));
        self.save()
    }

    fn save(&self) -> Result<(), Error> {
        let beside = self.path.with_extension("tmp");
        let text = serde_json::to_vec(&self.state).unwrap_or_default();
        let written = fs::write(&beside, text).and_then(|()| fs::rename(&beside, &self.path));
        written.map_err(Error::io(format!("write {}", self.path.display())))
    }
}

impl Allocation {
    fn is(&self, network: &str, container_id: &str, ifname: &str) -> bool {
        self.network_name == network && self.container_id == container_id && self.if_name == ifname
    }

    /// The IPv6 address that goes with it, for pods that have both.
    pub(super) fn ipv6(&self) -> Ipv6Addr {
        let number = self.ipv4.to_bits() - CHAINED_POD_BASE.to_bits();
        Ipv6Addr::from_bits(CHAINED_POD_BASE6.to_bits() + u128::from(number))
    }
}

fn address4(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(CHAINED_POD_BASE.to_bits() + number)
}
