//! redb 4, a copy-on-write B-tree in one file. There is little to set up: a cache, which is matched;
//! pages of 4 KiB and an exclusive writer are default. It has no memtable, filter or compression.
//! Every put and every batch is a write transaction, every get and every scan a read transaction, as
//! its documentation does it.
//!
//! | class | what is done | results in |
//! |---|---|---|
//! | `None` | `Durability::None` | `None` |
//! | `Process` | the same: nothing between a sync and none is offered | `None` |
//! | `Interval` | not offered | an error |
//! | `Sync` | `Durability::Immediate`, default: one sync for each commit | `Sync` |
//!
//! A commit without durability is kept in the memory of the process until the next `Immediate` one.
//! Long chains of them made the file grow before 3.0, and its documentation asked for an `Immediate`
//! commit now and then. Such commits now free each other's pages, and the advice is gone; we follow:
//! only [`Engine::settle`] and [`Engine::close`] commit what came before them.
//!
//! Key spaces are tables.

use std::path::Path;
use std::time::Duration;

use redb::{Builder, Database, ReadOnlyTable, ReadableDatabase, Table, TableDefinition};

use super::{Config, Durability, Engine};
use crate::Outcome;
use crate::data::Batch;

type Bytes = &'static [u8];

struct Redb {
    db: Database,
    class: Durability,
    /// Names of the tables.
    families: Vec<String>,
}

/// Opens a store.
pub fn open(dir: &Path, config: &Config) -> Outcome<Box<dyn Engine>> {
    let class = match config.durability {
        Durability::None | Durability::Process => Durability::None,
        Durability::Interval => return Err("redb does not sync at intervals".into()),
        Durability::Sync => Durability::Sync,
    };
    let db = Builder::new().set_cache_size(config.cache_bytes as usize).create(dir.join("redb"))?;
    let families = (0..config.families.max(1)).map(|family| family.to_string()).collect();
    let store = Redb { db, class, families };
    // Tables that do not exist cannot be read.
    let creation = store.db.begin_write()?;
    for family in &store.families {
        creation.open_table(definition(family))?;
    }
    creation.commit()?;
    Ok(Box::new(store))
}

fn definition(family: &str) -> TableDefinition<'_, Bytes, Bytes> {
    TableDefinition::new(family)
}

impl Redb {
    fn change(
        &self,
        family: u8,
        work: impl FnOnce(&mut Table<'_, Bytes, Bytes>) -> Result<(), redb::StorageError>,
    ) -> Outcome<()> {
        let family = self.families.get(usize::from(family));
        let family = family.ok_or("there is no such key space")?;
        let mut change = self.db.begin_write()?;
        if self.class == Durability::None {
            change.set_durability(redb::Durability::None)?;
        }
        work(&mut change.open_table(definition(family))?)?;
        Ok(change.commit()?)
    }

    fn table(&self) -> Outcome<ReadOnlyTable<Bytes, Bytes>> {
        Ok(self.db.begin_read()?.open_table(definition(&self.families[0]))?)
    }
}

impl Engine for Redb {
    fn class(&self) -> Durability {
        self.class
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.change(0, |table| table.insert(key, value).map(drop))
    }

    fn write(&self, family: u8, batch: &Batch) -> Outcome<()> {
        self.change(family, |table| {
            batch.iter().try_for_each(|(key, value)| table.insert(key, value).map(drop))
        })
    }

    fn delete(&self, key: &[u8]) -> Outcome<()> {
        self.change(0, |table| table.remove(key).map(drop))
    }

    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        if let Some(value) = self.table()?.get(key)? {
            found(value.value());
        }
        Ok(())
    }

    fn scan(&self, from: &[u8], count: usize, each: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()> {
        for entry in self.table()?.range(from..)?.take(count) {
            let (key, value) = entry?;
            each(key.value(), value.value());
        }
        Ok(())
    }

    fn settle(&self) -> Outcome<Duration> {
        self.db.begin_write()?.commit()?;
        Ok(Duration::ZERO)
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.settle()?;
        Ok(self.db.close()?)
    }
}
