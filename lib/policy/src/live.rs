//! Following a cluster: tables that are kept true while objects come, change and go.

use chainkit_cluster::model::{Change, Cluster};

use crate::engine::Engine;
use crate::flow::Options;
use crate::tables::{Maker, Tables, Update};

/// An engine and its tables, which follow changes of the cluster.
///
/// What a change costs goes with what it concerns, and not with the size of the cluster: a pod that is like others is one
/// entry, a policy the rows of the subjects it selects. What changes for all, such as the labels of a namespace that every
/// policy speaks of, costs as much as it says.
#[derive(Debug)]
pub struct Live {
    engine: Engine<'static>,
    tables: Tables,
    maker: Maker,
}

impl Live {
    /// Compiles `cluster`.
    #[must_use]
    pub fn new(cluster: Cluster, options: &Options) -> Self {
        let engine = Engine::owned(cluster, options);
        let (mut tables, mut maker) = (Tables::default(), Maker::default());
        maker.follow(&engine, &engine.everything(), &mut tables);
        Self { engine, tables, maker }
    }

    /// Follows changes, all of which count at once, and tells what became of the tables.
    pub fn apply(&mut self, changes: Vec<Change>) -> Update {
        let changed = self.engine.apply(changes);
        self.maker.follow(&self.engine, &changed, &mut self.tables)
    }

    /// The engine as it is now. An object that is gone leaves an empty place in its cluster.
    #[must_use]
    pub const fn engine(&self) -> &Engine<'static> {
        &self.engine
    }

    /// The tables as they are now.
    #[must_use]
    pub const fn tables(&self) -> &Tables {
        &self.tables
    }
}
