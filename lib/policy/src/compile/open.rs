//! Ports that nothing has decided on yet.

use std::collections::BTreeMap;

use crate::flow::Transport;

/// Some ports of one transport: first and last, both included.
pub(super) type Piece = (Transport, u16, u16);

/// Ports of every transport from which rules take theirs, one after another. What is taken costs the pieces it is in, and not
/// all there are.
#[derive(Clone, Debug)]
pub(super) struct Open {
    /// For each transport the last port of each piece by its first; pieces have no port in common.
    pieces: [BTreeMap<u16, u16>; 4],
}

impl Open {
    /// Everything.
    pub(super) fn all() -> Self {
        Self { pieces: Transport::ALL.map(|transport| BTreeMap::from([(0, transport.last_port())])) }
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.iter().all(BTreeMap::is_empty)
    }

    /// Takes what is left of these ports, piece by piece.
    pub(super) fn take(&mut self, (transport, first, last): Piece, mut taken: impl FnMut(Piece)) {
        let Some(pieces) = self.pieces.get_mut(transport.index()).filter(|_| first <= last) else { return };
        // The one that begins before may reach into them.
        let before = pieces.range(..first).next_back().filter(|(_, end)| **end >= first).map(|(start, _)| *start);
        let mut from = before.unwrap_or(first);
        while from <= last
            && let Some((start, end)) = pieces.range(from..=last).next().map(|(start, end)| (*start, *end))
        {
            pieces.remove(&start);
            if start < first {
                pieces.insert(start, first - 1);
            }
            taken((transport, start.max(first), end.min(last)));
            if end >= last {
                if end > last {
                    pieces.insert(last + 1, end);
                }
                return;
            }
            from = end + 1;
        }
    }

    /// Takes all that is left.
    pub(super) fn take_all(&mut self, mut taken: impl FnMut(Piece)) {
        for (transport, pieces) in Transport::ALL.into_iter().zip(&mut self.pieces) {
            std::mem::take(pieces).into_iter().for_each(|(first, last)| taken((transport, first, last)));
        }
    }

    /// Gives back what was taken.
    pub(super) fn give_back(&mut self, (transport, first, last): Piece) {
        if let Some(pieces) = self.pieces.get_mut(transport.index()) {
            pieces.insert(first, last);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn left(open: &Open, port: u16) -> bool {
        let [tcp, ..] = &open.pieces;
        tcp.iter().any(|(first, last)| (*first..=*last).contains(&port))
    }

    proptest! {
        #[test]
        fn each_port_is_taken_once_by_the_first_who_asks_and_what_is_given_back_is_open_again(
            asked in proptest::collection::vec((0_u16..40, 0_u16..12, any::<bool>(), any::<bool>()), 0..12)
        ) {
            let mut open = Open::all();
            let mut free = [true; 128];
            for (first, more, high, goes_back) in asked {
                // At both ends of what a port can be.
                let (first, last) = if high { (u16::MAX - first - more, u16::MAX - first) } else { (first, first + more) };
                let place = |port: u16| usize::from(if high { 127 - (u16::MAX - port) } else { port });
                let mut taken = Vec::new();
                open.take((Transport::Tcp, first, last), |piece| taken.push(piece));
                for port in first..=last {
                    let times = taken.iter().filter(|(_, first, last)| (*first..=*last).contains(&port)).count();
                    prop_assert_eq!(times, usize::from(free[place(port)]), "{}", port);
                    free[place(port)] &= goes_back;
                }
                for (transport, from, to) in &taken {
                    prop_assert_eq!(*transport, Transport::Tcp);
                    prop_assert!(first <= *from && from <= to && *to <= last);
                }
                if goes_back {
                    taken.into_iter().for_each(|piece| open.give_back(piece));
                }
            }
            for port in 0..40 {
                prop_assert_eq!(left(&open, port), free[usize::from(port)], "{}", port);
                let high = u16::MAX - port;
                prop_assert_eq!(left(&open, high), free[usize::from(127 - port)], "{}", high);
            }
            prop_assert!(left(&open, 1000));
        }
    }

    #[test]
    fn all_is_taken_transport_by_transport() {
        let mut open = Open::all();
        for transport in Transport::ALL {
            assert!(!open.is_empty());
            let mut taken = Vec::new();
            open.take((transport, 0, u16::MAX), |piece| taken.push(piece));
            assert_eq!(taken, [(transport, 0, transport.last_port())]);
        }
        assert!(open.is_empty());
        open.give_back((Transport::Udp, 7, 9));
        let mut rest = Vec::new();
        open.take_all(|piece| rest.push(piece));
        assert_eq!((rest, open.is_empty()), (vec![(Transport::Udp, 7, 9)], true));
    }
}
