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
use stratalog_base::key::MAX_SEQ_NO;
use stratalog_base::{Cursor, KeyRef, Kind};
use stratalog_memtable::Memtable;

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
    memtable.insert(KeyRef::new(&[key], u64::from(key), Kind::Put), &[key]);
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
    while_inserting(&[], &[&[1]], Some(|memtable| _ = get(memtable, 1)));
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
            memtable.insert(KeyRef::new(&[key], 1, Kind::Put), &[key; 200]);
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
