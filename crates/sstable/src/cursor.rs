//! Walking a table in order, in both directions.
//!
//! # What a walk costs
//! A block is entered once: where the bounds cut it, if they do, is found then and not at each entry. A
//! step decodes three lengths and puts the end of a key behind what it shares with the key before.
//!
//! What it waits for is memory. So a walk that has come to its third block keeps the block after the
//! present one pinned, and each step asks for the lines of it that lie where the present entry does; of a
//! walk over keys alone, for the key with the same number. For a value nothing waits before
//! [`Cursor::value`] is called.
//!
//! [`Cursor::next_while`] goes through the rest of a block at once: what a step looks up and checks each
//! time, it does once.
//!
//! # Invariants
//! - CURSOR-1: while valid, the cursor stands on an entry of `window`, the part of its block that lies
//!   within the bounds.
//! - CURSOR-2: no block is read that lies beyond the bounds.

mod blocks;

use std::ops::Range;
use std::sync::Arc;

use stratalog_base::{Cursor, KeyBuf, KeyRef, Result, Slice, Trailer};

use crate::ahead::{LINES_A_SEEK, LINES_A_SHARED_SEEK};
use crate::block::{Block, Entry};
use crate::partition::Partition;
use crate::pin;
use crate::reads::{ReadUse, Reads};
use crate::shared::Shared;
use crate::sweep::Sweep;
use crate::table::Table;

/// A [`Cursor`] over one table. Owned: it keeps the table, and the block it stands in, alive.
#[derive(Debug)]
pub struct TableCursor {
    table: Arc<Table>,
    reads: Reads,
    sweep: Sweep,
    /// The block that the cursor stands in, or stood in last, and its number.
    block: Option<(Block, usize)>,
    /// The partition that was needed last, and its number.
    partition: Option<(Shared<Partition>, usize)>,
    /// The entries of the block that lie within the bounds.
    window: Range<usize>,
    /// Whether entries within the bounds may lie in the blocks before, and behind.
    more: (bool, bool),
    /// Blocks entered one after the other in one direction, and which: 1 or -1, or 0 after a jump.
    streak: u32,
    direction: isize,
    /// The next block in that direction, and its number.
    ahead: Option<(Block, usize)>,
    /// Of a seek that has been begun, the number of the block that it leads to.
    approached: Option<usize>,
    valid: bool,
    /// The entry's number in its block.
    index: usize,
    entry: Entry,
    user: KeyBuf,
    trailer: Trailer,
}

impl TableCursor {
    pub(crate) fn new(table: Arc<Table>, reads: Reads) -> TableCursor {
        TableCursor {
            table,
            sweep: match reads.purpose {
                ReadUse::Lookup => Sweep::growing(),
                ReadUse::Sweep => Sweep::default(),
            },
            reads,
            block: None,
            partition: None,
            window: 0..0,
            more: (false, false),
            streak: 0,
            direction: 0,
            ahead: None,
            approached: None,
            valid: false,
            index: 0,
            entry: Entry::default(),
            user: KeyBuf::default(),
            trailer: Trailer::OLDEST,
        }
    }

    /// Whether the table has no entries, but range tombstones.
    fn is_empty(&self) -> bool {
        self.table.meta().top.blocks() == 0
    }

    #[inline]
    fn present(&self) -> (&Block, usize) {
        let (block, number) = self.block.as_ref().expect("the cursor has been placed");
        (block, *number)
    }

    /// Stands on entry `index` of the present block.
    #[inline]
    fn place(&mut self, index: usize) {
        let (block, _) = self.block.as_ref().expect("loaded");
        self.entry = block.entry(index);
        self.trailer = block.trailer(index);
        if self.entry.shared > 0 {
            self.user.set(block.key_start(index, self.entry.shared));
        }
        self.user.replace_tail(self.entry.shared, block.suffix(&self.entry));
        self.index = index;
        self.valid = true;
    }

    /// Stands on the first entry of block `number`, or of one behind it.
    fn enter_front(&mut self, mut number: usize) -> Result<()> {
        loop {
            self.load(number)?;
            if !self.window.is_empty() {
                self.place(self.window.start);
                return Ok(());
            }
            if !self.more.1 {
                return Ok(());
            }
            number += 1;
        }
    }

    /// Stands on the last entry of block `number`, or of one before it.
    fn enter_back(&mut self, mut number: usize) -> Result<()> {
        loop {
            self.load(number)?;
            if !self.window.is_empty() {
                self.place(self.window.end - 1);
                return Ok(());
            }
            if !self.more.0 {
                return Ok(());
            }
            number -= 1;
        }
    }

    /// From the last entry of the present block forwards.
    #[inline(never)]
    fn leave_front(&mut self) -> Result<()> {
        self.valid = false;
        if self.more.1 { self.enter_front(self.present().1 + 1) } else { Ok(()) }
    }

    /// From the first entry of the present block backwards.
    #[inline(never)]
    fn leave_back(&mut self) -> Result<()> {
        self.valid = false;
        if self.more.0 { self.enter_back(self.present().1 - 1) } else { Ok(()) }
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
        KeyRef { user: self.user.as_slice(), trailer: self.trailer }
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
        self.valid = false;
        if self.is_empty() {
            return Ok(());
        }
        let reads = self.reads.clone();
        let first = reads.lower().map_or(Ok(0), |lower| self.find(lower))?;
        self.enter_front(first)
    }

    fn seek_last(&mut self) -> Result<()> {
        self.valid = false;
        if self.is_empty() {
            return Ok(());
        }
        let reads = self.reads.clone();
        let last = self.table.meta().top.blocks() - 1;
        let last = reads.upper().map_or(Ok(last), |upper| self.find_before(upper))?;
        self.enter_back(last)
    }

    fn seek(&mut self, target: KeyRef<'_>) -> Result<()> {
        self.valid = false;
        if self.reads.lower().is_some_and(|lower| target <= lower) {
            return self.seek_first();
        }
        if self.is_empty() || self.reads.upper().is_some_and(|upper| target >= upper) {
            return Ok(()); // CURSOR-2
        }
        let (number, lines) = match self.approached.take() {
            Some(number) => (number, LINES_A_SHARED_SEEK),
            None => (self.find(target)?, LINES_A_SEEK),
        };
        self.load(number)?;
        let (block, _) = self.present();
        let found = block.lower_bound_ahead(target, lines, self.reads.keys_only);
        let index = found.max(self.window.start);
        if index >= self.window.end {
            return self.leave_front();
        }
        self.place(index);
        Ok(())
    }

    fn seek_before(&mut self, target: KeyRef<'_>) -> Result<()> {
        self.valid = false;
        if self.reads.upper().is_some_and(|upper| target >= upper) {
            return self.seek_last();
        }
        if self.is_empty() || self.reads.lower().is_some_and(|lower| target <= lower) {
            return Ok(()); // CURSOR-2
        }
        let number = self.find(target)?;
        self.load(number)?;
        let index = self.present().0.lower_bound(target).min(self.window.end);
        if index <= self.window.start {
            return self.leave_back();
        }
        self.place(index - 1);
        Ok(())
    }

    #[inline]
    fn next(&mut self) -> Result<()> {
        assert!(self.valid);
        let index = self.index + 1;
        if index >= self.window.end {
            return self.leave_front();
        }
        let (block, _) = self.block.as_ref().expect("valid");
        let start = self.entry.end;
        let entry = block.entry_at(start);
        self.trailer = block.trailer(index);
        // BLOCK-2: what is shared with the head has been in place since the head.
        self.user.replace_tail(entry.shared, block.suffix(&entry));
        self.index = index;
        self.entry = entry;
        if let Some((ahead, _)) = &self.ahead {
            ahead.prefetch_step(index, start..entry.end, self.reads.keys_only);
        }
        Ok(())
    }

    #[inline]
    fn prev(&mut self) -> Result<()> {
        assert!(self.valid);
        if self.index <= self.window.start {
            return self.leave_back();
        }
        self.place(self.index - 1);
        if let Some((ahead, _)) = &self.ahead {
            // Of keys, that which is as far from the end.
            let index = ahead.len().wrapping_sub(self.present().0.len() - self.index);
            let range = self.entry.suffix_at..self.entry.end;
            ahead.prefetch_step(index, range, self.reads.keys_only);
        }
        Ok(())
    }

    #[inline]
    fn next_while(
        &mut self,
        most: usize,
        mut seen: impl FnMut(KeyRef<'_>, &[u8]) -> bool,
    ) -> usize {
        assert!(self.valid);
        let (block, _) = self.block.as_ref().expect("valid");
        let walk = block.walk();
        let first = self.index + 1;
        let last = (first.saturating_add(most)).min(self.window.end);
        self.valid = false; // Should `seen` panic.
        let (mut index, mut entry, mut trailer) = (self.index, self.entry, self.trailer);
        for next in first..last {
            let start = entry.end;
            entry = walk.entry_at(start);
            trailer = walk.trailer(next);
            index = next;
            // BLOCK-2, as in `next`.
            self.user.replace_tail(entry.shared, &walk.entries[entry.suffix_at..entry.value_at]);
            if let Some((ahead, _)) = &self.ahead {
                ahead.prefetch_step(index, start..entry.end, self.reads.keys_only);
            }
            let key = KeyRef { user: self.user.as_slice(), trailer };
            if !seen(key, &walk.entries[entry.value_at..entry.end]) {
                break;
            }
        }
        let taken = index - self.index;
        (self.index, self.entry, self.trailer, self.valid) = (index, entry, trailer, true);
        taken
    }

    fn approach(&mut self, target: KeyRef<'_>, part: usize) -> bool {
        self.valid = false;
        if part == 0 {
            self.approached = None;
            let outside = self.reads.lower().is_some_and(|lower| target <= lower)
                || self.reads.upper().is_some_and(|upper| target >= upper);
            if !outside && !self.is_empty() {
                self.approached = self.find(target).ok(); // An error will come again, and be told.
            }
        }
        let Some(number) = self.approached else { return false };
        if part == 0 {
            self.table.prefetch(number);
            return true;
        }
        let is_lookup = self.reads.purpose == ReadUse::Lookup;
        self.ahead = self.table.cached(number, is_lookup).map(|block| (block, number));
        if let Some((block, _)) = &self.ahead {
            block.lower_bound_ahead(target, LINES_A_SHARED_SEEK, self.reads.keys_only);
        }
        false
    }

    fn run_before(&self, limit: KeyRef<'_>) -> usize {
        let behind = self.present().0.lower_bound(limit).min(self.window.end);
        behind.saturating_sub(self.index + 1)
    }

    fn run_behind(&self, limit: KeyRef<'_>) -> usize {
        let first = self.present().0.lower_bound(limit).max(self.window.start);
        self.index.saturating_sub(first)
    }
}
