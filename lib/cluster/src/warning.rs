//! What was left out of the input, and why.

use std::fmt;

/// Something in the input that could not be used and was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where it stands: a file, or `item 3` of one.
    pub place: String,
    /// The field that is wrong, as a path; empty where it is the whole.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Warning {
    pub(crate) fn new(place: impl Into<String>, field: impl Into<String>, reason: impl fmt::Display) -> Self {
        Self { place: place.into(), field: field.into(), reason: reason.to_string() }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" | "." => write!(out, "{}: {}: left out", self.place, self.reason),
            field => write!(out, "{}: {field}: {}: left out", self.place, self.reason),
        }
    }
}

/// Warnings of one input; what goes past [`Warnings::KEPT`] is only counted, since the input decides how many there are.
#[derive(Debug, Default)]
pub(crate) struct Warnings {
    kept: Vec<Warning>,
    more: u64,
}

impl Warnings {
    const KEPT: usize = 100;

    pub(crate) fn push(&mut self, warning: Warning) {
        if self.kept.len() < Self::KEPT {
            self.kept.push(warning);
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn into_vec(mut self, source: &str) -> Vec<Warning> {
        if self.more > 0 {
            self.kept.push(Warning::new(source, "", format!("{} more objects or fields", self.more)));
        }
        self.kept
    }
}
