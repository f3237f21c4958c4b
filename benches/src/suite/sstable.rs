//! The suite `sstable`: one table, built and read.
//!
//! 2 million entries (at scale 1) of 16 B random keys and 100 B values; blocks of 4 KiB, 10 filter bits
//! a key. The cases differ from the base, which is uncompressed, wholly cached and read by one thread,
//! in one thing each.
//!
//! | step | is | ends |
//! |---|---|---|
//! | `build` | all entries in order, synced | once |
//! | `get` | gets of random existing keys | steady |
//! | `get missing` | gets of keys that lie between existing ones | steady |
//! | `scan` | all entries in order, blocks by way of the cache | steady |
//! | `seek + 10` | 10 entries from a random existing key on, a cursor each | steady |
//!
//! A call of the `get` steps does 16 operations, so that reading the clock weighs little: latencies are
//! those of 16. Before the first step that reads, a scan has filled the cache; what is not in it comes
//! from the page cache. All that is read is compared whole.
//!
//! Figures: `B/entry` is the file's size; `false positives %` is the share of absent keys for which a
//! table without a cache reads a data block; `block reads/op` counts reads of the file.

use std::path::Path;
use std::sync::Arc;

use stratalog_base::fs::Fs;
use stratalog_base::key::MAX_SEQ_NO;
use stratalog_base::{Cursor, KeyRef};
use stratalog_sstable::{BlockCache, ReadUse, Table, key_hash};

use crate::Outcome;
use crate::check::Walk;
use crate::counting_fs::CountingFs;
use crate::data::{Key, Values, key};
use crate::draw::Rng;
use crate::engine::Durability;
use crate::measure::Measure;
use crate::plan::Plan;
use crate::suite::{Case, Cell, Suite, threads_named};
use crate::tables;

/// The suite.
pub const SUITE: Suite = Suite {
    name: "sstable",
    about: "one sorted table: build, get, scan; cache, compression and threads varied",
    cases,
    run,
};

/// Entries at scale 1.
const ENTRIES: u64 = 2_000_000;
const VALUE_BYTES: usize = 100;
/// Operations of a call that gets.
const BATCH: u64 = 16;
/// Entries that a seek reads.
const SEEK_COUNT: u64 = 10;
/// The table's number.
const ID: u64 = 1;

/// A case: the base, and what is different.
#[derive(Clone, Copy, Debug)]
struct Shape {
    name: &'static str,
    threads: usize,
    /// Whether the cache holds a sixteenth of the data only.
    small_cache: bool,
    lz4: bool,
}

const BASE: Shape = Shape { name: "base", threads: 1, small_cache: false, lz4: false };

const SHAPES: &[Shape] = &[
    BASE,
    Shape { name: "LZ4", lz4: true, ..BASE },
    Shape { name: "cache 1/16", small_cache: true, ..BASE },
    Shape { name: "2 threads", threads: 2, ..BASE },
];

impl Shape {
    fn values(self) -> Values {
        Values { bytes: VALUE_BYTES, half_blank: self.lz4 }
    }

    fn cache_bytes(self, entries: u64) -> usize {
        let data_bytes = tables::plain_bytes(entries, self.values()) as usize;
        if self.small_cache { (data_bytes / 16).max(64 << 10) } else { data_bytes * 2 + (1 << 20) }
    }
}

fn entries(plan: &Plan) -> u64 {
    plan.scaled(ENTRIES, 500)
}

fn cases(plan: &Plan) -> Vec<Case> {
    let case = |shape: &Shape| {
        let entries = entries(plan);
        let about = format!(
            "{entries} entries, 16 B random keys, {VALUE_BYTES} B values{}; {}; cache \
             {:.1} MiB, {}",
            if shape.lz4 { ", half of each blank" } else { "" },
            threads_named(shape.threads),
            shape.cache_bytes(entries) as f64 / f64::from(1 << 20),
            if shape.lz4 { "LZ4" } else { "no compression" },
        );
        Case::of_ours(shape.name, about)
    };
    SHAPES.iter().map(case).collect()
}

fn run(cell: &mut Cell) -> Outcome<()> {
    let shape = *SHAPES.iter().find(|shape| shape.name == cell.case).ok_or("no such shape")?;
    let keys = tables::sorted_keys(entries(cell.plan));
    build(cell, shape, &keys)?;
    let cache = BlockCache::new(shape.cache_bytes(keys.len() as u64));
    let (table, fs) = open(&cell.dir, cache)?;
    let subject = Subject { shape, keys, table, fs };
    subject.scan_once()?;
    subject.get(cell)?;
    subject.get_missing(cell)?;
    subject.scan(cell)?;
    subject.seek(cell)
}

fn build(cell: &mut Cell, shape: Shape, keys: &[Key]) -> Outcome<()> {
    let count = keys.len() as u64;
    let (options, values) = (tables::options(shape.lz4), shape.values());
    let mut file_bytes = 0;
    let measure = cell.measure("build").unit("entry").class(Durability::Sync);
    let mut step = measure.once(|| {
        let entries = keys.iter().zip(1..).map(|(key, seq)| (*key, seq, 0));
        file_bytes = tables::write(&cell.dir, ID, &options, values, entries)?.bytes;
        Ok(count)
    })?;
    let plain_bytes = tables::plain_bytes(count, values);
    step.figure("MB/s", plain_bytes as f64 / 1e6 / step.seconds);
    step.figure("B/entry", file_bytes as f64 / count as f64);
    cell.steps.push(step);
    Ok(())
}

/// Opens the table; reads of its file are counted.
fn open(dir: &Path, cache: Arc<BlockCache>) -> Outcome<(Arc<Table>, CountingFs)> {
    let fs = CountingFs::default();
    let table = Table::open(fs.open(&tables::path(dir, ID))?, ID, cache)?;
    Ok((table, fs))
}

/// A table, and what it must hold.
struct Subject {
    shape: Shape,
    keys: Arc<[Key]>,
    table: Arc<Table>,
    fs: CountingFs,
}

impl Subject {
    fn random_key(&self, rng: &mut Rng) -> Key {
        self.keys[rng.below(self.keys.len() as u64) as usize]
    }

    fn absent_key(&self, rng: &mut Rng) -> Key {
        key(self.keys.len() as u64 + rng.below(1 << 40))
    }

    /// Measures `work` and adds how often the file was read.
    fn step<W>(
        &self,
        cell: &mut Cell,
        measure: impl FnOnce(Measure<'_>) -> Measure<'_>,
        name: &str,
        worker: impl Fn(usize) -> W + Sync,
    ) -> Outcome<()>
    where
        W: FnMut(u64) -> Outcome<u64>,
    {
        let before = self.fs.reads();
        let basic = cell.measure(name).threads(self.shape.threads).until_steady();
        let mut step = measure(basic).run(worker)?;
        let reads = self.fs.reads() - before;
        step.figure("block reads/op", reads as f64 / step.ops as f64);
        cell.steps.push(step);
        Ok(())
    }

    fn get(&self, cell: &mut Cell) -> Outcome<()> {
        self.step(
            cell,
            |measure| measure,
            "get",
            |thread| {
                let mut rng = Rng::new(1, thread);
                move |_| {
                    for _ in 0..BATCH {
                        let key = self.random_key(&mut rng);
                        let found = self.table.get(&key, key_hash(&key), MAX_SEQ_NO)?;
                        if !found
                            .is_some_and(|(_, value)| self.shape.values().belongs(&key, &value))
                        {
                            return Err(format!("key {key:02x?} has no or a wrong value").into());
                        }
                    }
                    Ok(BATCH)
                }
            },
        )
    }

    fn get_missing(&self, cell: &mut Cell) -> Outcome<()> {
        self.step(
            cell,
            |measure| measure,
            "get missing",
            |thread| {
                let mut rng = Rng::new(2, thread);
                move |_| {
                    for _ in 0..BATCH {
                        let key = self.absent_key(&mut rng);
                        if self.table.get(&key, key_hash(&key), MAX_SEQ_NO)?.is_some() {
                            return Err("a key was found that was never written".into());
                        }
                    }
                    Ok(BATCH)
                }
            },
        )?;
        let rate = self.false_positives(&cell.dir)?;
        let step = cell.steps.last_mut().ok_or("the step is there")?;
        step.figure("false positives %", rate * 100.0);
        Ok(())
    }

    /// The share of absent keys for which the filter lets the table read a block. Without a cache a get
    /// reads the key's partition first, if the table has several: that is the least that any get reads.
    fn false_positives(&self, dir: &Path) -> Outcome<f64> {
        let (table, fs) = open(dir, BlockCache::new(0))?;
        let (mut rng, tries) = (Rng::new(3, 0), self.keys.len() / 4);
        let (mut least, mut all) = (u64::MAX, 0);
        for _ in 0..tries {
            let key = self.absent_key(&mut rng);
            let before = fs.reads();
            table.get(&key, key_hash(&key), MAX_SEQ_NO)?;
            let reads = fs.reads() - before;
            (least, all) = (least.min(reads), all + reads);
        }
        Ok(all as f64 / tries as f64 - least as f64)
    }

    fn scan_once(&self) -> Outcome<u64> {
        let (mut walk, mut cursor) =
            (Walk::new(self.shape.values()), self.table.cursor(ReadUse::Lookup));
        cursor.seek_first()?;
        while cursor.valid() {
            walk.meet(cursor.key().user, cursor.value());
            cursor.next()?;
        }
        walk.all(self.keys.len() as u64)
    }

    fn scan(&self, cell: &mut Cell) -> Outcome<()> {
        self.step(cell, |measure| measure.unit("entry"), "scan", |_| |_| self.scan_once())
    }

    fn seek(&self, cell: &mut Cell) -> Outcome<()> {
        let greatest = self.keys[self.keys.len() - 1];
        let name = format!("seek + {SEEK_COUNT}");
        self.step(
            cell,
            |measure| measure,
            &name,
            |thread| {
                let mut rng = Rng::new(4, thread);
                move |_| {
                    let from = self.random_key(&mut rng);
                    let mut walk = Walk::starting_at(self.shape.values(), &from);
                    let mut cursor = self.table.cursor(ReadUse::Lookup);
                    cursor.seek(KeyRef::before(&from))?;
                    for _ in 0..SEEK_COUNT {
                        if !cursor.valid() {
                            break;
                        }
                        walk.meet(cursor.key().user, cursor.value());
                        cursor.next()?;
                    }
                    walk.up_to(SEEK_COUNT, &greatest)?;
                    Ok(1)
                }
            },
        )
    }
}
