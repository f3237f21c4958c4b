//! [`Db`]: the handle that users hold.

use std::ops::RangeBounds;
use std::path::Path;
use std::sync::Arc;

use stratalog_base::sync::{JoinHandle, Mutex};
use stratalog_base::{Result, SeqNo, Slice};
use stratalog_wal::{Durability, Place, Wal};

use crate::store::Store;
use crate::{Batch, CheckReport, Iter, Options, RecoveryReport, Snapshot, Stats, WriteOptions};
use crate::{recovery, work};

/// An open store. Clones share it; it may be used from many threads at once.
///
/// Dropping the last clone closes the store without reporting errors and without flushing; call
/// [`Db::close`] to hear of them.
///
/// ```no_run
/// let db = stratalog::Db::open("data")?;
/// db.put(b"ada", b"1815")?;
/// assert_eq!(db.get(b"ada")?.as_deref(), Some(&b"1815"[..]));
/// for entry in db.range("a".."m").rev() {
///     let (key, value) = entry?;
///     println!("{key:?} {value:?}");
/// }
/// db.close()?;
/// # Ok::<(), stratalog::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Db {
    shared: Arc<Shared>,
}

/// What the clones of a handle share; its end closes the store.
#[derive(Debug)]
struct Shared {
    store: Arc<Store>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = self.close(); // `Db::close` reports errors; a drop cannot.
    }
}

impl Shared {
    fn close(&self) -> Result<()> {
        let threads = std::mem::take(&mut *self.threads.lock());
        self.store.close(threads)
    }
}

/// A write that was made.
#[derive(Debug)]
pub struct Commit<'a> {
    store: &'a Store,
    place: Place,
    durability: Durability,
}

impl Commit<'_> {
    /// The sequence number of the write's first entry: its place in history.
    pub fn seq(&self) -> SeqNo {
        self.place.position
    }

    /// Waits until the write survives a power cut, and makes it so if nobody else does.
    ///
    /// # Errors
    /// Of the sync; then whether it survives is not known, and the store takes no more writes. For a
    /// write of [`Durability::None`], of the flush that it needs.
    pub fn wait_durable(&self) -> Result<()> {
        match self.durability {
            Durability::None => self.store.sync(),
            _ => self.store.log.wait(self.place.end, Durability::Sync, None).map(|_| ()),
        }
    }
}

impl Db {
    /// Opens the store in the directory `path` with default options, creating it if absent.
    ///
    /// # Errors
    /// [`crate::Error::Locked`] if another handle or process has it open; [`crate::Error::NotOurs`] if
    /// the directory holds something else; [`crate::Error::NewerFormat`]; [`crate::Error::Corrupt`],
    /// naming file and offset, if a file is missing or damaged, or naming the directory if the log is
    /// too short (nothing is changed then);
    /// [`crate::Error::Io`] and [`crate::Error::NoSpace`] from the system.
    pub fn open(path: impl AsRef<Path>) -> Result<Db> {
        Options::new().open(path)
    }

    pub(crate) fn open_with(options: Options, path: &Path) -> Result<Db> {
        let background = options.background;
        let store = Arc::new(recovery::open(options, path)?);
        let shared = Shared { store, threads: Mutex::new(Vec::new()) };
        if background {
            *shared.threads.lock() = work::start(&shared.store)?;
        }
        Ok(Db { shared: Arc::new(shared) })
    }

    fn store(&self) -> &Arc<Store> {
        &self.shared.store
    }

    /// Sets `key` to `value`, with the store's default durability.
    ///
    /// # Errors
    /// As [`Db::write`].
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<Commit<'_>> {
        self.put_with(key, value, &WriteOptions::new())
    }

    /// Sets `key` to `value`.
    ///
    /// # Errors
    /// As [`Db::write`].
    pub fn put_with(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        options: &WriteOptions,
    ) -> Result<Commit<'_>> {
        self.write(Batch::new().put(key, value), options)
    }

    /// Removes `key`, with the store's default durability. Not an error if it is absent.
    ///
    /// # Errors
    /// As [`Db::write`].
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<Commit<'_>> {
        self.delete_with(key, &WriteOptions::new())
    }

    /// Removes `key`. Not an error if it is absent.
    ///
    /// # Errors
    /// As [`Db::write`].
    pub fn delete_with(&self, key: impl AsRef<[u8]>, options: &WriteOptions) -> Result<Commit<'_>> {
        self.write(Batch::new().delete(key), options)
    }

    /// Applies a batch: all of it becomes visible at once, and all or nothing of it survives.
    /// When this returns, it survives what its durability class says; see [`Durability`].
    ///
    /// May wait while memtables and level 0 are full.
    ///
    /// # Errors
    /// [`crate::Error::InvalidArgument`] if the batch is empty, or a key or value is too long;
    /// [`crate::Error::NoSpace`] and [`crate::Error::Io`] from the log, or from the flush that would
    /// make room; [`crate::Error::Poisoned`] after an earlier failure of the log;
    /// [`crate::Error::Closed`]. Nothing was applied then, but for one case: if the **sync** of a
    /// [`Durability::Sync`] write fails, the write is visible, and whether it survives is not known.
    pub fn write(&self, batch: &Batch, options: &WriteOptions) -> Result<Commit<'_>> {
        let store = self.store();
        let durability = options.durability.unwrap_or(store.options.durability);
        let place = store.commit(batch, durability)?;
        Ok(Commit { store, place, durability })
    }

    /// The value of `key`. Not copied: it pins the block, cached value or memtable that holds it.
    ///
    /// # Errors
    /// [`crate::Error::Io`] or [`crate::Error::Corrupt`] if a table cannot be read;
    /// [`crate::Error::Closed`].
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Slice>> {
        self.store().check_open()?;
        self.store().get(key.as_ref(), None)
    }

    /// Whether `key` is there.
    ///
    /// # Errors
    /// As [`Db::get`].
    pub fn contains(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.store().check_open()?;
        self.store().contains(key.as_ref(), None)
    }

    /// All entries, in the order of their keys.
    pub fn iter(&self) -> Iter {
        self.range::<&[u8]>(..)
    }

    /// The entries whose keys lie in `range`.
    pub fn range<K: AsRef<[u8]>>(&self, range: impl RangeBounds<K>) -> Iter {
        Iter::range(self.store(), None, &range)
    }

    /// The entries whose keys begin with `prefix`.
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Iter {
        Iter::prefix(self.store(), None, prefix.as_ref())
    }

    /// The store as it is now, to be read for as long as the snapshot is kept.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.store())
    }

    /// Writes what is in memtables to tables and waits for it.
    ///
    /// # Errors
    /// Of the flush; nothing is lost then, and the next flush tries again.
    pub fn flush(&self) -> Result<()> {
        self.store().flush()
    }

    /// Flushes, and merges all tables into one level, so that no superseded version and no tombstone
    /// stays that a snapshot does not need. Rewrites everything: for maintenance, not for every day.
    ///
    /// # Errors
    /// Of the flush and the merge; the store is as before then.
    pub fn compact(&self) -> Result<()> {
        self.store().compact_all()
    }

    /// Waits until no flush or compaction is running or due.
    ///
    /// # Errors
    /// Of the jobs waited for.
    pub fn wait_idle(&self) -> Result<()> {
        self.store().wait_idle()
    }

    /// Makes every write that was acknowledged before survive a power cut, whatever its class.
    ///
    /// # Errors
    /// Of the sync; then what survives is not known, and the store takes no more writes.
    pub fn sync(&self) -> Result<()> {
        self.store().sync()
    }

    /// What the store says of itself.
    pub fn stats(&self) -> Stats {
        self.store().stats()
    }

    /// Reads every table and value file and verifies every checksum, the order of the keys, the filters, the
    /// properties, and that each value that is referred to is there, once, and reads the manifest back. Takes
    /// 16 bytes of memory for each separated value.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`] for the first damage found, naming file and offset.
    pub fn check(&self) -> Result<CheckReport> {
        self.store().check()
    }

    /// What opening the store had to do.
    pub fn recovery(&self) -> &RecoveryReport {
        &self.store().recovery
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.store().dir
    }

    /// Closes the store for every clone of the handle: flushes writes that the log does not have, makes
    /// everything durable, ends the threads and lets the directory go. Iterators and snapshots go on
    /// reading; everything else returns [`crate::Error::Closed`].
    ///
    /// # Errors
    /// Of the flush and the sync; the directory is let go all the same.
    pub fn close(self) -> Result<()> {
        let store = self.store();
        let flushed = match store.has_unlogged() && store.check_open().is_ok() {
            true => store.flush(),
            false => Ok(()),
        };
        flushed.and(self.shared.close())
    }
}
