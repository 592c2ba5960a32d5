//! Reading Kubernetes objects from files, folders and streams.

mod bounded;
mod convert;
mod files;
mod json;
mod kinds;
mod policy;
mod split;
mod stream;
mod tap;
mod text;
mod tree;
mod typed;
mod yaml;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::model::{About, Change, Cluster, Object, ObjectName, Problem};
use crate::state::ClusterState;
use typed::Typist;

pub use files::{InputError, MAX_FOLDER_DEPTH};
pub(crate) use files::{QUIET, read_input, read_inputs};
pub use split::MAX_DOCUMENT_BYTES;
pub use stream::Stream;
pub(crate) use tap::{CHUNK_BYTES, Got, Tap};

/// The longest input that is read as a whole: 1 GiB, some 100,000 pods.
pub const MAX_INPUT_BYTES: u64 = 1 << 30;

/// How many problems are kept; the rest is counted ([`Cluster::more_problems`]), since the input decides how many there are.
pub const MAX_PROBLEMS: usize = 1000;

/// How many kinds that mean nothing here are counted by name.
const MAX_KINDS: usize = 1000;

/// What a text says, one thing after the other.
#[derive(Clone, Debug)]
pub enum Said {
    /// The object is so, by itself or in a watch event.
    Set {
        /// The object.
        object: Box<Object>,
        /// The line of its name.
        name_line: usize,
        /// The watch event that says it, of which an object may have many.
        event: Option<WatchEvent>,
    },
    /// The object is gone (`DELETED`).
    Remove(ObjectName),
    /// The list that a watch begins with is complete.
    Listed,
    /// Something cannot be used.
    Problem {
        /// What, where and why.
        problem: Problem,
        /// The object that it is about, where that can be told.
        name: Option<ObjectName>,
    },
    /// An object of a kind that means nothing here (`apps/v1 Deployment` is known, `v1 Secret` is not).
    Unknown(String),
}

/// A watch event that says what an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// It is new to the watch (`ADDED`), as all are that were there when it began.
    Added,
    /// It has become this (`MODIFIED`).
    Modified,
}

/// Reads objects into a [`Cluster`].
///
/// What cannot be used becomes a [`Problem`] and stops nothing else. An object that is given twice counts as it was given
/// last, by the order in which inputs are named and read, which is a problem, too, unless a watch event says it: a lesser one
/// where two inputs give it ([`About::Replaced`]).
#[derive(Clone, Debug, Default)]
pub struct Reader {
    state: ClusterState,
    unknown: BTreeMap<String, usize>,
    problems: Vec<Problem>,
    more_problems: usize,
    /// Whether one of the problems is about a policy.
    policy_told: bool,
    /// How many inputs have been read, and which of them gave each file last.
    inputs: usize,
    files: HashMap<Arc<str>, usize>,
    /// The file and input that were heard of last, which mostly come again.
    last: Option<(Arc<str>, usize)>,
}

impl Reader {
    /// Reads objects from a text, which is named `file` in messages: YAML of any number of documents, JSON, or watch
    /// events as `kubectl get --watch --output-watch-events -o json` prints them.
    pub fn text(&mut self, file: &str, text: &str) {
        let number = self.begin(1);
        self::text(file, text, &mut |said| self.hear_of(number, said));
    }

    /// What was read. Namespaces that were only mentioned are added, owners are followed to the outermost one, and all
    /// is in order.
    #[must_use]
    pub fn finish(self) -> Cluster {
        let Self { state, unknown, problems, more_problems, .. } = self;
        Cluster { unknown, problems, more_problems, ..state.into_cluster() }
    }

    /// Begins so many inputs; gives the number of the first.
    pub(crate) const fn begin(&mut self, inputs: usize) -> usize {
        let first = self.inputs;
        self.inputs += inputs;
        first
    }

    /// Takes in what input `number` said.
    pub(crate) fn hear_of(&mut self, number: usize, said: Said) {
        if let Said::Set { object, .. } = &said {
            let file = &object.origin().file;
            if self.last.as_ref().is_none_or(|(last, of)| *of != number || !Arc::ptr_eq(last, file)) {
                self.files.insert(Arc::clone(file), number);
                self.last = Some((Arc::clone(file), number));
            }
        }
        self.hear(said);
    }

    /// Takes in what was said by the input that was heard of last.
    pub(crate) fn hear(&mut self, said: Said) {
        match said {
            Said::Set { object, name_line, event } => {
                let is_policy = matches!(*object, Object::NetworkPolicy(_) | Object::ClusterPolicy(_));
                let (name, origin) = (object.name(), object.origin().clone());
                let old = self.state.apply(Change::Set(object));
                if let Some(old) = old.filter(|_| event.is_none()) {
                    let by_one = self.files.get(&old.origin().file) == self.files.get(&origin.file);
                    self.problem(Problem {
                        about: match (by_one, is_policy) {
                            (false, _) => About::Replaced,
                            (true, true) => About::PolicyTwice,
                            (true, false) => About::Other,
                        },
                        file: origin.file,
                        document: origin.document,
                        line: name_line,
                        object: name.to_string(),
                        field: "metadata.name".to_owned(),
                        reason: format!("given before at {}: this one counts", old.origin()),
                    });
                }
            }
            Said::Remove(name) => {
                self.state.apply(Change::Remove(name));
            }
            Said::Listed => {}
            Said::Problem { problem, .. } => self.problem(problem),
            Said::Unknown(kind) => {
                if self.unknown.len() < MAX_KINDS || self.unknown.contains_key(&kind) {
                    *self.unknown.entry(kind).or_default() += 1;
                }
            }
        }
    }

    /// Says what was read of a watch in the end.
    fn retell(self, file: &str, hear: &mut dyn FnMut(Said)) {
        for object in self.state.into_objects() {
            let name_line = object.origin().line;
            hear(Said::Set { object: Box::new(object), name_line, event: Some(WatchEvent::Added) });
        }
        for (kind, count) in self.unknown {
            (0..count).for_each(|_| hear(Said::Unknown(kind.clone())));
        }
        for problem in self.problems {
            hear(Said::Problem { problem, name: None });
        }
        if self.more_problems > 0 {
            hear(files::whole(file, format!("{} more objects or fields cannot be used", self.more_problems)));
        }
    }

    fn problem(&mut self, problem: Problem) {
        let is_policy = matches!(problem.about, About::Policy | About::PolicyTwice);
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        } else {
            self.more_problems += 1;
            // That a policy cannot be used is not lost among whatever else cannot.
            if is_policy && !self.policy_told {
                self.problems.pop();
                self.problems.push(problem);
            }
        }
        self.policy_told |= is_policy;
    }
}

/// Says to `hear` what a text says, which is named `file` in messages.
pub(crate) fn text(file: &str, text: &str, hear: &mut dyn FnMut(Said)) {
    text::read(text, text::Start::default(), &mut Typist { file: file.into(), hear });
}

/// Says to `hear` what line `number`, from 1, of what an API server sends says.
#[cfg(feature = "api")]
pub(crate) fn server_line(file: &str, line: &str, number: usize, hear: &mut dyn FnMut(Said)) {
    let start = text::Start { line: number, documents: number.saturating_sub(1), mend: false };
    text::read(line, start, &mut Typist { file: file.into(), hear });
}

/// The error without its line and column, which count from the start of the object and so mislead.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason).to_owned()
}
