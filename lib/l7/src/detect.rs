//! What is spoken on a connection, by its first bytes.

use crate::http1::head;
use crate::{dns, http2, tls};

/// A protocol over TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    Http1,
    Http2,
    Dns,
    Tls,
}

/// What bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is that.
    Is(Spoken),
    /// More bytes are needed.
    Maybe,
    /// It is nothing that is decoded, or not its beginning.
    IsNot,
}

/// What the first bytes of one side tell; `joined`: they are the first of a piece, and not of the stream.
pub(crate) fn tcp(bytes: &[u8], joined: bool) -> Verdict {
    let mut answer = Verdict::IsNot;
    for verdict in [head::begins(bytes), http2::begins(bytes, joined), tls::begins(bytes), dns::begins(bytes)] {
        match verdict {
            Verdict::IsNot => {}
            Verdict::Maybe => answer = Verdict::Maybe,
            found => return found,
        }
    }
    answer
}

/// Whether bytes begin with a word, as far as there are any.
pub(crate) fn begins_with(bytes: &[u8], word: &[u8], is: Verdict) -> Verdict {
    if bytes.starts_with(word) {
        is
    } else if word.starts_with(bytes) {
        Verdict::Maybe
    } else {
        Verdict::IsNot
    }
}
