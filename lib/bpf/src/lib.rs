//! Loads, attaches, pins and observes chainkit's datapath.
//!
//! It must never remove or change what others hang on an interface, follow a link out of its own folders, or trust that a
//! pin or a map is what its name says. All unsafe code is in `sys`.
//!
//! Start at [`Datapath`]: it is installed for good, loaded, or found by its pins or on an interface. [`attach_endpoint`] hangs it on an
//! interface for good; [`Lease`] for as long as a process runs; [`attach()`] is what both are made of. [`Observer`] reads its events and
//! copies of payload, [`Drops`] what the kernel drops, [`Datapath::connections`] its tables, [`Datapath::totals`] its counters; [`Datapath::upgrade`] swaps its programs.

mod attach;
mod btf;
mod datapath;
mod drops;
mod endpoint;
mod entering;
mod error;
mod forgetful;
pub mod health;
mod lasting;
mod lease;
mod lockfile;
mod netlink;
mod observer;
mod payload;
mod pins;
mod policy;
mod privilege;
mod program;
mod slots;
mod sys;
mod tables;
mod totals;
mod upgrade;

pub use attach::{Attachment, Hung, Kit, attach, gaps, hidden, hung};
pub use aya::Pod;
pub use datapath::{Datapath, Origin};
pub use drops::{DropLosses, DropSettings, Dropped, Drops};
pub use endpoint::{NodeLock, RunLock, Settings, run_directory};
pub use entering::{Entered, Known, Stage};
pub use error::{Error, Result};
pub use lasting::{Placed, attach_endpoint, detach_endpoint};
pub use lease::{Lease, find};
pub use observer::{Losses, Observer, ObserverSettings, Record};
pub use payload::{Decision, Skip, Stream};
pub use pins::{PinnedLink, Pins};
pub use policy::{Capacities, Table, TableSet};
pub use program::Program;
pub use sys::{Direction, TestContext, TestRun, monotonic, run_program};
pub use tables::{Connection, ConnectionTables, Family, Key};
pub use totals::{Totals, Traffic};
pub use upgrade::{Upgraded, Version, abi_interfaces, remove_abi};
