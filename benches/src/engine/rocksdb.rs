//! RocksDB, tuned as its wiki and its own `OptimizeForPointLookup` advise; far from all of that is default.
//!
//! Memtable, cache, block size, table size, filter and compression are those of the [`Config`]. The
//! rest, and why:
//!
//! | option | why |
//! |---|---|
//! | `increase_parallelism(2)` | one job for each core, flushes in a pool of their own |
//! | `bytes_per_sync` 1 MiB | basic tuning: a table is written back evenly, not all at its end |
//! | `max_write_buffer_number` 4 | with the default, 2, writes wait for a flush that is slower than they are |
//! | HyperClockCache of its own sizing | generally recommended over LRU by its header |
//! | hash index in data blocks, ratio 0.75 | `OptimizeForPointLookup` |
//! | whole keys in a memtable's filter, 0.02 of its size | `OptimizeForPointLookup` |
//!
//! Built with the instructions of the machine at hand, as its `INSTALL.md` does: without, its checksums
//! are several times slower (`cargo xtask bench` sets `CXXFLAGS`).
//!
//! Left at their defaults: dynamic level sizes, indexes and filters in memory outside the cache (as with
//! fjall and ours), the format version (the latest), concurrent memtable writes, write groups that
//! are not pipelined, checksums verified by every read, the least overlapping table first for compaction,
//! level 1 of 256 MiB.
//!
//! | class | what is done | results in |
//! |---|---|---|
//! | `None` | the log is switched off | `None` |
//! | `Process` | default: the log goes to the page cache with every write | `Process` |
//! | `Interval` | the same, and a thread that calls `flush_wal(true)` every 100 ms, as its users do | `Interval` |
//! | `Sync` | `WriteOptions::sync`, with group commit | `Sync` |
//!
//! Key spaces are column families with memtables of their own; cache and log are shared.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rocksdb::{
    BlockBasedOptions, BottommostLevelCompaction, Cache, ColumnFamily, ColumnFamilyDescriptor,
    CompactOptions, DB, DBCompressionType, DataBlockIndexType, FlushOptions, Options, ReadOptions,
    WaitForCompactOptions, WriteBatch, WriteOptions, properties,
};

use super::{Config, Durability, Engine};
use crate::Outcome;
use crate::data::Batch;
use crate::record::Shape;

/// Threads for flushes and compactions.
const BACKGROUND_JOBS: i32 = 2;
/// Levels of a tree, unless said otherwise.
const LEVELS: usize = 7;
/// How often the log is synced in the class `Interval`.
const INTERVAL: Duration = Duration::from_millis(100);

struct RocksDb {
    db: Arc<DB>,
    dir: PathBuf,
    class: Durability,
    families: u8,
    reading: ReadOptions,
    writing: WriteOptions,
    syncer: Option<Syncer>,
}

/// Opens a store.
pub fn open(dir: &Path, config: &Config) -> Outcome<Box<dyn Engine>> {
    let options = options(config);
    let families = (0..config.families.max(1))
        .map(|family| ColumnFamilyDescriptor::new(family_name(family), options.clone()));
    let db = Arc::new(DB::open_cf_descriptors(&options, dir, families)?);
    let mut writing = WriteOptions::default();
    match config.durability {
        Durability::None => writing.disable_wal(true),
        Durability::Process | Durability::Interval => {}
        Durability::Sync => writing.set_sync(true),
    }
    let syncs = config.durability == Durability::Interval;
    Ok(Box::new(RocksDb {
        syncer: syncs.then(|| Syncer::start(Arc::clone(&db))),
        db,
        dir: dir.to_owned(),
        class: config.durability,
        families: config.families.max(1),
        reading: ReadOptions::default(),
        writing,
    }))
}

fn options(config: &Config) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_hyper_clock_cache(config.cache_bytes as usize, 0));
    table.set_block_size(config.block_bytes as usize);
    table.set_bloom_filter(f64::from(config.filter_bits_per_key), false);
    table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    table.set_data_block_hash_ratio(0.75);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.increase_parallelism(BACKGROUND_JOBS);
    options.set_bytes_per_sync(1 << 20);
    options.set_write_buffer_size(config.memtable_bytes as usize);
    options.set_max_write_buffer_number(4);
    options.set_memtable_prefix_bloom_ratio(0.02);
    options.set_memtable_whole_key_filtering(true);
    options.set_target_file_size_base(config.table_bytes);
    options.set_compression_type(if config.lz4 {
        DBCompressionType::Lz4
    } else {
        DBCompressionType::None
    });
    options.set_block_based_table_factory(&table);
    options
}

/// The first column family has a name that cannot be chosen.
fn family_name(family: u8) -> String {
    if family == 0 { "default".to_owned() } else { family.to_string() }
}

impl RocksDb {
    fn family(&self, family: u8) -> Outcome<&ColumnFamily> {
        let handle = self.db.cf_handle(&family_name(family));
        Ok(handle.ok_or_else(|| format!("there is no key space {family}"))?)
    }

    fn all_families(&self) -> Outcome<Vec<&ColumnFamily>> {
        (0..self.families).map(|family| self.family(family)).collect()
    }

    /// Fails if there should be a thread that syncs, and it has ended: it does so only by a failure.
    fn check_syncer(&self) -> Outcome<()> {
        match self.syncer.as_ref().and_then(|syncer| syncer.thread.as_ref()) {
            Some(thread) if thread.is_finished() => Err("a sync of the log failed".into()),
            _ => Ok(()),
        }
    }

    /// Bytes of the log files. Those that are not needed any more are soon removed.
    fn log_bytes(&self) -> u64 {
        let Ok(files) = std::fs::read_dir(&self.dir) else { return 0 };
        let logs =
            files.flatten().filter(|file| file.path().extension().is_some_and(|e| e == "log"));
        logs.flat_map(|file| file.metadata()).map(|metadata| metadata.len()).sum()
    }
}

impl Engine for RocksDb {
    fn class(&self) -> Durability {
        self.class
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.check_syncer()?;
        Ok(self.db.put_opt(key, value, &self.writing)?)
    }

    fn write(&self, family: u8, batch: &Batch) -> Outcome<()> {
        self.check_syncer()?;
        let mut entries = WriteBatch::default();
        if family == 0 {
            for (key, value) in batch.iter() {
                entries.put(key, value);
            }
        } else {
            let family = self.family(family)?;
            for (key, value) in batch.iter() {
                entries.put_cf(family, key, value);
            }
        }
        Ok(self.db.write_opt(entries, &self.writing)?)
    }

    fn delete(&self, key: &[u8]) -> Outcome<()> {
        Ok(self.db.delete_opt(key, &self.writing)?)
    }

    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        if let Some(value) = self.db.get_pinned_opt(key, &self.reading)? {
            found(&value);
        }
        Ok(())
    }

    fn scan(&self, from: &[u8], count: usize, each: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()> {
        let mut entries = self.db.raw_iterator_opt(ReadOptions::default());
        entries.seek(from);
        for _ in 0..count {
            let Some((key, value)) = entries.item() else { break };
            each(key, value);
            entries.next();
        }
        Ok(entries.status()?)
    }

    fn settle(&self) -> Outcome<Duration> {
        self.db.flush_cfs_opt(&self.all_families()?, &FlushOptions::default())?;
        self.db.wait_for_compact(&WaitForCompactOptions::default())?;
        Ok(Duration::ZERO)
    }

    fn compact(&self) -> Outcome<()> {
        let mut options = CompactOptions::default();
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        for family in self.all_families()? {
            self.db.compact_range_cf_opt(family, None::<&[u8]>, None::<&[u8]>, &options);
        }
        self.settle().map(|_| ())
    }

    fn shape(&self) -> Option<Shape> {
        let mut levels = vec![(0, 0); LEVELS];
        for file in self.db.live_files().ok()? {
            let (tables, bytes) = levels.get_mut(usize::try_from(file.level).ok()?)?;
            *tables += 1;
            *bytes += file.size as u64;
        }
        let mut memtable_bytes = 0;
        for family in self.all_families().ok()? {
            let name = properties::CUR_SIZE_ALL_MEM_TABLES;
            memtable_bytes += self.db.property_int_value_cf(family, name).ok()??;
        }
        Some(Shape { levels, memtable_bytes, log_bytes: self.log_bytes() })
    }

    fn close(mut self: Box<Self>) -> Outcome<()> {
        if let Some(mut syncer) = self.syncer.take() {
            syncer.stop()?;
        }
        if self.class != Durability::None {
            self.db.flush_wal(true)?;
        }
        Ok(())
    }
}

/// A thread that syncs the log again and again, until it is stopped or dropped.
struct Syncer {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<Result<(), rocksdb::Error>>>,
}

impl Syncer {
    fn start(db: Arc<DB>) -> Syncer {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            while stopped.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                db.flush_wal(true)?;
            }
            Ok(())
        });
        Syncer { stop: Some(stop), thread: Some(thread) }
    }

    /// Waits for the thread's end; its error is that of the first sync that failed.
    fn stop(&mut self) -> Outcome<()> {
        self.stop = None;
        let Some(thread) = self.thread.take() else { return Ok(()) };
        Ok(thread.join().map_err(|_| "the thread that syncs panicked")??)
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        // The store must not be closed by a thread that nobody waits for.
        let _ = self.stop();
    }
}
