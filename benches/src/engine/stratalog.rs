//! Stratalog.

use std::path::Path;
use std::time::Instant;

use stratalog::{Compression, Db, Options};

use super::{Config, Durability, Engine};
use crate::Outcome;

struct Stratalog(Db);

/// Opens a store.
pub fn open(dir: &Path, config: &Config) -> Outcome<Box<dyn Engine>> {
    let durability = match config.durability {
        Durability::None => stratalog::Durability::None,
        Durability::Process => stratalog::Durability::Process,
        Durability::Interval => stratalog::Durability::Interval,
        Durability::Sync => stratalog::Durability::Sync,
    };
    let db = Options::new()
        .memtable_bytes(config.memtable_bytes as usize)
        .cache_bytes(config.cache_bytes as usize)
        .block_bytes(config.block_bytes as usize)
        .table_bytes(config.table_bytes)
        .filter_bits_per_key(usize::from(config.filter_bits_per_key))
        .compression(if config.lz4 { Compression::Lz4 } else { Compression::None })
        .durability(durability)
        .open(dir)?;
    Ok(Box::new(Stratalog(db)))
}

impl Engine for Stratalog {
    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.0.put(key, value)?;
        Ok(())
    }

    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        if let Some(value) = self.0.get(key)? {
            found(&value);
        }
        Ok(())
    }

    fn scan(&self, each: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()> {
        let mut entries = self.0.iter();
        while let Some((key, value)) = entries.advance()? {
            each(key, value);
        }
        Ok(())
    }

    fn settle(&self) -> Outcome<Instant> {
        self.0.flush()?;
        self.0.wait_idle()?;
        Ok(Instant::now())
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(self.0.close()?)
    }
}
