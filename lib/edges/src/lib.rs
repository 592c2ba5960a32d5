//! Who talks to whom: flows gathered into edges between workloads, pods, namespaces or services, and edges drawn.
//!
//! It takes flows in any order, from one node or several, whole or cut, and says of each edge only what they tell: what
//! is not known is none, not zero. It never opens a file, knows no clock, and its memory is bounded ([`Budget`]).
//!
//! Start at [`Edges`], which gathers; [`Snapshot`] is what it has gathered, [`Edge`] a line of it. [`dot`], [`mermaid`]
//! and [`page`] draw one.

#![forbid(unsafe_code)]

mod aggregate;
mod connection;
mod dot;
mod edge;
mod findings;
mod gather;
mod growth;
mod label;
mod mermaid;
mod node;
mod numbers;
mod oriented;
mod page;
mod sketch;
mod tally;
mod top;
mod window;

pub use aggregate::{Aggregate, Aggregates, By as AggregateBy, field_names};
pub use dot::dot;
pub use edge::{Edge, EdgeTcp, Snapshot, Verdicts};
pub use findings::{Finding, Severity, badness, findings};
pub use gather::{Budget, Edges};
pub use label::{human_byte_rate, human_bytes, human_milliseconds};
pub use mermaid::mermaid;
pub use node::{By, Kind, Node};
pub use numbers::{Counts, Latency, Numbers, Rates};
pub use page::{Page, data, page};
pub use sketch::Sketch;
pub use top::{Line, Others, Rank, Sort, Top, TopRow, TopSnapshot, Who};
pub use window::Window;
