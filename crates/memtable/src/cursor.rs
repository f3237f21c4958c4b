//! [`MemtableCursor`]: a walk over the leaves, one page at a time.
//!
//! Bounds cut a page when the cursor comes to stand in it, so that a step need not look at them.
//!
//! # Invariants
//! - BOUNDS-1: the page that the cursor stands in has no entry beyond the bounds. If entries beyond the upper one were
//!   cut off, it has no page behind it either: those need not be read.

use std::sync::Arc;

use stratalog_base::{Bounds, Cursor, KeyRef, Result, Slice};

use crate::memtable::Memtable;
use crate::search::Page;

/// Walks longer than this read the page behind theirs ahead; shorter ones would not come to it.
const READ_AHEAD_AFTER_PAGES: usize = if cfg!(loom) { 0 } else { 2 };

/// A cursor over a [`Memtable`], which it keeps alive. No operation fails.
///
/// It sees every entry whose insert had returned before the last seek, in order and once. Of entries
/// inserted later it sees those that it comes to before it has read their leaf: a reader that must not
/// see them skips them by their sequence number.
pub struct MemtableCursor {
    memtable: Arc<Memtable>,
    bounds: Option<Arc<Bounds>>,
    page: Page,
    /// Index in the page; its length if not valid.
    at: usize,
    /// The page behind, if it has been read already: its entries are on their way then.
    ahead: Option<Page>,
    /// Pages that were left for the next one since the last seek.
    passed: usize,
}

impl MemtableCursor {
    pub(crate) fn new(memtable: Arc<Memtable>, bounds: Option<Arc<Bounds>>) -> MemtableCursor {
        MemtableCursor { memtable, bounds, page: Page::default(), at: 0, ahead: None, passed: 0 }
    }

    fn id(&self) -> u32 {
        self.page.entries[..self.page.len][self.at]
    }

    /// From behind a page to the start of the next, if there is one.
    fn leave_page(&mut self) {
        if self.page.next == 0 {
            return;
        }
        let next = self.page.next;
        self.page = self.ahead.take().unwrap_or_else(|| self.memtable.page(next));
        self.at = 0;
        if self.bounds.is_some() {
            self.cut_page();
        }
        self.passed += 1;
        if self.passed > READ_AHEAD_AFTER_PAGES && self.page.next != 0 {
            self.ahead = Some(self.memtable.page(self.page.next));
        }
    }

    /// Stands in `page`.
    #[inline]
    fn enter(&mut self, page: Page, at: usize) {
        (self.page, self.at, self.ahead, self.passed) = (page, at, None, 0);
        if self.bounds.is_some() {
            self.cut_page();
        }
    }

    /// Stands on the entry before `at`, or nowhere if there is none: only at the left edge and at the lower bound
    /// does a page not begin with a smaller key than the one sought.
    fn stand_before(&mut self, page: Page, at: usize) {
        self.enter(page, at);
        self.at = self.at.checked_sub(1).unwrap_or(self.page.len);
    }

    /// Stands on the first entry that is not less than `target`, which is not less than the lower bound.
    #[inline]
    fn stand_behind(&mut self, target: KeyRef<'_>) {
        let (page, rank) = self.memtable.page_at(target);
        self.enter(page, rank);
        if self.at == self.page.len {
            self.leave_page();
        }
    }

    /// Makes BOUNDS-1 hold for a page that has been read just now. What `at` is the place of stays where it is, or
    /// is the end that it is beyond.
    #[inline(never)]
    fn cut_page(&mut self) {
        let Some(bounds) = &self.bounds else { return };
        let Page { entries, len, next } = &mut self.page;
        let is_below = |id: u32, bound: KeyRef<'_>| self.memtable.entry(id).key < bound;
        if let Some(upper) = bounds.upper()
            && entries[..*len].last().is_some_and(|&last| !is_below(last, upper))
        {
            (*len, *next) = (entries[..*len].partition_point(|&id| is_below(id, upper)), 0);
        }
        if let Some(lower) = bounds.lower()
            && entries[..*len].first().is_some_and(|&first| is_below(first, lower))
        {
            let below = entries[..*len].partition_point(|&id| is_below(id, lower));
            entries.copy_within(below..*len, 0);
            *len -= below;
            self.at = self.at.saturating_sub(below);
        }
        self.at = self.at.min(*len);
    }

    fn lower(&self) -> Option<KeyRef<'_>> {
        self.bounds.as_ref()?.lower()
    }

    fn upper(&self) -> Option<KeyRef<'_>> {
        self.bounds.as_ref()?.upper()
    }
}

impl Cursor for MemtableCursor {
    #[inline]
    fn valid(&self) -> bool {
        self.at < self.page.len
    }

    #[inline]
    fn key(&self) -> KeyRef<'_> {
        self.memtable.entry(self.id()).key
    }

    #[inline]
    fn value(&self) -> &[u8] {
        self.memtable.entry(self.id()).value
    }

    fn value_slice(&self) -> Slice {
        self.memtable.pin(self.id())
    }

    fn seek_first(&mut self) -> Result<()> {
        match self.bounds.clone().as_deref().and_then(Bounds::lower) {
            Some(lower) => self.stand_behind(lower),
            None => self.enter(self.memtable.first_page(), 0),
        }
        Ok(())
    }

    fn seek_last(&mut self) -> Result<()> {
        let (page, rank) = match self.upper() {
            Some(upper) => self.memtable.page_at(upper),
            None => {
                let page = self.memtable.last_page();
                let len = page.len;
                (page, len)
            }
        };
        self.stand_before(page, rank);
        Ok(())
    }

    fn seek(&mut self, target: KeyRef<'_>) -> Result<()> {
        if self.lower().is_some_and(|lower| target < lower) {
            return self.seek_first();
        }
        self.stand_behind(target);
        Ok(())
    }

    fn seek_before(&mut self, target: KeyRef<'_>) -> Result<()> {
        let to = self.upper().map_or(target, |upper| upper.min(target));
        let (page, rank) = self.memtable.page_at(to);
        self.stand_before(page, rank);
        Ok(())
    }

    #[inline]
    fn next(&mut self) -> Result<()> {
        assert!(self.valid(), "next on a cursor that is not valid");
        self.at += 1;
        if self.at == self.page.len {
            self.leave_page();
        }
        Ok(())
    }

    fn prev(&mut self) -> Result<()> {
        assert!(self.valid(), "prev on a cursor that is not valid");
        if self.at > 0 {
            self.at -= 1;
        } else {
            let (page, rank) = self.memtable.page_at(self.memtable.entry(self.id()).key);
            self.stand_before(page, rank);
        }
        Ok(())
    }
}

impl std::fmt::Debug for MemtableCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemtableCursor").field("valid", &self.valid()).finish_non_exhaustive()
    }
}
