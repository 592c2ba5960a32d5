//! The mode that pods and namespaces ask for.

use serde::{Deserialize, Serialize};

/// The annotation of a pod or namespace that asks for a [`Mode`].
pub const MODE_ANNOTATION: &str = "chainkit.dev/mode";

/// How verdicts are to be used, from the loosest to the tightest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Nothing is judged.
    #[default]
    Observe,
    /// What would be denied is reported, and passes.
    Audit,
    /// What is denied is dropped.
    Enforce,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Observe, Self::Audit, Self::Enforce];

    /// As it is written; `None` for another text.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }

    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Audit => "audit",
            Self::Enforce => "enforce",
        }
    }
}
