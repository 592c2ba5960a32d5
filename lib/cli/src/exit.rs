//! How a program ends.

use std::fmt;
use std::process::ExitCode;

/// The exit codes of all chainkit programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Exit {
    /// 0: it was done, and the answer, if one was asked for, is yes.
    Fine = 0,
    /// 1: the answer is no: findings, denied, differs, over a threshold.
    No = 1,
    /// 2: wrong usage or bad input.
    Usage = 2,
    /// 3: a privilege or something in the kernel is lacking.
    Unsupported = 3,
    /// 4: it failed and changed nothing.
    Failed = 4,
    /// 5: it was done in part; the output names what.
    Partial = 5,
}

impl Exit {
    /// All of them, in order.
    pub const ALL: [Self; 6] = [Self::Fine, Self::No, Self::Usage, Self::Unsupported, Self::Failed, Self::Partial];

    /// The number that the shell sees.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The outcome of two parts of one job.
    ///
    /// A "no" outweighs a "fine"; something done beside something that failed is done in part; of two failures the one
    /// with the higher code is told. The order in which parts are merged does not matter.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        let failed = |exit| matches!(exit, Self::Usage | Self::Unsupported | Self::Failed);
        match (self, other) {
            (a, b) if failed(a) == failed(b) => a.max(b),
            _ => Self::Partial,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error that knows the exit code it asks for, and what the user can do about it.
///
/// Put it anywhere into an `anyhow` chain; an error without one ends the program with [`Exit::Failed`].
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
    remedy: Option<String>,
}

impl Failure {
    /// An error that says `message` and ends the program with `exit`.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), remedy: None }
    }

    /// Wrong usage or bad input: [`Exit::Usage`].
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// The exit code it asks for.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        self.exit
    }

    /// What to do about it, where that is known.
    #[must_use]
    pub fn remedy_text(&self) -> Option<&str> {
        self.remedy.as_deref()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_does_not_depend_on_the_order() {
        for a in Exit::ALL {
            assert_eq!(a.merge(a), a);
            for b in Exit::ALL {
                assert_eq!(a.merge(b), b.merge(a), "{a:?} {b:?}");
                for c in Exit::ALL {
                    assert_eq!(a.merge(b).merge(c), a.merge(b.merge(c)), "{a:?} {b:?} {c:?}");
                }
            }
        }
    }

    #[test]
    fn a_failure_beside_a_success_is_done_in_part() {
        assert_eq!(Exit::Fine.merge(Exit::Failed), Exit::Partial);
        assert_eq!(Exit::No.merge(Exit::Usage), Exit::Partial);
        assert_eq!(Exit::Fine.merge(Exit::No), Exit::No);
        assert_eq!(Exit::Usage.merge(Exit::Unsupported), Exit::Unsupported);
        assert_eq!(Exit::Partial.merge(Exit::Fine), Exit::Partial);
        assert_eq!(Exit::Partial.merge(Exit::Failed), Exit::Partial);
    }
}
