//! chainkit's decoders of application protocols: pieces of payload, as the datapath copies them at a pod's veth, become
//! requests and responses.
//!
//! Pieces may come out of order, twice, cut anywhere, or not at all, and a connection may be joined on its way. What is missing
//! makes messages partial, never wrong: fields that are not certain are left out. The crate opens no file and no map,
//! never panics, and takes no more memory than it is given ([`Options::memory`]).
//!
//! Start at [`Connections::piece`], which takes a [`Piece`] and gives [`Message`]s and [`Advice`].

#![forbid(unsafe_code)]

mod connection;
mod decoder;
mod detect;
mod dns;
mod http1;
mod http2;
mod mask;
mod message;
mod piece;
mod quic;
mod stream;
mod table;
mod tls;

pub use mask::{MASK, Masker};
pub use message::{Content, Dns, Grpc, Http, Kind, Message, Protocol, Tls};
pub use piece::{Advice, Piece, Side, Sides, Transport};
pub use table::{Connections, Options};
