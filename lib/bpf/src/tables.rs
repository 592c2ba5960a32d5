//! Reads connection tables, and sweeps them while somebody watches.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd, OwnedFd},
};

use aya::maps::{HashMap, Map, MapData};
use chainkit_abi::{Clock, Conn, DENIALS_PER_SLOT, Key4, Key6, TableState, fragment};

use crate::{
    datapath::{Datapath, refused},
    endpoint::NodeLock,
    error::{Context, Result},
    program::Program,
    sys::{self, Kind, TestContext},
};

/// The shortest frame that a test run takes: an Ethernet header.
pub(crate) const SWEEP_FRAME: [u8; 14] = [0; 14];

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::V4 => 4,
            Self::V6 => 6,
        }
    }
}

/// The key of a connection, as it lies in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// IPv4.
    V4(Key4),
    /// IPv6.
    V6(Key6),
}

impl Key {
    /// The key of a connection between two addresses, with ports in host byte order; `None`: the addresses are of different families.
    #[must_use]
    pub fn of(local: IpAddr, remote: IpAddr, local_port: u16, remote_port: u16, protocol: u8) -> Option<Self> {
        let (local_port, remote_port) = (local_port.to_be(), remote_port.to_be());
        let (fragment, pad) = (fragment::NONE, 0);
        match (local, remote) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => {
                let (local, remote) = (local.to_bits().to_be(), remote.to_bits().to_be());
                Some(Self::V4(Key4 { local, remote, local_port, remote_port, protocol, fragment, pad }))
            }
            (IpAddr::V6(local), IpAddr::V6(remote)) => {
                let words = |address: Ipv6Addr| {
                    let [high, low] = [address.to_bits() >> 64, address.to_bits() & u128::from(u64::MAX)];
                    [high, low].map(|half| u64::try_from(half).unwrap_or(0).to_be())
                };
                let (local, remote) = (words(local), words(remote));
                Some(Self::V6(Key6 { local, remote, local_port, remote_port, protocol, fragment, pad }))
            }
            _ => None,
        }
    }
}

/// The connection tables of one endpoint, held open to look at single connections.
#[derive(Debug)]
pub struct ConnectionTables {
    v4: Option<OwnedFd>,
    v6: Option<OwnedFd>,
}

impl ConnectionTables {
    /// What is remembered of a connection.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn get(&self, key: &Key) -> Result<Option<Conn>> {
        let found = match (key, &self.v4, &self.v6) {
            (Key::V4(key), Some(table), _) => sys::look_up(table.as_fd(), key),
            (Key::V6(key), _, Some(table)) => sys::look_up(table.as_fd(), key),
            _ => Ok(None),
        };
        found.during(|| "look for a connection in its table")
    }

    /// Forgets a connection, and tells nobody; one that is not there is no error. Its packets are in no [`Totals`](crate::Totals) then.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn remove(&self, key: &Key) -> Result<()> {
        let removed = match (key, &self.v4, &self.v6) {
            (Key::V4(key), Some(table), _) => sys::delete(table.as_fd(), key),
            (Key::V6(key), _, Some(table)) => sys::delete(table.as_fd(), key),
            _ => Ok(()),
        };
        removed.during(|| "take a connection out of its table")
    }
}

/// A connection out of an endpoint's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The endpoint's slot.
    pub slot: u32,
    /// Its key.
    pub key: Key,
    /// The pod's address.
    pub local: IpAddr,
    /// The other side's address.
    pub remote: IpAddr,
    /// The pod's port, host byte order; of ICMP the echo identifier, or type and code.
    pub local_port: u16,
    /// The other side's port, host byte order.
    pub remote_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// All else.
    pub conn: Conn,
}

impl Connection {
    fn of4(slot: u32, key: &Key4, conn: Conn) -> Self {
        Self {
            slot,
            key: Key::V4(*key),
            local: Ipv4Addr::from_bits(u32::from_be(key.local)).into(),
            remote: Ipv4Addr::from_bits(u32::from_be(key.remote)).into(),
            local_port: u16::from_be(key.local_port),
            remote_port: u16::from_be(key.remote_port),
            protocol: key.protocol,
            conn,
        }
    }

    fn of6(slot: u32, key: &Key6, conn: Conn) -> Self {
        let address = |words: [u64; 2]| {
            let [high, low] = words.map(u64::from_be);
            IpAddr::from(Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)))
        };
        Self {
            slot,
            key: Key::V6(*key),
            local: address(key.local),
            remote: address(key.remote),
            local_port: u16::from_be(key.local_port),
            remote_port: u16::from_be(key.remote_port),
            protocol: key.protocol,
            conn,
        }
    }
}

impl Datapath {
    /// Both of the kernel's clocks at one instant.
    ///
    /// # Errors
    /// Where the program that reads them is gone or refused.
    pub fn clock(&self) -> Result<Clock> {
        let program = self.program(Program::Clock)?;
        sys::test_run(program, &SWEEP_FRAME, TestContext::default(), 1).during(|| "read the kernel's clocks")?;
        self.clock_cell()?.get(&0, 0).map_err(|error| refused(&error))
    }

    /// Connections of one endpoint, those that have expired and not yet been swept included.
    ///
    /// # Errors
    /// Where its tables cannot be read; an endpoint that has just gone has none.
    pub fn connections(&self, slot: u32) -> Result<Vec<Connection>> {
        let mut found = Vec::new();
        if let Some(table) = self.table("CONNS4", slot)? {
            let entries = sys::entries::<Key4, Conn>(table.as_fd()).during(|| "read an IPv4 connection table")?;
            let whole = entries.iter().filter(|(key, _)| key.fragment == fragment::NONE);
            found.extend(whole.map(|(key, conn)| Connection::of4(slot, key, *conn)));
        }
        if let Some(table) = self.table("CONNS6", slot)? {
            let entries = sys::entries::<Key6, Conn>(table.as_fd()).during(|| "read an IPv6 connection table")?;
            let whole = entries.iter().filter(|(key, _)| key.fragment == fragment::NONE);
            found.extend(whole.map(|(key, conn)| Connection::of6(slot, key, *conn)));
        }
        Ok(found)
    }

    /// The tables of one endpoint.
    ///
    /// # Errors
    /// Where they cannot be opened; an endpoint that has just gone has none.
    pub fn connection_tables(&self, slot: u32) -> Result<ConnectionTables> {
        Ok(ConnectionTables { v4: self.table("CONNS4", slot)?, v6: self.table("CONNS6", slot)? })
    }

    pub(crate) fn table(&self, outer: &str, slot: u32) -> Result<Option<OwnedFd>> {
        let id = sys::inner_id(self.map(outer)?, slot).during(|| format!("look up slot {slot} of {outer}"))?;
        let Some(id) = id else { return Ok(None) };
        match sys::by_id(Kind::Map, id) {
            Ok(fd) => Ok(Some(fd)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).during(|| format!("open slot {slot} of {outer}")),
        }
    }

    /// Makes all that is remembered of an endpoint look `seconds` older: how tests get past timeouts.
    ///
    /// # Errors
    /// Where its tables cannot be read or written.
    #[doc(hidden)]
    pub fn backdate(&self, slot: u32, seconds: u32) -> Result<()> {
        let jiffies = u64::from(seconds) * u64::from(self.control_value()?.hz);
        self.backdate_table::<Key4>("CONNS4", slot, jiffies)?;
        self.backdate_table::<Key6>("CONNS6", slot, jiffies)?;
        let mut denials = self.denials()?;
        for index in (slot * DENIALS_PER_SLOT..).take(DENIALS_PER_SLOT as usize) {
            let mut denial = denials.get(&index, 0).map_err(|error| refused(&error))?;
            denial.reported = denial.reported.saturating_sub(jiffies);
            denials.set(index, denial, 0).map_err(|error| refused(&error))?;
        }
        Ok(())
    }

    /// Keys that lie in the rings of a slot, with or without an entry: how tests see that nothing of an endpoint is left.
    ///
    /// # Errors
    /// Where its maps cannot be read.
    #[doc(hidden)]
    pub fn remembered(&self, slot: u32) -> Result<Vec<Key>> {
        let mut found = Vec::new();
        if let Some(ring) = self.table("KEYS4", slot)? {
            let keys = sys::entries::<u32, Key4>(ring.as_fd()).during(|| "read a ring of IPv4 keys")?;
            found.extend(keys.into_iter().map(|(_, key)| key).filter(|key| *key != Key4::default()).map(Key::V4));
        }
        if let Some(ring) = self.table("KEYS6", slot)? {
            let keys = sys::entries::<u32, Key6>(ring.as_fd()).during(|| "read a ring of IPv6 keys")?;
            found.extend(keys.into_iter().map(|(_, key)| key).filter(|key| *key != Key6::default()).map(Key::V6));
        }
        Ok(found)
    }

    fn backdate_table<K: aya::Pod + Default>(&self, outer: &str, slot: u32, jiffies: u64) -> Result<()> {
        const EXIST: u64 = 2;
        let Some(table) = self.table(outer, slot)? else { return Ok(()) };
        let entries = sys::entries::<K, Conn>(table.as_fd()).during(|| format!("read slot {slot} of {outer}"))?;
        let data = MapData::from_fd(table).map_err(|error| refused(&error))?;
        let mut table: HashMap<MapData, K, Conn> =
            HashMap::try_from(Map::HashMap(data)).map_err(|error| refused(&error))?;
        for (key, mut conn) in entries {
            conn.last_seen = conn.last_seen.saturating_sub(jiffies);
            conn.reported = conn.reported.saturating_sub(jiffies);
            table.insert(key, conn, EXIST).map_err(|error| refused(&error))?;
        }
        Ok(())
    }

    /// State of one endpoint's tables.
    ///
    /// # Errors
    /// Where the map cannot be read.
    pub fn table_state(&self, slot: u32) -> Result<TableState> {
        self.table_states()?.get(&slot, 0).map_err(|error| refused(&error))
    }

    /// Takes expired connections out of all tables, and has the kernel tell all observers; returns how many went. Two
    /// sweeps must not meet, so each is done under the node's lock.
    ///
    /// # Errors
    /// Where maps cannot be read or the program is refused.
    pub fn sweep(&self, _lock: &NodeLock) -> Result<u64> {
        let mut taken = 0;
        for (slot, _) in self.endpoints()? {
            taken += self.sweep_slot(slot)?;
        }
        Ok(taken)
    }
}
