//! Findings about one policy, as many as can be read.

use std::collections::BTreeMap;

use chainkit_cluster::model::Located;

use super::{Finding, Severity};

/// Findings of one kind that are told of one object; beyond that they are counted.
const MOST_ALIKE: usize = 100;

/// The longest message, in bytes. Only names that nobody gives come near it.
const LONGEST: usize = 4096;

/// The longest name that is told in full, in bytes: that of a label with its prefix (317) is shorter.
const LONGEST_NAME: usize = 400;

/// Findings about one policy.
pub(super) struct Told<'a> {
    file: String,
    object: String,
    line_of: Box<dyn Fn(&str) -> usize + 'a>,
    findings: Vec<Finding>,
    /// How many there are of a kind, with the place of the last one told.
    alike: BTreeMap<(&'static str, Severity), (usize, usize)>,
}

impl<'a> Told<'a> {
    pub(super) fn about<T>(policy: &'a Located<T>, object: String) -> Self {
        Self::new(policy.origin.file.to_string(), object, Box::new(move |path| policy.line(path)))
    }

    /// About an object whose lines are given with the findings.
    pub(super) fn at_lines(file: String, object: String) -> Self {
        Self::new(file, object, Box::new(|_| 0))
    }

    fn new(file: String, object: String, line_of: Box<dyn Fn(&str) -> usize + 'a>) -> Self {
        Self { file, object, line_of, findings: Vec::new(), alike: BTreeMap::new() }
    }

    /// A finding at the field of a path.
    pub(super) fn push(
        &mut self,
        id: &'static str,
        severity: Severity,
        path: &str,
        message: String,
        remedy: impl Into<String>,
    ) {
        // A line is looked for among all fields.
        let is_told = self.alike.get(&(id, severity)).is_none_or(|(count, _)| *count < MOST_ALIKE);
        let line = if is_told { (self.line_of)(path) } else { 0 };
        self.push_at(id, severity, line, message, remedy);
    }

    /// A finding at a line.
    pub(super) fn push_at(
        &mut self,
        id: &'static str,
        severity: Severity,
        line: usize,
        message: String,
        remedy: impl Into<String>,
    ) {
        let (count, last) = self.alike.entry((id, severity)).or_default();
        *count += 1;
        if *count > MOST_ALIKE {
            return;
        }
        *last = self.findings.len();
        self.findings.push(Finding {
            id,
            severity,
            file: self.file.clone(),
            line,
            object: self.object.clone(),
            message: shortened(message, LONGEST),
            remedy: shortened(remedy.into(), LONGEST),
        });
    }

    /// All of them, with how many more there are.
    pub(super) fn all(self) -> Vec<Finding> {
        let mut findings = self.findings;
        for (count, last) in self.alike.into_values() {
            let more = count.saturating_sub(MOST_ALIKE);
            if let Some(last) = findings.get(last).filter(|_| more > 0).cloned() {
                let message = format!("{more} more findings like the {MOST_ALIKE} that are told of this object");
                findings.push(Finding { message, ..last });
            }
        }
        findings
    }
}

/// A name as it is told.
pub(super) fn name(text: &str) -> String {
    shortened(text.to_owned(), LONGEST_NAME)
}

/// A text of at most so many bytes, with how long it was.
fn shortened(mut text: String, longest: usize) -> String {
    let bytes = text.len();
    if bytes > longest {
        let end = (0..=longest - 30).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or_default());
        text.push_str(&format!("... ({bytes} bytes)"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_beyond_what_can_be_read_are_counted() {
        let mut told = Told::at_lines("x.yaml".to_owned(), "NetworkPolicy/shop/p".to_owned());
        for line in 1..=MOST_ALIKE + 7 {
            told.push_at("host-bits", Severity::Info, line, "a".to_owned(), "b");
        }
        told.push_at("host-bits", Severity::Warning, 1, "c".to_owned(), "d");
        let findings = told.all();
        assert_eq!(findings.len(), MOST_ALIKE + 2);
        let last = findings.last().unwrap();
        assert_eq!((last.id, last.severity, last.line), ("host-bits", Severity::Info, MOST_ALIKE));
        assert!(last.message.starts_with("7 more"), "{}", last.message);
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(name("http"), "http");
        let long = name(&"\u{e9}".repeat(1000));
        assert!(long.len() <= LONGEST_NAME && long.ends_with("é... (2000 bytes)"), "{long}");
    }
}
