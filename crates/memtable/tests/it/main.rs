//! The memtable against a model, under many threads, and at the edges.
//!
//! Random cases print their seed when they fail; `SEED=<n>` runs that one alone.
#![expect(clippy::unwrap_used, missing_docs, reason = "a test may panic, in its helpers, too")]

mod concurrent;
mod model;
mod ranges;

use std::sync::Arc;

use stratalog_base::budget::Budget;
use stratalog_base::key::{MAX_KEY_BYTES, MAX_SEQ_NO, MAX_VALUE_BYTES};
use stratalog_base::{Cursor, KeyRef, Kind, Trailer};
use stratalog_memtable::{Memtable, Sealed};

/// Xorshift64*: numbers that a seed determines.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % end
    }
}

fn put(user: &[u8], seq: u64) -> KeyRef<'_> {
    KeyRef::new(user, seq, Kind::Put)
}

#[test]
fn an_empty_memtable_has_no_place_for_a_cursor() {
    let memtable = Arc::new(Memtable::new());
    let mut cursor = memtable.cursor();
    assert!(!cursor.valid() && memtable.is_empty());
    assert!(memtable.get(b"", MAX_SEQ_NO).is_none());
    cursor.seek_first().unwrap();
    assert!(!cursor.valid());
    cursor.seek_last().unwrap();
    assert!(!cursor.valid());
    cursor.seek(KeyRef::before(b"")).unwrap();
    assert!(!cursor.valid());
    cursor.seek_before(KeyRef::before(b"z")).unwrap();
    assert!(!cursor.valid());
}

#[test]
fn get_returns_the_newest_version_that_is_not_newer_than_asked_for() {
    let memtable = Arc::new(Memtable::new());
    memtable.insert(put(b"ada", 3), b"three").unwrap();
    memtable.insert(put(b"ada", 9), b"nine").unwrap();
    memtable.insert(KeyRef::new(b"ada", 7, Kind::Delete), b"").unwrap();
    let at =
        |seq| memtable.get(b"ada", seq).map(|(trailer, value)| (trailer.seq(), value.to_vec()));
    assert_eq!(at(2), None);
    assert_eq!(at(3), Some((3, b"three".to_vec())));
    assert_eq!(at(8), Some((7, vec![])));
    assert_eq!(at(MAX_SEQ_NO), Some((9, b"nine".to_vec())));
    assert_eq!(memtable.get(b"ada", 7).unwrap().0, Trailer::new(7, Kind::Delete));
    assert!(memtable.get(b"ad", 9).is_none() && memtable.get(b"ada\0", 9).is_none());
}

#[test]
fn an_internal_key_that_is_there_already_is_ignored() {
    let memtable = Arc::new(Memtable::new());
    // Enough for several nodes, so that some of the keys stand first in theirs.
    for round in 0..2u8 {
        for index in 0..1000u32 {
            memtable.insert(put(&index.to_be_bytes(), 1), &[round]).unwrap();
        }
    }
    assert_eq!(memtable.len(), 1000);
    let mut cursor = memtable.cursor();
    cursor.seek_first().unwrap();
    for index in 0..1000u32 {
        assert_eq!((cursor.key().user, cursor.value()), (&index.to_be_bytes()[..], &[0][..]));
        cursor.next().unwrap();
    }
    assert!(!cursor.valid());
}

#[test]
fn the_longest_keys_and_large_values_are_stored() {
    let memtable = Arc::new(Memtable::new());
    let lengths = [0, 1, 30, 31, 1000, 32_765, 32_766, 32_767, 65_536, 1 << 20, 3 << 20];
    for (seq, &len) in (1..).zip(&lengths) {
        let user = vec![len as u8; if seq % 2 == 0 { MAX_KEY_BYTES } else { 3 }];
        memtable.insert(put(&user, seq), &vec![seq as u8; len]).unwrap();
        let (trailer, value) = memtable.get(&user, seq).unwrap();
        assert_eq!((trailer.seq(), value.len()), (seq, len));
        assert!(value.iter().all(|&byte| byte == seq as u8));
    }
    assert_eq!(memtable.len(), lengths.len());
    let stored: usize = lengths.iter().sum::<usize>() + 5 * MAX_KEY_BYTES;
    assert!(memtable.used_bytes() > stored);
}

#[test]
fn keys_and_values_beyond_the_limits_are_refused() {
    let refused = |user: usize| {
        std::panic::catch_unwind(|| Memtable::new().insert(put(&vec![0; user], 1), b"")).is_err()
    };
    assert!(refused(MAX_KEY_BYTES + 1));
    assert!(!refused(MAX_KEY_BYTES));
}

#[test]
#[ignore = "takes 2 GiB of memory"]
fn a_value_of_the_greatest_length_is_stored() {
    let memtable = Arc::new(Memtable::new());
    memtable.insert(put(b"k", 1), &vec![1; MAX_VALUE_BYTES]).unwrap();
    assert_eq!(memtable.get(b"k", 1).unwrap().1.len(), MAX_VALUE_BYTES);
}

#[test]
fn used_bytes_cover_what_is_stored_and_stay_below_what_is_allocated() {
    for (expected_bytes, overhead) in [(16 << 20, 40), (0, 56)] {
        let memtable = Memtable::with_budget(Arc::default(), expected_bytes);
        let mut used = memtable.used_bytes();
        let mut stored = 0;
        for index in 0..100_000u64 {
            let key = index.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
            memtable.insert(put(&key, index), &[1; 100]).unwrap();
            stored += key.len() + 100;
            assert!(memtable.used_bytes() >= used);
            used = memtable.used_bytes();
        }
        assert!(used > stored && used < stored + overhead * memtable.len(), "{used} for {stored}");
        assert!(memtable.allocated_bytes() >= used && memtable.allocated_bytes() < 3 * used);
        memtable.insert(put(b"large", 1), &vec![0; 1 << 20]).unwrap();
        assert!((1 << 20..(1 << 20) + 5000).contains(&(memtable.used_bytes() - used)));
    }
}

#[test]
fn a_cursor_and_a_value_outlive_the_handle() {
    let memtable = Arc::new(Memtable::new());
    for index in 0..1000u32 {
        memtable.insert(put(&index.to_be_bytes(), 1), &[index as u8; 100]).unwrap();
    }
    let weak = Arc::downgrade(&memtable);
    let (_, value) = memtable.get(&7u32.to_be_bytes(), 1).unwrap();
    let mut cursor = memtable.cursor();
    drop(memtable);
    let walk = std::thread::spawn(move || {
        cursor.seek_first().unwrap();
        let mut count = 0;
        while cursor.valid() {
            count += 1;
            cursor.next().unwrap();
        }
        count
    });
    assert_eq!(walk.join().unwrap(), 1000);
    assert_eq!(value, [7; 100]);
    assert!(weak.upgrade().is_some());
    drop(value);
    assert!(weak.upgrade().is_none());
}

#[test]
fn a_budget_is_charged_exactly_what_is_allocated_and_nothing_once_all_is_dropped() {
    let budget = Arc::new(Budget::default());
    for seed in 0..12 {
        let mut random = Random::new(seed);
        let memtables = [(); 2].map(|()| Arc::new(Memtable::with_budget(budget.clone(), 0)));
        for seq in 0..random.below(20_000) {
            let memtable = &memtables[random.below(2) as usize];
            let key = random.below(1 << 40).to_be_bytes();
            match random.below(1000) {
                0 => memtable
                    .insert(put(&key, seq), &vec![1; random.below(200_000) as usize])
                    .unwrap(),
                1 => memtable.insert_range(&key[4..], &key, seq).unwrap(),
                _ => memtable
                    .insert(put(&key, seq), &[1; 300][..random.below(300) as usize])
                    .unwrap(),
            }
            let [first, second] = [0, 1].map(|at: usize| memtables[at].allocated_bytes());
            assert_eq!(budget.used_bytes(), first + second);
            assert!(memtable.used_bytes() <= memtable.allocated_bytes());
        }
        let [kept, dropped] = memtables;
        let value = kept.insert(put(b"pinned", 1), &[1; 100]).map(|()| kept.get(b"pinned", 1));
        let left = kept.allocated_bytes();
        drop((kept, dropped));
        assert_eq!(budget.used_bytes(), left, "a pinned value keeps its memtable");
        drop(value);
        assert_eq!(budget.used_bytes(), 0);
    }
    assert!(budget.peak_bytes() > 1 << 20);
}

#[test]
fn a_sealed_memtable_takes_what_is_below_its_end_and_refuses_the_rest() {
    let memtable = Arc::new(Memtable::new());
    memtable.insert(put(b"a", 90), b"").unwrap();
    assert_eq!(memtable.end(), None);
    assert_eq!(memtable.seal(|| 50), 50);
    assert_eq!(memtable.seal(|| panic!("only the first is asked")), 50);
    assert_eq!(memtable.insert(put(b"b", 49), b""), Ok(()));
    assert_eq!(memtable.insert_range(b"b", b"c", 49), Ok(()));
    assert_eq!(memtable.insert(put(b"c", 50), b""), Err(Sealed { end: 50 }));
    assert_eq!(memtable.insert_range(b"c", b"d", 51), Err(Sealed { end: 50 }));
    assert_eq!((memtable.end(), memtable.len(), memtable.range_tombstones_len()), (Some(50), 2, 1));
    assert!(
        memtable.get(b"c", MAX_SEQ_NO).is_none() && memtable.covering(b"c", MAX_SEQ_NO).is_none()
    );
}
