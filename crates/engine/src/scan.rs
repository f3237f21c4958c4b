//! The two ways through a view: what [`crate::Iter`] does at each of its ends.
//!
//! Both walk a merge of everything in the view and show of each user key the newest version that the
//! sequence number sees, unless that is a tombstone. Versions of a key come newest first, so forwards
//! the first one seen decides and the rest are passed over; backwards the last one seen decides.

use std::ops::Bound;

use stratalog_base::{Cursor, KeyRef, Kind, Result, SeqNo, Slice, Trailer};
use stratalog_compaction::{LEVELS, LevelCursor, Merge, Readable, Shape};
use stratalog_memtable::MemtableCursor;
use stratalog_sstable::ReadUse;

use crate::view::View;

/// One sorted part of a view.
#[derive(Debug)]
pub(crate) enum Source {
    Memtable(MemtableCursor),
    Tables(LevelCursor),
}

/// Calls the method on whichever cursor it is.
macro_rules! each {
    ($source:expr, $cursor:ident => $call:expr) => {
        match $source {
            Source::Memtable($cursor) => $call,
            Source::Tables($cursor) => $call,
        }
    };
}

impl Cursor for Source {
    #[inline]
    fn valid(&self) -> bool {
        each!(self, cursor => cursor.valid())
    }
    #[inline]
    fn key(&self) -> KeyRef<'_> {
        each!(self, cursor => cursor.key())
    }
    #[inline]
    fn value(&self) -> &[u8] {
        each!(self, cursor => cursor.value())
    }
    #[inline]
    fn value_slice(&self) -> Slice {
        each!(self, cursor => cursor.value_slice())
    }
    fn seek_first(&mut self) -> Result<()> {
        each!(self, cursor => cursor.seek_first())
    }
    fn seek_last(&mut self) -> Result<()> {
        each!(self, cursor => cursor.seek_last())
    }
    fn seek(&mut self, target: KeyRef<'_>) -> Result<()> {
        each!(self, cursor => cursor.seek(target))
    }
    fn seek_before(&mut self, target: KeyRef<'_>) -> Result<()> {
        each!(self, cursor => cursor.seek_before(target))
    }
    #[inline]
    fn next(&mut self) -> Result<()> {
        each!(self, cursor => cursor.next())
    }
    #[inline]
    fn prev(&mut self) -> Result<()> {
        each!(self, cursor => cursor.prev())
    }
}

/// A merge of the parts of `view` that may hold keys between the bounds.
fn merge(view: &View, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> Merge<Source> {
    let memtables = view.memtables().filter(|memtable| !memtable.is_empty());
    let mut sources: Vec<_> =
        memtables.map(|memtable| Source::Memtable(memtable.cursor())).collect();
    let meets = |table: &dyn Shape| {
        let summary = table.summary();
        !is_below(&summary.largest.user, lower) && !is_above(&summary.smallest.user, upper)
    };
    let mut add = |tables: Vec<_>| {
        if !tables.is_empty() {
            sources.push(Source::Tables(LevelCursor::new(tables, ReadUse::Lookup)));
        }
    };
    for table in view.tree.level(0).iter().filter(|table| meets(*table)) {
        add(vec![table.table().clone()]);
    }
    for level in 1..LEVELS {
        let tables = view.tree.level(level).iter().filter(|table| meets(*table));
        add(tables.map(|table| table.table().clone()).collect());
    }
    Merge::new(sources)
}

/// Whether `user` lies before every key within the lower bound.
pub(crate) fn is_below(user: &[u8], lower: Bound<&[u8]>) -> bool {
    match lower {
        Bound::Included(lower) => user < lower,
        Bound::Excluded(lower) => user <= lower,
        Bound::Unbounded => false,
    }
}

/// Whether `user` lies behind every key within the upper bound.
pub(crate) fn is_above(user: &[u8], upper: Bound<&[u8]>) -> bool {
    match upper {
        Bound::Included(upper) => user > upper,
        Bound::Excluded(upper) => user >= upper,
        Bound::Unbounded => false,
    }
}

/// The search key behind all versions of `user`.
fn behind(user: &[u8]) -> KeyRef<'_> {
    KeyRef { user, trailer: Trailer::OLDEST }
}

/// From the first key on.
#[derive(Debug)]
pub(crate) struct Forward {
    merge: Merge<Source>,
    seq: SeqNo,
    user: Vec<u8>,
}

impl Forward {
    pub fn new(view: &View, seq: SeqNo, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> Forward {
        Forward { merge: merge(view, lower, upper), seq, user: Vec::new() }
    }

    /// Moves to the first entry within `lower`; false if there is none.
    pub fn seek(&mut self, lower: Bound<&[u8]>) -> Result<bool> {
        match lower {
            Bound::Included(user) => self.merge.seek(KeyRef::before(user))?,
            Bound::Excluded(user) => self.merge.seek(behind(user))?,
            Bound::Unbounded => self.merge.seek_first()?,
        }
        self.settle(false)
    }

    /// Moves to the next entry; false if there is none.
    #[inline]
    pub fn next(&mut self) -> Result<bool> {
        if !self.merge.valid() {
            return Ok(false);
        }
        self.merge.next()?;
        self.settle(true)
    }

    /// The entry's user key.
    #[inline]
    pub fn user(&self) -> &[u8] {
        &self.user
    }

    /// The merge, which stands on the entry.
    #[inline]
    pub fn entry(&self) -> &Merge<Source> {
        &self.merge
    }

    /// Goes on to the first entry to show; `decided` says that the newest version of `user` was met.
    #[inline]
    fn settle(&mut self, mut decided: bool) -> Result<bool> {
        while self.merge.valid() {
            let key = self.merge.key();
            if key.trailer.seq() <= self.seq && !(decided && *key.user == *self.user) {
                let kind = key.trailer.kind();
                self.user.clear();
                self.user.extend_from_slice(key.user);
                if kind == Kind::Put {
                    return Ok(true);
                }
                decided = true;
            }
            self.merge.next()?;
        }
        Ok(false)
    }
}

/// From the last key back.
#[derive(Debug)]
pub(crate) struct Backward {
    /// Stands on the newest version of the first key not yet looked at.
    merge: Merge<Source>,
    seq: SeqNo,
    user: Vec<u8>,
    value: Slice,
}

impl Backward {
    pub fn new(view: &View, seq: SeqNo, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> Backward {
        let merge = merge(view, lower, upper);
        Backward { merge, seq, user: Vec::new(), value: Slice::default() }
    }

    /// Moves to the last entry within `upper`; false if there is none.
    pub fn seek(&mut self, upper: Bound<&[u8]>) -> Result<bool> {
        match upper {
            Bound::Included(user) => self.merge.seek_before(behind(user))?,
            Bound::Excluded(user) => self.merge.seek_before(KeyRef::before(user))?,
            Bound::Unbounded => self.merge.seek_last()?,
        }
        self.next()
    }

    /// Moves to the preceding entry; false if there is none.
    pub fn next(&mut self) -> Result<bool> {
        while self.merge.valid() {
            self.user.clear();
            self.user.extend_from_slice(self.merge.key().user);
            let mut newest = None;
            while self.merge.valid() && *self.merge.key().user == *self.user {
                let trailer = self.merge.key().trailer;
                if trailer.seq() <= self.seq {
                    newest = (trailer.kind() == Kind::Put).then(|| self.merge.value_slice());
                }
                self.merge.prev()?;
            }
            if let Some(value) = newest {
                self.value = value;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The entry's user key.
    pub fn user(&self) -> &[u8] {
        &self.user
    }

    /// The entry's value.
    pub fn value(&self) -> &Slice {
        &self.value
    }
}
