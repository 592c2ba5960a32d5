//! What could not be used of the input.

use std::fmt;
use std::sync::Arc;

/// Something in the input that could not be used, or not as it was meant for all that can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file; `-` is standard input.
    pub file: Arc<str>,
    /// The document of the file, from 1; 0 where it is the file as a whole.
    pub document: usize,
    /// The line of the file, from 1; 0 where none can be told.
    pub line: usize,
    /// The object, as `Kind/namespace/name`, as far as it could be told.
    pub object: String,
    /// The field that is wrong, as a path; empty where it is the whole.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
    /// What it is about.
    pub about: About,
}

/// What a problem is about, which tells how much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// A policy, or what may be one for all that can be told: without it, what it forbids may be allowed.
    Policy,
    /// A policy that one input gives more than once. The last one is used.
    PolicyTwice,
    /// Another object, or a field that is left out of it.
    Other,
    /// An object that an input gives, and one that was named after it gives otherwise. The later one is used, which is what naming
    /// it later asks for.
    Replaced,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.file)?;
        if self.line > 0 {
            write!(out, ":{}", self.line)?;
        }
        if self.document > 0 {
            write!(out, ": document {}", self.document)?;
        }
        if !self.object.is_empty() {
            write!(out, ": {}", self.object)?;
        }
        if !self.field.is_empty() {
            write!(out, ": {}", self.field)?;
        }
        write!(out, ": {}", self.reason)
    }
}
