//! A parsed value with the line each part of it begins at, whatever the text it was written in.

use serde_json::{Map, Number};

use crate::model::Lines;

/// How deep values may be nested. The deepest field of any Kubernetes type lies at some 20.
pub(super) const MAX_DEPTH: usize = 100;
/// How many values an object may have. A server stores no object above 1.5 MiB.
pub(super) const MAX_VALUES: usize = 2_000_000;

/// A value and its line, from 1.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    Sequence(Vec<Tree>),
    Mapping(Vec<Field>),
}

/// A field of a mapping; the line is that of its key.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) value: Tree,
}

impl Tree {
    /// The value of a field, where this is a mapping that has it.
    pub(super) fn field(&self, name: &str) -> Option<&Self> {
        let Value::Mapping(fields) = &self.value else {
            return None;
        };
        fields.iter().find(|field| field.name == name).map(|field| &field.value)
    }

    /// The same, without the rest.
    pub(super) fn into_field(self, name: &str) -> Option<Self> {
        let Value::Mapping(fields) = self.value else {
            return None;
        };
        fields.into_iter().find(|field| field.name == name).map(|field| field.value)
    }

    /// The text, where it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// How many values it holds, itself and the names of fields among them.
    pub(super) fn values(&self) -> usize {
        match &self.value {
            Value::Sequence(items) => items.iter().map(Self::values).fold(1, usize::saturating_add),
            Value::Mapping(fields) => {
                fields.iter().map(|field| field.value.values() + 1).fold(1, usize::saturating_add)
            }
            _ => 1,
        }
    }

    /// What it is, for messages.
    pub(super) const fn noun(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::Text(_) => "a text",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
        }
    }

    /// The value without its lines.
    pub(super) fn into_json(self) -> serde_json::Value {
        match self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => serde_json::Value::Bool(value),
            Value::Number(value) => serde_json::Value::Number(value),
            Value::Text(value) => serde_json::Value::String(value),
            Value::Sequence(items) => serde_json::Value::Array(items.into_iter().map(Self::into_json).collect()),
            Value::Mapping(fields) => {
                let fields = fields.into_iter().map(|field| (field.name, field.value.into_json()));
                serde_json::Value::Object(fields.collect::<Map<_, _>>())
            }
        }
    }

    /// The lines without the values.
    pub(super) fn lines(&self) -> Lines {
        self.lines_at(self.line)
    }

    fn lines_at(&self, line: usize) -> Lines {
        let mut lines = Lines::at(line);
        match &self.value {
            Value::Sequence(items) => items.iter().for_each(|item| lines.push_item(item.lines())),
            Value::Mapping(fields) => {
                for field in fields {
                    lines.push_field(field.name.clone(), field.value.lines_at(field.line));
                }
            }
            _ => {}
        }
        lines
    }
}
