//! From the objects of a text to what they mean here.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::convert::{self, Faults};
use super::json::Fields;
use super::kinds::{self, Head, HeadMetadata, Key, Kind};
use super::policy;
use super::text::{Body, Event, Found, ListKind, Sink, list_kind};
use super::yaml::Fault;
use super::{Said, WatchEvent, tree, without_place};
use crate::model::{About, Lines, Located, Object, ObjectName, Origin, Problem};

/// The annotation of the bookmark that ends the list in front of a watch (Kubernetes' `sendInitialEvents`).
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// How long names of objects may be: DNS subdomains and labels (RFC 1123, section 2.1), as API servers check them.
const MAX_NAME: usize = 253;
const MAX_NAMESPACE: usize = 63;

/// How many lists may lie within one another.
const MAX_LISTS: usize = 4;

/// Types what is found in a text, and hands it on.
pub(super) struct Typist<'a> {
    /// The text as it is named in messages.
    pub(super) file: Arc<str>,
    pub(super) hear: &'a mut dyn FnMut(Said),
}

/// Where an object stands and what it is called, for messages.
struct Place {
    origin: Origin,
    object: String,
    /// What it is known by, once that can be told.
    name: Option<ObjectName>,
    /// What it is.
    about: About,
}

impl Place {
    /// The place of an object once its kind can be told.
    fn of(&self, kind: Kind, object: String, name: Option<ObjectName>) -> Self {
        let about = if kind.is_policy() { About::Policy } else { About::Other };
        Self { origin: self.origin.clone(), object, name, about }
    }
}

/// What an object turns out to be by its head.
enum Headed {
    /// One of a kind that is read, and what messages call it.
    Object(Key, String),
    /// A list, and what it says of its items.
    List(Option<ListKind>),
    /// None that is read, which has been said.
    Nothing,
}

impl Sink for Typist<'_> {
    fn object(&mut self, found: Found<'_>) {
        self.take(found, None, 0);
    }

    fn event(&mut self, event: Event, found: Found<'_>) {
        self.take(found, Some(event), 0);
    }

    fn fault(&mut self, document: usize, fault: Fault) {
        let origin = Origin { file: Arc::clone(&self.file), document, line: fault.line };
        self.tell(&Place { origin, object: String::new(), name: None, about: About::Policy }, fault);
    }
}

impl Typist<'_> {
    /// Takes in an object that lies in so many lists within lists, or what an event says of it.
    fn take(&mut self, found: Found<'_>, event: Option<Event>, depth: usize) {
        let place = Place {
            origin: Origin { file: Arc::clone(&self.file), document: found.document, line: found.line },
            object: found.index.map(|index| format!("item {index}")).unwrap_or_default(),
            name: None,
            // Of what does not tell what it is nobody knows what it was.
            about: About::Policy,
        };
        let body = found.body;
        match event {
            Some(Event::Bookmark) => return self.bookmark(&body),
            Some(Event::Error) => {
                let fault = Fault { line: found.line, field: String::new(), reason: server_error(body) };
                return self.tell(&place, fault);
            }
            _ => {}
        }
        match self.headed(&body, found.list, &place) {
            Headed::Object(key, object) => {
                let place = place.of(key.kind, object, Some(key.object_name()));
                match event {
                    Some(Event::Remove) => (self.hear)(Said::Remove(key.object_name())),
                    Some(Event::Set(event)) => self.set(body, &place, &key, Some(event)),
                    _ => self.set(body, &place, &key, None),
                }
            }
            Headed::List(kind) if event.is_none() && depth < MAX_LISTS => {
                self.items(body, kind.as_ref(), &place, depth)
            }
            Headed::List(_) => {
                let reason = match event {
                    Some(_) => "a list, where an event is about one object".to_owned(),
                    None => format!("more than {MAX_LISTS} lists within one another: what it holds cannot be used"),
                };
                self.tell(&place, Fault { line: found.line, field: "kind".to_owned(), reason });
            }
            Headed::Nothing => {}
        }
    }

    /// Takes in what a list within a list holds, as `kubectl` does.
    fn items(&mut self, body: Body<'_>, list: Option<&ListKind>, place: &Place, depth: usize) {
        let Origin { document, line, .. } = place.origin;
        let mut take = |index: usize, line: usize, body: Body<'_>| {
            self.take(Found { document, line, list: list.cloned(), index: Some(index), body }, None, depth + 1);
        };
        match body {
            Body::Tree(tree) => match tree.into_field("items").map(|items| items.value) {
                Some(tree::Value::Sequence(items)) => {
                    items.into_iter().enumerate().for_each(|(index, item)| take(index, item.line, Body::Tree(item)));
                }
                None | Some(tree::Value::Null) => {}
                Some(_) => {
                    let reason = "no list".to_owned();
                    self.tell(place, Fault { line, field: "items".to_owned(), reason });
                }
            },
            Body::Json(json, text) => {
                let fields = serde_json::from_str::<Fields<'_>>(json.get()).map(|fields| fields.0).unwrap_or_default();
                let items = fields.into_iter().find(|(name, _)| name == "items").map(|(_, items)| items.get());
                let items = items.map(serde_json::from_str::<Option<Vec<_>>>);
                match items.unwrap_or(Ok(None)) {
                    Ok(items) => items
                        .into_iter()
                        .flatten()
                        .enumerate()
                        .for_each(|(index, item)| take(index, text.line(item), Body::Json(item, text))),
                    Err(error) => {
                        let reason = without_place(&error);
                        self.tell(place, Fault { line, field: "items".to_owned(), reason });
                    }
                }
            }
        }
    }

    fn tell(&mut self, place: &Place, fault: Fault) {
        let problem = Problem {
            file: Arc::clone(&place.origin.file),
            document: place.origin.document,
            line: fault.line,
            object: place.object.clone(),
            field: fault.field,
            reason: fault.reason,
            about: place.about,
        };
        (self.hear)(Said::Problem { problem, name: place.name.clone() });
    }

    /// What an object is by its head. One of a kind that means nothing here is counted, and one that does not say is told.
    fn headed(&mut self, body: &Body<'_>, list: Option<ListKind>, place: &Place) -> Headed {
        let line = place.origin.line;
        let mut head: Head = match body.head() {
            Ok(head) => head,
            Err(fault) => {
                self.tell(place, fault);
                return Headed::Nothing;
            }
        };
        let own_kind = text(head.kind.as_ref()).filter(|kind| !kind.is_empty());
        let (kind_name, api_version) = match (own_kind, list) {
            (Some(kind), _) => (kind, text(head.api_version.as_ref())),
            (None, Some(list)) => (list.kind, text(head.api_version.as_ref()).or(list.api_version)),
            (None, None) => {
                let reason = "missing: a Kubernetes object has apiVersion and kind".to_owned();
                self.tell(place, Fault { line, field: "kind".to_owned(), reason });
                return Headed::Nothing;
            }
        };
        let metadata = head.metadata.take().unwrap_or_default();
        match Kind::of(api_version.as_deref(), &kind_name) {
            Some(kind) => self.named(kind, &kind_name, &metadata, place),
            None if kind_name.ends_with("List") && body.is_list() => {
                Headed::List(list_kind(api_version.as_deref(), Some(&kind_name)))
            }
            None => {
                self.unread(api_version, kind_name, &metadata, place);
                Headed::Nothing
            }
        }
    }

    /// An object of a kind that is read, if its name can be told.
    fn named(&mut self, kind: Kind, kind_name: &str, metadata: &HeadMetadata, place: &Place) -> Headed {
        let line = place.origin.line;
        let (namespace, name) = names(kind.is_namespaced(), metadata);
        let object = title(kind_name, &namespace, &name);
        if name.is_empty() {
            let fault = Fault { line, field: "metadata.name".to_owned(), reason: "missing".to_owned() };
            self.tell(&place.of(kind, object, None), fault);
            return Headed::Nothing;
        }
        for (field, text, longest) in [("name", &name, MAX_NAME), ("namespace", &namespace, MAX_NAMESPACE)] {
            if text.len() > longest {
                let reason = format!("{} characters: a server takes {longest}", text.len());
                self.tell(&place.of(kind, object, None), Fault { line, field: format!("metadata.{field}"), reason });
                return Headed::Nothing;
            }
        }
        Headed::Object(Key { kind, namespace, name }, object)
    }

    /// An object of a kind that is not read: what is meant to be a policy is told, others are counted.
    fn unread(&mut self, api_version: Option<String>, kind_name: String, metadata: &HeadMetadata, place: &Place) {
        if let Some(reason) = kinds::unread_policy(api_version.as_deref(), &kind_name) {
            let kind = Kind::of(None, &kind_name);
            let (namespace, name) = names(kind.is_none_or(Kind::is_namespaced), metadata);
            let object = title(&kind_name, &namespace, &name);
            // It stays as it was under the name that it has in every version.
            let name = kind.filter(|_| !name.is_empty()).map(|kind| Key { kind, namespace, name }.object_name());
            let field = if kind.is_some() { "apiVersion" } else { "kind" };
            let place = Place { origin: place.origin.clone(), object, name, about: About::Policy };
            return self.tell(&place, Fault { line: place.origin.line, field: field.to_owned(), reason });
        }
        if kind_name == "List" {
            let fault = Fault { line: place.origin.line, field: "items".to_owned(), reason: "missing".to_owned() };
            return self.tell(place, fault);
        }
        let name: String = match api_version {
            Some(version) => format!("{version} {kind_name}"),
            None => kind_name,
        };
        (self.hear)(Said::Unknown(name.chars().take(200).collect()));
    }

    /// Types an object and hands it on, then what of it could not be used.
    fn set(&mut self, body: Body<'_>, place: &Place, key: &Key, event: Option<WatchEvent>) {
        let mut faults = Faults::default();
        let (object, lines) = match convert(body, place, key, &mut faults) {
            Ok(converted) => converted,
            Err(fault) => {
                // A policy of which a part is wrong is wrong as a whole, as a server has it; that is to be known.
                let what = if key.kind.is_policy() { "the policy" } else { "the object" };
                let reason = format!("{}: {what} cannot be used", fault.reason);
                return self.tell(place, Fault { reason, ..fault });
            }
        };
        let name_line = lines.line("metadata.name").unwrap_or(place.origin.line);
        (self.hear)(Said::Set { object: Box::new(object), name_line, event });
        for (field, reason) in faults.0 {
            let line = lines.line(&field).unwrap_or(place.origin.line);
            self.tell(place, Fault { line, field, reason });
        }
    }

    fn bookmark(&mut self, body: &Body<'_>) {
        let annotations = body.head().ok().and_then(|head| head.metadata?.annotations);
        let ends =
            annotations.is_some_and(|all| all.get(INITIAL_EVENTS_END).and_then(|end| end.as_str()) == Some("true"));
        if ends {
            (self.hear)(Said::Listed);
        }
    }
}

/// What a server says of the end of a watch, in a `Status`.
fn server_error(body: Body<'_>) -> String {
    #[derive(serde::Deserialize)]
    #[serde(expecting = "a Status")]
    struct Status {
        code: Option<i64>,
        reason: Option<String>,
        message: Option<String>,
    }
    let status = body.typed::<Status>(0).map(|(status, _)| status);
    let status = status.unwrap_or(Status { code: None, reason: None, message: None });
    let short = |text: Option<String>| text.map(|text| text.chars().take(300).collect::<String>());
    let words = [status.code.map(|code| code.to_string()), short(status.reason), short(status.message)];
    let words: Vec<String> = words.into_iter().flatten().filter(|word| !word.is_empty()).collect();
    let words = if words.is_empty() { "without a reason".to_owned() } else { words.join(": ") };
    format!("the server broke the watch off: {words}: what it gave so far stays")
}

fn convert(body: Body<'_>, place: &Place, key: &Key, faults: &mut Faults) -> Result<(Object, Lines), Fault> {
    let origin = place.origin.clone();
    Ok(match key.kind {
        Kind::Pod => {
            let (pod, lines) = body.typed(origin.line)?;
            (Object::Workload(convert::pod(pod, key, origin, faults)), lines)
        }
        Kind::Template(template) => {
            let (found, lines) = convert::template(body, template, origin.line)?;
            (Object::Workload(found.into_workload(template, key, origin, faults)), lines)
        }
        Kind::Namespace => {
            let (namespace, lines) = body.typed(origin.line)?;
            (Object::Namespace(convert::namespace(namespace, key, origin, faults)), lines)
        }
        Kind::Node => {
            let (node, lines) = body.typed(origin.line)?;
            (Object::Node(convert::node(node, key, origin, faults)), lines)
        }
        Kind::Service => {
            let (service, lines) = body.typed(origin.line)?;
            (Object::Service(convert::service(service, key, origin, faults)), lines)
        }
        Kind::EndpointSlice => {
            let (slice, lines) = body.typed(origin.line)?;
            (Object::EndpointSlice(convert::endpoint_slice(slice, key, origin, faults)), lines)
        }
        Kind::NetworkPolicy => {
            let (value, lines) = body.located(origin.line)?;
            let value =
                policy::network_policy(value, key).map_err(|(field, reason)| at(&lines, &origin, field, reason))?;
            (Object::NetworkPolicy(Located { value, origin, lines: lines.clone() }), lines)
        }
        Kind::ClusterPolicy(kind) => {
            let (object, lines) = body.located::<policy::RawPolicy>(origin.line)?;
            let value = policy::cluster_policy(object, kind, key)
                .map_err(|(field, reason)| at(&lines, &origin, field, reason))?;
            (Object::ClusterPolicy(Located { value, origin, lines: lines.clone() }), lines)
        }
    })
}

/// What is a text.
fn text(value: Option<&serde_json::Value>) -> Option<String> {
    value.and_then(|value| value.as_str().map(str::to_owned))
}

/// Namespace and name of an object; the name is empty where it has none.
fn names(is_namespaced: bool, metadata: &HeadMetadata) -> (String, String) {
    let name = text(metadata.name.as_ref()).or_else(|| text(metadata.generate_name.as_ref())).unwrap_or_default();
    let namespace = text(metadata.namespace.as_ref()).filter(|namespace| !namespace.is_empty());
    (if is_namespaced { namespace.unwrap_or_else(|| "default".to_owned()) } else { String::new() }, name)
}

fn title(kind: &str, namespace: &str, name: &str) -> String {
    let short = |text: &str| text.chars().take(253).collect::<String>();
    let kind = short(kind);
    let name = if name.is_empty() { "without name".to_owned() } else { short(name) };
    if namespace.is_empty() { format!("{kind}/{name}") } else { format!("{kind}/{}/{name}", short(namespace)) }
}

fn at(lines: &Lines, origin: &Origin, field: String, reason: String) -> Fault {
    Fault { line: lines.line(&field).unwrap_or(origin.line), field, reason }
}

impl Body<'_> {
    fn head(&self) -> Result<Head, Fault> {
        match self {
            Self::Tree(tree) => {
                if !matches!(tree.value, tree::Value::Mapping(_)) {
                    let reason = format!("{} is no Kubernetes object", tree.noun());
                    return Err(Fault { line: tree.line, field: String::new(), reason });
                }
                let field = |tree: &tree::Tree, name| tree.field(name).cloned().map(tree::Tree::into_json);
                // Only what is a mapping can have a name in it.
                let metadata = tree.field("metadata").map(|metadata| HeadMetadata {
                    namespace: field(metadata, "namespace"),
                    name: field(metadata, "name"),
                    generate_name: field(metadata, "generateName"),
                    annotations: field(metadata, "annotations"),
                });
                Ok(Head { api_version: field(tree, "apiVersion"), kind: field(tree, "kind"), metadata })
            }
            Self::Json(json, text) => serde_json::from_str(json.get()).map_err(|error| Fault {
                line: text.line(json),
                field: String::new(),
                reason: without_place(&error),
            }),
        }
    }

    fn is_list(&self) -> bool {
        match self {
            Self::Tree(tree) => tree.field("items").is_some(),
            Self::Json(json, _) => serde_json::from_str::<Fields<'_>>(json.get())
                .is_ok_and(|fields| fields.0.iter().any(|(name, _)| name == "items")),
        }
    }

    /// The object as its type, and lines of its fields as far as they are at hand.
    pub(super) fn typed<T: DeserializeOwned>(self, line: usize) -> Result<(T, Lines), Fault> {
        self.typed_with(line, false)
    }

    /// The same with the line of every field, which costs more than the rest where the text is JSON.
    pub(super) fn located<T: DeserializeOwned>(self, line: usize) -> Result<(T, Lines), Fault> {
        self.typed_with(line, true)
    }

    fn typed_with<T: DeserializeOwned>(self, line: usize, every_line: bool) -> Result<(T, Lines), Fault> {
        match self {
            Self::Tree(tree) => {
                let lines = tree.lines();
                serde_path_to_error::deserialize(tree.into_json())
                    .map(|object| (object, lines.clone()))
                    .map_err(|error| wrong(&error, &lines, line))
            }
            Self::Json(json, text) => {
                let mut reader = serde_json::Deserializer::from_str(json.get());
                let object = serde_path_to_error::deserialize(&mut reader);
                let lines = || text.tree(json).map(|tree| tree.lines());
                match object {
                    Ok(object) if every_line => Ok((object, lines()?)),
                    Ok(object) => Ok((object, Lines::at(line))),
                    Err(error) => Err(wrong(&error, &lines()?, line)),
                }
            }
        }
    }
}

fn wrong(error: &serde_path_to_error::Error<serde_json::Error>, lines: &Lines, line: usize) -> Fault {
    let field = match error.path().to_string() {
        path if path == "." => String::new(),
        path => path,
    };
    Fault { line: lines.line(&field).unwrap_or(line), field, reason: without_place(error.inner()) }
}
