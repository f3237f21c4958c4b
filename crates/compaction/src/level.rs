//! [`LevelCursor`]: the disjoint, ascending tables of a level (or of a part of it) as one cursor.

use std::sync::Arc;

use stratalog_base::{Cursor, KeyRef, Result, Slice};
use stratalog_sstable::{Reads, Table, TableCursor};

/// Tables of which each ends before the next begins (VERSION-2).
pub trait Run {
    /// How many there are.
    fn count(&self) -> usize;

    /// The table with that index, which is less than the count.
    fn table(&self, index: usize) -> &Arc<Table>;
}

impl Run for Vec<Arc<Table>> {
    fn count(&self) -> usize {
        self.len()
    }

    fn table(&self, index: usize) -> &Arc<Table> {
        &self[index]
    }
}

/// A cursor over a [`Run`]. A table is opened for reading only when the cursor comes to it.
#[derive(Debug)]
pub struct LevelCursor<R = Vec<Arc<Table>>> {
    tables: R,
    reads: Reads,
    valid: bool,
    /// Whether `cursor` has begun a seek.
    approached: bool,
    /// The table that `cursor` walks; meaningless while there is none.
    index: usize,
    cursor: Option<TableCursor>,
}

impl<R: Run> LevelCursor<R> {
    /// Over `tables`, ascending and disjoint.
    pub fn new(tables: R, reads: impl Into<Reads>) -> LevelCursor<R> {
        let reads = reads.into();
        LevelCursor { tables, reads, valid: false, approached: false, index: 0, cursor: None }
    }

    /// Opens table `index`, if there is one, unless it is open.
    fn open(&mut self, index: usize) -> Option<&mut TableCursor> {
        if index >= self.tables.count() {
            return None;
        }
        if self.index != index {
            (self.index, self.cursor) = (index, None);
        }
        let open = || self.tables.table(index).cursor(self.reads.clone());
        Some(self.cursor.get_or_insert_with(open))
    }

    /// Positions a cursor of table `index` by `to`; if nothing is there, goes on to the neighbour in
    /// the direction of `forward`, and so on.
    fn enter(
        &mut self,
        mut index: usize,
        forward: bool,
        to: impl FnOnce(&mut TableCursor) -> Result<()>,
    ) -> Result<()> {
        (self.valid, self.approached) = (false, false);
        let Some(mut cursor) = self.open(index) else { return Ok(()) };
        to(cursor)?;
        while !cursor.valid() {
            index = if forward { index + 1 } else { index.wrapping_sub(1) };
            cursor = match self.open(index) {
                Some(cursor) => cursor,
                None => return Ok(()),
            };
            if forward { cursor.seek_first()? } else { cursor.seek_last()? }
        }
        self.valid = true;
        Ok(())
    }

    /// The number of tables that `precedes` holds for, which are the first ones.
    fn partition_point(&self, precedes: impl Fn(&Table) -> bool) -> usize {
        let (mut start, mut end) = (0, self.tables.count());
        while start < end {
            let middle = start.midpoint(end);
            if precedes(self.tables.table(middle)) {
                start = middle + 1;
            } else {
                end = middle;
            }
        }
        start
    }

    /// The first table that may hold an entry ≥ `target`.
    fn find(&self, target: KeyRef<'_>) -> usize {
        self.partition_point(|table| table.summary().largest.as_ref() < target)
    }

    #[inline]
    fn here(&self) -> &TableCursor {
        self.cursor.as_ref().expect("the caller checked that the cursor is valid")
    }

    /// From where a step of the table's cursor led: on to the neighbour if that was its end.
    #[cold]
    fn leave(&mut self, moved: Result<()>, forward: bool) -> Result<()> {
        moved.inspect_err(|_| self.valid = false)?;
        match forward {
            true => self.enter(self.index + 1, true, TableCursor::seek_first),
            false => self.enter(self.index.wrapping_sub(1), false, TableCursor::seek_last),
        }
    }
}

impl<R: Run> Cursor for LevelCursor<R> {
    #[inline]
    fn valid(&self) -> bool {
        self.valid
    }

    #[inline]
    fn key(&self) -> KeyRef<'_> {
        self.here().key()
    }

    #[inline]
    fn value(&self) -> &[u8] {
        self.here().value()
    }

    #[inline]
    fn value_slice(&self) -> Slice {
        self.here().value_slice()
    }

    fn seek_first(&mut self) -> Result<()> {
        self.enter(0, true, TableCursor::seek_first)
    }

    fn seek_last(&mut self) -> Result<()> {
        self.enter(self.tables.count().wrapping_sub(1), false, TableCursor::seek_last)
    }

    fn seek(&mut self, target: KeyRef<'_>) -> Result<()> {
        let index = if self.approached { self.index } else { self.find(target) };
        self.enter(index, true, |cursor| cursor.seek(target))
    }

    fn seek_before(&mut self, target: KeyRef<'_>) -> Result<()> {
        let behind = self.partition_point(|table| table.summary().smallest.as_ref() < target);
        self.enter(behind.wrapping_sub(1), false, |cursor| cursor.seek_before(target))
    }

    #[inline]
    fn next(&mut self) -> Result<()> {
        assert!(self.valid, "next on an invalid cursor");
        let cursor = self.cursor.as_mut().expect("valid");
        let moved = cursor.next();
        if moved.is_ok() && cursor.valid() { Ok(()) } else { self.leave(moved, true) }
    }

    #[inline]
    fn prev(&mut self) -> Result<()> {
        assert!(self.valid, "prev on an invalid cursor");
        let cursor = self.cursor.as_mut().expect("valid");
        let moved = cursor.prev();
        if moved.is_ok() && cursor.valid() { Ok(()) } else { self.leave(moved, false) }
    }

    #[inline]
    fn next_while(&mut self, most: usize, seen: impl FnMut(KeyRef<'_>, &[u8]) -> bool) -> usize {
        assert!(self.valid, "next on an invalid cursor");
        self.cursor.as_mut().expect("valid").next_while(most, seen)
    }

    fn approach(&mut self, target: KeyRef<'_>, part: usize) -> bool {
        (self.valid, self.approached) = (false, part > 0 && self.approached);
        if part == 0 {
            let index = self.find(target);
            self.approached = self.open(index).is_some();
        }
        match &mut self.cursor {
            Some(cursor) if self.approached => cursor.approach(target, part),
            _ => false,
        }
    }

    #[inline]
    fn run_before(&self, limit: KeyRef<'_>) -> usize {
        self.here().run_before(limit)
    }

    #[inline]
    fn run_behind(&self, limit: KeyRef<'_>) -> usize {
        self.here().run_behind(limit)
    }
}
