//! What a store says of itself.

use std::path::PathBuf;

use stratalog_base::SeqNo;
use stratalog_base::sync::{AtomicU64, Ordering};
use stratalog_compaction::{LEVELS, Shape, ValueUse};
use stratalog_wal::Wal;

use crate::store::Store;

/// A level of the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LevelStats {
    /// Tables in the level.
    pub tables: usize,
    /// Their bytes on disk.
    pub bytes: u64,
    /// Their entries, superseded versions and tombstones included.
    pub entries: u64,
    /// Their tombstones.
    pub tombstones: u64,
}

/// A store's state and what it has done since it was opened; see [`crate::Db::stats`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The levels, level 0 first.
    pub levels: Vec<LevelStats>,
    /// The memory budget; see [`crate::Options::memory_bytes`].
    pub memory_bytes: usize,
    /// What of it is in use: the sum of memtables, cache, pinned blocks and open tables, exact while nobody changes
    /// them.
    pub memory_used_bytes: usize,
    /// The most that was in use at one time since the store was opened.
    pub memory_peak_bytes: usize,
    /// Bytes of memtables: the active one, sealed ones, and those flushed that are still being read.
    pub memtable_bytes: usize,
    /// Entries in the active and the sealed memtables.
    pub memtable_entries: u64,
    /// Sealed memtables that wait for their flush.
    pub sealed_memtables: usize,
    /// Bytes of table blocks, of index and filter partitions and of separated values in the cache, and of free room
    /// between them.
    pub cache_bytes: usize,
    /// Bytes of the same beside the cache: slices or iterators hold them, or they were evicted while somebody read.
    pub pinned_bytes: usize,
    /// Bytes of what open tables hold in memory beside the cache: top indexes, range tombstones, cache
    /// slots, also of value files, and index and filter of small tables.
    pub index_bytes: usize,
    /// Bytes in log segments that are still needed.
    pub log_bytes: u64,
    /// The newest write that reads see.
    pub visible: SeqNo,
    /// Every write below survives a power cut.
    pub durable: SeqNo,
    /// Open snapshots.
    pub snapshots: usize,
    /// Flushes done.
    pub flushes: u64,
    /// Compactions done.
    pub compactions: u64,
    /// Bytes that flushes and compactions wrote to tables.
    pub table_bytes_written: u64,
    /// Value files.
    pub value_files: usize,
    /// Their bytes on disk.
    pub value_bytes: u64,
    /// Bytes in them that no table refers to any more.
    pub value_garbage_bytes: u64,
    /// Bytes that flushes and compactions wrote to value files.
    pub value_bytes_written: u64,
    /// Times a writer had to wait for a flush or a compaction.
    pub stalls: u64,
}

/// What opening had to do; see [`crate::Db::recovery`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Whether the directory was created by this open.
    pub created: bool,
    /// Whether the log ended with the mark of a clean close.
    pub clean_close: bool,
    /// Records replayed from the log.
    pub records: u64,
    /// Bytes of these records.
    pub bytes: u64,
    /// Tables written from them.
    pub tables: usize,
    /// What was cut off the log's end, none of it ever promised to survive.
    pub dropped: Vec<DroppedRange>,
    /// Files removed: temporaries, and tables and value files that no version names.
    pub orphans: Vec<String>,
}

/// Bytes that recovery left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroppedRange {
    /// The file.
    pub file: PathBuf,
    /// Where the range starts.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
    /// Why it was left out.
    pub why: String,
}

impl Store {
    /// What the store says of itself.
    pub fn stats(&self) -> Stats {
        let view = self.view.pin();
        let mut levels = vec![LevelStats::default(); LEVELS];
        for (level, table) in view.tree.tables() {
            let (stats, summary) = (&mut levels[level], table.summary());
            stats.tables += 1;
            stats.bytes += summary.bytes;
            stats.entries += summary.entries;
            stats.tombstones += summary.tombstones;
        }
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let sum = |bytes: fn(&ValueUse) -> u64| view.tree.version.values().iter().map(bytes).sum();
        let marks = self.log.watermarks();
        let flushed = count(&self.flushed);
        let budget = self.budget();
        let (cache_bytes, pinned_bytes) = (self.cache.used_bytes(), self.cache.pinned_bytes());
        let (index_bytes, memory_used_bytes) = (self.cache.tables_bytes(), budget.used_bytes());
        Stats {
            levels,
            memory_bytes: budget.limit_bytes(),
            memory_used_bytes,
            memory_peak_bytes: budget.peak_bytes(),
            memtable_bytes: memory_used_bytes
                .saturating_sub(cache_bytes + pinned_bytes + index_bytes),
            memtable_entries: view.memtables().map(|memtable| memtable.len() as u64).sum(),
            sealed_memtables: view.sealed.len(),
            cache_bytes,
            pinned_bytes,
            index_bytes,
            log_bytes: marks.logged.saturating_sub(flushed),
            visible: self.newest_visible(),
            durable: marks.durable,
            snapshots: self.snapshots.count(),
            flushes: count(&self.counters.flushes),
            compactions: count(&self.counters.compactions),
            table_bytes_written: count(&self.counters.table_bytes_written),
            value_files: view.tree.version.values().len(),
            value_bytes: sum(|it| it.summary.bytes),
            value_garbage_bytes: sum(ValueUse::garbage_bytes),
            value_bytes_written: count(&self.counters.value_bytes_written),
            stalls: count(&self.counters.stalls),
        }
    }
}
