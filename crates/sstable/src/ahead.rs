//! Asking the processor for parts of a block before they are needed, so that many are waited for at once.

use std::ops::Range;

use crate::block::Block;
use crate::shared::prefetch;

/// The most lines of the block ahead that a step asks for.
const LINES_A_STEP: usize = 16;
/// The lines behind the entry found that a seek asks for: about ten short entries.
pub(crate) const LINES_A_SEEK: usize = 20;
/// The same of a seek in several tables at once, which share what can be asked for at a time.
pub(crate) const LINES_A_SHARED_SEEK: usize = 12;
/// The keys behind the entry found that a seek for keys alone asks for.
const KEYS_A_SEEK: usize = 10;
/// What a short key takes with the lengths before it; it may lie across two lines.
const SHORT_KEY_BYTES: usize = 24;

impl Block {
    /// Asks for the first lines of the entry, which is about to be read: where its value lies is only
    /// known once the first of them has come.
    #[inline]
    pub(crate) fn prefetch_entry(&self, index: usize) {
        prefetch(self.entries().as_ptr().wrapping_add(self.offset(index)), 3);
    }

    /// Asks for offsets and trailers of these entries, one of which a search is about to find.
    #[inline]
    pub(crate) fn prefetch_columns(&self, entries: &Range<usize>) {
        for Range { start, end } in self.places(entries) {
            // One more than they fill, since they may start within a line; mostly as many, which the
            // processor predicts.
            let lines = (end - start).div_ceil(64) + 1;
            prefetch(self.bytes().as_ptr().wrapping_add(start), lines);
        }
    }

    /// Asks for the key of the entry, if there is one, and for nothing of its value.
    #[inline]
    fn prefetch_key(&self, index: usize) {
        if index < self.len() {
            let start = self.entries().as_ptr().wrapping_add(self.offset(index));
            prefetch(start, 1);
            prefetch(start.wrapping_add(SHORT_KEY_BYTES), 1);
        }
    }

    /// Asks for as much as a step consumes: what lies at `range` of the entries, or the key of the entry
    /// numbered `index` alone.
    #[inline]
    pub(crate) fn prefetch_step(&self, index: usize, range: Range<usize>, keys_only: bool) {
        if keys_only { self.prefetch_key(index) } else { self.prefetch_range(range) }
    }

    /// Asks for what lies at `range` of the entries, as much as one step consumes.
    #[inline]
    fn prefetch_range(&self, range: Range<usize>) {
        let end = range.end.min(self.entries().len());
        if let Some(bytes) = self.entries().get(range.start..end) {
            prefetch(bytes.as_ptr(), bytes.len().div_ceil(64).min(LINES_A_STEP));
        }
    }

    /// Asks for `lines` lines of entries from `index` on, where a seek leads, or for some keys alone.
    #[inline]
    pub(crate) fn prefetch_from(&self, index: usize, lines: usize, keys_only: bool) {
        if keys_only {
            (index..index + KEYS_A_SEEK).for_each(|index| self.prefetch_key(index));
        } else if let Some(bytes) = self.entries().get(self.offset(index.min(self.len() - 1))..) {
            prefetch(bytes.as_ptr(), bytes.len().div_ceil(64).min(lines));
        }
    }
}
