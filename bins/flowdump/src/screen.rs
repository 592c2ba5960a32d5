//! A terminal on which something is drawn anew each time, and which is given back as it was on every way out.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

/// The alternate screen (xterm's private mode 1049), so that what was there comes back; and the cursor, which is of no
/// use on it (mode 25).
const BEGIN: &[u8] = b"\x1b[?1049h\x1b[?25l";
const LEAVE: &[u8] = b"\x1b[?25h\x1b[?1049l";

/// Whether the terminal is on the alternate screen: whoever ends the process has to know.
static ON: AtomicBool = AtomicBool::new(false);

/// The exit code of who is interrupted a second time, as without a screen.
const INTERRUPTED: i32 = 130;

/// The terminal.
#[derive(Debug)]
pub(crate) struct Screen(());

impl Screen {
    /// The terminal that stdout is, if it is one. Signals that would end the process with the screen as it is are seen to.
    pub(crate) fn of_stdout() -> anyhow::Result<Option<Self>> {
        if !io::stdout().is_terminal() {
            return Ok(None);
        }
        guard()?;
        Ok(Some(Self(())))
    }

    /// Draws lines over those before, as many as there is room for.
    pub(crate) fn draw(&mut self, make: impl FnOnce(usize) -> anyhow::Result<Vec<String>>) -> anyhow::Result<()> {
        let (rows, columns) = size();
        let mut out = Vec::new();
        if !ON.swap(true, Ordering::AcqRel) {
            out.extend_from_slice(BEGIN);
        }
        lay_out(&make(rows)?, rows, columns, &mut out);
        let mut stdout = io::stdout().lock();
        stdout.write_all(&out)?;
        stdout.flush()?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

/// Gives the terminal back, if it was taken.
fn leave() {
    if ON.swap(false, Ordering::AcqRel)
        && let Ok(stdout) = io::stdout().as_fd().try_clone_to_owned()
    {
        // Past the lock of stdout: who holds it may be what is stuck. There is nobody to tell of an error.
        let _ = File::from(stdout).write_all(LEAVE);
    }
}

/// Sees to it that a second signal, a quit and a panic leave the screen, too. The first signal is for those to see to
/// who end in an orderly way.
fn guard() -> anyhow::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGQUIT]).context("cannot handle signals")?;
    let watch = move || {
        let mut told = false;
        for signal in signals.forever() {
            if told || signal == SIGQUIT {
                leave();
                signal_hook::low_level::exit(INTERRUPTED);
            }
            told = true;
        }
    };
    thread::Builder::new().name("screen".to_owned()).spawn(watch).context("cannot start a thread")?;
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        leave();
        before(info);
    }));
    Ok(())
}

/// Lays lines out from the top left corner: each to its end cleared, then what is below.
fn lay_out(lines: &[String], rows: usize, columns: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\x1b[H");
    let lines = lines.get(..rows.min(lines.len())).unwrap_or_default();
    for (place, line) in lines.iter().enumerate() {
        let line: String = line.chars().take(columns).collect();
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(if place + 1 < lines.len() { b"\x1b[K\r\n" } else { b"\x1b[K" });
    }
    out.extend_from_slice(b"\x1b[J");
}

/// Rows and columns of the terminal; 24 and 80 where it does not say.
fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(io::stdout().as_fd()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row.into(), size.ws_col.into()),
        _ => (24, 80),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_within_the_terminal() {
        let lines: Vec<String> = (0..9).map(|number| format!("line {number} {}", "é".repeat(100))).collect();
        let mut out = Vec::new();
        lay_out(&lines, 4, 10, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "\x1b[Hline 0 ééé\x1b[K\r\nline 1 ééé\x1b[K\r\nline 2 ééé\x1b[K\r\nline 3 ééé\x1b[K\x1b[J");
    }
}
