//! What can go wrong in a lab.

use std::io;

use crate::cni::Answer;

/// Why a lab, or something in it, could not be made or did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call, or a file of the kernel, refused.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried, on what, as in "cannot …".
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// `ip` refused a command.
    #[error("`ip {command}` failed in the namespace of {netns}: {said}")]
    Ip {
        /// Whose namespace it was.
        netns: String,
        /// The command at which it stopped.
        command: String,
        /// What it wrote to stderr.
        said: String,
    },
    /// A CNI plugin ended with an error.
    #[error("{0}")]
    Plugin(Box<Answer>),
    /// Something was asked for that cannot be done as it stands.
    #[error("cannot {what}: {problem}")]
    Invalid {
        /// What was asked for, as in "cannot …".
        what: String,
        /// Why not, and what to do.
        problem: String,
    },
    /// A pod of that name is already there.
    #[error("pod {namespace}/{name} is already in this lab")]
    Duplicate {
        /// Namespace of the pod.
        namespace: String,
        /// Name of the pod.
        name: String,
    },
    /// The address range of the lab is used up.
    #[error("no address is left for another pod of this lab (it has {0})")]
    Full(u32),
    /// Something that was waited for did not happen in time.
    #[error("{what} within {seconds:.1} s; it wrote:\n{output}")]
    Timeout {
        /// What was waited for, as in "`ping` did not end".
        what: String,
        /// How long, in seconds.
        seconds: f64,
        /// What the program had written so far, both streams.
        output: String,
    },
    /// A peer answered, but not with what its protocol asks for.
    #[error("{peer} sent a wrong {protocol} answer: {problem}")]
    Answer {
        /// Who answered.
        peer: String,
        /// The protocol spoken, as in "DNS".
        protocol: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

impl Error {
    pub(crate) fn invalid(what: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), problem: problem.into() }
    }

    /// For `map_err`: an I/O error with what was tried.
    pub(crate) fn io<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source: source.into() }
    }
}
