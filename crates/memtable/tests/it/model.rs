//! Random operations on a memtable and on a `BTreeMap`.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use stratalog_base::key::MAX_SEQ_NO;
use stratalog_base::{Bounds, Cursor, InternalKey, KeyRef, Kind};
use stratalog_memtable::{Memtable, MemtableCursor};

use crate::Random;

/// The order of internal keys, for a map.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sorted(InternalKey);

impl Ord for Sorted {
    fn cmp(&self, other: &Sorted) -> std::cmp::Ordering {
        self.0.as_ref().cmp(&other.0.as_ref())
    }
}

impl PartialOrd for Sorted {
    fn partial_cmp(&self, other: &Sorted) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

type Model = BTreeMap<Sorted, Vec<u8>>;

/// Keys of one shape, so that each shape meets enough ties of its own.
fn key(random: &mut Random, shape: u64, next: u64) -> Vec<u8> {
    match shape {
        // Short keys of few letters: prefixes of each other, zeros and the greatest bytes among them.
        0 => (0..random.below(7))
            .map(|_| [0, 1, b'a', 0xfe, 0xff][random.below(5) as usize])
            .collect(),
        // Differing only behind byte 4, 8 or a long common prefix.
        1 => {
            let common = [0, 4, 8, 300][random.below(4) as usize];
            let mut key = vec![b'p'; common];
            key.extend_from_slice(&(random.below(2000) as u16).to_be_bytes());
            key
        }
        // Ascending decimal numbers, as a counter in text.
        2 => format!("user{next:08}").into_bytes(),
        // Descending ones.
        3 => format!("user{:08}", 99_999_999 - next).into_bytes(),
        // Random ones, some of them far away.
        4 => format!("user{:08}/{}", random.below(100_000_000), random.below(3)).into_bytes(),
        // Saturated prefixes.
        5 => {
            let mut key = vec![0xff; random.below(12) as usize];
            key.push(random.below(256) as u8);
            key
        }
        // Few keys with many versions.
        6 => vec![b'k', random.below(3) as u8],
        _ => {
            let shape = random.below(7);
            key(random, shape, next)
        }
    }
}

fn check_stand(cursor: &MemtableCursor, expected: Option<(&Sorted, &Vec<u8>)>, what: &str) {
    let stand = cursor.valid().then(|| (cursor.key().to_owned(), cursor.value().to_vec()));
    assert_eq!(stand, expected.map(|(key, value)| (key.0.clone(), value.clone())), "{what}");
    if cursor.valid() {
        assert_eq!(cursor.value_slice(), cursor.value());
    }
}

/// An internal key near those that are there: a user key that may be there, at any sequence number.
fn target(model: &Model, random: &mut Random, shape: u64, end: u64) -> Sorted {
    let user = if random.below(2) == 0 {
        key(random, shape, random.0 % (end + 1))
    } else {
        let nth = random.below(model.len() as u64) as usize % 50;
        model.keys().nth(nth).unwrap().0.user.to_vec()
    };
    let seq = if random.below(2) == 0 { MAX_SEQ_NO } else { random.below(end + 1) };
    Sorted(KeyRef::seek(&user, seq).to_owned())
}

fn check_reads(memtable: &Arc<Memtable>, model: &Model, random: &mut Random, shape: u64, end: u64) {
    let mut cursor = memtable.cursor();
    for _ in 0..20 {
        let target = target(model, random, shape, end);
        let InternalKey { user, trailer } = &target.0;
        let from = || model.range((Bound::Included(&target), Bound::Unbounded));
        let to = || model.range((Bound::Unbounded, Bound::Excluded(&target)));

        let expected = from().next().filter(|(key, _)| key.0.user == *user);
        let got = memtable.get(user, trailer.seq()).map(|(found, value)| (found, value.to_vec()));
        assert_eq!(got, expected.map(|(key, value)| (key.0.trailer, value.clone())));

        cursor.seek(target.0.as_ref()).unwrap();
        for expected in from().map(Some).chain([None]).take(30) {
            check_stand(&cursor, expected, "forwards from a seek");
            if expected.is_some() {
                cursor.next().unwrap();
            }
        }
        cursor.seek_before(target.0.as_ref()).unwrap();
        for expected in to().rev().map(Some).chain([None]).take(30) {
            check_stand(&cursor, expected, "backwards from a seek");
            if expected.is_some() {
                cursor.prev().unwrap();
            }
        }
    }
}

/// BOUNDS-1: a bounded cursor is one over a memtable that has no other entries.
fn check_bounds(
    memtable: &Arc<Memtable>,
    model: &Model,
    random: &mut Random,
    mut target: impl FnMut(&mut Random) -> Sorted,
) {
    for _ in 0..4 {
        let mut bound = || (random.below(4) > 0).then(|| target(random).0);
        let bounds = Bounds { lower: bound(), upper: bound() };
        let within: Vec<_> = model
            .iter()
            .filter(|(key, _)| bounds.lower().is_none_or(|lower| key.0.as_ref() >= lower))
            .filter(|(key, _)| bounds.upper().is_none_or(|upper| key.0.as_ref() < upper))
            .collect();
        let mut cursor = memtable.cursor_within(bounds);
        assert!(!cursor.valid());
        for _ in 0..8 {
            let target = target(random);
            let rank = within.partition_point(|(key, _)| **key < target);
            // One more than the place, so that 0 stands for the place before the first.
            let (mut place, what) = match random.below(4) {
                0 => (cursor.seek_first().map(|()| 1), "first"),
                1 => (cursor.seek_last().map(|()| within.len()), "last"),
                2 => (cursor.seek(target.0.as_ref()).map(|()| rank + 1), "seek"),
                _ => (cursor.seek_before(target.0.as_ref()).map(|()| rank), "seek before"),
            };
            let turns = 1 + random.below(8);
            let forwards = random.below(2) == 0;
            for step in 0..40 {
                let at = place.as_mut().unwrap();
                let stand = at.checked_sub(1).and_then(|index| within.get(index));
                check_stand(&cursor, stand.copied(), &format!("{step} steps from {what}"));
                if stand.is_none() {
                    break;
                }
                // Mostly in one direction.
                if (random.below(turns) == 0) ^ forwards {
                    cursor.next().unwrap();
                    *at += 1;
                } else {
                    cursor.prev().unwrap();
                    *at -= 1;
                }
            }
        }
    }
}

fn check_walks(memtable: &Arc<Memtable>, model: &Model) {
    let mut cursor = memtable.cursor();
    cursor.seek_first().unwrap();
    for entry in model {
        check_stand(&cursor, Some(entry), "forwards");
        cursor.next().unwrap();
    }
    assert!(!cursor.valid());
    cursor.seek_last().unwrap();
    for entry in model.iter().rev() {
        check_stand(&cursor, Some(entry), "backwards");
        cursor.prev().unwrap();
    }
    assert!(!cursor.valid());
}

/// Sequence numbers below `count`: rising, or in any order, so that older versions come late (NEW-2).
fn seqs(random: &mut Random, count: u64) -> Vec<u64> {
    let mut seqs: Vec<_> = (0..count).collect();
    if random.below(2) == 0 {
        (1..seqs.len()).for_each(|at| seqs.swap(at, random.below(at as u64 + 1) as usize));
    }
    seqs
}

/// Mostly short, seldom too long to lie behind its key.
fn value(random: &mut Random, fill: u8) -> Vec<u8> {
    let len = match random.below(400) {
        0 => 32_700 + random.below(10_000),
        _ => random.below(80),
    };
    vec![fill; len as usize]
}

fn run(seed: u64) {
    let mut random = Random::new(seed);
    let shape = seed % 8;
    let expected_bytes = [0, 64 << 10, 1 << 20][random.below(3) as usize];
    let count = 1 + random.below(6000);
    let memtable = Arc::new(Memtable::with_budget(Arc::default(), expected_bytes));
    let mut model = Model::new();
    for (index, seq) in (0..).zip(seqs(&mut random, count)) {
        let user = key(&mut random, shape, index);
        let kind = if random.below(5) == 0 { Kind::Delete } else { Kind::Put };
        let value = if kind == Kind::Put { value(&mut random, seq as u8) } else { Vec::new() };
        memtable.insert(KeyRef::new(&user, seq, kind), &value).unwrap();
        model.insert(Sorted(KeyRef::new(&user, seq, kind).to_owned()), value);
        if random.below(16) == 0 {
            let again = random.below(model.len() as u64) as usize % 50;
            let again = model.keys().nth(again).unwrap().0.as_ref();
            memtable.insert(again, b"ignored").unwrap();
        }
        if (index + 1).is_power_of_two() || index + 1 == count {
            assert_eq!(memtable.len(), model.len());
            check_reads(&memtable, &model, &mut random, shape, count);
            let target = |random: &mut Random| target(&model, random, shape, count);
            check_bounds(&memtable, &model, &mut random, target);
        }
    }
    check_walks(&memtable, &model);
}

#[test]
fn a_memtable_and_a_map_agree_on_every_read() {
    let seeds = match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().expect("SEED is a number")],
        Err(_) => (0..80).collect(),
    };
    for seed in seeds {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
            eprintln!(
                "replay with SEED={seed} cargo test -p stratalog-memtable a_memtable_and_a_map"
            );
            std::panic::resume_unwind(panic);
        }
    }
}
