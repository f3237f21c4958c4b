//! [`View`]: all that a read may have to look at, as one immutable object.
//!
//! # Invariants
//! - VIEW-1: from front to back, active memtable, sealed ones, level 0, deeper levels: each holds only
//!   versions older than those of the same user key before it. So the first one met wins.
//! - VIEW-2: a view holds every write below the `visible` mark that was read **after** pinning it, up
//!   to the seal of its active memtable: with that mark, or an older snapshot's, it reads a consistent
//!   state.

use std::sync::Arc;

use stratalog_base::SeqNo;
use stratalog_compaction::LEVELS;
use stratalog_memtable::Memtable;

use crate::tree::Tree;

/// See the module page.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// Takes the writes.
    pub active: Arc<Memtable>,
    /// Wait to be flushed; newest first.
    pub sealed: Vec<Sealed>,
    /// The tables and value files.
    pub tree: Arc<Tree>,
}

/// A memtable that takes no more writes.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub memtable: Arc<Memtable>,
    /// It holds writes below this position, and with what came before it, all of them.
    pub end: SeqNo,
    /// Whether it holds writes that the log does not.
    pub unlogged: bool,
}

impl View {
    /// The memtables, newest first.
    pub fn memtables(&self) -> impl Iterator<Item = &Arc<Memtable>> {
        std::iter::once(&self.active).chain(self.sealed.iter().map(|sealed| &sealed.memtable))
    }

    /// Sorted parts: memtables, tables of level 0, deeper levels.
    pub fn sources_count(&self) -> usize {
        1 + self.sealed.len() + self.tree.level(0).len() + LEVELS - 1
    }
}
