//! Which objects a source has given, and which of them it gives no more.

use std::collections::HashSet;

use crate::model::ObjectName;
use crate::read::Said;

/// Names of what a source gave before it began anew, and of what it has given since.
#[derive(Debug, Default)]
pub(crate) struct RollCall {
    before: HashSet<ObjectName>,
    now: HashSet<ObjectName>,
    /// Whether something was given that nobody could tell the name of: it may have been anything.
    doubtful: bool,
}

impl RollCall {
    /// The source begins anew: it will give all that there is.
    pub(crate) fn begin(&mut self) {
        self.before.extend(self.now.drain());
        self.doubtful = false;
    }

    pub(crate) fn hear(&mut self, said: &Said) {
        match said {
            Said::Set { object, .. } => {
                let name = object.name();
                self.before.remove(&name);
                self.now.insert(name);
            }
            Said::Remove(name) => {
                self.before.remove(name);
                self.now.remove(name);
            }
            // It is there, though nobody understands it: it stays as it was.
            Said::Problem { name: Some(name), .. } => {
                if let Some(name) = self.before.take(name) {
                    self.now.insert(name);
                }
            }
            Said::Problem { name: None, .. } => self.doubtful = true,
            Said::Listed | Said::Unknown(_) => {}
        }
    }

    /// The source has given all: what it gave before and has not given again. Nothing where that is in doubt.
    pub(crate) fn missing(&mut self) -> Vec<ObjectName> {
        if self.doubtful { Vec::new() } else { self.before.drain().collect() }
    }
}
