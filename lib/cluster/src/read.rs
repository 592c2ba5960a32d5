//! Reading a [`Cluster`] from files, folders and streams.

mod bounded;
mod convert;
mod files;
mod finish;
mod json;
mod kinds;
mod policy;
mod text;
mod tree;
mod yaml;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::item::without_place;
use crate::model::{Cluster, Lines, Located, Origin, Problem};
use convert::Faults;
use kinds::{Head, Kind};
use text::{Body, Found, Sink};
use yaml::Fault;

pub use files::{InputError, MAX_FOLDER_DEPTH};

/// How many problems are kept; the rest is counted ([`Cluster::more_problems`]), since the input decides how many there are.
pub const MAX_PROBLEMS: usize = 1000;

/// How long names of objects may be: DNS subdomains and labels (RFC 1123, section 2.1), as API servers check them.
const MAX_NAME: usize = 253;
const MAX_NAMESPACE: usize = 63;

/// Reads objects into a [`Cluster`].
///
/// What cannot be used becomes a [`Problem`] and stops nothing else. An object that is given twice counts as it was given
/// last, which is a problem, too.
#[derive(Debug, Default)]
pub struct Reader {
    cluster: Cluster,
    /// Where each object is kept: its index among those of its kind.
    places: HashMap<Key, usize>,
    /// The owner of each owned object that was read, by namespace, kind and name.
    owners: HashMap<(String, String, String), (String, String)>,
    /// The text that is being read.
    file: Option<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    kind: Kind,
    namespace: String,
    name: String,
}

impl Reader {
    /// Reads objects from a text, which is named `file` in messages: YAML of any number of documents, or JSON.
    pub fn text(&mut self, file: &str, text: &str) {
        self.file = Some(file.into());
        text::read(text, self);
    }

    /// What was read. Namespaces that were only mentioned are added, owners are followed to the outermost one, and all
    /// is in order.
    #[must_use]
    pub fn finish(self) -> Cluster {
        finish::finish(self)
    }

    fn file(&self) -> Arc<str> {
        self.file.clone().unwrap_or_else(|| "".into())
    }

    fn problem(&mut self, problem: Problem) {
        if self.cluster.problems.len() < MAX_PROBLEMS {
            self.cluster.problems.push(problem);
        } else {
            self.cluster.more_problems += 1;
        }
    }

    /// Types an object and keeps it.
    fn take(&mut self, found: Found<'_>) {
        let place = Place {
            origin: Origin { file: self.file(), document: found.document, line: found.line },
            object: found.index.map(|index| format!("item {index}")).unwrap_or_default(),
        };
        let mut head: Head = match found.body.head() {
            Ok(head) => head,
            Err(fault) => return self.tell(&place, fault),
        };
        let text =
            |value: &Option<serde_json::Value>| value.as_ref().and_then(|value| value.as_str().map(str::to_owned));
        let own_kind = text(&head.kind).filter(|kind| !kind.is_empty());
        let (kind_name, api_version) = match (own_kind, found.list.as_ref()) {
            (Some(kind), _) => (kind, text(&head.api_version)),
            (None, Some(list)) => (list.kind.clone(), text(&head.api_version).or_else(|| list.api_version.clone())),
            (None, None) => {
                let reason = "missing: a Kubernetes object has apiVersion and kind".to_owned();
                return self.tell(&place, Fault { line: found.line, field: "kind".to_owned(), reason });
            }
        };
        let Some(kind) = Kind::of(api_version.as_deref(), &kind_name) else {
            if kind_name.ends_with("List") && found.body.is_list() {
                let reason = "a list within a list".to_owned();
                return self.tell(&place, Fault { line: found.line, field: "kind".to_owned(), reason });
            }
            return self.count_unknown(api_version.as_deref(), &kind_name);
        };
        let metadata = head.metadata.take().unwrap_or_default();
        let name = text(&metadata.name).or_else(|| text(&metadata.generate_name)).unwrap_or_default();
        let namespace = if kind.is_namespaced() {
            text(&metadata.namespace).filter(|namespace| !namespace.is_empty()).unwrap_or_else(|| "default".to_owned())
        } else {
            String::new()
        };
        let place = Place { object: title(&kind_name, &namespace, &name), ..place };
        if name.is_empty() {
            let reason = "missing".to_owned();
            return self.tell(&place, Fault { line: found.line, field: "metadata.name".to_owned(), reason });
        }
        for (field, text, longest) in [("name", &name, MAX_NAME), ("namespace", &namespace, MAX_NAMESPACE)] {
            if text.len() > longest {
                let reason = format!("{} characters: a server takes {longest}", text.len());
                return self.tell(&place, Fault { line: found.line, field: format!("metadata.{field}"), reason });
            }
        }
        self.keep(found.body, place, Key { kind, namespace, name });
    }

    fn count_unknown(&mut self, api_version: Option<&str>, kind: &str) {
        const MAX_KINDS: usize = 1000;
        let name: String = match api_version {
            Some(version) => format!("{version} {kind}"),
            None => kind.to_owned(),
        };
        let name = name.chars().take(200).collect();
        let counts = &mut self.cluster.unknown;
        if counts.len() < MAX_KINDS || counts.contains_key(&name) {
            *counts.entry(name).or_default() += 1;
        }
    }

    fn tell(&mut self, place: &Place, fault: Fault) {
        self.problem(Problem {
            file: Arc::clone(&place.origin.file),
            document: place.origin.document,
            line: fault.line,
            object: place.object.clone(),
            field: fault.field,
            reason: fault.reason,
        });
    }

    /// Types an object and puts it where those of its kind are.
    fn keep(&mut self, body: Body<'_>, place: Place, key: Key) {
        let mut faults = Faults::default();
        let lines = match self.convert(body, &place, &key, &mut faults) {
            Ok(lines) => lines,
            Err(fault) => return self.tell(&place, fault),
        };
        for (field, reason) in faults.0 {
            let line = lines.line(&field).unwrap_or(place.origin.line);
            self.tell(&place, Fault { line, field, reason });
        }
    }

    fn convert(&mut self, body: Body<'_>, place: &Place, key: &Key, faults: &mut Faults) -> Result<Lines, Fault> {
        let origin = place.origin.clone();
        let cluster = &mut self.cluster;
        let (lines, old) = match key.kind {
            Kind::Pod => {
                let (pod, lines) = body.typed(origin.line)?;
                let (workload, owner) = convert::pod(pod, key, origin, faults);
                self.owners.extend(owner.map(|owner| (key.owner_key("Pod"), owner)));
                (lines, put(&mut cluster.workloads, &mut self.places, key, workload).map(|old| old.origin))
            }
            Kind::Template(template) => {
                let (found, lines) = convert::template(body, template, origin.line)?;
                let (workload, owner) = found.into_workload(template, key, origin, faults);
                self.owners.extend(owner.map(|owner| (key.owner_key(template.name()), owner)));
                (lines, put(&mut cluster.workloads, &mut self.places, key, workload).map(|old| old.origin))
            }
            Kind::Namespace => {
                let (namespace, lines) = body.typed(origin.line)?;
                let namespace = convert::namespace(namespace, key, origin);
                (lines, put(&mut cluster.namespaces, &mut self.places, key, namespace).map(|old| old.origin))
            }
            Kind::Node => {
                let (node, lines) = body.typed(origin.line)?;
                let node = convert::node(node, key, origin, faults);
                (lines, put(&mut cluster.nodes, &mut self.places, key, node).map(|old| old.origin))
            }
            Kind::Service => {
                let (service, lines) = body.typed(origin.line)?;
                let service = convert::service(service, key, origin, faults);
                (lines, put(&mut cluster.services, &mut self.places, key, service).map(|old| old.origin))
            }
            Kind::EndpointSlice => {
                let (slice, lines) = body.typed(origin.line)?;
                let slice = convert::endpoint_slice(slice, key, origin, faults);
                (lines, put(&mut cluster.endpoint_slices, &mut self.places, key, slice).map(|old| old.origin))
            }
            Kind::NetworkPolicy => {
                let (value, lines) = body.located(origin.line)?;
                let value =
                    policy::network_policy(value, key).map_err(|(field, reason)| at(&lines, &origin, field, reason))?;
                let located = Located { value, origin, lines: lines.clone() };
                (lines, put(&mut cluster.network_policies, &mut self.places, key, located).map(|old| old.origin))
            }
            Kind::ClusterPolicy(kind) => {
                let (object, lines) = body.located::<policy::RawPolicy>(origin.line)?;
                let value = policy::cluster_policy(object, kind, key)
                    .map_err(|(field, reason)| at(&lines, &origin, field, reason))?;
                let located = Located { value, origin, lines: lines.clone() };
                (lines, put(&mut cluster.cluster_policies, &mut self.places, key, located).map(|old| old.origin))
            }
        };
        if let Some(old) = old {
            faults.push("metadata.name", format!("given before at {old}: this one counts"));
        }
        Ok(lines)
    }
}

impl Sink for Reader {
    fn object(&mut self, found: Found<'_>) {
        self.take(found);
    }

    fn fault(&mut self, document: usize, fault: Fault) {
        let origin = Origin { file: self.file(), document, line: fault.line };
        self.tell(&Place { origin, object: String::new() }, fault);
    }
}

/// Where an object stands and what it is called, for messages.
struct Place {
    origin: Origin,
    object: String,
}

fn title(kind: &str, namespace: &str, name: &str) -> String {
    let short = |text: &str| text.chars().take(253).collect::<String>();
    let name = if name.is_empty() { "without name".to_owned() } else { short(name) };
    if namespace.is_empty() { format!("{kind}/{name}") } else { format!("{kind}/{}/{name}", short(namespace)) }
}

fn at(lines: &Lines, origin: &Origin, field: String, reason: String) -> Fault {
    Fault { line: lines.line(&field).unwrap_or(origin.line), field, reason }
}

/// Keeps an object; one that was there under its name is replaced and given back.
fn put<T>(kept: &mut Vec<T>, places: &mut HashMap<Key, usize>, key: &Key, new: T) -> Option<T> {
    if let Some(old) = places.get(key).and_then(|place| kept.get_mut(*place)) {
        return Some(std::mem::replace(old, new));
    }
    places.insert(key.clone(), kept.len());
    kept.push(new);
    None
}

impl Key {
    fn owner_key(&self, kind: &str) -> (String, String, String) {
        (self.namespace.clone(), kind.to_owned(), self.name.clone())
    }
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
                let metadata = tree.field("metadata").map(|metadata| kinds::HeadMetadata {
                    namespace: field(metadata, "namespace"),
                    name: field(metadata, "name"),
                    generate_name: field(metadata, "generateName"),
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
            Self::Json(json, _) => json.get().contains("\"items\""),
        }
    }

    /// The object as its type, and lines of its fields as far as they are at hand.
    fn typed<T: DeserializeOwned>(self, line: usize) -> Result<(T, Lines), Fault> {
        self.typed_with(line, false)
    }

    /// The same with the line of every field, which costs more than the rest where the text is JSON.
    fn located<T: DeserializeOwned>(self, line: usize) -> Result<(T, Lines), Fault> {
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
