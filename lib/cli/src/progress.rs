//! How far a long job is, on stderr.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// What takes less is done before anybody wonders.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the line is written anew.
const EVERY: Duration = Duration::from_millis(200);

/// A line on stderr that says how far a job is: only on a terminal, only once the job has taken two seconds, and gone when
/// this is dropped.
#[derive(Debug)]
pub struct Progress {
    what: String,
    total: usize,
    done: usize,
    since: Instant,
    shown: Option<Instant>,
    is_terminal: bool,
}

impl Progress {
    /// A job of `total` steps, described as in "adopting pods".
    #[must_use]
    pub fn new(what: impl Display, total: usize) -> Self {
        let is_terminal = io::stderr().is_terminal();
        Self { what: what.to_string(), total, done: 0, since: Instant::now(), shown: None, is_terminal }
    }

    /// One step is done.
    pub fn step(&mut self) {
        self.done += 1;
        let due = self.shown.is_none_or(|shown| shown.elapsed() >= EVERY);
        if self.is_terminal && due && self.since.elapsed() >= PATIENCE {
            self.shown = Some(Instant::now());
            // A terminal that takes nothing is no reason to stop.
            let _ = write!(io::stderr().lock(), "\r\u{1b}[K{}", self.line());
        }
    }

    fn line(&self) -> String {
        format!("{}: {} of {}", self.what, self.done, self.total)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = write!(io::stderr().lock(), "\r\u{1b}[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_a_step(is_terminal: bool, since: Instant) -> bool {
        let mut progress = Progress::new("adopting pods", 3);
        progress.is_terminal = is_terminal;
        progress.since = since;
        progress.step();
        assert_eq!(progress.line(), "adopting pods: 1 of 3");
        progress.shown.is_some()
    }

    #[test]
    fn only_what_takes_long_is_shown_and_only_on_a_terminal() {
        let long_ago = Instant::now().checked_sub(Duration::from_secs(9)).unwrap();
        assert!(!after_a_step(true, Instant::now()));
        assert!(!after_a_step(false, long_ago));
        assert!(after_a_step(true, long_ago));
    }
}
