//! Tests that cannot run say so, in a form that `tests/run` gathers.

use std::io::Write;
use std::thread;

/// Says that the calling test is skipped and why, as `skipped: TEST: REASON` on stderr.
///
/// It writes past the test harness, which hides what passing tests print.
pub fn skip(reason: &str) {
    let current = thread::current();
    let test = current.name().unwrap_or("a test");
    // Nobody is there to be told that stderr is closed.
    drop(writeln!(std::io::stderr().lock(), "skipped: {test}: {reason}"));
}

/// True, after having said so, when the calling test lacks the root it needs: the test then returns.
#[must_use]
pub fn skip_unless_root() -> bool {
    let lacking = !nix::unistd::geteuid().is_root();
    if lacking {
        skip("needs root");
    }
    lacking
}
