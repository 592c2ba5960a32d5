//! What the chainkit programs share on the command line: exit codes, messages and their remedies, output formats, the
//! flags that each of them has, man pages and completions.
//!
//! It never prints on stdout anything that the program did not ask for, and knows nothing of what the programs do.
//!
//! Start at [`run`]: a program describes itself as a [`Program`], and its `main` is one call.

#![forbid(unsafe_code)]

mod api;
mod exit;
mod log;
mod manual;
mod output;
mod pending;
mod program;
mod progress;
mod root;

pub use api::ApiArgs;
pub use exit::{Exit, Failure};
pub use log::{Log, LogFormat};
pub use manual::{EXIT_STATUS, Section};
pub use output::{Format, OutputArgs, Row, colour, escape, write_columns, write_rows};
pub use pending::pending;
pub use program::{Program, run};
pub use progress::Progress;
pub use root::RootArgs;
