//! Reading saved lines.

use std::fmt;
use std::io::{self, Read};

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::fast;
use crate::model::Record;

/// The longest line that is taken, in bytes: more than any flow, and a bound to what a file of one line costs.
pub const MAX_LINE: usize = 1 << 20;

/// Why a line is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLine {
    /// It is too long.
    #[error("longer than {MAX_LINE} bytes")]
    TooLong,
    /// It is no JSON, or a field is of the wrong type.
    #[error("{0}")]
    Json(String),
    /// It is a flow without its envelope, as `hubble observe -o json` once wrote them.
    #[error("a flow without the envelope {{\"flow\": ...}}: save it with -o jsonpb or -o jsonl")]
    NoEnvelope,
    /// It is something else.
    #[error("neither a flow nor lost_events nor node_status")]
    Foreign,
}

/// The most room that is kept, in bytes, once a line that needed more is out.
const MAX_SPARE: usize = 1 << 20;

/// Cuts input into lines.
///
/// Bytes go in as they come; a line comes out as soon as it is whole, and what was not whole waits for the rest of it.
#[derive(Default)]
pub struct LineBuffer {
    /// What came in, and behind it room for more, which is kept so that it need not be made anew.
    bytes: Vec<u8>,
    /// Where in `bytes` the room begins.
    end: usize,
    /// Where the next line begins in `bytes`.
    start: usize,
    /// Up to where no line feed was found.
    searched: usize,
    /// Inside a line that is too long, whose bytes are thrown away.
    skipping: bool,
    number: u64,
}

impl fmt::Debug for LineBuffer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("LineBuffer")
            .field("number", &self.number)
            .field("waiting", &self.end.saturating_sub(self.start))
            .finish()
    }
}

/// A line of the input: its number, from 1, and its bytes, unless there are too many.
pub(crate) type Line<'a> = (u64, Result<&'a [u8], BadLine>);

impl LineBuffer {
    /// Takes more of the input.
    pub fn push(&mut self, bytes: &[u8]) {
        if let Some(room) = self.room(bytes.len()).get_mut(..bytes.len()) {
            room.copy_from_slice(bytes);
            self.end += bytes.len();
        }
    }

    /// Reads once from the input, `most` bytes at the most; answers how many came, 0 at its end.
    ///
    /// # Errors
    /// Those of the input, with nothing taken.
    pub fn read_from(&mut self, input: &mut impl Read, most: usize) -> io::Result<usize> {
        let read = input.read(self.room(most))?.min(most);
        self.end += read;
        Ok(read)
    }

    /// Lets go of the lines that came out; room for so many bytes behind what waits.
    fn room(&mut self, length: usize) -> &mut [u8] {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.searched -= self.start;
        self.start = 0;
        let needed = self.end + length;
        if self.bytes.len() < needed {
            self.bytes.resize(needed, 0);
        } else if self.bytes.len() > MAX_SPARE && needed <= MAX_SPARE {
            // After a line of unusual length.
            self.bytes.truncate(needed);
            self.bytes.shrink_to_fit();
        }
        self.bytes.get_mut(self.end..needed).unwrap_or_default()
    }

    /// The next whole line that is not blank.
    pub fn next_line(&mut self) -> Option<Line<'_>> {
        loop {
            let rest = self.bytes.get(self.searched..self.end)?;
            let Some(length) = memchr::memchr(b'\n', rest) else {
                self.searched = self.end;
                if self.searched - self.start > MAX_LINE {
                    self.skipping = true;
                    self.start = self.searched;
                }
                return None;
            };
            let (from, to) = (self.start, self.searched + length);
            self.start = to + 1;
            self.searched = self.start;
            self.number += 1;
            if std::mem::take(&mut self.skipping) || to - from > MAX_LINE {
                return Some((self.number, Err(BadLine::TooLong)));
            }
            if !self.bytes.get(from..to)?.trim_ascii().is_empty() {
                return Some((self.number, Ok(self.bytes.get(from..to)?.trim_ascii())));
            }
        }
    }

    /// The last line of an input that ended without a line feed.
    pub fn finish(&mut self) -> Option<Line<'_>> {
        let from = std::mem::replace(&mut self.start, self.end);
        self.searched = self.start;
        self.number += 1;
        if std::mem::take(&mut self.skipping) || self.start - from > MAX_LINE {
            return Some((self.number, Err(BadLine::TooLong)));
        }
        let line = self.bytes.get(from..self.end)?.trim_ascii();
        (!line.is_empty()).then_some((self.number, Ok(line)))
    }

    /// Forgets a line that was begun, since the input begins anew; numbers begin anew too.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

/// Parses a line; none for a kind of record that is not ours to show, such as an agent's own events.
///
/// # Errors
/// When the line is no JSON, no record, or a field of it is of the wrong type.
pub fn parse(line: &[u8]) -> Result<Option<Record>, BadLine> {
    let json = |error: serde_json::Error| {
        // The line is always 1: what helps is the column.
        BadLine::Json(error.to_string().replace(" at line 1 column ", " at column "))
    };
    if let Some(record) = std::str::from_utf8(line).ok().and_then(fast::record) {
        return Ok(Some(record));
    }
    let record: Record = serde_json::from_slice(line).map_err(json)?;
    if record.flow.is_some() || record.lost_events.is_some() || record.node_status.is_some() {
        return Ok(Some(record));
    }
    #[derive(Deserialize)]
    struct Other {
        agent_event: Option<IgnoredAny>,
        debug_event: Option<IgnoredAny>,
        verdict: Option<IgnoredAny>,
        #[serde(rename = "IP")]
        ip: Option<IgnoredAny>,
    }
    let other: Other = serde_json::from_slice(line).map_err(json)?;
    if other.agent_event.is_some() || other.debug_event.is_some() {
        Ok(None)
    } else if other.verdict.is_some() || other.ip.is_some() {
        Err(BadLine::NoEnvelope)
    } else {
        Err(BadLine::Foreign)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(input: &[u8], chunk: usize) -> Vec<(u64, Result<Vec<u8>, BadLine>)> {
        let mut buffer = LineBuffer::default();
        let mut lines = Vec::new();
        for bytes in input.chunks(chunk.max(1)) {
            buffer.push(bytes);
            while let Some((number, line)) = buffer.next_line() {
                lines.push((number, line.map(<[u8]>::to_vec)));
            }
        }
        lines.extend(buffer.finish().map(|(number, line)| (number, line.map(<[u8]>::to_vec))));
        lines
    }

    #[test]
    fn blank_lines_count_and_are_passed_over() {
        let expected = vec![(1, Ok(b"a".to_vec())), (4, Ok(b"b".to_vec())), (5, Ok(b"c".to_vec()))];
        assert_eq!(lines(b"a\r\n\n  \nb\nc", 3), expected);
        assert_eq!(lines(b"", 3), []);
    }

    #[test]
    fn a_line_too_long_is_one_bad_line_and_costs_no_more_than_the_limit() {
        let mut input = vec![b'x'; 3 * MAX_LINE];
        input.extend_from_slice(b"\nnext\n");
        let mut buffer = LineBuffer::default();
        let mut found = Vec::new();
        for bytes in input.chunks(1 << 16) {
            buffer.push(bytes);
            assert!(buffer.bytes.len() <= MAX_LINE + (2 << 16));
            while let Some((number, line)) = buffer.next_line() {
                found.push((number, line.map(<[u8]>::to_vec)));
            }
        }
        assert_eq!(found, [(1, Err(BadLine::TooLong)), (2, Ok(b"next".to_vec()))]);
        buffer.push(b"more\n");
        buffer.push(b"");
        assert!(buffer.bytes.len() <= MAX_SPARE, "{} bytes are kept for a line that is out", buffer.bytes.len());
        input.truncate(2 * MAX_LINE);
        assert_eq!(lines(&input, 1 << 16), [(1, Err(BadLine::TooLong))], "without a line feed at its end");
    }

    #[test]
    fn a_line_says_what_is_wrong_with_it() {
        let message = |line: &str| parse(line.as_bytes()).unwrap_err().to_string();
        assert_eq!(parse(br#"{"verdict":"DROPPED","IP":{}}"#), Err(BadLine::NoEnvelope));
        assert_eq!(parse(b"{}"), Err(BadLine::Foreign));
        assert_eq!(parse(br#"{"agent_event":{}}"#), Ok(None));
        assert!(message(r#"{"flow":"#).starts_with("EOF while parsing"), "{}", message(r#"{"flow":"#));
        let wrong = message(r#"{"flow":{"l4":{"TCP":{"source_port":true}}}}"#);
        assert!(wrong.starts_with("invalid type: boolean `true`, expected an integer") && wrong.contains("at column"));
        assert!(
            message("7").starts_with("invalid type: integer `7`, expected an object with flow"),
            "{}",
            message("7")
        );
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_the_input_was_cut(
            input in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b' '), Just(b'a')], 0..60),
            chunk in 1usize..20,
        ) {
            prop_assert_eq!(lines(&input, chunk), lines(&input, 1000));
        }

        #[test]
        fn what_is_read_is_what_would_be_pushed(
            input in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b' '), Just(b'a')], 0..60),
            most in 1usize..20,
        ) {
            let (mut buffer, mut found, mut rest) = (LineBuffer::default(), Vec::new(), input.as_slice());
            while buffer.read_from(&mut rest, most).unwrap() > 0 {
                while let Some((number, line)) = buffer.next_line() {
                    found.push((number, line.map(<[u8]>::to_vec)));
                }
            }
            found.extend(buffer.finish().map(|(number, line)| (number, line.map(<[u8]>::to_vec))));
            prop_assert_eq!(found, lines(&input, 1000));
        }

        #[test]
        fn no_line_makes_it_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&line);
        }

        #[test]
        fn no_mangled_flow_makes_it_panic(at in 0usize..400, byte in any::<u8>()) {
            let mut line = br#"{"flow":{"time":"2026-11-23T00:15:57Z","verdict":"DROPPED","IP":{"source":"10.0.0.1"},"l4":{"TCP":{"source_port":1,"flags":{"SYN":true}}},"source":{"labels":["a"],"workloads":[{"name":"x"}]},"l7":{"type":"REQUEST","dns":{}},"extensions":{"@type":"x","value":{}}}}"#.to_vec();
            let at = at % line.len();
            line[at] = byte;
            let _ = parse(&line);
        }
    }
}
