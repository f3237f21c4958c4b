//! How a store is opened, and how a write is made.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stratalog_base::fs::{Fs, OsFs};
use stratalog_base::{Error, Result};
use stratalog_sstable::Compression;
use stratalog_wal::{Durability, RecoveryMode};

use crate::Db;

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
    pub(crate) memtable_bytes: usize,
    pub(crate) cache_bytes: usize,
    pub(crate) block_bytes: usize,
    pub(crate) table_bytes: u64,
    pub(crate) filter_bits_per_key: usize,
    pub(crate) compression: Compression,
    pub(crate) durability: Durability,
    pub(crate) sync_interval: Duration,
    pub(crate) recovery: RecoveryMode,
    pub(crate) background: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            fs: OsFs::shared(),
            create: true,
            memtable_bytes: 64 << 20,
            cache_bytes: 256 << 20,
            block_bytes: 4 << 10,
            table_bytes: 64 << 20,
            filter_bits_per_key: 10,
            compression: Compression::Lz4,
            durability: Durability::Interval,
            sync_interval: Duration::from_millis(100),
            recovery: RecoveryMode::TornTail,
            background: true,
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

    /// Bytes that a memtable may take before it is sealed and flushed. Writers wait while two sealed
    /// ones wait beside a full one. Default: 64 MiB; 64 KiB to 16 GiB.
    #[must_use]
    pub fn memtable_bytes(mut self, bytes: usize) -> Self {
        self.memtable_bytes = bytes;
        self
    }

    /// Bytes of table blocks kept in memory, uncompressed. Default: 256 MiB; 0 keeps none.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Bytes of entries in a data block before compression: small blocks suit point reads, large ones
    /// compress better. Default: 4 KiB; 64 B to 1 MiB.
    #[must_use]
    pub fn block_bytes(mut self, bytes: usize) -> Self {
        self.block_bytes = bytes;
        self
    }

    /// Bytes after which compaction starts the next table. Default: 64 MiB; at least 4 KiB.
    #[must_use]
    pub fn table_bytes(mut self, bytes: u64) -> Self {
        self.table_bytes = bytes;
        self
    }

    /// Bits of Bloom filter for each key; 10 let about 1 % of missing keys through to a block.
    /// Default: 10; 0 for no filter; at most 32.
    #[must_use]
    pub fn filter_bits_per_key(mut self, bits: usize) -> Self {
        self.filter_bits_per_key = bits;
        self
    }

    /// How table blocks are compressed. Default: [`Compression::Lz4`].
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
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

    /// The file system. Default: the operating system's.
    #[must_use]
    pub fn fs(mut self, fs: Arc<dyn Fs>) -> Self {
        self.fs = fs;
        self
    }

    fn validate(&self) -> Result<()> {
        let within = |name: &str, ok: bool, range: &str| match ok {
            true => Ok(()),
            false => Err(Error::InvalidArgument(format!("{name} must be {range}"))),
        };
        let ms = self.sync_interval.as_millis();
        let memtable = (64 << 10)..=(16 << 30);
        within("memtable_bytes", memtable.contains(&self.memtable_bytes), "64 KiB to 16 GiB")?;
        within("block_bytes", (64..=1 << 20).contains(&self.block_bytes), "64 B to 1 MiB")?;
        within("table_bytes", self.table_bytes >= 4 << 10, "at least 4 KiB")?;
        within("filter_bits_per_key", self.filter_bits_per_key <= 32, "at most 32")?;
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
