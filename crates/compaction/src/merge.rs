//! [`Merge`]: many sorted cursors as one.
//!
//! The sources are kept in the order of their present keys. A step moves the first source and lets it
//! sink to its new place: one comparison while it stays ahead, which is the common case when sources
//! hold runs of keys, and as many as it falls back places otherwise.
//!
//! # Invariants
//! - MERGE-1: `order` lists the valid sources, and only these, the next one to be met first.
//! - MERGE-2: no two sources hold the same internal key.

use std::cmp::Ordering;

use stratalog_base::{Cursor, KeyRef, Result, Slice};

/// A cursor over the union of `sources`.
#[derive(Debug)]
pub struct Merge<C> {
    sources: Vec<C>,
    order: Vec<usize>,
    forward: bool,
}

impl<C: Cursor> Merge<C> {
    /// Over `sources`, none of which holds an internal key of another.
    pub fn new(sources: Vec<C>) -> Merge<C> {
        let order = Vec::with_capacity(sources.len());
        Merge { sources, order, forward: true }
    }

    fn position(&mut self, forward: bool, mut to: impl FnMut(&mut C) -> Result<()>) -> Result<()> {
        self.forward = forward;
        self.order.clear(); // An error below leaves the merge invalid, as the contract wants.
        for source in &mut self.sources {
            to(source)?;
        }
        let mut order: Vec<usize> = std::mem::take(&mut self.order);
        order.extend((0..self.sources.len()).filter(|&index| self.sources[index].valid()));
        order.sort_by(|&a, &b| self.compare(a, b));
        self.order = order;
        Ok(())
    }

    /// The order in which two valid sources are met.
    #[inline]
    fn compare(&self, a: usize, b: usize) -> Ordering {
        let order = self.sources[a].key().cmp(&self.sources[b].key());
        if self.forward { order } else { order.reverse() }
    }

    /// Moves the first source by `step` and puts it back in order.
    #[inline]
    fn advance(&mut self, step: impl FnOnce(&mut C) -> Result<()>) -> Result<()> {
        let first = self.order[0];
        if let Err(error) = step(&mut self.sources[first]) {
            self.order.clear();
            return Err(error);
        }
        if !self.sources[first].valid() {
            self.order.remove(0); // MERGE-1
            return Ok(());
        }
        let mut place = 0;
        while let Some(&other) = self.order.get(place + 1) {
            let order = self.compare(first, other);
            debug_assert_ne!(order, Ordering::Equal, "MERGE-2");
            if order == Ordering::Less {
                break;
            }
            self.order[place] = other;
            place += 1;
        }
        self.order[place] = first;
        Ok(())
    }
}

impl<C: Cursor> Cursor for Merge<C> {
    #[inline]
    fn valid(&self) -> bool {
        !self.order.is_empty()
    }

    #[inline]
    fn key(&self) -> KeyRef<'_> {
        self.sources[self.order[0]].key()
    }

    #[inline]
    fn value(&self) -> &[u8] {
        self.sources[self.order[0]].value()
    }

    #[inline]
    fn value_slice(&self) -> Slice {
        self.sources[self.order[0]].value_slice()
    }

    fn seek_first(&mut self) -> Result<()> {
        self.position(true, C::seek_first)
    }

    fn seek_last(&mut self) -> Result<()> {
        self.position(false, C::seek_last)
    }

    fn seek(&mut self, target: KeyRef<'_>) -> Result<()> {
        self.position(true, |source| source.seek(target))
    }

    fn seek_before(&mut self, target: KeyRef<'_>) -> Result<()> {
        self.position(false, |source| source.seek_before(target))
    }

    #[inline]
    fn next(&mut self) -> Result<()> {
        if !self.forward {
            let here = self.key().to_owned();
            self.seek(here.as_ref())?;
        }
        self.advance(C::next)
    }

    #[inline]
    fn prev(&mut self) -> Result<()> {
        if self.forward {
            let here = self.key().to_owned();
            return self.seek_before(here.as_ref());
        }
        self.advance(C::prev)
    }
}
