//! The connections that a pod already has, as its packets on the veth show them.
//!
//! Three know of them. The connection tracking of the node's namespace sees the packets just as they are on the veth, before
//! or after it translates them, and knows who opened. The pod's own sees them too, where something in the pod uses it:
//! a service mesh sends connections to its proxy by `REDIRECT` there, so neither tuple need be what is on the wire. What both
//! lack, because nothing tracks or an idle entry has expired, the pod's sockets tell, though not always who opened.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use crate::{
    conntrack::{self, Entry, TcpState, Tuple},
    error::{During, Result},
    netns::Netns,
    sockets::{Socket, SocketState, sockets},
};

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// Connection tracking keeps a GRE key where ports are.
const GRE: u8 = 47;

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opened {
    /// The pod did.
    ByPod,
    /// The other side did.
    ByRemote,
    /// Nothing tells.
    Unknown,
}

/// Who knew of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Connection tracking of the node's namespace.
    HostConntrack,
    /// Connection tracking of the pod's namespace.
    PodConntrack,
    /// A socket of the pod.
    Socket,
}

/// A connection that exists, as its packets on the veth are addressed; local is the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Existing {
    /// The pod's address.
    pub local: IpAddr,
    /// The other side's address.
    pub remote: IpAddr,
    /// The pod's port, host byte order; of an ICMP echo its identifier; 0 where the protocol has none.
    pub local_port: u16,
    /// The other side's port, host byte order; 0 where there is none.
    pub remote_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Who opened it.
    pub opened: Opened,
    /// Where it stands, where the protocol is TCP; never [`TcpState::Over`].
    pub state: Option<TcpState>,
    /// Whether packets are known to have come both ways.
    pub replied: bool,
    /// Who knew of it first.
    pub source: Source,
}

/// Protocol, local and remote.
type Key = (u8, IpAddr, u16, IpAddr, u16);

impl Existing {
    fn key(&self) -> Key {
        (self.protocol, self.local, self.local_port, self.remote, self.remote_port)
    }

    /// How much is lost if it is forgotten, least first.
    fn worth(&self) -> u8 {
        match self.state {
            Some(TcpState::Established) => 3,
            None if self.replied => 3,
            Some(TcpState::Closing | TcpState::SynReceived) => 2,
            _ => 1,
        }
    }
}

/// The connections of a pod with the addresses `addresses`, to be called in the node's namespace.
///
/// Those most worth remembering come first. Left out is what is over, what stays inside the pod, and what nobody can know:
/// the peers of a UDP socket that is not connected, where nothing tracks connections.
///
/// # Errors
/// When the pod's namespace cannot be entered, and the kernel's; both take root.
pub fn existing(pod: &Netns, addresses: &[IpAddr]) -> Result<Vec<Existing>> {
    existing_beside(&tracked(&addresses.iter().copied().collect())?, pod, addresses)
}

/// As [`existing`], with what the node's connection tracking knows already at hand.
///
/// Reading a busy node's table takes longest. Whoever asks for many pods reads it once, with [`tracked`], after the last of them
/// began to be watched.
///
/// # Errors
/// As [`existing`].
pub fn existing_beside(host: &[Entry], pod: &Netns, addresses: &[IpAddr]) -> Result<Vec<Existing>> {
    let known: HashSet<IpAddr> = addresses.iter().map(IpAddr::to_canonical).collect();
    let loaded = conntrack::is_loaded();
    let (entries, sockets) = pod.run(|| {
        let entries = if loaded { conntrack::conntrack(|entry| touches(entry, &known)) } else { Ok(Vec::new()) };
        (entries, sockets())
    })?;
    let place = pod.path().display();
    let entries = entries.during(|| format!("read the connection tracking of the network namespace {place}"))?;
    let sockets = sockets.during(|| format!("list the sockets of the network namespace {place}"))?;
    Ok(merge(addresses, host, &entries, &sockets))
}

/// What the connection tracking of this thread's network namespace knows of any of these addresses.
///
/// # Errors
/// The kernel's; for one, lack of `CAP_NET_ADMIN`.
pub fn tracked(addresses: &HashSet<IpAddr>) -> Result<Vec<Entry>> {
    if !conntrack::is_loaded() {
        return Ok(Vec::new());
    }
    let known: HashSet<IpAddr> = addresses.iter().map(IpAddr::to_canonical).collect();
    conntrack::conntrack(|entry| touches(entry, &known))
        .during(|| "read the connection tracking of the node's network namespace".to_owned())
}

fn touches(entry: &Entry, addresses: &HashSet<IpAddr>) -> bool {
    [entry.original, entry.reply].iter().any(|tuple| addresses.contains(&tuple.src) || addresses.contains(&tuple.dst))
}

/// Makes one list of what the three know of a pod with the addresses `addresses`; asks nobody.
#[must_use]
pub fn merge(addresses: &[IpAddr], host: &[Entry], pod: &[Entry], sockets: &[Socket]) -> Vec<Existing> {
    let mut merged = Merged { addresses: addresses.iter().map(IpAddr::to_canonical).collect(), ..Merged::default() };
    for entry in host {
        merged.take_host(entry);
    }
    for entry in pod {
        merged.take_pod(entry);
    }
    for socket in sockets {
        merged.take_socket(socket, sockets);
    }
    merged.found.sort_by_key(|existing| std::cmp::Reverse(existing.worth()));
    merged.found
}

#[derive(Default)]
struct Merged {
    addresses: HashSet<IpAddr>,
    found: Vec<Existing>,
    /// Where in `found` each is.
    places: HashMap<Key, usize>,
    /// Tuples that sockets have and the veth never sees, since the pod itself translates them.
    inner: HashSet<Key>,
}

impl Merged {
    /// Whether packets to or from an address of the pod's loopback, or of its own, stay inside it.
    fn inside(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address) || address.is_loopback() || address.is_unspecified()
    }

    /// The node's tracking sees the pod's packets before it translates them, and those to the pod after.
    fn take_host(&mut self, entry: &Entry) {
        if self.addresses.contains(&entry.original.src) {
            self.track(entry, entry.original, Opened::ByPod, Source::HostConntrack);
        }
        // Not `else`: a pod that reaches itself through a service has both.
        if self.addresses.contains(&entry.reply.src) {
            self.track(entry, entry.reply, Opened::ByRemote, Source::HostConntrack);
        }
    }

    /// The pod's tracking sees what comes in before it translates it, and what goes out too; so out of the reply it is known what
    /// goes out.
    fn take_pod(&mut self, entry: &Entry) {
        if entry.translated() {
            // What is redirected on its way in has a socket that sends replies; on its way out, one that sent the original.
            for tuple in [entry.reply, entry.original] {
                self.inner.insert((entry.protocol, tuple.src, tuple.src_port, tuple.dst, tuple.dst_port));
            }
        }
        if self.addresses.contains(&entry.original.dst) && !self.inside(entry.original.src) {
            self.track(entry, entry.original.reversed(), Opened::ByRemote, Source::PodConntrack);
        } else if self.addresses.contains(&entry.reply.dst) && !self.inside(entry.reply.src) {
            self.track(entry, entry.reply.reversed(), Opened::ByPod, Source::PodConntrack);
        }
    }

    /// `wire` is as the pod's packets are addressed.
    fn track(&mut self, entry: &Entry, wire: Tuple, opened: Opened, source: Source) {
        let (local_port, remote_port) = match (entry.protocol, entry.icmp_type) {
            // Echo is all of ICMP that has two sides and goes on.
            (ICMP, Some(8)) | (ICMPV6, Some(128)) => (wire.src_port, 0),
            (ICMP | ICMPV6, _) => return,
            (GRE, _) => (0, 0),
            _ => (wire.src_port, wire.dst_port),
        };
        self.enter(Existing {
            local: wire.src,
            remote: wire.dst,
            local_port,
            remote_port,
            protocol: entry.protocol,
            opened: if entry.picked_up { Opened::Unknown } else { opened },
            state: entry.tcp,
            replied: entry.seen_reply,
            source,
        });
    }

    fn take_socket(&mut self, socket: &Socket, all: &[Socket]) {
        let SocketState::Connected(state) = socket.state else { return };
        if !self.addresses.contains(&socket.local) || self.inside(socket.remote) {
            return;
        }
        let listened = || all.iter().any(|other| other.listens_on(socket.protocol, socket.local, socket.local_port));
        let existing = Existing {
            local: socket.local,
            remote: socket.remote,
            local_port: socket.local_port,
            remote_port: socket.remote_port,
            protocol: socket.protocol,
            opened: match state {
                Some(TcpState::SynSent) => Opened::ByPod,
                _ if listened() => Opened::ByRemote,
                // Whoever accepted it may have closed its listener since.
                _ => Opened::Unknown,
            },
            state,
            replied: state.is_some_and(|state| state != TcpState::SynSent),
            source: Source::Socket,
        };
        if !self.inner.contains(&existing.key()) {
            self.enter(existing);
        }
    }

    fn enter(&mut self, existing: Existing) {
        if existing.state == Some(TcpState::Over) {
            return;
        }
        let place = *self.places.entry(existing.key()).or_insert(self.found.len());
        match self.found.get_mut(place) {
            None => self.found.push(existing),
            Some(known) if known.opened == Opened::Unknown => known.opened = existing.opened,
            Some(_) => {}
        }
    }
}

#[cfg(test)]
#[path = "connections/tests.rs"]
mod tests;
