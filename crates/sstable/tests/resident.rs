//! What the cache says that it holds is what the process holds. Alone in its process, whose memory it looks at.
#![cfg(all(target_os = "linux", not(loom)))]
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::yield_now;

use stratalog_base::budget::{Account, Budget};
use stratalog_base::fs::{Fs, OsFs, SimRng};
use stratalog_base::key::MAX_SEQ_NO;
use stratalog_base::{KeyRef, Kind, Slice};
use stratalog_sstable::{BlockCache, Compression, Table, TableOptions, TableWriter, key_hash};

const BUDGET: usize = 192 << 20;
const KEYS: u64 = 220_000;
/// What the allocator may keep of blocks that do not lie in slabs, and of all else.
const UNKNOWN: usize = 40 << 20;

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn value(key: u64) -> Vec<u8> {
    vec![key as u8; 900]
}

/// A table that is larger than the budget, in blocks of about 4 KiB.
fn table(cache: &Arc<BlockCache>) -> (tempfile::TempDir, Arc<Table>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("000007.sst");
    let options = TableOptions { compression: Compression::None, ..TableOptions::default() };
    let mut writer = TableWriter::new(OsFs.create(&path).unwrap(), 7, &options);
    for key in 0..KEYS {
        writer.add(KeyRef::new(&key.to_be_bytes(), 1, Kind::Put), &value(key)).unwrap();
    }
    writer.finish().unwrap();
    let table = Table::open(OsFs.open(&path).unwrap(), 7, cache.clone()).unwrap();
    (dir, table)
}

fn gets(table: &Arc<Table>, rng: &mut SimRng, count: u64) {
    for _ in 0..count {
        let key = rng.below(KEYS);
        assert_eq!(get(table, key), value(key));
    }
}

fn get(table: &Arc<Table>, key: u64) -> Slice {
    let user = key.to_be_bytes();
    table.get(&user, key_hash(&user), MAX_SEQ_NO).unwrap().unwrap().1
}

/// The same by half as much, while two threads read and keep some of what they read.
fn shrinks_beside_readers(cache: &BlockCache, table: &Arc<Table>, other: &Account) {
    let (stop, gets) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let readers = [2, 3].map(|seed| {
            let (stop, gets) = (&stop, &gets);
            scope.spawn(move || {
                let (mut rng, mut kept) = (SimRng::new(seed), VecDeque::new());
                while !stop.load(Ordering::Relaxed) {
                    let key = rng.below(KEYS);
                    kept.push_back((key, get(table, key)));
                    gets.fetch_add(1, Ordering::Relaxed);
                    if kept.len() > 50 {
                        let (key, found) = kept.pop_front().unwrap();
                        assert_eq!(found, value(key));
                    }
                }
            })
        });
        for _ in 0..1024 {
            cache.make_room(64 << 10);
            other.charge(64 << 10);
            let before = gets.load(Ordering::Relaxed);
            while gets.load(Ordering::Relaxed) < before + 100 && !readers[0].is_finished() {
                yield_now();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_cache_that_shrinks_gives_its_memory_back() {
    let budget = Arc::new(Budget::new(BUDGET));
    let cache = BlockCache::charged(usize::MAX, budget.clone());
    let (_dir, table) = table(&cache);
    let (mut rng, before) = (SimRng::new(1), resident_bytes());
    let is_told = |others: usize| {
        let (resident, told) = (resident_bytes() - before, budget.used_bytes() - others);
        assert!(resident <= told + UNKNOWN, "{resident} bytes in use, {told} of them told");
    };
    gets(&table, &mut rng, 400_000);
    assert!(cache.used_bytes() > BUDGET - BUDGET / 12, "{}", cache.used_bytes());
    is_told(0);

    let other = Account::new(budget.clone());
    for _ in 0..128 {
        cache.make_room(1 << 20);
        other.charge(1 << 20);
        gets(&table, &mut rng, 100);
        assert!(budget.used_bytes() <= BUDGET, "{}", budget.used_bytes());
    }
    assert!(cache.used_bytes() > BUDGET / 6, "{}", cache.used_bytes());
    is_told(other.bytes());

    other.release(128 << 20);
    shrinks_beside_readers(&cache, &table, &other);
    assert!(budget.used_bytes() <= BUDGET + BUDGET / 64, "{}", budget.used_bytes());
    is_told(other.bytes());
    other.release(64 << 20);
    gets(&table, &mut rng, 400_000);
    assert!(cache.used_bytes() > BUDGET - BUDGET / 12, "{}", cache.used_bytes());
    is_told(0);
    drop((table, cache));
    assert_eq!(budget.used_bytes(), 0);
    is_told(0);
}
