//! The block cache: its limit, its accounts, and readers that race.

use std::sync::Arc;

use stratalog_base::budget::{Account, Budget};
use stratalog_base::fs::{SimFs, SimRng};
use stratalog_base::key::MAX_SEQ_NO;
use stratalog_base::{Cursor, KeyRef, Kind};
use stratalog_sstable::{BlockCache, ReadUse, Table, TableOptions, key_hash};

use crate::support::{Entries, open, options, random_entries, write};

fn table(cache: &Arc<BlockCache>) -> (Entries, SimFs, Arc<Table>) {
    table_of(cache, 1000)
}

fn table_of(cache: &Arc<BlockCache>, keys: u64) -> (Entries, SimFs, Arc<Table>) {
    let entries = random_entries(21, keys, 2);
    let (fs, _) = write(&entries, &options(512, 16));
    let table = open(&fs, cache).unwrap();
    (entries, fs, table)
}

fn walk(table: &Arc<Table>, reads: ReadUse, mut each: impl FnMut()) {
    let mut cursor = table.cursor(reads);
    cursor.seek_first().unwrap();
    while cursor.valid() {
        each();
        cursor.next().unwrap();
    }
}

#[test]
fn the_limit_holds_and_a_dropped_table_returns_its_bytes() {
    // CACHE-1, CACHE-2
    for limit in [0, 100, 5_000, 20_000] {
        let cache = BlockCache::new(limit);
        let (_, _fs, first) = table(&cache);
        let (_, _fs, second) = table(&cache);
        let mut most = 0;
        for table in [&first, &second, &first] {
            walk(table, ReadUse::Lookup, || {
                most = most.max(cache.used_bytes());
                assert!(cache.used_bytes() <= limit);
            });
        }
        assert!(limit < 1000 || most > limit / 2, "{most} of {limit} used");
        drop(first);
        drop(second);
        assert_eq!(cache.used_bytes(), 0);
    }
}

#[test]
fn cached_blocks_are_not_read_again() {
    let cache = BlockCache::new(1 << 20);
    let (_, fs, table) = table(&cache);
    walk(&table, ReadUse::Lookup, || {});
    let reads = fs.reads();
    walk(&table, ReadUse::Lookup, || {});
    walk(&table, ReadUse::Sweep, || {});
    assert_eq!(fs.reads(), reads);
}

#[test]
fn a_sweep_reads_ahead_and_leaves_the_cache_alone() {
    let cache = BlockCache::new(1 << 20);
    let (_, fs, table) = table(&cache);
    let reads = fs.reads();
    walk(&table, ReadUse::Sweep, || {});
    assert_eq!((cache.used_bytes(), fs.reads() - reads), (0, 1));
}

#[test]
fn what_is_referenced_stays_while_others_come_and_go() {
    let cache = BlockCache::new(8_000);
    let (entries, fs, table) = table(&cache);
    let hot = &entries[entries.len() / 2].0.user;
    let get_hot = || table.get(hot, key_hash(hot), MAX_SEQ_NO).unwrap().unwrap();
    get_hot();
    walk(&table, ReadUse::Lookup, || {
        get_hot();
    });
    let reads = fs.reads();
    get_hot();
    assert_eq!(fs.reads(), reads);
}

#[test]
fn tables_that_come_and_go_leave_nothing_behind() {
    let cache = BlockCache::new(20_000);
    for _ in 0..30 {
        let (_, _fs, table) = table(&cache);
        walk(&table, ReadUse::Lookup, || {});
    }
    assert_eq!(cache.used_bytes(), 0);
    // The clock was cleared of the dead on the way, or it would show them here.
    assert!(format!("{cache:?}").matches("Place").count() < 200);
}

#[test]
fn two_threads_share_a_tiny_cache() {
    let cache = BlockCache::new(6_000);
    let (entries, _fs, table) = table(&cache);
    std::thread::scope(|scope| {
        for seed in 0..2 {
            let (table, entries, cache) = (&table, &entries, &cache);
            scope.spawn(move || {
                let mut rng = SimRng::new(seed);
                let mut cursor = table.cursor(ReadUse::Lookup);
                for _ in 0..5_000 {
                    let (key, value) = &entries[rng.below(entries.len() as u64) as usize];
                    let found = table.get(&key.user, key_hash(&key.user), key.trailer.seq());
                    assert_eq!(found.unwrap().unwrap().1, *value);
                    cursor.seek(KeyRef::seek(&key.user, key.trailer.seq())).unwrap();
                    assert_eq!(cursor.value(), value);
                    assert!(cache.used_bytes() <= cache.limit_bytes() + 2_000);
                }
            });
        }
    });
    assert!(cache.used_bytes() <= cache.limit_bytes());
}

/// All blocks of `table`, one after another, as a compaction would not do it.
fn scan(table: &Arc<Table>) {
    walk(table, ReadUse::Lookup, || {});
}

#[test]
fn a_scan_leaves_what_lookups_wanted_but_a_sixteenth() {
    // Two tables, the larger of which is scanned beside lookups of the smaller one's blocks.
    let cache = BlockCache::new(64_000);
    let (entries, fs, hot) = table(&cache);
    let lookups = || {
        let before = fs.reads();
        for (key, _) in entries.iter().step_by(40) {
            hot.get(&key.user, key_hash(&key.user), MAX_SEQ_NO).unwrap();
        }
        fs.reads() - before
    };
    let wanted = lookups();
    assert!(wanted > 20 && cache.used_bytes() < 50_000, "{wanted}, {}", cache.used_bytes());
    let (_, _fs, large) = table_of(&cache, 20_000);
    scan(&large);
    scan(&large);
    let read_again = lookups();
    assert!(read_again <= wanted / 4, "{read_again} of {wanted} were pushed out");
}

#[test]
fn a_small_range_that_is_scanned_again_stays_in_a_full_cache() {
    let cache = BlockCache::new(400_000);
    let (entries, fs, table) = table_of(&cache, 20_000);
    let (key, _) = &entries[entries.len() / 2];
    let scan_few = || {
        let before = fs.reads();
        let mut cursor = table.cursor(ReadUse::Lookup);
        cursor.seek(key.as_ref()).unwrap();
        (0..20).for_each(|_| cursor.next().unwrap());
        fs.reads() - before
    };
    scan(&table);
    assert!(scan_few() > 0);
    assert_eq!(scan_few(), 0);
}

#[test]
fn used_bytes_are_those_of_the_cached_blocks_whatever_was_done() {
    // CACHE-1, CACHE-2: the limit holds after each step, and when the last table goes, nothing is left:
    // what was taken off is what was added.
    for seed in 0..20 {
        let mut rng = SimRng::new(seed);
        let budget = Arc::new(Budget::default());
        let cache = BlockCache::charged(10_000 + rng.below(30_000) as usize, budget.clone());
        let mut tables: Vec<_> = (0..3).map(|_| table(&cache)).collect();
        for _ in 0..300 {
            let at = rng.below(tables.len() as u64) as usize;
            let (entries, _, table) = &tables[at];
            let (key, value) = &entries[rng.below(entries.len() as u64) as usize];
            match rng.below(10) {
                0 => walk(table, ReadUse::Sweep, || {}),
                1 => scan(table),
                2 => tables[at] = self::table(&cache),
                _ => {
                    let found = table.get(&key.user, key_hash(&key.user), key.trailer.seq());
                    assert_eq!(found.unwrap().unwrap().1, *value);
                }
            }
            assert!(cache.used_bytes() <= cache.limit_bytes(), "seed {seed}");
            let accounts = [cache.used_bytes(), cache.pinned_bytes(), cache.tables_bytes()];
            assert_eq!(accounts.iter().sum::<usize>(), budget.used_bytes(), "seed {seed}, CACHE-6");
            let open: usize = tables.iter().map(|(_, _, table)| table.memory_bytes()).sum();
            assert_eq!(cache.tables_bytes(), open, "seed {seed}");
        }
        tables.clear();
        assert_eq!(cache.used_bytes(), 0, "seed {seed}");
    }
}

/// A budget of 400 000 bytes, a cache that takes whatever is left of it, and a table of more than that.
fn budgeted() -> (Arc<Budget>, Arc<BlockCache>, Entries, Arc<Table>) {
    let budget = Arc::new(Budget::new(400_000));
    let cache = BlockCache::charged(usize::MAX, budget.clone());
    let key = |n: u32| KeyRef::new(&n.to_be_bytes(), 1, Kind::Put).to_owned();
    let entry = |n: u32| (key(n), vec![n as u8; 50]);
    let entries: Entries = (0..20_000).map(entry).collect();
    let (fs, _) = write(&entries, &TableOptions { partition_bytes: 1_000, ..options(512, 16) });
    let table = open(&fs, &cache).unwrap();
    assert!(table.memory_bytes() < 50_000, "{}", table.memory_bytes());
    (budget, cache, entries, table)
}

#[test]
fn the_cache_takes_what_others_leave_of_the_budget_and_gives_it_back() {
    // CACHE-6
    let (budget, cache, _, large) = budgeted();
    scan(&large);
    let used = budget.used_bytes() - cache.pinned_bytes();
    assert!((370_000..=387_500).contains(&used), "{used}");
    let other = Account::new(budget.clone());
    for bytes in (0..80_000).step_by(2_000) {
        cache.make_room(2_000);
        other.charge(2_000);
        let used = budget.used_bytes();
        assert!(used <= 400_000 && used > 370_000, "{used} of which {bytes} are another's");
    }
    scan(&large);
    assert!(budget.peak_bytes() <= budget.limit_bytes(), "{}", budget.peak_bytes());
    other.release(80_000);
    scan(&large);
    assert!(cache.used_bytes() > 120_000);
}

#[test]
fn slices_of_evicted_blocks_count_until_they_are_dropped() {
    // CACHE-6
    let (budget, cache, entries, table) = budgeted();
    let get = |user: &[u8]| table.get(user, key_hash(user), MAX_SEQ_NO).unwrap().unwrap().1;
    let slices: Vec<_> =
        entries.iter().step_by(20).take(1_000).map(|(key, _)| get(&key.user)).collect();
    assert!(cache.pinned_bytes() > 30_000);
    let all = cache.used_bytes() + cache.pinned_bytes() + cache.tables_bytes();
    assert_eq!(all, budget.used_bytes());
    drop(slices);
    scan(&table);
    let (pinned, used) = (cache.pinned_bytes(), cache.used_bytes());
    assert!(pinned < 12_500 && used > 300_000, "{pinned}, {used}");
}

#[test]
fn a_reader_that_stops_inside_holds_back_no_more_than_the_spare_part() {
    let (budget, cache, _, table) = budgeted();
    scan(&table);
    let before = cache.used_bytes();
    let reader = cache.enter();
    scan(&table);
    scan(&table);
    // The block at hand is charged before it is refused.
    assert!(budget.peak_bytes() <= budget.limit_bytes() + 12_500, "{}", budget.peak_bytes());
    assert!(cache.used_bytes() + 12_500 + 3_000 > before && cache.pinned_bytes() > 2_000);
    drop(reader);
    scan(&table);
    assert!(cache.used_bytes() + 3_000 > before && cache.pinned_bytes() < 12_500);
}
