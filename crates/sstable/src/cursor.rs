//! Walking a table in order, in both directions.
//!
//! # What a walk costs
//! A block is entered once: where the bounds cut it, if they do, is found then and not at each entry. A
//! step decodes three lengths and puts the end of a key behind what it shares with the key before.
//!
//! What it waits for is memory. So a walk that has come to its third block keeps the block after the
//! present one pinned, and each step asks for the lines of it that lie where the present entry does. For a
//! value nothing waits before [`Cursor::value`] is called.
//!
//! # Invariants
//! - CURSOR-1: while valid, the cursor stands on an entry of `window`, the part of its block that lies
//!   within the bounds.
//! - CURSOR-2: no block is read that lies beyond the bounds.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use stratalog_base::{Cursor, KeyBuf, KeyRef, Result, Slice, Trailer};

use crate::block::{Block, Entry};
use crate::cache::Wanted;
use crate::partition::Partition;
use crate::pin;
use crate::reads::{ReadUse, Reads};
use crate::shared::Shared;
use crate::sweep::Sweep;
use crate::table::Table;

/// Blocks in a row after which the one ahead is pinned.
const PIN_AHEAD_AFTER: u32 = 2;

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

    /// Makes block `number` the present one. Invalid until placed.
    fn load(&mut self, number: usize) -> Result<()> {
        (self.valid, self.approached) = (false, None);
        if let Some((_, present)) = self.block.take_if(|(_, present)| *present != number) {
            self.note_move(number.wrapping_sub(present) as isize);
        } else if self.block.is_some() {
            return Ok(());
        }
        let block = match self.ahead.take() {
            Some((block, ahead)) if ahead == number => block,
            _ => self.read(number)?,
        };
        self.cut(&block, number)?;
        self.block = Some((block, number));
        if self.streak >= PIN_AHEAD_AFTER {
            self.pin_ahead(number);
        }
        Ok(())
    }

    /// Notes that the cursor goes `step` blocks further.
    fn note_move(&mut self, step: isize) {
        if step.abs() == 1 && (step == self.direction || self.direction == 0) {
            self.streak += 1;
            self.direction = step;
        } else {
            self.streak = 0;
            self.direction = 0;
            self.sweep.jump();
        }
    }

    /// The block `number`, from the cache or the file.
    fn read(&mut self, number: usize) -> Result<Block> {
        let is_lookup = self.reads.purpose == ReadUse::Lookup;
        if let Some(block) = self.table.cached(number, is_lookup) {
            return Ok(block);
        }
        self.enter(self.table.meta().top.of_block(number))?;
        let bounds = self.readable();
        let (partition, _) = self.partition.as_ref().expect("entered");
        let range = partition.index.range(number - partition.index.first_block());
        let (file, meta) = (self.table.file(), self.table.meta());
        let (block, _) = meta.sweep(file, range, bounds, &mut self.sweep)?;
        Ok(if is_lookup { self.table.keep(number, block, Wanted::Scan) } else { block })
    }

    /// Makes partition `number` the present one.
    fn enter(&mut self, number: usize) -> Result<()> {
        if self.partition.as_ref().is_some_and(|(_, present)| *present == number) {
            return Ok(());
        }
        self.partition = None;
        let partition = match (self.reads.purpose, self.table.cached_partition(number)) {
            (_, Some(partition)) => partition,
            (ReadUse::Lookup, None) => self.table.partition(number)?,
            (ReadUse::Sweep, None) => {
                let (file, meta) = (self.table.file(), self.table.meta());
                meta.read_partition(file, number, false, &mut Vec::new())?.share()
            }
        };
        self.partition = Some((partition, number));
        Ok(())
    }

    /// The number of the block that holds `target` if any does. The table has blocks.
    fn find(&mut self, target: KeyRef<'_>) -> Result<usize> {
        if let Some(only) = self.table.only() {
            return Ok(only.index.find(target));
        }
        self.enter(self.table.meta().top.find(target))?;
        let index = &self.partition.as_ref().expect("entered").0.index;
        Ok(index.first_block() + index.find(target))
    }

    /// The number of the last block with entries before `limit`, or the first. The table has blocks.
    fn find_before(&mut self, limit: KeyRef<'_>) -> Result<usize> {
        let number = self.find(limit)?;
        self.enter(self.table.meta().top.of_block(number))?;
        // INDEX-1: nothing in it is less than its separator.
        let starts_there = self.lower_bound_of(number) == limit;
        Ok(if starts_there { number.saturating_sub(1) } else { number })
    }

    /// A lower bound of the entries of block `number`, which lies in the present partition or is the
    /// first of the next.
    fn lower_bound_of(&self, number: usize) -> KeyRef<'_> {
        let (partition, present) = self.partition.as_ref().expect("entered");
        let index = &partition.index;
        match number - index.first_block() {
            0 => self.table.meta().top.separator(*present),
            at if at == index.len() => self.table.meta().top.separator(present + 1),
            at => index.separator(at),
        }
    }

    /// What may be read ahead in the file: nothing beyond the bounds.
    fn readable(&self) -> Range<u64> {
        let index = &self.partition.as_ref().expect("entered").0.index;
        let mut range = self.table.meta().parts.data.clone();
        // A bound in another partition is not looked for: this one is enough.
        if let Some(lower) = self.reads.lower() {
            range.start = index.range(index.find(lower)).start;
        }
        if let Some(upper) = self.reads.upper() {
            let last = index.find(upper);
            range.end = index.range(last).end;
            if index.separator(last) == upper {
                range.end = index.range(last).start;
            }
        }
        range
    }

    /// Finds what part of the block lies within the bounds, and whether its neighbours do.
    fn cut(&mut self, block: &Block, number: usize) -> Result<()> {
        let blocks = self.table.meta().top.blocks();
        self.window = 0..block.len();
        self.more = (number > 0, number + 1 < blocks);
        if self.reads.bounds.is_none() {
            return Ok(());
        }
        self.enter(self.table.meta().top.of_block(number))?;
        // INDEX-1: a separator bounds both its neighbours.
        if let Some(lower) = self.reads.lower() {
            let order = self.lower_bound_of(number).cmp(&lower);
            self.more.0 &= order == Ordering::Greater;
            if order == Ordering::Less {
                self.window.start = block.lower_bound(lower);
            }
        }
        if let Some(upper) = self.reads.upper() {
            let order = match self.more.1 {
                true => self.lower_bound_of(number + 1).cmp(&upper),
                false => Ordering::Greater,
            };
            self.more.1 &= order == Ordering::Less;
            if order == Ordering::Greater {
                self.window.end = block.lower_bound(upper);
            }
        }
        Ok(())
    }

    /// Pins the next block in the direction of the walk, if it is cached, and asks for the one behind.
    fn pin_ahead(&mut self, number: usize) {
        let more = if self.direction > 0 { self.more.1 } else { self.more.0 };
        if !more {
            return;
        }
        let next = number.wrapping_add_signed(self.direction);
        // Not a use: a long walk says little of what will be wanted again.
        self.ahead = self.table.cached(next, false).map(|block| (block, next));
        self.table.prefetch(next.wrapping_add_signed(self.direction));
    }

    /// Asks for what lies in the block ahead where the present entry lies in its own, at `range`; of keys
    /// alone, where the entry with the same number lies.
    #[inline]
    fn prefetch_like(&self, range: Range<usize>) {
        match &self.ahead {
            Some((ahead, _)) if self.reads.keys_only => ahead.prefetch_key(self.index),
            Some((ahead, _)) => ahead.prefetch_range(range),
            None => {}
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
        let number = match self.approached.take() {
            Some(number) => number,
            None => self.find(target)?,
        };
        self.load(number)?;
        let (block, _) = self.present();
        let index = block.lower_bound_ahead(target, self.reads.keys_only).max(self.window.start);
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
        self.prefetch_like(start..entry.end);
        Ok(())
    }

    #[inline]
    fn prev(&mut self) -> Result<()> {
        assert!(self.valid);
        if self.index <= self.window.start {
            return self.leave_back();
        }
        self.place(self.index - 1);
        self.prefetch_like(self.entry.suffix_at..self.entry.end);
        Ok(())
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
            block.lower_bound_ahead(target, self.reads.keys_only);
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
