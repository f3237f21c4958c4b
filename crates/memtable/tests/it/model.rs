//! Random operations on a memtable and on a `BTreeMap`.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use stratalog_base::{Cursor, InternalKey, KeyRef, Kind};
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

fn check_reads(memtable: &Arc<Memtable>, model: &Model, random: &mut Random, shape: u64, seq: u64) {
    let mut cursor = memtable.cursor();
    for _ in 0..20 {
        let user = if random.below(2) == 0 {
            key(random, shape, random.0 % (seq + 2))
        } else {
            let nth = random.below(model.len() as u64) as usize % 50;
            model.keys().nth(nth).unwrap().0.user.to_vec()
        };
        let at = random.below(seq + 2);
        let target = Sorted(KeyRef::seek(&user, at).to_owned());
        let from = || model.range((Bound::Included(&target), Bound::Unbounded));
        let to = || model.range((Bound::Unbounded, Bound::Excluded(&target)));

        let expected = from().next().filter(|(key, _)| *key.0.user == user);
        let got = memtable.get(&user, at).map(|(trailer, value)| (trailer, value.to_vec()));
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

fn run(seed: u64) {
    let mut random = Random::new(seed);
    let shape = seed % 8;
    let count = 1 + random.below(3000);
    let (memtable, mut model) = (Arc::new(Memtable::new()), Model::new());
    for seq in 0..count {
        let user = key(&mut random, shape, seq);
        let kind = if random.below(5) == 0 { Kind::Delete } else { Kind::Put };
        let value = vec![seq as u8; if kind == Kind::Put { random.below(80) as usize } else { 0 }];
        memtable.insert(KeyRef::new(&user, seq, kind), &value).unwrap();
        model.insert(Sorted(KeyRef::new(&user, seq, kind).to_owned()), value);
        if seq.is_power_of_two() {
            check_reads(&memtable, &model, &mut random, shape, seq);
        }
    }
    assert_eq!(memtable.len(), model.len());
    check_reads(&memtable, &model, &mut random, shape, count);
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
