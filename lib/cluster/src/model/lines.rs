//! The lines of an object's fields.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// With how many fields a mapping is looked through by name, and not one by one.
const MANY_FIELDS: usize = 16;

/// The line at which each field of an object stands, found by its path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    line: usize,
    fields: Vec<(String, Lines)>,
    items: Vec<Lines>,
    /// Where a field is, if there are many; of two with one name the first.
    #[allow(clippy::box_collection, reason = "most have few fields, and are to be small")]
    places: Option<Box<HashMap<String, usize>>>,
}

impl Lines {
    /// A value at `line`, from 1, that nothing is known to be inside of.
    #[must_use]
    pub const fn at(line: usize) -> Self {
        Self { line, fields: Vec::new(), items: Vec::new(), places: None }
    }

    /// Adds a field of a mapping; its line is that of its key.
    pub fn push_field(&mut self, name: impl Into<String>, lines: Self) {
        let name = name.into();
        if let Some(places) = &mut self.places {
            places.entry(name.clone()).or_insert(self.fields.len());
        }
        self.fields.push((name, lines));
        if self.places.is_none() && self.fields.len() > MANY_FIELDS {
            let mut places = HashMap::new();
            for (at, (name, _)) in self.fields.iter().enumerate() {
                places.entry(name.clone()).or_insert(at);
            }
            self.places = Some(Box::new(places));
        }
    }

    fn field(&self, name: &str) -> Option<&Self> {
        match &self.places {
            Some(places) => self.fields.get(*places.get(name)?),
            None => self.fields.iter().find(|(has, _)| has == name),
        }
        .map(|(_, lines)| lines)
    }

    /// Adds an item of a sequence.
    pub fn push_item(&mut self, lines: Self) {
        self.items.push(lines);
    }

    /// The line of `spec.ingress[0].from[1]`, or of the nearest value around it that was given. A name with a dot in it
    /// is written in brackets: `metadata.labels[app.kubernetes.io/name]`. `None` where no line is known at all.
    #[must_use]
    pub fn line(&self, path: &str) -> Option<usize> {
        let (_, line) = self.walk(path);
        (line > 0).then_some(line)
    }

    /// Whether the field was given.
    #[must_use]
    pub fn contains(&self, path: &str) -> bool {
        self.walk(path).0.is_some()
    }

    /// Names of the fields that were given inside the mapping at `path`.
    pub fn fields(&self, path: &str) -> impl Iterator<Item = &str> {
        let found = self.walk(path).0;
        found.into_iter().flat_map(|lines| lines.fields.iter().map(|(name, _)| name.as_str()))
    }

    /// Fields of a mapping, in their order.
    pub(crate) fn each_field(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.fields.iter().map(|(name, lines)| (name.as_str(), lines))
    }

    /// Items of a sequence, in their order.
    pub(crate) fn each_item(&self) -> impl Iterator<Item = &Self> {
        self.items.iter()
    }

    /// The value at `path`, if it was given, and the last line known on the way there.
    fn walk(&self, path: &str) -> (Option<&Self>, usize) {
        let mut here = self;
        let mut line = self.line;
        for step in steps(path) {
            let Some(next) = here.field(step).or_else(|| here.items.get(step.parse::<usize>().ok()?)) else {
                return (None, line);
            };
            here = next;
            line = if here.line > 0 { here.line } else { line };
        }
        (Some(here), line)
    }
}

/// How deep lines are read: deeper than any object that is read.
const MAX_DEPTH: usize = 256;

/// One flat sequence, however deep it is: the line, how many fields and how many items there are; each field's name and
/// what it is, as itself; each item.
impl Serialize for Lines {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        fn write<Q: SerializeSeq>(lines: &Lines, to: &mut Q) -> Result<(), Q::Error> {
            for number in [lines.line, lines.fields.len(), lines.items.len()] {
                to.serialize_element(&number)?;
            }
            for (name, field) in &lines.fields {
                to.serialize_element(name)?;
                write(field, to)?;
            }
            lines.items.iter().try_for_each(|item| write(item, to))
        }
        let mut sequence = to.serialize_seq(None)?;
        write(self, &mut sequence)?;
        sequence.end()
    }
}

impl<'de> Deserialize<'de> for Lines {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = Lines;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("the lines of an object")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Lines, A::Error> {
                let lines = read(&mut from, 0)?;
                match from.next_element::<serde::de::IgnoredAny>()? {
                    None => Ok(lines),
                    Some(_) => Err(A::Error::custom("more lines than fields and items")),
                }
            }
        }

        /// Nothing is made room for that is not there.
        fn read<'de, A: SeqAccess<'de>>(from: &mut A, depth: usize) -> Result<Lines, A::Error> {
            if depth > MAX_DEPTH {
                return Err(A::Error::custom(format!("lines nested more than {MAX_DEPTH} deep")));
            }
            let mut lines = Lines::at(next(from)?);
            let (fields, items): (usize, usize) = (next(from)?, next(from)?);
            for _ in 0..fields {
                let name: String = next(from)?;
                lines.push_field(name, read(from, depth + 1)?);
            }
            for _ in 0..items {
                lines.push_item(read(from, depth + 1)?);
            }
            Ok(lines)
        }

        fn next<'de, A: SeqAccess<'de>, T: Deserialize<'de>>(from: &mut A) -> Result<T, A::Error> {
            from.next_element()?.ok_or_else(|| A::Error::custom("fewer lines than fields and items"))
        }

        from.deserialize_seq(Read)
    }
}

/// `a.b[0][x.y]` as `a`, `b`, `0`, `x.y`.
fn steps(path: &str) -> impl Iterator<Item = &str> {
    let mut rest = path;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches('.');
        if rest.is_empty() {
            return None;
        }
        let (step, after) = match rest.strip_prefix('[') {
            Some(inside) => inside.split_once(']').unwrap_or((inside, "")),
            None => rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len())),
        };
        rest = after;
        Some(step)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Lines {
        let mut from = Lines::at(9);
        from.push_item(Lines::at(10));
        from.push_item(Lines::at(14));
        let mut rule = Lines::at(9);
        rule.push_field("from", from);
        let mut ingress = Lines::at(8);
        ingress.push_item(rule);
        let mut labels = Lines::at(4);
        labels.push_field("app.kubernetes.io/name", Lines::at(5));
        let mut policy = Lines::at(1);
        policy.push_field("labels", labels);
        policy.push_field("ingress", ingress);
        policy
    }

    #[test]
    fn a_field_is_found_by_its_path() {
        assert_eq!(policy().line("ingress"), Some(8));
        assert_eq!(policy().line("ingress[0].from[1]"), Some(14));
        assert_eq!(policy().line("labels[app.kubernetes.io/name]"), Some(5));
        assert_eq!(policy().line(""), Some(1));
    }

    #[test]
    fn a_field_that_was_not_given_has_the_line_of_what_is_around_it() {
        assert_eq!(policy().line("ingress[0].from[2].ipBlock"), Some(9));
        assert_eq!(policy().line("ingress[0].ports"), Some(9));
        assert_eq!(policy().line("egress[0].to"), Some(1));
        assert!(!policy().contains("egress") && policy().contains("ingress[0].from"));
        assert_eq!(Lines::default().line("spec"), None);
    }

    #[test]
    fn of_many_fields_the_first_of_a_name_is_found() {
        let mut many = Lines::at(1);
        for line in 2..1000 {
            many.push_field(format!("f{}", line % 500), Lines::at(line));
        }
        for line in 2..500 {
            assert_eq!(many.line(&format!("f{line}")), Some(line));
        }
        assert_eq!((many.line("f0"), many.contains("f500")), (Some(500), false));
        assert_eq!(many.fields("").count(), 998);
    }

    #[test]
    fn fields_of_a_mapping_are_told() {
        assert_eq!(policy().fields("").collect::<Vec<_>>(), ["labels", "ingress"]);
        assert_eq!(policy().fields("ingress[0]").collect::<Vec<_>>(), ["from"]);
        assert_eq!(policy().fields("egress").count(), 0);
    }

    #[test]
    fn a_path_that_is_none_is_no_harm() {
        for path in ["[", "]", "..", "ingress[", "ingress[x]", "ingress[99999999999999999999]", "ingress]0["] {
            assert!(policy().line(path).is_some(), "{path}");
        }
    }
}
