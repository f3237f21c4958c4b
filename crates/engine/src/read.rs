//! Reading one key: pin a view, look from the newest to the oldest, stop at the first version met. If that
//! is separated, its value is read from where it lies.

use stratalog_base::{Kind, Result, SeqNo, Slice, Trailer};
use stratalog_sstable::key_hash;

use crate::store::Store;
use crate::view::View;

impl Store {
    /// The value of `user` that `at` sees; without, the newest one.
    #[inline]
    pub(crate) fn get(&self, user: &[u8], at: Option<SeqNo>) -> Result<Option<Slice>> {
        let view = self.view.pin();
        // VIEW-2: the mark is read after the pin.
        let seq = at.unwrap_or_else(|| self.newest_visible());
        match find(&view, user, seq)? {
            Some((trailer, stored)) => view.tree.values.resolve(trailer, stored),
            None => Ok(None),
        }
    }

    /// Whether `user` has a value that `at` sees; without, a newest one. Reads no value file.
    pub(crate) fn contains(&self, user: &[u8], at: Option<SeqNo>) -> Result<bool> {
        let view = self.view.pin();
        let seq = at.unwrap_or_else(|| self.newest_visible()); // VIEW-2
        let found = find(&view, user, seq)?;
        Ok(found.is_some_and(|(trailer, _)| trailer.kind() != Kind::Delete))
    }
}

/// VIEW-1: the first version met is the newest.
#[inline]
fn find(view: &View, user: &[u8], seq: SeqNo) -> Result<Option<(Trailer, Slice)>> {
    for memtable in view.memtables() {
        if let Some(found) = memtable.get(user, seq) {
            return Ok(Some(found));
        }
    }
    let hash = key_hash(user);
    for table in view.tree.candidates(user) {
        if let Some(found) = table.file.get(user, hash, seq)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
