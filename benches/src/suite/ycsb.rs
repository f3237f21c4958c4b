//! The suite `ycsb`: the core workloads A to F of YCSB (Cooper et al., SoCC 2010), in the order that
//! YCSB recommends, one after the other on the same store.
//!
//! A record is a 16 B key, scattered as YCSB hashes its own, and a 1,000 B value, as many bytes as its
//! ten fields of 100 B. An update writes all of it. At scale 1 there are as many records as make the
//! bytes of the suite `kv`, and the cache holds them all.
//!
//! | step | is | keys | ends |
//! |---|---|---|---|
//! | `load` | every record put once, in random order | each | all done |
//! | `load + settle` | the same with the flush and the compactions that it caused | | none left |
//! | `A update heavy` | 50 % reads, 50 % updates | Zipf 0.99 | step time |
//! | `B read mostly` | 95 % reads, 5 % updates | Zipf 0.99 | step time |
//! | `C read only` | reads | Zipf 0.99 | step time |
//! | `F read-modify-write` | 50 % reads, 50 % a read and an update of what was read | Zipf 0.99 | step time |
//! | `D read latest` | 95 % reads, 5 % inserts of new records | the newest, less a Zipf rank | step time |
//! | `E short ranges` | 95 % scans of 1 to 100 records, all lengths as likely, 5 % inserts | Zipf 0.99 | step time |
//!
//! Zipfian keys are scrambled, as YCSB does. Every key drawn is of a record whose insert has been
//! acknowledged, and so must be found: every value is compared whole, a scan's order and number are
//! checked, and in the end a scan must meet every record. YCSB empties the store before E; here E goes on
//! with what D left.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::Outcome;
use crate::check::{self, get, put};
use crate::data::{KEY_BYTES, Key, Values, key, shuffled};
use crate::draw::{Rng, Zipf};
use crate::engine::{self, Config, Durability, Engine};
use crate::plan::Plan;
use crate::suite::{Case, Cell, Suite, threads_named};

/// The suite.
pub const SUITE: Suite = Suite {
    name: "ycsb",
    about: "YCSB's core workloads: reads, updates, inserts and short scans mixed, some keys popular",
    cases,
    run,
};

const VALUE_BYTES: usize = 1_000;
/// Records at scale 1: 232 MB.
const RECORDS: u64 = 232_000_000 / (KEY_BYTES + VALUE_BYTES) as u64;
/// The longest scan of E.
const MOST_SCANNED: u64 = 100;

const THREADS: [usize; 3] = [1, 2, 16];

fn records(plan: &Plan) -> u64 {
    plan.scaled(RECORDS, 500)
}

fn config(plan: &Plan) -> Config {
    let data_bytes = records(plan) * (KEY_BYTES + VALUE_BYTES) as u64;
    // Room for versions that compaction has not dropped yet.
    let cache_bytes = 2 * data_bytes;
    Config { cache_bytes, ..Config::scaled(plan, plan.class(Durability::Process)) }
}

fn cases(plan: &Plan) -> Vec<Case> {
    let (records, config) = (records(plan), config(plan));
    let case = |threads| {
        let name = threads_named(threads);
        let about =
            format!("{records} records, 16 B keys, {VALUE_BYTES} B values; {name}; {config}");
        Case::of_engines(plan, config.durability, name, about)
    };
    THREADS.into_iter().map(case).collect()
}

/// One of the workloads.
struct Workload {
    name: &'static str,
    read_percent: u64,
    read: Read,
    change: Change,
}

/// What a read is.
#[derive(Clone, Copy)]
enum Read {
    Popular,
    Latest,
    Scan,
}

/// What is done instead of a read.
#[derive(Clone, Copy)]
enum Change {
    Update,
    ReadModifyWrite,
    Insert,
}

const A: Workload = Workload {
    name: "A update heavy",
    read_percent: 50,
    read: Read::Popular,
    change: Change::Update,
};

const WORKLOADS: &[Workload] = &[
    A,
    Workload { name: "B read mostly", read_percent: 95, ..A },
    Workload { name: "C read only", read_percent: 100, ..A },
    Workload { name: "F read-modify-write", change: Change::ReadModifyWrite, ..A },
    Workload {
        name: "D read latest",
        read_percent: 95,
        read: Read::Latest,
        change: Change::Insert,
    },
    Workload { name: "E short ranges", read_percent: 95, read: Read::Scan, change: Change::Insert },
];

fn run(cell: &mut Cell) -> Outcome<()> {
    let threads = THREADS.into_iter().find(|threads| threads_named(*threads) == cell.case);
    let threads = threads.ok_or("no such case")?;
    let engine = engine::open(cell.subject, &cell.dir, &config(cell.plan))?;
    let table = Table::new(&*engine, records(cell.plan));
    load(cell, &table, threads)?;
    for index in shuffled(table.loaded) {
        get(table.engine, table.values, &key(index))?;
    }
    for (seed, workload) in (10..).zip(WORKLOADS) {
        let measure = cell.measure(workload.name).reading(table.engine).threads(threads);
        let writes = workload.read_percent < 100;
        let measure = if writes { measure.class(table.engine.class()) } else { measure };
        let step = measure.run(|thread| {
            let mut client = Client::new(&table, Rng::new(seed, thread));
            move |call| {
                client.call(workload, call)?;
                Ok(1)
            }
        })?;
        cell.steps.push(step);
    }
    check::scan_all(&*engine, table.values, table.known())?;
    let most_popular = table.zipf.scrambled_rank(0, table.loaded);
    if get(&*engine, table.values, &key(most_popular))? == 0 {
        return Err("the most popular record has its first value".into());
    }
    Ok(())
    // Dropped unsettled: nothing reads it again.
}

/// Puts every record; then, as a second step, the same with what it caused.
fn load(cell: &mut Cell, table: &Table, threads: usize) -> Outcome<()> {
    let measure = cell.measure("load").writing(table.engine).threads(threads);
    let loaded = measure.load(table.loaded).run_until(|_| {
        let mut value = Vec::new();
        move |call| {
            put(table.engine, table.values, &key(call), 0, &mut value)?;
            Ok(1)
        }
    })?;
    cell.push_and_settle(table.engine, loaded)
}

/// The store, and which records are in it: those with an index below [`Table::known`], and perhaps
/// some more whose inserts are under way.
struct Table<'a> {
    engine: &'a dyn Engine,
    values: Values,
    loaded: u64,
    zipf: Zipf,
    /// Ranks among the loaded records, from the newest.
    ages: Zipf,
    /// The greatest key of the loaded records.
    greatest: Key,
    next: AtomicU64,
    known: AtomicU64,
    /// Acknowledged inserts that came before one with a smaller index.
    early: Mutex<BTreeSet<u64>>,
}

impl<'a> Table<'a> {
    /// The table of `loaded` records.
    fn new(engine: &'a dyn Engine, loaded: u64) -> Table<'a> {
        Table {
            engine,
            values: Values::random(VALUE_BYTES),
            loaded,
            zipf: Zipf::for_scrambling(),
            ages: Zipf::new(loaded),
            greatest: (0..loaded).map(key).max().unwrap_or_default(),
            next: AtomicU64::new(loaded),
            known: AtomicU64::new(loaded),
            early: Mutex::new(BTreeSet::new()),
        }
    }

    /// Every record with an index below this has been acknowledged.
    fn known(&self) -> u64 {
        // Pairs with the store of `insert`: who sees the number sees the records.
        self.known.load(Ordering::Acquire)
    }

    fn insert(&self, buffer: &mut Vec<u8>) -> Outcome<()> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        put(self.engine, self.values, &key(index), 0, buffer)?;
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        early.insert(index);
        let mut known = self.known.load(Ordering::Relaxed);
        while early.remove(&known) {
            known += 1;
        }
        self.known.store(known, Ordering::Release);
        Ok(())
    }
}

/// A thread's draws.
struct Client<'a> {
    table: &'a Table<'a>,
    rng: Rng,
    value: Vec<u8>,
}

impl<'a> Client<'a> {
    fn new(table: &'a Table, rng: Rng) -> Client<'a> {
        Client { table, rng, value: Vec::new() }
    }

    fn call(&mut self, workload: &Workload, call: u64) -> Outcome<()> {
        let table = self.table;
        if self.rng.below(100) < workload.read_percent {
            return match workload.read {
                Read::Popular => get(table.engine, table.values, &self.popular()).map(drop),
                Read::Latest => get(table.engine, table.values, &self.latest()).map(drop),
                Read::Scan => {
                    let count = 1 + self.rng.below(MOST_SCANNED);
                    let from = self.popular();
                    check::seek(table.engine, table.values, &from, count, &table.greatest)?;
                    Ok(())
                }
            };
        }
        match workload.change {
            Change::Insert => table.insert(&mut self.value),
            Change::Update => {
                put(table.engine, table.values, &self.popular(), call + 1, &mut self.value)
            }
            Change::ReadModifyWrite => {
                let key = self.popular();
                get(table.engine, table.values, &key)?;
                put(table.engine, table.values, &key, call + 1, &mut self.value)
            }
        }
    }

    fn popular(&mut self) -> Key {
        // Not of those inserted since: a growing number would make other keys popular with each insert.
        key(self.table.zipf.scrambled(&mut self.rng, self.table.loaded))
    }

    fn latest(&mut self) -> Key {
        key(self.table.known() - 1 - self.table.ages.rank(&mut self.rng))
    }
}
