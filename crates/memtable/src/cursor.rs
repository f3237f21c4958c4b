//! [`MemtableCursor`]: a walk over the leaves, one page at a time.

use std::sync::Arc;

use stratalog_base::{Cursor, KeyRef, Result, Slice};

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
    page: Page,
    /// Index in the page; its length if not valid.
    at: usize,
    /// The page behind, if it has been read already: its entries are on their way then.
    ahead: Option<Page>,
    /// Pages that were left for the next one since the last seek.
    passed: usize,
}

impl MemtableCursor {
    pub(crate) fn new(memtable: Arc<Memtable>) -> MemtableCursor {
        MemtableCursor { memtable, page: Page::default(), at: 0, ahead: None, passed: 0 }
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
        self.passed += 1;
        if self.passed > READ_AHEAD_AFTER_PAGES && self.page.next != 0 {
            self.ahead = Some(self.memtable.page(self.page.next));
        }
    }

    /// Stands in `page`.
    #[inline]
    fn enter(&mut self, page: Page, at: usize) {
        (self.page, self.at, self.ahead, self.passed) = (page, at, None, 0);
    }

    /// Stands on the entry before `at`, or nowhere if there is none: only at the left edge does a page
    /// not begin with a smaller key than the one sought.
    fn stand_before(&mut self, page: Page, at: usize) {
        let len = page.len;
        self.enter(page, at.checked_sub(1).unwrap_or(len));
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
        self.enter(self.memtable.first_page(), 0);
        Ok(())
    }

    fn seek_last(&mut self) -> Result<()> {
        let page = self.memtable.last_page();
        let len = page.len;
        self.stand_before(page, len);
        Ok(())
    }

    fn seek(&mut self, target: KeyRef<'_>) -> Result<()> {
        let (page, rank) = self.memtable.page_at(target);
        self.enter(page, rank);
        if self.at == self.page.len {
            self.leave_page();
        }
        Ok(())
    }

    fn seek_before(&mut self, target: KeyRef<'_>) -> Result<()> {
        let (page, rank) = self.memtable.page_at(target);
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
