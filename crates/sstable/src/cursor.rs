//! Walking a table in order, in both directions.

use std::sync::Arc;

use stratalog_base::{Cursor, KeyRef, Result, Slice, Trailer};

use crate::block::{Block, Entry};
use crate::pin;
use crate::sweep::Sweep;
use crate::table::Table;

/// What a cursor's reads are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadUse {
    /// Someone may want the same entries again: blocks are read one by one and cached.
    Lookup,
    /// Every entry once, as a compaction does: cached blocks are used, others are read 256 KiB at a
    /// time and not cached, so that the sweep does not push out what lookups need.
    Sweep,
}

/// A [`Cursor`] over one table. Owned: it keeps the table, and the block it stands in, alive.
#[derive(Debug)]
pub struct TableCursor {
    table: Arc<Table>,
    sweep: Option<Sweep>,
    /// The block that the cursor stands in, or stood in last, and its number.
    block: Option<(Arc<Block>, usize)>,
    valid: bool,
    /// The entry's number in its block.
    index: usize,
    entry: Entry,
    user: Vec<u8>,
    trailer: Trailer,
}

impl TableCursor {
    pub(crate) fn new(table: Arc<Table>, reads: ReadUse) -> TableCursor {
        TableCursor {
            table,
            sweep: (reads == ReadUse::Sweep).then(Sweep::default),
            block: None,
            valid: false,
            index: 0,
            entry: Entry::default(),
            user: Vec::new(),
            trailer: Trailer::OLDEST,
        }
    }

    fn blocks(&self) -> usize {
        self.table.meta().index.len()
    }

    /// The block numbered `number`, which becomes the present one. Invalid until placed.
    fn load(&mut self, number: usize) -> Result<&Arc<Block>> {
        self.valid = false;
        if self.block.as_ref().is_none_or(|(_, present)| *present != number) {
            self.block = None;
            let block = match &mut self.sweep {
                None => self.table.block(number)?,
                Some(sweep) => match self.table.cached(number) {
                    Some(block) => block,
                    None => {
                        let (file, meta) = (self.table.file(), self.table.meta());
                        Arc::new(meta.sweep(file, number, sweep)?.0)
                    }
                },
            };
            self.block = Some((block, number));
        }
        Ok(self.present().0)
    }

    fn present(&self) -> (&Arc<Block>, usize) {
        let (block, number) = self.block.as_ref().expect("the cursor has been placed");
        (block, *number)
    }

    /// Stands on entry `index` of the present block.
    fn place(&mut self, index: usize) {
        let (block, _) = self.block.as_ref().expect("loaded");
        self.entry = block.entry(index);
        self.trailer = block.trailer(index);
        self.user.clear();
        if self.entry.shared > 0 {
            self.user.extend_from_slice(&block.head_key(index)[..self.entry.shared]);
        }
        self.user.extend_from_slice(block.suffix(&self.entry));
        self.index = index;
        self.valid = true;
    }

    /// Stands on the first entry of block `number`, if there is such a block.
    fn enter_front(&mut self, number: usize) -> Result<()> {
        self.valid = false;
        if number < self.blocks() {
            self.load(number)?;
            self.place(0);
        }
        Ok(())
    }

    /// Stands on the last entry before block `number`, if there is one.
    fn enter_back(&mut self, number: usize) -> Result<()> {
        self.valid = false;
        if let Some(number) = number.checked_sub(1) {
            let last = self.load(number)?.len() - 1;
            self.place(last);
        }
        Ok(())
    }
}

impl Cursor for TableCursor {
    #[inline]
    fn valid(&self) -> bool {
        self.valid
    }

    #[inline]
    fn key(&self) -> KeyRef<'_> {
        assert!(self.valid);
        KeyRef { user: &self.user, trailer: self.trailer }
    }

    #[inline]
    fn value(&self) -> &[u8] {
        assert!(self.valid);
        self.present().0.value(&self.entry)
    }

    #[inline]
    fn value_slice(&self) -> Slice {
        assert!(self.valid);
        pin::value(self.present().0, &self.entry)
    }

    fn seek_first(&mut self) -> Result<()> {
        self.enter_front(0)
    }

    fn seek_last(&mut self) -> Result<()> {
        self.enter_back(self.blocks())
    }

    fn seek(&mut self, target: KeyRef<'_>) -> Result<()> {
        let number = self.table.meta().index.find(target);
        let block = self.load(number)?;
        let index = block.lower_bound(target);
        if index < block.len() {
            self.place(index);
            return Ok(());
        }
        self.enter_front(number + 1)
    }

    fn seek_before(&mut self, target: KeyRef<'_>) -> Result<()> {
        let number = self.table.meta().index.find(target);
        match self.load(number)?.lower_bound(target).checked_sub(1) {
            Some(index) => {
                self.place(index);
                Ok(())
            }
            None => self.enter_back(number),
        }
    }

    #[inline]
    fn next(&mut self) -> Result<()> {
        assert!(self.valid);
        let (block, number) = self.block.as_ref().expect("valid");
        if self.index + 1 == block.len() {
            return self.enter_front(number + 1);
        }
        self.index += 1;
        self.entry = block.entry_at(self.entry.end);
        self.trailer = block.trailer(self.index);
        // BLOCK-2: what is shared with the head has been in place since the head.
        self.user.truncate(self.entry.shared);
        self.user.extend_from_slice(block.suffix(&self.entry));
        Ok(())
    }

    fn prev(&mut self) -> Result<()> {
        assert!(self.valid);
        match self.index.checked_sub(1) {
            Some(index) => {
                self.place(index);
                Ok(())
            }
            None => self.enter_back(self.present().1),
        }
    }
}
