//! The two ways through a view: what [`crate::Iter`] does at each of its ends.
//!
//! Both walk a merge of everything in the view and show of each user key the newest version that the
//! sequence number sees, unless that is a tombstone. Versions of a key come newest first, so forwards
//! the first one seen decides and the rest are passed over; backwards the last one seen decides.

use std::ops::{Bound, Range};
use std::sync::Arc;

use stratalog_base::{Cursor, KeyBuf, KeyRef, Kind, Result, SeqNo, Slice, Trailer};
use stratalog_compaction::{LEVELS, LevelCursor, Merge, Readable, Run, Shape};
use stratalog_memtable::MemtableCursor;
use stratalog_sstable::{Bounds, ReadUse, Reads, Table, ValuesAhead};

use crate::table_file::TableFile;
use crate::values::{Tree, Values};
use crate::view::View;

/// One sorted part of a view.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "boxes would cost a seek an allocation for each level"
)]
pub(crate) enum Source {
    Memtable(MemtableCursor),
    Tables(LevelCursor<Stretch>),
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
    fn approach(&mut self, target: KeyRef<'_>, part: usize) -> bool {
        each!(self, cursor => cursor.approach(target, part))
    }
    #[inline]
    fn run_before(&self, limit: KeyRef<'_>) -> usize {
        each!(self, cursor => cursor.run_before(limit))
    }
    #[inline]
    fn run_behind(&self, limit: KeyRef<'_>) -> usize {
        each!(self, cursor => cursor.run_behind(limit))
    }
}

/// Tables of one level that follow each other.
#[derive(Debug)]
pub(crate) struct Stretch {
    tree: Arc<Tree>,
    level: usize,
    tables: Range<usize>,
}

impl Run for Stretch {
    fn count(&self) -> usize {
        self.tables.len()
    }

    fn table(&self, index: usize) -> &Arc<Table> {
        self.tree.level(self.level)[self.tables.start + index].table()
    }
}

pub(crate) type KeyBound = Bound<Box<[u8]>>;

/// What an iterator walks over.
#[derive(Debug)]
pub(crate) struct Scope {
    pub view: Arc<View>,
    /// The newest write that it sees.
    pub seq: SeqNo,
    pub lower: KeyBound,
    pub upper: KeyBound,
    /// Whether nobody will ask for a value.
    pub keys_only: bool,
}

impl Scope {
    #[inline]
    pub fn lower(&self) -> Bound<&[u8]> {
        self.lower.as_ref().map(|key| &**key)
    }

    #[inline]
    pub fn upper(&self) -> Bound<&[u8]> {
        self.upper.as_ref().map(|key| &**key)
    }
}

/// A merge of the parts of the view that may hold keys within the scope. Entries beyond `bounds`, which are
/// not narrower, are not looked for.
fn merge(scope: &Scope, bounds: Bounds) -> Merge<Source> {
    let (view, lower, upper) = (&scope.view, scope.lower(), scope.upper());
    let bounded = bounds.lower.is_some() || bounds.upper.is_some();
    let bounds = bounded.then(|| Arc::new(bounds));
    let reads = Reads { purpose: ReadUse::Lookup, bounds, keys_only: scope.keys_only };
    let is_before = |table: &Arc<TableFile>| is_below(&table.summary().largest.user, lower);
    let is_behind = |table: &Arc<TableFile>| is_above(&table.summary().smallest.user, upper);

    let mut sources = Vec::with_capacity(view.sources_count());
    let memtables = view.memtables().filter(|memtable| !memtable.is_empty());
    sources.extend(memtables.map(|memtable| Source::Memtable(memtable.cursor())));
    let mut add = |level, tables: Range<usize>| {
        if !tables.is_empty() {
            let stretch = Stretch { tree: view.tree.clone(), level, tables };
            sources.push(Source::Tables(LevelCursor::new(stretch, reads.clone())));
        }
    };
    let may_have = |table: &Arc<TableFile>| {
        let table = table.table();
        // Range tombstones count although no key is there. A filter that cannot be read excludes
        // nothing; the cursor tells why.
        table.summary().range_tombstones > 0
            || common_prefix(lower, upper, table.prefix_bytes())
                .is_none_or(|prefix| table.may_contain_prefix(prefix).unwrap_or(true))
    };
    for (index, table) in view.tree.level(0).iter().enumerate() {
        if !is_before(table) && !is_behind(table) && may_have(table) {
            add(0, index..index + 1);
        }
    }
    for level in 1..LEVELS {
        let tables = view.tree.level(level);
        let mut first = tables.partition_point(is_before);
        let mut end = first + tables[first..].partition_point(|table| !is_behind(table));
        while first < end && !may_have(&tables[first]) {
            first += 1;
        }
        while first < end && !may_have(&tables[end - 1]) {
            end -= 1;
        }
        add(level, first..end);
    }
    Merge::new(sources)
}

/// The first `len` bytes of all keys between the bounds, if they have so many in common.
fn common_prefix<'a>(lower: Bound<&'a [u8]>, upper: Bound<&[u8]>, len: usize) -> Option<&'a [u8]> {
    let (Bound::Included(first) | Bound::Excluded(first)) = lower else { return None };
    let prefix = first.get(..len).filter(|prefix| !prefix.is_empty())?;
    // The least key behind all that begin with the prefix: its last byte that can be is one greater.
    let is_next = |key: &[u8]| {
        let last = prefix.iter().rposition(|&byte| byte < u8::MAX);
        last.is_some_and(|last| {
            key.len() == last + 1 && key[..last] == prefix[..last] && key[last] == prefix[last] + 1
        })
    };
    let common = match upper {
        Bound::Included(end) => end.starts_with(prefix),
        Bound::Excluded(end) => end.starts_with(prefix) || is_next(end),
        Bound::Unbounded => false,
    };
    common.then_some(prefix)
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

/// The search key before all entries within the lower bound.
fn lower_key(lower: Bound<&[u8]>) -> Option<KeyRef<'_>> {
    match lower {
        Bound::Included(user) => Some(KeyRef::before(user)),
        Bound::Excluded(user) => Some(behind(user)),
        Bound::Unbounded => None,
    }
}

/// The search key behind all entries within the upper bound.
fn upper_key(upper: Bound<&[u8]>) -> Option<KeyRef<'_>> {
    match upper {
        Bound::Included(user) => Some(behind(user)),
        Bound::Excluded(user) => Some(KeyRef::before(user)),
        Bound::Unbounded => None,
    }
}

/// From the first key on.
#[derive(Debug)]
pub(crate) struct Forward {
    merge: Merge<Source>,
    seq: SeqNo,
    user: KeyBuf,
    /// Whether the entry's value lies in a value file.
    separated: bool,
    /// Where it was put, if so, once asked for.
    fetched: Slice,
    ahead: ValuesAhead,
}

impl Forward {
    pub fn new(scope: &Scope) -> Forward {
        // Forwards, only the upper bound can be passed.
        let bounds = Bounds { lower: None, upper: upper_key(scope.upper()).map(KeyRef::to_owned) };
        Forward {
            merge: merge(scope, bounds),
            seq: scope.seq,
            user: KeyBuf::default(),
            separated: false,
            fetched: Slice::default(),
            ahead: ValuesAhead::default(),
        }
    }

    /// Moves to the first entry within `lower`; false if there is none.
    pub fn seek(&mut self, lower: Bound<&[u8]>) -> Result<bool> {
        match lower_key(lower) {
            Some(target) => self.merge.seek(target)?,
            None => self.merge.seek_first()?,
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
        self.user.as_slice()
    }

    /// The entry's user key and value, lent.
    ///
    /// # Errors
    /// Of reading the value from its value file.
    #[inline]
    pub fn entry(&mut self, values: &Values) -> Result<(&[u8], &[u8])> {
        if !self.separated {
            return Ok((self.user.as_slice(), self.merge.value()));
        }
        self.fetched = values.fetch(self.merge.value(), &mut self.ahead)?;
        Ok((self.user.as_slice(), &self.fetched))
    }

    /// The entry's value, pinned.
    ///
    /// # Errors
    /// As [`Forward::entry`].
    #[inline]
    pub fn value_slice(&mut self, values: &Values) -> Result<Slice> {
        match self.separated {
            false => Ok(self.merge.value_slice()),
            true => values.fetch(self.merge.value(), &mut self.ahead),
        }
    }

    /// Goes on to the first entry to show; `decided` says that the newest version of `user` was met.
    #[inline]
    fn settle(&mut self, mut decided: bool) -> Result<bool> {
        while self.merge.valid() {
            let key = self.merge.key();
            if key.trailer.seq() <= self.seq && !(decided && self.user.is(key.user)) {
                let kind = key.trailer.kind();
                self.user.set(key.user);
                if kind != Kind::Delete {
                    self.separated = kind == Kind::Separated;
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
    user: KeyBuf,
    /// What the entry stores: its value, or the handle to it. Empty if nobody will ask.
    value: Slice,
    separated: bool,
    ahead: ValuesAhead,
    keys_only: bool,
}

impl Backward {
    pub fn new(scope: &Scope) -> Backward {
        // Backwards, only the lower bound can be passed.
        let bounds = Bounds { lower: lower_key(scope.lower()).map(KeyRef::to_owned), upper: None };
        Backward {
            merge: merge(scope, bounds),
            seq: scope.seq,
            user: KeyBuf::default(),
            value: Slice::default(),
            separated: false,
            ahead: ValuesAhead::default(),
            keys_only: scope.keys_only,
        }
    }

    /// Moves to the last entry within `upper`; false if there is none.
    pub fn seek(&mut self, upper: Bound<&[u8]>) -> Result<bool> {
        match upper_key(upper) {
            Some(target) => self.merge.seek_before(target)?,
            None => self.merge.seek_last()?,
        }
        self.next()
    }

    /// Moves to the preceding entry; false if there is none.
    pub fn next(&mut self) -> Result<bool> {
        while self.merge.valid() {
            self.user.set(self.merge.key().user);
            let mut newest = None;
            while self.merge.valid() && self.user.is(self.merge.key().user) {
                let trailer = self.merge.key().trailer;
                if trailer.seq() <= self.seq {
                    let kind = trailer.kind();
                    newest = (kind != Kind::Delete).then(|| match self.keys_only {
                        true => (kind, Slice::default()),
                        false => (kind, self.merge.value_slice()),
                    });
                }
                self.merge.prev()?;
            }
            if let Some((kind, value)) = newest {
                (self.value, self.separated) = (value, kind == Kind::Separated);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The entry's user key.
    pub fn user(&self) -> &[u8] {
        self.user.as_slice()
    }

    /// The entry's user key and value.
    ///
    /// # Errors
    /// Of reading the value from its value file.
    pub fn entry(&mut self, values: &Values) -> Result<(&[u8], &Slice)> {
        if self.separated {
            self.value = values.fetch(&self.value, &mut self.ahead)?;
            self.separated = false;
        }
        Ok((self.user.as_slice(), &self.value))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn bounds_have_a_prefix_in_common_only_if_all_keys_between_have_it() {
        use Bound::{Excluded, Included, Unbounded};
        let common = |lower: Bound<&'static str>, upper: Bound<&str>, len| {
            let bytes = |bound: Bound<&'static str>| bound.map(str::as_bytes);
            common_prefix(bytes(lower), upper.map(str::as_bytes), len)
        };
        for upper in [Excluded("abd"), Excluded("abc1"), Included("abc")] {
            assert_eq!(common(Included("abc"), upper, 3), Some(&b"abc"[..]), "{upper:?}");
            assert_eq!(common(Excluded("abc0"), upper, 3), Some(&b"abc"[..]), "{upper:?}");
            assert_eq!(common(Included("abc"), upper, 4), None);
        }
        for upper in [Included("abd"), Excluded("abd0"), Excluded("abe"), Excluded("ac"), Unbounded]
        {
            assert_eq!(common(Included("abc"), upper, 3), None, "{upper:?}");
        }
        assert_eq!(common(Unbounded, Excluded("abd"), 3), None);
        assert_eq!(common(Included("abc"), Excluded("abd"), 0), None);
        let ends_in_ff = |upper| common_prefix(Included(b"a\xff"), upper, 2);
        assert_eq!(ends_in_ff(Excluded(b"b")), Some(&b"a\xff"[..]));
        assert_eq!(ends_in_ff(Excluded(b"c")), None);
    }
}
