//! Metrics of flows: Hubble's by the same names, labels and options, and chainkit's own beside them.
//!
//! It takes records and gives the text that Prometheus scrapes. It opens no file and no socket, and takes memory for so many
//! samples as it is allowed, however many names and addresses the flows bring: what is past that is counted in one series of
//! its metric, which says so. The caller tells the time, and which pods are gone.
//!
//! Start at [`Metrics`]; [`Config`] is what the user asks for, and `store.rs` keeps the series.

#![forbid(unsafe_code)]

mod config;
mod context;
mod hubble;
mod metrics;
mod ours;
mod store;
mod text;

pub use config::{Config, ConfigError};
pub use context::Contexts;
pub use metrics::{Metrics, Pod};
pub use text::Form;
