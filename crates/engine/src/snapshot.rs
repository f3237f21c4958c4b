//! Snapshots: a moment of history that stays readable.

use std::collections::BTreeMap;
use std::ops::RangeBounds;
use std::sync::Arc;

use stratalog_base::sync::Mutex;
use stratalog_base::{Result, SeqNo, Slice};

use crate::Iter;
use crate::store::Store;

/// The store as it was at one moment, however much is written later. Taking one costs a short lock and
/// nothing else; while it lives, compaction keeps the versions that it sees.
///
/// ```no_run
/// # let db = stratalog::Db::open("data")?;
/// let before = db.snapshot();
/// db.delete(b"bob")?;
/// assert!(before.get(b"bob")?.is_some());
/// # Ok::<(), stratalog::Error>(())
/// ```
#[derive(Debug)]
pub struct Snapshot {
    store: Arc<Store>,
    seq: SeqNo,
}

impl Snapshot {
    pub(crate) fn new(store: &Arc<Store>) -> Snapshot {
        let seq = store.snapshots.open(|| store.newest_visible());
        Snapshot { store: store.clone(), seq }
    }

    /// The newest write that the snapshot sees.
    pub fn seq(&self) -> SeqNo {
        self.seq
    }

    /// The value of `key` at that moment.
    ///
    /// # Errors
    /// As [`crate::Db::get`].
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Slice>> {
        self.store.get(key.as_ref(), Some(self.seq))
    }

    /// Whether `key` was there.
    ///
    /// # Errors
    /// As [`crate::Db::get`].
    pub fn contains(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.store.contains(key.as_ref(), Some(self.seq))
    }

    /// All entries of that moment.
    pub fn iter(&self) -> Iter {
        self.range::<&[u8]>(..)
    }

    /// The entries whose keys lie in `range`.
    pub fn range<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> Iter {
        Iter::range(&self.store, Some(self.seq), &range)
    }

    /// The entries whose keys begin with `prefix`.
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Iter {
        Iter::prefix(&self.store, Some(self.seq), prefix.as_ref())
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        self.store.snapshots.close(self.seq);
    }
}

/// The open snapshots, counted by sequence number.
#[derive(Debug, Default)]
pub(crate) struct Snapshots(Mutex<BTreeMap<SeqNo, usize>>);

impl Snapshots {
    /// Registers the number that `newest` gives under the lock, so that no merge that starts later
    /// misses it. A merge that started earlier holds only versions that were visible by then, and
    /// keeps the newest of each key: that one, or a newer one outside the merge, is what it sees.
    fn open(&self, newest: impl FnOnce() -> SeqNo) -> SeqNo {
        let mut open = self.0.lock();
        let seq = newest();
        *open.entry(seq).or_insert(0) += 1;
        seq
    }

    fn close(&self, seq: SeqNo) {
        let mut open = self.0.lock();
        let count = open.get_mut(&seq).expect("a snapshot closes once");
        *count -= 1;
        if *count == 0 {
            open.remove(&seq);
        }
    }

    /// The numbers of all open snapshots, ascending.
    pub fn list(&self) -> Vec<SeqNo> {
        self.0.lock().keys().copied().collect()
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.0.lock().values().sum()
    }
}
