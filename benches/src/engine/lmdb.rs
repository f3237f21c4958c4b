//! LMDB (its development branch, as heed builds it), a memory-mapped copy-on-write B-tree, through heed. Its cache is the page cache, which cannot
//! be limited; it has no memtable, filter or compression.
//!
//! `WRITE_MAP` in every class: its documentation calls it faster while the data fits in memory, as it
//! does here. For the same reason the kernel may read ahead (`NO_READ_AHEAD` is for data larger than
//! memory). The map is far larger than the data, in a sparse file: it cannot grow while in use. Every put
//! and every batch is a write transaction, every get and every scan a read transaction whose slot the
//! thread keeps, which heed's documentation calls often faster; it offers no renewal of old ones.
//!
//! | class | what is done | results in |
//! |---|---|---|
//! | `None` | as `Process`: nothing weaker is offered | `Process` |
//! | `Process` | `NO_SYNC`: pages are changed in the page cache, a kill loses nothing | `Process` |
//! | `Interval` | not offered: a power cut between two syncs may leave a file that cannot be read | an error |
//! | `Sync` | default: each commit syncs the pages, then the root | `Sync` |
//!
//! One key space is the unnamed database; more are named ones, which are trees within it.
#![expect(unsafe_code, reason = "a memory map is only as sound as the file behind it")]

use std::ops::Bound;
use std::path::Path;
use std::time::Duration;

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, RwTxn};

use super::{Config, Durability, Engine};
use crate::Outcome;
use crate::data::Batch;

/// Bytes of the map, and so of the file's length: more than any workload writes.
const MAP_BYTES: usize = 64 << 30;
/// Slots for threads that read.
const READERS: u32 = 1 << 10;

type Tree = Database<'static, Bytes, Bytes>;

struct Lmdb {
    env: Env,
    trees: Vec<Tree>,
    class: Durability,
}

/// Opens a store.
pub fn open(dir: &Path, config: &Config) -> Outcome<Box<dyn Engine>> {
    let (class, flags) = match config.durability {
        Durability::None | Durability::Process => (Durability::Process, EnvFlags::NO_SYNC),
        Durability::Interval => return Err("LMDB does not sync at intervals".into()),
        Durability::Sync => (Durability::Sync, EnvFlags::empty()),
    };
    let mut options = EnvOpenOptions::new();
    options.map_size(MAP_BYTES).max_readers(READERS).max_dbs(config.families.into());
    // SAFETY: with these flags a power cut may damage the file; workloads do not open it after one.
    unsafe { options.flags(flags | EnvFlags::WRITE_MAP) };
    // SAFETY: the directory belongs to this run, is on a local file system, and nothing but LMDB, with
    // its locks, writes there while the map lives.
    let env = unsafe { options.open(dir)? };
    let named = config.families > 1;
    let tree = |family: u8| create(&env, named.then(|| family.to_string()).as_deref());
    let trees = (0..config.families.max(1)).map(tree).collect::<Outcome<_>>()?;
    Ok(Box::new(Lmdb { env, trees, class }))
}

fn create(env: &Env, name: Option<&str>) -> Outcome<Tree> {
    let created = env.create_databases_and_commit(env.write_txn()?, |opener, change| {
        let tree = opener.create_database::<Bytes, Bytes>(change, name)?;
        Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(tree))
    })?;
    Ok(created.unwrap_commit())
}

impl Lmdb {
    fn change(
        &self,
        family: u8,
        work: impl FnOnce(&Tree, &mut RwTxn<'_>) -> heed::Result<()>,
    ) -> Outcome<()> {
        let tree = self.trees.get(usize::from(family));
        let tree = tree.ok_or_else(|| format!("there is no key space {family}"))?;
        let mut change = self.env.write_txn()?;
        work(tree, &mut change)?;
        Ok(change.commit()?)
    }
}

impl Engine for Lmdb {
    fn class(&self) -> Durability {
        self.class
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        self.change(0, |tree, change| tree.put(change, key, value))
    }

    fn write(&self, family: u8, batch: &Batch) -> Outcome<()> {
        self.change(family, |tree, change| {
            batch.iter().try_for_each(|(key, value)| tree.put(change, key, value))
        })
    }

    fn delete(&self, key: &[u8]) -> Outcome<()> {
        self.change(0, |tree, change| tree.delete(change, key).map(drop))
    }

    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Outcome<()> {
        let view = self.env.read_txn()?;
        if let Some(value) = self.trees[0].get(&view, key)? {
            found(value);
        }
        Ok(())
    }

    fn scan(&self, from: &[u8], count: usize, each: &mut dyn FnMut(&[u8], &[u8])) -> Outcome<()> {
        let view = self.env.read_txn()?;
        // LMDB knows no empty keys, not even as a bound.
        let start = if from.is_empty() { Bound::Unbounded } else { Bound::Included(from) };
        for entry in self.trees[0].range(&view, &(start, Bound::Unbounded))?.take(count) {
            let (key, value) = entry?;
            each(key, value);
        }
        Ok(())
    }

    fn settle(&self) -> Outcome<Duration> {
        // There is no work in the background, but pages that no disk has seen.
        self.env.force_sync()?;
        Ok(Duration::ZERO)
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.env.force_sync()?;
        self.env.prepare_for_closing().wait();
        Ok(())
    }
}
