//! Enters connections that were there before the datapath, as others know them: the kernel's connection tracking, or sockets.

use std::net::IpAddr;

use chainkit_abi::{Entering, entered, opened, state, tcp};

use crate::{
    datapath::Datapath,
    endpoint::NodeLock,
    error::{Context, Error, Result},
    program::Program,
    sys::{self, TestContext},
    tables::Key,
};

/// IP protocol number of TCP.
const TCP: u8 = 6;

/// How far a TCP connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its handshake is not over.
    Handshake,
    /// Data may flow.
    Established,
    /// One side has sent its FIN.
    Closing,
}

/// A connection as it is known from elsewhere, seen at the pod's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The pod's address.
    pub local: IpAddr,
    /// The other side's address, of the same family.
    pub remote: IpAddr,
    /// The pod's port, host byte order; of ICMP echo the identifier; 0 where the protocol has none.
    pub local_port: u16,
    /// The other side's port, host byte order; 0 for ICMP, and where the protocol has none.
    pub remote_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Who opened it, one of [`opened`].
    pub opened: u8,
    /// Whether the other side has answered. An established TCP connection has been answered whatever this says.
    pub replied: bool,
    /// Of TCP: how far it is; of others it says nothing.
    pub stage: Stage,
}

/// What came of entering a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// It was entered.
    New,
    /// A packet had been seen of it, which did not tell who opened it; now that is known.
    Corrected,
    /// It was there already.
    Present,
}

impl Known {
    fn state(&self) -> u8 {
        match (self.protocol, self.stage) {
            (TCP, Stage::Handshake) if self.replied => state::SYN_RECEIVED,
            (TCP, Stage::Handshake) => state::SYN_SENT,
            (TCP, Stage::Established) => state::ESTABLISHED,
            (TCP, Stage::Closing) => state::CLOSING,
            _ if self.replied => state::REPLIED,
            _ => state::UNREPLIED,
        }
    }

    /// TCP flags that the pod and the other side must have sent.
    fn flags(&self) -> (u16, u16) {
        let (opener, other) = match (self.protocol, self.stage) {
            (TCP, Stage::Handshake) if self.replied => (tcp::SYN, tcp::SYN | tcp::ACK),
            (TCP, Stage::Handshake) => (tcp::SYN, 0),
            (TCP, _) => (tcp::SYN | tcp::ACK, tcp::SYN | tcp::ACK),
            _ => (0, 0),
        };
        if self.opened == opened::BY_REMOTE { (other, opener) } else { (opener, other) }
    }

    fn entering(&self, slot: u32) -> Result<Entering> {
        let (tx_flags, rx_flags) = self.flags();
        let key = Key::of(self.local, self.remote, self.local_port, self.remote_port, self.protocol);
        let (key, family) = match key {
            Some(Key::V4(key)) => (sys::words4(&key), 4),
            Some(Key::V6(key)) => (sys::words6(&key), 6),
            None => {
                let (local, remote) = (self.local, self.remote);
                return Err(Error::Unsupported(format!(
                    "cannot enter a connection between {local} and {remote}: they are of different address families"
                )));
            }
        };
        let (state, opened) = (self.state(), self.opened);
        Ok(Entering { key, slot, family, opened, state, pad: 0, tx_flags, rx_flags, pad2: 0 })
    }
}

impl Datapath {
    /// Enters a connection that was there before the datapath into an endpoint's table, unless it is there: one system call.
    ///
    /// It counts from now on, and its first packet is judged in the direction that the connection was opened in. Observers are
    /// not told; if the table is full, it makes room as any new connection does, and they are told of that. To be done under the
    /// node's lock: two of these must not meet.
    ///
    /// # Errors
    /// Where the slot has no tables, there is no memory, or the addresses are of different families.
    pub fn enter(&self, _lock: &NodeLock, slot: u32, known: &Known) -> Result<Entered> {
        let action = || format!("enter the connection of {} with {}", known.local, known.remote);
        let mut frame = vec![0; 14];
        frame.extend(sys::bytes_of(&known.entering(slot)?));
        let program = self.program(Program::Enter)?;
        match sys::test_run(program, &frame, TestContext::default(), 1).during(action)?.answer {
            entered::NEW => Ok(Entered::New),
            entered::CORRECTED => Ok(Entered::Corrected),
            entered::PRESENT => Ok(Entered::Present),
            _ => Err(Error::Unsupported(format!(
                "cannot {}: slot {slot} has no tables, or the kernel no memory",
                action()
            ))),
        }
    }
}
