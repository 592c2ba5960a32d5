//! YAML as `kubectl` reads it: the items of a list are handed on one by one, so that memory goes with the longest object and
//! not with the document; aliases, nesting and size are bounded.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};
use serde_json::Number;

use super::bounded::{Bounded, MAX_STEPS};
use super::tree::{Field, MAX_DEPTH, MAX_VALUES, Tree, Value};

/// How many values, and how many bytes of text, all aliases of a document may stand for.
const MAX_ALIASED_VALUES: usize = 100_000;
const MAX_ALIASED_BYTES: usize = 10 << 20;

/// What a document is made of.
#[derive(Debug)]
pub(super) enum Part {
    /// An object, or what stands in the place of one.
    Object(Tree),
    /// An item of the list that the document is.
    Item {
        /// Its number in the list, from 0.
        index: usize,
        /// The item.
        tree: Tree,
    },
    /// The list around the items that came before, without them.
    List(Tree),
    /// An object that is no use, and others may follow.
    Broken(Fault),
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) field: String,
    pub(super) reason: String,
}

/// Reads one YAML document and hands its parts to `part`; `first_line` is the line of the file `text` begins at.
///
/// # Errors
/// When the rest of the document cannot be read; parts handed on before are sound.
pub(super) fn read(text: &str, first_line: usize, part: &mut dyn FnMut(Part)) -> Result<(), Fault> {
    let offset = first_line.saturating_sub(1);
    let steps = Cell::new(0);
    let mut parser = Parser::new(Bounded::new(text, &steps));
    let mut builder = Builder { offset, ..Builder::default() };
    // What ends too soon is at fault in its last line, not in one that is not there.
    let within = |fault: Fault| {
        let last = text.lines().count().max(1).saturating_add(offset);
        Fault { line: fault.line.min(last), ..fault }
    };
    while let Some(event) = next(&mut parser, offset, &steps).map_err(within)? {
        builder.event(event.0, event.1, part)?;
    }
    Ok(())
}

/// The next event and its line.
fn next<'a>(
    parser: &mut Parser<'a, Bounded<'a>>,
    offset: usize,
    steps: &Cell<usize>,
) -> Result<Option<(Event<'a>, usize)>, Fault> {
    steps.set(0);
    let event = parser.next_event();
    let fault = |line: usize, reason| Err(Fault { line: line.saturating_add(offset), field: String::new(), reason });
    match event {
        None => Ok(None),
        Some(outcome) if steps.get() > MAX_STEPS => {
            let line = outcome.map_or_else(|error| error.marker().line(), |(_, span)| span.start.line());
            let reason = format!(
                "a text, or a collection in brackets, of more than {} MiB: write it as JSON or in lines of its own",
                MAX_STEPS >> 20
            );
            fault(line, reason)
        }
        Some(Ok((event, span))) => Ok(Some((event, span.start.line().saturating_add(offset)))),
        Some(Err(error)) => fault(error.marker().line(), format!("no YAML: {}", error.info())),
    }
}

/// Puts events together.
#[derive(Default)]
struct Builder {
    /// Lines of the file before the text.
    offset: usize,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Tree>,
    aliased_values: usize,
    aliased_bytes: usize,
    /// Values of the object that is being read.
    values: usize,
    /// What is wrong with the object that is being read.
    broken: Option<Fault>,
    /// Items of the list so far.
    items: usize,
}

/// A list or mapping that has not ended.
struct Frame {
    line: usize,
    anchor: usize,
    inside: Inside,
}

enum Inside {
    Sequence(Vec<Tree>),
    Mapping { fields: Vec<Field>, merged: Vec<Tree>, key: Option<Key> },
}

struct Key {
    name: String,
    line: usize,
    merge: bool,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, line: usize, part: &mut dyn FnMut(Part)) -> Result<(), Fault> {
        match event {
            Event::DocumentStart(_) => {
                *self = Self { offset: self.offset, ..Self::default() };
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                if self.wants_key() {
                    let merge = text == "<<" && style == ScalarStyle::Plain;
                    return self.key(Key { name: text.into_owned(), line, merge });
                }
                let tree = Tree { line, value: scalar(&text, style, tag.as_deref()) };
                self.value(tree, anchor, part)
            }
            Event::SequenceStart(anchor, _) => self.open(Frame { line, anchor, inside: Inside::Sequence(Vec::new()) }),
            Event::MappingStart(anchor, _) => {
                let inside = Inside::Mapping { fields: Vec::new(), merged: Vec::new(), key: None };
                self.open(Frame { line, anchor, inside })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(part),
            Event::Alias(anchor) => {
                if self.wants_key() {
                    return self.fatal(line, "an alias cannot be a key");
                }
                let Some(tree) = self.anchors.get(&anchor) else {
                    return self.fatal(line, "an alias within what it stands for");
                };
                let (values, bytes) = size(tree);
                self.aliased_values = self.aliased_values.saturating_add(values);
                self.aliased_bytes = self.aliased_bytes.saturating_add(bytes);
                if self.aliased_values > MAX_ALIASED_VALUES || self.aliased_bytes > MAX_ALIASED_BYTES {
                    return self.fatal(
                        line,
                        &format!(
                            "the document's aliases stand for more than {MAX_ALIASED_VALUES} values or {} MiB: write \
                             them out",
                            MAX_ALIASED_BYTES >> 20
                        ),
                    );
                }
                let tree = tree.clone();
                self.values = self.values.saturating_add(values);
                self.value(tree, 0, part)
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn wants_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame { inside: Inside::Mapping { key: None, .. }, .. }))
    }

    fn key(&mut self, named: Key) -> Result<(), Fault> {
        self.count(named.line)?;
        if let Some(Frame { inside: Inside::Mapping { key, .. }, .. }) = self.stack.last_mut() {
            *key = Some(named);
        }
        Ok(())
    }

    fn open(&mut self, frame: Frame) -> Result<(), Fault> {
        if self.wants_key() {
            return self.fatal(frame.line, "a list or mapping cannot be a key");
        }
        if self.stack.len() >= MAX_DEPTH {
            return self.fatal(frame.line, &format!("nested more than {MAX_DEPTH} deep"));
        }
        self.count(frame.line)?;
        self.stack.push(frame);
        Ok(())
    }

    fn close(&mut self, part: &mut dyn FnMut(Part)) -> Result<(), Fault> {
        let Some(frame) = self.stack.pop() else {
            return Ok(());
        };
        let value = match frame.inside {
            Inside::Sequence(items) => Value::Sequence(items),
            Inside::Mapping { fields, merged, .. } => {
                let mut fields = fields;
                if let Some(twice) = duplicate(&fields) {
                    let field = join(&self.path(), &twice.name);
                    self.broken.get_or_insert(Fault { line: twice.line, field, reason: "given twice".to_owned() });
                }
                merge(&mut fields, merged);
                Value::Mapping(fields)
            }
        };
        self.value(Tree { line: frame.line, value }, frame.anchor, part)
    }

    /// Puts a whole value where it belongs.
    fn value(&mut self, tree: Tree, anchor: usize, part: &mut dyn FnMut(Part)) -> Result<(), Fault> {
        if !matches!(tree.value, Value::Sequence(_) | Value::Mapping(_)) {
            self.count(tree.line)?;
        }
        if anchor > 0 {
            let (values, bytes) = size(&tree);
            self.aliased_values = self.aliased_values.saturating_add(values);
            self.aliased_bytes = self.aliased_bytes.saturating_add(bytes);
            // What is only named costs as much as what is used: a copy.
            if self.aliased_values <= MAX_ALIASED_VALUES && self.aliased_bytes <= MAX_ALIASED_BYTES {
                self.anchors.insert(anchor, tree.clone());
            } else {
                return self.fatal(tree.line, "the document's anchors name too much: write it out");
            }
        }
        if self.is_item() {
            let whole = Part::Item { index: self.items, tree };
            self.items += 1;
            self.hand_on(whole, part);
            return Ok(());
        }
        match self.stack.last_mut().map(|frame| &mut frame.inside) {
            None => {
                let whole = if self.items > 0 { Part::List(tree) } else { Part::Object(tree) };
                self.hand_on(whole, part);
            }
            Some(Inside::Sequence(items)) => items.push(tree),
            Some(Inside::Mapping { fields, merged, key }) => match key.take() {
                Some(key) if key.merge => merged.push(tree),
                Some(key) => fields.push(Field { name: key.name, line: key.line, value: tree }),
                None => {}
            },
        }
        Ok(())
    }

    /// Whether a value is an item of the list that the document is: `{items: [HERE]}`.
    fn is_item(&self) -> bool {
        let [root, list] = self.stack.as_slice() else {
            return false;
        };
        let in_items = matches!(&root.inside, Inside::Mapping { key: Some(key), .. } if key.name == "items");
        in_items && list.anchor == 0 && root.anchor == 0 && matches!(list.inside, Inside::Sequence(_))
    }

    fn hand_on(&mut self, whole: Part, part: &mut dyn FnMut(Part)) {
        self.values = 0;
        part(match self.broken.take() {
            Some(fault) => Part::Broken(fault),
            None => whole,
        });
    }

    fn count(&mut self, line: usize) -> Result<(), Fault> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return self.fatal(line, &format!("an object of more than {MAX_VALUES} values"));
        }
        Ok(())
    }

    fn fatal(&self, line: usize, reason: &str) -> Result<(), Fault> {
        Err(Fault { line, field: self.path(), reason: reason.to_owned() })
    }

    /// The path of the value that is being read.
    fn path(&self) -> String {
        let mut path = String::new();
        let steps = self.stack.iter().take(20);
        for frame in steps {
            match &frame.inside {
                Inside::Sequence(items) => {
                    path.push_str(&format!("[{}]", if path == "items" { self.items } else { items.len() }));
                }
                Inside::Mapping { key: Some(key), .. } => path = join(&path, &key.name),
                Inside::Mapping { key: None, .. } => {}
            }
        }
        path
    }
}

fn join(path: &str, name: &str) -> String {
    let name: String = name.chars().take(64).collect();
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

/// How many values, and how many bytes of text, a tree holds.
fn size(tree: &Tree) -> (usize, usize) {
    match &tree.value {
        Value::Text(text) => (1, text.len()),
        Value::Sequence(items) => items.iter().map(size).fold((1, 0), add),
        Value::Mapping(fields) => {
            fields.iter().map(|field| add(size(&field.value), (1, field.name.len()))).fold((1, 0), add)
        }
        _ => (1, 0),
    }
}

fn add(a: (usize, usize), b: (usize, usize)) -> (usize, usize) {
    (a.0.saturating_add(b.0), a.1.saturating_add(b.1))
}

/// The first field that stands there a second time.
fn duplicate(fields: &[Field]) -> Option<&Field> {
    let mut seen = HashSet::with_capacity(fields.len());
    fields.iter().find(|field| !seen.insert(field.name.as_str()))
}

/// Merge keys (`<<`): what they bring does not replace what is there, and of several the first counts.
fn merge(fields: &mut Vec<Field>, merged: Vec<Tree>) {
    if merged.is_empty() {
        return;
    }
    let mut seen: HashSet<String> = fields.iter().map(|field| field.name.clone()).collect();
    let sources = merged.into_iter().flat_map(|tree| match tree.value {
        Value::Sequence(items) => items,
        _ => vec![tree],
    });
    for source in sources {
        if let Value::Mapping(more) = source.value {
            fields.extend(more.into_iter().filter(|field| seen.insert(field.name.clone())));
        }
    }
}

/// What a scalar means. As `kubectl` has it, which is YAML 1.1: `yes`, `no`, `on` and `off` are booleans, and `010` is 8.
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Value {
    let core = tag.filter(|tag| tag.is_yaml_core_schema()).map(|tag| tag.suffix.as_str());
    if style != ScalarStyle::Plain
        || matches!(core, Some("str" | "binary"))
        || tag.is_some_and(|tag| core.is_none() && tag.handle == "!")
    {
        return Value::Text(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Value::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Value::Bool(false),
        _ => number(text).map_or_else(|| Value::Text(text.to_owned()), Value::Number),
    }
}

fn number(text: &str) -> Option<Number> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) || text.len() > 64 {
        return None;
    }
    let plain = text.replace('_', "");
    let (negative, digits) = match plain.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let radix =
        |prefix: &str, radix| digits.strip_prefix(prefix).and_then(|digits| u64::from_str_radix(digits, radix).ok());
    let octal = || digits.strip_prefix('0').filter(|rest| !rest.is_empty());
    let whole = radix("0x", 16)
        .or_else(|| radix("0b", 2))
        .or_else(|| radix("0o", 8))
        .or_else(|| u64::from_str_radix(octal()?, 8).ok())
        .or_else(|| if octal().is_none() { digits.parse().ok() } else { None });
    if let Some(whole) = whole {
        return if negative {
            Some(Number::from(0_i64.checked_sub_unsigned(whole)?))
        } else {
            Some(Number::from(whole))
        };
    }
    let looks_like = digits.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'));
    let has_point = digits.contains(['.', 'e', 'E']) && digits.contains(|c: char| c.is_ascii_digit());
    if looks_like && has_point { plain.parse().ok().and_then(Number::from_f64) } else { None }
}
