//! [`Lines`]: the cache lines of a hash table, which cost nothing until they are touched.
//!
//! A table is made within one insert. To take its memory and clear it took 6 ms for 16 MiB; a mapping comes cleared,
//! page by page, to whoever touches it first.
//!
//! # Invariants
//! - LINES-1: the mapping holds `count` lines, at first of zeros, until it drops with them.
#![expect(unsafe_code, reason = "lines in a mapping instead of a box")]

use std::ops::Deref;
use std::ptr::NonNull;

use stratalog_base::pages;
use stratalog_base::sync::{AtomicBool, AtomicU32};

/// Slots of a line.
pub(crate) const SLOTS: usize = if cfg!(loom) { 1 } else { 15 };

/// What of a table lies in a cache line.
#[derive(Default)]
#[cfg_attr(not(loom), repr(align(64)))]
pub(crate) struct Line {
    /// In each [`FREE`], or an entry's id with bits of its key's hash above it.
    pub(crate) slots: [AtomicU32; SLOTS],
    /// Keys of this line are lost.
    pub(crate) mark: AtomicBool,
}

/// A slot that nobody has taken.
pub(crate) const FREE: u32 = 0;

pub(crate) struct Lines {
    start: NonNull<Line>,
    count: usize,
}

// SAFETY: LINES-1: it owns its lines, which hold nothing but atomics.
unsafe impl Send for Lines {}
// SAFETY: as above.
unsafe impl Sync for Lines {}

impl Lines {
    /// So many lines, all free.
    pub(crate) fn new(count: usize) -> Lines {
        const { assert!(size_of::<Line>() == 64 || cfg!(loom)) };
        let start = pages::map(count * size_of::<Line>()).cast::<Line>();
        if cfg!(loom) {
            // SAFETY: there is room for `count` lines, which are nobody else's yet. Loom's atomics are not zeros.
            (0..count).for_each(|at| unsafe { start.add(at).write(Line::default()) });
        }
        Lines { start, count }
    }

    /// What the mapping takes once all of it is touched: whole pages.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&**self).next_multiple_of(4096)
    }
}

impl Deref for Lines {
    type Target = [Line];

    #[inline]
    fn deref(&self) -> &[Line] {
        // SAFETY: LINES-1; a page's alignment is enough, and zeros are a line whose slots are free.
        unsafe { NonNull::slice_from_raw_parts(self.start, self.count).as_ref() }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let lines = NonNull::slice_from_raw_parts(self.start, self.count);
        // SAFETY: LINES-1: mapped by `new` with this length, and lent to nobody any more.
        unsafe {
            lines.drop_in_place();
            pages::unmap(self.start.cast(), self.count * size_of::<Line>());
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use stratalog_base::sync::Ordering;

    use super::*;

    #[test]
    fn lines_begin_free_and_lie_in_cache_lines_of_their_own() {
        // LINES-1
        for count in [1, 3, 128, 100_000] {
            let lines = Lines::new(count);
            assert_eq!(lines.len(), count);
            assert!(lines.iter().all(|line| {
                let is_free = |slot: &AtomicU32| slot.load(Ordering::Relaxed) == FREE;
                std::ptr::from_ref(line).addr() % 64 == 0
                    && line.slots.iter().all(is_free)
                    && !line.mark.load(Ordering::Relaxed)
            }));
            lines[count - 1].slots[SLOTS - 1].store(7, Ordering::Relaxed);
        }
    }
}
