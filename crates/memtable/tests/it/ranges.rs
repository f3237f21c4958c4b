//! Range tombstones beside entries, against a list.

use std::sync::Arc;

use stratalog_base::key::MAX_SEQ_NO;
use stratalog_base::range::{RangeTombstone, RangeTombstoneRef};
use stratalog_memtable::Memtable;

use crate::{Random, put};

/// Short keys of few letters, so that ranges meet, nest and are empty.
fn key(random: &mut Random) -> Box<[u8]> {
    (0..random.below(4)).map(|_| [0, 1, b'a', 0xff][random.below(4) as usize]).collect()
}

fn tombstone(random: &mut Random, seq: u64) -> RangeTombstone {
    RangeTombstone { start: key(random), end: key(random), seq }
}

fn naive(tombstones: &[RangeTombstone], user: &[u8], seq: u64) -> Option<u64> {
    let covers = |t: &&RangeTombstone| *t.start <= *user && *user < *t.end && t.seq <= seq;
    tombstones.iter().filter(covers).map(|tombstone| tombstone.seq).max()
}

/// Numbers for `count` tombstones in an order of the kind `order`.
fn numbers(order: u64, count: u64, random: &mut Random) -> Vec<u64> {
    let number = |index: u64| match order {
        0 => index,
        // As of writers that overtake each other.
        1 => index + random.below(4),
        // Now and then very late.
        2 if random.below(4) == 0 => 1 + random.below(index),
        2 => index,
        3 => count - index,
        _ => random.below(count),
    };
    (1..=count).map(number).collect()
}

#[test]
fn what_covers_a_key_is_what_a_list_says() {
    for seed in 0..100 {
        let (mut random, memtable) = (Random::new(seed), Memtable::new());
        let mut model: Vec<RangeTombstone> = Vec::new();
        let count = random.below(200);
        for seq in numbers(seed % 5, count, &mut random) {
            let tombstone = tombstone(&mut random, seq);
            memtable.insert_range(&tombstone.start, &tombstone.end, seq).unwrap();
            model.push(tombstone);
            for _ in 0..10 {
                let (user, seq) = (key(&mut random), random.below(count + 5));
                assert_eq!(memtable.covering(&user, seq), naive(&model, &user, seq), "seed {seed}");
            }
        }
        model.retain(|tombstone| !tombstone.as_ref().is_empty());
        let mut met: Vec<_> =
            memtable.range_tombstones().map(RangeTombstoneRef::to_owned).collect();
        for list in [&mut model, &mut met] {
            list.sort_by(|a, b| (a.seq, &a.start, &a.end).cmp(&(b.seq, &b.start, &b.end)));
        }
        assert_eq!(met, model, "seed {seed}");
        assert_eq!(memtable.range_tombstones_len(), model.len());
        assert_eq!((memtable.len(), memtable.is_empty()), (0, model.is_empty()));
    }
}

/// Enough tombstones for trees of several levels; the long ones take many away.
#[test]
fn many_tombstones_agree_with_a_list_in_every_order() {
    const KEYS: u64 = 5000;
    for seed in 0..10 {
        let (mut random, memtable) = (Random::new(seed), Memtable::new());
        let mut model: Vec<RangeTombstone> = Vec::new();
        for seq in numbers(seed % 5, 2000, &mut random) {
            let longest = [1, 3, 30, KEYS][random.below(4) as usize];
            let start = random.below(KEYS);
            let [start, end] = [start, start + random.below(longest + 1)].map(u64::to_be_bytes);
            memtable.insert_range(&start, &end, seq).unwrap();
            model.push(RangeTombstone { start: start.into(), end: end.into(), seq });
            let (user, seq) = (random.below(KEYS).to_be_bytes(), random.below(2010));
            assert_eq!(memtable.covering(&user, seq), naive(&model, &user, seq), "seed {seed}");
        }
        for seq in [0, 1, 1000, 1999, 2000, MAX_SEQ_NO] {
            for user in (0..KEYS).step_by(7).map(u64::to_be_bytes) {
                assert_eq!(memtable.covering(&user, seq), naive(&model, &user, seq), "seed {seed}");
            }
        }
    }
}

#[test]
fn ten_thousand_nested_tombstones_are_looked_up_in_few_steps_and_counted() {
    let memtable = Memtable::new();
    let before = memtable.used_bytes();
    for seq in 1..=10_000u64 {
        memtable.insert_range(b"", &seq.to_be_bytes(), seq).unwrap();
    }
    for user in [0, 1, 5_000, 9_999u64] {
        assert_eq!(memtable.covering(&user.to_be_bytes(), MAX_SEQ_NO), Some(10_000));
        assert_eq!(memtable.covering(&user.to_be_bytes(), user + 1), Some(user + 1));
        assert_eq!(memtable.covering(&user.to_be_bytes(), user), None);
    }
    let each = (memtable.used_bytes() - before) / 10_000;
    assert!((40..200).contains(&each), "{each} bytes a tombstone");
}

#[test]
fn readers_see_the_tombstones_whose_insert_has_returned() {
    const COUNT: u64 = 3_000;
    let memtable = Arc::new(Memtable::new());
    std::thread::scope(|scope| {
        for writer in 0..2u64 {
            let memtable = &memtable;
            scope.spawn(move || {
                for index in 0..COUNT {
                    let (key, seq) = ([writer as u8, (index % 100) as u8], 1 + 2 * index + writer);
                    memtable.insert(put(&key, seq), b"").unwrap();
                    memtable.insert_range(&key, &[writer as u8, 200], seq).unwrap();
                    assert_eq!(memtable.covering(&key, seq), Some(seq));
                    assert!(memtable.covering(&key, MAX_SEQ_NO) >= Some(seq));
                }
            });
        }
        let memtable = &memtable;
        scope.spawn(move || {
            let mut last = None;
            while last < Some(2 * COUNT - 1) {
                let now = memtable.covering(&[0, 150], MAX_SEQ_NO);
                assert!(now >= last, "{now:?} after {last:?}");
                last = now;
            }
        });
    });
    assert_eq!(memtable.range_tombstones_len() as u64, 2 * COUNT);
}
