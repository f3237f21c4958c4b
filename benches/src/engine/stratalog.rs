//! Stratalog: the settings of the [`Config`], all else default.
//!
//! Key spaces are not offered yet: with more than one, each key has the number of its own before it.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stratalog::{Compression, Db, Options, WriteOptions};

use super::{Config, Durability, Engine};
use crate::Outcome;
use crate::counting_fs::CountingFs;
use crate::data::Batch;
use crate::record::Shape;

struct Stratalog {
    db: Db,
    fs: CountingFs,
    class: Durability,
    families: u8,
}

/// Opens a store.
pub fn open(dir: &Path, config: &Config) -> Outcome<Box<dyn Engine>> {
    let durability = match config.durability {
        Durability::None => stratalog::Durability::None,
        Durability::Process => stratalog::Durability::Process,
        Durability::Interval => stratalog::Durability::Interval,
        Durability::Sync => stratalog::Durability::Sync,
    };
    let fs = CountingFs::default();
    // As the others have it: memtables and open tables beside the cache.
    let memory_bytes = config.cache_bytes + 4 * config.memtable_bytes + (64 << 20);
    let db = Options::new()
        .memory_bytes(memory_bytes as usize)
        .memtable_bytes(config.memtable_bytes as usize)
        .cache_bytes(config.cache_bytes as usize)
        .block_bytes(config.block_bytes as usize)
        .table_bytes(config.table_bytes)
        .filter_bits_per_key(f64::from(config.filter_bits_per_key))
        .compression(if config.lz4 { Compression::Lz4 } else { Compression::None })
        .durability(durability)
        .fs(Arc::new(fs.clone()))
        .open(dir)?;
    Ok(Box::new(Stratalog { db, fs, class: config.durability, families: config.families }))
}

impl Stratalog {
    /// The name of `key` in a key space.
    fn key_in<'a>(&self, family: u8, key: &'a [u8]) -> Cow<'a, [u8]> {
        if self.families > 1 { [&[family], key].concat().into() } else { key.into() }
    }
}

impl Engine for Stratalog {
    fn class(&self) -> Durability {
        self.class
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.db.put(self.key_in(0, key), value)?;
        Ok(())
    }

    fn write(&self, family: u8, batch: &Batch) -> Outcome<()> {
        let mut entries = stratalog::Batch::new();
        for (key, value) in batch.iter() {
            entries.put(self.key_in(family, key), value);
        }
        self.db.write(&entries, &WriteOptions::new())?;
        Ok(())
    }

    fn delete(&self, key: &[u8]) -> Outcome<()> {
        self.db.delete(self.key_in(0, key))?;
        Ok(())
    }

    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        if let Some(value) = self.db.get(self.key_in(0, key))? {
            found(&value);
        }
        Ok(())
    }

    fn scan(&self, from: &[u8], count: usize, each: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()> {
        let prefix_bytes = usize::from(self.families > 1);
        if count == 0 {
            return Ok(());
        }
        let mut left = count;
        self.db.range(self.key_in(0, from)..).visit(|key, value| {
            if prefix_bytes > 0 && key[0] > 0 {
                return ControlFlow::Break(());
            }
            each(&key[prefix_bytes..], value);
            left -= 1;
            if left > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(())
    }

    fn settle(&self) -> Outcome<Duration> {
        self.db.flush()?;
        self.db.wait_idle()?;
        Ok(Duration::ZERO)
    }

    fn compact(&self) -> Outcome<()> {
        Ok(self.db.compact()?)
    }

    fn shape(&self) -> Option<Shape> {
        let stats = self.db.stats();
        Some(Shape {
            levels: stats.levels.iter().map(|level| (level.tables as u64, level.bytes)).collect(),
            memtable_bytes: stats.memtable_bytes as u64,
            log_bytes: stats.log_bytes,
        })
    }

    fn written_bytes(&self) -> Option<u64> {
        Some(self.fs.written_bytes())
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(self.db.close()?)
    }
}
