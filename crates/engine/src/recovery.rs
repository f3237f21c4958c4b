//! Opening a store: manifest, tables, log, in this order.
//!
//! 1. Lock the directory. Make sure that it is ours, or empty.
//! 2. Read the manifest and open the tables and value files that it names.
//! 3. Replay the log from where tables end into memtables, and write these to level 0.
//! 4. Put a new manifest in force that names them and says that nothing is left to replay.
//! 5. Begin a fresh log segment, and note in the manifest that it must be there.
//! 6. Only now remove what nobody needs any more: replayed segments, temporary and orphan files.
//!
//! # Invariants
//! - RECOVERY-1: until step 4 is durable, every file that the old manifest needs stays as it was; a
//!   crash at any moment repeats the recovery from the start or finds it done. The new segment comes
//!   later, because it claims that what it continues is durable, and replayed bytes need not be: the
//!   page cache may show what the disk never got.
//! - RECOVERY-2: nothing is ever appended to a file that was read back.
//! - RECOVERY-3: a store that lost files is refused, not opened emptier: tables and value files are
//!   named by the manifest, and the log may not end before the position that the manifest gives (but in the mode
//!   that asks for whatever is left of it).

use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;

use stratalog_base::fs::{Fs, Lock, parent};
use stratalog_base::sync::{AtomicBool, AtomicU64, Mutex, RwLock};
use stratalog_base::{Error, Result};
use stratalog_compaction::{Numbers, Policy, Shape, Version, VersionEdit};
use stratalog_memtable::Memtable;
use stratalog_sstable::{Handles, TableSummary};
use stratalog_wal::{Backend, Log, LogOptions, Recovered, Wal};

use crate::file_name::{self, DataFile, LOCK, MANIFEST, MANIFEST_TMP};
use crate::lanes::Lanes;
use crate::manifest::{self, Manifest};
use crate::open_file::Opener;
use crate::options::Options;
use crate::pinned::Pinned;
use crate::replay::{Replayed, replay};
use crate::stats::{DroppedRange, RecoveryReport};
use crate::store::{Counters, Store};
use crate::trash::{Trash, remove_all};
use crate::tree::Tree;
use crate::view::View;
use crate::visible::Visible;

/// Opens the store in `dir`.
pub(crate) fn open(options: Options, dir: &Path) -> Result<Store> {
    let fs = options.fs.clone();
    let (lock, names) = lock_directory(&*fs, dir, options.create)?;
    let known = read_manifest(&*fs, dir, &names)?;

    let cache = options.cache();
    let handles = Handles::new(fs.clone(), options.max_open_tables, options.read_tables_by);
    let trash = Arc::new(Trash::default());
    let opener =
        Opener { handles, dir: dir.to_owned(), cache: cache.clone(), trash: trash.clone() };
    let tree = Tree::default().apply(&VersionEdit::snapshot(&known.tables), &opener)?;

    let next_id = names.iter().filter_map(|name| DataFile::named(name)).map(|it| it.id() + 1);
    let next_id = next_id.chain(known.numbers.next_id).max().unwrap_or(1);
    let budget = cache.budget();
    let replayed = replay(&options, dir, budget, &known, next_id)?;
    let Replayed { recovered, edit, next_id, new } = replayed;
    let tree = tree.apply(&edit, &opener)?;

    let newest = tree.tables().map(|(_, table)| table.summary().max_seq + 1).max().unwrap_or(0);
    let start = recovered.end.max(newest).max(known.numbers.flushed.unwrap_or(0));
    let numbers = Numbers { flushed: Some(start), next_id: Some(next_id), ..Numbers::default() };
    let whole = VersionEdit { numbers, ..VersionEdit::snapshot(&tree) };
    let mut manifest = Manifest::begin(&*fs, dir, known.store_id, &whole)?;
    new.keep();
    manifest.put_in_force(&*fs, dir)?;

    // RECOVERY-2: a fresh segment and, above, a fresh manifest.
    let log = Log::create(fs.clone(), dir, log_options(&options), &recovered, start)?;
    let numbers = Numbers { log_start: Some(start), ..Numbers::default() };
    manifest.append(&VersionEdit { numbers, ..VersionEdit::default() })?;
    log.truncate_before(start)?;
    let orphans = sweep(&*fs, dir, &tree)?;

    let memtable_bytes = options.full_memtable_bytes();
    let active = Arc::new(Memtable::with_budget(cache.budget().clone(), memtable_bytes));
    let view = View { active: active.clone(), sealed: Vec::new(), tree: Arc::new(tree) };
    let policy = Policy { level1_bytes: 4 * memtable_bytes as u64, ..Policy::default() };
    Ok(Store {
        recovery: report(&known, &recovered, edit.added.len(), orphans),
        dir: dir.to_owned(),
        fs,
        options,
        policy,
        memtable_bytes,
        manifest: Mutex::new(manifest),
        work: crate::work::Work::default(),
        active: RwLock::new(active),
        view: Pinned::new(Arc::new(view)),
        lanes: Lanes::new(),
        visible: Visible::new(log.watermarks().reserved),
        log,
        snapshots: crate::snapshot::Snapshots::default(),
        opener,
        cache,
        trash,
        next_id: AtomicU64::new(next_id),
        flushed: AtomicU64::new(start),
        unlogged: AtomicBool::new(false),
        closed: AtomicBool::new(false),
        lock: Mutex::new(Some(lock)),
        counters: Counters::default(),
    })
}

/// How a store with these options writes its log.
fn log_options(options: &Options) -> LogOptions {
    // Small beside a memtable, so that a flush soon lets go of most of the log.
    let segment_bytes = (options.full_memtable_bytes() as u64 / 4).clamp(64 << 10, 64 << 20);
    // Without threads of its own the store does nothing by itself, not even write to its log.
    let backend = if options.background { Backend::LockFree } else { Backend::Sync };
    LogOptions {
        backend,
        segment_bytes,
        interval: options.sync_interval,
        segments_ahead: options.background,
        ..LogOptions::default()
    }
}

/// Makes sure that `dir` exists (or may be created) and is ours, and locks it. Gives the names of its
/// files.
fn lock_directory(fs: &dyn Fs, dir: &Path, create: bool) -> Result<(Box<dyn Lock>, Vec<String>)> {
    match fs.list(dir) {
        // Before the lock file is put among them.
        Ok(names) => refuse_foreign(dir, &names, create)?,
        Err(error) if !error.is_not_found() => return Err(error),
        Err(_) if !create => return Err(no_store(dir, "there is no such directory")),
        Err(_) => fs.create_dir(dir)?,
    }
    let lock = fs.lock(&dir.join(LOCK))?;
    let names = fs.list(dir)?;
    refuse_foreign(dir, &names, create)?;
    Ok((lock, names))
}

fn refuse_foreign(dir: &Path, names: &[String], create: bool) -> Result<()> {
    let ours = |name: &str| [LOCK, MANIFEST, MANIFEST_TMP].contains(&name) || is_data(name);
    if names.iter().any(|name| name == MANIFEST) {
        return Ok(());
    }
    match names.iter().find(|name| !ours(name.as_str())) {
        Some(name) => Err(no_store(dir, &format!("it holds {name}, and no {MANIFEST}"))),
        None if !create && !names.iter().any(|name| is_data(name)) => {
            Err(no_store(dir, &format!("there is no {MANIFEST}")))
        }
        None => Ok(()),
    }
}

/// Whether `name` is a table's, a value file's or a segment's. The first manifest comes before the first of
/// these, so without a manifest they say that it was lost.
fn is_data(name: &str) -> bool {
    DataFile::named(name).is_some() || file_name::is_segment(name)
}

fn no_store(dir: &Path, why: &str) -> Error {
    Error::NotOurs { path: dir.to_owned(), why: why.to_owned() }
}

/// What the manifest said; for a new store, nothing.
pub(crate) struct Known {
    pub store_id: u64,
    created: bool,
    pub tables: Version<TableSummary>,
    pub numbers: Numbers,
}

fn read_manifest(fs: &dyn Fs, dir: &Path, names: &[String]) -> Result<Known> {
    let mut tables = Version::default();
    let mut numbers = Numbers::default();
    if !names.iter().any(|name| name == MANIFEST) {
        if names.iter().any(|name| is_data(name)) {
            return Err(Error::corrupt(&dir.join(MANIFEST), 0, "the manifest is missing"));
        }
        // A directory may be there without being durable in its parent: an earlier creation was cut
        // short.
        fs.sync_dir(parent(dir))?;
        let store_id = RandomState::new().hash_one(dir);
        numbers.next_id = Some(1);
        Manifest::replace(fs, dir, store_id, &VersionEdit { numbers, ..VersionEdit::default() })?;
        return Ok(Known { store_id, created: true, tables, numbers });
    }
    let contents = manifest::read(fs, dir)?;
    let path = dir.join(MANIFEST);
    for (at, edit) in &contents.edits {
        let open = |summary: &TableSummary| Ok(summary.clone());
        tables = tables.apply(edit, open, |what| Error::corrupt(&path, *at, what))?;
        numbers = numbers.then(edit.numbers);
    }
    Ok(Known { store_id: contents.store_id, created: false, tables, numbers })
}

/// Removes temporary files, and tables and value files that the tree does not name.
fn sweep(fs: &dyn Fs, dir: &Path, tree: &Tree) -> Result<Vec<String>> {
    let named = |file: DataFile| match file {
        DataFile::Table(id) => tree.tables().any(|(_, table)| table.summary().id == id),
        DataFile::Values(id) => tree.value_file(id).is_some(),
    };
    let mut names = fs.list(dir)?;
    names.retain(|name| {
        name == MANIFEST_TMP || DataFile::named(name).is_some_and(|file| !named(file))
    });
    remove_all(fs, names.iter().map(|name| dir.join(name)))?;
    Ok(names)
}

fn report(
    known: &Known,
    recovered: &Recovered,
    tables: usize,
    orphans: Vec<String>,
) -> RecoveryReport {
    let dropped = recovered.dropped.iter().map(|dropped| DroppedRange {
        file: dropped.file.clone(),
        offset: dropped.offset,
        bytes: dropped.bytes,
        why: dropped.why.clone(),
    });
    RecoveryReport {
        created: known.created,
        clean_close: recovered.clean_close,
        records: recovered.records,
        bytes: recovered.bytes,
        tables,
        dropped: dropped.collect(),
        orphans,
    }
}
