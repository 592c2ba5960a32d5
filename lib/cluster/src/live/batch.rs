//! What a source hands on at a time.

use super::{Event, Sender};
use crate::model::Change;
use crate::read::Said;

/// How many changes are handed on at once, more or less: those of a document are not parted.
const MAX_CHANGES: usize = 1024;

/// What a source has been told and not handed on yet.
pub(crate) struct Batch {
    source: usize,
    sender: Sender,
    events: Vec<Event>,
    changes: usize,
}

/// Nobody takes anything any more.
#[derive(Debug)]
pub(crate) struct Gone;

impl Batch {
    pub(super) fn new(source: usize, sender: Sender) -> Self {
        Self { source, sender, events: Vec::new(), changes: 0 }
    }

    /// Another one of the same source.
    #[cfg(feature = "api")]
    pub(crate) fn another(&self) -> Self {
        Self::new(self.source, self.sender.clone())
    }

    pub(crate) fn change(&mut self, change: Change) {
        self.changes += 1;
        match self.events.last_mut() {
            Some(Event::Changes(changes)) => changes.push(change),
            _ => self.events.push(Event::Changes(vec![change])),
        }
    }

    /// Takes in what was said, as far as it is anything to hand on.
    pub(crate) fn hear(&mut self, said: Said) {
        match said {
            Said::Set { object, .. } => self.change(Change::Set(object)),
            Said::Remove(name) => self.change(Change::Remove(name)),
            Said::Problem { problem, .. } => self.events.push(Event::Problem(problem)),
            Said::Listed | Said::Unknown(_) => {}
        }
    }

    #[cfg(feature = "api")]
    pub(crate) fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    pub(crate) fn listed(&mut self) {
        self.events.push(Event::Listed(self.source));
    }

    pub(crate) fn ended(&mut self, error: Option<String>) {
        self.events.push(Event::Ended { source: self.source, error });
    }

    /// Whether there is as much as is handed on at once.
    pub(crate) const fn is_full(&self) -> bool {
        self.changes >= MAX_CHANGES
    }

    /// Whether there is nothing to hand on.
    pub(crate) const fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Hands all on, and waits until there is room for it.
    pub(crate) fn send(&mut self) -> Result<(), Gone> {
        self.changes = 0;
        self.events.drain(..).try_for_each(|event| self.sender.send(event)).map_err(|_| Gone)
    }
}
