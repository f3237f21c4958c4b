//! The sorted parts of a view that an iterator walks, as one merge.

use std::ops::Range;
use std::sync::Arc;

use stratalog_base::{Cursor, KeyRef, Result, Slice};
use stratalog_compaction::{LEVELS, LevelCursor, Merge, Readable, Run, Shape};
use stratalog_memtable::MemtableCursor;
use stratalog_sstable::{Bounds, ReadUse, Reads, Table};

use crate::bounds::{common_prefix, is_above, is_below};
use crate::open_file::OpenTable;
use crate::scan::Scope;
use crate::tree::Tree;

/// One sorted part of a view.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "boxes would cost a seek an allocation for each level"
)]
pub(crate) enum Source {
    Memtable(MemtableCursor),
    Tables(LevelCursor<Stretch>),
}

/// Calls the method on whichever cursor it is.
macro_rules! each {
    ($source:expr, $cursor:ident => $call:expr) => {
        match $source {
            Source::Memtable($cursor) => $call,
            Source::Tables($cursor) => $call,
        }
    };
}

impl Cursor for Source {
    #[inline]
    fn valid(&self) -> bool {
        each!(self, cursor => cursor.valid())
    }
    #[inline]
    fn key(&self) -> KeyRef<'_> {
        each!(self, cursor => cursor.key())
    }
    #[inline]
    fn value(&self) -> &[u8] {
        each!(self, cursor => cursor.value())
    }
    #[inline]
    fn value_slice(&self) -> Slice {
        each!(self, cursor => cursor.value_slice())
    }
    fn seek_first(&mut self) -> Result<()> {
        each!(self, cursor => cursor.seek_first())
    }
    fn seek_last(&mut self) -> Result<()> {
        each!(self, cursor => cursor.seek_last())
    }
    fn seek(&mut self, target: KeyRef<'_>) -> Result<()> {
        each!(self, cursor => cursor.seek(target))
    }
    fn seek_before(&mut self, target: KeyRef<'_>) -> Result<()> {
        each!(self, cursor => cursor.seek_before(target))
    }
    #[inline]
    fn next(&mut self) -> Result<()> {
        each!(self, cursor => cursor.next())
    }
    #[inline]
    fn prev(&mut self) -> Result<()> {
        each!(self, cursor => cursor.prev())
    }
    #[inline]
    fn next_while(&mut self, most: usize, seen: impl FnMut(KeyRef<'_>, &[u8]) -> bool) -> usize {
        each!(self, cursor => cursor.next_while(most, seen))
    }
    fn approach(&mut self, target: KeyRef<'_>, part: usize) -> bool {
        each!(self, cursor => cursor.approach(target, part))
    }
    #[inline]
    fn run_before(&self, limit: KeyRef<'_>) -> usize {
        each!(self, cursor => cursor.run_before(limit))
    }
    #[inline]
    fn run_behind(&self, limit: KeyRef<'_>) -> usize {
        each!(self, cursor => cursor.run_behind(limit))
    }
}

/// Tables of one level that follow each other.
#[derive(Debug)]
pub(crate) struct Stretch {
    tree: Arc<Tree>,
    level: usize,
    tables: Range<usize>,
}

impl Run for Stretch {
    fn count(&self) -> usize {
        self.tables.len()
    }

    fn table(&self, index: usize) -> &Arc<Table> {
        self.tree.level(self.level)[self.tables.start + index].table()
    }
}

/// A merge of the parts of the view that may hold keys within the scope. Entries beyond `bounds`, which are
/// not narrower, are not looked for.
pub(crate) fn merge(scope: &Scope, bounds: Bounds) -> Merge<Source> {
    let (view, lower, upper) = (&scope.view, scope.lower(), scope.upper());
    let bounded = bounds.lower.is_some() || bounds.upper.is_some();
    let bounds = bounded.then(|| Arc::new(bounds));
    let reads = Reads { purpose: ReadUse::Lookup, bounds, keys_only: scope.keys_only };
    let is_before = |table: &Arc<OpenTable>| is_below(&table.summary().largest.user, lower);
    let is_behind = |table: &Arc<OpenTable>| is_above(&table.summary().smallest.user, upper);

    let mut sources = Vec::with_capacity(view.sources_count());
    let memtables = view.memtables().filter(|memtable| !memtable.is_empty());
    sources.extend(memtables.map(|memtable| Source::Memtable(memtable.cursor())));
    let mut add = |level, tables: Range<usize>| {
        if !tables.is_empty() {
            let stretch = Stretch { tree: view.tree.clone(), level, tables };
            sources.push(Source::Tables(LevelCursor::new(stretch, reads.clone())));
        }
    };
    let may_have = |table: &Arc<OpenTable>| {
        // A filter that cannot be read excludes nothing; the cursor tells why.
        common_prefix(lower, upper, table.file.prefix_bytes())
            .is_none_or(|prefix| table.file.may_contain_prefix(prefix).unwrap_or(true))
    };
    for (index, table) in view.tree.level(0).iter().enumerate() {
        if !is_before(table) && !is_behind(table) && may_have(table) {
            add(0, index..index + 1);
        }
    }
    for level in 1..LEVELS {
        let tables = view.tree.level(level);
        let mut first = tables.partition_point(is_before);
        let mut end = first + tables[first..].partition_point(|table| !is_behind(table));
        while first < end && !may_have(&tables[first]) {
            first += 1;
        }
        while first < end && !may_have(&tables[end - 1]) {
            end -= 1;
        }
        add(level, first..end);
    }
    Merge::new(sources)
}
