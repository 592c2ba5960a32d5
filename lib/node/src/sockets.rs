//! The sockets of a network namespace (sock_diag).

use std::{io, net::IpAddr};

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_sock_diag::{
    AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, SockDiagMessage,
    inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags, nlas::Nla},
};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use crate::{
    conntrack::{MAX_ENTRIES, TcpState},
    netlink::Line,
};

/// What a socket is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketState {
    /// It takes packets from anyone: a TCP listener, or a UDP socket that is bound and not connected.
    Listening,
    /// It has one peer: a TCP connection and where it stands, or a connected UDP socket.
    Connected(Option<TcpState>),
}

/// A TCP or UDP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// IP protocol number.
    pub protocol: u8,
    /// What it is there for.
    pub state: SocketState,
    /// Its own address; unspecified where it takes packets to any. IPv4 in IPv6 (`::ffff:a.b.c.d`) is IPv4 here.
    pub local: IpAddr,
    /// Its port, host byte order.
    pub local_port: u16,
    /// Its peer's address; unspecified where it has none.
    pub remote: IpAddr,
    /// Its peer's port, host byte order.
    pub remote_port: u16,
    /// Whether an unspecified IPv6 address stands for IPv4 addresses too.
    pub dual_stack: bool,
}

impl Socket {
    /// Whether what is sent to an address and port ends here, if it is in no connected socket's hands.
    #[must_use]
    pub fn listens_on(&self, protocol: u8, address: IpAddr, port: u16) -> bool {
        let same = self.local == address;
        let any = self.local.is_unspecified() && (self.local.is_ipv4() == address.is_ipv4() || self.dual_stack);
        self.state == SocketState::Listening && self.protocol == protocol && self.local_port == port && (same || any)
    }
}

/// TCP and UDP sockets of this thread's network namespace, at most [`MAX_ENTRIES`].
///
/// Those whose connection is over (`TIME_WAIT`), or that have no port, are left out.
///
/// # Errors
/// The kernel's; one that cannot list the sockets of a protocol has none of it.
pub fn sockets() -> io::Result<Vec<Socket>> {
    let line = match Line::open(NETLINK_SOCK_DIAG) {
        Err(error) if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for protocol in [IPPROTO_TCP, IPPROTO_UDP] {
        for (family, socket_id) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
            let mut states = StateFlags::all();
            states.remove(StateFlags::TIME_WAIT);
            let request = InetRequest { family, protocol, extensions: ExtensionFlags::empty(), states, socket_id };
            let mut room = MAX_ENTRIES.saturating_sub(found.len());
            let answers = line.ask(SockDiagMessage::InetRequest(request), NLM_F_DUMP, |answer| {
                let SockDiagMessage::InetResponse(response) = answer else { return None };
                room = room.checked_sub(1)?;
                read(protocol, &response)
            });
            match answers {
                // No handler for the protocol or family, and no module to load that has one.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) => {}
                other => found.extend(other?),
            }
        }
    }
    Ok(found)
}

fn read(protocol: u8, response: &InetResponse) -> Option<Socket> {
    let id = &response.header.socket_id;
    let v6_only = response.nlas.iter().any(|nla| match nla {
        Nla::Other(nla) => is_v6_only(nla),
        _ => false,
    });
    let local = id.source_address.to_canonical();
    let socket = Socket {
        protocol,
        state: state(protocol, response.header.state)?,
        local,
        local_port: id.source_port,
        remote: id.destination_address.to_canonical(),
        remote_port: id.destination_port,
        dual_stack: local.is_ipv6() && !v6_only,
    };
    (socket.local_port != 0).then_some(socket)
}

fn is_v6_only(nla: &netlink_packet_core::DefaultNla) -> bool {
    use netlink_packet_core::Nla as _;
    let mut value = vec![0; nla.value_len()];
    nla.emit_value(&mut value);
    nla.kind() == netlink_packet_sock_diag::INET_DIAG_SKV6ONLY && value.first().is_some_and(|only| *only != 0)
}

/// Values of `sk_state` (include/net/tcp_states.h).
fn state(protocol: u8, number: u8) -> Option<SocketState> {
    let connected = |state| Some(SocketState::Connected(Some(state)));
    match (protocol, number) {
        (IPPROTO_UDP, 1) => Some(SocketState::Connected(None)),
        // TCP_CLOSE.
        (IPPROTO_UDP, 7) => Some(SocketState::Listening),
        (IPPROTO_TCP, 1) => connected(TcpState::Established),
        (IPPROTO_TCP, 2) => connected(TcpState::SynSent),
        // TCP_SYN_RECV and TCP_NEW_SYN_RECV.
        (IPPROTO_TCP, 3 | 12) => connected(TcpState::SynReceived),
        // TCP_FIN_WAIT1, TCP_FIN_WAIT2, TCP_CLOSE_WAIT.
        (IPPROTO_TCP, 4 | 5 | 8) => connected(TcpState::Closing),
        // TCP_LAST_ACK, TCP_CLOSING.
        (IPPROTO_TCP, 9 | 11) => connected(TcpState::Closed),
        (IPPROTO_TCP, 10) => Some(SocketState::Listening),
        _ => None,
    }
}
