//! Network policies, understood: objects are lowered to ordered tiers of rules, addresses are cut into the classes that
//! those rules can tell apart, and each subject's rules become rows from class and port to a verdict.
//!
//! ```text
//! objects -> rules -> classes -> tables
//! ```
//!
//! Each step is pure: it takes what the one before made, asks nobody, and needs no kernel. A verdict can be proved,
//! by the oracle in [`oracle`], which reads the objects themselves and knows of no rule, class or table; and
//! explained, by the rule that decided.
//!
//! It must never guess in favour of a connection: what a policy says that is not understood allows nothing, and is told
//! in [`Engine::problems`].
//!
//! Start at [`Engine`]: [`Engine::judge`] and [`Engine::explain`] for one flow, [`Engine::reach`] for all at once,
//! [`Engine::tables`] for what a datapath looks up. [`rules`] says what the lowered form means.

#![forbid(unsafe_code)]

// Unit tests build their clusters as the tests beside the crate do.
#[cfg(test)]
extern crate self as chainkit_policy;

mod classes;
mod compare;
mod compile;
mod engine;
mod explain;
mod flow;
mod interned;
mod live;
mod lower;
pub mod oracle;
mod ports;
mod prefix;
mod reach;
mod redundant;
pub mod rules;
mod selections;
mod services;
mod tables;
mod world;

pub use classes::{Class, ClassId, Classes, NamedNumber};
pub use compare::{Comparison, Difference, End, Question};
pub use compile::{Decision, Ground, PortTable, SubjectRules};
pub use engine::{Engine, Judgement, PolicyId, SideDecision};
pub use explain::{Cause, Explanation, PolicyName, Side};
pub use flow::{Direction, Flow, Options, Party, Scope, Transport, Verdict};
pub use live::Live;
pub use ports::{PortSet, Traffic};
pub use prefix::{AddressRange, Family, Prefix, PrefixTable};
pub use reach::Reach;
pub use redundant::{Cover, MAX_COVERS, Redundant, redundant};
pub use rules::Ruleset;
pub use selections::{Selection, SelectionId, Selections, Within};
pub use services::{Backend, Services, Virtual};
pub use tables::{Endpoints, Row, Rows, Tables, Update};
pub use world::{Group, GroupId, KnownNamespace, World};
