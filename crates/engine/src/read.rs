//! Reading one key: pin a view, look from the newest to the oldest, stop at the first version met.

use stratalog_base::{Kind, Result, SeqNo, Slice};
use stratalog_compaction::Readable;
use stratalog_sstable::key_hash;

use crate::store::Store;
use crate::view::View;

impl Store {
    /// The value of `user` that `at` sees; without, the newest one.
    pub(crate) fn get(&self, user: &[u8], at: Option<SeqNo>) -> Result<Option<Slice>> {
        let view = self.view.pin();
        // VIEW-2: the mark is read after the pin.
        let seq = at.unwrap_or_else(|| self.newest_visible());
        get(&view, user, seq)
    }
}

/// VIEW-1: the first version met is the newest.
fn get(view: &View, user: &[u8], seq: SeqNo) -> Result<Option<Slice>> {
    for memtable in view.memtables() {
        if let Some((trailer, value)) = memtable.get(user, seq) {
            return Ok((trailer.kind() == Kind::Put).then_some(value));
        }
    }
    let hash = key_hash(user);
    for table in view.tree.candidates(user) {
        if let Some((trailer, value)) = table.table().get(user, hash, seq)? {
            return Ok((trailer.kind() == Kind::Put).then_some(value));
        }
    }
    Ok(None)
}
