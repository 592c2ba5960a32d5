//! JSON as `kubectl get -o json` prints it. Values are cut out of the text and parsed only where they are used, and a
//! line is found from where a value stands in the text.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::tree::{Field, MAX_DEPTH, MAX_VALUES, Tree, Value};
use super::yaml::Fault;

/// A text with the lines of its bytes.
pub(super) struct Text<'a> {
    text: &'a str,
    /// Where each line ends.
    ends: Vec<usize>,
    first_line: usize,
}

/// The fields of an object, in their order, unparsed.
pub(super) struct Fields<'a>(pub(super) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Text<'a> {
    /// `first_line` is the line of the file at which `text` begins.
    pub(super) fn new(text: &'a str, first_line: usize) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
        Self { text, ends, first_line }
    }

    /// The values of the text, one after the other.
    ///
    /// # Errors
    /// Where the text is no JSON: the values before, what is wrong, and the byte behind which it is.
    pub(super) fn values(&self) -> (Vec<&'a RawValue>, Option<(Fault, usize)>) {
        let mut values = Vec::new();
        for value in serde_json::Deserializer::from_str(self.text).into_iter::<&RawValue>() {
            match value {
                Ok(value) => values.push(value),
                Err(error) => {
                    let line = self.first_line.saturating_add(error.line()).saturating_sub(1);
                    let reason = format!("no JSON: {}", super::without_place(&error));
                    let begin = values.last().map_or(0, |value: &&RawValue| self.end(value));
                    return (values, Some((Fault { line, field: String::new(), reason }, begin)));
                }
            }
        }
        (values, None)
    }

    /// The byte behind a value that was cut out of this text.
    fn end(&self, value: &RawValue) -> usize {
        (value.get().as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize) + value.get().len()
    }

    /// The line of a value that was cut out of this text.
    pub(super) fn line(&self, value: &RawValue) -> usize {
        self.line_at(value.get().as_ptr() as usize)
    }

    fn line_at(&self, address: usize) -> usize {
        let at = address.saturating_sub(self.text.as_ptr() as usize);
        self.first_line.saturating_add(self.ends.partition_point(|end| *end < at))
    }

    /// Refuses a value that is made of more values than an object may have.
    ///
    /// # Errors
    /// When it is.
    pub(super) fn check_size(&self, value: &RawValue) -> Result<(), Fault> {
        let text = value.get();
        // What has fewer bytes has fewer values.
        if text.len() <= MAX_VALUES || values_in(text) <= MAX_VALUES {
            return Ok(());
        }
        let reason = format!("an object of more than {MAX_VALUES} values");
        Err(Fault { line: self.line(value), field: String::new(), reason })
    }

    /// The whole value with the line of each part.
    ///
    /// # Errors
    /// When it is nested too deep, or a mapping has a field twice.
    pub(super) fn tree(&self, value: &'a RawValue) -> Result<Tree, Fault> {
        self.tree_at(value, 0)
    }

    fn tree_at(&self, value: &'a RawValue, depth: usize) -> Result<Tree, Fault> {
        let line = self.line(value);
        let fault = |line, reason: String| Fault { line, field: String::new(), reason };
        if depth > MAX_DEPTH {
            return Err(fault(line, format!("nested more than {MAX_DEPTH} deep")));
        }
        let text = value.get();
        let broken = |error: serde_json::Error| fault(line, super::without_place(&error));
        let value = match text.as_bytes().first() {
            Some(b'{') => {
                let mut fields = Vec::new();
                let mut seen = HashSet::new();
                for (name, value) in serde_json::from_str::<Fields<'_>>(text).map_err(broken)?.0 {
                    if !seen.insert(name.clone()) {
                        let field = name.chars().take(64).collect();
                        return Err(Fault { line: self.line(value), field, reason: "given twice".to_owned() });
                    }
                    let tree = self.tree_at(value, depth + 1)?;
                    fields.push(Field { name: name.into_owned(), line: tree.line, value: tree });
                }
                Value::Mapping(fields)
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(text).map_err(broken)?;
                Value::Sequence(items.into_iter().map(|item| self.tree_at(item, depth + 1)).collect::<Result<_, _>>()?)
            }
            _ => match serde_json::from_str(text).map_err(broken)? {
                serde_json::Value::Bool(value) => Value::Bool(value),
                serde_json::Value::Number(value) => Value::Number(value),
                serde_json::Value::String(value) => Value::Text(value),
                _ => Value::Null,
            },
        };
        Ok(Tree { line, value })
    }
}

/// How many values a JSON text is made of, each with its name one: all that a comma or a bracket comes before.
fn values_in(text: &str) -> usize {
    let (mut values, mut in_text, mut escaped) = (0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_text = !in_text,
            b',' | b'[' | b'{' if !in_text => values += 1,
            _ => {}
        }
    }
    values
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;

        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a Kubernetes object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(name) = map.next_key::<Name<'de>>()? {
                    fields.push((name.0, map.next_value()?));
                }
                Ok(Fields(fields))
            }
        }

        json.deserialize_map(FieldsVisitor)
    }
}

/// A key, borrowed where it holds no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }

        json.deserialize_str(NameVisitor)
    }
}
