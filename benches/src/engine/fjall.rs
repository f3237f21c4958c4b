//! fjall 3, as its documentation advises: the default leveled compaction, 4 KiB blocks for point
//! reads; three workers, because of two, its default here, one hands the other's compaction to itself again
//! and again, and puts are a twentieth slower; for data that fits in the cache a hash index in each data block,
//! and filters and indexes pinned on every level, which together save a tenth of the processor time
//! of a read. Memtable, cache, table size, filter and compression are matched; its filters would by
//! default be larger on level 0.
//!
//! | class | what is done | results in |
//! |---|---|---|
//! | `None` | `manual_journal_persist`: the journal stays in the process | `None` |
//! | `Process` | default: the journal goes to the page cache with every write | `Process` |
//! | `Interval` | not offered since version 3, which has no `fsync_ms` | an error |
//! | `Sync` | `persist(SyncData)` after every put and delete, batches with that durability | `Sync` |
//!
//! Key spaces are keyspaces, with memtables of their own; cache and journal are shared. A scan reads a
//! snapshot: a range of the keyspace itself would see batches half applied, unlike with other engines.
//!
//! fjall has no call that waits for compaction, but counters. A flush sends each worker a request to
//! compact, which a free worker takes up at once: the store is idle once nothing has been running,
//! waiting or finishing for [`QUIET`], and was so since that time began.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fjall::config::{
    BlockSizePolicy, BloomConstructionPolicy, CompressionPolicy, FilterPolicy, FilterPolicyEntry,
    HashRatioPolicy, PinningPolicy,
};
use fjall::{
    AbstractTree, CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable,
};

use super::{Config, Durability, Engine};
use crate::Outcome;
use crate::data::Batch;
use crate::record::Shape;

/// Threads for flushes and compactions.
const WORKERS: usize = 3;

/// How long no work must have been seen for a store to count as idle.
const QUIET: Duration = Duration::from_millis(100);

/// Slots of a data block's hash index for each of its entries.
const HASH_RATIO: f32 = 1.5;

struct Fjall {
    db: Database,
    keyspaces: Vec<Keyspace>,
    class: Durability,
}

/// Opens a store.
pub fn open(dir: &Path, config: &Config) -> Outcome<Box<dyn Engine>> {
    if config.durability == Durability::Interval {
        return Err("fjall does not sync at intervals".into());
    }
    let db = Database::builder(dir)
        .cache_size(config.cache_bytes)
        .worker_threads(WORKERS)
        .journal_compression(compression(config))
        .manual_journal_persist(config.durability == Durability::None)
        .open()?;
    let keyspace = |family: u8| db.keyspace(&family.to_string(), || keyspace_options(config));
    let keyspaces = (0..config.families.max(1)).map(keyspace).collect::<Result<_, _>>()?;
    Ok(Box::new(Fjall { db, keyspaces, class: config.durability }))
}

fn compression(config: &Config) -> CompressionType {
    if config.lz4 { CompressionType::Lz4 } else { CompressionType::None }
}

fn keyspace_options(config: &Config) -> KeyspaceCreateOptions {
    let bits = BloomConstructionPolicy::BitsPerKey(f32::from(config.filter_bits_per_key));
    let leveled = fjall::compaction::Leveled::default().with_table_target_size(config.table_bytes);
    KeyspaceCreateOptions::default()
        .max_memtable_size(config.memtable_bytes)
        .data_block_size_policy(BlockSizePolicy::all(config.block_bytes))
        .data_block_hash_ratio_policy(HashRatioPolicy::all(HASH_RATIO))
        .index_block_pinning_policy(PinningPolicy::all(true))
        .filter_block_pinning_policy(PinningPolicy::all(true))
        .filter_policy(FilterPolicy::all(FilterPolicyEntry::Bloom(bits)))
        .data_block_compression_policy(CompressionPolicy::all(compression(config)))
        .compaction_strategy(Arc::new(leveled))
        .manual_journal_persist(config.durability == Durability::None)
}

impl Fjall {
    fn keyspace(&self, family: u8) -> Outcome<&Keyspace> {
        let keyspace = self.keyspaces.get(usize::from(family));
        Ok(keyspace.ok_or_else(|| format!("there is no key space {family}"))?)
    }

    fn is_busy(&self) -> bool {
        self.keyspaces.iter().any(|keyspace| keyspace.sealed_memtable_count() > 0)
            || self.db.outstanding_flushes() > 0
            || self.db.active_compactions() > 0
    }

    /// What a put or a delete owes after it was done.
    fn persist(&self) -> Outcome<()> {
        if self.class == Durability::Sync {
            self.db.persist(PersistMode::SyncData)?;
        }
        Ok(())
    }
}

impl Engine for Fjall {
    fn class(&self) -> Durability {
        self.class
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.keyspaces[0].insert(key, value)?;
        self.persist()
    }

    fn write(&self, family: u8, batch: &Batch) -> Outcome<()> {
        let keyspace = self.keyspace(family)?;
        let mut entries = self.db.batch();
        if self.class == Durability::Sync {
            entries = entries.durability(Some(PersistMode::SyncData));
        }
        for (key, value) in batch.iter() {
            entries.insert(keyspace, key, value);
        }
        Ok(entries.commit()?)
    }

    fn delete(&self, key: &[u8]) -> Outcome<()> {
        self.keyspaces[0].remove(key)?;
        self.persist()
    }

    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        if let Some(value) = self.keyspaces[0].get(key)? {
            found(&value);
        }
        Ok(())
    }

    fn scan(&self, from: &[u8], count: usize, each: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()> {
        for entry in self.db.snapshot().range(&self.keyspaces[0], from..).take(count) {
            let (key, value) = entry.into_inner()?;
            each(&key, &value);
        }
        Ok(())
    }

    fn settle(&self) -> Outcome<Duration> {
        for keyspace in &self.keyspaces {
            keyspace.rotate_memtable()?;
        }
        let mut idle_since = Instant::now();
        let mut completed = self.db.compactions_completed();
        while idle_since.elapsed() < QUIET {
            std::thread::sleep(Duration::from_millis(1));
            let now_completed = self.db.compactions_completed();
            if self.is_busy() || now_completed != completed {
                idle_since = Instant::now();
            }
            completed = now_completed;
        }
        Ok(idle_since.elapsed())
    }

    fn compact(&self) -> Outcome<()> {
        for keyspace in &self.keyspaces {
            keyspace.major_compact()?;
        }
        self.settle().map(|_| ())
    }

    fn shape(&self) -> Option<Shape> {
        let mut levels = Vec::new();
        for keyspace in &self.keyspaces {
            for (index, level) in keyspace.tree.current_version().iter_levels().enumerate() {
                if levels.len() == index {
                    levels.push((0, 0));
                }
                levels[index].0 += level.table_count() as u64;
                levels[index].1 += level.size();
            }
        }
        let memtable_bytes = self.db.write_buffer_size();
        Some(Shape { levels, memtable_bytes, log_bytes: self.db.journal_disk_space().ok()? })
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(self.db.persist(PersistMode::SyncAll)?)
    }
}
