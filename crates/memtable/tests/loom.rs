//! Every interleaving of two or three threads on the shipped code, with nodes of three links and an
//! arena whose first chunks hold two things each. Run it with
//! `RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=2 cargo test --release -p stratalog-memtable --test loom`.
//!
//! Writers start before readers: loom remembers one last access to an atomic, so a writer's own load
//! before its store would hide from it that a reader had loaded the same word earlier.
#![cfg(loom)]
#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers, too")]

use std::sync::Arc;

use loom::thread::spawn;
use stratalog_base::budget::Budget;
use stratalog_base::key::MAX_SEQ_NO;
use stratalog_base::sync::{AtomicU64, Ordering};
use stratalog_base::{Cursor, KeyRef, Kind};
use stratalog_memtable::{Memtable, Sealed};

/// Loom's own bound on steps is for models that touch less memory.
fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 100_000;
    builder.check(model);
}

/// A memtable with the keys `present`, each with itself as its value.
fn memtable(present: &[u8]) -> Arc<Memtable> {
    let memtable = Arc::new(Memtable::new());
    present.iter().for_each(|&key| insert(&memtable, key));
    memtable
}

fn insert(memtable: &Memtable, key: u8) {
    memtable.insert(KeyRef::new(&[key], u64::from(key), Kind::Put), &[key]).unwrap();
}

fn get(memtable: &Arc<Memtable>, key: u8) -> bool {
    let Some((trailer, value)) = memtable.get(&[key], MAX_SEQ_NO) else { return false };
    assert_eq!((trailer.seq(), &value[..]), (u64::from(key), &[key][..]));
    true
}

fn walk(memtable: &Arc<Memtable>, forwards: bool) -> Vec<u8> {
    let mut cursor = memtable.cursor();
    if forwards { cursor.seek_first() } else { cursor.seek_last() }.unwrap();
    let mut keys = Vec::new();
    while cursor.valid() {
        assert_eq!(cursor.key().user, cursor.value());
        keys.push(cursor.value()[0]);
        if forwards { cursor.next() } else { cursor.prev() }.unwrap();
    }
    if !forwards {
        keys.reverse();
    }
    keys
}

/// A walk is in order, without repeats, meets all of `present` and none but `present` and `added`.
fn check_walk(memtable: &Arc<Memtable>, forwards: bool, present: &[u8], added: &[u8]) {
    let keys = walk(memtable, forwards);
    assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
    assert!(present.iter().all(|key| keys.contains(key)), "{keys:?}");
    assert!(keys.iter().all(|key| present.contains(key) || added.contains(key)), "{keys:?}");
}

/// Inserts `added`, each list of keys on a thread of its own, while another runs `read`. Then all are
/// there.
fn while_inserting(
    present: &'static [u8],
    added: &'static [&'static [u8]],
    read: Option<fn(&Arc<Memtable>)>,
) {
    check(move || {
        let memtable = memtable(present);
        let writers = added.iter().map(|&keys| {
            let memtable = memtable.clone();
            spawn(move || keys.iter().for_each(|&key| insert(&memtable, key)))
        });
        let mut threads: Vec<_> = writers.collect();
        threads.extend(read.map(|read| {
            let memtable = memtable.clone();
            spawn(move || read(&memtable))
        }));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let mut all = [present, &added.concat()].concat();
        all.sort_unstable();
        assert_eq!(walk(&memtable, true), all);
        assert_eq!(walk(&memtable, false), all);
        assert!(all.iter().all(|&key| get(&memtable, key)));
        assert_eq!(memtable.len(), all.len());
    });
}

#[test]
fn two_inserts_into_one_leaf_both_arrive() {
    while_inserting(&[], &[&[1], &[2]], None);
}

#[test]
fn two_inserts_into_a_full_leaf_both_arrive() {
    while_inserting(&[1, 3, 7], &[&[4], &[5]], None);
}

#[test]
fn two_inserts_of_the_same_key_leave_one() {
    check(|| {
        let memtable = memtable(&[]);
        let other = memtable.clone();
        let writer = spawn(move || insert(&other, 1));
        insert(&memtable, 1);
        writer.join().unwrap();
        assert_eq!((walk(&memtable, true), memtable.len()), (vec![1], 1));
    });
}

#[test]
fn a_reader_sees_an_entry_whole_or_not_at_all() {
    // By the table of newest versions, and, as 7 has its only slot, by the tree.
    while_inserting(&[], &[&[1]], Some(|memtable| _ = get(memtable, 1)));
    while_inserting(&[7], &[&[1]], Some(|memtable| _ = get(memtable, 1)));
}

#[test]
fn a_reader_finds_old_entries_while_their_leaf_splits_and_fills_again() {
    // 3 splits the leaf, 1 takes one of the slots that are free then.
    while_inserting(&[2, 4, 6], &[&[3, 1]], Some(|memtable| assert!(get(memtable, 6))));
    while_inserting(&[2, 4, 6], &[&[3, 1]], Some(|memtable| assert!(get(memtable, 4))));
}

#[test]
fn a_reader_finds_old_entries_while_an_inner_node_splits() {
    // Ascending keys have filled the root: three full leaves.
    let read = |memtable: &Arc<Memtable>| {
        assert!(get(memtable, 9));
        get(memtable, 10);
    };
    while_inserting(&[1, 2, 3, 4, 5, 6, 7, 8, 9], &[&[10]], Some(read));
}

#[test]
fn a_reader_takes_a_shortcut_while_it_is_made() {
    // 10 splits the root, which makes one that leads to what is behind 10.
    let read = |memtable: &Arc<Memtable>| assert!(!get(memtable, 11));
    while_inserting(&[1, 2, 3, 4, 5, 6, 7, 8, 9], &[&[10]], Some(read));
}

fn insert_version(memtable: &Memtable, key: u8, seq: u64) {
    memtable.insert(KeyRef::new(&[key], seq, Kind::Put), &[key]).unwrap();
}

fn newest(memtable: &Memtable, key: u8) -> Option<u64> {
    memtable.get_ref(&[key], MAX_SEQ_NO).map(|(trailer, _)| trailer.seq())
}

#[test]
fn of_two_versions_that_come_at_once_the_newer_is_found() {
    for present in [0, 7] {
        check(move || {
            let memtable = memtable(&[]);
            if present > 0 {
                insert_version(&memtable, 1, present);
            }
            let other = memtable.clone();
            let writer = spawn(move || {
                insert_version(&other, 1, 8);
                assert!(newest(&other, 1) >= Some(8));
            });
            insert_version(&memtable, 1, 9);
            assert_eq!(newest(&memtable, 1), Some(9));
            writer.join().unwrap();
            assert_eq!(newest(&memtable, 1), Some(9));
            assert_eq!(memtable.get_ref(&[1], 8).unwrap().0.seq(), 8);
        });
    }
}

/// Has 1 in the only slot of the table of newest versions and so many keys lost to it that one more has a larger one
/// made: of two lines, or of as many as `expected_bytes` take. Runs `other` while another thread inserts 12 as many
/// `times`: once makes that table and fills half of it, a second time, with the entry already there, the other half,
/// unless an insert in `other` does.
fn while_a_table_grows(expected_bytes: usize, times: usize, other: fn(&Memtable)) {
    check(move || {
        let memtable = Arc::new(Memtable::with_budget(Arc::default(), expected_bytes));
        (1..12).for_each(|key| insert(&memtable, key));
        let used = memtable.used_bytes();
        let maker = memtable.clone();
        let maker = spawn(move || (0..times).for_each(|_| insert(&maker, 12)));
        other(&memtable);
        maker.join().unwrap();
        assert!(memtable.used_bytes() > used, "a table was made");
        assert!((2..=12).all(|key| newest(&memtable, key) >= Some(u64::from(key))));
        other(&memtable);
    });
}

/// Enough for a table of one line a key.
const EXPECTED_BYTES: usize = 64 << 10;

#[test]
fn a_version_that_comes_while_the_table_of_newest_ones_grows_is_found() {
    // In the old one's slot, or lost to it.
    while_a_table_grows(0, 1, |memtable| {
        insert_version(memtable, 1, 200);
        assert_eq!(newest(memtable, 1), Some(200));
    });
    while_a_table_grows(0, 1, |memtable| {
        insert_version(memtable, 0, 200);
        assert_eq!(newest(memtable, 0), Some(200));
    });
}

#[test]
fn a_version_that_comes_while_a_table_for_what_is_expected_is_made_is_found() {
    while_a_table_grows(EXPECTED_BYTES, 1, |memtable| {
        insert_version(memtable, 5, 200);
        assert_eq!(newest(memtable, 5), Some(200));
    });
}

#[test]
fn a_reader_finds_every_newest_version_while_their_table_grows() {
    for expected_bytes in [0, EXPECTED_BYTES] {
        while_a_table_grows(expected_bytes, 2, |memtable| {
            assert_eq!(newest(memtable, 1), Some(1));
            assert_eq!(newest(memtable, 11), Some(11));
            assert_eq!(newest(memtable, 13), None);
        });
    }
}

#[test]
fn a_version_that_comes_while_a_table_is_closed_for_want_of_bits_is_found() {
    check(|| {
        let memtable = memtable(&[1]);
        let other = memtable.clone();
        // Lies behind the 8 KiB that the first table's slots can name.
        let closer = spawn(move || {
            other.insert(KeyRef::new(&[2], 2, Kind::Put), &[2; 9 << 10]).unwrap();
            assert_eq!(newest(&other, 2), Some(2));
        });
        insert_version(&memtable, 1, 200);
        assert_eq!(newest(&memtable, 1), Some(200));
        closer.join().unwrap();
        assert_eq!((newest(&memtable, 1), newest(&memtable, 2)), (Some(200), Some(2)));
        assert_eq!(newest(&memtable, 3), None);
    });
}

#[test]
fn a_walk_forwards_is_ordered_and_complete_while_a_leaf_splits() {
    let read = |memtable: &Arc<Memtable>| check_walk(memtable, true, &[2, 4, 6], &[1, 3, 5]);
    while_inserting(&[2, 4, 6], &[&[3]], Some(read));
    while_inserting(&[2, 4, 6], &[&[5, 1]], Some(read));
}

#[test]
fn a_walk_backwards_is_ordered_and_complete_while_a_leaf_splits() {
    let read = |memtable: &Arc<Memtable>| check_walk(memtable, false, &[2, 4, 6], &[1, 3, 5]);
    while_inserting(&[2, 4, 6], &[&[3]], Some(read));
    while_inserting(&[2, 4, 6], &[&[5, 1]], Some(read));
}

#[test]
fn two_inserts_grow_the_arena_once() {
    // Large enough that each enters a chunk that does not exist yet.
    check(|| {
        let memtable = memtable(&[]);
        let insert = |memtable: &Memtable, key: u8| {
            memtable.insert(KeyRef::new(&[key], 1, Kind::Put), &[key; 200]).unwrap();
        };
        let other = memtable.clone();
        let writer = spawn(move || insert(&other, 1));
        insert(&memtable, 2);
        writer.join().unwrap();
        for key in [1, 2] {
            assert_eq!(memtable.get(&[key], 1).unwrap().1, [key; 200]);
        }
    });
}

/// Deletes `start..end` with a number of 100 and more.
fn insert_range(memtable: &Memtable, start: u8, end: u8, seq: u64) {
    memtable.insert_range(&[start], &[end], seq).unwrap();
}

/// The numbers of the range tombstones there are, rising.
fn range_seqs(memtable: &Memtable) -> Vec<u64> {
    let mut seqs: Vec<_> = memtable.range_tombstones().map(|met| met.seq).collect();
    seqs.sort_unstable();
    seqs
}

#[test]
fn a_reader_meets_range_tombstones_whole_and_each_once_while_they_are_gathered() {
    check(|| {
        let memtable = memtable(&[]);
        insert_range(&memtable, 1, 3, 100);
        let other = memtable.clone();
        // The second splits a node.
        let writer = spawn(move || {
            insert_range(&other, 2, 5, 101);
            insert_range(&other, 7, 9, 102);
        });
        let other = memtable.clone();
        let reader = spawn(move || {
            let seen = other.covering(&[2], MAX_SEQ_NO);
            assert!(seen == Some(100) || seen == Some(101), "{seen:?}");
            let seqs = range_seqs(&other);
            assert!([100, 101, 102].starts_with(&seqs) && !seqs.is_empty(), "{seqs:?}");
        });
        writer.join().unwrap();
        reader.join().unwrap();
        let covering = |key, seq| memtable.covering(&[key], seq);
        assert_eq!(
            (covering(2, 200), covering(2, 100), covering(8, 200)),
            (Some(101), Some(100), Some(102))
        );
    });
}

#[test]
fn a_reader_misses_no_range_tombstone_while_others_come_late() {
    check(|| {
        let memtable = memtable(&[]);
        [100, 110, 120].iter().for_each(|&seq| insert_range(&memtable, 1, 9, seq));
        let other = memtable.clone();
        let writer = spawn(move || {
            // Late by one: goes below 120, which is made anew.
            insert_range(&other, 1, 5, 115);
            // Late by more: begins a chain of its own.
            insert_range(&other, 1, 5, 105);
        });
        let other = memtable.clone();
        let reader = spawn(move || {
            assert_eq!(other.covering(&[2], MAX_SEQ_NO), Some(120));
            let at = other.covering(&[2], 117);
            assert!(at == Some(110) || at == Some(115), "{at:?}");
            let seqs = range_seqs(&other);
            let present: [&[u64]; 3] =
                [&[100, 110, 120], &[100, 110, 115, 120], &[100, 105, 110, 115, 120]];
            assert!(present.contains(&&*seqs), "{seqs:?}");
        });
        writer.join().unwrap();
        reader.join().unwrap();
        let at = |seq| memtable.covering(&[2], seq);
        assert_eq!((at(119), at(114), at(109)), (Some(115), Some(110), Some(105)));
    });
}

#[test]
fn two_inserts_of_range_tombstones_both_arrive() {
    check(|| {
        let memtable = memtable(&[]);
        let other = memtable.clone();
        let writer = spawn(move || insert_range(&other, 1, 3, 100));
        insert_range(&memtable, 2, 5, 101);
        writer.join().unwrap();
        // Whichever came first.
        assert_eq!(range_seqs(&memtable), [100, 101]);
        let covering = |key, seq| memtable.covering(&[key], seq);
        assert_eq!(
            (covering(1, 200), covering(4, 200), covering(2, 200), covering(2, 100)),
            (Some(100), Some(101), Some(101), Some(100))
        );
    });
}

fn insert_numbered(memtable: &Memtable, seq: u64) -> Result<(), Sealed> {
    memtable.insert(KeyRef::new(&[seq as u8], seq, Kind::Put), &[seq as u8])
}

#[test]
fn a_seal_divides_what_a_writer_inserts_by_its_end() {
    check(|| {
        let (old, new) = (memtable(&[]), memtable(&[]));
        let next = Arc::new(AtomicU64::new(1));
        let writer = {
            let (old, new, next) = (old.clone(), new.clone(), next.clone());
            spawn(move || {
                for _ in 0..2 {
                    let seq = next.fetch_add(1, Ordering::AcqRel);
                    if let Err(sealed) = insert_numbered(&old, seq) {
                        assert!(seq >= sealed.end);
                        insert_numbered(&new, seq).unwrap();
                    }
                }
            })
        };
        let end = old.seal(|| next.fetch_add(0, Ordering::AcqRel));
        writer.join().unwrap();
        assert_eq!(old.end(), Some(end));
        assert_eq!(walk(&old, true), (1..end as u8).collect::<Vec<_>>(), "all below {end}");
        assert_eq!(walk(&new, true), (end as u8..3).collect::<Vec<_>>(), "all from {end} on");
    });
}

#[test]
fn of_two_seals_the_first_counts() {
    check(|| {
        let old = memtable(&[]);
        let other = old.clone();
        let sealer = spawn(move || other.seal(|| 7));
        let end = old.seal(|| 9);
        assert_eq!((sealer.join().unwrap(), old.end()), (end, Some(end)));
    });
}

#[test]
fn two_threads_charge_a_budget_exactly() {
    check(|| {
        let budget = Arc::new(Budget::default());
        let memtable = Arc::new(Memtable::with_budget(budget.clone(), 0));
        let other = memtable.clone();
        // Charged beside the lock under which it is inserted.
        let writer = spawn(move || insert_range(&other, 1, 2, 100));
        insert_range(&memtable, 3, 4, 101);
        writer.join().unwrap();
        let bytes = memtable.allocated_bytes();
        assert_eq!((budget.used_bytes(), budget.peak_bytes()), (bytes, bytes));
        drop(memtable);
        assert_eq!(budget.used_bytes(), 0);
    });
}
