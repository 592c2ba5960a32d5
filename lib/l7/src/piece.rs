//! What goes in: pieces of payload, as they were seen at a pod's veth; and what goes back to who copies them.

/// An end of a connection, as the pod at whose veth it is seen has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The pod.
    Local,
    /// Its peer.
    Remote,
}

impl Side {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Local => Self::Remote,
            Self::Remote => Self::Local,
        }
    }

    pub(crate) const BOTH: [Self; 2] = [Self::Local, Self::Remote];
}

/// One of a kind for each side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sides<T> {
    /// Of what the pod sends.
    pub local: T,
    /// Of what its peer sends.
    pub remote: T,
}

impl<T> Sides<T> {
    /// That of `side`.
    pub fn of(&self, side: Side) -> &T {
        match side {
            Side::Local => &self.local,
            Side::Remote => &self.remote,
        }
    }

    /// That of `side`, to change.
    pub fn of_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Local => &mut self.local,
            Side::Remote => &mut self.remote,
        }
    }
}

/// What carries the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A stream.
    Tcp,
    /// Datagrams; a piece is a whole one.
    Udp,
}

/// The payload of a packet, or a part of it.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// Who sent it.
    pub from: Side,
    /// What carries it.
    pub transport: Transport,
    /// TCP: the sequence number of the first byte in `bytes`; of a SYN, the number of the SYN itself (RFC 9293, section 3.4),
    /// which its bytes follow.
    pub seq: u32,
    /// When it was seen, nanoseconds of any clock that does not go back.
    pub time_ns: u64,
    /// TCP: it begins the connection.
    pub syn: bool,
    /// TCP: nothing follows its last byte.
    pub fin: bool,
    /// TCP: the connection is over.
    pub rst: bool,
    /// The bytes; may be empty where a flag is all there is to tell.
    pub bytes: &'a [u8],
}

/// What need not be copied any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Advice {
    /// Nothing that is to come on this connection will be decoded.
    pub not_l7: bool,
    /// It is known what is spoken: what is to come is worth copying, however much it is.
    pub recognised: bool,
    /// By who sends: bytes before this sequence number will not be looked at. What lies across it is to be copied
    /// from it on; where it is in a body, the last byte of that does, which shows that it was sent.
    pub skip_until: Sides<Option<u32>>,
}
