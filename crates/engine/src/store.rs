//! [`Store`]: what the handles, snapshots and threads of one open store share.
//!
//! # Locks
//! Taken in rising rank only. None is held over I/O but where the table says so.
//!
//! | rank | lock | guards | I/O while held |
//! |---:|---|---|---|
//! | 0 | `lanes` | nothing: how many writers are between their place in the log and being visible | writers: the log's, and a flush or compaction that they have to do |
//! | 1 | `manifest` | the manifest; whoever holds it alone changes the tree | yes |
//! | 2 | `work` | which jobs run, what failed | no |
//! | 3 | `active` | which memtable takes writes: shared by writers from their place in the log to being visible, exclusive to seal | writers: the log's |
//! | 4 | `view` (update) | the view's replacement | no |
//! | 5 | `lock`, and `threads` of the handle | letting the directory go, and joining the threads, once | no |
//! | 5 | `snapshots`, `trash`, inside `visible`, inside the log, cache and memtable | themselves | the log's own |
//!
//! # Invariants
//! - STORE-1: a write goes to the memtable that was active when it took its place in the log; a seal
//!   waits for writes on their way and then takes the log's end as the memtable's end. So a sealed
//!   memtable holds every write below its end and above its predecessor's, and no other.
//! - STORE-2: a table's writes are all visible: writers publish before they let go of `active`.
//! - STORE-3: log segments go only when the manifest says, durably, that all their writes are in
//!   tables; tables and value files only when no durable manifest and no view names them.

use std::path::PathBuf;
use std::sync::Arc;

use stratalog_base::budget::Budget;
use stratalog_base::fs::{Fs, Lock};
use stratalog_base::sync::{AtomicBool, AtomicU64, JoinHandle, Mutex, Ordering, RwLock};
use stratalog_base::{Error, Result, SeqNo};
use stratalog_compaction::{Numbers, Policy, Shape, VersionEdit};
use stratalog_memtable::Memtable;
use stratalog_sstable::BlockCache;
use stratalog_wal::{Log, Wal};

use crate::file_name::DataFile;
use crate::lanes::Lanes;
use crate::manifest::Manifest;
use crate::open_file::Opener;
use crate::options::Options;
use crate::pinned::Pinned;
use crate::snapshot::Snapshots;
use crate::stats::RecoveryReport;
use crate::trash::Trash;
use crate::view::{Sealed, View};
use crate::visible::Visible;
use crate::work::Work;

/// See the module page.
#[derive(Debug)]
pub(crate) struct Store {
    // Constant.
    pub dir: PathBuf,
    pub fs: Arc<dyn Fs>,
    pub options: Options,
    /// At how many bytes a memtable is sealed.
    pub memtable_bytes: usize,
    pub policy: Policy,
    pub recovery: RecoveryReport,

    // In order of rank.
    pub manifest: Mutex<Manifest>,
    pub work: Work,
    pub active: RwLock<Arc<Memtable>>,
    pub view: Pinned<View>,

    // Each takes care of itself.
    pub log: Log,
    pub lanes: Lanes,
    pub visible: Visible,
    pub snapshots: Snapshots,
    pub opener: Opener,
    pub cache: Arc<BlockCache>,
    pub trash: Arc<Trash>,
    pub next_id: AtomicU64,
    /// Every write below is in tables.
    pub flushed: AtomicU64,
    /// Whether the active memtable holds writes that the log does not.
    pub unlogged: AtomicBool,
    pub closed: AtomicBool,
    pub lock: Mutex<Option<Box<dyn Lock>>>,
    pub counters: Counters,
}

/// What the store counts, each once per job or stall.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub flushes: AtomicU64,
    pub compactions: AtomicU64,
    pub table_bytes_written: AtomicU64,
    pub value_bytes_written: AtomicU64,
    pub stalls: AtomicU64,
}

impl Store {
    /// # Errors
    /// [`Error::Closed`] once the store was closed.
    #[inline]
    pub fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Relaxed) { Err(Error::Closed) } else { Ok(()) }
    }

    /// What memtables, tables and cache are charged to.
    #[inline]
    pub fn budget(&self) -> &Arc<Budget> {
        self.cache.budget()
    }

    /// The sequence number that sees everything visible, and nothing newer.
    #[inline]
    pub fn newest_visible(&self) -> SeqNo {
        self.visible.upto() - 1
    }

    /// Makes `edit` the tree's next change, durably, and shows it to reads. `flushed` is the sealed
    /// memtable that the edit replaces.
    ///
    /// # Errors
    /// Of the manifest. Then the tree is as before, the edit may or may not be found when the store is
    /// next opened, and no file that either needs was removed (STORE-3).
    pub fn install(&self, mut edit: VersionEdit, flushed: Option<&Sealed>) -> Result<()> {
        let mut manifest = self.manifest.lock();
        edit.numbers.next_id = Some(self.next_id.load(Ordering::Relaxed));
        let tree = self.view.pin().tree.clone();
        let is_in_tree = |id: u64| tree.tables().any(|(_, table)| table.summary().id == id);
        let new = edit.added.iter().map(|(_, summary)| summary).filter(|new| !is_in_tree(new.id));
        let mut new: Vec<_> = new.map(|it| (DataFile::Table(it.id), it.bytes)).collect();
        let table_bytes = new.iter().map(|&(_, bytes)| bytes).sum();
        new.extend(edit.added_values.iter().map(|it| (DataFile::Values(it.id), it.bytes)));
        let value_bytes = edit.added_values.iter().map(|it| it.bytes).sum();
        let files = new.iter().map(|&(file, _)| file);

        // SEPARATE-1: the job has synced the files; now their names are, before the manifest has them.
        let synced = self.fs.sync_dir(&self.dir);
        let next = synced.and_then(|()| tree.apply(&edit, &self.opener));
        // Nothing names the new files yet.
        let next = next.inspect_err(|_| self.trash.add(files.clone()))?;
        let written = if manifest.must_be_replaced() {
            let numbers = manifest.numbers().then(edit.numbers);
            let whole = VersionEdit { numbers, ..VersionEdit::snapshot(&next) };
            let replaced = Manifest::replace(&*self.fs, &self.dir, manifest.store_id(), &whole);
            // Now it is certain that nothing names the files of failed appends.
            replaced.map(|new| self.trash.add(std::mem::replace(&mut *manifest, new).in_doubt()))
        } else {
            manifest.append(&edit)
        };
        written.inspect_err(|_| manifest.doubt(files))?;

        tree.mark_obsolete_but(&next);
        let next = Arc::new(next);
        self.view.update(|view| {
            let mut sealed = view.sealed.clone();
            if let Some(flushed) = flushed {
                let oldest = sealed.pop().expect("a flush installs the oldest sealed memtable");
                assert!(Arc::ptr_eq(&oldest.memtable, &flushed.memtable), "flushes are in order");
            }
            View { active: view.active.clone(), sealed, tree: next }
        });
        if let Some(flushed) = edit.numbers.flushed {
            self.flushed.store(flushed, Ordering::Relaxed);
        }
        self.counters.table_bytes_written.fetch_add(table_bytes, Ordering::Relaxed);
        self.counters.value_bytes_written.fetch_add(value_bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Stops the background work, closes the log so that everything in it is durable, and lets the
    /// directory go. Writes that the log does not have are lost unless they were flushed before.
    /// Reads that have begun, iterators and snapshots go on.
    ///
    /// # Errors
    /// Of the log and the manifest; the directory is let go all the same. Closing twice does nothing.
    pub fn close(&self, threads: Vec<JoinHandle<()>>) -> Result<()> {
        if self.closed.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        self.work.begin_close();
        for thread in threads {
            let _ = thread.join(); // A panic there was reported where it happened.
        }
        self.work.drain(); // Jobs in the threads of callers.
        let end = {
            let _no_writer_on_its_way = self.active.write();
            self.log.watermarks().logged
        };
        let outcome = self.log.close().and_then(|()| {
            let mut manifest = self.manifest.lock();
            let numbers = Numbers { closed_at: Some(end), ..Numbers::default() };
            let edit = VersionEdit { numbers, ..VersionEdit::default() };
            // Without the note the log merely counts as not closed.
            if manifest.must_be_replaced() { Ok(()) } else { manifest.append(&edit) }
        });
        self.tidy();
        self.lock.lock().take();
        outcome
    }

    /// Frees what reads no longer hold: replaced views, and the files that left the tree.
    pub fn tidy(&self) {
        self.view.tidy();
        self.trash.empty(&*self.fs, &self.dir);
    }
}
