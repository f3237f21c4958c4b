//! fjall 3, as its documentation advises: the default leveled compaction, 4 KiB blocks for point
//! reads, one worker for each core; for data that fits in the cache a hash index in each data block,
//! and filters and indexes pinned on every level, which together save a tenth of the processor time
//! of a read. Memtable, cache, table size, filter and compression are matched; its filters would by
//! default be larger on level 0.
//!
//! | class | fjall |
//! |---|---|
//! | `None` | `manual_journal_persist`: the journal stays in the process |
//! | `Process` | its default: the journal goes to the page cache with every write |
//! | `Interval` | not offered |
//! | `Sync` | `persist(SyncData)` after every write |
//!
//! fjall has no call that waits for compaction, but counters. A flush sends each worker a request to
//! compact, which a free worker takes up at once: the store is idle once nothing has been running,
//! waiting or finishing for [`QUIET`], and was so since that time began.

use std::path::Path;
use std::time::{Duration, Instant};

use fjall::config::{
    BlockSizePolicy, BloomConstructionPolicy, CompressionPolicy, FilterPolicy, FilterPolicyEntry,
    HashRatioPolicy, PinningPolicy,
};
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{Config, Durability, Engine};
use crate::Outcome;

/// How long no work must have been seen for a store to count as idle.
const QUIET: Duration = Duration::from_millis(100);

/// Slots of a data block's hash index for each of its entries.
const HASH_RATIO: f32 = 1.5;

struct Fjall {
    db: Database,
    keyspace: Keyspace,
    sync: bool,
}

/// Opens a store.
pub fn open(dir: &Path, config: &Config) -> Outcome<Box<dyn Engine>> {
    if config.durability == Durability::Interval {
        return Err("fjall 3 does not sync at intervals".into());
    }
    let compression = if config.lz4 { CompressionType::Lz4 } else { CompressionType::None };
    let unlogged = config.durability == Durability::None;
    let db = Database::builder(dir)
        .cache_size(config.cache_bytes)
        .journal_compression(compression)
        .manual_journal_persist(unlogged)
        .open()?;
    let bits = BloomConstructionPolicy::BitsPerKey(f32::from(config.filter_bits_per_key));
    let leveled = fjall::compaction::Leveled::default().with_table_target_size(config.table_bytes);
    let keyspace = db.keyspace("bench", || {
        KeyspaceCreateOptions::default()
            .max_memtable_size(config.memtable_bytes)
            .data_block_size_policy(BlockSizePolicy::all(config.block_bytes))
            .data_block_hash_ratio_policy(HashRatioPolicy::all(HASH_RATIO))
            .index_block_pinning_policy(PinningPolicy::all(true))
            .filter_block_pinning_policy(PinningPolicy::all(true))
            .filter_policy(FilterPolicy::all(FilterPolicyEntry::Bloom(bits)))
            .data_block_compression_policy(CompressionPolicy::all(compression))
            .compaction_strategy(std::sync::Arc::new(leveled.clone()))
            .manual_journal_persist(unlogged)
    })?;
    Ok(Box::new(Fjall { db, keyspace, sync: config.durability == Durability::Sync }))
}

impl Fjall {
    fn is_busy(&self) -> bool {
        self.keyspace.sealed_memtable_count() > 0
            || self.db.outstanding_flushes() > 0
            || self.db.active_compactions() > 0
    }
}

impl Engine for Fjall {
    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.keyspace.insert(key, value)?;
        if self.sync {
            self.db.persist(PersistMode::SyncData)?;
        }
        Ok(())
    }

    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        if let Some(value) = self.keyspace.get(key)? {
            found(&value);
        }
        Ok(())
    }

    fn scan(&self, each: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()> {
        for entry in self.keyspace.iter() {
            let (key, value) = entry.into_inner()?;
            each(&key, &value);
        }
        Ok(())
    }

    fn settle(&self) -> Outcome<Instant> {
        self.keyspace.rotate_memtable()?;
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
        Ok(idle_since)
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.db.persist(PersistMode::SyncAll)?;
        Ok(())
    }
}
