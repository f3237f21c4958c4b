//! SurrealKV 1.2, an asynchronous LSM tree, as its documentation uses it: on a multi-threaded runtime of
//! tokio, which the store owns. Callers wait for their commits with `block_on` on their own threads;
//! reads do not involve the runtime. The runtime has [`WORKERS`] threads and not one for each core: a
//! flush and a compaction each hold a worker from beginning to end, and commits need one that is free.
//!
//! Cache, block size and table size are matched. What is not:
//! - `max_memtable_size` counts keys and pointers only, not values: its memtables hold more than others'.
//! - Filters of 10 bits are its default; with other sizes it is its other filter, `RibbonFilter`.
//! - There is no LZ4: Snappy, its own kind of fast compression, is used instead.
//! - Value log and versions stay off, as is default, as do zeros written ahead in the log.
//!
//! | class | what is done | results in |
//! |---|---|---|
//! | `None` | as `Process`: nothing weaker is offered | `Process` |
//! | `Process` | `Durability::Eventual`, default: the log goes to the page cache | `Process` |
//! | `Interval` | not offered | an error |
//! | `Sync` | `Durability::Immediate`: the commit waits for a sync, which commits share | `Sync` |
//!
//! A put is a transaction that only writes. It fails if another thread commits the same key meanwhile,
//! and is then done again, as a user would. A get or scan is a transaction that only reads. There are no
//! key spaces: with more than one, each key has the number of its own before it.
//!
//! It can flush but has no call that starts or waits for compaction: what a flush makes due may be done
//! only after the next one, or the next time that the store is opened, outside of any step. All of its
//! work is done by the workers: the store is idle once they have all been parked for [`QUIET`].
//!
//! Closing it hangs now and then, about once in 60 runs of `A-cont Sync` at smoke size: the close waits
//! while all workers sleep. So it is waited for as long as [`CLOSE_LIMIT`], and then left. It lies outside
//! of all steps, and parts that follow check what it leaves; a store opened after it was not closed cleanly.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use surrealkv::{
    CompactRangeOptions, CompressionType, Error, LSMIterator, Mode, Options, ReadOptions,
    RibbonFilter, Transaction, Tree, TreeBuilder,
};
use tokio::runtime::{self, Runtime};

use super::{Config, Durability, Engine};
use crate::Outcome;
use crate::data::Batch;

/// Threads of the runtime: one each for flush, compaction and log, and one to spare.
const WORKERS: usize = 4;

/// How long no worker must have done anything for a store to count as idle.
const QUIET: Duration = Duration::from_millis(100);

/// How long a close is waited for: long beside a flush of a memtable, which it may have to do.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// Bits for each key of the default filter, whose type cannot be named from outside.
const DEFAULT_FILTER_BITS: u8 = 10;

struct SurrealKv {
    tree: Tree,
    runtime: Runtime,
    class: Durability,
    families: u8,
}

/// Opens a store.
pub fn open(dir: &Path, config: &Config) -> Outcome<Box<dyn Engine>> {
    let class = match config.durability {
        Durability::None | Durability::Process => Durability::Process,
        Durability::Interval => return Err("SurrealKV does not sync at intervals".into()),
        Durability::Sync => Durability::Sync,
    };
    let mut options = Options::new()
        .with_path(dir.to_owned())
        .with_max_memtable_size(config.memtable_bytes as usize)
        .with_block_cache_capacity(config.cache_bytes)
        .with_block_size(config.block_bytes as usize)
        .with_target_file_size(config.table_bytes);
    if config.filter_bits_per_key != DEFAULT_FILTER_BITS {
        let filter = RibbonFilter::new(usize::from(config.filter_bits_per_key));
        options = options.with_filter_policy(Some(Arc::new(filter)));
    }
    if config.lz4 {
        options = options.with_compression_per_level(vec![CompressionType::SnappyCompression]);
    }
    let runtime =
        runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    let tree = {
        let _inside = runtime.enter();
        TreeBuilder::with_options(options).build()?
    };
    Ok(Box::new(SurrealKv { tree, runtime, class, families: config.families }))
}

impl SurrealKv {
    /// The name of `key` in a key space.
    fn key_in(&self, family: u8, key: &[u8]) -> Vec<u8> {
        if self.families > 1 { [&[family], key].concat() } else { key.to_vec() }
    }

    /// Fills a transaction and commits it, again and again until no other has got in its way.
    fn commit(&self, fill: impl Fn(&mut Transaction) -> surrealkv::Result<()>) -> Outcome<()> {
        let durability = match self.class {
            Durability::Sync => surrealkv::Durability::Immediate,
            _ => surrealkv::Durability::Eventual,
        };
        loop {
            let mut change =
                self.tree.begin_with_mode(Mode::WriteOnly)?.with_durability(durability);
            fill(&mut change)?;
            match self.runtime.block_on(change.commit()) {
                Err(Error::TransactionWriteConflict | Error::TransactionRetry) => {}
                done => return Ok(done?),
            }
        }
    }

    /// How often each worker was parked or unparked: an odd number while it is parked.
    fn parkings(&self) -> Vec<u64> {
        let metrics = self.runtime.metrics();
        (0..metrics.num_workers()).map(|worker| metrics.worker_park_unpark_count(worker)).collect()
    }
}

impl Engine for SurrealKv {
    fn class(&self) -> Durability {
        self.class
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.commit(|change| change.set(self.key_in(0, key), value))
    }

    fn write(&self, family: u8, batch: &Batch) -> Outcome<()> {
        self.commit(|change| {
            batch.iter().try_for_each(|(key, value)| change.set(self.key_in(family, key), value))
        })
    }

    fn delete(&self, key: &[u8]) -> Outcome<()> {
        self.commit(|change| change.delete(self.key_in(0, key)))
    }

    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        let view = self.tree.begin_with_mode(Mode::ReadOnly)?;
        let value = if self.families > 1 { view.get(self.key_in(0, key))? } else { view.get(key)? };
        if let Some(value) = value {
            found(&value);
        }
        Ok(())
    }

    fn scan(&self, from: &[u8], count: usize, each: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()> {
        let view = self.tree.begin_with_mode(Mode::ReadOnly)?;
        let (start, end) = (self.key_in(0, from), self.key_in(1, &[]));
        let (prefix_bytes, range) = if self.families > 1 {
            (1, ReadOptions::from_range(start..end))
        } else {
            (0, ReadOptions::from_range(start..))
        };
        let mut entries = view.range_with_options(&range)?;
        entries.seek_first()?;
        for _ in 0..count {
            if !entries.valid() {
                break;
            }
            each(&entries.key().user_key()[prefix_bytes..], &entries.value_ref()?);
            entries.next()?;
        }
        Ok(())
    }

    fn settle(&self) -> Outcome<Duration> {
        let _inside = self.runtime.enter();
        // Merged down to level 0 is flushed and not compacted by hand.
        let flush = CompactRangeOptions { target_level: Some(0), ..CompactRangeOptions::default() };
        self.tree.compact_range(None, None, &flush)?;
        let (mut idle_since, mut before) = (Instant::now(), self.parkings());
        while idle_since.elapsed() < QUIET {
            std::thread::sleep(Duration::from_millis(1));
            let now = self.parkings();
            if now != before || now.iter().any(|count| count % 2 == 0) {
                idle_since = Instant::now();
            }
            before = now;
        }
        Ok(idle_since.elapsed())
    }

    fn compact(&self) -> Outcome<()> {
        let _inside = self.runtime.enter();
        self.tree.compact_range(None, None, &CompactRangeOptions::default())?;
        self.settle().map(|_| ())
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        let SurrealKv { tree, runtime, .. } = *self;
        let closed =
            runtime.block_on(async { tokio::time::timeout(CLOSE_LIMIT, tree.close()).await });
        if closed.is_err() {
            // Nor is the runtime waited for, whose tasks do not end either.
            runtime.shutdown_background();
        }
        Ok(closed.unwrap_or(Ok(()))?)
    }
}
