//! [`LevelCursor`]: the disjoint, ascending tables of a level (or of a part of it) as one cursor.

use std::sync::Arc;

use stratalog_base::{Cursor, KeyRef, Result, Slice};
use stratalog_sstable::{ReadUse, Table, TableCursor};

/// A cursor over tables of which each ends before the next begins (VERSION-2). A table is opened for
/// reading only when the cursor comes to it.
#[derive(Debug)]
pub struct LevelCursor {
    tables: Vec<Arc<Table>>,
    reads: ReadUse,
    /// The table that `cursor` walks; meaningless while there is none.
    index: usize,
    cursor: Option<TableCursor>,
}

impl LevelCursor {
    /// Over `tables`, ascending and disjoint.
    pub fn new(tables: Vec<Arc<Table>>, reads: ReadUse) -> LevelCursor {
        LevelCursor { tables, reads, index: 0, cursor: None }
    }

    /// Positions a cursor of table `index` by `to`; if nothing is there, goes on to the neighbour in
    /// the direction of `forward`, and so on.
    fn enter(
        &mut self,
        mut index: usize,
        forward: bool,
        to: impl FnOnce(&mut TableCursor) -> Result<()>,
    ) -> Result<()> {
        let reuse = self.cursor.take().filter(|_| self.index == index);
        let Some(table) = self.tables.get(index) else { return Ok(()) };
        let mut cursor = reuse.unwrap_or_else(|| table.cursor(self.reads));
        to(&mut cursor)?;
        while !cursor.valid() {
            index = if forward { index + 1 } else { index.wrapping_sub(1) };
            let Some(table) = self.tables.get(index) else { return Ok(()) };
            cursor = table.cursor(self.reads);
            if forward { cursor.seek_first()? } else { cursor.seek_last()? }
        }
        self.index = index;
        self.cursor = Some(cursor);
        Ok(())
    }

    #[inline]
    fn here(&self) -> &TableCursor {
        self.cursor.as_ref().expect("the caller checked that the cursor is valid")
    }
}

impl Cursor for LevelCursor {
    #[inline]
    fn valid(&self) -> bool {
        self.cursor.is_some()
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
        self.enter(self.tables.len().wrapping_sub(1), false, TableCursor::seek_last)
    }

    fn seek(&mut self, target: KeyRef<'_>) -> Result<()> {
        let index = self.tables.partition_point(|table| table.summary().largest.as_ref() < target);
        self.enter(index, true, |cursor| cursor.seek(target))
    }

    fn seek_before(&mut self, target: KeyRef<'_>) -> Result<()> {
        let behind =
            self.tables.partition_point(|table| table.summary().smallest.as_ref() < target);
        self.enter(behind.wrapping_sub(1), false, |cursor| cursor.seek_before(target))
    }

    #[inline]
    fn next(&mut self) -> Result<()> {
        match &mut self.cursor {
            Some(cursor) => {
                let moved = cursor.next();
                if moved.is_ok() && cursor.valid() {
                    return Ok(());
                }
                moved.inspect_err(|_| self.cursor = None)?;
                self.enter(self.index + 1, true, TableCursor::seek_first)
            }
            None => panic!("next on an invalid cursor"),
        }
    }

    #[inline]
    fn prev(&mut self) -> Result<()> {
        match &mut self.cursor {
            Some(cursor) => {
                let moved = cursor.prev();
                if moved.is_ok() && cursor.valid() {
                    return Ok(());
                }
                moved.inspect_err(|_| self.cursor = None)?;
                self.enter(self.index.wrapping_sub(1), false, TableCursor::seek_last)
            }
            None => panic!("prev on an invalid cursor"),
        }
    }
}
