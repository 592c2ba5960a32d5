//! Somebody else's program on the same interface.

use aya::Ebpf;
use aya::maps::{HashMap, MapData};
use aya::programs::links::LinkOrder;
use aya::programs::tc::{NlOptions, SchedClassifierLinkId, TcAttachOptions, TcHandle, qdisc_add_clsact};
use aya::programs::{SchedClassifier, TcAttachType};
use chainkit_abi::Key4;
use chainkit_bpf::Direction;

/// Where a rival puts itself.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// At the head of the tcx list.
    TcxFirst,
    /// At its tail.
    TcxLast,
    /// A clsact filter of this priority.
    Clsact(u16),
}

impl Place {
    pub(crate) const fn is_tcx(self) -> bool {
        !matches!(self, Self::Clsact(_))
    }
}

/// A program that counts the IPv4 packets that reach it.
pub(crate) struct Rival {
    ebpf: Ebpf,
}

impl Rival {
    /// One that lets the next program run.
    pub(crate) fn polite() -> Self {
        Self::load(chainkit_object::FLOOR)
    }

    /// One after which no other program runs: it returns `TC_ACT_OK` instead of `TC_ACT_UNSPEC`.
    pub(crate) fn rude() -> Self {
        Self::returning(0)
    }

    /// One that drops all: it returns `TC_ACT_SHOT`.
    pub(crate) fn dropping() -> Self {
        Self::returning(2)
    }

    fn returning(answer: u8) -> Self {
        // r0 = -1 (or w0 = -1); exit
        const UNSPEC: [u8; 15] = [0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x95, 0, 0, 0, 0, 0, 0, 0];
        let mut object = chainkit_object::FLOOR.to_vec();
        let found: Vec<usize> = (1..object.len() - UNSPEC.len())
            .filter(|at| object[*at..].starts_with(&UNSPEC) && [0xb4, 0xb7].contains(&object[at - 1]))
            .collect();
        assert!(!found.is_empty(), "no program of the object ends with TC_ACT_UNSPEC");
        for at in found {
            object[at + 3..at + 7].copy_from_slice(&[answer, 0, 0, 0]);
        }
        Self::load(&object)
    }

    fn load(object: &[u8]) -> Self {
        let mut ebpf = Ebpf::load(object).unwrap();
        let program: &mut SchedClassifier = ebpf.program_mut("floor").unwrap().try_into().unwrap();
        program.load().unwrap();
        Self { ebpf }
    }

    fn program(&mut self) -> &mut SchedClassifier {
        self.ebpf.program_mut("floor").unwrap().try_into().unwrap()
    }

    /// The kernel's number of its program.
    pub(crate) fn id(&mut self) -> u32 {
        self.program().info().unwrap().id()
    }

    /// Hangs it on an interface of the namespace of this thread, until it is dropped.
    pub(crate) fn hang(&mut self, interface: &str, direction: Direction, place: Place) -> SchedClassifierLinkId {
        let direction = match direction {
            Direction::Ingress => TcAttachType::Ingress,
            Direction::Egress => TcAttachType::Egress,
        };
        let options = match place {
            Place::TcxFirst => TcAttachOptions::TcxOrder(LinkOrder::first()),
            Place::TcxLast => TcAttachOptions::TcxOrder(LinkOrder::last()),
            Place::Clsact(priority) => {
                // There is one already.
                let _ = qdisc_add_clsact(interface);
                TcAttachOptions::Netlink(NlOptions { priority, handle: TcHandle::AUTO_ASSIGN, ..NlOptions::default() })
            }
        };
        self.program().attach_with_options(interface, direction, options).unwrap()
    }

    /// How many IPv4 packets with these ports, in either order, have reached it.
    pub(crate) fn counted(&self, one: u16, other: u16) -> u64 {
        let flows: HashMap<&MapData, Key4, Counters> = self.ebpf.map("FLOWS4").unwrap().try_into().unwrap();
        let of_ports = |key: &Key4| {
            let ports = (u16::from_be(key.local_port), u16::from_be(key.remote_port));
            ports == (one, other) || ports == (other, one)
        };
        flows.iter().map(Result::unwrap).filter(|(key, _)| of_ports(key)).map(|(_, [packets, _])| packets).sum()
    }
}

/// Packets and bytes of a connection.
type Counters = [u64; 2];
