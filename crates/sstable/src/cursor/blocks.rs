//! Which block a cursor stands in: finding it, reading it, and what part of it lies within the bounds.

use std::cmp::Ordering;
use std::ops::Range;

use stratalog_base::{KeyRef, Result};

use super::TableCursor;
use crate::block::Block;
use crate::cache::Wanted;
use crate::reads::ReadUse;

/// Blocks in a row after which the one ahead is pinned.
const PIN_AHEAD_AFTER: u32 = 2;

impl TableCursor {
    /// Makes block `number` the present one. Invalid until placed.
    pub(super) fn load(&mut self, number: usize) -> Result<()> {
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
        self.look_ahead(number);
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
        let slabs = is_lookup.then(|| self.table.slabs());
        let (block, _) = meta.sweep(file, range, bounds, &mut self.sweep, slabs)?;
        Ok(if is_lookup { self.table.keep(number, block, Wanted::Scan) } else { block })
    }

    /// Makes partition `number` the present one.
    fn enter(&mut self, number: usize) -> Result<()> {
        if self.partition.as_ref().is_some_and(|(_, present)| *present == number) {
            return Ok(());
        }
        self.partition = None;
        let partition = match self.reads.purpose {
            ReadUse::Lookup => self.table.partition(number)?,
            ReadUse::Sweep => match self.table.cached_partition(number, false) {
                Some(partition) => partition,
                None => {
                    let (file, meta) = (self.table.file(), self.table.meta());
                    meta.read_partition(file, number, false, &mut Vec::new())?.share()
                }
            },
        };
        self.partition = Some((partition, number));
        Ok(())
    }

    /// The number of the block that holds `target` if any does. The table has blocks.
    pub(super) fn find(&mut self, target: KeyRef<'_>) -> Result<usize> {
        if let Some(only) = self.table.only() {
            return Ok(only.index.find(target));
        }
        self.enter(self.table.meta().top.find(target))?;
        let index = &self.partition.as_ref().expect("entered").0.index;
        Ok(index.first_block() + index.find(target))
    }

    /// The number of the last block with entries before `limit`, or the first. The table has blocks.
    pub(super) fn find_before(&mut self, limit: KeyRef<'_>) -> Result<usize> {
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

    /// Asks for the block behind block `number` in the direction of the walk; after a jump, forwards. Once the
    /// walk has come some way, pins that one, if it is cached, and asks for the one after it.
    fn look_ahead(&mut self, number: usize) {
        let step = if self.direction < 0 { -1 } else { 1 };
        let next = number.wrapping_add_signed(step);
        if self.streak < PIN_AHEAD_AFTER {
            return self.table.prefetch(next);
        }
        let more = if step > 0 { self.more.1 } else { self.more.0 };
        if !more {
            return;
        }
        // Not a use: a long walk says little of what will be wanted again.
        self.ahead = self.table.cached(next, false).map(|block| (block, next));
        self.table.prefetch(next.wrapping_add_signed(step));
    }
}
