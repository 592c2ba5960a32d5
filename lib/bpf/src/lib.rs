//! Loads, attaches, pins and observes chainkit's datapath.
//!
//! It must never remove or change what others hang on an interface, follow a link out of its own folders, or trust that a
//! pin or a map is what its name says. All unsafe code is in `sys`.
//!
//! Start at [`Datapath`]: it is loaded, or found by its pins or on an interface. [`attach()`] hangs it on an interface that
//! [`Datapath::add_endpoint`] has given a slot; [`Observer`] reads its events; [`Datapath::connections`] its tables.

mod attach;
mod btf;
mod datapath;
mod endpoint;
mod error;
mod lease;
mod lockfile;
mod netlink;
mod observer;
mod privilege;
mod sys;
mod tables;

pub use attach::{Attachment, Hung, Kit, attach, hidden, hung};
pub use datapath::{Datapath, Origin, Pins, Program};
pub use endpoint::{NodeLock, Settings, run_directory};
pub use error::{Error, Result};
pub use lease::{Lease, find};
pub use netlink::{Interface, addresses, interfaces, route, uplinks};
pub use observer::{Losses, Observer, ObserverSettings};
pub use sys::{Direction, TestContext, TestRun, monotonic};
pub use tables::{Connection, Family, Key};
