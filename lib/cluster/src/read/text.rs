//! From the text of a file to the objects in it: documents, lists, YAML or JSON.

use super::WatchEvent;
use super::json::{Fields, Text};
use super::split;
use super::tree::{MAX_VALUES, Tree, Value};
use super::yaml::{self, Fault, Part};
use serde_json::value::RawValue;

/// An object of a text.
pub(super) struct Found<'a> {
    /// The document it stands in, from 1.
    pub(super) document: usize,
    /// The line it begins at.
    pub(super) line: usize,
    /// The kind that the list around it gives it, which its own goes before.
    pub(super) list: Option<ListKind>,
    /// Its number in the list, from 0.
    pub(super) index: Option<usize>,
    pub(super) body: Body<'a>,
}

/// What a watch event says of its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// It is so.
    Set(WatchEvent),
    /// It is gone.
    Remove,
    /// It is none: a mark of how far the watch has come.
    Bookmark,
    /// It is none: what ended the watch.
    Error,
}

/// Where in its file a text begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    /// The line, from 1.
    pub(super) line: usize,
    /// Documents before it.
    pub(super) documents: usize,
    /// Whether documents are looked for behind one that is torn.
    pub(super) mend: bool,
}

impl Default for Start {
    fn default() -> Self {
        Self { line: 1, documents: 0, mend: true }
    }
}

/// What a typed list (`PodList`) says of its items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListKind {
    pub(super) api_version: Option<String>,
    pub(super) kind: String,
}

/// An object that is not typed yet.
pub(super) enum Body<'a> {
    Tree(Tree),
    Json(&'a RawValue, &'a Text<'a>),
}

/// What comes out of a text.
pub(super) trait Sink {
    /// An object, which may be none of ours.
    fn object(&mut self, found: Found<'_>);
    /// What a watch event says of an object.
    fn event(&mut self, event: Event, found: Found<'_>);
    /// Something of a document that cannot be used.
    fn fault(&mut self, document: usize, fault: Fault);
}

/// Hands each object of a text to `sink`, and tells how many documents have come by its end. Whether it is YAML or JSON
/// is told from the text itself.
pub(super) fn read(text: &str, start: Start, sink: &mut dyn Sink) -> usize {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut document = start.documents;
    for chunk in chunks(text, start.line) {
        if chunk.text.lines().all(says_nothing) {
            // A separator with nothing behind it is a document all the same to who counts separators.
            document += usize::from(chunk.separated);
            continue;
        }
        if chunk.text.trim_start().starts_with(['{', '['])
            && let Some(documents) = read_json(&chunk, Start { documents: document, ..start }, sink)
        {
            document += documents;
            continue;
        }
        document += 1;
        read_yaml(&chunk, document, sink);
    }
    document
}

/// A piece between document separators.
struct Chunk<'a> {
    text: &'a str,
    first_line: usize,
    /// Whether a separator stands before it.
    separated: bool,
}

/// The documents of a text. A line that begins with `---` parts documents wherever it stands, in a block scalar, too
/// (YAML 1.2.2, section 9.1.2), so that a document that is broken takes no other with it.
fn chunks(text: &str, first_line: usize) -> Vec<Chunk<'_>> {
    let mut chunks = Vec::new();
    let mut chunk = Chunk { text: "", first_line, separated: false };
    let (mut begin, mut at) = (0, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if is_separator(line) {
            chunk.text = text.get(begin..at).unwrap_or_default();
            chunks.push(chunk);
            // What stands behind the separator on its line belongs to the document.
            chunk = Chunk { text: "", first_line: first_line + number, separated: true };
            begin = at + 3;
        }
        at += line.len();
    }
    chunk.text = text.get(begin..).unwrap_or_default();
    chunks.push(chunk);
    chunks
}

fn is_separator(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Blank, a comment, a directive, or the end of a document.
fn says_nothing(line: &str) -> bool {
    let line = line.trim_end();
    line.trim_start().is_empty() || line.trim_start().starts_with('#') || line.starts_with('%') || line == "..."
}

fn read_yaml(chunk: &Chunk<'_>, document: usize, sink: &mut dyn Sink) {
    // Items whose kind the list has still to tell, and how many values they hold.
    let mut waiting: Vec<(usize, Tree)> = Vec::new();
    let mut held = 0;
    let told = kind_of_lines(chunk.text);
    let outcome = yaml::read(chunk.text, chunk.first_line, &mut |part| match part {
        Part::Object(tree) => match tree.value {
            Value::Sequence(items) => {
                for (index, tree) in items.into_iter().enumerate() {
                    sink.object(Found {
                        document,
                        line: tree.line,
                        list: None,
                        index: Some(index),
                        body: Body::Tree(tree),
                    });
                }
            }
            _ => sink.object(Found { document, line: tree.line, list: None, index: None, body: Body::Tree(tree) }),
        },
        Part::Item { index, tree } if tree.field("kind").is_none() && told.is_none() => {
            let line = tree.line;
            held += tree.values();
            if held <= MAX_VALUES {
                waiting.push((index, tree));
            } else {
                let reason = "the list tells what its items are only behind too many of them: write its kind first";
                sink.fault(document, Fault { line, field: format!("items[{index}].kind"), reason: reason.to_owned() });
            }
        }
        Part::Item { index, tree } => {
            let list = told.clone();
            sink.object(Found { document, line: tree.line, list, index: Some(index), body: Body::Tree(tree) });
        }
        Part::List(list) => {
            let text = |name| list.field(name).and_then(Tree::text);
            let kind = list_kind(text("apiVersion"), text("kind"));
            if told.is_some() && told != kind {
                let reason = "its lines say another kind than it has: what it holds may be taken for what it is not";
                sink.fault(document, Fault { line: list.line, field: "kind".to_owned(), reason: reason.to_owned() });
            }
            for (index, tree) in waiting.drain(..) {
                sink.object(Found {
                    document,
                    line: tree.line,
                    list: kind.clone(),
                    index: Some(index),
                    body: Body::Tree(tree),
                });
            }
        }
        Part::Broken(fault) => sink.fault(document, fault),
    });
    if let Err(fault) = outcome {
        sink.fault(document, fault);
        for (index, tree) in waiting {
            sink.object(Found { document, line: tree.line, list: None, index: Some(index), body: Body::Tree(tree) });
        }
    }
}

/// What a document that is written in lines says of the items of the list it is, where that can be told before they are read:
/// in block style whatever begins a line is a field of the whole.
fn kind_of_lines(text: &str) -> Option<ListKind> {
    let begins = text.lines().find(|line| !says_nothing(line))?;
    if !begins.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))?.trim();
        value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '/')).then_some(value)
    };
    list_kind(field("apiVersion"), Some(field("kind")?))
}

/// Reads a text that is JSON as far as anyone can tell, and tells how many documents it had; `None`: it is none, and
/// nothing was handed on.
fn read_json(chunk: &Chunk<'_>, start: Start, sink: &mut dyn Sink) -> Option<usize> {
    let text = Text::new(chunk.text, chunk.first_line);
    let (values, torn) = text.values();
    // YAML's flow style begins as JSON does.
    if values.is_empty() && !chunk.text.trim_start().starts_with("{\"") && !chunk.text.trim_start().starts_with("[{\"")
    {
        let is_json = chunk.text.trim_start_matches(['{', '[', ' ', '\n', '\r', '\t']).starts_with('"');
        if !is_json {
            return None;
        }
    }
    let before = start.documents;
    let mut documents = 0;
    for value in values {
        documents += 1;
        read_json_value(value, &text, before + documents, sink);
    }
    if let Some((fault, at)) = torn {
        documents += 1;
        sink.fault(before + documents, fault);
        // What is torn takes no more with it than what stands before the next line that begins a document.
        if let Some(rest) = next_document(chunk, at).filter(|_| start.mend) {
            let rest_start = Start { line: rest.first_line, documents: before + documents, mend: false };
            documents = split::read(rest.text, rest_start, sink).saturating_sub(before);
        }
    }
    Some(documents)
}

/// What follows from the next line behind byte `from` that begins with a brace.
fn next_document<'a>(chunk: &Chunk<'a>, from: usize) -> Option<Chunk<'a>> {
    let at = from + chunk.text.get(from..)?.find("\n{")? + 1;
    let lines = chunk.text.get(..at)?.bytes().filter(|byte| *byte == b'\n').count();
    Some(Chunk { text: chunk.text.get(at..)?, first_line: chunk.first_line + lines, separated: false })
}

fn read_json_value(value: &RawValue, text: &Text<'_>, document: usize, sink: &mut dyn Sink) {
    let line = text.line(value);
    let broken = |reason| Fault { line, field: String::new(), reason };
    if value.get().starts_with('[') {
        match serde_json::from_str::<Vec<&RawValue>>(value.get()) {
            Ok(items) => read_items(&items, None, text, document, sink),
            Err(error) => sink.fault(document, broken(super::without_place(&error))),
        }
        return;
    }
    let fields = match serde_json::from_str::<Fields<'_>>(value.get()) {
        Ok(fields) => fields.0,
        Err(error) => return sink.fault(document, broken(super::without_place(&error))),
    };
    let field = |wanted: &str| fields.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value);
    let text_of = |wanted: &str| field(wanted).and_then(|value| serde_json::from_str::<String>(value.get()).ok());
    if let (Some(name), Some(object), None) = (text_of("type"), field("object"), field("kind")) {
        let event = match name.as_str() {
            "ADDED" => Event::Set(WatchEvent::Added),
            "MODIFIED" => Event::Set(WatchEvent::Modified),
            "DELETED" => Event::Remove,
            "BOOKMARK" => Event::Bookmark,
            "ERROR" => Event::Error,
            other => {
                let reason = format!("{:?} is no watch event", other.chars().take(64).collect::<String>());
                return sink.fault(document, Fault { field: "type".to_owned(), ..broken(reason) });
            }
        };
        if let Err(fault) = text.check_size(object) {
            return sink.fault(document, Fault { field: "object".to_owned(), ..fault });
        }
        let line = text.line(object);
        let found = Found { document, line, list: None, index: None, body: Body::Json(object, text) };
        return sink.event(event, found);
    }
    let kind = list_kind(text_of("apiVersion").as_deref(), text_of("kind").as_deref());
    match field("items").map(|items| serde_json::from_str::<Option<Vec<&RawValue>>>(items.get())) {
        Some(Ok(items)) => read_items(&items.unwrap_or_default(), kind.as_ref(), text, document, sink),
        _ => match text.check_size(value) {
            Ok(()) => sink.object(Found { document, line, list: None, index: None, body: Body::Json(value, text) }),
            Err(fault) => sink.fault(document, fault),
        },
    }
}

fn read_items(items: &[&RawValue], list: Option<&ListKind>, text: &Text<'_>, document: usize, sink: &mut dyn Sink) {
    for (index, item) in items.iter().enumerate() {
        if let Err(fault) = text.check_size(item) {
            sink.fault(document, Fault { field: format!("items[{index}]"), ..fault });
            continue;
        }
        let found = Found {
            document,
            line: text.line(item),
            list: list.cloned(),
            index: Some(index),
            body: Body::Json(item, text),
        };
        sink.object(found);
    }
}

/// What a list says of its items: a `PodList` holds pods, a `List` tells nothing.
pub(super) fn list_kind(api_version: Option<&str>, kind: Option<&str>) -> Option<ListKind> {
    let kind = kind?.strip_suffix("List").filter(|kind| !kind.is_empty())?;
    Some(ListKind { api_version: api_version.map(str::to_owned), kind: kind.to_owned() })
}
