//! How a store is opened, and how a write is made.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stratalog_base::budget::Budget;
use stratalog_base::fs::{Fs, OsFs};
use stratalog_base::{Error, Result};
use stratalog_compaction::{LEVELS, Runs, Separation, filter_bits};
use stratalog_sstable::{BlockCache, Compression, FilterPolicy, ReadBy, TableOptions};
use stratalog_wal::{Durability, RecoveryMode};

use crate::Db;

/// What a memtable's arenas are good for.
const MEMTABLE_BYTES_MAX: usize = 16 << 30;

/// How a store is opened. Every setting has a default that suits a machine with a few gigabytes.
///
/// ```no_run
/// use stratalog::{Durability, Options};
/// let db = Options::new().memtable_bytes(16 << 20).durability(Durability::Sync).open("data")?;
/// # Ok::<(), stratalog::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) create: bool,
    pub(crate) memory_bytes: usize,
    pub(crate) memtable_bytes: Option<usize>,
    pub(crate) cache_bytes: Option<usize>,
    pub(crate) block_bytes: usize,
    pub(crate) table_bytes: u64,
    pub(crate) filter_bits_per_key: f64,
    pub(crate) filter: FilterPolicy,
    pub(crate) prefix_bytes: usize,
    pub(crate) compression: [Compression; LEVELS],
    pub(crate) separate_values_from: usize,
    pub(crate) durability: Durability,
    pub(crate) sync_interval: Duration,
    pub(crate) recovery: RecoveryMode,
    pub(crate) background: bool,
    pub(crate) max_open_tables: Option<usize>,
    pub(crate) read_tables_by: ReadBy,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            fs: OsFs::shared(),
            create: true,
            memory_bytes: 512 << 20,
            memtable_bytes: None,
            cache_bytes: None,
            block_bytes: 4 << 10,
            table_bytes: 64 << 20,
            filter_bits_per_key: 10.0,
            filter: FilterPolicy::default(),
            prefix_bytes: 0,
            compression: [Compression::Lz4; LEVELS],
            separate_values_from: 16 << 10,
            durability: Durability::Interval,
            sync_interval: Duration::from_millis(100),
            recovery: RecoveryMode::TornTail,
            background: true,
            max_open_tables: None,
            read_tables_by: ReadBy::Call,
        }
    }
}

impl Options {
    /// The defaults.
    pub fn new() -> Options {
        Options::default()
    }

    /// Opens the store in the directory `path`, creating it if absent (unless told not to).
    ///
    /// # Errors
    /// As [`Db::open`]; [`Error::InvalidArgument`] if a setting is out of its range.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Db> {
        self.validate()?;
        Db::open_with(self, path.as_ref())
    }

    /// Whether a missing store is created. Default: yes.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// The memory budget: bytes of memtables, of what open tables and value files hold, and of table blocks
    /// and separated values, cached or held by slices and iterators. The cache has what the others leave, and
    /// gives it back as they grow. Beyond it goes what has to: a batch for each writer, and what is held from
    /// outside if that is more. [`crate::Stats`] tells who has how much. Buffers of the log, of flushes and of
    /// compactions come on top: some tens of MiB. Default: 512 MiB; at least 512 KiB.
    #[must_use]
    pub fn memory_bytes(mut self, bytes: usize) -> Self {
        self.memory_bytes = bytes;
        self
    }

    /// Bytes that a memtable may take before it is sealed and flushed. Writers wait while two sealed
    /// ones wait beside a full one. Default: `None`, 64 MiB, or an eighth of the memory budget if that is less;
    /// 64 KiB to 16 GiB, and at most a quarter of the budget.
    #[must_use]
    pub fn memtable_bytes(mut self, bytes: impl Into<Option<usize>>) -> Self {
        self.memtable_bytes = bytes.into();
        self
    }

    /// The most bytes of table blocks and separated values, uncompressed, that are kept for later reads.
    /// Default: `None`, whatever the memory budget leaves; 0 keeps none.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: impl Into<Option<usize>>) -> Self {
        self.cache_bytes = bytes.into();
        self
    }

    /// At how many bytes a memtable is sealed.
    pub(crate) fn full_memtable_bytes(&self) -> usize {
        self.memtable_bytes.unwrap_or((64 << 20).min(self.memory_bytes / 8))
    }

    /// A cache with a memory budget, which is to be the store's.
    pub(crate) fn cache(&self) -> Arc<BlockCache> {
        let limit_bytes = self.cache_bytes.unwrap_or(usize::MAX);
        BlockCache::charged(limit_bytes, Arc::new(Budget::new(self.memory_bytes)))
    }

    /// Bytes of entries in a data block before compression: small blocks suit point reads, large ones
    /// compress better. Default: 4 KiB; 64 B to 1 MiB.
    #[must_use]
    pub fn block_bytes(mut self, bytes: usize) -> Self {
        self.block_bytes = bytes;
        self
    }

    /// Bytes after which compaction starts the next table, and any job the next value file. Default:
    /// 64 MiB; at least 4 KiB.
    #[must_use]
    pub fn table_bytes(mut self, bytes: u64) -> Self {
        self.table_bytes = bytes;
        self
    }

    /// Bits of filter for each key, on average over the tree; 10 of a Bloom filter let about 1 % of
    /// missing keys through to a block. Small levels get more bits and large ones fewer, so that a read
    /// that asks all of them touches the fewest blocks. Default: 10; 0 for no filter; at most 32.
    #[must_use]
    pub fn filter_bits_per_key(mut self, bits: f64) -> Self {
        self.filter_bits_per_key = bits;
        self
    }

    /// Bytes from which on a value is kept out of the tables, in a value file that compactions leave alone
    /// until more than half of it is garbage: they move a few bytes for each such value, and the store
    /// takes up to about twice the space of what is live in it. Reads of such values cost a fifth more. Lower
    /// it, say to 1 KiB, where writes matter more than scans. Default: 16 KiB; `usize::MAX` keeps all values
    /// in tables; at least 32 B.
    #[must_use]
    pub fn separate_values_from(mut self, bytes: usize) -> Self {
        self.separate_values_from = bytes;
        self
    }

    /// Which values the jobs put where, with no value file to collect or to read.
    pub(crate) fn separation(&self) -> Separation<'static> {
        Separation {
            from_bytes: self.separate_values_from,
            file_bytes: self.table_bytes,
            compression: self.compression[0],
            ..Separation::NONE
        }
    }

    /// The structure of the filters. Default: [`FilterPolicy::Bloom`].
    #[must_use]
    pub fn filter(mut self, policy: FilterPolicy) -> Self {
        self.filter = policy;
        self
    }

    /// Leading bytes of keys that filters know as well, so that iterators over keys with a common
    /// prefix of that length or more pass over tables that have none of them. Costs the filter bits of
    /// a key for each distinct prefix of a table. Default: 0, which is off; at most 65 535.
    #[must_use]
    pub fn prefix_bytes(mut self, bytes: usize) -> Self {
        self.prefix_bytes = bytes;
        self
    }

    /// How table blocks and separated values are compressed, the latter with LZ4 where tables take Zstd.
    /// Default: [`Compression::Lz4`].
    #[must_use]
    pub fn compression(self, compression: Compression) -> Self {
        self.compression_by_level(&[compression])
    }

    /// How table blocks of each level are compressed, from level 0 on; the last is that of all further
    /// levels. A table that moves to another level as it is stays as it is. An empty list changes
    /// nothing.
    #[must_use]
    pub fn compression_by_level(mut self, levels: &[Compression]) -> Self {
        if let Some(&last) = levels.last() {
            let given = levels.iter().copied().chain(std::iter::repeat(last));
            self.compression.iter_mut().zip(given).for_each(|(level, given)| *level = given);
        }
        self
    }

    /// The durability class of writes that do not name one. Default: [`Durability::Interval`].
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// The most that a power cut can take from [`Durability::Interval`] writes. Default: 100 ms; 1 ms
    /// to an hour.
    #[must_use]
    pub fn sync_interval(mut self, interval: Duration) -> Self {
        self.sync_interval = interval;
        self
    }

    /// What opening does with a log that does not end cleanly. Default: [`RecoveryMode::TornTail`].
    #[must_use]
    pub fn recovery(mut self, mode: RecoveryMode) -> Self {
        self.recovery = mode;
        self
    }

    /// Whether flushes and compactions run on threads of the store's own. Without, they run in the
    /// call that makes them necessary, so the same calls lead to the same tables. (Background syncs of
    /// the log have their thread all the same.) Default: yes.
    #[must_use]
    pub fn background(mut self, background: bool) -> Self {
        self.background = background;
        self
    }

    /// Table and value files that are open at a time; others are closed and opened again when they are read.
    /// Default: `None`, half of the files that the process may have open when the store is opened; at
    /// least 1. Each store counts its own: a process with several gives each its part.
    #[must_use]
    pub fn max_open_tables(mut self, count: impl Into<Option<usize>>) -> Self {
        self.max_open_tables = count.into();
        self
    }

    /// How table and value files are read. Default: [`ReadBy::Call`].
    #[must_use]
    pub fn read_tables_by(mut self, read_by: ReadBy) -> Self {
        self.read_tables_by = read_by;
        self
    }

    /// The file system. Default: the operating system's.
    #[must_use]
    pub fn fs(mut self, fs: Arc<dyn Fs>) -> Self {
        self.fs = fs;
        self
    }

    /// How tables are built for `level` of a tree that will have these runs.
    pub(crate) fn output_options(&self, level: usize, runs: &[Runs; LEVELS]) -> TableOptions {
        let bits = filter_bits(runs, self.filter, self.filter_bits_per_key);
        self.table_options(level, bits[level])
    }

    fn table_options(&self, level: usize, filter_bits_per_key: f64) -> TableOptions {
        TableOptions {
            block_bytes: self.block_bytes,
            filter: self.filter,
            filter_bits_per_key,
            prefix_bytes: self.prefix_bytes,
            compression: self.compression[level],
            ..TableOptions::default()
        }
    }

    fn validate(&self) -> Result<()> {
        let within = |name: &str, ok: bool, range: &str| match ok {
            true => Ok(()),
            false => Err(Error::InvalidArgument(format!("{name} must be {range}"))),
        };
        let ms = self.sync_interval.as_millis();
        let memtable = (64 << 10)..=(self.memory_bytes / 4).min(MEMTABLE_BYTES_MAX);
        within("memory_bytes", self.memory_bytes >= 512 << 10, "at least 512 KiB")?;
        within(
            "memtable_bytes",
            memtable.contains(&self.full_memtable_bytes()),
            "64 KiB to 16 GiB, and at most a quarter of memory_bytes",
        )?;
        within("block_bytes", (64..=1 << 20).contains(&self.block_bytes), "64 B to 1 MiB")?;
        within("table_bytes", self.table_bytes >= 4 << 10, "at least 4 KiB")?;
        within("separate_values_from", self.separate_values_from >= 32, "at least 32 B")?;
        within("max_open_tables", self.max_open_tables != Some(0), "at least 1")?;
        for level in 0..LEVELS {
            let bits = self.filter_bits_per_key;
            self.table_options(level, bits).validate()?;
        }
        within("sync_interval", (1..=3_600_000).contains(&ms), "1 ms to an hour")
    }
}

/// How one write is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct WriteOptions {
    pub(crate) durability: Option<Durability>,
}

impl WriteOptions {
    /// The store's default durability.
    pub fn new() -> WriteOptions {
        WriteOptions::default()
    }

    /// What the write survives once the call has returned.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_level_gets_its_own_bits_and_compression() {
        let levels = [Compression::None, Compression::None, Compression::Lz4];
        let options = Options::new().compression_by_level(&levels);
        let mut runs = [Runs::default(); LEVELS];
        for (level, runs) in runs.iter_mut().enumerate().skip(1) {
            *runs = Runs { count: 1, entries: 1000 * 10u64.pow(level as u32) };
        }
        let tables: Vec<_> =
            (0..LEVELS).map(|level| options.output_options(level, &runs)).collect();
        let bits: Vec<f64> = tables.iter().map(|table| table.filter_bits_per_key).collect();
        assert!(
            bits.is_sorted_by(|a, b| a >= b) && bits[4] > bits[5] && bits[6] < 10.0,
            "{bits:?}"
        );
        let compressed: Vec<_> = tables.iter().map(|t| t.compression == Compression::Lz4).collect();
        assert_eq!(compressed, [false, false, true, true, true, true, true]);
    }
}
