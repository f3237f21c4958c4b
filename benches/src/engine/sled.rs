//! sled 0.34, its last stable release: a log-structured B-tree. The cache is matched, all else is default,
//! with `Mode::LowSpace`; it has no memtable and no filter, and can compress with Zstandard only, which
//! we leave off. By default it flushes in the background, every 500 ms.
//!
//! | class | what is done | results in |
//! |---|---|---|
//! | `None` | `flush_every_ms(None)` | `None` |
//! | `Process` | the same: log buffers stay in the process until they are full | `None` |
//! | `Interval` | `flush_every_ms(Some(100))`; a kill in between loses what a power cut would | `None` |
//! | `Sync` | `flush` after every put, delete and batch: on Linux `sync_file_range`, which leaves the device's cache and the file's length alone | `Process` |
//!
//! Key spaces are trees: the default one and named ones.
//!
//! A store that was dropped is locked until the last of its threads has let go of it, seen once in a few
//! hundred closes: [`Engine::close`] waits for that, at most [`CLOSE_LIMIT`].

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use sled::{Db, Tree};

use super::{Config, Durability, Engine};
use crate::Outcome;
use crate::data::Batch;

/// How often what was written is flushed in the class `Interval`.
const INTERVAL_MS: u64 = 100;

/// How long the lock of a store that was closed is waited for.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

struct Sled {
    db: Db,
    /// The file that sled locks.
    lock: PathBuf,
    trees: Vec<Tree>,
    class: Durability,
    /// Whether each write is flushed.
    syncs: bool,
}

/// Opens a store.
pub fn open(dir: &Path, config: &Config) -> Outcome<Box<dyn Engine>> {
    let syncs = config.durability == Durability::Sync;
    let flushes = config.durability == Durability::Interval;
    let db = sled::Config::new()
        .path(dir)
        .cache_capacity(config.cache_bytes)
        .flush_every_ms(flushes.then_some(INTERVAL_MS))
        .open()?;
    let mut trees = vec![Tree::clone(&db)];
    for family in 1..config.families {
        trees.push(db.open_tree([family])?);
    }
    let class = if syncs { Durability::Process } else { Durability::None };
    Ok(Box::new(Sled { db, lock: dir.join("db"), trees, class, syncs }))
}

impl Sled {
    /// What a write owes after it was done.
    fn sync(&self) -> Outcome<()> {
        if self.syncs {
            self.db.flush()?;
        }
        Ok(())
    }
}

impl Engine for Sled {
    fn class(&self) -> Durability {
        self.class
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.trees[0].insert(key, value)?;
        self.sync()
    }

    fn write(&self, family: u8, batch: &Batch) -> Outcome<()> {
        let tree = self.trees.get(usize::from(family));
        let tree = tree.ok_or_else(|| format!("there is no key space {family}"))?;
        let mut entries = sled::Batch::default();
        for (key, value) in batch.iter() {
            entries.insert(key, value);
        }
        tree.apply_batch(entries)?;
        self.sync()
    }

    fn delete(&self, key: &[u8]) -> Outcome<()> {
        self.trees[0].remove(key)?;
        self.sync()
    }

    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        if let Some(value) = self.trees[0].get(key)? {
            found(&value);
        }
        Ok(())
    }

    fn scan(&self, from: &[u8], count: usize, each: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()> {
        for entry in self.trees[0].range(from..).take(count) {
            let (key, value) = entry?;
            each(&key, &value);
        }
        Ok(())
    }

    fn settle(&self) -> Outcome<Duration> {
        self.db.flush()?;
        Ok(Duration::ZERO)
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.settle()?;
        let lock = File::open(&self.lock)?;
        drop(self);
        let closed = Instant::now();
        loop {
            match lock.try_lock() {
                Err(TryLockError::WouldBlock) if closed.elapsed() < CLOSE_LIMIT => {
                    thread::sleep(Duration::from_millis(1));
                }
                outcome => return Ok(outcome?),
            }
        }
    }
}
