//! The memory budget: what is accounted stays within it, and every byte of it has an owner.

use std::sync::atomic::{AtomicBool, Ordering};

use stratalog::fs::{SimFs, SimRng};
use stratalog::{Compression, Db, Durability, Options, Stats};

use crate::common::{DIR, repeats};

const BUDGET: usize = 16 << 20;
/// What may come on top: a batch for each writer, and what was evicted while the thread of a reader was stopped
/// in the middle of a read.
const SLACK: usize = BUDGET / 64;
const VALUE_BYTES: usize = 600;

fn open(fs: &SimFs) -> Db {
    let options = Options::new().fs(fs.shared()).durability(Durability::Process);
    options.memory_bytes(BUDGET).compression(Compression::None).open(DIR).unwrap()
}

fn put(db: &Db, rng: &mut SimRng, keys: u64) {
    let mut value = [0; VALUE_BYTES];
    rng.fill(&mut value);
    db.put(rng.below(keys).to_be_bytes(), value).unwrap();
}

fn get(db: &Db, rng: &mut SimRng, keys: u64) {
    db.get(rng.below(keys).to_be_bytes()).unwrap();
}

/// A store that nobody uses, with what it says.
#[track_caller]
fn settled(db: &Db) -> Stats {
    db.wait_idle().unwrap();
    let stats = db.stats();
    let parts = [stats.memtable_bytes, stats.cache_bytes, stats.pinned_bytes, stats.index_bytes];
    assert_eq!(parts.iter().sum::<usize>(), stats.memory_used_bytes);
    assert!(stats.memory_used_bytes <= stats.memory_peak_bytes);
    assert!(stats.memory_peak_bytes <= BUDGET + SLACK, "{stats:?}");
    assert_eq!(stats.memory_bytes, BUDGET);
    stats
}

#[test]
fn memory_stays_within_the_budget_under_writes_and_reads() {
    let (fs, keys) = (SimFs::new(), repeats("STRATALOG_BUDGET_KEYS", 100_000));
    let db = open(&fs);
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let (db, mut rng) = (&db, SimRng::new(seed));
            scope.spawn(move || (0..keys / 4).for_each(|_| put(db, &mut rng, keys)));
        }
    });
    db.flush().unwrap();
    let written = settled(&db);
    assert!(written.flushes > 5 && written.memtable_bytes < 1 << 20, "{written:?}");

    // Reads fill what is left.
    std::thread::scope(|scope| {
        for seed in 0..2 {
            let (db, mut rng) = (&db, SimRng::new(seed));
            scope.spawn(move || (0..keys).for_each(|_| get(db, &mut rng, keys)));
        }
        scope.spawn(|| (0..3).for_each(|_| assert!(db.iter().all(|entry| entry.is_ok()))));
    });
    let read = settled(&db);
    assert!(
        read.memory_used_bytes > BUDGET / 10 * 9 && read.pinned_bytes < BUDGET / 20,
        "{read:?}"
    );

    // Memtables take it back from a full cache, with readers at work.
    let stop = AtomicBool::new(false);
    let most_in_memtables = std::thread::scope(|scope| {
        for seed in 0..2 {
            let (db, stop, mut rng) = (&db, &stop, SimRng::new(seed));
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    get(db, &mut rng, keys);
                }
            });
        }
        let mut rng = SimRng::new(9);
        let most = (0..keys / 4).map(|_| {
            put(&db, &mut rng, keys);
            db.stats().memtable_bytes
        });
        let most = most.max().unwrap();
        stop.store(true, Ordering::Relaxed);
        most
    });
    assert!(most_in_memtables > BUDGET / 8, "{most_in_memtables}");
    settled(&db);
}

#[test]
fn what_slices_and_iterators_hold_counts_until_they_let_go() {
    let fs = SimFs::new();
    let db = open(&fs);
    let mut rng = SimRng::new(1);
    (0..60_000).for_each(|_| put(&db, &mut rng, 60_000));
    db.flush().unwrap();
    settled(&db);
    let before = db.stats();
    // An iterator keeps its memtables when they are flushed.
    (0..1_000).for_each(|_| put(&db, &mut rng, 60_000));
    let iter = db.iter();
    db.flush().unwrap();
    let held = settled(&db);
    assert!(held.memtable_bytes > before.memtable_bytes + 1_000 * VALUE_BYTES, "{held:?}");
    drop(iter);
    db.put(b"a", b"new view").unwrap();
    db.flush().unwrap();
    assert!(settled(&db).memtable_bytes < 1 << 20);
    // Slices keep their blocks when the cache has to let go of them.
    let slices: Vec<_> =
        (0..60_000_u64).step_by(60).filter_map(|key| db.get(key.to_be_bytes()).unwrap()).collect();
    let get_all = || {
        (0..60_000_u64).for_each(|key| drop(db.get(key.to_be_bytes()).unwrap()));
    };
    get_all();
    let pinned = settled(&db);
    assert!(pinned.pinned_bytes > slices.len() * 1_000, "{pinned:?}");
    drop(slices);
    get_all();
    assert!(settled(&db).pinned_bytes < BUDGET / 30);
}

#[test]
fn a_reader_has_less_to_cache_while_others_hold_more_than_the_budget() {
    let fs = SimFs::new();
    let db = open(&fs);
    let mut rng = SimRng::new(1);
    (0..80_000).for_each(|_| put(&db, &mut rng, 100_000));
    db.flush().unwrap();
    db.wait_idle().unwrap();
    let slices: Vec<_> =
        (0..100_000_u64).filter_map(|key| db.get(key.to_be_bytes()).unwrap()).collect();
    let stats = db.stats();
    assert!(stats.pinned_bytes > BUDGET && stats.cache_bytes <= BUDGET / 32, "{stats:?}");
    // Writes and reads go on.
    (0..10_000).for_each(|_| put(&db, &mut rng, 100_000));
    db.flush().unwrap();
    db.wait_idle().unwrap();
    drop(slices);
    assert!(db.iter().all(|entry| entry.is_ok()));
    let stats = db.stats();
    assert!(stats.memory_used_bytes <= BUDGET && stats.cache_bytes > BUDGET / 2, "{stats:?}");
}
