//! [`MemtableCursor`]: a walk over the leaves, one page at a time.

use std::sync::Arc;

use stratalog_base::{Cursor, KeyRef, Result, Slice};

use crate::memtable::Memtable;
use crate::search::Page;

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
}

impl MemtableCursor {
    pub(crate) fn new(memtable: Arc<Memtable>) -> MemtableCursor {
        MemtableCursor { memtable, page: Page::default(), at: 0 }
    }

    fn id(&self) -> u32 {
        self.page.entries[..self.page.len][self.at]
    }

    /// From behind a page to the start of the next, if there is one.
    #[inline]
    fn leave_page(&mut self) {
        if self.at == self.page.len && self.page.next != 0 {
            self.page = self.memtable.page(self.page.next);
            self.at = 0;
        }
    }

    /// Stands on the entry before `at`, or nowhere if there is none: only at the left edge does a page
    /// not begin with a smaller key than the one sought.
    fn stand_before(&mut self, at: usize) {
        self.at = at.checked_sub(1).unwrap_or(self.page.len);
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
        (self.page, self.at) = (self.memtable.first_page(), 0);
        Ok(())
    }

    fn seek_last(&mut self) -> Result<()> {
        self.page = self.memtable.last_page();
        self.stand_before(self.page.len);
        Ok(())
    }

    fn seek(&mut self, target: KeyRef<'_>) -> Result<()> {
        (self.page, self.at) = self.memtable.page_at(target);
        self.leave_page();
        Ok(())
    }

    fn seek_before(&mut self, target: KeyRef<'_>) -> Result<()> {
        let (page, rank) = self.memtable.page_at(target);
        self.page = page;
        self.stand_before(rank);
        Ok(())
    }

    #[inline]
    fn next(&mut self) -> Result<()> {
        assert!(self.valid(), "next on a cursor that is not valid");
        self.at += 1;
        self.leave_page();
        Ok(())
    }

    fn prev(&mut self) -> Result<()> {
        assert!(self.valid(), "prev on a cursor that is not valid");
        if self.at > 0 {
            self.at -= 1;
        } else {
            let (page, rank) = self.memtable.page_at(self.memtable.entry(self.id()).key);
            self.page = page;
            self.stand_before(rank);
        }
        Ok(())
    }
}

impl std::fmt::Debug for MemtableCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemtableCursor").field("valid", &self.valid()).finish_non_exhaustive()
    }
}
