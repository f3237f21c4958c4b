//! [`Tree`]: the shape of the tree with everything in it open.

use std::collections::HashSet;
use std::ops::Deref;
use std::sync::Arc;

use stratalog_base::{Error, Result};
use stratalog_compaction::{Version, VersionEdit};

use crate::file_name::MANIFEST;
use crate::open_file::{OpenTable, Opener};
use crate::values::Values;

/// The tree's shape with open tables, and the value files that these refer to.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// Which tables stand where.
    pub version: Version<Arc<OpenTable>>,
    /// What the handles in them lead to.
    pub values: Values,
}

impl Deref for Tree {
    type Target = Version<Arc<OpenTable>>;

    fn deref(&self) -> &Version<Arc<OpenTable>> {
        &self.version
    }
}

impl Tree {
    /// The tree after `edit`, with the tables and value files that it adds open.
    ///
    /// # Errors
    /// Of opening them; [`Error::Corrupt`], naming the manifest, if the edit does not fit this tree.
    pub fn apply(&self, edit: &VersionEdit, opener: &Opener) -> Result<Tree> {
        let misfit = |what| Error::corrupt(&opener.dir.join(MANIFEST), 0, what);
        let version = self.version.apply(edit, |summary| opener.table(summary), misfit)?;
        let values = self.values.of(&version, opener)?;
        Ok(Tree { version, values })
    }

    /// Says of the files that `next` has no more that no manifest names them, durably: they are removed once
    /// the last tree that has them is gone.
    pub fn mark_obsolete_but(&self, next: &Tree) {
        let kept: HashSet<u64> = next.tables().map(|(_, table)| table.id()).collect();
        let gone = self.tables().filter(|(_, table)| !kept.contains(&table.id()));
        gone.for_each(|(_, table)| table.mark_obsolete());
        self.values.mark_obsolete_but(&next.values);
    }
}
